package secrets_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api/smapi"
)

func TestDescribeSecret(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	created := b.createEmpty(t, "s")
	at := b.now
	want := &smapi.DescribeSecretOutput{ARN: created.ARN, Name: new("s"), CreatedDate: &at, LastChangedDate: &at}
	step := func(name string) {
		t.Helper()
		if diff := cmp.Diff(want, b.describe(t, "s")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	changed := func() { now := b.now; want.LastChangedDate = &now }
	step("new, without a value")

	b.put(t, "s", 1)
	b.put(t, "s", 2)
	b.put(t, "s", 3) // 1 is deprecated now and not shown
	changed()
	want.VersionIdsToStages = map[string][]string{*token(2): {"AWSPREVIOUS"}, *token(3): {"AWSCURRENT"}}
	step("with values")

	b.now = b.now.Add(time.Hour)
	b.read(t, "s")
	day := b.now.Truncate(24 * time.Hour)
	want.LastAccessedDate = &day
	step("read")

	must[smapi.TagResourceOutput](t, b, smapi.OpTagResource, &smapi.TagResourceInput{SecretId: "s", Tags: []smapi.Tag{{Key: new("k"), Value: new("")}}})
	changed()
	want.Tags = []smapi.Tag{{Key: new("k"), Value: new("")}}
	step("tagged")

	b.now = b.now.Add(time.Second)
	must[smapi.UntagResourceOutput](t, b, smapi.OpUntagResource, &smapi.UntagResourceInput{SecretId: "s", TagKeys: []string{"k", "never there"}})
	changed()
	want.Tags = []smapi.Tag{}
	step("no longer tagged")

	must[smapi.UpdateSecretOutput](t, b, smapi.OpUpdateSecret, &smapi.UpdateSecretInput{SecretId: "s", Description: new("text")})
	want.Description = new("text")
	step("described")

	b.now = b.now.Add(time.Second)
	b.schedule(t, "s")
	changed()
	end := b.now.Add(30 * 24 * time.Hour)
	want.DeletedDate = &end
	step("scheduled")

	b.now = b.now.Add(time.Second)
	must[smapi.RestoreSecretOutput](t, b, smapi.OpRestoreSecret, &smapi.RestoreSecretInput{SecretId: "s"})
	changed()
	want.DeletedDate = nil
	step("restored")
}

func TestDescribeSecretErrors(t *testing.T) {
	b := newBed(t)
	b.create(t, "s")
	refused(t, b, smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: "Inv Name"}, badName)
	refused(t, b, smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: "none"}, noSecret)
	refused(t, b, smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: "s"}, noSecret, inRegion("us-east-1"))
	b.denies(t, "DescribeSecret")
	refused(t, b, smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: "s"}, denial("DescribeSecret"))
	refused(t, b, smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: "none"}, denial("DescribeSecret"))
}
