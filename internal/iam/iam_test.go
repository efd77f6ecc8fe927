package iam_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/call"
	"arca/internal/envelope"
	"arca/internal/iam"
	"arca/internal/store"
	"arca/internal/storetest"
)

const (
	account = "123456789012"
	keyID   = "AKIAIOSFODNN7EXAMPLE"
)

var start = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

// bed is a service on a real store that counts commits.
type bed struct {
	*iam.Service
	store   *store.Store
	commits int
}

func newBed(t *testing.T) *bed {
	b := &bed{}
	cfg := store.Config{
		Dir: t.TempDir(), RootKey: storetest.NewRootKey(), Logger: storetest.Logger(t),
		CommitFault: func(int) store.Fault { b.commits++; return store.NoFault },
	}
	b.store = storetest.Open(t, cfg, func(s *store.Store) { b.Service = iam.New(s, time.Now) },
		func(v *store.Snap, report func(string)) { b.Check(v, report) })
	return b
}

func plain(s string) envelope.Plaintext { return envelope.NewPlaintext([]byte(s)) }

// secretOf is what signs with the key, "" when nothing does.
func secretOf(t *testing.T, s *iam.Service, id string) string {
	t.Helper()
	c, err := s.Lookup(t.Context(), id, "")
	if errors.Is(err, iam.ErrNoCredential) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Secret()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Wipe()
	return string(p.Bytes())
}

func TestEnsureRoot(t *testing.T) {
	b := newBed(t)
	ensure := func(account, id, secret string) error {
		return b.EnsureRoot(t.Context(), start, account, "", id, plain(secret))
	}
	if has, err := b.HasRoot(t.Context()); err != nil || has {
		t.Errorf("HasRoot of an empty store = %v, %v", has, err)
	}
	if id, ok, err := b.FirstAccount(t.Context()); err != nil || ok {
		t.Errorf("FirstAccount of an empty store = %q, %v, %v", id, ok, err)
	}
	for _, step := range []struct {
		name, account, id, secret string
		err                       string
		commits                   int
		secrets                   [2]string // of keyID and of AKIASECOND
	}{
		{"first", account, keyID, "secret one", "", 1, [2]string{"secret one", ""}},
		{"again", account, keyID, "secret one", "", 1, [2]string{"secret one", ""}},
		{"another secret", account, keyID, "secret two", "", 2, [2]string{"secret two", ""}},
		{"another key", account, "AKIASECOND", "secret three", "", 3, [2]string{"secret two", "secret three"}},
		{"another account's key", "999999999999", keyID, "secret four", "access key " + keyID + " belongs to account " + account, 3, [2]string{"secret two", "secret three"}},
		{"another account", "000000000007", "AKIATHIRD", "secret five", "", 4, [2]string{"secret two", "secret three"}},
	} {
		err := ensure(step.account, step.id, step.secret)
		if got := text(err); got != step.err {
			t.Errorf("%s: error %q, want %q", step.name, got, step.err)
		}
		if b.commits != step.commits {
			t.Errorf("%s: %d commits so far, want %d", step.name, b.commits, step.commits)
		}
		if got := [2]string{secretOf(t, b.Service, keyID), secretOf(t, b.Service, "AKIASECOND")}; got != step.secrets {
			t.Errorf("%s: secrets %q, want %q", step.name, got, step.secrets)
		}
	}
	if has, err := b.HasRoot(t.Context()); err != nil || !has {
		t.Errorf("HasRoot = %v, %v", has, err)
	}
	if id, ok, err := b.FirstAccount(t.Context()); err != nil || !ok || id != account {
		t.Errorf("FirstAccount = %q, %v, %v, want the first there was", id, ok, err)
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// What is not of the form of an account, a key id or a secret is refused by name,
// without the secret in the error.
func TestEnsureRootForms(t *testing.T) {
	b := newBed(t)
	long := strings.Repeat("x", 300)
	for _, tt := range []struct {
		name, account, id, secret, err string
	}{
		{"account too short", "12345678901", keyID, "secret", `account id "12345678901" is not 12 digits`},
		{"account with a letter", "12345678901a", keyID, "secret", `account id "12345678901a" is not 12 digits`},
		{"account with a line end", account + "\n", keyID, "secret", `account id "123456789012\n" is not 12 digits`},
		{"no key id", account, "", "secret", `access key id "" is not 4 to 128 letters, digits or _`},
		{"key id too short", account, "abc", "secret", `access key id "abc" is not 4 to 128 letters, digits or _`},
		{"key id with a slash", account, "abcd/e", "secret", `access key id "abcd/e" is not 4 to 128 letters, digits or _`},
		{"key id with a line end", account, "abcd\n", "secret", `access key id "abcd\n" is not 4 to 128 letters, digits or _`},
		{"no secret", account, keyID, "", "secret access key of " + keyID + " has 0 bytes, not 4 to 256"},
		{"secret too short", account, keyID, "abc", "secret access key of " + keyID + " has 3 bytes, not 4 to 256"},
		{"secret too long", account, keyID, long, "secret access key of " + keyID + " has 300 bytes, not 4 to 256"},
		{"shortest", account, "test", "test", ""},
		{"longest", account, strings.Repeat("A", 128), long[:256], ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := text(b.EnsureRoot(t.Context(), start, tt.account, "", tt.id, plain(tt.secret))); got != tt.err {
				t.Errorf("error %q, want %q", got, tt.err)
			}
		})
	}
}

func TestLookup(t *testing.T) {
	b := newBed(t)
	if err := b.EnsureRoot(t.Context(), start, account, "main", keyID, plain("secret")); err != nil {
		t.Fatal(err)
	}
	c, err := b.Lookup(t.Context(), keyID, "")
	if err != nil {
		t.Fatal(err)
	}
	want := call.Principal{Type: call.Root, Account: account, ID: account, UniqueID: account, ARN: "arn:aws:iam::123456789012:root", AccessKeyID: keyID}
	if diff := cmp.Diff(want, c.Principal); diff != "" {
		t.Errorf("principal (-want +got):\n%s", diff)
	}
	before := string(c.Fingerprint())
	if before == "" || strings.Contains(before, "secret") {
		t.Errorf("fingerprint %q", before)
	}
	if err := b.EnsureRoot(t.Context(), start, account, "main", keyID, plain("changed")); err != nil {
		t.Fatal(err)
	}
	again, err := b.Lookup(t.Context(), keyID, "")
	if err != nil {
		t.Fatal(err)
	}
	if string(again.Fingerprint()) == before {
		t.Error("the fingerprint of another secret is the same")
	}
	for _, id := range []string{"", "AKIA", keyID + "x", keyID[:19], strings.ToLower(keyID), "\x00", "zzzz"} {
		if _, err := b.Lookup(t.Context(), id, ""); !errors.Is(err, iam.ErrNoCredential) {
			t.Errorf("Lookup(%q) = %v, want ErrNoCredential", id, err)
		}
	}
	if err := b.store.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Lookup(t.Context(), keyID, ""); err == nil || errors.Is(err, iam.ErrNoCredential) {
		t.Errorf("Lookup in a closed store = %v, which must not look like an unknown key", err)
	}
}

func TestEnsureRootEveryCommit(t *testing.T) {
	for _, tt := range []struct{ name, before string }{{"new", ""}, {"another secret", "before"}} {
		t.Run(tt.name, func(t *testing.T) {
			storetest.EveryCommit(t, storetest.Scenario[*iam.Service]{
				Attach: func(st *store.Store) *iam.Service { return iam.New(st, time.Now) },
				Setup: func(t *testing.T, s *iam.Service) {
					if tt.before == "" {
						return
					}
					if err := s.EnsureRoot(t.Context(), start, account, "", keyID, plain(tt.before)); err != nil {
						t.Fatal(err)
					}
				},
				Do: func(t *testing.T, s *iam.Service) error {
					return s.EnsureRoot(t.Context(), start, account, "", keyID, plain("secret"))
				},
				Verify: func(t *testing.T, s *iam.Service) {
					if got := secretOf(t, s, keyID); got != "secret" {
						t.Errorf("secret %q", got)
					}
				},
				Check: func(s *iam.Service, v *store.Snap, report func(string)) { s.Check(v, report) },
			})
		})
	}
}

// Access keys have AWS's form and are drawn evenly enough never to meet.
func TestNewAccessKey(t *testing.T) {
	idForm := regexp.MustCompile(`^AKIA[A-Z2-7]{16}$`)
	secretForm := regexp.MustCompile(`^[A-Za-z0-9+/]{40}$`)
	seen := map[string]bool{}
	for range 100 {
		id, secret := iam.NewAccessKey()
		if !idForm.MatchString(id) || !secretForm.Match(secret.Bytes()) {
			t.Fatalf("key %q with a secret of %d bytes", id, secret.Len())
		}
		if seen[id] || seen[string(secret.Bytes())] {
			t.Fatal("drawn twice")
		}
		seen[id], seen[string(secret.Bytes())] = true, true
	}
}
