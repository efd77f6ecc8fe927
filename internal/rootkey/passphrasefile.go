package rootkey

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"arca/internal/envelope"
)

// PassphraseFile derives the root key from the passphrase in a file, one line. The
// operator puts a new one into the file of that name with ".next". Nothing is held in
// memory between calls. It may be used concurrently.
type PassphraseFile struct {
	kept
}

var _ Provider = (*PassphraseFile)(nil)

// NewPassphraseFile returns the root key of the passphrase in the file at path, which
// must not be inside dataDir; see NewFile.
func NewPassphraseFile(path, dataDir string) *PassphraseFile {
	return &PassphraseFile{kept{noun: "passphrase file", path: path, dataDir: dataDir}}
}

// Kind returns "passphrase".
func (p *PassphraseFile) Kind() string { return KindPassphrase }

// Wipe does nothing: a PassphraseFile holds no secret between calls.
func (p *PassphraseFile) Wipe() {}

// Check reads the file and returns what is wrong with it.
func (p *PassphraseFile) Check() error {
	if err := p.checkPlace(); err != nil {
		return err
	}
	_, wipe, err := p.line()
	if err != nil {
		return fmt.Errorf("read root_key.passphrase_file: %w", err)
	}
	wipe()
	return nil
}

// Create derives the root key with a fresh salt.
func (p *PassphraseFile) Create(ctx context.Context) (key *envelope.Key, params []byte, err error) {
	if err := errors.Join(ctx.Err(), p.checkPlace()); err != nil {
		return nil, nil, err
	}
	phrase, wipe, err := p.line()
	if err != nil {
		return nil, nil, err
	}
	defer wipe()
	return createFromPassphrase(phrase)
}

// Open derives the root key from the passphrase in the file, or from the one that
// Adopt has not put in its place yet, or from one that was set aside. The error wraps
// ErrWrongPassphrase if it is none of them.
func (p *PassphraseFile) Open(ctx context.Context, params []byte) (*envelope.Key, error) {
	_, key, err := p.find(ctx, params)
	return key, err
}

func (p *PassphraseFile) find(ctx context.Context, params []byte) (kept, *envelope.Key, error) {
	v, err := decodePassphraseParams(ctx, params)
	if err != nil {
		return kept{}, nil, err
	}
	if err := p.checkPlace(); err != nil {
		return kept{}, nil, err
	}
	var first error
	for _, k := range []kept{p.kept, p.next(), p.former(envelope.KeyID(v.ID))} {
		key, err := k.openWith(v)
		if err == nil {
			return k, key, nil
		}
		// What is wrong with the usual file is what the operator has to know. That there is
		// no other one is nothing wrong.
		if first == nil {
			first = err
		}
	}
	return kept{}, nil, first
}

// Renew derives a root key from the passphrase in the file with ".next".
func (p *PassphraseFile) Renew(ctx context.Context) (key *envelope.Key, params []byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	if err := p.checkPlace(); err != nil {
		return nil, nil, err
	}
	if err := p.checkOwnName(); err != nil {
		return nil, nil, err
	}
	next, wipe, err := p.next().line()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("there is no new passphrase: write it to %s first, readable by the server's user only", p.next().path)
	}
	if err != nil {
		return nil, nil, err
	}
	defer wipe()
	now, wipeNow, err := p.line()
	if err != nil {
		return nil, nil, err
	}
	defer wipeNow()
	if bytes.Equal(now, next) {
		return nil, nil, fmt.Errorf("%s holds the passphrase that is in use: write a new one", p.next().path)
	}
	return createFromPassphrase(next)
}

// Adopt gives the file of the passphrase the usual name. Where no other file is, it
// has nothing to do and derives nothing.
func (p *PassphraseFile) Adopt(ctx context.Context, params, former []byte) error {
	v, err := decodePassphraseParams(ctx, params)
	if err != nil {
		return err
	}
	id := envelope.KeyID(v.ID)
	if !p.next().exists() && !p.former(id).exists() {
		return nil
	}
	found, key, err := p.find(ctx, params)
	if err != nil {
		return err
	}
	key.Wipe()
	if found == p.kept {
		return nil
	}
	aside := p.kept
	aside.path += ".before-" + id.String()[:8] + ".former"
	if v, err := decodePassphraseParams(ctx, former); err == nil {
		aside = p.former(envelope.KeyID(v.ID))
	}
	return p.replaceBy(found, aside)
}

// Destroy overwrites and removes the passphrase that was set aside, and then still
// refuses with ErrCannotDestroy: people know it.
func (p *PassphraseFile) Destroy(ctx context.Context, params []byte) error {
	v, err := decodePassphraseParams(ctx, params)
	if err != nil {
		return err
	}
	if err := p.checkPlace(); err != nil {
		return err
	}
	aside := p.former(envelope.KeyID(v.ID))
	key, err := aside.openWith(v)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return cannotDestroy(KindPassphrase)
	case err != nil:
		return err
	}
	key.Wipe()
	if err := aside.destroy(); err != nil {
		return err
	}
	return cannotDestroy(KindPassphrase)
}

// openWith derives the key of the parameters from the passphrase in the file.
func (k kept) openWith(v passphraseParams) (*envelope.Key, error) {
	phrase, wipe, err := k.line()
	if err != nil {
		return nil, err
	}
	defer wipe()
	return v.open(phrase)
}
