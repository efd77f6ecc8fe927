package kms

import (
	"crypto/rand"
	"fmt"

	"arca/internal/api/kmsapi"
	"arca/internal/call"
	"arca/internal/envelope"
	"arca/internal/store"
)

// dataKeyLabel is the envelope label of data keys that are wrapped for other services.
// Ciphertexts of the API have another one: whoever may call Decrypt cannot use it on
// what belongs to a service.
const dataKeyLabel = "kms-data-key"

// admits reports whether a default key serves the caller.
func (k *Key) admits(c *call.Call) error {
	if k.IsDefault() && c.Caller.Account != k.Account {
		return fmt.Errorf("%w: the key of %s, the caller is of %q", ErrForeign, k.Account, c.Caller.Account)
	}
	return nil
}

// usable returns AWS's error for a key that is not enabled.
func (k *Key) usable() error {
	switch k.State {
	case Enabled:
		return nil
	case Disabled:
		return kmsapi.DisabledException.Errorf("%s is disabled.", k.ARN())
	}
	return k.invalidState()
}

// invalidState returns AWS's error for a key that is about to be deleted.
func (k *Key) invalidState() error {
	return kmsapi.KMSInvalidStateException.Errorf("%s is pending deletion.", k.ARN())
}

// NewDataKey draws a fresh data key and wraps it under a key that Find or DefaultKey has
// given. The error wraps ErrForeign when it is the default key of another account than
// the caller's; a key that is not enabled is refused with KMS's error. The encryption
// context is bound into the wrapped key and must be given again to Decrypt. The plain key
// is the caller's to wipe.
//
// It does not decide: see Use.
func (s *Service) NewDataKey(c *call.Call, key *Key, encCtx map[string]string) (plain *envelope.Key, wrapped []byte, err error) {
	if err := key.admits(c); err != nil {
		return nil, nil, err
	}
	if err := key.usable(); err != nil {
		return nil, nil, err
	}
	var secret [keyBytes]byte
	_, _ = rand.Read(secret[:]) // never fails: crypto/rand ends the program instead
	defer clear(secret[:])
	if wrapped, err = s.wrap(key, secret[:], encCtx); err != nil {
		return nil, nil, err
	}
	plain, err = envelope.NewKey(key.ID, key.current().Version, secret[:])
	if err != nil {
		return nil, nil, fmt.Errorf("make data key: %w", err)
	}
	return plain, wrapped, nil
}

// wrap seals a data key under the current version of key.
func (s *Service) wrap(key *Key, secret []byte, encCtx map[string]string) ([]byte, error) {
	current, err := s.open(key, key.current())
	if err != nil {
		return nil, err
	}
	wrapped, err := current.Seal(dataKeyLabel, secret, envelope.Context(encCtx))
	if err != nil {
		return nil, fmt.Errorf("wrap data key: %w", err)
	}
	return wrapped, nil
}

// Decrypt unwraps a data key. The error wraps ErrKey when its key does not exist, or
// when the context is not the one the data key was wrapped with, and ErrForeign when the
// key does not serve the caller; a key that is not enabled is refused with KMS's error.
// The plain key is the caller's to wipe.
//
// It does not decide: see Use, for the key that KeyOf finds.
func (s *Service) Decrypt(v *store.Snap, c *call.Call, wrapped []byte, encCtx map[string]string) (*envelope.Key, error) {
	key, err := s.KeyOf(v, wrapped)
	if err != nil {
		return nil, err
	}
	return s.Unwrap(c, key, wrapped, envelope.BindContext(encCtx))
}

// Unwrap is Decrypt with the key that KeyOf has found, and the encryption context as
// envelope.BindContext makes it ready.
func (s *Service) Unwrap(c *call.Call, key *Key, wrapped []byte, encCtx envelope.Binding) (*envelope.Key, error) {
	if err := key.admits(c); err != nil {
		return nil, err
	}
	if err := key.usable(); err != nil {
		return nil, err
	}
	id, version, err := envelope.Header(wrapped)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	m := key.version(version)
	if id != key.ID || m == nil {
		return nil, fmt.Errorf("%w: key %s has no version %d, or is not its key", ErrKey, IDText(key.ID), version)
	}
	k, err := s.open(key, m)
	if err != nil {
		return nil, err
	}
	plain, err := k.OpenDataKey(dataKeyLabel, wrapped, encCtx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return plain, nil
}

// Rewrap opens a data key and wraps it anew, under the key to and with the same
// context; the data key itself stays. Errors are those of Decrypt and, for the key to,
// of NewDataKey.
//
// It does not decide: see Use.
func (s *Service) Rewrap(v *store.Snap, c *call.Call, wrapped []byte, to *Key, encCtx map[string]string) ([]byte, error) {
	plain, err := s.Decrypt(v, c, wrapped, encCtx)
	if err != nil {
		return nil, err
	}
	defer plain.Wipe()
	if err := to.admits(c); err != nil {
		return nil, err
	}
	if err := to.usable(); err != nil {
		return nil, err
	}
	secret := plain.Secret()
	defer secret.Wipe()
	return s.wrap(to, secret.Bytes(), encCtx)
}

// KeyOf returns the key that a wrapped data key names; the error is ErrKey.
func (s *Service) KeyOf(v *store.Snap, wrapped []byte) (*Key, error) {
	id, _, err := envelope.Header(wrapped)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	key := s.find(v, id)
	if key == nil {
		return nil, fmt.Errorf("%w: no key %s", ErrKey, IDText(id))
	}
	return key, nil
}

// DefaultKey finds the owner's aws/secretsmanager key or makes it, which only callers
// of its account can: the error wraps ErrForeign otherwise. Two first uses at once
// conflict on the alias record; the loser runs again and finds the winner's key.
func (s *Service) DefaultKey(tx *store.Tx, c *call.Call, owner Owner) (*Key, error) {
	sc := scope(owner.Account, owner.Region)
	at := aliasKey(sc, SecretsManagerAlias)
	if a, ok := s.aliases.Get(tx.Snap, at); ok {
		key := s.find(tx.Snap, a.KeyID)
		if key == nil {
			return nil, fmt.Errorf("alias %s of %s names a key that is gone", SecretsManagerAlias, sc)
		}
		return key, nil
	}
	now := c.Now.UnixMilli()
	key := &Key{ID: newID(), Account: owner.Account, Region: owner.Region, Manager: managerAWS, Created: now, State: Enabled}
	if err := key.admits(c); err != nil {
		return nil, err
	}
	if err := s.addMaterial(key, now, ""); err != nil {
		return nil, err
	}
	s.keys.Put(tx, keyKey(key), key)
	s.aliases.Put(tx, at, &Alias{
		Name: SecretsManagerAlias, KeyID: key.ID, Account: owner.Account, Region: owner.Region, Created: now, Updated: now,
	})
	return key, nil
}
