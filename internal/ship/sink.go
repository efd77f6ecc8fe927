package ship

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"arca/internal/audit"
	"arca/internal/webhook"
)

const (
	// settleEvery is how often the place of a sink is kept. Each time costs a sync of
	// a small file, beside the log's own.
	settleEvery = time.Second
	// markEvery bounds how many deliveries in doubt are told apart.
	markEvery = 250 * time.Millisecond
	// streamLines and streamBytes bound the batches of sinks that have no notion of one.
	streamLines = 1000
	streamBytes = 256 << 10
)

// output is one kind of sink. It is for one goroutine, except for String.
type output interface {
	// send delivers a batch of at least one line. After nil, the lines count as
	// delivered unless settle says otherwise within doubt. After an error any part of
	// them may have been delivered.
	send(ctx context.Context, b *batch) error
	// settle makes what send delivered durable as far as it is for us to do so. An
	// error takes back every delivery since the last settle, and those in doubt.
	settle(ctx context.Context) error
	// doubt is how long after a delivery a failure may show that it was none.
	doubt() time.Duration
	close()
	// String names the receiver, without secrets.
	String() string
}

// sink sends the lines of the log to an output.
type sink struct {
	cfg    SinkConfig
	log    *audit.Log
	path   string // of the cursor
	out    output
	filter filter
	state  state
	lines  int // of a batch
	bytes  int
	linger time.Duration

	// kept is the line from which on everything is sent again after a crash. Before the
	// cursor was read it is 0.
	kept   atomic.Uint64
	cursor *audit.Cursor // owned by run
}

func newSink(cfg Config, c SinkConfig) (*sink, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	k := &sink{
		cfg: c, log: cfg.Log, path: cfg.cursorPath("sink", c.Name),
		filter: filter{sources: c.Sources, writesOnly: c.WritesOnly},
		state:  state{what: "audit sink", name: c.Name, logger: cfg.Logger},
		lines:  streamLines, bytes: streamBytes,
	}
	var err error
	switch c.Kind {
	case "stdout":
		if cfg.Stdout == nil {
			return nil, errors.New("there is no standard output to write to")
		}
		k.out, err = newStdoutOutput(cfg.Stdout)
	case "file":
		k.out = &fileOutput{path: c.Path}
	case "syslog":
		k.out, err = newSyslogOutput(cfg, c)
	case "https":
		k.lines, k.bytes = c.BatchLines, c.BatchBytes
		k.linger = max(time.Second, time.Duration(c.BatchSeconds)*time.Second)
		k.out, err = newHTTPSOutput(cfg, c, k.state.skip)
	}
	if err != nil {
		return nil, err
	}
	return k, nil
}

// run sends lines until ctx ends or the log is closed.
func (k *sink) run(ctx context.Context) {
	defer k.out.close()
	for {
		err := k.follow(ctx)
		if ctx.Err() != nil || errors.Is(err, audit.ErrClosed) {
			return
		}
		if !sleep(ctx, k.state.failed(err, k.log.Size())) {
			return
		}
	}
}

// begin reads the cursor and finds the first line to send.
func (k *sink) begin() error {
	if k.cursor != nil {
		return nil
	}
	c, err := k.log.OpenCursor(k.path)
	if err != nil {
		return err
	}
	next, ok := c.Next()
	if !ok {
		if !k.cfg.FromStart {
			next = k.log.Size()
		}
		// Kept before anything is sent: or else a restart would begin later than now.
		if err := c.Set(next); err != nil {
			return err
		}
	}
	k.kept.Store(next)
	k.state.at(next)
	k.cursor = c
	return nil
}

// doubts are deliveries that may still turn out to be none.
type doubts struct{ marks []mark }

type mark struct {
	begun, last time.Time
	next        uint64
}

func (d *doubts) add(next uint64, now time.Time) {
	if n := len(d.marks); n > 0 && now.Sub(d.marks[n-1].begun) < markEvery {
		d.marks[n-1].last, d.marks[n-1].next = now, next
		return
	}
	d.marks = append(d.marks, mark{now, now, next})
}

// settled takes out what is in doubt no longer.
func (d *doubts) settled(now time.Time, doubt time.Duration) (next uint64, ok bool) {
	i := 0
	for i < len(d.marks) && now.Sub(d.marks[i].last) >= doubt {
		next, ok = d.marks[i].next, true
		i++
	}
	d.marks = append(d.marks[:0], d.marks[i:]...)
	return next, ok
}

// follow sends from the kept place on until something fails.
func (k *sink) follow(ctx context.Context) (err error) {
	if err := k.begin(); err != nil {
		return err
	}
	f := k.log.Follow(k.kept.Load())
	defer func() { _ = f.Close() }() // read only
	k.state.at(f.Position())
	var b batch
	var d doubts
	defer func() {
		if ctx.Err() != nil && len(d.marks) > 0 {
			// A clean stop keeps what is beyond doubt, or it would be sent again.
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			err = errors.Join(err, k.settle(end, &d, time.Now()))
		}
	}()
	lastSettle := time.Now()
	for {
		until := time.Time{}
		if len(d.marks) > 0 {
			until = lastSettle.Add(settleEvery)
		}
		gerr := k.gather(ctx, f, &b, until)
		if b.len() > 0 {
			if err := k.deliver(ctx, &b, &d); err != nil {
				return err
			}
		}
		now := time.Now()
		if b.next > b.first {
			d.add(b.next, now)
			k.state.delivered(b.next, uint64(b.len()), uint64(len(b.buf)))
		}
		if len(d.marks) > 0 && (now.Sub(lastSettle) >= settleEvery || gerr != nil) {
			lastSettle = now
			if err := k.settle(ctx, &d, now); err != nil {
				return err
			}
		}
		if gerr != nil {
			return gerr
		}
	}
}

// settle moves the kept place behind what is in doubt no longer.
func (k *sink) settle(ctx context.Context, d *doubts, now time.Time) error {
	if err := k.out.settle(ctx); err != nil {
		return err
	}
	next, ok := d.settled(now, k.out.doubt())
	if !ok {
		return nil
	}
	if err := k.cursor.Set(next); err != nil {
		// What was delivered stays delivered. It is sent again only if the process ends
		// before a later attempt succeeds.
		d.add(next, now.Add(-k.out.doubt()))
		k.state.failed(err, k.log.Size())
		return nil
	}
	k.kept.Store(next)
	return nil
}

// deliver sends a batch, again and again until it is taken. When earlier deliveries
// are in doubt, a failure takes them back, too, and is returned.
func (k *sink) deliver(ctx context.Context, b *batch, d *doubts) error {
	_, t, ok := eventTime(b.line(0))
	if !ok {
		t = time.Now()
	}
	k.state.trying(t)
	for {
		err := k.out.send(ctx, b)
		if err == nil {
			return nil
		}
		if len(d.marks) > 0 {
			// What has no doubt can be settled now, and the same batch tried again.
			if k.out.doubt() > 0 {
				return err
			}
			if serr := k.settle(ctx, d, time.Now()); serr != nil || len(d.marks) > 0 {
				return errors.Join(err, serr)
			}
		}
		if ctx.Err() != nil || !sleep(ctx, max(k.state.failed(err, k.log.Size()), webhook.RetryAfter(err))) {
			return err
		}
	}
}

// gather fills the batch with what there is, after waiting for the first line, not
// beyond until if that is set. A batch of the lines that came before an error is
// there beside the error.
func (k *sink) gather(ctx context.Context, f *audit.Follower, b *batch, until time.Time) error {
	b.reset(f.Position())
	wait := ctx
	if !until.IsZero() {
		var cancel context.CancelFunc
		wait, cancel = context.WithDeadline(ctx, until)
		defer cancel()
	}
	for b.len() < k.lines && len(b.buf) < k.bytes {
		if b.next > b.first && !f.Ready() && (k.linger == 0 || b.len() == 0) {
			return nil
		}
		n, line, err := f.Next(wait)
		gone, pruned := errors.AsType[*audit.PrunedError](err)
		switch {
		case err == nil:
		case pruned:
			if gone.From != 0 || !k.cfg.FromStart {
				k.state.miss(gone.From, gone.To)
			}
			if b.next == b.first {
				b.reset(f.Position())
				continue
			}
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case wait.Err() != nil:
			return nil // long enough
		default:
			return fmt.Errorf("read the log: %w", err)
		}
		b.next = n + 1
		if !k.filter.wants(line) {
			if b.next-b.first >= streamLines && b.len() == 0 {
				return nil // so that the place moves on
			}
			continue
		}
		if b.len() == 0 && k.linger > 0 {
			// From the first line on the batch has its own time to be filled.
			end := time.Now().Add(k.linger)
			if until.IsZero() || end.Before(until) {
				var cancel context.CancelFunc
				wait, cancel = context.WithDeadline(ctx, end)
				defer cancel()
			}
		}
		b.add(n, line)
	}
	return nil
}
