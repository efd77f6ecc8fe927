package secrets_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"arca/internal/api/smapi"
	"arca/internal/kms"
	"arca/internal/secrets"
	"arca/internal/store"
	"arca/internal/storetest"
)

// shelf is a store with bare secret records: enough to list.
type shelf struct {
	st  *store.Store
	svc *secrets.Service
}

func newShelf(t testing.TB) shelf {
	var sh shelf
	sh.st = storetest.New(t, func(st *store.Store) {
		sh.svc = secrets.New(secrets.Config{Store: st, KMS: kms.New(kms.Config{Store: st})})
	})
	return sh
}

func (sh shelf) update(t testing.TB, fn func(tx *store.Tx)) {
	t.Helper()
	if _, err := sh.st.Update(context.Background(), func(tx *store.Tx) error { fn(tx); secrets.EndAccess(tx); return nil }); err != nil {
		t.Fatal(err)
	}
}

func (sh shelf) view(t testing.TB, fn func(v *store.Snap)) {
	t.Helper()
	if err := sh.st.View(context.Background(), func(v *store.Snap) error { fn(v); return nil }); err != nil {
		t.Fatal(err)
	}
}

// add stores secrets in batches that fit a transaction.
func (sh shelf) add(t testing.TB, list ...*secrets.Secret) {
	t.Helper()
	for batch := range slices.Chunk(list, 30) {
		sh.update(t, func(tx *store.Tx) {
			for _, sec := range batch {
				sh.svc.PutBare(tx, sec)
			}
		})
	}
}

// pages reads a whole list; between two pages it calls pause.
func (sh shelf) pages(t testing.TB, q secrets.Query, limit int, pause func()) (names []string, sizes []int) {
	t.Helper()
	for after := ""; ; {
		var page []*secrets.Secret
		err := sh.st.View(context.Background(), func(v *store.Snap) (err error) {
			page, after, err = sh.svc.Page(v, q, after, limit)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, sec := range page {
			names = append(names, sec.Name)
		}
		sizes = append(sizes, len(page))
		if len(page) > limit {
			t.Fatalf("page of %d secrets, limit %d", len(page), limit)
		}
		if after == "" {
			return names, sizes
		}
		pause()
	}
}

const shelfAccount, shelfRegion, shelfScope = "123456789012", "eu-west-1", "123456789012/eu-west-1"

func bareSecret(n int, name string) *secrets.Secret {
	sec := &secrets.Secret{
		Partition: "aws", Account: shelfAccount, Region: shelfRegion,
		Name: name, Suffix: "abcdef", Created: 1, Changed: 1,
	}
	copy(sec.UID[:], fmt.Sprintf("%016x", uint64(n)*0x9E3779B97F4A7C15)) // not in the order of n
	return sec
}

// Paging through, with any page size, order, filter and bounds, gives the list that
// sorting everything gives.
func TestPagesEqualWholeList(t *testing.T) {
	sh := newShelf(t)
	var all []*secrets.Secret
	days := map[string]secrets.Day{}
	for n := range 90 {
		sec := bareSecret(n, fmt.Sprintf("%c/%02d", "abc"[n%3], n*7%90))
		sec.Created = secrets.Instant(1000 + n/4) // ties
		sec.Changed = secrets.Instant(2000 + n*31%17)
		if n%5 == 0 {
			sec.Tags = []secrets.Tag{{Key: "team", Value: "x"}}
		}
		if n%11 == 0 {
			sec.Deleted, sec.DeleteAfter = 1, 2
		}
		all = append(all, sec)
	}
	elsewhere := []*secrets.Secret{bareSecret(1000, "a/other"), bareSecret(1001, "zz")}
	elsewhere[0].Region, elsewhere[1].Account = "eu-west-2", "123456789011"
	sh.add(t, append(elsewhere, all...)...)
	for batch := range slices.Chunk(all, 30) {
		sh.update(t, func(tx *store.Tx) {
			for i, sec := range batch {
				if i%3 != 0 {
					days[sec.Name] = secrets.Day(20_000 + i%4)
					sh.svc.PutAccess(tx, sec, days[sec.Name])
				}
			}
		})
	}
	byUID := func(a, b *secrets.Secret) int { return strings.Compare(string(a.UID[:]), string(b.UID[:])) }
	orders := map[string]func(a, b *secrets.Secret) int{
		"name": func(a, b *secrets.Secret) int { return strings.Compare(a.Name, b.Name) },
		"created-date": func(a, b *secrets.Secret) int {
			return cmp.Or(cmp.Compare(a.Created, b.Created), byUID(a, b))
		},
		"last-changed-date": func(a, b *secrets.Secret) int {
			return cmp.Or(cmp.Compare(a.Changed, b.Changed), byUID(a, b))
		},
		"last-accessed-date": func(a, b *secrets.Secret) int {
			never := 0
			if days[a.Name] == 0 {
				never = cmp.Compare(a.Created, b.Created)
			}
			return cmp.Or(cmp.Compare(days[a.Name], days[b.Name]), never, byUID(a, b))
		},
	}
	filters := map[string]struct {
		filters []smapi.Filter
		keep    func(*secrets.Secret) bool
	}{
		"none":          {nil, func(*secrets.Secret) bool { return true }},
		"name":          {[]smapi.Filter{filterOf("name", "b/")}, func(s *secrets.Secret) bool { return s.Name[0] == 'b' }},
		"name narrower": {[]smapi.Filter{filterOf("name", "b/"), filterOf("name", "b/1")}, func(s *secrets.Secret) bool { return strings.HasPrefix(s.Name, "b/1") }},
		"name last":     {[]smapi.Filter{filterOf("name", "c")}, func(s *secrets.Secret) bool { return s.Name[0] == 'c' }},
		"name nothing":  {[]smapi.Filter{filterOf("name", "d")}, func(s *secrets.Secret) bool { return false }},
		"name negated":  {[]smapi.Filter{filterOf("name", "!b/")}, func(s *secrets.Secret) bool { return s.Name[0] != 'b' }},
		"tag":           {[]smapi.Filter{filterOf("tag-key", "team")}, func(s *secrets.Secret) bool { return s.Tags != nil }},
		"name and tag": {[]smapi.Filter{filterOf("name", "a"), filterOf("tag-value", "x")},
			func(s *secrets.Secret) bool { return s.Name[0] == 'a' && s.Tags != nil }},
	}
	rapid.Check(t, func(rt *rapid.T) {
		q := secrets.Query{
			Scope:      shelfScope,
			SortBy:     rapid.SampledFrom(slices.Sorted(maps.Keys(orders))).Draw(rt, "sort by"),
			Descending: rapid.Bool().Draw(rt, "descending"),
			Planned:    rapid.Bool().Draw(rt, "planned"),
			Work:       rapid.SampledFrom([]int{1, 500, 3000, 1 << 20}).Draw(rt, "work"),
			Gather:     rapid.SampledFrom([]int{0, 20, 1000}).Draw(rt, "gather"),
		}
		hidden := ""
		if rapid.Bool().Draw(rt, "decide") {
			hidden = rapid.SampledFrom([]string{"1", "a", "/", "b/1"}).Draw(rt, "hidden")
			q.See = func(sec *secrets.Secret) (bool, error) { return !strings.Contains(sec.Name, hidden), nil }
		}
		filter := filters[rapid.SampledFrom(slices.Sorted(maps.Keys(filters))).Draw(rt, "filter")]
		q.Filters = filter.filters
		limit := rapid.IntRange(1, 100).Draw(rt, "limit")

		var want []*secrets.Secret
		for _, sec := range all {
			if filter.keep(sec) && (q.Planned || sec.Deleted == 0) && (hidden == "" || !strings.Contains(sec.Name, hidden)) {
				want = append(want, sec)
			}
		}
		slices.SortFunc(want, orders[q.SortBy])
		if q.Descending {
			slices.Reverse(want)
		}
		names, _ := sh.pages(t, q, limit, func() {})
		if !slices.EqualFunc(names, want, func(name string, sec *secrets.Secret) bool { return name == sec.Name }) {
			q.See = nil
			rt.Fatalf("%+v without %q in pages of %d:\n got %q\nwant %d in another order or number", q, hidden, limit, names, len(want))
		}
	})
}

// Secrets come and go between pages: what exists throughout is listed exactly once,
// nothing twice.
func TestPagesUnderChange(t *testing.T) {
	sh := newShelf(t)
	const kept = 60
	var stay []*secrets.Secret
	for n := range kept {
		sec := bareSecret(n, fmt.Sprintf("stay/%02d", n))
		sec.Created = secrets.Instant(1000 + 10*(n*37%kept))
		stay = append(stay, sec)
	}
	sh.add(t, stay...)
	next := 1000
	rapid.Check(t, func(rt *rapid.T) {
		var extra []*secrets.Secret
		add := func() {
			sec := bareSecret(next, fmt.Sprintf("%s/%d", rapid.SampledFrom([]string{"a", "stay", "z"}).Draw(rt, "at"), next))
			sec.Created = secrets.Instant(900 + rapid.IntRange(0, 800).Draw(rt, "created"))
			next++
			sh.add(t, sec)
			extra = append(extra, sec)
		}
		remove := func() {
			if len(extra) == 0 {
				return
			}
			i := rapid.IntRange(0, len(extra)-1).Draw(rt, "which")
			sh.update(t, func(tx *store.Tx) { sh.svc.DeleteBare(tx, extra[i]) })
			extra = slices.Delete(extra, i, i+1)
		}
		defer func() {
			for len(extra) > 0 {
				sh.update(t, func(tx *store.Tx) { sh.svc.DeleteBare(tx, extra[0]) })
				extra = extra[1:]
			}
		}()
		for range rapid.IntRange(0, 5).Draw(rt, "before") {
			add()
		}
		q := secrets.Query{
			Scope: shelfScope, SortBy: rapid.SampledFrom([]string{"name", "created-date"}).Draw(rt, "sort by"),
			Descending: rapid.Bool().Draw(rt, "descending"), Gather: 1000,
		}
		if rapid.Bool().Draw(rt, "filtered") {
			q.Filters = []smapi.Filter{filterOf("name", "stay")}
		}
		names, _ := sh.pages(t, q, rapid.IntRange(3, 25).Draw(rt, "limit"), func() {
			for range rapid.IntRange(0, 2).Draw(rt, "changes") {
				if rapid.Bool().Draw(rt, "add") {
					add()
				} else {
					remove()
				}
			}
		})
		count := map[string]int{}
		for _, name := range names {
			if count[name]++; count[name] > 1 {
				rt.Fatalf("%s is listed twice", name)
			}
		}
		for _, sec := range stay {
			if count[sec.Name] != 1 {
				rt.Fatalf("%s is not listed", sec.Name)
			}
		}
	})
}

// A page does bounded work, and never stands still.
func TestPagesAreBounded(t *testing.T) {
	sh := newShelf(t)
	var all []*secrets.Secret
	for n := range 400 {
		sec := bareSecret(n, fmt.Sprintf("s/%03d", n))
		sec.Created = secrets.Instant(n + 1)
		sec.Description = strings.Repeat("word ", 20)
		all = append(all, sec)
	}
	all[399].Description = "needle"
	sh.add(t, all...)
	for _, tc := range []struct {
		name   string
		filter smapi.Filter
		work   int
		pages  int // about
	}{
		{"structural filter", filterOf("tag-key", "x"), 256 * 50, 8},
		{"description filter", filterOf("description", "needle"), 356 * 50, 8},
		{"all filter", filterOf("all", "needle"), 362 * 50, 8},
		{"several values", filterOf("description", "needle", "thread", "hay"), 556 * 50, 8},
		{"one record at a time", filterOf("all", "needle"), 1, 400},
		{"enough for all", filterOf("all", "needle"), 1 << 20, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			q := secrets.Query{Scope: shelfScope, SortBy: "created-date", Filters: []smapi.Filter{tc.filter}, Work: tc.work}
			names, sizes := sh.pages(t, q, 100, func() {})
			if got := len(sizes); got < tc.pages-1 || got > tc.pages+1 {
				t.Errorf("%d pages, want about %d", got, tc.pages)
			}
			want := []string{"s/399"}
			if *tc.filter.Key == "tag-key" {
				want = nil
			}
			if !slices.Equal(names, want) {
				t.Errorf("found %q, want %q", names, want)
			}
		})
	}
}

// Decisions are work, too, whether the order asked for is walked or a few names are
// fetched; and one that cannot be had ends the list.
func TestDecisionsAreBounded(t *testing.T) {
	sh := newShelf(t)
	for n := range 100 {
		sh.add(t, bareSecret(n, fmt.Sprintf("s/%03d", n)))
	}
	asked := 0
	q := secrets.Query{Scope: shelfScope, SortBy: "created-date", Work: 20_000, See: func(*secrets.Secret) (bool, error) { asked++; return false, nil }}
	for _, gather := range []int{0, 1000} {
		q.Gather, q.Filters = gather, []smapi.Filter{filterOf("name", "s/")}
		asked = 0
		most := 0
		names, sizes := sh.pages(t, q, 10, func() { most, asked = max(most, asked), 0 })
		if len(names) != 0 || len(sizes) < 4 || most > 25 {
			t.Errorf("gathering %d: %d secrets on %d pages, %d decisions on one, want none, several and about 20", gather, len(names), len(sizes), most)
		}
		broken := errors.New("broken")
		asked = 0
		q.See = func(*secrets.Secret) (bool, error) { asked++; return true, broken }
		err := sh.st.View(context.Background(), func(v *store.Snap) error {
			_, _, err := sh.svc.Page(v, q, "", 10)
			return err
		})
		if !errors.Is(err, broken) || asked != 1 {
			t.Errorf("gathering %d: error %v after %d questions, want the one of the first", gather, err, asked)
		}
		q.See = func(*secrets.Secret) (bool, error) { asked++; return false, nil }
	}
}
