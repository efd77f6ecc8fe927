package paging_test

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"arca/internal/paging"
	"arca/internal/store"
	"arca/internal/storetest"
)

// A token opens for its own question alone.
func TestToken(t *testing.T) {
	st := storetest.New(t, func(*store.Store) {})
	other := storetest.New(t, func(*store.Store) {})
	q := paging.QuestionOf("List", "a", "bc")
	token, err := paging.Seal(st, q, "somewhere")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := paging.Open(st, q, token); err != nil || got != "somewhere" {
		t.Errorf("Open = %q, %v", got, err)
	}
	empty, err := paging.Seal(st, q, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		st    *store.Store
		q     paging.Question
		token string
	}{
		{"another question", st, paging.QuestionOf("List", "ab", "c"), token},
		{"fewer parts", st, paging.QuestionOf("List", "abc"), token},
		{"another deployment", other, q, token},
		{"cut", st, q, token[:len(token)-2]},
		{"changed", st, q, swap(token)},
		{"not base64", st, q, token + "="},
		{"empty", st, q, ""},
		{"of no position", st, q, empty},
	} {
		if got, err := paging.Open(tt.st, tt.q, tt.token); !errors.Is(err, paging.ErrToken) {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
	}
	if _, err := paging.New(st, q, new("nonsense"), 1); !errors.Is(err, paging.ErrToken) {
		t.Errorf("New with a bad token: %v", err)
	}
}

// Pages of any size give every entry once and in order.
func TestPages(t *testing.T) {
	st := storetest.New(t, func(*store.Store) {})
	q := paging.QuestionOf("List")
	rapid.Check(t, func(t *rapid.T) {
		list := make([]int, rapid.IntRange(0, 40).Draw(t, "entries"))
		for i := range list {
			list[i] = i
		}
		limit := rapid.IntRange(1, 12).Draw(t, "limit")
		var token *string
		var got []int
		for pages := 0; ; pages++ {
			if pages > len(list) {
				t.Fatal("the list does not end")
			}
			p, err := paging.New(st, q, token, limit)
			if err != nil {
				t.Fatal(err)
			}
			if rapid.Bool().Draw(t, "runs again") {
				paging.Page(p, list)
				p.Begin()
			}
			got = append(got, paging.Page(p, list)...)
			var more *bool
			if more, token, err = p.End(); err != nil {
				t.Fatal(err)
			}
			if *more != (token != nil) {
				t.Fatalf("truncated %v beside token %v", *more, token)
			}
			if !*more {
				break
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(list) {
			t.Fatalf("pages of %d: %v, want %v", limit, got, list)
		}
	})
}

// Entries that bring much along fill a page before its limit.
func TestWeight(t *testing.T) {
	st := storetest.New(t, func(*store.Store) {})
	p, err := paging.New(st, paging.QuestionOf("List"), nil, 1000)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for {
		take, more := p.Offer(fmt.Sprintf("%06d", n))
		if !more {
			break
		}
		if take {
			n++
			p.Weigh(512 << 10)
		}
	}
	if n != 4 {
		t.Errorf("a page of %d entries of 512 KiB, want 4", n)
	}
}

// swap exchanges two characters that differ.
func swap(token string) string {
	b := []byte(token)
	for i := 1; i < len(b); i++ {
		if b[i] != b[i-1] && i > len(b)/2 {
			b[i], b[i-1] = b[i-1], b[i]
			break
		}
	}
	return string(b)
}
