package secrets_test

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"arca/internal/api/smapi"
	"arca/internal/secrets"
	"arca/internal/store"
)

func (sh shelf) fill(t testing.TB) {
	t.Helper()
	if err := sh.svc.FillCatalog(context.Background()); err != nil {
		t.Fatal(err)
	}
	if !sh.svc.CatalogReady() {
		t.Fatal("the catalogue is not filled")
	}
}

// drawSecret draws a secret with texts that have much in common with those of others.
func drawSecret(t *rapid.T, n int) *secrets.Secret {
	text := rapid.SampledFrom([]string{"", "a", "ab", "Abc", "prod/DB", "My-db x", "(foo) bar", "Ünï 9", "team7"})
	sec := bareSecret(n, fmt.Sprintf("%s/%d", rapid.SampledFrom([]string{"a", "ab", "Zb"}).Draw(t, "name"), n))
	sec.Created = secrets.Instant(1000 + rapid.IntRange(0, 9).Draw(t, "created"))
	retouch(t, text, sec)
	return sec
}

// retouch changes what of a secret can change.
func retouch(t *rapid.T, text *rapid.Generator[string], sec *secrets.Secret) {
	sec.Changed = secrets.Instant(2000 + rapid.IntRange(0, 9).Draw(t, "changed"))
	sec.Description = text.Draw(t, "description") + " " + text.Draw(t, "more")
	sec.Tags = nil
	for range rapid.IntRange(0, 3).Draw(t, "tags") {
		sec.Tags = append(sec.Tags, secrets.Tag{Key: text.Draw(t, "tag key"), Value: text.Draw(t, "tag value")})
	}
	sec.Deleted, sec.DeleteAfter = 0, 0
	if rapid.IntRange(0, 5).Draw(t, "scheduled") == 0 {
		sec.Deleted, sec.DeleteAfter = 1, 2
	}
}

func drawFilters(t *rapid.T) (filters []smapi.Filter) {
	keys := []string{"name", "tag-key", "tag-value", "description", "all", "primary-region", "owning-service"}
	values := []string{"", "a", "ab", "b", "A", "pro", "my", "my-d", "(f", "foo", "ü", "9", "team", "zz", "z/1"}
	for range rapid.IntRange(0, 2).Draw(t, "filters") {
		f := smapi.Filter{Key: new(rapid.SampledFrom(keys).Draw(t, "filter"))}
		for range rapid.IntRange(1, 2).Draw(t, "values") {
			value := rapid.SampledFrom(values).Draw(t, "value")
			if rapid.IntRange(0, 3).Draw(t, "negated") == 0 {
				value = "!" + value
			}
			f.Values = append(f.Values, value)
		}
		filters = append(filters, f)
	}
	return filters
}

// What the catalogue finds is what trying the filters on every secret of the snapshot
// finds, in the same order, whatever has changed in the store before, and since the
// snapshot was taken.
func TestCatalogAgreesWithSnapshot(t *testing.T) {
	checks(t, 40)
	sh := newShelf(t)
	text := rapid.SampledFrom([]string{"", "a", "Abc", "x (foo", "9 lives", "team7"})
	next, filled := 0, false
	all := map[string]*secrets.Secret{} // by name
	change := func(rt *rapid.T) {
		old, touched := slices.Sorted(maps.Keys(all)), map[string]bool{}
		sh.update(t, func(tx *store.Tx) {
			for range rapid.IntRange(1, 8).Draw(rt, "changes") {
				names := slices.DeleteFunc(slices.Clone(old), func(name string) bool { return all[name] == nil || touched[name] })
				what := rapid.IntRange(0, 5).Draw(rt, "what")
				switch {
				case len(names) == 0:
					what = 0
				case len(names) > 150 && what < 2:
					what = 2
				}
				switch what {
				default:
					sec := drawSecret(rt, next)
					next++
					sh.svc.PutBare(tx, sec)
					all[sec.Name] = sec
				case 2:
					sec := all[rapid.SampledFrom(names).Draw(rt, "deleted")]
					sh.svc.DeleteBare(tx, sec)
					delete(all, sec.Name)
				case 5:
					// One under the name of another that goes with the same commit.
					old := all[rapid.SampledFrom(names).Draw(rt, "succeeded")]
					sec := drawSecret(rt, next)
					next++
					sec.Name = old.Name
					touched[sec.Name] = true
					sh.svc.DeleteBare(tx, old)
					sh.svc.PutBare(tx, sec)
					all[sec.Name] = sec
				case 3:
					sec := *all[rapid.SampledFrom(names).Draw(rt, "changed")]
					retouch(rt, text, &sec)
					sh.svc.PutBare(tx, &sec)
					all[sec.Name] = &sec
				case 4:
					sec := all[rapid.SampledFrom(names).Draw(rt, "read")]
					sh.svc.PutAccess(tx, sec, secrets.Day(20_000+rapid.IntRange(0, 3).Draw(rt, "day")))
				}
			}
		})
	}
	rapid.Check(t, func(rt *rapid.T) {
		change(rt)
		if next > 20 && (!filled || rapid.IntRange(0, 3).Draw(rt, "fill again") == 0) {
			// With something happening meanwhile.
			err := sh.st.View(t.Context(), func(v *store.Snap) error {
				sh.svc.FillCatalogAround(v, func() { change(rt); change(rt) })
				return nil
			})
			if err != nil {
				rt.Fatal(err)
			}
			filled = true
		}
		if filled && rapid.IntRange(0, 2).Draw(rt, "rank") == 0 {
			sh.svc.RankAround(shelfScope, func() { change(rt) })
		}
		q := secrets.Query{
			Scope: shelfScope, Look: rapid.SampledFrom([]int{0, 1, 300}).Draw(rt, "look"), Few: rapid.SampledFrom([]int{0, 1, 2}).Draw(rt, "few"),
			SortBy:     rapid.SampledFrom([]string{"name", "created-date", "last-changed-date", "last-accessed-date"}).Draw(rt, "sort by"),
			Descending: rapid.Bool().Draw(rt, "descending"), Planned: rapid.Bool().Draw(rt, "planned"),
			Work: rapid.SampledFrom([]int{0, 3000}).Draw(rt, "work"), Gather: rapid.SampledFrom([]int{0, 1000}).Draw(rt, "gather"),
			Filters: drawFilters(rt),
		}
		limit := rapid.IntRange(1, 20).Draw(rt, "limit")
		lost := rapid.IntRange(0, 9).Draw(rt, "lost") == 0
		err := sh.st.View(t.Context(), func(v *store.Snap) error {
			// Everything, in this order, as the snapshot has it.
			plain := secrets.Query{Scope: q.Scope, SortBy: q.SortBy, Descending: q.Descending, Planned: q.Planned, Look: 1 << 30, Work: 1 << 30}
			every, _, err := sh.svc.Page(v, plain, "", 1<<20)
			if err != nil {
				return err
			}
			var want []string
			for _, sec := range every {
				keeps, err := secrets.FilterKeeps(q.Filters, sec)
				if err != nil {
					return err
				}
				if keeps {
					want = append(want, sec.Name)
				}
			}
			for range rapid.IntRange(0, 2).Draw(rt, "meanwhile") {
				change(rt)
			}
			if lost {
				sh.svc.ForgetRecent()
			}
			var got []string
			for after := ""; ; {
				if filled && rapid.IntRange(0, 9).Draw(rt, "rank between") == 0 {
					sh.svc.RankAround(shelfScope, func() { change(rt) })
				}
				page, next, err := sh.svc.Page(v, q, after, limit)
				if err != nil {
					return err
				}
				for _, sec := range page {
					got = append(got, sec.Name)
				}
				if after = next; after == "" {
					break
				}
			}
			if !slices.Equal(got, want) {
				rt.Fatalf("%+v in pages of %d: %d secrets, want %d:\n got %q\nwant %q", q, limit, len(got), len(want), got, want)
			}
			return nil
		})
		if err != nil {
			rt.Fatal(err)
		}
	})
	if !filled {
		t.Fatal("the catalogue was never filled")
	}
	// In the end it holds nothing of what is gone.
	texts := [2]map[string]bool{{}, {}}
	for _, sec := range all {
		for _, tag := range sec.Tags {
			texts[0][tag.Key], texts[1][tag.Value] = true, true
		}
	}
	if count, n := sh.svc.CatalogSize(shelfScope); count != len(all) || n != len(texts[0])+len(texts[1]) {
		t.Errorf("the catalogue has %d secrets and %d texts, want %d and %d", count, n, len(all), len(texts[0])+len(texts[1]))
	}
}

// A filter that keeps none of many secrets, or very few, takes one page, for every key.
func TestCatalogFindsFewAtOnce(t *testing.T) {
	sh := newShelf(t)
	const count = 600
	var all []*secrets.Secret
	for n := range count {
		sec := bareSecret(n, fmt.Sprintf("team/%03d", n))
		sec.Created, sec.Description = secrets.Instant(n+1), fmt.Sprintf("password of service %d", n)
		sec.Tags = []secrets.Tag{{Key: "team", Value: fmt.Sprintf("payments-%d", n%7)}, {Key: "stage", Value: "prod"}}
		all = append(all, sec)
	}
	all[590].Tags[1].Value, all[590].Description = "needle", "a needle"
	sh.add(t, all...)
	sh.fill(t)
	for _, tc := range []struct {
		filter smapi.Filter
		want   []string
	}{
		{filterOf("name", "team/590x", "tame"), nil},
		{filterOf("name", "!team"), nil},
		{filterOf("name", "team/590", "x"), []string{"team/590"}},
		{filterOf("tag-key", "owner"), nil},
		{filterOf("tag-key", "!stage"), nil},
		{filterOf("tag-value", "prodd"), nil},
		{filterOf("tag-value", "nee"), []string{"team/590"}},
		{filterOf("tag-value", "!prod"), []string{"team/590"}},
		{filterOf("description", "needles"), nil},
		{filterOf("description", "NEED"), []string{"team/590"}},
		{filterOf("all", "thread"), nil},
		{filterOf("all", "+"), nil},
		{filterOf("all", "needle"), []string{"team/590"}},
		{filterOf("primary-region", "eu"), nil},
		{filterOf("owning-service", "rds"), nil},
	} {
		for _, sortBy := range []string{"name", "created-date", "last-changed-date", "last-accessed-date"} {
			// A hundredth of what walking past all of them takes.
			q := secrets.Query{Scope: shelfScope, SortBy: sortBy, Filters: []smapi.Filter{tc.filter}, Work: 16 * count, Look: 300}
			names, sizes := sh.pages(t, q, 100, func() {})
			if len(sizes) != 1 || !slices.Equal(names, tc.want) {
				t.Errorf("%s %q by %s: %q on %d pages, want %q on one", *tc.filter.Key, tc.filter.Values, sortBy, names, len(sizes), tc.want)
			}
		}
	}
	// Nearly all have been read: those that were not are found at once.
	for batch := range slices.Chunk(all[:count-3], 30) {
		sh.update(t, func(tx *store.Tx) {
			for _, sec := range batch {
				sh.svc.PutAccess(tx, sec, 20_000)
			}
		})
	}
	err := sh.st.View(t.Context(), func(v *store.Snap) error {
		page, next, err := sh.svc.Page(v, secrets.Query{Scope: shelfScope, SortBy: "last-accessed-date", Work: 128 * count / 4, Look: 300}, "", 3)
		if len(page) != 3 || next == "" || page[0] == nil || page[0].Name != "team/597" {
			t.Errorf("first page: %d secrets, next %q, want the three that were not read", len(page), next)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What a filter finds has the marks of what it seeks; nearly all else has not.
func TestMarksAreNecessary(t *testing.T) {
	word := rapid.OneOf(
		rapid.StringMatching(`[a-cA-C0-1(/ -]{0,8}`),
		rapid.StringN(0, 4, -1),
		rapid.SampledFrom([]string{"COMPANYthings", "İstanbul", "ǅungla", "\xffx", "K", "日本 語"}),
	)
	rapid.Check(t, func(t *rapid.T) {
		s := &secrets.Secret{
			Name: word.Draw(t, "name"), Description: word.Draw(t, "description") + " " + word.Draw(t, "more"),
			Tags: []secrets.Tag{{Key: word.Draw(t, "tag key"), Value: word.Draw(t, "tag value")}},
		}
		key := rapid.SampledFrom([]string{"description", "all"}).Draw(t, "key")
		value := strings.TrimLeft(word.Draw(t, "value"), "!")
		if rapid.Bool().Draw(t, "own") {
			value = strings.TrimLeft(string([]rune(s.Description)[rapid.IntRange(0, 3).Draw(t, "from")%(1+len([]rune(s.Description))):]), "!")
		}
		keeps, err := secrets.FilterKeeps([]smapi.Filter{filterOf(key, value)}, s)
		if err != nil {
			t.Fatal(err)
		}
		if keeps && !secrets.MarksFind(key, value, s) {
			t.Fatalf("%s %q is found in %+v, but not by its marks", key, value, s)
		}
	})
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if l := unicode.ToLower(r); unicode.ToLower(l) != l {
			t.Errorf("%U in lower case twice is another character: marks could miss it", r)
		}
	}
}

func TestNumberList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l secrets.NumberList
		want := map[uint32]bool{}
		most := uint32(rapid.SampledFrom([]int{40, 3000}).Draw(t, "most"))
		for _, n := range rapid.SliceOfN(rapid.Uint32Range(0, most), 0, 400).Draw(t, "numbers") {
			if n%3 == 0 && len(want) > 20 {
				for n := range want {
					delete(want, n)
					l.Remove(n)
					break
				}
				continue
			}
			l.Add(n)
			want[n] = true
		}
		if got := l.All(64); l.Count() != len(want) || !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
			t.Fatalf("%d numbers %v, want %v", l.Count(), got, slices.Sorted(maps.Keys(want)))
		}
	})
}

// While others write, and the catalogue is filled anew, every list shows exactly once what
// its filter keeps all the time.
func TestCatalogBesideWriters(t *testing.T) {
	sh := newShelf(t)
	var stay []*secrets.Secret
	for n := range 300 {
		sec := bareSecret(n, fmt.Sprintf("stay/%03d", n))
		sec.Created, sec.Tags = secrets.Instant(n+1), []secrets.Tag{{Key: "kept", Value: fmt.Sprint(n % 3)}}
		stay = append(stay, sec)
	}
	sh.add(t, stay...)
	sh.fill(t)
	ctx, stop := context.WithCancel(t.Context())
	var writers errgroup.Group
	writers.Go(func() error {
		for n := 1000; ctx.Err() == nil; n++ {
			come := bareSecret(n, fmt.Sprintf("come/%d", n))
			come.Created, come.Tags = secrets.Instant(n%300), []secrets.Tag{{Key: "kep", Value: fmt.Sprint(n)}}
			changed := *stay[n%len(stay)]
			changed.Changed, changed.Description = secrets.Instant(n), fmt.Sprintf("changed %d times", n)
			for _, fn := range []func(tx *store.Tx){
				func(tx *store.Tx) { sh.svc.PutRecord(tx, come); sh.svc.PutRecord(tx, &changed) },
				func(tx *store.Tx) { sh.svc.PutAccess(tx, come, 20_000) },
				func(tx *store.Tx) { sh.svc.DeleteBare(tx, come) },
			} {
				if _, err := sh.st.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error { fn(tx); return nil }); err != nil {
					return err
				}
			}
		}
		return nil
	})
	for range 30 {
		for _, sortBy := range []string{"name", "created-date", "last-accessed-date"} {
			sh.svc.RankAround(shelfScope, func() {})
			q := secrets.Query{Scope: shelfScope, SortBy: sortBy, Look: 1, Few: 1, Filters: []smapi.Filter{filterOf("tag-key", "kept"), filterOf("tag-value", "2")}}
			names, _ := sh.pages(t, q, 7, func() {})
			slices.Sort(names)
			if len(names) != 100 || len(slices.Compact(names)) != 100 {
				t.Errorf("by %s: %d secrets, want 100, each once", sortBy, len(names))
			}
		}
		for sh.svc.DropCatalog(); !sh.svc.CatalogReady(); {
			if err := sh.svc.FillCatalog(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	stop()
	if err := writers.Wait(); err != nil {
		t.Fatal(err)
	}
}

// checks sets how many random cases a test tries that commits many times in each, unless
// the command line does.
func checks(t *testing.T, n int) {
	t.Helper()
	f := flag.Lookup("rapid.checks")
	before := f.Value.String()
	if before != f.DefValue {
		return
	}
	if err := f.Value.Set(strconv.Itoa(n)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Value.Set(before) })
}
