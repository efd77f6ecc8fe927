package policy_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"arca/internal/policy"

	"github.com/google/go-cmp/cmp"
)

func TestReadJSONRefuses(t *testing.T) {
	tests := []struct {
		name, text string
		line, col  int
		reason     string
	}{
		{"empty", "", 1, 1, "ends"},
		{"blank", " \n\t", 2, 2, "ends"},
		{"byte order mark", "\ufeff{}", 1, 1, "cannot begin"},
		{"not UTF-8", "{\"a\":\"\xff\"}", 1, 1, "UTF-8"},
		{"text after", "{} {}", 1, 4, "goes on"},
		{"open object", `{"a":1`, 1, 7, "ends"},
		{"comma at the end of an object", `{"a":1,}`, 1, 8, "name"},
		{"comma at the end of a list", `[1,]`, 1, 4, "begin"},
		{"no colon", `{"a" 1}`, 1, 6, "colon"},
		{"no comma", `{"a":1 "b":2}`, 1, 8, "comma"},
		{"list without comma", `[1 2]`, 1, 4, "comma"},
		{"name without quotation marks", `{a:1}`, 1, 2, "name"},
		{"single quotation marks", `{'a':1}`, 1, 2, "name"},
		{"comment", "{ // x\n}", 1, 3, "name"},
		{"word", `tru`, 1, 1, "begin"},
		{"longer word", `truer`, 1, 5, "goes on"},
		{"NaN", `[NaN]`, 1, 2, "begin"},
		{"leading zero", `[01]`, 1, 3, "comma"},
		{"minus alone", `[-]`, 1, 3, "digit"},
		{"no digit after the point", `[1.]`, 1, 4, "digit"},
		{"no digit in the exponent", `[1e+]`, 1, 5, "digit"},
		{"point first", `[.5]`, 1, 2, "begin"},
		{"open string", `"abc`, 1, 5, "inside a string"},
		{"open string after an escape", `"\n`, 1, 4, "inside a string"},
		{"line end in a string", "\"a\nb\"", 1, 3, "control"},
		{"NUL in a string", "\"a\x00\"", 1, 3, "control"},
		{"control after an escape", "\"\\n\x01\"", 1, 4, "control"},
		{"unknown escape", `"\x41"`, 1, 3, "escape"},
		{"short unicode escape", `"\u12"`, 1, 3, "hexadecimal"},
		{"first surrogate alone", `"\ud83d"`, 1, 8, "surrogate"},
		{"second surrogate alone", `"\udd11"`, 1, 8, "surrogate"},
		{"two first surrogates", `"\ud83d\ud83d"`, 1, 14, "surrogate"},
		{"member twice", "{\"a\":1,\n \"a\":1}", 2, 2, "twice"},
		{"member twice, once escaped", `{"a":1,"\u0061":1}`, 1, 8, "twice"},
		{"column counts characters", `{"🔑é" 1}`, 1, 7, "colon"},
		{"too deep", strings.Repeat("[", 40), 1, 17, "nested"},
		{"too long", strings.Repeat(" ", policy.MaxBytes) + "{}", 1, 1, "longer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v, err := policy.ReadJSON(tt.text)
			if err == nil {
				t.Fatalf("ReadJSON = %v, want an error", v)
			}
			want := policy.Position{Line: tt.line, Column: tt.col}
			if err.Position != want || !strings.Contains(err.Reason, tt.reason) {
				t.Errorf("ReadJSON: %v, want %q at line %d, column %d", err, tt.reason, tt.line, tt.col)
			}
		})
	}
}

// One long line must not take longer than many short ones.
func TestReadJSONIsLinear(t *testing.T) {
	text := "[" + strings.Repeat("0,", policy.MaxBytes/2-2) + "0]"
	start := time.Now()
	for range 10 {
		if _, err := policy.ReadJSON(text); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("reading %d bytes ten times took %v", len(text), took)
	}
}

func FuzzReadJSON(f *testing.F) {
	for _, s := range []string{
		`{}`, `[]`, `""`, `null`, `-0.5e+10`, `{"a":[1,true,false,null,"x"],"b":{"c":"\u00e9\ud83d\udd11\n\/"}}`,
		" \r\n\t{ \"a\" : [ ] } ", `{"a":1,"a":2}`, `"\ud83d"`, "\"\xff\"", `[01]`, `[1.]`, `{"a":1,}`, "\"\t\"",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := policy.ReadJSON(text)
		if err != nil {
			// Whatever is refused as no JSON is none for encoding/json either, except for
			// what we are stricter about.
			stricter := !utf8.ValidString(text) || strings.Contains(err.Reason, "surrogate") || strings.Contains(err.Reason, "nested")
			if err.Kind == policy.NotJSON && !stricter && json.Valid([]byte(text)) {
				t.Errorf("ReadJSON(%q) refuses JSON: %v", text, err)
			}
			return
		}
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		var want any
		if err := d.Decode(&want); err != nil {
			t.Fatalf("ReadJSON(%q) accepts what encoding/json does not: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("ReadJSON(%q) differs from encoding/json:\n%s", text, diff)
		}
	})
}

func ExampleSyntaxError() {
	_, err := policy.ParseIdentityPolicy("{\n  \"Statement\": {\"Effect\": \"allow\"}\n}")
	fmt.Println(err)
	// Output: line 2, column 27: Effect is neither "Allow" nor "Deny"
}
