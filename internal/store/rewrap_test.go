package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"arca/internal/envelope"
	"arca/internal/store"
	"arca/internal/storetest"
)

func TestRotateRootKey(t *testing.T) {
	key := storetest.NewRootKey()
	cfg := store.Config{Dir: t.TempDir(), RootKey: key, Logger: storetest.Logger(t)}
	var before store.RootKeyState
	var oldRoot string
	var session []byte
	t.Run("rotate", func(t *testing.T) {
		var h shelf
		s := storetest.Open(t, cfg, h.attach)
		fill(t, s, &h, 50)
		var err error
		if session, err = s.Seal("session-token", []byte("x"), nil); err != nil {
			t.Fatal(err)
		}
		if before, err = s.RootKeyState(t.Context()); err != nil {
			t.Fatal(err)
		}
		if before.Kind != "test" || before.KEKVersion != 1 || len(before.Former) != 0 || before.Created.IsZero() {
			t.Errorf("RootKeyState = %+v", before)
		}
		oldRoot = get(t, s, store.RootKeyKey)
		for i := range 3 {
			after, err := s.RotateRootKey(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			again, err := s.RootKeyState(t.Context())
			if err != nil || fmt.Sprint(again) != fmt.Sprint(after) {
				t.Errorf("RootKeyState = %+v, %v after %+v", again, err, after)
			}
			if after.ID == before.ID || len(after.Former) != i+1 || after.Former[0].ID != before.ID || after.KEKVersion != uint32(i+2) {
				t.Errorf("RotateRootKey = %+v, before it was %+v", after, before)
			}
			mustUpdate(t, s, func(tx *store.Tx) { h.things.Put(tx, at("a", "1"), &thing{N: 100 + i}) })
		}
		if got := key.Adopted(); len(got) != 3 || got[2] != "test 4" {
			t.Errorf("adopted %q", got)
		}
	})
	t.Run("opens", func(t *testing.T) {
		var h shelf
		s := storetest.Open(t, cfg, h.attach)
		if got := h.things.Count("a"); got != 50 {
			t.Errorf("Count = %d, want 50", got)
		}
		if p, err := s.Unseal("session-token", session, nil); err != nil || string(p.Bytes()) != "x" {
			t.Errorf("Unseal = %q, %v", p.Bytes(), err)
		}
	})
	// With the old root key and an old root record nobody opens the new keyring.
	t.Run("old root record", func(t *testing.T) {
		s := store.New(cfg)
		if err := s.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		put(t, s, store.RootKeyKey, oldRoot)
		mustClose(t, s)
		s = store.New(cfg)
		if err := s.Open(t.Context()); err == nil {
			t.Error("the new keyring opens under the old KEK")
		}
		mustClose(t, s)
	})
}

func put(t *testing.T, s *store.Store, key, value string) {
	t.Helper()
	if _, err := s.Client().Put(t.Context(), key, value); err != nil {
		t.Fatal(err)
	}
}

func TestDestroyFormerRootKeys(t *testing.T) {
	key := storetest.NewRootKey()
	cfg := store.Config{Dir: t.TempDir(), RootKey: key, Logger: storetest.Logger(t)}
	s := storetest.Open(t, cfg, nil)
	for range 2 {
		if _, err := s.RotateRootKey(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if key.Keys() != 3 {
		t.Fatalf("%d keys before", key.Keys())
	}
	for range 2 {
		if err := s.DestroyFormerRootKeys(t.Context()); err != nil {
			t.Fatal(err)
		}
		if st, err := s.RootKeyState(t.Context()); err != nil || len(st.Former) != 0 || key.Keys() != 1 {
			t.Errorf("RootKeyState = %+v, %v with %d keys", st, err, key.Keys())
		}
	}
}

func TestMigrateRootKey(t *testing.T) {
	dir := t.TempDir()
	old, next := storetest.NewRootKey(), storetest.NewRootKeyOfKind("other")
	oldCfg := store.Config{Dir: dir, RootKey: old, Logger: storetest.Logger(t)}
	newCfg := store.Config{Dir: dir, RootKey: next, Logger: storetest.Logger(t)}
	s := store.New(oldCfg)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	// From one file to another is a migration, too.
	if err := s.MigrateRootKey(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if err := s.MigrateRootKey(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if err := s.DestroyFormerRootKeys(t.Context()); err == nil || !strings.Contains(err.Error(), "stayed where it was") {
		t.Errorf("DestroyFormerRootKeys = %v", err)
	}
	if st, _ := s.RootKeyState(t.Context()); len(st.Former) != 2 || !st.Former[0].Elsewhere || st.Kind != "other" {
		t.Errorf("RootKeyState = %+v", st)
	}
	if err := s.ForgetFormerRootKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st, _ := s.RootKeyState(t.Context()); len(st.Former) != 0 {
		t.Errorf("RootKeyState = %+v", st)
	}
	if _, err := s.RotateRootKey(t.Context()); err != nil {
		t.Errorf("RotateRootKey with the new provider = %v", err)
	}
	mustClose(t, s)

	s = store.New(oldCfg)
	if err := s.Open(t.Context()); err == nil || !strings.Contains(err.Error(), `"other"`) {
		t.Errorf("Open with the old provider = %v", err)
	}
	mustClose(t, s)
	storetest.Open(t, newCfg, nil)
}

// A root key that was left somewhere by a migration is used again by the migration back.
// Whoever is told of it then as a former one destroys what he needs.
func TestMigrateRootKeyBack(t *testing.T) {
	file, other := storetest.NewRootKey(), storetest.NewRootKeyOfKind("other")
	s := storetest.Open(t, store.Config{Dir: t.TempDir(), RootKey: file, Logger: storetest.Logger(t)}, nil)
	before, err := s.RootKeyState(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.MigrateRootKey(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if err := s.MigrateRootKey(t.Context(), &reused{file}); err != nil {
		t.Fatal(err)
	}
	after, err := s.RootKeyState(t.Context())
	if err != nil || after.ID != before.ID || len(after.Former) != 1 || after.Former[0].Kind != "other" {
		t.Errorf("RootKeyState = %+v, %v", after, err)
	}
}

// reused is a provider whose first key is there already.
type reused struct{ *storetest.RootKey }

func (r *reused) Renew(ctx context.Context) (*envelope.Key, []byte, error) { return r.Create(ctx) }

// badRoot makes root keys that cannot be used.
type badRoot struct {
	*storetest.RootKey
	renew, open, adopt error
	same               bool
}

func (b *badRoot) Renew(ctx context.Context) (*envelope.Key, []byte, error) {
	if b.renew != nil {
		return nil, nil, b.renew
	}
	if b.same {
		return b.RootKey.Create(ctx)
	}
	return b.RootKey.Renew(ctx)
}

func (b *badRoot) Open(ctx context.Context, params []byte) (*envelope.Key, error) {
	if b.open != nil {
		return nil, b.open
	}
	return b.RootKey.Open(ctx, params)
}

func (b *badRoot) Adopt(ctx context.Context, params, former []byte) error {
	if b.adopt != nil {
		return b.adopt
	}
	return b.RootKey.Adopt(ctx, params, former)
}

func TestRootKeyThatCannotBeUsed(t *testing.T) {
	cause := errors.New("out of reach")
	for _, tc := range []struct {
		name string
		bad  badRoot
		want string
		done bool
	}{
		{"not made", badRoot{renew: cause}, "make root key: out of reach", false},
		{"does not open", badRoot{open: cause}, "just made: out of reach", false},
		{"the same", badRoot{same: true}, "is the one in use", false},
		{"not in its place", badRoot{adopt: cause}, "the root key has changed", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			key := storetest.NewRootKey()
			bad := tc.bad
			bad.RootKey = key
			dir := t.TempDir()
			s := store.New(store.Config{Dir: dir, RootKey: key})
			if err := s.Open(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := s.MigrateRootKey(t.Context(), &bad); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("MigrateRootKey = %v, want %q", err, tc.want)
			}
			st, err := s.RootKeyState(t.Context())
			if err != nil || (len(st.Former) == 1) != tc.done {
				t.Errorf("RootKeyState = %+v, %v", st, err)
			}
			mustClose(t, s)
			storetest.Open(t, store.Config{Dir: dir, RootKey: key, Logger: storetest.Logger(t)}, nil)
			if tc.done && len(key.Adopted()) != 1 {
				t.Errorf("the next start adopted %q", key.Adopted())
			}
		})
	}
}

func TestRootHistoryCannotBeTakenAway(t *testing.T) {
	cfg := store.Config{Dir: t.TempDir(), RootKey: storetest.NewRootKey()}
	s := store.New(cfg)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.RotateRootKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	value, err := s.DropHistory([]byte(get(t, s, store.RootKeyKey)))
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, store.RootKeyKey, string(value))
	mustClose(t, s)
	s = store.New(cfg)
	if err := s.Open(t.Context()); err == nil || !strings.Contains(err.Error(), "history") {
		t.Errorf("Open = %v", err)
	}
	mustClose(t, s)
}

func TestRotateRootKeyFaults(t *testing.T) {
	type env struct {
		s *store.Store
		h *shelf
	}
	storetest.EveryCommit(t, storetest.Scenario[env]{
		Attach: func(s *store.Store) env {
			h := new(shelf)
			h.attach(s)
			return env{s, h}
		},
		Setup: func(t *testing.T, e env) { fill(t, e.s, e.h, 10) },
		Do: func(t *testing.T, e env) error {
			if _, err := e.s.RotateRootKey(t.Context()); err != nil {
				return err
			}
			return e.s.DestroyFormerRootKeys(t.Context())
		},
		Verify: func(t *testing.T, e env) {
			st, err := e.s.RootKeyState(t.Context())
			if err != nil || st.KEKVersion < 2 || len(st.Former) != 0 {
				t.Errorf("RootKeyState = %+v, %v", st, err)
			}
			mustUpdate(t, e.s, func(tx *store.Tx) { e.h.things.Put(tx, at("a", "new"), &thing{}) })
		},
	})
}

// late is a root key that a node gets some time after another one made it.
type late struct {
	*storetest.RootKey
	open chan struct{}
	held string
}

func (l *late) Open(ctx context.Context, params []byte) (*envelope.Key, error) {
	select {
	case <-l.open:
	default:
		if string(params) != l.held {
			return nil, errors.New("the file is not here yet")
		}
	}
	return l.RootKey.Open(ctx, params)
}

// A node that cannot open the new root key serves what it knows to be the newest state,
// and nothing else, until it can.
func TestNodeWithoutTheNewRootKey(t *testing.T) {
	endpoint, key := storetest.ExternalEtcd(t), storetest.NewRootKey()
	theirs := &late{key, make(chan struct{}), "test"}
	var a, b shelf
	s := storetest.Open(t, store.Config{Dir: t.TempDir(), Endpoints: []string{endpoint}, RootKey: key, Logger: storetest.Logger(t)}, a.attach)
	o := storetest.Open(t, store.Config{Dir: t.TempDir(), Endpoints: []string{endpoint}, RootKey: theirs}, b.attach)
	mustUpdate(t, s, func(tx *store.Tx) { a.things.Put(tx, at("a", "1"), &thing{N: 1}) })
	if _, err := s.RotateRootKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustUpdate(t, s, func(tx *store.Tx) { a.things.Put(tx, at("a", "1"), &thing{N: 2}) })
	look := func(want int) {
		t.Helper()
		view(t, o, func(v *store.Snap) {
			if r, ok := b.things.Get(v, at("a", "1")); !ok || r.N != want {
				t.Errorf("the node sees %+v, want %d", r, want)
			}
		})
	}
	write := func() error {
		_, err := o.Update(t.Context(), func(tx *store.Tx) error {
			b.things.Put(tx, at("a", "2"), &thing{N: 1})
			return nil
		})
		return err
	}
	look(2)
	if err := write(); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUnknown) || !strings.Contains(err.Error(), "root key") {
		t.Errorf("Update = %v", err)
	}

	// Now records appear that it cannot open. It must not show the old ones.
	if _, err := s.RotateStorageKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustUpdate(t, s, func(tx *store.Tx) { a.things.Put(tx, at("a", "1"), &thing{N: 3}) })
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	err := o.View(ctx, func(v *store.Snap) error { return nil })
	cancel()
	if !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("View = %v, want ErrUnavailable", err)
	}
	close(theirs.open)
	look(3)
	if err := write(); err != nil {
		t.Errorf("Update with the new root key = %v", err)
	}
	look(3)
}
