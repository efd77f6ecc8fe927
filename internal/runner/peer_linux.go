package runner

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// A Runtime API is on loopback TCP, since that is where unmodified clients look for it;
// everybody on the machine can connect to it. Who did is found in the kernel's table of
// sockets, by the socket's two ends: the user id that opened it and its inode. Where each
// process has a user id of its own, that is enough. Otherwise the socket must be open in
// one of the processes of the function.

// peer is what is known of the process at the other end of a connection.
type peer struct {
	uid   int
	inode uint64
}

// peerOf looks up the other end of a TCP connection within this machine.
func peerOf(conn net.Conn) (peer, error) {
	remote, err1 := netip.ParseAddrPort(conn.RemoteAddr().String())
	local, err2 := netip.ParseAddrPort(conn.LocalAddr().String())
	if err1 != nil || err2 != nil {
		return peer{}, fmt.Errorf("connection from %s is not TCP", conn.RemoteAddr())
	}
	// A client may speak IPv4 on an IPv6 socket, which is in the other table then.
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(table)
		if err != nil {
			continue
		}
		found, ok := findSocket(bufio.NewScanner(f), remote, local)
		_ = f.Close()
		if ok {
			return found, nil
		}
	}
	return peer{}, fmt.Errorf("no socket of %s is known", remote)
}

// findSocket finds the socket with these two ends, as it sees them, in a table like
// /proc/net/tcp.
func findSocket(lines *bufio.Scanner, local, remote netip.AddrPort) (peer, bool) {
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 10 {
			continue
		}
		if at, ok := parseHexAddr(f[1]); !ok || at != local {
			continue
		}
		if to, ok := parseHexAddr(f[2]); !ok || to != remote {
			continue
		}
		uid, err1 := strconv.Atoi(f[7])
		inode, err2 := strconv.ParseUint(f[9], 10, 64)
		if err1 != nil || err2 != nil || inode == 0 {
			continue // a socket that nobody has any more
		}
		return peer{uid, inode}, true
	}
	return peer{}, false
}

// parseHexAddr reads an address and port of such a table: words of 32 bits in the
// machine's order, in hexadecimal. Arca runs on little-endian machines.
func parseHexAddr(s string) (netip.AddrPort, bool) {
	host, port, ok := strings.Cut(s, ":")
	if !ok || len(host) != 8 && len(host) != 32 {
		return netip.AddrPort{}, false
	}
	raw := make([]byte, 0, 16)
	for i := 0; i < len(host); i += 8 {
		word, err := strconv.ParseUint(host[i:i+8], 16, 32)
		if err != nil {
			return netip.AddrPort{}, false
		}
		raw = append(raw, byte(word), byte(word>>8), byte(word>>16), byte(word>>24))
	}
	p, err := strconv.ParseUint(port, 16, 16)
	addr, fits := netip.AddrFromSlice(raw)
	if err != nil || !fits {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(p)), true
}

// hasSocket reports whether one of the processes has a socket open.
func hasSocket(pids []int, inode uint64) bool {
	want := "socket:[" + strconv.FormatUint(inode, 10) + "]"
	for _, pid := range pids {
		dir := "/proc/" + strconv.Itoa(pid) + "/fd"
		fds, err := os.ReadDir(dir)
		if err != nil {
			continue // it has ended
		}
		for _, fd := range fds {
			if to, err := os.Readlink(dir + "/" + fd.Name()); err == nil && to == want {
				return true
			}
		}
	}
	return false
}

// ownListener accepts connections of the function's own processes only.
type ownListener struct {
	net.Listener
	own     func(peer) bool
	refused func(from net.Addr, why string)
	open    atomic.Int64
}

// maxConnections bounds what a function can take of the server's open files.
const maxConnections = 16

// Accept implements net.Listener.
func (l *ownListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		why := "it comes from another process"
		if p, err := peerOf(conn); err != nil {
			why = err.Error()
		} else if l.own(p) {
			if l.open.Add(1) <= maxConnections {
				return &ownConn{Conn: conn, open: &l.open}, nil
			}
			l.open.Add(-1)
			why = "the function has too many"
		}
		l.refused(conn.RemoteAddr(), why)
		_ = conn.Close()
	}
}

// ownConn counts itself.
type ownConn struct {
	net.Conn
	open *atomic.Int64
	once sync.Once
}

// Close implements net.Conn.
func (c *ownConn) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}
