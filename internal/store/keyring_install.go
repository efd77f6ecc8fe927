package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"arca/internal/envelope"
)

var (
	errOtherKEK   = errors.New("the keyring is sealed under another root key, which this node has not opened yet")
	errOldKeyring = errors.New("an older keyring was put back")
	errOldRoot    = errors.New("a former root record was put back")
	errNoKeyring  = errors.New("the keyring is missing from etcd; nothing can be read without it: restore a backup")
	errUnsettled  = errors.New("a change of the keyring was lost on the way and may still happen")
)

// keyLinger is how long a key stays in memory after it left the keyring: for snapshots
// that began before.
const keyLinger = time.Minute

// goneKey is a key that left the keyring. It is a KEK if kek is set.
type goneKey struct {
	entry keyEntry
	kek   *envelope.Key
	since time.Time
}

// installKeyring takes a keyring over, unless it is no newer than the one in use. Keys
// are only ever added: one that is gone from the record may still be needed by a record
// on its way, and is forgotten later. An error leaves the keyring in doubt.
func (s *Store) installKeyring(value []byte, rev int64) error {
	r := s.ring
	r.mu.Lock()
	defer r.mu.Unlock()
	if rev <= r.rev.Load() {
		return nil
	}
	if err := s.installLocked(value, rev); err != nil {
		r.suspect(err)
		return err
	}
	return nil
}

func (s *Store) installLocked(value []byte, rev int64) error {
	r := s.ring
	if value == nil {
		return errNoKeyring
	}
	rec, err := s.decodeKeyring(value)
	if err != nil {
		return err
	}
	kek := r.kekOfLocked(rec)
	if kek == nil {
		return errOtherKEK
	}
	keys, err := s.openEntries(kek, rec)
	if err == nil {
		err = r.checkLocked(rec)
	}
	if err != nil {
		for _, k := range keys {
			k.Wipe()
		}
		return err
	}
	for i := range rec.Keys {
		if err := s.addKeyLocked(&rec.Keys[i], keys[i]); err != nil {
			return err
		}
	}
	now := time.Now()
	for _, e := range r.entries {
		if !slices.ContainsFunc(rec.Keys, e.same) {
			r.gone = append(r.gone, goneKey{entry: e, since: now})
		}
	}
	r.gone = slices.DeleteFunc(r.gone, func(g goneKey) bool { return g.kek == nil && slices.ContainsFunc(rec.Keys, g.entry.same) })
	if kek == r.next {
		if r.kek != nil {
			r.gone = append(r.gone, goneKey{kek: r.kek, since: now})
		}
		r.kek, r.next = r.next, nil
	}
	r.entries = rec.Keys
	// Only now: see keyring.rev.
	r.rev.Store(rev)
	r.doubt.Store(nil)
	return nil
}

// same reports whether both are the same key, in whatever state.
func (e keyEntry) same(o keyEntry) bool {
	return e.Purpose == o.Purpose && e.Version == o.Version && bytes.Equal(e.ID, o.ID)
}

// kekOfLocked is the KEK that the keys of the record name, nil if it is not here.
func (r *keyring) kekOfLocked(rec keyringRecord) *envelope.Key {
	if len(rec.Keys) == 0 {
		return r.kek
	}
	id, version, err := envelope.Header(rec.Keys[0].Sealed)
	for _, k := range []*envelope.Key{r.kek, r.next} {
		if k != nil && (err != nil || (k.ID() == id && k.Version() == version)) {
			return k
		}
	}
	return nil
}

// openEntries opens all keys of a record, in its order. With an error come those that
// were opened.
func (s *Store) openEntries(kek *envelope.Key, rec keyringRecord) (keys []*envelope.Key, err error) {
	for i := range rec.Keys {
		e := &rec.Keys[i]
		k, err := kek.OpenKey(e.Sealed, e.ad(s.deployment))
		if err != nil {
			return keys, fmt.Errorf("open %s key version %d: %w", e.Purpose, e.Version, err)
		}
		keys = append(keys, k)
		if id := k.ID(); string(id[:]) != string(e.ID) || k.Version() != e.Version {
			return keys, fmt.Errorf("open %s key version %d: %w", e.Purpose, e.Version, envelope.ErrDecrypt)
		}
	}
	return keys, nil
}

// checkLocked refuses a keyring that cannot be used, or is not a successor of the one
// in use: who put back an older one would have records sealed under a key that was
// retired for a reason.
func (r *keyring) checkLocked(rec keyringRecord) error {
	active, highest := make(map[string]uint32), make(map[string]uint32)
	for _, e := range rec.Keys {
		highest[e.Purpose] = max(highest[e.Purpose], e.Version)
		if e.State != keyActive {
			continue
		}
		if _, ok := active[e.Purpose]; ok {
			return fmt.Errorf("keyring has two active %s keys", e.Purpose)
		}
		active[e.Purpose] = e.Version
	}
	// Entries are authentic one by one. Those of several keyrings of the past could be
	// put together so that an old key seals again and the newer ones still open.
	for p, v := range active {
		if v < highest[p] {
			return errOldKeyring
		}
	}
	for _, p := range []string{purposeStorage, purposeIndex} {
		if _, ok := active[p]; !ok {
			return fmt.Errorf("keyring has no active %s key: restore a backup", p)
		}
	}
	for _, e := range r.entries {
		if v, ok := active[e.Purpose]; e.State == keyActive && (!ok || v < e.Version) {
			return errOldKeyring
		}
	}
	return nil
}

// keysInUse names the KEK and the storage key that seals.
func (s *Store) keysInUse() nodeKeys {
	kek := s.ring.key()
	return nodeKeys{KEK: kek.ID().String(), KEKVersion: kek.Version(), StorageVersion: s.activeVersion()}
}

func (s *Store) addKeyLocked(e *keyEntry, k *envelope.Key) error {
	ring, ok := s.ring.byPurpose[e.Purpose]
	if !ok {
		ring = envelope.NewKeyring(k)
		s.ring.byPurpose[e.Purpose] = ring
		switch e.Purpose {
		case purposeStorage:
			s.ring.storage = ring
		case purposeIndex:
			secret := k.Secret()
			s.setIndexKey(secret.Bytes())
		}
	}
	if ok && e.Purpose == purposeIndex {
		if id, _ := ring.Primary(); id != k.ID() {
			return errors.New("keyring has another index key than before")
		}
	}
	if e.State == keyActive {
		return ring.AddPrimary(k)
	}
	return ring.Add(k)
}

// forgetKeys wipes keys that left the keyring some time ago. While an export holds old
// versions, their keys stay, too, within reason.
func (s *Store) forgetKeys(ctx context.Context, now time.Time) error {
	r := s.ring
	r.mu.RLock()
	due := slices.ContainsFunc(r.gone, func(g goneKey) bool { return now.Sub(g.since) > keyLinger })
	r.mu.RUnlock()
	if !due {
		return nil
	}
	held, err := s.client.Get(ctx, holdPrefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return fmt.Errorf("%w: look for holds: %w", ErrUnavailable, err)
	}
	linger := keyLinger
	if held.Count > 0 {
		linger = time.Hour
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone = slices.DeleteFunc(r.gone, func(g goneKey) bool {
		if now.Sub(g.since) <= linger {
			return false
		}
		if g.kek != nil {
			g.kek.Wipe()
		} else if ring := r.byPurpose[g.entry.Purpose]; ring != nil {
			if err := ring.Remove(envelope.KeyID(g.entry.ID), g.entry.Version); err != nil {
				s.log.Error("key not forgotten", "purpose", g.entry.Purpose, "version", g.entry.Version, "error", err.Error())
			}
		}
		return true
	})
	return nil
}
