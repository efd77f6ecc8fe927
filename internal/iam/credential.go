package iam

import (
	"context"
	"errors"
	"fmt"

	"arca/internal/call"
	"arca/internal/envelope"
	"arca/internal/store"
)

// Credential is an access key that may sign requests.
type Credential struct {
	Principal   call.Principal
	fingerprint []byte
	open        func() (envelope.Plaintext, error)
}

// Fingerprint changes whenever the secret does: what is derived from a secret may
// be cached under it.
func (c *Credential) Fingerprint() []byte { return c.fingerprint }

// Secret opens the secret access key. The caller wipes it.
func (c *Credential) Secret() (envelope.Plaintext, error) { return c.open() }

// Errors of Lookup that are the sender's fault.
var (
	// ErrNoCredential: no active access key has this id, or not with this session
	// token, or what the token speaks for is gone.
	ErrNoCredential = errors.New("no such access key")
	// ErrExpired: the session token was good, and its time is over.
	ErrExpired = errors.New("session token has expired")
)

// Lookup finds the credential of an access key, and of a session token if there is
// one, as of every write acknowledged before the call. Whom it speaks for is looked
// up by unique id: a user or role that was deleted and made again is another one.
func (s *Service) Lookup(ctx context.Context, accessKeyID, sessionToken string) (*Credential, error) {
	var session *Session
	if sessionToken != "" {
		var err error
		if session, err = s.openSession(accessKeyID, sessionToken); err != nil {
			return nil, err
		}
	}
	var cred *Credential
	err := s.store.View(ctx, func(v *store.Snap) error {
		if session != nil {
			cred = s.sessionCredential(v, session)
		} else {
			cred = s.keyCredential(v, accessKeyID)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look up access key: %w", err)
	}
	if cred == nil {
		return nil, ErrNoCredential
	}
	return cred, nil
}

// keyCredential is the credential of a long-lived key, nil when it may not sign.
func (s *Service) keyCredential(v *store.Snap, id string) *Credential {
	k := first(s.keys, v, byID, id)
	if k == nil || !k.Active {
		return nil
	}
	c := &Credential{
		fingerprint: k.SealedSecret,
		open: func() (envelope.Plaintext, error) {
			return s.store.Unseal(sealPurpose, k.SealedSecret, secretAD(k.Account, k.ID))
		},
	}
	if k.User == "" {
		c.Principal = RootPrincipal(k.Account, k.ID)
		return c
	}
	u := s.UserByID(v, k.User)
	if u == nil || u.Account != k.Account {
		return nil
	}
	c.Principal = userPrincipal(u, k.ID)
	return c
}

// sessionCredential is the credential of a session, nil when whom it speaks for is
// gone.
func (s *Service) sessionCredential(v *store.Snap, session *Session) *Credential {
	c := &Credential{
		fingerprint: session.digest[:],
		open: func() (envelope.Plaintext, error) {
			return envelope.NewPlaintext([]byte(session.Secret)), nil
		},
	}
	facts := session.facts()
	switch {
	case session.Name != "":
		r := s.RoleByID(v, session.Issuer)
		if r == nil || r.Account != session.Account {
			return nil
		}
		c.Principal = rolePrincipal(r, session, facts)
	case session.Issuer == session.Account:
		if s.Account(v, session.Account) == nil {
			return nil
		}
		c.Principal = RootPrincipal(session.Account, session.KeyID)
		facts.IssuerType, facts.IssuerARN = "Root", c.Principal.ARN
	default:
		u := s.UserByID(v, session.Issuer)
		if u == nil || u.Account != session.Account {
			return nil
		}
		c.Principal = userPrincipal(u, session.KeyID)
		facts.IssuerType, facts.IssuerARN, facts.IssuerName = "IAMUser", c.Principal.ARN, u.Name
	}
	c.Principal.Session = facts
	return c
}

// RootPrincipal is the root of an account, as it signs with the given key.
func RootPrincipal(account, accessKeyID string) call.Principal {
	return call.Principal{
		Type: call.Root, Account: account, ID: account, UniqueID: account,
		ARN: RootARN(account), AccessKeyID: accessKeyID,
	}
}

func userPrincipal(u *User, accessKeyID string) call.Principal {
	return call.Principal{
		Type: call.IAMUser, Account: u.Account, ID: u.UID, UniqueID: u.UID,
		ARN: u.ARN(), UserName: u.Name, AccessKeyID: accessKeyID,
	}
}

func rolePrincipal(r *Role, session *Session, facts *call.Session) call.Principal {
	facts.IssuerType, facts.IssuerARN, facts.IssuerName = "Role", r.ARN(), r.Name
	return call.Principal{
		Type: call.AssumedRole, Account: r.Account, ID: r.UID + ":" + session.Name, UniqueID: r.UID,
		ARN: r.SessionARN(session.Name), AccessKeyID: session.KeyID,
	}
}
