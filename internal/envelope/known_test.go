package envelope_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"arca/internal/envelope"
)

// known is testdata/known.json, which another implementation has computed
// (scripts/known-answers.py).
type known struct {
	Key       knownKey
	Envelopes []struct {
		Name, Label         string
		Plaintext, AD, Salt hexBytes
		MessageKey          hexBytes `json:"message_key"`
		Sealed              hexBytes
	}
	WrappedKey struct {
		Inner      knownKey
		AD, Sealed hexBytes
	} `json:"wrapped_key"`
	Contexts []struct {
		Pairs   map[string]string
		Encoded hexBytes
	}
}

type knownKey struct {
	ID      hexBytes
	Version uint32
	Secret  hexBytes
}

func (k knownKey) key(t *testing.T) *envelope.Key {
	t.Helper()
	key, err := envelope.NewKey(envelope.KeyID(k.ID), k.Version, k.Secret)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

func readKnown(t *testing.T) known {
	t.Helper()
	raw, err := os.ReadFile("testdata/known.json")
	if err != nil {
		t.Fatal(err)
	}
	var k known
	if err := json.Unmarshal(raw, &k); err != nil {
		t.Fatal(err)
	}
	if len(k.Envelopes) == 0 || len(k.Contexts) == 0 {
		t.Fatal("testdata/known.json is empty")
	}
	return k
}

func TestKnownEnvelopes(t *testing.T) {
	all := readKnown(t)
	k := all.Key.key(t)
	for _, tt := range all.Envelopes {
		t.Run(tt.Name, func(t *testing.T) {
			derived, err := envelope.Derive(all.Key.Secret, tt.Salt, tt.Label)
			if err != nil || !bytes.Equal(derived[:], tt.MessageKey) {
				t.Errorf("message key = %x, %v, want %x", derived, err, tt.MessageKey)
			}
			opened, err := k.Open(tt.Label, tt.Sealed, tt.AD)
			if err != nil || !bytes.Equal(opened.Bytes(), tt.Plaintext) {
				t.Errorf("Open = %x, %v, want %x", opened.Bytes(), err, tt.Plaintext)
			}
		})
	}
}

func TestKnownWrappedKey(t *testing.T) {
	all := readKnown(t)
	want := all.WrappedKey.Inner.key(t)
	got, err := all.Key.key(t).OpenKey(all.WrappedKey.Sealed, all.WrappedKey.AD)
	if err != nil {
		t.Fatal(err)
	}
	if got.ID() != want.ID() || got.Version() != want.Version() || !got.Secret().Equal(want.Secret()) {
		t.Errorf("OpenKey = %v, want %v", got, want)
	}
}

func TestKnownContexts(t *testing.T) {
	for _, tt := range readKnown(t).Contexts {
		if got := envelope.Context(tt.Pairs); !bytes.Equal(got, tt.Encoded) {
			t.Errorf("Context(%q) = %x, want %x", tt.Pairs, got, tt.Encoded)
		}
	}
}

// RFC 4231, section 4, of which what does not fit the function is left out: keys beyond
// a block and cut results.
func TestHMACVectors(t *testing.T) {
	for _, tt := range []struct{ name, key, message, want string }{
		{"1", strings.Repeat("\x0b", 20), "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
		{"2", "Jefe", "what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
		{"3", strings.Repeat("\xaa", 20), strings.Repeat("\xdd", 50), "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
		{"4", "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19",
			strings.Repeat("\xcd", 50), "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
	} {
		if got := envelope.HMACSum([]byte(tt.key), []byte(tt.message)); hex.EncodeToString(got[:]) != tt.want {
			t.Errorf("case %s: %x, want %s", tt.name, got, tt.want)
		}
	}
}
