package store_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/store"
	"arca/internal/storetest"
)

// taken is what a feed hands over, sorted, deletions marked.
func taken(v *store.Snap, f *store.Feed[thing], limit int) (out []string, all bool) {
	changed, all := f.Take(v, limit)
	for _, c := range changed {
		text := fmt.Sprintf("%s=%d", c.Record.Name, c.Record.N)
		if c.Deleted {
			text = "-" + text
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return out, all
}

func TestFeed(t *testing.T) {
	var h shelf
	var feed *store.Feed[thing]
	s := storetest.New(t, func(s *store.Store) {
		h.attach(s)
		feed = h.things.Follow()
	})
	take := func(step string, limit int, wantAll bool, want ...string) {
		t.Helper()
		view(t, s, func(v *store.Snap) {
			got, all := taken(v, feed, limit)
			if diff := cmp.Diff(want, got); diff != "" || all != wantAll {
				t.Errorf("%s: all %v, want %v (-want +got):\n%s", step, all, wantAll, diff)
			}
		})
	}
	take("loaded", 10, true)
	take("nothing since", 10, false)

	put := func(name string, n int) {
		t.Helper()
		mustUpdate(t, s, func(tx *store.Tx) { h.things.Put(tx, at("a", name), &thing{Name: name, N: n}) })
	}
	put("one", 1)
	put("two", 1)
	put("one", 2)
	var early *store.Snap
	view(t, s, func(v *store.Snap) { early = v })
	put("three", 1)
	got, _ := taken(early, feed, 10)
	if diff := cmp.Diff([]string{"one=2", "two=1"}, got); diff != "" {
		t.Errorf("from an older snapshot (-want +got):\n%s", diff)
	}
	take("what came after it", 10, false, "three=1")

	mustUpdate(t, s, func(tx *store.Tx) { h.things.Delete(tx, at("a", "two")) })
	put("four", 1)
	mustUpdate(t, s, func(tx *store.Tx) { h.things.Delete(tx, at("a", "four")) })
	take("deleted", 10, false, "-four=1", "-two=1")

	// What stands under a key again may be of somebody else.
	mustUpdate(t, s, func(tx *store.Tx) { h.things.Delete(tx, at("a", "one")) })
	put("one", 3)
	mustUpdate(t, s, func(tx *store.Tx) { h.things.Delete(tx, at("a", "one")) })
	put("one", 4)
	take("deleted and made again", 10, false, "-one=2", "-one=3", "one=4")

	for i := range 5 {
		put(fmt.Sprint("n", i), i)
	}
	var pieces []string
	view(t, s, func(v *store.Snap) {
		for range 3 {
			part, all := taken(v, feed, 2)
			if len(part) > 2 || all {
				t.Errorf("a piece of at most 2 is %v, all %v", part, all)
			}
			pieces = append(pieces, part...)
		}
	})
	slices.Sort(pieces)
	if diff := cmp.Diff([]string{"n0=0", "n1=1", "n2=2", "n3=3", "n4=4"}, pieces); diff != "" {
		t.Errorf("in pieces (-want +got):\n%s", diff)
	}
}

// TestFeedOverflows: nobody takes, and the feed says so instead of growing.
func TestFeedOverflows(t *testing.T) {
	var h shelf
	var feed *store.Feed[thing]
	s := storetest.New(t, func(s *store.Store) {
		h.attach(s)
		feed = h.things.Follow()
	})
	view(t, s, func(v *store.Snap) { feed.Take(v, 1) })
	feed.Fill()
	mustUpdate(t, s, func(tx *store.Tx) { h.things.Put(tx, at("a", "b"), &thing{Name: "b"}) })
	view(t, s, func(v *store.Snap) {
		if got, all := taken(v, feed, 10); len(got) > 0 || !all {
			t.Errorf("Take after an overflow = %v, all %v, want all", got, all)
		}
	})
	mustUpdate(t, s, func(tx *store.Tx) { h.things.Put(tx, at("a", "c"), &thing{Name: "c"}) })
	view(t, s, func(v *store.Snap) {
		if got, all := taken(v, feed, 10); len(got) != 1 || all {
			t.Errorf("Take after that = %v, all %v, want the one change", got, all)
		}
	})
}

func TestFollowRefuses(t *testing.T) {
	for _, tc := range []struct {
		name   string
		follow func(h *shelf)
	}{
		{"twice", func(h *shelf) { h.things.Follow(); h.things.Follow() }},
		{"records outside memory", func(h *shelf) { h.blobs.Follow() }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			var h shelf
			h.attach(store.New(store.Config{}))
			tc.follow(&h)
		})
	}
}
