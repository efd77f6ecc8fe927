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
)

// ServerSecrets are what the environment of `arca server` may give. Empty members
// are not given.
type ServerSecrets struct {
	AccessKeyID     string
	SecretAccessKey envelope.Plaintext
	// Passphrase of the root key, and PIN of the token that holds it.
	Passphrase envelope.Plaintext
	PIN        envelope.Plaintext
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
	key, err := NewRootKey(&cfg, given)
	if err != nil {
		return nil, err
	}
	if err := checkRootKey(key); err != nil {
		return nil, err
	}
	if err := cfg.checkCertificate(log); err != nil {
		return nil, err
	}
	a, err := open(ctx, cfg, mode{rootKey: newPatientKey(key, cfg.RootKey.wait(), log)}, log)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	if err := a.checkRestored(ctx); err != nil {
		return nil, err
	}
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
	key, err := NewRootKey(&cfg, given)
	if err != nil {
		return nil, err
	}
	// A development clock is welcome here: nothing is served.
	return open(ctx, cfg, mode{rootKey: key, movableClock: true}, log)
}

// setUpRoot makes the first account's root credentials: from the environment, or
// drawn once and written to the credentials file before they are stored, so that no
// crash can leave credentials that nobody has seen.
func (a *App) setUpRoot(ctx context.Context, given ServerSecrets) error {
	account, err := a.firstAccount(ctx)
	if err != nil {
		return err
	}
	if given.AccessKeyID != "" {
		if err := a.ensureRoot(ctx, account, given.AccessKeyID, given.SecretAccessKey); err != nil {
			return fmt.Errorf("set root credentials of the environment: %w", err)
		}
		return nil
	}
	has, err := a.iam.HasRoot(ctx)
	if err != nil || has {
		return err
	}
	creds, err := a.loadOrDrawCredentials(account)
	if err != nil {
		return err
	}
	secret := envelope.NewPlaintext([]byte(creds.SecretAccessKey))
	defer secret.Wipe()
	if err := a.ensureRoot(ctx, creds.AccountID, creds.AccessKeyID, secret); err != nil {
		return fmt.Errorf("make root credentials of %s: %w", a.cfg.CredentialsFile, err)
	}
	a.log.Info("root credentials of the first account were made; keep the file safe or move it away",
		"account", creds.AccountID, "file", a.cfg.CredentialsFile)
	return nil
}

// loadOrDrawCredentials returns what a start that was cut off has already written,
// or writes fresh credentials of the account.
func (a *App) loadOrDrawCredentials(account string) (creds RootCredentials, err error) {
	raw, err := os.ReadFile(a.cfg.CredentialsFile)
	switch {
	case err == nil:
		defer clear(raw)
		if err := json.Unmarshal(raw, &creds); err != nil {
			return creds, fmt.Errorf("%s is in the way of new root credentials and is not one of ours: %w", a.cfg.CredentialsFile, err)
		}
		if a.cfg.Account != "" && creds.AccountID != a.cfg.Account {
			return creds, fmt.Errorf("%s is in the way of new root credentials: it is for account %q, not %s", a.cfg.CredentialsFile, creds.AccountID, a.cfg.Account)
		}
		return creds, nil
	case !errors.Is(err, os.ErrNotExist):
		return creds, fmt.Errorf("look for root credentials: %w", err)
	}
	creds.AccountID = account
	id, secret := iam.NewAccessKey()
	defer secret.Wipe()
	creds.AccessKeyID, creds.SecretAccessKey = id, string(secret.Bytes())
	text, err := json.MarshalIndent(creds, "", "  ")
	if err != nil {
		return creds, fmt.Errorf("encode root credentials: %w", err)
	}
	defer clear(text)
	// The file is whole and on disk before the credentials are stored: a crash up to
	// then leaves a file that the next start takes them from.
	if err := replaceFile(a.cfg.CredentialsFile, append(text, '\n')); err != nil {
		return creds, fmt.Errorf("write root credentials: %w", err)
	}
	return creds, nil
}

// firstAccount is the one that exists, the configured account, or a random one.
func (a *App) firstAccount(ctx context.Context) (string, error) {
	id, ok, err := a.iam.FirstAccount(ctx)
	switch {
	case err != nil:
		return "", fmt.Errorf("look for the first account: %w", err)
	case ok && a.cfg.Account != "" && a.cfg.Account != id:
		return "", fmt.Errorf("account: the data in %s was set up for account %s, not %s", a.cfg.DataDir, id, a.cfg.Account)
	case ok:
		return id, nil
	case a.cfg.Account != "":
		return a.cfg.Account, nil
	}
	n, err := rand.Int(rand.Reader, big.NewInt(900_000_000_000))
	if err != nil {
		return "", fmt.Errorf("draw account id: %w", err)
	}
	return fmt.Sprintf("%012d", n.Int64()+100_000_000_000), nil
}
