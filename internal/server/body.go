package server

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"

	"arca/internal/api"
	"arca/internal/wire"
)

// refusal is an answer to a request nobody vouches for.
type refusal struct {
	reason string // for metrics and logs
	err    *api.Error
}

// buffer holds a body. It is wiped before it is used again: bodies hold secrets.
type buffer struct{ b []byte }

// keepBytes is the largest buffer worth keeping; a maximal secret fits.
const keepBytes = 256 << 10

type buffers struct{ pool sync.Pool }

func (p *buffers) get() *buffer {
	if b, ok := p.pool.Get().(*buffer); ok {
		return b
	}
	return &buffer{b: make([]byte, 0, 4<<10)}
}

// put wipes a buffer and keeps it. nil is ignored.
func (p *buffers) put(b *buffer) {
	if b == nil {
		return
	}
	clear(b.b)
	if cap(b.b) <= keepBytes {
		b.b = b.b[:0]
		p.pool.Put(b)
	}
}

// bodyLimit is how large a body may be, and the operation that has a limit of its own.
func (x *exchange) bodyLimit() (op *api.Operation, limit int) {
	if op = x.s.cfg.Router.ByPath(x.r); op != nil && op.MaxBody > 0 {
		return op, op.MaxBody
	}
	return nil, x.s.cfg.Limits.BodyBytes
}

// readBody reads a body of bounded size. Bodies that announce themselves as too large
// are refused unread. What is returned is to be put back, whatever the refusal.
func (x *exchange) readBody() (*buffer, *refusal) {
	s, w, r := x.s, x.w, x.r
	op, limit := x.bodyLimit()
	buf := s.buffers.get()
	if r.ContentLength > int64(limit) {
		return buf, tooLarge(w, r, op, limit)
	}
	if r.Body == nil || r.Body == http.NoBody {
		return buf, nil
	}
	for {
		if len(buf.b) == cap(buf.b) {
			size := max(int(r.ContentLength)+1, 2*cap(buf.b))
			if !x.reserveBody(size) {
				endConnection(w, r)
				return buf, overloaded()
			}
			buf.grow(size)
		}
		n, err := r.Body.Read(buf.b[len(buf.b):cap(buf.b)])
		buf.b = buf.b[:len(buf.b)+n]
		switch {
		case len(buf.b) > limit:
			return buf, tooLarge(w, r, op, limit)
		case errors.Is(err, io.EOF):
			return buf, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			endConnection(w, r)
			code := &api.Code{Name: "RequestTimeoutException", Status: http.StatusRequestTimeout}
			return buf, &refusal{"timeout", code.Errorf("The body of the request did not arrive in time.")}
		case err != nil:
			endConnection(w, r)
			return buf, &refusal{"body", api.SerializationException.Errorf("The body of the request could not be read.")}
		}
	}
}

// grow makes room for n bytes in all. The old bytes are wiped.
func (b *buffer) grow(n int) {
	bigger := make([]byte, len(b.b), n)
	copy(bigger, b.b)
	clear(b.b)
	b.b = bigger
}

// endConnection makes sure that the rest of a body is not taken for the next
// request. HTTP/2 keeps requests apart by itself.
func endConnection(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor < 2 {
		w.Header().Set("Connection", "close")
	}
}

// tooLarge has AWS's text for an operation with a limit of its own.
func tooLarge(w http.ResponseWriter, r *http.Request, op *api.Operation, limit int) *refusal {
	endConnection(w, r)
	code := &api.Code{Name: "RequestEntityTooLargeException", Status: http.StatusRequestEntityTooLarge}
	if op == nil {
		return &refusal{"too_large", code.Errorf("The request is larger than %d bytes.", limit)}
	}
	if i := slices.IndexFunc(op.Errors, func(c *api.Code) bool { return c.Status == code.Status }); i >= 0 {
		code = op.Errors[i]
	}
	return &refusal{"too_large", code.Errorf("Request must be smaller than %d bytes for the %s operation", limit, op.Name)}
}

// withQueryTarget gives the router its target where presigning SDKs have put it.
// They move X-Amz-Target into the query, in either case of letters; the signature
// covers it there. A target in both places stays visible as two.
func withQueryTarget(r *http.Request) *http.Request {
	if r.URL.RawQuery == "" {
		return r
	}
	query, _ := url.ParseQuery(r.URL.RawQuery)
	if !query.Has("X-Amz-Signature") {
		return r
	}
	var targets []string
	for name, values := range query {
		if strings.EqualFold(name, wire.HeaderTarget) {
			targets = append(targets, values...)
		}
	}
	if len(targets) == 0 {
		return r
	}
	moved := *r
	moved.Header = r.Header.Clone()
	moved.Header[wire.HeaderTarget] = append(moved.Header[wire.HeaderTarget], targets...)
	return &moved
}
