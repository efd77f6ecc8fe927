// Package kms_test says what KMS answers, with the client that AWS publishes. Texts are
// AWS's, letter for letter, wherever they are known; a case whose text is Arca's own
// checks code and status only.
package kms_test

import (
	"context"
	"os"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"arca/conformance/identity"
	"arca/conformance/target"
)

// shared is set once, before the tests.
var shared *target.Target

func TestMain(m *testing.M) {
	os.Exit(target.Main(m, func(t *target.Target) { shared = t }))
}

// missing is a key id that nobody has.
const missing = "11111111-2222-4333-8444-555555555555"

// kit is what one test works with: the client of the account's administrator.
type kit struct {
	*identity.Kit
	*kms.Client
}

func newKit(t *testing.T) *kit {
	t.Helper()
	k := identity.New(t, shared)
	return &kit{Kit: k, Client: kms.NewFromConfig(k.Config)}
}

// client is the one of somebody else.
func client(c *identity.Caller) *kms.Client { return kms.NewFromConfig(c.Config) }

// arn is the ARN of something of the account's.
func (k *kit) arn(resource string) string {
	return "arn:aws:kms:" + k.Config.Region + ":" + k.ID + ":" + resource
}

// key makes a key that is deleted as soon as AWS allows once the test is over.
func (k *kit) key(change ...func(in *kms.CreateKeyInput)) (id, arn string) {
	k.T.Helper()
	in := &kms.CreateKeyInput{Description: aws.String(k.Prefix)}
	for _, c := range change {
		c(in)
	}
	out, err := k.CreateKey(k.Ctx(), in)
	if err != nil {
		k.T.Fatalf("CreateKey: %v", err)
	}
	id, arn = aws.ToString(out.KeyMetadata.KeyId), aws.ToString(out.KeyMetadata.Arn)
	k.Cleanup(func(ctx context.Context) {
		_, _ = k.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &id, PendingWindowInDays: aws.Int32(7)})
	})
	return id, arn
}

// alias gives a key a name.
func (k *kit) alias(name, keyID string) string {
	k.T.Helper()
	full := "alias/" + k.Prefix + name
	k.Must(k.CreateAlias(k.Ctx(), &kms.CreateAliasInput{AliasName: &full, TargetKeyId: &keyID}))
	k.Cleanup(func(ctx context.Context) { _, _ = k.DeleteAlias(ctx, &kms.DeleteAliasInput{AliasName: &full}) })
	return full
}

func withPolicy(text string) func(in *kms.CreateKeyInput) {
	return func(in *kms.CreateKeyInput) { in.Policy = &text }
}

// keyPolicy lets the account decide, and further principals use the key.
func keyPolicy(root string, action any, arns ...string) string {
	statements := []identity.Statement{{Sid: "Enable IAM User Permissions", Effect: "Allow", Principal: identity.Principals(root), Action: "kms:*", Resource: "*"}}
	if len(arns) > 0 {
		statements = append(statements, identity.Statement{Effect: "Allow", Principal: identity.Principals(arns...), Action: action, Resource: "*"})
	}
	return identity.Policy(statements...)
}

// encrypt encrypts with the administrator's client.
func (k *kit) encrypt(keyID, text string, encCtx map[string]string) []byte {
	k.T.Helper()
	out, err := k.Encrypt(k.Ctx(), &kms.EncryptInput{KeyId: &keyID, Plaintext: []byte(text), EncryptionContext: encCtx})
	if err != nil {
		k.T.Fatalf("Encrypt: %v", err)
	}
	return out.CiphertextBlob
}

func (k *kit) describe(keyID string) *types.KeyMetadata {
	k.T.Helper()
	out, err := k.DescribeKey(k.Ctx(), &kms.DescribeKeyInput{KeyId: &keyID})
	if err != nil {
		k.T.Fatalf("DescribeKey: %v", err)
	}
	return out.KeyMetadata
}

// foreign is AWS's text for keys of other accounts.
func foreign(caller, action, what string) string {
	return "User: " + caller + " is not authorized to perform: " + action + " on " + what +
		" because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access"
}
