package secretsmanager_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/google/go-cmp/cmp"
)

// The operations on resource policies, which have little to say one by one.

const (
	textPolicySyntax = "This resource policy contains a syntax error."
	textPolicyBroad  = "You can't attach a resource-based policy that allows broad access to the secret."
)

// publicPolicy is the one that was recorded as accepted.
const publicPolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"secretsmanager:GetSecretValue","Resource":"*"}]}`

// rootPolicy allows what the account of the secret may do anyhow.
func rootPolicy(arn string) string {
	account := strings.Split(arn, ":")[4]
	return `{"Version":"2012-10-17","Statement":[{"Sid":"Own","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + account + `:root"},` +
		`"Action":["secretsmanager:GetSecretValue","secretsmanager:DescribeSecret"],"Resource":"*","Condition":{"StringEquals":{"secretsmanager:VersionStage":"AWSCURRENT"}}}]}`
}

func (k *kit) putPolicy(id, policy string, block *bool) error {
	_, err := k.PutResourcePolicy(k.ctx(), &secretsmanager.PutResourcePolicyInput{SecretId: &id, ResourcePolicy: &policy, BlockPublicPolicy: block})
	return err
}

// sameJSON compares JSON texts by what they say.
func sameJSON(t *testing.T, got, want string) {
	t.Helper()
	var a, b any
	if err := json.Unmarshal([]byte(got), &a); err != nil {
		t.Fatalf("policy %q: %v", got, err)
	}
	if err := json.Unmarshal([]byte(want), &b); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b, a); diff != "" {
		t.Errorf("policy (-want +got):\n%s", diff)
	}
}

func TestResourcePolicyMembers(t *testing.T) {
	k := newKit(t)
	name, arn := k.secret("s", "v")
	wantMembers(t, ask(t, "GetResourcePolicy", in{"SecretId": name}), "ARN", "Name")
	out := ask(t, "PutResourcePolicy", in{"SecretId": name, "ResourcePolicy": rootPolicy(arn)})
	wantMembers(t, out, "ARN", "Name")
	if out["ARN"] != arn || out["Name"] != name {
		t.Errorf("answer = %v", out)
	}
	out = ask(t, "GetResourcePolicy", in{"SecretId": name})
	wantMembers(t, out, "ARN", "Name", "ResourcePolicy")
	sameJSON(t, out["ResourcePolicy"].(string), rootPolicy(arn))
	wantMembers(t, ask(t, "DeleteResourcePolicy", in{"SecretId": name}), "ARN", "Name")
	wantMembers(t, ask(t, "GetResourcePolicy", in{"SecretId": name}), "ARN", "Name")
	wantMembers(t, ask(t, "DeleteResourcePolicy", in{"SecretId": name}), "ARN", "Name")
}

func TestResourcePolicyReplaced(t *testing.T) {
	k := newKit(t)
	name, arn := k.secret("s", "v")
	k.must(nil, k.putPolicy(name, publicPolicy, nil))
	k.must(nil, k.putPolicy(name, rootPolicy(arn), aws.Bool(true)))
	out, err := k.GetResourcePolicy(k.ctx(), &secretsmanager.GetResourcePolicyInput{SecretId: &arn})
	if err != nil {
		t.Fatal(err)
	}
	sameJSON(t, aws.ToString(out.ResourcePolicy), rootPolicy(arn))
}

func TestPutResourcePolicyErrors(t *testing.T) {
	k := newKit(t)
	name, arn := k.secret("s", "v")
	gone := k.scheduled("gone")
	for what, policy := range map[string]string{
		"not JSON":          "{",
		"not an object":     `"policy"`,
		"empty":             `{}`,
		"without statement": `{"Version":"2012-10-17"}`,
		"unknown effect":    strings.Replace(publicPolicy, "Allow", "Permit", 1),
		"unknown element":   strings.Replace(publicPolicy, "Resource", "Resources", 1),
		"no action":         strings.Replace(publicPolicy, `"Action":"secretsmanager:GetSecretValue",`, "", 1),
		"no principal":      strings.Replace(publicPolicy, `"Principal":"*",`, "", 1),
		"bad version":       strings.Replace(publicPolicy, "2012-10-17", "2012-10-18", 1),
		"unknown operator":  strings.Replace(rootPolicy(arn), "StringEquals", "StringIs", 1),
		"trailing text":     publicPolicy + "x",
	} {
		t.Log(what)
		wantError[*types.MalformedPolicyDocumentException](t, k.putPolicy(name, policy, nil), textPolicySyntax)
	}
	wantError[*types.PublicPolicyException](t, k.putPolicy(name, publicPolicy, aws.Bool(true)), textPolicyBroad)
	wantError[*types.ResourceNotFoundException](t, k.putPolicy(k.prefix+"none", publicPolicy, nil), textNoSecret)
	wantError[*types.InvalidRequestException](t, k.putPolicy(gone, publicPolicy, nil), "")
	wantCode(t, k.putPolicy("Inv Name", publicPolicy, nil), "ValidationException", textBadName)
	wantCode(t, k.putPolicy(name, publicPolicy+strings.Repeat(" ", 20481), nil), "ValidationException", "")
	wantCode(t, k.putPolicy(name, "", nil), "ValidationException", "")
	wantMembers(t, ask(t, "GetResourcePolicy", in{"SecretId": name}), "ARN", "Name")
}

func TestGetAndDeleteResourcePolicyErrors(t *testing.T) {
	k := newKit(t)
	none, gone, bad := k.prefix+"none", k.scheduled("gone"), "Inv Name"
	get := func(id string) error {
		_, err := k.GetResourcePolicy(k.ctx(), &secretsmanager.GetResourcePolicyInput{SecretId: &id})
		return err
	}
	remove := func(id string) error {
		_, err := k.DeleteResourcePolicy(k.ctx(), &secretsmanager.DeleteResourcePolicyInput{SecretId: &id})
		return err
	}
	for _, call := range []func(string) error{get, remove} {
		wantError[*types.ResourceNotFoundException](t, call(none), textNoSecret)
		wantCode(t, call(bad), "ValidationException", textBadName)
		wantError[*types.InvalidRequestException](t, call(gone), "")
	}
}

func TestValidateResourcePolicy(t *testing.T) {
	k := newKit(t)
	name, arn := k.secret("s", "v")
	out := ask(t, "ValidateResourcePolicy", in{"SecretId": name, "ResourcePolicy": rootPolicy(arn)})
	wantMembers(t, out, "PolicyValidationPassed", "ValidationErrors")
	if out["PolicyValidationPassed"] != true {
		t.Errorf("a narrow policy does not pass: %v", out)
	}
	if diff := cmp.Diff([]any{}, out["ValidationErrors"]); diff != "" {
		t.Errorf("ValidationErrors (-want +got):\n%s", diff)
	}
	validate := func(id *string, policy string) (*secretsmanager.ValidateResourcePolicyOutput, error) {
		return k.ValidateResourcePolicy(k.ctx(), &secretsmanager.ValidateResourcePolicyInput{SecretId: id, ResourcePolicy: &policy})
	}
	public, err := validate(nil, publicPolicy)
	if err != nil {
		t.Fatal(err)
	}
	if public.PolicyValidationPassed || len(public.ValidationErrors) == 0 || aws.ToString(public.ValidationErrors[0].CheckName) == "" {
		t.Errorf("a public policy: passed = %v, errors = %v", public.PolicyValidationPassed, public.ValidationErrors)
	}
	_, err = validate(&name, "{")
	wantError[*types.MalformedPolicyDocumentException](t, err, textPolicySyntax)
	_, err = validate(aws.String(k.prefix+"none"), publicPolicy)
	wantError[*types.ResourceNotFoundException](t, err, textNoSecret)
	_, err = validate(aws.String("Inv Name"), publicPolicy)
	wantCode(t, err, "ValidationException", textBadName)
	wantMembers(t, ask(t, "GetResourcePolicy", in{"SecretId": name}), "ARN", "Name") // nothing was attached
}
