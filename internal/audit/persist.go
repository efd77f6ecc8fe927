package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
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
	if m := w.making; m != nil {
		<-m.done
		w.making, w.journal = nil, m.j
	}
	if w.journal == nil {
		return nil
	}
	// Entries that are left would come back over what is written from now on.
	if err := removeJournal(l.cfg.Dir); err != nil {
		return fmt.Errorf("remove the journal: %w", err)
	}
	_ = w.journal.f.Close() // it is gone
	l.useJournal(nil)
	w.untilJournal = l.cfg.JournalAfter
	return nil
}

// rewrite puts into the segment again what was acknowledged and not synced there: the
// block that the last synced bytes share with others, and what the journal has.
func (l *Log) rewrite() error {
	seg := l.w.seg
	if err := l.write(seg.f, seg.syncedTail, seg.synced-int64(len(seg.syncedTail))); err != nil {
		return err
	}
	if seg.synced == seg.size {
		return nil
	}
	entries, err := readJournal(l.cfg.Dir, seg.first)
	if err == nil {
		err = replay(entries, seg.f)
	}
	if at := covered(entries, seg.synced); err != nil || at < seg.size {
		l.damaged("could not be synced, nor all of its last lines be read from the journal", "bytes", seg.size-at, "error", err)
	}
	return nil
}

// covered is how far entries reach from an offset on without a gap.
func covered(entries []entry, offset int64) int64 {
	for _, e := range entries {
		if e.offset <= offset {
			offset = max(offset, e.offset+int64(len(e.lines)))
		}
	}
	return offset
}

// recoverJournal completes the newest segment from the journal, if there is one.
func (s *segment) recoverJournal(l *Log) error {
	dir := l.cfg.Dir
	entries, err := readJournal(dir, s.first)
	if errors.Is(err, errNoJournal) {
		// It is damaged where it is made, and where nothing in it matters any more.
		l.cfg.Logger.Warn("audit log: its journal is removed", "error", err)
		return removeJournal(dir)
	}
	if err != nil {
		return fmt.Errorf("read the journal: %w", err)
	}
	for _, e := range entries {
		fits, err := e.fits(s.f)
		if err != nil {
			return err
		}
		if !fits {
			aside := fmt.Sprintf("%s.aside-%d", journalName, time.Now().UnixNano())
			l.cfg.Logger.Error("audit log: the segment was written to by others since the journal was; the journal is not used",
				"segment", filepath.Base(s.path), "offset", e.offset, "kept_as", aside)
			if err := os.Rename(filepath.Join(dir, journalName), filepath.Join(dir, aside)); err != nil {
				return err
			}
			return syncDir(dir)
		}
	}
	return replay(entries, s.f)
}

// oldJournal takes up the journal of an earlier run, whose entries are not needed any
// more. When it returns, they are void.
func (l *Log) oldJournal() (*journal, error) {
	if !journals || l.cfg.JournalAfter < 0 {
		return nil, removeJournal(l.cfg.Dir)
	}
	j, err := openJournal(l.cfg.Dir)
	if err == nil {
		return j, nil
	}
	if _, gone := os.Lstat(filepath.Join(l.cfg.Dir, journalName)); !errors.Is(gone, fs.ErrNotExist) {
		return nil, fmt.Errorf("make void what is in the journal: %w", err)
	}
	l.cfg.Logger.Warn("audit log: use its journal; each batch is synced in the segment", "error", err)
	return nil, nil
}
