package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"arca/internal/merkle"
)

// claim is a statement about the first lines of the log, and where it is from.
type claim struct {
	merkle.Checkpoint
	source string
}

func (c claim) String() string {
	if c.Time.IsZero() {
		return fmt.Sprintf("%s, which covers %d lines,", c.source, c.Size)
	}
	return fmt.Sprintf("%s, signed %s over %d lines,", c.source, c.Time.UTC().Format(time.RFC3339), c.Size)
}

// verification is the state of one Verify.
type verification struct {
	VerifyOptions
	report *VerifyReport
	keys   []note.Verifier
	claims []claim     // about this log, by size
	notes  []PruneNote // by Next
	segs   []Segment
	upTo   []uint64
	tiles  *merkle.Tiles
	// proven reads hashes of the tree of provenSize lines from tiles, each proven
	// against a signed checkpoint; nil when the tiles allow none.
	proven     tlog.HashReader
	provenSize uint64
	provenRoot merkle.Hash

	// head is what etcd has signed, or remembers, of this log; nil when that is nothing.
	head *merkle.Checkpoint

	first uint64 // the first line that is read
	pos   uint64 // the next line
	edge  *edge  // over the lines before pos; nil when that is not known
	seg   int    // of the last part that was taken
	good  uint64 // the lines before it match a checkpoint, or stand in suspects
	next  int    // first claim that was not compared
	open  []claim
	// suspects are lines among which something does not match.
	suspects []Range
	extra    map[int]uint64 // lines too many, by segment
	unread   map[int]bool   // segments that could not be read to their end
	tileLog
	done, total int64
}

// Verify reads a log, or a part of it, and compares it with the checkpoints that are in
// the directory, that were kept elsewhere, and that etcd knows. What is wrong with the
// log ends up in the report; the error is for what kept it from being read. Each line
// is read once, and in case of a difference its segment once more.
//
// Only the keys given, the checkpoints given and Head are trusted; of what lies in the
// directory, what these prove.
func Verify(ctx context.Context, o VerifyOptions) (*VerifyReport, error) {
	for tries := 0; ; tries++ {
		v := &verification{VerifyOptions: o, report: new(VerifyReport), extra: make(map[int]uint64), unread: make(map[int]bool)}
		err := v.run(ctx)
		// Retention may have removed a segment that was listed.
		if errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrNothingToVerify) && tries < 20 {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("verify audit log: %w", err)
		}
		return v.report, nil
	}
}

func (v *verification) run(ctx context.Context) error {
	if v.To == 0 {
		v.To = math.MaxUint64
	}
	if err := v.loadKeys(); err != nil {
		return err
	}
	// The checkpoints first: the lines that they cover are on disk by then.
	if err := v.loadClaims(); err != nil {
		return err
	}
	var err error
	if v.segs, err = Segments(v.Dir); err != nil {
		return err
	}
	if len(v.segs) == 0 && len(v.claims) == 0 {
		return ErrNothingToVerify
	}
	v.tiles = merkle.NewTiles(v.Dir)
	v.openTiles()
	if err := v.loadNotes(); err != nil {
		return err
	}
	v.begin()
	if err := v.hashAll(ctx); err != nil {
		return err
	}
	v.finish()
	if err := v.explain(ctx); err != nil {
		return err
	}
	v.explainTiles()
	slices.SortStableFunc(v.report.Problems, func(a, b Problem) int {
		switch {
		case a.Line < b.Line:
			return -1
		case a.Line > b.Line:
			return 1
		}
		return 0
	})
	return nil
}

func (v *verification) problem(kind ProblemKind, from, to uint64, format string, args ...any) {
	switch n := len(v.report.Problems); {
	case n < maxProblems:
		v.report.Problems = append(v.report.Problems, Problem{kind, from, to, fmt.Sprintf(format, args...)})
	case n == maxProblems:
		v.report.Problems = append(v.report.Problems, Problem{LinesUnexplained, from, to, "there are more problems than this report holds"})
	}
}

func (v *verification) warn(format string, args ...any) {
	v.report.Warnings = append(v.report.Warnings, fmt.Sprintf(format, args...))
}

// openTiles finds the largest checkpoint that the tiles hold the tree of.
func (v *verification) openTiles() {
	tries := 0
	for _, c := range slices.Backward(v.claims) {
		if c.Size == 0 || tries == 8 {
			return
		}
		tries++
		r := v.tiles.Reader(c.Size, c.Root)
		if _, err := readEdge(c.Size, r); err == nil {
			v.proven, v.provenSize, v.provenRoot = r, c.Size, c.Root
			return
		}
	}
}

// edgeAt is the edge of the tree at a size, proven from tiles.
func (v *verification) edgeAt(size uint64) (*edge, error) {
	if v.proven == nil || size > v.provenSize {
		return nil, merkle.ErrTiles
	}
	return readEdge(size, v.proven)
}

// begin decides where to begin, and with which tree.
func (v *verification) begin() {
	v.edge = new(edge)
	if len(v.segs) == 0 {
		return
	}
	if v.From > v.segs[0].First {
		i := len(v.segs) - 1
		for v.segs[i].First > v.From {
			i--
		}
		if e, err := v.edgeAt(v.segs[i].First); err == nil {
			v.start(i, e)
			return
		}
		v.warn("the hash tiles do not hold the tree before line %d: the log is read from its beginning", v.segs[i].First)
	}
	first := v.segs[0].First
	if first == 0 {
		v.start(0, new(edge))
		return
	}
	proven, err := v.edgeAt(first)
	i := slices.IndexFunc(v.notes, func(p PruneNote) bool { return p.Next == first })
	switch {
	case i < 0:
		v.problem(BadNote, 0, first-1, "lines 0 to %d are missing, and no valid note says that retention removed them", first-1)
		if err != nil {
			v.warn("lines before %d cannot be told from others: hash tiles for them are missing", first)
			proven = nil
		}
	default:
		noted, noteErr := edgeFrom(first, v.notes[i].Edge)
		if noteErr == nil && err == nil && noted.root() != proven.root() {
			v.problem(BadNote, 0, first-1, "the note on the removal of lines before %d is not about this log's tree", first)
		}
		if err != nil {
			proven = noted
		}
		v.compareNotes(v.notes[i])
	}
	v.start(0, proven)
}

// compareNotes follows the notes on removals from the newest down to the first line.
// Retention removes from the beginning on, so each note joins the one before.
func (v *verification) compareNotes(newest PruneNote) {
	for at := newest.From; at > 0; {
		i, ok := slices.BinarySearchFunc(v.notes, at, func(p PruneNote, at uint64) int { return cmp.Compare(p.Next, at) })
		if !ok {
			v.problem(BadNote, 0, at-1, "lines 0 to %d are missing, and no valid note says that retention removed them", at-1)
			return
		}
		at = v.notes[i].From
	}
}

// start begins with a segment, given the tree over everything before it.
func (v *verification) start(i int, e *edge) {
	v.segs = v.segs[i:]
	next := uint64(math.MaxUint64) // where the first segment begins that is not read
	stop := v.stop()
	if end := slices.IndexFunc(v.segs, func(s Segment) bool { return s.First >= stop }); end >= 0 {
		if end = max(end, 1); end < len(v.segs) {
			next = v.segs[end].First
			v.segs = v.segs[:end]
		}
	}
	for _, s := range v.segs[1:] {
		v.upTo = append(v.upTo, s.First)
	}
	v.upTo = append(v.upTo, next)
	v.edge, v.pos, v.seg = e, v.segs[0].First, -1
	v.first, v.good = v.pos, v.pos
	// Checkpoints over less than is read here are compared through the tiles.
	for ; v.next < len(v.claims) && v.claims[v.next].Size <= v.pos; v.next++ {
		v.compareEarlier(v.claims[v.next], e)
	}
}

// stop is how many lines have to be read for those that are asked for: up to the first
// checkpoint that covers all of them.
func (v *verification) stop() uint64 {
	if v.To != math.MaxUint64 {
		for _, c := range v.claims {
			if c.Size >= v.To {
				return c.Size
			}
		}
	}
	return math.MaxUint64
}

// compareEarlier compares a checkpoint over lines that are not read, or not there, with
// the tree.
func (v *verification) compareEarlier(c claim, e *edge) {
	var root merkle.Hash
	switch {
	case e != nil && c.Size == e.size:
		root = e.root()
	case c.Size == 0:
		root = merkle.EmptyRoot()
	default:
		earlier, err := v.edgeAt(c.Size)
		if err != nil {
			v.warn("%s could not be compared: the lines are not there or were not asked for, and neither are hash tiles", c)
			v.uncompared(c)
			return
		}
		root = earlier.root()
	}
	if root != c.Root {
		v.rewritten(c)
	}
}

// rewritten reports a signed checkpoint that is no earlier state of the log.
func (v *verification) rewritten(c claim) {
	later := "this log"
	for _, other := range slices.Backward(v.claims) {
		if other.Size >= c.Size && other.Root != c.Root {
			later = fmt.Sprintf("the log of %s", other)
			break
		}
	}
	v.problem(Rewritten, 0, c.Size, "%s does not begin with the lines of %s: the later does not extend the earlier, the log was rewritten", later, c)
}

// hashAll hashes the lines and compares the tree with each checkpoint on the way.
func (v *verification) hashAll(ctx context.Context) error {
	if len(v.segs) == 0 {
		return nil
	}
	plan := hashPlan{segs: v.segs, upTo: v.upTo, tiles: v.tiles, tiled: v.tiled()}
	for _, c := range v.claims {
		plan.stops = append(plan.stops, c.Size)
	}
	if v.Progress != nil {
		for _, s := range v.segs {
			r, err := s.Open()
			if err != nil {
				return err
			}
			v.total += r.Size()
			if err := r.Close(); err != nil {
				return err
			}
		}
	}
	return hashLines(ctx, plan, func(h hashed) error {
		v.take(h)
		return nil
	})
}

// tiled is up to which line there should be tiles.
func (v *verification) tiled() uint64 {
	if v.proven != nil {
		return v.provenSize
	}
	if n := len(v.claims); n > 0 {
		return v.claims[n-1].Size
	}
	return 0
}

// take adds a part of a segment to the tree.
func (v *verification) take(h hashed) {
	if h.seg != v.seg {
		if first := v.segs[h.seg].First; v.pos != first {
			v.gap(first)
		}
		v.seg = h.seg
	}
	if h.err != nil {
		v.cannotRead(h)
		return
	}
	if h.extra > 0 {
		v.extra[h.seg] += h.extra
		v.suspect(v.upTo[h.seg]-1, v.upTo[h.seg])
	}
	if h.torn && h.seg < len(v.segs)-1 {
		v.problem(BadSegment, h.first+h.lines, h.first+h.lines, "%s ends within a line", v.segs[h.seg].name())
	}
	for _, p := range h.pieces {
		if v.edge != nil {
			v.edge.add(p.level, p.hash, v.compareNode)
			if p.level == maxPieceLevel {
				v.compareNode(p.level, p.hash)
			}
		}
		v.pos += 1 << p.level
		v.compare(v.pos)
	}
	v.addDiffer(h)
	v.report.Lines += h.lines
	v.report.Bytes += h.bytes
	if v.Progress != nil {
		v.done += h.bytes
		v.Progress(v.done, max(v.total, v.done))
	}
}

// cannotRead takes in that a segment cannot be read from here on.
func (v *verification) cannotRead(h hashed) {
	if v.unread[h.seg] {
		return
	}
	v.unread[h.seg] = true
	v.edge = nil
	end := v.endOf(h.seg)
	v.problem(BadSegment, v.pos, max(v.pos, end-1), "%s cannot be read from line %d on: %v", v.segs[h.seg].name(), v.pos, h.err)
}

// gap goes on behind lines that are not where they should be.
func (v *verification) gap(to uint64) {
	if n := len(v.claims); n > 0 && v.claims[n-1].Size > v.pos {
		v.suspect(min(v.good, v.pos), to)
	} else {
		v.problem(BadSegment, v.pos, to-1, "no segment holds %s, and no checkpoint covers them", plainRange(v.pos, to-1))
	}
	for ; v.next < len(v.claims) && v.claims[v.next].Size < to; v.next++ {
		v.compareEarlier(v.claims[v.next], nil)
	}
	v.pos = to
	v.edge = nil
	if e, err := v.edgeAt(to); err == nil {
		v.edge, v.good = e, to
		v.compare(to)
	}
}

// suspect notes that something among these lines does not match.
func (v *verification) suspect(from, to uint64) {
	if n := len(v.suspects); n > 0 && v.suspects[n-1].To >= from {
		v.suspects[n-1].To = max(v.suspects[n-1].To, to)
		v.suspects[n-1].From = min(v.suspects[n-1].From, from)
		return
	}
	v.suspects = append(v.suspects, Range{from, to})
}

// compare compares the tree with what is claimed about it at a size.
func (v *verification) compare(size uint64) {
	var mine merkle.Hash
	known := v.edge != nil
	if v.next < len(v.claims) && v.claims[v.next].Size == size && known {
		mine = v.edge.root()
	}
	for ; v.next < len(v.claims) && v.claims[v.next].Size <= size; v.next++ {
		c := v.claims[v.next]
		switch {
		case !known:
			v.open = append(v.open, c)
		case mine == c.Root:
			// What did not match before, and has no part in this, is of another history.
			for _, o := range v.open {
				v.rewritten(o)
			}
			v.open = nil
			v.matched(c)
		default:
			v.differs(c, mine)
		}
	}
}

func (v *verification) matched(c claim) {
	v.good = c.Size
	r := v.report
	r.Checked = append(r.Checked, c.Checkpoint)
	if c.Size == r.Size && c.Time.IsZero() {
		return // what etcd remembers of a former log has no time
	}
	r.Size, r.Root, r.Time = c.Size, c.Root, c.Time
}

// differs takes in that the lines do not give the root that a checkpoint has. Either
// lines are not what they were, or the checkpoint is of another history; tiles that are
// proven tell which, and allow to go on.
func (v *verification) differs(c claim, mine merkle.Hash) {
	proven, err := v.edgeAt(c.Size)
	if err != nil {
		if v.good == c.Size {
			// The lines match another checkpoint of that size.
			v.rewritten(c)
			return
		}
		v.open = append(v.open, c)
		return
	}
	root := proven.root()
	if root != mine {
		v.suspect(v.good, c.Size)
		v.edge, v.good = proven, c.Size
	}
	if root != c.Root {
		v.rewritten(c)
	}
}
