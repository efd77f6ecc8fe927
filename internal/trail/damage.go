package trail

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"syscall"
	"time"

	"arca/internal/audit"
)

// damageFor is how long a segment that could not be indexed is not tried again: what is
// good of it would be read for each search.
const damageFor = time.Minute

// damages remembers the segments of a folder that cannot be read.
type damages struct {
	mu   sync.Mutex
	told map[uint64]bool   // guarded by mu; the log says it already
	bad  map[uint64]damage // guarded by mu
}

type damage struct {
	until time.Time
	err   error
}

// isDamage reports whether an error is one of the bytes in a segment, rather than of the
// process, its rights or its limits.
func isDamage(err error) bool {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	var number syscall.Errno
	return !errors.As(err, &number) || number == syscall.EIO
}

// note keeps what came of a segment. It returns err.
func (d *damages) note(ctx context.Context, seg audit.Segment, err error) error {
	if ctx.Err() != nil || !isDamage(err) {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bad == nil {
		d.bad = make(map[uint64]damage)
	}
	d.bad[seg.First] = damage{time.Now().Add(damageFor), err}
	return err
}

// known returns what came of a segment a moment ago, or nil.
func (d *damages) known(first uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	bad, ok := d.bad[first]
	if !ok {
		return nil
	}
	if time.Now().After(bad.until) {
		delete(d.bad, first)
		return nil
	}
	return bad.err
}

// complain says once that a segment is damaged.
func (f *folder) complain(first uint64, err error) {
	f.damages.mu.Lock()
	told := f.damages.told[first]
	if f.damages.told == nil {
		f.damages.told = make(map[uint64]bool)
	}
	f.damages.told[first] = true
	f.damages.mu.Unlock()
	if !told {
		f.slog.Error("part of the audit log cannot be read; searches leave it out", "directory", f.dir,
			"segment", audit.SegmentName(first, false), "error", err.Error())
	}
}
