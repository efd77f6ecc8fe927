package call

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"arca/internal/api"
	"arca/internal/audit"
	"arca/internal/store"
)

// Config is what a Dispatcher needs. All fields except Gate and Limit are required.
type Config struct {
	Store     *store.Store
	Log       *audit.Log
	Authorize Authorizer
	Logger    *slog.Logger
	// Gate refuses a call before it starts when the server cannot promise to finish
	// it, e.g. for want of disk space. The error's text is shown to the client. What it
	// refuses to read-only calls it refuses to all, and even their records.
	Gate func(readOnly bool) error
	// Limit refuses a call that exceeds a request-rate quota of the caller's account.
	// Its error is answered like an operation's.
	Limit func(c *Call) error
}

// Dispatcher runs operations: gate, operate, write down, answer. Its methods may be
// called concurrently once everything is registered.
type Dispatcher struct {
	cfg      Config
	handlers map[*api.Operation]*handler
	Metrics  *Metrics
	papers   sync.Pool // of *paper

	recovering sync.Mutex // held during Recover
	unwritten  quiet      // calls that failed for want of the audit log
	strangers  quiet      // refusals of those whom nobody vouches for

	mu sync.Mutex
	// unsettled holds the lines of committed changes whose append failed, by effect
	// (guarded by mu). While it is not empty nothing new is started, which bounds it by
	// the calls that were under way.
	unsettled map[uint64][][]byte
}

// handler is an operation that is served.
type handler struct {
	fn func(ctx context.Context, c *Call, in any) (any, error)

	// The series of its answers, looked up once: by their labels it takes as long as
	// writing a line. A series begins with the first answer, not with the server.
	begin   sync.Once
	ok      prometheus.Counter
	seconds prometheus.Observer
}

// Metrics are the dispatcher's collectors; app registers them.
type Metrics struct {
	Requests *prometheus.CounterVec
	Seconds  *prometheus.HistogramVec
}

// Collectors lists what is to be registered.
func (m *Metrics) Collectors() []prometheus.Collector {
	return []prometheus.Collector{m.Requests, m.Seconds}
}

// New builds a dispatcher without operations.
func New(cfg Config) *Dispatcher {
	return &Dispatcher{
		cfg:       cfg,
		handlers:  make(map[*api.Operation]*handler),
		unsettled: make(map[uint64][][]byte),
		Metrics: &Metrics{
			Requests: prometheus.NewCounterVec(prometheus.CounterOpts{
				Name: "arca_requests_total", Help: "Finished calls of verified callers, by operation and error code (OK without one).",
			}, []string{"service", "operation", "code"}),
			Seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
				Name: "arca_request_seconds", Help: "Time from dispatch to synced audit record, in seconds.",
				Buckets: prometheus.ExponentialBuckets(0.0001, 2.5, 12),
			}, []string{"service", "operation"}),
		},
	}
}

// Register says which function serves op. In and Out must be the generated shapes
// of op; a mismatch is a programmer's mistake and panics at start.
func Register[In, Out any](d *Dispatcher, op *api.Operation, fn func(ctx context.Context, c *Call, in *In) (*Out, error)) {
	if _, ok := d.handlers[op]; ok {
		panic("call: operation registered twice: " + op.Name)
	}
	for _, sh := range []struct {
		shape *api.Shape
		given reflect.Type
	}{{op.Input, reflect.TypeFor[In]()}, {op.Output, reflect.TypeFor[Out]()}} {
		if sh.shape != nil && sh.shape.Type != sh.given {
			panic(fmt.Sprintf("call: %s has the shape %v, not %v", op.Name, sh.shape.Type, sh.given))
		}
	}
	d.handlers[op] = &handler{fn: func(ctx context.Context, c *Call, in any) (any, error) {
		typed, ok := in.(*In)
		if !ok {
			return nil, fmt.Errorf("input of %s is %T", op.Name, in)
		}
		out, err := fn(ctx, c, typed)
		if err != nil || out == nil {
			return nil, err
		}
		return out, nil
	}}
}

// Serves reports whether op has a handler.
func (d *Dispatcher) Serves(op *api.Operation) bool { _, ok := d.handlers[op]; return ok }

// Do runs one call: c carries what the edge verified, in is the decoded and
// validated input. The error, if any, is an *api.Error. When Do returns, the audit
// record is synced; when it could not be, the client gets an internal error
// whatever the operation did.
//
// A read that said OmitRecord has no record of its own. The other exception is a disk
// without room even for records: then nothing is run and nothing is recorded, because
// refusals that can be had for the asking would take the last bytes, which the database
// needs.
func (d *Dispatcher) Do(ctx context.Context, c *Call, in any) (any, error) {
	start := time.Now()
	c.state = state{d: d, in: in, eventID: newEventID()}
	if err := d.gate(true); err != nil {
		aerr := c.Op.Service.InternalError.Errorf("%s", err)
		d.count(c, aerr, start)
		return nil, aerr
	}
	c.paper = d.takePaper()
	c.subLines = c.paper.sub
	returned := false
	defer func() {
		if !returned {
			// It panicked, perhaps after its commit. The edge answers.
			_, _ = d.finish(c, nil, c.internalError(), start)
		}
	}()
	out, err := d.operate(ctx, c, in)
	returned = true
	return d.finish(c, out, d.clientError(c, err), start)
}

// finish writes the call down and only then lets its answer go.
func (d *Dispatcher) finish(c *Call, out any, aerr *api.Error, start time.Time) (any, error) {
	if aerr != nil {
		out = nil
	}
	if err := d.record(c, out, aerr); err != nil {
		d.unwritten.log(d.cfg.Logger, slog.LevelError, "audit record not written", "operation", c.Op.Name, "request", c.RequestID, "error", err.Error())
		aerr = c.internalError()
	}
	d.returnPaper(c)
	d.count(c, aerr, start)
	if aerr != nil {
		return nil, aerr
	}
	return out, nil
}

func (d *Dispatcher) count(c *Call, aerr *api.Error, start time.Time) {
	code := "OK"
	if aerr != nil {
		code = aerr.Code.Name
	} else if h := d.handlers[c.Op]; h != nil {
		h.begin.Do(func() {
			h.ok = d.Metrics.Requests.WithLabelValues(c.Op.Service.Name, c.Op.Name, code)
			h.seconds = d.Metrics.Seconds.WithLabelValues(c.Op.Service.Name, c.Op.Name)
		})
		h.ok.Inc()
		h.seconds.Observe(time.Since(start).Seconds())
		return
	}
	d.Metrics.Requests.WithLabelValues(c.Op.Service.Name, c.Op.Name, code).Inc()
	d.Metrics.Seconds.WithLabelValues(c.Op.Service.Name, c.Op.Name).Observe(time.Since(start).Seconds())
}

// Refuse records a call whose input could not be read or breaks a published
// constraint, so that it never reached its operation. The parameters are left out:
// what cannot be read cannot be redacted. An error means that there is no record, and
// that the client must get an internal error instead of the refusal.
func (d *Dispatcher) Refuse(_ context.Context, c *Call, refusal *api.Error) error {
	start := time.Now()
	c.state = state{d: d, eventID: newEventID()}
	err := d.gate(true)
	if err == nil {
		c.paper = d.takePaper()
		err = d.record(c, nil, refusal)
		d.returnPaper(c)
	}
	if err != nil {
		refusal = c.internalError()
	}
	d.count(c, refusal, start)
	return err
}

func (d *Dispatcher) gate(readOnly bool) error {
	if d.cfg.Gate == nil {
		return nil
	}
	return d.cfg.Gate(readOnly)
}

func (d *Dispatcher) operate(ctx context.Context, c *Call, in any) (any, error) {
	h, ok := d.handlers[c.Op]
	if !ok {
		return nil, fmt.Errorf("no handler for %s", c.Op.Name)
	}
	if err := d.Settle(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", errBehind, err)
	}
	if err := d.gate(c.Op.ReadOnly); err != nil {
		return nil, c.Op.Service.InternalError.Errorf("%s", err)
	}
	if d.cfg.Limit != nil {
		if err := d.cfg.Limit(c); err != nil {
			return nil, err
		}
	}
	return h.fn(ctx, c, in)
}

// record appends the lines of a finished call and lets its effect go once they are
// synced. A crash in between leaves the effect, which Recover turns into the line.
//
// Whoever is still nobody at the end has shown no credentials that hold: such calls
// are counted only, or strangers could fill the log.
func (d *Dispatcher) record(c *Call, out any, aerr *api.Error) error {
	if c.Caller.Type == Anonymous && c.effect == 0 && aerr != nil {
		return nil
	}
	if c.omitted && aerr == nil && c.effect == 0 && len(c.subLines) == 0 {
		return nil
	}
	lines := append(c.appendLines(c.paper.all, out, aerr), c.subLines...)
	if (aerr == nil || c.effect != 0) && len(c.events) > 0 {
		lines = append(lines, c.eventLines()...)
	}
	// All three may have moved to where there was room.
	c.paper.all, c.paper.sub = lines, c.subLines
	err := d.append(c.effect, lines)
	if err != nil && c.effect != 0 {
		c.paper = nil // its lines are still to be written
	}
	return err
}

// append writes the lines even when the caller has gone, whose context it therefore does
// not take: what happened is recorded.
func (d *Dispatcher) append(effect uint64, lines [][]byte) error {
	err := d.cfg.Log.Append(context.Background(), lines...)
	if effect == 0 {
		return err
	}
	if err != nil {
		d.mu.Lock()
		d.unsettled[effect] = lines
		d.mu.Unlock()
		return err
	}
	d.cfg.Store.ReleaseEffect(effect)
	return nil
}
