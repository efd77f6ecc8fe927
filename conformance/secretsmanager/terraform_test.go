package secretsmanager_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// The calls of Terraform's AWS provider, in its order and with its members: a
// secret, a version of it, a policy, a change, and all of it destroyed again.
func TestTerraform(t *testing.T) {
	k := newKit(t)
	name := k.prefix + "terraform"
	tfToken := func() *string {
		return aws.String(fmt.Sprintf("terraform-%026d", rand.Uint64()))
	}

	// Apply: aws_secretsmanager_secret.
	created, err := k.CreateSecret(k.ctx(), &secretsmanager.CreateSecretInput{
		Name: &name, ClientRequestToken: tfToken(), Description: aws.String("made by terraform"),
		ForceOverwriteReplicaSecret: false, Tags: tagList("owner", "platform"),
	})
	if err != nil {
		t.Fatal(err)
	}
	id := aws.ToString(created.ARN)
	k.remove(id)
	if created.VersionId != nil {
		t.Errorf("a secret without a value has version %s", *created.VersionId)
	}
	describe := func() (*secretsmanager.DescribeSecretOutput, error) {
		return k.DescribeSecret(k.ctx(), &secretsmanager.DescribeSecretInput{SecretId: &id})
	}
	for range 2 {
		out, err := describe()
		if err != nil {
			t.Fatal(err)
		}
		if aws.ToString(out.Name) != name || aws.ToString(out.Description) != "made by terraform" || len(out.Tags) != 1 ||
			out.KmsKeyId != nil || out.RotationEnabled != nil || out.DeletedDate != nil || out.VersionIdsToStages != nil {
			t.Errorf("DescribeSecret = %+v", out)
		}
	}
	policy := func() string {
		t.Helper()
		out, err := k.GetResourcePolicy(k.ctx(), &secretsmanager.GetResourcePolicyInput{SecretId: &id})
		if err != nil {
			t.Fatal(err)
		}
		return aws.ToString(out.ResourcePolicy)
	}
	if got := policy(); got != "" {
		t.Errorf("policy = %q, want none", got)
	}

	// Apply: aws_secretsmanager_secret_version.
	put, err := k.PutSecretValue(k.ctx(), &secretsmanager.PutSecretValueInput{SecretId: &id, ClientRequestToken: tfToken(), SecretString: aws.String(`{"user":"u"}`)})
	if err != nil {
		t.Fatal(err)
	}
	read, err := k.GetSecretValue(k.ctx(), &secretsmanager.GetSecretValueInput{SecretId: &id, VersionId: put.VersionId})
	if err != nil {
		t.Fatal(err)
	}
	if aws.ToString(read.SecretString) != `{"user":"u"}` || len(read.VersionStages) != 1 || read.VersionStages[0] != "AWSCURRENT" {
		t.Errorf("GetSecretValue = %q %v", aws.ToString(read.SecretString), read.VersionStages)
	}

	// Apply: aws_secretsmanager_secret_policy.
	k.must(nil, k.putPolicy(id, rootPolicy(id), aws.Bool(false)))
	for range 2 {
		sameJSON(t, policy(), rootPolicy(id))
	}

	// Change of the description: no version comes of it.
	updated, err := k.UpdateSecret(k.ctx(), &secretsmanager.UpdateSecretInput{SecretId: &id, ClientRequestToken: tfToken(), Description: aws.String("changed"), KmsKeyId: aws.String("")})
	if err != nil {
		t.Fatal(err)
	}
	if updated.VersionId != nil {
		t.Errorf("a change of the description made version %s", *updated.VersionId)
	}
	k.must(k.UntagResource(k.ctx(), &secretsmanager.UntagResourceInput{SecretId: &id, TagKeys: []string{"owner"}}))
	k.must(k.TagResource(k.ctx(), &secretsmanager.TagResourceInput{SecretId: &id, Tags: tagList("team", "data")}))
	out, err := describe()
	if err != nil {
		t.Fatal(err)
	}
	if aws.ToString(out.Description) != "changed" || len(out.VersionIdsToStages) != 1 || len(out.Tags) != 1 {
		t.Errorf("DescribeSecret = %+v", out)
	}

	// Destroy: the policy, the labels of the version, then the secret.
	k.must(k.DeleteResourcePolicy(k.ctx(), &secretsmanager.DeleteResourcePolicyInput{SecretId: &id}))
	if got := policy(); got != "" {
		t.Errorf("policy = %q, want none", got)
	}
	k.must(k.RemoveRegionsFromReplication(k.ctx(), &secretsmanager.RemoveRegionsFromReplicationInput{SecretId: &id, RemoveReplicaRegions: []string{"eu-west-1"}}))
	k.must(k.DeleteSecret(k.ctx(), &secretsmanager.DeleteSecretInput{SecretId: &id, RecoveryWindowInDays: aws.Int64(30)}))
	if out, err = describe(); err != nil || out.DeletedDate == nil {
		t.Fatalf("DescribeSecret: DeletedDate = %v, %v", out.DeletedDate, err)
	}

	// Apply again: the provider tells a name that is still taken by the text, and
	// tries again until it changes.
	_, err = k.CreateSecret(k.ctx(), &secretsmanager.CreateSecretInput{Name: &name, ClientRequestToken: tfToken()})
	wantError[*types.InvalidRequestException](t, err, "You can't create this secret because a secret with this name is already scheduled for deletion.")
	wantTextIn(t, err, "scheduled for deletion")

	// What it takes for gone when it refreshes.
	_, err = k.GetSecretValue(k.ctx(), &secretsmanager.GetSecretValueInput{SecretId: &id, VersionId: put.VersionId})
	wantTextIn(t, err, "because it was marked for deletion")
	_, err = k.DescribeSecret(k.ctx(), &secretsmanager.DescribeSecretInput{SecretId: aws.String(k.prefix + "never")})
	if _, ok := errors.AsType[*types.ResourceNotFoundException](err); !ok {
		t.Errorf("DescribeSecret of nothing: %v", err)
	}

	// A destroy without recovery.
	k.must(k.DeleteSecret(k.ctx(), &secretsmanager.DeleteSecretInput{SecretId: &id, ForceDeleteWithoutRecovery: aws.Bool(true)}))
}

// wantTextIn checks for the part of a text that the provider looks for.
func wantTextIn(t *testing.T, err error, part string) {
	t.Helper()
	e, ok := errors.AsType[modelled](err)
	if !ok || !strings.Contains(e.ErrorMessage(), part) {
		t.Errorf("error = %v, want one that says %q", err, part)
	}
}
