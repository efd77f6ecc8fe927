package rootkey

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"arca/internal/envelope"
)

// File keeps the root key in a file. A new one waits in the file of that name with
// ".next", a former one is kept with the beginning of its id and ".former". It may be
// used concurrently.
type File struct {
	kept
}

var _ Provider = (*File)(nil)

// NewFile returns the root key in the file at path. dataDir is the data directory of
// the store, "" if it has none here: a path inside it is refused, because whoever
// copies the data would copy the key along.
func NewFile(path, dataDir string) *File {
	return &File{kept{noun: "root key file", path: path, dataDir: dataDir}}
}

type fileParams struct {
	Format int    `json:"format"`
	ID     textID `json:"id"`
}

// Kind returns "file".
func (f *File) Kind() string { return KindFile }

// Wipe does nothing: a File holds no secret between calls.
func (f *File) Wipe() {}

// Create makes the file, readable by this user only. When Create returns without an
// error, the file is on disk under its name and whole. A file that is already there
// is checked and used: it was put there for this purpose, or an earlier start made
// it and was interrupted before the store existed.
func (f *File) Create(ctx context.Context) (key *envelope.Key, params []byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	if err := f.checkPlace(); err != nil {
		return nil, nil, err
	}
	return f.ensure(f.kept)
}

// Renew makes the file that waits beside the one in use. One that is already there
// is used: an earlier Renew made it and the store was not sealed under it, or the
// operator has put it on every node of a cluster.
func (f *File) Renew(ctx context.Context) (key *envelope.Key, params []byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	if err := f.checkPlace(); err != nil {
		return nil, nil, err
	}
	if err := f.checkOwnName(); err != nil {
		return nil, nil, err
	}
	if key, params, err = f.ensure(f.next()); err != nil {
		return nil, nil, err
	}
	if err := f.checkUnused(key.ID()); err != nil {
		key.Wipe()
		return nil, nil, err
	}
	return key, params, nil
}

// checkUnused refuses to go back to a key that is known here under another name.
func (f *File) checkUnused(id envelope.KeyID) error {
	for _, k := range []kept{f.kept, f.former(id)} {
		used, err := k.key()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		same := used.ID() == id
		used.Wipe()
		if same {
			return fmt.Errorf("%s holds root key %s, which is in %s already and not new: remove %[1]s", f.next().path, id, k.path)
		}
	}
	return nil
}

// ensure returns the key in a file, which it makes if there is none.
func (f *File) ensure(k kept) (key *envelope.Key, params []byte, err error) {
	key, err = k.key()
	if errors.Is(err, fs.ErrNotExist) {
		key, err = k.writeKey()
	}
	if errors.Is(err, fs.ErrExist) { // another process was faster
		key, err = k.key()
	}
	if err != nil {
		return nil, nil, err
	}
	// Only when the directory is synced does the name survive a power loss, and only
	// then may anything be sealed under the key. A file that was found may come from a
	// start that did not get this far.
	if err := k.sync(); err != nil {
		key.Wipe()
		return nil, nil, fmt.Errorf("create root key file: %w", err)
	}
	params, err = encodeParams(key, fileParams{Format: paramsFormat, ID: textID(key.ID())})
	if err != nil {
		return nil, nil, err
	}
	return key, params, nil
}

// Open reads the file, or the one that Adopt has not put in its place yet, or one
// that was set aside. The error wraps ErrMissing when there is none, and ErrMismatch
// when it holds the root key of another store.
func (f *File) Open(ctx context.Context, params []byte) (*envelope.Key, error) {
	want, err := f.decode(ctx, params)
	if err != nil {
		return nil, err
	}
	_, key, err := f.find(want)
	return key, err
}

func (f *File) decode(ctx context.Context, params []byte) (envelope.KeyID, error) {
	var p fileParams
	if err := ctx.Err(); err != nil {
		return envelope.KeyID{}, err
	}
	if err := decodeParams(params, maxParamsBytes, &p); err != nil {
		return envelope.KeyID{}, err
	}
	if err := checkParamsFormat(p.Format); err != nil {
		return envelope.KeyID{}, err
	}
	return envelope.KeyID(p.ID), f.checkPlace()
}

// find looks for a key in its usual place first. A file that is damaged or open to
// others is an error only if the key is nowhere else: it may be the one.
func (f *File) find(want envelope.KeyID) (kept, *envelope.Key, error) {
	var usual envelope.KeyID
	var found bool
	var first error
	for _, k := range []kept{f.kept, f.next(), f.former(want)} {
		key, err := k.key()
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			if first == nil {
				first = err
			}
			continue
		case key.ID() == want:
			return k, key, nil
		}
		if k == f.kept {
			usual, found = key.ID(), true
		}
		key.Wipe()
	}
	switch {
	case first != nil:
		return kept{}, nil, first
	case found:
		return kept{}, nil, fmt.Errorf("%w: this root key file (%s, id %s) is not the one this store was sealed with (id %s)", ErrMismatch, f.path, usual, want)
	}
	return kept{}, nil, fmt.Errorf("%w: no file at %s; the data of this store is sealed under root key %s and cannot be read without it: restore the file from its backup", ErrMissing, f.path, want)
}

// Adopt gives the file of the key the usual name.
func (f *File) Adopt(ctx context.Context, params, _ []byte) error {
	want, err := f.decode(ctx, params)
	if err != nil {
		return err
	}
	found, key, err := f.find(want)
	if err != nil {
		return err
	}
	key.Wipe()
	if found == f.kept {
		return nil
	}
	aside := f.next() // never used: there is nothing to set aside without a usual file
	usual, err := f.key()
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		aside = f.former(usual.ID())
		usual.Wipe()
	}
	return f.replaceBy(found, aside)
}

// Destroy overwrites and removes the files with the key. The error wraps ErrInUse if
// the key is in the usual place.
func (f *File) Destroy(ctx context.Context, params []byte) error {
	id, err := f.decode(ctx, params)
	if err != nil {
		return err
	}
	for _, k := range []kept{f.kept, f.next(), f.former(id)} {
		key, err := k.key()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		same := key.ID() == id
		key.Wipe()
		switch {
		case same && k == f.kept:
			return fmt.Errorf("%w: %s holds it (id %s)", ErrInUse, f.path, id)
		case same:
			if err := k.destroy(); err != nil {
				return err
			}
		}
	}
	return f.destroyTemps(id)
}

// destroyTemps destroys the copies of a key that crashes left when it was made.
func (f *File) destroyTemps(id envelope.KeyID) error {
	for _, k := range []kept{f.kept, f.next()} {
		temps, err := k.temps()
		if err != nil {
			return err
		}
		for _, t := range temps {
			key, err := t.key()
			if err != nil {
				continue // cut off before it was whole, or gone meanwhile
			}
			same := key.ID() == id
			key.Wipe()
			if !same {
				continue
			}
			if err := t.destroy(); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// writeKey makes the file with a new key.
func (k kept) writeKey() (*envelope.Key, error) {
	key := envelope.GenerateKey(envelope.NewKeyID(), rootVersion)
	text := encodeFile(key)
	defer clear(text)
	if err := k.write(text); err != nil {
		key.Wipe()
		return nil, fmt.Errorf("create root key file: %w", err)
	}
	return key, nil
}

// key reads the key in the file.
func (k kept) key() (*envelope.Key, error) {
	text, err := k.read()
	if err != nil {
		return nil, err
	}
	defer clear(text)
	key, err := decodeFile(bytes.TrimSpace(text))
	if err != nil {
		return nil, fmt.Errorf("root key file %s: %w", k.path, err)
	}
	return key, nil
}
