package compliance

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"arca/internal/secrets"
	"arca/internal/store"
)

// Config is what a Service needs. Store and Survey are required.
type Config struct {
	Store  *store.Store
	Survey *secrets.Survey
	// Parameters of the rules; they have passed Validate.
	Parameters Parameters
	// File is where it is kept which states were told, so that a restart does not tell them
	// again. Empty keeps them in memory: then the first look at a secret tells nothing.
	File string
	// Changed is told of every change of state. It may wait until ctx ends. A change that
	// it returns an error for is told again by the next step, or the next process. nil:
	// nobody is told.
	Changed func(ctx context.Context, c Change) error
	Logger  *slog.Logger
}

// walkEvery is how often all secrets are looked at although nothing of theirs has
// changed: what an alias leads to, and whether a key is there, is not their own.
const walkEvery = 10 * time.Minute

// The bounds of one step: some tens of milliseconds of work at most.
const (
	changesPerStep = 5_000
	scanPerStep    = 10_000
	duePerStep     = 5_000
)

// bounds are those of a step, which tests make narrower.
type bounds struct{ changes, scan, due int }

// Service looks at secrets. Its methods may be called concurrently, but for Step.
type Service struct {
	cfg    Config
	rules  *judged
	m      *Metrics
	bounds bounds

	// Only Step uses these.
	told    *toldFile
	untold  []Change               // that nobody has been told yet, oldest first
	prior   map[secrets.UID]states // what a former process has told; nil after the first pass
	had     bool                   // whether a former process has come through a whole pass
	pass    uint32                 // of the walk over all secrets
	walking bool
	place   string // of the secret that the walk goes on with
	last    secrets.Instant
	walked  time.Time // when the last walk began that nothing but time had asked for

	mu sync.Mutex
	// seen holds every secret that was looked at (guarded by mu; written by Step alone).
	seen   *sightings
	scopes []*scope          // guarded by mu; by number
	places map[string]uint32 // guarded by mu; numbers of scopes by account and region
	passed bool              // guarded by mu; every secret has been looked at once
}

// states are those of a secret under all rules, three bits each. 0: not looked at.
type states uint16

func (s states) of(rule int) State { return State(s >> (3 * rule) & 7) }

func packed(verdicts *[ruleCount]verdict) (s states) {
	for i := range verdicts {
		s |= states(verdicts[i].state) << (3 * i)
	}
	return s
}

// valid reports whether the states are ones that packed makes.
func (s states) valid() bool {
	for i := range ruleCount {
		if st := s.of(i); st == 0 || st >= stateCount {
			return false
		}
	}
	return s>>(3*ruleCount) == 0
}

// scope counts the secrets of one account in one region.
type scope struct {
	account, region string
	counts          Counts
}

// Counts are numbers of secrets by rule and state, in the order of Rules.
type Counts [ruleCount][stateCount]int

// Of is the number of secrets that are in a state under a rule.
func (c *Counts) Of(r Rule, s State) int {
	for i, rule := range Rules() {
		if rule == r && s < stateCount {
			return c[i][s]
		}
	}
	return 0
}

func (c *Counts) add(s states, delta int) {
	for i := range ruleCount {
		c[i][s.of(i)] += delta
	}
}

// New makes a service that looks at secrets with Step.
func New(cfg Config) *Service {
	return &Service{
		cfg: cfg, rules: newJudged(cfg.Parameters), m: newMetrics(), walking: true, pass: 1,
		bounds: bounds{changesPerStep, scanPerStep, duePerStep},
		seen:   newSightings(), places: make(map[string]uint32),
	}
}

// Parameters are those of the rules, with defaults filled in.
func (s *Service) Parameters() Parameters { return s.rules.Parameters }

// stepInterval is how often Run takes a step.
const stepInterval = time.Second

// Run takes steps until ctx ends. now is the time that rules go by.
func (s *Service) Run(ctx context.Context, now func() time.Time) error {
	tick := time.NewTicker(stepInterval)
	defer tick.Stop()
	s.m.running.Store(true)
	defer s.m.running.Store(false)
	for {
		if err := s.Step(ctx, now()); err != nil && ctx.Err() == nil {
			s.cfg.Logger.Warn("compliance of secrets could not be looked at; it is tried again", "error", err.Error())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Step looks at a bounded number of secrets: those that have changed or were read, those
// of the walk over all that follows a start, and those whose state the time changes.
func (s *Service) Step(ctx context.Context, now time.Time) error {
	at := secrets.InstantOf(now)
	if s.told == nil {
		s.openTold()
	}
	// Before more is found: what waits to be told is that of one step.
	if err := s.tell(ctx); err != nil {
		return err
	}
	if at < s.last {
		s.walkAgain() // the clock was put back, so what was due to change may have to change back
	}
	if s.walked.IsZero() {
		s.walked = now
	} else if !s.walking && now.Sub(s.walked).Abs() >= walkEvery {
		s.walkAgain()
		s.walked = now
	}
	s.last = at
	err := s.cfg.Store.View(ctx, func(v *store.Snap) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.untold = s.stepLocked(v, at)
		return nil
	})
	if err != nil {
		return fmt.Errorf("look at secrets: %w", err)
	}
	// First told, then put down: a crash in between tells them twice, and never not.
	if err := s.tell(ctx); err != nil {
		return err
	}
	if err := s.told.write(now, s.all); err != nil {
		return fmt.Errorf("put down what was told: %w", err)
	}
	return nil
}

// tell tells what nobody has been told yet.
func (s *Service) tell(ctx context.Context) error {
	for len(s.untold) > 0 {
		if s.cfg.Changed != nil {
			if err := s.cfg.Changed(ctx, s.untold[0]); err != nil {
				return fmt.Errorf("tell of changes: %w", err)
			}
		}
		s.m.changed(&s.untold[0])
		s.untold = s.untold[1:]
	}
	return nil
}

func (s *Service) stepLocked(v *store.Snap, now secrets.Instant) (changes []Change) {
	changed, gone, all := s.cfg.Survey.Changed(v, s.bounds.changes)
	for _, uid := range gone {
		s.forgetLocked(s.seen.of(uid))
	}
	for _, sec := range changed {
		changes = s.lookLocked(changes, v, sec, now)
	}
	if all {
		s.walkAgain()
	}
	if s.walking {
		changes = s.walkLocked(changes, v, now)
	}
	for range s.bounds.due {
		k := s.seen.firstDue()
		if k == nil || k.next > now {
			break
		}
		sc := s.scopes[k.scope]
		sec, ok := s.cfg.Survey.Secret(v, sc.account, sc.region, k.uid)
		if !ok {
			s.forgetLocked(k)
			continue
		}
		changes = s.lookLocked(changes, v, sec, now)
	}
	return changes
}

// walkAgain begins a walk over all secrets.
func (s *Service) walkAgain() {
	s.walking, s.place = true, ""
	s.pass++
}

// walkLocked takes the walk on. At its end it forgets what it has not met: that is gone.
func (s *Service) walkLocked(changes []Change, v *store.Snap, now secrets.Instant) []Change {
	n := 0
	done := true
	s.cfg.Survey.Walk(v, s.place, func(place string, sec *secrets.Secret) bool {
		if n == s.bounds.scan {
			s.place, done = place, false
			return false
		}
		n++
		changes = s.lookLocked(changes, v, sec, now)
		return true
	})
	if !done {
		return changes
	}
	s.walking = false
	for k := range s.seen.all() {
		if k.pass != s.pass {
			s.forgetLocked(k)
		}
	}
	if !s.passed {
		s.passed = true
		for uid := range s.prior {
			if s.seen.of(uid) == nil {
				s.told.note(uid, 0)
			}
		}
		s.prior = nil
		s.told.noteWhole()
	}
	return changes
}

// lookLocked looks at one secret and adds what has changed about it.
func (s *Service) lookLocked(changes []Change, v *store.Snap, sec *secrets.Secret, now secrets.Instant) []Change {
	f := s.facts(v, sec)
	verdicts := s.rules.judge(&f, now)
	is := packed(&verdicts)
	k := s.seen.of(sec.UID)
	fresh := k == nil
	if fresh {
		k = s.seen.add(sec.UID)
		k.scope, k.states = s.scopeLocked(sec), s.prior[sec.UID]
	} else {
		s.scopes[k.scope].counts.add(k.states, -1)
	}
	s.scopes[k.scope].counts.add(is, 1)
	was := k.states
	k.states, k.pass = is, s.pass
	s.seen.plan(k, nextChange(&verdicts))
	if was == is {
		return changes
	}
	s.told.note(k.uid, is)
	if was == 0 && !s.passed && !s.had {
		return changes // there is nothing that this could be a change of
	}
	for i, r := range Rules() {
		before, after := was.of(i), is.of(i)
		if before == after || before == 0 && after == NotApplicable {
			continue
		}
		changes = append(changes, Change{
			Time: now.Time(), Rule: r, Old: before, New: after, Annotation: s.rules.annotation(verdicts[i], &f),
			SecretARN: sec.ARN(), SecretName: sec.Name, Account: sec.Account, Region: sec.Region,
		})
	}
	return changes
}

// nextChange is when time alone changes a verdict; 0 for never.
func nextChange(verdicts *[ruleCount]verdict) (next secrets.Instant) {
	for i := range verdicts {
		if until := verdicts[i].until; until != 0 && (next == 0 || until+1 < next) {
			next = until + 1
		}
	}
	return next
}

// forgetLocked lets go of a secret that is gone; nil is nothing.
func (s *Service) forgetLocked(k *seen) {
	if k == nil {
		return
	}
	s.scopes[k.scope].counts.add(k.states, -1)
	s.told.note(k.uid, 0)
	s.seen.remove(k)
}

func (s *Service) scopeLocked(sec *secrets.Secret) uint32 {
	name := sec.Account + "/" + sec.Region
	n, ok := s.places[name]
	if !ok {
		n = uint32(len(s.scopes))
		s.scopes = append(s.scopes, &scope{account: sec.Account, region: sec.Region})
		s.places[name] = n
	}
	return n
}

// Counts sums up an account, or everything for "", as Step has seen it last. whole is
// false until every secret has been looked at once.
func (s *Service) Counts(account string) (sum Counts, whole bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sc := range s.scopes {
		if account != "" && sc.account != account {
			continue
		}
		for i := range sum {
			for j := range sum[i] {
				sum[i][j] += sc.counts[i][j]
			}
		}
	}
	return sum, s.passed
}
