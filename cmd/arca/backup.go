package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"arca/internal/app"
	"arca/internal/backup"
	"arca/internal/rootkey"
)

func newBackup(env *environment) *cobra.Command {
	var out, passphrase, endpoint string
	var o offline
	cmd := &cobra.Command{
		Use:   "backup --out FILE",
		Short: "Back up all data of a server to a file",
		Long: `Back up all data of a server to one file, while it serves: the state of all accounts,
secrets, keys and policies at one moment. The audit log is not part of it.

The file is sealed. It opens with the root key that the server has now; with
--passphrase-file it opens with that passphrase instead, without any root key. Keep what
opens it where the file is not.

If the command is cut off, FILE.partial keeps what was written, and the same command
goes on with it. --out - writes to standard output, where it cannot go on.

The server is asked at --endpoint, as the root of its first account; its credentials come
from the AWS environment variables or profile. With --config (or --data-dir, for a
development server) the data of a server that is stopped is backed up.`,
		Example: `  arca backup --out arca.backup
  arca backup --out arca.backup --passphrase-file backup.pass
  arca backup --out - | gpg --encrypt --recipient ops > arca.backup.gpg
  arca backup --config /etc/arca/arca.toml --out arca.backup`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case out == "":
				return usageError{errors.New("--out is required: a file, or - for standard output"), cmd.CommandPath()}
			case o.given() && endpoint != "":
				return usageError{errors.New("--endpoint names a server that runs, --config and --data-dir one that is stopped; give one of them"), cmd.CommandPath()}
			}
			ctx := cmd.Context()
			if o.given() {
				return o.with(ctx, env, func(a *app.App) error {
					return makeBackup(ctx, env, storeSource{a.Backups()}, out, passphrase)
				})
			}
			c, err := newClient(ctx, endpoint, env.getenv)
			if err != nil {
				return err
			}
			return makeBackup(ctx, env, &serverSource{env: env, c: c}, out, passphrase)
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "`file` to write, - for standard output")
	_ = cmd.MarkFlagFilename("out")
	passphraseFlag(cmd, &passphrase)
	cmd.Flags().StringVar(&endpoint, "endpoint", "", "`URL` of the server (default: the environment's AWS_ENDPOINT_URL, else http://"+app.DevListen+")")
	o.add(cmd)
	cmd.Flag("data-dir").Usage = devFolder
	cmd.AddCommand(newBackupVerify(env))
	return cmd
}

func passphraseFlag(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVar(name, "passphrase-file", "", "`file` with the passphrase of the backup, one line of at least 16 characters")
	_ = cmd.MarkFlagFilename("passphrase-file")
}

// backupSource is where a backup comes from: a server, or the data of a stopped one.
type backupSource interface {
	// begin and read are backup.Maker's.
	begin(ctx context.Context, w backup.Wrapping) (h *backup.Header, cursor string, err error)
	read(ctx context.Context, h *backup.Header, cursor string, w backup.Wrapping) (*backup.Page, error)
}

// backupSink is where it goes.
type backupSink interface {
	Start(h *backup.Header) error
	Append(frame []byte) error
	Finish() error
	Size() int64
}

// makeBackup writes a backup to a file or standard output.
func makeBackup(ctx context.Context, env *environment, src backupSource, out, passphrase string) (err error) {
	if out == "-" {
		w, err := newWrapping(ctx, passphrase)
		if err != nil {
			return err
		}
		defer wipe(w)
		return copyBackup(ctx, env, src, backup.NewStream(env.out), nil, "", w, "standard output")
	}
	file, err := backup.OpenFile(out)
	if errors.Is(err, backup.ErrExists) {
		return fmt.Errorf("%w: name another one, or remove it first", err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	h := file.Header()
	var w backup.Wrapping
	if h != nil {
		w, err = sameWrapping(ctx, h, passphrase, backup.PartialPath(out))
	} else {
		w, err = newWrapping(ctx, passphrase)
	}
	if err != nil {
		return err
	}
	defer wipe(w)
	if file.Whole() { // and the command ended before it could say so
		if err := file.Finish(); err != nil {
			return err
		}
		fmt.Fprintf(env.err, "%s: backup %s of deployment %s was written before\n", out, h.Backup, h.Deployment)
		return nil
	}
	if file.Cursor() == "" {
		h = nil // it did not get beyond its header
	}
	if h != nil {
		fmt.Fprintf(env.err, "going on with %s, begun %s\n", backup.PartialPath(out), h.Created.Format(time.RFC3339))
	}
	err = copyBackup(ctx, env, src, file, h, file.Cursor(), w, out)
	if errors.Is(err, backup.ErrGone) && h != nil {
		fmt.Fprintf(env.err, "%v; beginning anew\n", err)
		err = copyBackup(ctx, env, src, file, nil, "", w, out)
	}
	if err != nil && file.Size() > 0 && !errors.Is(err, backup.ErrExists) {
		return fmt.Errorf("%w\n%s holds what was written; the same command goes on with it", err, backup.PartialPath(out))
	}
	return err
}

// copyBackup copies from source to sink: from the cursor of a header that the sink has,
// or, when h is nil, from the beginning.
func copyBackup(ctx context.Context, env *environment, src backupSource, dst backupSink, h *backup.Header, cursor string, w backup.Wrapping, name string) (err error) {
	if h == nil {
		if h, cursor, err = src.begin(ctx, w); err != nil {
			return err
		}
		if err := dst.Start(h); err != nil {
			return err
		}
	}
	p := newProgress(env.err, "backing up", "records", h.Records)
	defer p.end()
	var last *backup.Page
	for cursor != "" {
		if last, err = src.read(ctx, h, cursor, w); err != nil {
			return interrupted(ctx, err)
		}
		if err := dst.Append(last.Frame); err != nil {
			return err
		}
		cursor = last.Cursor
		p.show(last.Records, dst.Size())
	}
	p.end()
	if err := dst.Finish(); err != nil {
		return err
	}
	fmt.Fprintf(env.err, "%s: %d records of deployment %s as of %s, %s\n",
		name, last.Records, h.Deployment, h.Created.Format(time.RFC3339), mib(dst.Size()))
	return nil
}

// interrupted says so plainly when it was the user.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return err
}

// newWrapping derives a key from a passphrase, here and not on the server, which never
// sees the passphrase.
func newWrapping(ctx context.Context, passphrase string) (backup.Wrapping, error) {
	if passphrase == "" {
		return backup.Wrapping{}, nil
	}
	key, params, err := rootkey.NewPassphraseFile(passphrase, "").Create(ctx)
	if err != nil {
		return backup.Wrapping{}, fmt.Errorf("--passphrase-file: %w", err)
	}
	return backup.Wrapping{Key: key, Params: params}, nil
}

// sameWrapping derives the key that an unfinished backup was begun with.
func sameWrapping(ctx context.Context, h *backup.Header, passphrase, partial string) (backup.Wrapping, error) {
	switch {
	case h.Root != nil && passphrase == "":
		return backup.Wrapping{}, nil
	case h.Root != nil:
		return backup.Wrapping{}, fmt.Errorf("%s was begun without a passphrase: remove it, or leave out --passphrase-file", partial)
	case passphrase == "":
		return backup.Wrapping{}, fmt.Errorf("%s was begun with a passphrase: name its file with --passphrase-file, or remove %[1]s", partial)
	}
	key, err := rootkey.NewPassphraseFile(passphrase, "").Open(ctx, h.Passphrase)
	if err != nil {
		return backup.Wrapping{}, fmt.Errorf("%s was begun with another passphrase: %w", partial, err)
	}
	return backup.Wrapping{Key: key, Params: h.Passphrase}, nil
}

func wipe(w backup.Wrapping) {
	if w.Key != nil {
		w.Key.Wipe()
	}
}

// storeSource is the data of a stopped server.
type storeSource struct{ m *backup.Maker }

func (s storeSource) begin(ctx context.Context, w backup.Wrapping) (*backup.Header, string, error) {
	b, err := s.m.Begin(ctx, time.Now(), w)
	if err != nil {
		return nil, "", err
	}
	return b.Header, b.Cursor, nil
}

func (s storeSource) read(ctx context.Context, h *backup.Header, cursor string, w backup.Wrapping) (*backup.Page, error) {
	return s.m.Read(ctx, h, cursor, w)
}

// serverSource is a server that runs. It may be started again meanwhile.
type serverSource struct {
	env *environment
	c   *client
}

// patience is how long a server that does not answer is waited for.
const patience = 2 * time.Minute

// call repeats a request while the server is away, since it changes nothing.
func (s *serverSource) call(ctx context.Context, operation string, in, out any) error {
	deadline := time.Now().Add(patience)
	pause := 500 * time.Millisecond
	for {
		err := s.c.call(ctx, operation, in, out)
		if err == nil || ctx.Err() != nil || !passing(err) || time.Now().After(deadline) {
			if refused, ok := errors.AsType[serviceError](err); ok && refused.code == "BackupExpiredException" {
				return fmt.Errorf("%w: %s", backup.ErrGone, refused.message)
			}
			return err
		}
		fmt.Fprintf(s.env.err, "%v; trying again\n", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		pause = min(2*pause, 10*time.Second)
	}
}

// withKey adds what the server needs to know of a derived key.
func withKey(in map[string]any, w backup.Wrapping) (map[string]any, func()) {
	if w.Key == nil {
		return in, func() {}
	}
	secret := w.Key.Secret()
	in["WrappingKey"], in["WrappingKeyId"] = secret.Bytes(), w.Key.ID().String()
	return in, secret.Wipe
}

func (s *serverSource) begin(ctx context.Context, w backup.Wrapping) (*backup.Header, string, error) {
	in, done := withKey(map[string]any{}, w)
	defer done()
	if w.Key != nil {
		in["WrappingParams"] = w.Params
	}
	var out struct {
		Header []byte
		Cursor string
	}
	// One attempt: nothing has been written yet that would be worth waiting for.
	if err := s.c.call(ctx, "BeginBackup", in, &out); err != nil {
		return nil, "", err
	}
	h, err := backup.ParseHeader(out.Header)
	return h, out.Cursor, err
}

func (s *serverSource) read(ctx context.Context, h *backup.Header, cursor string, w backup.Wrapping) (*backup.Page, error) {
	in, done := withKey(map[string]any{"BackupId": h.Backup, "Header": h.Bytes(), "Cursor": cursor}, w)
	defer done()
	var out struct {
		Frame          []byte
		Cursor         string
		Records, Bytes int64
	}
	if err := s.call(ctx, "ReadBackup", in, &out); err != nil {
		return nil, err
	}
	return &backup.Page{Frame: out.Frame, Cursor: out.Cursor, Records: out.Records, Bytes: out.Bytes}, nil
}

func newBackupVerify(env *environment) *cobra.Command {
	var passphrase string
	var o offline
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Check that a backup is whole and unchanged",
		Long: `Check that a backup is whole. With the key that opens it every byte is proved to be what
the server wrote: the passphrase (--passphrase-file), or the root key of a configuration
(--config, or --data-dir for a development server), whose data need not be there. Without
it only checksums are compared, which a damaged disk does not pass and a forger does.`,
		Example: `  arca backup verify arca.backup
  arca backup verify arca.backup --config /etc/arca/arca.toml`,
		Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := os.Open(args[0])
			if err != nil {
				return fmt.Errorf("open backup: %w", err)
			}
			defer f.Close()
			u, err := unlockFor(env, &o, passphrase)
			if err != nil {
				return err
			}
			return verifyBackup(cmd.Context(), env, f, u)
		},
	}
	passphraseFlag(cmd, &passphrase)
	o.add(cmd)
	cmd.Flag("data-dir").Usage = devFolder
	return cmd
}

// devFolder is the usage of --data-dir where it has no default.
const devFolder = "`folder` of a development server"

// unlockFor is what the flags of a command can open a backup with.
func unlockFor(env *environment, o *offline, passphrase string) (u backup.Unlock, err error) {
	if passphrase != "" {
		u.Passphrase = rootkey.NewPassphraseFile(passphrase, "")
	}
	if !o.given() {
		return u, nil
	}
	cfg, given, _, err := o.settings(env)
	if err != nil {
		return u, err
	}
	u.RootKey, err = app.NewRootKey(&cfg, given)
	return u, err
}

func verifyBackup(ctx context.Context, env *environment, f *os.File, u backup.Unlock) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("open backup: %w", err)
	}
	p := newProgress(env.err, "verifying", "", 0)
	p.bytes = info.Size()
	defer p.end()
	report := func(n int64) { p.show(0, n) }
	if u.RootKey == nil && u.Passphrase == nil {
		sum, err := backup.Inspect(f, report)
		if err != nil {
			return err
		}
		p.end()
		describe(env, sum)
		fmt.Fprintln(env.out, "whole, by its checksums; to prove that it is unchanged, name its key with --config or --passphrase-file")
		return nil
	}
	r, err := backup.NewReader(f)
	if err != nil {
		return err
	}
	key, err := r.Header().Open(ctx, u)
	if err != nil {
		return err
	}
	defer key.Wipe()
	sum, err := r.Verify(key, func(*backup.Contents) error { return ctx.Err() }, report)
	if err != nil {
		return interrupted(ctx, err)
	}
	p.end()
	describe(env, sum)
	fmt.Fprintf(env.out, "whole and unchanged: %d records open with this key\n", sum.Records)
	return nil
}

// describe prints what the header of a backup says.
func describe(env *environment, sum *backup.Summary) {
	h := sum.Header
	fmt.Fprintf(env.out, "backup %s of deployment %s\n", h.Backup, h.Deployment)
	fmt.Fprintf(env.out, "made %s by arca %s, revision %d, %d records, %s\n",
		h.Created.Format(time.RFC3339), h.Version, h.Revision, h.Records, mib(sum.FileBytes))
	if h.Root != nil {
		fmt.Fprintf(env.out, "opens with the root key %s (kind %s)\n", h.Root.KeyID(), h.Root.Kind)
	} else {
		fmt.Fprintln(env.out, "opens with a passphrase")
	}
}
