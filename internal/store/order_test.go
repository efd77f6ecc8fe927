package store_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"arca/internal/store"
)

// Index keys are sorted as texts are, whatever they begin and end with, and equal ones by
// their records.
func TestIndexKeysAreSorted(t *testing.T) {
	part := rapid.SampledFrom([]string{"", "a", "b", "\x00", "\x00\x00\x00\x00\x00\x00\x00\x00", "\xff", "account/region", "1234567", "12345678", "123456789"})
	key := rapid.Custom(func(t *rapid.T) string {
		return part.Draw(t, "1") + part.Draw(t, "2") + part.Draw(t, "3")
	})
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOfN(key, 0, 200).Draw(t, "keys")
		got, records := store.SortedKeys(keys)
		if want := slices.Sorted(slices.Values(keys)); !slices.Equal(got, want) {
			t.Fatalf("sorted: %q, want %q", got, want)
		}
		for i := 1; i < len(got); i++ {
			if got[i] == got[i-1] && records[i] <= records[i-1] {
				t.Fatalf("records %s and %s of %q", records[i-1], records[i], got[i])
			}
		}
	})
}
