package secretsmanager_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

const day = 24 * time.Hour

// delete calls DeleteSecret; 0 days leaves the window out.
func (k *kit) delete(id string, days int64, force *bool) (*secretsmanager.DeleteSecretOutput, error) {
	in := &secretsmanager.DeleteSecretInput{SecretId: &id, ForceDeleteWithoutRecovery: force}
	if days != 0 {
		in.RecoveryWindowInDays = &days
	}
	return k.DeleteSecret(k.ctx(), in)
}

func TestDeleteSecretMembers(t *testing.T) {
	k := newKit(t)
	name, arn := k.secret("s", "v")
	out := ask(t, "DeleteSecret", in{"SecretId": name})
	wantMembers(t, out, "ARN", "Name", "DeletionDate")
	if out["ARN"] != arn || out["Name"] != name {
		t.Errorf("answer = %v", out)
	}
}

func TestDeleteSecretWindow(t *testing.T) {
	k := newKit(t)
	for _, tc := range []struct {
		name  string
		days  int64
		force *bool
		want  time.Duration
	}{
		{"default", 0, nil, 30 * day},
		{"shortest", 7, nil, 7 * day},
		{"longest", 30, nil, 30 * day},
		{"with-force-false", 9, aws.Bool(false), 9 * day},
		{"forced", 0, aws.Bool(true), 0},
	} {
		name, _ := k.secret(tc.name, "v")
		out, err := k.delete(name, tc.days, tc.force)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if off := time.Until(*out.DeletionDate) - tc.want; off < -5*time.Minute || off > 5*time.Minute {
			t.Errorf("%s: DeletionDate = %v, want %v from now", tc.name, out.DeletionDate, tc.want)
		}
	}
}

func TestDeleteSecretErrors(t *testing.T) {
	k := newKit(t)
	name, _ := k.secret("s", "v")
	gone := k.scheduled("gone")
	for _, days := range []int64{-1, 1, 6, 31, 1 << 40} {
		_, err := k.delete(name, days, nil)
		wantError[*types.InvalidParameterException](t, err, "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).")
	}
	_, err := k.delete(name, 7, aws.Bool(true))
	wantError[*types.InvalidParameterException](t, err, "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.")
	_, err = k.delete(k.prefix+"none", 0, nil)
	wantError[*types.ResourceNotFoundException](t, err, textNoSecret)
	_, err = k.delete(gone, 0, nil)
	wantError[*types.InvalidRequestException](t, err, "") // AWS's text is not known
	_, err = k.delete("Inv Name", 0, nil)
	wantCode(t, err, "ValidationException", textBadName)
	if got := k.value(name, ""); got != "v" {
		t.Errorf("after refused calls the value is %q, want v", got)
	}
}

// Forcing the deletion of a name that nobody has succeeds, with an invented ARN.
func TestDeleteSecretForcedTwice(t *testing.T) {
	k := newKit(t)
	name := k.prefix + "none"
	out, err := k.delete(name, 0, aws.Bool(true))
	if err != nil {
		t.Fatal(err)
	}
	suffixOf(t, aws.ToString(out.ARN), name)
	if aws.ToString(out.Name) != name || out.DeletionDate == nil {
		t.Errorf("answer = %v %v", aws.ToString(out.Name), out.DeletionDate)
	}
}

func TestDeleteSecretForcedWhenScheduled(t *testing.T) {
	k := newKit(t)
	name := k.scheduled("s")
	k.must(k.delete(name, 0, aws.Bool(true)))
	ours(t, "it takes a while there")
	_, err := k.DescribeSecret(k.ctx(), &secretsmanager.DescribeSecretInput{SecretId: &name})
	wantError[*types.ResourceNotFoundException](t, err, textNoSecret)
	_, err = k.RestoreSecret(k.ctx(), &secretsmanager.RestoreSecretInput{SecretId: &name})
	wantError[*types.ResourceNotFoundException](t, err, textNoSecret)
}

// A forced deletion leaves nothing: the name is free, and what comes after it has
// no part of what was.
func TestDeleteSecretForcedLeavesNothing(t *testing.T) {
	ours(t, "a name is not free at once there")
	k := newKit(t)
	name := k.prefix + "s"
	old := k.create(&secretsmanager.CreateSecretInput{
		Name: &name, SecretString: aws.String("old"), Description: aws.String("d"),
		Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}},
	})
	k.must(k.delete(name, 0, aws.Bool(true)))
	_, err := k.GetSecretValue(k.ctx(), &secretsmanager.GetSecretValueInput{SecretId: &name})
	wantError[*types.ResourceNotFoundException](t, err, textNoSecret)
	k.create(&secretsmanager.CreateSecretInput{Name: &name})
	wantMembers(t, ask(t, "DescribeSecret", in{"SecretId": name}), "ARN", "Name", "CreatedDate", "LastChangedDate")
	_, err = k.GetSecretValue(k.ctx(), &secretsmanager.GetSecretValueInput{SecretId: &name})
	wantError[*types.ResourceNotFoundException](t, err, "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT")
	_, err = k.GetSecretValue(k.ctx(), &secretsmanager.GetSecretValueInput{SecretId: old.ARN})
	wantError[*types.ResourceNotFoundException](t, err, textNoSecret)
}

// What works on a secret that is scheduled for deletion, and what does not.
func TestDeleteSecretScheduled(t *testing.T) {
	k := newKit(t)
	name := k.scheduled("s")
	for op, call := range map[string]func() error{
		"GetSecretValue": func() error {
			_, err := k.GetSecretValue(k.ctx(), &secretsmanager.GetSecretValueInput{SecretId: &name})
			return err
		},
		"PutSecretValue": func() error {
			_, err := k.PutSecretValue(k.ctx(), &secretsmanager.PutSecretValueInput{SecretId: &name, SecretString: aws.String("v")})
			return err
		},
		"UpdateSecret": func() error {
			_, err := k.UpdateSecret(k.ctx(), &secretsmanager.UpdateSecretInput{SecretId: &name, Description: aws.String("d")})
			return err
		},
		"TagResource": func() error {
			_, err := k.TagResource(k.ctx(), &secretsmanager.TagResourceInput{SecretId: &name, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}})
			return err
		},
		"UntagResource": func() error {
			_, err := k.UntagResource(k.ctx(), &secretsmanager.UntagResourceInput{SecretId: &name, TagKeys: []string{"k"}})
			return err
		},
		"GetResourcePolicy": func() error {
			_, err := k.GetResourcePolicy(k.ctx(), &secretsmanager.GetResourcePolicyInput{SecretId: &name})
			return err
		},
	} {
		t.Log(op)
		wantError[*types.InvalidRequestException](t, call(), textScheduled)
	}
	out, err := k.DescribeSecret(k.ctx(), &secretsmanager.DescribeSecretInput{SecretId: &name})
	if err != nil {
		t.Fatal(err)
	}
	if out.DeletedDate == nil || len(out.VersionIdsToStages) != 1 {
		t.Errorf("DeletedDate = %v, VersionIdsToStages = %v", out.DeletedDate, out.VersionIdsToStages)
	}
}
