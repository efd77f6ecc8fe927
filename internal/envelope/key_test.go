package envelope_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"arca/internal/envelope"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// printed renders v in every way that a log line or a message might.
func printed(t *testing.T, v any) string {
	t.Helper()
	var b bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p", "%T", "%10.3s"} {
		fmt.Fprintf(&b, verb+"\n", v)
	}
	fmt.Fprintln(&b, v)
	slog.New(slog.NewTextHandler(&b, nil)).Info("m", "v", v)
	slog.New(slog.NewJSONHandler(&b, nil)).Info("m", "v", v)
	if err := json.NewEncoder(&b).Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestNothingPrintsSecrets(t *testing.T) {
	secret := []byte("correct-horse-battery-staple-xyz")
	p := envelope.NewPlaintext(bytes.Clone(secret))
	k, err := envelope.NewKey(envelope.KeyID{0xaa}, 3, secret)
	if err != nil {
		t.Fatal(err)
	}
	type hidden struct {
		p envelope.Plaintext
		k *envelope.Key
	}
	type shown struct {
		P envelope.Plaintext
		K *envelope.Key
	}
	tests := []struct {
		name string
		v    any
	}{
		{"plaintext", p},
		{"pointer to plaintext", &p},
		{"list", []envelope.Plaintext{p, p}},
		{"key", k},
		{"key value", *k},
		{"unexported fields", hidden{p, k}},
		{"pointer to unexported fields", &hidden{p, k}},
		{"exported fields", shown{p, k}},
		{"map", map[string]envelope.Plaintext{"a": p}},
	}
	decimal := strings.Trim(fmt.Sprint(secret[:6]), "[]")
	commas := strings.ReplaceAll(fmt.Sprintf("%#v", secret[:6]), "[]byte{", "")
	commas = strings.TrimSuffix(commas, "}")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out := printed(t, tt.v)
			for _, leak := range []string{"horse", fmt.Sprintf("%x", secret[:6]), fmt.Sprintf("%X", secret[:6]), decimal, commas, "Y29ycmVjd"} {
				if strings.Contains(out, leak) {
					t.Errorf("printing reveals %q:\n%s", leak, out)
				}
			}
		})
	}
	if got := fmt.Sprintf("%v %s %#v", p, p, p); got != "REDACTED REDACTED REDACTED" {
		t.Errorf("Plaintext prints as %s", got)
	}
	if got, want := fmt.Sprint(k), "key aa000000000000000000000000000000 version 3"; got != want {
		t.Errorf("Key prints as %s, want %s", got, want)
	}
}

func TestPlaintextIsNotStored(t *testing.T) {
	type record struct {
		P envelope.Plaintext `cbor:"1,keyasint"`
	}
	if out, err := cbor.Marshal(record{envelope.NewPlaintext([]byte("x"))}); err == nil {
		t.Errorf("cbor.Marshal of a Plaintext = %x, want an error", out)
	}
}

func TestPlaintextWipe(t *testing.T) {
	b := []byte("secret")
	p := envelope.NewPlaintext(b)
	q := p
	p.Wipe()
	if !bytes.Equal(b, make([]byte, len(b))) {
		t.Errorf("after Wipe the bytes are %q", b)
	}
	if p.Len() != 0 || q.Len() != 0 || q.Bytes() != nil {
		t.Errorf("after Wipe Len = %d, of the copy %d", p.Len(), q.Len())
	}
	p.Wipe()
	envelope.Plaintext{}.Wipe()
}

func TestPlaintextEqual(t *testing.T) {
	text := func(s string) envelope.Plaintext { return envelope.NewPlaintext([]byte(s)) }
	tests := []struct {
		name string
		p, q envelope.Plaintext
		want bool
	}{
		{"equal", text("abc"), text("abc"), true},
		{"different", text("abc"), text("abd"), false},
		{"prefix", text("abc"), text("ab"), false},
		{"zero and empty", envelope.Plaintext{}, text(""), true},
		{"zero and something", envelope.Plaintext{}, text("a"), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.p.Equal(tt.q); got != tt.want {
				t.Errorf("Equal = %t, want %t", got, tt.want)
			}
			if got := cmp.Equal(tt.p, tt.q); got != tt.want {
				t.Errorf("cmp.Equal = %t, want %t", got, tt.want)
			}
		})
	}
}

func TestNewKey(t *testing.T) {
	for _, n := range []int{0, 16, 31, 33} {
		if _, err := envelope.NewKey(envelope.KeyID{}, 1, make([]byte, n)); err == nil {
			t.Errorf("NewKey with %d bytes is accepted", n)
		}
	}
	secret := bytes.Repeat([]byte{5}, 32)
	k, err := envelope.NewKey(envelope.KeyID{1}, 1, secret)
	if err != nil {
		t.Fatal(err)
	}
	clear(secret)
	if got := k.Secret(); !bytes.Equal(got.Bytes(), bytes.Repeat([]byte{5}, 32)) {
		t.Error("NewKey keeps the caller's slice")
	}
	s := k.Secret()
	s.Wipe()
	if got := k.Secret(); got.Bytes()[0] != 5 {
		t.Error("Secret gives away the key's own memory")
	}
}

func TestKeyWipe(t *testing.T) {
	k := testKey(t)
	sealed, err := k.Seal("l", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	k.Wipe()
	k.Wipe()
	if _, err := k.Seal("l", nil, nil); err == nil {
		t.Error("Seal works after Wipe")
	}
	if _, err := k.Open("l", sealed, nil); err == nil {
		t.Error("Open works after Wipe")
	}
	if k.Secret().Len() != 0 {
		t.Error("Secret is not empty after Wipe")
	}
	if _, err := testKey(t).SealKey(k, nil); err == nil {
		t.Error("SealKey wraps a wiped key")
	}
}

func TestParseKeyID(t *testing.T) {
	id := envelope.NewKeyID()
	got, err := envelope.ParseKeyID(id.String())
	if got != id || err != nil {
		t.Errorf("ParseKeyID(%s) = %v, %v", id, got, err)
	}
	for _, s := range []string{"", "00", strings.Repeat("0", 33), strings.Repeat("A", 32), strings.Repeat("g", 32)} {
		if _, err := envelope.ParseKeyID(s); err == nil {
			t.Errorf("ParseKeyID(%q) is accepted", s)
		}
	}
}

func TestSealKey(t *testing.T) {
	outer, inner := testKey(t), testKey(t)
	sealed, err := outer.SealKey(inner, []byte("place"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := outer.OpenKey(sealed, []byte("place"))
	if err != nil {
		t.Fatal(err)
	}
	if got.ID() != inner.ID() || got.Version() != inner.Version() || !got.Secret().Equal(inner.Secret()) {
		t.Errorf("OpenKey = %v, want %v", got, inner)
	}
	if _, err := outer.OpenKey(sealed, []byte("elsewhere")); !errors.Is(err, envelope.ErrDecrypt) {
		t.Errorf("OpenKey elsewhere: error = %v", err)
	}
	notKey, err := outer.Seal("key", []byte("short"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := outer.OpenKey(notKey, nil); !errors.Is(err, envelope.ErrFormat) {
		t.Errorf("OpenKey of something else: error = %v", err)
	}
}

func TestContext(t *testing.T) {
	tests := []struct {
		name  string
		pairs map[string]string
		want  string
	}{
		{"nil", nil, "\x00\x00\x00\x00"},
		{"empty", map[string]string{}, "\x00\x00\x00\x00"},
		{"one", map[string]string{"k": "val"}, "\x00\x00\x00\x01\x00\x00\x00\x01k\x00\x00\x00\x03val"},
		{"sorted by bytes", map[string]string{"b": "1", "B": "2", "a": ""},
			"\x00\x00\x00\x03\x00\x00\x00\x01B\x00\x00\x00\x012\x00\x00\x00\x01a\x00\x00\x00\x00\x00\x00\x00\x01b\x00\x00\x00\x011"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(envelope.Context(tt.pairs)); got != tt.want {
				t.Errorf("Context = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestContextIsInjective(t *testing.T) {
	// A small alphabet makes near-collisions likely.
	part := rapid.StringMatching(`[ab\x00]{0,3}`)
	pairs := rapid.MapOfN(part, part, 0, 3)
	rapid.Check(t, func(t *rapid.T) {
		a, b := pairs.Draw(t, "a"), pairs.Draw(t, "b")
		if same := bytes.Equal(envelope.Context(a), envelope.Context(b)); same != cmp.Equal(a, b) {
			t.Errorf("Context(%q) and Context(%q) equal: %t", a, b, same)
		}
	})
}

// A data key opens to what NewKey makes of the same secret, and goes by the name of the
// key that wrapped it.
func TestOpenDataKey(t *testing.T) {
	outer := envelope.GenerateKey(envelope.NewKeyID(), 7)
	secret := bytes.Repeat([]byte{0xa5, 3}, 16)
	pairs := map[string]string{"SecretARN": "arn", "SecretVersionId": "v"}
	seal := func(plain []byte) []byte {
		sealed, err := outer.Seal("data-key", plain, envelope.Context(pairs))
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
	bound := envelope.BindContext(pairs)
	for range 2 { // the binding is used again
		got, err := outer.OpenDataKey("data-key", seal(secret), bound)
		if err != nil {
			t.Fatal(err)
		}
		if have := got.Secret(); !bytes.Equal(have.Bytes(), secret) || got.ID() != outer.ID() || got.Version() != 7 {
			t.Errorf("OpenDataKey = %v with %x, want %v with %x", got, have.Bytes(), outer, secret)
		}
		got.Wipe()
		if _, err := got.Seal("x", nil, nil); err == nil {
			t.Error("a wiped data key seals")
		}
	}
	damaged := seal(secret)
	damaged[len(damaged)-1] ^= 1
	for _, tt := range []struct {
		name, label string
		sealed      []byte
		bound       envelope.Binding
		want        error
	}{
		{"damaged", "data-key", damaged, bound, envelope.ErrDecrypt},
		{"other label", "value", seal(secret), bound, envelope.ErrDecrypt},
		{"other context", "data-key", seal(secret), envelope.BindContext(map[string]string{"SecretARN": "arn"}), envelope.ErrDecrypt},
		{"too long", "data-key", seal(append(bytes.Clone(secret), 0)), bound, envelope.ErrFormat},
		{"too short", "data-key", seal(secret[1:]), bound, envelope.ErrFormat},
		{"nothing", "data-key", nil, bound, envelope.ErrFormat},
	} {
		if got, err := outer.OpenDataKey(tt.label, tt.sealed, tt.bound); !errors.Is(err, tt.want) || got != nil {
			t.Errorf("%s: OpenDataKey = %v, %v, want %v", tt.name, got, err, tt.want)
		}
	}
}

// A Binding opens what its additional data does, and leaves the data as it is.
func TestOpenBound(t *testing.T) {
	k := envelope.GenerateKey(envelope.NewKeyID(), 1)
	for _, ad := range [][]byte{nil, {}, []byte("x"), bytes.Repeat([]byte("long"), 100)} {
		sealed, err := k.Seal("label", []byte("value"), ad)
		if err != nil {
			t.Fatal(err)
		}
		given := bytes.Clone(ad)
		got, err := k.OpenBound("label", sealed, envelope.Bind(given))
		if err != nil || string(got.Bytes()) != "value" || !bytes.Equal(given, ad) {
			t.Errorf("with %d bytes: %q, %v", len(ad), got.Bytes(), err)
		}
		if _, err := k.OpenBound("label", sealed, envelope.Bind(append(given, 0))); !errors.Is(err, envelope.ErrDecrypt) {
			t.Errorf("with other data: %v", err)
		}
	}
}
