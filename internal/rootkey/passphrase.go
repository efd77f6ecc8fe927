package rootkey

import (
	"context"
	"crypto/fips140"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"arca/internal/envelope"
)

// MinPassphraseLength is the least number of characters of a passphrase under which
// a store can be created. An attacker with a copy of the data can try passphrases at
// leisure, so that one which people would choose for a login is not enough.
const MinPassphraseLength = 16

// Passphrase derives the root key from a passphrase. The store holds the parameters
// of the derivation, and nothing from which to check a guess more cheaply than by
// deriving. It may be used concurrently, except for Wipe.
type Passphrase struct {
	phrase envelope.Plaintext
}

// NewPassphrase takes the passphrase over. Every byte counts: a line end that comes
// from a file is for the caller to remove.
func NewPassphrase(phrase envelope.Plaintext) *Passphrase {
	return &Passphrase{phrase: phrase}
}

type passphraseParams struct {
	Format int    `json:"format"`
	ID     textID `json:"id"`
	KDF    kdf    `json:"kdf"`
	// Check is an envelope of nothing under the derived key, bound to the rest of the
	// parameters. It tells a wrong passphrase from damaged data.
	Check []byte `json:"check,omitempty"`
}

const checkLabel = "root key passphrase"

// Kind returns "passphrase".
func (p *Passphrase) Kind() string { return "passphrase" }

// Wipe overwrites the passphrase. Afterwards Create and Open fail.
func (p *Passphrase) Wipe() { p.phrase.Wipe() }

// Create derives the root key with a fresh salt. It takes a noticeable part of a
// second on purpose.
func (p *Passphrase) Create(ctx context.Context) (key *envelope.Key, params []byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	if !utf8.Valid(p.phrase.Bytes()) {
		return nil, nil, errors.New("passphrase is not UTF-8 text")
	}
	if n := utf8.RuneCount(p.phrase.Bytes()); n < MinPassphraseLength {
		return nil, nil, fmt.Errorf("passphrase has %d characters; it protects the whole store and needs at least %d", n, MinPassphraseLength)
	}
	v := passphraseParams{
		Format: paramsFormat,
		ID:     textID(envelope.NewKeyID()),
		KDF:    newKDF(fips140.Enabled()),
	}
	key, err = p.derive(v)
	if err != nil {
		return nil, nil, err
	}
	bound, err := json.Marshal(v)
	if err == nil {
		v.Check, err = key.Seal(checkLabel, nil, bound)
	}
	if err == nil {
		params, err = json.Marshal(v)
	}
	if err != nil {
		key.Wipe()
		return nil, nil, fmt.Errorf("encode root key parameters: %w", err)
	}
	return key, params, nil
}

// Open derives the root key again. The error wraps ErrWrongPassphrase if it is not
// the one that the parameters were made with.
func (p *Passphrase) Open(ctx context.Context, params []byte) (*envelope.Key, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var v passphraseParams
	if err := decodeParams(params, &v); err != nil {
		return nil, err
	}
	if err := checkParamsFormat(v.Format); err != nil {
		return nil, err
	}
	if err := v.KDF.check(fips140.Enabled()); err != nil {
		return nil, fmt.Errorf("read root key parameters: %w", err)
	}
	if p.phrase.Len() == 0 {
		return nil, errors.New("no passphrase was given; this store is sealed under one")
	}
	key, err := p.derive(v)
	if err != nil {
		return nil, err
	}
	check := v.Check
	v.Check = nil
	bound, err := json.Marshal(v)
	if err != nil {
		key.Wipe()
		return nil, fmt.Errorf("read root key parameters: %w", err)
	}
	if _, err := key.Open(checkLabel, check, bound); err != nil {
		key.Wipe()
		return nil, fmt.Errorf("%w: it is not the one this store was sealed with (root key %s), or the parameters beside the data were changed", ErrWrongPassphrase, envelope.KeyID(v.ID))
	}
	return key, nil
}

func (p *Passphrase) derive(v passphraseParams) (*envelope.Key, error) {
	secret, err := v.KDF.derive(p.phrase.Bytes())
	if err != nil {
		return nil, fmt.Errorf("derive root key from passphrase: %w", err)
	}
	defer clear(secret)
	return envelope.NewKey(envelope.KeyID(v.ID), rootVersion, secret)
}
