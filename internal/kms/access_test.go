package kms_test

import (
	"slices"
	"strings"
	"testing"

	"arca/internal/api"
	"arca/internal/api/kmsapi"
	"arca/internal/call"
	"arca/internal/kms"
	"arca/internal/store"
)

const foreignReason = " because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access"

// inputs is a request of every operation about a key; those whose answer depends on
// nothing that may be hidden are left out.
func inputs(keyID string) map[*api.Operation]any {
	blob := make([]byte, 100)
	return map[*api.Operation]any{
		kmsapi.OpCancelKeyDeletion:               &kmsapi.CancelKeyDeletionInput{KeyId: keyID},
		kmsapi.OpCreateGrant:                     &kmsapi.CreateGrantInput{KeyId: keyID, GranteePrincipal: new("arn:aws:iam::123456789012:root"), Operations: []string{"Decrypt"}},
		kmsapi.OpDecrypt:                         &kmsapi.DecryptInput{KeyId: &keyID, CiphertextBlob: blob},
		kmsapi.OpDescribeKey:                     &kmsapi.DescribeKeyInput{KeyId: keyID},
		kmsapi.OpDisableKey:                      &kmsapi.DisableKeyInput{KeyId: keyID},
		kmsapi.OpDisableKeyRotation:              &kmsapi.DisableKeyRotationInput{KeyId: keyID},
		kmsapi.OpEnableKey:                       &kmsapi.EnableKeyInput{KeyId: keyID},
		kmsapi.OpEnableKeyRotation:               &kmsapi.EnableKeyRotationInput{KeyId: keyID},
		kmsapi.OpEncrypt:                         &kmsapi.EncryptInput{KeyId: keyID, Plaintext: []byte("x")},
		kmsapi.OpGenerateDataKey:                 &kmsapi.GenerateDataKeyInput{KeyId: keyID, KeySpec: new("AES_256")},
		kmsapi.OpGenerateDataKeyWithoutPlaintext: &kmsapi.GenerateDataKeyWithoutPlaintextInput{KeyId: keyID, KeySpec: new("AES_256")},
		kmsapi.OpGetKeyPolicy:                    &kmsapi.GetKeyPolicyInput{KeyId: keyID},
		kmsapi.OpGetKeyRotationStatus:            &kmsapi.GetKeyRotationStatusInput{KeyId: keyID},
		kmsapi.OpListGrants:                      &kmsapi.ListGrantsInput{KeyId: keyID},
		kmsapi.OpListKeyPolicies:                 &kmsapi.ListKeyPoliciesInput{KeyId: keyID},
		kmsapi.OpListKeyRotations:                &kmsapi.ListKeyRotationsInput{KeyId: keyID},
		kmsapi.OpListResourceTags:                &kmsapi.ListResourceTagsInput{KeyId: keyID},
		kmsapi.OpPutKeyPolicy:                    &kmsapi.PutKeyPolicyInput{KeyId: keyID, Policy: kms.InitialPolicy(account)},
		kmsapi.OpReEncrypt:                       &kmsapi.ReEncryptInput{SourceKeyId: &keyID, DestinationKeyId: keyID, CiphertextBlob: blob},
		kmsapi.OpRetireGrant:                     &kmsapi.RetireGrantInput{KeyId: &keyID, GrantId: new(strings.Repeat("0", 64))},
		kmsapi.OpRevokeGrant:                     &kmsapi.RevokeGrantInput{KeyId: keyID, GrantId: strings.Repeat("0", 64)},
		kmsapi.OpRotateKeyOnDemand:               &kmsapi.RotateKeyOnDemandInput{KeyId: keyID},
		kmsapi.OpScheduleKeyDeletion:             &kmsapi.ScheduleKeyDeletionInput{KeyId: keyID},
		kmsapi.OpTagResource:                     &kmsapi.TagResourceInput{KeyId: keyID, Tags: []kmsapi.Tag{}},
		kmsapi.OpUntagResource:                   &kmsapi.UntagResourceInput{KeyId: keyID, TagKeys: []string{}},
		kmsapi.OpUpdateKeyDescription:            &kmsapi.UpdateKeyDescriptionInput{KeyId: keyID},
	}
}

// general are the operations that are about no single key that exists.
func general() map[*api.Operation]any {
	return map[*api.Operation]any{
		kmsapi.OpCreateAlias:         &kmsapi.CreateAliasInput{AliasName: "alias/a", TargetKeyId: missingKey},
		kmsapi.OpCreateKey:           &kmsapi.CreateKeyInput{},
		kmsapi.OpDeleteAlias:         &kmsapi.DeleteAliasInput{AliasName: "alias/a"},
		kmsapi.OpGenerateRandom:      &kmsapi.GenerateRandomInput{NumberOfBytes: new(int32(1))},
		kmsapi.OpListAliases:         &kmsapi.ListAliasesInput{},
		kmsapi.OpListKeys:            &kmsapi.ListKeysInput{},
		kmsapi.OpListRetirableGrants: &kmsapi.ListRetirableGrantsInput{RetiringPrincipal: new("arn:aws:iam::123456789012:root")},
		kmsapi.OpUpdateAlias:         &kmsapi.UpdateAliasInput{AliasName: "alias/a", TargetKeyId: missingKey},
	}
}

// Every operation asks, and whoever is denied cannot tell a key that exists from one that
// does not.
func TestEveryOperationAsks(t *testing.T) {
	h := newHouse(t)
	nobody := h.user(t, account, "nobody", "")
	id, _ := h.key(t)
	there, missing := inputs(id), inputs(missingKey)
	every := general()
	for op, in := range there {
		every[op] = in
		_, err := h.call(op, in, as(nobody))
		got := shown(err)
		if !strings.HasPrefix(got, "AccessDeniedException: User: "+nobody.ARN+" is not authorized to perform: kms:") {
			t.Errorf("%s: %s, want a denial", op.Name, got)
		}
		if op == kmsapi.OpRetireGrant {
			continue // says the same of keys that are not there in the words of a foreign one
		}
		_, err = h.call(op, missing[op], as(nobody))
		if other := strings.ReplaceAll(shown(err), missingKey, id); other != got {
			t.Errorf("%s: a denied caller learns whether the key is there:\n %s\n %s", op.Name, got, other)
		}
	}
	for op, in := range general() {
		_, err := h.call(op, in, as(nobody))
		if got := shown(err); !strings.HasPrefix(got, "AccessDeniedException: ") {
			t.Errorf("%s: %s, want a denial", op.Name, got)
		}
	}
	for _, op := range kmsapi.Service.Operations {
		if !h.dispatcher.Serves(op) || every[op] == nil {
			t.Errorf("%s is not served, or not tested here", op.Name)
		}
	}
}

// A KeyId that names nothing is told as such, whatever the operation; most operations
// take no alias.
func TestKeyIDs(t *testing.T) {
	h := newHouse(t)
	id, _ := h.key(t)
	h.run(t, kmsapi.OpCreateAlias, &kmsapi.CreateAliasInput{AliasName: "alias/a", TargetKeyId: id})
	aliases := []*api.Operation{
		kmsapi.OpDecrypt, kmsapi.OpDescribeKey, kmsapi.OpEncrypt, kmsapi.OpGenerateDataKey, kmsapi.OpGenerateDataKeyWithoutPlaintext, kmsapi.OpReEncrypt,
	}
	for _, tt := range []struct{ name, keyID, want string }{
		{"no such key", missingKey, "NotFoundException: Key '" + keyARNs + "key/" + missingKey + "' does not exist"},
		{"malformed", "x", "NotFoundException: Invalid keyId 'x'"},
		{"upper case", strings.ToUpper(missingKey[:8]) + "A" + missingKey[9:], "NotFoundException: Invalid keyId '" + missingKey[:8] + "A" + missingKey[9:] + "'"},
		{"another service's ARN", "arn:aws:s3:::x", "InvalidArnException: Invalid arn arn:aws:s3:::x"},
		{"no ARN", "arn:", "InvalidArnException: Invalid arn arn:"},
		{"neither key nor alias", keyARNs + "x", "InvalidArnException: Invalid arn " + keyARNs + "x"},
		{"another region", "arn:aws:kms:us-east-1:123456789012:key/" + id, "NotFoundException: Invalid arn us-east-1"},
		{"an alias", "alias/a", "NotFoundException: Invalid keyId 'alias/a'"},
		{"the ARN of an alias", keyARNs + "alias/a", "InvalidArnException: Key Aliases are not supported for this operation"},
	} {
		for op, in := range inputs(tt.keyID) {
			isAlias := strings.Contains(tt.keyID, "alias/")
			if isAlias && (slices.Contains(aliases, op) || op == kmsapi.OpRetireGrant) || op == kmsapi.OpRetireGrant && tt.name == "no such key" {
				continue
			}
			_, err := h.call(op, in)
			if got := shown(err); got != tt.want {
				t.Errorf("%s with %s: %s, want %s", op.Name, tt.name, got, tt.want)
			}
		}
	}
}

// Of a key of another account nothing shows that the key's policy does not let show:
// neither whether it exists, nor its state, nor that an operation is for its own account.
func TestForeignKeysAreHidden(t *testing.T) {
	h := newHouse(t)
	_, arn := h.key(t)
	gone := "arn:aws:kms:eu-west-1:123456789012:key/" + missingKey
	h.run(t, kmsapi.OpCreateAlias, &kmsapi.CreateAliasInput{AliasName: "alias/a", TargetKeyId: arn})
	for _, name := range []string{arn, gone} {
		for op, in := range inputs(name) {
			action := op.Name
			if op == kmsapi.OpReEncrypt {
				action = "ReEncryptFrom"
			}
			h.refused(t, "AccessDeniedException: User: arn:aws:iam::999999999999:root is not authorized to perform: kms:"+action+" on this resource"+foreignReason,
				op, in, otherRoot())
		}
	}
	for _, alias := range []string{"alias/a", "alias/none"} {
		h.refused(t, "AccessDeniedException: User: arn:aws:iam::999999999999:root is not authorized to perform: kms:DescribeKey on this resource"+foreignReason,
			kmsapi.OpDescribeKey, &kmsapi.DescribeKeyInput{KeyId: "arn:aws:kms:eu-west-1:123456789012:" + alias}, otherRoot())
	}
	// Without its ARN it is a key of the caller's own, which does not exist.
	id := arn[strings.LastIndex(arn, "/")+1:]
	h.refused(t, "NotFoundException: Key 'arn:aws:kms:eu-west-1:999999999999:key/"+id+"' does not exist", kmsapi.OpDescribeKey, &kmsapi.DescribeKeyInput{KeyId: id}, otherRoot())
	blob := h.encrypt(t, arn, "x", nil)
	h.refused(t, "AccessDeniedException: User: arn:aws:iam::999999999999:root is not authorized to perform: kms:Decrypt on the resource associated with this ciphertext"+foreignReason,
		kmsapi.OpDecrypt, &kmsapi.DecryptInput{CiphertextBlob: blob}, otherRoot())
}

// Within an account the key policy decides, or hands the decision on; between accounts
// both sides must allow.
func TestWhoMay(t *testing.T) {
	h := newHouse(t)
	const use = "kms:Encrypt"
	alice := h.user(t, account, "alice", allow("*", use))
	bob := h.user(t, account, "bob", "")
	denied := h.user(t, account, "denied", deny("*", use))
	role := h.session(t, account, "app", "")
	theirs := h.user(t, otherAccount, "carol", allow("*", use))
	theirsNot := h.user(t, otherAccount, "dave", "")
	admin := `{"Sid":"a","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":["kms:Put*","kms:Create*"],"Resource":"*"}`
	open := `{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"kms:Encrypt","Resource":"*"}`
	to := func(principal string, extra ...string) string {
		return `{"Version":"2012-10-17","Statement":[` + admin + `,{"Effect":"Allow","Principal":{"AWS":"` + principal + `"},"Action":"kms:Encrypt","Resource":"*"}` + strings.Join(extra, "") + `]}`
	}
	everybody := map[string]call.Principal{"alice": alice, "bob": bob, "denied": denied, "role": role, "carol": theirs, "dave": theirsNot}
	for _, tt := range []struct {
		name, policy string
		may          string // names of those who may
	}{
		{"the account", to("arn:aws:iam::123456789012:root"), "alice"},
		{"a user", to(bob.ARN), "bob"},
		{"a user who is denied", to(denied.ARN), ""},
		{"a role", to("arn:aws:iam::123456789012:role/app"), "role"},
		{"a session", to(role.ARN), "role"},
		{"another account", to("arn:aws:iam::999999999999:root"), "carol"},
		{"a user of another account", to(theirsNot.ARN), ""},
		{"everybody", to("*"), "alice bob role carol"},
		{"nobody", `{"Version":"2012-10-17","Statement":[` + admin + `]}`, ""},
		{"all but alice", to("*", `,{"Effect":"Deny","Principal":{"AWS":"`+alice.ARN+`"},"Action":"kms:*","Resource":"*"}`), "bob role carol"},
		{"everybody of one account", `{"Version":"2012-10-17","Statement":[` + admin + `,` + strings.TrimSuffix(open, "}") + `,"Condition":{"StringEquals":{"kms:CallerAccount":"123456789012"}}}]}`, "alice bob role"},
		{"everybody through a service", `{"Version":"2012-10-17","Statement":[` + admin + `,` + strings.TrimSuffix(open, "}") + `,"Condition":{"StringLike":{"kms:ViaService":"*"}}}]}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, arn := h.key(t, withPolicy(tt.policy))
			for name, p := range everybody {
				_, err := h.call(kmsapi.OpEncrypt, &kmsapi.EncryptInput{KeyId: arn, Plaintext: []byte("x")}, as(p))
				want := strings.Contains(" "+tt.may+" ", " "+name+" ")
				if err == nil != want {
					t.Errorf("%s: %s, want allowed: %v", name, shown(err), want)
				}
				if err != nil && !strings.HasPrefix(shown(err), "AccessDeniedException: ") {
					t.Errorf("%s: %s", name, shown(err))
				}
			}
		})
	}
}

// Condition keys of KMS's own have the values that AWS documents.
func TestConditions(t *testing.T) {
	h := newHouse(t)
	root := `{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"kms:*","Resource":"*"}`
	with := func(condition string) func(in *kmsapi.CreateKeyInput) {
		return func(in *kmsapi.CreateKeyInput) {
			in.Policy = new(`{"Version":"2012-10-17","Statement":[` + root + `,{"Effect":"Deny","Principal":"*","Action":"kms:Encrypt","Resource":"*","Condition":` + condition + `}]}`)
			in.Tags = []kmsapi.Tag{{TagKey: "Team", TagValue: "a"}}
		}
	}
	for _, tt := range []struct {
		name, condition string
		denies          bool
	}{
		{"context", `{"StringEquals":{"kms:EncryptionContext:app":"billing"}}`, true},
		{"context key without case", `{"StringEquals":{"kms:EncryptionContext:APP":"billing"}}`, true},
		{"context value with case", `{"StringEquals":{"kms:EncryptionContext:app":"Billing"}}`, false},
		{"no such context", `{"Null":{"kms:EncryptionContext:other":"true"}}`, true},
		{"context keys", `{"ForAllValues:StringEquals":{"kms:EncryptionContextKeys":["app","stage"]}}`, true},
		{"context keys with case", `{"ForAnyValue:StringEquals":{"kms:EncryptionContextKeys":"App"}}`, false},
		{"caller account", `{"StringEquals":{"kms:CallerAccount":"123456789012"}}`, true},
		{"via service", `{"Null":{"kms:ViaService":"true"}}`, true},
		{"not via AWS", `{"Bool":{"aws:ViaAWSService":"false"}}`, true},
		{"algorithm", `{"StringEquals":{"kms:EncryptionAlgorithm":"SYMMETRIC_DEFAULT"}}`, true},
		{"request alias", `{"StringEquals":{"kms:RequestAlias":"alias/app"}}`, true},
		{"resource aliases", `{"ForAnyValue:StringEquals":{"kms:ResourceAliases":"alias/second"}}`, true},
		{"tag", `{"StringEquals":{"aws:ResourceTag/team":"a"}}`, true},
		{"other tag", `{"StringEquals":{"aws:ResourceTag/team":"b"}}`, false},
		{"spec", `{"StringEquals":{"kms:KeySpec":"SYMMETRIC_DEFAULT","kms:KeyUsage":"ENCRYPT_DECRYPT","kms:KeyOrigin":"AWS_KMS"},"Bool":{"kms:MultiRegion":"false"}}`, true},
		{"account of the key", `{"StringEquals":{"aws:ResourceAccount":"123456789012"}}`, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, _ := h.key(t, with(tt.condition))
			for _, alias := range []string{"alias/app", "alias/second"} {
				h.run(t, kmsapi.OpCreateAlias, &kmsapi.CreateAliasInput{AliasName: alias, TargetKeyId: id})
			}
			_, err := h.call(kmsapi.OpEncrypt, &kmsapi.EncryptInput{KeyId: "alias/app", Plaintext: []byte("x"), EncryptionContext: ctx1})
			if denied := err != nil; denied != tt.denies {
				t.Errorf("%s, want denied: %v", shown(err), tt.denies)
			}
			for _, alias := range []string{"alias/app", "alias/second"} {
				h.run(t, kmsapi.OpDeleteAlias, &kmsapi.DeleteAliasInput{AliasName: alias})
			}
		})
	}
}

// Use decides for another service: as the caller, through the service.
func TestUse(t *testing.T) {
	h := newHouse(t)
	encCtx := versioned("1")
	use := func(p call.Principal, key *kms.Key, via string) error {
		c := &call.Call{Op: kmsapi.OpDecrypt, Now: h.now, Partition: "aws", Region: region, Caller: p}
		return h.dispatchUse(t, c, key, via, encCtx)
	}
	alice := h.user(t, account, "alice", "")
	denied := h.user(t, account, "denied", deny("*", "kms:Decrypt"))
	stranger := h.user(t, otherAccount, "stranger", allow("*", "kms:*"))
	c := from(account, region)
	var def *kms.Key
	if _, err := h.store.Update(t.Context(), func(tx *store.Tx) (err error) { def, err = h.svc.DefaultKey(tx, c, ownerOf(c)); return err }); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		caller call.Principal
		via    string
		ok     bool
	}{
		{"through Secrets Manager", alice, "secretsmanager", true},
		{"by himself", alice, "", false},
		{"through something else", alice, "lambda", false},
		{"denied by himself", denied, "secretsmanager", false},
		{"of another account", stranger, "secretsmanager", false},
	} {
		if err := use(tt.caller, def, tt.via); err == nil != tt.ok {
			t.Errorf("the default key, %s: %s, want allowed: %v", tt.name, shown(err), tt.ok)
		}
	}
	policy := `{"Version":"2012-10-17","Statement":[
	  {"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"kms:*","Resource":"*"},
	  {"Effect":"Allow","Principal":{"AWS":["` + alice.ARN + `","arn:aws:iam::999999999999:root"]},"Action":"kms:Decrypt","Resource":"*","Condition":{"StringEquals":{
	    "kms:ViaService":"secretsmanager.eu-west-1.amazonaws.com","kms:EncryptionContext:SecretVersionId":"1"}}}]}`
	id, arn := h.key(t, withPolicy(policy))
	find := func() (k *kms.Key) {
		h.view(t, func(v *store.Snap) { k = h.svc.KeyByID(v, id) })
		return k
	}
	for _, p := range []call.Principal{alice, stranger} {
		if err := use(p, find(), "secretsmanager"); err != nil {
			t.Errorf("%s through Secrets Manager: %v", p.ARN, err)
		}
		if err := use(p, find(), ""); err == nil {
			t.Errorf("%s by himself is allowed", p.ARN)
		}
	}
	encCtx = versioned("2")
	if err := use(alice, find(), "secretsmanager"); err == nil {
		t.Error("another encryption context is allowed")
	}
	encCtx = versioned("1")
	h.run(t, kmsapi.OpDisableKey, &kmsapi.DisableKeyInput{KeyId: id})
	if got := shown(use(alice, find(), "secretsmanager")); got != "DisabledException: "+arn+" is disabled." {
		t.Errorf("a disabled key: %s", got)
	}
	h.run(t, kmsapi.OpScheduleKeyDeletion, &kmsapi.ScheduleKeyDeletionInput{KeyId: id})
	if got := shown(use(alice, find(), "secretsmanager")); got != "KMSInvalidStateException: "+arn+" is pending deletion." {
		t.Errorf("a key pending deletion: %s", got)
	}
}

// The rest of what other services call: names of keys, and rewrapping.
func TestFindAndRewrap(t *testing.T) {
	h := newHouse(t)
	id, arn := h.key(t)
	h.run(t, kmsapi.OpCreateAlias, &kmsapi.CreateAliasInput{AliasName: "alias/a", TargetKeyId: id})
	c, owner := from(account, region), kms.Owner{Account: account, Region: region}
	h.view(t, func(v *store.Snap) {
		for _, name := range []string{id, arn, "alias/a", keyARNs + "alias/a"} {
			if k, err := h.svc.Find(v, owner, name); err != nil || k.ARN() != arn {
				t.Errorf("Find(%s) = %v, %v", name, k, err)
			}
		}
		for _, name := range []string{"", kms.SecretsManagerAlias, keyARNs + kms.SecretsManagerAlias} {
			if k, err := h.svc.Find(v, owner, name); k != nil || err != nil {
				t.Errorf("Find(%q) before the first use = %v, %v", name, k, err)
			}
		}
		if k, err := h.svc.Find(v, kms.Owner{Account: otherAccount, Region: region}, arn); err != nil || k.ARN() != arn {
			t.Errorf("Find of another account's key by its ARN = %v, %v", k, err)
		}
		for _, name := range []string{"alias/none", missingKey, "x", "arn:aws:kms:eu-west-1:999999999999:alias/aws/secretsmanager"} {
			if k, err := h.svc.Find(v, owner, name); k != nil || err == nil {
				t.Errorf("Find(%s) = %v, %v", name, k, err)
			}
		}
	})
	var wrapped []byte
	var plain *string
	_, err := h.store.Update(t.Context(), func(tx *store.Tx) error {
		k, w, used, err := h.svc.GenerateDataKey(tx, c, owner, "", versioned("1"))
		if err != nil {
			return err
		}
		wrapped = w
		secret := k.Secret()
		plain = new(string(secret.Bytes()))
		if used == id {
			t.Error("the default key is the other one")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	h.view(t, func(v *store.Snap) {
		to := h.svc.KeyByID(v, id)
		again, err := h.svc.Rewrap(v, c, wrapped, to, versioned("1"))
		if err != nil {
			t.Fatal(err)
		}
		if k, err := h.svc.KeyOf(v, again); err != nil || k.ARN() != arn {
			t.Errorf("KeyOf = %v, %v", k, err)
		}
		k, err := h.svc.Decrypt(v, c, again, versioned("1"))
		if err != nil {
			t.Fatal(err)
		}
		if secret := k.Secret(); string(secret.Bytes()) != *plain {
			t.Error("another data key comes back")
		}
		if _, err := h.svc.Rewrap(v, c, wrapped, to, versioned("2")); err == nil {
			t.Error("Rewrap accepts another context")
		}
		if _, err := h.svc.Rewrap(v, from(otherAccount, region), wrapped, to, versioned("1")); err == nil {
			t.Error("Rewrap opens a default key's data key for another account")
		}
	})
}
