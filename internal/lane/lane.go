// Package lane serves the plain form of HTTP/1.1 that AWS clients send, and hands
// every other connection to net/http.
//
// What an attacker who controls the bytes of a connection could gain from a second
// HTTP parser is a request that two readers understand differently: one that a proxy
// takes for a body and we for a request, or one that carries a header past a check.
// So the parser here does not interpret, it recognises. The one form it serves is so
// narrow that no reader of HTTP takes it for anything else:
//
//   - the line "POST / HTTP/1.1", lines that end in CRLF, names of token characters,
//     values of printable ASCII, nothing folded, at most 8 KiB and 64 fields;
//   - exactly one Host of plain characters, exactly one decimal Content-Length of at
//     most 256 KiB;
//   - none of the fields that change how a message is read or answered:
//     Transfer-Encoding, Expect, Upgrade, Trailer, Pragma, Connection other than
//     keep-alive.
//
// At the first byte that does not fit, nothing has been consumed: the connection goes,
// for good and with what was read of it in front, to the listener that net/http
// serves. Odd, broken and hostile requests are thus read by net/http alone, as are
// HTTP/2 and every method and path but that one.
//
// It promises that a request it serves is the one http.ReadRequest would have read,
// that its answer is what net/http would have sent, byte for byte, and that time and
// memory of a connection are bounded: by the same timeouts as net/http's, a buffer
// of 4 to 8 KiB for the request and one of 4 KiB for the answer, both wiped after each
// request. A connection that is handed over begins its timeouts anew, once.
//
// It differs from net/http in three things that its handler must know. The request,
// its header and its body belong to the handler until it returns and are used again
// after that. The context of a request ends with its connection, and nobody looks at
// the connection while the handler runs: a client that goes away is noticed when it is
// answered. And an answer without Content-Length is kept until the handler returns.
package lane

import (
	"context"
	"crypto/tls"
	"errors"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Config is what a Server needs. All fields but TLS are required.
type Config struct {
	// Handler answers requests. It may be called concurrently.
	Handler http.Handler
	// Context is the parent of the contexts of all requests.
	Context context.Context //nolint:containedctx // as http.Server's BaseContext
	// TLS is the configuration of connections, nil for plain ones. Connections that
	// choose another protocol than HTTP/1.1 are handed over.
	TLS *tls.Config
	// HeaderTimeout bounds the handshake, and the time from a connection's beginning or a
	// request's first byte to the end of its header. ReadTimeout bounds header and body,
	// WriteTimeout the time from the end of the header to that of the answer, and
	// IdleTimeout that between two requests.
	HeaderTimeout, ReadTimeout, WriteTimeout, IdleTimeout time.Duration
	// Closed is called once for each connection that ends here. Those that are handed
	// over end elsewhere.
	Closed   func()
	ErrorLog *log.Logger
}

// Server serves connections. Its methods may be called concurrently.
type Server struct {
	cfg  Config
	over *handover

	closing atomic.Bool
	mu      sync.Mutex
	ln      net.Listener       // guarded by mu
	conns   map[*conn]struct{} // guarded by mu
	empty   chan struct{}      // closed when closing and no connection is left (guarded by mu)
}

// New builds a server. It opens nothing.
func New(cfg Config) (*Server, error) {
	switch {
	case cfg.Handler == nil, cfg.Context == nil, cfg.Closed == nil, cfg.ErrorLog == nil:
		return nil, errors.New("lane: Handler, Context, Closed and ErrorLog are required")
	case min(cfg.HeaderTimeout, cfg.ReadTimeout, cfg.WriteTimeout, cfg.IdleTimeout) <= 0:
		return nil, errors.New("lane: all timeouts are required")
	}
	return &Server{cfg: cfg, over: newHandover(), conns: map[*conn]struct{}{}, empty: make(chan struct{})}, nil
}

// Others is the listener of the connections that are handed over, of which
// http.Server.Serve makes the best. Connections that chose HTTP/2 come from it as the
// *tls.Conn they are. Closing it closes what is handed over from then on.
func (s *Server) Others() net.Listener { return s.over }

// acceptPause is how long Serve waits when the system has no file or memory for a
// connection.
const acceptPause = 20 * time.Millisecond

// Serve serves the connections of ln, each in a goroutine of its own, until ln breaks
// or the server is shut down. It then returns http.ErrServerClosed. It closes ln, and
// is to be called once.
func (s *Server) Serve(ln net.Listener) error {
	s.mu.Lock()
	s.ln = ln
	s.mu.Unlock()
	s.over.address(ln.Addr())
	defer func() { _ = ln.Close() }()
	for {
		if s.closing.Load() {
			return http.ErrServerClosed
		}
		rwc, err := ln.Accept()
		switch {
		case err == nil:
			c := newConn(s, rwc)
			if !s.add(c) {
				_ = rwc.Close()
				s.cfg.Closed()
				continue
			}
			go c.run()
		case s.closing.Load():
			return http.ErrServerClosed
		case passing(err):
			s.cfg.ErrorLog.Printf("accept: %v", err)
			time.Sleep(acceptPause)
		default:
			return err
		}
	}
}

// passing reports whether accepting may succeed again.
func passing(err error) bool {
	for _, e := range [...]syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
		syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EINTR, syscall.EAGAIN} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// add takes a connection in, unless the server is shutting down.
func (s *Server) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Server) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.emptyLocked()
}

func (s *Server) emptyLocked() {
	if !s.closing.Load() || len(s.conns) > 0 {
		return
	}
	select {
	case <-s.empty:
	default:
		close(s.empty)
	}
}

// stop takes no more connections and ends those that tell says.
func (s *Server) stop(ends func(*conn) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing.Store(true)
	var err error
	if s.ln != nil {
		err = s.ln.Close()
		s.ln = nil
	}
	for c := range s.conns {
		if ends(c) {
			_ = c.rwc.Close()
		}
	}
	s.emptyLocked()
	return err
}

// Shutdown takes no more connections, ends those that are between requests at once and
// waits until the others have answered theirs, or until ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	// A connection that has just become busy keeps its request, one that has not sees
	// that it is closed: whoever changes the state first wins.
	err := s.stop(func(c *conn) bool { return c.state.CompareAndSwap(idle, closed) })
	select {
	case <-s.empty:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends all connections at once. Handlers are not waited for.
func (s *Server) Close() error {
	return s.stop(func(*conn) bool { return true })
}
