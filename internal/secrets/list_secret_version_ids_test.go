package secrets_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api/smapi"
	"arca/internal/secrets"
)

func TestListSecretVersionIds(t *testing.T) {
	b := newBed(t)
	made := b.create(t, "s")
	start := b.now
	b.put(t, "s", 2)
	b.put(t, "s", 3)
	b.put(t, "s", 4, "mine")
	must[smapi.GetSecretValueOutput](t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: "s", VersionId: token(1)})

	entry := func(n int, read bool, stages ...string) smapi.SecretVersionsListEntry {
		e := smapi.SecretVersionsListEntry{
			VersionId: token(n), VersionStages: stages, KmsKeyIds: []string{"DefaultEncryptionKey"},
			CreatedDate: new(start.Add(time.Duration(n-1) * time.Second)),
		}
		if read {
			e.LastAccessedDate = new(b.now.Truncate(24 * time.Hour))
		}
		return e
	}
	labelled := []smapi.SecretVersionsListEntry{
		entry(2, false, "AWSPREVIOUS"), entry(3, false, "AWSCURRENT"), entry(4, false, "mine"),
	}
	all := append([]smapi.SecretVersionsListEntry{entry(1, true)}, labelled...)
	for _, tc := range []struct {
		name string
		in   smapi.ListSecretVersionIdsInput
		want []smapi.SecretVersionsListEntry
	}{
		{"labelled only", smapi.ListSecretVersionIdsInput{SecretId: "s"}, labelled},
		{"labelled only, said", smapi.ListSecretVersionIdsInput{SecretId: "s", IncludeDeprecated: new(false)}, labelled},
		{"deprecated too", smapi.ListSecretVersionIdsInput{SecretId: "s", IncludeDeprecated: new(true)}, all},
		{"by ARN", smapi.ListSecretVersionIdsInput{SecretId: *made.ARN}, labelled},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out := must[smapi.ListSecretVersionIdsOutput](t, b, smapi.OpListSecretVersionIds, &tc.in)
			want := &smapi.ListSecretVersionIdsOutput{ARN: made.ARN, Name: new("s"), Versions: tc.want}
			if diff := cmp.Diff(want, out); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	t.Run("pages", func(t *testing.T) {
		for size := int32(1); size <= 5; size++ {
			var got []smapi.SecretVersionsListEntry
			in := &smapi.ListSecretVersionIdsInput{SecretId: "s", IncludeDeprecated: new(true), MaxResults: &size}
			for {
				out := must[smapi.ListSecretVersionIdsOutput](t, b, smapi.OpListSecretVersionIds, in)
				got = append(got, out.Versions...)
				if in.NextToken = out.NextToken; in.NextToken == nil {
					break
				}
			}
			if diff := cmp.Diff(all, got); diff != "" {
				t.Errorf("in pages of %d (-want +got):\n%s", size, diff)
			}
		}
	})
	t.Run("no versions", func(t *testing.T) {
		b.create(t, "empty", func(in *smapi.CreateSecretInput) { in.SecretString = nil })
		out := must[smapi.ListSecretVersionIdsOutput](t, b, smapi.OpListSecretVersionIds, &smapi.ListSecretVersionIdsInput{SecretId: "empty"})
		if out.Versions == nil || len(out.Versions) != 0 {
			t.Errorf("versions = %v, want an empty list", out.Versions)
		}
	})
	t.Run("scheduled for deletion", func(t *testing.T) {
		must[smapi.DeleteSecretOutput](t, b, smapi.OpDeleteSecret, &smapi.DeleteSecretInput{SecretId: "s"})
		out := must[smapi.ListSecretVersionIdsOutput](t, b, smapi.OpListSecretVersionIds, &smapi.ListSecretVersionIdsInput{SecretId: "s"})
		if len(out.Versions) != len(labelled) {
			t.Errorf("%d versions, want %d", len(out.Versions), len(labelled))
		}
	})
}

func TestListSecretVersionIdsErrors(t *testing.T) {
	b := newBed(t)
	b.create(t, "s")
	b.put(t, "s", 2)
	b.create(t, "other")
	b.put(t, "other", 2)
	refused(t, b, smapi.OpListSecretVersionIds, &smapi.ListSecretVersionIdsInput{SecretId: "none"}, noSecret)
	refused(t, b, smapi.OpListSecretVersionIds, &smapi.ListSecretVersionIdsInput{SecretId: " Inv*Name? "}, badName)

	page := must[smapi.ListSecretVersionIdsOutput](t, b, smapi.OpListSecretVersionIds, &smapi.ListSecretVersionIdsInput{SecretId: "s", MaxResults: new(int32(1))})
	if page.NextToken == nil {
		t.Fatal("no NextToken")
	}
	for _, in := range []smapi.ListSecretVersionIdsInput{
		{SecretId: "s", NextToken: new("AAAA")},
		{SecretId: "other", NextToken: page.NextToken},
		{SecretId: "s", NextToken: page.NextToken, IncludeDeprecated: new(true)},
	} {
		refused(t, b, smapi.OpListSecretVersionIds, &in, badPageToken)
	}

	b.denies(t, "ListSecretVersionIds")
	refused(t, b, smapi.OpListSecretVersionIds, &smapi.ListSecretVersionIdsInput{SecretId: "s"}, denial("ListSecretVersionIds"))
	refused(t, b, smapi.OpListSecretVersionIds, &smapi.ListSecretVersionIdsInput{SecretId: "none"}, denial("ListSecretVersionIds"))
}

// A secret deleted and made again is another one: tokens of the first do not open.
func TestListSecretVersionIdsNamesake(t *testing.T) {
	b := newBed(t)
	b.create(t, "s")
	b.put(t, "s", 2)
	in := &smapi.ListSecretVersionIdsInput{SecretId: "s", MaxResults: new(int32(1))}
	in.NextToken = must[smapi.ListSecretVersionIdsOutput](t, b, smapi.OpListSecretVersionIds, in).NextToken
	must[smapi.DeleteSecretOutput](t, b, smapi.OpDeleteSecret, &smapi.DeleteSecretInput{SecretId: "s", ForceDeleteWithoutRecovery: new(true)})
	if err := secrets.NewExpiry(b.svc, b.dispatcher).Step(t.Context(), b.now); err != nil {
		t.Fatal(err)
	}
	b.create(t, "s")
	refused(t, b, smapi.OpListSecretVersionIds, in, badPageToken)
	if got := must[smapi.ListSecretVersionIdsOutput](t, b, smapi.OpListSecretVersionIds, &smapi.ListSecretVersionIdsInput{SecretId: "s"}); !slices.Equal(got.Versions[0].VersionStages, []string{"AWSCURRENT"}) {
		t.Errorf("versions of the namesake: %+v", got.Versions)
	}
}
