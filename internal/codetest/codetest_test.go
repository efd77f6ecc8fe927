package codetest_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api"
	"arca/internal/codetest"
)

func TestMissing(t *testing.T) {
	a, b, c := &api.Code{Name: "A"}, &api.Code{Name: "B"}, &api.Code{Name: "C"}
	get, put := &api.Operation{Name: "Get", Errors: []*api.Code{a, b, c}}, &api.Operation{Name: "Put", Errors: []*api.Code{a}}
	var codes codetest.Codes
	codes.Note(get, a.Errorf("no"))
	codes.Note(put, nil)
	codes.Note(put, errors.New("no code"))
	got := codes.Missing([]*api.Operation{put, get}, func(op, code string) string {
		if op == "Get" && code == "C" {
			return "cannot happen"
		}
		return ""
	})
	if diff := cmp.Diff([]string{"Get B", "Put A"}, got); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
}
