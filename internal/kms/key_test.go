package kms_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api/kmsapi"
	"arca/internal/kms"
)

const keyARNs = "arn:aws:kms:eu-west-1:123456789012:"

func TestCreateKey(t *testing.T) {
	h := newHouse(t)
	out := must[kmsapi.CreateKeyOutput](t, h, kmsapi.OpCreateKey, &kmsapi.CreateKeyInput{
		Description: new("for billing"), Tags: []kmsapi.Tag{{TagKey: "team", TagValue: "a"}},
	}).KeyMetadata
	id := out.KeyId
	want := &kmsapi.KeyMetadata{
		AWSAccountId: new(account), KeyId: id, Arn: new(keyARNs + "key/" + id), CreationDate: &start, Enabled: new(true),
		Description: new("for billing"), KeyUsage: new("ENCRYPT_DECRYPT"), KeyState: new("Enabled"), Origin: new("AWS_KMS"),
		KeyManager: new("CUSTOMER"), CustomerMasterKeySpec: new("SYMMETRIC_DEFAULT"), KeySpec: new("SYMMETRIC_DEFAULT"),
		EncryptionAlgorithms: []string{"SYMMETRIC_DEFAULT"}, MultiRegion: new(false), CurrentKeyMaterialId: out.CurrentKeyMaterialId,
	}
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("CreateKey (-want +got):\n%s", diff)
	}
	for _, name := range []string{id, *out.Arn} {
		got := must[kmsapi.DescribeKeyOutput](t, h, kmsapi.OpDescribeKey, &kmsapi.DescribeKeyInput{KeyId: name})
		if diff := cmp.Diff(out, got.KeyMetadata); diff != "" {
			t.Errorf("DescribeKey(%s) (-created +got):\n%s", name, diff)
		}
	}
	if got := must[kmsapi.ListResourceTagsOutput](t, h, kmsapi.OpListResourceTags, &kmsapi.ListResourceTagsInput{KeyId: id}).Tags; len(got) != 1 || got[0].TagKey != "team" {
		t.Errorf("tags %v", got)
	}
}

func TestCreateKeyRefused(t *testing.T) {
	h := newHouse(t)
	for _, tt := range []struct {
		name string
		in   kmsapi.CreateKeyInput
		want string
	}{
		{"asymmetric", kmsapi.CreateKeyInput{KeySpec: new("RSA_2048"), KeyUsage: new("SIGN_VERIFY")}, "UnsupportedOperationException: KeySpec RSA_2048 is not supported: keys are SYMMETRIC_DEFAULT."},
		{"HMAC by its old name", kmsapi.CreateKeyInput{CustomerMasterKeySpec: new("HMAC_256")}, "UnsupportedOperationException: KeySpec HMAC_256 is not supported: keys are SYMMETRIC_DEFAULT."},
		{"two specs", kmsapi.CreateKeyInput{KeySpec: new("SYMMETRIC_DEFAULT"), CustomerMasterKeySpec: new("SYMMETRIC_DEFAULT")}, "ValidationException: You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is deprecated."},
		{"usage", kmsapi.CreateKeyInput{KeyUsage: new("SIGN_VERIFY")}, "ValidationException: The operation failed because the KeyUsage value of the KMS key is SIGN_VERIFY. To perform this operation, the KeyUsage value must be ENCRYPT_DECRYPT."},
		{"imported", kmsapi.CreateKeyInput{Origin: new("EXTERNAL")}, "UnsupportedOperationException: Origin EXTERNAL is not supported: key material is made by AWS_KMS."},
		{"multi-region", kmsapi.CreateKeyInput{MultiRegion: new(true)}, "UnsupportedOperationException: MultiRegion is not supported: a key belongs to one Region."},
		{"key store", kmsapi.CreateKeyInput{CustomKeyStoreId: new("cks-1")}, "CustomKeyStoreNotFoundException: Custom key store cks-1 does not exist."},
		{"external key", kmsapi.CreateKeyInput{XksKeyId: new("x")}, "UnsupportedOperationException: XksKeyId is not supported: there are no external key stores."},
		{"duplicate tags", kmsapi.CreateKeyInput{Tags: []kmsapi.Tag{{TagKey: "a"}, {TagKey: "a"}}}, "TagException: Duplicate tag keys"},
		{"reserved tag", kmsapi.CreateKeyInput{Tags: []kmsapi.Tag{{TagKey: "AWS:x"}}}, "TagException: Tags beginning with aws: are reserved"},
		{"no policy", kmsapi.CreateKeyInput{Policy: new("{")}, "MalformedPolicyDocumentException: The new key policy contains invalid Json."},
		{"long policy", kmsapi.CreateKeyInput{Policy: new(kms.InitialPolicy(account) + strings.Repeat(" ", 32<<10))}, "LimitExceededException: The key policy is longer than 32768 bytes."},
		{"lock-out", kmsapi.CreateKeyInput{Policy: new(kms.InitialPolicy(otherAccount))}, "MalformedPolicyDocumentException: The new key policy will not allow you to update the key policy in the future."},
	} {
		t.Run(tt.name, func(t *testing.T) { h.refused(t, tt.want, kmsapi.OpCreateKey, &tt.in) })
	}
	if got := must[kmsapi.ListKeysOutput](t, h, kmsapi.OpListKeys, &kmsapi.ListKeysInput{}).Keys; len(got) != 0 {
		t.Errorf("keys were made: %v", got)
	}
}

func TestQuotas(t *testing.T) {
	h := newHouse(t)
	h.svc.Shrink(kms.Quotas{Keys: 2, Aliases: 1, Grants: 1, OnDemandRotations: 1})
	id, arn := h.key(t)
	other, _ := h.key(t)
	h.refused(t, "LimitExceededException: You can't have more than 2 KMS keys in a Region.", kmsapi.OpCreateKey, &kmsapi.CreateKeyInput{})
	h.run(t, kmsapi.OpCreateAlias, &kmsapi.CreateAliasInput{AliasName: "alias/a", TargetKeyId: id})
	h.refused(t, "LimitExceededException: You can't have more than 1 aliases for a KMS key.", kmsapi.OpCreateAlias, &kmsapi.CreateAliasInput{AliasName: "alias/b", TargetKeyId: id})
	h.run(t, kmsapi.OpCreateAlias, &kmsapi.CreateAliasInput{AliasName: "alias/b", TargetKeyId: other})
	h.refused(t, "LimitExceededException: You can't have more than 1 aliases for a KMS key.", kmsapi.OpUpdateAlias, &kmsapi.UpdateAliasInput{AliasName: "alias/b", TargetKeyId: id})
	h.run(t, kmsapi.OpRotateKeyOnDemand, &kmsapi.RotateKeyOnDemandInput{KeyId: id})
	h.refused(t, "LimitExceededException: The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations can be performed for this key: "+arn, kmsapi.OpRotateKeyOnDemand, &kmsapi.RotateKeyOnDemandInput{KeyId: id})
	grant := &kmsapi.CreateGrantInput{KeyId: id, GranteePrincipal: new("arn:aws:iam::123456789012:root"), Operations: []string{"Decrypt"}}
	h.run(t, kmsapi.OpCreateGrant, grant)
	h.refused(t, "LimitExceededException: You can't have more than 1 grants for a KMS key.", kmsapi.OpCreateGrant, grant)
}

// states are the operations that care about the state of a key, with what they answer in
// each: "" for success, d for DisabledException, p for the error of a key pending
// deletion, n for that of one which is not.
func states(id string) map[string]struct {
	op   string
	in   any
	want map[kms.State]string
} {
	grant := &kmsapi.CreateGrantInput{KeyId: id, GranteePrincipal: new("arn:aws:iam::123456789012:root"), Operations: []string{"Decrypt"}}
	type row = struct {
		op   string
		in   any
		want map[kms.State]string
	}
	expect := func(enabled, disabled, pending string) map[kms.State]string {
		return map[kms.State]string{kms.Enabled: enabled, kms.Disabled: disabled, kms.PendingDeletion: pending}
	}
	tags := []kmsapi.Tag{{TagKey: "a", TagValue: "b"}}
	return map[string]row{
		"CancelKeyDeletion":               {"CancelKeyDeletion", &kmsapi.CancelKeyDeletionInput{KeyId: id}, expect("n", "n", "")},
		"CreateAlias":                     {"CreateAlias", &kmsapi.CreateAliasInput{AliasName: "alias/x", TargetKeyId: id}, expect("", "", "p")},
		"CreateGrant":                     {"CreateGrant", grant, expect("", "d", "p")},
		"DescribeKey":                     {"DescribeKey", &kmsapi.DescribeKeyInput{KeyId: id}, expect("", "", "")},
		"DisableKey":                      {"DisableKey", &kmsapi.DisableKeyInput{KeyId: id}, expect("", "", "p")},
		"DisableKeyRotation":              {"DisableKeyRotation", &kmsapi.DisableKeyRotationInput{KeyId: id}, expect("", "d", "p")},
		"EnableKey":                       {"EnableKey", &kmsapi.EnableKeyInput{KeyId: id}, expect("", "", "p")},
		"EnableKeyRotation":               {"EnableKeyRotation", &kmsapi.EnableKeyRotationInput{KeyId: id}, expect("", "d", "p")},
		"Encrypt":                         {"Encrypt", &kmsapi.EncryptInput{KeyId: id, Plaintext: []byte("x")}, expect("", "d", "p")},
		"GenerateDataKey":                 {"GenerateDataKey", &kmsapi.GenerateDataKeyInput{KeyId: id, KeySpec: new("AES_256")}, expect("", "d", "p")},
		"GenerateDataKeyWithoutPlaintext": {"GenerateDataKeyWithoutPlaintext", &kmsapi.GenerateDataKeyWithoutPlaintextInput{KeyId: id, KeySpec: new("AES_256")}, expect("", "d", "p")},
		"GetKeyPolicy":                    {"GetKeyPolicy", &kmsapi.GetKeyPolicyInput{KeyId: id}, expect("", "", "")},
		"GetKeyRotationStatus":            {"GetKeyRotationStatus", &kmsapi.GetKeyRotationStatusInput{KeyId: id}, expect("", "", "")},
		"ListGrants":                      {"ListGrants", &kmsapi.ListGrantsInput{KeyId: id}, expect("", "", "")},
		"ListKeyPolicies":                 {"ListKeyPolicies", &kmsapi.ListKeyPoliciesInput{KeyId: id}, expect("", "", "")},
		"ListKeyRotations":                {"ListKeyRotations", &kmsapi.ListKeyRotationsInput{KeyId: id}, expect("", "", "")},
		"ListResourceTags":                {"ListResourceTags", &kmsapi.ListResourceTagsInput{KeyId: id}, expect("", "", "")},
		"PutKeyPolicy":                    {"PutKeyPolicy", &kmsapi.PutKeyPolicyInput{KeyId: id, Policy: kms.InitialPolicy(account)}, expect("", "", "")},
		"ReEncrypt":                       {"ReEncrypt", &kmsapi.ReEncryptInput{SourceKeyId: &id, DestinationKeyId: id, CiphertextBlob: []byte("x")}, expect("-", "d", "p")},
		"RotateKeyOnDemand":               {"RotateKeyOnDemand", &kmsapi.RotateKeyOnDemandInput{KeyId: id}, expect("", "d", "p")},
		"ScheduleKeyDeletion":             {"ScheduleKeyDeletion", &kmsapi.ScheduleKeyDeletionInput{KeyId: id}, expect("", "", "p")},
		"TagResource":                     {"TagResource", &kmsapi.TagResourceInput{KeyId: id, Tags: tags}, expect("", "", "p")},
		"UntagResource":                   {"UntagResource", &kmsapi.UntagResourceInput{KeyId: id, TagKeys: []string{"z"}}, expect("", "", "p")},
		"UpdateKeyDescription":            {"UpdateKeyDescription", &kmsapi.UpdateKeyDescriptionInput{KeyId: id, Description: "x"}, expect("", "", "p")},
		"UpdateAlias":                     {"UpdateAlias", &kmsapi.UpdateAliasInput{AliasName: "alias/of-another", TargetKeyId: id}, expect("", "", "p")},
		"Decrypt":                         {"Decrypt", &kmsapi.DecryptInput{KeyId: &id, CiphertextBlob: []byte("x")}, expect("-", "d", "p")},
	}
}

// The table of AWS's developer guide, "Key states of AWS KMS keys".
func TestStates(t *testing.T) {
	h := newHouse(t)
	another, _ := h.key(t)
	h.run(t, kmsapi.OpCreateAlias, &kmsapi.CreateAliasInput{AliasName: "alias/of-another", TargetKeyId: another})
	for _, state := range []kms.State{kms.Enabled, kms.Disabled, kms.PendingDeletion} {
		for name := range states("") {
			id, arn := h.key(t)
			switch state {
			case kms.Disabled:
				h.run(t, kmsapi.OpDisableKey, &kmsapi.DisableKeyInput{KeyId: id})
			case kms.PendingDeletion:
				h.run(t, kmsapi.OpScheduleKeyDeletion, &kmsapi.ScheduleKeyDeletionInput{KeyId: id})
			}
			row := states(id)[name]
			want := map[string]string{
				"": "none", "d": "DisabledException: " + arn + " is disabled.",
				"p": "KMSInvalidStateException: " + arn + " is pending deletion.",
				"n": "KMSInvalidStateException: " + arn + " is not pending deletion.",
				"-": "InvalidCiphertextException: ",
			}[row.want[state]]
			_, err := h.call(kmsapi.Service.Operation(row.op), row.in)
			if got := shown(err); got != want {
				t.Errorf("%s on a key that is %s: %s, want %s", name, state, got, want)
			}
			if name == "CreateAlias" && err == nil {
				h.run(t, kmsapi.OpDeleteAlias, &kmsapi.DeleteAliasInput{AliasName: "alias/x"})
			}
			if name == "UpdateAlias" && err == nil {
				h.run(t, kmsapi.OpUpdateAlias, &kmsapi.UpdateAliasInput{AliasName: "alias/of-another", TargetKeyId: another})
			}
		}
	}
}

// A key that is scheduled for deletion keeps everything until its time is over, and
// takes everything along then.
func TestDeletion(t *testing.T) {
	h := newHouse(t)
	id, arn := h.key(t)
	h.run(t, kmsapi.OpCreateAlias, &kmsapi.CreateAliasInput{AliasName: "alias/a", TargetKeyId: id})
	h.run(t, kmsapi.OpCreateGrant, &kmsapi.CreateGrantInput{KeyId: id, GranteePrincipal: new("arn:aws:iam::123456789012:root"), Operations: []string{"Decrypt"}})
	blob := h.encrypt(t, id, "x", nil)
	out := must[kmsapi.ScheduleKeyDeletionOutput](t, h, kmsapi.OpScheduleKeyDeletion, &kmsapi.ScheduleKeyDeletionInput{KeyId: id, PendingWindowInDays: new(int32(7))})
	if *out.KeyId != arn || *out.KeyState != "PendingDeletion" || !out.DeletionDate.Equal(start.AddDate(0, 0, 7)) || *out.PendingWindowInDays != 7 {
		t.Errorf("ScheduleKeyDeletion = %+v", out)
	}
	m := must[kmsapi.DescribeKeyOutput](t, h, kmsapi.OpDescribeKey, &kmsapi.DescribeKeyInput{KeyId: id}).KeyMetadata
	if *m.Enabled || *m.KeyState != "PendingDeletion" || !m.DeletionDate.Equal(*out.DeletionDate) {
		t.Errorf("DescribeKey = %+v", m)
	}
	cancelled := must[kmsapi.CancelKeyDeletionOutput](t, h, kmsapi.OpCancelKeyDeletion, &kmsapi.CancelKeyDeletionInput{KeyId: id})
	m = must[kmsapi.DescribeKeyOutput](t, h, kmsapi.OpDescribeKey, &kmsapi.DescribeKeyInput{KeyId: id}).KeyMetadata
	if *cancelled.KeyId != arn || *m.KeyState != "Disabled" || m.DeletionDate != nil {
		t.Errorf("after CancelKeyDeletion of %s: %+v", *cancelled.KeyId, m)
	}
	h.run(t, kmsapi.OpEnableKey, &kmsapi.EnableKeyInput{KeyId: id})
	h.decrypts(t, blob, nil, "x")

	h.run(t, kmsapi.OpScheduleKeyDeletion, &kmsapi.ScheduleKeyDeletionInput{KeyId: id})
	h.now = start.AddDate(0, 0, 30).Add(-time.Millisecond)
	h.step(t)
	h.run(t, kmsapi.OpCancelKeyDeletion, &kmsapi.CancelKeyDeletionInput{KeyId: id})
	h.run(t, kmsapi.OpEnableKey, &kmsapi.EnableKeyInput{KeyId: id})
	h.decrypts(t, blob, nil, "x")
	h.run(t, kmsapi.OpScheduleKeyDeletion, &kmsapi.ScheduleKeyDeletionInput{KeyId: id})
	h.now = h.now.AddDate(0, 0, 30)
	h.step(t)
	h.refused(t, "NotFoundException: Key '"+arn+"' does not exist", kmsapi.OpDescribeKey, &kmsapi.DescribeKeyInput{KeyId: id})
	if got := must[kmsapi.ListAliasesOutput](t, h, kmsapi.OpListAliases, &kmsapi.ListAliasesInput{}).Aliases; len(got) != 0 {
		t.Errorf("aliases left: %v", got)
	}
	if _, err := h.call(kmsapi.OpDecrypt, &kmsapi.DecryptInput{CiphertextBlob: blob}); err == nil {
		t.Error("a deleted key decrypts")
	}
	want := `"eventType":"AwsServiceEvent"`
	for line := range strings.SplitSeq(h.audited(t), "\n") {
		if strings.Contains(line, `"eventName":"DeleteKey"`) {
			for _, part := range []string{want, `"serviceEventDetails":{"keyId":"` + id + `"}`, `"ARN":"` + arn + `"`, `"invokedBy":"AWS Internal"`} {
				if !strings.Contains(line, part) {
					t.Errorf("record lacks %s: %s", part, line)
				}
			}
			want = ""
		}
	}
	if want != "" {
		t.Error("the deletion is not on record")
	}
}

func TestDeletionWindow(t *testing.T) {
	h := newHouse(t)
	id, _ := h.key(t)
	for _, n := range []int32{1, 6, 31, 365} {
		h.refused(t, "ValidationException: PendingWindowInDays must be between 7 and 30", kmsapi.OpScheduleKeyDeletion, &kmsapi.ScheduleKeyDeletionInput{KeyId: id, PendingWindowInDays: &n})
	}
}

func TestAliases(t *testing.T) {
	h := newHouse(t)
	id, _ := h.key(t)
	other, otherARN := h.key(t)
	for _, tt := range []struct{ name, alias, target, want string }{
		{"no prefix", "app", id, `ValidationException: Alias must start with the prefix "alias/". Please see https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html`},
		{"empty", "alias/", id, "InvalidAliasNameException: Alias name alias/ is not valid: alias/ is followed by letters, digits, slashes, underscores and hyphens."},
		{"colon", "alias/a:b", id, "InvalidAliasNameException: Alias name alias/a:b is not valid: alias/ is followed by letters, digits, slashes, underscores and hyphens."},
		{"reserved", "alias/aws/x", id, "InvalidAliasNameException: Alias name alias/aws/x is reserved: names that begin with alias/aws/ belong to AWS managed keys."},
		{"alias of an alias", "alias/a", "alias/b", "ValidationException: Aliases must refer to keys. Not aliases"},
		{"no key", "alias/a", missingKey, "NotFoundException: Key '" + keyARNs + "key/" + missingKey + "' does not exist"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h.refused(t, tt.want, kmsapi.OpCreateAlias, &kmsapi.CreateAliasInput{AliasName: tt.alias, TargetKeyId: tt.target})
		})
	}
	for _, name := range []string{"alias/a", "alias/A", "alias/dir/b"} {
		h.run(t, kmsapi.OpCreateAlias, &kmsapi.CreateAliasInput{AliasName: name, TargetKeyId: id})
	}
	h.refused(t, "AlreadyExistsException: An alias with the name "+keyARNs+"alias/a already exists", kmsapi.OpCreateAlias, &kmsapi.CreateAliasInput{AliasName: "alias/a", TargetKeyId: other})
	h.now = h.now.Add(time.Minute)
	h.run(t, kmsapi.OpUpdateAlias, &kmsapi.UpdateAliasInput{AliasName: "alias/a", TargetKeyId: otherARN})
	list := must[kmsapi.ListAliasesOutput](t, h, kmsapi.OpListAliases, &kmsapi.ListAliasesInput{}).Aliases
	want := []kmsapi.AliasListEntry{
		{AliasName: new("alias/A"), AliasArn: new(keyARNs + "alias/A"), TargetKeyId: &id, CreationDate: &start, LastUpdatedDate: &start},
		{AliasName: new("alias/a"), AliasArn: new(keyARNs + "alias/a"), TargetKeyId: &other, CreationDate: &start, LastUpdatedDate: &h.now},
		{AliasName: new("alias/dir/b"), AliasArn: new(keyARNs + "alias/dir/b"), TargetKeyId: &id, CreationDate: &start, LastUpdatedDate: &start},
	}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Errorf("ListAliases (-want +got):\n%s", diff)
	}
	of := must[kmsapi.ListAliasesOutput](t, h, kmsapi.OpListAliases, &kmsapi.ListAliasesInput{KeyId: &other}).Aliases
	if diff := cmp.Diff(want[1:2], of); diff != "" {
		t.Errorf("ListAliases of one key (-want +got):\n%s", diff)
	}
	h.refused(t, "NotFoundException: Key '"+keyARNs+"key/"+missingKey+"' does not exist", kmsapi.OpListAliases, &kmsapi.ListAliasesInput{KeyId: new(missingKey)})
	h.refused(t, "InvalidArnException: Key Aliases are not supported for this operation", kmsapi.OpListAliases, &kmsapi.ListAliasesInput{KeyId: new(keyARNs + "alias/a")})
	h.run(t, kmsapi.OpDeleteAlias, &kmsapi.DeleteAliasInput{AliasName: "alias/a"})
	const gone = "NotFoundException: Alias " + keyARNs + "alias/a is not found."
	h.refused(t, gone, kmsapi.OpDeleteAlias, &kmsapi.DeleteAliasInput{AliasName: "alias/a"})
	h.refused(t, gone, kmsapi.OpUpdateAlias, &kmsapi.UpdateAliasInput{AliasName: "alias/a", TargetKeyId: id})
	// Elsewhere the name is another one.
	h.refused(t, "NotFoundException: Alias arn:aws:kms:us-east-1:123456789012:alias/A is not found.", kmsapi.OpDescribeKey, &kmsapi.DescribeKeyInput{KeyId: "alias/A"}, inRegion("us-east-1"))
}

func TestKeyPolicy(t *testing.T) {
	h := newHouse(t)
	id, _ := h.key(t)
	get := func() string {
		return *must[kmsapi.GetKeyPolicyOutput](t, h, kmsapi.OpGetKeyPolicy, &kmsapi.GetKeyPolicyInput{KeyId: id}).Policy
	}
	if got := get(); got != kms.InitialPolicy(account) {
		t.Errorf("first policy %s", got)
	}
	alice := h.user(t, account, "alice", "")
	text := `{"Version":"2012-10-17","Statement":[{"Sid":"Enable IAM User Permissions","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"kms:*","Resource":"*"},
	  {"Effect":"Allow","Principal":{"AWS":"` + alice.ARN + `"},"Action":"kms:Decrypt","Resource":"*"}]}`
	h.run(t, kmsapi.OpPutKeyPolicy, &kmsapi.PutKeyPolicyInput{KeyId: id, Policy: text, PolicyName: new("default")})
	if got := get(); got != text {
		t.Errorf("policy %s, want it as it was put", got)
	}
	if got := must[kmsapi.ListKeyPoliciesOutput](t, h, kmsapi.OpListKeyPolicies, &kmsapi.ListKeyPoliciesInput{KeyId: id}).PolicyNames; !slices.Equal(got, []string{"default"}) {
		t.Errorf("ListKeyPolicies = %v", got)
	}
	onlyAlice := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + alice.ARN + `"},"Action":"kms:*","Resource":"*"}}`
	for _, tt := range []struct{ name, policy, want string }{
		{"lock-out", onlyAlice, "The new key policy will not allow you to update the key policy in the future."},
		{"not JSON", "{", "The new key policy contains invalid Json."},
		{"no policy", `{"Version":"2012-10-17"}`, "The new key policy is not valid."},
		{"nobody", strings.ReplaceAll(text, "alice", "bob"), "Policy contains a statement with one or more invalid principals."},
		{"no principal", strings.ReplaceAll(text, alice.ARN, "x"), "Policy contains a statement with one or more invalid principals."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h.refused(t, "MalformedPolicyDocumentException: "+tt.want, kmsapi.OpPutKeyPolicy, &kmsapi.PutKeyPolicyInput{KeyId: id, Policy: tt.policy})
		})
	}
	h.refused(t, "LimitExceededException: The key policy is longer than 32768 bytes.", kmsapi.OpPutKeyPolicy, &kmsapi.PutKeyPolicyInput{KeyId: id, Policy: text + strings.Repeat(" ", 32<<10)})
	h.refused(t, "NotFoundException: No such policy exists", kmsapi.OpPutKeyPolicy, &kmsapi.PutKeyPolicyInput{KeyId: id, Policy: text, PolicyName: new("other")})
	h.refused(t, "NotFoundException: No such policy exists", kmsapi.OpGetKeyPolicy, &kmsapi.GetKeyPolicyInput{KeyId: id, PolicyName: new("other")})
	h.run(t, kmsapi.OpPutKeyPolicy, &kmsapi.PutKeyPolicyInput{KeyId: id, Policy: onlyAlice, BypassPolicyLockoutSafetyCheck: new(true)})
	if _, err := h.call(kmsapi.OpGetKeyPolicy, &kmsapi.GetKeyPolicyInput{KeyId: id}); !strings.Contains(shown(err), "because no resource-based policy allows the kms:GetKeyPolicy action") {
		t.Errorf("the root reads a key that lets nobody but alice in: %s", shown(err))
	}
	got := must[kmsapi.GetKeyPolicyOutput](t, h, kmsapi.OpGetKeyPolicy, &kmsapi.GetKeyPolicyInput{KeyId: id}, as(alice))
	if *got.Policy != onlyAlice {
		t.Errorf("policy %s", *got.Policy)
	}
}

func TestTags(t *testing.T) {
	h := newHouse(t)
	id, _ := h.key(t)
	tags := func() map[string]string {
		all := make(map[string]string)
		for _, tag := range must[kmsapi.ListResourceTagsOutput](t, h, kmsapi.OpListResourceTags, &kmsapi.ListResourceTagsInput{KeyId: id}).Tags {
			all[tag.TagKey] = tag.TagValue
		}
		return all
	}
	h.run(t, kmsapi.OpTagResource, &kmsapi.TagResourceInput{KeyId: id, Tags: []kmsapi.Tag{{TagKey: "a", TagValue: "1"}, {TagKey: "A", TagValue: "2"}}})
	h.run(t, kmsapi.OpTagResource, &kmsapi.TagResourceInput{KeyId: id, Tags: []kmsapi.Tag{{TagKey: "a", TagValue: "3"}}})
	if diff := cmp.Diff(map[string]string{"a": "3", "A": "2"}, tags()); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	h.run(t, kmsapi.OpUntagResource, &kmsapi.UntagResourceInput{KeyId: id, TagKeys: []string{"a", "not there"}})
	if diff := cmp.Diff(map[string]string{"A": "2"}, tags()); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	var many []kmsapi.Tag
	for i := range 50 {
		many = append(many, kmsapi.Tag{TagKey: fmt.Sprint(i)})
	}
	h.refused(t, "TagException: Too many tags", kmsapi.OpTagResource, &kmsapi.TagResourceInput{KeyId: id, Tags: many})
	h.refused(t, "TagException: Duplicate tag keys", kmsapi.OpTagResource, &kmsapi.TagResourceInput{KeyId: id, Tags: []kmsapi.Tag{{TagKey: "x"}, {TagKey: "x"}}})
	h.refused(t, "TagException: Tags beginning with aws: are reserved", kmsapi.OpTagResource, &kmsapi.TagResourceInput{KeyId: id, Tags: []kmsapi.Tag{{TagKey: "aws:x"}}})
	h.refused(t, "TagException: Tags beginning with aws: are reserved", kmsapi.OpUntagResource, &kmsapi.UntagResourceInput{KeyId: id, TagKeys: []string{"aws:x"}})
}

// Pages together are the list, whatever their size, and a marker is good for its own
// question only.
func TestPages(t *testing.T) {
	h := newHouse(t)
	var ids []string
	for i := range 5 {
		id, _ := h.key(t)
		ids = append(ids, id)
		h.run(t, kmsapi.OpCreateAlias, &kmsapi.CreateAliasInput{AliasName: fmt.Sprintf("alias/%d", i), TargetKeyId: ids[0]})
		h.run(t, kmsapi.OpTagResource, &kmsapi.TagResourceInput{KeyId: ids[0], Tags: []kmsapi.Tag{{TagKey: fmt.Sprint(i)}}})
		h.run(t, kmsapi.OpRotateKeyOnDemand, &kmsapi.RotateKeyOnDemandInput{KeyId: ids[0]})
		h.run(t, kmsapi.OpCreateGrant, &kmsapi.CreateGrantInput{
			KeyId: ids[0], GranteePrincipal: new("arn:aws:iam::123456789012:root"), RetiringPrincipal: new("arn:aws:iam::123456789012:root"), Operations: []string{"Decrypt"},
		})
	}
	two := new(int32(2))
	lists := map[string]func(marker *string) (n int, truncated *bool, next *string, err error){
		"ListKeys": func(m *string) (int, *bool, *string, error) {
			out, err := do[kmsapi.ListKeysOutput](t, h, kmsapi.OpListKeys, &kmsapi.ListKeysInput{Limit: two, Marker: m})
			if err != nil {
				return 0, nil, nil, err
			}
			return len(out.Keys), out.Truncated, out.NextMarker, nil
		},
		"ListAliases": func(m *string) (int, *bool, *string, error) {
			out, err := do[kmsapi.ListAliasesOutput](t, h, kmsapi.OpListAliases, &kmsapi.ListAliasesInput{Limit: two, Marker: m})
			if err != nil {
				return 0, nil, nil, err
			}
			return len(out.Aliases), out.Truncated, out.NextMarker, nil
		},
		"ListResourceTags": func(m *string) (int, *bool, *string, error) {
			out, err := do[kmsapi.ListResourceTagsOutput](t, h, kmsapi.OpListResourceTags, &kmsapi.ListResourceTagsInput{KeyId: ids[0], Limit: two, Marker: m})
			if err != nil {
				return 0, nil, nil, err
			}
			return len(out.Tags), out.Truncated, out.NextMarker, nil
		},
		"ListKeyRotations": func(m *string) (int, *bool, *string, error) {
			out, err := do[kmsapi.ListKeyRotationsOutput](t, h, kmsapi.OpListKeyRotations, &kmsapi.ListKeyRotationsInput{KeyId: ids[0], Limit: two, Marker: m})
			if err != nil {
				return 0, nil, nil, err
			}
			return len(out.Rotations), out.Truncated, out.NextMarker, nil
		},
		"ListGrants": func(m *string) (int, *bool, *string, error) {
			out, err := do[kmsapi.ListGrantsOutput](t, h, kmsapi.OpListGrants, &kmsapi.ListGrantsInput{KeyId: ids[0], Limit: two, Marker: m})
			if err != nil {
				return 0, nil, nil, err
			}
			return len(out.Grants), out.Truncated, out.NextMarker, nil
		},
		"ListRetirableGrants": func(m *string) (int, *bool, *string, error) {
			out, err := do[kmsapi.ListRetirableGrantsOutput](t, h, kmsapi.OpListRetirableGrants, &kmsapi.ListRetirableGrantsInput{RetiringPrincipal: new("arn:aws:iam::123456789012:root"), Limit: two, Marker: m})
			if err != nil {
				return 0, nil, nil, err
			}
			return len(out.Grants), out.Truncated, out.NextMarker, nil
		},
	}
	var foreign *string
	for name, list := range lists {
		t.Run(name, func(t *testing.T) {
			var sizes []int
			var marker *string
			for {
				n, truncated, next, err := list(marker)
				if err != nil {
					t.Fatal(err)
				}
				sizes = append(sizes, n)
				if *truncated != (next != nil) {
					t.Fatalf("Truncated = %v with marker %v", *truncated, next)
				}
				if next == nil {
					break
				}
				marker = next
			}
			if !slices.Equal(sizes, []int{2, 2, 1}) {
				t.Errorf("pages of %v, want 2, 2 and 1", sizes)
			}
			for _, m := range []*string{foreign, new("rubbish"), new("%")} {
				if m == nil {
					continue
				}
				if _, _, _, err := list(m); shown(err) != "InvalidMarkerException: The Marker value is invalid." {
					t.Errorf("another list's marker, or none: %s", shown(err))
				}
			}
			foreign = marker
		})
	}
}
