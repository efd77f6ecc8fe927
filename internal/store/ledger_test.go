package store_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"arca/internal/store"
)

// The ledger keeps the newest change of each record that is in its range, whatever the
// order they come in and however little it may hold; its ranges cover everything once.
func TestLedger(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type change struct {
			Key     int
			Seq     uint64
			Deleted bool
		}
		changes := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) change {
			return change{rapid.IntRange(0, 60).Draw(t, "key"), uint64(rapid.IntRange(1, 9).Draw(t, "seq")), rapid.Bool().Draw(t, "deleted")}
		}), 0, 300).Draw(t, "changes")
		newest := make(map[string]change)
		for _, c := range changes {
			key := fmt.Sprint("arca/1/things/", c.Key)
			if was, ok := newest[key]; !ok || c.Seq > was.Seq || c.Seq == was.Seq && c.Deleted {
				newest[key] = c
			}
		}
		seen := make(map[string]int)
		l := store.NewLedger(rapid.IntRange(1, 70).Draw(t, "max"))
		for more := true; more; more = l.Next() {
			l.Reset()
			for _, c := range changes {
				l.Add(fmt.Sprint("arca/1/things/", c.Key), c.Seq, c.Deleted)
			}
			for key, want := range newest {
				seq, deleted, ok := l.Find(key)
				if !ok {
					continue
				}
				seen[key]++
				if seq != want.Seq || deleted != want.Deleted {
					t.Fatalf("%s: sequence %d, deleted %v, want %d, %v", key, seq, deleted, want.Seq, want.Deleted)
				}
			}
		}
		for key := range newest {
			if seen[key] != 1 {
				t.Fatalf("%s was in %d ranges, want 1", key, seen[key])
			}
		}
	})
}

// BenchmarkLedger is what the log of a large store costs: half a million secrets with
// what belongs to each.
func BenchmarkLedger(b *testing.B) {
	b.ReportAllocs()
	for range b.N {
		l := store.NewLedger(3_000_000)
		l.Reset()
		for i := range 2_500_000 {
			l.Add(fmt.Sprint("arca/1/things/", i), uint64(i), false)
		}
	}
}
