package secrets_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/secrets"
	"arca/internal/store"
)

func TestZZScale(t *testing.T) {
	if os.Getenv("SCALE") == "" {
		t.Skip()
	}
	var n int
	fmt.Sscan(os.Getenv("SCALE"), &n)
	b := newBed(t)
	b.create(t, "first")
	start := time.Now()
	var all []*secrets.Secret
	for i := range n {
		sec := bareSecret(i, fmt.Sprintf("team%02d/app%03d/secret-%06d", i%50, i/50%200, i))
		sec.Account, sec.Region = bedAccount, bedRegion
		sec.Created, sec.Changed = secrets.Instant(1_700_000_000_000+int64(i)*1000), secrets.Instant(1_700_000_000_000+int64(i*7919%n)*1000)
		sec.Description = fmt.Sprintf("database password of application %d in production", i)
		sec.Tags = []secrets.Tag{{Key: "team", Value: fmt.Sprintf("team-%d", i%50)}, {Key: "stage", Value: "prod"}, {Key: "id", Value: fmt.Sprint(i)}}
		sec.Versions = []secrets.Version{{ID: *token(1), Stages: []string{"AWSPREVIOUS"}, Created: 1, Kind: 1, Size: 30}, {ID: *token(2), Stages: []string{"AWSCURRENT"}, Created: 2, Kind: 1, Size: 30}}
		all = append(all, sec)
	}
	var wg sync.WaitGroup
	work := make(chan []*secrets.Secret)
	for range 8 {
		wg.Go(func() {
			for batch := range work {
				_, err := b.store.Update(context.Background(), func(tx *store.Tx) error {
					for i, sec := range batch {
						b.svc.PutBare(tx, sec)
						if i%2 == 0 {
							b.svc.PutAccess(tx, sec, secrets.Day(20_000+i%7))
						}
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for batch := range slices.Chunk(all, 40) {
		work <- batch
	}
	close(work)
	wg.Wait()
	all = nil
	t.Logf("%d secrets written in %v", n, time.Since(start))
	runtime.GC()
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	t.Logf("heap %d MB", ms.HeapAlloc>>20)

	c := &call.Call{Op: smapi.OpListSecrets, Now: b.now, Partition: "aws", Region: bedRegion}
	fromAccount(bedAccount)(c)
	if _, err := b.dispatcher.Do(context.Background(), c, &smapi.ListSecretsInput{}); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		in   smapi.ListSecretsInput
	}{
		{"created asc", smapi.ListSecretsInput{}},
		{"created desc", smapi.ListSecretsInput{SortOrder: new("desc")}},
		{"name", smapi.ListSecretsInput{SortBy: new("name")}},
		{"changed", smapi.ListSecretsInput{SortBy: new("last-changed-date")}},
		{"accessed asc", smapi.ListSecretsInput{SortBy: new("last-accessed-date")}},
		{"accessed desc", smapi.ListSecretsInput{SortBy: new("last-accessed-date"), SortOrder: new("desc")}},
		{"tag-value 2%", smapi.ListSecretsInput{Filters: []smapi.Filter{filterOf("tag-value", "team-7")}}},
		{"tag-value one", smapi.ListSecretsInput{Filters: []smapi.Filter{filterOf("tag-value", fmt.Sprint(n-1))}}},
		{"tag-key none", smapi.ListSecretsInput{Filters: []smapi.Filter{filterOf("tag-key", "zzz")}}},
		{"description none", smapi.ListSecretsInput{Filters: []smapi.Filter{filterOf("description", "zebra")}}},
		{"all none", smapi.ListSecretsInput{Filters: []smapi.Filter{filterOf("all", "zebra")}}},
		{"name prefix narrow by created", smapi.ListSecretsInput{Filters: []smapi.Filter{filterOf("name", "team07/app01")}}},
		{"name prefix 2% by created", smapi.ListSecretsInput{Filters: []smapi.Filter{filterOf("name", "team07/")}}},
		{"name prefix everything by created", smapi.ListSecretsInput{Filters: []smapi.Filter{filterOf("name", "team")}}},
		{"two name prefixes narrow by created", smapi.ListSecretsInput{Filters: []smapi.Filter{filterOf("name", "team07/app011", "team08/app011")}}},
		{"name prefix 20% by created", smapi.ListSecretsInput{Filters: []smapi.Filter{filterOf("name", "team0")}}},
	} {
		in := tc.in
		var took []time.Duration
		total, found, empty := time.Duration(0), 0, 0
		for {
			at := time.Now()
			out, err := b.svc.ListSecrets(context.Background(), c, &in)
			if err != nil {
				t.Fatal(err)
			}
			d := time.Since(at)
			took = append(took, d)
			total += d
			found += len(out.SecretList)
			if len(out.SecretList) == 0 {
				empty++
			}
			if in.NextToken = out.NextToken; in.NextToken == nil {
				break
			}
		}
		slices.Sort(took)
		t.Logf("%-40s pages %5d (empty %d) found %6d  p50 %8v  p99 %8v  max %8v  total %v", tc.name, len(took), empty, found,
			took[len(took)/2].Round(time.Microsecond), took[len(took)*99/100].Round(time.Microsecond), took[len(took)-1].Round(time.Microsecond), total.Round(time.Millisecond))
	}
}
