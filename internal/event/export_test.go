package event

import "time"

// SetBackoff makes retries quick enough for tests.
func (s *Service) SetBackoff(first, most time.Duration) {
	for _, w := range s.targets {
		w.backoff = backoff{first, most}
	}
}

// Bounds, for tests that reach them.
const (
	MaxWaiting    = maxWaiting
	MaxGroups     = maxGroups
	MaxMatches    = maxMatches
	MaxKeptBytes  = maxKeptBytes
	MaxQueue      = maxQueue
	MaxQueueBytes = maxQueueBytes
	LateSlack     = lateSlack
	MaxRaised     = maxRaised
)

// FromLine is the event that is made of a line.
func FromLine(line []byte) ([]byte, error) {
	var r reader
	// Twice: what the first call leaves behind must not show in the second.
	if _, err := r.read(line); err != nil {
		return nil, err
	}
	d, err := r.read(line)
	if err != nil {
		return nil, err
	}
	return d.buf, nil
}

// MatchLine reports whether a pattern matches the event of a line, on the document
// that is put together of two.
func MatchLine(p *Pattern, line []byte) (bool, error) {
	var r reader
	d, err := r.read(line)
	if err != nil {
		return false, err
	}
	return p.match(d), nil
}

// IsJSON reports whether a document can be made of the text.
func IsJSON(buf []byte) bool {
	var d document
	return d.parse(buf) == nil
}

// Counting drives the alarms' engine without a log.
type Counting struct {
	e *engine
	r reader
	n uint64
}

// Notice is what a change looks like to a test.
type Notice struct {
	Alarm, Group, State string
	At                  time.Time
	IDs                 []string
	Event               Event
}

// NewCounting opens an engine; path may be kept from a former one.
func NewCounting(path string, size uint64, alarms ...Alarm) (*Counting, error) {
	var rules []*rule
	for _, a := range alarms {
		r, err := newRule(a)
		if err != nil {
			return nil, err
		}
		rules = append(rules, r)
	}
	e, err := openEngine(path, rules, "", size)
	if err != nil {
		return nil, err
	}
	return &Counting{e: e, n: e.next}, nil
}

// Line counts a line.
func (c *Counting) Line(line []byte, now time.Time) []Notice {
	var r reader
	d, err := r.read(line)
	if err != nil {
		d = nil
	}
	c.n++
	return notices(c.e.line(c.n-1, d, now))
}

// Event counts an event of the bus.
func (c *Counting) Event(e Event, now time.Time) []Notice {
	body, err := e.MarshalJSON()
	if err != nil {
		panic(err)
	}
	var d document
	if err := d.parse(body); err != nil {
		panic(err)
	}
	return notices(c.e.event(&d, now))
}

// Tick lets time pass.
func (c *Counting) Tick(now time.Time, caughtUp bool) []Notice {
	return notices(c.e.tick(now, caughtUp))
}

// Save keeps the state.
func (c *Counting) Save() error {
	_, err := c.e.save(time.Time{}, true)
	return err
}

// Next is the line to go on with.
func (c *Counting) Next() uint64 { return c.e.position() }

// Kept counts groups and matches of the first alarm.
func (c *Counting) Kept() (groups, matches int) {
	n := 0
	for _, w := range c.e.counters[0].windows {
		n += len(w.Matches)
	}
	if n != c.e.counters[0].kept {
		panic("count of matches is wrong")
	}
	c.Bytes()
	return len(c.e.counters[0].windows), n
}

// Bytes is how much all alarms keep.
func (c *Counting) Bytes() (sum int) {
	for _, o := range c.e.counters {
		n := 0
		for _, w := range o.windows {
			n += w.size()
			for i := range w.Matches {
				n += w.Matches[i].size()
			}
		}
		if n != o.bytes {
			panic("count of bytes is wrong")
		}
		sum += n
	}
	return sum
}

func notices(changes []*change) []Notice {
	var all []Notice
	for _, ch := range changes {
		e, err := ch.event("111111111111", "eu-central-1")
		if err != nil {
			panic(err)
		}
		n := Notice{Alarm: ch.alarm.Name, Group: ch.w.Group, State: "OK", At: ch.at, Event: e}
		if ch.raised {
			n.State = "ALARM"
		}
		for _, m := range ch.w.Matches {
			n.IDs = append(n.IDs, m.EventID)
		}
		all = append(all, n)
	}
	return all
}

// LineOf is Line with the reader kept, for benchmarks.
func (c *Counting) LineOf(line []byte, now time.Time) int {
	d, err := c.r.read(line)
	if err != nil {
		d = nil
	}
	c.n++
	return len(c.e.line(c.n-1, d, now))
}

// Waiting takes what waits in a bus.
func Waiting(b *Bus) (events []Event, dropped uint64) {
	return b.takeNow(), b.droppedCount()
}
