package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// eraseAnswer is what DescribeErase tells.
type eraseAnswer struct {
	DeploymentID  string       `json:"DeploymentId"`
	RootKey       storeRootKey `json:"RootKey"`
	CannotDestroy string       `json:"CannotDestroy"`
	Erasure       *erasure     `json:"Erasure"`
}

type erasure struct {
	EraseID      string  `json:"EraseId"`
	Stage        string  `json:"Stage"`
	StartedDate  float64 `json:"StartedDate"`
	FinishedDate float64 `json:"FinishedDate"`
	Done         int64   `json:"Done"`
	Total        int64   `json:"Total"`
	Attempts     int     `json:"Attempts"`
	Problem      string  `json:"Problem"`
	Remains      string  `json:"Remains"`
}

// running reports whether the server still works on it.
func (e *erasure) running() bool { return e != nil && e.FinishedDate == 0 }

// shortIDLength is how much of a deployment's id has to be typed.
const shortIDLength = 8

func newErase(env *environment) *cobra.Command {
	var endpoint string
	var yes, handled bool
	cmd := &cobra.Command{
		Use:   "erase",
		Short: "Make what was deleted unrecoverable from the server's store",
		Long: `Make what was deleted until now unrecoverable from the server's store. Deleting alone
does not do that: a database keeps deleted records, sealed, in free pages and in its log.

The server seals all records under a new key, drops the old one, exchanges the root key,
destroys the former ones, and rewrites its files without what was deleted. At the end it
searches them for the old keys. It serves all the while, and goes on after a restart.

What it does not reach: backups and copies of the data that were made before, copies of
former root keys elsewhere, and names of secrets in the audit log. It is for the root of
the server's first account.`,
		Example: `  arca erase
  arca erase --yes
  arca erase status`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newClient(cmd.Context(), endpoint, env.getenv)
			if err != nil {
				return err
			}
			return erase(cmd.Context(), env, c, yes, handled)
		},
	}
	endpointFlag(cmd, &endpoint)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&handled, "former-root-key-handled", false, "go on although the server cannot destroy its former root key; you see to that")
	cmd.AddCommand(newEraseStatus(env, &endpoint))
	return cmd
}

// erase starts an erasure, or joins the one under way, and waits for its end.
func erase(ctx context.Context, env *environment, c *client, yes, handled bool) error {
	var before eraseAnswer
	if err := c.call(ctx, "DescribeErase", struct{}{}, &before); err != nil {
		return err
	}
	if before.Erasure.running() {
		fmt.Fprintf(env.out, "an erasure of %s is under way; waiting for its end\n", wireTime(before.Erasure.StartedDate))
	} else {
		if before.CannotDestroy != "" && !handled {
			return errors.New(before.CannotDestroy)
		}
		if err := confirm(env, &before, yes); err != nil {
			return err
		}
		in := map[string]any{"DeploymentId": before.DeploymentID, "FormerRootKeyHandled": handled}
		var started struct{ Erasure erasure }
		if err := c.call(ctx, "StartErase", in, &started); err != nil {
			return err
		}
	}
	return awaitErase(ctx, env, c)
}

// confirm says what will happen and has the operator name the data it will happen to.
func confirm(env *environment, a *eraseAnswer, yes bool) error {
	fmt.Fprintf(env.out, `This makes what was deleted from deployment %s unrecoverable from its store:
  1. all records are sealed under a new storage key, and the old key is dropped
  2. the root key (%s, %s) is exchanged%s
  3. the files of the store are rewritten without what was deleted, and searched

It does not reach backups and copies of the data made before: whoever has one, and the
root key or passphrase of that time, can still open it. Backups that were sealed under the
root key cannot be restored with the new one. The audit log keeps names, not values.
`, a.DeploymentID, a.RootKey.Kind, a.RootKey.KeyID, destroys(a))
	fate := "and destroyed with it"
	if a.CannotDestroy != "" {
		fate = "and destroyed with it unless it is yours"
	}
	for _, f := range a.RootKey.Former {
		fmt.Fprintf(env.out, "Set aside earlier, %s: %s\n", fate, f)
	}
	if yes {
		return nil
	}
	short := a.DeploymentID[:min(shortIDLength, len(a.DeploymentID))]
	fmt.Fprintf(env.out, "Type %s to go on: ", short)
	line, err := bufio.NewReader(io.LimitReader(env.in, 1024)).ReadString('\n')
	if err != nil && err != io.EOF {
		return fmt.Errorf("read the answer: %w", err)
	}
	if strings.TrimSpace(line) != short {
		return errors.New("that is not how the deployment's id begins; nothing was done")
	}
	return nil
}

func destroys(a *eraseAnswer) string {
	if a.CannotDestroy != "" {
		return " and the former one destroyed, but for what is yours:\n     " + a.CannotDestroy
	}
	return " and the former one destroyed"
}

func (f formerRootKey) String() string {
	text := fmt.Sprintf("%s %s, since %s", f.Kind, f.KeyID, wireTime(f.RetiredDate))
	if f.Place != "" {
		text += ", in " + f.Place
	}
	return text
}

// awaitErase follows an erasure to its end.
func awaitErase(ctx context.Context, env *environment, c *client) error {
	w := newWatch(env)
	var last eraseAnswer
	problem := ""
	err := w.until(ctx, func() (bool, error) {
		var got eraseAnswer
		if err := c.call(ctx, "DescribeErase", struct{}{}, &got); err != nil {
			return false, err
		}
		last = got
		if !got.Erasure.running() {
			return true, nil
		}
		w.say(got.Erasure.Stage, got.Erasure.Done, got.Erasure.Total)
		if got.Erasure.Problem != "" && got.Erasure.Problem != problem {
			fmt.Fprintf(env.err, "%s: %s; the server tries again\n", got.Erasure.Stage, got.Erasure.Problem)
		}
		problem = got.Erasure.Problem
		return false, nil
	})
	if err != nil {
		return err
	}
	if last.Erasure == nil {
		return errors.New("the server knows of no erasure")
	}
	printErasure(env, &last)
	return nil
}

func newEraseStatus(env *environment, endpoint *string) *cobra.Command {
	var output string
	var wait bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Tell how far the last erasure is",
		Example: `  arca erase status
  arca erase status --wait`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(cmd, output); err != nil {
				return err
			}
			c, err := newClient(cmd.Context(), *endpoint, env.getenv)
			if err != nil {
				return err
			}
			var got eraseAnswer
			if err := c.call(cmd.Context(), "DescribeErase", struct{}{}, &got); err != nil {
				return err
			}
			switch {
			case wait && got.Erasure.running():
				return awaitErase(cmd.Context(), env, c)
			case output == outputJSON:
				return printErasureJSON(env, &got)
			}
			printErasure(env, &got)
			return nil
		},
	}
	outputFlag(cmd, &output)
	cmd.Flags().BoolVar(&wait, "wait", false, "wait for the end of an erasure that is under way")
	return cmd
}

func printErasureJSON(env *environment, a *eraseAnswer) error {
	shown := map[string]any{"DeploymentId": a.DeploymentID}
	if e := a.Erasure; e != nil {
		of := map[string]any{
			"EraseId": e.EraseID, "Stage": e.Stage, "StartedDate": wireTime(e.StartedDate), "Done": e.Done, "Total": e.Total,
		}
		if !e.running() {
			of["FinishedDate"] = wireTime(e.FinishedDate)
		}
		if e.Problem != "" {
			of["Problem"], of["Attempts"] = e.Problem, e.Attempts
		}
		if e.Remains != "" {
			of["Remains"] = e.Remains
		}
		shown["Erasure"] = of
	}
	return printJSON(env.out, shown)
}

func printErasure(env *environment, a *eraseAnswer) {
	e := a.Erasure
	switch {
	case e == nil:
		fmt.Fprintln(env.out, "nothing was ever erased")
	case !e.running():
		fmt.Fprintf(env.out, "erased: what was deleted before %s is not in the store any more (ended %s)\n", wireTime(e.StartedDate), wireTime(e.FinishedDate))
		fmt.Fprintf(env.out, "the root key is now %s (%s): keep a copy of it where the backups are not\n", a.RootKey.KeyID, a.RootKey.Kind)
		if a.CannotDestroy != "" {
			fmt.Fprintln(env.out, "the former root key is yours to destroy")
		}
		if e.Remains != "" {
			fmt.Fprintf(env.out, "what remains: %s\n", e.Remains)
		}
	default:
		fmt.Fprintf(env.out, "under way since %s: %s", wireTime(e.StartedDate), e.Stage)
		if e.Total > 0 {
			fmt.Fprintf(env.out, ", %d of %d", e.Done, e.Total)
		}
		fmt.Fprintln(env.out)
		if e.Problem != "" {
			fmt.Fprintf(env.out, "what keeps it: %s\n", e.Problem)
		}
	}
}
