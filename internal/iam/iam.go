// Package iam keeps accounts and credentials.
//
// It trusts the store for its sealing; secret access keys are sealed once more,
// under the keyring's "iam" key, and opened only to verify a signature. Today the
// only principal is the account root; users, roles and policies come on top of the
// same records.
package iam

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"time"

	"arca/internal/call"
	"arca/internal/envelope"
	"arca/internal/store"
)

const sealPurpose = "iam"

// Account is the record of an account.
type Account struct {
	ID      string `cbor:"1,keyasint"` // 12 digits
	Name    string `cbor:"2,keyasint"`
	Created int64  `cbor:"3,keyasint"` // milliseconds since the Unix epoch
}

// AccessKey is the record of a long-lived credential of an account root.
type AccessKey struct {
	ID           string `cbor:"1,keyasint"`
	Account      string `cbor:"2,keyasint"`
	SealedSecret []byte `cbor:"3,keyasint"`
	Active       bool   `cbor:"4,keyasint"`
	Created      int64  `cbor:"5,keyasint"` // milliseconds since the Unix epoch
}

// Service finds credentials and makes those of account roots.
type Service struct {
	store    *store.Store
	accounts *store.Table[Account]
	keys     *store.Table[AccessKey]
}

const (
	accountFormat   = 1
	accessKeyFormat = 1
	byID            = "id"
)

// New attaches the tables of package iam to a store that is not open yet.
func New(st *store.Store) *Service {
	return &Service{
		store: st,
		accounts: store.NewTable(st, store.TableSpec[Account]{
			Name: "account", Format: accountFormat,
			Indexes: []store.Index[Account]{{Name: byID, Keys: func(a *Account, emit func(string)) { emit(a.ID) }}},
		}),
		keys: store.NewTable(st, store.TableSpec[AccessKey]{
			Name: "access-key", Format: accessKeyFormat,
			Indexes: []store.Index[AccessKey]{{Name: byID, Keys: func(k *AccessKey, emit func(string)) { emit(k.ID) }}},
		}),
	}
}

// Credential is an access key that may sign requests.
type Credential struct {
	Principal call.Principal
	sealed    []byte
	open      func() (envelope.Plaintext, error)
}

// Fingerprint changes whenever the secret does: what is derived from a secret may
// be cached under it.
func (c *Credential) Fingerprint() []byte { return c.sealed }

// Secret opens the secret access key. The caller wipes it.
func (c *Credential) Secret() (envelope.Plaintext, error) { return c.open() }

// ErrNoCredential: no active access key has this id.
var ErrNoCredential = errors.New("no such access key")

// Lookup finds the credential of an access key as of every write acknowledged
// before the call. ErrNoCredential when there is none that may sign.
func (s *Service) Lookup(ctx context.Context, accessKeyID string) (*Credential, error) {
	var found *AccessKey
	err := s.store.View(ctx, func(v *store.Snap) error {
		found = nil
		s.keys.Ascend(v, byID, accessKeyID, func(id string, k *AccessKey) bool {
			if id == accessKeyID {
				found = k
			}
			return false
		})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look up access key: %w", err)
	}
	if found == nil || !found.Active {
		return nil, ErrNoCredential
	}
	return &Credential{
		Principal: RootPrincipal(found.Account, found.ID),
		sealed:    found.SealedSecret,
		open: func() (envelope.Plaintext, error) {
			return s.store.Unseal(sealPurpose, found.SealedSecret, secretAD(found.Account, found.ID))
		},
	}, nil
}

// RootPrincipal is the root of an account, as it signs with the given key.
func RootPrincipal(account, accessKeyID string) call.Principal {
	return call.Principal{
		Type: call.Root, Account: account, ID: account,
		ARN: "arn:aws:iam::" + account + ":root", AccessKeyID: accessKeyID,
	}
}

// AuthorizeRoot allows an account root everything in its own account and nothing in
// another. It is the whole truth while roots are the only principals.
func AuthorizeRoot(_ context.Context, c *call.Call, ck *call.Check) error {
	if c.Caller.Type == call.Root && (ck.Account == "" || ck.Account == c.Caller.Account) {
		return nil
	}
	return denied(c, ck)
}

// accessKeyIDForm is AWS's own constraint on access key ids, with room for the
// short ids people give to development servers.
var accessKeyIDForm = regexp.MustCompile(`^[0-9A-Za-z_]{4,128}$`)

var accountForm = regexp.MustCompile(`^[0-9]{12}$`)

// EnsureRoot makes the account and its root access key with the given secret, or
// changes the key's secret if it has another. It changes nothing when all is so
// already, and refuses a key that belongs to another account. Other access keys of
// the account stay as they are.
func (s *Service) EnsureRoot(ctx context.Context, now time.Time, account, name, accessKeyID string, secret envelope.Plaintext) error {
	switch {
	case !accountForm.MatchString(account):
		return fmt.Errorf("account id %q is not 12 digits", account)
	case !accessKeyIDForm.MatchString(accessKeyID):
		return fmt.Errorf("access key id %q is not 4 to 128 letters, digits or _", accessKeyID)
	case secret.Len() < 4 || secret.Len() > 256:
		return fmt.Errorf("secret access key of %s has %d bytes, not 4 to 256", accessKeyID, secret.Len())
	}
	sealed, err := s.store.Seal(sealPurpose, secret.Bytes(), secretAD(account, accessKeyID))
	if err != nil {
		return fmt.Errorf("seal secret access key: %w", err)
	}
	_, err = s.store.Update(ctx, func(tx *store.Tx) error {
		ak := store.Key{Scope: "account", Parent: account}
		if _, ok := s.accounts.Get(tx.Snap, ak); !ok {
			s.accounts.Put(tx, ak, &Account{ID: account, Name: name, Created: now.UnixMilli()})
		}
		created := now.UnixMilli()
		kk := store.Key{Scope: "access-key", Parent: accessKeyID}
		old, ok := s.keys.Get(tx.Snap, kk)
		if ok {
			if old.Account != account {
				return fmt.Errorf("access key %s belongs to account %s", accessKeyID, old.Account)
			}
			have, err := s.store.Unseal(sealPurpose, old.SealedSecret, secretAD(account, accessKeyID))
			if err != nil {
				return fmt.Errorf("open secret of access key %s: %w", accessKeyID, err)
			}
			defer have.Wipe()
			if old.Active && have.Equal(secret) {
				return nil
			}
			created = old.Created
		}
		s.keys.Put(tx, kk, &AccessKey{ID: accessKeyID, Account: account, SealedSecret: sealed, Active: true, Created: created})
		return nil
	})
	return err
}

// HasRoot reports whether any root access key exists, i.e. whether the server has
// been set up.
func (s *Service) HasRoot(ctx context.Context) (has bool, err error) {
	err = s.store.View(ctx, func(v *store.Snap) error {
		has = false
		s.keys.Ascend(v, byID, "", func(string, *AccessKey) bool { has = true; return false })
		return nil
	})
	return has, err
}

// FirstAccount returns the account with the lowest id, if there is any.
func (s *Service) FirstAccount(ctx context.Context) (id string, ok bool, err error) {
	err = s.store.View(ctx, func(v *store.Snap) error {
		id, ok = "", false
		s.accounts.Ascend(v, byID, "", func(key string, _ *Account) bool { id, ok = key, true; return false })
		return nil
	})
	return id, ok, err
}

// NewAccessKey draws an access key id and secret of AWS's form.
func NewAccessKey() (id string, secret envelope.Plaintext) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the program instead
	b := []byte("AKIA")
	for _, r := range raw {
		b = append(b, alphabet[int(r)%len(alphabet)]) // 256 is a multiple of 32: no bias
	}
	var key [30]byte
	_, _ = rand.Read(key[:])
	defer clear(key[:])
	return string(b), envelope.NewPlaintext(base64.StdEncoding.AppendEncode(nil, key[:]))
}

func secretAD(account, accessKeyID string) []byte {
	return bytes.Join([][]byte{[]byte("access-key"), []byte(account), []byte(accessKeyID)}, []byte{0})
}

// Check reports access keys whose secret does not open or whose account is missing.
func (s *Service) Check(v *store.Snap, report func(problem string)) {
	s.keys.Ascend(v, byID, "", func(_ string, k *AccessKey) bool {
		if _, ok := s.accounts.Get(v, store.Key{Scope: "account", Parent: k.Account}); !ok {
			report("access key " + k.ID + " belongs to account " + k.Account + ", which does not exist")
		}
		secret, err := s.store.Unseal(sealPurpose, k.SealedSecret, secretAD(k.Account, k.ID))
		if err != nil {
			report("secret of access key " + k.ID + " does not open: " + err.Error())
			return true
		}
		secret.Wipe()
		return true
	})
}
