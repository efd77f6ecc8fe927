package envelope_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"arca/internal/envelope"

	"pgregory.net/rapid"
)

func testKey(tb testing.TB) *envelope.Key {
	tb.Helper()
	return envelope.GenerateKey(envelope.NewKeyID(), 7)
}

func TestSealOpen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		plaintext := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "plaintext")
		ad := rapid.SliceOfN(rapid.Byte(), 0, 50).Draw(t, "ad")
		label := rapid.StringN(1, 20, -1).Draw(t, "label")
		version := rapid.Uint32().Draw(t, "version")

		k := envelope.GenerateKey(envelope.NewKeyID(), version)
		sealed, err := k.Seal(label, plaintext, ad)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := len(sealed), len(plaintext)+envelope.Overhead; got != want {
			t.Errorf("len(Seal) = %d, want %d", got, want)
		}
		id, v, err := envelope.Header(sealed)
		if id != k.ID() || v != version || err != nil {
			t.Errorf("Header = %v, %d, %v, want %v, %d", id, v, err, k.ID(), version)
		}
		opened, err := k.Open(label, sealed, ad)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(opened.Bytes(), plaintext) {
			t.Errorf("Open = %x, want %x", opened.Bytes(), plaintext)
		}
		again, err := k.Seal(label, plaintext, ad)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(sealed, again) {
			t.Error("two Seals of the same plaintext are equal")
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	k := testKey(t)
	seal := func(label, plaintext, ad string) []byte {
		sealed, err := k.Seal(label, []byte(plaintext), []byte(ad))
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
	secret := k.Secret()
	newer, err := envelope.NewKey(k.ID(), k.Version()+1, secret.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	sameName := envelope.GenerateKey(k.ID(), k.Version())
	good := seal("record", "value", "place")

	tests := []struct {
		name   string
		key    *envelope.Key
		label  string
		sealed []byte
		ad     string
		want   error
	}{
		{"as sealed", k, "record", good, "place", nil},
		{"other label", k, "records", good, "place", envelope.ErrDecrypt},
		{"shorter label", k, "recor", good, "place", envelope.ErrDecrypt},
		{"other additional data", k, "record", good, "palce", envelope.ErrDecrypt},
		{"no additional data", k, "record", good, "", envelope.ErrDecrypt},
		{"other version of the same secret", newer, "record", good, "place", envelope.ErrDecrypt},
		{"other secret of the same name", sameName, "record", good, "place", envelope.ErrDecrypt},
		{"other key", testKey(t), "record", good, "place", envelope.ErrDecrypt},
		{"byte appended", k, "record", append(bytes.Clone(good), 0), "place", envelope.ErrDecrypt},
		{"byte cut off", k, "record", good[:len(good)-1], "place", envelope.ErrDecrypt},
		{"too short for an envelope", k, "record", good[:envelope.Overhead-1], "place", envelope.ErrFormat},
		{"empty", k, "record", nil, "place", envelope.ErrFormat},
		{"unknown format", k, "record", append([]byte{2}, good[1:]...), "place", envelope.ErrFormat},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			opened, err := tt.key.Open(tt.label, tt.sealed, []byte(tt.ad))
			if !errors.Is(err, tt.want) {
				t.Errorf("Open error = %v, want %v", err, tt.want)
			}
			if err != nil && opened.Len() != 0 {
				t.Error("Open gave an error and bytes")
			}
		})
	}
	if _, err := k.Seal("", nil, nil); err == nil {
		t.Error("Seal accepts an empty label")
	}
}

// Every single flipped bit of an envelope makes it fail, and nothing but the known
// sentinels comes back.
func TestFlippedBit(t *testing.T) {
	k := testKey(t)
	sealed, err := k.Seal("record", []byte("attack at dawn"), []byte("ad"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(sealed) * 8 {
		flipped := bytes.Clone(sealed)
		flipped[i/8] ^= 1 << (i % 8)
		_, err := k.Open("record", flipped, []byte("ad"))
		if !errors.Is(err, envelope.ErrDecrypt) && !errors.Is(err, envelope.ErrFormat) {
			t.Fatalf("Open with bit %d flipped: error = %v", i, err)
		}
	}
}

// The golden envelopes were sealed by the first version of this package. Binaries of
// all later versions must open them.
func TestGolden(t *testing.T) {
	raw, err := os.ReadFile("testdata/format1.txt")
	if err != nil {
		t.Fatal(err)
	}
	fields := make(map[string][]byte)
	for line := range strings.Lines(string(raw)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " = ")
		if !ok {
			continue
		}
		b, err := hex.DecodeString(value)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		fields[name] = b
	}
	k, err := envelope.NewKey(envelope.KeyID(fields["key id"]), 0x01020304, fields["secret"])
	if err != nil {
		t.Fatal(err)
	}
	opened, err := k.Open(string(fields["label"]), fields["sealed"], fields["ad"])
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(opened.Bytes(), fields["plaintext"]) {
		t.Errorf("Open = %q, want %q", opened.Bytes(), fields["plaintext"])
	}
	id, version, err := envelope.Header(fields["sealed"])
	if id != k.ID() || version != k.Version() || err != nil {
		t.Errorf("Header = %v, %d, %v", id, version, err)
	}
}

// The whole package must work where only FIPS 140-3 approved cryptography is allowed.
func TestFIPSOnly(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a second test process")
	}
	cmd := exec.Command(os.Args[0], "-test.short", "-test.run=^Test", "-test.count=1")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("tests under fips140=only: %v\n%s", err, out)
	}
}

func FuzzOpen(f *testing.F) {
	// The seeds are sealed under another secret of the same name, so that whatever is
	// made of them, nothing ever opens.
	k, forger := envelope.GenerateKey(envelope.KeyID{1}, 1), envelope.GenerateKey(envelope.KeyID{1}, 1)
	for _, plaintext := range []string{"", "x", "a longer plaintext"} {
		sealed, err := forger.Seal("fuzz", []byte(plaintext), []byte("ad"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(sealed, []byte("ad"), "fuzz")
		f.Add(sealed[1:], []byte("ad"), "fuzz")
		f.Add(sealed[:envelope.Overhead-1], []byte("ad"), "")
	}
	f.Fuzz(func(t *testing.T, sealed, ad []byte, label string) {
		_, _, headerErr := envelope.Header(sealed)
		opened, err := k.Open(label, sealed, ad)
		if err == nil {
			t.Fatalf("a forged envelope opens as %x", opened.Bytes())
		}
		if headerErr != nil && !errors.Is(err, envelope.ErrFormat) {
			t.Errorf("Header error = %v, Open error = %v", headerErr, err)
		}
		ring := envelope.NewKeyring(k)
		if _, err := ring.Open(label, sealed, ad); err == nil {
			t.Error("a forged envelope opens in a keyring")
		}
		if _, err := k.OpenKey(sealed, ad); err == nil {
			t.Error("a forged envelope opens as a key")
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	k := testKey(b)
	plaintext, ad := make([]byte, 100), make([]byte, 40)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Seal("record", plaintext, ad); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	k := testKey(b)
	ad := make([]byte, 40)
	sealed, err := k.Seal("record", make([]byte, 100), ad)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Open("record", sealed, ad); err != nil {
			b.Fatal(err)
		}
	}
}
