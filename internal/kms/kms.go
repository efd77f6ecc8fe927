// Package kms keeps KMS keys and makes data keys under them.
//
// It trusts the store for its sealing and call for identities. Key material is
// sealed once more, under the keyring's "kms" key, and opened when it is first used.
// It does not decide: the operation that uses a key asks the authorizer. One rule it
// holds to by itself, since no policy changes it: an account's own key of AWS's kind
// serves callers of that account only.
package kms

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"arca/internal/call"
	"arca/internal/envelope"
	"arca/internal/store"
)

// ErrKey says that the key a ciphertext names does not exist or does not open it.
var ErrKey = errors.New("key does not open this ciphertext")

// ErrForeign says that the caller is of another account than the default key, whose
// policy lets its own account in and nobody else (kms:CallerAccount).
var ErrForeign = errors.New("the default key serves callers of its own account only")

// ErrCustomerKey says that a key other than the account's default was asked for.
var ErrCustomerKey = errors.New("customer keys are not served")

// SecretsManagerAlias is the alias of the key that secrets are sealed under when
// their owner names none. AWS makes it on first use, and so do we.
const SecretsManagerAlias = "alias/aws/secretsmanager"

const (
	sealPurpose  = "kms"          // keyring purpose of key material
	dataKeyLabel = "kms-data-key" // envelope label of wrapped data keys
	keyBytes     = 32
	managerAWS   = "AWS" // Key.Manager of keys that nobody asked for
)

// State is a key's state, with AWS's words.
type State string

// Enabled is the only state until customer keys exist.
const Enabled State = "Enabled"

// Key is the record of one KMS key. Material is append-only: a rotation adds a
// version, and old ciphertexts stay readable.
type Key struct {
	ID       envelope.KeyID `cbor:"1,keyasint"`
	Account  string         `cbor:"2,keyasint"`
	Region   string         `cbor:"3,keyasint"`
	Manager  string         `cbor:"4,keyasint"` // "AWS"; "CUSTOMER" once those exist
	Created  int64          `cbor:"5,keyasint"` // milliseconds since the Unix epoch
	State    State          `cbor:"6,keyasint"`
	Material []Material     `cbor:"7,keyasint"`
}

// Material is one version of a key's secret, sealed under the keyring.
type Material struct {
	Version uint32 `cbor:"1,keyasint"`
	Sealed  []byte `cbor:"2,keyasint"`
	Created int64  `cbor:"3,keyasint"` // milliseconds since the Unix epoch
}

// Alias gives a key a name within its account and region.
type Alias struct {
	Name  string         `cbor:"1,keyasint"`
	KeyID envelope.KeyID `cbor:"2,keyasint"`
}

// Service makes and finds keys.
type Service struct {
	store   *store.Store
	keys    *store.Table[Key]
	aliases *store.Table[Alias]
	opened  opened
}

const keyFormat, aliasFormat = 1, 1

const byID = "id"

// New attaches the tables of package kms to a store that is not open yet.
func New(st *store.Store) *Service {
	return &Service{
		store: st,
		keys: store.NewTable(st, store.TableSpec[Key]{
			Name: "kms-key", Format: keyFormat,
			Indexes: []store.Index[Key]{{Name: byID, Keys: func(k *Key, emit func(string)) { emit(string(k.ID[:])) }}},
		}),
		aliases: store.NewTable(st, store.TableSpec[Alias]{Name: "kms-alias", Format: aliasFormat}),
	}
}

// IDText writes a key id as AWS does: a UUID.
func IDText(id envelope.KeyID) string {
	h := hex.EncodeToString(id[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func scope(account, region string) string { return account + "/" + region }

// Owner is to whom something encrypted belongs: an account in a region. It is that
// account's key that encrypts it there, whoever calls.
type Owner struct{ Account, Region string }

// admits reports whether the owner's default key serves the caller.
func (o Owner) admits(c *call.Call) error {
	if c.Caller.Account != o.Account {
		return fmt.Errorf("%w: the key of %s, the caller is of %q", ErrForeign, o.Account, c.Caller.Account)
	}
	return nil
}

// GenerateDataKey draws a fresh data key for something of the owner and wraps it.
// keyID "" stands for the owner's aws/secretsmanager key, which is created in the same
// transaction if this is its first use; the error wraps ErrForeign for a caller of
// another account. The encryption context is bound into the wrapped key and must be
// given again to Decrypt. The plain key is the caller's to wipe. usedKeyID names the
// key that wraps it.
func (s *Service) GenerateDataKey(tx *store.Tx, c *call.Call, owner Owner, keyID string, encCtx map[string]string) (plain *envelope.Key, wrapped []byte, usedKeyID string, err error) {
	if keyID != "" {
		return nil, nil, "", fmt.Errorf("%w: %s", ErrCustomerKey, keyID)
	}
	if err := owner.admits(c); err != nil {
		return nil, nil, "", err
	}
	key, err := s.defaultKey(tx, c, owner)
	if err != nil {
		return nil, nil, "", err
	}
	current, err := s.open(key, key.Material[len(key.Material)-1])
	if err != nil {
		return nil, nil, "", err
	}
	var secret [keyBytes]byte
	_, _ = rand.Read(secret[:]) // never fails: crypto/rand ends the program instead
	defer clear(secret[:])
	if wrapped, err = current.Seal(dataKeyLabel, secret[:], envelope.Context(encCtx)); err != nil {
		return nil, nil, "", fmt.Errorf("wrap data key: %w", err)
	}
	plain, err = envelope.NewKey(key.ID, current.Version(), secret[:])
	if err != nil {
		return nil, nil, "", fmt.Errorf("make data key: %w", err)
	}
	return plain, wrapped, IDText(key.ID), nil
}

// Decrypt unwraps a data key of something that belongs to owner. The error wraps ErrKey
// when the key is unknown or not the owner's, or when the context is not the one the
// data key was wrapped with, and ErrForeign when the key does not serve the caller. The
// plain key is the caller's to wipe.
func (s *Service) Decrypt(v *store.Snap, c *call.Call, owner Owner, wrapped []byte, encCtx map[string]string) (*envelope.Key, error) {
	id, version, err := envelope.Header(wrapped)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	key := s.find(v, id)
	if key == nil {
		return nil, fmt.Errorf("%w: no key %s", ErrKey, IDText(id))
	}
	if key.Account != owner.Account || key.Region != owner.Region {
		return nil, fmt.Errorf("%w: key %s serves only its own account and region", ErrKey, IDText(id))
	}
	if err := owner.admits(c); err != nil {
		return nil, err
	}
	for _, m := range key.Material {
		if m.Version != version {
			continue
		}
		k, err := s.open(key, m)
		if err != nil {
			return nil, err
		}
		secret, err := k.Open(dataKeyLabel, wrapped, envelope.Context(encCtx))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrKey, err)
		}
		defer secret.Wipe()
		return envelope.NewKey(key.ID, version, secret.Bytes())
	}
	return nil, fmt.Errorf("%w: key %s has no version %d", ErrKey, IDText(id), version)
}

// DefaultKeyID returns the id of the account's aws/secretsmanager key, if it has
// been used yet.
func (s *Service) DefaultKeyID(v *store.Snap, account, region string) (string, bool) {
	a, ok := s.aliases.Get(v, store.Key{Scope: scope(account, region), Parent: SecretsManagerAlias})
	if !ok {
		return "", false
	}
	return IDText(a.KeyID), true
}

func (s *Service) find(v *store.Snap, id envelope.KeyID) (found *Key) {
	want := string(id[:])
	s.keys.Ascend(v, byID, want, func(k string, r *Key) bool {
		if k == want {
			found = r
		}
		return false
	})
	return found
}

// defaultKey finds the key or makes it. Two first uses at once conflict on the
// alias record; the loser runs again and finds the winner's key.
func (s *Service) defaultKey(tx *store.Tx, c *call.Call, owner Owner) (*Key, error) {
	sc := scope(owner.Account, owner.Region)
	at := store.Key{Scope: sc, Parent: SecretsManagerAlias}
	if a, ok := s.aliases.Get(tx.Snap, at); ok {
		key := s.find(tx.Snap, a.KeyID)
		if key == nil {
			return nil, fmt.Errorf("alias %s of %s names a key that is gone", SecretsManagerAlias, sc)
		}
		return key, nil
	}
	id := envelope.NewKeyID()
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80 // a UUID of version 4, as key ids are
	key := &Key{ID: id, Account: owner.Account, Region: owner.Region, Manager: managerAWS, Created: c.Now.UnixMilli(), State: Enabled}
	var secret [keyBytes]byte
	_, _ = rand.Read(secret[:])
	defer clear(secret[:])
	sealed, err := s.store.Seal(sealPurpose, secret[:], materialAD(key, 1))
	if err != nil {
		return nil, fmt.Errorf("seal key material: %w", err)
	}
	key.Material = []Material{{Version: 1, Sealed: sealed, Created: key.Created}}
	s.keys.Put(tx, store.Key{Scope: sc, Parent: IDText(id)}, key)
	s.aliases.Put(tx, at, &Alias{Name: SecretsManagerAlias, KeyID: id})
	return key, nil
}

// open returns the key of one version, shared with others: it must not be wiped.
func (s *Service) open(key *Key, m Material) (*envelope.Key, error) {
	if k := s.opened.get(key, m); k != nil {
		return k, nil
	}
	k, err := s.unseal(key, m)
	if err != nil {
		return nil, err
	}
	s.opened.put(key, m, k)
	return k, nil
}

// unseal opens the material of one version, for the caller alone.
func (s *Service) unseal(key *Key, m Material) (*envelope.Key, error) {
	secret, err := s.store.Unseal(sealPurpose, m.Sealed, materialAD(key, m.Version))
	if err != nil {
		return nil, fmt.Errorf("open material of key %s: %w", IDText(key.ID), err)
	}
	defer secret.Wipe()
	return envelope.NewKey(key.ID, m.Version, secret.Bytes())
}

// maxOpened bounds the keys that are kept open, a few hundred bytes each.
const maxOpened = 4096

// opened keeps keys that were used, since opening one costs about a quarter of
// GetSecretValue, the edge apart. It gives nothing away that memory did not hold before: the keyring, which
// opens all of them, is there too. The sealed material is part of what finds a key,
// so a record that was replaced is opened anew.
type opened struct {
	mu   sync.RWMutex
	keys map[string]*envelope.Key // guarded by mu
}

func (o *opened) get(key *Key, m Material) *envelope.Key {
	var space [256]byte
	at := appendOpenedKey(space[:0], key, m)
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.keys[string(at)]
}

func (o *opened) put(key *Key, m Material, k *envelope.Key) {
	at := string(appendOpenedKey(nil, key, m))
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.keys == nil || len(o.keys) >= maxOpened {
		// Not wiped: some are in use. They are gone with the next collection.
		o.keys = make(map[string]*envelope.Key)
	}
	o.keys[at] = k
}

func appendOpenedKey(dst []byte, key *Key, m Material) []byte {
	return append(appendMaterialAD(dst, key, m.Version), m.Sealed...)
}

// materialAD binds sealed material to its key and version, so that it cannot be
// moved to another record by whoever writes to etcd.
func materialAD(key *Key, version uint32) []byte { return appendMaterialAD(nil, key, version) }

func appendMaterialAD(ad []byte, key *Key, version uint32) []byte {
	ad = append(ad, key.Account...)
	ad = append(ad, '/')
	ad = append(ad, key.Region...)
	ad = append(ad, '/')
	ad = append(ad, key.ID[:]...)
	return binary.BigEndian.AppendUint32(ad, version)
}

// Check reports keys whose material does not open, keys of AWS's kind that no alias
// names, and aliases that name no key.
func (s *Service) Check(v *store.Snap, report func(problem string)) {
	s.keys.Ascend(v, byID, "", func(_ string, k *Key) bool {
		if len(k.Material) == 0 {
			report("key " + IDText(k.ID) + " has no material")
		}
		for _, m := range k.Material {
			fresh, err := s.unseal(k, m)
			if err != nil {
				report(err.Error())
				continue
			}
			fresh.Wipe()
		}
		if id, _ := s.DefaultKeyID(v, k.Account, k.Region); k.Manager == managerAWS && id != IDText(k.ID) {
			report("key " + IDText(k.ID) + " of " + scope(k.Account, k.Region) + " is not the one " + SecretsManagerAlias + " names there")
		}
		return true
	})
	// Aliases lie in memory like keys: nothing is waited for.
	err := s.aliases.Walk(context.Background(), v, func(a *Alias) error {
		if s.find(v, a.KeyID) == nil {
			report("alias " + a.Name + " names key " + IDText(a.KeyID) + ", which does not exist")
		}
		return nil
	})
	if err != nil {
		report("aliases cannot be read: " + err.Error())
	}
}
