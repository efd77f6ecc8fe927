package store

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"arca/internal/envelope"
)

// The purposes of the keyring. Storage and index keys are the store's own.
const (
	purposeStorage = "storage"
	purposeIndex   = "index"
)

// purposes are the keys that every keyring has. One that an older keyring lacks is
// added when it is opened.
func purposes() []string {
	return []string{purposeStorage, purposeIndex, "kms", "iam", "session-token", "page-token", "audit"}
}

const (
	rootFormat    = 1
	keyringFormat = 1
	kekVersion    = 1
)

// rootRecord stands in the clear at meta/root: what is needed before any key is
// there. It is written when the store is created and when its root key changes.
type rootRecord struct {
	Format     uint64 `cbor:"1,keyasint"`
	Deployment []byte `cbor:"2,keyasint"`
	RootKind   string `cbor:"3,keyasint"`
	RootParams []byte `cbor:"4,keyasint"`
	KEK        []byte `cbor:"5,keyasint"` // envelope under the root key
	// History is a rootHistory, an envelope under the KEK. It is there as soon as the
	// root key has changed once.
	History []byte `cbor:"6,keyasint,omitempty"`
}

// keyringRecord stands at meta/keyring. Its keys are envelopes under the KEK, and
// everything else about a key is additional data of its envelope, so that no entry
// can be altered or moved by somebody without the KEK.
type keyringRecord struct {
	Format uint64     `cbor:"1,keyasint"`
	Keys   []keyEntry `cbor:"2,keyasint"`
}

type keyState uint8

const (
	keyActive  keyState = 1 // the one that seals; exactly one of each purpose
	keyRetired keyState = 2 // opens what it sealed
)

type keyEntry struct {
	Purpose string   `cbor:"1,keyasint"`
	ID      []byte   `cbor:"2,keyasint"`
	Version uint32   `cbor:"3,keyasint"`
	Created int64    `cbor:"4,keyasint"` // seconds since the Unix epoch
	State   keyState `cbor:"5,keyasint"`
	Sealed  []byte   `cbor:"6,keyasint"`
}

// keyring is the opened keyring.
type keyring struct {
	storage *envelope.Keyring

	// change is held by whoever changes the keyring in etcd, or the KEK. It is taken
	// before space.gate and mu.
	change sync.Mutex

	// rev is the revision of the keyring that the active keys come from. It is raised
	// after they are in place: who reads it first and seals then, seals under that
	// keyring or a newer one.
	rev atomic.Int64
	// doubt says why the keyring in etcd cannot be followed; nil if it is. Nothing is
	// committed meanwhile.
	doubt atomic.Pointer[doubt]
	kick  chan struct{} // somebody doubts

	// unsettled is what a change of the keyring was made from whose outcome is unknown;
	// guarded by change.
	unsettled *keyringAt

	mu        sync.RWMutex
	kek       *envelope.Key                // guarded by mu
	next      *envelope.Key                // guarded by mu; a KEK that is being written, or nil
	byPurpose map[string]*envelope.Keyring // guarded by mu
	entries   []keyEntry                   // guarded by mu; the keyring of rev
	gone      []goneKey                    // guarded by mu; no longer in it, but still in memory
}

func newKeyring() *keyring {
	return &keyring{kick: make(chan struct{}, 1), byPurpose: make(map[string]*envelope.Keyring)}
}

// key is the KEK in use. It is wiped some time after it was replaced.
func (r *keyring) key() *envelope.Key {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.kek
}

func (r *keyring) of(purpose string) (*envelope.Keyring, error) {
	if r == nil {
		return nil, ErrClosed
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	k, ok := r.byPurpose[purpose]
	if !ok || purpose == purposeStorage || purpose == purposeIndex {
		return nil, fmt.Errorf("no key for the purpose %q", purpose)
	}
	return k, nil
}

func (r *keyring) wipe() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range r.byPurpose {
		k.Wipe()
	}
	keks := []*envelope.Key{r.kek, r.next}
	for _, g := range r.gone {
		keks = append(keks, g.kek)
	}
	for _, k := range keks {
		if k != nil {
			k.Wipe()
		}
	}
}

func kekAD(deployment []byte) []byte {
	return envelope.Context(map[string]string{"use": "kek", "deployment": string(deployment)})
}

func (e *keyEntry) ad(deployment []byte) []byte {
	return envelope.Context(map[string]string{
		"use":        "keyring",
		"deployment": string(deployment),
		"purpose":    e.Purpose,
		"id":         string(e.ID),
		"version":    fmt.Sprint(e.Version),
		"created":    fmt.Sprint(e.Created),
		"state":      fmt.Sprint(e.State),
	})
}

// newKeyEntry makes the first key of a purpose. The caller wipes the key.
func newKeyEntry(kek *envelope.Key, deployment []byte, purpose string, now time.Time) (keyEntry, *envelope.Key, error) {
	k := envelope.GenerateKey(envelope.NewKeyID(), 1)
	id := k.ID()
	e := keyEntry{Purpose: purpose, ID: id[:], Version: k.Version(), Created: now.Unix(), State: keyActive}
	var err error
	if e.Sealed, err = kek.SealKey(k, e.ad(deployment)); err != nil {
		k.Wipe()
		return e, nil, fmt.Errorf("seal %s key: %w", purpose, err)
	}
	return e, k, nil
}

// openKeyring brings the keyring from etcd to memory, creating it in an empty store
// and completing one of an older binary.
func (s *Store) openKeyring(ctx context.Context) error {
	if err := s.refuseForeign(ctx); err != nil {
		return err
	}
	got, err := s.client.Get(ctx, rootKeyKey)
	if err != nil {
		return fmt.Errorf("%w: read keyring: %w", ErrUnavailable, err)
	}
	if len(got.Kvs) == 0 {
		if err := s.createKeyring(ctx); err != nil {
			return err
		}
		if got, err = s.client.Get(ctx, rootKeyKey); err != nil {
			return fmt.Errorf("%w: read keyring: %w", ErrUnavailable, err)
		}
		if len(got.Kvs) == 0 {
			return errors.New("the root record of the store was deleted while it was opened")
		}
	}
	if s.ring == nil {
		s.ring = newKeyring()
	}
	if err := s.learnKeyring(ctx); err != nil {
		return err
	}
	for {
		done, err := s.completeKeyring(ctx)
		if err != nil {
			return err
		}
		if done {
			return s.openFloor(ctx)
		}
		if err := s.learnKeyring(ctx); err != nil {
			return err
		}
	}
}

// refuseForeign makes sure that nothing but this version of Arca lives in etcd. A
// foreign key would be evidence of a cluster that others use too, where their writes
// could slow, fill or delete what is ours.
func (s *Store) refuseForeign(ctx context.Context) error {
	look := []struct {
		from, to string
		newer    bool
	}{
		{"\x00", arcaPrefix, false},
		{nextPrefix(arcaPrefix), "\x00", false}, // "\x00" as end means no end
		{arcaPrefix, root, true},
		{nextPrefix(root), nextPrefix(arcaPrefix), true},
	}
	for _, l := range look {
		got, err := s.client.Get(ctx, l.from, clientv3.WithRange(l.to), clientv3.WithLimit(1), clientv3.WithKeysOnly())
		if err != nil {
			return fmt.Errorf("%w: look for foreign keys: %w", ErrUnavailable, err)
		}
		if len(got.Kvs) == 0 {
			continue
		}
		if l.newer {
			return fmt.Errorf("etcd holds the key %q: this data was written by a newer arca, whose layout this version does not know", got.Kvs[0].Key)
		}
		return fmt.Errorf("etcd holds the key %q, which is not ours: arca needs an etcd cluster that nothing else uses", got.Kvs[0].Key)
	}
	return nil
}

// createKeyring makes all keys of an empty store in one transaction. A crash before
// it leaves an empty store and at worst a root key that has sealed nothing; losing
// the race against another node is no error, its keys are then the ones.
func (s *Store) createKeyring(ctx context.Context) error {
	got, err := s.client.Get(ctx, root, clientv3.WithPrefix(), clientv3.WithLimit(1), clientv3.WithKeysOnly())
	if err != nil {
		return fmt.Errorf("%w: look for records: %w", ErrUnavailable, err)
	}
	if len(got.Kvs) > 0 {
		if unfinished, err := s.unfinishedImport(ctx); err != nil || unfinished {
			return errors.Join(err, ErrUnfinishedImport)
		}
		return errors.New("etcd holds records of arca but not their root record; nothing can be read without it: restore a backup")
	}
	rootKey, params, err := s.cfg.RootKey.Create(ctx)
	if err != nil {
		return fmt.Errorf("create root key: %w", err)
	}
	defer rootKey.Wipe()

	deployment := make([]byte, 16)
	rand.Read(deployment)
	kek := envelope.GenerateKey(envelope.NewKeyID(), kekVersion)
	defer kek.Wipe()
	rec := rootRecord{Format: rootFormat, Deployment: deployment, RootKind: s.cfg.RootKey.Kind(), RootParams: params}
	if rec.KEK, err = rootKey.SealKey(kek, kekAD(deployment)); err != nil {
		return fmt.Errorf("seal keyring: %w", err)
	}
	ring := keyringRecord{Format: keyringFormat}
	var floorValue []byte
	for _, p := range purposes() {
		e, k, err := newKeyEntry(kek, deployment, p, s.cfg.Now())
		if err != nil {
			return err
		}
		defer k.Wipe()
		ring.Keys = append(ring.Keys, e)
		if p == purposeStorage {
			plain, err := s.codec.encode(floorFormat, floorRecord{})
			if err != nil {
				return fmt.Errorf("encode floor record: %w", err)
			}
			if floorValue, err = sealValue(k, deployment, floorKey, 1, plain); err != nil {
				return err
			}
		}
	}
	rootValue, err := s.codec.enc.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encode root record: %w", err)
	}
	ringValue, err := s.codec.enc.Marshal(ring)
	if err != nil {
		return fmt.Errorf("encode keyring: %w", err)
	}
	if _, err := s.client.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(rootKeyKey), "=", 0),
			clientv3.Compare(clientv3.CreateRevision(keyringKey), "=", 0)).
		Then(clientv3.OpPut(rootKeyKey, string(rootValue)),
			clientv3.OpPut(keyringKey, string(ringValue)),
			clientv3.OpPut(floorKey, string(floorValue))).
		Commit(); err != nil {
		return fmt.Errorf("%w: write keyring: %w", ErrUnavailable, err)
	}
	return nil
}

// setIndexKey keeps the secret for as long as the store is there: every lookup needs
// it.
func (s *Store) setIndexKey(secret []byte) {
	s.hashers.New = func() any { return &hasher{mac: hmac.New(sha256.New, secret)} }
}

// completeKeyring adds the purposes that an older keyring lacks. It reports false if
// the keyring changed by that, or by another node, and must be read again.
func (s *Store) completeKeyring(ctx context.Context) (done bool, err error) {
	s.ring.mu.RLock()
	kek := s.ring.kek
	rec := keyringRecord{Format: keyringFormat, Keys: slices.Clone(s.ring.entries)}
	s.ring.mu.RUnlock()
	missing := slices.DeleteFunc(purposes(), func(p string) bool {
		return slices.ContainsFunc(rec.Keys, func(e keyEntry) bool { return e.Purpose == p })
	})
	if len(missing) == 0 {
		return true, nil
	}
	for _, p := range missing {
		e, k, err := newKeyEntry(kek, s.deployment, p, s.cfg.Now())
		if err != nil {
			return false, err
		}
		k.Wipe()
		rec.Keys = append(rec.Keys, e)
	}
	value, err := s.codec.enc.Marshal(rec)
	if err != nil {
		return false, fmt.Errorf("encode keyring: %w", err)
	}
	if _, err := s.client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(keyringKey), "=", s.ring.rev.Load())).
		Then(clientv3.OpPut(keyringKey, string(value))).
		Commit(); err != nil {
		return false, fmt.Errorf("%w: write keyring: %w", ErrUnavailable, err)
	}
	return false, nil
}

// floorRecord is added to etcd's revision in every record sequence. A restore, after
// which etcd counts from a lower revision, raises it.
type floorRecord struct {
	Floor uint64 `cbor:"1,keyasint"`
}

const floorFormat = 1

// openFloor reads the floor. Opening it also proves that the storage key fits.
func (s *Store) openFloor(ctx context.Context) error {
	got, err := s.client.Get(ctx, floorKey)
	if err != nil {
		return fmt.Errorf("%w: read floor: %w", ErrUnavailable, err)
	}
	if len(got.Kvs) == 0 {
		return errors.New("the floor record is missing from etcd: restore a backup")
	}
	if err := s.loadKeyring(ctx, got.Header.Revision); err != nil {
		return fmt.Errorf("%w: read keyring: %w", ErrUnavailable, err)
	}
	_, plain, err := s.openValue(floorKey, got.Kvs[0].Value)
	if err != nil {
		return fmt.Errorf("open floor record: %w", err)
	}
	_, body, err := s.codec.split(plain.Bytes(), floorFormat)
	if err != nil {
		return fmt.Errorf("read floor record: %w", err)
	}
	var rec floorRecord
	if err := s.codec.dec.Unmarshal(body, &rec); err != nil {
		return fmt.Errorf("read floor record: %w", err)
	}
	s.floor = rec.Floor
	return nil
}
