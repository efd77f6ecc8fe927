package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"arca/internal/backup"
	"arca/internal/rootkey"
)

// ErrUnchecked means that the data was restored and that its check found problems.
var ErrUnchecked = errors.New("the restored data has problems")

// Backups makes backups of the data of a, by a command that has it open.
func (a *App) Backups() *backup.Maker { return backup.NewMaker(a.store, a.cfg.Version) }

// RestoreOptions say what is restored, and who is told.
type RestoreOptions struct {
	Source io.ReadSeeker
	// Passphrase is the backup's own; nil for one that opens with the root key.
	Passphrase rootkey.Provider
	// AcceptProblems lets the data be served although its check finds problems.
	AcceptProblems bool
	// Report is told how many bytes of the backup a stage has read, Problem what the
	// check finds.
	Report  func(stage backup.Stage, bytes int64)
	Problem func(problem string)
}

// Restore fills the empty data of a configuration with a backup and checks it. When
// problems are found the error is ErrUnchecked, and the server refuses to serve the
// data; everything else that fails leaves nothing, or data that says it is unfinished.
func Restore(ctx context.Context, cfg Config, given ServerSecrets, o RestoreOptions, log *slog.Logger) (_ *backup.Summary, err error) {
	key, err := NewRootKey(&cfg, given)
	if err != nil {
		return nil, err
	}
	a := &App{cfg: cfg, log: log, mode: mode{rootKey: key, movableClock: true}}
	if err := a.makeFolders(); err != nil {
		return nil, err
	}
	a.attach()
	unlock := backup.Unlock{RootKey: key}
	if o.Passphrase != nil {
		unlock.Passphrase = o.Passphrase
	}
	sum, err := backup.Restore(ctx, a.store, o.Source, unlock, o.Report)
	if err != nil {
		return nil, errors.Join(err, a.store.Close())
	}
	// What a crash leaves from here on is whole, and the server checks it before it
	// serves it.
	open, err := OpenOffline(ctx, cfg, given, log)
	if err != nil {
		return nil, fmt.Errorf("the backup was restored, but the data does not open: %w", err)
	}
	defer func() { err = errors.Join(err, open.Close()) }()
	return sum, open.settleRestore(ctx, o.AcceptProblems, o.Problem)
}

// makeFolders makes the folders that the store and a root key in a file need.
func (a *App) makeFolders() error {
	if err := os.MkdirAll(a.cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("create data_dir: %w", err)
	}
	if a.cfg.RootKey.Kind == rootkey.KindFile {
		if err := os.MkdirAll(a.cfg.keysDir(), 0o700); err != nil {
			return fmt.Errorf("create folder of root_key.file: %w", err)
		}
	}
	return nil
}

// settleRestore checks data that was restored and not checked yet.
func (a *App) settleRestore(ctx context.Context, accept bool, problem func(string)) error {
	_, restored, err := a.store.Imported(ctx)
	if err != nil || !restored {
		return err
	}
	found := 0
	err = a.Check(ctx, func(p string) {
		found++
		problem(p)
	})
	if err != nil {
		return fmt.Errorf("check the restored data: %w", err)
	}
	if found > 0 && !accept {
		return fmt.Errorf("%w: %d of them", ErrUnchecked, found)
	}
	return a.store.ConfirmImport(ctx)
}

// checkRestored is what a server does before it serves: the command that restored the
// data may have died before it could check it.
func (a *App) checkRestored(ctx context.Context) error {
	name, restored, err := a.store.Imported(ctx)
	if err != nil || !restored {
		return err
	}
	a.log.Warn("this data was restored and not checked yet; it is checked now", "backup", name, "data_dir", filepath.Clean(a.cfg.DataDir))
	err = a.settleRestore(ctx, false, func(p string) { a.log.Error("problem in the restored data", "problem", p) })
	if errors.Is(err, ErrUnchecked) {
		return fmt.Errorf("%w, which the log lists: restore another backup into an empty data_dir, or the same one with --accept-problems", err)
	}
	return err
}
