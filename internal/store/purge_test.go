package store_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"arca/internal/envelope"
	"arca/internal/store"
	"arca/internal/storetest"
)

// traces searches every file below dir for envelopes of the given keys, as somebody
// would who has the disk and the keys, and tries each with the key it names.
func traces(t *testing.T, dir string, keys map[string]*envelope.Key) map[string]int {
	t.Helper()
	found := make(map[string]int)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		for name, k := range keys {
			id := k.ID()
			header := binary.BigEndian.AppendUint32(append([]byte{1}, id[:]...), k.Version())
			if n := bytes.Count(raw, header); n > 0 {
				found[name] += n
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// What was deleted cannot be found any more in any file, with all the old keys in hand.
func TestErasure(t *testing.T) {
	root := storetest.NewRootKey()
	cfg := store.Config{Dir: t.TempDir(), RootKey: root, Logger: storetest.Logger(t)}
	var stages []string
	t.Run("erase", func(t *testing.T) {
		var h shelf
		s := storetest.Open(t, cfg, h.attach)
		fill(t, s, &h, 300)
		mustUpdate(t, s, func(tx *store.Tx) {
			h.things.Put(tx, at("a", "gone"), &thing{Name: "gone"})
			h.blobs.Put(tx, at("a", "gone", "v"), &thing{Blob: make([]byte, 5000)})
		})
		gone := []byte(get(t, s, h.blobs.EtcdKey(at("a", "gone", "v"))))
		mustUpdate(t, s, func(tx *store.Tx) {
			h.things.Delete(tx, at("a", "gone"))
			h.blobs.DeleteChildren(tx, "a", "gone")
		})
		all, err := s.Secrets()
		if err != nil {
			t.Fatal(err)
		}
		params := map[string]*envelope.Key{"kek": copyOf(t, all["kek"]), "storage": all["storage"]}
		if params["root"], err = root.Open(t.Context(), []byte("test")); err != nil {
			t.Fatal(err)
		}
		deleted := func() int { return occurrences(t, cfg.Dir, gone) + occurrences(t, cfg.Dir, gone[30:200]) }
		if n := traces(t, cfg.Dir, params); n["kek"] == 0 || n["storage"] < 300 || n["root"] == 0 || deleted() == 0 {
			t.Fatalf("before, the search finds %v and %d of what was deleted: it would not find anything", n, deleted())
		}

		// etcd leaves such a copy when it repairs its log after a kill.
		walDir := filepath.Join(cfg.Dir, "etcd", "member", "wal")
		files, err := filepath.Glob(filepath.Join(walDir, "*.wal"))
		if err != nil || len(files) == 0 {
			t.Fatalf("the log is %q, %v", files, err)
		}
		raw, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(files[0]+".broken", raw, 0o600); err != nil {
			t.Fatal(err)
		}

		if _, err := s.RotateStorageKey(t.Context()); err != nil {
			t.Fatal(err)
		}
		reseal(t, s)
		if _, err := s.RotateRootKey(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.DestroyFormerRootKeys(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := traces(t, cfg.Dir, params); n["kek"] == 0 || n["storage"] < 300 || n["root"] == 0 || deleted() == 0 {
			t.Fatalf("before the purge, the search finds %v and %d of what was deleted", n, deleted())
		}
		err = s.Purge(t.Context(), func(stage string, done, total int64) {
			if done == total {
				stages = append(stages, stage)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if n := traces(t, cfg.Dir, params); len(n) > 0 || deleted() > 0 {
			t.Errorf("the search finds %v and %d of what was deleted", n, deleted())
		}
		// It would find what is there.
		now, err := s.Secrets()
		if err != nil {
			t.Fatal(err)
		}
		if n := traces(t, cfg.Dir, map[string]*envelope.Key{"kek": now["kek"], "storage": now["storage"]}); n["kek"] == 0 || n["storage"] < 300 {
			t.Errorf("of the new keys the search finds %v", n)
		}
		mustUpdate(t, s, func(tx *store.Tx) { h.things.Put(tx, at("a", "after"), &thing{}) })
	})
	if got := fmt.Sprint(stages); got != "[compact log defragment]" {
		t.Errorf("stages = %s", got)
	}
	var h shelf
	storetest.Open(t, cfg, h.attach)
	if got := h.things.Count("a"); got != 301 {
		t.Errorf("Count = %d after opening again", got)
	}
}

func copyOf(t *testing.T, k *envelope.Key) *envelope.Key {
	t.Helper()
	c, err := envelope.NewKey(k.ID(), k.Version(), k.Secret().Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func occurrences(t *testing.T, dir string, part []byte) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		n += bytes.Count(raw, part)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Of an external cluster the databases are purged, and the caller is told what is not.
func TestPurgeExternal(t *testing.T) {
	m := members(t, 2)
	fill(t, m[0].s, m[0].shelf, 200)
	for range 5 {
		fill(t, m[1].s, m[1].shelf, 200)
	}
	if err := m[0].s.Purge(t.Context(), nil); !errors.Is(err, store.ErrLogRemains) {
		t.Errorf("Purge = %v", err)
	}
	for _, n := range m {
		mustUpdate(t, n.s, func(tx *store.Tx) { n.things.Put(tx, at("a", "1"), &thing{}) })
		if got := n.things.Count("a"); got != 200 {
			t.Errorf("Count = %d", got)
		}
	}
}
