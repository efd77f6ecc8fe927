package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// effectKind says what lies at an effect key.
type effectKind uint64

const (
	// effectAudit: a transaction committed and its audit line may not be written yet.
	effectAudit effectKind = 1
	// effectMarker: a transaction without audit effect committed.
	effectMarker effectKind = 2
	// effectTombstone: a transaction was ruled out.
	effectTombstone effectKind = 3
)

const effectFormat = 1

type effectRecord struct {
	Kind effectKind `cbor:"1,keyasint"`
	Data []byte     `cbor:"2,keyasint,omitempty"`
}

// fate is what becomes of an effect's key.
type fate int

const (
	removable fate = iota // nothing, or nothing of further use, lies there
	ruledOut              // a tombstone, to be kept for a while
	unknown               // what lies there must be looked at later
)

const (
	// A life has room for 2⁴⁰ commits, a node for 2²⁴ lives.
	lifeShift = 40
	// How long a tombstone waits for a transaction that is held up on the way.
	tombstoneLife = 24 * time.Hour
	// Effects are removed this long after the first of a batch may go.
	removePause = 100 * time.Millisecond
)

// effects numbers the commits of this node and removes their effects once nobody
// needs them.
type effects struct {
	prefix string // of the etcd keys of this node
	first  string // the first key of this life

	step sync.Mutex // held during RemoveStep

	mu      sync.Mutex
	next    uint64               // guarded by mu
	open    map[uint64]bool      // guarded by mu; numbered and not settled
	order   []uint64             // guarded by mu; open ones in order, and some settled since
	removed uint64               // guarded by mu; below this only kept ones are left
	kept    map[uint64]time.Time // guarded by mu; tombstones, until when
	orphans map[uint64]bool      // guarded by mu; of earlier lives, or of unknown outcome
	single  []uint64             // guarded by mu; to be removed one by one
	kick    chan struct{}        // something can be removed
}

func (x *effects) key(seq uint64) string { return effectKey(x.prefix, seq) }

// begin returns the number of a new commit.
func (x *effects) begin() uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	seq := x.next
	x.next++
	x.open[seq] = true
	x.order = append(x.order, seq)
	return seq
}

// settle says what becomes of the effect of a commit. Only the first call counts.
func (x *effects) settle(seq uint64, f fate) {
	x.mu.Lock()
	switch {
	case x.orphans[seq]:
		delete(x.orphans, seq)
		x.single = append(x.single, seq)
	case x.open[seq]:
		delete(x.open, seq)
		switch f {
		case ruledOut:
			x.kept[seq] = time.Now().Add(tombstoneLife)
		case unknown:
			x.orphans[seq] = true
		}
	}
	x.mu.Unlock()
	select {
	case x.kick <- struct{}{}:
	default:
	}
}

// ReleaseEffect says that the audit line of the effect is synced; the effect is
// removed from etcd later, in batches. A crash before that shows it to Effects again.
func (s *Store) ReleaseEffect(seq uint64) { s.effects.settle(seq, removable) }

func (s *Store) sealEffect(key string, seq uint64, kind effectKind, data []byte) ([]byte, error) {
	plain, err := s.codec.encode(effectFormat, effectRecord{kind, data})
	if err != nil {
		return nil, fmt.Errorf("encode effect: %w", err)
	}
	return s.sealValue(key, seq, plain)
}

func (s *Store) openEffect(key string, value []byte) (effectRecord, error) {
	var rec effectRecord
	_, plain, err := s.openValue(key, value)
	if err != nil {
		return rec, err
	}
	_, body, err := s.codec.split(plain.Bytes(), effectFormat)
	if err != nil {
		return rec, err
	}
	return rec, s.codec.dec.Unmarshal(body, &rec)
}

// Effects lists the audit effects of commits that this node can no longer answer
// for, oldest first: those of its earlier lives, and those whose outcome was unknown
// and which turn out to have happened. The caller writes the audit line and then
// calls ReleaseEffect; until then each call lists them again.
func (s *Store) Effects(ctx context.Context, fn func(seq uint64, data []byte) error) error {
	s.effects.mu.Lock()
	orphans := slices.Sorted(maps.Keys(s.effects.orphans))
	s.effects.mu.Unlock()
	for _, seq := range orphans {
		key := s.effects.key(seq)
		got, err := s.client.Get(ctx, key)
		if err != nil {
			return fmt.Errorf("%w: read effect %d: %w", ErrUnavailable, seq, err)
		}
		if len(got.Kvs) == 0 {
			continue // did not happen, or not yet
		}
		rec, err := s.openEffect(key, got.Kvs[0].Value)
		if err != nil {
			return fmt.Errorf("open effect %d: %w", seq, err)
		}
		switch rec.Kind {
		case effectAudit:
			if err := fn(seq, rec.Data); err != nil {
				return err
			}
		case effectMarker:
			s.effects.settle(seq, removable)
		}
	}
	return nil
}

// nodeRecord stands at meta/node/h(node). Each start of a node is a life of its own,
// so that no number of a commit is ever used twice, not even by two processes that
// run on copies of one data directory.
type nodeRecord struct {
	Life uint64 `cbor:"1,keyasint"`
	Node string `cbor:"2,keyasint"`
}

const nodeRecordFormat = 1

// startLife begins a new life of this node and finds what earlier ones left.
func (s *Store) startLife(ctx context.Context) error {
	x := &s.effects
	h := s.hashPart("effect", 1, nil, s.node.id)
	x.prefix = effectPrefix + string(h[:])
	x.open = make(map[uint64]bool)
	x.kept = make(map[uint64]time.Time)
	x.orphans = make(map[uint64]bool)
	x.kick = make(chan struct{}, 1)

	life, err := s.bumpLife(ctx, nodePrefix+string(h[:]))
	if err != nil {
		return err
	}
	x.next = life<<lifeShift + 1
	x.first = x.key(x.next)
	x.removed = x.next

	got, err := s.client.Get(ctx, x.prefix, clientv3.WithPrefix())
	if err != nil {
		return fmt.Errorf("%w: look for effects: %w", ErrUnavailable, err)
	}
	if err := s.loadKeyring(ctx, got.Header.Revision); err != nil {
		return fmt.Errorf("%w: read keyring: %w", ErrUnavailable, err)
	}
	for _, kv := range got.Kvs {
		seq, _, err := splitValue(kv.Value)
		if err != nil || x.key(seq) != string(kv.Key) {
			return fmt.Errorf("read effect %q: %w", kv.Key, errRecord)
		}
		rec, err := s.openEffect(string(kv.Key), kv.Value)
		if err != nil {
			return fmt.Errorf("open effect %d: %w", seq, err)
		}
		switch rec.Kind {
		case effectAudit:
			x.orphans[seq] = true
		case effectTombstone:
			x.kept[seq] = time.Now().Add(tombstoneLife)
		default:
			x.single = append(x.single, seq)
		}
	}
	return nil
}

func (s *Store) bumpLife(ctx context.Context, key string) (uint64, error) {
	for {
		got, err := s.client.Get(ctx, key)
		if err != nil {
			return 0, fmt.Errorf("%w: read node record: %w", ErrUnavailable, err)
		}
		rec := nodeRecord{Node: s.node.id}
		var seq uint64
		var modRev int64
		if len(got.Kvs) > 0 {
			modRev = got.Kvs[0].ModRevision
			if seq, err = s.readMeta(key, got.Kvs[0].Value, nodeRecordFormat, &rec); err != nil {
				return 0, fmt.Errorf("read node record: %w", err)
			}
		}
		rec.Life++
		plain, err := s.codec.encode(nodeRecordFormat, rec)
		if err != nil {
			return 0, fmt.Errorf("encode node record: %w", err)
		}
		ring := s.ring.rev.Load()
		value, err := s.sealValue(key, max(seq, s.floor+uint64(got.Header.Revision))+1, plain)
		if err != nil {
			return 0, err
		}
		resp, err := s.client.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(key), "=", modRev), compareKeyring(ring)).
			Then(clientv3.OpPut(key, string(value))).
			Commit()
		if err != nil {
			return 0, fmt.Errorf("%w: write node record: %w", ErrUnavailable, err)
		}
		if resp.Succeeded {
			return rec.Life, nil
		}
		if err := s.learnKeyring(ctx); err != nil {
			return 0, err
		}
	}
}

// readMeta opens a sealed record of the store's own.
func (s *Store) readMeta(key string, value []byte, format uint64, into any) (seq uint64, err error) {
	seq, plain, err := s.openValue(key, value)
	if err != nil {
		return 0, err
	}
	_, body, err := s.codec.split(plain.Bytes(), format)
	if err != nil {
		return 0, err
	}
	return seq, s.codec.dec.Unmarshal(body, into)
}

// removeEffects is the loop around RemoveStep.
func (s *Store) removeEffects(ctx context.Context) error {
	for {
		select {
		case <-s.effects.kick:
		case <-ctx.Done():
			return nil
		}
		select {
		case <-time.After(removePause):
		case <-ctx.Done():
			return nil
		}
		if err := s.RemoveStep(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("effects not removed; trying again with the next ones", "error", err.Error())
		}
	}
}

// RemoveStep removes from etcd the effects that were released. Run does it by itself.
// It is one range delete up to the lowest effect that is still needed, with gaps for
// those that have to stay. A failure, or a crash half-way, leaves effects that
// the next step or the next life removes.
func (s *Store) RemoveStep(ctx context.Context) error {
	x := &s.effects
	x.step.Lock()
	defer x.step.Unlock()
	x.mu.Lock()
	for len(x.order) > 0 && !x.open[x.order[0]] {
		x.order = x.order[1:]
	}
	from, to := x.removed, x.next
	if len(x.order) > 0 {
		to = x.order[0]
	}
	stay := make([]uint64, 0, len(x.kept)+len(x.orphans))
	now := time.Now()
	for seq, until := range x.kept {
		if now.After(until) {
			delete(x.kept, seq)
			x.single = append(x.single, seq)
		} else {
			stay = append(stay, seq)
		}
	}
	stay = slices.AppendSeq(stay, maps.Keys(x.orphans))
	single := x.single
	x.mu.Unlock()

	var ops []clientv3.Op
	slices.Sort(stay)
	at := from
	for _, seq := range stay {
		if seq < at || seq >= to {
			continue
		}
		if seq > at {
			ops = append(ops, clientv3.OpDelete(x.key(at), clientv3.WithRange(x.key(seq))))
		}
		at = seq + 1
	}
	if at < to {
		ops = append(ops, clientv3.OpDelete(x.key(at), clientv3.WithRange(x.key(to))))
	}
	for _, seq := range single {
		if seq < from || seq >= to { // others are covered by a range
			ops = append(ops, clientv3.OpDelete(x.key(seq)))
		}
	}
	for chunk := range slices.Chunk(ops, maxTxnOps) {
		if err := s.removeOnce(ctx, chunk); err != nil {
			return err
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.removed = max(x.removed, to)
	x.single = x.single[len(single):]
	return nil
}

func (s *Store) removeOnce(ctx context.Context, ops []clientv3.Op) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	resp, err := s.client.Txn(ctx).Then(ops...).Commit()
	if err != nil {
		return fmt.Errorf("%w: remove effects: %w", ErrUnavailable, err)
	}
	for _, r := range resp.Responses {
		if r.GetResponseDeleteRange().Deleted > 0 {
			// Only a transaction that changes something has a revision of its own.
			s.mirror.offer(batch{rev: resp.Header.Revision})
			return nil
		}
	}
	return nil
}
