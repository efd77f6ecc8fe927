package app

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"

	"arca/internal/envelope"
	"arca/internal/iam"
	"arca/internal/rootkey"
)

// ServerSecrets are what the environment of `arca server` may give. Empty members
// are not given.
type ServerSecrets struct {
	AccessKeyID     string
	SecretAccessKey envelope.Plaintext
	Passphrase      envelope.Plaintext
}

// RootCredentials is the JSON object a first start writes: the same members that
// AWS uses for an access key.
type RootCredentials struct {
	AccountID       string `json:"AccountId"`
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string `json:"SecretAccessKey"`
}

// OpenServer opens a production server. cfg must have passed Validate.
func OpenServer(ctx context.Context, cfg Config, given ServerSecrets, log *slog.Logger) (_ *App, err error) {
	key, err := newRootKey(&cfg, given)
	if err != nil {
		return nil, err
	}
	a, err := open(ctx, cfg, mode{rootKey: key}, log)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	if err := a.setUpRoot(ctx, given); err != nil {
		return nil, err
	}
	if err := a.listen(ctx); err != nil {
		return nil, err
	}
	return a, nil
}

// OpenOffline opens the data for a command that looks at it, without listeners and
// without making anything that is not there.
func OpenOffline(ctx context.Context, cfg Config, given ServerSecrets, log *slog.Logger) (*App, error) {
	if _, err := os.Stat(filepath.Join(cfg.DataDir, "store")); err != nil {
		return nil, fmt.Errorf("no data in %s: %w", cfg.DataDir, err)
	}
	key, err := newRootKey(&cfg, given)
	if err != nil {
		return nil, err
	}
	// A development clock is welcome here: nothing is served.
	return open(ctx, cfg, mode{rootKey: key, movableClock: true}, log)
}

func newRootKey(cfg *Config, given ServerSecrets) (rootKey, error) {
	if cfg.RootKey.Kind == "file" {
		return rootkey.NewFile(cfg.RootKey.File, cfg.DataDir), nil
	}
	pass := given.Passphrase
	if cfg.RootKey.PassphraseFile != "" {
		raw, err := os.ReadFile(cfg.RootKey.PassphraseFile)
		if err != nil {
			return nil, fmt.Errorf("read root_key.passphrase_file: %w", err)
		}
		for len(raw) > 0 && (raw[len(raw)-1] == '\n' || raw[len(raw)-1] == '\r') {
			raw = raw[:len(raw)-1]
		}
		pass = envelope.NewPlaintext(raw)
	}
	if pass.Len() == 0 {
		return nil, errors.New("root_key.kind is \"passphrase\", but there is none: set root_key.passphrase_file or ARCA_ROOT_PASSPHRASE")
	}
	return rootkey.NewPassphrase(pass), nil
}

// setUpRoot makes the first account's root credentials: from the environment, or
// drawn once and written to the credentials file before they are stored, so that no
// crash can leave credentials that nobody has seen.
func (a *App) setUpRoot(ctx context.Context, given ServerSecrets) error {
	if given.AccessKeyID != "" {
		account, err := a.firstAccount(ctx)
		if err != nil {
			return err
		}
		if err := a.ensureRoot(ctx, account, given.AccessKeyID, given.SecretAccessKey); err != nil {
			return fmt.Errorf("set root credentials of the environment: %w", err)
		}
		return nil
	}
	has, err := a.iam.HasRoot(ctx)
	if err != nil || has {
		return err
	}
	creds, err := a.loadOrDrawCredentials(ctx)
	if err != nil {
		return err
	}
	secret := envelope.NewPlaintext([]byte(creds.SecretAccessKey))
	defer secret.Wipe()
	if err := a.ensureRoot(ctx, creds.AccountID, creds.AccessKeyID, secret); err != nil {
		return fmt.Errorf("make root credentials: %w", err)
	}
	a.log.Info("root credentials of the first account were made; keep the file safe or move it away",
		"account", creds.AccountID, "file", a.cfg.CredentialsFile)
	return nil
}

// loadOrDrawCredentials returns what a start that was cut off has already written,
// or writes fresh credentials.
func (a *App) loadOrDrawCredentials(ctx context.Context) (creds RootCredentials, err error) {
	raw, err := os.ReadFile(a.cfg.CredentialsFile)
	switch {
	case err == nil:
		if err := json.Unmarshal(raw, &creds); err != nil {
			return creds, fmt.Errorf("%s is in the way of new root credentials and is not one of ours: %w", a.cfg.CredentialsFile, err)
		}
		return creds, nil
	case !errors.Is(err, os.ErrNotExist):
		return creds, fmt.Errorf("look for root credentials: %w", err)
	}
	if creds.AccountID, err = a.firstAccount(ctx); err != nil {
		return creds, err
	}
	id, secret := iam.NewAccessKey()
	defer secret.Wipe()
	creds.AccessKeyID, creds.SecretAccessKey = id, string(secret.Bytes())
	text, err := json.MarshalIndent(creds, "", "  ")
	if err != nil {
		return creds, fmt.Errorf("encode root credentials: %w", err)
	}
	defer clear(text)
	if err := writeNew(a.cfg.CredentialsFile, append(text, '\n')); err != nil {
		return creds, fmt.Errorf("write root credentials: %w", err)
	}
	return creds, nil
}

// firstAccount is the configured account, the one that exists, or a random one.
func (a *App) firstAccount(ctx context.Context) (string, error) {
	if a.cfg.Account != "" {
		return a.cfg.Account, nil
	}
	id, ok, err := a.iam.FirstAccount(ctx)
	if err != nil || ok {
		return id, err
	}
	n, err := rand.Int(rand.Reader, big.NewInt(900_000_000_000))
	if err != nil {
		return "", fmt.Errorf("draw account id: %w", err)
	}
	return fmt.Sprintf("%012d", n.Int64()+100_000_000_000), nil
}

// writeNew writes a file that must not exist yet, for its owner only, and syncs it
// and its folder: after it returns, a power cut does not lose it.
func writeNew(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, werr := f.Write(data)
	if err := errors.Join(werr, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
