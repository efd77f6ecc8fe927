package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"arca/internal/app"
	"arca/internal/backup"
	"arca/internal/rootkey"
)

func newRestore(env *environment) *cobra.Command {
	var from, passphrase string
	var accept bool
	var o offline
	cmd := &cobra.Command{
		Use:   "restore --from BACKUP",
		Short: "Make the data of a server from a backup",
		Long: `Make the data of a server from a backup. The server is stopped, and the data_dir of its
configuration is empty or not there. The whole backup is checked before anything is
written; afterwards the data is checked like "arca fsck" does, and the server serves it
only if no problem is found.

A backup that is sealed under a root key needs that root key in the configuration. One
that was made with a passphrase needs --passphrase-file, and the configuration's root key
is made if it is not there.

If the command is cut off, the same command begins again.`,
		Example: `  arca restore --config /etc/arca/arca.toml --from arca.backup
  gpg --decrypt arca.backup.gpg | arca restore --config /etc/arca/arca.toml --from -`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" {
				return usageError{errors.New("--from is required: a backup, or - for standard input"), cmd.CommandPath()}
			}
			if !o.given() {
				return usageError{errors.New("--config is required, or --data-dir for a development server"), cmd.CommandPath()}
			}
			cfg, given, log, err := o.settings(env)
			if err != nil {
				return err
			}
			src, size, err := openBackup(env, from, cfg.DataDir)
			if err != nil {
				return err
			}
			defer src.Close()
			opts := app.RestoreOptions{Source: src, AcceptProblems: accept}
			if passphrase != "" {
				opts.Passphrase = rootkey.NewPassphraseFile(passphrase, "")
			}
			p := newRestoreProgress(env, size)
			defer p.end()
			opts.Report = p.report
			opts.Problem = func(problem string) {
				p.end()
				fmt.Fprintln(env.out, problem)
			}
			sum, err := app.Restore(cmd.Context(), cfg, given, opts, log)
			p.end()
			if errors.Is(err, app.ErrUnchecked) {
				fmt.Fprintf(env.err, "arca: %v; the server does not serve it. To serve it all the same, restore into an empty data_dir with --accept-problems\n", err)
				return errProblems
			}
			if err != nil {
				return restoreError(cmd.Context(), err)
			}
			h := sum.Header
			fmt.Fprintf(env.out, "restored %d records of deployment %s as of %s\n", sum.Records, h.Deployment, h.Created.Format(time.RFC3339))
			if aside := setAside(&cfg, h); aside != "" {
				fmt.Fprintf(env.out, "the root key of this data is the one in %s: keep it, or exchange it with arca root-key rotate\n", aside)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "`backup` to restore, - for standard input")
	_ = cmd.MarkFlagFilename("from")
	passphraseFlag(cmd, &passphrase)
	cmd.Flags().BoolVar(&accept, "accept-problems", false, "let the server serve the data although its check finds problems")
	o.add(cmd)
	cmd.Flag("data-dir").Usage = devFolder
	return cmd
}

// setAside is the file that the root key of restored data lies in when that is one which
// was set aside, and whose name belies that it is needed; else "".
func setAside(cfg *app.Config, h *backup.Header) string {
	usual := cfg.RootKey.File
	if cfg.RootKey.Kind == rootkey.KindPassphrase {
		usual = cfg.RootKey.PassphraseFile
	}
	if h.Root == nil || usual == "" {
		return ""
	}
	file := rootkey.FormerFile(usual, h.Root.KeyID())
	if _, err := os.Stat(file); err != nil {
		return ""
	}
	return file
}

func restoreError(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return errors.New("interrupted; the same command begins again")
	}
	return err
}

// openBackup opens a backup that is read twice. Standard input is kept in a file of the
// server's own meanwhile: as large as the backup, and sealed like it.
func openBackup(env *environment, from, dataDir string) (*os.File, int64, error) {
	if from != "-" {
		f, err := os.Open(from)
		if err != nil {
			return nil, 0, fmt.Errorf("open backup: %w", err)
		}
		info, err := f.Stat()
		if err == nil && !info.Mode().IsRegular() {
			err = errors.New("not a regular file; give its content to --from -")
		}
		if err != nil {
			return nil, 0, errors.Join(fmt.Errorf("open backup: %w", err), f.Close())
		}
		return f, info.Size(), nil
	}
	dir := filepath.Dir(dataDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, 0, fmt.Errorf("keep standard input: %w", err)
	}
	f, err := os.CreateTemp(dir, ".arca-restore-*") // mode 0600
	if err != nil {
		return nil, 0, fmt.Errorf("keep standard input: %w", err)
	}
	// Nobody else needs its name, and it goes with the process.
	err = os.Remove(f.Name())
	var n int64
	if err == nil {
		n, err = io.Copy(f, env.in)
	}
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("keep standard input: %w", err), f.Close())
	}
	return f, n, nil
}

// restoreProgress is a progress for each stage.
type restoreProgress struct {
	env   *environment
	size  int64
	stage backup.Stage
	*progress
}

func newRestoreProgress(env *environment, size int64) *restoreProgress {
	return &restoreProgress{env: env, size: size, progress: newProgress(env.err, "", "", 0)}
}

func (p *restoreProgress) report(stage backup.Stage, bytes int64) {
	if stage != p.stage {
		p.end()
		doing := "checking the backup"
		if stage == backup.StageWrite {
			doing = "writing"
		}
		p.stage, p.progress = stage, newProgress(p.env.err, doing, "", 0)
		p.progress.bytes = p.size
	}
	p.show(0, bytes)
}
