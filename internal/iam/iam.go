// Package iam keeps accounts, identities, their policies and credentials, and serves
// the operations of IAM on them.
//
// It trusts the store for its sealing; secret access keys are sealed once more,
// under the keyring's "iam" key, and opened only to verify a signature. Session
// tokens are not stored at all: they are sealed under the keyring's session-token
// key, and whatever they speak for is looked up again, by its unique id, whenever one
// is used. What anybody may do is not decided here but in package access.
package iam

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"time"

	"arca/internal/arn"
	"arca/internal/envelope"
	"arca/internal/store"
)

const sealPurpose = "iam"

// Service finds credentials and keeps identities.
type Service struct {
	store *store.Store
	tables
	now      func() time.Time
	sessions sessionCache
	quotas   quotas
	used     useLog
}

// New attaches the tables of package iam to a store that is not open yet. now is the
// real clock, by which session tokens end.
func New(st *store.Store, now func() time.Time) *Service {
	return &Service{store: st, tables: newTables(st), now: now, quotas: newQuotas()}
}

// accessKeyIDForm is AWS's own constraint on access key ids, with room for the
// short ids people give to development servers.
var accessKeyIDForm = regexp.MustCompile(`^[0-9A-Za-z_]{4,128}$`)

// EnsureRoot makes the account and its root access key with the given secret, or
// changes the key's secret if it has another. It changes nothing when all is so
// already, and refuses a key that belongs to another account or to a user. Other
// access keys of the account stay as they are.
func (s *Service) EnsureRoot(ctx context.Context, now time.Time, account, name, accessKeyID string, secret envelope.Plaintext) error {
	switch {
	case !arn.ValidAccount(account):
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
		ak := accountKey(account)
		if _, ok := s.accounts.Get(tx.Snap, ak); !ok {
			s.accounts.Put(tx, ak, &Account{ID: account, Name: name, Created: now.UnixMilli(), Management: !s.hasAccount(tx.Snap)})
			if name != "" {
				s.names.Put(tx, accountNameKey(name), &Name{UID: account})
			}
		}
		created := now.UnixMilli()
		kk := accessKeyKey(accessKeyID)
		old, ok := s.keys.Get(tx.Snap, kk)
		if ok {
			if old.Account != account {
				return fmt.Errorf("access key %s belongs to account %s", accessKeyID, old.Account)
			}
			if old.User != "" {
				return fmt.Errorf("access key %s belongs to user %s", accessKeyID, old.User)
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

// hasAccount reports whether there is any account.
func (s *Service) hasAccount(v *store.Snap) (has bool) {
	s.Accounts(v, func(*Account) bool { has = true; return false })
	return has
}

// ManagementAccount returns the id of the management account; "" in an empty store.
func (s *Service) ManagementAccount(v *store.Snap) (id string) {
	s.accounts.Ascend(v, byManagement, "", func(key string, _ *Account) bool { id = key; return false })
	return id
}

// FirstAccount returns the management account, if there is any account.
func (s *Service) FirstAccount(ctx context.Context) (id string, ok bool, err error) {
	err = s.store.View(ctx, func(v *store.Snap) error {
		id = s.ManagementAccount(v)
		return nil
	})
	return id, id != "", err
}

// Upgrade marks the management account in data of a release that knew only one
// account. It changes nothing otherwise.
func (s *Service) Upgrade(ctx context.Context) error {
	_, err := s.store.Update(ctx, func(tx *store.Tx) error {
		if s.ManagementAccount(tx.Snap) != "" {
			return nil
		}
		s.Accounts(tx.Snap, func(a *Account) bool {
			first := *a
			first.Management = true
			s.accounts.Put(tx, accountKey(a.ID), &first)
			return false
		})
		return nil
	})
	return err
}

func secretAD(account, accessKeyID string) []byte {
	return bytes.Join([][]byte{[]byte("access-key"), []byte(account), []byte(accessKeyID)}, []byte{0})
}
