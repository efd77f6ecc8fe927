package secrets_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api"
	"arca/internal/api/smapi"
)

func TestGetSecretValue(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	arn := *b.create(t, "dir/s").ARN
	first := b.now
	b.put(t, "dir/s", 2)
	get := func(in smapi.GetSecretValueInput) *smapi.GetSecretValueOutput {
		t.Helper()
		return must[smapi.GetSecretValueOutput](t, b, smapi.OpGetSecretValue, &in)
	}
	old := &smapi.GetSecretValueOutput{
		ARN: &arn, Name: new("dir/s"), VersionId: token(1), SecretString: sensitive("value of dir/s"),
		VersionStages: []string{"AWSPREVIOUS"}, CreatedDate: &first,
	}
	current := &smapi.GetSecretValueOutput{
		ARN: &arn, Name: new("dir/s"), VersionId: token(2), SecretString: sensitive("value 2"),
		VersionStages: []string{"AWSCURRENT"}, CreatedDate: &b.now,
	}
	for _, tc := range []struct {
		name string
		in   smapi.GetSecretValueInput
		want *smapi.GetSecretValueOutput
	}{
		{"name", smapi.GetSecretValueInput{SecretId: "dir/s"}, current},
		{"full ARN", smapi.GetSecretValueInput{SecretId: arn}, current},
		{"partial ARN", smapi.GetSecretValueInput{SecretId: arn[:len(arn)-7]}, current},
		{"label", smapi.GetSecretValueInput{SecretId: "dir/s", VersionStage: new("AWSPREVIOUS")}, old},
		{"version", smapi.GetSecretValueInput{SecretId: "dir/s", VersionId: token(1)}, old},
		{"version and label", smapi.GetSecretValueInput{SecretId: "dir/s", VersionId: token(1), VersionStage: new("AWSPREVIOUS")}, old},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, get(tc.in)); diff != "" {
				t.Errorf("GetSecretValue (-want +got):\n%s", diff)
			}
		})
	}
	for _, tc := range []struct {
		name string
		in   smapi.GetSecretValueInput
		want string
	}{
		{"bad name", smapi.GetSecretValueInput{SecretId: "Inv Name"}, badName},
		{"unknown", smapi.GetSecretValueInput{SecretId: "none"}, noSecret},
		{"other suffix", smapi.GetSecretValueInput{SecretId: arn[:len(arn)-6] + "??????"}, noSecret},
		{"other case", smapi.GetSecretValueInput{SecretId: "DIR/S"}, noSecret},
		{"ARN of another account", smapi.GetSecretValueInput{SecretId: strings.Replace(arn, bedAccount, otherAccount, 1)}, noSecret},
		{"ARN of another region", smapi.GetSecretValueInput{SecretId: strings.Replace(arn, bedRegion, "us-east-1", 1)}, noSecret},
		{"ARN of something else", smapi.GetSecretValueInput{SecretId: "arn:aws:s3:::bucket"}, noSecret},
		{"no such label", smapi.GetSecretValueInput{SecretId: "dir/s", VersionStage: new("NONE")},
			"ResourceNotFoundException: Secrets Manager can't find the specified secret value for staging label: NONE"},
		{"no such version", smapi.GetSecretValueInput{SecretId: "dir/s", VersionId: token(7)},
			"ResourceNotFoundException: Secrets Manager can't find the specified secret value for VersionId: " + *token(7)},
		{"they disagree", smapi.GetSecretValueInput{SecretId: "dir/s", VersionId: token(1), VersionStage: new("AWSCURRENT")},
			"InvalidRequestException: You provided a VersionStage that is not associated to the provided VersionId."},
	} {
		t.Run(tc.name, func(t *testing.T) { refused(t, b, smapi.OpGetSecretValue, &tc.in, tc.want) })
	}
}

// A name that ends like a full ARN is not found by its ARN without suffix, as on AWS.
func TestNameLikeFullARN(t *testing.T) {
	b := newBed(t)
	for name, found := range map[string]bool{"my-Name-a1b2c3": false, "my-a1b2": true, "my-a1b2c3-": true} {
		arn := *b.create(t, name).ARN
		b.read(t, name)
		b.read(t, arn)
		_, err := do[smapi.GetSecretValueOutput](t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: arn[:len(arn)-7]})
		if (err == nil) != found {
			t.Errorf("%s by partial ARN: error %v, want found %v", name, err, found)
		}
	}
}

func TestGetSecretValueBinaryAndLarge(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	large := strings.Repeat("0123456789abcdef", 4096) // 65,536 bytes: not in the mirror
	for name, in := range map[string]*smapi.CreateSecretInput{
		"binary":       {SecretBinary: api.SensitiveBytes("\x00\xff\x80")},
		"large":        {SecretString: sensitive(large)},
		"large binary": {SecretBinary: api.SensitiveBytes(large)},
		"not ASCII":    {SecretString: sensitive("żółć \U0001F511\u0000")},
	} {
		t.Run(name, func(t *testing.T) {
			in.Name, in.ClientRequestToken = strings.ReplaceAll(name, " ", "-"), token(1)
			must[smapi.CreateSecretOutput](t, b, smapi.OpCreateSecret, in)
			for range 2 {
				got := must[smapi.GetSecretValueOutput](t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: in.Name})
				if !cmp.Equal(got.SecretString, in.SecretString) || !cmp.Equal(got.SecretBinary, in.SecretBinary) {
					t.Errorf("value of %s differs from what was put", name)
				}
				clear(got.SecretBinary) // the answer is the caller's
			}
			must[smapi.CreateSecretOutput](t, b, smapi.OpCreateSecret, in)
		})
	}
}

func TestGetSecretValueScheduled(t *testing.T) {
	b := newBed(t)
	b.create(t, "s")
	b.schedule(t, "s")
	refused(t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: "s"}, wasScheduled)
}

func TestGetSecretValueAsks(t *testing.T) {
	b := newBed(t)
	arn := *b.create(t, "s", func(in *smapi.CreateSecretInput) { in.Tags = []smapi.Tag{{Key: new("k"), Value: new("v")}} }).ARN
	in := &smapi.GetSecretValueInput{SecretId: "s", VersionId: token(1), VersionStage: new("AWSCURRENT")}
	ck := b.askedBy(t, func() { must[smapi.GetSecretValueOutput](t, b, smapi.OpGetSecretValue, in) })
	want := map[string]string{
		"secretsmanager:SecretId": "s", "secretsmanager:VersionId": *token(1), "secretsmanager:VersionStage": "AWSCURRENT",
		"secretsmanager:SecretPrimaryRegion": bedRegion,
		"aws:ResourceTag/k":                  "v", "secretsmanager:ResourceTag/k": "v",
	}
	if diff := cmp.Diff(want, keysOf(ck)); diff != "" {
		t.Errorf("condition keys (-want +got):\n%s", diff)
	}
	if ck.Action != "secretsmanager:GetSecretValue" || ck.Resource != arn || ck.Account != bedAccount {
		t.Errorf("question = %+v", ck)
	}
	// A secret that is not there is asked about as it would be, shown as it was sent.
	for _, id := range []string{"none", arnOfBed + "none", arnOfBed + "none-AbC123"} {
		ck := b.askedBy(t, func() {
			refused(t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: id}, noSecret)
		})
		if !strings.HasPrefix(ck.Resource, arnOfBed+"none-") || ck.Shown != id {
			t.Errorf("question about %s = %+v", id, ck)
		}
	}
	foreign := strings.Replace(arn, bedAccount, otherAccount, 1)
	ck = b.askedBy(t, func() {
		refused(t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: foreign}, noSecret)
	})
	if ck.Account != otherAccount {
		t.Errorf("account of %s = %s", foreign, ck.Account)
	}
	// Whoever may not read learns nothing: the answer is the same whatever is there.
	b.put(t, "s", 2)
	b.create(t, "gone")
	b.schedule(t, "gone")
	b.denies(t, "GetSecretValue")
	for _, in := range []smapi.GetSecretValueInput{
		{SecretId: "s"}, {SecretId: "none"}, {SecretId: "gone"}, {SecretId: "s", VersionId: token(9)}, {SecretId: "s", VersionStage: new("NONE")},
		{SecretId: "arn:aws:s3:::x"},
	} {
		refused(t, b, smapi.OpGetSecretValue, &in, denial("GetSecretValue"))
	}
	if got := b.describe(t, "s").LastAccessedDate; got == nil {
		t.Error("the permitted read left no LastAccessedDate")
	}
	if got := b.describe(t, "gone").LastAccessedDate; got != nil {
		t.Errorf("a denied read left LastAccessedDate %v", got)
	}
}

func TestReadsSeeWrites(t *testing.T) {
	b := newBed(t)
	b.create(t, "s")
	for n := 2; n < 40; n++ {
		b.put(t, "s", n)
		if got, want := b.read(t, "s"), "value "+itoa(n); got != want {
			t.Fatalf("read after write = %q, want %q", got, want)
		}
	}
	if got := b.describe(t, "s"); got.LastAccessedDate == nil || !got.LastAccessedDate.Equal(b.now.Truncate(24*time.Hour)) {
		t.Errorf("LastAccessedDate = %v, want the day of %v", got.LastAccessedDate, b.now)
	}
}
