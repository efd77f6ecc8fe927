package store_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"arca/internal/store"
)

// A tree is a sorted list that is cheap to copy: whatever is done to it, it holds and
// shows what a list does, and no copy of it ever changes.
func TestTreeIsASortedList(t *testing.T) {
	for _, kinds := range []int{5, 300, 20_000} {
		r := rand.New(rand.NewPCG(uint64(kinds), 1))
		var tr *store.IntTree
		var list []int
		type past struct {
			tree *store.IntTree
			list []int
		}
		var kept []past
		for _, size := range []int{0, 1, 13, 14, 15, 16, 17, 224, 225, 226, 3000} {
			list = nil
			for i := range size {
				list = append(list, i*7%max(kinds, size*8))
			}
			slices.Sort(list)
			list = slices.Compact(list)
			tr = store.NewIntTree(list)
			checkTree(t, tr, list, r)
			for step := range 3000 {
				x := r.IntN(kinds)
				i, found := slices.BinarySearch(list, x)
				// Times of growth and of shrinking.
				if r.IntN(10) < 3+4*(step/1000%2) {
					tr.Set(x)
					if !found {
						list = slices.Insert(list, i, x)
					}
				} else {
					if found && r.IntN(4) > 0 || len(list) == 0 {
						x = r.IntN(kinds)
					} else {
						x = list[r.IntN(len(list))]
					}
					tr.Remove(x)
					if i, found := slices.BinarySearch(list, x); found {
						list = slices.Delete(list, i, i+1)
					}
				}
				if r.IntN(500) == 0 {
					kept = append(kept, past{tr.Copy(), slices.Clone(list)})
				}
				if step%301 == 0 {
					checkTree(t, tr, list, r)
				}
			}
			for len(list) > 0 {
				x := list[r.IntN(len(list))]
				tr.Remove(x)
				i, _ := slices.BinarySearch(list, x)
				list = slices.Delete(list, i, i+1)
				if len(list)%97 == 0 {
					checkTree(t, tr, list, r)
				}
			}
			checkTree(t, tr, nil, r)
		}
		for _, p := range kept {
			checkTree(t, p.tree, p.list, r)
		}
	}
}

func checkTree(t *testing.T, tr *store.IntTree, want []int, r *rand.Rand) {
	t.Helper()
	if tr.Len() != len(want) {
		t.Fatalf("the tree counts %d items, want %d", tr.Len(), len(want))
	}
	if got := tr.All(); !slices.Equal(got, want) {
		t.Fatalf("the tree holds %v, want %v", got, want)
	}
	back := tr.Backwards()
	slices.Reverse(back)
	if !slices.Equal(back, want) {
		t.Fatalf("backwards the tree holds %v, want %v", back, want)
	}
	tr.CheckShape(t)
	for range 5 {
		from := r.IntN(200)
		if len(want) > 0 && r.IntN(2) == 0 {
			from = want[r.IntN(len(want))] + r.IntN(2)
		}
		i, found := slices.BinarySearch(want, from)
		if tr.Has(from) != found {
			t.Fatalf("Has(%d) = %v in %v", from, !found, want)
		}
		if got := tr.From(from, len(want)/2); !slices.Equal(got, want[i:min(len(want), i+len(want)/2)]) {
			t.Fatalf("from %d the tree holds %v of %v", from, got, want)
		}
		got := tr.Before(from, len(want)/2)
		slices.Reverse(got)
		if !slices.Equal(got, want[max(0, i-len(want)/2):i]) {
			t.Fatalf("before %d the tree holds %v of %v", from, got, want)
		}
	}
}

// A tree that was built takes no more memory than its items and a fifth.
func TestBuiltTreesAreFull(t *testing.T) {
	list := make([]int, 100_000)
	for i := range list {
		list[i] = i
	}
	if fill := store.NewIntTree(list).Fill(); fill < 0.8 {
		t.Errorf("nodes of a built tree are filled to %.2f, want 0.8 at least", fill)
	}
}
