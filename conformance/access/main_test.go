// Package access_test says who may do what: scenarios with two and more principals,
// played through ordinary clients. The service they play on is Secrets Manager.
//
// Texts of denials are AWS's, letter for letter. Every test has people, roles and
// secrets of its own, so all of them run in parallel, and against one server unless
// they are about the settings of one.
package access_test

import (
	"context"
	"os"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"arca/conformance/identity"
	"arca/conformance/target"
)

// shared is set once, before the tests.
var shared *target.Target

func TestMain(m *testing.M) {
	os.Exit(target.Main(m, func(t *target.Target) { shared = t }))
}

const (
	actGet      = "secretsmanager:GetSecretValue"
	actPut      = "secretsmanager:PutSecretValue"
	actDescribe = "secretsmanager:DescribeSecret"
	actCreate   = "secretsmanager:CreateSecret"
	actDelete   = "secretsmanager:DeleteSecret"
	actTag      = "secretsmanager:TagResource"
	actUntag    = "secretsmanager:UntagResource"
	actPolicy   = "secretsmanager:PutResourcePolicy"
	actAll      = "secretsmanager:*"
)

type ctx = context.Context

// read reads the value of a secret as somebody.
func read(ctx context.Context, as *identity.Caller, id string) (string, error) {
	out, err := as.SM.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &id})
	if err != nil {
		return "", err
	}
	return aws.ToString(out.SecretString), nil
}

// reads checks that somebody can read a secret.
func reads(k *identity.Kit, as *identity.Caller, id, want string) {
	k.T.Helper()
	got, err := read(k.Ctx(), as, id)
	if err != nil {
		k.T.Errorf("GetSecretValue(%s) as %s: %v", id, as.ARN, err)
	} else if got != want {
		k.T.Errorf("GetSecretValue(%s) = %q, want %q", id, got, want)
	}
}

// cannotRead checks that somebody is denied to read a secret that exists.
func cannotRead(k *identity.Kit, as *identity.Caller, arn, why string) {
	k.T.Helper()
	_, err := read(k.Ctx(), as, arn)
	identity.WantDenied(k.T, err, as.ARN, actGet, arn, why)
}

func describe(ctx context.Context, as *identity.Caller, id string) error {
	_, err := as.SM.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &id})
	return err
}

func putPolicy(ctx context.Context, as *identity.Caller, id, text string) error {
	_, err := as.SM.PutResourcePolicy(ctx, &secretsmanager.PutResourcePolicyInput{SecretId: &id, ResourcePolicy: &text})
	return err
}

// policyOf is the resource policy of a secret as AWS shows it.
func policyOf(k *identity.Kit, as *identity.Caller, id string) string {
	k.T.Helper()
	out, err := as.SM.GetResourcePolicy(k.Ctx(), &secretsmanager.GetResourcePolicyInput{SecretId: &id})
	if err != nil {
		k.T.Fatal(err)
	}
	return aws.ToString(out.ResourcePolicy)
}

// secretsIn are the ARNs of all secrets of the test in an account.
func secretsIn(k *identity.Kit, account, below string) string {
	return "arn:aws:secretsmanager:*:" + account + ":secret:" + k.Prefix + below
}

// tag sets a tag of a user.
func tag(k *identity.Kit, u *identity.User, key, value string) {
	k.T.Helper()
	k.Must(k.IAM.TagUser(k.Ctx(), &iam.TagUserInput{UserName: &u.Name, Tags: identity.Tags(key, value)}))
	k.Settle()
}

func tagRole(name string, pairs ...string) *iam.TagRoleInput {
	return &iam.TagRoleInput{RoleName: &name, Tags: identity.Tags(pairs...)}
}
