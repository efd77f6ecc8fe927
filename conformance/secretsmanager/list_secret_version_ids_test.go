package secretsmanager_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/google/go-cmp/cmp"
)

// versions lists the versions of a secret, oldest first.
func (k *kit) versions(id string, deprecated bool) []types.SecretVersionsListEntry {
	k.t.Helper()
	out, err := k.ListSecretVersionIds(k.ctx(), &secretsmanager.ListSecretVersionIdsInput{SecretId: &id, IncludeDeprecated: &deprecated})
	if err != nil {
		k.t.Fatal(err)
	}
	slices.SortStableFunc(out.Versions, func(a, b types.SecretVersionsListEntry) int { return a.CreatedDate.Compare(*b.CreatedDate) })
	return out.Versions
}

func TestListSecretVersionIdsMembers(t *testing.T) {
	k := newKit(t)
	name := k.empty("s")
	out := ask(t, "ListSecretVersionIds", in{"SecretId": name})
	wantMembers(t, out, "ARN", "Name", "Versions")
	if diff := cmp.Diff([]any{}, out["Versions"]); diff != "" {
		t.Errorf("Versions of an empty secret (-want +got):\n%s", diff)
	}
	v1 := k.put(name, "v1")
	k.put(name, "v2")
	k.put(name, "v3")
	entries := map[string]map[string]any{}
	for _, v := range ask(t, "ListSecretVersionIds", in{"SecretId": name, "IncludeDeprecated": true})["Versions"].([]any) {
		entry := v.(map[string]any)
		entries[entry["VersionId"].(string)] = entry
	}
	if len(entries) != 3 {
		t.Fatalf("versions = %v, want three", entries)
	}
	for id, entry := range entries {
		if id == v1 { // deprecated
			wantMembers(t, entry, "VersionId", "CreatedDate", "KmsKeyIds")
		} else {
			wantMembers(t, entry, "VersionId", "VersionStages", "CreatedDate", "KmsKeyIds")
		}
		if diff := cmp.Diff([]any{"DefaultEncryptionKey"}, entry["KmsKeyIds"]); diff != "" {
			t.Errorf("KmsKeyIds (-want +got):\n%s", diff)
		}
	}
	if got := len(k.versions(name, false)); got != 2 {
		t.Errorf("%d versions without IncludeDeprecated, want 2", got)
	}
}

func TestListSecretVersionIdsPages(t *testing.T) {
	k := newKit(t)
	name := k.empty("s")
	want := map[string]bool{}
	for i := range 7 {
		want[k.put(name, fmt.Sprint(i))] = true
	}
	for _, size := range []int32{1, 3, 7, 100} {
		got := map[string]bool{}
		pages := secretsmanager.NewListSecretVersionIdsPaginator(k, &secretsmanager.ListSecretVersionIdsInput{
			SecretId: &name, IncludeDeprecated: aws.Bool(true), MaxResults: &size,
		})
		for pages.HasMorePages() {
			page, err := pages.NextPage(k.ctx())
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Versions) > int(size) {
				t.Errorf("a page of at most %d has %d versions", size, len(page.Versions))
			}
			for _, v := range page.Versions {
				if got[*v.VersionId] {
					t.Errorf("pages of %d: version %s comes twice", size, *v.VersionId)
				}
				got[*v.VersionId] = true
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("pages of %d (-want +got):\n%s", size, diff)
		}
	}
}

func TestListSecretVersionIdsErrors(t *testing.T) {
	k := newKit(t)
	name, _ := k.secret("s", "v")
	other, _ := k.secret("other", "v")
	k.put(name, "w")
	list := func(id string, max *int32, next *string) error {
		_, err := k.ListSecretVersionIds(k.ctx(), &secretsmanager.ListSecretVersionIdsInput{SecretId: &id, MaxResults: max, NextToken: next})
		return err
	}
	wantError[*types.ResourceNotFoundException](t, list(k.prefix+"none", nil, nil), textNoSecret)
	wantCode(t, list("Inv Name", nil, nil), "ValidationException", textBadName)
	wantError[*types.InvalidNextTokenException](t, list(name, nil, aws.String("made-up")), "")
	wantInvalid(t, list(name, aws.Int32(0), nil), "Value '0' at 'maxResults' failed to satisfy constraint: Member must have value greater than or equal to 1")
	wantInvalid(t, list(name, aws.Int32(101), nil), "Value '101' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 100")

	page, err := k.ListSecretVersionIds(k.ctx(), &secretsmanager.ListSecretVersionIdsInput{SecretId: &name, MaxResults: aws.Int32(1)})
	if err != nil {
		t.Fatal(err)
	}
	wantError[*types.InvalidNextTokenException](t, list(other, nil, page.NextToken), "")
}
