package iam_test

import (
	"context"
	"encoding/base64"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/call"
	"arca/internal/iam"
	"arca/internal/store"
	"arca/internal/storetest"
)

// sessionBed is a service whose clock the test moves.
type sessionBed struct {
	*iam.Service
	store *store.Store
	now   time.Time
}

func newSessionBed(t testing.TB) *sessionBed {
	b := &sessionBed{now: start}
	b.store = storetest.New(t, func(s *store.Store) {
		b.Service = iam.New(s, func() time.Time { return b.now })
	})
	if err := b.EnsureRoot(context.Background(), start, account, "main", keyID, plain("secret")); err != nil {
		t.Fatal(err)
	}
	return b
}

// rootSession makes a session of the account's root.
func (b *sessionBed) rootSession(t *testing.T, lifetime time.Duration) (*iam.Session, string) {
	t.Helper()
	s := &iam.Session{Account: account, Issuer: account, Policies: []string{"{}"}, Tags: []iam.Tag{{Key: "team", Value: "a"}}}
	token, err := b.NewSession(s, lifetime)
	if err != nil {
		t.Fatal(err)
	}
	return s, token
}

func TestSession(t *testing.T) {
	b := newSessionBed(t)
	s, token := b.rootSession(t, time.Hour)
	for range 2 { // opened, then kept open
		c, err := b.Lookup(t.Context(), s.KeyID, token)
		if err != nil {
			t.Fatal(err)
		}
		want := iam.RootPrincipal(account, s.KeyID)
		want.Session = &call.Session{
			IssuerType: "Root", IssuerID: account, IssuerARN: want.ARN, Issued: start, Expires: start.Add(time.Hour),
			Policies: []string{"{}"}, Tags: []call.Tag{{Key: "team", Value: "a"}},
		}
		if diff := cmp.Diff(want, c.Principal); diff != "" {
			t.Errorf("principal (-want +got):\n%s", diff)
		}
		secret, err := c.Secret()
		if err != nil || string(secret.Bytes()) != s.Secret {
			t.Errorf("secret of %d bytes, %v", secret.Len(), err)
		}
	}
	b.now = start.Add(time.Hour - time.Millisecond)
	if _, err := b.Lookup(t.Context(), s.KeyID, token); err != nil {
		t.Errorf("in the last millisecond: %v", err)
	}
	b.now = start.Add(time.Hour)
	if _, err := b.Lookup(t.Context(), s.KeyID, token); !errors.Is(err, iam.ErrExpired) {
		t.Errorf("at its end: %v", err)
	}
}

// A token works with its own key id only, and only as it was made.
func TestSessionRefused(t *testing.T) {
	b := newSessionBed(t)
	s, token := b.rootSession(t, time.Hour)
	other, otherToken := b.rootSession(t, time.Hour)
	gone := &iam.Session{Account: account, Issuer: "AROAGONEGONEGONEGONEG", Name: "s"}
	goneToken, err := b.NewSession(gone, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	foreign := newSessionBed(t)
	_, foreignToken := foreign.rootSession(t, time.Hour)
	altered, err := base64.StdEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	altered[len(altered)-1] ^= 1
	if _, err := b.Lookup(t.Context(), s.KeyID, token); err != nil { // so that it is kept open
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, keyID, token string }{
		{"no token", s.KeyID, ""},
		{"another session's token", s.KeyID, otherToken},
		{"another session's key", other.KeyID, token},
		{"a long-lived key", keyID, token},
		{"altered", s.KeyID, base64.StdEncoding.EncodeToString(altered)},
		{"cut", s.KeyID, token[:len(token)/4*2]},
		{"not base64", s.KeyID, "!" + token},
		{"of another installation", s.KeyID, foreignToken},
		{"of a role that does not exist", gone.KeyID, goneToken},
		{"very long", s.KeyID, string(make([]byte, 1<<20))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := b.Lookup(t.Context(), tt.keyID, tt.token); !errors.Is(err, iam.ErrNoCredential) {
				t.Errorf("Lookup = %v, want no credential", err)
			}
		})
	}
}

// The access key id of a session tells its account.
func TestSessionKeyAccount(t *testing.T) {
	b := newSessionBed(t)
	s, _ := b.rootSession(t, time.Hour)
	if got, ok := iam.SessionKeyAccount(s.KeyID); got != account || !ok {
		t.Errorf("SessionKeyAccount(%s) = %q, %v", s.KeyID, got, ok)
	}
	for _, id := range []string{"", keyID, "ASIA", "ASIA0000000000000000", "ASIA7777777777777777", s.KeyID + "A"} {
		if got, ok := iam.SessionKeyAccount(id); ok {
			t.Errorf("SessionKeyAccount(%q) = %q", id, got)
		}
	}
}

func FuzzSessionToken(f *testing.F) {
	f.Add("ASIAEXAMPLEEXAMPLE00", "AQ==")
	f.Add("", "")
	b := newSessionBed(f)
	f.Fuzz(func(t *testing.T, keyID, token string) {
		_, _ = iam.SessionKeyAccount(keyID)
		if _, err := b.Lookup(t.Context(), keyID, token); token != "" && !errors.Is(err, iam.ErrNoCredential) {
			t.Errorf("Lookup(%q, %q) = %v", keyID, token, err)
		}
	})
}
