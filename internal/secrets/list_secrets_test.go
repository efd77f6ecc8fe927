package secrets_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api"
	"arca/internal/api/smapi"
)

func listNames(out *smapi.ListSecretsOutput) []string {
	names := make([]string, 0, len(out.SecretList))
	for _, e := range out.SecretList {
		names = append(names, *e.Name)
	}
	return names
}

// An entry says what DescribeSecret says.
func TestListSecretsEntry(t *testing.T) {
	b := newBed(t)
	b.create(t, "plain")
	b.create(t, "empty", func(in *smapi.CreateSecretInput) { in.SecretString = nil })
	b.create(t, "full", func(in *smapi.CreateSecretInput) {
		in.Description = new("what it is for")
		in.Tags = []smapi.Tag{{Key: new("b"), Value: new("2")}, {Key: new("a"), Value: new("1")}}
	})
	b.create(t, "untagged", func(in *smapi.CreateSecretInput) { in.Tags = []smapi.Tag{{Key: new("a"), Value: new("1")}} })
	must[smapi.UntagResourceOutput](t, b, smapi.OpUntagResource, &smapi.UntagResourceInput{SecretId: "untagged", TagKeys: []string{"a"}})
	must[smapi.GetSecretValueOutput](t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: "plain"})
	b.create(t, "scheduled")
	must[smapi.DeleteSecretOutput](t, b, smapi.OpDeleteSecret, &smapi.DeleteSecretInput{SecretId: "scheduled"})

	out := must[smapi.ListSecretsOutput](t, b, smapi.OpListSecrets, &smapi.ListSecretsInput{IncludePlannedDeletion: new(true)})
	if want := []string{"plain", "empty", "full", "untagged", "scheduled"}; !slices.Equal(listNames(out), want) {
		t.Fatalf("listed %q, want %q", listNames(out), want)
	}
	for _, e := range out.SecretList {
		d := must[smapi.DescribeSecretOutput](t, b, smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: *e.Name})
		want := smapi.SecretListEntry{
			ARN: d.ARN, Name: d.Name, Description: d.Description, KmsKeyId: d.KmsKeyId, CreatedDate: d.CreatedDate,
			LastChangedDate: d.LastChangedDate, LastAccessedDate: d.LastAccessedDate, DeletedDate: d.DeletedDate,
			Tags: d.Tags, SecretVersionsToStages: d.VersionIdsToStages,
		}
		if diff := cmp.Diff(want, e); diff != "" {
			t.Errorf("entry of %s (-DescribeSecret +ListSecrets):\n%s", *e.Name, diff)
		}
	}
	if read := out.SecretList[0].LastAccessedDate; read == nil || !read.Equal(b.now.Truncate(24*time.Hour)) {
		t.Errorf("LastAccessedDate = %v, want the day of %v", read, b.now)
	}
	if tags := out.SecretList[3].Tags; tags == nil || len(tags) != 0 {
		t.Errorf("tags after the last one was removed = %v, want an empty list", tags)
	}
	if deleted := out.SecretList[4].DeletedDate; deleted == nil {
		t.Error("a scheduled secret has no DeletedDate")
	}
}

func TestListSecrets(t *testing.T) {
	b := newBed(t)
	if out := must[smapi.ListSecretsOutput](t, b, smapi.OpListSecrets, &smapi.ListSecretsInput{}); out.SecretList == nil || len(out.SecretList) != 0 || out.NextToken != nil {
		t.Errorf("empty account lists %+v, want an empty list without NextToken", out)
	}
	for _, name := range []string{"c", "a", "d", "b"} {
		b.create(t, name)
	}
	b.create(t, "gone")
	must[smapi.DeleteSecretOutput](t, b, smapi.OpDeleteSecret, &smapi.DeleteSecretInput{SecretId: "gone"})
	b.now = b.now.Add(time.Hour)
	must[smapi.UpdateSecretOutput](t, b, smapi.OpUpdateSecret, &smapi.UpdateSecretInput{SecretId: "a", Description: new("App database"), ClientRequestToken: token(9)})
	must[smapi.GetSecretValueOutput](t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: "c"})
	if err := b.svc.FlushAccess(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		in   smapi.ListSecretsInput
		who  []callOption
		want []string
	}{
		{name: "oldest first", want: []string{"c", "a", "d", "b"}},
		{name: "newest first", in: smapi.ListSecretsInput{SortOrder: new("desc")}, want: []string{"b", "d", "a", "c"}},
		{name: "by name", in: smapi.ListSecretsInput{SortBy: new("name")}, want: []string{"a", "b", "c", "d"}},
		{name: "by name, backwards", in: smapi.ListSecretsInput{SortBy: new("name"), SortOrder: new("desc")}, want: []string{"d", "c", "b", "a"}},
		{name: "by change", in: smapi.ListSecretsInput{SortBy: new("last-changed-date")}, want: []string{"c", "d", "b", "a"}},
		{name: "by access", in: smapi.ListSecretsInput{SortBy: new("last-accessed-date")}, want: []string{"a", "d", "b", "c"}},
		{name: "by access, latest first", in: smapi.ListSecretsInput{SortBy: new("last-accessed-date"), SortOrder: new("desc")}, want: []string{"c", "b", "d", "a"}},
		{name: "by creation, said", in: smapi.ListSecretsInput{SortBy: new("created-date"), SortOrder: new("asc")}, want: []string{"c", "a", "d", "b"}},
		{name: "with planned deletion", in: smapi.ListSecretsInput{IncludePlannedDeletion: new(true)}, want: []string{"c", "a", "d", "b", "gone"}},
		{name: "without, said", in: smapi.ListSecretsInput{IncludePlannedDeletion: new(false)}, want: []string{"c", "a", "d", "b"}},
		{name: "filter by name", in: smapi.ListSecretsInput{Filters: []smapi.Filter{filterOf("name", "a", "c")}}, want: []string{"c", "a"}},
		{name: "filter by description", in: smapi.ListSecretsInput{Filters: []smapi.Filter{filterOf("description", "app")}}, want: []string{"a"}},
		{name: "another account", who: []callOption{fromAccount(otherAccount)}, want: []string{}},
		{name: "another region", who: []callOption{inRegion("eu-west-2")}, want: []string{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out := must[smapi.ListSecretsOutput](t, b, smapi.OpListSecrets, &tc.in, tc.who...)
			if got := listNames(out); !slices.Equal(got, tc.want) || out.NextToken != nil {
				t.Errorf("listed %q (next %v), want %q", got, out.NextToken, tc.want)
			}
		})
	}
	t.Run("pages", func(t *testing.T) {
		var got []string
		in := &smapi.ListSecretsInput{MaxResults: new(int32(3))}
		for {
			out := must[smapi.ListSecretsOutput](t, b, smapi.OpListSecrets, in)
			got = append(got, listNames(out)...)
			if out.NextToken == nil {
				break
			}
			in = &smapi.ListSecretsInput{MaxResults: new(int32(1)), NextToken: out.NextToken} // another size is allowed
		}
		if want := []string{"c", "a", "d", "b"}; !slices.Equal(got, want) {
			t.Errorf("pages hold %q, want %q", got, want)
		}
	})
}

func TestListSecretsErrors(t *testing.T) {
	b := newBed(t)
	for _, name := range []string{"a", "b", "c"} {
		b.create(t, name)
	}
	key := "name"
	refused(t, b, smapi.OpListSecrets, &smapi.ListSecretsInput{Filters: []smapi.Filter{{Values: []string{"a"}}}},
		"InvalidParameterException: Invalid filter key")
	refused(t, b, smapi.OpListSecrets, &smapi.ListSecretsInput{Filters: []smapi.Filter{{Key: &key}}},
		"InvalidParameterException: Invalid filter values for key: name")

	b.questions()
	b.denies(t, "ListSecrets")
	refused(t, b, smapi.OpListSecrets, &smapi.ListSecretsInput{NextToken: new("forged")}, denial("ListSecrets"))
	if asked := b.questions(); len(asked) != 1 || asked[0].Resource != "*" {
		t.Errorf("the authorizer was asked %+v, want one question about *", asked)
	}
}

// A token opens for the question it was given for and for no other.
func TestListSecretsToken(t *testing.T) {
	b := newBed(t)
	for _, name := range []string{"a", "b", "c"} {
		b.create(t, name)
		b.create(t, name, func(in *smapi.CreateSecretInput) { in.Name = "x" + name })
	}
	one := new(int32(1))
	filters := []smapi.Filter{filterOf("name", "a", "b")}
	first := must[smapi.ListSecretsOutput](t, b, smapi.OpListSecrets, &smapi.ListSecretsInput{MaxResults: one, Filters: filters})
	given := first.NextToken
	if given == nil || len(*given) > 4096 {
		t.Fatalf("NextToken = %v", given)
	}
	out := must[smapi.ListSecretsOutput](t, b, smapi.OpListSecrets, &smapi.ListSecretsInput{Filters: filters, NextToken: given})
	if got := listNames(out); !slices.Equal(got, []string{"b"}) {
		t.Errorf("second page = %q, want b", got)
	}
	tampered := []byte(*given)
	tampered[len(tampered)/2] ^= 1
	for _, tc := range []struct {
		name string
		in   smapi.ListSecretsInput
		who  []callOption
	}{
		{name: "not ours", in: smapi.ListSecretsInput{NextToken: new("AAAA"), Filters: filters}},
		{name: "not base64", in: smapi.ListSecretsInput{NextToken: new("no token!"), Filters: filters}},
		{name: "tampered with", in: smapi.ListSecretsInput{NextToken: new(string(tampered)), Filters: filters}},
		{name: "cut off", in: smapi.ListSecretsInput{NextToken: new((*given)[:len(*given)-4]), Filters: filters}},
		{name: "no filters", in: smapi.ListSecretsInput{NextToken: given}},
		{name: "other values", in: smapi.ListSecretsInput{NextToken: given, Filters: []smapi.Filter{filterOf("name", "a")}}},
		{name: "values of another filter", in: smapi.ListSecretsInput{NextToken: given, Filters: []smapi.Filter{filterOf("name", "a"), filterOf("name", "b")}}},
		{name: "other order", in: smapi.ListSecretsInput{NextToken: given, Filters: filters, SortOrder: new("desc")}},
		{name: "other sort", in: smapi.ListSecretsInput{NextToken: given, Filters: filters, SortBy: new("name")}},
		{name: "with planned deletion", in: smapi.ListSecretsInput{NextToken: given, Filters: filters, IncludePlannedDeletion: new(true)}},
		{name: "other account", in: smapi.ListSecretsInput{NextToken: given, Filters: filters}, who: []callOption{fromAccount(otherAccount)}},
		{name: "other region", in: smapi.ListSecretsInput{NextToken: given, Filters: filters}, who: []callOption{inRegion("eu-west-2")}},
	} {
		t.Run(tc.name, func(t *testing.T) { refused(t, b, smapi.OpListSecrets, &tc.in, badPageToken, tc.who...) })
	}
	t.Run("other operation", func(t *testing.T) {
		refused(t, b, smapi.OpBatchGetSecretValue, &smapi.BatchGetSecretValueInput{NextToken: given, Filters: filters}, badPageToken)
		refused(t, b, smapi.OpListSecretVersionIds, &smapi.ListSecretVersionIdsInput{SecretId: "a", NextToken: given}, badPageToken)
	})
}

// No text but a token of ours opens, and none breaks anything.
func FuzzPageToken(f *testing.F) {
	b := newBed(f)
	b.create(f, "a")
	b.create(f, "b")
	given := *must[smapi.ListSecretsOutput](f, b, smapi.OpListSecrets, &smapi.ListSecretsInput{MaxResults: new(int32(1))}).NextToken
	for _, seed := range []string{"", "AAAA", given, given + "A", given[:20], strings.ToUpper(given)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, err := b.call(smapi.OpListSecrets, &smapi.ListSecretsInput{NextToken: &text})
		if text == given {
			if err != nil {
				t.Errorf("our own token: %v", err)
			}
			return
		}
		if aerr, ok := errors.AsType[*api.Error](err); !ok || aerr.Code != smapi.InvalidNextTokenException {
			t.Errorf("token %q: %v, want %s", text, err, badPageToken)
		}
	})
}

// Every list shows the date of the last access that DescribeSecret shows, whatever its
// order tells of it, and wherever the secrets are found.
func TestListLastAccessedDates(t *testing.T) {
	b := newBed(t)
	for _, name := range []string{"never", "early", "late", "both"} {
		b.create(t, name, func(in *smapi.CreateSecretInput) { in.Tags = []smapi.Tag{{Key: new("k"), Value: new("v")}} })
	}
	b.read(t, "early")
	b.read(t, "both")
	b.now = b.now.Add(oneDay)
	b.read(t, "late")
	b.flush(t)
	b.svc.ForgetReads()
	b.now = b.now.Add(oneDay)
	b.read(t, "both") // which is not stored
	for _, catalogued := range []bool{false, true} {
		if catalogued {
			if err := b.svc.FillCatalog(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for _, by := range []string{"name", "created-date", "last-changed-date", "last-accessed-date"} {
			for _, direction := range []string{"asc", "desc"} {
				for _, filters := range [][]smapi.Filter{nil, {filterOf("tag-key", "k")}} {
					in := &smapi.ListSecretsInput{SortBy: &by, SortOrder: &direction, Filters: filters}
					out := must[smapi.ListSecretsOutput](t, b, smapi.OpListSecrets, in)
					if len(out.SecretList) != 4 {
						t.Fatalf("by %s %s, filtered %v: %d secrets, want 4", by, direction, filters != nil, len(out.SecretList))
					}
					for _, e := range out.SecretList {
						if diff := cmp.Diff(b.describe(t, *e.Name).LastAccessedDate, e.LastAccessedDate); diff != "" {
							t.Errorf("by %s %s, filtered %v, catalogued %v: %s (-DescribeSecret +ListSecrets):\n%s", by, direction, filters != nil, catalogued, *e.Name, diff)
						}
					}
				}
			}
		}
	}
}
