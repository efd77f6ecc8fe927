package call

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	// it, e.g. for want of disk space. The error's text is shown to the client.
	Gate func(readOnly bool) error
	// Limit refuses a call that exceeds a request-rate quota of the caller's account.
	Limit func(c *Call) error
}

// Dispatcher runs operations: gate, operate, write down, answer.
type Dispatcher struct {
	cfg      Config
	handlers map[*api.Operation]func(ctx context.Context, c *Call, in any) (any, error)
	Metrics  *Metrics

	mu sync.Mutex
	// unsettled holds lines of committed changes whose append failed, by effect
	// (guarded by mu). While it is not empty nothing new is started.
	unsettled map[uint64][][]byte
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
		handlers:  make(map[*api.Operation]func(context.Context, *Call, any) (any, error)),
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
	d.handlers[op] = func(ctx context.Context, c *Call, in any) (any, error) {
		typed, ok := in.(*In)
		if !ok {
			return nil, fmt.Errorf("input of %s is %T", op.Name, in)
		}
		out, err := fn(ctx, c, typed)
		if err != nil || out == nil {
			return nil, err
		}
		return out, nil
	}
}

// Serves reports whether op has a handler.
func (d *Dispatcher) Serves(op *api.Operation) bool { _, ok := d.handlers[op]; return ok }

// Do runs one call: c carries what the edge verified, in is the decoded and
// validated input. The error, if any, is an *api.Error. When Do returns, the audit
// record is synced; when it could not be, the client gets an internal error
// whatever the operation did.
func (d *Dispatcher) Do(ctx context.Context, c *Call, in any) (any, error) {
	start := time.Now()
	c.state = state{d: d, in: in, eventID: newEventID()}
	out, err := d.operate(ctx, c, in)
	aerr := d.settleError(c, err)
	if aerr != nil {
		out = nil
	}
	if werr := d.record(ctx, c, out, aerr); werr != nil {
		d.cfg.Logger.Error("audit record not written", "operation", c.Op.Name, "request", c.RequestID, "error", werr.Error())
		out, aerr = nil, c.Op.Service.InternalError.Errorf("%s", internalMessage)
	}
	code := "OK"
	if aerr != nil {
		code = aerr.Code.Name
	}
	d.Metrics.Requests.WithLabelValues(c.Op.Service.Name, c.Op.Name, code).Inc()
	d.Metrics.Seconds.WithLabelValues(c.Op.Service.Name, c.Op.Name).Observe(time.Since(start).Seconds())
	if aerr != nil {
		return nil, aerr
	}
	return out, nil
}

// Refuse records a call whose input could not be read or breaks a published
// constraint, so that it never reached its operation. The parameters are left out:
// what cannot be read cannot be redacted. An error means that there is no record.
func (d *Dispatcher) Refuse(ctx context.Context, c *Call, refusal *api.Error) error {
	c.state = state{d: d, eventID: newEventID()}
	d.Metrics.Requests.WithLabelValues(c.Op.Service.Name, c.Op.Name, refusal.Code.Name).Inc()
	return d.record(ctx, c, nil, refusal)
}

func (d *Dispatcher) operate(ctx context.Context, c *Call, in any) (any, error) {
	h, ok := d.handlers[c.Op]
	if !ok {
		return nil, fmt.Errorf("no handler for %s", c.Op.Name)
	}
	if err := d.Settle(ctx); err != nil {
		return nil, fmt.Errorf("audit log is behind: %w", err)
	}
	if d.cfg.Gate != nil {
		if err := d.cfg.Gate(c.Op.ReadOnly); err != nil {
			return nil, c.Op.Service.InternalError.Wrap(err, err.Error())
		}
	}
	if d.cfg.Limit != nil {
		if err := d.cfg.Limit(c); err != nil {
			return nil, err
		}
	}
	return h(ctx, c, in)
}

// record appends the lines of a finished call and lets its effect go once they are
// synced. A crash in between leaves the effect, which Recover turns into the line.
func (d *Dispatcher) record(ctx context.Context, c *Call, out any, aerr *api.Error) error {
	var few [4][]byte
	lines := append(few[:0], c.line(out, aerr))
	lines = append(lines, c.subLines...)
	if aerr == nil || c.effect != 0 {
		lines = append(lines, c.eventLines()...)
	}
	return d.append(ctx, c.effect, lines)
}

// append writes the lines even when the caller has gone: what happened is recorded.
func (d *Dispatcher) append(ctx context.Context, effect uint64, lines [][]byte) error {
	err := d.cfg.Log.Append(context.WithoutCancel(ctx), lines...)
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

// Settle tries again to write the lines of changes that were committed while the
// log could not be written. It is cheap when there are none.
func (d *Dispatcher) Settle(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for effect, lines := range d.unsettled {
		if err := d.cfg.Log.Append(context.WithoutCancel(ctx), lines...); err != nil {
			return err
		}
		delete(d.unsettled, effect)
		d.cfg.Store.ReleaseEffect(effect)
	}
	return nil
}

// Recover writes the lines of changes that an earlier life of this node committed
// without having synced their record, and lets the effects go. It runs before the
// first request is served.
func (d *Dispatcher) Recover(ctx context.Context) error {
	type left struct {
		seq   uint64
		lines [][]byte
		ids   []string
	}
	var found []left
	var ids []string
	oldest := time.Time{}
	err := d.cfg.Store.Effects(ctx, func(seq uint64, data []byte) error {
		l := left{seq: seq, lines: splitLines(data)}
		for _, line := range l.lines {
			id, at, err := lineIdentity(line)
			if err != nil {
				return fmt.Errorf("read effect %d: %w", seq, err)
			}
			l.ids, ids = append(l.ids, id), append(ids, id)
			if oldest.IsZero() || at.Before(oldest) {
				oldest = at
			}
		}
		found = append(found, l)
		return nil
	})
	if err != nil {
		return fmt.Errorf("list audit effects: %w", err)
	}
	if len(found) == 0 {
		return nil
	}
	written, err := d.cfg.Log.Contains(ctx, oldest, ids)
	if err != nil {
		return fmt.Errorf("look up audit effects in the log: %w", err)
	}
	for _, l := range found {
		var missing [][]byte
		for i, id := range l.ids {
			if !written[id] {
				missing = append(missing, l.lines[i])
			}
		}
		if len(missing) > 0 {
			if err := d.cfg.Log.Append(ctx, missing...); err != nil {
				return fmt.Errorf("write recovered audit records: %w", err)
			}
		}
		d.cfg.Store.ReleaseEffect(l.seq)
	}
	d.cfg.Logger.Info("audit records of the last run settled", "effects", len(found))
	return nil
}

// ErrNoEvent is returned when an engine's change names no event: changes that
// nobody called for must be recorded too.
var ErrNoEvent = errors.New("engine change without a service event")

// ServiceUpdate commits a change that an engine makes by itself, with the service
// events it emits, as one transaction; the events are synced when it returns. fn
// may run again; only the events of the committed run count. A closure that writes
// nothing commits nothing and needs no event.
func (d *Dispatcher) ServiceUpdate(ctx context.Context, now time.Time, fn func(tx *store.Tx, emit func(ServiceEvent)) error) error {
	if err := d.Settle(ctx); err != nil {
		return fmt.Errorf("audit log is behind: %w", err)
	}
	if d.cfg.Gate != nil {
		if err := d.cfg.Gate(false); err != nil {
			return err
		}
	}
	var lines [][]byte
	var events []ServiceEvent
	commit, err := d.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		events, lines = events[:0], nil
		if err := fn(tx, func(e ServiceEvent) { events = append(events, e) }); err != nil {
			return err
		}
		if len(events) == 0 {
			return nil
		}
		tx.SetEffect(func(changes []store.Change) []byte {
			lines = d.serviceLines(now, events, changes)
			return joinLines(lines)
		})
		return nil
	})
	if err != nil {
		return err
	}
	if commit.Effect == 0 {
		return nil
	}
	return d.append(ctx, commit.Effect, lines)
}
