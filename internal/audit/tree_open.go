package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"arca/internal/merkle"
)

// openNow is how many lines are hashed before Open returns. More than that are left to
// Run: a start does not wait for them.
const openNow = 1 << 16

// openTree finds out how far the tree was, from the checkpoint in the directory, what
// etcd says, the tiles and the lines, and sets l.tree. The newest segment is open
// already. It may begin another one.
//
// What was signed once binds. Where the lines are fewer than that, but the tiles hold
// the tree, the tree goes on behind what was signed and so does the numbering: the
// lines that are gone stay visible as a gap. Where neither lines nor tiles give the
// root, nothing could go on without contradicting what was signed; then a new log
// begins, under another name.
func (l *Log) openTree() error {
	key := l.cfg.Signer
	t := &tree{log: l, key: key, tiles: merkle.NewTiles(l.cfg.Dir)}
	if l.cfg.Head != nil {
		t.head = *l.cfg.Head
		t.head.Former = slices.Clone(l.cfg.Head.Former)
	}
	if t.head.Generation == 0 {
		t.head.Generation = 1
	}
	t.head.Node, t.head.Key = l.cfg.Node, key.VerifierKey()
	t.head.Origin = merkle.Origin(key.Name(), t.head.Generation)
	l.tree = t

	why, origin, noted := readBreak(l.cfg.Dir)
	if !noted {
		why = t.resume()
	} else if file, err := readCheckpoint(checkpointPath(l.cfg.Dir), key.Verifier()); err == nil && file != nil && t.putBack(file) {
		origin = t.head.Origin
	}
	if why != "" {
		t.ending = t.ended(why, origin, noted)
		if err := t.beginAnew(why); err != nil {
			if l.w.seg == nil {
				return err
			}
			// Lines can be written all the same.
			t.origin = t.head.Origin
			t.grown = merkle.NewTree(t.tiles)
			t.breakOff(fmt.Sprintf("%s; and a new log could not be begun: %v", why, err))
		}
	}
	t.origin = t.head.Origin
	for _, f := range t.head.Former {
		if f.Acknowledged.IsZero() {
			t.breaks.Add(1)
		}
	}
	l.metrics.breaks.Set(float64(t.breaks.Load()))
	keyFile := filepath.Join(l.cfg.Dir, keyFileName)
	if text, err := readNote(keyFile); err != nil || !bytes.Equal(text, []byte(t.head.Key+"\n")) {
		if err := ReplaceFile(keyFile, []byte(t.head.Key+"\n")); err != nil {
			l.cfg.Logger.Warn("audit log: write the verifier key", "error", err)
		}
	}
	return nil
}

// notSetAside is why a log ends of which etcd knows already that it did.
const notSetAside = "the former log was not set aside yet"

// ended is the origin of the log whose files are in the directory when a new one is to
// begin: that of this generation, or of the one before if a crash has ended an attempt
// that had told etcd already. A note that tells no origin is of the time before it did;
// then it is the former one if it can be.
func (t *tree) ended(why, origin string, noted bool) string {
	if _, ok := merkle.Generation(t.key.Name(), origin); ok {
		return origin
	}
	n := len(t.head.Former)
	if (noted || why == notSetAside) && t.head.Checkpoint == nil && n > 0 {
		return t.head.Former[n-1].Origin
	}
	return t.head.Origin
}

// signed returns the newest checkpoint of this generation that anybody may have seen,
// or nil, and why the log cannot go on at all.
func (t *tree) signed() (c *merkle.Checkpoint, why string) {
	dir, logger := t.log.cfg.Dir, t.log.cfg.Logger
	file, err := readCheckpoint(checkpointPath(dir), t.key.Verifier())
	if err != nil {
		logger.Error("audit log: its newest checkpoint cannot be used", "error", err)
	}
	if file != nil {
		generation, _ := merkle.Generation(t.key.Name(), file.Origin)
		switch {
		case t.putBack(file):
		case generation < t.head.Generation && t.head.Checkpoint == nil:
			// A crash came between telling etcd of a new log and setting the old one aside.
			return nil, notSetAside
		case generation < t.head.Generation:
			logger.Error("audit log: its newest checkpoint is of a former log", "origin", file.Origin)
			file = nil
		}
	}
	if t.head.Checkpoint == nil {
		return file, ""
	}
	known := &merkle.Checkpoint{
		Origin: t.head.Origin, Size: t.head.Size, Root: t.head.Root, Time: t.head.Time, Text: t.head.Checkpoint,
	}
	switch {
	case file == nil || file.Size < known.Size:
		return known, ""
	case file.Size == known.Size && file.Root != known.Root:
		return nil, fmt.Sprintf("two states of %d lines were signed", file.Size)
	case file.Size > known.Size:
		logger.Warn("audit log: etcd knows an older state of it than its files", "lines", file.Size, "etcd", known.Size)
		if root, err := t.tiles.RootAt(known.Size, file.Size, file.Root); err == nil && root != known.Root {
			return nil, fmt.Sprintf("the first %d lines are not those that etcd knows", known.Size)
		}
	}
	return file, ""
}

// putBack takes in a checkpoint of a later generation than etcd knows, which was put back
// to an older state. Generations are never begun twice.
func (t *tree) putBack(file *merkle.Checkpoint) bool {
	generation, _ := merkle.Generation(t.key.Name(), file.Origin)
	if generation <= t.head.Generation {
		return false
	}
	t.former("etcd was put back to a state from before this log ended", "")
	t.head.Generation, t.head.Origin = generation, file.Origin
	return true
}

// resume takes up the tree of this generation. why says why it cannot.
func (t *tree) resume() (why string) {
	l := t.log
	target, why := t.signed()
	if why != "" {
		return why
	}
	lines := l.w.seg.next()
	segs, err := Segments(l.cfg.Dir)
	if err != nil || len(segs) == 0 {
		return "its segments cannot be listed" // the newest one is open
	}
	oldest := segs[0].First
	switch {
	case target == nil:
		if oldest > 0 {
			return fmt.Sprintf("lines before %d were moved away before there was a tree over them", oldest)
		}
		t.grown = merkle.NewTree(t.tiles)
	default:
		if t.grown, err = merkle.OpenTree(t.tiles, target.Size, target.Root); err == nil {
			t.goOnAt(target)
			break
		}
		// The tiles are no use at that size. They are made again from where they are.
		t.grown = closedTree(l.cfg.Dir, t.tiles, t.key.Verifier(), t.head.Origin, target.Size)
		switch {
		case lines < target.Size:
			return fmt.Sprintf("it has %d lines, and %d were signed %s", lines, target.Size, signedOn(target))
		case oldest > t.grown.Size():
			return fmt.Sprintf("the tree over lines before %d is lost, and they are no longer there", oldest)
		}
		t.secured.Store(t.grown.Size())
		t.target = target
		l.cfg.Logger.Warn("audit log: hash tiles are made again from the lines", "from", t.grown.Size(), "lines", lines)
	}
	t.findEnds(segs)
	if lines < t.grown.Size() {
		if err := l.skipTo(t.grown.Size()); err != nil {
			return fmt.Sprintf("lines from %d to %d are gone, and no segment can be begun behind them: %v", lines, t.grown.Size(), err)
		}
		l.damagedLines(fmt.Sprintf("lines %d to %d, which were signed, are gone; numbering goes on behind them", lines, t.grown.Size()-1))
		return ""
	}
	if lines-t.grown.Size() > openNow {
		l.cfg.Logger.Info("audit log: hashing lines that are not in the tree yet", "line", t.grown.Size(), "of", lines)
		return ""
	}
	if err := t.catchUp(context.Background(), lines); err != nil {
		if broken, ok := errors.AsType[brokenError](err); ok {
			return broken.why
		}
		l.cfg.Logger.Error("audit log: the tree cannot follow the lines; it is tried again", "line", t.grown.Size(), "error", err)
	}
	return ""
}

// goOnAt says that the tree is at a checkpoint that was signed before.
func (t *tree) goOnAt(c *merkle.Checkpoint) {
	t.published.Store(c)
	closed := uint64(0)
	for _, size := range closings(t.log.cfg.Dir) {
		if size <= c.Size {
			closed = size
			break
		}
	}
	t.secured.Store(closed)
	t.mend = closed < c.Size
	t.log.metrics.checkpointSize.Set(float64(c.Size))
	t.log.metrics.checkpointTime.Set(float64(c.Time.Unix()))
	// etcd may have been told of it and the file not been written any more.
	path := checkpointPath(t.log.cfg.Dir)
	if text, err := readNote(path); err != nil || !bytes.Equal(text, c.Text) {
		if err := ReplaceFile(path, c.Text); err != nil {
			t.log.cfg.Logger.Error("audit log: write the checkpoint", "error", err)
		}
	}
}

// findEnds notes which segments have no closing checkpoint yet.
func (t *tree) findEnds(segs []Segment) {
	closed := t.secured.Load()
	size, root := t.grown.Size(), t.grown.Root()
	for _, s := range segs {
		if s.First <= closed {
			continue
		}
		if s.First > size {
			t.ends = append(t.ends, s.First)
		} else if r, err := t.tiles.RootAt(s.First, size, root); err == nil {
			t.marks = append(t.marks, mark{s.First, r})
		}
	}
}

// skipTo begins a segment behind lines that are gone.
func (l *Log) skipTo(next uint64) error {
	seg, err := createSegment(l.cfg.Dir, next)
	if err != nil {
		return err
	}
	old := l.w.seg
	l.w.seg = seg
	l.tree.marks = append(l.tree.marks, mark{next, l.tree.grown.Root()})
	return old.f.Close()
}

// former appends what is known of the log of this generation to the former ones.
func (t *tree) former(why, dir string) {
	t.head.Former = append(t.head.Former, FormerLog{
		Origin: t.head.Origin, Size: t.head.Size, Root: t.head.Root, Why: why, When: time.Now().UTC().Truncate(time.Millisecond), Dir: dir,
	})
	t.head.Size, t.head.Root, t.head.Checkpoint, t.head.Time = 0, merkle.Hash{}, nil, time.Time{}
}

// beginAnew begins a log of the next generation and moves what is left of this one into
// a directory beside.
//
// First the reason is written down, then etcd is told, then the files are moved, and
// the note goes last. A crash leaves the note, and the next Open goes on; whether etcd
// knows already shows in its head, which then has no checkpoint. If etcd cannot be told
// now, it is told with the first checkpoint of the new log, before anybody sees that.
func (t *tree) beginAnew(why string) error {
	l := t.log
	if err := writeBreak(l.cfg.Dir, why, t.ending); err != nil {
		return err
	}
	name := lostName(l.cfg.Dir)
	if t.begunAlready() && t.head.Former[len(t.head.Former)-1].Dir != "" {
		name = t.head.Former[len(t.head.Former)-1].Dir
	}
	if !t.begunAlready() {
		if file, err := readCheckpoint(checkpointPath(l.cfg.Dir), t.key.Verifier()); err == nil && file != nil &&
			file.Origin == t.head.Origin && file.Size > t.head.Size {
			t.head.Size, t.head.Root = file.Size, file.Root
		}
		t.former(why, name)
		t.head.Generation++
		t.head.Origin = merkle.Origin(t.key.Name(), t.head.Generation)
		if l.cfg.Keep != nil {
			ctx, cancel := context.WithTimeout(context.Background(), lastTimeout)
			err := l.cfg.Keep(ctx, t.head)
			cancel()
			if err != nil {
				l.cfg.Logger.Error("audit log: tell etcd that a new log begins; it is told with the first checkpoint", "error", err)
			}
		}
	}
	if err := l.w.seg.f.Close(); err != nil {
		l.cfg.Logger.Warn("audit log: close a segment", "error", err)
	}
	moved, err := setFormerAside(l.cfg.Dir, name)
	if err != nil {
		return errors.Join(err, l.reopen())
	}
	if l.w.seg, err = createSegment(l.cfg.Dir, 0); err != nil {
		return errors.Join(err, l.reopen())
	}
	if err := errors.Join(os.Remove(filepath.Join(l.cfg.Dir, breakName)), syncDir(l.cfg.Dir)); err != nil {
		l.cfg.Logger.Warn("audit log: remove the note of a break", "error", err)
	}
	t.grown = merkle.NewTree(t.tiles)
	t.ending, t.target, t.ends, t.marks, t.mend = "", nil, nil, nil, false
	t.published.Store(nil)
	t.secured.Store(0)
	l.metrics.damage.Inc()
	where := "nowhere: there were no files"
	if moved {
		where = name
	}
	l.cfg.Logger.Error("audit log: it is not what was signed before; a new log begins, and what is left of the old one is kept",
		"origin", t.head.Origin, "reason", why, "kept_in", where)
	return nil
}

// begunAlready reports whether etcd has been told of this generation although the files
// of the former one are still in place. It has not if they are those of this generation,
// which ended before its first checkpoint.
func (t *tree) begunAlready() bool {
	return t.ending != t.head.Origin && t.head.Checkpoint == nil && len(t.head.Former) > 0 &&
		t.head.Former[len(t.head.Former)-1].Origin == merkle.Origin(t.key.Name(), t.head.Generation-1)
}

// lostName is a name that no directory has yet.
func lostName(dir string) string {
	base := lostPrefix + time.Now().UTC().Format("20060102T150405Z")
	name := base
	for i := 2; ; i++ {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			return name
		}
		name = fmt.Sprintf("%s-%d", base, i)
	}
}

// reopen opens the newest segment again, wherever an attempt to move it has ended.
func (l *Log) reopen() error {
	if l.w.journal != nil {
		_ = l.w.journal.f.Close() // nothing was written to it yet
		l.useJournal(nil)
	}
	return l.recoverNewest()
}
