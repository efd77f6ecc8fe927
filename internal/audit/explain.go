package audit

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"arca/internal/merkle"
)

const (
	// maxExplained bounds the lines of one segment that are compared one by one.
	maxExplained = 1 << 20
	// spareExplained is how many lines beyond those in the segment are expected there.
	spareExplained = 64 << 10
)

// explain tells what happened to the lines of segments that do not match: it compares
// the hashes of the lines with those in the tiles, as far as a checkpoint proves them.
func (v *verification) explain(ctx context.Context) error {
	before := len(v.report.Problems)
	for i, s := range v.segs {
		end := v.endOf(i)
		suspect := v.extra[i] > 0 && v.provenSize > s.First
		for _, r := range v.suspects {
			suspect = suspect || r.From < end && s.First < r.To
		}
		if !suspect || v.unread[i] {
			continue
		}
		found := len(v.report.Problems)
		sure, err := v.explainSegment(ctx, i, end)
		if err != nil {
			return err
		}
		if len(v.report.Problems) == found && !sure {
			v.unexplained(i, end)
		}
	}
	// Lines before the first segment that is here, or with no segment at all.
	for _, r := range v.suspects {
		if len(v.segs) > 0 && r.To <= v.segs[0].First {
			v.problem(LinesMissing, r.From, r.To-1, "%s missing", lineRange(r.From, r.To-1))
		}
	}
	if len(v.report.Problems) > before {
		return nil
	}
	// What was read now is right, and what was read before was not.
	for _, r := range v.suspects {
		if r.From < r.To && !v.anyUnread(r) {
			v.problem(LinesUnexplained, r.From, r.To-1, "%s did not match the checkpoint that covers them, and each does now: the files were changed meanwhile", plainRange(r.From, r.To-1))
		}
	}
	return nil
}

// anyUnread reports whether some of the lines could not be read, which was said already.
func (v *verification) anyUnread(r Range) bool {
	for i := range v.unread {
		if r.From < v.endOf(i) && v.segs[i].First < r.To {
			return true
		}
	}
	return false
}

// endOf is the number after the last line that belongs into a segment, as far as a
// checkpoint covers it.
func (v *verification) endOf(i int) uint64 {
	if v.upTo[i] != math.MaxUint64 {
		return v.upTo[i]
	}
	end := v.segs[i].First
	if n := len(v.claims); n > 0 {
		end = max(end, v.claims[n-1].Size)
		if !v.unread[i] {
			end = max(v.segs[i].First, min(v.pos, end))
		}
	}
	return end
}

// unexplained reports that something is wrong in a segment without telling what.
func (v *verification) unexplained(i int, end uint64) {
	first := v.segs[i].First
	for _, r := range v.suspects {
		from, to := max(r.From, first), min(r.To, end)
		if from >= to {
			continue
		}
		v.problem(LinesUnexplained, from, to-1, "among %s at least one was changed, moved, added or removed: they do not match the checkpoint that covers them, and no hash tile tells which", plainRange(from, to-1))
		return
	}
	if v.extra[i] > 0 {
		v.problem(LinesInserted, end, end, "%s holds %d lines too many", v.segs[i].name(), v.extra[i])
	}
}

// expected are the hashes of lines as they were, where that can be proven.
type expected struct {
	first  uint64
	hashes []merkle.Hash
	known  []bool
}

// explainSegment compares one segment line by line. It is sure when it could compare
// each line up to end: then a segment of which it reports nothing is whole.
func (v *verification) explainSegment(ctx context.Context, i int, end uint64) (sure bool, err error) {
	s := v.segs[i]
	actual, err := leavesOf(ctx, s)
	if err != nil {
		return false, err
	}
	if len(actual) >= maxExplained {
		return false, nil // none of ours; what can be said without looking closer is said
	}
	limit := min(end, v.provenSize, s.First+uint64(len(actual))+spareExplained)
	if limit <= s.First {
		return false, nil
	}
	e := v.expect(s.First, limit, actual)
	if !slices.Contains(e.known, true) {
		return false, nil
	}
	if limit == v.provenSize && limit < s.First+uint64(len(actual)) && v.upTo[i] == math.MaxUint64 {
		// Of the newest segment, what no checkpoint covers is no matter of comparison.
		actual = actual[:min(len(actual), int(limit-s.First)+int(v.shift(e, actual)))]
	}
	d := compareLines(e, actual)
	if limit < min(end, v.provenSize) {
		d.missing = append(d.missing, Range{limit, min(end, v.provenSize)})
	}
	sure = uint64(len(e.known)) == end-s.First && !slices.Contains(e.known, false)
	return sure, v.reportDiff(ctx, s, d)
}

// shift is how many lines stand in front of the last expected one beyond what should.
func (v *verification) shift(e expected, actual []merkle.Hash) uint64 {
	for k := len(e.hashes) - 1; k >= 0; k-- {
		if !e.known[k] {
			continue
		}
		if at := slices.Index(actual, e.hashes[k]); at >= 0 {
			return uint64(max(0, at-k))
		}
	}
	return 0
}

// leavesOf hashes the lines of a segment.
func leavesOf(ctx context.Context, s Segment) (leaves []merkle.Hash, err error) {
	_, err = s.scan(ctx, 0, s.First+maxExplained, true, func(_ uint64, line []byte) error {
		leaves = append(leaves, merkle.LeafHash(line))
		return nil
	})
	return leaves, err
}

// expect reads what the lines' hashes were. Where tiles do not tell, but the subtree
// over the lines that are there is the proven one, the lines are right.
func (v *verification) expect(first, end uint64, actual []merkle.Hash) expected {
	n := int(min(end-first, maxExplained))
	e := expected{first: first, hashes: make([]merkle.Hash, n), known: make([]bool, n)}
	if v.proven == nil {
		return e
	}
	for at := first; at < first+uint64(n); {
		tile := at >> maxPieceLevel
		stop := min(first+uint64(n), (tile+1)<<maxPieceLevel)
		k, m := int(at-first), int(stop-at)
		indexes := make([]int64, m)
		for j := range indexes {
			indexes[j] = tlog.StoredHashIndex(0, int64(at)+int64(j))
		}
		if hashes, err := v.proven.ReadHashes(indexes); err == nil {
			copy(e.hashes[k:], hashes)
			for j := range hashes {
				e.known[k+j] = true
			}
		} else if m == 1<<maxPieceLevel && k+m <= len(actual) {
			node, err := v.proven.ReadHashes([]int64{tlog.StoredHashIndex(maxPieceLevel, int64(tile))})
			if err == nil && node[0] == foldLeaves(slices.Clone(actual[k:k+m])) {
				copy(e.hashes[k:], actual[k:k+m])
				for j := range m {
					e.known[k+j] = true
				}
			}
		}
		at = stop
	}
	return e
}

// lineDiff is what happened to the lines of a segment.
type lineDiff struct {
	// changed and moved name a line by its own number and by its place in the file.
	changed, moved []placed
	missing        []Range
	// inserted are places in the file of lines that are none of the log's, or copies.
	inserted []placed
	unknown  []Range
}

type placed struct {
	number uint64 // of the line; of an inserted one, that of the line before
	place  int    // in the file, from 0
}

// compareLines finds the smallest set of lines that explains the difference: the
// longest run of lines that are there in their order is taken to be untouched.
func compareLines(e expected, actual []merkle.Hash) lineDiff {
	where := make(map[merkle.Hash]int, len(e.hashes))
	for i, h := range e.hashes {
		if e.known[i] {
			where[h] = i
		}
	}
	at := make([]int, len(actual)) // the place of each line that is there in e, or -1
	present := make([]bool, len(e.hashes))
	for j, h := range actual {
		if i, ok := where[h]; ok {
			at[j] = i
			present[i] = true
		} else {
			at[j] = -1
		}
	}
	kept := longestRun(at)
	fixed := make([]bool, len(e.hashes)) // in their place, or told as moved already
	for _, j := range kept {
		fixed[at[j]] = true
	}
	var d lineDiff
	i, j := 0, 0
	for k := 0; k <= len(kept); k++ {
		endJ, endI := len(actual), len(e.hashes)
		if k < len(kept) {
			endJ, endI = kept[k], at[kept[k]]
		}
		var foreign []int
		for ; j < endJ; j++ {
			switch {
			case at[j] < 0:
				foreign = append(foreign, j)
			case fixed[at[j]]:
				d.inserted = append(d.inserted, placed{e.first + uint64(max(0, i-1)), j}) // a copy
			default:
				fixed[at[j]] = true
				d.moved = append(d.moved, placed{e.first + uint64(at[j]), j})
			}
		}
		for ; i < endI; i++ {
			n := e.first + uint64(i)
			switch {
			case present[i]:
			case len(foreign) > 0 && e.known[i]:
				d.changed = append(d.changed, placed{n, foreign[0]})
				foreign = foreign[1:]
			case e.known[i]:
				d.missing = addToRanges(d.missing, n)
			default:
				foreign = foreign[min(1, len(foreign)):]
				d.unknown = addToRanges(d.unknown, n)
			}
		}
		for _, f := range foreign {
			d.inserted = append(d.inserted, placed{e.first + uint64(max(0, i-1)), f})
		}
		i, j = endI+1, endJ+1
	}
	return d
}

// longestRun returns the indexes of the longest strictly ascending subsequence of the
// numbers that are not negative.
func longestRun(at []int) []int {
	var tails []int // tails[k]: index of the smallest end of a run of k+1
	before := make([]int, len(at))
	for j, x := range at {
		if x < 0 {
			continue
		}
		k, _ := slices.BinarySearchFunc(tails, x, func(t, x int) int { return at[t] - x })
		before[j] = -1
		if k > 0 {
			before[j] = tails[k-1]
		}
		if k == len(tails) {
			tails = append(tails, j)
		} else {
			tails[k] = j
		}
	}
	run := make([]int, len(tails))
	for k, j := len(tails)-1, -1; k >= 0; k-- {
		if j < 0 {
			j = tails[k]
		}
		run[k] = j
		j = before[j]
	}
	return run
}

// addToRanges adds a number that is not below those that are there.
func addToRanges(rs []Range, n uint64) []Range {
	if last := len(rs) - 1; last >= 0 && rs[last].To == n {
		rs[last].To++
		return rs
	}
	return append(rs, Range{n, n + 1})
}

// reportDiff puts a difference into words, with the event ids of lines that are there.
func (v *verification) reportDiff(ctx context.Context, s Segment, d lineDiff) error {
	ids, err := eventIDs(ctx, s, d)
	if err != nil {
		return err
	}
	for _, run := range runs(d.changed) {
		a, b := run[0], run[len(run)-1]
		v.problem(LinesChanged, a.number, b.number, "%s changed%s", lineRange(a.number, b.number), idRange(ids, a, b))
	}
	for _, r := range d.missing {
		v.problem(LinesMissing, r.From, r.To-1, "%s cut out", lineRange(r.From, r.To-1))
	}
	for _, r := range d.unknown {
		v.problem(LinesUnexplained, r.From, r.To-1, "among %s at least one was changed, moved, added or removed, and so was the hash tile that would tell which", plainRange(r.From, r.To-1))
	}
	for _, m := range d.moved {
		v.problem(LinesMoved, m.number, m.number, "line %d was moved: it stands where line %d belongs, in %s%s", m.number, s.First+uint64(m.place), s.name(), idRange(ids, m, m))
	}
	for _, run := range runs(d.inserted) {
		a, b := run[0], run[len(run)-1]
		what := "a line was inserted"
		if len(run) > 1 {
			what = fmt.Sprintf("%d lines were inserted", len(run))
		}
		v.problem(LinesInserted, a.number, b.number, "%s in %s after line %d%s", what, s.name(), a.number, idRange(ids, a, b))
	}
	return nil
}

// runs groups what stands side by side in the file and is numbered so.
func runs(ps []placed) (out [][]placed) {
	for i, p := range ps {
		if i > 0 && p.place == ps[i-1].place+1 && p.number-ps[i-1].number <= 1 {
			out[len(out)-1] = append(out[len(out)-1], p)
			continue
		}
		out = append(out, []placed{p})
	}
	return out
}

func lineRange(from, to uint64) string {
	if from == to {
		return plainRange(from, to) + " was"
	}
	return plainRange(from, to) + " were"
}

func idRange(ids map[int]string, a, b placed) string {
	switch first, last := ids[a.place], ids[b.place]; {
	case first == "" && last == "":
		return " (it is not a record any more)"
	case first == last:
		return fmt.Sprintf(" (event id %s)", first)
	default:
		return fmt.Sprintf(" (event ids %s to %s)", first, last)
	}
}

// eventIDs reads the event ids of the lines that a difference names.
func eventIDs(ctx context.Context, s Segment, d lineDiff) (map[int]string, error) {
	ids := make(map[int]string)
	last := -1
	for _, ps := range [][]placed{d.changed, d.moved, d.inserted} {
		for _, p := range ps {
			ids[p.place] = ""
			last = max(last, p.place)
		}
	}
	if last < 0 {
		return ids, nil
	}
	_, err := s.scan(ctx, 0, math.MaxUint64, true, func(n uint64, line []byte) error {
		place := int(n - s.First)
		if _, wanted := ids[place]; wanted {
			ids[place] = printable(lineID(line))
		}
		if place >= last {
			return io.EOF
		}
		return nil
	})
	if err == io.EOF {
		err = nil
	}
	return ids, err
}

// printable keeps what a changed line calls its event id from taking over a terminal.
func printable(id string) string {
	if len(id) > 64 || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Sprintf("%.64q", id)
	}
	return id
}
