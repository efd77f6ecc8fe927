package dbtest

import (
	"net"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Cut says when a Proxy breaks a connection.
type Cut int

const (
	// Before the server gets what the client sends.
	Before Cut = iota
	// After the server got it and answered: the client does not hear that.
	After
)

// Proxy passes connections on to a server, byte by byte, and breaks them when asked.
// It is safe for concurrent use.
type Proxy struct {
	// Host and Port are where it listens.
	Host string
	Port int

	target string

	mu    sync.Mutex
	conns map[net.Conn]bool
	left  int // until the cut; 0 is none to come
	cut   Cut
	down  bool
}

// NewProxy starts a proxy for a server, which ends with the test.
func NewProxy(t testing.TB, s *Server) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{
		Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port,
		target: net.JoinHostPort(s.Host, strconv.Itoa(s.Port)), conns: map[net.Conn]bool{},
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { p.serve(client) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.Down(true)
		serving.Wait()
	})
	return p
}

// CutAt breaks the connection on which a client sends the nth piece of data from now
// on, counted over all connections. A piece is what one write sends: with all three
// protocols a request, or a part of the handshake. Zero breaks nothing.
func (p *Proxy) CutAt(n int, cut Cut) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left, p.cut = n, cut
}

// Happened reports whether the cut that was asked for has been made.
func (p *Proxy) Happened() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.left == 0
}

// Down breaks all connections and refuses new ones, until it is told otherwise.
func (p *Proxy) Down(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
	if down {
		for c := range p.conns {
			_ = c.Close()
		}
	}
}

// enter notes a connection, unless the proxy is down.
func (p *Proxy) enter(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.down {
		p.conns[c] = true
	}
	return !p.down
}

func (p *Proxy) leave(c net.Conn) {
	_ = c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// next counts a piece and says whether it is the one to cut at.
func (p *Proxy) next() (now bool, cut Cut) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left == 0 {
		return false, 0
	}
	p.left--
	return p.left == 0, p.cut
}

func (p *Proxy) serve(client net.Conn) {
	defer p.leave(client)
	if !p.enter(client) {
		return
	}
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer p.leave(server)
	if !p.enter(server) {
		return
	}
	// muted is set before the last piece goes to the server: from then on the client
	// hears nothing.
	var mu sync.Mutex
	muted, answered := false, make(chan struct{})
	var back sync.WaitGroup
	back.Go(func() {
		defer client.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			mu.Lock()
			quiet := muted
			mu.Unlock()
			if quiet {
				close(answered)
				return
			}
			if _, werr := client.Write(buf[:n]); err != nil || werr != nil {
				return
			}
		}
	})
	defer back.Wait()
	defer server.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if n > 0 {
			last, cut := p.next()
			if last && cut == Before {
				return
			}
			if last {
				mu.Lock()
				muted = true
				mu.Unlock()
			}
			if _, err := server.Write(buf[:n]); err != nil {
				return
			}
			if last {
				select {
				case <-answered:
				case <-time.After(2 * time.Second): // some requests have no answer
				}
				return
			}
		}
		if err != nil {
			return
		}
	}
}
