package secrets_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api"
	"arca/internal/api/kmsapi"
	"arca/internal/api/smapi"
	"arca/internal/kms"
	"arca/internal/secrets"
)

// A key can be named in four ways; the secret shows it as it was named, its versions by
// ARN. Access is probed before anything is stored.
func TestKeyNames(t *testing.T) {
	b := newHouse(t)
	defer b.check(t)
	k := b.key(t, "")
	b.alias(t, "alias/mine", k)
	for i, name := range []string{k.id, k.arn, "alias/mine", aliasARN("alias/mine")} {
		id := "s" + itoa(i)
		b.keyUses()
		b.create(t, id, underKey(name))
		want := []string{
			"GenerateDataKey " + k.arn + " RequestToValidateKeyAccess",
			"Decrypt " + k.arn + " RequestToValidateKeyAccess",
			"GenerateDataKey " + k.arn + " " + *token(1),
		}
		if diff := cmp.Diff(want, b.keyUses()); diff != "" {
			t.Errorf("%s: questions about keys (-want +got):\n%s", name, diff)
		}
		if got := b.describe(t, id).KmsKeyId; got == nil || *got != name {
			t.Errorf("%s: DescribeSecret shows %v", name, got)
		}
		if got := b.versionKeys(t, id); got != "1:"+k.arn {
			t.Errorf("%s: KmsKeyIds = %s", name, got)
		}
		if got := b.read(t, id); got != "value of "+id {
			t.Errorf("%s: value = %q", name, got)
		}
		if got := b.keyUses(); !slices.Equal(got, []string{"Decrypt " + k.arn + " " + *token(1)}) {
			t.Errorf("%s: questions about keys of a read = %q", name, got)
		}
	}
	list := must[smapi.ListSecretsOutput](t, b, smapi.OpListSecrets, &smapi.ListSecretsInput{})
	for i, s := range list.SecretList {
		if s.KmsKeyId == nil {
			t.Errorf("entry %d of ListSecrets has no KmsKeyId", i)
		}
	}
}

func TestKeyThatIsNone(t *testing.T) {
	b := newHouse(t)
	defer b.check(t)
	b.create(t, "s")
	b.create(t, "theirs") // its key of bedAccount
	must[smapi.CreateSecretOutput](t, b, smapi.OpCreateSecret, &smapi.CreateSecretInput{Name: "s", ClientRequestToken: token(1), SecretString: sensitive("x")}, root(otherAccount))
	arn := func(region, account, resource string) string {
		return "arn:aws:kms:" + region + ":" + account + ":" + resource
	}
	theirs := must[kmsapi.DescribeKeyOutput](t, b, kmsapi.OpDescribeKey, &kmsapi.DescribeKeyInput{KeyId: "alias/aws/secretsmanager"}, root(otherAccount))
	theirDefault := *theirs.KeyMetadata.Arn
	const id = "12345678-1234-4234-8234-123456789012"
	for _, tc := range []struct{ name, key, want string }{
		{"no id", "mine", invalidKey + "Invalid keyId 'mine'"},
		{"alias without prefix", "aws/secretsmanager", invalidKey + "Invalid keyId 'aws/secretsmanager'"},
		{"unknown id", id, invalidKey + "Key '" + arn(bedRegion, bedAccount, "key/"+id) + "' does not exist"},
		{"unknown ARN", arn(bedRegion, bedAccount, "key/"+id), invalidKey + "Key '" + arn(bedRegion, bedAccount, "key/"+id) + "' does not exist"},
		{"unknown alias", "alias/none", invalidKey + "Alias " + aliasARN("alias/none") + " is not found."},
		{"other region", arn("us-east-1", bedAccount, "key/"+id), invalidKey + "Invalid arn us-east-1"},
		{"ARN of something else", "arn:aws:sns:" + bedRegion + ":" + bedAccount + ":topic", invalidKey + "Invalid arn arn:aws:sns:" + bedRegion + ":" + bedAccount + ":topic"},
		// What another account has is not told.
		{"other account, unknown", arn(bedRegion, otherAccount, "key/"+id), keyDenied},
		{"other account, unknown alias", arn(bedRegion, otherAccount, "alias/none"), keyDenied},
		{"other account's default key", arn(bedRegion, otherAccount, "alias/aws/secretsmanager"), keyDenied},
		{"other account's default key by ARN", theirDefault, keyDenied},
	} {
		t.Run(tc.name, func(t *testing.T) {
			refused(t, b, smapi.OpCreateSecret, &smapi.CreateSecretInput{Name: "n", ClientRequestToken: token(1), KmsKeyId: &tc.key}, tc.want)
			refused(t, b, smapi.OpUpdateSecret, rekey("s", tc.key), tc.want)
			if b.exists(t, "n") || b.describe(t, "s").KmsKeyId != nil {
				t.Error("something was stored")
			}
		})
	}
}

// Whoever may use Secrets Manager may not use a customer's key for that. Each missing
// permission denies, by name in the audit record, and stores nothing.
func TestKeyDecides(t *testing.T) {
	b := newHouse(t)
	defer b.check(t)
	k := b.key(t, "")
	b.create(t, "s", underKey(k.arn))
	b.put(t, "s", 2)
	const sm = `{"Effect":"Allow","Action":"secretsmanager:*","Resource":"*"}`
	with := func(statements ...string) string {
		return `{"Version":"2012-10-17","Statement":[` + strings.Join(append([]string{sm}, statements...), ",") + `]}`
	}
	may := func(action, condition string) string {
		if condition != "" {
			condition = `,"Condition":` + condition
		}
		return `{"Effect":"Allow","Action":"kms:` + action + `","Resource":"` + k.arn + `"` + condition + `}`
	}
	const via = `{"StringEquals":{"kms:ViaService":"secretsmanager.` + bedRegion + `.amazonaws.com","kms:CallerAccount":"` + bedAccount + `"}}`
	other := `{"StringEquals":{"kms:EncryptionContext:SecretARN":"` + b.arn(t, "s") + `x"}}`
	this := `{"StringEquals":{"kms:EncryptionContext:SecretARN":"` + b.arn(t, "s") + `"},"ForAllValues:StringEquals":{"kms:EncryptionContextKeys":["SecretARN","SecretVersionId"]}}`
	u := b.user(t, bedAccount, "u", with())

	create := &smapi.CreateSecretInput{Name: "n", ClientRequestToken: token(1), SecretString: sensitive("v"), KmsKeyId: &k.arn}
	update := &smapi.UpdateSecretInput{SecretId: "s", ClientRequestToken: token(3), SecretString: sensitive("three")}
	batch := func(t *testing.T) string {
		out := must[smapi.BatchGetSecretValueOutput](t, b, smapi.OpBatchGetSecretValue, &smapi.BatchGetSecretValueInput{SecretIdList: []string{"s"}}, u)
		if len(out.Errors) == 0 {
			return ""
		}
		return *out.Errors[0].ErrorCode + ": " + *out.Errors[0].Message
	}
	for _, tc := range []struct {
		name, policy string
		op           *api.Operation
		in           any
		missing      string // the permission, "" for none
	}{
		{"read", with(), smapi.OpGetSecretValue, get("s"), "kms:Decrypt"},
		{"read, only to encrypt", with(may("GenerateDataKey", "")), smapi.OpGetSecretValue, get("s"), "kms:Decrypt"},
		{"read another secret", with(may("Decrypt", other)), smapi.OpGetSecretValue, get("s"), "kms:Decrypt"},
		{"read this secret", with(may("Decrypt", this)), smapi.OpGetSecretValue, get("s"), ""},
		{"read through the service", with(may("Decrypt", via)), smapi.OpGetSecretValue, get("s"), ""},
		{"read through another service", with(may("Decrypt", strings.Replace(via, "secretsmanager.", "s3.", 1))), smapi.OpGetSecretValue, get("s"), "kms:Decrypt"},
		{"create", with(), smapi.OpCreateSecret, create, "kms:GenerateDataKey"},
		{"create, not to decrypt", with(may("GenerateDataKey", "")), smapi.OpCreateSecret, create, "kms:Decrypt"},
		{"create, not to encrypt", with(may("Decrypt", "")), smapi.OpCreateSecret, create, "kms:GenerateDataKey"},
		{"put", with(may("Decrypt", "")), smapi.OpPutSecretValue, putInput("s", 3), "kms:GenerateDataKey"},
		{"put again", with(may("GenerateDataKey", "")), smapi.OpPutSecretValue, putInput("s", 2), "kms:Decrypt"},
		{"update", with(may("Decrypt", "")), smapi.OpUpdateSecret, update, "kms:GenerateDataKey"},
		{"update the description", with(), smapi.OpUpdateSecret, &smapi.UpdateSecretInput{SecretId: "s", Description: new("d")}, ""},
		{"the same key again", with(), smapi.OpUpdateSecret, rekey("s", k.arn), ""},
		{"another name of the key", with(), smapi.OpUpdateSecret, rekey("s", k.id), "kms:GenerateDataKey"},
		{"put again, allowed", with(may("Decrypt", "")), smapi.OpPutSecretValue, putInput("s", 2), ""},
		{"update, allowed", with(may("GenerateDataKey", via)), smapi.OpUpdateSecret, update, ""},
		{"create, allowed", with(may("*", via)), smapi.OpCreateSecret, create, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b.setPolicy(t, bedAccount, "u", tc.policy)
			before := b.versionKeys(t, "s")
			n := len(b.keyRecords(t, 0))
			if tc.missing == "" {
				if got := b.code(t, tc.op, tc.in, u); got != "" {
					t.Fatalf("error %s", got)
				}
				return
			}
			refused(t, b, tc.op, tc.in, keyDenied, u)
			if got := b.versionKeys(t, "s"); got != before || b.exists(t, "n") {
				t.Error("something was stored")
			}
			r := b.keyRecords(t, n)[0]
			if d := r.Arca.Denied; r.EventName != tc.op.Name || d == nil || d.Action != tc.missing || d.Resource != k.arn {
				t.Errorf("audit record %+v, want the denial of %s", r, tc.missing)
			}
			if tc.op == smapi.OpGetSecretValue {
				if got := batch(t); got != keyDenied {
					t.Errorf("BatchGetSecretValue answers %q", got)
				}
			}
		})
	}
	if got := batch(t); got != "" {
		t.Errorf("BatchGetSecretValue answers %q", got)
	}
	// A key that lets nobody in but by name does not care for policies of the account.
	b.setKeyPolicy(t, k, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::`+bedAccount+`:user/u"},"Action":"kms:Decrypt","Resource":"*"}]}`)
	b.setPolicy(t, bedAccount, "u", with())
	must[smapi.GetSecretValueOutput](t, b, smapi.OpGetSecretValue, get("s"), u)
	refused(t, b, smapi.OpGetSecretValue, get("s"), keyDenied, root(bedAccount))
	b.setPolicy(t, bedAccount, "u", with(`{"Effect":"Deny","Action":"kms:Decrypt","Resource":"*"}`))
	refused(t, b, smapi.OpGetSecretValue, get("s"), keyDenied, u)
}

// The default key serves everybody of its account, but for those who are denied it.
func TestDefaultKeyDenied(t *testing.T) {
	b := newHouse(t)
	defer b.check(t)
	b.create(t, "s")
	u := b.user(t, bedAccount, "u", allow(`"Action":"secretsmanager:*","Resource":"*"`))
	must[smapi.GetSecretValueOutput](t, b, smapi.OpGetSecretValue, get("s"), u)
	must[smapi.PutSecretValueOutput](t, b, smapi.OpPutSecretValue, putInput("s", 2), u)
	b.setPolicy(t, bedAccount, "u", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"secretsmanager:*","Resource":"*"},
		{"Effect":"Deny","Action":"kms:Decrypt","Resource":"*"}]}`)
	refused(t, b, smapi.OpGetSecretValue, get("s"), keyDenied, u)
	refused(t, b, smapi.OpPutSecretValue, putInput("s", 2), keyDenied, u) // a repeat has to be compared
	must[smapi.PutSecretValueOutput](t, b, smapi.OpPutSecretValue, putInput("s", 3), u)
	if got := b.denials(t); !slices.Contains(got, "GetSecretValue AccessDeniedException: kms:Decrypt with an explicit deny in an identity-based policy") {
		t.Errorf("denials = %q", got)
	}
	for _, r := range b.keyRecords(t, 0) {
		if r.EventSource == "kms.amazonaws.com" {
			t.Errorf("record of KMS about the default key: %+v", r)
		}
	}
}

// An alias is followed whenever a version is made. Versions stay under the key that they
// were made with.
func TestAliasMoves(t *testing.T) {
	b := newHouse(t)
	defer b.check(t)
	first, second := b.key(t, ""), b.key(t, "")
	b.alias(t, "alias/mine", first)
	b.create(t, "s", underKey("alias/mine"))
	must[kmsapi.UpdateAliasOutput](t, b, kmsapi.OpUpdateAlias, &kmsapi.UpdateAliasInput{AliasName: "alias/mine", TargetKeyId: second.id})
	b.put(t, "s", 2)
	if got, want := b.versionKeys(t, "s"), "1:"+first.arn+" 2:"+second.arn; got != want {
		t.Errorf("keys = %s, want %s", got, want)
	}
	// The same name once more means the key that has it now.
	must[smapi.UpdateSecretOutput](t, b, smapi.OpUpdateSecret, rekey("s", "alias/mine"))
	if got, want := b.versionKeys(t, "s"), "1:"+second.arn+","+first.arn+" 2:"+second.arn; got != want {
		t.Errorf("keys = %s, want %s", got, want)
	}
	must[kmsapi.DeleteAliasOutput](t, b, kmsapi.OpDeleteAlias, &kmsapi.DeleteAliasInput{AliasName: "alias/mine"})
	refused(t, b, smapi.OpPutSecretValue, putInput("s", 3), noEncrypt)
	if got := b.read(t, "s"); got != "value 2" {
		t.Errorf("value = %q", got)
	}
}

// A key that is disabled or about to be deleted opens nothing and seals nothing, until it
// is enabled again.
func TestKeyState(t *testing.T) {
	b := newHouse(t)
	defer b.check(t)
	k := b.key(t, "")
	b.create(t, "s", underKey(k.id))
	b.create(t, "plain")
	for _, state := range []struct {
		name      string
		take, put func()
	}{
		{"disabled", func() { b.disable(t, k) }, func() { b.enable(t, k) }},
		{"pending deletion",
			func() {
				must[kmsapi.ScheduleKeyDeletionOutput](t, b, kmsapi.OpScheduleKeyDeletion, &kmsapi.ScheduleKeyDeletionInput{KeyId: k.id})
			},
			func() {
				must[kmsapi.CancelKeyDeletionOutput](t, b, kmsapi.OpCancelKeyDeletion, &kmsapi.CancelKeyDeletionInput{KeyId: k.id})
				refused(t, b, smapi.OpGetSecretValue, get("s"), noDecryption) // it is disabled then
				b.enable(t, k)
			}},
	} {
		state.take()
		n := len(b.keyRecords(t, 0))
		refused(t, b, smapi.OpGetSecretValue, get("s"), noDecryption)
		if r := b.keyRecords(t, n); len(r) != 2 || r[1].EventName != "Decrypt" || r[1].ErrorCode == "" {
			t.Errorf("%s: records %+v", state.name, r)
		}
		refused(t, b, smapi.OpPutSecretValue, &smapi.PutSecretValueInput{SecretId: "s", ClientRequestToken: token(1), SecretString: sensitive("value of s")}, noDecryption)
		refused(t, b, smapi.OpPutSecretValue, putInput("s", 2), noEncrypt)
		refused(t, b, smapi.OpUpdateSecret, &smapi.UpdateSecretInput{SecretId: "s", ClientRequestToken: token(2), SecretString: sensitive("v")}, noEncrypt)
		refused(t, b, smapi.OpCreateSecret, &smapi.CreateSecretInput{Name: "n", ClientRequestToken: token(1), KmsKeyId: &k.id}, noEncrypt)
		refused(t, b, smapi.OpUpdateSecret, rekey("plain", k.id), noEncrypt)
		b.describe(t, "s")
		batch := must[smapi.BatchGetSecretValueOutput](t, b, smapi.OpBatchGetSecretValue, &smapi.BatchGetSecretValueInput{SecretIdList: []string{"s", "plain"}})
		if len(batch.SecretValues) != 1 || len(batch.Errors) != 1 || *batch.Errors[0].ErrorCode != "DecryptionFailure" {
			t.Errorf("%s: BatchGetSecretValue = %+v", state.name, batch)
		}
		state.put()
		if got := b.read(t, "s"); got != "value of s" {
			t.Errorf("after %s: value = %q", state.name, got)
		}
	}
	b.put(t, "s", 2)
	// Its state is nobody's business who may not use it.
	b.disable(t, k)
	u := b.user(t, bedAccount, "u", allow(`"Action":"secretsmanager:*","Resource":"*"`))
	refused(t, b, smapi.OpGetSecretValue, get("s"), keyDenied, u)
}

// The keys that a request names are condition keys of it.
func TestKeyConditions(t *testing.T) {
	b := newHouse(t)
	good, bad := b.key(t, ""), b.key(t, "")
	b.alias(t, "alias/good", good)
	u := b.user(t, bedAccount, "u", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["kms:*","secretsmanager:*"],"Resource":"*"},
		{"Effect":"Deny","Action":["secretsmanager:CreateSecret","secretsmanager:UpdateSecret"],"Resource":"*","Condition":{"ArnNotEquals":{"secretsmanager:KmsKeyArn":"`+good.arn+`"}}}]}`)
	create := func(key *string) *smapi.CreateSecretInput {
		return &smapi.CreateSecretInput{Name: "s", ClientRequestToken: token(1), KmsKeyId: key}
	}
	for _, key := range []*string{nil, new(""), new("alias/aws/secretsmanager"), &bad.id, &bad.arn, new("alias/none")} {
		if got := b.code(t, smapi.OpCreateSecret, create(key), u); got != "AccessDeniedException" {
			t.Errorf("CreateSecret with %v: code %q", key, got)
		}
	}
	for _, key := range []string{good.id, good.arn, "alias/good", aliasARN("alias/good")} {
		must[smapi.CreateSecretOutput](t, b, smapi.OpCreateSecret, create(&key), u)
		must[smapi.UpdateSecretOutput](t, b, smapi.OpUpdateSecret, rekey("s", key), u)
		if got := b.code(t, smapi.OpUpdateSecret, rekey("s", bad.arn), u); got != "AccessDeniedException" {
			t.Errorf("UpdateSecret: code %q", got)
		}
		must[smapi.DeleteSecretOutput](t, b, smapi.OpDeleteSecret, &smapi.DeleteSecretInput{SecretId: "s", ForceDeleteWithoutRecovery: new(true)}, u)
	}
}

// A name is not followed into another account for a condition: its answer would tell
// what the name stands for.
func TestKeyConditionsAcrossAccounts(t *testing.T) {
	b := newHouse(t)
	k := b.key(t, "")
	b.alias(t, "alias/secret-project", k)
	b.create(t, "s")
	id := b.arn(t, "s")
	create := func(key string) any {
		return &smapi.CreateSecretInput{Name: "n", ClientRequestToken: token(1), KmsKeyId: &key}
	}
	for _, tc := range []struct {
		name string
		op   *api.Operation
		in   any
		want string // secretsmanager:KmsKeyArn
	}{
		{"key ARN", smapi.OpCreateSecret, create(k.arn), k.arn},
		{"key ARN that is none", smapi.OpCreateSecret, create(k.arn + "0"), k.arn + "0"},
		{"alias ARN", smapi.OpCreateSecret, create(aliasARN("alias/secret-project")), ""},
		{"default key", smapi.OpCreateSecret, create(aliasARN("alias/aws/secretsmanager")), ""},
		{"alias, for their secret", smapi.OpUpdateSecret, rekey(id, "alias/secret-project"), ""},
		{"id, for their secret", smapi.OpUpdateSecret, rekey(id, k.id), ""},
		{"no name, for their secret", smapi.OpUpdateSecret, rekey(id, ""), ""},
		{"key ARN, for their secret", smapi.OpUpdateSecret, rekey(id, k.arn), k.arn},
	} {
		b.questions()
		_, _ = b.call(tc.op, tc.in, root(otherAccount))
		ck := b.questions()[0]
		if got := keysOf(ck)["secretsmanager:KmsKeyArn"]; got != tc.want {
			t.Errorf("%s: KmsKeyArn = %q, want %q", tc.name, got, tc.want)
		}
	}
}

// The calls to KMS have records of their own, as on AWS, unless the operator does not
// want them.
func TestKeyEvents(t *testing.T) {
	for _, omit := range []bool{false, true} {
		b := newHouse(t, func(c *secrets.Config) { c.OmitKeyEvents = omit })
		k := b.key(t, "")
		u := b.user(t, bedAccount, "u", allow(`"Action":["secretsmanager:*","kms:*"],"Resource":"*"`))
		n := len(b.keyRecords(t, 0))
		made := must[smapi.CreateSecretOutput](t, b, smapi.OpCreateSecret, &smapi.CreateSecretInput{Name: "s", ClientRequestToken: token(1), SecretString: sensitive("v"), KmsKeyId: &k.id}, u)
		must[smapi.GetSecretValueOutput](t, b, smapi.OpGetSecretValue, get("s"), u)
		must[smapi.BatchGetSecretValueOutput](t, b, smapi.OpBatchGetSecretValue, &smapi.BatchGetSecretValueInput{SecretIdList: []string{"s"}}, u)
		b.setPolicy(t, bedAccount, "u", allow(`"Action":"secretsmanager:*","Resource":"*"`))
		refused(t, b, smapi.OpGetSecretValue, get("s"), keyDenied, u)

		var names []string
		var uses []keyRecord
		for _, r := range b.keyRecords(t, n) {
			names = append(names, strings.TrimSpace(r.EventName+" "+r.ErrorCode))
			if r.EventSource == "kms.amazonaws.com" {
				uses = append(uses, r)
			}
		}
		if omit {
			if want := []string{"CreateSecret", "GetSecretValue", "BatchGetSecretValue", "GetSecretValue", "PutUserPolicy", "GetSecretValue AccessDeniedException"}; !slices.Equal(names, want) {
				t.Errorf("records %q, want %q", names, want)
			}
			continue
		}
		want := []string{
			"CreateSecret", "GenerateDataKey", "Decrypt", "GenerateDataKey", "GetSecretValue", "Decrypt", "BatchGetSecretValue", "GetSecretValue", "Decrypt",
			"PutUserPolicy", "GetSecretValue AccessDeniedException", "Decrypt AccessDeniedException",
		}
		if diff := cmp.Diff(want, names); diff != "" {
			t.Fatalf("records (-want +got):\n%s", diff)
		}
		for i, r := range uses {
			context := map[string]any{"SecretARN": *made.ARN, "SecretVersionId": *token(1)}
			if i < 2 {
				context["SecretVersionId"] = "RequestToValidateKeyAccess"
			}
			params := map[string]any{"encryptionContext": context, "keyId": k.arn, "keySpec": "AES_256"}
			if r.EventName == "Decrypt" {
				params = map[string]any{"encryptionContext": context, "encryptionAlgorithm": "SYMMETRIC_DEFAULT"}
			}
			if diff := cmp.Diff(params, r.RequestParameters); diff != "" {
				t.Errorf("%s: parameters (-want +got):\n%s", r.EventName, diff)
			}
			const service = "secretsmanager.amazonaws.com"
			if r.UserIdentity.InvokedBy != service || r.SourceIPAddress != service || r.UserAgent != service || !strings.HasSuffix(r.UserIdentity.ARN, ":user/u") || r.ResponseElements != nil {
				t.Errorf("%s: record %+v", r.EventName, r)
			}
			if len(r.Resources) != 1 || r.Resources[0].ARN != k.arn || r.Resources[0].Type != "AWS::KMS::Key" || r.Resources[0].AccountID != bedAccount {
				t.Errorf("%s: resources %+v", r.EventName, r.Resources)
			}
		}
		if d := uses[len(uses)-1].Arca.Denied; d == nil || d.Action != "kms:Decrypt" {
			t.Errorf("denied = %+v", d)
		}
	}
}

// A key that is gone takes with it what only it opens, and nothing else. The secret
// itself stays, and can be given another key.
func TestKeyGone(t *testing.T) {
	b := newHouse(t)
	defer b.check(t)
	k, z := b.key(t, ""), b.key(t, "")
	b.create(t, "s", underKey(k.arn))
	b.create(t, "kept", underKey(k.arn))
	must[smapi.UpdateSecretOutput](t, b, smapi.OpUpdateSecret, rekey("kept", z.arn))
	must[kmsapi.ScheduleKeyDeletionOutput](t, b, kmsapi.OpScheduleKeyDeletion, &kmsapi.ScheduleKeyDeletionInput{KeyId: k.id, PendingWindowInDays: new(int32(7))})
	b.now = b.now.Add(8 * oneDay)
	if err := kms.NewUpkeep(b.kms, b.dispatcher).Step(context.Background(), b.now); err != nil {
		t.Fatal(err)
	}
	b.check(t)
	refused(t, b, smapi.OpGetSecretValue, get("s"), noDecryption)
	refused(t, b, smapi.OpPutSecretValue, putInput("s", 2), noEncrypt)
	if got := b.describe(t, "s").KmsKeyId; got == nil || *got != k.arn {
		t.Errorf("KmsKeyId = %v", got)
	}
	if got := b.read(t, "kept"); got != "value of kept" {
		t.Errorf("value = %q", got)
	}
	must[smapi.UpdateSecretOutput](t, b, smapi.OpUpdateSecret, rekey("s", z.arn))
	refused(t, b, smapi.OpGetSecretValue, get("s"), noDecryption)
	b.put(t, "s", 2)
	if got := b.read(t, "s"); got != "value 2" {
		t.Errorf("value = %q", got)
	}
	if got, want := b.versionKeys(t, "s"), "1:"+k.arn+" 2:"+z.arn; got != want {
		t.Errorf("keys = %s, want %s", got, want)
	}
}

// Rotations of a key change nothing about what is under it.
func TestKeyRotates(t *testing.T) {
	b := newHouse(t)
	defer b.check(t)
	k, z := b.key(t, ""), b.key(t, "")
	rotate := func(k customerKey) {
		must[kmsapi.RotateKeyOnDemandOutput](t, b, kmsapi.OpRotateKeyOnDemand, &kmsapi.RotateKeyOnDemandInput{KeyId: k.id})
	}
	b.threeVersions(t, k.arn)
	rotate(k)
	rotate(z)
	must[smapi.UpdateSecretOutput](t, b, smapi.OpUpdateSecret, rekey("s", z.arn))
	rotate(z)
	must[smapi.UpdateSecretOutput](t, b, smapi.OpUpdateSecret, rekey("s", k.arn))
	if got := b.readVersions(t); got != allVersions {
		t.Errorf("versions %s", got)
	}
	b.put(t, "s", 5)
	if got := b.read(t, "s"); got != "value 5" {
		t.Errorf("value = %q", got)
	}
}
