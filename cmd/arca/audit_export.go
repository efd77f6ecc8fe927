package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"arca/internal/admin"
	"arca/internal/trail"
)

func newAuditExport(env *environment, endpoint *string) *cobra.Command {
	var f auditFilter
	var from, out string
	var own bool
	cmd := &cobra.Command{
		Use:   "export --out DIR",
		Short: "Write events as CloudTrail delivers them, for tools that read it",
		Long: `Write events as CloudTrail delivers them: gzip files of JSON below DIR/AWSLogs, by account,
region and day. What reads CloudTrail's files reads them. All conditions must hold; without
any, everything is written.

The same command writes what is missing when it was cut off: an export of a past range
repeats exactly, file by file. For that, --since 7d begins with the day, in UTC, that was
seven days ago, and --until 1d ends where yesterday began. A range that ends
with now, or later, cannot repeat: what was written of the newest day is written again in
other files when more has come, and who reads both sees events twice.

Without --from a server is asked where its log is; run it on the server's host, as a user
who may read the files.

Records have a member "arca" in the log, which CloudTrail's do not have; it is left out
unless --with-arca is given.`,
		Example: `  arca audit export --since 2026-03-01 --until 2026-04-01 --out march
  arca audit export --since 2d --until 1d --out days
  arca audit export --from /mnt/copy/audit --account 123456789012 --out their-events`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				return usageError{errors.New("--out is required: a folder to write to"), cmd.CommandPath()}
			}
			now := time.Now()
			filter, err := f.wholeDays(now).filter(cmd, now)
			if err != nil {
				return err
			}
			if filter.To.IsZero() || filter.To.After(now) {
				fmt.Fprintln(env.err, "arca: without an --until that has passed, the files of the newest day are other ones next time; do not read both")
			}
			if from == "" {
				if from, err = logsOnHost(cmd.Context(), env, *endpoint); err != nil {
					return err
				}
			}
			err = export(cmd.Context(), env, from, trail.ExportConfig{Filter: filter, Dir: out, KeepOwn: own})
			return interrupted(cmd.Context(), err)
		},
	}
	f.add(cmd, true)
	cmd.Flags().StringVar(&out, "out", "", "write to this `folder`")
	_ = cmd.MarkFlagDirname("out")
	cmd.Flags().BoolVar(&own, "with-arca", false, `leave the member "arca" in the records`)
	fromFlag(cmd, &from)
	return cmd
}

// wholeDays are the flags with times that are so long ago moved to the beginning of their
// day: the time of day when the command was called must not decide what files say.
func (f auditFilter) wholeDays(now time.Time) *auditFilter {
	for _, text := range []*string{&f.since, &f.until} {
		if d, err := admin.ParseDuration(*text); err == nil {
			*text = now.Add(-d).UTC().Format(time.DateOnly)
		}
	}
	return &f
}

// logsOnHost is the folder with the logs of all nodes, on the server's host.
func logsOnHost(ctx context.Context, env *environment, endpoint string) (string, error) {
	l, err := describeLog(ctx, env, endpoint)
	if err != nil {
		return "", err
	}
	dir := filepath.Dir(l.Directory)
	if _, err := logDirs(dir); err != nil {
		return "", notHere(l, err)
	}
	return dir, nil
}

// notHere says what to do when the files of a server's log cannot be read.
func notHere(l *auditLog, err error) error {
	return fmt.Errorf("the log is in %s on the server's host: %w\nrun this there, as a user who may read it, or with --from on a copy", l.Directory, err)
}

func export(ctx context.Context, env *environment, from string, cfg trail.ExportConfig) (err error) {
	t, err := openTrail(env, from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	p := newProgress(env.err, "exporting", "", 0)
	defer p.end()
	cfg.Progress = func(events uint64, latest time.Time) {
		p.say(fmt.Sprintf("exporting: %d events, up to %s", events, latest.UTC().Format(time.RFC3339)))
	}
	r, err := t.Export(ctx, cfg)
	if err != nil {
		return err
	}
	p.end()
	fmt.Fprintf(env.out, "%d events; files: %d, %s", r.Events, r.Files+r.Present, mib(r.Bytes))
	if r.Present > 0 {
		fmt.Fprintf(env.out, ", of which %d were there", r.Present)
	}
	fmt.Fprintln(env.out)
	if r.Damaged {
		return fmt.Errorf("events are missing: %w", errDamaged)
	}
	return nil
}
