package secretsmanager_test

import (
	"context"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/google/go-cmp/cmp"
)

// Secrets under customers' keys. AWS takes money for a key, and a week to delete it, so
// there is one test for most of it.

// keys is a KMS client with the keys it made.
type keys struct {
	*kms.Client
	k *kit
}

func (k *kit) keys() *keys {
	return &keys{Client: kms.NewFromConfig(shared.Config), k: k}
}

// key makes a key and returns its id and ARN.
func (s *keys) key() (id, arn string) {
	s.k.t.Helper()
	out, err := s.CreateKey(s.k.ctx(), &kms.CreateKeyInput{})
	if err != nil {
		s.k.t.Fatal(err)
	}
	id = aws.ToString(out.KeyMetadata.KeyId)
	s.k.t.Cleanup(func() {
		_, _ = s.ScheduleKeyDeletion(context.Background(), &kms.ScheduleKeyDeletionInput{KeyId: &id, PendingWindowInDays: aws.Int32(7)})
	})
	return id, aws.ToString(out.KeyMetadata.Arn)
}

// versionKeys returns how many keys each labelled version has, and all of them.
func (k *kit) versionKeys(id string) (count []int, all []string) {
	k.t.Helper()
	out, err := k.ListSecretVersionIds(k.ctx(), &secretsmanager.ListSecretVersionIdsInput{SecretId: &id})
	if err != nil {
		k.t.Fatal(err)
	}
	for _, v := range out.Versions {
		count = append(count, len(v.KmsKeyIds))
		all = append(all, v.KmsKeyIds...)
	}
	slices.Sort(all)
	return count, slices.Compact(all)
}

func TestCustomerKey(t *testing.T) {
	k := newKit(t)
	s := k.keys()
	id, arn := s.key()
	name, value := k.prefix+"s", "one"
	made := k.create(&secretsmanager.CreateSecretInput{Name: &name, SecretString: &value, KmsKeyId: &id})
	if got := k.value(name, ""); got != value {
		t.Errorf("value = %q, want %q", got, value)
	}
	d, err := k.DescribeSecret(k.ctx(), &secretsmanager.DescribeSecretInput{SecretId: made.ARN})
	if err != nil {
		t.Fatal(err)
	}
	if got := aws.ToString(d.KmsKeyId); got != id {
		t.Errorf("KmsKeyId = %q, want %q", got, id)
	}
	if _, all := k.versionKeys(name); len(all) != 1 || all[0] == "DefaultEncryptionKey" {
		t.Errorf("KmsKeyIds = %q, want the key", all)
	}
	k.put(name, "two")

	// Back to the default key: the versions come along.
	k.must(k.UpdateSecret(k.ctx(), &secretsmanager.UpdateSecretInput{SecretId: &name, KmsKeyId: aws.String("")}))
	if d, err = k.DescribeSecret(k.ctx(), &secretsmanager.DescribeSecretInput{SecretId: &name}); err != nil || d.KmsKeyId != nil {
		t.Errorf("KmsKeyId = %v (%v), want none", d.KmsKeyId, err)
	}
	if _, all := k.versionKeys(name); !slices.Contains(all, "DefaultEncryptionKey") {
		t.Errorf("KmsKeyIds = %q, want the default key among them", all)
	}
	// The former key is not needed any more.
	k.must(s.DisableKey(k.ctx(), &kms.DisableKeyInput{KeyId: &id}))
	for stage, want := range map[string]string{"": "two", "AWSPREVIOUS": "one"} {
		if got := k.value(name, stage); got != want {
			t.Errorf("value %s = %q, want %q", stage, got, want)
		}
	}
	_, err = k.UpdateSecret(k.ctx(), &secretsmanager.UpdateSecretInput{SecretId: &name, KmsKeyId: &arn})
	if shared.AWS {
		if err == nil {
			t.Error("a disabled key was accepted")
		}
	} else {
		wantError[*types.EncryptionFailure](t, err, "")
	}
	k.must(s.EnableKey(k.ctx(), &kms.EnableKeyInput{KeyId: &id}))

	// And to its alias, which is kept as it was given.
	alias := "alias/" + k.prefix + "key"
	k.must(s.CreateAlias(k.ctx(), &kms.CreateAliasInput{AliasName: &alias, TargetKeyId: &id}))
	t.Cleanup(func() {
		_, _ = s.DeleteAlias(context.Background(), &kms.DeleteAliasInput{AliasName: &alias})
	})
	k.must(k.UpdateSecret(k.ctx(), &secretsmanager.UpdateSecretInput{SecretId: &name, KmsKeyId: &alias}))
	if d, err = k.DescribeSecret(k.ctx(), &secretsmanager.DescribeSecretInput{SecretId: &name}); err != nil || aws.ToString(d.KmsKeyId) != alias {
		t.Errorf("KmsKeyId = %v (%v), want %s", d.KmsKeyId, err, alias)
	}
	k.put(name, "three")
	if got := k.value(name, ""); got != "three" {
		t.Errorf("value = %q, want three", got)
	}
}

// A disabled key makes what is under it unreadable until it is enabled again.
func TestDisabledKey(t *testing.T) {
	ours(t, "which code AWS answers with is not known")
	k := newKit(t)
	s := k.keys()
	id, _ := s.key()
	name, value := k.prefix+"s", "one"
	k.create(&secretsmanager.CreateSecretInput{Name: &name, SecretString: &value, KmsKeyId: &id})
	k.must(s.DisableKey(k.ctx(), &kms.DisableKeyInput{KeyId: &id}))
	_, err := k.GetSecretValue(k.ctx(), &secretsmanager.GetSecretValueInput{SecretId: &name})
	wantError[*types.DecryptionFailure](t, err, "")
	_, err = k.PutSecretValue(k.ctx(), &secretsmanager.PutSecretValueInput{SecretId: &name, SecretString: &value})
	wantError[*types.EncryptionFailure](t, err, "")
	k.must(s.EnableKey(k.ctx(), &kms.EnableKeyInput{KeyId: &id}))
	if got := k.value(name, ""); got != value {
		t.Errorf("value = %q, want %q", got, value)
	}
}

// The former key stays beside the new one, as AWS documents.
func TestFormerKeyStays(t *testing.T) {
	ours(t, "how AWS lists two keys of a version is not known")
	k := newKit(t)
	s := k.keys()
	id, arn := s.key()
	name, _ := k.secret("s", "one")
	k.must(k.UpdateSecret(k.ctx(), &secretsmanager.UpdateSecretInput{SecretId: &name, KmsKeyId: &id}))
	count, all := k.versionKeys(name)
	if diff := cmp.Diff([]string{"DefaultEncryptionKey", arn}, all); diff != "" || !slices.Equal(count, []int{2}) {
		t.Errorf("%d keys (-want +got):\n%s", count, diff)
	}
	k.must(s.DisableKey(k.ctx(), &kms.DisableKeyInput{KeyId: &id}))
	if got := k.value(name, ""); got != "one" {
		t.Errorf("value = %q, want one", got)
	}
}

func TestKeyThatIsNone(t *testing.T) {
	k := newKit(t)
	other := "us-west-2"
	if shared.Config.Region == other {
		other = "us-east-1"
	}
	name := k.prefix + "s"
	_, err := k.CreateSecret(k.ctx(), &secretsmanager.CreateSecretInput{Name: &name, KmsKeyId: aws.String("arn:aws:kms:" + other + ":111122223333:key/12345678-1234-4234-8234-123456789012")})
	wantError[*types.InvalidParameterException](t, err, "The operation failed because of an invalid KMS key: Invalid arn "+other)
	_, err = k.CreateSecret(k.ctx(), &secretsmanager.CreateSecretInput{Name: &name, KmsKeyId: aws.String("aws/secretsmanager")})
	wantError[*types.InvalidParameterException](t, err, "")
	_, err = k.CreateSecret(k.ctx(), &secretsmanager.CreateSecretInput{Name: &name, KmsKeyId: aws.String("arn:aws:kms:" + shared.Config.Region + ":111122223333:key/12345678-1234-4234-8234-123456789012")})
	wantCode(t, err, "AccessDeniedException", "Access to KMS is not allowed")
}
