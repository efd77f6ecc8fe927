package store_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"arca/internal/store"
	"arca/internal/storetest"
)

// joinBed lets transactions meet.
type joinBed struct {
	t *testing.T
	s *store.Store
	h shelf
}

func newJoinBed(t *testing.T) *joinBed {
	b := &joinBed{t: t}
	b.s = storetest.New(t, b.h.attach)
	fill(t, b.s, &b.h, 10)
	return b
}

// together runs changes so that etcd is sent them at the same time, and then runs before,
// unless nil. It returns what became of each, and how many transactions were sent for all.
func (b *joinBed) together(before func(), changes ...func(tx *store.Tx)) (done []store.Commit, errs []error, sent int64) {
	b.t.Helper()
	var first sync.WaitGroup
	var release []func()
	for i := range store.MaxFlying {
		held, let := b.s.HoldCommit()
		release = append(release, let)
		first.Go(func() {
			if _, err := b.s.Update(b.t.Context(), func(tx *store.Tx) error {
				b.h.things.Put(tx, at("held", fmt.Sprint(i)), &thing{})
				return nil
			}); err != nil {
				b.t.Errorf("held back: %v", err)
			}
		})
		<-held
	}
	done, errs = make([]store.Commit, len(changes)), make([]error, len(changes))
	var all sync.WaitGroup
	for i, change := range changes {
		all.Go(func() {
			done[i], errs[i] = b.s.Update(b.t.Context(), func(tx *store.Tx) error { change(tx); return nil })
			b.s.ReleaseEffect(done[i].Effect)
		})
		for b.s.Queued() < i+1 {
			time.Sleep(time.Millisecond)
		}
	}
	sent = b.s.Commits()
	if before != nil {
		before()
	}
	for _, let := range release {
		let()
	}
	first.Wait()
	all.Wait()
	return done, errs, b.s.Commits() - sent
}

func (b *joinBed) put(key string, n int) func(tx *store.Tx) {
	return func(tx *store.Tx) {
		b.h.things.Put(tx, at("a", key), &thing{N: n})
		b.h.parts.Put(tx, at("a", key, "p"), &thing{N: n})
		tx.SetEffect(func([]store.Change) []byte { return []byte(key) })
	}
}

func (b *joinBed) number(key string) (n int) {
	view(b.t, b.s, func(v *store.Snap) {
		if r, ok := b.h.things.Get(v, at("a", key)); ok {
			n = r.N
		}
	})
	return n
}

func TestJoin(t *testing.T) {
	b := newJoinBed(t)
	var changes []func(tx *store.Tx)
	for i := range 8 {
		changes = append(changes, b.put(fmt.Sprint(i), 100+i))
	}
	done, errs, sent := b.together(nil, changes...)
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if sent != 1 {
		t.Errorf("%d transactions were sent, want 1", sent)
	}
	for i := range 8 {
		if done[i].Revision != done[0].Revision || done[i].Effect == 0 {
			t.Errorf("commit %d = %+v, the first %+v", i, done[i], done[0])
		}
		if got := b.number(fmt.Sprint(i)); got != 100+i {
			t.Errorf("record %d = %d", i, got)
		}
	}
}

// One that conflicts runs again; the others know nothing of it.
func TestJoinConflict(t *testing.T) {
	b := newJoinBed(t)
	runs := 0
	done, errs, _ := b.together(nil, b.put("1", 101), func(tx *store.Tx) {
		if runs++; runs == 1 {
			// Somebody who is held back writes this record before.
			if _, ok := b.h.things.Get(tx.Snap, at("held", "0")); ok {
				t.Error("the transaction is not held back")
			}
		}
		b.h.things.Put(tx, at("held", "0"), &thing{N: runs})
	}, b.put("2", 102))
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if runs != 2 {
		t.Errorf("the one in conflict ran %d times, want 2", runs)
	}
	if done[0].Revision != done[2].Revision || done[1].Revision <= done[0].Revision {
		t.Errorf("commits %+v", done)
	}
	if b.number("1") != 101 || b.number("2") != 102 {
		t.Error("others' records were not written")
	}
}

// Two that each guard what the other writes are in no order if both commit at once.
func TestJoinKeepsApart(t *testing.T) {
	b := newJoinBed(t)
	cross := func(write, guard string) func(tx *store.Tx) {
		return func(tx *store.Tx) {
			b.h.things.Guard(tx, at("a", guard))
			r, _ := b.h.things.Get(tx.Snap, at("a", guard))
			b.h.things.Put(tx, at("a", write), &thing{N: r.N + 1000})
		}
	}
	done, errs, _ := b.together(nil, cross("1", "2"), cross("2", "1"), b.put("4", 1), b.put("4", 2))
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if done[0].Revision == done[1].Revision || done[2].Revision == done[3].Revision {
		t.Errorf("commits %+v: what excludes each other has one revision", done)
	}
	if one, two := b.number("1"), b.number("2"); max(one, two) < 2000 {
		t.Errorf("records %d and %d: neither transaction has seen the other", one, two)
	}
}

func TestJoinLostReply(t *testing.T) {
	b := newJoinBed(t)
	lose := func() { b.s.LoseNextReply(func() {}) }
	done, errs, _ := b.together(lose, b.put("1", 101), b.put("2", 102), b.put("3", 103))
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for i, key := range []string{"1", "2", "3"} {
		if got := b.number(key); got != 101+i || done[i].Revision != done[0].Revision {
			t.Errorf("record %s = %d, commit %+v", key, got, done[i])
		}
	}
}

// What is still on its way when its senders are told that it is ruled out, never commits.
func TestJoinRuledOut(t *testing.T) {
	b := newJoinBed(t)
	var release func() error
	_, errs, _ := b.together(func() { b.s.HoldNextCommit(func(r func() error) { release = r }) }, b.put("1", 101), b.put("2", 102))
	for _, err := range errs {
		if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUnknown) {
			t.Errorf("Update: %v, want ErrUnavailable", err)
		}
	}
	revision := b.s.Stats().Revision
	_ = release() // the outer transaction compares nothing; those inside fail
	mustUpdate(t, b.s, b.put("3", 103))
	if got := b.s.Stats().Revision; got != revision+1 {
		t.Errorf("revision %d, want %d: something else was written", got, revision+1)
	}
	if b.number("1") != 1 || b.number("2") != 2 {
		t.Error("a transaction that was ruled out has committed")
	}
}

func TestJoinUnknown(t *testing.T) {
	b := newJoinBed(t)
	var release func() error
	_, errs, _ := b.together(func() { b.s.HoldNextCommitUnknown(func(r func() error) { release = r }) }, b.put("1", 101), b.put("2", 102))
	for _, err := range errs {
		if !errors.Is(err, store.ErrUnknown) {
			t.Errorf("Update: %v, want ErrUnknown", err)
		}
	}
	_ = release()
	var left []string
	if err := b.s.Effects(t.Context(), func(seq uint64, data []byte) error {
		left = append(left, string(data))
		b.s.ReleaseEffect(seq)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(left)
	if diff := cmp.Diff([]string{"1", "2"}, left); diff != "" {
		t.Errorf("effects (-want +got):\n%s", diff)
	}
}

func TestJoinWithdraw(t *testing.T) {
	waiting, leading := store.Withdraw()
	if !waiting {
		t.Error("a transaction stays in the queue after its time")
	}
	if leading {
		t.Error("a transaction that is to send the others is withdrawn")
	}
}

// TestGroup compares with looking at every pair.
func TestGroup(t *testing.T) {
	keys := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "g", "h"}), 0, 3, rapid.ID)
	rapid.Check(t, func(rt *rapid.T) {
		var all [][2][]string
		var want []bool
		for range rapid.IntRange(1, 8).Draw(rt, "transactions") {
			next := [2][]string{keys.Draw(rt, "compared"), keys.Draw(rt, "written")}
			fits := true
			for i, other := range all {
				if want[i] && (meet(next[1], other[1]) || meet(next[1], other[0]) || meet(next[0], other[1])) {
					fits = false
				}
			}
			all, want = append(all, next), append(want, fits)
		}
		if diff := cmp.Diff(want, store.Grouped(all)); diff != "" {
			rt.Errorf("together (-want +got):\n%s", diff)
		}
	})
}

func meet(a, b []string) bool {
	return slices.ContainsFunc(a, func(key string) bool { return slices.Contains(b, key) })
}

// TestJoinManyAtOnce moves amounts between records: whatever is joined, the sum stays,
// and no transaction is lost or done twice.
func TestJoinManyAtOnce(t *testing.T) {
	b := newJoinBed(t)
	const clients, rounds = 32, 8
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for r := range rounds {
				from, to := fmt.Sprint((c+r)%10), fmt.Sprint((c*7+r*3+1)%10)
				if from == to {
					to = "other"
				}
				done, err := b.s.Update(t.Context(), func(tx *store.Tx) error {
					for key, by := range map[string]int{from: -1, to: 1} {
						var n int
						if r, ok := b.h.things.Get(tx.Snap, at("a", key)); ok {
							n = r.N
						}
						b.h.things.Put(tx, at("a", key), &thing{N: n + by})
					}
					b.h.parts.Put(tx, at("a", from, fmt.Sprintf("%d-%d", c, r)), &thing{})
					tx.SetEffect(func([]store.Change) []byte { return nil })
					return nil
				})
				if err != nil {
					t.Errorf("Update: %v", err)
				}
				b.s.ReleaseEffect(done.Effect)
			}
		})
	}
	wg.Wait()
	sum := b.number("other")
	for i := range 10 {
		sum += b.number(fmt.Sprint(i))
	}
	if sum != 45 {
		t.Errorf("sum = %d, want 45", sum)
	}
	view(t, b.s, func(v *store.Snap) {
		parts := 0
		if err := b.h.parts.Walk(t.Context(), v, func(*thing) error { parts++; return nil }); err != nil {
			t.Error(err)
		}
		if parts != clients*rounds {
			t.Errorf("%d transactions left a trace, want %d", parts, clients*rounds)
		}
	})
}
