package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"

	"github.com/spf13/cobra"

	"arca/internal/app"
)

// offline are the flags of commands that open the data of a stopped server.
type offline struct {
	config string
	home   string
	logs   logFlags
}

func (o *offline) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.config, "config", "", "configuration `file` of the server whose data is opened")
	_ = cmd.MarkFlagFilename("config", "toml")
	cmd.Flags().StringVar(&o.home, "data-dir", "", "`folder` of a development server (default: the one that arca dev uses)")
	o.logs.add(cmd, "warn")
}

// given reports whether a flag names data.
func (o *offline) given() bool { return o.config != "" || o.home != "" }

// settings are what the data is opened with.
func (o *offline) settings(env *environment) (cfg app.Config, given app.ServerSecrets, log *slog.Logger, err error) {
	if log, err = o.logs.logger(env.err); err != nil {
		return cfg, given, nil, err
	}
	if o.config != "" && o.home != "" {
		return cfg, given, nil, usageError{error: errors.New("--config and --data-dir name different data; give one of them")}
	}
	if o.config != "" {
		if cfg, err = readConfig(o.config); err != nil {
			return cfg, given, nil, err
		}
	} else {
		if o.home == "" {
			if o.home, err = stateHome(env.getenv); err != nil {
				return cfg, given, nil, err
			}
		}
		cfg.DataDir = filepath.Join(o.home, "data")
		cfg.RootKey.File = filepath.Join(o.home, "keys", "root.key")
		cfg.Version = version
		if err := cfg.Validate(); err != nil {
			return cfg, given, nil, err
		}
	}
	given, err = serverSecrets(env.getenv)
	return cfg, given, log, err
}

// with opens the data, runs fn and closes it.
func (o *offline) with(ctx context.Context, env *environment, fn func(a *app.App) error) (err error) {
	cfg, given, log, err := o.settings(env)
	if err != nil {
		return err
	}
	a, err := app.OpenOffline(ctx, cfg, given, log)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; --data-dir or --config names another place", err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	return fn(a)
}

func newFsck(env *environment) *cobra.Command {
	var o offline
	var against bool
	cmd := &cobra.Command{
		Use:   "fsck",
		Short: "Check the data of a stopped server",
		Long: `Check that every record opens, decodes and agrees with every other: names and secrets,
labels, values, keys, credentials, audit lines. Prints one line for each problem and
ends with status 3 if there is any. Changes nothing but what a start changes, too.

With --against-audit every record is also compared with the newest change that the audit
log has of it, which shows what somebody has put back, changed or removed in the database
past Arca. That the log itself is whole, arca audit verify tells.`,
		Example: "  arca fsck --config /etc/arca/arca.toml --against-audit",
		Args:    exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			problems := 0
			err := o.with(cmd.Context(), env, func(a *app.App) error {
				report := func(p string) {
					problems++
					fmt.Fprintln(env.out, p)
				}
				if err := a.Check(cmd.Context(), report); err != nil || !against {
					return err
				}
				return a.CheckAgainstAudit(cmd.Context(), report, func(text string) { fmt.Fprintln(env.err, "arca: "+text) })
			})
			if err != nil {
				return err
			}
			if problems > 0 {
				fmt.Fprintf(env.err, "arca: %d problems\n", problems)
				return errProblems
			}
			fmt.Fprintln(env.out, "no problems")
			return nil
		},
	}
	o.add(cmd)
	cmd.Flags().BoolVar(&against, "against-audit", false, "compare the records with the audit log, too")
	return cmd
}

func newStore(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Look at the records of a stopped server",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var o offline
	dump := &cobra.Command{
		Use:   "dump",
		Short: "Print every record as a line of JSON",
		Long: `Print every record as a line of JSON: its table, key, revision, sequence number and
content. Secret values and key material stay sealed; names, tags and policies are
shown, so treat the output as confidential.`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.with(cmd.Context(), env, func(a *app.App) error { return a.Dump(cmd.Context(), env.out) })
		},
	}
	o.add(dump)
	cmd.AddCommand(dump)
	return cmd
}
