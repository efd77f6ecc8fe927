// Package rootkey keeps the one key that is not in the data: the root key, which
// wraps the key encryption key of a store. Without it, data, backups and disks tell
// nothing; who holds it and a copy of the data can read everything.
//
// Each type of this package is one way to keep it. All have the same four methods:
// Kind names the way; Create makes the root key of a store that is still empty, and
// returns with it parameters which the store keeps in the clear; Open takes those
// parameters and returns the same key again, or an error that tells the operator
// what to do; Wipe forgets what is held in memory.
//
// Trusted: the file system and its permissions (File), the strength of the
// passphrase (Passphrase). Parameters are not trusted. Somebody who can change them
// can stop a store from opening; he cannot make it accept another key, or exhaust
// the memory of the machine that opens it.
package rootkey

import (
	"bytes"
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
)

// paramsFormat is the number of the parameter format, which is JSON so that an
// operator who has lost everything else can read what he needs.
const paramsFormat = 1

// maxParamsBytes bounds what is decoded; real parameters have a third of it.
const maxParamsBytes = 1024

// rootVersion is the version of every root key: one that replaces another has an id
// of its own, since it may be of another kind.
const rootVersion = 1

// decodeParams reads parameters of one kind strictly: an unknown member may be a
// condition that this binary does not know how to honour.
func decodeParams(raw []byte, v any) error {
	if len(raw) > maxParamsBytes {
		return fmt.Errorf("read root key parameters: %d bytes, more than %d", len(raw), maxParamsBytes)
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

// textID is a key id as it stands in parameters.
type textID envelope.KeyID

func (id textID) MarshalText() ([]byte, error) { return []byte(envelope.KeyID(id).String()), nil }

func (id *textID) UnmarshalText(text []byte) error {
	parsed, err := envelope.ParseKeyID(string(text))
	*id = textID(parsed)
	return err
}
