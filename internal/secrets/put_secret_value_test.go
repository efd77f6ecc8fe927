package secrets_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api"
	"arca/internal/api/smapi"
	"arca/internal/secrets"
)

func TestPutSecretValue(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	created := b.create(t, "s")
	out := b.put(t, "s", 2)
	want := &smapi.PutSecretValueOutput{ARN: created.ARN, Name: new("s"), VersionId: token(2), VersionStages: []string{"AWSCURRENT"}}
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("PutSecretValue (-want +got):\n%s", diff)
	}
	if got := b.read(t, "s"); got != "value 2" {
		t.Errorf("value = %q", got)
	}
	if got := b.labels(t, "s"); got != "1:AWSPREVIOUS 2:AWSCURRENT" {
		t.Errorf("labels = %s", got)
	}
	if got := b.describe(t, "s"); !got.LastChangedDate.Equal(b.now) || !got.CreatedDate.Equal(b.now.Add(-time.Second)) {
		t.Errorf("dates = %v, %v", got.CreatedDate, got.LastChangedDate)
	}
	b.put(t, *created.ARN, 3, "MINE", "OTHER")
	if got := b.labels(t, "s"); got != "1:AWSPREVIOUS 2:AWSCURRENT 3:MINE,OTHER" {
		t.Errorf("labels = %s", got)
	}
}

func TestPutSecretValueFirst(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	b.createEmpty(t, "s")
	out := b.put(t, "s", 1, "MINE")
	if diff := cmp.Diff([]string{"AWSCURRENT", "MINE"}, out.VersionStages); diff != "" {
		t.Errorf("labels of the first version (-want +got):\n%s", diff)
	}
}

func TestPutSecretValueAgain(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	arn := *b.create(t, "s").ARN
	b.put(t, "s", 2)
	b.put(t, "s", 3)
	changed := b.describe(t, "s").LastChangedDate
	again := b.put(t, "s", 2, "IGNORED")
	if diff := cmp.Diff([]string{"AWSPREVIOUS"}, again.VersionStages); diff != "" {
		t.Errorf("labels shown by a repeat (-want +got):\n%s", diff)
	}
	if got := b.labels(t, "s"); got != "2:AWSPREVIOUS 3:AWSCURRENT" {
		t.Errorf("labels = %s, want them unchanged", got)
	}
	if got := b.put(t, "s", 2).VersionStages; !cmp.Equal(got, []string{"AWSPREVIOUS"}) {
		t.Errorf("labels = %v", got)
	}
	if got := b.describe(t, "s").LastChangedDate; !got.Equal(*changed) {
		t.Errorf("LastChangedDate = %v after a repeat, want %v", got, changed)
	}
	inUse := func(n int) string {
		return "ResourceExistsException: You can't use ClientRequestToken " + *token(n) + " because that value is already in use for a version of secret " + arn + "."
	}
	refused(t, b, smapi.OpPutSecretValue, &smapi.PutSecretValueInput{SecretId: "s", ClientRequestToken: token(2), SecretString: sensitive("other")}, inUse(2))
	refused(t, b, smapi.OpPutSecretValue, &smapi.PutSecretValueInput{SecretId: "s", ClientRequestToken: token(2), SecretBinary: api.SensitiveBytes("value 2")}, inUse(2))
	refused(t, b, smapi.OpPutSecretValue, &smapi.PutSecretValueInput{SecretId: "s", ClientRequestToken: token(1), SecretString: sensitive("x")}, inUse(1))
}

func TestPutSecretValueErrors(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	b.create(t, "s")
	b.create(t, "gone")
	b.schedule(t, "gone")
	for _, tc := range []struct {
		name string
		in   smapi.PutSecretValueInput
		want string
	}{
		{"bad name", smapi.PutSecretValueInput{SecretId: "Inv Name"}, badName},
		{"unknown", *putInput("none", 1), noSecret},
		{"other region's ARN", *putInput("arn:aws:secretsmanager:us-east-1:"+bedAccount+":secret:s", 2), noSecret},
		{"scheduled", *putInput("gone", 2), wasScheduled},
		{"no token", smapi.PutSecretValueInput{SecretId: "s", SecretString: sensitive("x")},
			"InvalidRequestException: You must provide a ClientRequestToken value. We recommend a UUID-type value."},
		{"no value", smapi.PutSecretValueInput{SecretId: "s", ClientRequestToken: token(2)},
			"InvalidRequestException: You must provide either SecretString or SecretBinary."},
		// Ours from here on.
		{"both values", smapi.PutSecretValueInput{SecretId: "s", ClientRequestToken: token(2), SecretString: sensitive("x"), SecretBinary: api.SensitiveBytes("y")},
			"InvalidParameterException: You can't specify both SecretString and SecretBinary."},
		{"rotation token", smapi.PutSecretValueInput{SecretId: "s", ClientRequestToken: token(2), SecretString: sensitive("x"), RotationToken: sensitive(strings.Repeat("r", 36))},
			"InvalidParameterException: The RotationToken doesn't belong to a rotation of this secret."},
		{"too long", smapi.PutSecretValueInput{SecretId: "s", ClientRequestToken: token(2), SecretString: sensitive(strings.Repeat("é", 32769))},
			"ValidationException: 1 validation error detected: Value at 'secretString' failed to satisfy constraint: Member must have length less than or equal to 65536"},
	} {
		t.Run(tc.name, func(t *testing.T) { refused(t, b, smapi.OpPutSecretValue, &tc.in, tc.want) })
	}
	if got := b.labels(t, "s"); got != "1:AWSCURRENT" {
		t.Errorf("labels after refused calls = %s", got)
	}
}

func TestLabelQuota(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	b.create(t, "s")
	var labels []string
	for i := range 19 {
		labels = append(labels, "L"+itoa(i))
	}
	b.put(t, "s", 2, labels...)                                                                                  // 20 with AWSCURRENT
	limit := "LimitExceededException: You can't attach more than 20 staging labels to the versions of a secret." // our text
	refused(t, b, smapi.OpPutSecretValue, putInput("s", 3, "ONE-MORE"), limit)
	refused(t, b, smapi.OpPutSecretValue, putInput("s", 3), limit) // AWSPREVIOUS would come
	refused(t, b, smapi.OpUpdateSecretVersionStage, &smapi.UpdateSecretVersionStageInput{SecretId: "s", VersionStage: "ONE-MORE", MoveToVersionId: token(1)}, limit)
	b.put(t, "s", 3, labels...) // moves them: no more than before
	must[smapi.UpdateSecretVersionStageOutput](t, b, smapi.OpUpdateSecretVersionStage, &smapi.UpdateSecretVersionStageInput{SecretId: "s", VersionStage: "L0", RemoveFromVersionId: token(3)})
	b.put(t, "s", 4)
}

func TestVersionQuota(t *testing.T) {
	b := newBedWith(t, secrets.Quotas{Versions: 4})
	defer b.check(t)
	b.create(t, "s")
	for n := 2; n <= 4; n++ {
		b.put(t, "s", n)
	}
	limit := "LimitExceededException: You can't have more than 4 versions of a secret. Versions without staging labels are removed 24 hours after their creation." // our text
	refused(t, b, smapi.OpPutSecretValue, putInput("s", 5), limit)
	refused(t, b, smapi.OpUpdateSecret, &smapi.UpdateSecretInput{SecretId: "s", ClientRequestToken: token(5), SecretString: sensitive("x")}, limit)
	b.now = b.now.Add(24*time.Hour - 4*time.Second)
	refused(t, b, smapi.OpPutSecretValue, putInput("s", 5), limit)
	b.put(t, "s", 5) // a second later version 1 is a day old
	refused(t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: "s", VersionId: token(1)},
		"ResourceNotFoundException: Secrets Manager can't find the specified secret value for VersionId: "+*token(1))
	must[smapi.GetSecretValueOutput](t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: "s", VersionId: token(2)})
	if got := b.labels(t, "s"); got != "4:AWSPREVIOUS 5:AWSCURRENT" {
		t.Errorf("labels = %s", got)
	}
	events := strings.Join(b.auditEvents(t), "\n")
	if strings.Count(events, "StartSecretVersionDelete") != 1 || strings.Count(events, "EndSecretVersionDelete") != 1 {
		t.Errorf("audit events lack start and end of the pruned version:\n%s", events)
	}
}

// Labelled versions are never pruned, however old.
func TestVersionQuotaKeepsLabelled(t *testing.T) {
	b := newBedWith(t, secrets.Quotas{Versions: 3})
	defer b.check(t)
	b.create(t, "s")
	b.put(t, "s", 2, "KEEP")
	b.put(t, "s", 3, "KEEP2")
	b.now = b.now.Add(1000 * time.Hour)
	refused(t, b, smapi.OpPutSecretValue, putInput("s", 4),
		"LimitExceededException: You can't have more than 3 versions of a secret. Versions without staging labels are removed 24 hours after their creation.")
}

// Two callers that put a value at once both succeed, one after the other.
func TestPutSecretValueAtOnce(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	b.create(t, "s")
	var wg sync.WaitGroup
	for n := 2; n < 10; n++ {
		wg.Go(func() {
			if _, err := do[smapi.PutSecretValueOutput](t, b, smapi.OpPutSecretValue, putInput("s", n)); err != nil {
				t.Errorf("PutSecretValue: %v", err)
			}
		})
	}
	wg.Wait()
	got := b.describe(t, "s").VersionIdsToStages
	count := make(map[string]int)
	for _, stages := range got {
		for _, s := range stages {
			count[s]++
		}
	}
	if !cmp.Equal(count, map[string]int{"AWSCURRENT": 1, "AWSPREVIOUS": 1}) {
		t.Errorf("labels = %v, want one current and one previous", got)
	}
}

// A version that a rotation has announced waits for its value: it cannot be read, and
// PutSecretValue with its id as the token fills it.
func TestFillAnnouncedVersion(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	b.create(t, "s")
	b.announce(t, "s", 2)
	if got := b.labels(t, "s"); got != "1:AWSCURRENT 2:AWSPENDING" {
		t.Fatalf("labels = %s", got)
	}
	missing := "ResourceNotFoundException: Secrets Manager can't find the specified secret value for staging label: AWSPENDING"
	refused(t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: "s", VersionId: token(2)}, missing)
	refused(t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: "s", VersionStage: new("AWSPENDING")}, missing)
	refused(t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: "s", VersionId: token(2), VersionStage: new("AWSPENDING")}, missing)
	refused(t, b, smapi.OpUpdateSecret, &smapi.UpdateSecretInput{SecretId: "s", ClientRequestToken: token(2), SecretString: sensitive("x")},
		"ResourceExistsException: You can't use ClientRequestToken "+*token(2)+" because that value is already in use for a version of secret "+*b.describe(t, "s").ARN+".")
	out := b.put(t, "s", 2, "AWSPENDING")
	if !cmp.Equal(out.VersionStages, []string{"AWSPENDING"}) || b.labels(t, "s") != "1:AWSCURRENT 2:AWSPENDING" {
		t.Errorf("labels after filling = %v, %s", out.VersionStages, b.labels(t, "s"))
	}
	got := must[smapi.GetSecretValueOutput](t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: "s", VersionStage: new("AWSPENDING")})
	if string(*got.SecretString) != "value 2" {
		t.Errorf("filled value = %q", string(*got.SecretString))
	}
	refused(t, b, smapi.OpPutSecretValue, &smapi.PutSecretValueInput{SecretId: "s", ClientRequestToken: token(2), SecretString: sensitive("again")},
		"ResourceExistsException: You can't use ClientRequestToken "+*token(2)+" because that value is already in use for a version of secret "+*got.ARN+".")
}

// A version that lost AWSPENDING before it was filled is given up.
func TestFillAbandonedVersion(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	b.create(t, "s")
	b.announce(t, "s", 2)
	b.put(t, "s", 3)
	if got := b.labels(t, "s"); got != "1:AWSPREVIOUS 3:AWSCURRENT" {
		t.Errorf("labels = %s, want AWSPENDING gone", got)
	}
	refused(t, b, smapi.OpPutSecretValue, putInput("s", 2),
		"ResourceExistsException: You can't use ClientRequestToken "+*token(2)+" because that value is already in use for a version of secret "+*b.describe(t, "s").ARN+".")
	refused(t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: "s", VersionId: token(2)},
		"ResourceNotFoundException: Secrets Manager can't find the specified secret value for VersionId: "+*token(2))
}

func TestPutSecretValueCrossAccount(t *testing.T) {
	b := newBed(t)
	arn := *b.create(t, "s").ARN
	const own = "InvalidRequestException: You can't access a secret from a different AWS account if you encrypt the secret with the default KMS service key."
	refused(t, b, smapi.OpPutSecretValue, putInput(arn, 2), own, fromAccount(otherAccount))
	refused(t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: arn}, own, fromAccount(otherAccount))
	refused(t, b, smapi.OpUpdateSecret, &smapi.UpdateSecretInput{SecretId: arn, ClientRequestToken: token(2), SecretString: sensitive("x")}, own, fromAccount(otherAccount))
	refused(t, b, smapi.OpPutSecretValue, putInput("s", 2), noSecret, fromAccount(otherAccount))
	must[smapi.UpdateSecretOutput](t, b, smapi.OpUpdateSecret, &smapi.UpdateSecretInput{SecretId: arn, Description: new("d")}, fromAccount(otherAccount))
	got := must[smapi.DescribeSecretOutput](t, b, smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: arn}, fromAccount(otherAccount))
	if *got.Description != "d" {
		t.Errorf("Description = %q", *got.Description)
	}
}
