package kms_test

import (
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"arca/conformance/identity"
)

func decrypt(k *kit, as *identity.Caller, blob []byte) error {
	_, err := client(as).Decrypt(k.Ctx(), &kms.DecryptInput{CiphertextBlob: blob})
	return err
}

// Within an account, the key policy lets the account decide, or names who may.
func TestKeyPolicyDecides(t *testing.T) {
	k := newKit(t)
	able, unable := k.User("able", identity.Allow("kms:Decrypt", "*")), k.User("unable")
	forbidden := k.User("forbidden", identity.Deny("kms:Decrypt", "*"))
	account, accountARN := k.key(withPolicy(keyPolicy(k.Root(), nil)))
	named, namedARN := k.key(withPolicy(keyPolicy(k.Root(), "kms:Decrypt", unable.ARN, forbidden.ARN)))
	ofAccount, ofNamed := k.encrypt(account, "x", nil), k.encrypt(named, "x", nil)
	k.Must(nil, decrypt(k, able.Caller, ofAccount))
	identity.WantDenied(t, decrypt(k, unable.Caller, ofAccount), unable.ARN, "kms:Decrypt", accountARN, identity.NoIdentity)
	k.Must(nil, decrypt(k, unable.Caller, ofNamed))
	identity.WantDenied(t, decrypt(k, forbidden.Caller, ofNamed), forbidden.ARN, "kms:Decrypt", namedARN, identity.ByIdentity)
}

// Between accounts both sides must allow; a key that lets nobody in does not show.
func TestOtherAccounts(t *testing.T) {
	k := newKit(t)
	other := k.Other()
	able, unable := other.User("able", identity.Allow("kms:*", "*")), other.User("unable")
	open, _ := k.key(withPolicy(keyPolicy(k.Root(), "kms:Decrypt", other.Root())))
	closed, closedARN := k.key()
	ofOpen, ofClosed := k.encrypt(open, "x", nil), k.encrypt(closed, "x", nil)
	k.Must(nil, decrypt(k, able.Caller, ofOpen))
	byBlob := "the resource associated with this ciphertext"
	for _, tt := range []struct {
		who  *identity.Caller
		blob []byte
	}{{unable.Caller, ofOpen}, {able.Caller, ofClosed}, {other.Caller, ofClosed}} {
		identity.WantError(t, decrypt(k, tt.who, tt.blob), "AccessDeniedException", http.StatusBadRequest, foreign(tt.who.ARN, "kms:Decrypt", byBlob))
	}
	for _, arn := range []string{closedARN, k.arn("key/" + missing)} {
		_, err := client(able.Caller).DescribeKey(k.Ctx(), &kms.DescribeKeyInput{KeyId: &arn})
		identity.WantError(t, err, "AccessDeniedException", http.StatusBadRequest, foreign(able.ARN, "kms:DescribeKey", "this resource"))
	}
}

// A grant lets its grantee use the key until it is retired.
func TestGrants(t *testing.T) {
	k := newKit(t)
	id, arn := k.key()
	worker, boss := k.User("worker"), k.User("boss")
	encCtx := map[string]string{"job": "7"}
	blob := k.encrypt(id, "x", encCtx)
	read := func() error {
		_, err := client(worker.Caller).Decrypt(k.Ctx(), &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: encCtx})
		return err
	}
	identity.WantDenied(t, read(), worker.ARN, "kms:Decrypt", arn, identity.NoIdentity)
	made, err := k.CreateGrant(k.Ctx(), &kms.CreateGrantInput{
		KeyId: &id, GranteePrincipal: &worker.ARN, RetiringPrincipal: &boss.ARN, Name: aws.String("job-7"),
		Operations:  []types.GrantOperation{types.GrantOperationDecrypt},
		Constraints: &types.GrantConstraints{EncryptionContextSubset: map[string]string{"job": "7"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	k.Settle()
	k.Must(nil, read())
	listed, err := k.ListGrants(k.Ctx(), &kms.ListGrantsInput{KeyId: &id, GranteePrincipal: &worker.ARN})
	if err != nil || len(listed.Grants) != 1 || aws.ToString(listed.Grants[0].GrantId) != aws.ToString(made.GrantId) ||
		aws.ToString(listed.Grants[0].RetiringPrincipal) != boss.ARN || listed.Grants[0].Constraints.EncryptionContextSubset["job"] != "7" {
		t.Errorf("ListGrants = %+v, %v", listed, err)
	}
	_, err = client(worker.Caller).RetireGrant(k.Ctx(), &kms.RetireGrantInput{GrantToken: made.GrantToken})
	wantCode(t, "RetireGrant by the grantee", err, "AccessDeniedException")
	k.Must(client(boss.Caller).RetireGrant(k.Ctx(), &kms.RetireGrantInput{GrantToken: made.GrantToken}))
	k.Settle()
	identity.WantDenied(t, read(), worker.ARN, "kms:Decrypt", arn, identity.NoIdentity)
}
