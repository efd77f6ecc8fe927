package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"arca/internal/envelope"
)

// After a rotation of the storage key every value under the former one is sealed anew,
// then everything is read once more, and only if no value names that key it leaves the
// keyring. All that is needed to go on is in etcd, so that it does not matter where a
// process died: the next step begins a new pass, and finds what is left.
//
// That no value can come under the former key any more is due to the rotation itself:
// see prepared.ring.

const (
	// A step ends after this time, so that its caller can see to other things.
	resealBudget = 200 * time.Millisecond
	// A batch is one transaction.
	resealBatch      = 64
	resealBatchBytes = 512 << 10
	// A page is one read.
	resealPage      = 512
	resealPageBytes = 4 << 20
	// A pass that is stuck is not made again before.
	resealRest = 10 * time.Minute
)

type resealStage int

const (
	resealRecords resealStage = iota // of attached tables, as the mirror knows them
	resealOthers                     // everything else
	resealVerify                     // all of it, to be read only
)

// resealer is where the work stands. Losing it costs a pass.
type resealer struct {
	mu sync.Mutex // held during a step

	ring  int64 // revision of the keyring that this pass is for
	old   map[keyVersion]bool
	stage resealStage
	place int    // index of the table, or of the range between tables
	after string // etcd key to go on from
	step  int64  // values sealed anew in this step
	pass  int64  // and in this pass
	found int64  // old values that the verification found

	stuck int64
	rest  time.Time // no new pass before
}

type keyVersion struct {
	id      envelope.KeyID
	version uint32
}

func (r *resealer) begin(ring int64, old map[keyVersion]bool) {
	r.ring, r.old = ring, old
	r.stage, r.place, r.after = resealRecords, 0, ""
	r.pass, r.found, r.stuck, r.rest = 0, 0, 0, time.Time{}
}

func (r *resealer) add(n int64) {
	r.step += n
	r.pass += n
}

// uses reports whether a value in etcd is sealed under one of the old keys.
func (r *resealer) uses(value []byte) bool {
	_, sealed, err := splitValue(value)
	if err != nil {
		return false
	}
	id, version, err := envelope.Header(sealed)
	return err == nil && r.old[keyVersion{id, version}]
}

// Reseal is one step of the work that follows RotateStorageKey: it seals anew what
// former keys sealed, for a fraction of a second, and takes the keys out of the keyring
// that nothing uses any more. Without a former key it does nothing and asks nobody. It
// is for one leader; two at once do no harm. now is for what is to be done later.
//
// Values change their sequence and revision by it, but nothing that can be read through
// a table.
func (s *Store) Reseal(ctx context.Context, now time.Time) (ResealProgress, error) {
	if s.mirror == nil || s.life.Err() != nil {
		return ResealProgress{}, ErrClosed
	}
	r := &s.resealing
	r.mu.Lock()
	defer r.mu.Unlock()
	var out ResealProgress
	ring, old, expired := s.formerKeys(now)
	if len(old) == 0 && !expired {
		return s.progress(out), nil
	}
	if err := s.ring.trusted(); err != nil {
		return s.progress(out), err
	}
	if expired {
		n, err := s.dropKeys(ctx, ring, func(e keyEntry) bool { return s.sessionKeyExpired(e, now) })
		out.Dropped += n
		out.More = true
		return s.progress(out), err
	}
	if r.ring != ring {
		r.begin(ring, old)
	}
	if now.Before(r.rest) {
		out.Stuck = r.stuck
		return s.progress(out), nil
	}
	err := s.resealStep(ctx, r, now, &out)
	out.Stuck = r.stuck
	return s.progress(out), err
}

func (s *Store) progress(p ResealProgress) ResealProgress {
	_, left := s.retired()
	for _, n := range s.mirror.sealedBy() {
		p.Total += n
	}
	p.Done = p.Total - left
	return p
}

// formerKeys returns the storage keys that only open, and whether a session token key
// may go.
func (s *Store) formerKeys(now time.Time) (ring int64, old map[keyVersion]bool, expired bool) {
	s.ring.mu.RLock()
	defer s.ring.mu.RUnlock()
	for _, e := range s.ring.entries {
		if e.State == keyActive {
			continue
		}
		switch e.Purpose {
		case purposeStorage:
			if old == nil {
				old = make(map[keyVersion]bool)
			}
			old[keyVersion{envelope.KeyID(e.ID), e.Version}] = true
		case purposeSession:
			expired = expired || s.sessionKeyExpiredLocked(e, now)
		}
	}
	return s.ring.rev.Load(), old, expired
}

func (s *Store) sessionKeyExpired(e keyEntry, now time.Time) bool {
	s.ring.mu.RLock()
	defer s.ring.mu.RUnlock()
	return s.sessionKeyExpiredLocked(e, now)
}

// sessionKeyExpiredLocked: a key sealed until its successor was made.
func (s *Store) sessionKeyExpiredLocked(e keyEntry, now time.Time) bool {
	if e.Purpose != purposeSession || e.State == keyActive {
		return false
	}
	for _, o := range s.ring.entries {
		if o.Purpose == e.Purpose && o.Version == e.Version+1 {
			return now.Sub(time.Unix(o.Created, 0)) > sessionKeyLife
		}
	}
	return false // its successor went first; the active one's date decides next time
}

func (s *Store) resealStep(ctx context.Context, r *resealer, now time.Time, out *ResealProgress) error {
	r.step = 0
	defer func() { out.Resealed = r.step }()
	out.More = true
	for until := time.Now().Add(resealBudget); time.Now().Before(until); {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		var err error
		switch r.stage {
		case resealRecords:
			err = s.resealTable(ctx, r)
		case resealOthers:
			err = s.resealBetween(ctx, r)
		default:
			err = s.verifyResealed(ctx, r)
		}
		if err != nil {
			return err
		}
		if r.stage <= resealVerify {
			continue
		}
		// The pass is over.
		switch {
		case r.found == 0:
			// Every value was read after the last one under these keys could be written,
			// and none names them.
			old := r.old
			n, err := s.dropKeys(ctx, r.ring, func(e keyEntry) bool {
				return e.Purpose == purposeStorage && old[keyVersion{envelope.KeyID(e.ID), e.Version}]
			})
			out.Dropped += n
			r.begin(0, nil)
			if errors.Is(err, ErrConflict) {
				return nil
			}
			return err
		case r.pass > 0:
			r.begin(r.ring, r.old)
		default:
			r.stuck, r.rest = r.found, now.Add(resealRest)
			r.stage, r.place, r.after, r.found = resealRecords, 0, "", 0
			out.More = false
			s.log.Error("values are left under a former storage key, which stays in the keyring for them; a check tells which", "values", r.stuck)
			return nil
		}
	}
	return nil
}

// next goes to the next place of a stage, or to the next stage.
func (r *resealer) next(places int) {
	r.after = ""
	if r.place++; r.place >= places {
		r.place = 0
		r.stage++
	}
}

// resealTable seals anew a batch of a table's records.
func (s *Store) resealTable(ctx context.Context, r *resealer) error {
	if len(s.tables) == 0 {
		r.next(0)
		return nil
	}
	t := s.tables[r.place]
	active := s.activeVersion()
	var keys []string
	bytes := 0
	full := false
	s.mirror.current.Load().tables[t.index].ascend(r.after, func(e *entry) bool {
		if e.keyVersion == active {
			return true
		}
		if full = len(keys) > 0 && (len(keys) == resealBatch || bytes+int(e.size) > resealBatchBytes); full {
			return false
		}
		keys = append(keys, t.prefix+e.key())
		bytes += int(e.size)
		r.after = e.key() + "\x00"
		return true
	})
	n, err := s.resealKeys(ctx, r, t, keys)
	r.add(n)
	if err == nil && !full {
		r.next(len(s.tables))
	}
	return err
}

func (s *Store) activeVersion() uint32 {
	_, version := s.ring.storage.Primary()
	return version
}

// resealBetween seals anew a page of what belongs to no attached table: floor, node
// records, effects, and tables that another version of the binary has.
func (s *Store) resealBetween(ctx context.Context, r *resealer) error {
	ranges := s.between()
	kvs, more, err := s.page(ctx, r, ranges)
	if err != nil {
		return err
	}
	var keys []string
	bytes := 0
	flush := func() error {
		n, err := s.resealKeys(ctx, r, nil, keys)
		r.add(n)
		keys, bytes = nil, 0
		return err
	}
	for _, kv := range kvs {
		if !r.uses(kv.Value) {
			continue
		}
		if len(keys) > 0 && (len(keys) == resealBatch || bytes+len(kv.Value) > resealBatchBytes) {
			if err := flush(); err != nil {
				return err
			}
		}
		keys = append(keys, string(kv.Key))
		bytes += len(kv.Value)
	}
	if err := flush(); err != nil {
		return err
	}
	if !more {
		r.next(len(ranges))
	}
	return nil
}

// resealKeys seals anew those of the values that are still under an old key, in one
// transaction, or in smaller ones where others write the same records. What cannot be
// sealed anew is left for the verification to find.
func (s *Store) resealKeys(ctx context.Context, r *resealer, t *table, keys []string) (n int64, err error) {
	if len(keys) == 0 {
		return 0, nil
	}
	p, n, err := s.prepareReseal(ctx, r, t, keys)
	if err != nil || p == nil {
		return 0, err
	}
	_, rev, err := s.commitPrepared(p, nil)
	if !errors.Is(err, ErrConflict) {
		if err != nil {
			n = 0
		}
		return n, err
	}
	if err := s.await(ctx, rev); err != nil {
		return 0, err
	}
	if s.ring.rev.Load() != r.ring || len(keys) == 1 {
		return 0, nil
	}
	a, err := s.resealKeys(ctx, r, t, keys[:len(keys)/2])
	if err != nil {
		return a, err
	}
	b, err := s.resealKeys(ctx, r, t, keys[len(keys)/2:])
	return a + b, err
}

func (s *Store) prepareReseal(ctx context.Context, r *resealer, t *table, keys []string) (p *prepared, n int64, err error) {
	gets := make([]clientv3.Op, len(keys))
	for i, key := range keys {
		gets[i] = clientv3.OpGet(key)
	}
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	got, err := s.client.Txn(ctx).Then(gets...).Commit()
	if err != nil {
		return nil, 0, fmt.Errorf("%w: read records: %w", ErrUnavailable, err)
	}
	p = s.newPrepared(s.effects.begin(), false)
	defer func() {
		if p == nil {
			return
		}
		if err == nil && n > 0 {
			err = s.finish(p, effectMarker, nil)
		}
		if err != nil || n == 0 {
			s.effects.settle(p.seq, removable)
			p = nil
		}
	}()
	for _, resp := range got.Responses {
		kvs := resp.GetResponseRange().Kvs
		if len(kvs) == 0 || !r.uses(kvs[0].Value) {
			continue
		}
		ok, err := s.resealValue(p, t, kvs[0])
		if err != nil {
			return p, n, err
		}
		if ok {
			n++
		}
	}
	return p, n, nil
}

// resealValue adds one value to the transaction.
//
// Its new sequence is the old one plus one, and that is no more than what anybody can
// have who writes the record at the same time without comparing it, as is allowed where
// its parent is written: such a transaction commits after the rotation, at revision k,
// so its snapshot is not older than k (see commit), its sequence above floor + k, and
// the value was written before k, with a sequence of at most floor + k - 1. So mirrors
// see the sequence grow, whichever commits first.
func (s *Store) resealValue(p *prepared, t *table, kv *mvccpb.KeyValue) (ok bool, err error) {
	at := string(kv.Key)
	var held *entry
	if t != nil {
		held, ok = s.mirror.current.Load().tables[t.index].get(at[len(t.prefix):])
		if !ok || held.rev != kv.ModRevision {
			return false, nil // moved on, or refused
		}
	}
	seq, plain, err := s.openValue(at, kv.Value)
	if err != nil {
		s.log.Error("value under a former storage key does not open", "key", hexKey(at), "cause", err.Error())
		return false, nil
	}
	defer plain.Wipe()
	if !strings.HasPrefix(at, effectPrefix) { // an effect's sequence is its number
		seq++
	}
	value, err := s.sealValue(at, seq, plain.Bytes())
	if err != nil {
		return false, err
	}
	p.ifs = append(p.ifs, clientv3.Compare(clientv3.ModRevision(at), "=", kv.ModRevision))
	p.thens = append(p.thens, clientv3.OpPut(at, string(value)))
	p.batch.bytes += int64(len(at) + len(value))
	if t != nil {
		e := held.copy()
		e.seq, e.size, e.keyVersion = seq, uint32(len(value)), sealedUnder(value)
		p.batch.changes = append(p.batch.changes, change{table: t, key: e.key(), e: e})
	}
	return true, nil
}
