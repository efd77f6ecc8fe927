package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"arca/internal/envelope"
)

// Snap is a consistent, immutable state of all mirrored records. It belongs to the
// closure it was given to.
type Snap struct {
	st    *state
	store *Store
	// moved is set when a record could not be read as of this snapshot any more: the
	// revision to wait for before running again.
	moved int64
}

// errMoved leaves Load when the snapshot is too old for it.
var errMoved = errors.New("record has moved on from this snapshot")

const maxViewRuns = 16

// Revision is the etcd revision of the snapshot.
func (v *Snap) Revision() int64 { return v.st.rev }

func (v *Snap) find(t *table, key string) (*entry, bool) {
	return v.st.tables[t.index].get(key)
}

// View runs fn on a snapshot at least as new as every write acknowledged anywhere
// before the call began. fn may run again when a record it loads has moved on. The
// error is fn's, or wraps ErrUnavailable.
func (s *Store) View(ctx context.Context, fn func(v *Snap) error) error {
	for range maxViewRuns {
		st, err := s.snapshot(ctx)
		if err != nil {
			return err
		}
		v := &Snap{st: st, store: s}
		err = fn(v)
		if v.moved == 0 {
			return err
		}
		// Whatever fn made of the failed Load, it did not see one state.
		if err := s.mirror.wait(ctx, v.moved); err != nil {
			return fmt.Errorf("%w: wait for revision %d: %w", ErrUnavailable, v.moved, err)
		}
	}
	return fmt.Errorf("%w: records change faster than they can be read", ErrUnavailable)
}

// snapshot returns a state that shows every write acknowledged before the call.
func (s *Store) snapshot(ctx context.Context) (*state, error) {
	if s.mirror == nil || s.life.Err() != nil {
		return nil, ErrClosed
	}
	var rev int64
	if s.free.Load() {
		rev = s.mirror.due.Load()
	} else {
		var err error
		if rev, err = s.reads.get(ctx, s); err != nil {
			return nil, err
		}
	}
	st := s.mirror.current.Load()
	if st.rev >= rev {
		return st, nil
	}
	if err := s.mirror.wait(ctx, rev); err != nil {
		return nil, fmt.Errorf("%w: wait for revision %d: %w", ErrUnavailable, rev, err)
	}
	return s.mirror.current.Load(), nil
}

// readIndex asks etcd for the newest acknowledged revision, once for all readers
// that arrived before the question was sent. A reader that arrives later must not
// share the answer: a write may have been acknowledged in between.
type readIndex struct {
	mu     sync.Mutex
	next   *readAnswer // guarded by mu; what arriving readers share, nil if nobody waits
	asking bool        // guarded by mu
}

type readAnswer struct {
	done chan struct{}
	rev  int64
	err  error
}

const readTimeout = 5 * time.Second

func (r *readIndex) get(ctx context.Context, s *Store) (int64, error) {
	r.mu.Lock()
	if r.next == nil {
		r.next = &readAnswer{done: make(chan struct{})}
	}
	a := r.next
	if !r.asking {
		r.asking = true
		// Not under the caller's context: others wait for the same answer. The goroutine
		// ends when nobody is left, at the latest with the store's life.
		go r.ask(s)
	}
	r.mu.Unlock()
	select {
	case <-a.done:
		return a.rev, a.err
	case <-ctx.Done():
		return 0, fmt.Errorf("%w: ask for the newest revision: %w", ErrUnavailable, ctx.Err())
	}
}

func (r *readIndex) ask(s *Store) {
	for {
		r.mu.Lock()
		a := r.next
		r.next = nil
		if a == nil {
			r.asking = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()

		ctx, cancel := context.WithTimeout(s.life, readTimeout)
		got, err := s.client.Get(ctx, rootKeyKey, clientv3.WithCountOnly())
		cancel()
		if err != nil {
			a.err = fmt.Errorf("%w: ask for the newest revision: %w", ErrUnavailable, err)
		} else {
			a.rev = got.Header.Revision
			raise(&s.metrics.newest, a.rev)
		}
		close(a.done)
	}
}

// load returns the record of an entry, from memory or from etcd.
func (v *Snap) load(ctx context.Context, t *table, e *entry) (any, error) {
	if !e.stub() {
		return t.recall(e), nil
	}
	s := v.store
	at := cacheKey{t, e.key(), e.rev}
	if rec, ok := s.cache.get(at); ok {
		return rec, nil
	}
	opts := []clientv3.OpOption{clientv3.WithRev(v.st.rev)}
	if s.embedded {
		// The member is in this process and has at least what its mirror has.
		opts = append(opts, clientv3.WithSerializable())
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	got, err := s.client.Get(ctx, t.prefix+e.key(), opts...)
	if errors.Is(err, rpctypes.ErrCompacted) {
		// The snapshot is older than etcd's memory, the record need not be.
		got, err = s.client.Get(ctx, t.prefix+e.key())
	}
	if err != nil {
		return nil, fmt.Errorf("%w: read record: %w", ErrUnavailable, err)
	}
	if len(got.Kvs) == 0 || got.Kvs[0].ModRevision != e.rev {
		v.moved = got.Header.Revision
		return nil, errMoved
	}
	full, err := t.decodeValue(e.key(), got.Kvs[0].Value, false)
	if errors.Is(err, envelope.ErrNoKey) {
		// Sealed anew since, and the former key forgotten.
		now, gerr := s.client.Get(ctx, t.prefix+e.key())
		if gerr == nil && (len(now.Kvs) == 0 || now.Kvs[0].ModRevision != e.rev) {
			v.moved = now.Header.Revision
			return nil, errMoved
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read record %s of table %s: %w", hexKey(e.key()), t.name, err)
	}
	rec := t.record(full)
	s.cache.put(at, rec, int64(e.size))
	return rec, nil
}
