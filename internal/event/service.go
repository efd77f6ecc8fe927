// Package event turns what happens into events in EventBridge's envelope, sends those
// that somebody asked for to webhooks, and raises alarms when too many of a kind
// happen.
//
// Events come from the lines of the audit log, and from a Bus that other parts of the
// server put in what is not a call: a full disk, a log that cannot be written. It
// promises that an event from the log that matches a rule reaches the rule's target
// at least once, over restarts of either side, as long as retention has left the
// line; the order is not promised. The log itself is the queue: a target that is down
// costs no memory, and neither it nor a slow one holds up calls, other targets or
// alarms, since each has its own place in the log. Notifications of alarms are kept
// in a bounded file until they are delivered.
//
// It trusts its directory and the operator's configuration. It does not trust the
// lines, which hold what strangers sent, nor what targets answer. An event holds what
// the log holds: names of secrets and principals, never values.
package event

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"arca/internal/audit"
)

const (
	maxTargets = 50
	maxRules   = 200
	tickEvery  = time.Second
	// keepAtMost is how often the state is kept when alarms change one after the other.
	keepAtMost = 200 * time.Millisecond
	// keepShare is how many times longer than keeping the state took is the pause after
	// it, up to keepAtLeast: whoever makes many alarms change does not make it all that
	// is done.
	keepShare   = 20
	keepAtLeast = 10 * time.Second
)

// Config says what is sent to whom.
type Config struct {
	// Log is the source of events; nil leaves those of the Bus.
	Log *audit.Log
	// Bus is the other source. Nil makes one that nobody else can reach.
	Bus *Bus
	// Dir keeps the places in the log, the queues and the counts. It is made if
	// missing.
	Dir     string
	Targets []Target
	Rules   []Rule
	Alarms  []Alarm
	// Watch are asked every second. Whether Log can be written is watched anyway.
	Watch  []Watch
	Logger *slog.Logger
	// Now is the clock; nil means the system's.
	Now func() time.Time
}

// Watch is a state of the server that becomes events when it changes.
type Watch struct {
	// Raised and Cleared are the detail types, such as "Audit Lag" and "Audit Lag
	// Recovered".
	Raised, Cleared string
	// Check says how it is now, and the detail of the event, which may be nil. It must
	// not block.
	Check func() (on bool, detail any)
}

// Service delivers events and raises alarms.
type Service struct {
	cfg     Config
	targets []*target
	engine  *engine
	metrics *Metrics
	watched []*Condition
	trouble trouble
	damage  uint64 // of the log, when it was last asked; for tick alone

	mu   sync.Mutex    // orders counting before keeping
	kept time.Time     // when the state was last kept; guarded by mu
	took time.Duration // how long that took; guarded by mu
}

// Check says what Open would refuse of targets, rules and alarms. It touches nothing.
func Check(cfg Config) error {
	if _, _, err := check(cfg); err != nil {
		return err
	}
	for _, t := range cfg.Targets {
		if _, err := t.connect(time.Now); err != nil {
			return err
		}
	}
	return nil
}

func check(cfg Config) (patterns map[string][]*Pattern, rules []*rule, err error) {
	if len(cfg.Targets) > maxTargets || len(cfg.Rules) > maxRules {
		return nil, nil, fmt.Errorf("%d event targets and %d rules, the limits are %d and %d", len(cfg.Targets), len(cfg.Rules), maxTargets, maxRules)
	}
	names := map[string]bool{}
	for _, t := range cfg.Targets {
		switch {
		case !validName(t.Name):
			return nil, nil, fmt.Errorf("event target name %q is not 1 to 64 letters, digits, _ and -", t.Name)
		case names[t.Name]:
			return nil, nil, fmt.Errorf("two event targets are called %s", t.Name)
		case t.Concurrency < 0 || t.Concurrency > maxConcurrency:
			return nil, nil, fmt.Errorf("event target %s: concurrency of %d, want 1 to %d", t.Name, t.Concurrency, maxConcurrency)
		}
		names[t.Name] = true
	}
	if patterns, err = byTarget(cfg.Rules, names); err != nil {
		return nil, nil, err
	}
	if rules, err = newRules(cfg.Alarms, names); err != nil {
		return nil, nil, err
	}
	return patterns, rules, nil
}

// Open checks the configuration and reads how far the last run came.
func Open(cfg Config) (*Service, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Bus == nil {
		cfg.Bus = NewBus(BusConfig{Now: cfg.Now})
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	patterns, rules, err := check(cfg)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open events: %w", err)
	}
	s := &Service{cfg: cfg}
	for _, t := range cfg.Targets {
		w, err := openTarget(cfg, t, patterns[t.Name])
		if err != nil {
			return nil, err
		}
		s.targets = append(s.targets, w)
	}
	var origin string
	var size uint64
	if cfg.Log != nil {
		origin, size = cfg.Log.Origin(), cfg.Log.Size()
	}
	if s.engine, err = openEngine(filepath.Join(cfg.Dir, "alarms.json"), rules, origin, size); err != nil {
		return nil, err
	}
	if log := cfg.Log; log != nil {
		s.cfg.Watch = append(slices.Clone(cfg.Watch), Watch{Raised: "Audit Log Failing", Cleared: "Audit Log Recovered", Check: func() (bool, any) {
			err := log.Err()
			if err == nil {
				return false, nil
			}
			return true, map[string]string{"error": short(err.Error(), maxGroupBytes)}
		}})
	}
	for _, w := range s.cfg.Watch {
		s.watched = append(s.watched, cfg.Bus.Condition(w.Raised, w.Cleared))
	}
	s.metrics = newMetrics(s)
	return s, nil
}

// byTarget checks the rules and sorts their patterns by target.
func byTarget(rules []Rule, targets map[string]bool) (map[string][]*Pattern, error) {
	patterns := map[string][]*Pattern{}
	seen := map[string]bool{}
	for _, r := range rules {
		switch {
		case !validName(r.Name):
			return nil, fmt.Errorf("event rule name %q is not 1 to 64 letters, digits, _ and -", r.Name)
		case seen[r.Name]:
			return nil, fmt.Errorf("two event rules are called %s", r.Name)
		case len(r.Targets) == 0:
			return nil, fmt.Errorf("event rule %s has no target", r.Name)
		}
		seen[r.Name] = true
		p, err := ParsePattern(r.Pattern)
		if err != nil {
			return nil, fmt.Errorf("event rule %s: %w", r.Name, err)
		}
		for _, t := range r.Targets {
			if !targets[t] {
				return nil, fmt.Errorf("event rule %s: no target is called %q", r.Name, t)
			}
			patterns[t] = append(patterns[t], p)
		}
	}
	return patterns, nil
}

// Metrics are the service's figures, for registration.
func (s *Service) Metrics() *Metrics { return s.metrics }

// Run delivers and counts until ctx ends. It waits for what is on its way, which ends
// with ctx, too.
func (s *Service) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, w := range s.targets {
		wg.Go(func() { w.run(ctx) })
	}
	if s.cfg.Log != nil && s.engine.wants() {
		wg.Go(func() { s.count(ctx) })
	}
	wg.Go(func() { s.listen(ctx) })
	wg.Go(func() { s.tick(ctx) })
	wg.Wait()
	for _, e := range s.cfg.Bus.takeNow() { // what came last
		s.take(e)
	}
	s.keepState(-1)
	return nil
}

// count reads the log for the alarms.
func (s *Service) count(ctx context.Context) {
	f := s.cfg.Log.Follow(s.engine.position())
	defer func() { _ = f.Close() }() // it was only read
	var r reader
	for {
		n, line, ok := nextLine(ctx, f, s.cfg.Logger, func(gone *audit.PrunedError) {
			s.counting(func(now time.Time) []*change { return s.engine.line(gone.To, nil, now) })
		})
		if !ok {
			return
		}
		d, err := r.read(line)
		if err != nil {
			d = nil
		}
		s.counting(func(now time.Time) []*change { return s.engine.line(n, d, now) })
	}
}

// listen takes events off the bus.
func (s *Service) listen(ctx context.Context) {
	for {
		events, err := s.cfg.Bus.take(ctx)
		if err != nil {
			return
		}
		for _, e := range events {
			s.take(e)
		}
		s.keepState(keepAtMost)
	}
}

// take counts one event of the bus and passes it on.
func (s *Service) take(e Event) {
	body, err := e.MarshalJSON()
	if err != nil {
		s.cfg.Logger.Error("event cannot be written", "error", err)
		return
	}
	var d document
	if err := d.parse(body); err != nil {
		s.cfg.Logger.Error("event cannot be read", "type", e.DetailType, "error", err)
		return
	}
	s.counting(func(now time.Time) []*change {
		if !e.Quiet {
			s.queueFor(&d, item{ID: messageID(e.ID), Key: e.Key, Body: body}, nil)
		}
		return s.engine.event(&d, now)
	})
}

// Wants reports whether the rules of a target or an alarm may match an event of which part,
// an object, has some members: what it does not tell counts as matched. Whoever causes very
// many events asks before making them, once for all of a kind, since rules and alarms stay as
// they are.
func (s *Service) Wants(part []byte) bool {
	d := document{partial: true}
	if d.parse(part) != nil {
		return true
	}
	return s.engine.mayMatch(&d) || slices.ContainsFunc(s.targets, func(w *target) bool { return w.matches(&d) })
}

// counting runs one step of the alarms and queues what they have to say. Nothing is
// kept in between: the state of an alarm must not reach the disk before its
// notification.
func (s *Service) counting(step func(now time.Time) []*change) {
	s.mu.Lock()
	changes := step(s.cfg.Now())
	for _, ch := range changes {
		s.notifyLocked(ch)
	}
	s.mu.Unlock()
	if len(changes) > 0 {
		s.keepState(keepAtMost)
	}
}

// queueFor queues an event for those whose rules it matches, and for those named.
func (s *Service) queueFor(d *document, it item, also []string) {
	it.First = s.cfg.Now()
	for _, w := range s.targets {
		if slices.Contains(also, w.Name) || w.matches(d) {
			one := it
			w.queue.push(&one)
		}
	}
}

func (s *Service) notifyLocked(ch *change) {
	e, err := ch.event(s.cfg.Bus.cfg.Account, s.cfg.Bus.cfg.Region)
	var body []byte
	var d document
	if err == nil {
		body, err = e.MarshalJSON()
	}
	if err == nil {
		err = d.parse(body)
	}
	if err != nil {
		s.cfg.Logger.Error("alarm cannot be written", "alarm", ch.alarm.Name, "error", err)
		return
	}
	s.logChange(ch)
	s.queueFor(&d, item{ID: e.ID, Body: body, Alarm: true}, ch.alarm.Targets)
}

// keepState writes queues, and then what alarms have counted: a crash in between
// finds the same changes again, with the same ids. It does nothing when less than
// pause has passed since the last time, or less than keeping it often may cost; the
// next tick does it then. A negative pause keeps it in any case.
func (s *Service) keepState(pause time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()
	if pause >= 0 {
		pause = max(pause, min(keepShare*s.took, keepAtLeast))
	}
	if since := now.Sub(s.kept); since >= 0 && since < pause {
		return
	}
	s.kept = now
	for _, w := range s.targets {
		if !w.saveQueue() {
			return
		}
	}
	wrote, err := s.engine.save(now, pause < 0)
	if wrote {
		s.kept = s.cfg.Now()
		s.took = max(0, s.kept.Sub(now))
	}
	s.trouble.report(s.cfg.Logger, "the counts of alarms are not on disk", err)
}

func (s *Service) logChange(ch *change) {
	log := s.cfg.Logger.With("alarm", ch.alarm.Name)
	switch {
	case !ch.raised:
		log.Info("alarm over")
	case ch.w.Told > 1:
		log.Warn("alarm goes on", "event", ch.w.Matches[len(ch.w.Matches)-1].EventID)
	default:
		log.Warn("alarm raised", "event", ch.w.Cause)
	}
}

// tick does what time asks for: windows end, states are asked for, places are kept.
func (s *Service) tick(ctx context.Context) {
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	for {
		s.step()
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// watchDamage tells when more damage to the log's files was found.
func (s *Service) watchDamage() {
	if s.cfg.Log == nil {
		return
	}
	now := s.cfg.Log.Damage()
	if now > s.damage {
		s.cfg.Bus.Emit(Event{DetailType: "Audit Log Damaged", Detail: fmt.Appendf(nil, `{"findings":%d}`, now-s.damage)})
	}
	s.damage = now
}

func (s *Service) step() {
	for i, w := range s.cfg.Watch {
		on, detail := w.Check()
		s.watched[i].Set(on, detail)
	}
	s.watchDamage()
	caughtUp := s.cfg.Log == nil || s.engine.position() >= s.cfg.Log.Size()
	s.counting(func(now time.Time) []*change { return s.engine.tick(now, caughtUp) })
	s.keepState(0)
	for _, w := range s.targets {
		w.keep(false)
	}
}
