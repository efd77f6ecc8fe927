package secrets_test

import (
	"cmp"
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
	stages := []string{"production", "staging", "production", "staging", "production", "staging", "production", "pilot"}
	draw := func(rt *rapid.T) *secrets.Secret {
		sec := bareSecret(next, fmt.Sprintf("%s/%02d/%d", rapid.SampledFrom([]string{"a", "b/x", "b/y", "c"}).Draw(rt, "name"), rapid.IntRange(0, 99).Draw(rt, "number"), next))
		next++
		sec.Created = secrets.Instant(1000 + rapid.IntRange(0, 99).Draw(rt, "created"))
		sec.Changed = secrets.Instant(1000 + rapid.IntRange(0, 99).Draw(rt, "changed"))
		sec.Tags = []secrets.Tag{{Key: "stage", Value: rapid.SampledFrom(stages).Draw(rt, "stage")}}
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
				{filterOf("tag-value", "pilot")},
				{filterOf("all", "pilot"), filterOf("name", "a", "b", "c")},
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

// Candidates that stand far away in an order, where they stand the other way round than they
// were created, are found by their places in it; and those that have moved since, by where
// they are.
func TestFarCandidates(t *testing.T) {
	sh := newShelf(t)
	const count, kept = 1600, 250
	var all, late []*secrets.Secret
	for n := range count {
		sec := bareSecret(n, fmt.Sprintf("s/%04d", n))
		sec.Created, sec.Changed = secrets.Instant(1+n), secrets.Instant(1+10*n)
		if n >= count-kept {
			sec.Name, sec.Changed = fmt.Sprintf("t/%04d", count-n), secrets.Instant(20*count-10*n)
			sec.Tags = []secrets.Tag{{Key: "late"}}
			late = append(late, sec)
		}
		all = append(all, sec)
	}
	sh.add(t, all...)
	for some := range slices.Chunk(all, 30) {
		sh.update(t, func(tx *store.Tx) {
			for _, sec := range some {
				sh.svc.PutAccess(tx, sec, secrets.Day(sec.Changed))
			}
		})
	}
	sh.fill(t)
	sh.update(t, func(tx *store.Tx) {
		for i, at := range []int{3, 20, 100} {
			changed := *late[at]
			changed.Changed = late[200+i].Changed + 1
			sh.svc.PutRecord(tx, &changed)
			sh.svc.PutAccess(tx, &changed, secrets.Day(changed.Changed))
			late[at] = &changed
		}
	})
	for sortBy, order := range map[string]func(sec *secrets.Secret) secrets.Instant{
		"name":               func(sec *secrets.Secret) secrets.Instant { return -sec.Created },
		"created-date":       func(sec *secrets.Secret) secrets.Instant { return sec.Created },
		"last-changed-date":  func(sec *secrets.Secret) secrets.Instant { return sec.Changed },
		"last-accessed-date": func(sec *secrets.Secret) secrets.Instant { return sec.Changed },
	} {
		for _, descending := range []bool{false, true} {
			slices.SortFunc(late, func(a, b *secrets.Secret) int { return cmp.Compare(order(a), order(b)) })
			if descending {
				slices.Reverse(late)
			}
			for _, limit := range []int{1, 7, 100} {
				q := secrets.Query{Scope: shelfScope, SortBy: sortBy, Descending: descending, Few: 1, Filters: []smapi.Filter{filterOf("tag-key", "late")}}
				names, sizes := sh.pages(t, q, limit, func() {})
				if len(sizes) != (kept+limit-1)/limit {
					t.Errorf("by %s, descending %v: %d pages of %d", sortBy, descending, len(sizes), limit)
				}
				for i, sec := range late {
					if i >= len(names) || names[i] != sec.Name {
						t.Fatalf("by %s, descending %v, pages of %d: %d. of %d is not %s", sortBy, descending, limit, i, len(names), sec.Name)
					}
				}
			}
		}
	}
}

// More candidates than are looked up at a time turn out not to be there in the snapshot:
// those behind them are met once.
func TestFarCandidatesOfLater(t *testing.T) {
	sh := newShelf(t)
	// A page of two asks for ten, and 64 more are looked up for those that stand before it: all
	// but one of these are of later.
	const count, kept, later = 1600, 250, 73
	var all []*secrets.Secret
	for n := range count {
		sec := bareSecret(n, fmt.Sprintf("s/%04d", n))
		if n >= count-kept {
			sec.Tags = []secrets.Tag{{Key: "late"}}
		}
		all = append(all, sec)
	}
	sh.add(t, all...)
	sh.fill(t)
	sh.view(t, func(v *store.Snap) {
		sh.update(t, func(tx *store.Tx) {
			for _, sec := range all[count-kept-later : count-kept] {
				changed := *sec
				changed.Tags = []secrets.Tag{{Key: "late"}}
				sh.svc.PutRecord(tx, &changed)
			}
		})
		q := secrets.Query{Scope: shelfScope, SortBy: "name", Few: 1, Filters: []smapi.Filter{filterOf("tag-key", "late")}}
		page, _, err := sh.svc.Page(v, q, "", 2)
		if err != nil || len(page) != 2 || page[0].Name != all[count-kept].Name || page[1].Name != all[count-kept+1].Name {
			t.Errorf("the first two are %v, %v", page, err)
		}
	})
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

// After nearly all secrets have been read on a new day, none stands where the order has it
// until it is made anew: a page is full all the same, and does not begin with sorting all.
func TestAllMovedSinceRanked(t *testing.T) {
	const count, limit = 2000, 10
	sh := newShelf(t)
	var all []*secrets.Secret
	for n := range count {
		all = append(all, bareSecret(n, fmt.Sprintf("s/%04d", n)))
	}
	read := func(day secrets.Day) {
		for some := range slices.Chunk(all[:count-count/100], 30) {
			sh.update(t, func(tx *store.Tx) {
				for _, sec := range some {
					sh.svc.PutAccess(tx, sec, day)
				}
			})
		}
	}
	sh.add(t, all...)
	read(1)
	sh.fill(t)
	read(2)
	sh.view(t, func(v *store.Snap) {
		q := secrets.Query{Scope: shelfScope, SortBy: "last-accessed-date", Descending: true, Few: 1, Work: 20_000}
		if page, _, err := sh.svc.Page(v, q, "", limit); err != nil || len(page) != limit {
			t.Errorf("a page has %d secrets, %v, want %d", len(page), err, limit)
		}
	})
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
