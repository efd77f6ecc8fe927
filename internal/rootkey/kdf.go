package rootkey

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"errors"
	"fmt"

	"golang.org/x/crypto/argon2"
)

const (
	kdfArgon2id = "argon2id"
	kdfPBKDF2   = "pbkdf2-sha512"

	saltBytes    = 16
	maxSaltBytes = 64
	keyBytes     = 32
)

// kdf is a key derivation function with its parameters. Those of the other function
// are zero.
type kdf struct {
	Name      string `json:"name"`
	Salt      []byte `json:"salt"`
	MemoryKiB uint32 `json:"memory_kib,omitempty"` // argon2id
	Passes    uint32 `json:"passes,omitempty"`     // argon2id
	Lanes     uint8  `json:"lanes,omitempty"`      // argon2id
	Rounds    uint32 `json:"rounds,omitempty"`     // pbkdf2-sha512
}

// newKDF returns the function for new stores with a fresh salt. Argon2id makes
// guessing expensive in memory too, but FIPS 140-3 approves only PBKDF2.
func newKDF(fips bool) kdf {
	k := kdf{Salt: make([]byte, saltBytes)}
	rand.Read(k.Salt)
	if fips {
		k.Name = kdfPBKDF2
		k.Rounds = 600_000
		return k
	}
	k.Name = kdfArgon2id
	k.MemoryKiB = 64 << 10
	k.Passes = 3
	k.Lanes = 4
	return k
}

// check refuses parameters that no version of this package writes. They come from
// beside the data: the upper bounds keep whoever can write there from taking the
// memory and time of the machine that opens the store.
func (k kdf) check(fips bool) error {
	if len(k.Salt) < saltBytes || len(k.Salt) > maxSaltBytes {
		return fmt.Errorf("salt of %d bytes is not in %d..%d", len(k.Salt), saltBytes, maxSaltBytes)
	}
	switch k.Name {
	case kdfArgon2id:
		if fips {
			return errors.New("the passphrase was turned into a key by argon2id, which FIPS 140-3 does not approve: open the store with FIPS mode off")
		}
		if k.Rounds != 0 {
			return errors.New("argon2id has no rounds")
		}
		return errors.Join(
			within("memory_kib", k.MemoryKiB, 19<<10, 512<<10),
			within("passes", k.Passes, 1, 16),
			within("lanes", uint32(k.Lanes), 1, 16),
		)
	case kdfPBKDF2:
		if k.MemoryKiB != 0 || k.Passes != 0 || k.Lanes != 0 {
			return errors.New("pbkdf2-sha512 has rounds only")
		}
		return within("rounds", k.Rounds, 600_000, 10_000_000)
	}
	return fmt.Errorf("key derivation %q is not known to this version of arca", k.Name)
}

func within(name string, v, low, high uint32) error {
	if v < low || v > high {
		return fmt.Errorf("%s %d is not in %d..%d", name, v, low, high)
	}
	return nil
}

// derive returns keyBytes bytes, which the caller clears.
func (k kdf) derive(passphrase []byte) ([]byte, error) {
	switch k.Name {
	case kdfArgon2id:
		return argon2.IDKey(passphrase, k.Salt, k.Passes, k.MemoryKiB, k.Lanes, keyBytes), nil
	case kdfPBKDF2:
		// The string shares nothing with the slice and cannot be wiped; PBKDF2 takes no
		// other form of a passphrase.
		return pbkdf2.Key(sha512.New, string(passphrase), k.Salt, int(k.Rounds), keyBytes)
	}
	return nil, fmt.Errorf("key derivation %q is not known", k.Name)
}
