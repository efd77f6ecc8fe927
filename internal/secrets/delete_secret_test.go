package secrets_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api/smapi"
)

const oneDay = 24 * time.Hour

func TestDeleteSecret(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	for _, tc := range []struct {
		name string
		in   smapi.DeleteSecretInput
		days time.Duration
	}{
		{"default", smapi.DeleteSecretInput{}, 30},
		{"shortest", smapi.DeleteSecretInput{RecoveryWindowInDays: new(int64(7))}, 7},
		{"longest", smapi.DeleteSecretInput{RecoveryWindowInDays: new(int64(30))}, 30},
		{"window and no force", smapi.DeleteSecretInput{RecoveryWindowInDays: new(int64(8)), ForceDeleteWithoutRecovery: new(false)}, 8},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.in.SecretId = strings.ReplaceAll(tc.name, " ", "-")
			arn := b.create(t, tc.in.SecretId).ARN
			b.put(t, tc.in.SecretId, 2)
			out := must[smapi.DeleteSecretOutput](t, b, smapi.OpDeleteSecret, &tc.in)
			end := b.now.Add(tc.days * oneDay)
			if diff := cmp.Diff(&smapi.DeleteSecretOutput{ARN: arn, Name: &tc.in.SecretId, DeletionDate: &end}, out); diff != "" {
				t.Errorf("DeleteSecret (-want +got):\n%s", diff)
			}
			if got := b.labels(t, tc.in.SecretId); got != "1:AWSPREVIOUS 2:AWSCURRENT" {
				t.Errorf("labels of a scheduled secret = %s", got)
			}
			refused(t, b, smapi.OpDeleteSecret, &tc.in, wasScheduled)
			must[smapi.RestoreSecretOutput](t, b, smapi.OpRestoreSecret, &smapi.RestoreSecretInput{SecretId: tc.in.SecretId})
			if got := b.read(t, tc.in.SecretId); got != "value 2" {
				t.Errorf("value after a restore = %q", got)
			}
		})
	}
	events := strings.Join(b.auditEvents(t), "\n")
	for event, want := range map[string]int{"StartSecretVersionDelete": 8, "CancelSecretVersionDelete": 8, "EndSecretVersionDelete": 0} {
		if got := strings.Count(events, event); got != want {
			t.Errorf("%d events %s, want %d", got, event, want)
		}
	}
}

func TestDeleteSecretForced(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	force := func(id string) *smapi.DeleteSecretOutput {
		t.Helper()
		return must[smapi.DeleteSecretOutput](t, b, smapi.OpDeleteSecret, &smapi.DeleteSecretInput{SecretId: id, ForceDeleteWithoutRecovery: new(true)})
	}
	arn := b.create(t, "s").ARN
	b.read(t, "s")
	want := &smapi.DeleteSecretOutput{ARN: arn, Name: new("s"), DeletionDate: &b.now}
	if diff := cmp.Diff(want, force("s")); diff != "" {
		t.Errorf("forced deletion (-want +got):\n%s", diff)
	}
	refused(t, b, smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: "s"}, noSecret)
	refused(t, b, smapi.OpRestoreSecret, &smapi.RestoreSecretInput{SecretId: "s"}, noSecret)

	again := force("s")
	if *again.ARN == *arn || !regexp.MustCompile("^"+arnOfBed+"s-[A-Za-z0-9]{6}$").MatchString(*again.ARN) || *again.Name != "s" || !again.DeletionDate.Equal(b.now) {
		t.Errorf("forced deletion of nothing = %+v, want an invented ARN", again)
	}
	if got := force(*arn); *got.ARN != *arn || *got.Name != "s" {
		t.Errorf("forced deletion of a full ARN of nothing = %+v", got)
	}
	if got := force(arnOfBed + "none"); !strings.HasPrefix(*got.ARN, arnOfBed+"none-") {
		t.Errorf("forced deletion of a partial ARN of nothing = %+v", got)
	}
	refused(t, b, smapi.OpDeleteSecret, &smapi.DeleteSecretInput{SecretId: "arn:aws:s3:::x", ForceDeleteWithoutRecovery: new(true)}, noSecret)

	scheduled := b.create(t, "later").ARN
	b.schedule(t, "later")
	if got := force("later"); *got.ARN != *scheduled || !got.DeletionDate.Equal(b.now) {
		t.Errorf("forced deletion of a scheduled secret = %+v", got)
	}
	refused(t, b, smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: "later"}, noSecret)
	b.create(t, "later")
	events := strings.Join(b.auditEvents(t), "\n")
	for _, event := range []string{"StartSecretVersionDelete", "EndSecretVersionDelete"} {
		if got := strings.Count(events, event); got != 2 {
			t.Errorf("%d events %s, want one for each of two versions", got, event)
		}
	}
}

func TestDeleteSecretErrors(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	b.create(t, "s")
	const window = "InvalidParameterException: The RecoveryWindowInDays value must be between 7 and 30 days (inclusive)."
	const both = "InvalidParameterException: You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays."
	for _, tc := range []struct {
		name string
		in   smapi.DeleteSecretInput
		want string
	}{
		{"bad name", smapi.DeleteSecretInput{SecretId: "Inv Name"}, badName},
		{"bad name, forced", smapi.DeleteSecretInput{SecretId: "Inv Name", ForceDeleteWithoutRecovery: new(true)}, badName},
		{"unknown", smapi.DeleteSecretInput{SecretId: "none"}, noSecret},
		{"too short", smapi.DeleteSecretInput{SecretId: "s", RecoveryWindowInDays: new(int64(6))}, window},
		{"too long", smapi.DeleteSecretInput{SecretId: "s", RecoveryWindowInDays: new(int64(31))}, window},
		{"zero", smapi.DeleteSecretInput{SecretId: "s", RecoveryWindowInDays: new(int64(0))}, window},
		{"negative", smapi.DeleteSecretInput{SecretId: "s", RecoveryWindowInDays: new(int64(-1 << 63))}, window},
		{"huge", smapi.DeleteSecretInput{SecretId: "s", RecoveryWindowInDays: new(int64(1<<63 - 1))}, window},
		{"window and force", smapi.DeleteSecretInput{SecretId: "s", RecoveryWindowInDays: new(int64(7)), ForceDeleteWithoutRecovery: new(true)}, both},
		{"bad window and force", smapi.DeleteSecretInput{SecretId: "s", RecoveryWindowInDays: new(int64(1)), ForceDeleteWithoutRecovery: new(true)}, both},
	} {
		t.Run(tc.name, func(t *testing.T) { refused(t, b, smapi.OpDeleteSecret, &tc.in, tc.want) })
	}
	if got := b.read(t, "s"); got != "value of s" {
		t.Errorf("value after refused deletions = %q", got)
	}
	ck := b.askedBy(t, func() {
		must[smapi.DeleteSecretOutput](t, b, smapi.OpDeleteSecret, &smapi.DeleteSecretInput{SecretId: "s", RecoveryWindowInDays: new(int64(9)), ForceDeleteWithoutRecovery: new(false)})
	})
	want := map[string]string{"secretsmanager:SecretId": "s", "secretsmanager:RecoveryWindowInDays": "9", "secretsmanager:ForceDeleteWithoutRecovery": "false",
		"secretsmanager:SecretPrimaryRegion": bedRegion}
	if diff := cmp.Diff(want, keysOf(ck)); diff != "" {
		t.Errorf("condition keys (-want +got):\n%s", diff)
	}
	b.denies(t, "DeleteSecret")
	for _, id := range []string{"s", "none"} {
		refused(t, b, smapi.OpDeleteSecret, &smapi.DeleteSecretInput{SecretId: id, ForceDeleteWithoutRecovery: new(true)}, denial("DeleteSecret"))
	}
}

// What works on a scheduled secret and what does not.
func TestScheduledSecret(t *testing.T) {
	b := newBed(t)
	b.create(t, "s")
	b.schedule(t, "s")
	refused(t, b, smapi.OpTagResource, &smapi.TagResourceInput{SecretId: "s", Tags: []smapi.Tag{{Key: new("k")}}}, wasScheduled)
	refused(t, b, smapi.OpUntagResource, &smapi.UntagResourceInput{SecretId: "s", TagKeys: []string{"k"}}, wasScheduled)
	refused(t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: "s"}, wasScheduled)
	refused(t, b, smapi.OpUpdateSecret, &smapi.UpdateSecretInput{SecretId: "s"}, wasScheduled)
	refused(t, b, smapi.OpPutSecretValue, putInput("s", 2), wasScheduled)
	refused(t, b, smapi.OpRotateSecret, &smapi.RotateSecretInput{SecretId: "s", ClientRequestToken: token(2)}, wasScheduled)
	// Unknown of AWS, chosen.
	refused(t, b, smapi.OpRemoveRegionsFromReplication, &smapi.RemoveRegionsFromReplicationInput{SecretId: "s", RemoveReplicaRegions: []string{"us-east-1"}}, wasScheduled)
	b.describe(t, "s")
}

func TestRestoreSecret(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	arn := b.create(t, "s").ARN
	changed := b.describe(t, "s").LastChangedDate
	b.now = b.now.Add(time.Second)
	want := &smapi.RestoreSecretOutput{ARN: arn, Name: new("s")}
	out := must[smapi.RestoreSecretOutput](t, b, smapi.OpRestoreSecret, &smapi.RestoreSecretInput{SecretId: "s"})
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("RestoreSecret of a secret in use (-want +got):\n%s", diff)
	}
	if got := b.describe(t, "s").LastChangedDate; !got.Equal(*changed) {
		t.Errorf("LastChangedDate = %v after nothing, want %v", got, changed)
	}
	refused(t, b, smapi.OpRestoreSecret, &smapi.RestoreSecretInput{SecretId: "none"}, noSecret)
	refused(t, b, smapi.OpRestoreSecret, &smapi.RestoreSecretInput{SecretId: "Inv Name"}, badName)
	b.denies(t, "RestoreSecret")
	refused(t, b, smapi.OpRestoreSecret, &smapi.RestoreSecretInput{SecretId: "none"}, denial("RestoreSecret"))
}
