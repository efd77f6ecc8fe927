package access_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/google/go-cmp/cmp"

	"arca/conformance/identity"
)

// What belongs to Arca alone: guardrails, the server's own operations, settings.

// guardrail runs a command on the guardrail of an account.
func guardrail(k *identity.Kit, verb string, args ...string) (string, error) {
	out, err := k.OwnServer().Arca(k.Ctx(), append([]string{"account", "guardrail", verb}, args...)...)
	return string(out), err
}

// setGuardrail sets the guardrail of an account.
func setGuardrail(k *identity.Kit, account, text string) {
	k.T.Helper()
	file := filepath.Join(k.T.TempDir(), "guardrail.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		k.T.Fatal(err)
	}
	if _, err := guardrail(k, "put", account, file); err != nil {
		k.T.Fatal(err)
	}
}

// A guardrail limits everybody in an account, its root included, and nobody else.
func TestGuardrail(t *testing.T) {
	k := identity.New(t, shared)
	k.OwnServer()
	other, third := k.Other(), k.Other()
	name, arn := k.Secret(other.Caller, "s", "v")
	_, theirs := k.Secret(third.Caller, "s", "v")
	user := other.User("user", identity.Allow(actAll, "*"))
	role := other.Role("role", identity.Trust(other.Root()), identity.Allow(actAll, "*"))
	session := k.Assume(other.User("assumer", identity.Allow("sts:AssumeRole", "*")).Caller, role, "session")
	everybody := []*identity.Caller{other.Caller, user.Caller, session}

	allow := identity.Statement{Effect: "Allow", Action: "*", Resource: "*"}
	setGuardrail(k, other.ID, identity.Policy(allow, identity.Statement{Effect: "Deny", Action: actGet, Resource: "*"}))
	for _, who := range everybody {
		cannotRead(k, who, arn, identity.ByGuardrail)
		k.Must(nil, describe(k.Ctx(), who, name))
	}
	reads(k, third.Caller, theirs, "v")

	// What it does not allow is denied, whatever a resource policy says.
	setGuardrail(k, other.ID, identity.Allow([]string{actDescribe, actPolicy, "iam:*"}, "*"))
	k.Must(nil, putPolicy(k.Ctx(), other.Caller, arn, identity.Share(actGet, user.ARN)))
	for _, who := range everybody {
		cannotRead(k, who, arn, identity.NoGuardrail)
		k.Must(nil, describe(k.Ctx(), who, name))
	}
	// It limits the account's people elsewhere, too, and not others with its resources.
	k.Must(nil, putPolicy(k.Ctx(), third.Caller, theirs, identity.Share([]string{actDescribe, actTag}, other.Root())))
	k.Must(nil, describe(k.Ctx(), user.Caller, theirs))
	_, err := user.SM.TagResource(k.Ctx(), &secretsmanager.TagResourceInput{SecretId: &theirs, Tags: identity.SecretTags("a", "b")})
	identity.WantDenied(t, err, user.ARN, actTag, theirs, identity.NoGuardrail)
	k.Must(nil, putPolicy(k.Ctx(), other.Caller, arn, identity.Share(actTag, third.Root())))
	k.Must(third.SM.TagResource(k.Ctx(), &secretsmanager.TagResourceInput{SecretId: &arn, Tags: identity.SecretTags("a", "b")}))

	shown, err := guardrail(k, "show", other.ID)
	if err != nil || !strings.Contains(shown, actDescribe) {
		t.Errorf("guardrail show: %q, %v", shown, err)
	}
	if _, err := guardrail(k, "delete", other.ID); err != nil {
		t.Fatal(err)
	}
	k.Must(other.SM.DeleteResourcePolicy(k.Ctx(), &secretsmanager.DeleteResourcePolicyInput{SecretId: &arn}))
	for _, who := range everybody {
		reads(k, who, arn, "v")
	}
}

// A guardrail that is no policy is refused, and the old one stays.
func TestBadGuardrail(t *testing.T) {
	k := identity.New(t, shared)
	k.OwnServer()
	other := k.Other()
	setGuardrail(k, other.ID, identity.Allow("*", "*"))
	for _, text := range []string{"{", "{}", identity.Share(actGet, k.ID), strings.Replace(identity.Allow("*", "*"), "Allow", "Permit", 1)} {
		file := filepath.Join(t.TempDir(), "guardrail.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := guardrail(k, "put", other.ID, file); err == nil || !strings.Contains(err.Error(), "MalformedPolicyDocument") {
			t.Errorf("guardrail put %s: %v", text, err)
		}
	}
	k.Secret(other.Caller, "s", "v")
	if _, err := guardrail(k, "put", "999999999999", filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a guardrail for no account, from no file, is put")
	}
}

// The server's own operations are for the root of its first account alone.
func TestServerOperations(t *testing.T) {
	k := identity.New(t, shared)
	server := k.OwnServer()
	other := k.Other()
	admin := k.User("admin", identity.Allow("*", "*"))
	for _, who := range []*identity.Caller{other.Caller, admin.Caller} {
		creds, err := who.Config.Credentials.Retrieve(k.Ctx())
		if err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"account", "list"}, {"account", "create", "x" + identity.RandomHex(4)}, {"account", "guardrail", "delete", other.ID}, {"dev", "clock", "advance", "1h"}} {
			out, err := server.ArcaAs(k.Ctx(), creds, args...)
			if err == nil || !strings.Contains(err.Error(), "AccessDenied") {
				t.Errorf("%v as %s: %q, %v", args, who.ARN, out, err)
			}
		}
	}
	out, err := server.Arca(k.Ctx(), "account", "list")
	if err != nil || !strings.Contains(string(out), other.ID) || !strings.Contains(string(out), k.ID) {
		t.Errorf("account list: %s, %v", out, err)
	}
}

// With --explain-denials clients are told, too.
func TestExplainDenials(t *testing.T) {
	if shared.Server == nil {
		t.Skip("needs a server with a flag of its own")
	}
	t.Parallel()
	k := identity.NewSerial(t, shared.Server.Start(t, "--explain-denials").Target())
	_, arn := k.Secret(k.Caller, "s", "v")
	user := k.User("user")
	inline := user.Allow(identity.Policy(identity.Statement{Sid: "NotThis", Effect: "Deny", Action: actGet, Resource: "*"}))
	_, err := read(k.Ctx(), user.Caller, arn)
	identity.WantDenied(t, err, user.ARN, actGet, arn, identity.ByIdentity+" (inline policy "+inline+" of user "+user.Name+", statement NotThis)")
	cannot := describe(k.Ctx(), user.Caller, arn)
	identity.WantDenied(t, cannot, user.ARN, actDescribe, arn, identity.NoIdentity)
}

// With --list-only-describable a list shows what its reader may describe.
func TestListOnlyDescribable(t *testing.T) {
	if shared.Server == nil {
		t.Skip("needs a server with a flag of its own")
	}
	t.Parallel()
	server := shared.Server.Start(t, "--list-only-describable")
	k := identity.NewSerial(t, server.Target())
	_, red := k.Secret(k.Caller, "red", "v", "team", "red")
	_, blue := k.Secret(k.Caller, "blue", "v", "team", "blue")
	k.Secret(k.Caller, "green", "v", "team", "green")
	user := k.User("user",
		identity.Allow([]string{"secretsmanager:ListSecrets", "secretsmanager:BatchGetSecretValue", actGet}, "*"),
		identity.Allow(actDescribe, "*", identity.If("StringEquals", "aws:ResourceTag/team", "red")))
	list := func(as *identity.Caller) (arns []string) {
		t.Helper()
		pages := secretsmanager.NewListSecretsPaginator(as.SM, &secretsmanager.ListSecretsInput{MaxResults: aws.Int32(1)})
		for pages.HasMorePages() {
			page, err := pages.NextPage(k.Ctx())
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range page.SecretList {
				arns = append(arns, aws.ToString(s.ARN))
			}
		}
		return arns
	}
	if got := list(k.Caller); len(got) != 3 {
		t.Errorf("the root lists %q", got)
	}
	if diff := cmp.Diff([]string{red}, list(user.Caller)); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	k.Must(nil, putPolicy(k.Ctx(), k.Caller, blue, identity.Share(actDescribe, user.ARN)))
	if got := list(user.Caller); len(got) != 2 {
		t.Errorf("list = %q", got)
	}
	batch, err := user.SM.BatchGetSecretValue(k.Ctx(), &secretsmanager.BatchGetSecretValueInput{
		Filters: []smtypes.Filter{{Key: smtypes.FilterNameStringTypeName, Values: []string{k.Prefix}}},
	})
	if err != nil || len(batch.SecretValues) != 2 || len(batch.Errors) != 0 {
		t.Errorf("BatchGetSecretValue = %+v, %v", batch, err)
	}
	for _, d := range recordsOf(t, server, user.ARN) {
		if d.Arca.Denied != nil {
			t.Errorf("what a list leaves out is noted as a denial: %+v", d)
		}
	}
}
