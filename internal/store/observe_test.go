package store_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/store"
	"arca/internal/storetest"
)

// The owner of a table is told of every change once, in order, with what was there before,
// by the time that a snapshot shows it.
func TestChangedIsToldInOrder(t *testing.T) {
	var (
		mu   sync.Mutex
		told []string
		last int64
	)
	describe := func(r *thing) string {
		if r == nil {
			return "nothing"
		}
		return fmt.Sprintf("%s=%d", r.Name, r.N)
	}
	var things *store.Table[thing]
	s := storetest.New(t, func(s *store.Store) {
		things = store.NewTable(s, store.TableSpec[thing]{
			Name: "observed", Format: 1, Packed: true,
			Changed: func(rev int64, before, after *thing) {
				mu.Lock()
				defer mu.Unlock()
				if rev < last {
					t.Errorf("told of revision %d after %d", rev, last)
				}
				last = rev
				told = append(told, describe(before)+" -> "+describe(after))
			},
			Reloaded: func(int64) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, "all")
			},
		})
	})
	step := func(want string, fn func(tx *store.Tx)) {
		t.Helper()
		mustUpdate(t, s, fn)
		view(t, s, func(v *store.Snap) {
			mu.Lock()
			defer mu.Unlock()
			if v.Revision() < last {
				t.Errorf("told of revision %d, which no snapshot shows", last)
			}
			if diff := cmp.Diff(want, told[len(told)-1]); diff != "" {
				t.Errorf("last told (-want +got):\n%s", diff)
			}
		})
	}
	if told[0] != "all" {
		t.Errorf("first told %q, want all", told[0])
	}
	step("nothing -> one=1", func(tx *store.Tx) { things.Put(tx, at("a", "one"), &thing{Name: "one", N: 1}) })
	step("one=1 -> one=2", func(tx *store.Tx) { things.Put(tx, at("a", "one"), &thing{Name: "one", N: 2}) })
	step("nothing -> two=1", func(tx *store.Tx) { things.Put(tx, at("a", "two"), &thing{Name: "two", N: 1}) })
	step("one=2 -> nothing", func(tx *store.Tx) { things.Delete(tx, at("a", "one")) })
	if len(told) != 5 {
		t.Errorf("told %q, want five times", told)
	}
}
