package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// writer is the state of the goroutine in Run, the only one that touches the files.
type writer struct {
	seg *segment
	// journal is nil while each batch is synced in the segment, and beside and making
	// are unless there are such.
	journal      *journal
	beside       *sideSync
	making       *making
	untilJournal int // batches
	// broken says that the file may hold more than seg accounts for, or be gone.
	// Nothing is written until repair has settled that.
	broken error
	// unsynced: a sync failed. The kernel has then forgotten which pages were not
	// written, so what the page cache shows of them proves nothing.
	unsynced bool
	// dirUnsynced: a name in the directory may not survive a crash yet.
	dirUnsynced bool
	repaired    time.Time // last attempt to repair
	rotated     time.Time // last attempt to rotate that failed
	outage      time.Time // since when batches fail; zero when the last one did not
}

// reserveBytes is the room that must be there before a log that ran out of space
// accepts lines again.
const reserveBytes = 256 << 10

// rotateEvery: how long a segment that is full is written to before another attempt
// to begin the next one.
const rotateEvery = time.Second

// Run writes and syncs batches until ctx ends or Close is called, then finishes what
// waits, and returns nil. An outage of the disk does not end it: the lines of that
// time are refused, and the log goes on when it can. At most one Run at a time.
func (l *Log) Run(ctx context.Context) error {
	l.runs.Lock()
	defer l.runs.Unlock()
	select {
	case <-l.stop:
		return nil
	default:
	}
	tick := time.NewTicker(inspectEvery)
	defer tick.Stop()
	defer l.growTree()()
	for {
		select {
		case <-l.wake:
			// Whoever is ready to run goes first: many of them are about to append, and one
			// sync for them all costs as much as one for the first alone. Nobody else is ready
			// in an idle server, which syncs at once, and in one that never is idle the
			// scheduler gives everybody a turn.
			runtime.Gosched()
			l.flush()
		case <-tick.C:
			l.inspect()
		case <-ctx.Done():
			l.finish()
			return nil
		case <-l.stop:
			l.finish()
			return nil
		}
	}
}

// growTree starts what follows the lines with the tree. The function that it returns
// ends that, after the last line is in the tree and, if it can be, under a checkpoint.
func (l *Log) growTree() (end func()) {
	if l.tree == nil {
		return func() {}
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		l.tree.run(stop)
	}()
	return func() {
		close(stop)
		<-done
	}
}

func (l *Log) finish() {
	if b := l.shut(); b.lines > 0 {
		l.settle(b)
	}
}

// flush takes what has gathered and makes it durable. Lines that arrive meanwhile
// gather for the next flush: an idle log syncs at once, a busy one in large batches.
func (l *Log) flush() {
	l.mu.Lock()
	b := l.next
	if b.lines == 0 {
		l.mu.Unlock()
		return
	}
	if l.next = newBatch(nil, nil); l.spare != nil {
		l.next = newBatch(l.spare.buf, l.spare.leaves)
		l.spare = nil
	}
	close(b.taken)
	l.mu.Unlock()

	l.settle(b)

	if cap(b.buf) <= keepBufferBytes {
		l.mu.Lock()
		l.spare = b
		l.mu.Unlock()
	}
}

// settle answers everyone who waits for b.
func (l *Log) settle(b *batch) {
	started := time.Now()
	b.err = l.commit(b)
	if b.err == nil {
		if l.tree != nil {
			l.tree.offer(l.w.seg.next()-b.lines, b.leaves)
		}
		l.synced.Store(l.w.seg.next())
		l.news.ring()
		l.metrics.lines.Add(float64(b.lines))
		l.metrics.bytes.Add(float64(len(b.buf)))
		l.metrics.batchLines.Observe(float64(b.lines))
		l.metrics.syncSeconds.Observe(time.Since(started).Seconds())
		l.recovered()
	} else {
		l.metrics.errors.Inc()
		l.failed(b.err)
	}
	close(b.done)
}

// commit writes the batch and syncs it. After it returns nil the lines survive a
// crash; after an error the segment still ends where it did as far as any caller
// knows, and repair will make that true on disk.
func (l *Log) commit(b *batch) error {
	w := &l.w
	if w.broken != nil {
		if time.Since(w.repaired) < repairEvery {
			return w.broken
		}
		l.repair()
		if w.broken != nil {
			return w.broken
		}
	}
	if err := l.syncedBeside(false); err != nil {
		return l.breakOff(err)
	}
	l.journalize()
	full, err := l.full()
	if err != nil {
		return l.breakOff(err)
	}
	if full {
		if err := l.rotate(); err != nil {
			// The size is a wish; refusing calls for it would be worse.
			w.rotated = time.Now()
			l.cfg.Logger.Warn("audit log: begin a segment; the full one stays in use", "error", err)
		}
	}
	// A crash from here to the end of the sync leaves any part of the batch.
	if err := l.write(w.seg.f, b.buf, w.seg.size); err != nil {
		return l.breakOff(fmt.Errorf("write audit lines: %w", err))
	}
	if err := l.persist(b.buf); err != nil {
		return l.breakOff(err)
	}
	w.seg.advance(b.buf, b.lines)
	if w.journal == nil {
		w.seg.settle()
	}
	return nil
}

// breakOff notes that the file must be repaired before anything else is written.
func (l *Log) breakOff(err error) error {
	l.w.broken = err
	l.w.repaired = time.Time{}
	l.failing.Store(&err)
	l.metrics.failing.Set(1)
	return err
}

func (l *Log) write(f *os.File, p []byte, offset int64) error {
	if l.cfg.WriteFault != nil {
		if n, err := l.cfg.WriteFault(p); err != nil {
			_, werr := f.WriteAt(p[:n], offset)
			return errors.Join(err, werr)
		}
	}
	_, err := f.WriteAt(p, offset)
	return err
}

func (l *Log) sync(f *os.File) error {
	if l.cfg.SyncFault != nil {
		if err := l.cfg.SyncFault(); err != nil {
			return err
		}
	}
	return syncFile(f)
}

// rotate begins the segment after the current one, which is complete and synced. On
// error the current one stays in use for the next attempt.
func (l *Log) rotate() error {
	next, err := createSegment(l.cfg.Dir, l.w.seg.next())
	if err != nil {
		return err
	}
	old := l.w.seg
	l.w.seg = next
	if l.tree != nil {
		l.tree.begun(next.first)
	}
	if err := old.f.Close(); err != nil {
		l.cfg.Logger.Warn("audit log: close a finished segment", "segment", filepath.Base(old.path), "error", err)
	}
	return nil
}

// repair brings the files back to exactly the lines that were acknowledged, and
// clears broken when that has succeeded. It may be called again after any failure.
//
// The end of the file is written again from memory rather than trusted: after a
// failed sync, neither the page cache nor the disk is known to hold it. Then the
// rest is cut off and the whole synced. Only when that is durable does a new
// segment appear, so a crash in between finds one newest segment, with at most some
// lines too many, and never a gap.
func (l *Log) repair() {
	w := &l.w
	w.repaired = time.Now()
	if err := l.restore(); err != nil {
		_ = l.breakOff(fmt.Errorf("repair audit log: %w", err)) // those who ask get it
		w.repaired = time.Now()
		return
	}
	w.broken, w.unsynced = nil, false
	l.failing.Store(nil)
	l.metrics.failing.Set(0)
}

func (l *Log) restore() error {
	_ = l.syncedBeside(true) // w.unsynced says how it ended
	if err := l.restoreSegment(); err != nil {
		return err
	}
	l.w.seg.settle()
	return l.dropJournal()
}

func (l *Log) restoreSegment() error {
	w := &l.w
	if err := l.restoreDir(); err != nil {
		return err
	}
	info, err := w.seg.f.Stat()
	if err != nil {
		return err
	}
	if info.Size() < w.seg.size {
		if !l.canPutBack(info.Size()) {
			// Somebody cut the file: those lines are lost, and the next ones keep their
			// numbers, so that the gap shows.
			l.damaged("was cut short, acknowledged lines are lost", "bytes", w.seg.size-info.Size())
			if err := l.sync(w.seg.f); err != nil {
				return err
			}
			return l.rotate()
		}
		l.damaged("was cut short; its lines are written again from the journal", "bytes", w.seg.size-info.Size())
		w.unsynced = true
	}
	if w.unsynced {
		if err := l.putBack(); err != nil {
			return err
		}
	}
	if !leadsTo(w.seg.path, w.seg.f) {
		return l.rescue()
	}
	if info.Size() > w.seg.size || w.unsynced {
		if err := w.seg.f.Truncate(w.seg.size); err != nil {
			return err
		}
	}
	if info.Size() > w.seg.size || w.unsynced || w.seg.synced < w.seg.size {
		if err := l.sync(w.seg.f); err != nil {
			w.unsynced = true
			return err
		}
	}
	if w.unsynced && w.seg.lines > 0 {
		// Its blocks have failed once. New ones may do better.
		return l.rotate()
	}
	err = reserve(w.seg.f, w.seg.size, reserveBytes)
	if errors.Is(err, syscall.EPERM) && w.seg.lines > 0 {
		return l.rotate() // the file was made immutable
	}
	return err
}

// restoreDir makes the directory and its lock again if somebody removed them.
func (l *Log) restoreDir() error {
	if err := makeDir(l.cfg.Dir); err != nil {
		return err
	}
	if !leadsTo(filepath.Join(l.cfg.Dir, lockName), l.lock) {
		lock, err := lockDir(l.cfg.Dir)
		if err != nil {
			return err
		}
		old := l.lock
		l.lock = lock
		l.w.dirUnsynced = true
		if err := old.Close(); err != nil {
			l.cfg.Logger.Warn("audit log: close a removed lock", "error", err)
		}
	}
	if l.w.dirUnsynced {
		if err := syncDir(l.cfg.Dir); err != nil {
			return err
		}
		l.w.dirUnsynced = false
	}
	return nil
}

// rescue puts the segment back under its name. The open file still has every line,
// although no name leads to it any more; once it is closed they are gone.
func (l *Log) rescue() error {
	seg := l.w.seg
	tmp, err := os.CreateTemp(l.cfg.Dir, filepath.Base(seg.path)+".rescue-*")
	if err != nil {
		return err
	}
	src := &sourceReader{r: io.NewSectionReader(seg.f, 0, seg.size)}
	_, err = io.Copy(tmp, src)
	if err == nil {
		err = l.sync(tmp)
	}
	if err == nil {
		err = l.setAside(seg.path)
	}
	if err == nil {
		err = os.Rename(tmp.Name(), seg.path)
	}
	if err != nil {
		err = errors.Join(err, tmp.Close(), os.Remove(tmp.Name()))
		if src.err == nil {
			return err
		}
		l.damaged("was removed and cannot be read any more, its lines are lost", "lines", seg.lines, "error", err)
		return l.rotate()
	}
	old := seg.f
	seg.f = tmp
	l.w.unsynced = false // tmp was written from the start and its sync succeeded
	l.w.dirUnsynced = true
	if err := old.Close(); err != nil {
		l.cfg.Logger.Warn("audit log: close a removed segment", "error", err)
	}
	l.cfg.Logger.Error("audit log: the segment in use was removed or replaced; it has been written again",
		"segment", filepath.Base(seg.path), "lines", seg.lines, "bytes", seg.size)
	return l.restoreDir()
}

// sourceReader tells a failure to read from a failure to write what was read.
type sourceReader struct {
	r   io.Reader
	err error
}

func (s *sourceReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// setAside gives a file that took the segment's name another one: it may be evidence.
func (l *Log) setAside(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	aside := fmt.Sprintf("%s.replaced-%d", path, time.Now().UnixNano())
	if err := os.Rename(path, aside); err != nil {
		return err
	}
	l.cfg.Logger.Error("audit log: another file had taken the segment's place", "kept_as", filepath.Base(aside))
	return nil
}

// inspect compares the files with what they should be, and gives a failing log its
// chance when nobody asks.
func (l *Log) inspect() {
	w := &l.w
	if w.broken == nil {
		w.broken = errors.Join(l.syncedBeside(false), l.findDamage())
	}
	if w.broken != nil {
		l.repair()
		if w.broken != nil {
			l.failed(w.broken)
		}
	}
}

// findDamage returns what somebody did to the segment since the last batch, or nil.
func (l *Log) findDamage() error {
	seg := l.w.seg
	info, err := seg.f.Stat()
	switch {
	case err != nil:
		return err
	case !leadsTo(seg.path, seg.f):
		l.metrics.damage.Inc()
		return errors.New("segment removed or replaced while in use")
	case info.Size() < seg.size:
		return errors.New("segment cut while in use") // restore says how much is lost
	case info.Size() > seg.size:
		l.damaged("had bytes that are not ours at its end; they are cut off", "bytes", info.Size()-seg.size)
		return errors.New("segment written to by somebody else")
	case info.Mode().Perm()&0o600 != 0o600:
		// Writing through the open file still works, opening it at the next start
		// would not.
		l.damaged("had lost the owner's permissions; they are restored", "mode", info.Mode().Perm().String())
		return os.NewSyscallError("chmod", seg.f.Chmod(info.Mode().Perm()|0o600))
	}
	if j := l.w.journal; j != nil {
		if err := j.damage(); err != nil {
			l.damaged("has lost its journal, and is synced", "error", err)
			return err
		}
	}
	return nil
}

func (l *Log) damaged(what string, args ...any) {
	l.metrics.damage.Inc()
	l.cfg.Logger.Error("audit log: the segment in use "+what,
		append([]any{"segment", filepath.Base(l.w.seg.path), "line", l.w.seg.next()}, args...)...)
}

// failed reports the beginning of an outage, once.
func (l *Log) failed(err error) {
	if l.w.outage.IsZero() {
		l.w.outage = time.Now()
		l.cfg.Logger.Error("audit log: cannot write, calls are refused until it can", "node", l.cfg.Node, "error", err)
	}
}

// recovered reports the end of an outage: a batch is on disk again.
func (l *Log) recovered() {
	if !l.w.outage.IsZero() {
		l.cfg.Logger.Warn("audit log: writing again", "node", l.cfg.Node, "line", l.w.seg.next(),
			"after", time.Since(l.w.outage).Round(time.Millisecond))
		l.w.outage = time.Time{}
	}
}

// closeFiles syncs once more, so that repairs not yet needed by anyone are durable too.
func (l *Log) closeFiles() error {
	w := &l.w
	if m := w.making; m != nil {
		<-m.done
		w.making, w.journal = nil, m.j
	}
	if w.seg == nil {
		return nil
	}
	err := errors.Join(l.syncedBeside(true), syncFile(w.seg.f))
	if w.journal != nil {
		if err == nil && !w.unsynced && w.broken == nil {
			err = w.journal.void()
		}
		err = errors.Join(err, w.journal.f.Close())
	}
	return errors.Join(err, w.seg.f.Close())
}
