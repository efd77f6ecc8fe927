package store_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/store"
	"arca/internal/storetest"
)

func TestCompaction(t *testing.T) {
	var h shelf
	s := storetest.New(t, h.attach)
	for i := range 300 {
		mustUpdate(t, s, func(tx *store.Tx) {
			h.things.Put(tx, at("a", "1"), &thing{N: i})
			h.blobs.Put(tx, at("a", "1", "v"), &thing{N: i, Blob: make([]byte, 2000)})
		})
	}
	if did, err := s.CompactStep(t.Context()); did || err != nil {
		t.Errorf("CompactStep = %v, %v right after the start", did, err)
	}
	var old *store.Snap
	view(t, s, func(v *store.Snap) { old = v })
	mustUpdate(t, s, func(tx *store.Tx) { h.things.Put(tx, at("a", "2"), &thing{}) })
	s.MakeCompactionDue()
	if did, err := s.CompactStep(t.Context()); !did || err != nil {
		t.Errorf("CompactStep = %v, %v when due", did, err)
	}
	if did, err := s.CompactStep(t.Context()); did || err != nil {
		t.Errorf("CompactStep = %v, %v directly after", did, err)
	}
	if err := s.CompactAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := s.Stats()
	if err := s.ForceDefrag(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := s.Stats(); after.DBBytes > before.DBBytes {
		t.Errorf("file grew from %d to %d bytes", before.DBBytes, after.DBBytes)
	}

	// A snapshot older than etcd's memory still loads what has not changed since.
	r, err := h.blobs.Load(t.Context(), old, at("a", "1", "v"))
	if err != nil || r.N != 299 {
		t.Errorf("Load = %+v, %v", r, err)
	}
}

// A record that changes between the snapshot and its Load makes the closure run again.
func TestLoadOfAMovedRecord(t *testing.T) {
	var h shelf
	cfg := store.Config{Dir: t.TempDir(), RootKey: storetest.NewRootKey(), Logger: storetest.Logger(t), CacheBytes: 1}
	s := storetest.Open(t, cfg, h.attach)
	put := func(n int) {
		mustUpdate(t, s, func(tx *store.Tx) {
			h.things.Put(tx, at("a", "1"), &thing{N: n})
			h.blobs.Put(tx, at("a", "1", "v"), &thing{N: n, Blob: make([]byte, 2000)})
		})
	}
	put(1)
	for _, compact := range []bool{false, true} {
		name := fmt.Sprint("compacted ", compact)
		load := func(run *int) func(v *store.Snap) error {
			*run = 0
			return func(v *store.Snap) error {
				if *run++; *run == 1 {
					put(2)
					if compact {
						if err := s.CompactAll(t.Context()); err != nil {
							return err
						}
					}
				}
				want, _ := h.things.Get(v, at("a", "1"))
				r, err := h.blobs.Load(t.Context(), v, at("a", "1", "v"))
				if err != nil {
					return fmt.Errorf("load: %w", err)
				}
				if r.N != want.N {
					return fmt.Errorf("record at %d, child at %d", want.N, r.N)
				}
				return nil
			}
		}
		var runs int
		fn := load(&runs)
		if err := s.View(t.Context(), fn); err != nil {
			t.Errorf("%s: View = %v", name, err)
		}
		if (runs > 1) != compact {
			t.Errorf("%s: View ran %d times", name, runs)
		}
		fn = load(&runs)
		if _, err := s.Update(t.Context(), func(tx *store.Tx) error { return fn(tx.Snap) }); err != nil {
			t.Errorf("%s: Update = %v", name, err)
		}
	}
}

func TestQuota(t *testing.T) {
	var h shelf
	cfg := store.Config{Dir: t.TempDir(), RootKey: storetest.NewRootKey(), QuotaBytes: 4 << 20}
	s := storetest.Open(t, cfg, h.attach)
	var err error
	for i := 0; err == nil && i < 200; i++ {
		_, err = s.Update(t.Context(), func(tx *store.Tx) error {
			h.things.Put(tx, at("a", "1"), &thing{N: i, Blob: make([]byte, 100_000)})
			return nil
		})
	}
	if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUnknown) {
		t.Fatalf("Update in a full store = %v, want a definite ErrUnavailable", err)
	}
	view(t, s, func(v *store.Snap) {
		if _, ok := h.things.Get(v, at("a", "1")); !ok {
			t.Error("a full store does not serve")
		}
	})
	if did, err := s.DefragStep(t.Context()); !did || err != nil {
		t.Fatalf("DefragStep = %v, %v", did, err)
	}
	mustUpdate(t, s, func(tx *store.Tx) { h.things.Put(tx, at("a", "1"), &thing{N: -1}) })
}

// etcd says "no space" also of a transaction that it has applied, when others took the
// space while that one was on its way. What Update says is true all the same.
func TestQuotaCrossed(t *testing.T) {
	var h shelf
	var full atomic.Bool
	cfg := store.Config{Dir: t.TempDir(), RootKey: storetest.NewRootKey(), CommitFault: func(int) store.Fault {
		if full.Load() {
			return store.FaultFull
		}
		return store.NoFault
	}}
	s := storetest.Open(t, cfg, h.attach)
	full.Store(true)
	const writers, each = 8, 10
	var g sync.WaitGroup
	for w := range writers {
		g.Go(func() {
			for i := range each {
				if _, err := s.Update(t.Context(), func(tx *store.Tx) error {
					h.things.Put(tx, at("a", fmt.Sprint(w, "-", i)), &thing{N: i})
					return nil
				}); err != nil {
					t.Errorf("Update = %v, and yet it is applied", err)
				}
			}
		})
	}
	g.Wait()
	full.Store(false)
	view(t, s, func(v *store.Snap) {
		for w := range writers {
			for i := range each {
				if _, there := h.things.Get(v, at("a", fmt.Sprint(w, "-", i))); !there {
					t.Errorf("record %d-%d is missing", w, i)
				}
			}
		}
	})
}

func TestDump(t *testing.T) {
	var h shelf
	s := storetest.New(t, h.attach)
	mustUpdate(t, s, func(tx *store.Tx) {
		h.things.Put(tx, at("a", "1"), &thing{Name: "<n>", N: 7, Blob: []byte{1, 2, 3}})
	})
	var out strings.Builder
	if err := s.Dump(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(out.String()), &got); err != nil {
		t.Fatalf("%v in %q", err, out.String())
	}
	delete(got, "key")
	delete(got, "revision")
	delete(got, "sequence")
	want := map[string]any{
		"table": "things", "format": 3.0,
		"record": map[string]any{"1": "<n>", "2": 7.0, "4": "AQID"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Dump (-want +got):\n%s", diff)
	}
}

func TestLargeLoad(t *testing.T) {
	cfg := store.Config{Dir: t.TempDir(), RootKey: storetest.NewRootKey(), Logger: storetest.Logger(t)}
	const n = 5000
	t.Run("fill", func(t *testing.T) {
		var h shelf
		fill(t, storetest.Open(t, cfg, h.attach), &h, n)
	})
	var h shelf
	s := storetest.Open(t, cfg, h.attach)
	if got := h.things.Count("a"); got != n {
		t.Errorf("Count = %d, want %d", got, n)
	}
	view(t, s, func(v *store.Snap) {
		if got := len(names(&h, v, "name", "", false)); got != n {
			t.Errorf("index holds %d, want %d", got, n)
		}
		walked := 0
		if err := h.things.Walk(t.Context(), v, func(*thing) error { walked++; return nil }); err != nil || walked != n {
			t.Errorf("Walk visited %d, %v", walked, err)
		}
	})
}
