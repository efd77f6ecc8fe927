package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func newIAM(env *environment) *cobra.Command {
	var endpoint string
	cmd := &cobra.Command{
		Use:   "iam",
		Short: "Ask why somebody may do something, and who may",
		Long: `Ask a server why somebody may do something or may not, and who may.

Users, roles and policies themselves are made with any AWS client ("aws iam ...").`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	endpointFlag(cmd, &endpoint)
	cmd.AddCommand(newExplain(env, &endpoint), newWhoCan(env, &endpoint))
	return cmd
}

// explanation is the answer of ExplainAccess.
type explanation struct {
	Principal, Action, Resource string
	Decision, Reason            string
	Policy                      string `json:",omitempty"`
	Statement                   string `json:",omitempty"`
	Statements                  []consideredStatement
}

type consideredStatement struct {
	Layer, Policy string
	Number        int    `json:",omitempty"`
	Sid           string `json:",omitempty"`
	Line          int    `json:",omitempty"`
	Effect        string `json:",omitempty"`
	Matched       bool
	Decided       bool
	Why           string
}

func newExplain(env *environment, endpoint *string) *cobra.Command {
	var principal, action, resource, output string
	var given []string
	cmd := &cobra.Command{
		Use:   "explain --principal WHO --action ACTION --resource RESOURCE",
		Short: "Tell whether somebody may do something, and why",
		Long: `Tell whether a principal may do an action to a resource, and what each statement of
each policy that applies has to say about it.

A principal is an ARN, or user/NAME, role/NAME or root. A resource is an ARN or the
name of a secret; its policy and tags count. The request is thought of as having no
connection: where policies ask for an address or the like, give it with --context.

The answer is about this action alone. To read a secret under a customer's key takes
kms:Decrypt on that key besides: ask about that, too, with the ARN of the key.

The root of an account may ask about its own account, and whoever is allowed
arca:ExplainAccess there; the root of the server's first account about all.`,
		Example: `  arca iam explain --principal user/alice --action secretsmanager:GetSecretValue --resource MyApp/db
  arca iam explain --principal arn:aws:iam::000000000000:role/deploy \
    --action secretsmanager:PutSecretValue --resource MyApp/db \
    --context aws:SourceIp=192.0.2.10 --output json`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(cmd, output); err != nil {
				return err
			}
			for _, f := range [...]struct{ name, value string }{{"principal", principal}, {"action", action}, {"resource", resource}} {
				if f.value == "" {
					return usageError{fmt.Errorf("--%s is missing", f.name), cmd.CommandPath()}
				}
			}
			entries, err := contextEntries(given)
			if err != nil {
				return usageError{err, cmd.CommandPath()}
			}
			in := map[string]any{"Principal": principal, "Action": action, "Resource": resource, "Context": entries}
			var out explanation
			if err := ask(cmd.Context(), env, *endpoint, "ExplainAccess", in, &out); err != nil {
				return err
			}
			noteUnknown(env.err, out.Action, out.Resource)
			if output == outputJSON {
				return printJSON(env.out, out)
			}
			printExplanation(env.out, &out)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&principal, "principal", "", "`WHO`: an ARN, user/NAME, role/NAME or root")
	f.StringVar(&action, "action", "", "`ACTION`, as in secretsmanager:GetSecretValue")
	f.StringVar(&resource, "resource", "", "`RESOURCE`: an ARN, the name of a secret, or * for actions without one")
	f.StringArrayVar(&given, "context", nil, "`KEY=VALUE` of a condition key that the request has; may be repeated, also for further values")
	outputFlag(cmd, &output)
	for _, name := range []string{"principal", "resource", "context"} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
	_ = cmd.RegisterFlagCompletionFunc("action", completeAction)
	return cmd
}

// noteUnknown says when a question is about something that is not there: the answer is
// right, but seldom the one that was sought.
func noteUnknown(w io.Writer, action, resource string) {
	if !knownAction(action) {
		fmt.Fprintf(w, "arca: note: the server has no action %s\n", action)
	}
	switch {
	case strings.HasPrefix(strings.ToLower(action), "kms:") && strings.HasSuffix(resource, absentSecret):
		fmt.Fprintln(w, "arca: note: a key is known by its ARN or that of its alias; the answer is about a secret")
	case strings.HasSuffix(resource, absentSecret):
		fmt.Fprintln(w, "arca: note: there is no secret of that name; the answer is for one that would be made")
	case resource != "*" && !strings.HasPrefix(resource, "arn:"):
		fmt.Fprintf(w, "arca: note: %s is neither an ARN nor the name of a secret\n", resource)
	}
}

// absentSecret ends the ARN under which the server looks at a secret that is not there.
const absentSecret = "-??????"

// contextEntries collects KEY=VALUE arguments; a key that is repeated has several
// values.
func contextEntries(given []string) ([]map[string]any, error) {
	entries := []map[string]any{}
	at := make(map[string]int)
	for _, g := range given {
		key, value, ok := strings.Cut(g, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("--context %q is not of the form KEY=VALUE", g)
		}
		i, known := at[strings.ToLower(key)]
		if !known {
			i = len(entries)
			at[strings.ToLower(key)] = i
			entries = append(entries, map[string]any{"Key": key, "Values": []string{}})
		}
		entries[i]["Values"] = append(entries[i]["Values"].([]string), value)
	}
	return entries, nil
}

// printExplanation writes an explanation for people: the answer, then the statements
// policy by policy; a star marks the one that decided, a plus those that matched.
func printExplanation(w io.Writer, x *explanation) {
	fmt.Fprintf(w, "%s\n\nprincipal  %s\naction     %s\nresource   %s\n", x.Reason, x.Principal, x.Action, x.Resource)
	layer, policy := "", ""
	for i, s := range x.Statements {
		if i == 0 || s.Layer != layer || s.Policy != policy || s.Number <= 1 {
			layer, policy = s.Layer, s.Policy
			fmt.Fprintf(w, "\n%s: %s\n", layer, policy)
		}
		mark := " "
		switch {
		case s.Decided:
			mark = "*"
		case s.Matched:
			mark = "+"
		}
		if s.Number == 0 {
			fmt.Fprintf(w, "  %s %s\n", mark, s.Why)
			continue
		}
		name := fmt.Sprintf("statement %d", s.Number)
		if s.Sid != "" {
			name += " " + s.Sid
		}
		fmt.Fprintf(w, "  %s %s, %s: %s\n", mark, name, s.Effect, s.Why)
	}
}

// grant is one entry of WhoCan's answer.
type grant struct {
	Principal, Allowed string
	Policy             string `json:",omitempty"`
	Statement          string `json:",omitempty"`
	Reason             string
}

func newWhoCan(env *environment, endpoint *string) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "who-can ACTION RESOURCE",
		Short: "List who may do an action to a resource",
		Long: `List every root, user and role that may do an action to a resource, and whom the
resource's policy lets in. A resource is an ARN or the name of a secret.

The answer is about this action alone. To read a secret under a customer's key takes
kms:Decrypt on that key besides: ask about that, too, with the ARN of the key.

"yes" is for every request; "conditional" depends on the request, as told beside it.
The root of an account may ask about what its account owns, and whoever is allowed
arca:WhoCan there; principals of other accounts are shown one by one only to the root
of the server's first account.`,
		Example: `  arca iam who-can secretsmanager:GetSecretValue MyApp/db
  arca iam who-can secretsmanager:DeleteSecret MyApp/db --output json`,
		Args: exactArgs(2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return completeAction(cmd, args, toComplete)
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput(cmd, output); err != nil {
				return err
			}
			c, err := newClient(cmd.Context(), *endpoint, env.getenv)
			if err != nil {
				return err
			}
			all := struct {
				Action, Resource string
				Grants           []grant
			}{Grants: []grant{}}
			in := map[string]any{"Action": args[0], "Resource": args[1]}
			for {
				var out struct {
					Action, Resource, NextToken string
					Grants                      []grant
				}
				if err := c.call(cmd.Context(), "WhoCan", in, &out); err != nil {
					return err
				}
				all.Action, all.Resource = out.Action, out.Resource
				all.Grants = append(all.Grants, out.Grants...)
				if out.NextToken == "" {
					break
				}
				in["NextToken"] = out.NextToken
			}
			noteUnknown(env.err, all.Action, all.Resource)
			if output == outputJSON {
				return printJSON(env.out, all)
			}
			fmt.Fprintf(env.out, "%s on %s\n\n", all.Action, all.Resource)
			if len(all.Grants) == 0 {
				fmt.Fprintln(env.out, "nobody")
				return nil
			}
			w := tabwriter.NewWriter(env.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "PRINCIPAL\tALLOWED\tWHY")
			for _, g := range all.Grants {
				fmt.Fprintf(w, "%s\t%s\t%s\n", g.Principal, g.Allowed, g.Reason)
			}
			return w.Flush()
		},
	}
	outputFlag(cmd, &output)
	return cmd
}
