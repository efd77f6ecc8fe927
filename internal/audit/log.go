// Package audit is the log that every call ends in. It promises that a line for
// which Append returned nil is on disk, in this node's own files; that it never says
// so when it is not sure; and that a checkpoint it has signed over the lines is never
// contradicted by a later one.
//
// It trusts the disk to have stored what it confirmed, and nothing else about it:
// writes may be torn, syncs may fail, space may run out, and files may be cut,
// replaced or removed while in use. After each of these the log either goes on or
// answers every Append with an error until it can.
//
// Whoever can write to the files can drop, change or invent lines. Verify finds that,
// from the Merkle tree over the lines and its signed checkpoints, and Check finds
// accidents (torn, missing and unreadable lines). Whoever has the node's key, too, is
// found only with a checkpoint that was kept elsewhere. Lines name secrets and principals; they hold no
// secret values, because package call never hands any over.
//
// The files and the order of writes are described in docs/design/audit.md.
package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"arca/internal/merkle"
)

const (
	// MaxLineBytes is the longest line, without its newline, that the log takes.
	MaxLineBytes = 1 << 20

	// maxBatchBytes bounds what waits for the next sync. An Append that finds no
	// room waits; this is the back pressure on everything above.
	maxBatchBytes = 4 << 20
	// keepBufferBytes: a batch buffer that grew beyond this is not kept for reuse.
	keepBufferBytes = maxBatchBytes + maxBatchBytes/4

	defaultMaxSegmentBytes = 128 << 20

	// inspectEvery is how often the files are compared with what they should be,
	// and how often a failing log tries again without being asked.
	inspectEvery = 500 * time.Millisecond
	// repairEvery bounds how often a failing log tries again when it is asked.
	repairEvery = 100 * time.Millisecond
)

// ErrClosed is returned by Append once the log has been closed or its Run has ended.
// The lines are not in the log.
var ErrClosed = errors.New("audit log closed")

// Config says where the log is.
type Config struct {
	// Dir holds this node's segments and nothing else. It is made if missing.
	Dir string
	// Node is this node's name; it is used in messages only. The name inside the
	// lines is given to AppendLine.
	Node string
	// MaxSegmentBytes is the size from which on a new segment is begun; 0 means 128 MiB.
	MaxSegmentBytes int64
	// JournalAfter is after how many batches a journal is made, which is written instead of
	// syncing each in the segment; 0 means 256, less than 0 never. A journal that is there is
	// used at once.
	JournalAfter int
	Logger       *slog.Logger

	// Signer signs the checkpoints of the tree over the lines. nil means that there is no
	// tree, which is for tests and for measuring what it costs.
	Signer *NodeKey
	// Head is what is known of the log outside its files, as Register.Node returns it; nil
	// if nothing is.
	Head *Head
	// Keep stores a later state of the head outside the files. It is called about once a
	// second while lines arrive, not on the way of any call. A checkpoint that it could not
	// store is withheld. nil means that there is no such place.
	Keep func(ctx context.Context, h Head) error

	// WriteFault, when set, is asked before each write: how many of the bytes to
	// write before failing with err. For tests; nil err writes normally.
	WriteFault func(p []byte) (n int, err error)
	// SyncFault, when set, is asked before each sync; an error is taken for the
	// sync's own. For tests.
	SyncFault func() error
}

// Log is this node's append-only audit log. Its methods may be called concurrently.
type Log struct {
	cfg     Config
	metrics *Metrics
	lock    *os.File // held exclusively: two writers would overwrite each other; owned like w

	wake    chan struct{} // capacity 1: a batch is waiting
	stop    chan struct{} // closed by Close
	stopped sync.Once
	runs    sync.Mutex    // held by Run; Close takes it to wait for Run's end
	synced  atomic.Uint64 // number of lines on disk, which is the number of the next one
	failing atomic.Pointer[error]
	news    bell  // rings after synced has grown
	tree    *tree // nil without a Signer

	mu     sync.Mutex
	next   *batch // gathers lines; guarded by mu
	spare  *batch // its buffers are for reuse; guarded by mu
	closed bool   // guarded by mu

	w writer // owned by Run; by Close when nothing runs
}

// batch is what one write and one sync make durable together.
type batch struct {
	buf   []byte // lines, each with its newline
	lines uint64
	// leaves are the lines' hashes, if there is a tree.
	leaves []merkle.Hash
	taken  chan struct{} // closed when the batch takes no more lines
	done   chan struct{} // closed when err is final
	err    error
}

// Open recovers the newest segment and makes the log ready. What a crash left of a
// batch whose callers never got an answer is cut off where it is damaged, and logged.
// It fails when another process has the log open.
func Open(cfg Config) (*Log, error) {
	if cfg.MaxSegmentBytes <= 0 {
		cfg.MaxSegmentBytes = defaultMaxSegmentBytes
	}
	if cfg.JournalAfter == 0 {
		cfg.JournalAfter = defaultJournalAfter
	}
	if err := makeDir(cfg.Dir); err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	l := &Log{
		cfg:     cfg,
		metrics: newMetrics(),
		lock:    lock,
		wake:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
		next:    newBatch(nil, nil),
		w:       writer{untilJournal: cfg.JournalAfter},
	}
	if err := l.recoverNewest(); err != nil {
		return nil, errors.Join(fmt.Errorf("open audit log: %w", err), lock.Close())
	}
	if cfg.Signer != nil {
		if err := l.openTree(); err != nil {
			return nil, errors.Join(fmt.Errorf("open audit log: %w", err), l.closeFiles(), lock.Close())
		}
	}
	l.synced.Store(l.w.seg.next())
	return l, nil
}

func newBatch(buf []byte, leaves []merkle.Hash) *batch {
	return &batch{buf: buf[:0], leaves: leaves[:0], taken: make(chan struct{}), done: make(chan struct{})}
}

// Append returns nil when all lines are synced to disk. They are consecutive in the
// log, and the caller may reuse their memory at once.
//
// On any error the lines must be treated as absent. When ctx ended they may be in the
// log nevertheless, and after a crash so may lines whose sync failed: the record of a
// call whose answer was withheld. Between the lines of different callers there is no
// order.
func (l *Log) Append(ctx context.Context, lines ...[]byte) error {
	size := 0
	for _, line := range lines {
		if err := checkLine(line); err != nil {
			return err
		}
		size += len(line) + 1
	}
	if size > maxBatchBytes {
		return fmt.Errorf("append audit lines: %d bytes at once, the limit is %d", size, maxBatchBytes)
	}
	if size == 0 {
		return nil
	}
	// Hashed here, lines of many callers are hashed in parallel and the writer need not.
	var few [4]merkle.Hash
	leaves := few[:0]
	if l.tree != nil {
		for _, line := range lines {
			leaves = append(leaves, merkle.LeafHash(line))
		}
	}
	b, err := l.enqueue(ctx, lines, leaves, size)
	if err != nil {
		return err
	}
	ended := ctx.Done()
	if ended == nil {
		<-b.done // half of what waiting for either takes, and it is how calls wait
		return b.err
	}
	select {
	case <-b.done:
		return b.err
	case <-ended:
		select {
		case <-b.done:
			return b.err
		default:
			return fmt.Errorf("append audit lines: %w", context.Cause(ctx))
		}
	}
}

// checkLine keeps out what would shift the numbering of all later lines.
func checkLine(line []byte) error {
	switch {
	case len(line) == 0:
		return errors.New("append audit lines: empty line")
	case len(line) > MaxLineBytes:
		return fmt.Errorf("append audit lines: line of %d bytes, the limit is %d", len(line), MaxLineBytes)
	case bytes.IndexByte(line, '\n') >= 0:
		return errors.New("append audit lines: newline inside a line")
	}
	return nil
}

// enqueue copies the lines into the batch that is gathering, waiting for room.
func (l *Log) enqueue(ctx context.Context, lines [][]byte, leaves []merkle.Hash, size int) (*batch, error) {
	for {
		l.mu.Lock()
		if l.closed {
			l.mu.Unlock()
			return nil, ErrClosed
		}
		b := l.next
		if len(b.buf) > 0 && len(b.buf)+size > maxBatchBytes {
			l.mu.Unlock()
			select {
			case <-b.taken:
				continue
			case <-ctx.Done():
				return nil, fmt.Errorf("append audit lines: %w", context.Cause(ctx))
			}
		}
		for _, line := range lines {
			b.buf = append(append(b.buf, line...), '\n')
		}
		b.leaves = append(b.leaves, leaves...)
		b.lines += uint64(len(lines))
		l.mu.Unlock()
		select {
		case l.wake <- struct{}{}:
		default: // the writer already knows
		}
		return b, nil
	}
}

// Size is the number of lines on disk, which is also the number of the next line.
func (l *Log) Size() uint64 { return l.synced.Load() }

// Err is nil while the log accepts lines, and otherwise says why it does not. It
// never blocks; readiness checks ask it.
func (l *Log) Err() error {
	if p := l.failing.Load(); p != nil {
		return *p
	}
	return nil
}

// Metrics are the log's counters, for registration.
func (l *Log) Metrics() *Metrics { return l.metrics }

// Close ends Run as the end of its context would, waits for it, and releases the
// files. Without a Run, lines that wait are answered with ErrClosed. Idempotent.
func (l *Log) Close() error {
	var err error
	l.stopped.Do(func() {
		close(l.stop)
		l.runs.Lock()
		defer l.runs.Unlock()
		if b := l.shut(); b.lines > 0 {
			b.err = ErrClosed
			close(b.done)
		}
		err = errors.Join(l.closeFiles(), l.lock.Close())
	})
	return err
}

// shut stops the intake and returns what is still waiting.
func (l *Log) shut() *batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.next
	if !l.closed {
		l.closed = true
		close(b.taken)
	}
	l.next = newBatch(nil, nil)
	return b
}
