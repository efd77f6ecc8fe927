package secrets_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"arca/internal/api/smapi"
	"arca/internal/secrets"
	"arca/internal/store"
)

// However much has come, gone and moved since the orders were sorted, or while they were,
// pages found by passing over them are those that walking finds.
func TestRankingsAgreeWithWalk(t *testing.T) {
	checks(t, 40)
	sh := newShelf(t)
	var all []*secrets.Secret
	next := 0
	draw := func(rt *rapid.T) *secrets.Secret {
		sec := bareSecret(next, fmt.Sprintf("%s/%02d/%d", rapid.SampledFrom([]string{"a", "b/x", "b/y", "c"}).Draw(rt, "name"), rapid.IntRange(0, 99).Draw(rt, "number"), next))
		next++
		sec.Created = secrets.Instant(1000 + rapid.IntRange(0, 99).Draw(rt, "created"))
		sec.Changed = secrets.Instant(1000 + rapid.IntRange(0, 99).Draw(rt, "changed"))
		sec.Tags = []secrets.Tag{{Key: "stage", Value: rapid.SampledFrom([]string{"production", "staging"}).Draw(rt, "stage")}}
		return sec
	}
	change := func(rt *rapid.T) {
		sh.update(t, func(tx *store.Tx) {
			if sec := draw(rt); len(all) < 260 {
				sh.svc.PutRecord(tx, sec)
				all = append(all, sec)
			}
			i := rapid.IntRange(0, len(all)-2).Draw(rt, "which")
			switch {
			case rapid.IntRange(0, 2).Draw(rt, "what") == 0:
				sh.svc.DeleteBare(tx, all[i])
				all = slices.Delete(all, i, i+1)
			default:
				changed := *all[i]
				changed.Changed = secrets.Instant(1000 + rapid.IntRange(0, 99).Draw(rt, "changed"))
				sh.svc.PutRecord(tx, &changed)
				all[i] = &changed
			}
		})
		sh.update(t, func(tx *store.Tx) {
			sh.svc.PutAccess(tx, all[rapid.IntRange(0, len(all)-1).Draw(rt, "read")], secrets.Day(20_000+rapid.IntRange(0, 3).Draw(rt, "day")))
		})
	}
	sometimes := func(rt *rapid.T) {
		if rapid.IntRange(0, 3).Draw(rt, "sometimes") == 0 {
			change(rt)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		for len(all) < 250 {
			sh.update(t, func(tx *store.Tx) {
				for range 25 {
					all = append(all, draw(rt))
					sh.svc.PutRecord(tx, all[len(all)-1])
				}
			})
		}
		sh.fill(t)
		if rapid.IntRange(0, 2).Draw(rt, "rank") == 0 {
			sh.svc.RankAround(shelfScope, func() { sometimes(rt) })
		}
		for range rapid.SampledFrom([]int{1, 1, 1, 50}).Draw(rt, "changes") {
			change(rt)
		}
		q := secrets.Query{
			Scope: shelfScope, Few: rapid.SampledFrom([]int{1, 3}).Draw(rt, "few"), Work: rapid.SampledFrom([]int{0, 5000}).Draw(rt, "work"),
			SortBy:     rapid.SampledFrom([]string{"name", "created-date", "last-changed-date", "last-accessed-date"}).Draw(rt, "sort by"),
			Descending: rapid.Bool().Draw(rt, "descending"),
			Filters: rapid.SampledFrom([][]smapi.Filter{
				nil,
				{filterOf("name", "b/")},
				{filterOf("name", "b/x", "c")},
				{filterOf("name", "!b/x"), filterOf("tag-value", "staging")},
				{filterOf("tag-value", "staging")},
				{filterOf("all", "stag")},
				{filterOf("all", "produce")},
				{filterOf("all", "production 1"), filterOf("name", "a", "b")},
			}).Draw(rt, "filters"),
		}
		limit := rapid.IntRange(3, 60).Draw(rt, "limit")
		err := sh.st.View(t.Context(), func(v *store.Snap) error {
			list := func(q secrets.Query, pause func()) (names []string) {
				for after := ""; ; pause() {
					page, next, err := sh.svc.Page(v, q, after, limit)
					if err != nil {
						rt.Fatal(err)
					}
					for _, sec := range page {
						names = append(names, sec.Name)
					}
					if after = next; after == "" {
						return names
					}
				}
			}
			walked := q
			walked.Look = 1 << 30
			want := list(walked, func() {})
			got := list(q, func() {
				switch rapid.IntRange(0, 15).Draw(rt, "meanwhile") {
				case 0:
					change(rt)
				case 1:
					sh.svc.RankAround(shelfScope, func() { sometimes(rt) })
				}
			})
			if !slices.Equal(got, want) {
				rt.Fatalf("%+v in pages of %d:\n got %q\nwant %q", q, limit, got, want)
			}
			return nil
		})
		if err != nil {
			rt.Fatal(err)
		}
	})
}

// rankedShelf is a shelf with secrets s/000, s/001 and so on, created and changed ten
// instants apart, with a tag "kept", and as many without; all orders are sorted.
func rankedShelf(t *testing.T, kept int) (sh shelf, all []*secrets.Secret) {
	sh = newShelf(t)
	for n := range 2 * kept {
		sec := bareSecret(n, fmt.Sprintf("s/%03d", n))
		sec.Created, sec.Changed = secrets.Instant(10*n), secrets.Instant(10*n)
		if n < kept {
			sec.Tags = []secrets.Tag{{Key: "kept"}}
		}
		all = append(all, sec)
	}
	sh.add(t, all...)
	sh.fill(t)
	return sh, all
}

// Where more secrets have come since the order was sorted than are fetched at a time, none
// of them is passed over.
func TestManyMovedBetweenRanked(t *testing.T) {
	sh, _ := rankedShelf(t, 100)
	var come []*secrets.Secret
	for n := range 40 {
		sec := bareSecret(1000+n, fmt.Sprintf("hidden/%02d", n))
		sec.Created, sec.Tags = 15, []secrets.Tag{{Key: "kept"}}
		if n == 39 {
			sec.Name, sec.Created = "shown", 16
		}
		come = append(come, sec)
	}
	sh.add(t, come...)
	q := secrets.Query{
		Scope: shelfScope, SortBy: "created-date", Few: 1, Filters: []smapi.Filter{filterOf("tag-key", "kept")},
		// So that a page of few goes on to what is fetched next.
		See: func(sec *secrets.Secret) (bool, error) { return sec.Name == "shown" || sec.Name >= "s/090", nil },
	}
	for _, q.Descending = range []bool{false, true} {
		names, _ := sh.pages(t, q, 3, func() {})
		if !slices.Contains(names, "shown") || len(names) != 11 {
			t.Errorf("descending %v: found %q, want s/090 to s/099 and the one shown that has come", q.Descending, names)
		}
	}
}

// Secrets that move far away while a page is being made, and are met where they were sorted
// in, do not make it pass over what stands between.
func TestMoveWhilePageIsMade(t *testing.T) {
	sh, all := rankedShelf(t, 100)
	moved := false
	q := secrets.Query{
		Scope: shelfScope, SortBy: "last-changed-date", Few: 1, Filters: []smapi.Filter{filterOf("tag-key", "kept")},
		See: func(sec *secrets.Secret) (bool, error) {
			if !moved {
				moved = true
				var far []*secrets.Secret
				for _, sec := range all[12:60] {
					changed := *sec
					changed.Changed = 5000
					far = append(far, &changed)
				}
				sh.add(t, far...)
			}
			return sec.Name >= "s/060", nil
		},
	}
	names, _ := sh.pages(t, q, 3, func() {})
	if len(names) != 40 || names[0] != "s/060" || !slices.IsSorted(names) {
		t.Errorf("found %q, want s/060 to s/099", names)
	}
}

// A secret that has the number of one that is gone is not taken to have its name.
func TestNumberOfAnotherName(t *testing.T) {
	sh, all := rankedShelf(t, 200)
	sh.update(t, func(tx *store.Tx) { sh.svc.DeleteBare(tx, all[200]) })
	sh.add(t, bareSecret(1000, "new"))
	for _, sortBy := range []string{"name", "created-date"} {
		q := secrets.Query{Scope: shelfScope, SortBy: sortBy, Few: 1, Filters: []smapi.Filter{filterOf("name", "!s/")}}
		if names, _ := sh.pages(t, q, 10, func() {}); !slices.Equal(names, []string{"new"}) {
			t.Errorf("by %s: found %q, want the new one", sortBy, names)
		}
	}
}
