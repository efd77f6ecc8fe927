package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Change tells what a commit did to one record; it goes into the audit line.
type Change struct {
	Table    string
	Key      []byte   // as in etcd
	Sequence uint64   // for a deleted record, the last one it had
	SHA256   [32]byte // of the value in etcd; zero when deleted
	Deleted  bool
}

// Commit is what an Update achieved.
type Commit struct {
	Revision int64  // 0 if nothing was written
	Effect   uint64 // sequence number of the effect; 0 without one
}

const (
	// MaxWrites is the number of records that one transaction may write, delete or
	// guard; a DeleteChildren counts as one. It keeps within what an external etcd
	// cluster accepts as it comes.
	MaxWrites = maxTxnOps - 4 - deletions

	maxUpdateRuns = 64
	patientRuns   = 2 // conflicts before a transaction queues up
	commitTimeout = 10 * time.Second
)

// Update runs fn on a snapshot as new as View's and commits its writes in one
// transaction. fn may run several times and must have no side effects outside tx. A
// nil error means durable and visible. An fn that writes nothing commits nothing.
// The transaction fails, and fn runs again, if a record it writes or guards is not as
// the snapshot shows it; nothing else that fn read is compared.
//
// The error is fn's (of a run whose snapshot was new enough, so that it can be
// answered with), or wraps ErrConflict, ErrNotLeader or ErrUnavailable. A commit
// whose reply is lost is looked for until its outcome is known; only if that too
// fails the error wraps ErrUnknown. Once the commit is sent, the end of ctx no longer
// matters.
func (s *Store) Update(ctx context.Context, fn func(tx *Tx) error) (Commit, error) {
	var turn chan struct{}
	defer func() {
		if turn != nil {
			<-turn
		}
	}()
	for run := range maxUpdateRuns {
		st, err := s.snapshot(ctx)
		if err != nil {
			return Commit{}, err
		}
		tx := &Tx{Snap: &Snap{st: st, store: s}}
		err = fn(tx)
		if tx.moved != 0 {
			if err := s.await(ctx, tx.moved); err != nil {
				return Commit{}, err
			}
			continue
		}
		if err != nil {
			return Commit{}, err
		}
		if tx.err == nil {
			tx.err = tx.check()
		}
		if tx.err != nil {
			return Commit{}, tx.err
		}
		if tx.empty() {
			return Commit{}, nil
		}
		if err := ctx.Err(); err != nil {
			return Commit{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		if err := s.followed(ctx); err != nil {
			return Commit{}, err
		}
		c, rev, err := s.commit(tx)
		if !errors.Is(err, ErrConflict) {
			return c, err
		}
		if err := s.await(ctx, rev); err != nil {
			return Commit{}, err
		}
		if run < patientRuns {
			continue
		}
		// Others want the same records. Those in this process queue up, so that each
		// gets its turn; those in other processes are avoided by chance.
		if turn == nil {
			ch := s.turns[tx.stripe()]
			select {
			case ch <- struct{}{}:
				turn = ch
			case <-ctx.Done():
				return Commit{}, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
			}
			continue
		}
		select {
		case <-time.After(time.Duration(rand.Int64N(int64(run) * int64(100*time.Microsecond)))):
		case <-ctx.Done():
			return Commit{}, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
		}
	}
	return Commit{}, ErrConflict
}

func (s *Store) await(ctx context.Context, rev int64) error {
	if err := s.mirror.wait(ctx, rev); err != nil {
		return fmt.Errorf("%w: wait for revision %d: %w", ErrUnavailable, rev, err)
	}
	return nil
}

// prepared is a transaction ready to be sent: the same bytes however often it is
// looked at.
type prepared struct {
	ifs   []clientv3.Cmp
	thens []clientv3.Op
	elses []clientv3.Op
	batch batch
	// ring is the revision of the keyring that the values are sealed under. Nothing
	// is committed under a keyring that is not the newest: where others can change it, by
	// a comparison, which costs etcd 15 µs; in free mode by space.gate, which a change
	// of the keyring holds alone.
	ring   int64
	seq    uint64        // of effect or marker
	key    string        // where that lies
	effect bool          // rather than a marker
	joined bool          // was sent together with others, whose changes have its revision too
	silent bool          // a test wants that nobody can tell what became of it
	large  []largeRecord // written, but too large for the mirror
}

// largeRecord goes into the cache: what was just written is likely to be read.
type largeRecord struct {
	table *table
	e     *entry
	rec   any
}

// commit sends the transaction once and returns when it is known what became of it.
// With ErrConflict comes the revision that the next snapshot must have.
func (s *Store) commit(tx *Tx) (Commit, int64, error) {
	seq := s.effects.begin()
	p, err := s.prepare(tx, seq)
	if err != nil {
		s.effects.settle(seq, removable)
		return Commit{}, 0, err
	}
	if tx.st.rev < p.ring {
		// Sequences of values that are sealed anew without a comparison rely on this: see
		// resealed.
		s.effects.settle(seq, removable)
		return Commit{}, p.ring, ErrConflict
	}
	return s.commitPrepared(p, tx.fence)
}

// transmitGated sends a transaction, and settles what became of it, while the keyring
// cannot change in this process.
func (s *Store) transmitGated(ctx context.Context, p *prepared) (resp *clientv3.TxnResponse, rev int64, committed bool, err error) {
	s.space.gate.RLock()
	defer s.space.gate.RUnlock()
	if ring := s.ring.rev.Load(); ring != p.ring || s.ring.doubt.Load() != nil {
		s.effects.settle(p.seq, removable)
		return nil, ring, false, ErrConflict
	}
	resp, err = s.join(ctx, p)
	if err != nil && definite(err) {
		s.effects.settle(p.seq, removable)
		return nil, 0, false, fmt.Errorf("%w: commit: %w", ErrUnavailable, err)
	}
	if err == nil {
		return resp, resp.Header.Revision, resp.Succeeded, nil
	}
	// From here on the records may or may not be written. Both settle the sequence number
	// in either case.
	if errors.Is(err, rpctypes.ErrNoSpace) {
		rev, committed, err = s.lookUp(p, err)
	} else {
		rev, committed, err = s.resolve(p, err)
	}
	if err == nil && committed && !p.joined {
		// Those of others, if it was joined, are not known here. The watch brings the whole
		// revision.
		p.batch.rev = rev
		s.mirror.offer(p.batch)
	}
	if err == nil && !committed {
		err = fmt.Errorf("%w: the commit was lost on the way and is ruled out now", ErrUnavailable)
	}
	return nil, rev, committed, err
}

// commitPrepared is commit of a transaction that is ready to be sent.
func (s *Store) commitPrepared(p *prepared, fence *Leadership) (Commit, int64, error) {
	ctx, cancel := context.WithTimeout(s.life, commitTimeout)
	defer cancel()
	seq := p.seq
	since := time.Now()
	resp, rev, committed, err := s.transmitGated(ctx, p)
	raise(&s.metrics.newest, rev)
	if err == nil && !committed {
		s.metrics.sent(since, ErrConflict)
	} else {
		s.metrics.sent(since, err)
	}
	if err != nil {
		return Commit{}, rev, err
	}
	if !committed {
		s.effects.settle(seq, removable)
		if fence != nil && !fence.holds(resp) {
			return Commit{}, 0, ErrNotLeader
		}
		return Commit{}, rev, ErrConflict
	}
	// Durable. A crash from here on loses the answer, not the write; its effect tells
	// the next start that it happened.
	for _, l := range p.large {
		s.cache.put(cacheKey{l.table, l.e.key(), rev}, l.rec, int64(l.e.size))
	}
	if !p.effect {
		s.effects.settle(seq, removable)
	}
	if s.mirror.wait(ctx, rev) != nil {
		// Revisions before this one are missing and the watch does not bring them. The
		// write counts all the same; reads wait until it can be seen.
		raise(&s.mirror.due, rev)
	}
	c := Commit{Revision: rev}
	if p.effect {
		c.Effect = seq
	}
	return c, 0, nil
}

// newPrepared begins a transaction. What is sealed afterwards is sealed under p.ring or
// a newer keyring.
func (s *Store) newPrepared(seq uint64, effect bool) *prepared {
	p := &prepared{ring: s.ring.rev.Load(), seq: seq, key: s.effects.key(seq), effect: effect}
	p.ifs = append(p.ifs, clientv3.Compare(clientv3.CreateRevision(p.key), "=", 0))
	if !s.free.Load() {
		p.ifs = append(p.ifs, compareKeyring(p.ring))
	}
	return p
}

// finish adds the effect or marker.
func (s *Store) finish(p *prepared, kind effectKind, data []byte) error {
	value, err := s.sealEffect(p.key, p.seq, kind, data)
	if err != nil {
		return err
	}
	p.put(p.key, value)
	if n := max(len(p.ifs), len(p.thens)); n > maxTxnOps {
		return fmt.Errorf("transaction has %d operations, at most %d are possible", n, maxTxnOps)
	}
	return nil
}

// prepare seals the writes and puts the transaction together. Map order does not
// matter to etcd, but sorted transactions are the same in every run.
func (s *Store) prepare(tx *Tx, seq uint64) (*prepared, error) {
	p := s.newPrepared(seq, tx.effect != nil)
	var changes []Change

	var created, deleted stripeSet
	if tx.fence != nil {
		p.ifs = append(p.ifs, tx.fence.compare())
		p.elses = append(p.elses, tx.fence.get())
	}
	for at, rev := range tx.guards {
		if w, ok := tx.writes[at]; !ok || !tx.compared(w) {
			p.ifs = append(p.ifs, clientv3.Compare(clientv3.ModRevision(at), "=", rev))
		}
	}

	for _, r := range tx.ranges {
		changes = append(changes, s.prepareRange(tx, p, r)...)
	}
	for _, at := range slices.Sorted(maps.Keys(tx.writes)) {
		w := tx.writes[at]
		if tx.compared(w) {
			p.compare(at, w.old)
			if w.old == nil && w.e != nil {
				created.add(w.key)
			}
		}
		if w.e == nil {
			if w.old == nil {
				continue
			}
			deleted.add(w.key)
			p.thens = append(p.thens, clientv3.OpDelete(at))
			p.batch.changes = append(p.batch.changes, change{table: w.table, key: w.key})
			changes = append(changes, Change{Table: w.table.name, Key: []byte(at), Sequence: w.old.seq, Deleted: true})
			continue
		}
		c, err := s.prepareWrite(p, at, w, tx.st.rev)
		if err != nil {
			return nil, err
		}
		changes = append(changes, c)
	}

	for key := range created.keys() {
		p.ifs = append(p.ifs, clientv3.Compare(clientv3.ModRevision(key), "<", tx.st.rev+1))
	}
	for key := range deleted.keys() {
		p.thens = append(p.thens, clientv3.OpPut(key, ""))
	}

	kind, data := effectMarker, []byte(nil)
	if tx.effect != nil {
		kind, data = effectAudit, tx.effect(changes)
	}
	return p, s.finish(p, kind, data)
}

// prepareWrite seals one record under its next sequence number: above its last one,
// and above everything that was ever stored under its key and deleted since, because
// no sequence is higher than the revision it was committed with (plus the floor).
func (s *Store) prepareWrite(p *prepared, at string, w *write, snapshotRev int64) (Change, error) {
	seq := s.floor + uint64(snapshotRev)
	if w.old != nil {
		seq = max(seq, w.old.seq)
	}
	seq++
	value, err := s.sealValue(at, seq, w.plain)
	if err != nil {
		return Change{}, err
	}
	e := w.e.copy()
	e.seq, e.size, e.keyVersion = seq, uint32(len(value)), sealedUnder(value)
	if w.table.inline > 0 && len(value) > w.table.inline {
		p.large = append(p.large, largeRecord{w.table, e, w.table.record(e)})
		e.strip()
	}
	p.put(at, value)
	p.batch.changes = append(p.batch.changes, change{table: w.table, key: w.key, e: e})
	return Change{Table: w.table.name, Key: []byte(at), Sequence: seq, SHA256: sha256.Sum256(value)}, nil
}

// prepareRange turns a DeleteChildren into one range delete, or into single ones if
// the same transaction writes a record in the range: etcd refuses the combination.
func (s *Store) prepareRange(tx *Tx, p *prepared, r childDelete) (changes []Change) {
	prefix := r.table.prefix
	single := false
	for at, w := range tx.writes {
		if w.table != r.table || w.key < r.from || w.key >= r.till {
			continue
		}
		if w.e != nil {
			single = true
			continue
		}
		if tx.compared(w) {
			p.compare(at, w.old)
		}
		delete(tx.writes, at) // the range covers it
	}
	if !single {
		p.thens = append(p.thens, clientv3.OpDelete(prefix+r.from, clientv3.WithRange(prefix+r.till)))
		p.batch.changes = append(p.batch.changes, change{table: r.table, key: r.from, until: r.till})
	}
	for _, e := range rangeOf(&tx.st.tables[r.table.index], r.from, r.till) {
		if _, ok := tx.writes[prefix+e.key()]; ok {
			continue
		}
		if single {
			p.thens = append(p.thens, clientv3.OpDelete(prefix+e.key()))
			p.batch.changes = append(p.batch.changes, change{table: r.table, key: e.key()})
		}
		changes = append(changes, Change{Table: r.table.name, Key: []byte(prefix + e.key()), Sequence: e.seq, Deleted: true})
	}
	return changes
}

// put writes a sealed value.
func (p *prepared) put(at string, value []byte) {
	op := clientv3.OpPut(at, "")
	op.WithValueBytes(value) // OpPut would take two copies
	p.thens = append(p.thens, op)
	p.batch.bytes += int64(len(at) + len(value))
}

// compare makes the transaction fail unless the record is still the old one.
func (p *prepared) compare(at string, old *entry) {
	var rev int64
	if old != nil {
		rev = old.rev
	}
	p.ifs = append(p.ifs, clientv3.Compare(clientv3.ModRevision(at), "=", rev))
}

func raise(v *atomic.Int64, to int64) {
	for {
		old := v.Load()
		if old >= to || v.CompareAndSwap(old, to) {
			return
		}
	}
}
