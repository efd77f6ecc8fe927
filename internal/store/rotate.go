package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"arca/internal/envelope"
)

const (
	purposeSession = "session-token"

	// maxRetiredKeys of a purpose may wait for what they sealed to go.
	maxRetiredKeys = 16
	maxRotateRuns  = 5
	// sessionKeyLife is how long a retired session token key opens: the longest life of
	// a token, 36 hours, and some for clocks that differ.
	sessionKeyLife = 48 * time.Hour
)

// RotateStorageKey makes a new storage key, which seals everything from now on. What
// the former one sealed is sealed anew by Reseal. The error wraps ErrConflict if another
// node changed the keyring at the same time, and ErrUnknown if nobody could be asked
// what became of it.
func (s *Store) RotateStorageKey(ctx context.Context) (KeyState, error) {
	return s.rotateKey(ctx, purposeStorage)
}

// RotateKey makes a new key of a purpose. Besides the storage key that is
// "session-token"; the former one is dropped when the last token sealed under it has
// expired. The other purposes do not rotate: what their keys sealed has no end known to
// the store (docs/design/storage.md).
func (s *Store) RotateKey(ctx context.Context, purpose string) (KeyState, error) {
	if purpose != purposeStorage && purpose != purposeSession {
		return KeyState{}, fmt.Errorf("the %s key does not rotate", purpose)
	}
	return s.rotateKey(ctx, purpose)
}

func (s *Store) rotateKey(ctx context.Context, purpose string) (KeyState, error) {
	if s.mirror == nil || s.life.Err() != nil {
		return KeyState{}, ErrClosed
	}
	s.ring.change.Lock()
	defer s.ring.change.Unlock()
	for run := 1; ; run++ {
		k, err := s.rotateOnce(ctx, purpose)
		// Another node was faster, and nothing was changed here.
		if !errors.Is(err, ErrConflict) || run == maxRotateRuns {
			return k, err
		}
	}
}

func (s *Store) rotateOnce(ctx context.Context, purpose string) (KeyState, error) {
	was, err := s.currentKeyring(ctx)
	if err != nil {
		return KeyState{}, err
	}
	ring, fresh, err := s.withFreshKey(was.ring, purpose)
	if err != nil {
		return KeyState{}, err
	}
	if purpose == purposeStorage {
		// No commit may span the change: see prepared.ring. Those whose outcome is not
		// known are decided first.
		s.space.gate.Lock()
		defer s.space.gate.Unlock()
		if err := s.ruleOut(ctx); err != nil {
			return KeyState{}, err
		}
	}
	if err := s.replaceKeyring(was, ring); err != nil {
		return KeyState{}, fmt.Errorf("rotate %s key: %w", purpose, err)
	}
	return fresh.keyState(), nil
}

// replaceKeyring writes a keyring whose keys are sealed, and takes it over. The caller
// holds ring.change.
func (s *Store) replaceKeyring(was keyringAt, ring keyringRecord) error {
	value, err := s.codec.enc.Marshal(ring)
	if err != nil {
		return fmt.Errorf("encode keyring: %w", err)
	}
	rev, err := s.commitKeyring(was, nil, value)
	if err != nil {
		return err
	}
	// Durable. A crash from here on changes nothing: every start reads the keyring.
	if err := s.installKeyring(value, rev); err != nil {
		return err
	}
	s.mirror.offer(batch{rev: rev})
	return nil
}

// withFreshKey returns the keyring with a new active key of a purpose, the former one
// being retired.
func (s *Store) withFreshKey(was keyringRecord, purpose string) (ring keyringRecord, fresh keyEntry, err error) {
	kek := s.ring.key()
	ring = keyringRecord{Format: keyringFormat, Keys: slices.Clone(was.Keys)}
	var former *keyEntry
	var highest uint32
	retired := 0
	for i := range ring.Keys {
		e := &ring.Keys[i]
		if e.Purpose != purpose {
			continue
		}
		highest = max(highest, e.Version)
		if e.State == keyActive {
			former = e
		} else {
			retired++
		}
	}
	switch {
	case former == nil:
		return ring, fresh, fmt.Errorf("keyring has no active %s key", purpose)
	case retired >= maxRetiredKeys:
		return ring, fresh, fmt.Errorf("%d former %s keys are still needed, which is as many as can be: wait until they are not", retired, purpose)
	}
	k, err := kek.OpenKey(former.Sealed, former.ad(s.deployment))
	if err != nil {
		return ring, fresh, fmt.Errorf("open %s key version %d: %w", purpose, former.Version, err)
	}
	defer k.Wipe()
	former.State = keyRetired
	if former.Sealed, err = kek.SealKey(k, former.ad(s.deployment)); err != nil {
		return ring, fresh, fmt.Errorf("seal %s key: %w", purpose, err)
	}
	next := envelope.GenerateKey(k.ID(), highest+1)
	defer next.Wipe()
	fresh = keyEntry{Purpose: purpose, ID: former.ID, Version: next.Version(), Created: s.cfg.Now().Unix(), State: keyActive}
	if fresh.Sealed, err = kek.SealKey(next, fresh.ad(s.deployment)); err != nil {
		return ring, fresh, fmt.Errorf("seal %s key: %w", purpose, err)
	}
	ring.Keys = append(ring.Keys, fresh)
	return ring, fresh, nil
}

// dropKeys takes keys out of the keyring that nothing needs any more.
func (s *Store) dropKeys(ctx context.Context, ringRev int64, drop func(e keyEntry) bool) (dropped int, err error) {
	s.ring.change.Lock()
	defer s.ring.change.Unlock()
	was, err := s.currentKeyring(ctx)
	if err != nil {
		return 0, err
	}
	if was.ringRev != ringRev {
		return 0, fmt.Errorf("drop keys: %w: the keyring has changed", ErrConflict)
	}
	ring := keyringRecord{Format: keyringFormat}
	for _, e := range was.ring.Keys {
		if e.State == keyActive || !drop(e) {
			ring.Keys = append(ring.Keys, e)
		}
	}
	dropped = len(was.ring.Keys) - len(ring.Keys)
	if dropped == 0 {
		return 0, nil
	}
	if err := s.replaceKeyring(was, ring); err != nil {
		return 0, fmt.Errorf("drop keys: %w", err)
	}
	return dropped, nil
}

// Keyring lists the keys, by purpose and version.
func (s *Store) Keyring(ctx context.Context) ([]KeyState, error) {
	// A snapshot first, so that what other nodes changed before is known here.
	if _, err := s.snapshot(ctx); err != nil {
		return nil, err
	}
	s.ring.mu.RLock()
	entries := slices.Clone(s.ring.entries)
	s.ring.mu.RUnlock()
	records := s.mirror.sealedBy()
	var out []KeyState
	for _, p := range purposes() {
		from := len(out)
		for _, e := range entries {
			if e.Purpose != p {
				continue
			}
			k := e.keyState()
			if p == purposeStorage {
				n := records[e.Version]
				k.Records = &n
			}
			out = append(out, k)
		}
		slices.SortFunc(out[from:], func(a, b KeyState) int { return int(a.Version) - int(b.Version) })
	}
	return out, nil
}

func (e keyEntry) keyState() KeyState {
	return KeyState{
		Purpose: e.Purpose, ID: envelope.KeyID(e.ID), Version: e.Version,
		Created: time.Unix(e.Created, 0).UTC(), Active: e.State == keyActive,
	}
}

// retired counts the keys that only open, and the records under such storage keys.
func (s *Store) retired() (keys int, records int64) {
	var active uint32
	s.ring.mu.RLock()
	for _, e := range s.ring.entries {
		switch {
		case e.State != keyActive:
			keys++
		case e.Purpose == purposeStorage:
			active = e.Version
		}
	}
	s.ring.mu.RUnlock()
	if keys > 0 {
		for version, n := range s.mirror.sealedBy() {
			if version != active {
				records += n
			}
		}
	}
	return keys, records
}
