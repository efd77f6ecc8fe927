package kms

import (
	"context"
	"slices"
	"strings"

	"arca/internal/api/kmsapi"
	"arca/internal/call"
	"arca/internal/paging"
	"arca/internal/policy"
	"arca/internal/store"
)

// requestTags are the condition keys of tags that a request brings.
func requestTags(tags []kmsapi.Tag) []policy.ContextKey {
	if len(tags) == 0 {
		return nil
	}
	keys := make([]policy.ContextKey, 0, len(tags)+1)
	names := contextKey("aws:TagKeys")
	for _, t := range tags {
		keys = append(keys, contextKey("aws:RequestTag/"+t.TagKey, t.TagValue))
		names.Values = append(names.Values, t.TagKey)
	}
	return append(keys, names)
}

// setTags adds tags or gives them new values. have is left alone.
func (s *Service) setTags(have []Tag, tags []kmsapi.Tag) ([]Tag, error) {
	all := slices.Clone(have)
	for i, t := range tags {
		if reservedTag(t.TagKey) {
			return nil, errReservedTag()
		}
		if slices.ContainsFunc(tags[:i], func(o kmsapi.Tag) bool { return o.TagKey == t.TagKey }) {
			return nil, kmsapi.TagException.Errorf("Duplicate tag keys")
		}
		fresh := Tag{Key: t.TagKey, Value: t.TagValue}
		if at := slices.IndexFunc(all, func(o Tag) bool { return o.Key == t.TagKey }); at >= 0 {
			all[at] = fresh
		} else {
			all = append(all, fresh)
		}
	}
	if len(all) > s.quotas.tags {
		return nil, kmsapi.TagException.Errorf("Too many tags")
	}
	return all, nil
}

func reservedTag(key string) bool { return strings.HasPrefix(strings.ToLower(key), "aws:") }

func errReservedTag() error {
	return kmsapi.TagException.Errorf("Tags beginning with aws: are reserved")
}

// TagResource gives a key tags, or tags new values.
func (s *Service) TagResource(ctx context.Context, c *call.Call, in *kmsapi.TagResourceInput) (*kmsapi.TagResourceOutput, error) {
	w := want{action: "TagResource", keyID: in.KeyId, keys: requestTags(in.Tags)}
	return nil, s.change(ctx, c, &w, func(_ *store.Tx, key *Key) (bool, error) {
		if key.State == PendingDeletion {
			return false, key.invalidState()
		}
		tags, err := s.setTags(key.Tags, in.Tags)
		if err != nil {
			return false, err
		}
		changed := !slices.Equal(tags, key.Tags)
		key.Tags = tags
		return changed, nil
	})
}

// UntagResource takes tags from a key. Keys that are not there are no mistake.
func (s *Service) UntagResource(ctx context.Context, c *call.Call, in *kmsapi.UntagResourceInput) (*kmsapi.UntagResourceOutput, error) {
	w := want{action: "UntagResource", keyID: in.KeyId}
	if len(in.TagKeys) > 0 {
		w.keys = append(w.keys, contextKey("aws:TagKeys", in.TagKeys...))
	}
	return nil, s.change(ctx, c, &w, func(_ *store.Tx, key *Key) (bool, error) {
		if key.State == PendingDeletion {
			return false, key.invalidState()
		}
		if slices.ContainsFunc(in.TagKeys, reservedTag) {
			return false, errReservedTag()
		}
		before := len(key.Tags)
		key.Tags = slices.DeleteFunc(key.Tags, func(t Tag) bool { return slices.Contains(in.TagKeys, t.Key) })
		return len(key.Tags) != before, nil
	})
}

// ListResourceTags lists the tags of a key.
func (s *Service) ListResourceTags(ctx context.Context, c *call.Call, in *kmsapi.ListResourceTagsInput) (*kmsapi.ListResourceTagsOutput, error) {
	p, err := s.newPager(c, in.Marker, in.Limit, 50, 50, in.KeyId)
	if err != nil {
		return nil, err
	}
	w := want{action: "ListResourceTags", keyID: in.KeyId}
	list := []kmsapi.Tag{}
	err = s.store.View(ctx, func(v *store.Snap) error {
		p.Begin()
		key, err := s.load(ctx, c, v, &w)
		if err != nil {
			return err
		}
		list = list[:0]
		for _, t := range paging.Page(p, key.Tags) {
			list = append(list, kmsapi.Tag{TagKey: t.Key, TagValue: t.Value})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := &kmsapi.ListResourceTagsOutput{Tags: list}
	out.Truncated, out.NextMarker, err = p.End()
	return out, err
}
