package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"runtime"
	"slices"
	"sync"

	"arca/internal/merkle"
)

const (
	// hashChunkBytes is how much of a segment one worker hashes at a time; more of a
	// compressed one, whose frames at both ends are needed by two workers.
	hashChunkBytes  = 1 << 20
	hashFramesBytes = 4 << 20
	// hashAheadBytes is read beyond a chunk, for the end of its last line.
	hashAheadBytes = 16 << 10
	// hashPad is where a part begins in a worker's memory. The byte before the part goes
	// in front of it; with that byte in its place, the part would be off by one from the
	// pages it is copied from, and copying takes several times as long.
	hashPad = 4096
	// maxDiffer bounds the lines a chunk reports to differ from their tile.
	maxDiffer = 64
)

// hashPlan is what hashLines is to do.
type hashPlan struct {
	segs []Segment
	// upTo: of segs[i], lines numbered below upTo[i] count, which is where the next
	// segment begins. What a segment holds beyond is counted as extra.
	upTo []uint64
	// stops are the sizes at which the caller wants the tree, ascending.
	stops []uint64
	// tiles, if not nil, are compared with the lines below tiled.
	tiles *merkle.Tiles
	tiled uint64
}

// hashed is what came out of a part of a segment.
type hashed struct {
	seg    int
	first  uint64  // number of the first line
	lines  uint64  // that count
	extra  uint64  // lines that do not
	bytes  int64   // of the part
	pieces []piece // the lines' subtrees; none reaches over a stop
	differ []uint64
	gone   uint64 // lines whose tile is missing or torn
	// torn: the segment ends within a line, which begins in this part.
	torn bool
	last bool // part of the segment
	// err says that this part could not be read; all but seg and last is unknown then.
	err error
}

// hashJob is one part of a segment for a worker. The number of its first line arrives
// in from as soon as the part before has counted its lines, so parts are hashed at the
// same time although only their order tells the numbers.
type hashJob struct {
	seg         int
	r           *SegmentReader
	offset, end int64
	last        bool
	from, to    chan uint64
	out         chan hashed
}

// hashLines hashes the lines of all segments with every core, and hands the results to
// fn in order. fn's error ends it and is returned. What cannot be read is handed to fn,
// too, as an error for each part from there to the segment's end; a segment that is
// gone ends it with that error.
func hashLines(ctx context.Context, plan hashPlan, fn func(hashed) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	workers := runtime.GOMAXPROCS(0)
	jobs, order := make(chan hashJob), make(chan hashJob, 2*workers)
	var opened []*SegmentReader // by divide
	var running sync.WaitGroup
	running.Go(func() {
		var err error
		if opened, err = plan.divide(ctx, jobs, order); err != nil {
			stop(err)
		}
		close(jobs)
		close(order)
	})
	for range workers {
		running.Go(func() {
			w := hashWorker{plan: &plan}
			for j := range jobs {
				j.out <- w.hash(ctx, j)
			}
		})
	}
	closed, err := collect(ctx, order, fn)
	stop(err)
	for range order { // what was not collected, after an error
	}
	running.Wait()
	for _, r := range opened[closed:] {
		err = errors.Join(err, r.Close())
	}
	return err
}

// collect hands the results to fn and closes segments whose last part is done, of
// which it returns the number.
func collect(ctx context.Context, order <-chan hashJob, fn func(hashed) error) (closed int, err error) {
	for {
		var j hashJob
		var ok bool
		select {
		case j, ok = <-order:
		case <-ctx.Done():
		}
		if !ok {
			return closed, context.Cause(ctx)
		}
		h := <-j.out
		if ctx.Err() != nil {
			return closed, context.Cause(ctx)
		}
		if j.last && j.r != nil {
			closed++
			if err := j.r.Close(); err != nil {
				return closed, err
			}
		}
		if err := fn(h); err != nil {
			return closed, err
		}
	}
}

// divide makes the jobs and returns the readers that it opened.
func (p *hashPlan) divide(ctx context.Context, jobs chan<- hashJob, order chan<- hashJob) (opened []*SegmentReader, err error) {
	for i, s := range p.segs {
		r, err := s.Open()
		if errors.Is(err, fs.ErrNotExist) {
			return opened, fmt.Errorf("hash audit log: %w", err)
		} else if err != nil {
			j := hashJob{seg: i, last: true, out: make(chan hashed, 1)}
			j.out <- hashed{seg: i, first: s.First, last: true, err: err}
			order <- j
			continue
		}
		opened = append(opened, r)
		from := make(chan uint64, 1)
		from <- s.First
		chunk := int64(hashChunkBytes)
		if r.frames != nil {
			chunk = hashFramesBytes
		}
		for offset, size := int64(0), r.Size(); ; {
			end := min(offset+chunk, size)
			j := hashJob{i, r, offset, end, end == size, from, make(chan uint64, 1), make(chan hashed, 1)}
			// First to a worker: whoever waits for a job in order relies on that.
			select {
			case jobs <- j:
			case <-ctx.Done():
				return opened, context.Cause(ctx)
			}
			order <- j // emptied by collect, and after an error by hashLines
			if j.last {
				break
			}
			offset, from = end, j.to
		}
	}
	return opened, nil
}

// hashWorker holds the memory that one worker uses over and over.
type hashWorker struct {
	plan *hashPlan
	mem  []byte // a part from hashPad on
	// buf is the end of mem from the byte before the part on.
	buf    []byte
	leaves []merkle.Hash
}

func (w *hashWorker) hash(ctx context.Context, j hashJob) (h hashed) {
	h = hashed{seg: j.seg, last: j.last, bytes: j.end - j.offset}
	lines, torn, err := w.read(j)
	var first uint64
	if err == nil {
		var ok bool
		select {
		case first, ok = <-j.from:
		case <-ctx.Done():
		}
		if !ok {
			err = errors.New("the part before could not be read")
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
		}
	}
	if err != nil {
		close(j.to)
		h.err = fmt.Errorf("hash %s at %d: %w", w.plan.segs[j.seg].name(), j.offset, err)
		return h
	}
	j.to <- first + lines
	h.first, h.torn = first, torn
	if limit := w.plan.upTo[j.seg]; first+lines > limit {
		h.extra = min(lines, first+lines-limit)
		lines -= h.extra
	}
	h.lines = lines
	w.split(lines)
	w.compare(&h)
	w.fold(&h)
	return h
}

// read fills the buffer with the part, with the byte before it and with the rest of
// its last line, and counts the lines that begin in the part and end in the segment.
// torn says that one begins and does not end.
func (w *hashWorker) read(j hashJob) (lines uint64, torn bool, err error) {
	size := int(j.end - j.offset)
	if w.mem == nil {
		w.mem = make([]byte, hashPad+hashChunkBytes+hashAheadBytes)
	}
	w.mem = w.mem[:hashPad]
	w.mem[hashPad-1] = '\n' // a line begins with the segment
	if err := w.more(j, size+hashAheadBytes); err != nil && err != io.EOF {
		return 0, false, err
	}
	if len(w.buf) < size+1 {
		return 0, false, io.ErrUnexpectedEOF
	}
	if j.offset > 0 {
		if _, err := j.r.ReadAt(w.buf[:1], j.offset-1); err != nil {
			return 0, false, err
		}
	}
	lines = uint64(bytes.Count(w.buf[:size], []byte{'\n'}))
	if lines == 0 {
		return 0, false, nil
	}
	// All lines but the last one end where the following one begins.
	begin := bytes.LastIndexByte(w.buf[:size], '\n') + 1
	for bytes.IndexByte(w.buf[begin:], '\n') < 0 {
		if len(w.buf)-begin > MaxLineBytes {
			// None of ours. It is hashed as far as it is in memory, which gives a hash that
			// nothing expects, and has its number if it ends anywhere.
			return w.endLong(j, lines)
		}
		begun := len(w.buf)
		if err := w.more(j, hashChunkBytes); err == io.EOF && len(w.buf) == begun {
			return lines - 1, true, nil
		} else if err != nil && err != io.EOF {
			return 0, false, err
		}
	}
	return lines, false, nil
}

// more reads up to n bytes behind what is in the buffer.
func (w *hashWorker) more(j hashJob, n int) error {
	have := len(w.mem)
	w.mem = slices.Grow(w.mem, n)
	got, err := j.r.ReadAt(w.mem[have:have+n], j.offset+int64(have-hashPad))
	w.mem = w.mem[:have+got]
	w.buf = w.mem[hashPad-1:]
	return err
}

func (w *hashWorker) endLong(j hashJob, lines uint64) (uint64, bool, error) {
	buf := make([]byte, hashChunkBytes)
	for at := j.offset - 1 + int64(len(w.buf)); ; {
		n, err := j.r.ReadAt(buf, at)
		if bytes.IndexByte(buf[:n], '\n') >= 0 {
			w.buf = append(w.buf, '\n')
			return lines, false, nil
		}
		if err == io.EOF {
			return lines - 1, true, nil
		} else if err != nil {
			return 0, false, err
		}
		at += int64(n)
	}
}

// split hashes the first lines that begin in the part. It uses the buffer up: a leaf's
// hash is over a zero byte and the line, and the byte before a line, a newline, is
// where the zero goes, so nothing has to be copied.
func (w *hashWorker) split(lines uint64) {
	w.leaves = w.leaves[:0]
	if lines == 0 {
		return
	}
	at := bytes.IndexByte(w.buf, '\n')
	for range lines {
		length := bytes.IndexByte(w.buf[at+1:], '\n')
		w.buf[at] = 0
		w.leaves = append(w.leaves, sha256.Sum256(w.buf[at:at+1+length]))
		at += 1 + length
	}
}

// compare looks for leaves that are not what their tile says.
func (w *hashWorker) compare(h *hashed) {
	end := min(h.first+h.lines, w.plan.tiled)
	if w.plan.tiles == nil {
		return
	}
	for n := h.first; n < end; {
		tile := n >> maxPieceLevel
		begin := tile << maxPieceLevel
		stop := min(end, begin+1<<maxPieceLevel)
		want, err := w.plan.tiles.Read(0, tile, int(stop-begin))
		if err != nil {
			h.gone += stop - n
			n = stop
			continue
		}
		for ; n < stop; n++ {
			if w.leaves[n-h.first] != want[n-begin] && len(h.differ) < maxDiffer {
				h.differ = append(h.differ, n)
			}
		}
	}
}

// fold makes subtrees of the leaves, none of which reaches over a stop.
func (w *hashWorker) fold(h *hashed) {
	first, leaves := h.first, w.leaves
	i, _ := slices.BinarySearch(w.plan.stops, first)
	for len(leaves) > 0 {
		stop := uint64(math.MaxUint64)
		for ; i < len(w.plan.stops); i++ {
			if stop = w.plan.stops[i]; stop > first {
				break
			}
			stop = math.MaxUint64
		}
		n := min(uint64(len(leaves)), stop-first)
		h.pieces = appendPieces(h.pieces, first, leaves[:n])
		first += n
		leaves = leaves[n:]
	}
}
