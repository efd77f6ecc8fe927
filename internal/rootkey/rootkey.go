// Package rootkey keeps the one key that is not in the data: the root key, which
// wraps the key encryption key of a store. Without it, data, backups and disks tell
// nothing; who holds it and a copy of the data can read everything.
//
// Each type of this package is one way to keep it, and a Provider. A root key is
// never changed: a new one is made beside it (Renew), the store is sealed under that,
// and then the new one takes the place of the former (Adopt). Whatever crash comes in
// between, the key that the store is sealed under is still there and Open finds it.
// The former key is kept, because it opens older backups, until Destroy.
//
// Trusted: the file system and its permissions (File, PassphraseFile), the strength
// of the passphrase (Passphrase), the key service and who may call it (KMS), the
// module and the device behind it (PKCS11). Parameters are not trusted. Somebody who
// can change them can stop a store from opening; he cannot make it accept another
// key, or exhaust the memory of the machine that opens it.
package rootkey

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"arca/internal/envelope"
)

var (
	// ErrMissing means that the store has been sealed and its root key is not where it
	// was expected. The operator restores it from its backup.
	ErrMissing = errors.New("root key is missing")
	// ErrMismatch means that the root key is whole, but of another store.
	ErrMismatch = errors.New("root key of another store")
	// ErrWrongPassphrase means that the passphrase is not the one of this store.
	ErrWrongPassphrase = errors.New("wrong passphrase")
	// ErrUnreachable means that what keeps the root key did not answer, or not for a
	// reason that lies in the key: a service that is down, a device that is not there.
	// The same call may work later. No other error of this package gets better by
	// waiting.
	ErrUnreachable = errors.New("root key cannot be reached")
	// ErrCannotDestroy means that this kind has nothing that it could destroy. The error
	// says what the operator has to do.
	ErrCannotDestroy = errors.New("root key cannot be destroyed from here")
	// ErrInUse means that the root key which shall be destroyed is the one in use.
	ErrInUse = errors.New("root key is in use")
)

// The kinds, as they stand in configurations and in stores.
const (
	KindFile       = "file"
	KindPassphrase = "passphrase"
	KindKMS        = "kms"
	KindPKCS11     = "pkcs11"
)

// Provider is one way to keep root keys. Parameters are what a store keeps in the
// clear for each of its root keys, and name it. A provider may be used concurrently
// unless its type says otherwise.
type Provider interface {
	// Kind names the way.
	Kind() string
	// Create makes the root key of a store that is still empty. It may return what an
	// earlier Create made, if that was interrupted before the store existed.
	Create(ctx context.Context) (key *envelope.Key, params []byte, err error)
	// Open returns the key of the parameters, also when Adopt has not run yet or when it
	// has been set aside, or an error that tells the operator what to do.
	Open(ctx context.Context, params []byte) (*envelope.Key, error)
	// Renew makes a new root key beside the one in use. It is durable when Renew
	// returns. If the store is not sealed under it after all, it stays where it is and
	// protects nothing; another Renew may return it again.
	Renew(ctx context.Context) (key *envelope.Key, params []byte, err error)
	// Adopt makes the key of params, which the store is sealed under, the usual one, and
	// sets the former one aside. former are the parameters of that, nil if they are not
	// known or of another kind. It may run again at any time and then changes nothing.
	Adopt(ctx context.Context, params, former []byte) error
	// Destroy makes a root key that is no longer in use unrecoverable, as far as this
	// kind can; what other copies there are, it cannot know. A key that is not there is
	// no error. The error wraps ErrCannotDestroy where the kind cannot.
	Destroy(ctx context.Context, params []byte) error
	// Wipe forgets what is held in memory and is not needed while a store is open.
	Wipe()
}

// Target is a provider that a store is migrated to: its new key is the first of that
// kind, made as for an empty store. What the operator has put in its place already,
// on each node of a cluster for instance, is used.
type Target struct{ Provider }

// Renew creates the key.
func (t Target) Renew(ctx context.Context) (key *envelope.Key, params []byte, err error) {
	return t.Create(ctx)
}

// CannotDestroy says what keeps a kind from destroying a former root key, and what
// the operator does instead. It is empty for a kind that can.
func CannotDestroy(kind string) string {
	switch kind {
	case KindFile, KindPKCS11:
		return ""
	case KindPassphrase:
		return "nothing of a passphrase is stored that could be destroyed: whoever knows the former passphrase and has an older copy of the data can open that copy. Destroy the older copies, and every note of the passphrase"
	case KindKMS:
		return "the wrapped root key in older copies of the data opens for as long as the KMS key lives and the caller may decrypt with it: destroy the older copies, or move to another KMS key (root_key.key_id, then arca root-key rotate) and schedule the deletion of the former one"
	}
	return fmt.Sprintf("root keys of kind %q are not known to this version of arca", kind)
}

func cannotDestroy(kind string) error {
	return fmt.Errorf("%w: %s", ErrCannotDestroy, CannotDestroy(kind))
}

// paramsFormat is the number of the parameter format, which is JSON so that an
// operator who has lost everything else can read what he needs.
const paramsFormat = 1

// maxParamsBytes bounds what is decoded; real parameters have a third of it. Those of
// a KMS hold a ciphertext blob, which its API allows 6,144 bytes.
const (
	maxParamsBytes    = 1024
	maxKMSParamsBytes = 10 << 10
)

// rootVersion is the version of every root key: one that replaces another has an id
// of its own, since it may be of another kind.
const rootVersion = 1

// decodeParams reads parameters of one kind strictly: an unknown member may be a
// condition that this binary does not know how to honour.
func decodeParams(raw []byte, maxBytes int, v any) error {
	if len(raw) > maxBytes {
		return fmt.Errorf("read root key parameters: %d bytes, more than %d", len(raw), maxBytes)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("read root key parameters: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("read root key parameters: more than one value")
	}
	return nil
}

func checkParamsFormat(format int) error {
	if format != paramsFormat {
		return fmt.Errorf("read root key parameters: format %d is not known to this version of arca", format)
	}
	return nil
}

// encodeParams wipes the key if its parameters cannot be written.
func encodeParams(key *envelope.Key, v any) ([]byte, error) {
	params, err := json.Marshal(v)
	if err != nil {
		key.Wipe()
		return nil, fmt.Errorf("encode root key parameters: %w", err)
	}
	return params, nil
}

// textID is a key id as it stands in parameters.
type textID envelope.KeyID

func (id textID) MarshalText() ([]byte, error) { return []byte(envelope.KeyID(id).String()), nil }

func (id *textID) UnmarshalText(text []byte) error {
	parsed, err := envelope.ParseKeyID(string(text))
	*id = textID(parsed)
	return err
}
