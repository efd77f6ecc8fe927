package secrets_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"arca/internal/api/kmsapi"
	"arca/internal/api/smapi"
	"arca/internal/audit"
)

// customerKey is a KMS key under its names.
type customerKey struct{ id, arn string }

// alias is the ARN of an alias of bedAccount.
func aliasARN(name string) string { return "arn:aws:kms:" + bedRegion + ":" + bedAccount + ":" + name }

// key makes a customer's key in bedAccount. Without a policy the account decides.
func (b *bed) key(t testing.TB, policy string) customerKey {
	t.Helper()
	in := &kmsapi.CreateKeyInput{}
	if policy != "" {
		in.Policy, in.BypassPolicyLockoutSafetyCheck = &policy, new(true)
	}
	md := must[kmsapi.CreateKeyOutput](t, b, kmsapi.OpCreateKey, in, root(bedAccount)).KeyMetadata
	return customerKey{id: md.KeyId, arn: *md.Arn}
}

func (b *bed) alias(t testing.TB, name string, k customerKey) {
	t.Helper()
	must[kmsapi.CreateAliasOutput](t, b, kmsapi.OpCreateAlias, &kmsapi.CreateAliasInput{AliasName: name, TargetKeyId: k.id}, root(bedAccount))
}

func (b *bed) setKeyPolicy(t testing.TB, k customerKey, policy string) {
	t.Helper()
	must[kmsapi.PutKeyPolicyOutput](t, b, kmsapi.OpPutKeyPolicy, &kmsapi.PutKeyPolicyInput{KeyId: k.id, Policy: policy, BypassPolicyLockoutSafetyCheck: new(true)}, root(bedAccount))
}

func (b *bed) disable(t testing.TB, k customerKey) {
	t.Helper()
	must[kmsapi.DisableKeyOutput](t, b, kmsapi.OpDisableKey, &kmsapi.DisableKeyInput{KeyId: k.id}, root(bedAccount))
}

func (b *bed) enable(t testing.TB, k customerKey) {
	t.Helper()
	must[kmsapi.EnableKeyOutput](t, b, kmsapi.OpEnableKey, &kmsapi.EnableKeyInput{KeyId: k.id}, root(bedAccount))
}

// ownerOfKey is a statement that lets the root of bedAccount do everything with a key,
// and hand that on.
const ownerOfKey = `{"Effect":"Allow","Principal":{"AWS":"` + bedAccount + `"},"Action":"kms:*","Resource":"*"}`

// keyPolicy is a key policy of statements, with ownerOfKey as the first.
func keyPolicy(statements ...string) string {
	return `{"Version":"2012-10-17","Statement":[` + strings.Join(append([]string{ownerOfKey}, statements...), ",") + `]}`
}

// underKey makes CreateSecret name a key.
func underKey(id string) func(*smapi.CreateSecretInput) {
	return func(in *smapi.CreateSecretInput) { in.KmsKeyId = &id }
}

// rekey changes the key of a secret.
func rekey(id, key string) *smapi.UpdateSecretInput {
	return &smapi.UpdateSecretInput{SecretId: id, KmsKeyId: &key}
}

// keyUses are the questions about keys since the last time: action, key and version.
func (b *bed) keyUses() (list []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.keys {
		ck := &b.keys[i]
		version := "?"
		if ck.Context != nil {
			values, _ := ck.Context.Lookup(nil, "kms:encryptioncontext:secretversionid")
			version = strings.Join(values, ",")
		}
		list = append(list, strings.TrimPrefix(ck.Action, "kms:")+" "+ck.Resource+" "+version)
	}
	b.keys = nil
	return list
}

// versionKeys shows the keys of all versions: "1:DefaultEncryptionKey 2:ARN,ARN".
func (b *bed) versionKeys(t testing.TB, id string) string {
	t.Helper()
	out := must[smapi.ListSecretVersionIdsOutput](t, b, smapi.OpListSecretVersionIds, &smapi.ListSecretVersionIdsInput{SecretId: id, IncludeDeprecated: new(true)}, root(bedAccount))
	var list []string
	for _, v := range out.Versions {
		list = append(list, strings.TrimLeft((*v.VersionId)[24:], "0")+":"+strings.Join(v.KmsKeyIds, ","))
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// keyRecord is an audit record, as far as keys show in it.
type keyRecord struct {
	EventSource, EventName, ErrorCode, SourceIPAddress, UserAgent string
	UserIdentity                                                  struct{ ARN, InvokedBy string }
	RequestParameters                                             map[string]any
	ResponseElements                                              map[string]any
	Resources                                                     []struct{ ARN, AccountID, Type string }
	Arca                                                          struct {
		Denied *struct{ Action, Resource, Reason string }
	}
}

// keyRecords are the audit records from the n-th on.
func (b *bed) keyRecords(t testing.TB, n int) (list []keyRecord) {
	t.Helper()
	err := audit.Scan(context.Background(), b.logDir, 0, func(_ uint64, line []byte) error {
		var r keyRecord
		if err := json.Unmarshal(line, &r); err != nil {
			return err
		}
		list = append(list, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list[n:]
}

const (
	keyDenied  = "AccessDeniedException: Access to KMS is not allowed"
	invalidKey = "InvalidParameterException: The operation failed because of an invalid KMS key: "
	noEncrypt  = "EncryptionFailure: Secrets Manager can't encrypt the protected secret text using the provided KMS key. Check that the KMS key is available, enabled, and not in an invalid state."
)
