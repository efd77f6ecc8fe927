package store_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/store"
	"arca/internal/storetest"
)

// thing is a record of the tests.
type thing struct {
	Name string    `cbor:"1,keyasint"`
	N    int       `cbor:"2,keyasint,omitempty"`
	Tags []string  `cbor:"3,keyasint,omitempty"`
	Blob []byte    `cbor:"4,keyasint,omitempty"`
	At   time.Time `cbor:"5,keyasint,omitzero"`
}

// shelf is the tables of the tests.
type shelf struct {
	things *store.Table[thing] // indexed by name and by tag
	parts  *store.Table[thing] // children of things
	blobs  *store.Table[thing] // children of things, large ones outside memory
}

func (h *shelf) attach(s *store.Store) {
	h.things = store.NewTable(s, store.TableSpec[thing]{
		Name: "things", Format: 3, Packed: true,
		Indexes: []store.Index[thing]{
			{Name: "name", Keys: func(r *thing, emit func(string)) { emit(r.Name) }},
			{Name: "tag", Keys: func(r *thing, emit func(string)) {
				for _, t := range r.Tags {
					emit(t)
				}
			}},
		},
	})
	h.parts = store.NewTable(s, store.TableSpec[thing]{Name: "parts", Format: 1, Child: true})
	h.blobs = store.NewTable(s, store.TableSpec[thing]{Name: "blobs", Format: 1, Child: true, InlineLimit: 512, Packed: true})
	// So that records are forgotten all the time.
	h.things.KeepHot(3)
	h.blobs.KeepHot(1)
}

func at(scope string, rest ...string) store.Key {
	k := store.Key{Scope: scope}
	if len(rest) > 0 {
		k.Parent = rest[0]
	}
	if len(rest) > 1 {
		k.Child = rest[1]
	}
	return k
}

func mustUpdate(t testing.TB, s *store.Store, fn func(tx *store.Tx)) store.Commit {
	t.Helper()
	c, err := s.Update(t.Context(), func(tx *store.Tx) error { fn(tx); return nil })
	if err != nil {
		t.Fatalf("Update: %v", err)
	}
	return c
}

func mustClose(t testing.TB, s *store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func closeLater(t testing.TB, s *store.Store) { t.Cleanup(func() { mustClose(t, s) }) }

func view(t testing.TB, s *store.Store, fn func(v *store.Snap)) {
	t.Helper()
	if err := s.View(t.Context(), func(v *store.Snap) error { fn(v); return nil }); err != nil {
		t.Fatalf("View: %v", err)
	}
}

func names(h *shelf, v *store.Snap, index, from string, down bool) []string {
	var got []string
	visit := func(key string, r *thing) bool { got = append(got, key+"="+r.Name); return true }
	if down {
		h.things.Descend(v, index, from, visit)
	} else {
		h.things.Ascend(v, index, from, visit)
	}
	return got
}

func TestReadsAndWrites(t *testing.T) {
	var h shelf
	s := storetest.New(t, h.attach)
	now := time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)

	mustUpdate(t, s, func(tx *store.Tx) {
		r := thing{Name: "b", N: 1, Tags: []string{"x", "y"}, At: now}
		h.things.Put(tx, at("acct", "1"), &r)
		r.Name = "changed after Put"
		h.things.Put(tx, at("acct", "2"), &thing{Name: "a", Tags: []string{"x"}})
		h.things.Put(tx, at("other", "1"), &thing{Name: "c"})
		h.parts.Put(tx, at("acct", "1", "p"), &thing{Name: "part"})
		if _, ok := h.things.Get(tx.Snap, at("acct", "1")); ok {
			t.Error("a transaction sees its own writes")
		}
	})
	view(t, s, func(v *store.Snap) {
		got, ok := h.things.Get(v, at("acct", "1"))
		want := &thing{Name: "b", N: 1, Tags: []string{"x", "y"}, At: now}
		if diff := cmp.Diff(want, got); !ok || diff != "" {
			t.Errorf("Get: %v, diff (-want +got):\n%s", ok, diff)
		}
		if _, ok := h.things.Get(v, at("acct")); ok {
			t.Error("Get of a key without parent found a record")
		}
		for _, tc := range []struct {
			name, index, from string
			down              bool
			want              string
		}{
			{"all up", "name", "", false, "a=a b=b c=c"},
			{"from up", "name", "b", false, "b=b c=c"},
			{"between up", "name", "aa", false, "b=b c=c"},
			{"all down", "name", "", true, "c=c b=b a=a"},
			{"from down", "name", "b", true, "b=b a=a"},
			{"between down", "name", "bb", true, "b=b a=a"},
			{"several keys", "tag", "y", false, "y=b"},
			{"before the first", "name", "A", true, ""},
		} {
			if got := strings.Join(names(&h, v, tc.index, tc.from, tc.down), " "); got != tc.want {
				t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
			}
		}
		if got := len(names(&h, v, "tag", "x", false)); got != 3 {
			t.Errorf("tag index has %d keys, want 3", got)
		}
	})
	if got := h.things.Count("acct"); got != 2 {
		t.Errorf("Count = %d, want 2", got)
	}

	old := func() (v *store.Snap) { view(t, s, func(w *store.Snap) { v = w }); return v }()
	mustUpdate(t, s, func(tx *store.Tx) {
		h.things.Put(tx, at("acct", "1"), &thing{Name: "z"})
		h.things.Delete(tx, at("acct", "2"))
		h.parts.Delete(tx, at("acct", "1", "p"))
	})
	view(t, s, func(v *store.Snap) {
		if got := strings.Join(names(&h, v, "name", "", false), " "); got != "c=c z=z" {
			t.Errorf("after the change: %q", got)
		}
		if got := names(&h, v, "tag", "", false); got != nil {
			t.Errorf("tag index still has %q", got)
		}
		if _, ok := h.parts.Get(v, at("acct", "1", "p")); ok {
			t.Error("deleted child is still there")
		}
		if v.Revision() <= old.Revision() {
			t.Errorf("revision %d after %d", v.Revision(), old.Revision())
		}
	})
	if got := strings.Join(names(&h, old, "name", "", false), " "); got != "a=a b=b c=c" {
		t.Errorf("an old snapshot changed: %q", got)
	}
	if got := h.things.Count("acct"); got != 1 {
		t.Errorf("Count = %d, want 1", got)
	}
}

func TestUpdateWithoutWritesCommitsNothing(t *testing.T) {
	var h shelf
	s := storetest.New(t, h.attach)
	c := mustUpdate(t, s, func(tx *store.Tx) { tx.SetEffect(func([]store.Change) []byte { return []byte("e") }) })
	if c != (store.Commit{}) {
		t.Errorf("Update = %+v, want nothing", c)
	}
	boom := errors.New("boom")
	_, err := s.Update(t.Context(), func(tx *store.Tx) error {
		h.things.Put(tx, at("a", "1"), &thing{})
		return boom
	})
	if err != boom {
		t.Errorf("Update = %v, want the closure's error", err)
	}
	if h.things.Count("a") != 0 {
		t.Error("a failed closure wrote")
	}
}

func TestReopen(t *testing.T) {
	var h shelf
	dir, key := t.TempDir(), storetest.NewRootKey()
	cfg := store.Config{Dir: dir, RootKey: key, Logger: storetest.Logger(t)}
	var node, deployment string
	t.Run("first", func(t *testing.T) {
		s := storetest.Open(t, cfg, h.attach)
		for i := range 50 {
			mustUpdate(t, s, func(tx *store.Tx) {
				h.things.Put(tx, at("a", fmt.Sprint(i)), &thing{Name: fmt.Sprint("n", i)})
				h.blobs.Put(tx, at("a", fmt.Sprint(i), "v"), &thing{Blob: make([]byte, i*40)})
			})
		}
		node, deployment = s.NodeID(), s.DeploymentID()
	})
	var again shelf
	s := storetest.Open(t, cfg, again.attach)
	if s.NodeID() != node || s.DeploymentID() != deployment {
		t.Errorf("identity changed: %s %s, was %s %s", s.NodeID(), s.DeploymentID(), node, deployment)
	}
	if got := again.things.Count("a"); got != 50 {
		t.Errorf("Count = %d after reopening, want 50", got)
	}
	for i := range 50 {
		view(t, s, func(v *store.Snap) {
			r, err := again.blobs.Load(t.Context(), v, at("a", fmt.Sprint(i), "v"))
			if err != nil || len(r.Blob) != i*40 {
				t.Errorf("Load %d = %v, %v", i, r, err)
			}
		})
	}
	view(t, s, func(v *store.Snap) {
		if _, err := again.blobs.Load(t.Context(), v, at("a", "1", "none")); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Load of nothing = %v, want ErrNotFound", err)
		}
	})
	mustUpdate(t, s, func(tx *store.Tx) { again.things.Put(tx, at("a", "7"), &thing{Name: "new"}) })
}
