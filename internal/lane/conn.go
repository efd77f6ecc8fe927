package lane

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// States of a connection. One that is idle waits for the first byte of a request and
// can be closed without harm.
const (
	idle int32 = iota
	busy
	closed
)

// usualHeaderBytes is a buffer that few headers with their bodies are too large for.
const usualHeaderBytes = 4 << 10

// maxReads is in how many pieces a header may arrive and be served here. Each piece
// makes us look at the header from its beginning.
const maxReads = 8

// conn is one connection. Its buffers hold secrets and credentials; they are wiped
// after each request and never used for another connection.
type conn struct {
	s      *Server
	rwc    net.Conn
	state  atomic.Int32
	cancel context.CancelFunc

	buf  []byte // buf[r:w] was received and not used yet
	r, w int

	head     head
	received received
	template http.Request // with what all requests of the connection have in common
	body     body
	answer   answer
}

func newConn(s *Server, rwc net.Conn) *conn {
	if s.cfg.TLS != nil {
		rwc = tls.Server(rwc, s.cfg.TLS)
	}
	return &conn{s: s, rwc: rwc}
}

// run serves the connection until it ends or is handed over.
func (c *conn) run() {
	keep := false
	defer func() {
		if v := recover(); v != nil && v != http.ErrAbortHandler { //nolint:errorlint // net/http compares it this way, too
			// The value might hold what a caller sent.
			c.s.cfg.ErrorLog.Printf("panic serving %v: a value of type %T\n%s", c.rwc.RemoteAddr(), v, debug.Stack())
		}
		if c.cancel != nil {
			c.cancel()
		}
		if !keep {
			_ = c.rwc.Close()
			c.s.cfg.Closed()
		}
		c.wipe()
		c.s.remove(c)
	}()
	if !c.handshake() {
		return
	}
	front, others := c.serve()
	// Shutdown leaves alone what is handed over, which may be idle here: net/http has its
	// own way to end it.
	if !others || c.state.Load() == idle && !c.state.CompareAndSwap(idle, busy) {
		return
	}
	// What net/http sets of these is not all of them.
	if err := c.rwc.SetDeadline(time.Time{}); err == nil {
		keep = c.s.over.give(give(c.rwc, bytes.Clone(front)))
	}
}

// handshake reports whether there is a connection to serve.
func (c *conn) handshake() bool {
	ctx, cancel := context.WithCancel(c.s.cfg.Context)
	c.cancel = cancel
	c.template.RemoteAddr = c.rwc.RemoteAddr().String()
	t, ok := c.rwc.(*tls.Conn)
	if ok {
		if err := t.SetDeadline(time.Now().Add(c.s.cfg.HeaderTimeout)); err != nil {
			return false
		}
		if err := t.HandshakeContext(ctx); err != nil {
			sayHTTPS(err)
			c.s.cfg.ErrorLog.Printf("TLS handshake with %s: %v", c.template.RemoteAddr, err)
			return false
		}
		state := t.ConnectionState()
		c.template.TLS = &state
	}
	c.template = *c.template.WithContext(ctx)
	return true
}

// sayHTTPS tells a client that speaks plain HTTP to a TLS listener so, as net/http does.
func sayHTTPS(err error) {
	e, ok := errors.AsType[tls.RecordHeaderError](err)
	if !ok || e.Conn == nil {
		return
	}
	switch string(e.RecordHeader[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO":
		_, _ = io.WriteString(e.Conn, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
		_ = e.Conn.Close()
	}
}

// serve answers requests. When it meets one that is not for us it returns what has
// been received of it, and true.
func (c *conn) serve() (front []byte, others bool) {
	if t := c.template.TLS; t != nil && t.NegotiatedProtocol != "" && t.NegotiatedProtocol != "http/1.1" {
		return nil, true
	}
	c.received.header = make(http.Header, 16)
	c.buf = make([]byte, usualHeaderBytes)
	c.answer.c = c
	for first := true; ; first = false {
		start, v := c.next(first)
		if v == other {
			return c.buf[c.r:c.w], true
		}
		if v != plain || !c.one(start) {
			return nil, false
		}
	}
}

// next receives the header of a request. start is when its first byte was there; more
// means that the connection is over.
func (c *conn) next(first bool) (start time.Time, v verdict) {
	newlines := 0 // that may come before the request
	if !first {
		newlines = c.skipNewlines(4)
	}
	if c.r == c.w {
		wait := c.s.cfg.IdleTimeout
		if first {
			wait = c.s.cfg.HeaderTimeout
		}
		// For writing, too: TLS may have to answer something while it reads.
		if c.rwc.SetDeadline(time.Now().Add(wait)) != nil || c.receive() != nil {
			return start, more
		}
		c.skipNewlines(newlines)
	}
	start = time.Now()
	if !c.state.CompareAndSwap(idle, busy) {
		return start, more
	}
	for reads := 1; ; reads++ {
		v = c.head.recognise(c.buf[c.r:c.w])
		switch {
		case v != more:
			return start, v
		case reads > maxReads:
			return start, other
		case reads == 1 && !first:
			if c.rwc.SetReadDeadline(start.Add(c.s.cfg.HeaderTimeout)) != nil {
				return start, more
			}
		}
		if err := c.receive(); err != nil {
			if errors.Is(err, io.EOF) && c.r < c.w {
				return start, other // net/http tells the client so
			}
			return start, more
		}
	}
}

// skipNewlines passes over what some old clients send after a body, as net/http does,
// and returns how many more it could have been.
func (c *conn) skipNewlines(most int) (left int) {
	for most > 0 && c.r < c.w && (c.buf[c.r] == '\r' || c.buf[c.r] == '\n') {
		c.r++
		most--
	}
	return most
}

// receive reads once.
func (c *conn) receive() error {
	if c.r > 0 {
		c.forget()
	}
	if c.w == len(c.buf) { // not at its largest: a header that fills that is not plain
		bigger := make([]byte, maxHeaderBytes)
		copy(bigger, c.buf)
		clear(c.buf)
		c.buf = bigger
	}
	n, err := c.rwc.Read(c.buf[c.w:])
	c.w += n
	if n > 0 {
		return nil // an error comes again
	}
	return err
}

// one answers the request whose header is at the beginning of the buffer. It reports
// whether another may follow.
func (c *conn) one(start time.Time) (again bool) {
	h := &c.head
	if err := c.rwc.SetWriteDeadline(time.Now().Add(c.s.cfg.WriteTimeout)); err != nil {
		return false
	}
	c.received.request = c.template
	c.received.fill(h, c.buf[c.r:c.w])
	c.r += h.size
	c.body = body{c: c, left: h.length}
	if h.length == 0 {
		c.received.request.Body = http.NoBody
	} else {
		c.received.request.Body = &c.body
	}
	if c.w-c.r < h.length {
		if err := c.rwc.SetReadDeadline(start.Add(c.s.cfg.ReadTimeout)); err != nil {
			return false
		}
	}
	c.answer.begin()
	c.s.cfg.Handler.ServeHTTP(&c.answer, &c.received.request)
	again = c.answer.end()
	c.body.drain()
	c.forget()
	// Idle from here on: Shutdown may close the connection. It looks at each once, so this
	// one has to look after that: either of the two sees the other.
	return again && c.state.CompareAndSwap(busy, idle) && !c.s.closing.Load()
}

// forget wipes what was used of the buffer and moves the rest to its beginning.
func (c *conn) forget() {
	end := c.w
	c.w = copy(c.buf, c.buf[c.r:c.w])
	c.r = 0
	clear(c.buf[c.w:end])
}

func (c *conn) wipe() {
	clear(c.buf)
	clear(c.answer.out[:cap(c.answer.out)])
}

// body is the body of the request in progress.
type body struct {
	c      *conn
	left   int
	err    error // that ended it early
	closed bool
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	switch {
	case b.closed:
		return 0, http.ErrBodyReadAfterClose
	case b.err != nil:
		return 0, b.err
	case b.left == 0:
		return 0, io.EOF
	}
	n := min(len(p), b.left)
	if n == 0 {
		return 0, nil
	}
	if c := b.c; c.r < c.w {
		n = copy(p[:n], c.buf[c.r:c.w])
		c.r += n
	} else {
		n, b.err = c.rwc.Read(p[:n])
		if errors.Is(b.err, io.EOF) {
			b.err = io.ErrUnexpectedEOF
		}
	}
	if b.left -= n; b.left == 0 {
		b.err = nil
		return n, io.EOF
	}
	return n, b.err
}

// Close implements io.Closer.
func (b *body) Close() error {
	b.drain()
	b.closed = true
	return nil
}

// drain reads what the handler left of the body. It reports whether the next bytes of
// the connection are a request.
func (b *body) drain() bool {
	switch {
	case b.left == 0:
		return true
	case b.closed:
		return false
	case errors.Is(b.err, io.ErrUnexpectedEOF):
		return true // the handler knows; and nothing more can come
	}
	space := make([]byte, min(b.left, 4<<10))
	defer clear(space)
	for b.left > 0 && b.err == nil {
		_, _ = b.Read(space) // which keeps its error
	}
	return b.left == 0
}
