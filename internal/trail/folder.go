package trail

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"arca/internal/audit"
)

// indexDir is where the indexes of a node's directory are, in that directory.
const indexDir = "index"

// saveBytes is how much of the newest segment is indexed between two saves: what a start
// has to index before it can answer.
// Each save writes all of it again.
const saveBytes = 64 << 20

// folder is one node's directory.
type folder struct {
	dir   string
	name  string     // in positions and events
	log   *audit.Log // writes there; nil if nobody of this process does
	write string     // directory for indexes that are made
	slog  *slog.Logger

	feeding sync.Mutex // held by who adds to live, and by who replaces it
	saved   int64      // bytes of live that are saved; guarded by feeding
	seen    int64      // where the bytes of live's segment ended; guarded by feeding
	buf     []byte     // what feed reads into, five times a second; guarded by feeding

	mu   sync.RWMutex // held to change live, what is in it, or base; taken after feeding
	live *builder     // index of the segment that is written to; nil before the first advance
	// base is what an earlier run has saved of that index; live then has what follows. A
	// start thus need not read all of it. Nil without; closed by whoever replaces it.
	base     *indexFile
	baseDone func()

	building sync.Mutex // held while an index is made: one after the other

	heads   headers
	damages damages
}

// headers remembers what indexes say about themselves, and of which file it was.
type headers struct {
	mu sync.Mutex
	m  map[uint64]cachedHeader // guarded by mu
}

type cachedHeader struct {
	header
	info fs.FileInfo
}

// maxHeaders bounds the memory of it: two megabytes, for segments of a terabyte.
const maxHeaders = 8192

// get returns the header that was read from this very file.
func (h *headers) get(first uint64, info fs.FileInfo) *header {
	h.mu.Lock()
	defer h.mu.Unlock()
	x, ok := h.m[first]
	if !ok || !os.SameFile(x.info, info) || x.info.Size() != info.Size() || !x.info.ModTime().Equal(info.ModTime()) {
		return nil
	}
	return &x.header
}

func (h *headers) put(x header, info fs.FileInfo) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.m == nil || len(h.m) >= maxHeaders {
		h.m = make(map[uint64]cachedHeader)
	}
	h.m[x.first] = cachedHeader{x, info}
}

// advance indexes the lines that were synced before the call. Concurrent calls wait for
// each other.
func (f *folder) advance(ctx context.Context) error {
	if f.log == nil {
		return nil
	}
	f.feeding.Lock()
	defer f.feeding.Unlock()
	target := f.log.Size()
	for {
		segs, err := audit.Segments(f.dir)
		if err != nil {
			return fmt.Errorf("index audit log: %w", err)
		}
		i := f.liveSegment(segs, target)
		if i < 0 {
			return nil // nothing was written yet
		}
		seg, next := segs[i], uint64(math.MaxUint64)
		if i+1 < len(segs) && segs[i+1].First <= target {
			next = segs[i+1].First
		}
		if f.live == nil || f.live.first != seg.First {
			f.begin(seg, target)
		}
		limit := min(next, target)
		if err := f.feed(ctx, seg, uint32(min(limit-seg.First, maxIndexedLines))); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				f.setLive(nil, nil, nil) // retention removed it
				continue
			}
			return fmt.Errorf("index audit segment %d: %w", seg.First, err)
		}
		if next == math.MaxUint64 {
			if f.live.size-f.saved >= saveBytes {
				f.save(false)
			}
			return nil
		}
		// No line is added to it any more.
		f.save(true)
		f.begin(segs[i+1], target)
	}
}

// liveSegment is the segment to go on with: that of live, or else the newest one.
func (f *folder) liveSegment(segs []audit.Segment, target uint64) int {
	newest := -1
	for i, s := range segs {
		if s.First > target {
			break
		}
		newest = i
		if f.live != nil && f.live.first == s.First {
			return i
		}
	}
	return newest
}

func (f *folder) setLive(b *builder, base *indexFile, baseDone func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.baseDone != nil {
		f.baseDone()
	}
	f.live, f.base, f.baseDone = b, base, baseDone
}

// begin makes the segment the live one, with what an earlier run has saved of it.
func (f *folder) begin(seg audit.Segment, target uint64) {
	base, done := f.resume(seg, target)
	if base == nil {
		f.saved = 0
		f.setLive(newBuilder(seg.First, rand.Uint64()), nil, nil)
		return
	}
	f.saved = base.size
	f.setLive(newTail(base.header), base, done)
}

// join makes one index of base and live. If base turns out to be damaged, all of the
// segment is to be indexed again: live is nil then.
func (f *folder) join() {
	if f.base == nil {
		return
	}
	b, err := f.base.load()
	if err != nil {
		f.slog.Warn("index of the audit log is made again", "directory", f.dir, "segment", f.base.first, "error", err.Error())
		first := f.base.first
		f.setLive(nil, nil, nil)
		f.discard(first)
		return
	}
	b.absorb(f.live)
	f.setLive(b, nil, nil)
}

// reindex makes the index of the live segment anew, because what an earlier run has saved
// of it is damaged.
func (f *folder) reindex(ctx context.Context, first uint64) error {
	f.feeding.Lock()
	if f.base != nil && f.base.first == first {
		f.setLive(nil, nil, nil)
		f.discard(first)
	}
	f.feeding.Unlock()
	return f.advance(ctx)
}

// resume opens an index that covers the beginning of the segment. It returns nil when
// there is none, or when its last line is not the one in the segment: another log may
// have been there.
func (f *folder) resume(seg audit.Segment, target uint64) (*indexFile, func()) {
	x, done, err := f.openFile(seg.First)
	if err != nil {
		return nil, nil
	}
	if x.lines == 0 || x.first+uint64(x.lines) > target || !fits(x, seg) {
		done()
		return nil, nil
	}
	return x, done
}

// fits compares the last line that an index covers with the one in the segment.
func fits(x *indexFile, seg audit.Segment) bool {
	blocks, err := x.allBlocks()
	if err != nil || len(blocks) == 0 {
		return false
	}
	r, err := seg.Open()
	if err != nil {
		return false
	}
	defer func() { _ = r.Close() }() // nothing was written through it
	last := blocks[len(blocks)-1]
	n := x.size - last.offset
	if x.size > r.Size() || n > maxBlockBytes {
		return false
	}
	buf := make([]byte, n)
	if _, err := r.ReadAt(buf, last.offset); err != nil && err != io.EOF {
		return false
	}
	lines, ok := splitBlock(nil, buf, int(x.lines-last.line))
	return ok && crc32.Checksum(lines[len(lines)-1], castagnoli) == x.header.last
}

// feed indexes what the segment has beyond live, up to limit lines.
func (f *folder) feed(ctx context.Context, seg audit.Segment, limit uint32) error {
	if f.live.lines >= limit {
		f.seen = f.live.size
		if !seg.Compressed {
			f.seen = seg.Bytes
		}
		return nil
	}
	r, err := seg.Open()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // nothing was written through it
	feed := feeder{b: f.live, r: r, limit: limit, lock: f.mu.Lock, unlock: f.mu.Unlock, buf: f.buf}
	_, err = feed.run(ctx)
	if f.buf = feed.buf; cap(f.buf) > feedBytes {
		f.buf = nil // a line of unusual length
	}
	f.seen = r.Size()
	return err
}

// save writes the index of the live segment. Without it, what is missing is indexed
// again at the next start or search.
func (f *folder) save(complete bool) {
	f.join()
	b := f.live
	if b == nil || b.lines == 0 {
		return
	}
	if err := b.write(f.write, complete, f.seen); err != nil {
		f.slog.Warn("index of the audit log not saved; it is made again when it is needed",
			"segment", b.first, "error", err.Error())
	}
	f.saved = b.size
}

// close saves what was indexed.
func (f *folder) close() {
	f.feeding.Lock()
	defer f.feeding.Unlock()
	if f.live != nil && f.live.size > f.saved {
		f.save(false)
	}
	f.setLive(nil, nil, nil)
}

// openFile opens the index of the segment that begins with line first.
func (f *folder) openFile(first uint64) (x *indexFile, done func(), err error) {
	file, err := openRegular(indexPath(f.write, first))
	if own := filepath.Join(f.dir, indexDir); errors.Is(err, fs.ErrNotExist) && own != f.write {
		file, err = openRegular(indexPath(own, first))
	}
	if err != nil {
		return nil, nil, err
	}
	done = func() { _ = file.Close() } // nothing was written through it
	info, err := file.Stat()
	if err != nil {
		done()
		return nil, nil, err
	}
	h := f.heads.get(first, info)
	if h == nil {
		h, err = openIndex(file, info.Size())
		if err == nil && h.first != first {
			err = fmt.Errorf("%w: of another segment", errIndex)
		}
		if err != nil {
			done()
			return nil, nil, err
		}
		f.heads.put(*h, info)
	}
	return &indexFile{header: h, f: file}, done, nil
}

func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(errIndex, err, f.Close())
	}
	return f, nil
}

// covers reports whether an index is that of the segment as it is. next is the first
// line of the segment that follows; what is compressed is compared when it is opened.
func (h *header) covers(seg audit.Segment, next uint64) bool {
	return h.complete && h.first == seg.First && (seg.Compressed || h.seen == seg.Bytes) && uint64(h.lines) <= next-seg.First
}

// closed opens the index of a segment that is not live, making it if need be.
func (f *folder) closed(ctx context.Context, seg audit.Segment, next uint64) (x index, done func(), err error) {
	file, done, err := f.openFile(seg.First)
	if err == nil {
		if file.covers(seg, next) {
			return file, done, nil
		}
		done()
	}
	return f.build(ctx, seg, next)
}

// build makes the index of a segment that is not live.
func (f *folder) build(ctx context.Context, seg audit.Segment, next uint64) (index, func(), error) {
	f.building.Lock()
	defer f.building.Unlock()
	if file, done, err := f.openFile(seg.First); err == nil {
		if file.covers(seg, next) {
			return file, done, nil // made while this call waited
		}
		done()
	}
	if err := f.damages.known(seg.First); err != nil {
		return nil, nil, err
	}
	target := min(next, seg.First+maxIndexedLines)
	b := newBuilder(seg.First, rand.Uint64())
	if x, done := f.resume(seg, target); x != nil {
		old, err := x.load()
		done()
		if err == nil {
			b = old
		}
	}
	r, err := seg.Open()
	if err != nil {
		return nil, nil, f.damages.note(ctx, seg, err)
	}
	defer func() { _ = r.Close() }() // nothing was written through it
	nothing := func() {}
	feed := feeder{b: b, r: r, limit: uint32(target - seg.First), lock: nothing, unlock: nothing}
	if _, err := feed.run(ctx); err != nil {
		return nil, nil, f.damages.note(ctx, seg, err)
	}
	if err := b.write(f.write, true, r.Size()); err != nil {
		f.slog.Warn("index of the audit log not saved; it is made again when it is needed",
			"segment", b.first, "error", err.Error())
		return b, nothing, nil
	}
	return b, nothing, nil
}

// discard removes an index that turned out to be damaged or that of other lines.
func (f *folder) discard(first uint64) {
	for _, dir := range []string{f.write, filepath.Join(f.dir, indexDir)} {
		_ = os.Remove(indexPath(dir, first)) // if it cannot be, it is found damaged again
	}
}
