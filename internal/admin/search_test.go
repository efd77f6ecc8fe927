package admin_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"arca/internal/admin"
)

func TestSearch(t *testing.T) {
	id, other := []byte("0123456789abcdef"), []byte("fedcba9876543210")
	at := func(offset int, what []byte) []byte {
		return append(bytes.Repeat([]byte{'.'}, offset), what...)
	}
	dir := t.TempDir()
	want := []string{}
	for name, f := range map[string]struct {
		content []byte
		found   bool
	}{
		"empty":            {nil, false},
		"alone":            {id, true},
		"second":           {at(100, other), true},
		"not whole":        {at(100, id[:15]), false},
		"around a block":   {append(at(admin.SearchBlock-1, id), '.'), true},
		"end of a block":   {at(admin.SearchBlock-16, id), true},
		"start of a block": {at(admin.SearchBlock, id), true},
		"across the third": {at(3*admin.SearchBlock+15-8, id), true},
		"far":              {append(at(5*admin.SearchBlock+77, id), at(admin.SearchBlock, nil)...), true},
		"nothing":          {at(3*admin.SearchBlock, nil), false},
	} {
		path := filepath.Join(dir, "below", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.content, 0o600); err != nil {
			t.Fatal(err)
		}
		if f.found {
			want = append(want, filepath.Join("below", name))
		}
	}
	got, err := admin.Search(t.Context(), dir, [][]byte{id, other})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("found in %q, want %q", got, want)
	}
	if got, err := admin.Search(t.Context(), dir, nil); err != nil || len(got) > 0 {
		t.Errorf("nothing was looked for: %q, %v", got, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := admin.Search(ended, dir, [][]byte{id}); err != context.Canceled {
		t.Errorf("after the end of its context: %v", err)
	}
	if _, err := admin.Search(t.Context(), filepath.Join(dir, "gone"), [][]byte{id}); err != nil {
		t.Errorf("a folder that is not there: %v", err)
	}
}
