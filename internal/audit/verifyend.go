package audit

import (
	"math"
	"slices"

	"arca/internal/merkle"
)

// finish looks at what is left when all lines were read.
func (v *verification) finish() {
	v.finishGap()
	last := v.finishOpen()
	if v.To > v.pos && (len(v.upTo) == 0 || v.upTo[len(v.upTo)-1] == math.MaxUint64) {
		v.finishLog(last > 0)
	} else {
		v.compareLater()
	}
	v.finishRange()
	if h := v.head; h != nil {
		v.report.HeadChecked = slices.ContainsFunc(v.report.Checked, func(c merkle.Checkpoint) bool {
			return c.Size == h.Size && c.Root == h.Root
		})
	}
}

// uncompared notes a checkpoint that nothing could be compared with.
func (v *verification) uncompared(c claim) {
	v.report.Uncompared = append(v.report.Uncompared, c.Checkpoint)
}

// finishGap takes in that the last segment that was read ends before the next begins,
// while lines that were asked for are not covered yet.
func (v *verification) finishGap() {
	last := len(v.segs) - 1
	if last < 0 || v.upTo[last] == math.MaxUint64 || v.unread[last] || v.pos >= v.upTo[last] || v.good >= v.To {
		return
	}
	v.gap(v.upTo[last])
}

// finishOpen looks at the checkpoints that did not match and could not be told about. It
// returns the size of the largest.
func (v *verification) finishOpen() (last uint64) {
	for _, o := range v.open {
		last = max(last, o.Size)
		v.uncompared(o)
	}
	if last == 0 {
		return 0
	}
	// Without tiles, what comes after a difference has nothing to stand on.
	first := v.open[0].Size
	v.suspect(v.good, first)
	if last > first {
		v.problem(LinesUnexplained, first, last-1, "%s could not be compared: lines before them do not match, and there are no hash tiles to go on from", plainRange(first, last-1))
	}
	return last
}

// finishLog compares the end of the log with what is claimed about it.
func (v *verification) finishLog(differs bool) {
	n := len(v.claims)
	switch {
	case n == 0:
	case v.claims[n-1].Size > v.pos && len(v.segs) > 0 && v.unread[len(v.segs)-1]:
		v.warn("%s could not be compared", v.claims[n-1])
		for _, c := range v.claims[v.next:] {
			v.uncompared(c)
		}
	case v.claims[n-1].Size > v.pos:
		v.cutOff(v.claims[n-1], differs)
	default:
		v.report.Tail = v.pos - v.claims[n-1].Size
	}
}

// cutOff reports that the log ends before a checkpoint does.
func (v *verification) cutOff(c claim, differs bool) {
	v.problem(LinesCutOff, v.pos, c.Size-1, "the log ends before line %d, but %s says that there are lines up to %d: the end was cut off", v.pos, c, c.Size-1)
	for ; v.next < len(v.claims); v.next++ {
		if e, err := v.edgeAt(v.claims[v.next].Size); err == nil && e.root() != v.claims[v.next].Root {
			v.rewritten(v.claims[v.next])
		}
	}
	// Lines between the last checkpoint that was matched and the cut.
	if e, err := v.edgeAt(v.pos); err == nil && v.edge != nil && v.pos > v.good {
		if e.root() == v.edge.root() {
			v.good = v.pos
		} else {
			v.suspect(v.good, v.pos)
		}
	} else if v.pos > v.good && !differs {
		v.warn("lines %d to %d are covered by no checkpoint that could be compared", v.good, v.pos-1)
	}
}

// compareLater compares the checkpoints over more lines than were read, through the
// tiles. That says something about this log only if the tree in the tiles begins with
// the lines that were read.
func (v *verification) compareLater() {
	r := v.report
	var mine *edge
	if r.Size > 0 {
		if e, err := v.edgeAt(r.Size); err == nil {
			mine = e
		}
	}
	for ; v.next < len(v.claims); v.next++ {
		c := v.claims[v.next]
		e, err := v.edgeAt(c.Size)
		switch {
		case mine != nil && mine.root() != r.Root && c.Size == v.provenSize && c.Root == v.provenRoot:
			v.rewritten(c)
		case mine == nil || mine.root() != r.Root || err != nil:
			v.uncompared(c)
		case e.root() != c.Root:
			v.rewritten(c)
		}
	}
}

// finishRange notes which of the lines that were asked for are proven, and whether some
// of those that are there are not.
func (v *verification) finishRange() {
	if len(v.segs) == 0 {
		return
	}
	first, there := max(v.From, v.first), min(v.To, v.pos)
	if end := min(v.To, v.good); end > first {
		v.report.Verified = Range{first, end}
	}
	// At the end of the whole log, such lines are its tail. What does not match is told by
	// explain, and what could not be read has been told.
	if from := max(first, v.good); v.To != math.MaxUint64 && from < there && len(v.suspects)+len(v.unread) == 0 {
		v.problem(LinesUnexplained, from, there-1, "%s cannot be verified: no checkpoint covers them", plainRange(from, there-1))
	}
}
