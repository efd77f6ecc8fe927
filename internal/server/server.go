// Package server is the HTTP edge: everything between a socket and a call by a
// verified principal.
//
// It promises that an operation runs only for a request that was signed for it, for
// a host that is served and for a region that is served; that nothing of a request
// is read beyond fixed bounds of size and time; that a browser cannot be made to
// send a request that counts; and that whatever a stranger sends is answered, with
// AWS's own error where AWS has one. Requests without a verified principal reach
// neither the dispatcher nor the audit log: they are counted, and a sample of them
// is logged. The exception are the few operations that AWS lets anybody call: they
// run for nobody, and find out themselves whom they believe.
//
// It trusts the credential lookup it is given, and of the proxies that are listed
// it trusts what they add to X-Forwarded-For and say in X-Forwarded-Proto.
package server

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"arca/internal/api"
	"arca/internal/call"
	"arca/internal/wire"
)

// Config is what the edge needs. Fields without a stated default are required.
type Config struct {
	// Do runs a call: the dispatcher's method. It may be called concurrently. An
	// error that is no *api.Error is answered as the service's internal error.
	Do func(ctx context.Context, c *call.Call, in any) (out any, err error)
	// Refused records a call of a verified principal whose input could not be read. If
	// it cannot, the caller gets an internal error, as for every call without a record.
	Refused func(ctx context.Context, c *call.Call, refusal *api.Error) error
	Router  *wire.Router
	// Verify finds out who sent a request; see NewSignatures and AnyCredentials.
	Verify Verify
	// Now is the time that operations see. Signatures are checked against Verify's
	// own clock.
	Now func() time.Time
	// Hosts are the names clients may call this server by, besides addresses and the
	// names of loopback. "*.example.com" stands for every name that ends so.
	Hosts []string
	// TrustedProxies are addresses and networks whose X-Forwarded-For is believed.
	TrustedProxies []string
	Logger         *slog.Logger
	Limits         Limits
}

// Limits bound what requests may cost, each and together. A zero field has the
// stated default.
type Limits struct {
	// Connections that may be open at a time; further ones wait. 8192, or half of the
	// files that the process may have open: the store and the audit log need theirs.
	Connections int
	// MemoryBytes bounds what all requests in progress hold, roughly; further ones are
	// refused with status 503. 256 MiB.
	MemoryBytes int64
	// BodyBytes bounds a body, unless the operation has a limit of its own. 1 MiB.
	BodyBytes     int
	HeaderBytes   int           // 64 KiB
	HeaderTimeout time.Duration // to receive the header: 10 s
	ReadTimeout   time.Duration // to receive header and body: 30 s
	// Refusals are how many requests of one source in ten seconds may turn out to be
	// nobody's before most of its further ones are refused unread; a source that sends
	// verified requests as well is spared. 1000.
	Refusals     int
	CallTimeout  time.Duration // for the operation: 30 s
	SlowTimeout  time.Duration // for one that waits for a customer's program: 16 min
	WriteTimeout time.Duration // from header to the end of the answer: 75 s
	IdleTimeout  time.Duration // between two requests: 2 min
}

func (l *Limits) fill() {
	for _, f := range [...]struct {
		field *time.Duration
		value time.Duration
	}{
		{&l.HeaderTimeout, 10 * time.Second},
		{&l.ReadTimeout, 30 * time.Second},
		{&l.CallTimeout, 30 * time.Second},
		{&l.SlowTimeout, 16 * time.Minute},
		{&l.WriteTimeout, 75 * time.Second},
		{&l.IdleTimeout, 2 * time.Minute},
	} {
		if *f.field <= 0 {
			*f.field = f.value
		}
	}
	if l.BodyBytes <= 0 {
		l.BodyBytes = 1 << 20
	}
	if l.HeaderBytes <= 0 {
		l.HeaderBytes = 64 << 10
	}
	if l.MemoryBytes <= 0 {
		l.MemoryBytes = 256 << 20
	}
	if l.Refusals <= 0 {
		l.Refusals = 1000
	}
	if l.Connections <= 0 {
		l.Connections = min(8192, maxOpenFiles()/2)
	}
}

// Server is the API's handler. It is safe for concurrent use.
type Server struct {
	cfg     Config
	hosts   hostRules
	proxies proxyRules
	buffers buffers
	memory  memory
	metrics *Metrics
	sample  sampler
	faults  sampler // of errors of ours that strangers can cause at will
}

// New builds the edge. It opens nothing.
func New(cfg Config) (*Server, error) {
	switch {
	case cfg.Do == nil, cfg.Refused == nil, cfg.Router == nil, cfg.Verify == nil, cfg.Now == nil, cfg.Logger == nil:
		return nil, errors.New("server: Do, Refused, Router, Verify, Now and Logger are required")
	}
	cfg.Limits.fill()
	s := &Server{cfg: cfg, metrics: newMetrics(), memory: memory{limit: cfg.Limits.MemoryBytes}}
	s.sample.refusals = cfg.Limits.Refusals
	var err error
	if s.hosts, err = newHostRules(cfg.Hosts); err != nil {
		return nil, err
	}
	if s.proxies, err = newProxyRules(cfg.TrustedProxies); err != nil {
		return nil, err
	}
	return s, nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := exchange{s: s, w: w, r: r, id: newRequestID()}
	defer x.recover()
	if r.URL.Path == "/healthz" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		answerText(w, r, http.StatusOK, "ok\n")
		return
	}
	defer x.release()
	x.source = s.proxies.source(r)
	if !x.reserve(requestBytes, s.memory.limit) {
		endConnection(w, r)
		ref := overloaded()
		x.refuse(ref.reason, nil, ref.err)
		return
	}
	if s.sample.excessive(x.source) {
		ref := throttled()
		x.refuse(ref.reason, nil, ref.err)
		return
	}
	if ref := s.admit(r); ref != nil {
		x.refuse(ref.reason, nil, ref.err)
		return
	}
	x.serve()
}

// exchange is one request on its way to an answer.
type exchange struct {
	s  *Server
	w  http.ResponseWriter
	r  *http.Request
	id string
	// source is the address the request came from; see proxyRules.
	source string
	op     *api.Operation // nil until it is known
	// reserved is this request's part of Server.memory.
	reserved int64
}

func (x *exchange) serve() {
	s := x.s
	body, ref := x.readBody()
	defer s.buffers.put(body)
	if ref != nil {
		x.refuse(ref.reason, nil, ref.err)
		return
	}

	op, input, aerr := s.cfg.Router.Route(withQueryTarget(x.r), body.b)
	if aerr != nil {
		x.refuse("operation", nil, aerr)
		return
	}
	x.op = op

	ctx := withPatience(x.r.Context(), s.cfg.Limits.CallTimeout)
	defer ctx.end()
	id, failure, err := s.cfg.Verify(ctx, op, x.r, sha256.Sum256(body.b))
	switch {
	case err != nil:
		x.logFault("request not verified", err)
		x.fail(internal(op))
		return
	case failure != nil:
		x.refuse(failure.Kind.String(), op, failure.API(op.Service.Protocol))
		return
	}

	c := s.newCall(x, op, id)
	if c.Caller.Type != call.Anonymous {
		s.sample.verified(c.SourceIP)
	}
	in, aerr := wire.DecodeRequest(op, x.r, input)
	if aerr != nil {
		if err := s.cfg.Refused(ctx, c, aerr); err != nil {
			x.logFault("refusal not recorded", err)
			aerr = internal(op)
		}
		if c.Caller.Type == call.Anonymous {
			x.count("anonymous", aerr)
		}
		x.answerError(op, aerr, true)
		return
	}
	if op.Slow {
		// Only now, for a caller who is known.
		ctx = withPatience(x.r.Context(), s.cfg.Limits.SlowTimeout)
		defer ctx.end()
		x.allowTime(s.cfg.Limits.SlowTimeout)
	}
	out, err := s.cfg.Do(ctx, c, in)
	if err != nil {
		aerr, ok := errors.AsType[*api.Error](err)
		if !ok {
			s.cfg.Logger.Error("operation failed", "operation", op.Name, "request", x.id, "error", err.Error())
			aerr = internal(op)
		}
		if c.Caller.Type == call.Anonymous {
			x.count("anonymous", aerr)
		}
		x.answerError(op, aerr, false)
		return
	}
	x.answer(op, out)
}

// allowTime moves the end of the time for an answer, which began with the header.
func (x *exchange) allowTime(d time.Duration) {
	deadline := time.Now().Add(d + x.s.cfg.Limits.WriteTimeout)
	if err := http.NewResponseController(x.w).SetWriteDeadline(deadline); err != nil {
		x.s.cfg.Logger.Warn("the answer may be cut off", "operation", x.op.Name, "request", x.id, "error", err.Error())
	}
}

// newCall says what is known about the request to those who run it.
func (s *Server) newCall(x *exchange, op *api.Operation, id Identity) *call.Call {
	c := &call.Call{
		Op:        op,
		Now:       s.cfg.Now(),
		Caller:    id.Caller,
		Partition: id.Partition,
		Region:    id.Region,
		RequestID: x.id,
		SourceIP:  x.source,
		UserAgent: x.r.UserAgent(),
		Host:      x.r.Host,
		Secure:    s.proxies.secure(x.r),
	}
	if t := x.r.TLS; t != nil {
		c.TLS = &call.TLS{Version: tlsVersion(t.Version), CipherSuite: tls.CipherSuiteName(t.CipherSuite)}
	}
	return c
}

// tlsVersion writes a protocol version as CloudTrail does.
func tlsVersion(v uint16) string {
	return strings.Replace(tls.VersionName(v), "TLS ", "TLSv", 1)
}

// recover answers a request whose handling panicked. The value of the panic is not
// logged unless the runtime made it: it might hold what a caller sent.
func (x *exchange) recover() {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler { //nolint:errorlint // net/http compares it this way, too
		panic(v)
	}
	what := fmt.Sprintf("%T", v)
	if err, ok := v.(interface {
		error
		RuntimeError()
	}); ok {
		what = err.Error()
	}
	x.s.cfg.Logger.Error("request handling panicked", "request", x.id, "panic", what, "stack", string(debug.Stack()))
	x.s.metrics.panics.Inc()
	x.fail(internal(x.op))
}

// internal is the answer to what is not the caller's fault.
func internal(op *api.Operation) *api.Error {
	code := api.InternalFailure
	if op != nil {
		code = op.Service.InternalError
	}
	return code.Errorf("An error occurred on the server side.")
}
