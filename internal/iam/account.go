package iam

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"time"

	"arca/internal/arn"
	"arca/internal/envelope"
	"arca/internal/policy"
	"arca/internal/store"
)

// Errors of changes to accounts. Whoever gets one can ask for something else.
var (
	// ErrAccountName: another account has the name, compared without case.
	ErrAccountName = errors.New("the account name is taken")
	// ErrAccountID: another account has the id. Draw again.
	ErrAccountID = errors.New("the account id is taken")
	// ErrNoAccount: there is no such account.
	ErrNoAccount = errors.New("no such account")
	// ErrRootKeys: the root has as many access keys as it may have.
	ErrRootKeys = errors.New("the root has two access keys already")
)

// MaxRootKeys is how many access keys a root may have, as on AWS.
const MaxRootKeys = 2

// MaxGuardrailBytes is AWS's quota for a service control policy.
const MaxGuardrailBytes = 10240

var accountNameForm = regexp.MustCompile(`^[0-9A-Za-z]([0-9A-Za-z+=,.@_ -]{0,48}[0-9A-Za-z+=,.@_-])?$`)

// ValidAccountName reports whether an account may have this name: 1 to 50 characters,
// and not the form of an account id, by which it could be mistaken for another.
func ValidAccountName(name string) bool {
	return accountNameForm.MatchString(name) && !arn.ValidAccount(name)
}

// RootKey is a new access key of an account's root that is not stored yet. Its maker
// wipes the secret.
type RootKey struct {
	Account, ID string
	Secret      envelope.Plaintext
	sealed      []byte
}

// DrawRootKey draws an access key for the root of an account, and of a new account
// the id if account is empty. Nobody else has drawn them but by a chance of one in
// 10¹², which the change that stores them finds out.
func (s *Service) DrawRootKey(account string) (*RootKey, error) {
	if account == "" {
		n, err := rand.Int(rand.Reader, big.NewInt(900_000_000_000))
		if err != nil {
			return nil, fmt.Errorf("draw account id: %w", err)
		}
		account = fmt.Sprintf("%012d", n.Int64()+100_000_000_000)
	}
	id, secret := NewAccessKey()
	sealed, err := s.store.Seal(sealPurpose, secret.Bytes(), secretAD(account, id))
	if err != nil {
		secret.Wipe()
		return nil, fmt.Errorf("seal secret access key: %w", err)
	}
	return &RootKey{Account: account, ID: id, Secret: secret, sealed: sealed}, nil
}

// CreateAccount stores a new account with its first root key. The error is
// ErrAccountName or ErrAccountID.
func (s *Service) CreateAccount(tx *store.Tx, now time.Time, name string, key *RootKey) error {
	nk := accountNameKey(name)
	if _, taken := s.names.Get(tx.Snap, nk); taken || s.AccountNamed(tx.Snap, name) != nil {
		return ErrAccountName
	}
	if _, taken := s.accounts.Get(tx.Snap, accountKey(key.Account)); taken {
		return ErrAccountID
	}
	// The name is a record of its own: two creations at once meet there.
	s.names.Put(tx, nk, &Name{UID: key.Account})
	s.accounts.Put(tx, accountKey(key.Account), &Account{ID: key.Account, Name: name, Created: now.UnixMilli()})
	s.putRootKey(tx, now, key)
	return nil
}

func (s *Service) putRootKey(tx *store.Tx, now time.Time, key *RootKey) {
	s.keys.Put(tx, accessKeyKey(key.ID), &AccessKey{
		ID: key.ID, Account: key.Account, SealedSecret: key.sealed, Active: true, Created: now.UnixMilli(),
	})
}

// AddRootKey stores a further root key of an account. With replace, the keys that the
// root has had until now are gone; otherwise ErrRootKeys says that there are too many.
// It is ErrNoAccount when the account does not exist.
func (s *Service) AddRootKey(tx *store.Tx, now time.Time, key *RootKey, replace bool) error {
	a := s.Account(tx.Snap, key.Account)
	if a == nil {
		return ErrNoAccount
	}
	old := s.keyIDs(tx.Snap, keyOwner{account: key.Account})
	if !replace && len(old) >= MaxRootKeys {
		return ErrRootKeys
	}
	if replace {
		for _, id := range old {
			s.keys.Delete(tx, accessKeyKey(id))
			s.uses.Delete(tx, useRecordKey(id))
		}
	}
	// The account is written so that two who add a key at once meet, and count right.
	s.accounts.Put(tx, accountKey(a.ID), a)
	s.putRootKey(tx, now, key)
	return nil
}

// PutGuardrail sets the policy that limits everybody in an account; empty text takes
// it away. The text must parse: CheckGuardrail tells. The error is ErrNoAccount.
func (s *Service) PutGuardrail(tx *store.Tx, account, text string) error {
	old := s.Account(tx.Snap, account)
	if old == nil {
		return ErrNoAccount
	}
	a := *old
	a.Guardrail = text
	s.accounts.Put(tx, accountKey(a.ID), &a)
	return nil
}

// CheckGuardrail says what is wrong with the text of a guardrail, nil for nothing.
//
// One without any Allow is refused. On AWS a policy that allows everything stands
// beside the service control policies of an account; here the guardrail stands alone,
// and a list of Deny statements, which there forbids a few things, would forbid all.
func CheckGuardrail(text string) error {
	if len(text) > MaxGuardrailBytes {
		return fmt.Errorf("it has %d bytes, more than %d", len(text), MaxGuardrailBytes)
	}
	doc, err := policy.ParseIdentityPolicy(text)
	if err != nil {
		return fmt.Errorf("it is not a policy: %w", err)
	}
	for i := range doc.Statements {
		if doc.Statements[i].Effect == policy.Allow {
			return nil
		}
	}
	return errors.New(`it allows nothing, so nobody in the account could do anything: beside its Deny statements it needs one such as {"Effect": "Allow", "Action": "*", "Resource": "*"}`)
}

// AccountByRef finds an account by its id or its name.
func (s *Service) AccountByRef(v *store.Snap, ref string) *Account {
	if arn.ValidAccount(ref) {
		return s.Account(v, ref)
	}
	return s.AccountNamed(v, ref)
}

// AccountsAfter visits the accounts whose ids follow after, in their order, while fn
// returns true.
func (s *Service) AccountsAfter(v *store.Snap, after string, fn func(a *Account) bool) {
	s.accounts.Ascend(v, byID, after, func(id string, a *Account) bool { return id == after || fn(a) })
}

// accountNameKey is where the name of an account is taken.
func accountNameKey(name string) store.Key {
	return store.Key{Scope: "account", Parent: strings.ToLower(name)}
}

// checkAccounts reports accounts whose name leads elsewhere or whose guardrail does
// not parse, and any number of management accounts but one.
func (s *Service) checkAccounts(v *store.Snap, report func(problem string)) {
	accounts, management := 0, 0
	s.Accounts(v, func(a *Account) bool {
		accounts++
		if a.Management {
			management++
		}
		if a.Guardrail != "" {
			if err := CheckGuardrail(a.Guardrail); err != nil {
				report("guardrail of account " + a.ID + ": " + err.Error())
			}
		}
		if a.Name == "" {
			return true
		}
		if n, ok := s.names.Get(v, accountNameKey(a.Name)); !ok || n.UID != a.ID {
			report("account " + a.ID + ": its name does not lead to it")
		}
		return true
	})
	if accounts > 0 && management != 1 {
		report(fmt.Sprintf("%d accounts are management accounts, not one", management))
	}
}
