package envelope

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"runtime"
)

// KeyID identifies a key in every envelope sealed under it. It is random and not
// secret, and stays the same through all versions of a key.
type KeyID [keyIDBytes]byte

// NewKeyID returns a fresh random id.
func NewKeyID() KeyID {
	var id KeyID
	rand.Read(id[:])
	return id
}

// ParseKeyID reads an id as String writes it: 32 lower-case hexadecimal digits.
func ParseKeyID(s string) (KeyID, error) {
	var id KeyID
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != len(id) || hex.EncodeToString(raw) != s {
		return KeyID{}, fmt.Errorf("key id %q is not %d lower-case hexadecimal digits", s, 2*len(id))
	}
	return KeyID(raw), nil
}

// String returns the id as 32 hexadecimal digits.
func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// Key is one version of a 256-bit key. It prints as its id and version.
type Key struct {
	id      KeyID
	version uint32
	secret  Plaintext // secretBytes long, empty after Wipe
}

// keyMemory is a key together with its secret: a key is opened for every value that is
// read, and so needs two pieces of memory instead of four. Whoever holds the *Key still
// reaches the secret through its Plaintext only.
type keyMemory struct {
	key    Key
	secret []byte // raw, until it is wiped
	raw    [secretBytes]byte
}

// newKey returns a key whose secret, all zero, is the caller's to fill in.
func newKey(id KeyID, version uint32) (k *Key, secret []byte) {
	m := &keyMemory{key: Key{id: id, version: version}}
	m.secret = m.raw[:]
	m.key.secret = Plaintext{bytes: func() *[]byte { return &m.secret }}
	return &m.key, m.secret
}

// GenerateKey returns a fresh random key.
func GenerateKey(id KeyID, version uint32) *Key {
	k, secret := newKey(id, version)
	rand.Read(secret)
	return k
}

// NewKey returns the key with the given 32 secret bytes, which are copied.
func NewKey(id KeyID, version uint32, secret []byte) (*Key, error) {
	if len(secret) != secretBytes {
		return nil, fmt.Errorf("key %s: secret has %d bytes, not %d", id, len(secret), secretBytes)
	}
	k, own := newKey(id, version)
	copy(own, secret)
	return k, nil
}

// ID returns the id of the key.
func (k *Key) ID() KeyID { return k.id }

// Version returns the version of the key.
func (k *Key) Version() uint32 { return k.version }

// Secret returns a copy of the secret bytes, empty after Wipe. The caller wipes it.
func (k *Key) Secret() Plaintext { return NewPlaintext(bytes.Clone(k.secret.Bytes())) }

// Wipe overwrites the secret. Afterwards Seal and Open fail. Wipe must not run
// while another goroutine uses the key; Keyring sees to that for its keys.
func (k *Key) Wipe() { k.secret.Wipe() }

// String returns id and version of the key, never its secret.
func (k *Key) String() string { return fmt.Sprintf("key %s version %d", k.id, k.version) }

// Format prints what String returns, whatever the verb.
func (k *Key) Format(f fmt.State, _ rune) { fmt.Fprint(f, k.String()) }

// LogValue logs what String returns.
func (k *Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// keyLabel is the label of wrapped keys.
const keyLabel = "key"

// SealKey wraps another key, with its id and version, under k. Additional data is as
// for Seal.
func (k *Key) SealKey(inner *Key, ad []byte) ([]byte, error) {
	if inner.secret.Len() == 0 {
		return nil, errWiped
	}
	var raw [keyIDBytes + 4 + secretBytes]byte
	copy(raw[:], inner.id[:])
	binary.BigEndian.PutUint32(raw[keyIDBytes:], inner.version)
	copy(raw[keyIDBytes+4:], inner.secret.Bytes())
	defer func() {
		clear(raw[:])
		runtime.KeepAlive(&raw)
	}()
	return k.Seal(keyLabel, raw[:], ad)
}

// OpenKey returns a key that SealKey wrapped. The error wraps ErrFormat or
// ErrDecrypt.
func (k *Key) OpenKey(sealed, ad []byte) (*Key, error) {
	raw, err := k.Open(keyLabel, sealed, ad)
	if err != nil {
		return nil, err
	}
	defer raw.Wipe()
	b := raw.Bytes()
	if len(b) != keyIDBytes+4+secretBytes {
		return nil, ErrFormat
	}
	return NewKey(KeyID(b[:keyIDBytes]), binary.BigEndian.Uint32(b[keyIDBytes:]), b[keyIDBytes+4:])
}

// OpenDataKey opens an envelope, sealed by Seal, of the 32 secret bytes of a data key.
// They become a key that goes by the id and version of k, and are nowhere else. The error
// wraps ErrFormat or ErrDecrypt.
func (k *Key) OpenDataKey(label string, sealed []byte, b Binding) (*Key, error) {
	if len(sealed) != Overhead+secretBytes {
		return nil, ErrFormat
	}
	dataKey, secret := newKey(k.id, k.version)
	opened, err := k.open(secret[:0], label, sealed, b)
	if err != nil {
		return nil, err
	}
	copy(secret, opened) // itself: a cipher appends in place where there is room
	return dataKey, nil
}
