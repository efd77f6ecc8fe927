package event

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	minPeriod = time.Second
	maxPeriod = 24 * time.Hour
	maxCount  = 1000
	minRepeat = time.Minute

	// lateSlack is how far behind the newest event another one may come and still be
	// counted at its own time. Calls are written when they end and dated when they
	// began; different calls pass each other.
	lateSlack = 2 * time.Minute

	// maxRaised is how long the alarm of one group waits for the event that clears it.
	maxRaised = 7 * 24 * time.Hour

	// maxGroups bounds the groups that an alarm watches; the ones that were quiet for
	// the longest time make room for others.
	maxGroups = 1000
	// maxMatches bounds the matches that all groups of an alarm keep.
	maxMatches = 10_000
	// maxKeptBytes bounds what all alarms keep, as it is written.
	maxKeptBytes = 16 << 20
	// maxShown is how many of the latest matches a notification shows.
	maxShown = 10
	// maxGroupBytes cuts what a group is called, maxShownBytes and, for principals and
	// resources, maxNameBytes what is shown of a match. The ARN of a session fits.
	maxGroupBytes = 512
	maxShownBytes = 128
	maxNameBytes  = 192
)

// Alarm fires when enough events match within a time.
type Alarm struct {
	// Name of the alarm: letters, digits and "-"; it appears in metrics.
	Name string
	// Description is for people who get the notification.
	Description string
	// Pattern of the events that count.
	Pattern string
	// Count of matches within Period raises the alarm.
	Count  int
	Period time.Duration
	// GroupBy is the path of a member such as detail.userIdentity.arn: events are
	// counted for each of its values by itself, all sessions of a role together. Empty
	// counts everything together.
	GroupBy string
	// Clear is the pattern of events that end the alarm. With it the alarm lasts
	// until such an event comes, that of a group a week at most. Without, it ends when
	// nothing has matched for Period.
	Clear string
	// Repeat notifies again while the alarm lasts and events go on matching, at most
	// this often; 0 never does.
	Repeat time.Duration
	// Targets are the names of those who are told.
	Targets []string
}

// rule is an alarm made ready.
type rule struct {
	Alarm
	pattern, clear *Pattern
	groupBy        []string
	digest         string // of everything that decides what is counted
}

func newRule(a Alarm) (*rule, error) {
	r := &rule{Alarm: a}
	var err error
	switch {
	case !validName(a.Name):
		return nil, fmt.Errorf("alarm name %q is not 1 to 64 letters, digits and -", a.Name)
	case a.Count < 1 || a.Count > maxCount:
		return nil, fmt.Errorf("alarm %s: count of %d, want 1 to %d", a.Name, a.Count, maxCount)
	case a.Period < minPeriod || a.Period > maxPeriod:
		return nil, fmt.Errorf("alarm %s: period of %v, want %v to %v", a.Name, a.Period, minPeriod, maxPeriod)
	case a.Repeat != 0 && a.Repeat < minRepeat:
		return nil, fmt.Errorf("alarm %s: repeat every %v, want %v or more", a.Name, a.Repeat, minRepeat)
	case len(a.GroupBy) > maxGroupBytes || len(a.Description) > 1024:
		return nil, fmt.Errorf("alarm %s: group or description is too long", a.Name)
	}
	if r.pattern, err = ParsePattern(a.Pattern); err != nil {
		return nil, fmt.Errorf("alarm %s: %w", a.Name, err)
	}
	if a.Clear != "" {
		if r.clear, err = ParsePattern(a.Clear); err != nil {
			return nil, fmt.Errorf("alarm %s: clear: %w", a.Name, err)
		}
	}
	if a.GroupBy != "" {
		r.groupBy = strings.Split(a.GroupBy, ".")
		if slices.Contains(r.groupBy, "") {
			return nil, fmt.Errorf("alarm %s: group %q is not a path such as detail.userIdentity.arn", a.Name, a.GroupBy)
		}
	}
	r.digest = hash(a.Pattern, a.Clear, a.GroupBy, fmt.Sprint(a.Count, a.Period))
	return r, nil
}

// validName: names become labels of metrics and names of files.
func validName(s string) bool {
	if s == "" || len(s) > 64 || s[0] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// match is one event that counted.
type match struct {
	// Counted is the time at which it counts, which is its own unless it was late.
	Counted time.Time `json:"counted"`

	EventID   string `json:"eventID"`
	EventTime string `json:"eventTime"`
	EventName string `json:"eventName"`
	Principal string `json:"principal,omitempty"`
	SourceIP  string `json:"sourceIPAddress,omitempty"`
	ErrorCode string `json:"errorCode,omitempty"`
	Resource  string `json:"resource,omitempty"`
}

// window is what an alarm knows of one group.
type window struct {
	Group string `json:"group,omitempty"`
	// Matches are the newest Count ones, in order of Counted.
	Matches []match `json:"matches,omitempty"`
	// Raised: the state is ALARM.
	Raised bool `json:"raised,omitempty"`
	// Since is when the state began.
	Since time.Time `json:"since,omitzero"`
	// Cause is the id of the event that raised the alarm.
	Cause string `json:"cause,omitempty"`
	// Told counts the notifications since then, Last is when the last one was made.
	Told int       `json:"told,omitempty"`
	Last time.Time `json:"last,omitzero"`
	// Fresh: something matched since then.
	Fresh bool `json:"fresh,omitempty"`
}

func (w *window) newest() time.Time {
	if len(w.Matches) == 0 {
		return w.Since
	}
	return w.Matches[len(w.Matches)-1].Counted
}

// size is at least what a match takes in the file of the state.
func (m *match) size() int {
	n := 256 // names, punctuation and the time
	for _, s := range [...]string{m.EventID, m.EventTime, m.EventName, m.Principal, m.SourceIP, m.ErrorCode, m.Resource} {
		n += written(s)
	}
	return n
}

// size is at least what a window takes there, without its matches.
func (w *window) size() int { return 256 + written(w.Group) + written(w.Cause) }

// written is at least the length of a text in JSON.
func written(s string) (n int) {
	for _, c := range []byte(s) {
		switch {
		case c < 0x20 || c == 0x7f:
			n += 6
		case c >= 0x80 || c == '"' || c == '\\':
			n += 2 // the worst of what is valid are two separators of lines, 3 bytes each
		default:
			n++
		}
	}
	return n
}

// counter is one alarm with its windows.
type counter struct {
	*rule
	windows map[string]*window
	kept    int // matches in all windows
	bytes   int // size of all windows with their matches
	// evicted counts windows given up before their time, for the metrics.
	evicted uint64
}

// change is a transition, or the repetition of one, that somebody is told about.
type change struct {
	alarm  *rule
	w      window // as it was then; Matches are its own copy
	raised bool
	// cleared: an event ended it, not the lack of events.
	cleared bool
	at      time.Time
	before  time.Time // when the state before it began
}

// add counts a match at its time, and returns the change it made.
func (c *counter) add(group string, m match, now time.Time) *change {
	w := c.windows[group]
	if w == nil {
		if len(c.windows) >= maxGroups {
			c.evict(nil)
		}
		w = &window{Group: group, Since: now}
		c.windows[group] = w
		c.bytes += w.size()
	}
	i := len(w.Matches)
	for i > 0 && w.Matches[i-1].Counted.After(m.Counted) {
		i--
	}
	for _, old := range w.Matches {
		if old.EventID == m.EventID {
			return nil // the same event once more
		}
	}
	w.Matches = slices.Insert(w.Matches, i, m)
	c.kept++
	c.bytes += m.size()
	if keep := max(c.Count, maxShown); len(w.Matches) > keep {
		c.bytes -= w.Matches[0].size()
		w.Matches = slices.Delete(w.Matches, 0, 1)
		c.kept--
	}
	for c.kept > maxMatches && c.evict(w) {
	}
	if w.Raised {
		w.Fresh = true
		return c.repeat(w, now)
	}
	n := len(w.Matches)
	if n < c.Count || w.Matches[n-1].Counted.Sub(w.Matches[n-c.Count].Counted) >= c.Period {
		return nil
	}
	ch := &change{alarm: c.rule, raised: true, at: now, before: w.Since}
	c.bytes -= w.size()
	w.Raised, w.Since, w.Cause, w.Told, w.Last, w.Fresh = true, now, m.EventID, 1, now, false
	c.bytes += w.size()
	ch.w = w.copy()
	return ch
}

// repeat tells again of an alarm that goes on, if it is time.
func (c *counter) repeat(w *window, now time.Time) *change {
	if c.Repeat == 0 || !w.Fresh || now.Sub(w.Last) < c.Repeat {
		return nil
	}
	w.Told, w.Last, w.Fresh = w.Told+1, now, false
	return &change{alarm: c.rule, raised: true, at: now, before: w.Since, w: w.copy()}
}

// end lowers the alarm of one group.
func (c *counter) end(w *window, now time.Time) *change {
	ch := &change{alarm: c.rule, at: now, before: w.Since, w: w.copy()}
	c.forget(w)
	return ch
}

// clearGroup lowers the alarm of a group because an event said that all is well.
func (c *counter) clearGroup(group string, now time.Time) *change {
	w := c.windows[group]
	switch {
	case w == nil:
		return nil
	case !w.Raised:
		c.forget(w)
		return nil
	}
	ch := c.end(w, now)
	ch.cleared = true
	return ch
}

// pass lets time go by: windows that are empty end.
func (c *counter) pass(now time.Time) (changes []*change) {
	for _, w := range c.windows {
		if ch := c.passWindow(w, now); ch != nil {
			changes = append(changes, ch)
		}
	}
	return changes
}

func (c *counter) passWindow(w *window, now time.Time) *change {
	lasts := c.Period
	switch {
	case !w.Raised || c.clear == nil:
	case c.GroupBy == "":
		return c.repeat(w, now) // only an event clears it
	default:
		// What would clear it may never come: its subject may be gone.
		lasts = max(lasts, maxRaised)
	}
	switch {
	case now.Sub(w.newest()) < lasts:
		if w.Raised {
			return c.repeat(w, now)
		}
		return nil
	case w.Raised:
		return c.end(w, now)
	}
	c.forget(w)
	return nil
}

func (c *counter) forget(w *window) {
	c.kept -= len(w.Matches)
	c.bytes -= w.size()
	for i := range w.Matches {
		c.bytes -= w.Matches[i].size()
	}
	delete(c.windows, w.Group)
}

// evict gives up the window that was quiet for the longest time, of those that did
// not raise the alarm if there are any, but never the one that an event has just been
// counted in. It is false when there is no other.
func (c *counter) evict(except *window) bool {
	var oldest *window
	for _, w := range c.windows {
		switch {
		case w == except:
		case oldest == nil, oldest.Raised && !w.Raised:
			oldest = w
		case oldest.Raised == w.Raised && w.newest().Before(oldest.newest()):
			oldest = w
		}
	}
	if oldest == nil {
		return false
	}
	c.evicted++
	c.forget(oldest)
	return true
}

func (c *counter) raised() (n int) {
	for _, w := range c.windows {
		if w.Raised {
			n++
		}
	}
	return n
}

func (w *window) copy() window {
	out := *w
	out.Matches = slices.Clone(w.Matches)
	return out
}
