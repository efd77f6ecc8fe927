package trail

import (
	"bytes"
	"context"
	"io"

	"arca/internal/audit"
)

// feedBytes is how much of a segment is read at once.
const feedBytes = 1 << 20

// feeder adds the lines of a segment to an index.
type feeder struct {
	b     *builder
	r     io.ReaderAt
	limit uint32 // as many lines the index has at the end, unless the segment has fewer
	// They are called around each change of the index.
	lock, unlock func()
	// buf is memory to read into; nil for none yet.
	buf []byte
}

// run reads until the limit or the end of the last whole line, and returns where the
// bytes of the segment ended, or how far they were read.
func (f *feeder) run(ctx context.Context) (seen int64, err error) {
	buf := f.buf[:0]
	if buf == nil {
		buf = make([]byte, 0, feedBytes)
	}
	defer func() { f.buf = buf }()
	for f.b.lines < f.limit {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		if len(buf) == cap(buf) { // no line ended in all of it
			if cap(buf) > audit.MaxLineBytes {
				n, seen, err := f.lineEnd(ctx, f.b.size+int64(len(buf)))
				if err != nil || n == 0 {
					return seen, err
				}
				f.lock()
				f.b.pass(n - f.b.size)
				f.unlock()
				buf = buf[:0]
				continue
			}
			buf = append(make([]byte, 0, audit.MaxLineBytes+feedBytes), buf...)
		}
		n, err := f.r.ReadAt(buf[len(buf):cap(buf)], f.b.size+int64(len(buf)))
		buf = buf[:len(buf)+n]
		if err != nil && err != io.EOF {
			return 0, err
		}
		used := f.add(buf)
		if used == 0 && n == 0 {
			break // what is left is no whole line
		}
		buf = append(buf[:0], buf[used:]...)
	}
	return f.b.size + int64(len(buf)), nil
}

func (f *feeder) add(p []byte) (used int) {
	f.lock()
	defer f.unlock()
	var line []byte
	for f.b.lines < f.limit {
		i := bytes.IndexByte(p[used:], '\n')
		if i < 0 {
			break
		}
		line = p[used : used+i]
		f.b.add(line)
		used += i + 1
	}
	if used > 0 {
		f.b.seal(line)
	}
	return used
}

// lineEnd returns the offset behind the next newline, or 0 when there is none.
func (f *feeder) lineEnd(ctx context.Context, from int64) (end, seen int64, err error) {
	buf := make([]byte, 256<<10)
	for {
		if ctx.Err() != nil {
			return 0, 0, context.Cause(ctx)
		}
		n, err := f.r.ReadAt(buf, from)
		if i := bytes.IndexByte(buf[:n], '\n'); i >= 0 {
			return from + int64(i) + 1, 0, nil
		}
		from += int64(n)
		if err == io.EOF {
			return 0, from, nil
		}
		if err != nil {
			return 0, 0, err
		}
	}
}
