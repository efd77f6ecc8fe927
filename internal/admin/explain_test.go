package admin_test

import (
	"strings"
	"testing"

	"arca/internal/api/arcaapi"
	"arca/internal/call"
)

func explain(principal, action, resource string) *arcaapi.ExplainAccessInput {
	return &arcaapi.ExplainAccessInput{Principal: principal, Action: action, Resource: resource}
}

func TestExplainAccess(t *testing.T) {
	b := newBed(t, false)
	b.user(t, root, "alice", `{"Version":"2012-10-17","Statement":[
		{"Sid":"Reads","Effect":"Allow","Action":"secretsmanager:Get*","Resource":"*"},
		{"Effect":"Deny","Action":"secretsmanager:*","Resource":"*","Condition":{"StringEquals":{"secretsmanager:VersionStage":"AWSPREVIOUS"}}}]}`)
	in := explain("user/alice", "secretsmanager:GetSecretValue", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:x-abcdef")
	out := must[arcaapi.ExplainAccessOutput](t, b, arcaapi.OpExplainAccess, in, root)
	if *out.Decision != "allowed" || *out.Principal != "arn:aws:iam::123456789012:user/alice" || *out.Statement != "Reads" ||
		*out.Policy != "inline policy own of user alice" || len(out.Statements) != 2 {
		t.Errorf("%s for %s by %s of %s, %d statements", *out.Decision, *out.Principal, *out.Statement, *out.Policy, len(out.Statements))
	}
	first, second := out.Statements[0], out.Statements[1]
	if !*first.Matched || !*first.Decided || *first.Number != 1 || *first.Line != 2 || *first.Sid != "Reads" || *first.Effect != "Allow" {
		t.Errorf("first statement: %+v", first)
	}
	if *second.Matched || *second.Decided || !strings.Contains(*second.Why, "the request has no secretsmanager:VersionStage") || second.Sid != nil {
		t.Errorf("second statement: %s", *second.Why)
	}
	in.Context = []arcaapi.ContextEntry{{Key: "secretsmanager:VersionStage", Values: []string{"AWSPREVIOUS"}}}
	if out := must[arcaapi.ExplainAccessOutput](t, b, arcaapi.OpExplainAccess, in, root); *out.Decision != "explicitDeny" || *out.Statement != "2" {
		t.Errorf("with a context: %s by %s", *out.Decision, *out.Statement)
	}
	in.Action = "secretsmanager:PutSecretValue"
	in.Context = nil
	if out := must[arcaapi.ExplainAccessOutput](t, b, arcaapi.OpExplainAccess, in, root); *out.Decision != "implicitDeny" || out.Policy != nil || out.Statement != nil {
		t.Errorf("another action: %s", *out.Decision)
	}
	for name, tt := range map[string]struct {
		in   *arcaapi.ExplainAccessInput
		want string
	}{
		"principal":         {explain("alice", "a:B", "*"), `InvalidParameterException: The principal "alice" is not an ARN of a user`},
		"unknown principal": {explain("user/bob", "a:B", "*"), "NotFoundException: There is no principal user/bob."},
		"unknown account":   {explain("999999999999", "a:B", "*"), "NotFoundException: There is no principal 999999999999."},
		"action":            {explain("user/alice", "a:*", "*"), `InvalidParameterException: The action "a:*" is not of the form service:Name, without wildcards.`},
		"no action":         {explain("user/alice", "GetSecretValue", "*"), "InvalidParameterException: The action"},
	} {
		if got := b.refused(t, arcaapi.OpExplainAccess, tt.in, root); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

// Who may ask, about whom and what.
func TestAskingAboutAccess(t *testing.T) {
	b := newBed(t, false)
	tenant := b.account(t, "tenant")
	plain := b.user(t, tenant, "plain", `{"Statement":{"Effect":"Allow","Action":"secretsmanager:*","Resource":"*"}}`)
	asker := b.user(t, tenant, "asker", `{"Statement":{"Effect":"Allow","Action":["arca:ExplainAccess","arca:WhoCan"],"Resource":"*"}}`)
	ours := "arn:aws:secretsmanager:eu-west-1:" + management + ":secret:x-abcdef"
	theirs := "arn:aws:secretsmanager:eu-west-1:" + tenant.Account + ":secret:x-abcdef"
	const about = "because only the root of the management account may ask about another account"
	for _, tt := range []struct {
		name                string
		caller              call.Principal
		principal, resource string
		want                string
	}{
		{"management", root, plain.ARN, theirs, ""},
		{"management across", root, plain.ARN, ours, ""},
		{"root", tenant, plain.ARN, theirs, ""},
		{"user with permission", asker, plain.ARN, theirs, ""},
		{"user without", plain, plain.ARN, theirs, "because no identity-based policy allows the arca:ExplainAccess action"},
		{"user without, nobody", plain, "user/nobody", theirs, "because no identity-based policy allows the arca:ExplainAccess action"},
		{"root about another principal", tenant, "arn:aws:iam::" + management + ":root", theirs, about},
		{"root about nobody elsewhere", tenant, "arn:aws:iam::" + management + ":user/nobody", theirs, about},
		{"root about another secret", tenant, plain.ARN, ours, about},
		{"user about another secret", asker, plain.ARN, ours, about},
	} {
		_, err := b.call(arcaapi.OpExplainAccess, explain(tt.principal, "secretsmanager:GetSecretValue", tt.resource), tt.caller)
		if got := ending(err, tt.want); got != "" {
			t.Errorf("ExplainAccess, %s: %s, want %s", tt.name, got, tt.want)
		}
		if strings.Contains(tt.name, "principal") || strings.Contains(tt.name, "nobody") {
			continue
		}
		_, err = b.call(arcaapi.OpWhoCan, &arcaapi.WhoCanInput{Action: "secretsmanager:GetSecretValue", Resource: tt.resource}, tt.caller)
		if got := ending(err, strings.ReplaceAll(tt.want, "ExplainAccess", "WhoCan")); got != "" {
			t.Errorf("WhoCan, %s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// ending is "" when an error ends as wanted, "" meaning that there is none.
func ending(err error, want string) string {
	switch {
	case err == nil && want == "":
		return ""
	case err == nil:
		return "no error"
	case want == "" || !strings.HasSuffix(err.Error(), want):
		return err.Error()
	}
	return ""
}

func TestWhoCan(t *testing.T) {
	b := newBed(t, false)
	b.user(t, root, "a", `{"Statement":{"Effect":"Allow","Action":"secretsmanager:*","Resource":"*"}}`)
	b.user(t, root, "b", `{"Statement":{"Effect":"Allow","Action":"secretsmanager:*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}}}`)
	b.user(t, root, "c", `{"Statement":{"Effect":"Allow","Action":"iam:*","Resource":"*"}}`)
	in := &arcaapi.WhoCanInput{Action: "secretsmanager:GetSecretValue", Resource: "arn:aws:secretsmanager:eu-west-1:" + management + ":secret:x-abcdef", MaxResults: new(int32(1))}
	var got []string
	for {
		out := must[arcaapi.WhoCanOutput](t, b, arcaapi.OpWhoCan, in, root)
		for _, g := range out.Grants {
			s := (*g.Principal)[len("arn:aws:iam::123456789012:"):] + " " + *g.Allowed + " " + *g.Reason
			got = append(got, s)
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			break
		}
	}
	want := []string{
		"root yes allowed, since the root of an account needs no identity-based policy",
		`user/a yes allowed by statement 1 of the identity-based policy "inline policy own of user a"`,
		"user/b conditional if IpAddress aws:SourceIp 10.0.0.0/8",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// A token is good for its question only.
	in = &arcaapi.WhoCanInput{Action: in.Action, Resource: in.Resource, MaxResults: new(int32(1))}
	token := must[arcaapi.WhoCanOutput](t, b, arcaapi.OpWhoCan, in, root).NextToken
	in.Action, in.NextToken = "secretsmanager:PutSecretValue", token
	if got := b.refused(t, arcaapi.OpWhoCan, in, root); got != "InvalidParameterException: The NextToken value is invalid." {
		t.Errorf("another question: %s", got)
	}
	in.Action = "x"
	if got := b.refused(t, arcaapi.OpWhoCan, in, root); !strings.HasPrefix(got, "InvalidParameterException: The action") {
		t.Errorf("no action: %s", got)
	}
}
