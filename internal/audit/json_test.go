package audit_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"arca/internal/audit"
)

// slowString looks at each character by itself.
func slowString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == utf8.RuneError && size == 1, r < 0x20, r >= 0x7f && r <= 0x9f, r == '\u061c', r == '\u2028', r == '\u2029', r == '\ufeff',
			r >= 0x2000 && r <= 0x206f && unicode.Is(unicode.Cf, r):
			fmt.Fprintf(&b, "\\u%04x", r)
		default:
			b.WriteRune(r)
		}
		i += size
	}
	b.WriteByte('"')
	return b.String()
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{
		"", "eightnow", "a longer one of plain text", "\x7f2345678", "1234567\"", "\\2345678", "\x1f234567", " 234567~", "12345678é", "\xff2345678", "\u202e2345678",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		s = s[:min(len(s), 1000)]
		if got, want := string(audit.AppendString(nil, s)), slowString(s); got != want {
			t.Errorf("AppendString(%q) = %s, want %s", s, got, want)
		}
	})
}

// checkSimple holds isSimple against what an object goes through otherwise.
func checkSimple(t interface{ Errorf(string, ...any) }, b []byte) {
	if !audit.IsSimple(b) {
		return
	}
	line, ok := audit.AppendChecked(nil, b)
	if !ok || !bytes.Equal(line, b) || bytes.ContainsFunc(b, unicode.IsControl) {
		t.Errorf("isSimple(%q) = true; the checks say %v, %q", b, ok, line)
	}
	var short bytes.Buffer
	if err := json.Compact(&short, b); err != nil {
		t.Errorf("isSimple(%q) = true; Compact: %v", b, err)
	}
}

var objects = []string{
	`{}`, `{"a":"b"}`, `{"secretId":"prod/db","versionStage":"AWSCURRENT"}`, `{"a":{"b":[1,-2,0,{"c":null}],"d":[]},"e":true,"f":false,"g":{}}`,
	`{"a":[[[]],[{}]]}`, `{"a":-0}`, `{"keyId":"arn:aws:kms:eu-west-1:111122223333:key/1","encryptionContext":{"SecretARN":"x","SecretVersionId":"y"}}`,
}

func TestIsSimple(t *testing.T) {
	for _, s := range objects {
		if !audit.IsSimple([]byte(s)) {
			t.Errorf("isSimple(%s) = false", s)
		}
		checkSimple(t, []byte(s))
	}
	for _, s := range []string{
		``, `{`, `}`, `[]`, `"a"`, `1`, `null`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{"a":[1,]}`, `{"a":1}}`, `{"a":1}x`, `{"a":01}`, `{"a":-}`, `{"a":nul}`,
		`{"a":[1}`, `{"a":{"b":1]}`, `{,}`, `{"a" :1}`, `{ }`, `{"a":1.5}`, `{"a":1e3}`, `{"a":"\n"}`, "{\"a\":\"\n\"}", `{"a":"é"}`, "{\"a\":\"\x7f\"}", `{"a":"b}`, `{a:1}`,
		`{"a":[,]}`, `{"a":1"b":2}`, `{"a":truefalse}`, strings.Repeat(`{"a":`, 80) + `1` + strings.Repeat(`}`, 80),
	} {
		if audit.IsSimple([]byte(s)) {
			t.Errorf("isSimple(%s) = true", s)
		}
	}
}

// Objects with bytes changed, taken out and put in: what isSimple lets pass, the checks
// let pass as it is.
func TestIsSimpleChanged(t *testing.T) {
	const alphabet = `{}[]",:\ -0123456789eE.truefalsn` + "\n\x00\x7f\xc3\xa9a"
	rapid.Check(t, func(t *rapid.T) {
		b := []byte(rapid.SampledFrom(objects).Draw(t, "object"))
		for range rapid.IntRange(1, 3).Draw(t, "changes") {
			i := rapid.IntRange(0, len(b)).Draw(t, "at")
			c := alphabet[rapid.IntRange(0, len(alphabet)-1).Draw(t, "byte")]
			switch {
			case i == len(b) || rapid.Bool().Draw(t, "insert"):
				b = append(b[:i:i], append([]byte{c}, b[i:]...)...)
			case rapid.Bool().Draw(t, "remove"):
				b = append(b[:i:i], b[i+1:]...)
			default:
				b[i] = c
			}
		}
		checkSimple(t, b)
	})
}

func FuzzIsSimple(f *testing.F) {
	for _, s := range objects {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) { checkSimple(t, b) })
}
