package api_test

import (
	"encoding/json"
	"testing"

	"arca/internal/api"
)

func TestAppendJSONString(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"empty", "", `""`},
		{"plain", "hello", `"hello"`},
		{"quote and backslash", `a"b\c`, `"a\"b\\c"`},
		{"short escapes", "\b\f\n\r\t", `"\b\f\n\r\t"`},
		{"control", "\x00\x1f", `"\u0000\u001f"`},
		{"not escaped without need", "</script>&'\u2028", "\"</script>&'\u2028\""},
		{"beyond ASCII", "grüße 🔑", `"grüße 🔑"`},
		{"broken UTF-8", "a\xffb\xc3", "\"a\ufffdb\ufffd\""},
		{"U+FFFD itself", "\ufffd", "\"\ufffd\""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(api.AppendJSONString([]byte("x"), tt.in)); got != "x"+tt.want {
				t.Errorf("AppendJSONString(%q) = %s, want %s", tt.in, got[1:], tt.want)
			}
		})
	}
}

func FuzzAppendJSONString(f *testing.F) {
	for _, s := range []string{"", "a", `"\`, "\x00", "\xff", "é\xf0\x9f\x94\x91", "\u2028"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := api.AppendJSONString(nil, s)
		var back string
		if err := json.Unmarshal(got, &back); err != nil {
			t.Fatalf("AppendJSONString(%q) = %s: %v", s, got, err)
		}
		// The conversion turns each broken byte into U+FFFD.
		if want := string([]rune(s)); back != want {
			t.Errorf("AppendJSONString(%q) reads back as %q, want %q", s, back, want)
		}
	})
}
