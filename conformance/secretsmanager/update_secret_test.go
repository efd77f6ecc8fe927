package secretsmanager_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

func TestUpdateSecretMembers(t *testing.T) {
	k := newKit(t)
	name, arn := k.secret("s", "one")
	out := ask(t, "UpdateSecret", in{"SecretId": name, "Description": "d", "ClientRequestToken": token()})
	wantMembers(t, out, "ARN", "Name")
	if out["ARN"] != arn || out["Name"] != name {
		t.Errorf("answer = %v", out)
	}
	id := token()
	out = ask(t, "UpdateSecret", in{"SecretId": name, "SecretString": "two", "ClientRequestToken": id})
	wantMembers(t, out, "ARN", "Name", "VersionId")
	if out["VersionId"] != id {
		t.Errorf("VersionId = %v, want the token %s", out["VersionId"], id)
	}
	wantMembers(t, ask(t, "UpdateSecret", in{"SecretId": name, "ClientRequestToken": token()}), "ARN", "Name")
}

func TestUpdateSecretLabels(t *testing.T) {
	k := newKit(t)
	name := k.empty("s")
	ids := map[string]string{}
	update := func(version, value string) {
		t.Helper()
		out, err := k.UpdateSecret(k.ctx(), &secretsmanager.UpdateSecretInput{SecretId: &name, SecretString: &value})
		if err != nil {
			t.Fatal(err)
		}
		ids[aws.ToString(out.VersionId)] = version
	}
	update("v1", "one")
	k.wantLabels(name, ids, map[string][]string{"v1": {"AWSCURRENT"}})
	update("v2", "two")
	k.wantLabels(name, ids, map[string][]string{"v1": {"AWSPREVIOUS"}, "v2": {"AWSCURRENT"}})
	update("v3", "three")
	k.wantLabels(name, ids, map[string][]string{"v2": {"AWSPREVIOUS"}, "v3": {"AWSCURRENT"}})
	k.must(k.UpdateSecret(k.ctx(), &secretsmanager.UpdateSecretInput{SecretId: &name, Description: aws.String("d")}))
	k.wantLabels(name, ids, map[string][]string{"v2": {"AWSPREVIOUS"}, "v3": {"AWSCURRENT"}})
	if got := k.value(name, ""); got != "three" {
		t.Errorf("value = %q, want three", got)
	}
	if got := k.value(name, "AWSPREVIOUS"); got != "two" {
		t.Errorf("previous value = %q, want two", got)
	}
}

func TestUpdateSecretDescription(t *testing.T) {
	k := newKit(t)
	name := k.prefix + "s"
	k.create(&secretsmanager.CreateSecretInput{Name: &name, Description: aws.String("first")})
	description := func() *string {
		t.Helper()
		out, err := k.DescribeSecret(k.ctx(), &secretsmanager.DescribeSecretInput{SecretId: &name})
		if err != nil {
			t.Fatal(err)
		}
		return out.Description
	}
	for _, tc := range []struct {
		set  *string
		want string
	}{
		{nil, "first"},
		{aws.String("zweite ✓"), "zweite ✓"},
		{aws.String(strings.Repeat("d", 2048)), strings.Repeat("d", 2048)},
		{nil, strings.Repeat("d", 2048)},
		{aws.String(""), ""},
	} {
		k.must(k.UpdateSecret(k.ctx(), &secretsmanager.UpdateSecretInput{SecretId: &name, Description: tc.set}))
		got := description()
		if aws.ToString(got) != tc.want || (tc.want == "" && got != nil) {
			t.Errorf("after %v: Description = %v, want %q", aws.ToString(tc.set), got, tc.want)
		}
	}
	_, err := k.UpdateSecret(k.ctx(), &secretsmanager.UpdateSecretInput{SecretId: &name, Description: aws.String(strings.Repeat("d", 2049))})
	wantCode(t, err, "ValidationException", "")
}

func TestUpdateSecretToken(t *testing.T) {
	k := newKit(t)
	name, arn := k.secret("s", "one")
	id := token()
	update := func(value string) (*secretsmanager.UpdateSecretOutput, error) {
		return k.UpdateSecret(k.ctx(), &secretsmanager.UpdateSecretInput{SecretId: &name, SecretString: &value, ClientRequestToken: &id})
	}
	k.must(update("two"))
	again, err := update("two")
	if err != nil {
		t.Fatalf("the same call again: %v", err)
	}
	if got := aws.ToString(again.VersionId); got != id {
		t.Errorf("VersionId = %q, want %q", got, id)
	}
	_, err = update("three")
	wantError[*types.ResourceExistsException](t, err,
		fmt.Sprintf("You can't use ClientRequestToken %s because that value is already in use for a version of secret %s.", id, arn))
	refused(t, askAnswer(t, "UpdateSecret", in{"SecretId": name, "SecretString": "v"}), "InvalidRequestException", textNoToken)
}

func TestUpdateSecretErrors(t *testing.T) {
	k := newKit(t)
	name, _ := k.secret("s", "v")
	gone := k.scheduled("gone")
	update := func(change func(*secretsmanager.UpdateSecretInput)) error {
		in := &secretsmanager.UpdateSecretInput{SecretId: &name, SecretString: aws.String("v2")}
		change(in)
		_, err := k.UpdateSecret(k.ctx(), in)
		return err
	}
	wantError[*types.ResourceNotFoundException](t, update(func(in *secretsmanager.UpdateSecretInput) { in.SecretId = aws.String(k.prefix + "none") }), textNoSecret)
	wantError[*types.InvalidRequestException](t, update(func(in *secretsmanager.UpdateSecretInput) { in.SecretId = &gone }), textScheduled)
	wantError[*types.InvalidParameterException](t, update(func(in *secretsmanager.UpdateSecretInput) { in.SecretBinary = []byte("v") }), "")
	wantCode(t, update(func(in *secretsmanager.UpdateSecretInput) { in.SecretId = aws.String("Inv Name") }), "ValidationException", textBadName)
	wantInvalid(t, update(func(in *secretsmanager.UpdateSecretInput) {
		in.SecretString = nil
		in.SecretBinary = make([]byte, 65537)
	}),
		"Value at 'secretBinary' failed to satisfy constraint: Member must have length less than or equal to 65536")
	if got := k.value(name, ""); got != "v" {
		t.Errorf("after refused calls the value is %q, want v", got)
	}
}
