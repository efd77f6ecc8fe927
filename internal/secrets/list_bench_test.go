package secrets_test

import (
	"flag"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"arca/internal/api/smapi"
	"arca/internal/secrets"
	"arca/internal/store"
)

// benchSecrets is the larger of the two scopes that BenchmarkPage lists. Half a million
// take minutes to store.
var benchSecrets = flag.Int("bench-secrets", 20_000, "secrets in the larger scope of BenchmarkPage")

// ordinarySecret is one of many as large accounts have them: the team follows the name, the
// cost centre does not.
func ordinarySecret(n, count int) *secrets.Secret {
	sec := bareSecret(n, fmt.Sprintf("team-%02d/service-%04d/password-%06d", n%100, n%10_000, n))
	sec.Created, sec.Changed = secrets.Instant(1_700_000_000_000+n), secrets.Instant(1_700_000_000_000+n*7919%count)
	sec.Description = fmt.Sprintf("Password of service %d for the orders database, rotated monthly", n%10_000)
	sec.Tags = []secrets.Tag{
		{Key: "team", Value: fmt.Sprintf("team-%02d", n%100)},
		{Key: "stage", Value: []string{"production", "staging", "test"}[n%3]},
		{Key: "cost-centre", Value: fmt.Sprintf("cc-%05d", n*31%(count/10))},
	}
	if n%(count/100) == 0 {
		sec.Tags = append(sec.Tags, secrets.Tag{Key: "legacy", Value: "yes"})
	}
	return sec
}

// BenchmarkPage lists pages of 100 from a small and from a large scope: the time must not
// depend on the number of secrets around them. cpu-ns/op is processor time.
func BenchmarkPage(b *testing.B) {
	for _, count := range []int{1_000, *benchSecrets} {
		sh := newShelf(b)
		for batch := range slices.Chunk(slices.Collect(func(yield func(int) bool) {
			for n := range count {
				if !yield(n) {
					return
				}
			}
		}), 60) {
			sh.update(b, func(tx *store.Tx) {
				for _, n := range batch {
					sh.svc.PutRecord(tx, ordinarySecret(n, count))
				}
			})
		}
		before, start, cpu := heap(), time.Now(), processorTime(b)
		sh.fill(b)
		fmt.Printf("%d secrets: the catalogue takes %.1f MB, filled in %v, processor time %v\n", count, float64(heap()-before)/1e6, time.Since(start), time.Duration(processorTime(b)-cpu))
		perCentOf := func(n int) string { return fmt.Sprintf("cc-%05d", n) }
		for _, bc := range []struct {
			name    string
			sortBy  string
			filters []smapi.Filter
		}{
			{"plain/name", "name", nil},
			{"plain/created", "created-date", nil},
			{"plain/changed", "last-changed-date", nil},
			{"plain/accessed", "last-accessed-date", nil},
			{"prefix 1%/name", "name", []smapi.Filter{filterOf("name", "team-17/")}},
			{"prefix 1%/created", "created-date", []smapi.Filter{filterOf("name", "team-17/")}},
			{"prefix 1%/changed", "last-changed-date", []smapi.Filter{filterOf("name", "team-17/")}},
			{"prefix 1%/accessed", "last-accessed-date", []smapi.Filter{filterOf("name", "team-17/")}},
			{"prefix 10%/created", "created-date", []smapi.Filter{filterOf("name", "team-1")}},
			{"tag 1%/created", "created-date", []smapi.Filter{filterOf("tag-value", "team-17")}},
			{"tag 1%/name", "name", []smapi.Filter{filterOf("tag-value", "team-17")}},
			{"tag 1% at the end/name", "name", []smapi.Filter{filterOf("tag-value", "team-97")}},
			{"tag 1%/accessed", "last-accessed-date", []smapi.Filter{filterOf("tag-value", "team-17")}},
			{"tag 33%/changed", "last-changed-date", []smapi.Filter{filterOf("tag-value", "staging")}},
			{"tag 1%/changed", "last-changed-date", []smapi.Filter{filterOf("tag-value", "team-17")}},
			{"tag 33%/accessed", "last-accessed-date", []smapi.Filter{filterOf("tag-value", "staging")}},
			{"all 33%/created", "created-date", []smapi.Filter{filterOf("all", "staging")}},
			{"all 1%/name", "name", []smapi.Filter{filterOf("all", "team 17")}},
			// Nearly all have one of the words, and many words begin with the other.
			{"all two words/name", "name", []smapi.Filter{filterOf("all", "cc-17")}},
			{"all two words/created", "created-date", []smapi.Filter{filterOf("all", "password 17")}},
			{"all one letter/name", "name", []smapi.Filter{filterOf("all", "c")}},
			{"description 1%/created", "created-date", []smapi.Filter{filterOf("description", "service 17")}},
			{"all of 100/name", "name", []smapi.Filter{filterOf("all", "legacy")}},
			{"tag key of 100/created", "created-date", []smapi.Filter{filterOf("tag-key", "legacy")}},
			{"tag key of 100/name", "name", []smapi.Filter{filterOf("tag-key", "legacy")}},
			{"tag of ten/created", "created-date", []smapi.Filter{filterOf("tag-value", perCentOf(7))}},
			{"nothing/tag-key", "created-date", []smapi.Filter{filterOf("tag-key", "nothing")}},
			{"nothing/tag-key negated", "created-date", []smapi.Filter{filterOf("tag-key", "!team")}},
			{"nothing/tag-value", "name", []smapi.Filter{filterOf("tag-value", "nothing")}},
			{"nothing/name", "created-date", []smapi.Filter{filterOf("name", "nothing")}},
			{"nothing/names", "created-date", []smapi.Filter{filterOf("name", "nothing", "none")}},
			{"nothing/name negated", "created-date", []smapi.Filter{filterOf("name", "!team-")}},
			{"nothing/description", "created-date", []smapi.Filter{filterOf("description", "nothing")}},
			{"nothing/description near", "created-date", []smapi.Filter{filterOf("description", "services")}},
			{"nothing/description negated", "created-date", []smapi.Filter{filterOf("description", "!password")}},
			{"nothing/all", "created-date", []smapi.Filter{filterOf("all", "nothing")}},
			{"nothing/all short", "created-date", []smapi.Filter{filterOf("all", "px")}},
			{"nothing/all negated", "created-date", []smapi.Filter{filterOf("all", "!p")}},
			{"nothing/primary-region", "created-date", []smapi.Filter{filterOf("primary-region", "eu")}},
			{"nothing/owning-service", "created-date", []smapi.Filter{filterOf("owning-service", "eu")}},
			// Without the catalogue, for comparison.
			{"walked/tag 1%/created", "created-date", []smapi.Filter{filterOf("tag-value", "team-17")}},
			{"walked/nothing/tag-key", "created-date", []smapi.Filter{filterOf("tag-key", "nothing")}},
			{"walked/nothing/all", "created-date", []smapi.Filter{filterOf("all", "nothing")}},
		} {
			whole := strings.Contains(bc.name, "nothing") // all pages, until the last
			q := secrets.Query{Scope: shelfScope, SortBy: bc.sortBy, Filters: bc.filters, Gather: 4096}
			if strings.HasPrefix(bc.name, "walked") {
				q.Look = 1 << 30
			}
			b.Run(fmt.Sprintf("%d/%s", count, bc.name), func(b *testing.B) {
				pages, found := 0, 0
				cpu := processorTime(b)
				for b.Loop() {
					for after := ""; ; {
						err := sh.st.View(b.Context(), func(v *store.Snap) (err error) {
							var page []*secrets.Secret
							page, after, err = sh.svc.Page(v, q, after, 100)
							found += len(page)
							return err
						})
						if err != nil {
							b.Fatal(err)
						}
						if pages++; !whole || after == "" {
							break
						}
					}
				}
				b.ReportMetric(float64(processorTime(b)-cpu)/float64(b.N), "cpu-ns/op")
				b.ReportMetric(float64(pages)/float64(b.N), "pages/op")
				b.ReportMetric(float64(found)/float64(b.N), "found/op")
			})
		}
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
