package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"arca/internal/rootkey"
	"arca/internal/store"
)

// MigrateRootKey seals the data of a stopped server, which opens with from, under the
// root key that to names; given and next are what the environment has for the one and
// the other. Both have passed Validate. Nothing is changed before the new root key is
// there and durable, and the change itself is one transaction: up to it the data opens
// with from, and from then on with to.
func MigrateRootKey(ctx context.Context, from, to Config, given, next ServerSecrets, log *slog.Logger) (state store.RootKeyState, err error) {
	if from.DataDir != to.DataDir {
		return state, fmt.Errorf("the configurations name different data: %s and %s", from.DataDir, to.DataDir)
	}
	if to.RootKey.Kind == rootkey.KindFile {
		if err := os.MkdirAll(filepath.Dir(to.RootKey.File), 0o700); err != nil {
			return state, fmt.Errorf("create folder of the new root_key.file: %w", err)
		}
	}
	if to.RootKey.Kind == rootkey.KindPassphrase && to.RootKey.PassphraseFile == "" && next.Passphrase.Len() == 0 {
		return state, errors.New("the new root key comes from a passphrase, but there is none: set root_key.passphrase_file or ARCA_NEW_ROOT_PASSPHRASE")
	}
	target, err := NewTargetRootKey(&to, next)
	if err != nil {
		return state, fmt.Errorf("new root key: %w", err)
	}
	defer target.Wipe()
	a, err := OpenOffline(ctx, from, given, log)
	if err != nil {
		return state, err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	if err := a.keys.RecordMigration(ctx, a.dispatch, a.clock.Now(), from.RootKey.Kind, to.RootKey.Kind); err != nil {
		return state, fmt.Errorf("record the migration: %w", err)
	}
	if err := a.store.MigrateRootKey(ctx, target); err != nil {
		return state, err
	}
	return a.store.RootKeyState(ctx)
}
