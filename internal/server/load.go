package server

import (
	"math"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"

	"arca/internal/api"
)

// requestBytes is what a request counts for besides a body of more than a few
// kilobytes: its header, goroutine and buffers.
const requestBytes = 16 << 10

// memory counts what the requests in progress hold. It is a bound against running
// out of memory, not an account of every byte.
type memory struct {
	limit int64
	held  atomic.Int64
}

// reserve adds n bytes to what the request holds, unless all requests together would
// then hold more than limit. Large bodies get half of the memory at most, so that
// they cannot keep out the small requests that most are.
func (x *exchange) reserve(n, limit int64) bool {
	m := &x.s.memory
	if m.held.Add(n) > limit {
		m.held.Add(-n)
		return false
	}
	x.reserved += n
	return true
}

// reserveBody makes room for a body. One that is larger than usual is also held
// decoded, and gets a quarter of the memory.
func (x *exchange) reserveBody(size int) bool {
	if size <= 2*x.s.cfg.Limits.BodyBytes { // buffers grow by doubling
		return x.reserve(int64(size), x.s.memory.limit/2)
	}
	return x.reserve(2*int64(size), x.s.memory.limit/4)
}

func (x *exchange) release() { x.s.memory.held.Add(-x.reserved) }

// overloaded is the answer of a server that has its hands full. SDKs try again.
func overloaded() *refusal {
	code := &api.Code{Name: "ServiceUnavailable", Status: http.StatusServiceUnavailable}
	return &refusal{"overloaded", code.Errorf("The server is handling too many requests. Try again.")}
}

// maxOpenFiles is how many files and connections the process may have open.
func maxOpenFiles() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil || l.Cur > math.MaxInt32 {
		return math.MaxInt32
	}
	return int(l.Cur)
}

// limited is a listener that takes connections only while fewer than a number of
// them are open; what is not taken waits in the kernel. It leaves the connections as
// they are, because net/http looks for methods that a wrapper would hide: without
// CloseWrite, a client that is still sending never sees that it was refused.
type limited struct {
	net.Listener
	open   chan struct{} // holds one for each open connection
	closed chan struct{}
	once   sync.Once
}

// limitConnections is to be called before srv serves, and srv serves no connections but
// those of the listener returned. Of these, others are given back with release.
func limitConnections(ln net.Listener, most int, srv *http.Server) *limited {
	l := &limited{Listener: ln, open: make(chan struct{}, most), closed: make(chan struct{})}
	srv.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed || state == http.StateHijacked {
			l.release()
		}
	}
	return l
}

// release makes room for another connection.
func (l *limited) release() { <-l.open }

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.open <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.open
	}
	return conn, err
}

// Close implements net.Listener. It also ends an Accept that waits for room.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}
