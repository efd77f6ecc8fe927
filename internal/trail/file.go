package trail

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"
)

// The parts of an index file, one behind the other in the payload of its pages:
//
//	header     one page
//	places     account and region, each with its length before it
//	blocks     line 4, offset 8, earliest time 4, latest time 4
//	id fan     for each value of the highest bits of a hash, how many ids are below
//	ids        hash 4, line 4, ascending
//	key fan    likewise
//	keys       hash 8, first line 4, place of its distances 4, their length 4, ascending
//	postings   the distances
//
// Numbers are little-endian.
const (
	indexMagic   = "arcaidx\x02"
	headerFields = 8 + 4 + 8 + 8 + 4 + 8 + 8 + 9*4

	fanBits  = 10
	fanBytes = (1<<fanBits + 1) * 4

	blockEntry = 20
	idWidth    = 8
	keyWidth   = 20
)

// header says what an index covers.
type header struct {
	complete bool // the segment got no more lines
	seed     uint64
	first    uint64
	lines    uint32
	size     int64  // bytes of these lines in the segment, uncompressed
	seen     int64  // bytes that the segment had, with what was no whole line
	last     uint32 // checksum of the latest line

	earliest, latest uint32

	placeCount, placeBytes, blockCount, idCount, keyCount, postingBytes uint32
}

func (h *header) append(dst []byte) []byte {
	le := binary.LittleEndian
	dst = append(dst, indexMagic...)
	flags := uint32(0)
	if h.complete {
		flags = 1
	}
	dst = le.AppendUint32(dst, flags)
	dst = le.AppendUint64(dst, h.seed)
	dst = le.AppendUint64(dst, h.first)
	dst = le.AppendUint32(dst, h.lines)
	dst = le.AppendUint64(dst, uint64(h.size))
	dst = le.AppendUint64(dst, uint64(h.seen))
	for _, v := range [...]uint32{
		h.last, h.earliest, h.latest,
		h.placeCount, h.placeBytes, h.blockCount, h.idCount, h.keyCount, h.postingBytes,
	} {
		dst = le.AppendUint32(dst, v)
	}
	return dst
}

// parseHeader reads a header and checks that it can be one of a file of that size.
func parseHeader(b []byte, fileBytes int64) (*header, error) {
	if len(b) < headerFields || string(b[:8]) != indexMagic {
		return nil, fmt.Errorf("%w: not an index of this version", errIndex)
	}
	le := binary.LittleEndian
	h := &header{
		complete: le.Uint32(b[8:]) == 1,
		seed:     le.Uint64(b[12:]), first: le.Uint64(b[20:]), lines: le.Uint32(b[28:]),
		size: int64(le.Uint64(b[32:])), seen: int64(le.Uint64(b[40:])),
	}
	for i, v := range [...]*uint32{
		&h.last, &h.earliest, &h.latest,
		&h.placeCount, &h.placeBytes, &h.blockCount, &h.idCount, &h.keyCount, &h.postingBytes,
	} {
		*v = le.Uint32(b[48+4*i:])
	}
	if pages := (h.end() + pagePayload - 1) / pagePayload; pages*pageBytes != fileBytes {
		return nil, fmt.Errorf("%w: %d bytes, not %d pages", errIndex, fileBytes, pages)
	}
	if h.lines > maxIndexedLines || h.size < 0 || h.blockCount > h.lines || h.idCount > h.lines || h.lines > 0 && h.blockCount == 0 {
		return nil, fmt.Errorf("%w: counts of its header", errIndex)
	}
	return h, nil
}

// The places of the parts.
func (h *header) blocksAt() int64   { return pagePayload + int64(h.placeBytes) }
func (h *header) idFanAt() int64    { return h.blocksAt() + int64(h.blockCount)*blockEntry }
func (h *header) idsAt() int64      { return h.idFanAt() + fanBytes }
func (h *header) keyFanAt() int64   { return h.idsAt() + int64(h.idCount)*idWidth }
func (h *header) keysAt() int64     { return h.keyFanAt() + fanBytes }
func (h *header) postingsAt() int64 { return h.keysAt() + int64(h.keyCount)*keyWidth }
func (h *header) end() int64        { return h.postingsAt() + int64(h.postingBytes) }

// write puts the index into dir under its name. It is not synced: a crash leaves the
// old one, none, or one whose pages do not check.
func (b *builder) write(dir string, complete bool, seen int64) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "*"+tempSuffix)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name()) // the next start removes what is left
		}
	}()
	if err := b.encode(f, complete, seen); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), indexPath(dir, b.first))
}

const (
	indexSuffix = ".idx"
	tempSuffix  = ".tmp"
)

func indexPath(dir string, first uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%020d%s", first, indexSuffix))
}

func (b *builder) encode(w io.Writer, complete bool, seen int64) error {
	le := binary.LittleEndian
	keys := slices.Sorted(maps.Keys(b.keys))
	h := b.info()
	h.complete, h.seen = complete, seen
	h.placeCount, h.blockCount = uint32(len(b.places)), uint32(len(b.blocks))
	h.idCount, h.keyCount = uint32(len(b.ids)), uint32(len(keys))
	var places []byte
	for _, p := range b.places {
		for _, s := range [...]string{p.account, p.region} {
			places = append(binary.AppendUvarint(places, uint64(len(s))), s...)
		}
	}
	h.placeBytes = uint32(len(places))
	for _, k := range keys {
		h.postingBytes += uint32(len(b.keys[k].more))
	}
	pw := newPageWriter(w)
	buf := h.append(make([]byte, 0, 64<<10))
	buf = append(buf, make([]byte, pagePayload-len(buf))...)
	buf = append(buf, places...)
	for _, bl := range b.blocks {
		buf = le.AppendUint32(buf, bl.line)
		buf = le.AppendUint64(buf, uint64(bl.offset))
		buf = le.AppendUint32(le.AppendUint32(buf, bl.minTime), bl.maxTime)
	}
	ids := b.sortedIDs()
	buf = appendFan(buf, len(ids), func(i int) uint64 { return uint64(ids[i].hash()) << 32 })
	for _, e := range ids {
		buf = le.AppendUint32(le.AppendUint32(buf, e.hash()), e.line())
	}
	buf = appendFan(buf, len(keys), func(i int) uint64 { return keys[i] })
	at := uint32(0)
	for _, k := range keys {
		p := b.keys[k]
		buf = le.AppendUint64(buf, k)
		buf = le.AppendUint32(buf, p.first)
		buf = le.AppendUint32(buf, at)
		buf = le.AppendUint32(buf, uint32(len(p.more)))
		at += uint32(len(p.more))
	}
	if _, err := pw.Write(buf); err != nil {
		return err
	}
	for _, k := range keys {
		if _, err := pw.Write(b.keys[k].more); err != nil {
			return err
		}
	}
	return pw.flush()
}

// appendFan appends how many of n ascending hashes are below each value of the highest
// bits, and n.
func appendFan(dst []byte, n int, hash func(i int) uint64) []byte {
	i := 0
	for v := range uint64(1 << fanBits) {
		for i < n && hash(i)>>(64-fanBits) < v {
			i++
		}
		dst = binary.LittleEndian.AppendUint32(dst, uint32(i))
	}
	return binary.LittleEndian.AppendUint32(dst, uint32(n))
}

// indexFile is an index on disk, open.
type indexFile struct {
	*header
	f io.ReaderAt
}

func (x *indexFile) info() header { return *x.header }

// openIndex reads the header of an index. The error is errIndex when it is not whole.
func openIndex(f io.ReaderAt, fileBytes int64) (*header, error) {
	page, err := readPaged(f, 0, pagePayload)
	if err != nil {
		return nil, err
	}
	return parseHeader(page, fileBytes)
}

func (x *indexFile) allPlaces() ([]place, error) {
	b, err := readPaged(x.f, pagePayload, int64(x.placeBytes))
	if err != nil {
		return nil, err
	}
	next := func() (string, bool) {
		n, w := binary.Uvarint(b)
		if w <= 0 || n > uint64(len(b)-w) {
			return "", false
		}
		s := string(b[w : w+int(n)])
		b = b[w+int(n):]
		return s, true
	}
	var places []place
	for range x.placeCount {
		account, ok1 := next()
		region, ok2 := next()
		if !ok1 || !ok2 {
			return nil, fmt.Errorf("%w: accounts and regions", errIndex)
		}
		places = append(places, place{account, region})
	}
	return places, nil
}

func (x *indexFile) allBlocks() ([]block, error) {
	b, err := readPaged(x.f, x.blocksAt(), int64(x.blockCount)*blockEntry)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	blocks := make([]block, x.blockCount)
	for i := range blocks {
		e := b[i*blockEntry:]
		blocks[i] = block{line: le.Uint32(e), offset: int64(le.Uint64(e[4:])), minTime: le.Uint32(e[12:]), maxTime: le.Uint32(e[16:])}
		if i == 0 && (blocks[0].line != 0 || blocks[0].offset != 0) ||
			i > 0 && (blocks[i].line <= blocks[i-1].line || blocks[i].offset <= blocks[i-1].offset) ||
			blocks[i].line >= x.lines || blocks[i].offset >= x.size {
			return nil, fmt.Errorf("%w: blocks", errIndex)
		}
	}
	return blocks, nil
}

// bucket returns the entries whose hashes begin like hash.
func (x *indexFile) bucket(hash uint64, fanAt, at int64, count uint32, width int64) ([]byte, error) {
	fan, err := readPaged(x.f, fanAt+int64(hash>>(64-fanBits))*4, 8)
	if err != nil {
		return nil, err
	}
	from, to := binary.LittleEndian.Uint32(fan), binary.LittleEndian.Uint32(fan[4:])
	if from > to || to > count {
		return nil, fmt.Errorf("%w: fan", errIndex)
	}
	return readPaged(x.f, at+int64(from)*width, int64(to-from)*width)
}

// entry is one key as the file has it.
type entry struct {
	hash              uint64
	first, at, length uint32
}

func parseEntry(b []byte) entry {
	le := binary.LittleEndian
	return entry{le.Uint64(b), le.Uint32(b[8:]), le.Uint32(b[12:]), le.Uint32(b[16:])}
}

// find looks a key up. A list without distances has one line.
func (x *indexFile) find(k uint64) (e entry, found bool, err error) {
	b, err := x.bucket(k, x.keyFanAt(), x.keysAt(), x.keyCount, keyWidth)
	if err != nil {
		return e, false, err
	}
	n := len(b) / keyWidth
	i := sort.Search(n, func(i int) bool { return binary.LittleEndian.Uint64(b[i*keyWidth:]) >= k })
	if i == n {
		return e, false, nil
	}
	e = parseEntry(b[i*keyWidth:])
	if e.hash != k {
		return e, false, nil
	}
	if e.first >= x.lines || uint64(e.at)+uint64(e.length) > uint64(x.postingBytes) {
		return e, false, fmt.Errorf("%w: key", errIndex)
	}
	return e, true, nil
}

func (x *indexFile) weigh(k uint64) (bytes int, found bool, err error) {
	e, found, err := x.find(k)
	return int(e.length), found, err
}

func (x *indexFile) list(dst []uint32, k uint64) ([]uint32, error) {
	e, found, err := x.find(k)
	if err != nil || !found {
		return dst, err
	}
	more, err := readPaged(x.f, x.postingsAt()+int64(e.at), int64(e.length))
	if err != nil {
		return nil, err
	}
	return appendPosting(append(dst, e.first), more, x.lines)
}

func (x *indexFile) listID(dst []uint32, hash uint32) ([]uint32, error) {
	b, err := x.bucket(uint64(hash)<<32, x.idFanAt(), x.idsAt(), x.idCount, idWidth)
	if err != nil {
		return nil, err
	}
	for ; len(b) > 0; b = b[idWidth:] {
		if binary.LittleEndian.Uint32(b) != hash {
			continue
		}
		line := binary.LittleEndian.Uint32(b[4:])
		if line >= x.lines {
			return nil, fmt.Errorf("%w: event ids", errIndex)
		}
		dst = append(dst, line)
	}
	return dst, nil
}

// load makes the index one that lines can be added to.
func (x *indexFile) load() (*builder, error) {
	b := newBuilder(x.first, x.seed)
	b.lines, b.size, b.last = x.lines, x.size, x.header.last
	var err error
	if b.blocks, err = x.allBlocks(); err != nil {
		return nil, err
	}
	if b.places, err = x.allPlaces(); err != nil {
		return nil, err
	}
	for i, p := range b.places {
		b.known[p] = i
	}
	if len(b.places) > 0 {
		b.latest = b.places[0]
	}
	ids, err := readPaged(x.f, x.idsAt(), int64(x.idCount)*idWidth)
	if err != nil {
		return nil, err
	}
	b.ids = make([]idEntry, 0, x.idCount+x.idCount/4)
	for ; len(ids) > 0; ids = ids[idWidth:] {
		b.ids = append(b.ids, newIDEntry(binary.LittleEndian.Uint32(ids), binary.LittleEndian.Uint32(ids[4:])))
	}
	slices.SortFunc(b.ids, func(x, y idEntry) int { return cmp.Compare(x.line(), y.line()) })
	keys, err := readPaged(x.f, x.keysAt(), int64(x.keyCount)*keyWidth)
	if err != nil {
		return nil, err
	}
	postings, err := readPaged(x.f, x.postingsAt(), int64(x.postingBytes))
	if err != nil {
		return nil, err
	}
	var lines []uint32
	for ; len(keys) > 0; keys = keys[keyWidth:] {
		e := parseEntry(keys)
		if e.first >= x.lines || uint64(e.at)+uint64(e.length) > uint64(len(postings)) {
			return nil, fmt.Errorf("%w: key", errIndex)
		}
		more := postings[e.at:][:e.length]
		if lines, err = appendPosting(append(lines[:0], e.first), more, x.lines); err != nil {
			return nil, err
		}
		b.keys[e.hash] = &posting{first: e.first, last: lines[len(lines)-1], more: bytes.Clone(more)}
	}
	for _, e := range b.ids {
		if e.line() >= x.lines {
			return nil, fmt.Errorf("%w: event ids", errIndex)
		}
	}
	return b, nil
}
