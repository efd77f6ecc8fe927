package store_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"arca/internal/store"
	"arca/internal/storetest"
)

type member struct {
	*shelf
	s *store.Store
}

// members are stores on one etcd, as different nodes have them.
func members(t *testing.T, n int) []member {
	t.Helper()
	endpoint, key := storetest.ExternalEtcd(t), storetest.NewRootKey()
	var out []member
	for range n {
		h := new(shelf)
		s := storetest.Open(t, store.Config{
			Dir: t.TempDir(), Endpoints: []string{endpoint}, RootKey: key, Logger: storetest.Logger(t),
		}, h.attach)
		out = append(out, member{h, s})
	}
	return out
}

func TestNodesSeeEachOther(t *testing.T) {
	m := members(t, 2)
	if m[0].s.DeploymentID() != m[1].s.DeploymentID() || m[0].s.NodeID() == m[1].s.NodeID() {
		t.Errorf("ids: deployment %s and %s, node %s and %s",
			m[0].s.DeploymentID(), m[1].s.DeploymentID(), m[0].s.NodeID(), m[1].s.NodeID())
	}
	for i := range 100 {
		w, r := m[i%2], m[(i+1)%2]
		mustUpdate(t, w.s, func(tx *store.Tx) {
			w.things.Put(tx, at("a", "1"), &thing{Name: fmt.Sprint(i)})
			w.blobs.Put(tx, at("a", "1", "v"), &thing{Blob: []byte(strings.Repeat(fmt.Sprint(i), 1000))})
		})
		view(t, r.s, func(v *store.Snap) {
			got, ok := r.things.Get(v, at("a", "1"))
			if !ok || got.Name != fmt.Sprint(i) {
				t.Fatalf("round %d: the other node sees %+v", i, got)
			}
			b, err := r.blobs.Load(t.Context(), v, at("a", "1", "v"))
			if err != nil || string(b.Blob) != strings.Repeat(fmt.Sprint(i), 1000) {
				t.Fatalf("round %d: the other node loads %d bytes, %v", i, len(b.Blob), err)
			}
		})
	}
}

func TestNodesCount(t *testing.T) {
	m := members(t, 2)
	const rounds = 30
	var wg sync.WaitGroup
	for _, n := range m {
		for range 2 {
			wg.Go(func() {
				for range rounds {
					c, err := n.s.Update(t.Context(), func(tx *store.Tx) error {
						r, ok := n.things.Get(tx.Snap, at("a", "1"))
						if !ok {
							r = &thing{}
						}
						n.things.Put(tx, at("a", "1"), &thing{N: r.N + 1})
						tx.SetEffect(func([]store.Change) []byte { return []byte("x") })
						return nil
					})
					if err != nil {
						t.Error(err)
						return
					}
					n.s.ReleaseEffect(c.Effect)
				}
			})
		}
	}
	wg.Wait()
	for _, n := range m {
		view(t, n.s, func(v *store.Snap) {
			if r, _ := n.things.Get(v, at("a", "1")); r.N != 4*rounds {
				t.Errorf("counter = %d, want %d", r.N, 4*rounds)
			}
		})
	}
}

// A node whose watch falls behind a compaction loads everything again and shows
// nothing old meanwhile.
func TestResyncAfterCompaction(t *testing.T) {
	endpoint, key := storetest.ExternalEtcd(t), storetest.NewRootKey()
	cfg := func() store.Config {
		return store.Config{Dir: t.TempDir(), Endpoints: []string{endpoint}, RootKey: key, Logger: storetest.Logger(t)}
	}
	var behind, writer shelf
	b := store.New(cfg())
	behind.attach(b)
	if err := b.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	closeLater(t, b)
	w := storetest.Open(t, cfg(), writer.attach)
	mustUpdate(t, w, func(tx *store.Tx) {
		writer.things.Put(tx, at("a", "gone"), &thing{Name: "gone"})
	})
	for i := range 20 {
		mustUpdate(t, w, func(tx *store.Tx) { writer.things.Put(tx, at("a", fmt.Sprint(i%7)), &thing{N: i}) })
	}
	mustUpdate(t, w, func(tx *store.Tx) { writer.things.Delete(tx, at("a", "gone")) })
	if err := w.CompactAll(t.Context()); err != nil {
		t.Fatal(err)
	}

	seen := make(chan error, 1)
	go func() {
		seen <- b.View(t.Context(), func(v *store.Snap) error {
			if r, ok := behind.things.Get(v, at("a", "5")); !ok || r.N != 19 {
				return fmt.Errorf("an old state was shown: %+v", r)
			}
			if _, ok := behind.things.Get(v, at("a", "gone")); ok {
				return fmt.Errorf("a deleted record was shown")
			}
			return nil
		})
	}()
	select {
	case err := <-seen:
		t.Fatalf("View returned before the node could know: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	run(t, b)
	if err := <-seen; err != nil {
		t.Error(err)
	}
	if got := behind.things.Count("a"); got != 7 {
		t.Errorf("Count = %d, want 7", got)
	}
	if err := b.Check(t.Context(), func(p string) { t.Error(p) }); err != nil {
		t.Error(err)
	}
}

// run runs a store until the test ends.
func run(t *testing.T, s *store.Store) {
	done := make(chan error, 1)
	go func() { done <- s.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-done; err != nil && err != store.ErrClosed {
			t.Errorf("Run: %v", err)
		}
	})
}
