package secrets_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/secrets"
)

func tags(pairs ...string) (list []smapi.Tag) {
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, smapi.Tag{Key: &pairs[i], Value: &pairs[i+1]})
	}
	return list
}

func TestTags(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	b.createEmpty(t, "s")
	tag := func(list []smapi.Tag) {
		t.Helper()
		out := must[smapi.TagResourceOutput](t, b, smapi.OpTagResource, &smapi.TagResourceInput{SecretId: "s", Tags: list})
		if diff := cmp.Diff(&smapi.TagResourceOutput{}, out); diff != "" {
			t.Errorf("TagResource (-want +got):\n%s", diff)
		}
	}
	untag := func(keys ...string) {
		t.Helper()
		must[smapi.UntagResourceOutput](t, b, smapi.OpUntagResource, &smapi.UntagResourceInput{SecretId: "s", TagKeys: keys})
	}
	want := func(step string, want []smapi.Tag) {
		t.Helper()
		if diff := cmp.Diff(want, b.describe(t, "s").Tags); diff != "" {
			t.Errorf("tags after %s (-want +got):\n%s", step, diff)
		}
	}
	tag(nil)
	want("no tags", nil)
	untag("k")
	want("untagging what was never tagged", nil)
	tag(tags("b", "1", "a", "2", "B", "3"))
	want("tagging", tags("b", "1", "a", "2", "B", "3"))
	tag(tags("c", "", "b", "new"))
	want("tagging over", tags("b", "new", "a", "2", "B", "3", "c", ""))
	untag("a", "nothing", "a")
	want("untagging", tags("b", "new", "B", "3", "c", ""))
	tag([]smapi.Tag{{Key: new("d")}})
	want("a tag without value", tags("b", "new", "B", "3", "c", "", "d", ""))
	untag("b", "B", "c", "d")
	want("untagging all", []smapi.Tag{})
	tag([]smapi.Tag{})
	want("no tags again", []smapi.Tag{})
	changed := b.describe(t, "s").LastChangedDate
	b.now = b.now.Add(time.Second)
	untag("nothing")
	if got := b.describe(t, "s").LastChangedDate; !got.Equal(*changed) {
		t.Errorf("LastChangedDate = %v after untagging nothing, want %v", got, changed)
	}
}

func TestTagErrors(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	b.createEmpty(t, "s")
	var many []smapi.Tag
	for i := range 51 {
		many = append(many, tags("k"+itoa(i), "v")...)
	}
	must[smapi.TagResourceOutput](t, b, smapi.OpTagResource, &smapi.TagResourceInput{SecretId: "s", Tags: many[:50]})
	must[smapi.TagResourceOutput](t, b, smapi.OpTagResource, &smapi.TagResourceInput{SecretId: "s", Tags: many[:1]})
	for _, tc := range []struct {
		name string
		in   smapi.TagResourceInput
		want string
	}{
		{"bad name", smapi.TagResourceInput{SecretId: "Inv Name", Tags: tags("k", "v")}, badName},
		{"unknown", smapi.TagResourceInput{SecretId: "none", Tags: tags("k", "v")}, noSecret},
		// AWS's texts for these are unknown; they are those of KMS.
		{"duplicate", smapi.TagResourceInput{SecretId: "s", Tags: tags("k1", "v", "k1", "w")}, "InvalidParameterException: Duplicate tag keys"},
		{"reserved", smapi.TagResourceInput{SecretId: "s", Tags: tags("aWs:k", "v")}, "InvalidParameterException: Tags beginning with aws: are reserved"},
		{"too many", smapi.TagResourceInput{SecretId: "s", Tags: many[50:]}, "InvalidParameterException: Too many tags"},
	} {
		t.Run(tc.name, func(t *testing.T) { refused(t, b, smapi.OpTagResource, &tc.in, tc.want) })
	}
	refused(t, b, smapi.OpUntagResource, &smapi.UntagResourceInput{SecretId: "Inv Name", TagKeys: []string{"k"}}, badName)
	refused(t, b, smapi.OpUntagResource, &smapi.UntagResourceInput{SecretId: "none", TagKeys: []string{"k"}}, noSecret)
	refused(t, b, smapi.OpUntagResource, &smapi.UntagResourceInput{SecretId: "s", TagKeys: []string{"AWS:k"}}, "InvalidParameterException: Tags beginning with aws: are reserved")
	if got := len(b.describe(t, "s").Tags); got != 50 {
		t.Errorf("%d tags after refused calls, want 50", got)
	}
}

// A quota made smaller leaves tags that are too many: they can be changed and removed.
func TestTagQuotaMadeSmaller(t *testing.T) {
	h := newHome(t, secrets.Quotas{})
	b := h.bed
	defer b.check(t)
	b.create(t, "s", func(in *smapi.CreateSecretInput) { in.Tags = tags("a", "1", "b", "2", "c", "3") })
	h.reopen(t, secrets.Quotas{Tags: 2})
	must[smapi.TagResourceOutput](t, b, smapi.OpTagResource, &smapi.TagResourceInput{SecretId: "s", Tags: tags("b", "new")})
	refused(t, b, smapi.OpTagResource, &smapi.TagResourceInput{SecretId: "s", Tags: tags("b", "newer", "d", "4")}, "InvalidParameterException: Too many tags")
	must[smapi.UntagResourceOutput](t, b, smapi.OpUntagResource, &smapi.UntagResourceInput{SecretId: "s", TagKeys: []string{"a"}})
	if diff := cmp.Diff(tags("b", "new", "c", "3"), b.describe(t, "s").Tags); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
}

func TestTagAsks(t *testing.T) {
	b := newBed(t)
	b.create(t, "s", func(in *smapi.CreateSecretInput) { in.Tags = tags("team", "x") })
	b.questions()
	must[smapi.TagResourceOutput](t, b, smapi.OpTagResource, &smapi.TagResourceInput{SecretId: "s", Tags: tags("k", "v")})
	asked := b.questions()
	want := map[string]string{
		"secretsmanager:SecretId": "s", "aws:RequestTag/k": "v", "aws:TagKeys": "k",
		"secretsmanager:SecretPrimaryRegion": bedRegion,
		"aws:ResourceTag/team":               "x", "secretsmanager:ResourceTag/team": "x",
	}
	if diff := cmp.Diff(want, keysOf(asked[0])); diff != "" {
		t.Errorf("condition keys (-want +got):\n%s", diff)
	}
	// Where tags decide about access, nobody can shut himself out.
	owner := func(ck *call.Check) bool { return keysOf(*ck)["aws:ResourceTag/team"] != "x" }
	b.refuse(owner)
	refused(t, b, smapi.OpTagResource, &smapi.TagResourceInput{SecretId: "s", Tags: tags("team", "y")}, denial("TagResource"))
	refused(t, b, smapi.OpUntagResource, &smapi.UntagResourceInput{SecretId: "s", TagKeys: []string{"team"}}, denial("UntagResource"))
	must[smapi.UntagResourceOutput](t, b, smapi.OpUntagResource, &smapi.UntagResourceInput{SecretId: "s", TagKeys: []string{"k"}})
	if diff := cmp.Diff(tags("team", "x"), b.describe(t, "s").Tags); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
}
