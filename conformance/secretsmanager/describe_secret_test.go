package secretsmanager_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/google/go-cmp/cmp"
)

func TestDescribeSecretMembers(t *testing.T) {
	k := newKit(t)
	base := []string{"ARN", "Name", "CreatedDate", "LastChangedDate"}
	name := k.empty("s")
	describe := func(want ...string) map[string]any {
		t.Helper()
		out := ask(t, "DescribeSecret", in{"SecretId": name})
		wantMembers(t, out, append(want, base...)...)
		return out
	}
	describe()
	k.put(name, "v")
	describe("VersionIdsToStages")
	k.must(k.UpdateSecret(k.ctx(), &secretsmanager.UpdateSecretInput{SecretId: &name, Description: aws.String("d")}))
	describe("VersionIdsToStages", "Description")
	k.must(k.UpdateSecret(k.ctx(), &secretsmanager.UpdateSecretInput{SecretId: &name, Description: aws.String("")}))
	describe("VersionIdsToStages")
	k.must(k.TagResource(k.ctx(), &secretsmanager.TagResourceInput{SecretId: &name, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}))
	out := describe("VersionIdsToStages", "Tags")
	if diff := cmp.Diff([]any{map[string]any{"Key": "k", "Value": "v"}}, out["Tags"]); diff != "" {
		t.Errorf("Tags (-want +got):\n%s", diff)
	}
	k.must(k.UntagResource(k.ctx(), &secretsmanager.UntagResourceInput{SecretId: &name, TagKeys: []string{"k"}}))
	out = describe("VersionIdsToStages", "Tags")
	if diff := cmp.Diff([]any{}, out["Tags"]); diff != "" {
		t.Errorf("Tags after the last one was removed (-want +got):\n%s", diff)
	}
	k.must(k.DeleteSecret(k.ctx(), &secretsmanager.DeleteSecretInput{SecretId: &name}))
	describe("VersionIdsToStages", "Tags", "DeletedDate")
	k.must(k.RestoreSecret(k.ctx(), &secretsmanager.RestoreSecretInput{SecretId: &name}))
	describe("VersionIdsToStages", "Tags")
}

// An empty description at creation is none.
func TestDescribeSecretEmptyDescription(t *testing.T) {
	k := newKit(t)
	name := k.prefix + "s"
	k.create(&secretsmanager.CreateSecretInput{Name: &name, Description: aws.String("")})
	wantMembers(t, ask(t, "DescribeSecret", in{"SecretId": name}), "ARN", "Name", "CreatedDate", "LastChangedDate")
}

func TestDescribeSecretDates(t *testing.T) {
	k := newKit(t)
	name, _ := k.secret("s", "v")
	describe := func() *secretsmanager.DescribeSecretOutput {
		t.Helper()
		out, err := k.DescribeSecret(k.ctx(), &secretsmanager.DescribeSecretInput{SecretId: &name})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	first := describe()
	if !first.CreatedDate.Equal(*first.LastChangedDate) && first.LastChangedDate.Sub(*first.CreatedDate) > time.Second {
		t.Errorf("a new secret was created %v and changed %v", first.CreatedDate, first.LastChangedDate)
	}
	last := first
	for _, change := range []struct {
		name string
		do   func() error
	}{
		{"a value", func() error {
			_, err := k.PutSecretValue(k.ctx(), &secretsmanager.PutSecretValueInput{SecretId: &name, SecretString: aws.String("w")})
			return err
		}},
		{"a description", func() error {
			_, err := k.UpdateSecret(k.ctx(), &secretsmanager.UpdateSecretInput{SecretId: &name, Description: aws.String("d")})
			return err
		}},
	} {
		if err := change.do(); err != nil {
			t.Fatal(err)
		}
		now := describe()
		if !now.LastChangedDate.After(*last.LastChangedDate) {
			t.Errorf("after %s LastChangedDate is still %v", change.name, last.LastChangedDate)
		}
		if !now.CreatedDate.Equal(*first.CreatedDate) {
			t.Errorf("after %s CreatedDate is %v, was %v", change.name, now.CreatedDate, first.CreatedDate)
		}
		last = now
	}
}

func TestDescribeSecretErrors(t *testing.T) {
	k := newKit(t)
	describe := func(id string) error {
		_, err := k.DescribeSecret(k.ctx(), &secretsmanager.DescribeSecretInput{SecretId: &id})
		return err
	}
	wantError[*types.ResourceNotFoundException](t, describe(k.prefix+"none"), textNoSecret)
	wantCode(t, describe(" Inv*Name? "), "ValidationException", textBadName)
	wantError[*types.ResourceNotFoundException](t, describe("arn:aws:secretsmanager:"+shared.Config.Region+":000000000000:secret:"+k.prefix+"none-AbCdEf"), "")
}
