package store_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

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

// Who controls etcd has kept the root records and keyrings of the past. Every part of
// them is genuine.
func TestOldKeyringAtStart(t *testing.T) {
	endpoint, key := storetest.ExternalEtcd(t), storetest.NewRootKey()
	cfg := store.Config{Dir: t.TempDir(), Endpoints: []string{endpoint}, RootKey: key}
	s := store.New(cfg)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	root, first := get(t, s, store.RootKeyKey), get(t, s, store.KeyringKey)
	var rings [2]string
	for i := range rings {
		if _, err := s.RotateStorageKey(t.Context()); err != nil {
			t.Fatal(err)
		}
		rings[i] = get(t, s, store.KeyringKey)
	}
	mixed, err := s.MixKeyrings(first, rings[1])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.RotateRootKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	root2, ring2 := get(t, s, store.RootKeyKey), get(t, s, store.KeyringKey)
	mustClose(t, s)

	open := func(dir string) error {
		s := store.New(store.Config{Dir: dir, Endpoints: []string{endpoint}, RootKey: key})
		err := s.Open(t.Context())
		mustClose(t, s)
		return err
	}
	if err := open(cfg.Dir); err != nil { // which notes the keys
		t.Fatal(err)
	}
	attacker := store.New(store.Config{Endpoints: []string{endpoint}, RootKey: key})
	if err := attacker.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, attacker)
	adopted := len(key.Adopted())
	for _, tc := range []struct{ name, dir, root, ring, want string }{
		{"of a former root key", cfg.Dir, root, rings[1], "older keys"},
		{"with a former storage key that seals", t.TempDir(), root, mixed, "older keyring"},
		{"as it was", cfg.Dir, root2, ring2, ""},
	} {
		put(t, attacker, store.RootKeyKey, tc.root)
		put(t, attacker, store.KeyringKey, tc.ring)
		err := open(tc.dir)
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: Open = %v, want %q", tc.name, err, tc.want)
		}
		if got := key.Adopted(); tc.want != "" && len(got) != adopted {
			t.Errorf("%s: adopted %q", tc.name, got[adopted:])
		}
	}
}

// In a process that runs, a former root record with its keyring changes nothing: the
// former root key is still there, for backups, and would open them.
func TestOldRootPutBack(t *testing.T) {
	var h shelf
	s := store.New(store.Config{Dir: t.TempDir(), RootKey: storetest.NewRootKey()})
	h.attach(s)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	run(t, s)
	closeLater(t, s)
	oldRoot, oldRing := get(t, s, store.RootKeyKey), get(t, s, store.KeyringKey)
	if _, err := s.RotateRootKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	root, ring := get(t, s, store.RootKeyKey), get(t, s, store.KeyringKey)
	write := func() error {
		_, err := s.Update(t.Context(), func(tx *store.Tx) error {
			h.things.Put(tx, at("a", "1"), &thing{})
			return nil
		})
		return err
	}
	put(t, s, store.RootKeyKey, oldRoot)
	put(t, s, store.KeyringKey, oldRing)
	eventually(t, func() bool {
		err := write()
		return err != nil && strings.Contains(err.Error(), "root key")
	})
	if _, err := s.RotateStorageKey(t.Context()); err == nil || !strings.Contains(err.Error(), "former root record") {
		t.Errorf("RotateStorageKey = %v", err)
	}
	put(t, s, store.RootKeyKey, root)
	put(t, s, store.KeyringKey, ring)
	eventually(t, func() bool { return write() == nil })
}

// A writer that waits for the keyring must not make readers of it wait for ever.
func TestWrapKeyBesideRotation(t *testing.T) {
	s := storetest.Open(t, store.Config{Dir: t.TempDir(), RootKey: storetest.NewRootKey(), Logger: storetest.Logger(t)}, nil)
	done := make(chan error, 1)
	k := envelope.GenerateKey(envelope.NewKeyID(), 1)
	sealed, err := s.WrapKey(k, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	go func() {
		for range 20_000 {
			if _, err := s.UnwrapKey(sealed, nil); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	go func() {
		for ctx.Err() == nil {
			s.LockKeyring()
		}
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-ctx.Done():
		t.Fatal("nobody gets at the keyring any more")
	}
}
