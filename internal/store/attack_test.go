package store_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"arca/internal/store"
	"arca/internal/storetest"
)

// lockedBuffer is a log to look into.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// openUnchecked opens a store whose data a test is going to spoil.
func openUnchecked(t *testing.T, cfg store.Config, h *shelf) *store.Store {
	t.Helper()
	s := store.New(cfg)
	h.attach(s)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	closeLater(t, s)
	run(t, s)
	return s
}

// What somebody who controls etcd can do to a running process.
func TestRunningMirrorKeepsTheLastGoodState(t *testing.T) {
	one := at("a", "1")
	for _, tc := range []struct {
		name, problem string
		spoil         func(s *store.Store, h *shelf, key string, old, current []byte) string // the value to put
	}{
		{"older record put back", "sequence went backwards", func(_ *store.Store, _ *shelf, _ string, old, _ []byte) string { return string(old) }},
		{"same record put again", "sequence went backwards", func(_ *store.Store, _ *shelf, _ string, _, current []byte) string { return string(current) }},
		{"record of another key", "does not open", func(s *store.Store, h *shelf, _ string, _, _ []byte) string {
			return get(t, s, h.things.EtcdKey(at("a", "2")))
		}},
		{"one byte changed", "does not open", func(_ *store.Store, _ *shelf, _ string, _, current []byte) string {
			b := bytes.Clone(current)
			b[len(b)-1] ^= 1
			return string(b)
		}},
		{"sequence raised", "does not open", func(_ *store.Store, _ *shelf, _ string, _, current []byte) string {
			b := bytes.Clone(current)
			b[1]++
			return string(b)
		}},
		{"rubbish", "not of a known format", func(*store.Store, *shelf, string, []byte, []byte) string { return "rubbish" }},
		{"empty", "not of a known format", func(*store.Store, *shelf, string, []byte, []byte) string { return "" }},
		{"newer record format", "newer than this binary", func(s *store.Store, _ *shelf, key string, _, _ []byte) string {
			return forge(t, s, key, []byte{0x82, 4, 0xa1, 1, 0x61, 'x'})
		}},
		{"unknown field", "not well-formed", func(s *store.Store, _ *shelf, key string, _, _ []byte) string {
			return forge(t, s, key, []byte{0x82, 3, 0xa1, 0x18, 99, 1})
		}},
		{"not CBOR", "not well-formed", func(s *store.Store, _ *shelf, key string, _, _ []byte) string {
			return forge(t, s, key, []byte{0x82, 3, 0xff})
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var h shelf
			var log lockedBuffer
			s := openUnchecked(t, store.Config{
				Dir: t.TempDir(), RootKey: storetest.NewRootKey(),
				Logger: slog.New(slog.NewTextHandler(&log, nil)),
			}, &h)
			s.SetFree(false) // somebody else can write now
			key := h.things.EtcdKey(one)
			mustUpdate(t, s, func(tx *store.Tx) {
				h.things.Put(tx, one, &thing{Name: "first"})
				h.things.Put(tx, at("a", "2"), &thing{Name: "other"})
			})
			old := get(t, s, key)
			mustUpdate(t, s, func(tx *store.Tx) { h.things.Put(tx, one, &thing{Name: "second"}) })
			bad := tc.spoil(s, &h, key, []byte(old), []byte(get(t, s, key)))
			if _, err := s.Client().Put(t.Context(), key, bad); err != nil {
				t.Fatal(err)
			}
			view(t, s, func(v *store.Snap) {
				if r, ok := h.things.Get(v, one); !ok || r.Name != "second" {
					t.Errorf("Get = %+v, %v, want the last good record", r, ok)
				}
			})
			if !strings.Contains(log.String(), tc.problem) {
				t.Errorf("log does not say %q:\n%s", tc.problem, log.String())
			}
			var problems []string
			if err := s.Check(t.Context(), func(p string) { problems = append(problems, p) }); err != nil {
				t.Fatal(err)
			}
			if len(problems) < 2 {
				t.Errorf("Check reports %q", problems)
			}
			if s.Stats().Refused != 1 {
				t.Errorf("Stats().Refused = %d, want 1", s.Stats().Refused)
			}
		})
	}
}

func TestDeletedRecordCannotBePutBack(t *testing.T) {
	var h shelf
	s := openUnchecked(t, store.Config{Dir: t.TempDir(), RootKey: storetest.NewRootKey()}, &h)
	s.SetFree(false)
	one := at("a", "1")
	mustUpdate(t, s, func(tx *store.Tx) { h.things.Put(tx, one, &thing{Name: "first"}) })
	old := get(t, s, h.things.EtcdKey(one))
	mustUpdate(t, s, func(tx *store.Tx) { h.things.Delete(tx, one) })
	if _, err := s.Client().Put(t.Context(), h.things.EtcdKey(one), old); err != nil {
		t.Fatal(err)
	}
	view(t, s, func(v *store.Snap) {
		if r, ok := h.things.Get(v, one); ok {
			t.Errorf("Get = %+v, want nothing", r)
		}
	})
}

func TestNothingReadableInEtcd(t *testing.T) {
	var h shelf
	dir := t.TempDir()
	const marker = "MARKERvalueMARKER"
	t.Run("write", func(t *testing.T) {
		s := storetest.Open(t, store.Config{Dir: dir, RootKey: storetest.NewRootKey()}, h.attach)
		c := mustUpdate(t, s, func(tx *store.Tx) {
			k := at(marker+"scope", marker+"parent")
			h.things.Put(tx, k, &thing{Name: marker, Tags: []string{marker}})
			h.parts.Put(tx, at(k.Scope, k.Parent, marker+"child"), &thing{Blob: []byte(marker)})
			tx.SetEffect(func([]store.Change) []byte { return []byte(marker) })
		})
		if c.Effect == 0 {
			t.Fatal("no effect")
		}
	})
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if bytes.Contains(raw, []byte("MARKER")) {
			t.Errorf("%s holds the marker in the clear", path)
		}
		if info, err := d.Info(); err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	key := storetest.NewRootKey()
	spoil := func(change func(s *store.Store)) func(t *testing.T, cfg *store.Config) {
		return func(t *testing.T, cfg *store.Config) {
			s := store.New(*cfg)
			if err := s.Open(t.Context()); err != nil {
				t.Fatal(err)
			}
			change(s)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	put := func(key, value string) func(s *store.Store) {
		return func(s *store.Store) {
			if _, err := s.Client().Put(t.Context(), key, value); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(key string) func(s *store.Store) {
		return func(s *store.Store) {
			if _, err := s.Client().Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tc := range []struct {
		name, want string
		before     func(t *testing.T, cfg *store.Config)
	}{
		{"no root key", "no root key", func(_ *testing.T, c *store.Config) { c.RootKey = nil }},
		{"no place", "neither a data directory nor etcd endpoints", func(_ *testing.T, c *store.Config) { c.Dir = "" }},
		{"foreign key before", "not ours", spoil(put("another/app", "x"))},
		{"foreign key after", "not ours", spoil(put("zebra", "x"))},
		{"newer layout", "newer arca", spoil(put("arca/2/things/x", "x"))},
		{"root record missing", "restore a backup", spoil(remove("arca/1/meta/root"))},
		{"keyring missing", "restore a backup", spoil(remove("arca/1/meta/keyring"))},
		{"floor missing", "restore a backup", spoil(remove("arca/1/meta/floor"))},
		{"root record damaged", "read root record", spoil(put("arca/1/meta/root", "x"))},
		{"keyring damaged", "read keyring", spoil(put("arca/1/meta/keyring", "x"))},
		{"another root key", "this store was sealed with", func(t *testing.T, c *store.Config) {
			spoil(func(*store.Store) {})(t, c)
			c.RootKey = storetest.NewRootKey()
		}},
		{"in use", "is in use by process", func(t *testing.T, c *store.Config) {
			s := store.New(*c)
			if err := s.Open(t.Context()); err != nil {
				t.Fatal(err)
			}
			closeLater(t, s)
		}},
		{"identity missing", "node.json", func(t *testing.T, c *store.Config) {
			spoil(func(*store.Store) {})(t, c)
			if err := os.Remove(filepath.Join(c.Dir, "node.json")); err != nil {
				t.Fatal(err)
			}
		}},
		{"identity damaged", "node.json", func(t *testing.T, c *store.Config) {
			spoil(func(*store.Store) {})(t, c)
			if err := os.WriteFile(filepath.Join(c.Dir, "node.json"), []byte("{}"), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"endpoint down", "reach etcd", func(t *testing.T, c *store.Config) {
			c.Endpoints = []string{"unix://" + filepath.Join(t.TempDir(), "none")}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := store.Config{Dir: t.TempDir(), RootKey: key}
			tc.before(t, &cfg)
			s := store.New(cfg)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			err := s.Open(ctx)
			if err == nil {
				closeLater(t, s)
				t.Fatal("Open succeeded")
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Open = %q, want something with %q", err, tc.want)
			}
			if err := s.Close(); err != nil {
				t.Errorf("Close after a refused Open: %v", err)
			}
		})
	}
}

func get(t *testing.T, s *store.Store, key string) string {
	t.Helper()
	got, err := s.Client().Get(t.Context(), key)
	if err != nil || len(got.Kvs) != 1 {
		t.Fatalf("get %q: %d values, %v", key, len(got.Kvs), err)
	}
	return string(got.Kvs[0].Value)
}

func forge(t *testing.T, s *store.Store, key string, plain []byte) string {
	t.Helper()
	v, err := s.Forge(key, 1000, plain)
	if err != nil {
		t.Fatal(err)
	}
	return string(v)
}
