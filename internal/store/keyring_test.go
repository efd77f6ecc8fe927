package store_test

import (
	"fmt"
	"strings"
	"testing"

	"arca/internal/envelope"
	"arca/internal/store"
	"arca/internal/storetest"
)

func TestSeal(t *testing.T) {
	cfg := store.Config{Dir: t.TempDir(), RootKey: storetest.NewRootKey(), Logger: storetest.Logger(t)}
	var sealed []byte
	t.Run("seal", func(t *testing.T) {
		s := storetest.Open(t, cfg, nil)
		var err error
		if sealed, err = s.Seal("kms", []byte("secret"), []byte("here")); err != nil {
			t.Fatal(err)
		}
	})
	s := storetest.Open(t, cfg, nil)
	opened, err := s.Unseal("kms", sealed, []byte("here"))
	if err != nil || string(opened.Bytes()) != "secret" {
		t.Errorf("Unseal after reopening = %q, %v", opened.Bytes(), err)
	}
	for _, tc := range []struct{ name, purpose, ad string }{
		{"other place", "kms", "there"},
		{"other purpose", "iam", "here"},
		{"storage is the store's own", "storage", "here"},
		{"unknown purpose", "tea", "here"},
	} {
		if p, err := s.Unseal(tc.purpose, sealed, []byte(tc.ad)); err == nil {
			t.Errorf("%s: Unseal = %q", tc.name, p.Bytes())
		}
	}
	if _, err := s.Seal("index", nil, nil); err == nil {
		t.Error("Seal under the index key succeeded")
	}
}

// An older binary made this keyring, which knew fewer purposes.
func TestKeyringIsCompleted(t *testing.T) {
	cfg := store.Config{Dir: t.TempDir(), RootKey: storetest.NewRootKey(), Logger: storetest.Logger(t)}
	var kms []byte
	t.Run("older", func(t *testing.T) {
		s := storetest.Open(t, cfg, nil)
		var err error
		if kms, err = s.Seal("kms", []byte("x"), nil); err != nil {
			t.Fatal(err)
		}
		if err := s.EditKeyring(t.Context(), func(r *store.KeyringEditor) { r.Drop("page-token") }); err != nil {
			t.Fatal(err)
		}
	})
	var page []byte
	for i := range 2 {
		t.Run(fmt.Sprint("newer ", i), func(t *testing.T) {
			s := storetest.Open(t, cfg, nil)
			if _, err := s.Unseal("kms", kms, nil); err != nil {
				t.Errorf("an old key is lost: %v", err)
			}
			if page == nil {
				var err error
				if page, err = s.Seal("page-token", []byte("x"), nil); err != nil {
					t.Fatal(err)
				}
			} else if _, err := s.Unseal("page-token", page, nil); err != nil {
				t.Errorf("the added key is lost: %v", err)
			}
		})
	}
}

func TestKeyringCannotBeAltered(t *testing.T) {
	for _, tc := range []struct {
		name, want string
		edit       func(r *store.KeyringEditor)
	}{
		{"purpose changed", "does not open", func(r *store.KeyringEditor) { r.Drop("iam"); r.Rename("kms", "iam") }},
		{"storage key removed", "no active storage key", func(r *store.KeyringEditor) { r.Drop("storage") }},
		{"index key removed", "no active index key", func(r *store.KeyringEditor) { r.Drop("index") }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := store.Config{Dir: t.TempDir(), RootKey: storetest.NewRootKey()}
			s := store.New(cfg)
			if err := s.Open(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := s.EditKeyring(t.Context(), tc.edit); err != nil {
				t.Fatal(err)
			}
			mustClose(t, s)
			again := store.New(cfg)
			err := again.Open(t.Context())
			mustClose(t, again)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Open = %v, want %q", err, tc.want)
			}
		})
	}
}

// Another node rotates the storage key; this one reads what is sealed under the new
// version without being started again, and still what is sealed under the old.
func TestStorageKeyRotatedElsewhere(t *testing.T) {
	m := members(t, 2)
	put := func(n member, name string) {
		mustUpdate(t, n.s, func(tx *store.Tx) { n.things.Put(tx, at("a", name), &thing{Name: name}) })
	}
	version := func(name string) uint32 {
		value := get(t, m[0].s, m[0].things.EtcdKey(at("a", name)))
		_, sealed, err := store.SplitValue([]byte(value))
		if err != nil {
			t.Fatal(err)
		}
		_, v, err := envelope.Header(sealed)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	put(m[0], "before")
	if err := m[0].s.EditKeyring(t.Context(), func(r *store.KeyringEditor) { r.Rotate("storage") }); err != nil {
		t.Fatal(err)
	}
	for i, n := range m {
		name := fmt.Sprint("after ", i)
		put(n, name)
		if version("before") != 1 || version(name) != 2 {
			t.Errorf("sealed under versions %d and %d, want 1 and 2", version("before"), version(name))
		}
	}
	for _, n := range m {
		view(t, n.s, func(v *store.Snap) {
			if got := len(names(n.shelf, v, "name", "", false)); got != 3 {
				t.Errorf("a node sees %d records, want 3", got)
			}
		})
	}
}
