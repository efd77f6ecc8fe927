package trail

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"arca/internal/audit"
)

// maxBlockBytes bounds a block: what fits before its last line, and that line.
const maxBlockBytes = blockBytes + audit.MaxLineBytes + 1

// lineFile reads single lines of a segment, a block at a time.
type lineFile struct {
	r      *audit.SegmentReader
	size   int64 // of all blocks
	lines  uint32
	blocks []block
	at     int // block that is in cut; -1 for none
	buf    []byte
	cut    [][]byte
	cost   int // of the blocks that were read, in lines
}

// costBytes is how many bytes of a block cost as much as a line that is looked at.
const costBytes = 4 << 10

func openLines(seg audit.Segment, h header, blocks []block, complete bool) (*lineFile, error) {
	r, err := seg.Open()
	if err != nil {
		return nil, err
	}
	if r.Size() < h.size || complete && r.Size() != h.seen {
		return nil, errors.Join(fmt.Errorf("%w: the segment has another size", errIndex), r.Close())
	}
	return &lineFile{r: r, size: h.size, lines: h.lines, blocks: blocks, at: -1}, nil
}

func (f *lineFile) close() { _ = f.r.Close() } // nothing was written through it

// line returns a line, valid until the next call.
func (f *lineFile) line(n uint32) ([]byte, error) {
	i := blockOf(f.blocks, n)
	if i < 0 || n >= f.lines {
		return nil, fmt.Errorf("%w: line %d", errIndex, n)
	}
	if i != f.at {
		if err := f.load(i); err != nil {
			return nil, err
		}
	}
	k := int(n - f.blocks[i].line)
	if k >= len(f.cut) {
		return nil, fmt.Errorf("%w: line %d", errIndex, n)
	}
	return f.cut[k], nil
}

func (f *lineFile) load(i int) error {
	f.at = -1
	from, to, lines := f.blocks[i].offset, f.size, f.lines
	if i+1 < len(f.blocks) {
		to, lines = f.blocks[i+1].offset, f.blocks[i+1].line
	}
	if to <= from || to-from > maxBlockBytes {
		return fmt.Errorf("%w: block", errIndex)
	}
	f.cost += max(blockLines, int((to-from)/costBytes))
	if int64(cap(f.buf)) < to-from {
		f.buf = make([]byte, to-from)
	}
	f.buf = f.buf[:to-from]
	if _, err := f.r.ReadAt(f.buf, from); err != nil && err != io.EOF {
		return err
	}
	var ok bool
	if f.cut, ok = splitBlock(f.cut[:0], f.buf, int(lines-f.blocks[i].line)); !ok {
		return fmt.Errorf("%w: the segment has other lines", errIndex)
	}
	f.at = i
	return nil
}

// splitBlock cuts a block into its lines, of which there must be exactly n.
func splitBlock(dst [][]byte, block []byte, n int) ([][]byte, bool) {
	for len(block) > 0 {
		i := bytes.IndexByte(block, '\n')
		if i < 0 || n == 0 {
			return nil, false
		}
		dst = append(dst, block[:i])
		block = block[i+1:]
		n--
	}
	return dst, n == 0
}
