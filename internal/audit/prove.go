package audit

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"arca/internal/merkle"
)

// ErrNotCovered means that a line is newer than the checkpoint. On a running server the
// next one, a second later, covers it.
var ErrNotCovered = errors.New("no checkpoint covers the line yet")

// ErrNoLine means that the files do not hold a line: it is not written yet, or retention
// removed it.
var ErrNoLine = errors.New("the line is not in the files")

// ReadLine returns the line of a number.
func ReadLine(ctx context.Context, dir string, number uint64) (line []byte, err error) {
	segs, err := Segments(dir)
	if err != nil {
		return nil, fmt.Errorf("read audit line: %w", err)
	}
	i := len(segs) - 1
	for i >= 0 && segs[i].First > number {
		i--
	}
	if i < 0 {
		return nil, fmt.Errorf("read audit line %d: %w", number, ErrNoLine)
	}
	_, err = segs[i].scan(ctx, number, number+1, true, func(_ uint64, found []byte) error {
		line = append([]byte(nil), found...)
		return nil
	})
	if err == nil && line == nil {
		err = fmt.Errorf("read audit line %d: %w", number, ErrNoLine)
	}
	return line, err
}

// Prove makes the proof that a line is in the log of a checkpoint, with the line in it.
// It is made from the hash tiles, and from all lines if tiles are missing. It has been
// checked when it is returned: a line that was changed cannot be proven.
func Prove(ctx context.Context, dir string, number uint64, c merkle.Checkpoint) (*merkle.Proof, error) {
	return NewProver().Prove(ctx, dir, number, c)
}

// Prover makes proofs for many who ask at the same time.
type Prover struct {
	reading chan struct{} // holds one while all lines are read
}

// NewProver returns one that nobody uses yet.
func NewProver() *Prover { return &Prover{reading: make(chan struct{}, 1)} }

// Prove is the function of that name. Proofs for which all lines have to be read are made
// one at a time.
func (p *Prover) Prove(ctx context.Context, dir string, number uint64, c merkle.Checkpoint) (*merkle.Proof, error) {
	if number >= c.Size {
		return nil, fmt.Errorf("prove audit line %d: %w: it covers %d lines", number, ErrNotCovered, c.Size)
	}
	line, err := ReadLine(ctx, dir, number)
	if err != nil {
		return nil, err
	}
	proof, err := merkle.NewTiles(dir).Prove(c, number)
	if errors.Is(err, merkle.ErrTiles) {
		select {
		case p.reading <- struct{}{}:
			proof, err = proveFromLines(ctx, dir, number, c)
			<-p.reading
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("prove audit line %d: %w", number, err)
	}
	proof.Extra = line
	if err := tlog.CheckRecord(proof.Hashes, int64(c.Size), c.Root, int64(number), merkle.LeafHash(line)); err != nil {
		return nil, fmt.Errorf("prove audit line %d: the files do not hold the log of the checkpoint: %w", number, err)
	}
	return proof, nil
}

// proveFromLines makes a proof without tiles: it hashes all lines.
func proveFromLines(ctx context.Context, dir string, number uint64, c merkle.Checkpoint) (*merkle.Proof, error) {
	segs, err := Segments(dir)
	if err != nil {
		return nil, err
	}
	if len(segs) == 0 || c.Size > merkle.MaxSize {
		return nil, ErrNoLine
	}
	ranges := siblings(number, c.Size)
	// Each range begins at a multiple of the largest subtree in it, so it is a tree by
	// itself.
	trees := make([]edge, len(ranges))
	stops := []uint64{number, number + 1}
	for _, r := range ranges {
		stops = append(stops, r.From, r.To)
	}
	slices.Sort(stops)
	at := uint64(0)
	put := func(p piece) {
		for i, r := range ranges {
			if r.From <= at && at < r.To {
				trees[i].add(p.level, p.hash, nil)
			}
		}
		at += 1 << p.level
	}
	if segs[0].First > 0 {
		pruned, err := prunedPieces(dir, segs[0].First)
		if err != nil {
			return nil, err
		}
		for _, p := range pruned {
			put(p)
		}
	}
	plan := hashPlan{segs: segs, stops: slices.Compact(stops)}
	for _, s := range segs[1:] {
		plan.upTo = append(plan.upTo, min(s.First, c.Size))
	}
	plan.upTo = append(plan.upTo, c.Size)
	err = hashLines(ctx, plan, func(h hashed) error {
		if h.err != nil {
			return h.err
		}
		if h.lines > 0 && h.first != at {
			return gapError{at, h.first}
		}
		for _, p := range h.pieces {
			put(p)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	proof := &merkle.Proof{Index: number, Checkpoint: c.Text}
	for i, r := range ranges {
		if trees[i].size != r.To-r.From {
			return nil, fmt.Errorf("lines %d to %d are not all there", r.From, r.To-1)
		}
		proof.Hashes = append(proof.Hashes, trees[i].root())
	}
	return proof, nil
}

// siblings are the ranges of lines whose roots prove a line in a tree of a size, from
// the line's neighbour on, as RFC 6962 has them.
func siblings(number, size uint64) (ranges []Range) {
	for from, to := uint64(0), size; to-from > 1; {
		// The left half is the largest complete subtree that leaves something to the right.
		middle := from + 1<<(bits.Len64(to-from-1)-1)
		if number < middle {
			ranges = append(ranges, Range{middle, to})
			to = middle
		} else {
			ranges = append(ranges, Range{from, middle})
			from = middle
		}
	}
	slices.Reverse(ranges)
	return ranges
}

// prunedPieces are the subtrees of the lines before first, from the note on their
// removal. They are only as good as the root that comes out.
func prunedPieces(dir string, first uint64) (pieces []piece, err error) {
	text, err := readNote(prunePath(dir, first))
	if err != nil {
		return nil, fmt.Errorf("lines before %d are not there: %w", first, err)
	}
	_, err = note.Open(text, verifiers(nil))
	unverified, ok := errors.AsType[*note.UnverifiedNoteError](err)
	if !ok {
		return nil, fmt.Errorf("prune note: %w", err)
	}
	p, err := parsePruneNote(unverified.Note.Text)
	if err != nil {
		return nil, err
	}
	if p.Next != first {
		return nil, fmt.Errorf("the note on lines before %d is about those before %d", first, p.Next)
	}
	for rest := p.Next; rest > 0; {
		level := bits.Len64(rest) - 1
		pieces = append(pieces, piece{level, p.Edge[len(pieces)]})
		rest -= 1 << level
	}
	return pieces, nil
}

// Extends reports whether the log of the later checkpoint begins with that of the
// earlier one. It is proven with the hash tiles in dir, so nothing but the checkpoints
// and the keys is trusted. An error that is merkle.ErrTiles says that the tiles do not
// allow an answer; one that is ErrRewritten, that the answer is no.
func Extends(dir string, later, earlier []byte, vkeys ...string) error {
	keys, err := newVerifiers(vkeys)
	if err != nil {
		return err
	}
	a, err := merkle.OpenCheckpoint(earlier, keys...)
	if err != nil {
		return fmt.Errorf("the earlier checkpoint: %w", err)
	}
	b, err := merkle.OpenCheckpoint(later, keys...)
	if err != nil {
		return fmt.Errorf("the later checkpoint: %w", err)
	}
	if a.Size > b.Size {
		a, b = b, a
	}
	if a.Origin != b.Origin {
		return fmt.Errorf("%w: they are of two logs, %s and %s", ErrRewritten, a.Origin, b.Origin)
	}
	proof, err := merkle.NewTiles(dir).Extends(b, a)
	if err != nil {
		return err
	}
	if _, err := proof.Check(a, keys...); err != nil {
		return fmt.Errorf("%w: %w", ErrRewritten, err)
	}
	return nil
}

// ErrRewritten means that a later checkpoint does not extend an earlier one: lines that
// were signed have been changed or removed, and what came out was signed again.
var ErrRewritten = errors.New("the later checkpoint does not extend the earlier one")
