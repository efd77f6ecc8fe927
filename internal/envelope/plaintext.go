package envelope

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
)

const redacted = "REDACTED"

// Plaintext is secret bytes. Printing, logging or encoding it yields REDACTED, also
// when it is a field of something that is printed as a whole. Only Bytes reveals it.
// The zero Plaintext is empty.
//
// Copies of a Plaintext share their memory, so that Wipe reaches all of them.
type Plaintext struct {
	// bytes is a function because fmt cannot call Format on an unexported field of
	// somebody else's struct. It would print a slice there, and with an unfitting verb
	// also what a pointer points to; of a function it never prints more than the
	// address. As a welcome side effect, Plaintexts cannot be compared with ==.
	bytes func() *[]byte
}

// NewPlaintext takes b over: the caller no longer changes or keeps it.
func NewPlaintext(b []byte) Plaintext {
	return Plaintext{bytes: func() *[]byte { return &b }}
}

// Bytes returns the secret bytes themselves, not a copy. They are valid until Wipe.
func (p Plaintext) Bytes() []byte {
	if p.bytes == nil {
		return nil
	}
	return *p.bytes()
}

// Len returns the number of bytes.
func (p Plaintext) Len() int { return len(p.Bytes()) }

// Equal compares without telling, by the time it takes, where two secrets of the
// same length differ.
func (p Plaintext) Equal(q Plaintext) bool {
	return subtle.ConstantTimeCompare(p.Bytes(), q.Bytes()) == 1
}

// Wipe overwrites the bytes; every copy of p is empty afterwards. Go may have copied
// them before, when a goroutine's stack grew for instance: Wipe shortens the time a
// secret stays in memory, it is no proof. It must not run while another goroutine
// reads the bytes.
func (p Plaintext) Wipe() {
	if p.bytes == nil {
		return
	}
	b := p.bytes()
	clear((*b)[:cap(*b)])
	runtime.KeepAlive(*b)
	*b = nil
}

// String returns REDACTED.
func (p Plaintext) String() string { return redacted }

// GoString returns REDACTED.
func (p Plaintext) GoString() string { return redacted }

// Format prints REDACTED, whatever the verb.
func (p Plaintext) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// LogValue logs REDACTED.
func (p Plaintext) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns REDACTED.
func (p Plaintext) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON returns "REDACTED".
func (p Plaintext) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalCBOR returns an error. CBOR is what records are made of, never logs: a
// record that held REDACTED in place of a secret would have lost it.
func (p Plaintext) MarshalCBOR() ([]byte, error) {
	return nil, errors.New("secret bytes are not stored unsealed")
}
