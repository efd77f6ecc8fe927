// Command arca is a secrets manager that speaks the AWS API: server, development
// server and the tools around its data.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv)) }

// Exit codes, as scripts can rely on them.
const (
	exitOK       = 0
	exitFailure  = 1
	exitUsage    = 2
	exitProblems = 3 // fsck found problems
)

// environment is what commands take from outside besides their arguments.
type environment struct {
	in       io.Reader
	out, err io.Writer
	getenv   func(string) string
}

// errProblems ends a check that worked and found something.
var errProblems = errors.New("problems were found")

// usageError marks a mistake of the command line.
type usageError struct {
	error
	command string // whose help tells more; "" is arca itself
}

func run(args []string, in io.Reader, out, errOut io.Writer, getenv func(string) string) int {
	// A second signal ends the process at once, should a clean stop take too long.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	env := &environment{in: in, out: out, err: errOut, getenv: getenv}
	root := newRoot(env)
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errProblems):
		return exitProblems
	case errors.As(err, &usage):
		command := cmp.Or(usage.command, "arca")
		fmt.Fprintf(errOut, "arca: %v\nRun '%s --help' for usage.\n", err, command)
		return exitUsage
	default:
		fmt.Fprintf(errOut, "arca: %v\n", err)
		return exitFailure
	}
}

func newRoot(env *environment) *cobra.Command {
	root := &cobra.Command{
		Use:   "arca",
		Short: "A secrets manager you run yourself and talk to with AWS clients",
		Long: `Arca is a production secrets manager that speaks the AWS Secrets Manager API:
boto3, the AWS CLI, the AWS SDKs and Terraform work with it once their endpoint is set.

  arca dev       a development server on 127.0.0.1:4566, no configuration
  arca server    a production server, from a configuration file`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageError{err, cmd.CommandPath()} })
	root.AddCommand(newFunctionProcess(), newDev(env), newServer(env), newAccount(env), newIAM(env), newFunction(env), newRotation(env), newAudit(env), newCompliance(env), newKeyring(env), newRootKey(env), newErase(env), newBackup(env), newRestore(env), newFsck(env), newStore(env), newVersion(env))
	return root
}

// noArgs refuses what is neither a subcommand nor a flag, with our exit code.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s has no command %q", cmd.CommandPath(), args[0]), cmd.CommandPath()}
	}
	return nil
}

// exactArgs is cobra.ExactArgs with our exit code.
func exactArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if n == 0 {
			return noArgs(cmd, args)
		}
		if err := cobra.ExactArgs(n)(cmd, args); err != nil {
			return usageError{fmt.Errorf("%s takes %d argument(s), not %d", cmd.CommandPath(), n, len(args)), cmd.CommandPath()}
		}
		return nil
	}
}

// logFlags are the flags of commands that log.
type logFlags struct{ level, format string }

func (l *logFlags) add(cmd *cobra.Command, level string) {
	cmd.Flags().StringVar(&l.level, "log-level", level, "least severe log messages shown: debug, info, warn, error")
	cmd.Flags().StringVar(&l.format, "log-format", "text", "form of log messages on standard error: text, json")
	_ = cmd.RegisterFlagCompletionFunc("log-level", cobra.FixedCompletions([]string{"debug", "info", "warn", "error"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("log-format", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

func (l *logFlags) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.level)); err != nil {
		return nil, usageError{error: fmt.Errorf("--log-level %q is not debug, info, warn or error", l.level)}
	}
	opts := &slog.HandlerOptions{Level: level}
	switch l.format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, usageError{error: fmt.Errorf("--log-format %q is not text or json", l.format)}
}
