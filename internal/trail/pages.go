package trail

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// An index file is pages. Each has a checksum of its content and number, so that a page
// that the disk lost or damaged is noticed when it is read, without reading the others.
const (
	pageBytes    = 4096
	pageSumBytes = 4
	pagePayload  = pageBytes - pageSumBytes
)

// errIndex is the error for an index that is damaged, or is no index. It is made anew.
var errIndex = errors.New("audit index is damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func pageSum(payload []byte, number int64) uint32 {
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], uint64(number))
	return crc32.Update(crc32.Checksum(n[:], castagnoli), castagnoli, payload)
}

// pageWriter divides what is written into pages.
type pageWriter struct {
	w      *bufio.Writer
	page   [pageBytes]byte
	n      int // bytes of the payload so far
	number int64
}

func newPageWriter(w io.Writer) *pageWriter { return &pageWriter{w: bufio.NewWriterSize(w, 64<<10)} }

// Write implements io.Writer.
func (p *pageWriter) Write(b []byte) (int, error) {
	all := len(b)
	for len(b) > 0 {
		k := copy(p.page[p.n:pagePayload], b)
		p.n += k
		b = b[k:]
		if p.n == pagePayload {
			if err := p.end(); err != nil {
				return all - len(b), err
			}
		}
	}
	return all, nil
}

// end fills the page with zeros and writes it.
func (p *pageWriter) end() error {
	if p.n == 0 {
		return nil
	}
	clear(p.page[p.n:pagePayload])
	binary.LittleEndian.PutUint32(p.page[pagePayload:], pageSum(p.page[:pagePayload], p.number))
	p.n = 0
	p.number++
	_, err := p.w.Write(p.page[:])
	return err
}

// flush ends the last page and hands everything on.
func (p *pageWriter) flush() error {
	if err := p.end(); err != nil {
		return err
	}
	return p.w.Flush()
}

// readPaged returns n bytes of the payload from offset on, or errIndex.
func readPaged(f io.ReaderAt, offset, n int64) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	from, to := offset/pagePayload, (offset+n-1)/pagePayload
	raw := make([]byte, (to-from+1)*pageBytes)
	if _, err := f.ReadAt(raw, from*pageBytes); err == io.EOF {
		return nil, fmt.Errorf("%w: it ends early", errIndex)
	} else if err != nil {
		return nil, err
	}
	payload := raw[:0]
	for number := from; number <= to; number++ {
		page := raw[(number-from)*pageBytes:][:pageBytes]
		if binary.LittleEndian.Uint32(page[pagePayload:]) != pageSum(page[:pagePayload], number) {
			return nil, fmt.Errorf("%w: page %d", errIndex, number)
		}
		payload = append(payload, page[:pagePayload]...)
	}
	return payload[offset-from*pagePayload:][:n], nil
}
