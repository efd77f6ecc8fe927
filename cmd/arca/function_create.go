package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"arca/internal/lambda"
	"arca/internal/rotator"
)

func newFunction(env *environment) *cobra.Command {
	var endpoint string
	cmd := &cobra.Command{
		Use:   "function",
		Short: "Make the functions that rotate secrets, and list them",
		Long: `Make the functions that rotate secrets, and list them.

Functions are those of the Lambda API: whatever is made here can be shown, changed and
deleted with any AWS client ("aws lambda ..."), which is also how functions with code of
your own are made.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	endpointFlag(cmd, &endpoint)
	cmd.AddCommand(newFunctionCreate(env, &endpoint), newFunctionList(env, &endpoint))
	return cmd
}

// functionSpec is what "arca function create" is told.
type functionSpec struct {
	name             string
	builtin, webhook string
	role             string
	secrets          []string
	superuserSecrets []string
	variables        []string
	timeoutSeconds   int
}

// The functions of the server's own and webhooks are told by their handlers; both have
// the runtime of programs.
const (
	builtinHandler = "arca.builtin/"
	webhookHandler = "arca.webhook"
	programRuntime = "provided.al2023"
)

func (f *functionSpec) check() error {
	switch {
	case (f.builtin == "") == (f.webhook == ""):
		return errors.New("name either a built-in function (--builtin) or a webhook (--webhook)")
	case f.builtin != "" && !rotator.Known(f.builtin):
		return fmt.Errorf("there is no built-in function %q; there are %s", f.builtin, strings.Join(rotator.Kinds(), ", "))
	case (f.role == "") == (len(f.secrets) == 0):
		return errors.New("give the function either a role that is there (--role) or one that is made for secrets (--secret)")
	case f.role != "" && len(f.superuserSecrets) > 0:
		return errors.New("--superuser-secret goes with --secret: a role that is there has its own permissions")
	}
	for _, v := range f.variables {
		if name, _, ok := strings.Cut(v, "="); !ok || name == "" {
			return fmt.Errorf("--env %q is not of the form NAME=VALUE", v)
		}
	}
	return nil
}

func newFunctionCreate(env *environment, endpoint *string) *cobra.Command {
	var f functionSpec
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a function that needs no code",
		Long: `Make a function that needs no code: one of those that the server brings along, or one
that sends every step to a server of yours. Secrets Manager is allowed to invoke it for
the secrets of its account.

With --secret a role is made for it, under its name, that may rotate these secrets and
nothing else; for alternating users it has to read the secret of the superuser, too
(--superuser-secret). Where secrets are under a customer's key, let the role use that.

The built-in functions:
  ` + strings.Join(rotator.Kinds(), "\n  ") + `

A webhook is an HTTPS URL. Requests to it are signed with a secret of at least ` + fmt.Sprint(lambda.MinWebhookSecret) + `
characters; unless --env ` + lambda.WebhookSecret + `=... gives one, it is made and printed.`,
		Example: `  arca function create rotate-db --builtin SecretsManagerRDSPostgreSQLRotationSingleUser --secret MyApp/db
  arca function create rotate-db --builtin SecretsManagerRDSMariaDBRotationMultiUser \
    --secret MyApp/db --superuser-secret Admin/db
  arca function create rotate-api --webhook https://rotate.example.com/ \
    --role arn:aws:iam::000000000000:role/rotate-api`,
		Args:              exactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.name = args[0]
			if err := f.check(); err != nil {
				return usageError{err, cmd.CommandPath()}
			}
			c, err := newClient(cmd.Context(), *endpoint, env.getenv)
			if err != nil {
				return err
			}
			return createFunction(cmd.Context(), env, c, &f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.builtin, "builtin", "", "`NAME` of a function that the server brings along")
	flags.StringVar(&f.webhook, "webhook", "", "HTTPS `URL` that every step is sent to")
	flags.StringVar(&f.role, "role", "", "`ARN` of the role that the function acts as")
	flags.StringSliceVar(&f.secrets, "secret", nil, "`SECRET` that a new role may rotate; may be repeated")
	flags.StringSliceVar(&f.superuserSecrets, "superuser-secret", nil, "`SECRET` that the new role may read; may be repeated")
	flags.StringArrayVar(&f.variables, "env", nil, "`NAME=VALUE` of the function's environment; may be repeated")
	flags.IntVar(&f.timeoutSeconds, "timeout", 30, "`seconds` that a step may take, 900 at most")
	_ = cmd.RegisterFlagCompletionFunc("builtin", cobra.FixedCompletions(rotator.Kinds(), cobra.ShellCompDirectiveNoFileComp))
	for _, name := range []string{"webhook", "role", "secret", "superuser-secret", "env", "timeout"} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
	return cmd
}

// undo takes back what was made before a step failed, the last thing first. What cannot
// be taken back is named in the error.
type undo []struct {
	what string
	back func() error
}

func (u *undo) made(what string, back func() error) {
	*u = append(*u, struct {
		what string
		back func() error
	}{what, back})
}

func (u undo) all(err error) error {
	for _, step := range slices.Backward(u) {
		if berr := step.back(); berr != nil {
			err = fmt.Errorf("%w\n%s is left behind: %w", err, step.what, berr)
		}
	}
	return err
}

// createFunction makes the function and what it needs. Either all of it is there at the
// end, or nothing is.
func createFunction(ctx context.Context, env *environment, c *client, f *functionSpec) error {
	variables := make(map[string]string)
	for _, v := range f.variables {
		name, value, _ := strings.Cut(v, "=") // check has seen to the form
		variables[name] = value
	}
	handler, drawn := builtinHandler+f.builtin, ""
	if f.webhook != "" {
		handler = webhookHandler
		variables[lambda.WebhookURL] = f.webhook
		if _, given := variables[lambda.WebhookSecret]; !given {
			drawn = rand.Text() + rand.Text()
			variables[lambda.WebhookSecret] = drawn
		}
	}
	var u undo
	// What was made is taken back even when the command was interrupted.
	back := context.WithoutCancel(ctx)
	role := f.role
	if role == "" {
		var err error
		if role, err = createRole(ctx, back, c, f, &u); err != nil {
			return u.all(err)
		}
	}
	var made struct{ FunctionArn string }
	err := c.lambda(ctx, http.MethodPost, "/2015-03-31/functions", map[string]any{
		"FunctionName": f.name, "Runtime": programRuntime, "Handler": handler, "Role": role, "Code": struct{}{},
		"Timeout": f.timeoutSeconds, "Environment": map[string]any{"Variables": variables},
	}, &made)
	if err != nil {
		return u.all(err)
	}
	path := "/2015-03-31/functions/" + url.PathEscape(f.name)
	u.made("function "+f.name, func() error { return c.lambda(back, http.MethodDelete, path, nil, nil) })
	account := strings.Split(made.FunctionArn+":::::", ":")[4]
	err = c.lambda(ctx, http.MethodPost, path+"/policy", map[string]any{
		"StatementId": "SecretsManager", "Action": "lambda:InvokeFunction",
		"Principal": "secretsmanager.amazonaws.com", "SourceAccount": account,
	}, nil)
	if err != nil {
		return u.all(fmt.Errorf("let Secrets Manager invoke the function: %w", err))
	}
	fmt.Fprintln(env.out, made.FunctionArn)
	if drawn != "" {
		fmt.Fprintf(env.err, "arca: requests are signed with %s; the server behind the URL needs it\n", drawn)
	}
	return nil
}

// createRole makes a role for a function, which may rotate the secrets of f.
func createRole(ctx, back context.Context, c *client, f *functionSpec, u *undo) (string, error) {
	arns := func(names []string) (found []string, err error) {
		for _, name := range names {
			var out struct{ ARN string }
			if err := c.callService(ctx, "secretsmanager", "DescribeSecret", map[string]any{"SecretId": name}, &out); err != nil {
				return nil, fmt.Errorf("find secret %s: %w", name, err)
			}
			found = append(found, out.ARN)
		}
		return found, nil
	}
	rotated, err := arns(f.secrets)
	if err != nil {
		return "", err
	}
	read, err := arns(f.superuserSecrets)
	if err != nil {
		return "", err
	}
	type statement struct {
		Sid       string `json:",omitempty"`
		Effect    string
		Principal any `json:",omitempty"`
		Action    []string
		Resource  any `json:",omitempty"`
	}
	document := func(statements ...statement) string {
		text, _ := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": statements}) // strings and slices of them
		return string(text)
	}
	var out struct {
		ARN string `xml:"CreateRoleResult>Role>Arn"`
	}
	err = c.iam(ctx, url.Values{"Action": {"CreateRole"}, "RoleName": {f.name}, "Description": {"For the function " + f.name + " to act as"},
		"AssumeRolePolicyDocument": {document(statement{
			Effect: "Allow", Principal: map[string]string{"Service": "lambda.amazonaws.com"}, Action: []string{"sts:AssumeRole"},
		})},
	}, &out)
	if refused, ok := errors.AsType[serviceError](err); ok && refused.code == "EntityAlreadyExists" {
		return "", fmt.Errorf("%w\nname it with --role if it is meant for the function", err)
	}
	if err != nil {
		return "", err
	}
	u.made("role "+f.name, func() error {
		return c.iam(back, url.Values{"Action": {"DeleteRole"}, "RoleName": {f.name}}, nil)
	})
	statements := []statement{
		{Sid: "Rotate", Effect: "Allow", Resource: rotated, Action: []string{
			"secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage",
		}},
		{Sid: "DrawPasswords", Effect: "Allow", Resource: "*", Action: []string{"secretsmanager:GetRandomPassword"}},
	}
	if len(read) > 0 {
		statements = append(statements, statement{Sid: "ReadSuperusers", Effect: "Allow", Resource: read, Action: []string{"secretsmanager:GetSecretValue"}})
	}
	const policy = "rotate"
	err = c.iam(ctx, url.Values{"Action": {"PutRolePolicy"}, "RoleName": {f.name}, "PolicyName": {policy}, "PolicyDocument": {document(statements...)}}, nil)
	if err != nil {
		return "", err
	}
	u.made("policy of role "+f.name, func() error {
		return c.iam(back, url.Values{"Action": {"DeleteRolePolicy"}, "RoleName": {f.name}, "PolicyName": {policy}}, nil)
	})
	return out.ARN, nil
}

// lambda calls an operation of the Lambda API, which is told by method and path. in and
// out may be nil.
func (c *client) lambda(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	header := http.Header{}
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		header.Set("Content-Type", "application/json")
	}
	resp, answer, err := c.send(ctx, "lambda", method, path, header, body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 == 2 {
		if out == nil {
			return nil
		}
		return json.Unmarshal(answer, out)
	}
	var e struct{ Message string }
	_ = json.Unmarshal(answer, &e) // the code says enough without
	code, _, _ := strings.Cut(resp.Header.Get("X-Amzn-Errortype"), ":")
	return c.refusal(resp, answer, code, e.Message)
}

// iam calls an operation of the IAM API. out may be nil.
func (c *client) iam(ctx context.Context, form url.Values, out any) error {
	form.Set("Version", "2010-05-08")
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	resp, answer, err := c.send(ctx, "iam", http.MethodPost, "/", header, []byte(form.Encode()))
	if err != nil {
		return err
	}
	if resp.StatusCode == http.StatusOK {
		if out == nil {
			return nil
		}
		return xml.Unmarshal(answer, out)
	}
	var e struct {
		Code    string `xml:"Error>Code"`
		Message string `xml:"Error>Message"`
	}
	_ = xml.Unmarshal(answer, &e) // what is not of that form has no code
	return c.refusal(resp, answer, e.Code, e.Message)
}

// listedFunction is a function in a list.
type listedFunction struct {
	FunctionName, FunctionArn string
	Runtime, Handler, Role    string
	Timeout                   int
	LastModified              string
}

// kind says what runs a function.
func (f *listedFunction) kind() string {
	if name, ok := strings.CutPrefix(f.Handler, builtinHandler); ok {
		return name
	}
	if f.Handler == webhookHandler {
		return "webhook"
	}
	return f.Runtime
}

func newFunctionList(env *environment, endpoint *string) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the functions of the account, and the roles they act as",
		Example: `  arca function list
  arca function list --output json`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(cmd, output); err != nil {
				return err
			}
			c, err := newClient(cmd.Context(), *endpoint, env.getenv)
			if err != nil {
				return err
			}
			functions := []listedFunction{}
			query := ""
			for {
				var page struct {
					Functions  []listedFunction
					NextMarker string
				}
				if err := c.lambda(cmd.Context(), http.MethodGet, "/2015-03-31/functions"+query, nil, &page); err != nil {
					return err
				}
				functions = append(functions, page.Functions...)
				if page.NextMarker == "" {
					break
				}
				query = "?Marker=" + url.QueryEscape(page.NextMarker)
			}
			if output == outputJSON {
				return printJSON(env.out, map[string]any{"Functions": functions})
			}
			w := tabwriter.NewWriter(env.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tRUNS\tROLE\tSECONDS\tCHANGED")
			for _, f := range functions {
				_, role, _ := strings.Cut(f.Role, ":role/")
				fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", f.FunctionName, f.kind(), role, f.Timeout, f.LastModified)
			}
			return w.Flush()
		},
	}
	outputFlag(cmd, &output)
	return cmd
}
