package trail

import (
	"context"
	"io"

	"arca/internal/audit"
)

// Builder gives tests and benchmarks the index without its files.
type Builder struct{ b *builder }

// NewBuilder begins the index of a segment.
func NewBuilder() Builder { return Builder{newBuilder(0, 1)} }

// Add indexes a line.
func (b Builder) Add(line []byte) { b.b.add(line); b.b.seal(line) }

// Forget makes the index forget what it remembers of the lines before.
func (b Builder) Forget() { b.b.memo, b.b.record.known = memo{}, nil }

// Text is what stands between the quotes of the string that a text begins with.
func Text(b []byte) (raw []byte, escaped, ok bool, end int) {
	c := cursor{b: b}
	raw, escaped, ok = c.text()
	return raw, escaped, ok, c.i
}

// Encode writes the index file.
func (b Builder) Encode(w io.Writer) error { return b.b.encode(w, true, b.b.size) }

// LoadIndex reads an index from bytes and asks it everything.
func LoadIndex(r io.ReaderAt, size int64) error {
	h, err := openIndex(r, size)
	if err != nil {
		return err
	}
	x := &indexFile{header: h, f: r}
	if _, err := x.load(); err != nil {
		return err
	}
	q, err := (&Filter{UserName: "alice"}).compile()
	if err != nil {
		return err
	}
	if _, _, err := candidates(x, q); err != nil {
		return err
	}
	q.EventID = "x"
	_, _, err = candidates(x, q)
	return err
}

// LateSegments searches forward while the log grows: write is called when the search has
// its index, and before it has the list of segments. It returns the lines that were found
// and where the search goes on.
func LateSegments(ctx context.Context, t *Trail, write func()) (lines []uint64, next uint64, err error) {
	f := t.folders[0]
	q, err := (&Filter{}).compile()
	if err != nil {
		return nil, 0, err
	}
	l, err := f.newLane(ctx, q, true, nil)
	if err != nil {
		return nil, 0, err
	}
	defer l.close()
	write()
	if l.segs, err = audit.Segments(f.dir); err != nil {
		return nil, 0, err
	}
	b := budget{lines: searchLines}
	for {
		if err := l.next(ctx, &b); err != nil {
			return nil, 0, err
		}
		if l.head == nil {
			return lines, l.bound, nil
		}
		lines = append(lines, l.take().Line)
		if err := f.advance(ctx); err != nil {
			return nil, 0, err
		}
	}
}

// Spend searches for everything and returns what it cost.
func Spend(ctx context.Context, t *Trail, f Filter) (int, error) {
	q, err := f.compile()
	if err != nil {
		return 0, err
	}
	l, err := t.folders[0].newLane(ctx, q, false, nil)
	if err != nil {
		return 0, err
	}
	defer l.close()
	b := budget{lines: searchLines}
	for {
		if err := l.next(ctx, &b); err != nil || l.head == nil {
			return searchLines - b.lines, err
		}
		l.take()
	}
}
