package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
)

// followBytes is how much a follower reads at once.
const followBytes = 256 << 10

// PrunedError says that lines are not in the files any more: retention removed them,
// or they were lost. From is the first of them, To the last.
type PrunedError struct{ From, To uint64 }

// Error implements error.
func (e *PrunedError) Error() string {
	return fmt.Sprintf("audit lines %d to %d are not there any more", e.From, e.To)
}

// bell wakes everyone who waits for it. Ringing it costs next to nothing while
// nobody does.
type bell struct {
	mu sync.Mutex
	ch chan struct{} // closed by ring; nil while nobody waits; guarded by mu
}

// wait returns a channel that the next ring closes.
func (b *bell) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}

// Follower reads the lines of a log in order and waits for new ones. It sees synced
// lines only, goes on over the end and the compression of segments, and holds one
// open file and a buffer of bounded size. It is for one goroutine.
type Follower struct {
	log *Log
	n   uint64 // the next line
	// limit: buf was filled when the lines below limit were on disk. What buf holds
	// beyond them may be replaced yet.
	limit  uint64
	seg    *SegmentReader // nil: find the segment of line n
	offset int64          // in the segment, of buf[0]
	buf    []byte
	pos    int  // of line n in buf
	cut    bool // the line before n was returned cut, and its end is yet to be passed over
}

// Follow returns a follower whose first line is number from.
func (l *Log) Follow(from uint64) *Follower { return &Follower{log: l, n: from} }

// Position is the number of the line that Next returns next.
func (f *Follower) Position() uint64 { return f.n }

// Close releases the open file.
func (f *Follower) Close() error { return f.forget() }

// forget makes the next fill look for the segment anew.
func (f *Follower) forget() error {
	seg := f.seg
	f.seg, f.buf, f.pos, f.cut = nil, f.buf[:0], 0, false
	if seg == nil {
		return nil
	}
	return seg.Close()
}

// Next returns the next line and its number. The line is valid until the following
// call. A *PrunedError tells, once, that lines are gone; the call after it goes on
// behind them. ErrClosed is returned once the log is closed and every line was
// returned. After any other error the same line is tried again; the caller should
// let some time pass.
func (f *Follower) Next(ctx context.Context) (n uint64, line []byte, err error) {
	for {
		if f.n >= f.limit {
			if err := f.await(ctx); err != nil {
				return 0, nil, err
			}
		}
		line, ok, err := f.read()
		if err != nil {
			return 0, nil, err
		}
		if ok {
			f.n++
			return f.n - 1, line, nil
		}
	}
}

// Ready reports whether Next would return without waiting for new lines.
func (f *Follower) Ready() bool { return f.n < f.limit || f.n < f.log.Size() }

// await waits until line n is on disk, and drops what was read before it was.
func (f *Follower) await(ctx context.Context) error {
	for {
		// Taken before the size is read, so that no ring is missed in between.
		news := f.log.news.wait()
		if size := f.log.Size(); size > f.n {
			f.limit = size
			f.offset += int64(f.pos)
			f.buf, f.pos = f.buf[:0], 0
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-f.log.stop:
			if f.log.Size() <= f.n {
				return ErrClosed
			}
		}
	}
}

// read returns line n if it is in the buffer, and otherwise brings more bytes or the
// next segment. A line longer than any of ours is returned cut.
func (f *Follower) read() (line []byte, ok bool, err error) {
	if f.seg == nil {
		return nil, false, f.find()
	}
	rest := f.buf[f.pos:]
	i := bytes.IndexByte(rest, '\n')
	switch {
	case i >= 0 && f.cut: // the end of a line that was returned
		f.cut = false
		f.pos += i + 1
		return nil, false, nil
	case i >= 0:
		f.pos += i + 1
		return rest[:i], true, nil
	case f.cut:
		f.pos = len(f.buf)
	case len(rest) > MaxLineBytes:
		f.cut = true
		f.pos += MaxLineBytes
		return rest[:MaxLineBytes], true, nil
	}
	if err := f.fill(); err == io.EOF {
		// Line n is on disk, so it is in another file, which follows this one or has
		// taken its place.
		return nil, false, f.forget()
	} else if err != nil {
		return nil, false, errors.Join(fmt.Errorf("follow audit log: %w", err), f.forget())
	}
	return nil, false, nil
}

// fill reads what follows the buffer, after moving the unread rest to its beginning.
func (f *Follower) fill() error {
	f.offset += int64(f.pos)
	f.buf, f.pos = append(f.buf[:0], f.buf[f.pos:]...), 0
	have := len(f.buf)
	if cap(f.buf)-have < followBytes {
		f.buf = append(make([]byte, 0, have+followBytes), f.buf...)
	}
	n, err := f.seg.ReadAt(f.buf[have:have+followBytes], f.offset+int64(have))
	f.buf = f.buf[:have+n]
	if n > 0 {
		return nil
	}
	return err
}

// find opens the segment that holds line n and reads until that line is in the
// buffer.
func (f *Follower) find() error {
	segs, err := Segments(f.log.cfg.Dir)
	if err != nil {
		return fmt.Errorf("follow audit log: %w", err)
	}
	i := len(segs) - 1
	for i >= 0 && segs[i].First > f.n {
		i--
	}
	if i < 0 {
		if len(segs) == 0 {
			return fmt.Errorf("follow audit log: no segment holds line %d", f.n)
		}
		return f.skip(segs[0].First)
	}
	seg, err := segs[i].Open()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed since it was listed; the next call looks again
	} else if err != nil {
		return fmt.Errorf("follow audit log: %w", err)
	}
	offset, skipped, err := seg.skipLines(f.n - segs[i].First)
	f.seg, f.offset = seg, offset
	for err == nil && bytes.IndexByte(f.buf, '\n') < 0 && len(f.buf) <= MaxLineBytes {
		err = f.fill()
	}
	if err == nil {
		return nil
	}
	err2 := f.forget()
	if err != io.EOF || err2 != nil {
		return fmt.Errorf("follow audit log: %w", errors.Join(err, err2))
	}
	// The segment ends before line n does, or before it begins.
	if i+1 < len(segs) {
		return f.skip(segs[i+1].First)
	}
	return fmt.Errorf("follow audit log: %s ends with line %d, line %d is missing", segs[i].name(), segs[i].First+skipped, f.n)
}

// skip goes on with a later line and says which ones are gone.
func (f *Follower) skip(to uint64) error {
	gone := &PrunedError{From: f.n, To: to - 1}
	f.n = to
	return gone
}

// skipLines returns the offset behind the first lines of the segment, and how many
// there were, if fewer than asked.
func (r *SegmentReader) skipLines(lines uint64) (offset int64, skipped uint64, err error) {
	if lines == 0 {
		return 0, 0, nil
	}
	buf := make([]byte, followBytes)
	for {
		n, err := r.ReadAt(buf, offset)
		here := uint64(bytes.Count(buf[:n], []byte{'\n'}))
		if skipped+here < lines {
			offset += int64(n)
			skipped += here
			if err != nil {
				return offset, skipped, err
			}
			continue
		}
		for p := buf[:n]; ; {
			i := bytes.IndexByte(p, '\n')
			p = p[i+1:]
			offset += int64(i + 1)
			if skipped++; skipped == lines {
				return offset, skipped, nil
			}
		}
	}
}
