package audit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"arca/internal/merkle"
)

const (
	// drainEvery is how often new leaves are taken into the tree. A checkpoint follows
	// when the last one is publishEvery old.
	drainEvery   = 250 * time.Millisecond
	publishEvery = time.Second - drainEvery
	// keepTimeout bounds the wait for etcd, and lastTimeout that at the end of Run.
	keepTimeout = 10 * time.Second
	lastTimeout = 2 * time.Second

	// maxQueued bounds the leaves that wait for the tree: 8 MiB of hashes. Beyond that
	// they are dropped, and made again from the lines.
	maxQueued = 1 << 18
	// leavesAtOnce is how many lines are hashed between two looks at anything else.
	leavesAtOnce = 1 << 14
	// gapPatience is how long lines may be missing before they count as lost: a segment
	// that somebody removed is written again within a second.
	gapPatience = 30 * time.Second
	// progressEvery is how often a long catching up says how far it is.
	progressEvery = 10 * time.Second
)

// tree is the Merkle tree over the lines. It is off the path of calls: Append hashes
// its lines, the writer queues the hashes of what is synced, and a goroutine of its own
// takes them from there. Whatever happens to it, lines are accepted; what it cannot
// take now it reads from the segments later.
type tree struct {
	log    *Log
	key    *NodeKey
	tiles  *merkle.Tiles
	origin string

	wasAt    time.Time // when the last checkpoint was published
	progress time.Time // when progress was reported last
	spare    []merkle.Hash
	// What fails again and again.
	treeFail, tileFail, keepFail, fileFail outage

	// Owned by the goroutine of Run, and by Open before.
	grown *merkle.Tree
	head  Head
	// ending is the origin of the log that ends, whose files are still in place; empty
	// while none does.
	ending string
	// target is a checkpoint that the tree has not reached although it was signed once.
	// Until the tree gets there and has its root, nothing is signed.
	target *merkle.Checkpoint
	// ends are the numbers of first lines of segments that the tree has not reached.
	ends []uint64
	// marks are ends of segments that the tree has reached and that have no checkpoint of
	// their own yet.
	marks []mark
	// mend says that a crash may have torn tiles that no closing checkpoint covers.
	mend bool

	published atomic.Pointer[merkle.Checkpoint]
	secured   atomic.Uint64 // tiles of the lines below are synced
	broken    atomic.Pointer[error]
	breaks    atomic.Int64 // former logs that nobody has acknowledged

	mu sync.Mutex
	// first is the number of the first of the leaves; guarded by mu
	first uint64
	// leaves wait for the goroutine; guarded by mu
	leaves []merkle.Hash
	// newEnds are first lines of segments that were begun since; guarded by mu
	newEnds []uint64
}

// mark is a size at which a segment ends, and the root there.
type mark struct {
	size uint64
	root merkle.Hash
}

// outage is something that fails again and again and is reported once.
type outage struct{ since time.Time }

// begins reports whether this failure is the first one.
func (o *outage) begins() bool {
	if !o.since.IsZero() {
		return false
	}
	o.since = time.Now()
	return true
}

func (o *outage) ends() { o.since = time.Time{} }

// offer queues the leaves of synced lines, the first of which has the number first.
func (t *tree) offer(first uint64, leaves []merkle.Hash) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.leaves) == 0 {
		t.first = first
	}
	if len(t.leaves)+len(leaves) > maxQueued || t.first+uint64(len(t.leaves)) != first {
		// What is missing then is found out when the queue is taken.
		t.first, t.leaves = first, t.leaves[:0]
	}
	t.leaves = append(t.leaves, leaves...)
}

// begun notes that a segment begins with line first.
func (t *tree) begun(first uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.newEnds = append(t.newEnds, first)
}

// run lets the tree grow and signs checkpoints until stop is closed, and then brings
// it up to the last line.
func (t *tree) run(stop <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	if t.mend {
		t.mendTorn(ctx)
	}
	tick := time.NewTicker(drainEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			t.step(ctx)
		case <-stop:
			last, cancel := context.WithTimeout(context.Background(), lastTimeout)
			t.advance(last)
			t.publish(last)
			cancel()
			return
		}
	}
}

// step takes what was queued and publishes a checkpoint when one is due.
func (t *tree) step(ctx context.Context) {
	t.advance(ctx)
	if time.Since(t.wasAt) >= publishEvery {
		t.publish(ctx)
	}
	t.log.metrics.unsigned.Set(float64(t.log.Size() - min(t.log.Size(), t.covered())))
}

// covered is the number of lines that the newest checkpoint covers.
func (t *tree) covered() uint64 {
	if c := t.published.Load(); c != nil {
		return c.Size
	}
	return 0
}

// advance brings the tree up to the lines that are synced, as far as it can.
func (t *tree) advance(ctx context.Context) {
	if t.broken.Load() != nil {
		t.mu.Lock()
		t.leaves, t.newEnds = nil, nil
		t.mu.Unlock()
		return
	}
	t.mu.Lock()
	first, leaves := t.first, t.leaves
	t.leaves, t.spare = t.spare[:0], leaves
	t.ends = append(t.ends, t.newEnds...)
	t.newEnds = nil
	t.mu.Unlock()
	t.markEnds()

	if len(leaves) == 0 {
		// Lines without leaves: they were there before the tree was, or an earlier round
		// could not read them.
		if t.grown.Size() < t.log.Size() {
			t.tried(ctx, t.catchUp(ctx, t.log.Size()))
		}
		return
	}
	if t.grown.Size() < first {
		if err := t.catchUp(ctx, first); err != nil {
			t.tried(ctx, err)
			return // the leaves are made again from the lines, next time
		}
	}
	if have := t.grown.Size(); have > first {
		leaves = leaves[min(have-first, uint64(len(leaves))):]
	}
	t.tried(ctx, t.add(leaves))
}

// tried says what an attempt to let the tree grow means. A line that cannot be read
// now may be readable later; one that is gone ends the tree.
func (t *tree) tried(ctx context.Context, err error) {
	if err == nil {
		t.treeFail.ends()
		return
	}
	if ctx.Err() != nil {
		return // Run ends; the next one goes on
	}
	broken, ok := errors.AsType[brokenError](err)
	if ok && (!broken.gap || !t.treeFail.since.IsZero() && time.Since(t.treeFail.since) > gapPatience) {
		t.breakOff(broken.why)
		return
	}
	t.log.metrics.treeErrors.Inc()
	if t.treeFail.begins() {
		t.log.cfg.Logger.Error("audit log: the tree cannot follow the lines; it is tried again", "line", t.grown.Size(), "error", err)
	}
}

// brokenError says that the lines are not those that were signed, or cannot be known
// any more.
type brokenError struct {
	why string
	gap bool // lines are missing; while the log is in use, they may be put back
}

func (e brokenError) Error() string { return e.why }

// breakOff ends the signing of this generation. The next Open begins another one; lines
// are accepted as before.
func (t *tree) breakOff(why string) {
	err := errors.New(why)
	if !t.broken.CompareAndSwap(nil, &err) {
		return
	}
	t.breaks.Add(1)
	t.log.metrics.breaks.Set(float64(t.breaks.Load()))
	t.log.cfg.Logger.Error("audit log: it is not what was signed before; no checkpoints are signed until the next start, which begins a new log",
		"origin", t.head.Origin, "reason", why)
	if t.ending == "" {
		t.ending = t.head.Origin
	}
	if err := writeBreak(t.log.cfg.Dir, why, t.ending); err != nil {
		t.log.cfg.Logger.Error("audit log: note the break", "error", err)
	}
}

// add takes leaves into the tree, stopping where its root is needed.
func (t *tree) add(leaves []merkle.Hash) error {
	for len(leaves) > 0 {
		size := t.grown.Size()
		n := uint64(len(leaves))
		if t.target != nil && t.target.Size > size {
			n = min(n, t.target.Size-size)
		}
		if len(t.ends) > 0 {
			n = min(n, t.ends[0]-size)
		}
		t.grown.Append(leaves[:n]...)
		leaves = leaves[n:]
		if err := t.reached(); err != nil {
			return err
		}
	}
	return nil
}

// reached looks at what is to be done at the size that the tree has now.
func (t *tree) reached() error {
	t.markEnds()
	size := t.grown.Size()
	if t.target == nil || t.target.Size != size {
		return nil
	}
	if t.grown.Root() != t.target.Root {
		return brokenError{why: fmt.Sprintf("the first %d lines are not those that were signed %s", size, signedOn(t.target))}
	}
	t.target = nil
	return nil
}

// markEnds takes the roots at the ends of segments that the tree has reached. Mostly it
// is there exactly: a segment is begun when the next line comes.
func (t *tree) markEnds() {
	for size := t.grown.Size(); len(t.ends) > 0 && t.ends[0] <= size; t.ends = t.ends[1:] {
		end, root := t.ends[0], t.grown.Root()
		if end < size {
			// Catching up went past it before it was known. Without tiles the segment stays
			// without a checkpoint of its own until the next start.
			err := t.grown.Flush()
			if err == nil {
				root, err = t.tiles.RootAt(end, size, root)
			}
			if err != nil {
				t.log.metrics.treeErrors.Inc()
				continue
			}
		}
		t.marks = append(t.marks, mark{end, root})
	}
}

func signedOn(c *merkle.Checkpoint) string {
	if c.Time.IsZero() {
		return "before"
	}
	return "on " + c.Time.Format(time.RFC3339)
}

// catchUp lets the tree grow from the lines in the segments, up to the number to.
func (t *tree) catchUp(ctx context.Context, to uint64) error {
	from := t.grown.Size()
	leaves := make([]merkle.Hash, 0, min(leavesAtOnce, to-from))
	err := scanLeaves(ctx, t.log.cfg.Dir, from, to, func(h merkle.Hash) error {
		if leaves = append(leaves, h); len(leaves) < leavesAtOnce {
			return nil
		}
		err := t.add(leaves)
		leaves = leaves[:0]
		if err == nil {
			err = t.caughtUp(ctx, to)
		}
		return err
	})
	// What was read before an error was read well.
	return errors.Join(t.add(leaves), err)
}

// caughtUp keeps what a long catching up has done so far, and says so.
func (t *tree) caughtUp(ctx context.Context, to uint64) error {
	if err := t.grown.Flush(); err != nil {
		return fmt.Errorf("write hash tiles: %w", err)
	}
	if t.progress.IsZero() {
		t.progress = time.Now()
	}
	if time.Since(t.progress) >= progressEvery {
		t.progress = time.Now()
		t.log.cfg.Logger.Info("audit log: hashing lines that are not in the tree yet", "line", t.grown.Size(), "of", to)
		t.publish(ctx)
	}
	return nil
}

// errEnough ends a scan.
var errEnough = errors.New("enough lines")

// scanLeaves calls fn with the leaf of each line from one number up to another. It is a
// brokenError when one of them is not there.
func scanLeaves(ctx context.Context, dir string, from, to uint64, fn func(h merkle.Hash) error) error {
	if from >= to {
		return nil
	}
	next := from
	err := Scan(ctx, dir, from, func(n uint64, line []byte) error {
		if n != next {
			return brokenError{gapError{next, n}.Error(), true}
		}
		if next >= to {
			return errEnough
		}
		next++
		if err := fn(merkle.LeafHash(line)); err != nil {
			return err
		}
		if next == to {
			return errEnough
		}
		return nil
	})
	if gap, ok := errors.AsType[gapError](err); ok && next < to {
		return brokenError{gap.Error(), true}
	}
	if err != nil && !errors.Is(err, errEnough) && next < to {
		return err
	}
	if next < to {
		return brokenError{gapError{next, to}.Error(), true}
	}
	return nil
}

// publish signs a checkpoint over the tree as it is and lets it out.
//
// The order matters. The lines below the size are synced, so a crash cannot take them
// back. Tiles need not be: they can be made again. Then etcd is told, and only when it
// has stored size and root does the checkpoint appear in a file or anywhere else. So
// whatever happens to the files afterwards, what was seen outside is known here, and no
// second checkpoint of that size, or of one that contradicts it, is signed.
func (t *tree) publish(ctx context.Context) {
	size := t.grown.Size()
	if t.broken.Load() != nil || t.target != nil || size == 0 {
		return
	}
	last := t.published.Load()
	if last != nil && last.Size >= size {
		t.closeSegments()
		return
	}
	t.wasAt = time.Now()
	if err := t.grown.Flush(); err != nil {
		// The tree in memory is sound, and the lines are on disk.
		t.log.metrics.treeErrors.Inc()
		if t.tileFail.begins() {
			t.log.cfg.Logger.Error("audit log: write hash tiles; they are made again later", "error", err)
		}
	} else {
		t.tileFail.ends()
	}
	c, err := merkle.Checkpoint{Origin: t.head.Origin, Size: size, Root: t.grown.Root(), Time: time.Now()}.Sign(t.key)
	if err != nil {
		t.breakOff("a checkpoint cannot be signed: " + err.Error())
		return
	}
	if !t.keep(ctx, c) {
		return
	}
	if err := ReplaceFile(checkpointPath(t.log.cfg.Dir), c.Text); err != nil {
		t.log.metrics.treeErrors.Inc()
		if t.fileFail.begins() {
			t.log.cfg.Logger.Error("audit log: write the checkpoint; it is tried again", "error", err)
		}
		return
	}
	t.fileFail.ends()
	t.published.Store(&c)
	t.log.metrics.checkpointSize.Set(float64(c.Size))
	t.log.metrics.checkpointTime.Set(float64(c.Time.Unix()))
	t.closeSegments()
}

// keep tells etcd of a checkpoint, and reports whether it has stored it.
func (t *tree) keep(ctx context.Context, c merkle.Checkpoint) bool {
	head := t.head
	head.Size, head.Root, head.Checkpoint, head.Time = c.Size, c.Root, c.Text, c.Time
	if t.log.cfg.Keep != nil {
		bounded, cancel := context.WithTimeout(ctx, keepTimeout)
		defer cancel()
		err := t.log.cfg.Keep(bounded, head)
		if errors.Is(err, ErrLaterHead) {
			t.breakOff(err.Error())
			return false
		}
		if err != nil && ctx.Err() != nil {
			return false // Run ends, and tries once more
		}
		if err != nil {
			t.log.metrics.treeErrors.Inc()
			if t.keepFail.begins() {
				t.log.cfg.Logger.Error("audit log: its checkpoint cannot be stored in etcd and is withheld; it is tried again", "error", err)
			}
			return false
		}
	}
	t.keepFail.ends()
	t.head = head
	return true
}

// closeSegments writes the checkpoints of the segments that are complete. When one of
// them is there, so are the tiles of its lines, durably.
func (t *tree) closeSegments() {
	for len(t.marks) > 0 {
		m := t.marks[0]
		err := t.secure(m.size)
		var c merkle.Checkpoint
		if err == nil {
			c, err = merkle.Checkpoint{Origin: t.head.Origin, Size: m.size, Root: m.root, Time: time.Now()}.Sign(t.key)
		}
		if err == nil {
			err = ReplaceFile(closingPath(t.log.cfg.Dir, m.size), c.Text)
		}
		if err != nil {
			t.log.metrics.treeErrors.Inc()
			if t.fileFail.begins() {
				t.log.cfg.Logger.Error("audit log: write the checkpoint that closes a segment; it is tried again", "size", m.size, "error", err)
			}
			return
		}
		t.marks = t.marks[1:]
	}
}

// secure makes the tiles of the lines below size durable.
func (t *tree) secure(size uint64) error {
	from := t.secured.Load()
	if from >= size {
		return nil
	}
	err := t.tiles.Sync(from, size)
	if errors.Is(err, merkle.ErrTiles) {
		// Some are missing that were thought to be written.
		if c := t.published.Load(); c != nil && c.Size >= size {
			if err = mendTiles(context.Background(), t.log.cfg.Dir, t.tiles, t.key.Verifier(), *c); err == nil {
				err = t.tiles.Sync(from, size)
			}
		}
	}
	if err != nil {
		return fmt.Errorf("make the tree durable up to line %d: %w", size, err)
	}
	for at := from; at < size && !t.secured.CompareAndSwap(at, size); {
		at = t.secured.Load()
	}
	return nil
}
