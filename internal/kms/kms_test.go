package kms_test

import (
	"bytes"
	"errors"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"arca/internal/api"
	"arca/internal/api/kmsapi"
	"arca/internal/call"
	"arca/internal/envelope"
	"arca/internal/iam"
	"arca/internal/kms"
	"arca/internal/store"
	"arca/internal/storetest"
)

const (
	account = "123456789012"
	region  = "eu-west-1"
)

var start = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

type bed struct {
	*kms.Service
	store   *store.Store
	keys    *store.Table[kms.Key]
	aliases *store.Table[kms.Alias]
}

func newBed(t *testing.T) *bed {
	b := &bed{}
	b.store = storetest.New(t, b.attach, func(v *store.Snap, report func(string)) { b.Check(v, report) })
	return b
}

func (b *bed) attach(s *store.Store) {
	b.Service, b.keys, b.aliases = kms.NewWithTables(kms.Config{Store: s, IAM: iam.New(s, time.Now)})
}

func from(account, region string) *call.Call {
	return &call.Call{Now: start, Region: region, Caller: call.Principal{Type: call.Root, Account: account}}
}

// ownerOf is the owner of what the caller keeps in its own account.
func ownerOf(c *call.Call) kms.Owner { return kms.Owner{Account: c.Caller.Account, Region: c.Region} }

func versioned(version string) map[string]string {
	return map[string]string{"SecretARN": "arn:a", "SecretVersionId": version}
}

// dataKey is what an operation keeps of a data key.
type dataKey struct {
	plain   *envelope.Key
	wrapped []byte
	keyID   string
}

func (b *bed) generate(t *testing.T, c *call.Call, encCtx map[string]string) (out dataKey, err error) {
	t.Helper()
	_, err = b.store.Update(t.Context(), func(tx *store.Tx) error {
		var err error
		out.plain, out.wrapped, out.keyID, err = b.GenerateDataKey(tx, c, ownerOf(c), "", encCtx)
		return err
	})
	return out, err
}

func (b *bed) mustGenerate(t *testing.T, c *call.Call, version string) dataKey {
	t.Helper()
	k, err := b.generate(t, c, versioned(version))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (b *bed) decrypt(t *testing.T, c *call.Call, wrapped []byte, encCtx map[string]string) (k *envelope.Key, err error) {
	t.Helper()
	err = b.store.View(t.Context(), func(v *store.Snap) error {
		var err error
		k, err = b.Decrypt(v, c, wrapped, encCtx)
		return err
	})
	return k, err
}

func (b *bed) defaultKey(t *testing.T, account, region string) (id string, ok bool) {
	t.Helper()
	err := b.store.View(t.Context(), func(v *store.Snap) error {
		id, ok = b.DefaultKeyID(v, account, region)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return id, ok
}

func same(a, b *envelope.Key) bool {
	x, y := a.Secret(), b.Secret()
	defer x.Wipe()
	defer y.Wipe()
	return x.Equal(y)
}

// The first use makes the key of the account and region; each data key is another,
// and opens with its context.
func TestGenerateDataKey(t *testing.T) {
	b := newBed(t)
	if id, ok := b.defaultKey(t, account, region); ok {
		t.Errorf("there is a key before its first use: %s", id)
	}
	one := b.mustGenerate(t, from(account, region), "1")
	two := b.mustGenerate(t, from(account, region), "2")
	elsewhere := b.mustGenerate(t, from(account, "us-east-1"), "1")
	other := b.mustGenerate(t, from("999999999999", region), "1")
	if uuid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`); !uuid.MatchString(one.keyID) {
		t.Errorf("key id %q is no UUID", one.keyID)
	}
	if id, ok := b.defaultKey(t, account, region); !ok || id != one.keyID {
		t.Errorf("DefaultKeyID = %s, %v, want %s", id, ok, one.keyID)
	}
	if two.keyID != one.keyID {
		t.Error("the second use made a second key")
	}
	if elsewhere.keyID == one.keyID || other.keyID == one.keyID || other.keyID == elsewhere.keyID {
		t.Error("accounts or regions share a key")
	}
	if same(one.plain, two.plain) {
		t.Error("two data keys are the same")
	}
	secret := one.plain.Secret()
	defer secret.Wipe()
	if bytes.Contains(one.wrapped, secret.Bytes()) {
		t.Error("the wrapped key holds the plain one")
	}
	got, err := b.decrypt(t, from(account, region), one.wrapped, versioned("1"))
	if err != nil {
		t.Fatal(err)
	}
	if !same(got, one.plain) {
		t.Error("Decrypt returns another key")
	}
}

// The key is that of the owner, not of the caller, and serves no caller of another
// account: neither for what is the owner's nor for what is said to be the caller's.
func TestForeignCaller(t *testing.T) {
	const other = "999999999999"
	b := newBed(t)
	owner, stranger := kms.Owner{Account: account, Region: region}, from(other, region)
	generate := func() error {
		_, err := b.store.Update(t.Context(), func(tx *store.Tx) error {
			_, _, _, err := b.GenerateDataKey(tx, stranger, owner, "", versioned("1"))
			return err
		})
		return err
	}
	if err := generate(); !errors.Is(err, kms.ErrForeign) {
		t.Errorf("GenerateDataKey before the first use: error %v, want ErrForeign", err)
	}
	if id, ok := b.defaultKey(t, account, region); ok {
		t.Errorf("the stranger made key %s", id)
	}
	k := b.mustGenerate(t, from(account, region), "1")
	if err := generate(); !errors.Is(err, kms.ErrForeign) {
		t.Errorf("GenerateDataKey: error %v, want ErrForeign", err)
	}
	if _, ok := b.defaultKey(t, other, region); ok {
		t.Error("a key was made for the stranger")
	}
	if _, err := b.decrypt(t, stranger, k.wrapped, versioned("1")); !errors.Is(err, kms.ErrForeign) {
		t.Errorf("Decrypt: error %v, want ErrForeign", err)
	}
	if _, err := b.decrypt(t, from(account, region), k.wrapped, versioned("1")); err != nil {
		t.Errorf("Decrypt for the owner: %v", err)
	}
}

func TestUnknownKey(t *testing.T) {
	b := newBed(t)
	_, err := b.store.Update(t.Context(), func(tx *store.Tx) error {
		_, _, _, err := b.GenerateDataKey(tx, from(account, region), kms.Owner{Account: account, Region: region}, "alias/mine", versioned("1"))
		return err
	})
	if aerr, ok := errors.AsType[*api.Error](err); !ok || aerr.Code != kmsapi.NotFoundException {
		t.Errorf("error %v, want NotFoundException", err)
	}
	if _, ok := b.defaultKey(t, account, region); ok {
		t.Error("a key was made")
	}
}

// Callers that all come first get one key.
func TestFirstUseConcurrently(t *testing.T) {
	b := newBed(t)
	ids := make([]string, 16)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			k, err := b.generate(t, from(account, region), versioned("1"))
			if err != nil {
				t.Error(err)
			}
			ids[i] = k.keyID
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("keys %v, want one", ids)
			break
		}
	}
	n := 0
	err := b.store.View(t.Context(), func(v *store.Snap) error {
		return b.keys.Walk(t.Context(), v, func(*kms.Key) error { n++; return nil })
	})
	if err != nil || n != 1 {
		t.Errorf("%d keys stored (%v), want 1", n, err)
	}
}

func TestDecryptRefuses(t *testing.T) {
	b := newBed(t)
	k := b.mustGenerate(t, from(account, region), "1")
	b.mustGenerate(t, from(account, "us-east-1"), "1")
	unknown := bytes.Clone(k.wrapped)
	unknown[5] ^= 1 // within the key id
	foreign := envelope.GenerateKey(envelope.NewKeyID(), 1)
	stranger, err := foreign.Seal("kms-data-key", make([]byte, 32), envelope.Context(versioned("1")))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		caller  *call.Call
		wrapped []byte
		context map[string]string
	}{
		{"other context", from(account, region), k.wrapped, versioned("2")},
		{"no context", from(account, region), k.wrapped, nil},
		{"more context", from(account, region), k.wrapped, map[string]string{"SecretARN": "arn:a", "SecretVersionId": "1", "x": "y"}},
		{"unknown key", from(account, region), unknown, versioned("1")},
		{"key of another store", from(account, region), stranger, versioned("1")},
		{"cut", from(account, region), k.wrapped[:len(k.wrapped)-1], versioned("1")},
		{"last bit flipped", from(account, region), append(bytes.Clone(k.wrapped[:len(k.wrapped)-1]), k.wrapped[len(k.wrapped)-1]^1), versioned("1")},
		{"empty", from(account, region), nil, versioned("1")},
		{"rubbish", from(account, region), []byte("rubbish"), versioned("1")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := b.decrypt(t, tt.caller, tt.wrapped, tt.context); !errors.Is(err, kms.ErrKey) {
				t.Errorf("error %v, want ErrKey", err)
			}
		})
	}
}

// A version of the key that is gone is the key's fault; material that does not open
// is ours.
func TestDecryptDamaged(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(k *kms.Key)
		isKey  bool
		check  string
	}{
		{"version gone", func(k *kms.Key) { k.Material[0].Version = 7 }, true, "open material of key"},
		{"no material", func(k *kms.Key) { k.Material = nil }, true, "has no material"},
		{"material damaged", func(k *kms.Key) { s := k.Material[0].Sealed; s[len(s)-1] ^= 1 }, false, "open material of key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := &bed{}
			b.store = storetest.New(t, b.attach)
			k := b.mustGenerate(t, from(account, region), "1")
			b.change(t, func(tx *store.Tx) {
				at := store.Key{Scope: account + "/" + region, Parent: k.keyID}
				old, ok := b.keys.Get(tx.Snap, at)
				if !ok {
					t.Fatal("no key")
				}
				damaged := *old
				damaged.Material = []kms.Material{old.Material[0]}
				damaged.Material[0].Sealed = bytes.Clone(old.Material[0].Sealed)
				tt.damage(&damaged)
				b.keys.Put(tx, at, &damaged)
			})
			if _, err := b.decrypt(t, from(account, region), k.wrapped, versioned("1")); err == nil || errors.Is(err, kms.ErrKey) != tt.isKey {
				t.Errorf("error %v, want one that is ErrKey: %v", err, tt.isKey)
			}
			if got := strings.Join(b.problems(t), "; "); !strings.Contains(got, tt.check) {
				t.Errorf("problems %q, want %q", got, tt.check)
			}
		})
	}
}

func (b *bed) change(t *testing.T, fn func(tx *store.Tx)) {
	t.Helper()
	if _, err := b.store.Update(t.Context(), func(tx *store.Tx) error { fn(tx); return nil }); err != nil {
		t.Fatal(err)
	}
}

func (b *bed) problems(t *testing.T) (out []string) {
	t.Helper()
	err := b.store.View(t.Context(), func(v *store.Snap) error {
		b.Check(v, func(p string) { out = append(out, p) })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Check finds keys and aliases that have lost each other.
func TestCheckAliases(t *testing.T) {
	b := &bed{}
	b.store = storetest.New(t, b.attach)
	k := b.mustGenerate(t, from(account, region), "1")
	if got := b.problems(t); got != nil {
		t.Fatalf("problems %q of a good store", got)
	}
	at := store.Key{Scope: account + "/" + region, Parent: kms.SecretsManagerAlias}
	b.change(t, func(tx *store.Tx) { b.aliases.Delete(tx, at) })
	if got := b.problems(t); len(got) != 1 || !strings.Contains(got[0], "key "+k.keyID) {
		t.Errorf("problems without the alias: %q", got)
	}
	b.change(t, func(tx *store.Tx) {
		b.aliases.Put(tx, at, &kms.Alias{Name: kms.SecretsManagerAlias, KeyID: envelope.NewKeyID()})
	})
	if got := b.problems(t); len(got) != 2 || !strings.Contains(got[1], "which does not exist") {
		t.Errorf("problems with an alias of nothing: %q", got)
	}
	if _, err := b.generate(t, from(account, region), versioned("1")); err == nil {
		t.Error("GenerateDataKey = nil although its key is gone")
	}
}

func TestGenerateDataKeyEveryCommit(t *testing.T) {
	var k dataKey
	storetest.EveryCommit(t, storetest.Scenario[*bed]{
		Attach: func(s *store.Store) *bed { b := &bed{store: s}; b.attach(s); return b },
		Do: func(t *testing.T, b *bed) (err error) {
			k, err = b.generate(t, from(account, region), versioned("1"))
			return err
		},
		Verify: func(t *testing.T, b *bed) {
			got, err := b.decrypt(t, from(account, region), k.wrapped, versioned("1"))
			if err != nil {
				t.Fatal(err)
			}
			if !same(got, k.plain) {
				t.Error("another data key comes back")
			}
		},
		Check: func(b *bed, v *store.Snap, report func(string)) { b.Check(v, report) },
	})
}
