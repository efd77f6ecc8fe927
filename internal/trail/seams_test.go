package trail

import "io"

// Builder gives tests and benchmarks the index without its files.
type Builder struct{ b *builder }

// NewBuilder begins the index of a segment.
func NewBuilder() Builder { return Builder{newBuilder(0, 1)} }

// Add indexes a line.
func (b Builder) Add(line []byte) { b.b.add(line) }

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
