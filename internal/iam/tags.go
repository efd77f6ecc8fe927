package iam

import (
	"slices"
	"strings"

	"arca/internal/api/iamapi"
	"arca/internal/paging"
)

// setTags adds tags or gives them new values. Keys are unique without case: a key
// that differs from an existing one in case only takes its place. have is left alone.
// what names the quota.
func (s *Service) setTags(have []Tag, tags []iamapi.Tag, what string) ([]Tag, error) {
	for i, t := range tags {
		if strings.HasPrefix(strings.ToLower(t.Key), "aws:") {
			return nil, iamapi.InvalidInput.Errorf("Tag keys that begin with aws: are reserved for system use.")
		}
		if slices.ContainsFunc(tags[:i], func(o iamapi.Tag) bool { return strings.EqualFold(o.Key, t.Key) }) {
			return nil, iamapi.InvalidInput.Errorf("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		}
	}
	all := slices.Clone(have)
	for _, t := range tags {
		fresh := Tag{Key: t.Key, Value: t.Value}
		at := slices.IndexFunc(all, func(o Tag) bool { return strings.EqualFold(o.Key, t.Key) })
		if at >= 0 {
			all[at] = fresh
			continue
		}
		all = append(all, fresh)
	}
	if len(all) > s.quotas.tags && len(all) > len(have) {
		return nil, errQuota(what, s.quotas.tags)
	}
	return all, nil
}

// Names of the quotas of tags.
const (
	quotaUserTags     = "TagsPerUser"
	quotaRoleTags     = "TagsPerRole"
	quotaPolicyTags   = "TagsPerPolicy"
	quotaProviderTags = "TagsPerOpenIDConnectProvider"
)

// unsetTags removes tags. Keys that are not there are no mistake. have is left alone.
func unsetTags(have []Tag, keys []string) []Tag {
	return slices.DeleteFunc(slices.Clone(have), func(t Tag) bool {
		return slices.ContainsFunc(keys, func(key string) bool { return strings.EqualFold(key, t.Key) })
	})
}

// wireTags is the form of tags in answers that leave out an empty list.
func wireTags(tags []Tag) []iamapi.Tag {
	if len(tags) == 0 {
		return nil
	}
	out := make([]iamapi.Tag, len(tags))
	for i, t := range tags {
		out[i] = iamapi.Tag{Key: t.Key, Value: t.Value}
	}
	return out
}

// pageOfTags is the form of tags in answers that list them, page by page.
func pageOfTags(p *paging.Pager, tags []Tag) []iamapi.Tag {
	return append([]iamapi.Tag{}, wireTags(paging.Page(p, tags))...)
}
