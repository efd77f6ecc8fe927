package trail

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
)

// A block ends when it has so many lines or so many bytes. Reading one event reads its
// block.
const (
	blockLines = 64
	blockBytes = 256 << 10
)

// maxIndexedLines is the most lines that one index has. Segments are begun anew long
// before: it would take lines of two bytes. What follows is no log of ours, and not found.
const maxIndexedLines = 1 << 26

// posting is the ascending list of lines of one key, as the first of them and the
// distances to the others (varints).
type posting struct {
	first, last uint32
	more        []byte
}

func (p *posting) add(n uint32) {
	if n == p.last {
		return // a line can have a key twice
	}
	p.more = binary.AppendUvarint(p.more, uint64(n-p.last))
	p.last = n
}

// block is a run of consecutive lines.
type block struct {
	line             uint32 // number of its first
	offset           int64  // in the uncompressed segment
	minTime, maxTime uint32
}

// idEntry is the hash of an event's id and, in the lower half, its line: a number, since
// numbers sort in half the time.
type idEntry uint64

func newIDEntry(hash, line uint32) idEntry { return idEntry(hash)<<32 | idEntry(line) }

func (e idEntry) hash() uint32 { return uint32(e >> 32) }
func (e idEntry) line() uint32 { return uint32(e) }

// builder is the index of a segment while lines are added. It is not safe for
// concurrent use.
type builder struct {
	first  uint64
	lines  uint32 // added
	last   uint32 // checksum of the latest line, as seal and pass leave it
	size   int64  // their bytes, newlines included
	hash   hasher
	keys   map[uint64]*posting
	ids    []idEntry
	blocks []block
	places []place       // in which there are events
	known  map[place]int // where they are in places
	latest place         // the place of the line before
	at     int           // latest's, of places
	record record
	memo   memo
}

func newBuilder(first, seed uint64) *builder {
	return &builder{
		first: first, hash: hasher{seed: seed}, keys: make(map[uint64]*posting), known: make(map[place]int),
		record: record{known: new(identities)},
	}
}

// newTail returns an index of the lines that follow those that another one covers.
func newTail(h *header) *builder {
	b := newBuilder(h.first, h.seed)
	b.lines, b.size, b.last = h.lines, h.size, h.last
	return b
}

// absorb adds what a tail of this index has.
func (b *builder) absorb(tail *builder) {
	b.lines, b.size, b.last = tail.lines, tail.size, tail.last
	for k, t := range tail.keys {
		p := b.keys[k]
		if p == nil {
			b.keys[k] = t
			continue
		}
		last := t.last
		p.add(t.first)
		p.more = append(p.more, t.more...)
		p.last = last
	}
	b.ids = append(b.ids, tail.ids...)
	b.blocks = append(b.blocks, tail.blocks...)
	for _, p := range tail.places {
		b.note(p)
	}
}

// add takes the next line, without its newline. A line that is no record is counted
// and found by no search. The last of some lines is to be sealed.
func (b *builder) add(line []byte) {
	n := b.lines
	if k := len(b.blocks); k == 0 || n-b.blocks[k-1].line >= blockLines || b.size-b.blocks[k-1].offset >= blockBytes {
		b.beginBlock()
	}
	b.lines++
	b.size += int64(len(line)) + 1
	r := &b.record
	if !r.read(line) {
		return
	}
	bl := &b.blocks[len(b.blocks)-1]
	t := clampTime(r.time)
	bl.minTime, bl.maxTime = min(bl.minTime, t), max(bl.maxTime, t)
	if string(r.account) != b.latest.account || string(r.region) != b.latest.region || len(b.places) == 0 {
		b.enter(place{string(r.account), string(r.region)})
	}
	b.ids = append(b.ids, newIDEntry(b.hash.id(r.id), n))
	b.post(n, anyEvent, nil)
	b.post(n, eventName, r.name)
	b.post(n, readOnly, readOnlyText(r.readOnly))
	b.post(n, eventSource, r.source)
	if len(r.userName) > 0 {
		b.post(n, userName, r.userName)
	}
	if len(r.accessKey) > 0 {
		b.post(n, accessKeyID, r.accessKey)
	}
	if len(r.errorCode) > 0 {
		b.post(n, errorCode, r.errorCode)
	}
	if len(r.sourceIP) > 0 {
		b.post(n, sourceIP, r.sourceIP)
	}
	kind := ""
	for _, one := range r.resources {
		if one.kind != kind && one.kind != "" {
			kind = one.kind
			b.post(n, resourceKind, []byte(kind))
		}
		b.post(n, resourceName, one.name)
	}
}

// seal notes the checksum of the latest line, by which a later run knows the segment
// again.
func (b *builder) seal(line []byte) { b.last = crc32.Checksum(line, castagnoli) }

func (b *builder) beginBlock() {
	b.blocks = append(b.blocks, block{line: b.lines, offset: b.size, minTime: math.MaxUint32})
}

// pass counts a line that is too long to be a record, in a block of its own: the next
// line begins another one.
func (b *builder) pass(bytes int64) {
	b.beginBlock()
	b.lines++
	b.size += bytes
	b.last = 0
}

func readOnlyText(v bool) []byte {
	if v {
		return []byte("true")
	}
	return []byte("false")
}

func (b *builder) enter(p place) {
	b.latest, b.at = p, b.note(p)
}

// note returns where a place is in places, as it now is.
func (b *builder) note(p place) int {
	at, ok := b.known[p]
	if !ok {
		at = len(b.places)
		b.known[p] = at
		b.places = append(b.places, p)
	}
	return at
}

// post enlists line n under a value, or under each name of a resource.
func (b *builder) post(n uint32, a attribute, value []byte) {
	e, ok := b.memo.of(b.at, a, value)
	if ok {
		for _, p := range e.lists {
			if p != nil {
				p.add(n)
			}
		}
		return
	}
	var lists [maxLists]*posting
	if a == resourceName {
		for i, name := range appendIndexed(nil, string(value)) {
			lists[i] = b.enlist(n, b.hash.keyOf(b.latest, a, name))
		}
	} else {
		lists[0] = b.enlist(n, b.hash.key(b.latest, a, value))
	}
	e.set(b.at, a, value, lists)
}

// enlist returns the list of a key, with line n at its end.
func (b *builder) enlist(n uint32, k uint64) *posting {
	p := b.keys[k]
	if p != nil {
		p.add(n)
		return p
	}
	p = &posting{first: n, last: n}
	b.keys[k] = p
	return p
}

// clampTime is the time as blocks have it: unsigned seconds, which last until 2106.
func clampTime(t int64) uint32 { return uint32(min(max(t, 0), math.MaxUint32)) }

func blockTimes(blocks []block) (earliest, latest uint32) {
	earliest = math.MaxUint32
	for _, bl := range blocks {
		earliest, latest = min(earliest, bl.minTime), max(latest, bl.maxTime)
	}
	return earliest, latest
}

// The methods of an index.

func (b *builder) info() header {
	h := header{seed: b.hash.seed, first: b.first, lines: b.lines, size: b.size, last: b.last}
	h.earliest, h.latest = blockTimes(b.blocks)
	return h
}

func (b *builder) allPlaces() ([]place, error) { return slices.Clone(b.places), nil }

func (b *builder) allBlocks() ([]block, error) { return slices.Clone(b.blocks), nil }

func (b *builder) weigh(k uint64) (bytes int, found bool, err error) {
	p := b.keys[k]
	if p == nil {
		return 0, false, nil
	}
	return len(p.more), true, nil
}

func (b *builder) list(dst []uint32, k uint64) ([]uint32, error) {
	p := b.keys[k]
	if p == nil {
		return dst, nil
	}
	return appendPosting(append(dst, p.first), p.more, b.lines)
}

// appendPosting decodes distances after the first line, which is in dst.
func appendPosting(dst []uint32, more []byte, lines uint32) ([]uint32, error) {
	n := dst[len(dst)-1]
	for len(more) > 0 {
		d, w := binary.Uvarint(more)
		if w <= 0 || d == 0 || d >= uint64(lines) || uint64(n)+d >= uint64(lines) {
			return nil, fmt.Errorf("%w: list of lines", errIndex)
		}
		n += uint32(d)
		dst = append(dst, n)
		more = more[w:]
	}
	return dst, nil
}

func (b *builder) listID(dst []uint32, h uint32) ([]uint32, error) {
	for _, e := range b.ids {
		if e.hash() == h {
			dst = append(dst, e.line())
		}
	}
	return dst, nil
}

// sortedIDs are the event ids as the file has them.
func (b *builder) sortedIDs() []idEntry {
	ids := slices.Clone(b.ids)
	slices.Sort(ids)
	return ids
}
