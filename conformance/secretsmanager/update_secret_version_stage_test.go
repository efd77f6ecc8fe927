package secretsmanager_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// stage calls UpdateSecretVersionStage; "" leaves a version out.
func (k *kit) stage(id, label, from, to string) error {
	in := &secretsmanager.UpdateSecretVersionStageInput{SecretId: &id, VersionStage: &label}
	if from != "" {
		in.RemoveFromVersionId = &from
	}
	if to != "" {
		in.MoveToVersionId = &to
	}
	_, err := k.UpdateSecretVersionStage(k.ctx(), in)
	return err
}

func TestUpdateSecretVersionStageMembers(t *testing.T) {
	k := newKit(t)
	name, arn := k.secret("s", "one")
	two := k.put(name, "two", "mine")
	out := ask(t, "UpdateSecretVersionStage", in{"SecretId": name, "VersionStage": "mine", "RemoveFromVersionId": two})
	wantMembers(t, out, "ARN", "Name")
	if out["ARN"] != arn || out["Name"] != name {
		t.Errorf("answer = %v", out)
	}
}

func TestUpdateSecretVersionStageMoves(t *testing.T) {
	k := newKit(t)
	name := k.empty("s")
	ids := map[string]string{}
	put := func(version string, stages ...string) string {
		id := k.put(name, version, stages...)
		ids[id] = version
		return id
	}
	v1, v2, v3 := put("v1"), put("v2"), put("v3", "AWSPENDING", "mine")
	type versions = map[string][]string
	k.wantLabels(name, ids, versions{"v1": {"AWSPREVIOUS"}, "v2": {"AWSCURRENT"}, "v3": {"AWSPENDING", "mine"}})
	for _, tc := range []struct {
		name            string
		label, from, to string
		want            versions
	}{
		{"current to the pending version", "AWSCURRENT", v2, v3, versions{"v2": {"AWSPREVIOUS"}, "v3": {"AWSCURRENT", "AWSPENDING", "mine"}}},
		{"current back to the previous", "AWSCURRENT", v3, v2, versions{"v2": {"AWSCURRENT"}, "v3": {"AWSPENDING", "AWSPREVIOUS", "mine"}}},
		{"current to a deprecated version", "AWSCURRENT", v2, v1, versions{"v1": {"AWSCURRENT"}, "v2": {"AWSPREVIOUS"}, "v3": {"AWSPENDING", "mine"}}},
		{"a label of one's own", "mine", v3, v1, versions{"v1": {"AWSCURRENT", "mine"}, "v2": {"AWSPREVIOUS"}, "v3": {"AWSPENDING"}}},
		{"a new label", "fresh", "", v2, versions{"v1": {"AWSCURRENT", "mine"}, "v2": {"AWSPREVIOUS", "fresh"}, "v3": {"AWSPENDING"}}},
		{"a label off", "AWSPENDING", v3, "", versions{"v1": {"AWSCURRENT", "mine"}, "v2": {"AWSPREVIOUS", "fresh"}}},
		{"previous off", "AWSPREVIOUS", v2, "", versions{"v1": {"AWSCURRENT", "mine"}, "v2": {"fresh"}}},
	} {
		if err := k.stage(name, tc.label, tc.from, tc.to); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		k.wantLabels(name, ids, tc.want)
	}
	if got := k.value(name, ""); got != "v1" {
		t.Errorf("current value = %q, want v1", got)
	}
}

func TestUpdateSecretVersionStageErrors(t *testing.T) {
	k := newKit(t)
	name := k.empty("s")
	v1, v2 := k.put(name, "v1"), k.put(name, "v2", "mine")
	gone, unknown := k.scheduled("gone"), token()
	wantError[*types.InvalidParameterException](t, k.stage(name, "AWSCURRENT", "", v2),
		"The parameter RemoveFromVersionId can't be empty. Staging label AWSCURRENT is currently attached to version "+v1+", so you must explicitly reference that version in RemoveFromVersionId.")
	wantError[*types.InvalidParameterException](t, k.stage(name, "AWSCURRENT", v1, ""),
		"You can only move staging label AWSCURRENT to a different secret version. It can\u2019t be completely removed.")
	wantError[*types.InvalidParameterException](t, k.stage(name, "AWSCURRENT", v2, v2), "")
	wantError[*types.InvalidParameterException](t, k.stage(name, "mine", v1, v2), "Version stage mine not found in version "+v1)
	wantError[*types.InvalidParameterException](t, k.stage(name, "mine", unknown, v2), "Not a valid version: "+unknown)
	wantError[*types.InvalidParameterException](t, k.stage(name, "mine", v2, unknown), "Not a valid version: "+unknown)
	wantError[*types.ResourceNotFoundException](t, k.stage(k.prefix+"none", "mine", v1, v2), textNoSecret)
	wantError[*types.InvalidRequestException](t, k.stage(gone, "mine", "", v2), "")
	wantCode(t, k.stage("Inv Name", "mine", v1, v2), "ValidationException", textBadName)
	wantInvalid(t, k.stage(name, "", v1, v2), "Value '' at 'versionStage' failed to satisfy constraint: Member must have length greater than or equal to 1")
	k.wantLabels(name, map[string]string{v1: "v1", v2: "v2"}, map[string][]string{"v1": {"AWSCURRENT"}, "v2": {"mine"}})
}

func TestUpdateSecretVersionStageLabelQuota(t *testing.T) {
	k := newKit(t)
	name, _ := k.secret("s", "v")
	id := aws.ToString(k.versions(name, false)[0].VersionId)
	for i := range 19 {
		if err := k.stage(name, "label-"+string(rune('a'+i)), "", id); err != nil {
			t.Fatal(err)
		}
	}
	wantError[*types.LimitExceededException](t, k.stage(name, "one-more", "", id), "")
}
