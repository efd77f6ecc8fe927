package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// maxPolicyBytes is more than any policy may have; the server says what is too long.
const maxPolicyBytes = 64 << 10

func newAccount(env *environment) *cobra.Command {
	var endpoint string
	cmd := &cobra.Command{
		Use:   "account",
		Short: "Make and list the accounts of a server, and limit them",
		Long: `Make and list the accounts of a server, and set the guardrail policy that limits
everybody in an account. All of it is for the root of the server's first account, the
management account. Its credentials come from the AWS environment variables or profile;
without them, those of a development server are used.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	endpointFlag(cmd, &endpoint)
	cmd.AddCommand(newAccountCreate(env, &endpoint), newAccountList(env, &endpoint), newAccountRootKey(env, &endpoint), newGuardrail(env, &endpoint))
	return cmd
}

// rootKey is what accounts and root keys are answered with, and printed as.
type rootKey struct {
	AccountID       string `json:"AccountId"`
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string `json:"SecretAccessKey"`
}

func newAccountCreate(env *environment, endpoint *string) *cobra.Command {
	return &cobra.Command{
		Use:   "create NAME",
		Short: "Make an account and print the credentials of its root",
		Long: `Make an account and print the credentials of its root as one JSON object. The secret
is shown this once; "arca account root-key" makes another.`,
		Example: `  arca account create payments
  arca account create payments > payments.json`,
		Args:              exactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			var out rootKey
			if err := ask(cmd.Context(), env, *endpoint, "CreateAccount", map[string]any{"Name": args[0]}, &out); err != nil {
				return err
			}
			return printJSON(env.out, out)
		},
	}
}

func newAccountRootKey(env *environment, endpoint *string) *cobra.Command {
	var replace bool
	cmd := &cobra.Command{
		Use:   "root-key ACCOUNT",
		Short: "Make a new access key for the root of an account",
		Long: `Make a new access key for the root of an account, given by name or id, and print it
as one JSON object. A root has two keys at most.`,
		Example: `  arca account root-key payments
  arca account root-key payments --replace`,
		Args:              exactArgs(1),
		ValidArgsFunction: accountNames(env, endpoint),
		RunE: func(cmd *cobra.Command, args []string) error {
			var out rootKey
			in := map[string]any{"Account": args[0], "ReplaceExisting": replace}
			if err := ask(cmd.Context(), env, *endpoint, "CreateRootAccessKey", in, &out); err != nil {
				return err
			}
			return printJSON(env.out, out)
		},
	}
	cmd.Flags().BoolVar(&replace, "replace", false, "delete the keys that the root has had until now")
	return cmd
}

// account is an account as the server lists it.
type account struct {
	AccountID    string  `json:"AccountId"`
	Name         string  `json:"Name"`
	CreatedDate  float64 `json:"CreatedDate"`
	Management   bool    `json:"Management"`
	HasGuardrail bool    `json:"HasGuardrail"`
}

// eachAccount visits all accounts, page by page.
func eachAccount(ctx context.Context, c *client, fn func(a account)) error {
	in := map[string]any{}
	for {
		var out struct {
			Accounts  []account
			NextToken string
		}
		if err := c.call(ctx, "ListAccounts", in, &out); err != nil {
			return err
		}
		for _, a := range out.Accounts {
			fn(a)
		}
		if out.NextToken == "" {
			return nil
		}
		in["NextToken"] = out.NextToken
	}
}

func newAccountList(env *environment, endpoint *string) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the accounts of the server",
		Example: `  arca account list
  arca account list --output json`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(cmd, output); err != nil {
				return err
			}
			c, err := newClient(cmd.Context(), *endpoint, env.getenv)
			if err != nil {
				return err
			}
			type row struct {
				AccountID    string `json:"AccountId"`
				Name         string `json:"Name"`
				CreatedDate  string `json:"CreatedDate"`
				Management   bool   `json:"Management"`
				HasGuardrail bool   `json:"HasGuardrail"`
			}
			rows := []row{}
			err = eachAccount(cmd.Context(), c, func(a account) {
				rows = append(rows, row{a.AccountID, a.Name, wireTime(a.CreatedDate), a.Management, a.HasGuardrail})
			})
			if err != nil {
				return err
			}
			if output == outputJSON {
				return printJSON(env.out, map[string]any{"Accounts": rows})
			}
			w := tabwriter.NewWriter(env.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "ID\tNAME\tCREATED\tGUARDRAIL\tNOTE")
			for _, r := range rows {
				guardrail, note := "no", ""
				if r.HasGuardrail {
					guardrail = "yes"
				}
				if r.Management {
					note = "the server's own account"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.AccountID, orDash(r.Name), r.CreatedDate, guardrail, note)
			}
			return w.Flush()
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func newGuardrail(env *environment, endpoint *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "guardrail",
		Short: "Show or change the policy that limits everybody in an account",
		Long: `Show or change the guardrail of an account: a policy that limits everybody in it, its
root included, as a service control policy does on AWS. It grants nothing. Whatever it
does not allow is denied, so beside its Deny statements it needs an Allow.`,
		Example: `  arca account guardrail put payments guardrail.json
  arca account guardrail show payments`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "put ACCOUNT FILE",
		Short: "Set the guardrail of an account from a file",
		Long: `Set the guardrail of an account, given by name or id, to the policy in a file ("-" for
standard input). It is in force from the next call on.`,
		Example: `  arca account guardrail put payments guardrail.json
  echo '{"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": "*", "Resource": "*"},
    {"Effect": "Deny", "Action": "secretsmanager:DeleteSecret", "Resource": "*"}]}' |
  arca account guardrail put payments -`,
		Args:              exactArgs(2),
		ValidArgsFunction: accountThenFile(env, endpoint),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := readPolicy(env, args[1])
			if err != nil {
				return err
			}
			in := map[string]any{"Account": args[0], "PolicyDocument": text}
			return ask(cmd.Context(), env, *endpoint, "PutAccountGuardrail", in, &struct{}{})
		},
	}, &cobra.Command{
		Use:               "show ACCOUNT",
		Short:             "Print the guardrail of an account",
		Example:           "  arca account guardrail show payments",
		Args:              exactArgs(1),
		ValidArgsFunction: accountNames(env, endpoint),
		RunE: func(cmd *cobra.Command, args []string) error {
			var out struct{ PolicyDocument string }
			if err := ask(cmd.Context(), env, *endpoint, "GetAccountGuardrail", map[string]any{"Account": args[0]}, &out); err != nil {
				return err
			}
			fmt.Fprintln(env.out, strings.TrimRight(out.PolicyDocument, "\n"))
			return nil
		},
	}, &cobra.Command{
		Use:               "delete ACCOUNT",
		Short:             "Take the guardrail of an account away",
		Example:           "  arca account guardrail delete payments",
		Args:              exactArgs(1),
		ValidArgsFunction: accountNames(env, endpoint),
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(cmd.Context(), env, *endpoint, "DeleteAccountGuardrail", map[string]any{"Account": args[0]}, &struct{}{})
		},
	})
	return cmd
}

// readPolicy reads a policy text from a file or, for "-", from standard input.
func readPolicy(env *environment, name string) (string, error) {
	var from io.Reader = env.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return "", fmt.Errorf("open policy: %w", err)
		}
		defer f.Close()
		from = f
	}
	raw, err := io.ReadAll(io.LimitReader(from, maxPolicyBytes+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("read policy: %w", err)
	case len(raw) > maxPolicyBytes:
		return "", fmt.Errorf("%s is longer than any policy may be", name)
	}
	return string(raw), nil
}

// ask calls one operation at the endpoint of a command.
func ask(ctx context.Context, env *environment, endpoint, operation string, in, out any) error {
	c, err := newClient(ctx, endpoint, env.getenv)
	if err != nil {
		return err
	}
	return c.call(ctx, operation, in, out)
}

const (
	outputText = "text"
	outputJSON = "json"
)

// outputFlag is the flag of commands that print for people or for programs.
func outputFlag(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVar(output, "output", outputText, "form of the answer: text, json")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{outputText, outputJSON}, cobra.ShellCompDirectiveNoFileComp))
}

func checkOutput(cmd *cobra.Command, output string) error {
	if output != outputText && output != outputJSON {
		return usageError{fmt.Errorf("--output %q is not text or json", output), cmd.CommandPath()}
	}
	return nil
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// completionTimeout bounds how long a shell waits for names from the server.
const completionTimeout = 2 * time.Second

// accountNames completes the first argument with the accounts of the server.
func accountNames(env *environment, endpoint *string) cobra.CompletionFunc {
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
		_ = eachAccount(ctx, c, func(a account) { // what came before an error is offered
			if a.Name != "" {
				names = append(names, a.Name)
			} else {
				names = append(names, a.AccountID)
			}
		})
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// accountThenFile completes an account and then the name of a file.
func accountThenFile(env *environment, endpoint *string) cobra.CompletionFunc {
	accounts := accountNames(env, endpoint)
	return func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) == 1 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return accounts(cmd, args, toComplete)
	}
}
