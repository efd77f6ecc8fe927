package secrets

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/paging"
	"arca/internal/store"
)

// defaultKeyName is how versions under the account's own key show it.
const defaultKeyName = "DefaultEncryptionKey"

// ListSecretVersionIds lists the versions of a secret, oldest first. Those without
// labels are deprecated and only shown on request. A scheduled deletion does not
// hide them, as it does not hide what DescribeSecret tells.
func (s *Service) ListSecretVersionIds(ctx context.Context, c *call.Call, in *smapi.ListSecretVersionIdsInput) (*smapi.ListSecretVersionIdsOutput, error) {
	var out *smapi.ListSecretVersionIdsOutput
	err := s.store.View(ctx, func(v *store.Snap) error {
		sec, err := s.load(ctx, c, v, "ListSecretVersionIds", in.SecretId)
		if err != nil {
			return err
		}
		question := paging.QuestionOf("ListSecretVersionIds", sec.UID.String(), strconv.FormatBool(isTrue(in.IncludeDeprecated)))
		after, err := openPageToken(s.store, question, in.NextToken)
		if err != nil {
			return err
		}
		versions, next := versionPage(sec, isTrue(in.IncludeDeprecated), after, pageSize(in.MaxResults, listPageSize))
		out = &smapi.ListSecretVersionIdsOutput{ARN: new(sec.ARN()), Name: &sec.Name, Versions: make([]smapi.SecretVersionsListEntry, 0, len(versions))}
		day := s.accessDays(v, sec)
		for _, ver := range versions {
			out.Versions = append(out.Versions, versionEntry(ver, day(ver.ID)))
		}
		out.NextToken, err = sealPageToken(s.store, question, next)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// versionPage picks up to limit versions that stand after a position. A secret has
// few enough versions to sort them every time.
func versionPage(sec *Secret, deprecated bool, after string, limit int) (page []*Version, next string) {
	for i := range sec.Versions {
		ver := &sec.Versions[i]
		if (deprecated || len(ver.Stages) > 0) && versionPosition(ver) > after {
			page = append(page, ver)
		}
	}
	slices.SortFunc(page, func(a, b *Version) int { return strings.Compare(versionPosition(a), versionPosition(b)) })
	if len(page) > limit {
		page = page[:limit]
		next = versionPosition(page[limit-1])
	}
	return page, next
}

func versionPosition(ver *Version) string { return ver.Created.orderKey() + ver.ID }

func versionEntry(ver *Version, read Day) smapi.SecretVersionsListEntry {
	keys := []string{shownKey(ver.KMSKeyID)}
	for _, name := range ver.FormerKMSKeyIDs {
		keys = append(keys, shownKey(name))
	}
	return smapi.SecretVersionsListEntry{
		VersionId:        &ver.ID,
		VersionStages:    ver.Stages,
		CreatedDate:      ver.Created.pointer(),
		LastAccessedDate: read.pointer(),
		KmsKeyIds:        keys,
	}
}
