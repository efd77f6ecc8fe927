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
	count, n, words := sh.svc.CatalogSize(shelfScope)
	if count != len(all) || n != len(texts[0])+len(texts[1]) {
		t.Errorf("the catalogue has %d secrets and %d texts, want %d and %d", count, n, len(all), len(texts[0])+len(texts[1]))
	}
	if want := secrets.MentionedWords(slices.Collect(maps.Values(all))); words != want {
		t.Errorf("the catalogue has %d words, want %d", words, want)
	}
	for some := range slices.Chunk(slices.Collect(maps.Values(all)), 20) {
		sh.update(t, func(tx *store.Tx) {
			for _, sec := range some {
				sh.svc.DeleteBare(tx, sec)
			}
		})
	}
	if count, n, words := sh.svc.CatalogSize(shelfScope); count+n+words != 0 {
		t.Errorf("of no secrets, the catalogue has %d, %d texts and %d words", count, n, words)
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

// What the catalogue leaves for filters that seek words is what they keep, and more only if
// words are long or it may not be asked enough.
func TestCandidatesByWords(t *testing.T) {
	word := rapid.OneOf(
		rapid.StringMatching(`[a-cA-C0-1(/ -]{0,8}`),
		rapid.StringN(0, 4, -1),
		rapid.SampledFrom([]string{"COMPANYthings", "İstanbul", "ǅungla", "\xffx", "K", "日本 語", strings.Repeat("long", 8), strings.Repeat("long", 8) + "er", strings.Repeat("é", 17)}),
	)
	rapid.Check(t, func(t *rapid.T) {
		var all []*secrets.Secret
		for n := range rapid.IntRange(1, 40).Draw(t, "secrets") {
			sec := &secrets.Secret{
				Name: word.Draw(t, "name"), Description: word.Draw(t, "description") + " " + word.Draw(t, "more"),
				Tags: []secrets.Tag{{Key: word.Draw(t, "tag key"), Value: word.Draw(t, "tag value")}},
			}
			sec.UID[0] = byte(n)
			all = append(all, sec)
		}
		var filters []smapi.Filter
		long := false
		for range rapid.IntRange(1, 2).Draw(t, "filters") {
			f := filterOf(rapid.SampledFrom([]string{"description", "all"}).Draw(t, "key"))
			for range rapid.IntRange(1, 2).Draw(t, "values") {
				value := strings.TrimLeft(word.Draw(t, "value"), "!")
				if rapid.Bool().Draw(t, "own") {
					text := []rune(rapid.SampledFrom(all).Draw(t, "whose").Description)
					value = strings.TrimLeft(string(text[rapid.IntRange(0, len(text)).Draw(t, "from"):]), "!")
				}
				long = long || len(strings.ToLower(value)) > 32
				if rapid.IntRange(0, 3).Draw(t, "negated") == 0 {
					value = "!" + value
				}
				f.Values = append(f.Values, value)
			}
			filters = append(filters, f)
		}
		work := rapid.OneOf(rapid.IntRange(1, 60), rapid.Just(1<<20)).Draw(t, "work")
		found, err := secrets.Candidates(filters, work, all)
		if err != nil {
			t.Fatal(err)
		}
		for n, sec := range all {
			keeps, err := secrets.FilterKeeps(filters, sec)
			if err != nil {
				t.Fatal(err)
			}
			if left := slices.Contains(found, uint32(n)); left != keeps && (keeps || !long && work == 1<<20) {
				t.Fatalf("%v keeps %v of %+v, but as a candidate that is %v", filters, keeps, sec, left)
			}
		}
	})
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if l := unicode.ToLower(r); unicode.ToLower(l) != l {
			t.Errorf("%U in lower case twice is another character: the catalogue could miss it", r)
		}
	}
}

// Of words longer than the catalogue has, it knows the beginning alone: none is taken for
// another.
func TestCandidatesByLongWords(t *testing.T) {
	known := strings.Repeat("long", 8)
	var all []*secrets.Secret
	for n, name := range []string{known, known + "er", known + "est", "short"} {
		all = append(all, &secrets.Secret{UID: secrets.UID{byte(n)}, Name: name, Description: name, Tags: []secrets.Tag{{Key: name, Value: name}}})
	}
	for _, key := range []string{"all", "description"} {
		for value, want := range map[string][]uint32{
			known: {0, 1, 2}, "!" + known: {3}, known + "er": {0, 1, 2}, "!" + known + "er": {0, 1, 2, 3},
		} {
			got, err := secrets.Candidates([]smapi.Filter{filterOf(key, value)}, 1<<20, all)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%s %q: candidates %v, want %v, %v", key, value, got, want, err)
			}
		}
	}
}

// What the catalogue may not be asked any more is not taken for nothing.
func TestCandidatesOfHalfAnAnswer(t *testing.T) {
	all := []*secrets.Secret{{UID: secrets.UID{1}, Name: "-", Description: "x"}, {UID: secrets.UID{2}, Name: "-2", Description: "x;"}}
	got, err := secrets.Candidates([]smapi.Filter{filterOf("description", "x")}, 0, all)
	if err != nil || !slices.Equal(got, []uint32{0, 1}) {
		t.Errorf("candidates %v, want both: %v", got, err)
	}
}

// A word that has too many numbers for a leaf, or few again, while it is being sought is
// found.
func TestWordMovesWhileSought(t *testing.T) {
	index := secrets.NewWordIndex()
	words := strings.Split("abcdefghijklmnopqrstuvwxyz", "")
	for i, word := range words {
		index.Add(word, uint32(100+i))
		for n := range uint32(20) {
			if i < 13 || i%3 == 0 {
				index.Add(word, n)
			}
		}
	}
	step := 0
	got := index.Find("", 2, 0, func() {
		for i, word := range words {
			for n := range uint32(20) {
				if (step+i)%2 == 0 {
					index.Add(word, n)
				} else {
					index.Remove(word, n)
				}
			}
		}
		step++
	})
	for i := range words {
		if !slices.Contains(got, uint32(100+i)) {
			t.Errorf("%d is not found: %v", 100+i, got)
		}
	}
	if step < 2 {
		t.Errorf("found in %d pieces", step)
	}
}

// A word index is a map of sets, however words come and go, and does not keep much more
// memory than it needs.
func TestWordIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		index, want := secrets.NewWordIndex(), map[string]map[uint32]bool{}
		draw := rapid.Custom(func(t *rapid.T) string {
			return strings.Repeat("x", rapid.SampledFrom([]int{0, 0, 26}).Draw(t, "long")) + rapid.StringMatching(`[0-9a-c]{1,6}`).Draw(t, "word")
		})
		change := func(word string, n uint32, add bool) {
			if add {
				if want[word] == nil {
					want[word] = map[uint32]bool{}
				}
				want[word][n] = true
				index.Add(word, n)
				return
			}
			index.Remove(word, n)
			if delete(want[word], n); len(want[word]) == 0 {
				delete(want, word)
			}
		}
		check := func(prefix string) {
			set := map[uint32]bool{}
			for word, numbers := range want {
				if strings.HasPrefix(word, prefix) {
					maps.Copy(set, numbers)
				}
			}
			if got := index.Find(prefix, 20, rapid.SampledFrom([]int{0, 20, 1 << 20}).Draw(t, "most"), func() {}); !slices.Equal(got, slices.Sorted(maps.Keys(set))) {
				t.Fatalf("%q finds %v, want %v", prefix, got, slices.Sorted(maps.Keys(set)))
			}
			leaves, has, uses := index.Room()
			if index.Len() != len(want) || has > 2*uses+128*leaves || leaves > 2+uses/128 {
				t.Fatalf("%d words, want %d, in %d leaves of %d bytes, %d used", index.Len(), len(want), leaves, has, uses)
			}
		}
		number := rapid.Uint32Range(0, 1279)
		for range rapid.IntRange(1, 8).Draw(t, "rounds") {
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0: // a row of words, in their order
				for n := range uint32(rapid.IntRange(1, 300).Draw(t, "row")) {
					change(fmt.Sprintf("b%05d", n), n, true)
				}
			case 1: // a word of many
				word := draw.Draw(t, "many")
				for range rapid.IntRange(1, 40).Draw(t, "numbers") {
					change(word, number.Draw(t, "number"), true)
				}
			case 2:
				for _, word := range rapid.SliceOfN(draw, 1, 40).Draw(t, "words") {
					change(word, number.Draw(t, "number"), true)
				}
			case 3: // most of some
				left, prefix := rapid.IntRange(0, 10).Draw(t, "left"), rapid.SampledFrom([]string{"", "b", "x"}).Draw(t, "of")
				for _, word := range slices.Sorted(maps.Keys(want)) {
					for _, n := range slices.Sorted(maps.Keys(want[word])) {
						if strings.HasPrefix(word, prefix) && int(n)%11 >= left {
							change(word, n, false)
						}
					}
				}
			}
			check(rapid.SampledFrom([]string{"", "b", "b0", "b000", "x", "c", "z"}).Draw(t, "prefix"))
			change(draw.Draw(t, "absent"), 1279, false)
		}
		for word, numbers := range want {
			for n := range numbers {
				index.Remove(word, n)
			}
		}
		if leaves, has, _ := index.Room(); index.Len() != 0 || leaves != 1 || has != 0 {
			t.Fatalf("of nothing, %d words, %d leaves and %d bytes are left", index.Len(), leaves, has)
		}
	})
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
		if words := int(slices.Max(append(slices.Collect(maps.Keys(want)), 0))/64 + 1); l.Room() > 8*words+8 && l.Room() > 16*len(want)+32 {
			t.Fatalf("%d bytes for %d numbers in %d words", l.Room(), len(want), words)
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
				if _, err := sh.st.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error { fn(tx); secrets.EndAccess(tx); return nil }); err != nil {
					return err
				}
			}
		}
		return nil
	})
	for range 30 {
		for _, sortBy := range []string{"name", "created-date", "last-accessed-date"} {
			sh.svc.RankAround(shelfScope, func() {})
			for _, filters := range [][]smapi.Filter{
				{filterOf("tag-key", "kept"), filterOf("tag-value", "2")},
				{filterOf("all", "1 stay"), filterOf("all", "!kep come", "!changed 10000000 times")},
				{filterOf("all", "1"), filterOf("all", "stay"), filterOf("description", "!nothing")},
			} {
				q := secrets.Query{Scope: shelfScope, SortBy: sortBy, Look: 1, Few: 1, Filters: filters}
				names, _ := sh.pages(t, q, 7, func() {})
				names = slices.DeleteFunc(names, func(name string) bool { return *filters[0].Key == "all" && !strings.HasPrefix(name, "stay/1") })
				slices.Sort(names)
				if len(names) != 100 || len(slices.Compact(names)) != 100 {
					t.Errorf("%v by %s: %d secrets, want 100, each once", filters, sortBy, len(names))
				}
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
