package trail

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"

	"arca/internal/audit"
)

// lane walks over the events of one directory that are asked for.
type lane struct {
	f       *folder
	q       *query
	forward bool
	// bound is the position: the lines that are still to come are below it or, forward,
	// from it on.
	bound uint64

	segs  []audit.Segment
	i     int // the segment of todo
	begun bool

	first   uint64 // of the segment of todo
	todo    []uint32
	header  header // of its index; no lines: none was asked
	file    *lineFile
	remade  bool // its index has been discarded once
	current bool // the index is of the live segment

	head    *Event // found, not yet taken
	done    bool
	damaged bool // lines were left out because they cannot be read
	record  record
}

// errBudget ends a step that has read as many lines as it may.
var errBudget = errors.New("as many lines as one search reads")

// budget is how many lines a search may still read. A block that is read for them costs
// as well, in lines: one that is wanted of each block is the dearest way to read the log.
type budget struct{ lines int }

func (f *folder) newLane(ctx context.Context, q *query, forward bool, at map[string]uint64) (*lane, error) {
	if err := f.advance(ctx); err != nil {
		return nil, err
	}
	l := &lane{f: f, q: q, forward: forward}
	var err error
	if l.segs, err = audit.Segments(f.dir); err != nil {
		return nil, fmt.Errorf("search audit log: %w", err)
	}
	bound, ok := at[f.name]
	switch {
	case !ok && !forward:
		bound = math.MaxUint64
	case forward && f.log != nil && bound > f.log.Size():
		bound = 0 // of a former generation, of which nothing is left
	}
	l.bound = bound
	if !forward {
		slices.Reverse(l.segs)
	}
	return l, nil
}

func (l *lane) close() {
	if l.file != nil {
		l.file.close()
		l.file = nil
	}
}

// next finds the next event, unless one was found and not taken.
func (l *lane) next(ctx context.Context, b *budget) error {
	for l.head == nil && !l.done {
		if len(l.todo) == 0 {
			if err := l.nextSegment(ctx); err != nil {
				return err
			}
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n := l.todo[0]
		if !l.forward {
			n = l.todo[len(l.todo)-1]
		}
		if l.bound = l.first + uint64(n); !l.forward {
			l.bound++
		}
		if b.lines <= 0 {
			return errBudget
		}
		b.lines--
		cost := l.file.cost
		line, err := l.file.line(n)
		b.lines -= l.file.cost - cost
		if errors.Is(err, errIndex) && !l.remade && !l.current {
			if err := l.remake(ctx); err != nil {
				return err
			}
			continue
		}
		if l.forward {
			l.todo = l.todo[1:]
		} else {
			l.todo = l.todo[:len(l.todo)-1]
		}
		if err != nil {
			// What the disk has lost, or somebody has changed, must not hide the rest.
			l.damaged = true
			l.f.complain(l.first, fmt.Errorf("line %d: %w", l.first+uint64(n), err))
			continue
		}
		if l.record.read(line) && l.q.matches(&l.record, line) {
			e := l.record.event()
			e.Dir, e.Node, e.Line, e.Raw = l.f.dir, l.f.name, l.first+uint64(n), slices.Clone(line)
			l.head = &e
		}
	}
	return nil
}

// take removes the event that was found.
func (l *lane) take() Event {
	e := *l.head
	l.head = nil
	if l.bound = e.Line; l.forward {
		l.bound++
	}
	return e
}

// nextSegment finds the candidates of the next segment that has some.
func (l *lane) nextSegment(ctx context.Context) error {
	l.close()
	l.passed()
	if l.begun {
		l.i++
	}
	l.begun, l.remade = true, false
	if l.i >= len(l.segs) {
		l.done = true
		if !l.forward {
			l.bound = 0
		}
		return nil
	}
	return l.openSegment(ctx)
}

// following is the first line of the segment that comes after the current one in the
// log, or the greatest number.
func (l *lane) following() uint64 {
	i := l.i - 1
	if l.forward {
		i = l.i + 1
	}
	if i < 0 || i >= len(l.segs) {
		return math.MaxUint64
	}
	return l.segs[i].First
}

func (l *lane) openSegment(ctx context.Context) error {
	seg, next := l.segs[l.i], l.following()
	if l.forward && next <= l.bound || !l.forward && seg.First >= l.bound {
		return nil
	}
	lines, blocks, h, err := l.candidates(ctx, seg, next)
	if errors.Is(err, errIndex) && !l.remade && !l.current {
		return l.remake(ctx)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil // retention removed the segment
	}
	if err != nil {
		return l.skip(seg, next, err)
	}
	l.first = seg.First
	l.header = h
	l.todo = slices.DeleteFunc(lines, func(n uint32) bool {
		if l.forward {
			return seg.First+uint64(n) < l.bound
		}
		return seg.First+uint64(n) >= l.bound
	})
	if len(l.todo) == 0 {
		return nil
	}
	l.file, err = openLines(seg, h, blocks, h.complete && !l.current)
	if errors.Is(err, errIndex) && !l.remade && !l.current {
		return l.remake(ctx)
	}
	if errors.Is(err, fs.ErrNotExist) {
		l.todo = nil
		return nil
	}
	if err != nil {
		l.todo, l.header = nil, header{}
		return l.skip(seg, next, err)
	}
	return nil
}

// skip leaves a segment out that is damaged: it must not hide the others. Errors that
// pass, or that whoever searches can do something about, end the search.
func (l *lane) skip(seg audit.Segment, next uint64, err error) error {
	if !isDamage(err) || l.current {
		return fmt.Errorf("search audit segment %d: %w", seg.First, err)
	}
	l.damaged = true
	l.f.complain(seg.First, err)
	switch {
	case !l.forward:
		l.bound = min(l.bound, seg.First)
	case next != math.MaxUint64:
		l.bound = max(l.bound, next)
	}
	return nil
}

// passed moves the position over the current segment, in which nothing is left to look
// at.
func (l *lane) passed() {
	h := l.header
	l.header = header{}
	switch {
	case h.lines == 0:
	case l.forward:
		l.bound = max(l.bound, h.first+uint64(h.lines))
	default:
		l.bound = min(l.bound, h.first)
	}
}

// remake discards the index of the current segment and begins with the segment anew.
func (l *lane) remake(ctx context.Context) error {
	l.close()
	l.todo = nil
	l.f.slog.Warn("index of the audit log did not fit its segment and is made again",
		"directory", l.f.dir, "segment", l.segs[l.i].First)
	l.f.discard(l.segs[l.i].First)
	l.remade = true
	return l.openSegment(ctx)
}

// candidates asks the index of a segment.
func (l *lane) candidates(ctx context.Context, seg audit.Segment, next uint64) ([]uint32, []block, header, error) {
	lines, blocks, h, state, err := l.f.askLive(seg.First, l.q)
	if state == segmentNew {
		// It was begun since, or its index is being made anew.
		if err := l.f.advance(ctx); err != nil {
			return nil, nil, header{}, err
		}
		lines, blocks, h, state, err = l.f.askLive(seg.First, l.q)
	}
	if state == segmentLive && errors.Is(err, errIndex) {
		if err := l.f.reindex(ctx, seg.First); err != nil {
			return nil, nil, header{}, err
		}
		lines, blocks, h, state, err = l.f.askLive(seg.First, l.q)
	}
	l.current = state == segmentLive
	if state != segmentOld {
		if l.forward {
			// Lines may follow in it that the answer does not have. Those of the segment
			// that comes next are not to be found before them.
			l.segs = l.segs[:l.i+1]
		}
		return lines, blocks, h, err
	}
	if next == math.MaxUint64 && l.f.log != nil {
		// It was the newest one when the search began, and has been closed since.
		if seg, next, err = l.f.again(seg); err != nil {
			return nil, nil, header{}, err
		}
	}
	x, done, err := l.f.closed(ctx, seg, next)
	if err != nil {
		return nil, nil, header{}, err
	}
	defer done()
	lines, blocks, err = candidates(x, l.q)
	return lines, blocks, x.info(), err
}

// again looks at a segment and the first line of the one that follows it.
func (f *folder) again(seg audit.Segment) (audit.Segment, uint64, error) {
	segs, err := audit.Segments(f.dir)
	if err != nil {
		return seg, 0, err
	}
	i := slices.IndexFunc(segs, func(s audit.Segment) bool { return s.First == seg.First })
	if i < 0 {
		return seg, 0, fs.ErrNotExist
	}
	return segs[i], nextFirst(segs, i), nil
}

type segmentState int

const (
	segmentOld  segmentState = iota // has, or should have, an index on disk
	segmentLive                     // is indexed in memory
	segmentNew                      // is not indexed yet
)

// askLive asks the index in memory if it is that of the segment.
func (f *folder) askLive(first uint64, q *query) (lines []uint32, blocks []block, h header, state segmentState, err error) {
	if f.log == nil {
		return nil, nil, h, segmentOld, nil
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	switch {
	case f.live == nil || first > f.live.first:
		return nil, nil, h, segmentNew, nil
	case first < f.live.first:
		return nil, nil, h, segmentOld, nil
	}
	lines, blocks, h, err = f.liveCandidates(q)
	return lines, blocks, h, segmentLive, err
}

// liveCandidates asks the two parts of the index of the newest segment. The caller holds
// mu.
func (f *folder) liveCandidates(q *query) ([]uint32, []block, header, error) {
	h := f.live.info()
	lines, blocks, err := candidates(f.live, q)
	if err != nil || f.base == nil {
		return lines, blocks, h, err
	}
	earlier, before, err := candidates(f.base, q)
	if err != nil || len(earlier) == 0 {
		return lines, blocks, h, err
	}
	if blocks == nil { // the last of before ends where these begin
		blocks = f.live.blocks
	}
	return append(earlier, lines...), append(before, blocks...), h, nil
}
