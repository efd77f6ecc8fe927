package trail

import (
	"context"
	"errors"
	"fmt"
	"math"
)

const (
	// searchLines bounds what one search reads before it answers with what it has: as many
	// lines, where each block that is read for them costs as much as its lines at least.
	// Only what no index helps with reads so much.
	searchLines = 100_000
	// pageWeight is how many bytes of events make a page full, whatever number was asked
	// for.
	pageWeight = 4 << 20
)

// Page is a part of what was asked for.
type Page struct {
	Events []Event
	// Next is where the next page begins, also when there is none yet: a search forward
	// goes on there when there are more events.
	Next Position
	// More says that there may be more events at Next now.
	More bool
	// Damaged says that lines or whole segments on the way cannot be read: events may be
	// missing. Which ones, the log says, and Check of package audit.
	Damaged bool
}

// ErrNotFound is the error for an event that is not in the log.
var ErrNotFound = errors.New("no such event in the audit log")

// Search returns at most limit events, the newest first: in the order of the lines in
// each directory, which is that of the ends of calls, and by time among directories. It
// knows what was in the log when the search began with the first page.
//
// A page can have fewer events and even none, and yet More, when many lines had to be
// read for it.
func (t *Trail) Search(ctx context.Context, f Filter, at Position, limit int) (Page, error) {
	return t.search(ctx, f, at, limit, false)
}

// SearchForward is Search from the oldest event on.
func (t *Trail) SearchForward(ctx context.Context, f Filter, at Position, limit int) (Page, error) {
	return t.search(ctx, f, at, limit, true)
}

func (t *Trail) search(ctx context.Context, f Filter, at Position, limit int, forward bool) (_ Page, err error) {
	q, err := f.compile()
	if err != nil {
		return Page{}, err
	}
	from, err := at.parse()
	if err != nil {
		return Page{}, err
	}
	lanes := make([]*lane, 0, len(t.folders))
	defer func() {
		for _, l := range lanes {
			l.close()
		}
	}()
	from = t.generations(from)
	for _, dir := range t.folders {
		l, err := dir.newLane(ctx, q, forward, from)
		if err != nil {
			return Page{}, err
		}
		lanes = append(lanes, l)
	}
	var page Page
	b := budget{lines: searchLines}
	for weight := 0; ; {
		best, err := first(ctx, lanes, &b, forward)
		if err != nil && !errors.Is(err, errBudget) {
			return Page{}, err
		}
		if err != nil || best != nil && (len(page.Events) >= limit || weight >= pageWeight) {
			page.More = true
			break
		}
		if best == nil {
			break
		}
		weight += len(best.head.Raw)
		page.Events = append(page.Events, best.take())
	}
	next := make(map[string]uint64, len(lanes))
	for _, l := range lanes {
		next[l.f.name] = l.bound
		page.Damaged = page.Damaged || l.damaged
	}
	page.Next = makePosition(next)
	return page, nil
}

// End is the position behind the newest event that is in the log now: a search from there
// finds all events, the newest first, and a search forward those that are still to come.
// Directories that this process does not write to are taken not to grow.
func (t *Trail) End() Position {
	end := make(map[string]uint64, len(t.folders))
	for _, f := range t.folders {
		end[f.name] = math.MaxUint64
		if f.log != nil {
			end[f.name] = f.log.Size()
		}
	}
	return makePosition(end)
}

// first returns the lane whose next event comes first, or nil when all are done.
func first(ctx context.Context, lanes []*lane, b *budget, forward bool) (*lane, error) {
	var best *lane
	for _, l := range lanes {
		if err := l.next(ctx, b); err != nil {
			return nil, err
		}
		if l.head == nil {
			continue
		}
		if best == nil || forward && l.head.Time.Before(best.head.Time) || !forward && l.head.Time.After(best.head.Time) {
			best = l
		}
	}
	return best, nil
}

// Find returns the event with an id, or ErrNotFound. If two lines have the id, which
// Check of package audit reports, it is the newest.
func (t *Trail) Find(ctx context.Context, id string) (Event, error) {
	if id == "" {
		return Event{}, ErrNotFound
	}
	page, err := t.Search(ctx, Filter{EventID: id}, "", 1)
	if err != nil {
		return Event{}, err
	}
	if len(page.Events) == 0 && page.Damaged {
		return Event{}, fmt.Errorf("%w: %q; but part of the log cannot be read", ErrNotFound, id)
	}
	if len(page.Events) == 0 {
		return Event{}, fmt.Errorf("%w: %q", ErrNotFound, id)
	}
	return page.Events[0], nil
}
