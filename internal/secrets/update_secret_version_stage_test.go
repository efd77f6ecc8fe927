package secrets_test

import (
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api/smapi"
)

func TestUpdateSecretVersionStage(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	arn := *b.create(t, "s").ARN
	b.put(t, "s", 2, "MINE")
	b.now = b.now.Add(1e9)
	out := must[smapi.UpdateSecretVersionStageOutput](t, b, smapi.OpUpdateSecretVersionStage,
		&smapi.UpdateSecretVersionStageInput{SecretId: arn, VersionStage: "AWSCURRENT", RemoveFromVersionId: token(1), MoveToVersionId: token(2)})
	if diff := cmp.Diff(&smapi.UpdateSecretVersionStageOutput{ARN: &arn, Name: new("s")}, out); diff != "" {
		t.Errorf("UpdateSecretVersionStage (-want +got):\n%s", diff)
	}
	if got := b.labels(t, "s"); got != "1:AWSPREVIOUS 2:AWSCURRENT,MINE" {
		t.Errorf("labels = %s", got)
	}
	if got := b.read(t, "s"); got != "value 2" {
		t.Errorf("value = %q", got)
	}
	if got := b.describe(t, "s").LastChangedDate; !got.Equal(b.now) {
		t.Errorf("LastChangedDate = %v, want %v", got, b.now)
	}
	must[smapi.UpdateSecretVersionStageOutput](t, b, smapi.OpUpdateSecretVersionStage,
		&smapi.UpdateSecretVersionStageInput{SecretId: "s", VersionStage: "AWSPREVIOUS", RemoveFromVersionId: token(1)})
	if got := b.labels(t, "s"); got != "2:AWSCURRENT,MINE" {
		t.Errorf("labels = %s, want version 1 deprecated", got)
	}
	// A deprecated version that still exists can be read by its id and come back.
	must[smapi.GetSecretValueOutput](t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: "s", VersionId: token(1)})
	must[smapi.UpdateSecretVersionStageOutput](t, b, smapi.OpUpdateSecretVersionStage,
		&smapi.UpdateSecretVersionStageInput{SecretId: "s", VersionStage: "AWSCURRENT", RemoveFromVersionId: token(2), MoveToVersionId: token(1)})
	if got := b.labels(t, "s"); got != "1:AWSCURRENT 2:AWSPREVIOUS,MINE" && got != "1:AWSCURRENT 2:MINE,AWSPREVIOUS" {
		t.Errorf("labels = %s", got)
	}
}

func TestUpdateSecretVersionStageErrors(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	b.create(t, "s")
	b.put(t, "s", 2, "MINE")
	b.create(t, "gone")
	b.schedule(t, "gone")
	for _, tc := range []struct {
		name string
		in   smapi.UpdateSecretVersionStageInput
		want string
	}{
		{"bad name", smapi.UpdateSecretVersionStageInput{SecretId: "Inv Name", VersionStage: "X", MoveToVersionId: token(1)}, badName},
		{"unknown", smapi.UpdateSecretVersionStageInput{SecretId: "none", VersionStage: "X", MoveToVersionId: token(1)}, noSecret},
		{"scheduled", smapi.UpdateSecretVersionStageInput{SecretId: "gone", VersionStage: "X", MoveToVersionId: token(1)}, wasScheduled},
		{"current without source", smapi.UpdateSecretVersionStageInput{SecretId: "s", VersionStage: "AWSCURRENT", MoveToVersionId: token(2)},
			"InvalidParameterException: The parameter RemoveFromVersionId can't be empty. Staging label AWSCURRENT is currently attached to version " + *token(1) +
				", so you must explicitly reference that version in RemoveFromVersionId."},
		{"remove current", smapi.UpdateSecretVersionStageInput{SecretId: "s", VersionStage: "AWSCURRENT", RemoveFromVersionId: token(1)},
			"InvalidParameterException: You can only move staging label AWSCURRENT to a different secret version. It can\u2019t be completely removed."},
		{"label elsewhere", smapi.UpdateSecretVersionStageInput{SecretId: "s", VersionStage: "MINE", RemoveFromVersionId: token(1)},
			"InvalidParameterException: Version stage MINE not found in version " + *token(1)},
		{"unknown version", smapi.UpdateSecretVersionStageInput{SecretId: "s", VersionStage: "MINE", RemoveFromVersionId: token(7)},
			"InvalidParameterException: Not a valid version: " + *token(7)},
	} {
		t.Run(tc.name, func(t *testing.T) { refused(t, b, smapi.OpUpdateSecretVersionStage, &tc.in, tc.want) })
	}
	if got := b.labels(t, "s"); got != "1:AWSCURRENT 2:MINE" {
		t.Errorf("labels after refused calls = %s", got)
	}
	ck := b.askedBy(t, func() {
		must[smapi.UpdateSecretVersionStageOutput](t, b, smapi.OpUpdateSecretVersionStage,
			&smapi.UpdateSecretVersionStageInput{SecretId: "s", VersionStage: "NEW", MoveToVersionId: token(1)})
	})
	if ck.Action != "secretsmanager:UpdateSecretVersionStage" || keysOf(ck)["secretsmanager:VersionStage"] != "NEW" {
		t.Errorf("question = %+v", ck)
	}
}

// Of two callers that move one label to different versions at once, one is told that
// the label is not where it thought.
func TestMoveLabelAtOnce(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	b.create(t, "s")
	b.put(t, "s", 2, "A")
	b.put(t, "s", 3, "B")
	errs := make([]error, 2)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = do[smapi.UpdateSecretVersionStageOutput](t, b, smapi.OpUpdateSecretVersionStage,
				&smapi.UpdateSecretVersionStageInput{SecretId: "s", VersionStage: "AWSCURRENT", RemoveFromVersionId: token(1), MoveToVersionId: token(2 + i)})
		})
	}
	wg.Wait()
	if (errs[0] == nil) == (errs[1] == nil) {
		t.Errorf("errors = %v, want exactly one", errs)
	}
}
