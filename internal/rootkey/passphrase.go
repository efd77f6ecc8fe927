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
//
// The passphrase is given once, by the environment for instance, and cannot be asked
// for again: Renew refuses. PassphraseFile can.
type Passphrase struct {
	phrase envelope.Plaintext
}

var _ Provider = (*Passphrase)(nil)

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
func (p *Passphrase) Kind() string { return KindPassphrase }

// Wipe overwrites the passphrase. Afterwards Create and Open fail.
func (p *Passphrase) Wipe() { p.phrase.Wipe() }

// Create derives the root key with a fresh salt. It takes a noticeable part of a
// second on purpose.
func (p *Passphrase) Create(ctx context.Context) (key *envelope.Key, params []byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	return createFromPassphrase(p.phrase.Bytes())
}

// Open derives the root key again. The error wraps ErrWrongPassphrase if it is not
// the one that the parameters were made with.
func (p *Passphrase) Open(ctx context.Context, params []byte) (*envelope.Key, error) {
	v, err := decodePassphraseParams(ctx, params)
	if err != nil {
		return nil, err
	}
	if p.phrase.Len() == 0 {
		return nil, errors.New("no passphrase was given, or the server has forgotten it after its start; this store is sealed under one")
	}
	return v.open(p.phrase.Bytes())
}

// Renew refuses: a passphrase that was given once has no successor here.
func (p *Passphrase) Renew(context.Context) (*envelope.Key, []byte, error) {
	return nil, nil, errors.New("the passphrase of this store comes from the environment, where a running server cannot get a new one: use root_key.passphrase_file, or stop the server and give the new one to arca root-key migrate")
}

// Adopt does nothing: the operator gives the new passphrase to the next start.
func (p *Passphrase) Adopt(context.Context, []byte, []byte) error { return nil }

// Destroy refuses with ErrCannotDestroy.
func (p *Passphrase) Destroy(context.Context, []byte) error { return cannotDestroy(KindPassphrase) }

func createFromPassphrase(phrase []byte) (key *envelope.Key, params []byte, err error) {
	if !utf8.Valid(phrase) {
		return nil, nil, errors.New("passphrase is not UTF-8 text")
	}
	if n := utf8.RuneCount(phrase); n < MinPassphraseLength {
		return nil, nil, fmt.Errorf("passphrase has %d characters; it protects the whole store and needs at least %d", n, MinPassphraseLength)
	}
	v := passphraseParams{
		Format: paramsFormat,
		ID:     textID(envelope.NewKeyID()),
		KDF:    newKDF(fips140.Enabled()),
	}
	key, err = v.derive(phrase)
	if err != nil {
		return nil, nil, err
	}
	bound, err := json.Marshal(v)
	if err == nil {
		v.Check, err = key.Seal(checkLabel, nil, bound)
	}
	if err != nil {
		key.Wipe()
		return nil, nil, fmt.Errorf("encode root key parameters: %w", err)
	}
	params, err = encodeParams(key, v)
	if err != nil {
		return nil, nil, err
	}
	return key, params, nil
}

func decodePassphraseParams(ctx context.Context, params []byte) (v passphraseParams, err error) {
	if err := ctx.Err(); err != nil {
		return v, err
	}
	if err := decodeParams(params, maxParamsBytes, &v); err != nil {
		return v, err
	}
	if err := checkParamsFormat(v.Format); err != nil {
		return v, err
	}
	if err := v.KDF.check(fips140.Enabled()); err != nil {
		return v, fmt.Errorf("read root key parameters: %w", err)
	}
	return v, nil
}

// open derives the key and checks it.
func (v passphraseParams) open(phrase []byte) (*envelope.Key, error) {
	key, err := v.derive(phrase)
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
	// That it holds nothing matters: AES-GCM does not commit to its key, and a longer one
	// could be made to open under many passphrases at once.
	if opened, err := key.Open(checkLabel, check, bound); err != nil || opened.Len() != 0 {
		key.Wipe()
		return nil, fmt.Errorf("%w: it is not the one this store was sealed with (root key %s), or the parameters beside the data were changed", ErrWrongPassphrase, envelope.KeyID(v.ID))
	}
	return key, nil
}

func (v passphraseParams) derive(phrase []byte) (*envelope.Key, error) {
	secret, err := v.KDF.derive(phrase)
	if err != nil {
		return nil, fmt.Errorf("derive root key from passphrase: %w", err)
	}
	defer clear(secret)
	return envelope.NewKey(envelope.KeyID(v.ID), rootVersion, secret)
}
