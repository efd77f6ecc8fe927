package event

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// saveEvery is how often counting is saved while nothing changed its state.
const saveEvery = 5 * time.Second

// engine counts events for alarms. Its state is a function of the events it was
// given; who is told about changes is decided by others. It is safe for concurrent
// use.
type engine struct {
	path string

	mu       sync.Mutex
	counters []*counter // the list is immutable, what they count guarded by mu
	clock    clock      // guarded by mu
	live     bool       // the log was read to its end once; guarded by mu
	next     uint64     // the first line that was not counted; guarded by mu
	origin   string     // of the log that next belongs to
	dirty    bool       // guarded by mu
	urgent   bool       // an alarm changed; guarded by mu
	saved    time.Time  // guarded by mu
}

// engineFile is what the engine keeps over a restart.
type engineFile struct {
	Log    string        `json:"log,omitempty"`
	Next   uint64        `json:"next"`
	Clock  time.Time     `json:"clock,omitzero"`
	Alarms []counterFile `json:"alarms"`
}

type counterFile struct {
	Name    string    `json:"name"`
	Digest  string    `json:"digest"`
	Windows []*window `json:"windows"`
}

// openEngine reads the state that was kept. size is where the log ends, at which a
// new engine begins. Alarms that were changed in what they count begin anew.
func openEngine(path string, rules []*rule, origin string, size uint64) (*engine, error) {
	e := &engine{path: path, origin: origin, next: size}
	for _, r := range rules {
		e.counters = append(e.counters, &counter{rule: r, windows: map[string]*window{}})
	}
	if len(rules) == 0 {
		// Should there be alarms again some day, they begin then.
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("forget the counts of alarms: %w", err)
		}
		return e, nil
	}
	var f engineFile
	found, err := readState(path, &f)
	if err != nil {
		return nil, err
	}
	if !found {
		// Kept at once, so that a crash before the first tick leaves nothing out.
		e.dirty = true
		_, err := e.save(time.Time{}, true)
		return e, err
	}
	e.clock.at = f.Clock
	switch {
	case f.Log != origin:
		e.next = 0
	case f.Next <= size:
		e.next = f.Next
	}
	for _, kept := range f.Alarms {
		for _, c := range e.counters {
			if c.Name != kept.Name || c.digest != kept.Digest {
				continue
			}
			for _, w := range kept.Windows {
				if w != nil && c.windows[w.Group] == nil && len(c.windows) < maxGroups && len(w.Matches) <= max(c.Count, maxShown) {
					c.restore(w)
				}
			}
		}
	}
	e.fitLocked(nil, nil) // nobody else has it yet
	return e, nil
}

// wants reports whether any alarm looks at the log at all.
func (e *engine) wants() bool { return len(e.counters) > 0 }

func (e *engine) mayMatch(d *document) bool {
	return slices.ContainsFunc(e.counters, func(c *counter) bool {
		return c.pattern.match(d) || c.clear != nil && c.clear.match(d)
	})
}

// line counts an event that stands in line n of the log, or passes over a line of
// which no event could be made (nil).
func (e *engine) line(n uint64, d *document, now time.Time) []*change {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.next, e.dirty = n+1, true
	if d == nil {
		return nil
	}
	return e.countLocked(d, now, true)
}

// event counts an event that is not from the log.
func (e *engine) event(d *document, now time.Time) []*change {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.countLocked(d, now, false)
}

func (e *engine) countLocked(d *document, now time.Time, fromLog bool) (changes []*change) {
	var at, clock time.Time // when this event counts, and how late it is then; set by the first match
	counted := func() time.Time {
		if !at.IsZero() {
			return at
		}
		t, ok := eventTime(d)
		if !ok {
			t = now
		}
		// While lines of long ago are read, an event of today must not move the time.
		if fromLog || e.live {
			at = e.clock.event(t, now)
			clock = e.clock.at
		} else {
			at, clock = t, t
		}
		return at
	}
	for _, c := range e.counters {
		if c.clear != nil && c.clear.match(d) {
			counted()
			if ch := c.clearGroup(c.group(d), clock); ch != nil {
				changes = append(changes, ch)
			}
			e.dirty = true
			continue
		}
		if !c.pattern.match(d) {
			continue
		}
		m, group := matchOf(d, counted()), c.group(d)
		// A window that emptied before this event came did so before it counts.
		if w := c.windows[group]; w != nil {
			if ch := c.passWindow(w, clock); ch != nil {
				changes = append(changes, ch)
			}
		}
		if ch := c.add(group, m, clock); ch != nil {
			changes = append(changes, ch)
		}
		e.fitLocked(c, c.windows[group])
		e.dirty = true
	}
	e.urgent = e.urgent || len(changes) > 0
	return changes
}

// fitLocked makes room when all alarms together keep too much: in the alarm that keeps
// the most, so that a flood for one does not make the others forget. The window of c
// that was just counted in stays.
func (e *engine) fitLocked(c *counter, except *window) {
	sum := 0
	for _, o := range e.counters {
		sum += o.bytes
	}
	for sum > maxKeptBytes {
		var most *counter
		for _, o := range e.counters {
			if spare := len(o.windows) > 1 || len(o.windows) == 1 && o != c; spare && (most == nil || o.bytes > most.bytes) {
				most = o
			}
		}
		if most == nil {
			return
		}
		sum -= most.bytes
		most.evict(except)
		sum += most.bytes
	}
}

// restore takes a window from the file.
func (c *counter) restore(w *window) {
	c.windows[w.Group] = w
	c.kept += len(w.Matches)
	c.bytes += w.size()
	for i := range w.Matches {
		c.bytes += w.Matches[i].size()
	}
}

func (c *counter) group(d *document) string {
	if len(c.groupBy) == 0 {
		return ""
	}
	return short(withoutSession(d.string(d.find(0, c.groupBy...))), maxGroupBytes)
}

// withoutSession cuts the name of the session off the ARN of an assumed role. Whoever
// assumes a role chooses that name, and would be somebody else with each.
func withoutSession(s string) string {
	const resource = 5 // arn:PARTITION:sts::ACCOUNT:assumed-role/ROLE/SESSION
	parts := strings.SplitN(s, ":", resource+1)
	if len(parts) != resource+1 || parts[0] != "arn" || parts[2] != "sts" {
		return s
	}
	role, ok := strings.CutPrefix(parts[resource], "assumed-role/")
	if !ok {
		return s
	}
	name, session, _ := strings.Cut(role, "/")
	if session == "" {
		return s
	}
	return s[:len(s)-len(role)] + name
}

// tick lets time pass. caughtUp says that the log has been read to its end; before
// that happened once, events are older than the clock on the wall, and only they
// move the time.
func (e *engine) tick(now time.Time, caughtUp bool) (changes []*change) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.live:
		e.clock.tick(now)
	case caughtUp || !e.clock.at.IsZero() && now.Sub(e.clock.at) < lateSlack:
		e.live = true
		e.clock.caughtUp(now)
	default:
		return nil
	}
	for _, c := range e.counters {
		if len(c.windows) == 0 {
			continue
		}
		passed := c.pass(e.clock.at)
		sortChanges(passed)
		changes = append(changes, passed...)
		e.dirty = e.dirty || len(passed) > 0
	}
	e.urgent = e.urgent || len(changes) > 0
	return changes
}

// position is the first line that was not counted.
func (e *engine) position() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.next
}

// save keeps the state: at once when an alarm changed, otherwise now and then. It must
// be called after the notifications of all changes are kept: a crash in between
// counts the same lines again, and finds the same changes. wrote is false when there
// was no need.
func (e *engine) save(now time.Time, always bool) (wrote bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.dirty || !always && !e.urgent && now.Sub(e.saved) < saveEvery {
		return false, nil
	}
	f := engineFile{Log: e.origin, Next: e.next, Clock: e.clock.at, Alarms: []counterFile{}}
	for _, c := range e.counters {
		k := counterFile{Name: c.Name, Digest: c.digest, Windows: []*window{}}
		for _, w := range c.windows {
			k.Windows = append(k.Windows, w)
		}
		f.Alarms = append(f.Alarms, k)
	}
	if err := writeState(e.path, f); err != nil {
		return true, err
	}
	e.dirty, e.urgent, e.saved = false, false, now
	return true, nil
}

// alarmFigures are what the metrics show of an alarm.
type alarmFigures struct {
	name    string
	raised  int
	groups  int
	givenUp uint64
}

func (e *engine) figures() []alarmFigures {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []alarmFigures
	for _, c := range e.counters {
		all = append(all, alarmFigures{name: c.Name, raised: c.raised(), groups: len(c.windows), givenUp: c.evicted})
	}
	return all
}

// newRules makes the alarms ready and refuses two of one name.
func newRules(alarms []Alarm, targets map[string]bool) ([]*rule, error) {
	var rules []*rule
	seen := map[string]bool{}
	for _, a := range alarms {
		r, err := newRule(a)
		if err != nil {
			return nil, err
		}
		if seen[a.Name] {
			return nil, fmt.Errorf("two alarms are called %s", a.Name)
		}
		seen[a.Name] = true
		if len(a.Targets) == 0 {
			return nil, fmt.Errorf("alarm %s tells nobody", a.Name)
		}
		for _, t := range a.Targets {
			if !targets[t] {
				return nil, fmt.Errorf("alarm %s: no target is called %q", a.Name, t)
			}
		}
		rules = append(rules, r)
	}
	if len(rules) > 100 {
		return nil, errors.New("more than 100 alarms")
	}
	return rules, nil
}
