package iam_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"arca/internal/api/iamapi"
)

// A marker of nobody's making is refused, and never does harm.
func FuzzMarker(f *testing.F) {
	h := newHouse(f)
	h.createUser(f, "a")
	h.createUser(f, "b")
	one := int32(1)
	good := *must[iamapi.ListUsersOutput](f, h, iamapi.OpListUsers, &iamapi.ListUsersInput{MaxItems: &one}).Marker
	for _, seed := range []string{good, good[1:], good + "A", good + "=", "", " ", "!", "AAAA", "ÿ"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, marker string) {
		out, err := do[iamapi.ListUsersOutput](t, h, iamapi.OpListUsers, &iamapi.ListUsersInput{Marker: &marker})
		if marker == good {
			if err != nil || len(out.Users) != 1 || out.Users[0].UserName != "b" {
				t.Fatalf("good marker: %+v, %v", out, err)
			}
		} else if err == nil {
			t.Fatalf("marker %q was accepted", marker)
		}
	})
}

// Paths and pages of any sizes never lose or repeat a user.
func TestPages(t *testing.T) {
	h := newHouse(t)
	var names []string
	for i := range 12 {
		names = append(names, fmt.Sprintf("%c%d", "aBcD"[i%4], i))
		h.createUser(t, names[i])
	}
	want := func() []string {
		var all []string
		for _, u := range must[iamapi.ListUsersOutput](t, h, iamapi.OpListUsers, &iamapi.ListUsersInput{}).Users {
			all = append(all, u.UserName)
		}
		return all
	}()
	rapid.Check(t, func(t *rapid.T) {
		var got []string
		in := &iamapi.ListUsersInput{}
		for {
			in.MaxItems = new(rapid.Int32Range(1, 13).Draw(t, "size"))
			out, err := h.call(iamapi.OpListUsers, in)
			if err != nil {
				t.Fatal(err)
			}
			page := out.(*iamapi.ListUsersOutput)
			for _, u := range page.Users {
				got = append(got, u.UserName)
			}
			if in.Marker = page.Marker; in.Marker == nil {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("pages hold %q, want %q", got, want)
		}
	})
}
