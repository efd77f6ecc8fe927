package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"arca/internal/merkle"
)

// RetainConfig says what becomes of closed segments. The segment in use is never
// touched.
type RetainConfig struct {
	// Compress replaces closed segments by compressed ones.
	Compress bool
	// MaxAge removes a segment when all of its lines are older; 0 keeps lines of any age.
	MaxAge time.Duration
	// MaxBytes removes the oldest segments while all of them together take more space on
	// disk; 0 sets no limit. Lines that somebody holds are kept nevertheless.
	MaxBytes int64
	// Held, if not nil, is the number of the first line that somebody still needs, such
	// as a copy that is being made. No line from there on is removed.
	Held func() uint64
}

// tailBytes is how much of the end of a segment is searched for its last record.
const tailBytes = 2 * MaxLineBytes

// Maintain does one bounded piece of work on closed segments: it removes the oldest
// one or compresses one. It reports whether there was work, and so may be more. It is
// called by one goroutine at a time, beside everything else.
//
// Lines are removed only after a note about it, signed by the node, is on disk, and
// with it what takes the lines' place in the tree. A segment whose lines are not those
// of the tree is not removed: it is evidence. Without a Signer nothing is removed.
func (l *Log) Maintain(ctx context.Context, cfg RetainConfig, now time.Time) (more bool, err error) {
	segs, err := Segments(l.cfg.Dir)
	if err != nil {
		return false, fmt.Errorf("maintain audit log: %w", err)
	}
	if len(segs) < 2 {
		return false, nil
	}
	reason, err := cfg.due(segs, now)
	if err == nil && reason != "" && (cfg.Held == nil || cfg.Held() >= segs[1].First) {
		if err = l.prune(ctx, segs[0], segs[1].First, reason, now); err == nil {
			return true, nil
		}
	}
	if err != nil {
		err = fmt.Errorf("remove old audit lines: %w", err)
	}
	if !cfg.Compress {
		return false, err
	}
	for _, s := range segs[:len(segs)-1] {
		if s.Compressed {
			continue
		}
		cerr := s.compress(ctx)
		if cerr == nil {
			l.cfg.Logger.Info("audit log: segment compressed", "segment", s.name(), "bytes", s.Bytes)
			return true, err
		}
		// Another one may do better, unless the disk is full or there is no more time.
		err = errors.Join(err, fmt.Errorf("compress audit segment %s: %w", s.name(), cerr))
		if ctx.Err() != nil || errors.Is(cerr, syscall.ENOSPC) || errors.Is(cerr, syscall.EDQUOT) {
			break
		}
	}
	return false, err
}

// due reports why the oldest segment is to go, if it is.
func (c RetainConfig) due(segs []Segment, now time.Time) (PruneReason, error) {
	if c.MaxBytes > 0 {
		total := int64(0)
		for _, s := range segs {
			total += s.Bytes
		}
		if total > c.MaxBytes {
			return PrunedBySize, nil
		}
	}
	if c.MaxAge <= 0 {
		return "", nil
	}
	last, err := segs[0].lastTime()
	if err != nil || !last.Add(clockSlack).Before(now.Add(-c.MaxAge)) {
		return "", err
	}
	return PrunedByAge, nil
}

// lastTime is the time of the last record in the segment, or that of the file if there
// is none near its end.
func (s Segment) lastTime() (time.Time, error) {
	r, err := s.Open()
	if err != nil {
		return time.Time{}, err
	}
	defer func() { _ = r.Close() }() // nothing was written through it
	for _, n := range []int64{tailBytes / 32, tailBytes} {
		buf := make([]byte, min(n, r.Size()))
		if _, err := r.ReadAt(buf, r.Size()-int64(len(buf))); err != nil && err != io.EOF {
			return time.Time{}, err
		}
		for len(buf) > 0 {
			begin := bytes.LastIndexByte(buf[:len(buf)-1], '\n') + 1
			if rec, err := parseSummary(buf[begin:]); err == nil {
				return rec.EventTime, nil
			}
			buf = buf[:begin]
		}
	}
	info, err := r.f.Stat()
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

// prune removes a closed segment, the oldest one, whose lines are those before next.
//
//  1. The tiles over the lines are synced: after this they can never be made again.
//  2. The lines are compared with the tree, to the end of the file, and what was there
//     before them with the note on its removal: nobody else's removal is carried on.
//  3. The note is signed and synced. A crash from here on leaves a note about lines that
//     are still there; the next call removes them.
//  4. The files are removed.
func (l *Log) prune(ctx context.Context, s Segment, next uint64, reason PruneReason, now time.Time) error {
	if l.tree == nil {
		return errors.New("the log has no key to sign for it")
	}
	if err := l.secureTree(next); err != nil {
		return err
	}
	if err := l.removedBefore(s.First); err != nil {
		return err
	}
	c, ok := l.Checkpoint()
	if !ok || c.Size < next {
		return fmt.Errorf("no checkpoint covers line %d", next-1)
	}
	proven := l.tree.tiles.Reader(c.Size, c.Root)
	grown, err := readEdge(s.First, proven)
	if err != nil {
		return err
	}
	want, err := readEdge(next, proven)
	if err != nil {
		return err
	}
	_, err = s.scan(ctx, 0, math.MaxUint64, false, func(n uint64, line []byte) error {
		if n >= next {
			return fmt.Errorf("%s holds lines behind line %d, which is its last; it is kept as evidence, see arca audit verify", s.name(), next-1)
		}
		grown.add(0, merkle.LeafHash(line), nil)
		return nil
	})
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s ends within a line; it is kept as evidence, see arca audit verify: %w", s.name(), err)
	}
	if err != nil {
		return err
	}
	if grown.size != want.size || grown.root() != want.root() {
		return fmt.Errorf("the lines in %s are not those of the tree; they are kept as evidence, see arca audit verify", s.name())
	}
	note, err := PruneNote{Origin: l.Origin(), From: s.First, Next: next, Time: now, Reason: reason, Edge: want.nodes}.Sign(l.cfg.Signer)
	if err != nil {
		return err
	}
	if err := ReplaceFile(prunePath(l.cfg.Dir, next), note.Text); err != nil {
		return err
	}
	return l.removeSegment(s, reason)
}

// removedBefore makes sure that retention removed the lines before the oldest one.
func (l *Log) removedBefore(first uint64) error {
	if first == 0 {
		return nil
	}
	text, err := readNote(prunePath(l.cfg.Dir, first))
	if err == nil {
		var p PruneNote
		p, err = OpenPruneNote(text, l.tree.key.Verifier())
		if err == nil && (p.Next != first || p.Origin != l.Origin()) {
			err = fmt.Errorf("the note is about lines before %d of %s", p.Next, p.Origin)
		}
	}
	if err != nil {
		return fmt.Errorf("lines before %d are gone, and no valid note says that retention removed them; the rest is kept as evidence, see arca audit verify: %w", first, err)
	}
	return nil
}

// removeSegment removes both forms of a segment, and what was left of compressing it.
func (l *Log) removeSegment(s Segment, reason PruneReason) error {
	compressed := filepath.Join(s.dir(), SegmentName(s.First, true))
	for _, path := range []string{compressed + compressingSuffix, compressed, segmentPath(s.dir(), s.First)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := syncDir(s.dir()); err != nil {
		return err
	}
	l.cfg.Logger.Info("audit log: lines removed as configured", "segment", s.name(), "bytes", s.Bytes, "reason", string(reason))
	return nil
}
