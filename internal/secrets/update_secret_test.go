package secrets_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api/smapi"
)

func TestUpdateSecret(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	arn := *b.create(t, "s").ARN
	update := func(in smapi.UpdateSecretInput) *smapi.UpdateSecretOutput {
		t.Helper()
		in.SecretId = "s"
		b.now = b.now.Add(1e9)
		return must[smapi.UpdateSecretOutput](t, b, smapi.OpUpdateSecret, &in)
	}
	for _, tc := range []struct {
		name        string
		in          smapi.UpdateSecretInput
		version     *string
		description *string
		labels      string
		value       string
		changes     bool
	}{
		{"nothing", smapi.UpdateSecretInput{}, nil, nil, "1:AWSCURRENT", "value of s", false},
		{"nothing with a token", smapi.UpdateSecretInput{ClientRequestToken: token(9)}, nil, nil, "1:AWSCURRENT", "value of s", false},
		{"description, no token", smapi.UpdateSecretInput{Description: new("d")}, nil, new("d"), "1:AWSCURRENT", "value of s", true},
		{"description and token", smapi.UpdateSecretInput{Description: new("e"), ClientRequestToken: token(9)}, nil, new("e"), "1:AWSCURRENT", "value of s", true},
		{"value", smapi.UpdateSecretInput{SecretString: sensitive("two"), ClientRequestToken: token(2)}, token(2), new("e"), "1:AWSPREVIOUS 2:AWSCURRENT", "two", true},
		{"value again", smapi.UpdateSecretInput{SecretString: sensitive("two"), ClientRequestToken: token(2)}, token(2), new("e"), "1:AWSPREVIOUS 2:AWSCURRENT", "two", false},
		{"same value, new token", smapi.UpdateSecretInput{SecretString: sensitive("two"), ClientRequestToken: token(3)}, token(3), new("e"), "2:AWSPREVIOUS 3:AWSCURRENT", "two", true},
		{"both", smapi.UpdateSecretInput{SecretString: sensitive("four"), ClientRequestToken: token(4), Description: new("f")}, token(4), new("f"), "3:AWSPREVIOUS 4:AWSCURRENT", "four", true},
		{"empty description", smapi.UpdateSecretInput{Description: new("")}, nil, nil, "3:AWSPREVIOUS 4:AWSCURRENT", "four", true},
		{"default key", smapi.UpdateSecretInput{KmsKeyId: new("")}, nil, nil, "3:AWSPREVIOUS 4:AWSCURRENT", "four", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := b.describe(t, "s").LastChangedDate
			want := &smapi.UpdateSecretOutput{ARN: &arn, Name: new("s"), VersionId: tc.version}
			if diff := cmp.Diff(want, update(tc.in)); diff != "" {
				t.Errorf("UpdateSecret (-want +got):\n%s", diff)
			}
			got := b.describe(t, "s")
			if diff := cmp.Diff(tc.description, got.Description); diff != "" {
				t.Errorf("Description (-want +got):\n%s", diff)
			}
			if got := b.labels(t, "s"); got != tc.labels {
				t.Errorf("labels = %s, want %s", got, tc.labels)
			}
			if got := b.read(t, "s"); got != tc.value {
				t.Errorf("value = %q, want %q", got, tc.value)
			}
			if changed := !got.LastChangedDate.Equal(*before); changed != tc.changes {
				t.Errorf("LastChangedDate moved: %v, want %v", changed, tc.changes)
			}
		})
	}
}

func TestUpdateSecretErrors(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	arn := *b.create(t, "s").ARN
	b.create(t, "gone")
	b.schedule(t, "gone")
	for _, tc := range []struct {
		name string
		in   smapi.UpdateSecretInput
		want string
	}{
		{"bad name", smapi.UpdateSecretInput{SecretId: "Inv Name"}, badName},
		{"unknown", smapi.UpdateSecretInput{SecretId: "none"}, noSecret},
		{"scheduled", smapi.UpdateSecretInput{SecretId: "gone", Description: new("d")}, wasScheduled},
		{"no token", smapi.UpdateSecretInput{SecretId: "s", SecretString: sensitive("x")},
			"InvalidRequestException: You must provide a ClientRequestToken value. We recommend a UUID-type value."},
		{"token in use", smapi.UpdateSecretInput{SecretId: "s", ClientRequestToken: token(1), SecretString: sensitive("x")},
			"ResourceExistsException: You can't use ClientRequestToken " + *token(1) + " because that value is already in use for a version of secret " + arn + "."},
		// Ours.
		{"type", smapi.UpdateSecretInput{SecretId: "s", Type: new("DatadogApiKey")}, "InvalidRequestException: Type is not supported by this server."},
		{"unknown key", smapi.UpdateSecretInput{SecretId: "s", KmsKeyId: new("mine")},
			"InvalidParameterException: The operation failed because of an invalid KMS key: Invalid keyId 'mine'"},
		{"both values", smapi.UpdateSecretInput{SecretId: "s", ClientRequestToken: token(2), SecretString: sensitive("x"), SecretBinary: []byte("y")},
			"InvalidParameterException: You can't specify both SecretString and SecretBinary."},
	} {
		t.Run(tc.name, func(t *testing.T) { refused(t, b, smapi.OpUpdateSecret, &tc.in, tc.want) })
	}
}

func TestUpdateSecretAsks(t *testing.T) {
	b := newBed(t)
	b.create(t, "s")
	ck := b.askedBy(t, func() {
		must[smapi.UpdateSecretOutput](t, b, smapi.OpUpdateSecret, &smapi.UpdateSecretInput{SecretId: "s", Description: new("d"), KmsKeyId: new("")})
	})
	keys := keysOf(ck)
	if ck.Action != "secretsmanager:UpdateSecret" || keys["secretsmanager:Description"] != "d" || keys["secretsmanager:SecretId"] != "s" {
		t.Errorf("question = %+v", ck)
	}
	if _, ok := keys["secretsmanager:KmsKeyId"]; !ok {
		t.Errorf("question lacks KmsKeyId: %+v", ck)
	}
}
