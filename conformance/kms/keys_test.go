//lint:file-ignore SA1019 Terraform still sends CustomerMasterKeySpec

package kms_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"arca/conformance/identity"
)

// wantCode is for errors whose text is empty on AWS.
func wantCode(t *testing.T, what string, err error, code string) {
	t.Helper()
	if e, ok := errors.AsType[smithy.APIError](err); !ok || e.ErrorCode() != code {
		t.Errorf("%s: error %v, want %s", what, err, code)
	}
}

// The calls of Terraform's AWS provider for aws_kms_key and aws_kms_alias, in its order:
// created, read, and destroyed again.
func TestTerraform(t *testing.T) {
	k := newKit(t)
	policy := keyPolicy(k.Root(), nil)
	created, err := k.CreateKey(k.Ctx(), &kms.CreateKeyInput{
		BypassPolicyLockoutSafetyCheck: false, CustomerMasterKeySpec: types.CustomerMasterKeySpecSymmetricDefault, KeyUsage: types.KeyUsageTypeEncryptDecrypt,
		Description: aws.String("made by terraform"), Policy: &policy, MultiRegion: aws.Bool(false),
		Tags: []types.Tag{{TagKey: aws.String("owner"), TagValue: aws.String("platform")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	id := created.KeyMetadata.KeyId
	m := k.describe(*id)
	if !m.Enabled || m.KeyState != types.KeyStateEnabled || m.KeyManager != types.KeyManagerTypeCustomer || m.Origin != types.OriginTypeAwsKms ||
		m.KeySpec != types.KeySpecSymmetricDefault || m.KeyUsage != types.KeyUsageTypeEncryptDecrypt || aws.ToBool(m.MultiRegion) ||
		aws.ToString(m.Description) != "made by terraform" || aws.ToString(m.AWSAccountId) != k.ID || aws.ToString(m.Arn) != k.arn("key/"+*id) {
		t.Errorf("DescribeKey = %+v", m)
	}
	if since := time.Since(aws.ToTime(m.CreationDate)); since > time.Minute || since < -time.Minute {
		t.Errorf("created %v ago", since)
	}
	got, err := k.GetKeyPolicy(k.Ctx(), &kms.GetKeyPolicyInput{KeyId: id, PolicyName: aws.String("default")})
	if err != nil {
		t.Fatal(err)
	}
	identity.SameJSON(t, aws.ToString(got.Policy), policy)
	rotation, err := k.GetKeyRotationStatus(k.Ctx(), &kms.GetKeyRotationStatusInput{KeyId: id})
	if err != nil || rotation.KeyRotationEnabled {
		t.Errorf("GetKeyRotationStatus = %+v, %v", rotation, err)
	}
	k.Must(k.EnableKeyRotation(k.Ctx(), &kms.EnableKeyRotationInput{KeyId: id, RotationPeriodInDays: aws.Int32(180)}))
	if rotation, err = k.GetKeyRotationStatus(k.Ctx(), &kms.GetKeyRotationStatusInput{KeyId: id}); err != nil || !rotation.KeyRotationEnabled || aws.ToInt32(rotation.RotationPeriodInDays) != 180 {
		t.Errorf("GetKeyRotationStatus = %+v, %v", rotation, err)
	}
	tags, err := k.ListResourceTags(k.Ctx(), &kms.ListResourceTagsInput{KeyId: id, Limit: aws.Int32(50)})
	if err != nil || len(tags.Tags) != 1 || aws.ToString(tags.Tags[0].TagValue) != "platform" || tags.Truncated {
		t.Errorf("ListResourceTags = %+v, %v", tags, err)
	}
	alias := k.alias("terraform", *id)
	found := false
	for p := kms.NewListAliasesPaginator(k.Client, &kms.ListAliasesInput{}); p.HasMorePages(); {
		page, err := p.NextPage(k.Ctx())
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range page.Aliases {
			if aws.ToString(a.AliasName) == alias {
				found = aws.ToString(a.TargetKeyId) == *id && aws.ToString(a.AliasArn) == k.arn(alias)
			}
		}
	}
	if !found {
		t.Error("ListAliases does not show the alias and its key")
	}
	k.Must(k.UpdateKeyDescription(k.Ctx(), &kms.UpdateKeyDescriptionInput{KeyId: id, Description: aws.String("")}))
	k.Must(k.PutKeyPolicy(k.Ctx(), &kms.PutKeyPolicyInput{KeyId: id, PolicyName: aws.String("default"), Policy: &policy}))
	k.Must(k.UntagResource(k.Ctx(), &kms.UntagResourceInput{KeyId: id, TagKeys: []string{"owner"}}))
	k.Must(k.DeleteAlias(k.Ctx(), &kms.DeleteAliasInput{AliasName: &alias}))
	deleted, err := k.ScheduleKeyDeletion(k.Ctx(), &kms.ScheduleKeyDeletionInput{KeyId: id, PendingWindowInDays: aws.Int32(7)})
	if err != nil {
		t.Fatal(err)
	}
	if deleted.KeyState != types.KeyStatePendingDeletion || aws.ToInt32(deleted.PendingWindowInDays) != 7 || aws.ToString(deleted.KeyId) != k.arn("key/"+*id) {
		t.Errorf("ScheduleKeyDeletion = %+v", deleted)
	}
	if m = k.describe(*id); m.KeyState != types.KeyStatePendingDeletion || m.DeletionDate == nil || m.Enabled {
		t.Errorf("DescribeKey = %+v", m)
	}
	_, err = k.Encrypt(k.Ctx(), &kms.EncryptInput{KeyId: id, Plaintext: []byte("x")})
	identity.WantError(t, err, "KMSInvalidStateException", http.StatusBadRequest, k.arn("key/"+*id)+" is pending deletion.")
}

// A key is deleted when its time is over, which a development server lets come.
func TestDeletion(t *testing.T) {
	k := newKit(t)
	k.Ours("takes a week")
	server := k.OwnServer().Start(t)
	c := kms.NewFromConfig(server.Target().Config)
	made, err := c.CreateKey(k.Ctx(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	id := made.KeyMetadata.KeyId
	k.Must(c.EnableKeyRotation(k.Ctx(), &kms.EnableKeyRotationInput{KeyId: id, RotationPeriodInDays: aws.Int32(90)}))
	if _, err := server.Arca(k.Ctx(), "dev", "clock", "advance", "2160h", "--endpoint", server.URL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the rotation", func() bool {
		out, err := c.ListKeyRotations(k.Ctx(), &kms.ListKeyRotationsInput{KeyId: id})
		return err == nil && len(out.Rotations) == 1 && out.Rotations[0].RotationType == types.RotationTypeAutomatic
	})
	k.Must(c.ScheduleKeyDeletion(k.Ctx(), &kms.ScheduleKeyDeletionInput{KeyId: id, PendingWindowInDays: aws.Int32(7)}))
	if _, err := server.Arca(k.Ctx(), "dev", "clock", "advance", "168h", "--endpoint", server.URL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the deletion", func() bool {
		_, err := c.DescribeKey(k.Ctx(), &kms.DescribeKeyInput{KeyId: id})
		e, ok := errors.AsType[*types.NotFoundException](err)
		return ok && e.ErrorCode() == "NotFoundException"
	})
}

// eventually waits for what an engine does within a second or two.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for range 100 {
		if done() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("%s did not happen", what)
}

func TestKeyTexts(t *testing.T) {
	k := newKit(t)
	id, arn := k.key()
	_, err := k.CreateAlias(k.Ctx(), &kms.CreateAliasInput{AliasName: aws.String("x"), TargetKeyId: &id})
	identity.WantError(t, err, "ValidationException", http.StatusBadRequest,
		`Alias must start with the prefix "alias/". Please see https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html`)
	alias := k.alias("a", id)
	_, err = k.CreateAlias(k.Ctx(), &kms.CreateAliasInput{AliasName: &alias, TargetKeyId: &id})
	identity.WantError(t, err, "AlreadyExistsException", http.StatusBadRequest, "An alias with the name "+k.arn(alias)+" already exists")
	tag := func(keys ...string) error {
		in := &kms.TagResourceInput{KeyId: &id}
		for _, key := range keys {
			in.Tags = append(in.Tags, types.Tag{TagKey: &key, TagValue: aws.String("")})
		}
		_, err := k.TagResource(k.Ctx(), in)
		return err
	}
	identity.WantError(t, tag("a", "a"), "TagException", http.StatusBadRequest, "Duplicate tag keys")
	identity.WantError(t, tag("aws:a"), "TagException", http.StatusBadRequest, "Tags beginning with aws: are reserved")
	_, err = k.PutKeyPolicy(k.Ctx(), &kms.PutKeyPolicyInput{KeyId: &id, Policy: aws.String(keyPolicy("arn:aws:iam::"+k.ID+":role/none-at-all", nil))})
	identity.WantError(t, err, "MalformedPolicyDocumentException", http.StatusBadRequest, "")
	lockout := identity.Policy(identity.Statement{Effect: "Allow", Principal: identity.Principals(k.Root()), Action: "kms:Decrypt", Resource: "*"})
	_, err = k.PutKeyPolicy(k.Ctx(), &kms.PutKeyPolicyInput{KeyId: &id, Policy: &lockout})
	identity.WantError(t, err, "MalformedPolicyDocumentException", http.StatusBadRequest, "The new key policy will not allow you to update the key policy in the future.")
	_, err = k.ScheduleKeyDeletion(k.Ctx(), &kms.ScheduleKeyDeletionInput{KeyId: &id, PendingWindowInDays: aws.Int32(6)})
	identity.WantError(t, err, "ValidationException", http.StatusBadRequest, "PendingWindowInDays must be between 7 and 30")
	k.Must(k.DisableKey(k.Ctx(), &kms.DisableKeyInput{KeyId: &id}))
	k.Settle()
	_, err = k.GenerateDataKey(k.Ctx(), &kms.GenerateDataKeyInput{KeyId: &id, KeySpec: types.DataKeySpecAes256})
	identity.WantError(t, err, "DisabledException", http.StatusBadRequest, arn+" is disabled.")
	_, err = k.ListKeys(k.Ctx(), &kms.ListKeysInput{Marker: aws.String("rubbish")})
	identity.WantError(t, err, "InvalidMarkerException", http.StatusBadRequest, "")
}

// What is not served is refused by name.
func TestUnsupported(t *testing.T) {
	k := newKit(t)
	k.Ours("AWS makes these")
	_, err := k.CreateKey(k.Ctx(), &kms.CreateKeyInput{KeySpec: types.KeySpecRsa2048, KeyUsage: types.KeyUsageTypeSignVerify})
	identity.WantError(t, err, "UnsupportedOperationException", http.StatusBadRequest, "")
	_, err = k.CreateKey(k.Ctx(), &kms.CreateKeyInput{MultiRegion: aws.Bool(true)})
	identity.WantError(t, err, "UnsupportedOperationException", http.StatusBadRequest, "")
	_, err = k.Sign(k.Ctx(), &kms.SignInput{KeyId: aws.String(missing), Message: []byte("x"), SigningAlgorithm: types.SigningAlgorithmSpecEcdsaSha256})
	wantCode(t, "Sign", err, "UnknownOperationException")
}
