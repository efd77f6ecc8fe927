// Package backup is the file that a store is backed up to: its format, how it is made
// page by page from a store that goes on serving, and how it becomes a store again.
//
// Promised: a backup is the state of all records at one revision. Without its key it
// tells what its header says in the clear, and how large it is. Whatever is changed in
// it, left out, doubled, put in another order or taken from another backup is noticed,
// and noticed before anything is written: Restore reads the whole file twice. Each
// version reads the formats of all versions before it.
//
// Trusted: the root key or the passphrase that the backup is sealed under, and the
// store for what it exports. Who can replace the file can put an older backup of the
// same deployment in its place, whose header says so; the audit log tells what happened
// since.
//
// docs/design/backup.md has the format byte by byte.
package backup

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/fxamacker/cbor/v2"

	"arca/internal/envelope"
	"arca/internal/store"
)

var (
	// ErrNotBackup means that the bytes do not begin like a backup.
	ErrNotBackup = errors.New("not a backup of arca")
	// ErrNewer means that a newer version of arca made the backup.
	ErrNewer = errors.New("this backup was made by a newer version of arca")
	// ErrDamaged means that the backup is not as it was made.
	ErrDamaged = errors.New("the backup is damaged")
	// ErrIncomplete means that the backup ends too early.
	ErrIncomplete = errors.New("the backup is incomplete")
	// ErrKey means that the key at hand is not the one the backup is sealed under, or
	// that the header was changed.
	ErrKey = errors.New("the backup does not open")
	// ErrGone means that a backup that was begun cannot go on: its state was compacted
	// away, the root key was rotated, or it is of another store. The caller begins anew.
	ErrGone = errors.New("this backup cannot go on")
)

const (
	keyLabel   = "backup"
	keyVersion = 1
)

// Unlock is what a backup is opened with; one of the two is enough, which one depends
// on the backup.
type Unlock struct {
	RootKey store.RootKey
	// Passphrase is a root key that is derived from a passphrase.
	Passphrase store.RootKey
}

// Open returns the key of the backup. The error wraps ErrKey when a key was there and
// did not fit.
func (h *Header) Open(ctx context.Context, u Unlock) (*envelope.Key, error) {
	var key *envelope.Key
	var err error
	switch {
	case h.Root != nil && u.RootKey == nil:
		return nil, fmt.Errorf("this backup is sealed under a root key of kind %q: name the configuration that has it with --config", h.Root.Kind)
	case h.Root != nil:
		key, err = store.OpenExportRoot(ctx, u.RootKey, h.Deployment, store.ExportRoot(*h.Root), h.key, h.keyAD())
	case u.Passphrase == nil:
		return nil, errors.New("this backup is sealed under a passphrase: name the file that holds it with --passphrase-file")
	default:
		key, err = h.openPassphrase(ctx, u.Passphrase)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	if err := h.checkKey(key); err != nil {
		key.Wipe()
		return nil, err
	}
	return key, nil
}

func (h *Header) openPassphrase(ctx context.Context, p store.RootKey) (*envelope.Key, error) {
	wrapping, err := p.Open(ctx, h.Passphrase)
	if err != nil {
		return nil, err
	}
	defer wrapping.Wipe()
	return wrapping.OpenKey(h.key, h.keyAD())
}

// checkKey makes sure that the key is this backup's.
func (h *Header) checkKey(key *envelope.Key) error {
	if key.ID().String() != h.Backup || key.Version() != keyVersion {
		return fmt.Errorf("%w: its key is of another backup", ErrKey)
	}
	return nil
}

// position is a place in a store: the hashed key of a table before which everything
// has been read. The zero position is the beginning, and the end.
type position struct {
	_     struct{} `cbor:",toarray"`
	Table string
	Key   []byte
}

func (p position) equal(q position) bool { return p.Table == q.Table && string(p.Key) == string(q.Key) }

// content is the plaintext of a frame.
type content struct {
	// From and Next tell which part of the store the frame holds, so that two frames
	// follow each other without a gap even when one of them was read twice.
	From position `cbor:"1,keyasint"`
	Next position `cbor:"2,keyasint"`
	// Tables are the records, in the order of tables and keys.
	Tables []tablePart `cbor:"3,keyasint,omitempty"`
	// Keyring is in the first frame only, Totals in the last.
	Keyring *keyringPart `cbor:"4,keyasint,omitempty"`
	Totals  *Totals      `cbor:"5,keyasint,omitempty"`
}

type tablePart struct {
	_       struct{} `cbor:",toarray"`
	Name    string
	Records []recordPart
}

type recordPart struct {
	_        struct{} `cbor:",toarray"`
	Key      []byte
	Sequence uint64
	Plain    []byte
}

type keyringPart struct {
	Keys []keyPart `cbor:"1,keyasint"`
	// Ceiling is above no sequence of the store.
	Ceiling uint64 `cbor:"2,keyasint"`
}

type keyPart struct {
	Purpose string `cbor:"1,keyasint"`
	ID      []byte `cbor:"2,keyasint"`
	Version uint32 `cbor:"3,keyasint"`
	Created int64  `cbor:"4,keyasint"`
	State   uint8  `cbor:"5,keyasint"`
	Secret  []byte `cbor:"6,keyasint"`
}

// Totals is what a backup holds altogether.
type Totals struct {
	Frames  uint32 `cbor:"1,keyasint"`
	Records int64  `cbor:"2,keyasint"`
	// Bytes are those of the records before they are sealed.
	Bytes int64 `cbor:"3,keyasint"`
}

// add counts a record.
func (t *Totals) add(key, plain []byte) {
	t.Records++
	t.Bytes += int64(len(key) + len(plain))
}

// wipe overwrites what the content holds of secrets and records.
func (c *content) wipe() {
	for _, t := range c.Tables {
		for _, r := range t.Records {
			clear(r.Plain)
		}
	}
	if c.Keyring != nil {
		for _, k := range c.Keyring.Keys {
			clear(k.Secret)
		}
	}
}

// codec is how contents become bytes.
type codec struct {
	enc cbor.EncMode
	dec cbor.DecMode
}

func newCodec() codec {
	em, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err)
	}
	dm, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		MaxArrayElements:  1 << 20,
		MaxMapPairs:       64,
		MaxNestedLevels:   8,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return codec{enc: em, dec: dm}
}

// frameAD binds a frame to its place. Which backup it is of, the key tells: every
// backup has its own.
func frameAD(f *Frame) []byte {
	return envelope.Context(map[string]string{
		"use":    "backup frame",
		"index":  strconv.FormatUint(uint64(f.Index), 10),
		"last":   strconv.FormatBool(f.Last),
		"cursor": f.Cursor,
	})
}
