package store_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/store"
	"arca/internal/storetest"
)

// What a snapshot shows stays, whatever becomes of the records whose numbers and index keys
// it shares with later ones; and no finder, however wrong, changes what is found.
func TestSnapshotsStay(t *testing.T) {
	var h shelf
	s := storetest.New(t, h.attach)
	r := rand.New(rand.NewPCG(7, 7))
	type past struct {
		v     *store.Snap
		model map[string]thing
	}
	var kept []past
	model := map[string]thing{}
	for step := range 400 {
		mustUpdate(t, s, func(tx *store.Tx) {
			for range 1 + r.IntN(4) {
				id := fmt.Sprint(r.IntN(60))
				if old, ok := model[id]; ok && r.IntN(3) == 0 {
					h.things.Delete(tx, at("s", id))
					delete(model, id)
				} else {
					next := thing{Name: fmt.Sprintf("name-%0*d", 1+r.IntN(5), r.IntN(100)), N: step}
					if ok && r.IntN(2) == 0 {
						next.Name = old.Name // and the places of keys behind it as well
					}
					// Far more than are compared with each other, and many twice.
					for range r.IntN(3) * r.IntN(40) {
						next.Tags = append(next.Tags, fmt.Sprintf("t%0*d", 1+r.IntN(3), r.IntN(50)))
					}
					h.things.Put(tx, at("s", id), &next)
					model[id] = next
				}
			}
		})
		if step%9 == 0 {
			view(t, s, func(v *store.Snap) { kept = append(kept, past{v, maps.Clone(model)}) })
		}
	}
	check := func(p past) {
		t.Helper()
		var names, tags []string
		for i := range 60 {
			id := fmt.Sprint(i)
			want, exists := p.model[id]
			got, ok := h.things.Get(p.v, at("s", id))
			if ok != exists || ok && !cmp.Equal(*got, want) {
				t.Fatalf("record %s is %+v, %v, want %+v, %v", id, got, ok, want, exists)
			}
			if exists {
				names = append(names, fmt.Sprint(want.Name, want.N))
				tags = append(tags, slices.Compact(slices.Sorted(slices.Values(want.Tags)))...)
			}
		}
		var gotNames, gotTags []string
		last := ""
		h.things.Ascend(p.v, "name", "", func(key string, r *thing) bool {
			if key != r.Name || key < last {
				t.Errorf("behind %q the index lists %+v under %q", last, r, key)
			}
			last = key
			gotNames = append(gotNames, fmt.Sprint(key, r.N))
			return true
		})
		h.things.Descend(p.v, "tag", "", func(key string, r *thing) bool {
			if !slices.Contains(r.Tags, key) {
				t.Errorf("the index lists %+v under %q", r, key)
			}
			gotTags = append(gotTags, key)
			return true
		})
		slices.Reverse(gotTags)
		slices.Sort(names)
		slices.Sort(gotNames)
		slices.Sort(tags)
		if !slices.Equal(gotNames, names) || !slices.Equal(gotTags, tags) {
			t.Fatalf("indexes list\n%q\n%q, want\n%q\n%q", gotNames, gotTags, names, tags)
		}
	}
	for _, p := range kept {
		check(p)
	}
	h.things.Misguide(s)
	for _, p := range kept {
		check(p)
	}
}

// A record is found without a search, once it has been searched for.
func TestFinder(t *testing.T) {
	keys := make([]string, 5000)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range keys {
		b := make([]byte, 32)
		for j := range b {
			b[j] = byte(r.Uint32())
		}
		keys[i] = string(b)
	}
	if found := store.FoundBy(keys); found < len(keys)*98/100 {
		t.Errorf("%d of %d keys are found, want nearly all", found, len(keys))
	}
}
