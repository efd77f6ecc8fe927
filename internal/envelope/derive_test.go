package envelope_test

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"strings"
	"testing"

	"arca/internal/envelope"
)

// TestDerive compares with the standard library's HKDF: labels of all lengths, also
// beyond what is derived without it.
func TestDerive(t *testing.T) {
	for length := range 200 {
		secret, salt := make([]byte, 32), make([]byte, 16)
		rand.Read(secret)
		rand.Read(salt)
		label := strings.Repeat("l", length)
		want, err := hkdf.Key(sha256.New, secret, salt, "arca/envelope/1\x00"+label, 32)
		if err != nil {
			t.Fatal(err)
		}
		got, err := envelope.Derive(secret, salt, label)
		if err != nil || !bytes.Equal(got[:], want) {
			t.Fatalf("derive with a label of %d bytes = %x, %v, want %x", length, got, err, want)
		}
	}
}
