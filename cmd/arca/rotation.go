package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"
)

// rotationSummary is how the rotation of one secret is doing.
type rotationSummary struct {
	ARN               string  `json:"ARN"`
	Name              string  `json:"Name"`
	RotationEnabled   bool    `json:"RotationEnabled"`
	RotationLambdaARN string  `json:"RotationLambdaARN"`
	Schedule          string  `json:"Schedule"`
	LastRotatedDate   float64 `json:"LastRotatedDate"`
	NextRotationDate  float64 `json:"NextRotationDate"`
	State             string  `json:"State"`
	Step              string  `json:"Step"`
	Failures          int     `json:"Failures"`
	NextTryDate       float64 `json:"NextTryDate"`
	LastError         string  `json:"LastError"`
}

// rotationStep is one run of a step.
type rotationStep struct {
	Step           string  `json:"Step"`
	StartedDate    float64 `json:"StartedDate"`
	DurationMillis int64   `json:"DurationMillis"`
	Error          string  `json:"Error,omitempty"`
	Output         string  `json:"Output,omitempty"`
	RequestID      string  `json:"RequestId,omitempty"`
}

// rotationRecord is one rotation, under way or ended.
type rotationRecord struct {
	RotationID        string         `json:"RotationId"`
	Kind              string         `json:"Kind"`
	VersionID         string         `json:"VersionId"`
	RotationLambdaARN string         `json:"RotationLambdaARN"`
	StartedDate       float64        `json:"StartedDate"`
	StartedBy         string         `json:"StartedBy,omitempty"`
	EndedDate         float64        `json:"EndedDate,omitempty"`
	Outcome           string         `json:"Outcome,omitempty"`
	Steps             []rotationStep `json:"Steps"`
}

type rotationAnswer struct {
	Summary   rotationSummary  `json:"Summary"`
	Current   *rotationRecord  `json:"Current,omitempty"`
	Rotations []rotationRecord `json:"Rotations"`
}

// The states of rotations that commands wait for or explain, as the server names them.
const (
	rotationRunning   = "running"
	rotationWaiting   = "waiting"
	rotationFailing   = "failing"
	rotationRehearsed = "rehearsed"
)

func newRotation(env *environment) *cobra.Command {
	var endpoint string
	cmd := &cobra.Command{
		Use:   "rotation",
		Short: "Watch the rotation of secrets, and help it along",
		Long: `Watch the rotation of secrets, see why one fails, and help it along.

Rotation itself is set up and started with any AWS client ("aws secretsmanager
rotate-secret"). These commands need the permissions of what they show or change:
secretsmanager:DescribeSecret and ListSecrets to look, RotateSecret and
lambda:InvokeFunction to retry or rehearse, UpdateSecretVersionStage to roll back.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	endpointFlag(cmd, &endpoint)
	cmd.AddCommand(
		newRotationList(env, &endpoint), newRotationShow(env, &endpoint),
		newRotationRetry(env, &endpoint), newRotationRehearse(env, &endpoint),
		newRotationDrop(env, &endpoint), newRotationRollback(env, &endpoint),
	)
	return cmd
}

// eachRotation visits what ListRotations lists, page by page.
func eachRotation(ctx context.Context, c *client, failing bool, fn func(rotationSummary)) error {
	in := map[string]any{"MaxResults": 100, "Failing": failing}
	for {
		var out struct {
			Rotations []rotationSummary
			NextToken string
		}
		if err := c.call(ctx, "ListRotations", in, &out); err != nil {
			return err
		}
		for _, r := range out.Rotations {
			fn(r)
		}
		if out.NextToken == "" {
			return nil
		}
		in["NextToken"] = out.NextToken
	}
}

func newRotationList(env *environment, endpoint *string) *cobra.Command {
	var failing bool
	var output string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the secrets that rotate, and how they are doing",
		Example: `  arca rotation list
  arca rotation list --failing`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(cmd, output); err != nil {
				return err
			}
			c, err := newClient(cmd.Context(), *endpoint, env.getenv)
			if err != nil {
				return err
			}
			rows := []rotationSummary{}
			if err := eachRotation(cmd.Context(), c, failing, func(r rotationSummary) { rows = append(rows, r) }); err != nil {
				return err
			}
			if output == outputJSON {
				return printJSON(env.out, map[string]any{"Rotations": rows})
			}
			w := tabwriter.NewWriter(env.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "SECRET\tSTATE\tSCHEDULE\tLAST ROTATED\tNEXT BY\tLAST ERROR")
			for _, r := range rows {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, stateText(r), orDash(r.Schedule), orDash(dateText(r.LastRotatedDate)), orDash(dateText(r.NextRotationDate)), orDash(printable(r.LastError)))
			}
			return w.Flush()
		},
	}
	cmd.Flags().BoolVar(&failing, "failing", false, "only those whose last step failed")
	outputFlag(cmd, &output)
	return cmd
}

// dateText is a date of an answer; empty when there is none.
func dateText(seconds float64) string {
	if seconds == 0 {
		return ""
	}
	return wireTime(seconds)
}

func stateText(r rotationSummary) string {
	switch r.State {
	case rotationFailing:
		if r.Failures == 1 {
			return fmt.Sprintf("failing at %s (1 failure)", r.Step)
		}
		return fmt.Sprintf("failing at %s (%d failures)", r.Step, r.Failures)
	case rotationRunning, rotationWaiting:
		return r.State + " " + r.Step
	}
	return r.State
}

func newRotationShow(env *environment, endpoint *string) *cobra.Command {
	var output string
	var all, wait bool
	cmd := &cobra.Command{
		Use:   "show SECRET",
		Short: "Show the last rotations of a secret, step by step",
		Long: `Show how the rotation of a secret is doing and how the last ones went: each step, how
long it took, and the end of what the function printed, with the values of the secret
left out.`,
		Example: `  arca rotation show MyApp/db
  arca rotation show MyApp/db --all --output json`,
		Args:              exactArgs(1),
		ValidArgsFunction: rotatingSecrets(env, endpoint),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput(cmd, output); err != nil {
				return err
			}
			c, err := newClient(cmd.Context(), *endpoint, env.getenv)
			if err != nil {
				return err
			}
			out, err := describeRotation(cmd.Context(), c, args[0], wait)
			if err != nil {
				return err
			}
			if !all {
				out.Rotations = out.Rotations[:min(1, len(out.Rotations))]
			}
			if output == outputJSON {
				return printJSON(env.out, out)
			}
			printRotations(env.out, out)
			return nil
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all rotations that are remembered, not the last one only")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until no step is due or running")
	outputFlag(cmd, &output)
	return cmd
}

func printRotations(w io.Writer, a *rotationAnswer) {
	s := &a.Summary
	fmt.Fprintf(w, "%s is %s\n", s.Name, stateText(*s))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "  function\t%s\n  schedule\t%s\n  last rotated\t%s\n  next rotation by\t%s\n",
		s.RotationLambdaARN, orDash(s.Schedule), orDash(dateText(s.LastRotatedDate)), orDash(dateText(s.NextRotationDate)))
	if s.State == rotationFailing {
		fmt.Fprintf(t, "  next try\t%s\n", dateText(s.NextTryDate))
	}
	_ = t.Flush() // to the same writer, whose errors nobody can do anything about
	if a.Current != nil {
		printRotation(w, a.Current)
	}
	for i := range a.Rotations {
		printRotation(w, &a.Rotations[i])
	}
	switch s.State {
	case rotationFailing:
		fmt.Fprintf(w, "\nwhen the cause is mended: arca rotation retry %s\n", s.Name)
	case rotationRehearsed:
		fmt.Fprintf(w, "\nthe new value is tested and waits: arca rotation retry %s finishes, arca rotation drop %s ends it\n", s.Name, s.Name)
	}
}

func printRotation(w io.Writer, r *rotationRecord) {
	outcome := r.Outcome
	if outcome == "" {
		outcome = "under way"
	}
	fmt.Fprintf(w, "\n%s of version %s: %s\n", r.Kind, r.VersionID, outcome)
	fmt.Fprintf(w, "  started %s by %s\n", dateText(r.StartedDate), orDash(r.StartedBy))
	for _, s := range r.Steps {
		mark := "ok"
		if s.Error != "" {
			mark = "FAILED"
		}
		fmt.Fprintf(w, "  %s  %-12s  %-6s  %s\n", dateText(s.StartedDate), s.Step, mark, time.Duration(s.DurationMillis)*time.Millisecond)
		for line := range strings.Lines(strings.TrimSpace(s.Output)) {
			fmt.Fprintf(w, "      %s\n", printable(strings.TrimRight(line, "\r\n")))
		}
	}
	if r.EndedDate != 0 {
		fmt.Fprintf(w, "  ended %s\n", dateText(r.EndedDate))
	}
}

// printable is what a function said, without what could steer a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// rotationChange is a command that changes the rotation of a secret.
func rotationChange(env *environment, endpoint *string, use, operation string, done func(name, version string) string) *cobra.Command {
	var wait bool
	cmd := &cobra.Command{
		Use:               use + " SECRET",
		Args:              exactArgs(1),
		ValidArgsFunction: rotatingSecrets(env, endpoint),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := newClient(cmd.Context(), *endpoint, env.getenv)
			if err != nil {
				return err
			}
			in := map[string]any{"SecretId": args[0]}
			switch operation {
			case "RehearseRotation":
				in["ClientRequestToken"] = strings.ToLower(rand.Text()) + "-rehearsal"
			case "RollBackRotation":
				in["ClientRequestToken"] = strings.ToLower(rand.Text()) + "-rollback"
			}
			var out struct{ Name, VersionID string }
			if err := c.call(cmd.Context(), operation, in, &out); err != nil {
				return err
			}
			fmt.Fprintln(env.out, done(out.Name, out.VersionID))
			if !wait {
				return nil
			}
			return awaitRotation(cmd.Context(), env, c, args[0])
		},
	}
	if operation == "RetryRotation" || operation == "RehearseRotation" {
		cmd.Flags().BoolVar(&wait, "wait", false, "wait until it has ended or a step fails, and show the steps")
	}
	return cmd
}

// rotationPoll is how often a command that waits looks again.
const rotationPoll = 300 * time.Millisecond

// describeRotation asks how the rotation of a secret is doing, again and again while
// steps are due or running if it is to wait.
func describeRotation(ctx context.Context, c *client, secret string, wait bool) (*rotationAnswer, error) {
	tick := time.NewTicker(rotationPoll)
	defer tick.Stop()
	for {
		var out rotationAnswer
		if err := c.call(ctx, "DescribeRotation", map[string]any{"SecretId": secret}, &out); err != nil {
			return nil, err
		}
		if state := out.Summary.State; !wait || state != rotationRunning && state != rotationWaiting {
			return &out, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}

// awaitRotation waits while steps of the rotation run and shows what came of them.
func awaitRotation(ctx context.Context, env *environment, c *client, secret string) error {
	out, err := describeRotation(ctx, c, secret, true)
	if err != nil {
		return err
	}
	out.Rotations = out.Rotations[:min(1, len(out.Rotations))]
	if out.Current != nil {
		out.Rotations = nil
	}
	printRotations(env.out, out)
	if out.Summary.State == rotationFailing {
		return fmt.Errorf("step %s failed: %s", out.Summary.Step, printable(out.Summary.LastError))
	}
	return nil
}

func newRotationRetry(env *environment, endpoint *string) *cobra.Command {
	cmd := rotationChange(env, endpoint, "retry", "RetryRotation", func(name, version string) string {
		return fmt.Sprintf("the rotation of %s goes on with version %s", name, version)
	})
	cmd.Short = "Let a rotation go on now"
	cmd.Long = `Let a rotation go on now, with the step that failed; a rehearsal goes on with
finishSecret, which makes the new value the current one. A version that an earlier
rotation has left pending is taken up from the first step.

Rotations that fail are tried again by themselves, after a minute, then two, four and so
on up to an hour.`
	cmd.Example = `  arca rotation retry MyApp/db
  arca rotation retry MyApp/db --wait`
	return cmd
}

func newRotationRehearse(env *environment, endpoint *string) *cobra.Command {
	cmd := rotationChange(env, endpoint, "rehearse", "RehearseRotation", func(name, version string) string {
		return fmt.Sprintf("the rotation of %s is rehearsed with version %s", name, version)
	})
	cmd.Short = "Run a rotation up to the test of the new value"
	cmd.Long = `Run a rotation up to and including testSecret, and stop before finishSecret: the current
value stays the current one. The new credential is made in the database, so a rehearsal
suits functions that alternate between two users; with a single user the current
password stops working at setSecret.

Afterwards "arca rotation retry" finishes the rotation, and "arca rotation drop" ends it.`
	cmd.Example = `  arca rotation rehearse MyApp/db --wait
  arca rotation retry MyApp/db`
	return cmd
}

func newRotationDrop(env *environment, endpoint *string) *cobra.Command {
	cmd := rotationChange(env, endpoint, "drop", "DropRotation", func(name, _ string) string {
		return fmt.Sprintf("no rotation of %s is under way any more", name)
	})
	cmd.Short = "End a rotation that is under way"
	cmd.Long = `End a rotation that is under way: its version loses AWSPENDING, and the schedule goes on
as before. What the function has changed in a database stays as it is.`
	cmd.Example = "  arca rotation drop MyApp/db"
	return cmd
}

func newRotationRollback(env *environment, endpoint *string) *cobra.Command {
	cmd := rotationChange(env, endpoint, "rollback", "RollBackRotation", func(name, version string) string {
		return fmt.Sprintf("version %s of %s is the current one again\ncheck that its credential still works: with a single user the database has the newer password", version, name)
	})
	cmd.Short = "Make the previous version the current one again"
	cmd.Long = `Make the version with AWSPREVIOUS the current one again. It changes labels, and no
database: where two users alternate the previous credential still works; with a single
user the database knows the newer password only.`
	cmd.Example = "  arca rotation rollback MyApp/db"
	return cmd
}

// rotatingSecrets completes the first argument with secrets that rotate.
func rotatingSecrets(env *environment, endpoint *string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		c, err := newClient(ctx, *endpoint, env.getenv)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []cobra.Completion
		_ = eachRotation(ctx, c, false, func(r rotationSummary) { names = append(names, r.Name) }) // what came before an error is offered
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
