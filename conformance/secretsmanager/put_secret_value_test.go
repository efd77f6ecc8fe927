package secretsmanager_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/google/go-cmp/cmp"
)

func TestPutSecretValueMembers(t *testing.T) {
	k := newKit(t)
	name, arn := k.secret("s", "one")
	id := token()
	out := ask(t, "PutSecretValue", in{"SecretId": name, "SecretString": "two", "ClientRequestToken": id})
	wantMembers(t, out, "ARN", "Name", "VersionId", "VersionStages")
	if out["ARN"] != arn || out["Name"] != name || out["VersionId"] != id {
		t.Errorf("answer = %v", out)
	}
	if diff := cmp.Diff([]any{"AWSCURRENT"}, out["VersionStages"]); diff != "" {
		t.Errorf("VersionStages (-want +got):\n%s", diff)
	}
}

// The rows of what moves where, one secret after the other.
func TestPutSecretValueLabels(t *testing.T) {
	k := newKit(t)
	type versions = map[string][]string
	for _, tc := range []struct {
		name   string
		stages [][]string // of the puts v1, v2, …; the secret starts without a value
		want   versions
	}{
		{"first", [][]string{nil}, versions{"v1": {"AWSCURRENT"}}},
		{"first with labels", [][]string{{"one"}}, versions{"v1": {"AWSCURRENT", "one"}}},
		{"second", [][]string{nil, nil}, versions{"v1": {"AWSPREVIOUS"}, "v2": {"AWSCURRENT"}}},
		{"third", [][]string{nil, nil, nil}, versions{"v2": {"AWSPREVIOUS"}, "v3": {"AWSCURRENT"}}},
		{"named current", [][]string{nil, {"AWSCURRENT", "one"}}, versions{"v1": {"AWSPREVIOUS"}, "v2": {"AWSCURRENT", "one"}}},
		{"named others", [][]string{nil, nil, {"one", "two"}}, versions{"v1": {"AWSPREVIOUS"}, "v2": {"AWSCURRENT"}, "v3": {"one", "two"}}},
		{"pending", [][]string{nil, {"AWSPENDING"}}, versions{"v1": {"AWSCURRENT"}, "v2": {"AWSPENDING"}}},
		{"custom labels stay", [][]string{nil, {"AWSCURRENT", "PUT0"}, nil, nil}, versions{"v2": {"PUT0"}, "v3": {"AWSPREVIOUS"}, "v4": {"AWSCURRENT"}}},
		{"pending leaves any other version", [][]string{nil, {"AWSPENDING"}, nil}, versions{"v1": {"AWSPREVIOUS"}, "v3": {"AWSCURRENT"}}},
		{"pending leaves the old current", [][]string{nil, {"AWSCURRENT", "AWSPENDING"}, nil}, versions{"v2": {"AWSPREVIOUS"}, "v3": {"AWSCURRENT"}}},
		{"some labels taken over", [][]string{nil, {"one", "two", "three"}, {"one", "two", "four"}}, versions{"v1": {"AWSCURRENT"}, "v2": {"three"}, "v3": {"four", "one", "two"}}},
		{"all labels taken over", [][]string{nil, {"one", "two"}, {"one", "two"}}, versions{"v1": {"AWSCURRENT"}, "v3": {"one", "two"}}},
		{"looks reserved", [][]string{nil, {"AWSSOMETHING"}}, versions{"v1": {"AWSCURRENT"}, "v2": {"AWSSOMETHING"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			name := k.empty(strings.ReplaceAll(tc.name, " ", "-"))
			ids := map[string]string{}
			for i, stages := range tc.stages {
				v := fmt.Sprintf("v%d", i+1)
				ids[k.put(name, v, stages...)] = v
			}
			k.wantLabels(name, ids, tc.want)
			for v, stages := range tc.want {
				for _, stage := range stages {
					if got := k.value(name, stage); got != v {
						t.Errorf("value with label %s = %q, want %q", stage, got, v)
					}
				}
			}
		})
	}
}

func TestPutSecretValueToken(t *testing.T) {
	k := newKit(t)
	name, arn := k.secret("s", "zero")
	id := token()
	put := func(value string, stages ...string) (*secretsmanager.PutSecretValueOutput, error) {
		return k.PutSecretValue(k.ctx(), &secretsmanager.PutSecretValueInput{SecretId: &name, SecretString: &value, ClientRequestToken: &id, VersionStages: stages})
	}
	k.must(put("one", "AWSCURRENT", "mine"))
	k.put(name, "two")
	again, err := put("one", "AWSCURRENT", "mine")
	if err != nil {
		t.Fatalf("the same call again: %v", err)
	}
	if got, want := slices.Sorted(slices.Values(again.VersionStages)), []string{"AWSPREVIOUS", "mine"}; *again.VersionId != id || !slices.Equal(got, want) {
		t.Errorf("the same call again answers version %s with %v, want %s with its labels of now, %v", *again.VersionId, got, id, want)
	}
	clash := fmt.Sprintf("You can't use ClientRequestToken %s because that value is already in use for a version of secret %s.", id, arn)
	_, err = put("other")
	wantError[*types.ResourceExistsException](t, err, clash)
	_, err = k.PutSecretValue(k.ctx(), &secretsmanager.PutSecretValueInput{SecretId: &name, SecretBinary: []byte("one"), ClientRequestToken: &id})
	wantError[*types.ResourceExistsException](t, err, clash)
	if got := k.value(name, ""); got != "two" {
		t.Errorf("current value = %q, want two", got)
	}
	refused(t, askAnswer(t, "PutSecretValue", in{"SecretId": name, "SecretString": "v"}), "InvalidRequestException", textNoToken)
}

func TestPutSecretValueErrors(t *testing.T) {
	k := newKit(t)
	name, _ := k.secret("s", "v")
	gone := k.scheduled("gone")
	put := func(change func(*secretsmanager.PutSecretValueInput)) error {
		in := &secretsmanager.PutSecretValueInput{SecretId: &name, SecretString: aws.String("v2")}
		change(in)
		_, err := k.PutSecretValue(k.ctx(), in)
		return err
	}
	wantError[*types.ResourceNotFoundException](t, put(func(in *secretsmanager.PutSecretValueInput) { in.SecretId = aws.String(k.prefix + "none") }), textNoSecret)
	wantError[*types.InvalidRequestException](t, put(func(in *secretsmanager.PutSecretValueInput) { in.SecretId = &gone }), textScheduled)
	wantError[*types.InvalidRequestException](t, put(func(in *secretsmanager.PutSecretValueInput) { in.SecretString = nil }), textNoValue)
	wantError[*types.InvalidParameterException](t, put(func(in *secretsmanager.PutSecretValueInput) { in.SecretBinary = []byte("v") }), "")
	wantCode(t, put(func(in *secretsmanager.PutSecretValueInput) { in.SecretId = aws.String(" Inv *?!]Name\\-") }), "ValidationException", textBadName)
	wantInvalid(t, put(func(in *secretsmanager.PutSecretValueInput) { in.SecretString = aws.String(strings.Repeat("v", 65537)) }),
		"Value at 'secretString' failed to satisfy constraint: Member must have length less than or equal to 65536")
	wantInvalid(t, put(func(in *secretsmanager.PutSecretValueInput) { in.VersionStages = []string{} }),
		"Value '[]' at 'versionStages' failed to satisfy constraint: Member must have length greater than or equal to 1")
	wantCode(t, put(func(in *secretsmanager.PutSecretValueInput) { in.VersionStages = []string{strings.Repeat("l", 257)} }), "ValidationException", "")
	if got := k.value(name, ""); got != "v" {
		t.Errorf("after refused calls the value is %q, want v", got)
	}
}

// Twenty labels over all versions are allowed, one more is not.
func TestPutSecretValueLabelQuota(t *testing.T) {
	k := newKit(t)
	name, _ := k.secret("s", "v") // carries AWSCURRENT
	labels := make([]string, 0, 19)
	for i := range 19 {
		labels = append(labels, fmt.Sprintf("label-%02d", i))
	}
	k.put(name, "full", labels...)
	_, err := k.PutSecretValue(k.ctx(), &secretsmanager.PutSecretValueInput{SecretId: &name, SecretString: aws.String("v"), VersionStages: []string{"one-more"}})
	wantError[*types.LimitExceededException](t, err, "") // AWS's text is not known
	k.put(name, "moved", labels...)                      // moving them adds none
}

// A value may be written again: the versions are different ones.
func TestPutSecretValueSameValue(t *testing.T) {
	k := newKit(t)
	name, _ := k.secret("s", "v")
	before, err := k.DescribeSecret(k.ctx(), &secretsmanager.DescribeSecretInput{SecretId: &name})
	if err != nil {
		t.Fatal(err)
	}
	a, b := k.put(name, "v"), k.put(name, "v")
	if a == b {
		t.Errorf("two puts made one version, %s", a)
	}
	after, err := k.DescribeSecret(k.ctx(), &secretsmanager.DescribeSecretInput{SecretId: &name})
	if err != nil {
		t.Fatal(err)
	}
	if !after.LastChangedDate.After(*before.LastChangedDate) {
		t.Errorf("LastChangedDate stayed at %v", before.LastChangedDate)
	}
}
