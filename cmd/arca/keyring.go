package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// keyringAnswer is what DescribeKeyring tells.
type keyringAnswer struct {
	DeploymentID string       `json:"DeploymentId"`
	RootKey      storeRootKey `json:"RootKey"`
	Keys         []keyringKey `json:"Keys"`
	Done         int64        `json:"Done"`
	Total        int64        `json:"Total"`
}

// storeRootKey is the key that a store is sealed under, not to be confused with the
// access key of an account's root.
type storeRootKey struct {
	Kind        string          `json:"Kind"`
	KeyID       string          `json:"KeyId"`
	CreatedDate float64         `json:"CreatedDate"`
	Former      []formerRootKey `json:"Former"`
}

type formerRootKey struct {
	Kind        string  `json:"Kind"`
	KeyID       string  `json:"KeyId"`
	RetiredDate float64 `json:"RetiredDate"`
	Place       string  `json:"Place"`
}

type keyringKey struct {
	Purpose     string  `json:"Purpose"`
	KeyID       string  `json:"KeyId"`
	Version     int     `json:"Version"`
	State       string  `json:"State"`
	CreatedDate float64 `json:"CreatedDate"`
	Records     *int64  `json:"Records"`
}

// The states of keys, as the server names them.
const keyRetired = "retired"

func newKeyring(env *environment) *cobra.Command {
	var endpoint string
	cmd := &cobra.Command{
		Use:   "keyring",
		Short: "Look at the keys a server seals under, and exchange the one for records",
		Long: `Look at the keys that a server seals under, and exchange the one for records. They are
kept beside the data, wrapped by the root key. All of it is for the root of the server's
first account.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	endpointFlag(cmd, &endpoint)
	cmd.AddCommand(newKeyringStatus(env, &endpoint), newKeyringRotate(env, &endpoint))
	return cmd
}

func newKeyringStatus(env *environment, endpoint *string) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "List the keys, and the records that are still under an old one",
		Example: `  arca keyring status
  arca keyring status --output json`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(cmd, output); err != nil {
				return err
			}
			var got keyringAnswer
			if err := ask(cmd.Context(), env, *endpoint, "DescribeKeyring", struct{}{}, &got); err != nil {
				return err
			}
			type row struct {
				Purpose     string `json:"Purpose"`
				KeyID       string `json:"KeyId"`
				Version     int    `json:"Version"`
				State       string `json:"State"`
				CreatedDate string `json:"CreatedDate"`
				Records     *int64 `json:"Records,omitempty"`
			}
			rows := []row{}
			for _, k := range got.Keys {
				rows = append(rows, row{k.Purpose, k.KeyID, k.Version, k.State, wireTime(k.CreatedDate), k.Records})
			}
			if output == outputJSON {
				return printJSON(env.out, map[string]any{"DeploymentId": got.DeploymentID, "Keys": rows})
			}
			w := tabwriter.NewWriter(env.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "PURPOSE\tID\tVERSION\tSTATE\tCREATED\tRECORDS LEFT")
			for _, r := range rows {
				left := "-"
				if r.State == keyRetired && r.Records != nil {
					left = fmt.Sprint(*r.Records)
				}
				fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\n", r.Purpose, r.KeyID, r.Version, r.State, r.CreatedDate, left)
			}
			return w.Flush()
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func newKeyringRotate(env *environment, endpoint *string) *cobra.Command {
	var wait bool
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Make a new key for records, and have all of them sealed anew",
		Long: `Make a new key for records. From then on it seals whatever is written; what lies in the
store is sealed anew in the background, while the server serves. When no record is left
under the old key, the server drops it. A restart interrupts nothing: what is left is
found again.

With --wait the command ends when the old key is gone.`,
		Example: `  arca keyring rotate
  arca keyring rotate --wait`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newClient(cmd.Context(), *endpoint, env.getenv)
			if err != nil {
				return err
			}
			var out struct{ Key keyringKey }
			if err := c.call(cmd.Context(), "RotateKeyring", struct{}{}, &out); err != nil {
				return err
			}
			fmt.Fprintf(env.out, "records are sealed under version %d of the storage key from now on (%s)\n", out.Key.Version, out.Key.KeyID)
			if !wait {
				fmt.Fprintln(env.out, `what is there is sealed anew in the background; "arca keyring status" shows how much is left`)
				return nil
			}
			if err := awaitReseal(cmd.Context(), env, c); err != nil {
				return err
			}
			fmt.Fprintln(env.out, "no record is left under an older key; older storage keys are gone")
			return nil
		},
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until no record is left under an older key")
	return cmd
}

// awaitReseal waits until no storage key is retired.
func awaitReseal(ctx context.Context, env *environment, c *client) error {
	w := newWatch(env)
	return w.until(ctx, func() (done bool, err error) {
		var got keyringAnswer
		if err := c.call(ctx, "DescribeKeyring", struct{}{}, &got); err != nil {
			return false, err
		}
		for _, k := range got.Keys {
			if k.Purpose == "storage" && k.State == keyRetired {
				w.say("sealing records anew", got.Done, got.Total)
				return false, nil
			}
		}
		return true, nil
	})
}

// watch polls a server and tells of its progress on standard error: when something new
// begins, and now and then in between.
type watch struct {
	env   *environment
	doing string
	said  time.Time
	lost  bool // the server does not answer
}

const (
	watchEvery    = 250 * time.Millisecond // at first
	watchSeldom   = 3 * time.Second        // in the end
	progressEvery = 10 * time.Second
)

func newWatch(env *environment) *watch { return &watch{env: env} }

// say tells what is being done, if that is news.
func (w *watch) say(doing string, done, total int64) {
	now := time.Now()
	if w.doing == doing && now.Sub(w.said) < progressEvery {
		return
	}
	w.doing, w.said = doing, now
	if total > 0 {
		fmt.Fprintf(w.env.err, "%s: %d of %d\n", doing, done, total)
		return
	}
	fmt.Fprintln(w.env.err, doing)
}

// until asks again and again until there is nothing left to wait for. A server that
// does not answer is waited for: what it does in the background it goes on with after
// a restart.
func (w *watch) until(ctx context.Context, ask func() (done bool, err error)) error {
	pause := watchEvery
	for {
		done, err := ask()
		switch {
		case isNoAnswer(err) && ctx.Err() == nil:
			if !w.lost {
				fmt.Fprintf(w.env.err, "%v; trying again\n", err)
			}
			w.lost = true
		case err != nil:
			return err
		case done:
			return nil
		default:
			w.lost = false
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the server goes on without this command: %w", ctx.Err())
		case <-time.After(pause):
		}
		pause = min(pause*5/4, watchSeldom)
	}
}
