package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// rotateBytes is how much of a full segment may be synced while calls wait, when the
// next one is begun. More than that is synced beside them before.
const rotateBytes = 1 << 20

// sideSync is a sync of the segment that runs beside the writer, of lines that are in
// the journal.
type sideSync struct {
	done chan error // capacity 1
	// size and tail are the segment's at the beginning.
	size int64
	tail []byte
}

// making is a journal that is being made.
type making struct {
	done chan struct{}
	j    *journal
	err  error
}

// persist makes a batch durable that has been written at the end of the segment.
func (l *Log) persist(lines []byte) error {
	w := &l.w
	if w.journal == nil {
		if err := l.sync(w.seg.f); err != nil {
			w.unsynced = true
			return fmt.Errorf("sync audit lines: %w", err)
		}
		return nil
	}
	if !w.journal.room(len(lines)) {
		if err := l.syncedBeside(true); err != nil {
			return err
		}
		l.syncBeside()
		w.journal.turn()
	}
	if l.cfg.SyncFault != nil {
		if err := l.cfg.SyncFault(); err != nil {
			return fmt.Errorf("write the journal of audit lines: %w", err)
		}
	}
	if err := w.journal.write(w.seg.first, w.seg.size, lines); err != nil {
		return fmt.Errorf("write the journal of audit lines: %w", err)
	}
	return nil
}

// syncBeside begins to sync what has been acknowledged so far in its segment, unless that
// goes on already.
func (l *Log) syncBeside() {
	w := &l.w
	if w.beside != nil {
		return
	}
	s := &sideSync{done: make(chan error, 1), size: w.seg.size, tail: append([]byte(nil), w.seg.tail...)}
	w.beside = s
	f := w.seg.f
	go func() { s.done <- l.sync(f) }()
}

// syncedBeside takes note of what syncBeside has begun. Unless it is to wait it returns nil while
// that goes on.
func (l *Log) syncedBeside(wait bool) error {
	w := &l.w
	s := w.beside
	if s == nil {
		return nil
	}
	var err error
	if wait {
		err = <-s.done
	} else {
		select {
		case err = <-s.done:
		default:
			return nil
		}
	}
	w.beside = nil
	if err != nil {
		w.unsynced = true
		l.damaged("could not be synced; it is written again from the journal", "error", err)
		return fmt.Errorf("sync audit lines: %w", err)
	}
	w.seg.synced, w.seg.syncedTail = s.size, s.tail
	return nil
}

// syncSegment syncs the segment to its end.
func (l *Log) syncSegment() error {
	w := &l.w
	if err := l.syncedBeside(true); err != nil {
		return err
	}
	if w.seg.synced == w.seg.size {
		return nil
	}
	if err := l.sync(w.seg.f); err != nil {
		w.unsynced = true
		return fmt.Errorf("sync audit lines: %w", err)
	}
	w.seg.settle()
	return nil
}

// full reports whether the segment is full and can be followed by another one: all of it
// is synced, since a journal is of use to the newest segment alone.
func (l *Log) full() (bool, error) {
	w := &l.w
	if w.seg.size < l.cfg.MaxSegmentBytes || time.Since(w.rotated) < rotateEvery {
		return false, nil
	}
	if w.seg.size-w.seg.synced > rotateBytes && w.seg.size < l.cfg.MaxSegmentBytes+journalHalf {
		l.syncBeside()
		return false, nil
	}
	err := l.syncSegment()
	return err == nil, err
}

// journalize has a journal made when there have been syncs enough to be worth it, and
// takes it into use. A log that is written to now and then does without.
func (l *Log) journalize() {
	w := &l.w
	if m := w.making; m != nil {
		select {
		case <-m.done:
		default:
			return
		}
		w.making = nil
		if m.err != nil {
			w.untilJournal = journalRetry
			l.cfg.Logger.Warn("audit log: make its journal; each batch is synced in the segment", "error", m.err)
			return
		}
		l.useJournal(m.j)
		return
	}
	if w.journal != nil || !journals || l.cfg.JournalAfter < 0 {
		return
	}
	if w.untilJournal--; w.untilJournal > 0 {
		return
	}
	m := &making{done: make(chan struct{})}
	w.making = m
	go func() {
		defer close(m.done)
		m.j, m.err = makeJournal(l.cfg.Dir)
	}()
}

// useJournal has batches synced in the journal from now on, or without if it is nil.
func (l *Log) useJournal(j *journal) {
	l.w.journal = j
	l.metrics.journal.Set(0)
	if j != nil {
		l.metrics.journal.Set(1)
	}
}

// dropJournal goes on without a journal. What is in it is synced in the segment.
func (l *Log) dropJournal() error {
	w := &l.w
	w.untilJournal = max(w.untilJournal, l.cfg.JournalAfter)
	if m := w.making; m != nil {
		<-m.done
		w.making = nil
		l.useJournal(m.j)
		if m.err != nil {
			w.untilJournal = journalRetry
		}
	}
	j := w.journal
	if j == nil {
		return nil
	}
	// Entries that are left would come back over what is written from now on.
	if err := removeJournal(l.cfg.Dir); err != nil && j.void() != nil {
		if err := l.outliveJournal(err); err != nil {
			return err
		}
	}
	_ = j.f.Close() // what was written to it does not matter any more
	l.useJournal(nil)
	return nil
}

// outliveJournal is for a journal that can neither be removed nor made void: it begins a
// segment that no entry in it is for.
func (l *Log) outliveJournal(why error) error {
	l.damaged("has a journal that cannot be removed; another segment begins", "error", why)
	if l.w.seg.lines == 0 {
		return nil
	}
	return l.rotate()
}

// putBack writes into the segment again what was acknowledged and is not synced there,
// or was cut off by others: the block that the last synced bytes share with others, and
// what the journal has. Of an error nothing is lost: the journal is still there.
func (l *Log) putBack() error {
	seg := l.w.seg
	if err := l.write(seg.f, seg.syncedTail, seg.synced-int64(len(seg.syncedTail))); err != nil {
		return err
	}
	if seg.synced == seg.size {
		return nil
	}
	var c contents
	if j := l.w.journal; j != nil {
		var err error
		if c, err = readJournal(j.f, seg.first); err != nil && !errors.Is(err, errNoJournal) {
			return fmt.Errorf("read the journal: %w", err)
		}
	}
	if err := c.replay(func(p []byte, at int64) error { return l.write(seg.f, p, at) }); err != nil {
		return err
	}
	if at := c.covered(seg.synced); at < seg.size {
		l.damaged("could not be synced, and the journal does not have all of its last lines", "bytes", seg.size-at)
	}
	return nil
}

// canPutBack reports whether the journal has all that a segment of that size lacks.
func (l *Log) canPutBack(size int64) bool {
	seg := l.w.seg
	if l.w.journal == nil || size < seg.synced {
		return false
	}
	c, err := readJournal(l.w.journal.f, seg.first)
	return err == nil && c.covered(seg.synced) >= seg.size
}

// recoverJournal completes the newest segment from the journal, if there is one. It reports
// whether the journal may have had more than it could tell.
func (s *segment) recoverJournal(l *Log, size int64) (gaps bool, err error) {
	dir := l.cfg.Dir
	f, err := os.OpenFile(filepath.Join(dir, journalName), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open the journal: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	c, err := readJournal(f, s.first)
	if errors.Is(err, errNoJournal) {
		l.cfg.Logger.Error("audit log: its journal cannot be used", "error", err)
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the journal: %w", err)
	}
	if c.gaps {
		l.cfg.Logger.Error("audit log: parts of its journal cannot be read or are not what was written")
	}
	n, err := c.fit(s.f, size)
	if err != nil {
		return false, err
	}
	unfit := len(c.entries) - n
	c.entries = c.entries[:n]
	if err := c.replay(func(p []byte, at int64) error { _, err := s.f.WriteAt(p, at); return err }); err != nil {
		return false, err
	}
	if unfit == 0 {
		return c.gaps, nil
	}
	aside := fmt.Sprint(journalAside, time.Now().UnixNano())
	l.metrics.damage.Inc()
	l.cfg.Logger.Error("audit log: the journal is not of the time of the segment, or that was written to by others; it is not used",
		"segment", filepath.Base(s.path), "batches", unfit, "kept_as", aside)
	if err := syncFile(s.f); err != nil {
		return false, err
	}
	if err := os.Rename(filepath.Join(dir, journalName), filepath.Join(dir, aside)); err != nil {
		return false, err
	}
	return true, syncDir(dir)
}

// oldJournal takes up the journal of an earlier run, if there is one. Its entries are not
// needed any more, and when it returns, they are void.
func (l *Log) oldJournal() error {
	_ = os.Remove(filepath.Join(l.cfg.Dir, journalNewName)) // of a crash while it was made
	if _, err := os.Lstat(filepath.Join(l.cfg.Dir, journalName)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var j *journal
	var err error
	if journals && l.cfg.JournalAfter > 0 {
		j, err = openJournal(l.cfg.Dir)
	} else {
		err = removeJournal(l.cfg.Dir)
	}
	if err == nil {
		l.useJournal(j)
		return nil
	}
	if _, gone := os.Lstat(filepath.Join(l.cfg.Dir, journalName)); !errors.Is(gone, fs.ErrNotExist) {
		return l.outliveJournal(err)
	}
	l.cfg.Logger.Warn("audit log: its journal was no use and is removed; each batch is synced in the segment", "error", err)
	return nil
}
