package store_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/store"
	"arca/internal/storetest"
)

func TestConflictRunsAgain(t *testing.T) {
	var h shelf
	s := storetest.New(t, h.attach)
	const clients, rounds = 64, 5
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for range rounds {
				_, err := s.Update(t.Context(), func(tx *store.Tx) error {
					n := 0
					if r, ok := h.things.Get(tx.Snap, at("a", "counter")); ok {
						n = r.N
					}
					h.things.Put(tx, at("a", "counter"), &thing{N: n + 1})
					return nil
				})
				if err != nil {
					t.Errorf("Update: %v", err)
				}
			}
		})
	}
	wg.Wait()
	view(t, s, func(v *store.Snap) {
		if r, _ := h.things.Get(v, at("a", "counter")); r.N != clients*rounds {
			t.Errorf("counter = %d, want %d", r.N, clients*rounds)
		}
	})
}

func TestWhatIsCompared(t *testing.T) {
	var h shelf
	one, two := at("a", "1"), at("a", "2")
	part := at("a", "1", "p")
	for _, tc := range []struct {
		name   string
		first  func(tx *store.Tx) // what the transaction does
		other  func(tx *store.Tx) // what somebody does meanwhile; nil: makes two and deletes it
		reruns bool
	}{
		{"put and put", func(tx *store.Tx) { h.things.Put(tx, one, &thing{}) }, func(tx *store.Tx) { h.things.Put(tx, one, &thing{}) }, true},
		{"create and create", func(tx *store.Tx) { h.things.Put(tx, two, &thing{}) }, func(tx *store.Tx) { h.things.Put(tx, two, &thing{}) }, true},
		{"delete and put", func(tx *store.Tx) { h.things.Delete(tx, one) }, func(tx *store.Tx) { h.things.Put(tx, one, &thing{}) }, true},
		{"create, and create and delete", func(tx *store.Tx) { h.things.Put(tx, two, &thing{}) }, nil, true},
		{"put and delete", func(tx *store.Tx) { h.things.Put(tx, one, &thing{}) }, func(tx *store.Tx) { h.things.Delete(tx, one) }, true},
		{"put and unrelated", func(tx *store.Tx) { h.things.Put(tx, one, &thing{}) }, func(tx *store.Tx) { h.things.Put(tx, two, &thing{}) }, false},
		{"guard and put", func(tx *store.Tx) { h.things.Guard(tx, one); h.things.Put(tx, two, &thing{}) }, func(tx *store.Tx) { h.things.Put(tx, one, &thing{}) }, true},
		{"guard of nothing and create", func(tx *store.Tx) { h.things.Guard(tx, two); h.things.Put(tx, one, &thing{}) }, func(tx *store.Tx) { h.things.Put(tx, two, &thing{}) }, true},
		{"guard and delete", func(tx *store.Tx) { h.things.Guard(tx, one); h.things.Put(tx, two, &thing{}) }, func(tx *store.Tx) { h.things.Delete(tx, one) }, true},
		{"child under guard and parent", func(tx *store.Tx) { h.things.Guard(tx, one); h.parts.Put(tx, part, &thing{}) }, func(tx *store.Tx) { h.things.Put(tx, one, &thing{}) }, true},
		{"child and child", func(tx *store.Tx) { h.things.Guard(tx, one); h.parts.Put(tx, part, &thing{}) },
			func(tx *store.Tx) { h.things.Guard(tx, one); h.parts.Put(tx, part, &thing{}) }, true},
		{"child and other child", func(tx *store.Tx) { h.things.Guard(tx, one); h.parts.Put(tx, part, &thing{}) },
			func(tx *store.Tx) { h.things.Guard(tx, one); h.parts.Put(tx, at("a", "1", "q"), &thing{}) }, false},
		{"child under parent and child", func(tx *store.Tx) { h.things.Put(tx, one, &thing{}); h.parts.Put(tx, part, &thing{}) },
			func(tx *store.Tx) { h.things.Put(tx, one, &thing{}); h.parts.Put(tx, part, &thing{}) }, true},
		{"read only", func(tx *store.Tx) { h.things.Get(tx.Snap, one); h.things.Put(tx, two, &thing{}) }, func(tx *store.Tx) { h.things.Put(tx, one, &thing{}) }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := storetest.New(t, h.attach)
			mustUpdate(t, s, func(tx *store.Tx) { h.things.Put(tx, one, &thing{}) })
			runs := 0
			_, err := s.Update(t.Context(), func(tx *store.Tx) error {
				if runs++; runs == 1 && tc.other == nil {
					mustUpdate(t, s, func(tx *store.Tx) { h.things.Put(tx, two, &thing{}) })
					mustUpdate(t, s, func(tx *store.Tx) { h.things.Delete(tx, two) })
				} else if runs == 1 {
					mustUpdate(t, s, tc.other)
				}
				tc.first(tx)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			mustUpdate(t, s, func(tx *store.Tx) { h.things.Put(tx, two, &thing{}) }) // the mirror has what etcd has
			if (runs > 1) != tc.reruns {
				t.Errorf("closure ran %d times, want again: %v", runs, tc.reruns)
			}
		})
	}
}

func TestMistakesAreRefused(t *testing.T) {
	var h shelf
	s := storetest.New(t, h.attach)
	for _, tc := range []struct {
		name, want string
		fn         func(tx *store.Tx)
	}{
		{"child without parent", "without writing or guarding its parent", func(tx *store.Tx) { h.parts.Put(tx, at("a", "1", "p"), &thing{}) }},
		{"children deleted without parent", "without writing or deleting their parent", func(tx *store.Tx) { h.things.Guard(tx, at("a", "1")); h.parts.DeleteChildren(tx, "a", "1") }},
		{"parent in another scope", "without writing or guarding its parent", func(tx *store.Tx) {
			h.things.Guard(tx, at("b", "1"))
			h.parts.Put(tx, at("a", "1", "p"), &thing{})
		}},
		{"too many", "at most", func(tx *store.Tx) {
			for i := range store.MaxWrites + 1 {
				h.things.Put(tx, at("a", fmt.Sprint(i)), &thing{})
			}
		}},
		{"invalid text", "UTF-8", func(tx *store.Tx) { h.things.Put(tx, at("a", "1"), &thing{Name: "\xff"}) }},
	} {
		_, err := s.Update(t.Context(), func(tx *store.Tx) error { tc.fn(tx); return nil })
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want one with %q", tc.name, err, tc.want)
		}
	}
	mustUpdate(t, s, func(tx *store.Tx) {
		for i := range store.MaxWrites {
			h.things.Put(tx, at("a", fmt.Sprint(i)), &thing{})
		}
	})
}

func TestDeleteChildren(t *testing.T) {
	var h shelf
	s := storetest.New(t, h.attach)
	fill := func() {
		mustUpdate(t, s, func(tx *store.Tx) {
			for _, p := range []string{"1", "2"} {
				h.things.Put(tx, at("a", p), &thing{})
				for i := range 5 {
					h.parts.Put(tx, at("a", p, fmt.Sprint(i)), &thing{N: i})
				}
			}
		})
	}
	left := func(parent string) (n int) {
		view(t, s, func(v *store.Snap) {
			for i := range 9 {
				if _, ok := h.parts.Get(v, at("a", parent, fmt.Sprint(i))); ok {
					n++
				}
			}
		})
		return n
	}

	fill()
	var changes []store.Change
	c := mustUpdate(t, s, func(tx *store.Tx) {
		h.things.Delete(tx, at("a", "1"))
		h.parts.DeleteChildren(tx, "a", "1")
		h.parts.Delete(tx, at("a", "1", "3"))
		tx.SetEffect(func(ch []store.Change) []byte { changes = ch; return nil })
	})
	s.ReleaseEffect(c.Effect)
	if left("1") != 0 || left("2") != 5 {
		t.Errorf("children left: %d and %d, want 0 and 5", left("1"), left("2"))
	}
	if len(changes) != 6 {
		t.Errorf("%d changes, want 6", len(changes))
	}

	fill()
	mustUpdate(t, s, func(tx *store.Tx) {
		h.things.Put(tx, at("a", "1"), &thing{})
		h.parts.DeleteChildren(tx, "a", "1")
		h.parts.Put(tx, at("a", "1", "3"), &thing{})
		h.parts.Put(tx, at("a", "1", "8"), &thing{})
	})
	if left("1") != 2 || left("2") != 5 {
		t.Errorf("children left: %d and %d, want 2 and 5", left("1"), left("2"))
	}
}

func TestEffectTellsWhatWasStored(t *testing.T) {
	var h shelf
	s := storetest.New(t, h.attach)
	mustUpdate(t, s, func(tx *store.Tx) { h.things.Put(tx, at("a", "old"), &thing{}) })
	var got []store.Change
	c := mustUpdate(t, s, func(tx *store.Tx) {
		h.things.Put(tx, at("a", "1"), &thing{Name: "x"})
		h.things.Delete(tx, at("a", "old"))
		tx.SetEffect(func(ch []store.Change) []byte { got = ch; return []byte("line") })
	})
	if c.Effect == 0 || c.Revision == 0 || len(got) != 2 {
		t.Fatalf("commit %+v, changes %+v", c, got)
	}
	for _, ch := range got {
		kv, err := s.Client().Get(t.Context(), string(ch.Key))
		if err != nil {
			t.Fatal(err)
		}
		if ch.Deleted {
			if len(kv.Kvs) != 0 || ch.SHA256 != [32]byte{} || ch.Sequence == 0 {
				t.Errorf("deletion %+v, etcd holds %v", ch, kv.Kvs)
			}
			continue
		}
		seq, _, err := store.SplitValue(kv.Kvs[0].Value)
		if err != nil || seq != ch.Sequence || sha256.Sum256(kv.Kvs[0].Value) != ch.SHA256 {
			t.Errorf("change %+v does not match what is stored (sequence %d, %v)", ch, seq, err)
		}
	}
	s.ReleaseEffect(c.Effect)
}

func TestEffectsSurviveUntilReleased(t *testing.T) {
	cfg := store.Config{Dir: t.TempDir(), RootKey: storetest.NewRootKey(), Logger: storetest.Logger(t)}
	var released, kept store.Commit
	t.Run("first life", func(t *testing.T) {
		var h shelf
		s := storetest.Open(t, cfg, h.attach)
		put := func(name string) store.Commit {
			return mustUpdate(t, s, func(tx *store.Tx) {
				h.things.Put(tx, at("a", name), &thing{})
				tx.SetEffect(func([]store.Change) []byte { return []byte(name) })
			})
		}
		kept, released = put("kept"), put("released")
		mustUpdate(t, s, func(tx *store.Tx) { h.things.Put(tx, at("a", "marker"), &thing{}) })
		s.ReleaseEffect(released.Effect)
		if err := s.RemoveStep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.Effects(t.Context(), func(uint64, []byte) error { t.Error("lists an effect of this life"); return nil }); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("second life", func(t *testing.T) {
		var h shelf
		s := storetest.Open(t, cfg, h.attach)
		got := map[uint64]string{}
		list := func() {
			clear(got)
			if err := s.Effects(t.Context(), func(seq uint64, data []byte) error { got[seq] = string(data); return nil }); err != nil {
				t.Fatal(err)
			}
		}
		list()
		if got[kept.Effect] != "kept" {
			t.Errorf("Effects = %v, want the kept one", got)
		}
		delete(got, kept.Effect)
		for seq, data := range got {
			if data != "released" { // it stays if the range delete stopped below it
				t.Errorf("Effects lists %d = %q", seq, data)
			}
			s.ReleaseEffect(seq)
		}
		s.ReleaseEffect(kept.Effect)
		c := mustUpdate(t, s, func(tx *store.Tx) {
			h.things.Put(tx, at("a", "again"), &thing{})
			tx.SetEffect(func([]store.Change) []byte { return []byte("again") })
		})
		if c.Effect <= released.Effect {
			t.Errorf("effect %d after %d of an earlier life", c.Effect, released.Effect)
		}
		s.ReleaseEffect(c.Effect)
		if err := s.RemoveStep(t.Context()); err != nil {
			t.Fatal(err)
		}
		list()
		if len(got) != 0 {
			t.Errorf("Effects = %v after all were released", got)
		}
		if n, err := s.EffectKeys(t.Context()); n != 0 || err != nil {
			t.Errorf("%d effects left in etcd, %v", n, err)
		}
	})
}

func TestEveryCommit(t *testing.T) {
	type env struct {
		*shelf
		s *store.Store
	}
	seen := map[string]int{}
	var mu sync.Mutex
	storetest.EveryCommit(t, storetest.Scenario[env]{
		Attach: func(s *store.Store) env {
			h := new(shelf)
			h.attach(s)
			return env{h, s}
		},
		Setup: func(t *testing.T, e env) {
			mustUpdate(t, e.s, func(tx *store.Tx) { e.things.Put(tx, at("a", "1"), &thing{}) })
		},
		Do: func(t *testing.T, e env) error {
			for _, name := range []string{"x", "y"} {
				c, err := e.s.Update(t.Context(), func(tx *store.Tx) error {
					r, _ := e.things.Get(tx.Snap, at("a", "1"))
					if r.Name >= name {
						return nil
					}
					e.things.Put(tx, at("a", "1"), &thing{Name: name, N: r.N + 1})
					tx.SetEffect(func([]store.Change) []byte { return []byte(name) })
					return nil
				})
				mu.Lock()
				switch {
				case errors.Is(err, store.ErrUnknown):
					seen["unknown"]++
				case errors.Is(err, store.ErrUnavailable):
					seen["unavailable"]++
				case err != nil:
					seen["other"]++
				}
				mu.Unlock()
				if err != nil {
					return err
				}
				if c.Effect != 0 {
					e.s.ReleaseEffect(c.Effect)
				}
			}
			return nil
		},
		Verify: func(t *testing.T, e env) {
			view(t, e.s, func(v *store.Snap) {
				if r, _ := e.things.Get(v, at("a", "1")); r.Name != "y" || r.N != 2 {
					t.Errorf("record = %+v, want y written second", r)
				}
			})
			// An effect of unknown outcome shows up if and only if it happened.
			err := e.s.Effects(t.Context(), func(seq uint64, data []byte) error { e.s.ReleaseEffect(seq); return nil })
			if err != nil {
				t.Error(err)
			}
			if err := e.s.RemoveStep(t.Context()); err != nil {
				t.Error(err)
			}
			if n, err := e.s.EffectKeys(t.Context()); n != 0 || err != nil {
				t.Errorf("%d effects left, %v", n, err)
			}
		},
	})
	if diff := cmp.Diff(map[string]int{"unknown": 2, "unavailable": 2}, seen); diff != "" {
		t.Errorf("errors seen (-want +got):\n%s", diff)
	}
}

// A transaction that is still under way when its outcome is asked for must not happen
// any more once the answer was no.
func TestRuledOutTransactionNeverCommits(t *testing.T) {
	var h shelf
	s := storetest.New(t, h.attach)
	sent := make(chan func() error, 1)
	s.HoldNextCommit(func(release func() error) { sent <- release })
	_, err := s.Update(t.Context(), func(tx *store.Tx) error {
		h.things.Put(tx, at("a", "late"), &thing{})
		tx.SetEffect(func([]store.Change) []byte { return []byte("late") })
		return nil
	})
	if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUnknown) {
		t.Fatalf("Update = %v, want a definite ErrUnavailable", err)
	}
	if err := s.RemoveStep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := (<-sent)(); err != nil {
		t.Fatal(err)
	}
	view(t, s, func(v *store.Snap) {
		if _, ok := h.things.Get(v, at("a", "late")); ok {
			t.Error("a transaction that was ruled out has committed")
		}
	})
	if n, err := s.EffectKeys(t.Context()); n != 1 || err != nil {
		t.Errorf("%d effect keys, %v; want the tombstone", n, err)
	}
}

func TestCallerMayLeave(t *testing.T) {
	var h shelf
	s := storetest.New(t, h.attach)
	ctx, cancel := context.WithCancel(t.Context())
	runs := 0
	c, err := s.Update(ctx, func(tx *store.Tx) error {
		runs++
		h.things.Put(tx, at("a", "1"), &thing{})
		tx.SetEffect(func([]store.Change) []byte { cancel(); return nil }) // sealed, about to be sent
		return nil
	})
	if err != nil || c.Revision == 0 || runs != 1 {
		t.Errorf("Update = %+v, %v after %d runs", c, err, runs)
	}
	s.ReleaseEffect(c.Effect)
	if _, err := s.Update(ctx, func(tx *store.Tx) error { h.things.Delete(tx, at("a", "1")); return nil }); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Update after the caller left = %v, want ErrUnavailable", err)
	}
	if h.things.Count("a") != 1 {
		t.Error("wrote for a caller that had left")
	}
}

func TestClosedStore(t *testing.T) {
	var h shelf
	s := store.New(store.Config{Dir: t.TempDir(), RootKey: storetest.NewRootKey()})
	h.attach(s)
	nothing := func(*store.Snap) error { return nil }
	if err := s.View(t.Context(), nothing); !errors.Is(err, store.ErrClosed) {
		t.Errorf("View before Open = %v, want ErrClosed", err)
	}
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	start := time.Now()
	_, err := s.Update(t.Context(), func(tx *store.Tx) error { h.things.Put(tx, at("a", "1"), &thing{}); return nil })
	if err == nil || time.Since(start) > 5*time.Second {
		t.Errorf("Update after Close = %v after %v", err, time.Since(start))
	}
}
