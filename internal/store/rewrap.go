package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"arca/internal/envelope"
)

// A change of the root key makes a new KEK, too, and wraps every key of the keyring
// under it anew, in one transaction of root record and keyring. Wrapping the same KEK
// under another root key would not do: the old root key and an old copy of the root
// record would open every later keyring.
//
// What a crash leaves: before the transaction, an unused root key beside the one in
// use, which the next Renew replaces; after it, a new root key that is not in its usual
// place yet, where Open finds it all the same and adopts it.

// maxFormerRoots bounds the root record.
const maxFormerRoots = 64

// rootHistory is what the root record tells of the root keys to those who have the
// current one. It is sealed because what is destroyed is chosen by it.
type rootHistory struct {
	Since  int64        `cbor:"1,keyasint"` // when the root key in use became that, seconds since the Unix epoch
	Former []formerRoot `cbor:"2,keyasint,omitempty"`
}

type formerRoot struct {
	Kind      string `cbor:"1,keyasint"`
	Params    []byte `cbor:"2,keyasint"`
	ID        []byte `cbor:"3,keyasint"`
	SetAside  int64  `cbor:"4,keyasint"` // seconds since the Unix epoch
	Elsewhere bool   `cbor:"5,keyasint,omitempty"`
}

const historyLabel = "root history"

func historyAD(deployment []byte) []byte {
	return envelope.Context(map[string]string{"use": "root history", "deployment": string(deployment)})
}

// openHistory opens the history of a root record. The first KEK has none; a later one
// without it shows that somebody took it away.
func (s *Store) openHistory(kek *envelope.Key, rec rootRecord) (h rootHistory, err error) {
	if kek.Version() == kekVersion && len(rec.History) == 0 {
		return h, nil
	}
	plain, err := kek.Open(historyLabel, rec.History, historyAD(rec.Deployment))
	if err != nil {
		return h, fmt.Errorf("open the history in the root record: %w", err)
	}
	if err := s.codec.dec.Unmarshal(plain.Bytes(), &h); err != nil {
		return h, fmt.Errorf("read the history in the root record: %w", err)
	}
	return h, nil
}

func (s *Store) sealHistory(kek *envelope.Key, deployment []byte, h rootHistory) ([]byte, error) {
	plain, err := s.codec.enc.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode root history: %w", err)
	}
	sealed, err := kek.Seal(historyLabel, plain, historyAD(deployment))
	if err != nil {
		return nil, fmt.Errorf("seal root history: %w", err)
	}
	return sealed, nil
}

// adopt tells the provider which root key is in use, which it may not know if the
// process died after the keyring was written.
func (s *Store) adopt(ctx context.Context, rec rootRecord) {
	h, err := s.openHistory(s.ring.key(), rec)
	if err != nil || h.Since == 0 {
		return
	}
	if err := s.adoptRoot(ctx, rec, h); err != nil {
		s.log.Warn("root key is in use but not in its usual place yet", "kind", rec.RootKind, "error", err.Error())
	}
}

func (s *Store) adoptRoot(ctx context.Context, rec rootRecord, h rootHistory) error {
	var former []byte
	if n := len(h.Former); n > 0 && !h.Former[n-1].Elsewhere && h.Former[n-1].Kind == rec.RootKind {
		former = h.Former[n-1].Params
	}
	return s.cfg.RootKey.Adopt(ctx, rec.RootParams, former)
}

// RootKeyState tells which root key is in use and which were before.
func (s *Store) RootKeyState(ctx context.Context) (RootKeyState, error) {
	if s.mirror == nil || s.life.Err() != nil {
		return RootKeyState{}, ErrClosed
	}
	s.ring.change.Lock()
	defer s.ring.change.Unlock()
	at, err := s.currentKeyring(ctx)
	if err != nil {
		return RootKeyState{}, err
	}
	h, err := s.openHistory(s.ring.key(), at.root)
	if err != nil {
		return RootKeyState{}, err
	}
	return s.rootKeyState(at.root, at.ring, h), nil
}

func (s *Store) rootKeyState(rec rootRecord, ring keyringRecord, h rootHistory) RootKeyState {
	kek := s.ring.key()
	out := RootKeyState{Kind: rec.RootKind, KEK: kek.ID(), KEKVersion: kek.Version(), Created: time.Unix(h.Since, 0).UTC()}
	// The root key's own id stands in what it sealed.
	out.ID, _, _ = envelope.Header(rec.KEK)
	if h.Since == 0 {
		// It never changed: it is as old as the index key, which never does.
		for _, e := range ring.Keys {
			if e.Purpose == purposeIndex {
				out.Created = time.Unix(e.Created, 0).UTC()
			}
		}
	}
	for _, f := range h.Former {
		out.Former = append(out.Former, FormerRootKey{
			Kind: f.Kind, ID: envelope.KeyID(f.ID), SetAside: time.Unix(f.SetAside, 0).UTC(), Elsewhere: f.Elsewhere,
		})
	}
	return out
}

// RotateRootKey replaces the root key by a new one of the same provider. All goes on
// meanwhile. A nil error means that the new one is in use and the former one set aside;
// what was copied or backed up before still needs that. Every call makes another one.
//
// An error that wraps ErrUnknown means that the store may or may not be sealed under
// the new root key; RootKeyState tells once etcd answers, and either opens.
func (s *Store) RotateRootKey(ctx context.Context) (RootKeyState, error) {
	if s.mirror == nil || s.life.Err() != nil {
		return RootKeyState{}, ErrClosed
	}
	s.ring.change.Lock()
	defer s.ring.change.Unlock()
	return s.rewrap(ctx, s.cfg.RootKey, false)
}

// MigrateRootKey replaces the root key by a new one of another provider, which this
// store then uses, as it has to be configured for the next start. The former one stays
// where it is.
func (s *Store) MigrateRootKey(ctx context.Context, next RootKey) error {
	if s.mirror == nil || s.life.Err() != nil {
		return ErrClosed
	}
	s.ring.change.Lock()
	defer s.ring.change.Unlock()
	_, err := s.rewrap(ctx, next, true)
	return err
}

func (s *Store) rewrap(ctx context.Context, provider RootKey, migrate bool) (RootKeyState, error) {
	was, err := s.currentKeyring(ctx)
	if err != nil {
		return RootKeyState{}, err
	}
	old := s.ring.key()
	h, err := s.openHistory(old, was.root)
	if err != nil {
		return RootKeyState{}, err
	}
	if len(h.Former) >= maxFormerRoots {
		return RootKeyState{}, fmt.Errorf("%d former root keys are kept, which is as many as can be: destroy them, or have them forgotten", len(h.Former))
	}
	formerID, _, err := envelope.Header(was.root.KEK)
	if err != nil {
		return RootKeyState{}, fmt.Errorf("read root record: %w", err)
	}
	rootKey, params, err := renew(ctx, provider, formerID)
	if err != nil {
		return RootKeyState{}, err
	}
	defer rootKey.Wipe()

	now := s.cfg.Now().Unix()
	h.Since = now
	// Migrating back to where a root key was left uses that again: it is no former one
	// any more, and nobody must be told to destroy it.
	again := rootKey.ID()
	h.Former = slices.DeleteFunc(h.Former, func(f formerRoot) bool { return bytes.Equal(f.ID, again[:]) })
	h.Former = append(h.Former, formerRoot{Kind: was.root.RootKind, Params: was.root.RootParams, ID: formerID[:], SetAside: now})
	if migrate {
		for i := range h.Former {
			h.Former[i].Elsewhere = true
		}
	}
	kek := envelope.GenerateKey(old.ID(), old.Version()+1)
	root := rootRecord{Format: rootFormat, Deployment: was.root.Deployment, RootKind: provider.Kind(), RootParams: params}
	rootValue, ringValue, err := s.wrapAll(rootKey, old, kek, root, was.ring, h)
	if err != nil {
		kek.Wipe()
		return RootKeyState{}, err
	}
	// From here on the watch may bring the new keyring at any moment.
	s.ring.propose(kek)
	rev, err := s.commitKeyring(was, rootValue, ringValue)
	if err != nil {
		if !errors.Is(err, ErrUnknown) {
			s.ring.propose(nil)
		}
		return RootKeyState{}, fmt.Errorf("change root key: %w", err)
	}
	// Durable: from here on the new root key opens the store, and the old one does not.
	if migrate {
		s.cfg.RootKey = provider
	}
	if err := s.installKeyring(ringValue, rev); err != nil {
		return RootKeyState{}, err
	}
	s.mirror.offer(batch{rev: rev})
	if root, err = s.decodeRoot(rootValue); err != nil {
		return RootKeyState{}, err
	}
	if err := s.adoptRoot(ctx, root, h); err != nil {
		return RootKeyState{}, fmt.Errorf("the root key has changed, but the new one is not in its usual place yet; the next start tries again: %w", err)
	}
	return s.rootKeyState(root, was.ring, h), nil
}

// renew makes a root key and makes sure that it can be opened again.
func renew(ctx context.Context, provider RootKey, former envelope.KeyID) (*envelope.Key, []byte, error) {
	key, params, err := provider.Renew(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("make root key: %w", err)
	}
	again, err := provider.Open(ctx, params)
	if err != nil {
		key.Wipe()
		return nil, nil, fmt.Errorf("open the root key that was just made: %w", err)
	}
	defer again.Wipe()
	a, b := key.Secret(), again.Secret()
	defer a.Wipe()
	defer b.Wipe()
	switch {
	case key.ID() == former:
		err = fmt.Errorf("the new root key is the one in use, %s: it must be another", former)
	case again.ID() != key.ID() || !a.Equal(b):
		err = errors.New("the root key that was just made opens as another one")
	}
	if err != nil {
		key.Wipe()
		return nil, nil, err
	}
	return key, params, nil
}

// wrapAll encodes root record and keyring under a new root key and a new KEK.
func (s *Store) wrapAll(rootKey, old, kek *envelope.Key, root rootRecord, was keyringRecord, h rootHistory) (rootValue, ringValue []byte, err error) {
	ring := keyringRecord{Format: keyringFormat}
	keys, err := s.openEntries(old, was)
	defer func() {
		for _, k := range keys {
			k.Wipe()
		}
	}()
	if err != nil {
		return nil, nil, err
	}
	for i, e := range was.Keys {
		if e.Sealed, err = kek.SealKey(keys[i], e.ad(s.deployment)); err != nil {
			return nil, nil, fmt.Errorf("seal %s key: %w", e.Purpose, err)
		}
		ring.Keys = append(ring.Keys, e)
	}
	if root.KEK, err = rootKey.SealKey(kek, kekAD(root.Deployment)); err != nil {
		return nil, nil, fmt.Errorf("seal keyring: %w", err)
	}
	if root.History, err = s.sealHistory(kek, root.Deployment, h); err != nil {
		return nil, nil, err
	}
	if rootValue, err = s.codec.enc.Marshal(root); err != nil {
		return nil, nil, fmt.Errorf("encode root record: %w", err)
	}
	if ringValue, err = s.codec.enc.Marshal(ring); err != nil {
		return nil, nil, fmt.Errorf("encode keyring: %w", err)
	}
	return rootValue, ringValue, nil
}

// DestroyFormerRootKeys makes the root keys that were set aside unrecoverable, and with
// them what was copied or backed up under them and not sealed otherwise. Those that it
// cannot destroy stay on the list, and the error says for each what to do. It is
// idempotent: a crash leaves keys that are destroyed and still listed.
func (s *Store) DestroyFormerRootKeys(ctx context.Context) error {
	return s.clearHistory(ctx, func(f formerRoot) error {
		switch {
		case f.Elsewhere:
			return fmt.Errorf("the former root key %s, of kind %q, stayed where it was when the root key was migrated: destroy it there, then have it forgotten", envelope.KeyID(f.ID), f.Kind)
		case f.Kind != s.cfg.RootKey.Kind():
			return fmt.Errorf("the former root key %s is of kind %q, but one of kind %q is configured", envelope.KeyID(f.ID), f.Kind, s.cfg.RootKey.Kind())
		}
		if err := s.cfg.RootKey.Destroy(ctx, f.Params); err != nil {
			return fmt.Errorf("destroy the former root key %s: %w", envelope.KeyID(f.ID), err)
		}
		return nil
	})
}

// ForgetFormerRootKeys takes the root keys that were set aside off the list without
// touching them, because the operator has dealt with them.
func (s *Store) ForgetFormerRootKeys(ctx context.Context) error {
	return s.clearHistory(ctx, func(formerRoot) error { return nil })
}

// clearHistory takes off the list those for which drop returns nil.
func (s *Store) clearHistory(ctx context.Context, drop func(f formerRoot) error) error {
	if s.mirror == nil || s.life.Err() != nil {
		return ErrClosed
	}
	s.ring.change.Lock()
	defer s.ring.change.Unlock()
	was, err := s.currentKeyring(ctx)
	if err != nil {
		return err
	}
	kek := s.ring.key()
	h, err := s.openHistory(kek, was.root)
	if err != nil {
		return err
	}
	inUse, _, err := envelope.Header(was.root.KEK)
	if err != nil {
		return fmt.Errorf("read root record: %w", err)
	}
	var stay []formerRoot
	var errs []error
	for _, f := range h.Former {
		if err = ctx.Err(); err == nil && envelope.KeyID(f.ID) == inUse {
			err = fmt.Errorf("root key %s is listed as a former one but is in use", inUse)
		}
		if err == nil {
			err = drop(f)
		}
		if err != nil {
			stay = append(stay, f)
			errs = append(errs, err)
		}
	}
	if len(stay) == len(h.Former) {
		return errors.Join(errs...)
	}
	h.Former = stay
	root := was.root
	if root.History, err = s.sealHistory(kek, root.Deployment, h); err != nil {
		return errors.Join(append(errs, err)...)
	}
	value, err := s.codec.enc.Marshal(root)
	if err != nil {
		return errors.Join(append(errs, fmt.Errorf("encode root record: %w", err))...)
	}
	rev, err := s.commitKeyring(was, value, nil)
	if err != nil {
		return errors.Join(append(errs, fmt.Errorf("note which root keys are gone: %w", err))...)
	}
	s.mirror.offer(batch{rev: rev})
	return errors.Join(errs...)
}

// TryRootKey opens the root key as a start would, and forgets it at once. Nothing needs
// the root key while the store is open; who finds out now that it is gone can still take a
// backup or migrate to another.
func (s *Store) TryRootKey(ctx context.Context) error {
	if s.mirror == nil || s.life.Err() != nil {
		return ErrClosed
	}
	at, err := s.readKeyring(ctx)
	if err != nil {
		return err
	}
	key, err := s.cfg.RootKey.Open(ctx, at.root.RootParams)
	if err != nil {
		return fmt.Errorf("open root key: %w", err)
	}
	key.Wipe()
	return nil
}
