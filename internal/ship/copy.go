package ship

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"sync/atomic"
	"time"

	"arca/internal/audit"
	"arca/internal/merkle"
)

const (
	// pieceBytes is how much of the tail is copied at once.
	pieceBytes = 1 << 20
	// compressWait is how long a closed segment may take to be compressed before it is
	// copied as it is to a place that wants it whole.
	compressWait = 5 * time.Minute
	// maxSmallBytes bounds checkpoints and notes.
	maxSmallBytes = 64 << 10
	// lastRound is how long the copy is brought up to date when the process ends.
	lastRound = 5 * time.Second
	// maxCopies bounds how many former logs may stand beside this one's copy.
	maxCopies = 100

	checkpointName  = "checkpoint"
	keyName         = "key"
	checkpointsName = "checkpoints"
	prunedName      = "pruned"
	tailName        = "tail"
	lostPrefix      = "lost-"
)

// errOther says that a copy holds what the log does not: a former generation of the
// log, or lines that this machine has lost. It is not to be written to.
var errOther = errors.New("the copy is of another log, or holds lines that this log does not have")

// place is where copies are kept. Names are slash-separated and relative to it. Its
// methods are for one goroutine, except for String, and return only when what they
// wrote is durable and complete, as far as the place can tell.
type place interface {
	// list returns the files directly in a folder with their sizes, and the names of
	// the folders in it. A folder that is not there is empty.
	list(ctx context.Context, folder string) (files map[string]int64, folders []string, err error)
	// read returns a small file, or fs.ErrNotExist.
	read(ctx context.Context, name string) ([]byte, error)
	// put makes or replaces a small file in one step.
	put(ctx context.Context, name string, content []byte) error
	// putFile makes or replaces a file with the first size bytes of f in one step.
	putFile(ctx context.Context, name string, f *os.File, size int64) error
	// remove removes a file. Places that keep everything need not.
	remove(ctx context.Context, name string) error

	// tail finds out how many whole lines of a segment that is not there whole are
	// there, and returns the number of the line after them. It compares them with the
	// segment as far as that is cheap, and returns errOther if they differ.
	tail(ctx context.Context, folder string, seg audit.Segment) (next uint64, err error)
	// extend adds lines, each with its newline, to the tail of the segment that begins
	// with line first. The first of them is next, which tail or extend said before.
	extend(ctx context.Context, folder string, first, next uint64, lines []byte) error
	// check returns an error when the tail is not as tail or extend left it, if that can
	// be told at next to no cost.
	check(folder string) error
	// dropTail removes the tail of a segment that is there whole, if it can.
	dropTail(ctx context.Context, folder string, first uint64) error
	// wantsWhole reports whether a tail that has all lines of a closed segment is still
	// to be replaced by the segment as one file.
	wantsWhole() bool
	// vanished reports whether it is an error that a copy which was there is gone, as
	// it is when a disk is not mounted.
	vanished() bool
	String() string
}

// form is how a segment is in the copy.
type form int

const (
	absent form = iota // or as a tail
	plain
	compressed
)

// copier keeps one copy of the log's files.
type copier struct {
	cfg    CopyConfig
	log    *audit.Log
	dir    string // the node's
	node   string
	path   string // of the cursor
	place  place
	every  time.Duration
	logger *slog.Logger
	state  state

	// held is the first line of the first segment that is not in the copy whole.
	held   atomic.Uint64
	others atomic.Uint64 // copies of other logs that were found and left alone

	// What follows is owned by run.

	cursor *audit.Cursor
	// known: what follows is what the place holds. After an error it is looked at anew.
	known    bool
	folder   string // of the copy, in the place
	segments map[uint64]form
	next     uint64 // the line to go on with
	follower *audit.Follower
	small    map[string]bool // files of checkpoints/ and pruned/ that are there
	last     map[string]string
}

func newCopier(cfg Config, c CopyConfig) (*copier, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	k := &copier{
		cfg: c, log: cfg.Log, dir: cfg.Dir, node: cfg.node(), path: cfg.cursorPath("copy", c.Name), logger: cfg.Logger,
		state: state{what: "audit copy", name: c.Name, logger: cfg.Logger},
	}
	if c.Dir != "" {
		if within(filepath.Dir(cfg.Dir), c.Dir) {
			return nil, errors.New("dir: it lies in the folder of the log itself")
		}
		k.place, k.every = &dirPlace{root: c.Dir, log: cfg.Dir}, defaultDirEvery
	} else {
		b, err := newBucketPlace(c)
		if err != nil {
			return nil, err
		}
		k.place, k.every = b, defaultPutsEvery
	}
	if c.IntervalSeconds > 0 {
		k.every = time.Duration(c.IntervalSeconds) * time.Second
	}
	return k, nil
}

// within reports whether a path is a folder or lies below it, as they are written.
func within(folder, path string) bool {
	rel, err := filepath.Rel(folder, path)
	return err == nil && filepath.IsLocal(rel)
}

func (c *copier) run(ctx context.Context) {
	defer c.forget()
	for {
		pause := c.every
		err := c.round(ctx)
		if err != nil && ctx.Err() == nil {
			pause = c.state.failed(err, c.log.Size())
			c.forget()
		}
		if !sleep(ctx, pause) {
			break
		}
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastRound)
	defer cancel()
	if err := c.round(end); err != nil {
		c.logger.Warn("audit copy: the last lines are copied after the next start", "name", c.cfg.Name, "error", err)
	}
}

// forget makes the next round look at the place anew.
func (c *copier) forget() {
	c.known = false
	c.rewind(c.next)
}

// rewind makes the next line to be copied the given one.
func (c *copier) rewind(next uint64) {
	c.next = next
	if c.follower != nil {
		_ = c.follower.Close() // read only
		c.follower = nil
	}
}

// round brings the copy up to where the log is when it begins: with a log that never
// rests, what is written since is for the next one.
//
// The checkpoint is read before the lines are copied, and put after them: every line
// that it covers was synced before it was signed, and so is in the copy by then. A
// crash or an outage in between leaves a copy with lines beyond its checkpoint, as
// the log itself may be left.
func (c *copier) round(ctx context.Context) error {
	if err := c.begin(); err != nil {
		return err
	}
	head, err := readSmall(filepath.Join(c.dir, checkpointName))
	if err != nil {
		return err
	}
	// Read after the checkpoint, so that no line it covers is left for the next round.
	size := c.log.Size()
	if cp, err := merkle.UnverifiedCheckpoint(head); err == nil {
		size = max(size, cp.Size)
	}
	if size > c.next {
		c.state.trying(time.Now())
	}
	if c.known {
		err = c.place.check(c.folder)
	} else {
		err = c.look(ctx)
	}
	if err != nil {
		return err
	}
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		segs, err := audit.Segments(c.dir)
		if err != nil {
			return err
		}
		if err := c.copyClosed(ctx, segs); err != nil {
			return err
		}
		if c.next >= size {
			break
		}
		if done, err := c.copyTail(ctx, segs); err != nil {
			return err
		} else if done && c.next < size {
			return fmt.Errorf("the log ends before line %d, its checkpoint covers the lines before %d", c.next, size)
		}
	}
	if err := c.copySmall(ctx, head); err != nil {
		return err
	}
	// Everything that was there when the round began is in the copy.
	c.state.delivered(c.next, 0, 0)
	return c.keep()
}

// begin reads how far the copy was when that was last kept.
func (c *copier) begin() error {
	if c.cursor != nil {
		return nil
	}
	cur, err := c.log.OpenCursor(c.path)
	if err != nil {
		return err
	}
	next, _ := cur.Next()
	c.held.Store(next)
	c.state.at(next)
	c.cursor = cur
	return nil
}

// keep moves held to the first segment that the copy does not have whole.
func (c *copier) keep() error {
	segs, err := audit.Segments(c.dir)
	if err != nil {
		return err
	}
	held := c.next
	for i, seg := range segs {
		if i == len(segs)-1 || c.segments[seg.First] == absent {
			held = min(held, seg.First)
			break
		}
	}
	if was, ok := c.cursor.Next(); (!ok || was != held) && (c.next > 0 || len(c.last) > 0) {
		if err := c.cursor.Set(held); err != nil {
			return err
		}
	}
	c.held.Store(held)
	return nil
}

// copyClosed puts closed segments into the copy whole, as far as they are to be.
func (c *copier) copyClosed(ctx context.Context, segs []audit.Segment) error {
	for i, seg := range segs[:max(0, len(segs)-1)] {
		end := segs[i+1].First
		has := c.segments[seg.First]
		switch {
		case has == compressed, has == plain && (c.place.wantsWhole() || !seg.Compressed):
			continue
		case seg.Compressed:
		case !c.place.wantsWhole():
			if c.next >= end {
				c.segments[seg.First] = plain // by its tail
			}
			continue
		default:
			info, err := os.Stat(seg.Path)
			if errors.Is(err, fs.ErrNotExist) {
				continue // compressed or removed since; the next round sees it
			} else if err != nil {
				return err
			}
			if time.Since(info.ModTime()) < compressWait {
				continue
			}
		}
		gone, err := c.putSegment(ctx, seg)
		if err != nil {
			return err
		}
		if gone {
			continue
		}
		if c.next >= seg.First && c.next < end {
			c.rewind(end)
		}
		c.state.at(c.next)
		if seg.Compressed {
			c.segments[seg.First] = compressed
		} else {
			c.segments[seg.First] = plain
		}
		// From here on the tail counts for nothing, and a crash leaves both.
		if err := c.place.dropTail(ctx, c.folder, seg.First); err != nil {
			return err
		}
	}
	return nil
}

func (c *copier) putSegment(ctx context.Context, seg audit.Segment) (gone bool, err error) {
	f, err := os.Open(seg.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	} else if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }() // read only
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	if err := c.place.putFile(ctx, path.Join(c.folder, filepath.Base(seg.Path)), f, info.Size()); err != nil {
		return false, err
	}
	c.state.count(0, uint64(info.Size()))
	return false, nil
}

// copyTail copies the next lines of what is not there whole. It reports whether there
// were none left.
func (c *copier) copyTail(ctx context.Context, segs []audit.Segment) (done bool, err error) {
	// Segments that are there whole need no tail.
	for i, seg := range segs[:max(0, len(segs)-1)] {
		if c.next >= seg.First && c.next < segs[i+1].First && c.segments[seg.First] != absent {
			c.rewind(segs[i+1].First)
		}
	}
	if c.next >= c.log.Size() {
		return true, nil
	}
	if c.follower == nil {
		c.follower = c.log.Follow(c.next)
	}
	var b batch
	b.reset(c.next)
	for len(b.buf) < pieceBytes && c.follower.Ready() {
		n, line, err := c.follower.Next(ctx)
		if gone, ok := errors.AsType[*audit.PrunedError](err); ok {
			if b.len() > 0 {
				break // what was read is copied first, and this is found again
			}
			c.state.miss(gone.From, gone.To)
			c.rewind(gone.To + 1)
			return false, nil
		}
		if err != nil {
			return false, err
		}
		b.add(n, line)
	}
	if b.len() == 0 {
		return true, nil
	}
	b.next = b.nums[b.len()-1] + 1
	// A segment is made before its first line is written, so every line that was read
	// belongs to one that is seen now.
	if segs, err = audit.Segments(c.dir); err != nil {
		return false, err
	}
	for i := 0; i < b.len(); {
		seg, end := segmentOf(segs, b.nums[i])
		j := b.len()
		if end < b.next {
			j = int(end - b.nums[0])
		}
		if c.segments[seg] == absent {
			if err := c.place.extend(ctx, c.folder, seg, b.nums[i], b.cut(i, j)); err != nil {
				return false, err
			}
		}
		c.next = b.nums[j-1] + 1
		c.state.count(uint64(j-i), uint64(len(b.cut(i, j))))
		i = j
	}
	if c.next != c.follower.Position() {
		c.rewind(c.next)
	}
	c.state.at(c.next)
	return false, nil
}

// segmentOf returns the first line of the segment that line n is in, and of the one
// after it.
func segmentOf(segs []audit.Segment, n uint64) (first, end uint64) {
	end = ^uint64(0)
	for _, s := range segs {
		if s.First > n {
			return first, s.First
		}
		first = s.First
	}
	return first, end
}
