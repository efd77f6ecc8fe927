package store_test

import (
	"fmt"
	"testing"

	"arca/internal/store"
	"arca/internal/storetest"
)

// One account may hold nearly all there is: its records are loaded in pieces like
// those of many accounts, and each record in one of them.
func TestLargeScopesAreLoadedInPieces(t *testing.T) {
	cfg := store.Config{Dir: t.TempDir(), RootKey: storetest.NewRootKey()}
	var h shelf
	s := store.New(cfg)
	h.attach(s)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	const large, small = 9_500, 40
	fill(t, s, &h, large)
	for i := range small {
		mustUpdate(t, s, func(tx *store.Tx) {
			h.things.Put(tx, at(fmt.Sprint("small-", i)), &thing{Name: "no parent"})
			h.things.Put(tx, at(fmt.Sprint("small-", i), "x"), &thing{Name: "one"})
		})
	}
	counts, most, err := h.things.Pieces(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var sum, loaded int64
	for _, n := range counts {
		sum += n
		if n > most {
			t.Errorf("a piece holds %d records, want %d at most", n, most)
		}
		if n > 0 {
			loaded++
		}
	}
	if sum != large+2*small || loaded < 5 {
		t.Errorf("%d pieces hold %d records, want %d in 5 or more", loaded, sum, large+2*small)
	}
	mustClose(t, s)

	s = store.New(cfg)
	h = shelf{}
	h.attach(s)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	closeLater(t, s)
	if got := h.things.Count("a"); got != large {
		t.Errorf("%d records after the start, want %d", got, large)
	}
	var problems []string
	if err := s.Check(t.Context(), func(p string) { problems = append(problems, p) }); err != nil || len(problems) > 0 {
		t.Errorf("check: %v, %v", problems, err)
	}
}
