package lane

import (
	"crypto/tls"
	"net"
	"sync"
)

// handover is a listener whose connections somebody else has accepted.
type handover struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once

	mu   sync.Mutex
	addr net.Addr // guarded by mu
}

func newHandover() *handover {
	return &handover{conns: make(chan net.Conn), closed: make(chan struct{}), addr: &net.TCPAddr{}}
}

// give hands a connection to whoever accepts. It reports false when the listener is
// closed; the connection is then still the caller's.
func (h *handover) give(c net.Conn) bool {
	select {
	case h.conns <- c:
		return true
	case <-h.closed:
		return false
	}
}

// Accept implements net.Listener.
func (h *handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *handover) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

func (h *handover) address(a net.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.addr = a
}

// Addr implements net.Listener.
func (h *handover) Addr() net.Addr {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.addr
}

// given is a connection of which some bytes have been read already. It passes on what
// net/http looks for in a connection, and no more: through a WriteTo or ReadFrom of
// the connection inside, bytes could go past those that are in front.
type given struct {
	net.Conn
	front []byte
}

// Read implements net.Conn.
func (g *given) Read(p []byte) (int, error) {
	if len(g.front) == 0 {
		return g.Conn.Read(p)
	}
	n := copy(p, g.front)
	if g.front = g.front[n:]; len(g.front) == 0 {
		g.front = nil
	}
	return n, nil
}

// CloseWrite ends the answer for a client that is still sending.
func (g *given) CloseWrite() error {
	if c, ok := g.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// givenTLS is a given connection over TLS. net/http asks for the state, and would take
// a plain connection for one that could still be HTTP/2.
type givenTLS struct {
	given
	tls *tls.Conn
}

// ConnectionState says what the handshake agreed on.
func (g *givenTLS) ConnectionState() tls.ConnectionState { return g.tls.ConnectionState() }

// give is what net/http gets of a connection.
func give(rwc net.Conn, front []byte) net.Conn {
	t, secure := rwc.(*tls.Conn)
	switch {
	case len(front) == 0:
		return rwc
	case secure:
		return &givenTLS{given{rwc, front}, t}
	}
	return &given{rwc, front}
}
