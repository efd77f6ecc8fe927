package store

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
	"unsafe"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"arca/internal/envelope"
)

// Client reaches past the store, as an attacker or a newer version would.
func (s *Store) Client() *clientv3.Client { return s.client }

// SetFree switches the mode in which reads need no confirmation.
func (s *Store) SetFree(on bool) { s.free.Store(on) }

// EtcdKey is where a record lies.
func (t *Table[T]) EtcdKey(k Key) string { return t.t.prefix + t.t.hashKey(k) }

// RecordAD is the additional data of a record.
func RecordAD(deployment []byte, key string, seq uint64) []byte {
	return recordAD(deployment, key, seq)
}

// SplitValue reads the sequence of an etcd value.
func SplitValue(value []byte) (uint64, []byte, error) { return splitValue(value) }

// ParseNodeFile reads a node's identity.
func ParseNodeFile(raw []byte) (id string, err error) {
	f, err := parseNodeFile(raw)
	return f.NodeID, err
}

// Forge seals a record as the store would, with any sequence.
func (s *Store) Forge(key string, seq uint64, plain []byte) ([]byte, error) {
	return s.sealValue(key, seq, plain)
}

// Plain opens a record.
func (s *Store) Plain(key string, value []byte) (uint64, []byte, error) {
	seq, p, err := s.openValue(key, value)
	return seq, p.Bytes(), err
}

// EffectKeys counts what lies under this node's effects.
func (s *Store) EffectKeys(ctx context.Context) (int64, error) {
	got, err := s.client.Get(ctx, s.effects.prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return 0, err
	}
	return got.Count, nil
}

// MakeCompactionDue pretends that the last compaction was at a revision long ago, so that the
// next step is due.
func (s *Store) MakeCompactionDue() {
	s.space.mu.Lock()
	defer s.space.mu.Unlock()
	s.space.rev = s.mirror.current.Load().rev - compactRevisions
}

// CompactAll forgets everything but the newest versions.
func (s *Store) CompactAll(ctx context.Context) error {
	return s.compactTo(ctx, s.mirror.current.Load().rev, clientv3.WithCompactPhysical())
}

// ForceDefrag rewrites the member's file whatever its size.
func (s *Store) ForceDefrag(ctx context.Context) error {
	_, _, err := s.defragMember(ctx, true)
	return err
}

// HashWith gives a store that is not open an index key.
func (s *Store) HashWith(key []byte) { s.setIndexKey(key) }

// HoldNextCommit keeps the next transaction from reaching etcd while its sender is
// told that the reply was lost. hold gets what sends it after all; that reports an
// error if the transaction commits.
func (s *Store) HoldNextCommit(hold func(release func() error)) {
	send := s.transmit
	s.transmit = func(ctx context.Context, p *prepared) (*clientv3.TxnResponse, error) {
		s.transmit = send
		hold(func() error {
			resp, err := send(context.Background(), p)
			if err == nil && resp.Succeeded {
				err = errors.New("the transaction committed")
			}
			return err
		})
		return nil, errInjectedLost
	}
}

// DecodePlain decodes a record's plaintext.
func (t *Table[T]) DecodePlain(plain []byte) error {
	_, err := t.t.newEntry("", envelope.NewPlaintext(append([]byte(nil), plain...)))
	return err
}

// ShardRanges cuts a table into ranges.
func ShardRanges(prefix string, records int64) [][2]string { return shardRanges(prefix, records) }

// NewZapLogger hands etcd's log to slog.
func NewZapLogger(log *slog.Logger) *zap.Logger { return newZapLogger(log) }

// Cache is the cache of large records, by a number.
type Cache struct{ c *cache }

// NewCache returns a cache of so many bytes.
func NewCache(maxBytes int64) Cache { return Cache{newCache(maxBytes)} }

// Put adds a record of a size.
func (c Cache) Put(n int, size int64) { c.c.put(cacheKey{rev: int64(n)}, n, size) }

// Has looks a record up.
func (c Cache) Has(n int) bool { _, ok := c.c.get(cacheKey{rev: int64(n)}); return ok }

// Used is the number of bytes taken.
func (c Cache) Used() int64 { return c.c.used }

// EditKeyring changes the keyring in etcd, as another version or node would.
func (s *Store) EditKeyring(ctx context.Context, edit func(r *KeyringEditor)) error {
	got, err := s.client.Get(ctx, keyringKey)
	if err != nil {
		return err
	}
	var rec keyringRecord
	if err := s.codec.dec.Unmarshal(got.Kvs[0].Value, &rec); err != nil {
		return err
	}
	e := &KeyringEditor{s, &rec, nil}
	edit(e)
	value, err := s.codec.enc.Marshal(rec)
	if err != nil {
		return err
	}
	_, err = s.client.Put(ctx, keyringKey, string(value))
	return errors.Join(err, e.err)
}

// KeyringEditor is a keyring to be changed.
type KeyringEditor struct {
	s   *Store
	rec *keyringRecord
	err error
}

// Drop removes all keys of a purpose.
func (e *KeyringEditor) Drop(purpose string) {
	e.rec.Keys = slices.DeleteFunc(e.rec.Keys, func(k keyEntry) bool { return k.Purpose == purpose })
}

// Rename gives the key of one purpose another purpose, without the KEK.
func (e *KeyringEditor) Rename(from, to string) {
	for i := range e.rec.Keys {
		if e.rec.Keys[i].Purpose == from {
			e.rec.Keys[i].Purpose = to
		}
	}
}

// Rotate makes a new version of the key of a purpose and retires the old one.
func (e *KeyringEditor) Rotate(purpose string) {
	for i := range e.rec.Keys {
		old := &e.rec.Keys[i]
		if old.Purpose != purpose {
			continue
		}
		k, err := e.s.ring.key().OpenKey(old.Sealed, old.ad(e.s.deployment))
		old.State = keyRetired
		old.Sealed, e.err = e.s.ring.key().SealKey(k, old.ad(e.s.deployment))
		e.err = errors.Join(e.err, err)
		fresh := envelope.GenerateKey(k.ID(), k.Version()+1)
		entry := keyEntry{Purpose: purpose, ID: old.ID, Version: fresh.Version(), Created: old.Created, State: keyActive}
		entry.Sealed, err = e.s.ring.key().SealKey(fresh, entry.ad(e.s.deployment))
		e.err = errors.Join(e.err, err)
		e.rec.Keys = append(e.rec.Keys, entry)
		return
	}
}

// Bounds of holds.
const (
	HoldRevisions = holdRevisions
	MaxHolds      = maxHolds
)

// HeldBack is where a compaction that is due at a revision stops.
func (s *Store) HeldBack(ctx context.Context, rev int64) (int64, error) { return s.heldBack(ctx, rev) }

// Decode decodes a record's plaintext.
func (t *Table[T]) Decode(plain []byte) (*T, error) {
	e, err := t.t.newEntry("", envelope.NewPlaintext(append([]byte(nil), plain...)))
	if err != nil {
		return nil, err
	}
	return t.t.record(e).(*T), nil
}

// SealedUnder is the version of the storage key that a value names.
func SealedUnder(value []byte) uint32 { return sealedUnder(value) }

// OldValues lists the keys in etcd whose values are sealed under a storage key of that
// version.
func (s *Store) OldValues(ctx context.Context, version uint32) (keys []string, err error) {
	got, err := s.client.Get(ctx, root, clientv3.WithPrefix())
	if err != nil {
		return nil, err
	}
	for _, kv := range got.Kvs {
		if sealedUnder(kv.Value) == version {
			keys = append(keys, string(kv.Key))
		}
	}
	return keys, nil
}

// Secrets returns copies of all keys of the keyring, in memory, and the KEK.
func (s *Store) Secrets() (out map[string]*envelope.Key, err error) {
	s.ring.mu.RLock()
	defer s.ring.mu.RUnlock()
	out = map[string]*envelope.Key{"kek": s.ring.kek}
	for _, e := range s.ring.entries {
		k, err := s.ring.kek.OpenKey(e.Sealed, e.ad(s.deployment))
		if err != nil {
			return nil, err
		}
		out[e.Purpose] = k
	}
	return out, nil
}

// ForgetKeys wipes what left the keyring before now.
func (s *Store) ForgetKeys(ctx context.Context, now time.Time) error { return s.forgetKeys(ctx, now) }

// HasStorageKey reports whether a version of the storage key is in memory.
func (s *Store) HasStorageKey(version uint32) bool {
	id, _ := s.ring.storage.Primary()
	return s.ring.storage.Has(id, version)
}

// HoldNextCommitUnknown is HoldNextCommit with nobody to ask afterwards.
func (s *Store) HoldNextCommitUnknown(hold func(release func() error)) {
	s.HoldNextCommit(hold)
	send := s.transmit
	s.transmit = func(ctx context.Context, p *prepared) (*clientv3.TxnResponse, error) {
		p.silent = true
		return send(ctx, p)
	}
}

// LoseNextReply sends the next transaction, calls then, and drops the reply.
func (s *Store) LoseNextReply(then func()) {
	send := s.transmit
	s.transmit = func(ctx context.Context, p *prepared) (*clientv3.TxnResponse, error) {
		s.transmit = send
		if _, err := send(ctx, p); err != nil {
			return nil, err
		}
		then()
		return nil, errInjectedLost
	}
}

// HoldCommit is HoldNextCommit without a lost reply: the sender waits until it is
// released.
func (s *Store) HoldCommit() (held <-chan struct{}, release func()) {
	send := s.transmit
	at, gone := make(chan struct{}), make(chan struct{})
	s.transmit = func(ctx context.Context, p *prepared) (*clientv3.TxnResponse, error) {
		s.transmit = send
		close(at)
		<-gone
		return send(ctx, p)
	}
	return at, func() { close(gone) }
}

// Commits counts the transactions that were sent.
func (s *Store) Commits() int64 { return s.commits.Load() }

// Keys in etcd.
const (
	RootKeyKey = rootKeyKey
	KeyringKey = keyringKey
	FloorKey   = floorKey
)

// DropHistory takes the history out of a root record.
func (s *Store) DropHistory(value []byte) ([]byte, error) {
	rec, err := s.decodeRoot(value)
	if err != nil {
		return nil, err
	}
	rec.History = nil
	return s.codec.enc.Marshal(rec)
}

// MixKeyrings makes a keyring of the entries of two: the storage key of the first seals,
// and that which sealed in the second is left out.
func (s *Store) MixKeyrings(first, second string) (string, error) {
	a, err := s.decodeKeyring([]byte(first))
	if err != nil {
		return "", err
	}
	b, err := s.decodeKeyring([]byte(second))
	if err != nil {
		return "", err
	}
	b.Keys = slices.DeleteFunc(b.Keys, func(e keyEntry) bool {
		return e.Purpose == purposeStorage && (e.State == keyActive || e.Version == 1)
	})
	for _, e := range a.Keys {
		if e.Purpose == purposeStorage {
			b.Keys = append(b.Keys, e)
		}
	}
	value, err := s.codec.enc.Marshal(b)
	return string(value), err
}

// LockKeyring waits until nobody reads the keyring, as an installation does.
func (s *Store) LockKeyring() {
	s.ring.mu.Lock()
	defer s.ring.mu.Unlock()
}

// Fill makes the feed hold as many changes as it keeps.
func (f *Feed[T]) Fill() {
	f.f.mu.Lock()
	defer f.f.mu.Unlock()
	for i := range maxFeed {
		f.f.changed[strconv.Itoa(i)] = fed{rev: 1}
	}
	f.f.size = maxFeed
}

// Ledger is the table of newest changes.
type Ledger struct{ b ledger }

// NewLedger holds so many records at a time.
func NewLedger(most int) *Ledger { return &Ledger{ledger{max: most}} }

// Next goes to the next range.
func (l *Ledger) Next() bool { return l.b.nextRange() }

// Reset forgets everything.
func (l *Ledger) Reset() { l.b.reset() }

// Add takes a change over.
func (l *Ledger) Add(key string, seq uint64, deleted bool) {
	l.b.add(&table{}, &LoggedChange{Change: Change{Key: []byte(key), Sequence: seq, Deleted: deleted}})
}

// Find looks a record up, if it is in the range.
func (l *Ledger) Find(key string) (seq uint64, deleted, ok bool) {
	id := ledgerID([]byte(key))
	if !l.b.covers(&id) {
		return 0, false, false
	}
	s := l.b.find(&id)
	if s == nil {
		return 0, false, false
	}
	return s.sequence(), s.deleted(), true
}

// KeepHot sets how many records of a packed table are kept decoded.
func (t *Table[T]) KeepHot(n int) { t.t.hot.entries = make([]atomic.Pointer[entry], n) }

// Decoded are those that are.
func (t *Table[T]) Decoded(v *Snap) (all []*T) {
	v.st.tables[t.t.index].scan(func(e *entry) bool {
		if rec := e.rec.Load(); rec != nil {
			all = append(all, (*rec).(*T))
		}
		return true
	})
	return all
}

// Stale is how many of the entries that are kept decoded are not the newest of their record.
func (t *Table[T]) Stale(v *Snap) (n int) {
	for i := range t.t.hot.entries {
		if e := t.t.hot.entries[i].Load(); e != nil {
			if now, ok := v.find(t.t, e.key()); !ok || now != e {
				n++
			}
		}
	}
	return n
}

// StubPins reports whether a stub made of a record holds on to the record's memory.
func StubPins(key, body string) bool {
	e := makeEntry(key, nil, body)
	whole := unsafe.StringData(e.text)
	e.strip()
	return unsafe.StringData(e.text) == whole
}

// Misguide makes the finder of a table lead every key to the record of another, and to
// numbers that there are not.
func (t *Table[T]) Misguide(s *Store) {
	ts := &s.mirror.current.Load().tables[t.t.index]
	*ts.finder = *newFinder(ts.len())
	ts.records.scan(func(it recordItem) bool {
		key := ts.entries.at(it.number).key()
		ts.finder.add(key, it.number+1)
		ts.finder.add(key, 1<<31+it.number)
		return true
	})
}

// FoundBy counts which of different keys a finder that has room for all of them leads to.
func FoundBy(keys []string) (found int) {
	var of entryList
	f := newFinder(len(keys))
	for i, key := range keys {
		of.set(uint32(i), newStub(key))
		f.add(key, uint32(i))
	}
	for i, key := range keys {
		if n, _, ok := f.find(key, &of); ok && n == uint32(i) {
			found++
		}
	}
	return found
}
