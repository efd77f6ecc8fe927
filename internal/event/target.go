package event

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"arca/internal/audit"
	"arca/internal/webhook"
)

const (
	defaultConcurrency = 4
	maxConcurrency     = 64
	queueWorkers       = 2
	// parkTries is after how many attempts an event is set aside that its target does
	// not take while it takes others.
	parkTries = 3
	// probesPerSlot is how many events, for each that may be on its way, are set aside
	// since the target last took one, when it answers but refuses them: whether it would
	// take the next ones is only known by trying.
	probesPerSlot = 4
	// keepPlaceEvery is how often the place in the log is kept while nothing is
	// delivered. What lies between is only read once more after a crash.
	keepPlaceEvery = 10 * time.Second
)

// Target is a receiver of events.
type Target struct {
	// Name of the target: letters, digits and "-"; it appears in metrics and in the
	// names of files.
	Name string
	// URL, Secrets, RootCAs and Timeout are those of webhook.Config.
	URL     string
	Secrets []webhook.Secret
	RootCAs *x509.CertPool
	Timeout time.Duration
	// Concurrency is how many events are on their way to it at once; 0 means 4.
	Concurrency int
	// FromStart lets a new target begin with the first line of the log; otherwise it
	// begins with what is written from now on.
	FromStart bool
}

// Rule sends the events that match a pattern to targets.
type Rule struct {
	Name    string
	Pattern string
	Targets []string
}

// target is a Target at work.
type target struct {
	Target
	log      *audit.Log
	client   *webhook.Client
	patterns []*Pattern
	cursor   *audit.Cursor
	queue    *queue
	logger   *slog.Logger
	clock    func() time.Time
	backoff  backoff

	queueTrouble, placeTrouble trouble

	mu        sync.Mutex
	next      uint64        // first line that was not read; guarded by mu
	pending   []uint64      // lines on their way, ascending; guarded by mu
	sentSince bool          // something was delivered since the place was kept; guarded by mu
	kept      uint64        // the place that is kept; guarded by mu
	keptAt    time.Time     // guarded by mu
	lastOK    time.Time     // the target last took something; guarded by mu
	probes    int           // events set aside since then in the hope that it takes others; guarded by mu
	failing   bool          // its last answer was an error; guarded by mu
	back      chan struct{} // closed when it answers again; guarded by mu

	delivered, failed, givenUp, unreadable, missed uint64 // guarded by mu
}

// backoff is the pause between attempts.
type backoff struct{ first, most time.Duration }

// pause before the next attempt, after so many.
func (b backoff) pause(tries int, err error) time.Duration {
	d := b.most
	if tries < 20 {
		d = min(b.most, b.first<<(tries-1))
	}
	// Between 80 and 120 percent, so that many events do not come back at once.
	d = time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
	return max(d, min(webhook.RetryAfter(err), time.Hour))
}

// connect makes the client of the target. It does not touch the network.
func (t *Target) connect(now func() time.Time) (*webhook.Client, error) {
	c, err := webhook.New(webhook.Config{URL: t.URL, Secrets: t.Secrets, RootCAs: t.RootCAs, Timeout: t.Timeout,
		Connections: cmp.Or(t.Concurrency, defaultConcurrency) + queueWorkers, Now: now})
	if err != nil {
		return nil, fmt.Errorf("event target %s: %w", t.Name, err)
	}
	return c, nil
}

func openTarget(cfg Config, t Target, patterns []*Pattern) (*target, error) {
	if t.Concurrency == 0 {
		t.Concurrency = defaultConcurrency
	}
	client, err := t.connect(cfg.Now)
	if err != nil {
		return nil, err
	}
	w := &target{Target: t, log: cfg.Log, client: client, patterns: patterns, clock: cfg.Now,
		logger: cfg.Logger.With("target", t.Name), backoff: backoff{time.Second, 5 * time.Minute}, back: make(chan struct{})}
	if w.queue, err = openQueue(filepath.Join(cfg.Dir, "event-"+t.Name+"-queue.json")); err != nil {
		return nil, err
	}
	if len(patterns) == 0 || cfg.Log == nil {
		return w, nil
	}
	if w.cursor, err = cfg.Log.OpenCursor(filepath.Join(cfg.Dir, "event-"+t.Name+".json")); err != nil {
		return nil, err
	}
	n, ok := w.cursor.Next()
	if size := cfg.Log.Size(); !ok && !t.FromStart || n > size {
		if ok {
			w.logger.Warn("the log is shorter than what was delivered of it; events go on at its end", "line", n, "size", size)
		}
		n = size
	}
	if !ok {
		// Kept at once, so that a crash before the first event leaves nothing out.
		if err := w.cursor.Set(n); err != nil {
			return nil, err
		}
	}
	w.next, w.kept = n, n
	return w, nil
}

func (w *target) matches(d *document) bool {
	for _, p := range w.patterns {
		if p.match(d) {
			return true
		}
	}
	return false
}

// run delivers until ctx ends.
func (w *target) run(ctx context.Context) {
	var wg sync.WaitGroup
	if w.cursor != nil {
		wg.Go(func() { w.follow(ctx, &wg) })
	}
	for range queueWorkers {
		wg.Go(func() { w.drain(ctx) })
	}
	wg.Wait()
	w.keep(true)
	w.client.Close()
}

// follow reads the log and sends what matches, some events at a time. When all places
// are taken it waits: the log is the queue.
func (w *target) follow(ctx context.Context, wg *sync.WaitGroup) {
	w.mu.Lock()
	f := w.log.Follow(w.next)
	w.mu.Unlock()
	defer func() { _ = f.Close() }() // it was only read
	slots := make(chan struct{}, w.Concurrency)
	var r reader
	for {
		n, line, ok := nextLine(ctx, f, w.logger, func(gone *audit.PrunedError) { w.skip(gone) })
		if !ok {
			return
		}
		d, err := r.read(line)
		if err != nil || !w.matches(d) {
			w.pass(n, err)
			continue
		}
		it := &item{ID: messageID(d.string(d.member(0, "id"))), Body: slices.Clone(d.buf), FromLog: true}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		w.begin(n)
		wg.Go(func() {
			defer func() { <-slots }()
			if w.deliver(ctx, it) {
				w.end(n)
			}
		})
	}
}

// nextLine waits for the next line. It is false when there will be none.
func nextLine(ctx context.Context, f *audit.Follower, logger *slog.Logger, gone func(*audit.PrunedError)) (n uint64, line []byte, ok bool) {
	for {
		n, line, err := f.Next(ctx)
		switch pruned, is := errors.AsType[*audit.PrunedError](err); {
		case err == nil:
			return n, line, true
		case ctx.Err() != nil || errors.Is(err, audit.ErrClosed):
			return 0, nil, false
		case is:
			logger.Warn("audit lines went before their events were sent", "from", pruned.From, "to", pruned.To)
			gone(pruned)
		default:
			logger.Error("events wait for the audit log", "error", err)
			if !pause(ctx, time.Second, nil) {
				return 0, nil, false
			}
		}
	}
}

// pause waits until the time is over or hurry is closed. It is false when ctx ended.
func pause(ctx context.Context, d time.Duration, hurry <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-hurry:
	case <-ctx.Done():
		return false
	}
	return true
}

// deliver sends an event from the log until it arrived, is given up, or is set aside.
// It is false when ctx ended before that.
func (w *target) deliver(ctx context.Context, it *item) bool {
	it.First = w.clock()
	for {
		it.Tries++
		err := w.send(ctx, it)
		if err == nil || w.hopeless(it, err) {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		w.mu.Lock()
		back := w.back
		w.mu.Unlock()
		wait := w.backoff.pause(it.Tries, err)
		if it.Tries >= parkTries && w.setAside(it, wait, err) {
			// On disk before the place in the log moves past it.
			w.saveQueue()
			return true
		}
		if !pause(ctx, wait, back) {
			return false
		}
	}
}

// setAside moves an event into the queue, if its target has taken others since, or
// answers and so may take others. A few of the latter are enough to find out: a target
// that refuses everything leaves the rest in the log.
func (w *target) setAside(it *item, wait time.Duration, err error) bool {
	_, answered := errors.AsType[*webhook.StatusError](err)
	w.mu.Lock()
	defer w.mu.Unlock()
	it.probe = !w.lastOK.After(it.First)
	if it.probe && (!answered || w.probes >= probesPerSlot*w.Concurrency) {
		return false
	}
	it.next = w.clock().Add(wait)
	if !w.queue.park(it) {
		return false
	}
	if it.probe {
		w.probes++
	}
	return true
}

// drain sends what is in the queue.
func (w *target) drain(ctx context.Context) {
	for ctx.Err() == nil {
		it, wait := w.queue.take(w.clock())
		if it == nil {
			if wait < 0 {
				wait = time.Hour
			}
			if !pause(ctx, wait, w.queue.wake) {
				return
			}
			continue
		}
		w.queue.ring() // there may be more for the others
		err := w.send(ctx, it)
		if err == nil || w.hopeless(it, err) {
			w.queue.done(it)
			continue
		}
		w.queue.putBack(it, w.clock().Add(w.backoff.pause(it.Tries, err)))
	}
}

// send tries once.
func (w *target) send(ctx context.Context, it *item) error {
	err := w.client.Send(ctx, webhook.Message{ID: it.ID, Body: it.Body})
	if err != nil && ctx.Err() != nil {
		return err // nobody's fault
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	was := w.failing
	w.failing = err != nil
	if err != nil {
		w.failed++
		if !was {
			w.logger.Warn("events cannot be delivered; they are tried again", "to", w.client.Host(), "error", err)
		}
		return err
	}
	w.delivered++
	w.lastOK, w.probes = w.clock(), 0
	w.sentSince = true
	if was {
		w.logger.Info("events are delivered again", "to", w.client.Host())
		close(w.back)
		w.back = make(chan struct{})
		w.queue.hurry()
	}
	return nil
}

// hopeless reports whether an event is given up: its receiver refused this one for
// good, or has taken others for a day and not this one.
func (w *target) hopeless(it *item, err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.clock().Sub(it.First) > giveUpAfter && w.lastOK.After(it.First)
	if !webhook.Permanent(err) && !old {
		return false
	}
	w.givenUp++
	w.logger.Error("event given up", "event", it.ID, "tries", it.Tries, "error", err)
	return true
}

// pass is for a line that is not sent.
func (w *target) pass(n uint64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next = n + 1
	if err != nil {
		w.unreadable++
	}
}

func (w *target) skip(gone *audit.PrunedError) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next = gone.To + 1
	w.missed += gone.To + 1 - gone.From
}

func (w *target) begin(n uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next = n + 1
	w.pending = append(w.pending, n)
}

func (w *target) end(n uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if i := slices.Index(w.pending, n); i >= 0 {
		w.pending = slices.Delete(w.pending, i, i+1)
	}
	w.sentSince = true
}

// placeLocked is the first line that may have to be read again.
func (w *target) placeLocked() uint64 {
	if len(w.pending) > 0 {
		return w.pending[0]
	}
	return w.next
}

// keep writes down how far delivery has come.
func (w *target) keep(always bool) {
	if !w.saveQueue() || w.cursor == nil {
		return // the place must not pass what is in memory only
	}
	w.mu.Lock()
	place, now := w.placeLocked(), w.clock()
	due := place != w.kept && (always || w.sentSince || now.Sub(w.keptAt) >= keepPlaceEvery)
	if due {
		w.sentSince, w.keptAt = false, now
	}
	w.mu.Unlock()
	if !due {
		return
	}
	err := w.cursor.Set(place)
	w.placeTrouble.report(w.logger, "the place of events in the log is not on disk", err)
	if err != nil {
		return
	}
	w.mu.Lock()
	w.kept = place
	w.mu.Unlock()
}

// saveQueue writes the queue; what cannot be written stays in memory.
func (w *target) saveQueue() bool {
	err := w.queue.save()
	w.queueTrouble.report(w.logger, "the queue of events is not on disk", err)
	return err == nil
}

// trouble logs an error once, and its end.
type trouble struct{ on atomic.Bool }

func (t *trouble) report(logger *slog.Logger, what string, err error) {
	if was := t.on.Swap(err != nil); err != nil && !was {
		logger.Error(what, "error", err)
	} else if err == nil && was {
		logger.Info("no longer: " + what)
	}
}

// messageID is the id of an event as the id of a message, which may hold fewer
// characters. Ids of our own records are UUIDs and stay as they are.
func messageID(id string) string {
	if len(id) > 64 || !validName(id) {
		return hash(id)
	}
	return id
}
