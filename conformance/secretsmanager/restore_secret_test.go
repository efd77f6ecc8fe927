package secretsmanager_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

func TestRestoreSecret(t *testing.T) {
	k := newKit(t)
	name, arn := k.secret("s", "one")
	k.put(name, "two")
	before := k.labels(name, nil)
	k.must(k.delete(name, 7, nil))
	out := ask(t, "RestoreSecret", in{"SecretId": name})
	wantMembers(t, out, "ARN", "Name")
	if out["ARN"] != arn || out["Name"] != name {
		t.Errorf("answer = %v", out)
	}
	if got := k.value(name, ""); got != "two" {
		t.Errorf("value = %q, want two", got)
	}
	if got := k.value(name, "AWSPREVIOUS"); got != "one" {
		t.Errorf("previous value = %q, want one", got)
	}
	k.wantLabels(name, nil, before)
	described, err := k.DescribeSecret(k.ctx(), &secretsmanager.DescribeSecretInput{SecretId: &name})
	if err != nil {
		t.Fatal(err)
	}
	if described.DeletedDate != nil {
		t.Errorf("DeletedDate = %v, want none", described.DeletedDate)
	}
	// It can be deleted again.
	k.must(k.delete(name, 7, nil))
	k.must(k.RestoreSecret(k.ctx(), &secretsmanager.RestoreSecretInput{SecretId: &arn}))
}

// One that is not scheduled stays as it is.
func TestRestoreSecretNotScheduled(t *testing.T) {
	k := newKit(t)
	name, _ := k.secret("s", "v")
	k.must(k.RestoreSecret(k.ctx(), &secretsmanager.RestoreSecretInput{SecretId: &name}))
	if got := k.value(name, ""); got != "v" {
		t.Errorf("value = %q, want v", got)
	}
}

func TestRestoreSecretErrors(t *testing.T) {
	k := newKit(t)
	none, bad := k.prefix+"none", "Inv Name"
	_, err := k.RestoreSecret(k.ctx(), &secretsmanager.RestoreSecretInput{SecretId: &none})
	wantError[*types.ResourceNotFoundException](t, err, textNoSecret)
	_, err = k.RestoreSecret(k.ctx(), &secretsmanager.RestoreSecretInput{SecretId: &bad})
	wantCode(t, err, "ValidationException", textBadName)
}
