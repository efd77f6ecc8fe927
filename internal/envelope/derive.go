package envelope

import (
	"crypto/fips140"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"runtime"
)

// maxInfoBytes bounds infoPrefix ‖ label for the derivation without allocation.
const maxInfoBytes = 128

// derive is HKDF-SHA-256 (RFC 5869) of one output block. In FIPS 140-3 mode it is the
// validated module's; otherwise the same function written over sha256.Sum256, which
// needs no memory of its own: two derivations are part of every secret that is read.
func derive(secret, salt []byte, label string) (out [secretBytes]byte, err error) {
	if fips140.Enabled() || len(infoPrefix)+len(label) > maxInfoBytes {
		key, err := hkdf.Key(sha256.New, secret, salt, infoPrefix+label, secretBytes)
		if err != nil {
			return out, fmt.Errorf("derive message key: %w", err)
		}
		copy(out[:], key)
		clear(key)
		return out, nil
	}
	var message [maxInfoBytes + 1]byte
	prk := hmacSum(salt, secret)
	n := copy(message[:], infoPrefix)
	n += copy(message[n:], label)
	message[n] = 1 // the number of the block
	out = hmacSum(prk[:], message[:n+1])
	clear(prk[:])
	runtime.KeepAlive(&prk)
	return out, nil
}

// hmacSum is HMAC-SHA-256 for a key of at most one block and a short message.
func hmacSum(key, message []byte) (sum [sha256.Size]byte) {
	var in [sha256.BlockSize + maxInfoBytes + 1]byte
	var outer [sha256.BlockSize + sha256.Size]byte
	copy(in[:], key)
	copy(outer[:], key)
	for i := range sha256.BlockSize {
		in[i] ^= 0x36
		outer[i] ^= 0x5c
	}
	n := sha256.BlockSize + copy(in[sha256.BlockSize:], message)
	inner := sha256.Sum256(in[:n])
	copy(outer[sha256.BlockSize:], inner[:])
	sum = sha256.Sum256(outer[:])
	clear(in[:])
	clear(outer[:])
	runtime.KeepAlive(&in)
	runtime.KeepAlive(&outer)
	return sum
}
