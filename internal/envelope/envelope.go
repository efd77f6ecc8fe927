// Package envelope seals bytes under versioned 256-bit keys. Everything that Arca
// keeps secret on disk, at any level of its key hierarchy, is an envelope of this
// package.
//
// Promised: without the key, an envelope tells its length, the id and version of
// its key, and nothing else; no change to an envelope, and no move of it to another
// label or other additional data, survives Open. One key may seal without a
// practical limit on the number of messages, since every message has a key of its
// own.
//
// Trusted: the operating system's randomness and the memory of this process.
//
// Somebody who controls the place where envelopes are kept can delete them, and can
// put back an older envelope that was sealed for the same label and additional
// data: an envelope is not a clock. Callers bind a sequence number into the
// additional data where that matters.
//
// The package is pure: it does no input or output, reads no clock and logs nothing.
// It uses only cryptography of the standard library and works under
// GODEBUG=fips140=only.
package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
)

// Format 1 is
//
//	format (1) ‖ key id (16) ‖ key version (4, big endian) ‖ salt (16) ‖ nonce (12) ‖ ciphertext ‖ tag (16)
//
// The message key is HKDF-SHA-256 with the key as secret, the salt as salt, and
// infoPrefix ‖ label as info. The cipher is AES-256-GCM; its additional data is the
// header, format to salt, followed by the caller's. The header has a fixed length,
// so the two cannot be confused.
const (
	format1 = 0x01

	keyIDBytes  = 16
	secretBytes = 32
	saltBytes   = 16
	nonceBytes  = 12
	tagBytes    = 16

	saltAt      = 1 + keyIDBytes + 4
	headerBytes = saltAt + saltBytes

	infoPrefix = "arca/envelope/1\x00"
)

// Overhead is the number of bytes by which an envelope is longer than its plaintext.
const Overhead = headerBytes + nonceBytes + tagBytes

var (
	// ErrDecrypt means that the key, the label or the additional data is not the one
	// used for sealing, or that the envelope is damaged. Which of them is not told,
	// here or by timing. Trying again is of no use.
	ErrDecrypt = errors.New("ciphertext does not open")
	// ErrFormat means that the bytes are no envelope, or one of a format that this
	// binary does not know, as after a downgrade.
	ErrFormat = errors.New("not an envelope of a known format")

	errWiped   = errors.New("key was wiped")
	errNoLabel = errors.New("envelope label is empty")
)

// Seal returns a fresh envelope, format 1, that opens only under the same key, label
// and additional data. The label says what kind of thing is sealed and is a constant
// of the calling package; the additional data says which one.
//
// Two calls never return the same bytes. Seal may be called concurrently.
func (k *Key) Seal(label string, plaintext, ad []byte) ([]byte, error) {
	return k.AppendSeal(nil, label, plaintext, ad)
}

// AppendSeal appends to dst, which has no memory in common with the plaintext, what Seal
// returns.
func (k *Key) AppendSeal(dst []byte, label string, plaintext, ad []byte) ([]byte, error) {
	// One allocation for the additional data (header ‖ ad), one at most for the envelope.
	bound := make([]byte, headerBytes, headerBytes+len(ad))
	bound[0] = format1
	copy(bound[1:], k.id[:])
	binary.BigEndian.PutUint32(bound[1+keyIDBytes:], k.version)
	rand.Read(bound[saltAt:])

	aead, err := k.messageCipher(label, bound[saltAt:])
	if err != nil {
		return nil, err
	}
	dst = append(slices.Grow(dst, Overhead+len(plaintext)), bound...)
	return aead.Seal(dst, nil, plaintext, append(bound, ad...)), nil
}

// Open returns what was sealed in an envelope, in memory of its own. The error wraps
// ErrFormat or ErrDecrypt. An envelope of another key gives ErrDecrypt. Open may be
// called concurrently.
func (k *Key) Open(label string, sealed, ad []byte) (Plaintext, error) {
	return k.OpenBound(label, sealed, Bind(ad))
}

// OpenBound is Open with additional data that Bind has made ready.
func (k *Key) OpenBound(label string, sealed []byte, b Binding) (Plaintext, error) {
	opened, err := k.open(nil, label, sealed, b)
	if err != nil {
		return Plaintext{}, err
	}
	return NewPlaintext(opened), nil
}

// open appends what was sealed in an envelope to dst.
func (k *Key) open(dst []byte, label string, sealed []byte, b Binding) ([]byte, error) {
	id, version, err := Header(sealed)
	if err != nil {
		return nil, err
	}
	if id != k.id || version != k.version {
		return nil, ErrDecrypt
	}
	copy(b.bytes, sealed[:headerBytes])
	aead, err := k.messageCipher(label, sealed[saltAt:headerBytes])
	if err != nil {
		return nil, err
	}
	opened, err := aead.Open(dst, nil, sealed[headerBytes:], b.bytes)
	if err != nil {
		return nil, ErrDecrypt
	}
	return opened, nil
}

// Binding is additional data made ready for opening envelopes. Whoever opens several
// with the same data, as a wrapped key and then what it sealed, need not copy them for
// each. It is used by one goroutine at a time.
type Binding struct {
	bytes []byte // room for a header, then the data
}

// Bind makes additional data ready.
func Bind(ad []byte) Binding {
	b := make([]byte, headerBytes, headerBytes+len(ad))
	return Binding{append(b, ad...)}
}

// BindContext is Bind(Context(pairs)).
func BindContext(pairs map[string]string) Binding {
	return Binding{appendContext(make([]byte, headerBytes, headerBytes+contextBytes(pairs)), pairs)}
}

// messageCipher derives the key of one message. A fresh key per salt is what lifts
// the limit of 2³² messages that random 96-bit nonces put on a single AES-GCM key.
func (k *Key) messageCipher(label string, salt []byte) (cipher.AEAD, error) {
	if k.secret.Len() == 0 {
		return nil, errWiped
	}
	if label == "" {
		return nil, errNoLabel
	}
	derived, err := derive(k.secret.Bytes(), salt, label)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived[:])
	clear(derived[:])
	runtime.KeepAlive(&derived)
	if err != nil {
		return nil, fmt.Errorf("derive message key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("derive message key: %w", err)
	}
	return aead, nil
}

// Header reads the key id and the key version of an envelope without opening it. They
// are not authenticated until Open succeeds. The error is ErrFormat.
func Header(sealed []byte) (id KeyID, version uint32, err error) {
	if len(sealed) < Overhead || sealed[0] != format1 {
		return KeyID{}, 0, ErrFormat
	}
	copy(id[:], sealed[1:])
	return id, binary.BigEndian.Uint32(sealed[1+keyIDBytes:]), nil
}
