package store_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"arca/internal/store"
	"arca/internal/storetest"
)

// lead runs Lead in the background and hands its leadership out.
func lead(t *testing.T, ctx context.Context, s *store.Store, name string) <-chan *store.Leadership {
	t.Helper()
	leads := make(chan *store.Leadership, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		err := s.Lead(ctx, name, func(ctx context.Context, l *store.Leadership) error {
			leads <- l
			<-ctx.Done()
			return nil
		})
		if err != nil {
			t.Errorf("Lead: %v", err)
		}
	})
	t.Cleanup(wg.Wait)
	return leads
}

func receive[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func TestFence(t *testing.T) {
	m := members(t, 2)
	fenced := func(n member, l *store.Leadership) error {
		_, err := n.s.Update(t.Context(), func(tx *store.Tx) error {
			tx.Fence(l)
			n.things.Put(tx, at("a", "1"), &thing{})
			return nil
		})
		return err
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	first := receive(t, lead(t, ctx, m[0].s, "engine"))
	if err := fenced(m[0], first); err != nil {
		t.Fatalf("Update of the leader: %v", err)
	}
	ctx2, stop2 := context.WithCancel(t.Context())
	defer stop2()
	next := lead(t, ctx2, m[1].s, "engine")
	select {
	case <-next:
		t.Fatal("two lead at once")
	case <-time.After(100 * time.Millisecond):
	}
	stop()
	second := receive(t, next)
	if err := fenced(m[0], first); !errors.Is(err, store.ErrNotLeader) {
		t.Errorf("Update of the former leader = %v, want ErrNotLeader", err)
	}
	if err := fenced(m[1], second); err != nil {
		t.Errorf("Update of the new leader: %v", err)
	}
	// A conflict under a fence that holds is a conflict.
	runs := 0
	_, err := m[1].s.Update(t.Context(), func(tx *store.Tx) error {
		if runs++; runs == 1 {
			mustUpdate(t, m[0].s, func(tx *store.Tx) { m[0].things.Put(tx, at("a", "1"), &thing{}) })
		}
		tx.Fence(second)
		m[1].things.Put(tx, at("a", "1"), &thing{})
		return nil
	})
	if err != nil || runs != 2 {
		t.Errorf("fenced Update with a conflict: %v after %d runs", err, runs)
	}
}

// A single node does not wait for the lease of its former life.
func TestLeadAfterCrash(t *testing.T) {
	cfg := store.Config{Dir: t.TempDir(), RootKey: storetest.NewRootKey(), Logger: storetest.Logger(t)}
	t.Run("first life", func(t *testing.T) {
		var h shelf
		s := storetest.Open(t, cfg, h.attach)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		receive(t, lead(t, ctx, s, "engine"))
		// What a crash leaves: a candidate whose lease lives on.
		if _, err := s.Client().Put(t.Context(), "arca/1/lead/engine/7b", "dead"); err != nil {
			t.Fatal(err)
		}
	})
	var h shelf
	s := storetest.Open(t, cfg, h.attach)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	start := time.Now()
	receive(t, lead(t, ctx, s, "engine"))
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("leadership took %v", d)
	}
}
