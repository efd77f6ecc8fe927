package lambda

import (
	"context"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"arca/internal/api/lambdaapi"
	"arca/internal/call"
	"arca/internal/policy"
	"arca/internal/store"
)

// requestTags are the condition keys of tags that a request brings.
func requestTags(tags []Tag) []policy.ContextKey {
	if len(tags) == 0 {
		return nil
	}
	keys := make([]policy.ContextKey, 0, len(tags)+1)
	names := contextKey("aws:TagKeys")
	for _, t := range tags {
		keys = append(keys, contextKey("aws:RequestTag/"+t.Key, t.Value))
		names.Values = append(names.Values, t.Key)
	}
	return append(keys, names)
}

// setTags adds tags, or gives them new values, in the order of their keys. have is left
// alone.
func (s *Service) setTags(have []Tag, tags lambdaTags) ([]Tag, error) {
	all := slices.Clone(have)
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		switch {
		case reservedTag(key):
			return nil, errReservedTag()
		case key == "" || utf8.RuneCountInString(key) > 128 || utf8.RuneCountInString(tags[key]) > 256:
			return nil, lambdaapi.InvalidParameterValueException.Errorf("Keys of tags have 1 to 128 characters, values at most 256.")
		}
		fresh := Tag{Key: key, Value: tags[key]}
		if at := slices.IndexFunc(all, func(o Tag) bool { return o.Key == key }); at >= 0 {
			all[at] = fresh
		} else {
			all = append(all, fresh)
		}
	}
	if len(all) > s.quotas.tags && len(all) > len(have) {
		return nil, lambdaapi.InvalidParameterValueException.Errorf("You can't have more than %d tags on a function.", s.quotas.tags)
	}
	return all, nil
}

type lambdaTags = map[string]string

func reservedTag(key string) bool { return strings.HasPrefix(strings.ToLower(key), "aws:") }

func errReservedTag() error {
	return lambdaapi.InvalidParameterValueException.Errorf("Tags beginning with aws: are reserved.")
}

func shownTags(tags []Tag) map[string]string {
	out := make(map[string]string, len(tags))
	for _, t := range tags {
		out[t.Key] = t.Value
	}
	return out
}

// tagged reads the ARN in a request about tags: only functions have them.
func tagged(c *call.Call, resource string) (name, error) {
	n, err := named(c, resource, nil)
	if err == nil && n.qualifier != "" {
		err = lambdaapi.InvalidParameterValueException.Errorf("Tags on function aliases and versions are not supported. Please specify either a function ARN or an event source mapping ARN.")
	}
	return n, err
}

// TagResource gives a function tags, or tags new values.
func (s *Service) TagResource(ctx context.Context, c *call.Call, in *lambdaapi.TagResourceInput) (*lambdaapi.TagResourceOutput, error) {
	n, err := tagged(c, in.Resource)
	if err != nil {
		return nil, err
	}
	wanted, err := s.setTags(nil, in.Tags)
	if err != nil {
		return nil, err
	}
	return nil, s.changeTags(ctx, c, n, "TagResource", requestTags(wanted), func(have []Tag) ([]Tag, error) {
		return s.setTags(have, in.Tags)
	})
}

// UntagResource takes tags from a function. Keys that are not there are no mistake.
func (s *Service) UntagResource(ctx context.Context, c *call.Call, in *lambdaapi.UntagResourceInput) (*lambdaapi.UntagResourceOutput, error) {
	n, err := tagged(c, in.Resource)
	if err != nil {
		return nil, err
	}
	var keys []policy.ContextKey
	if len(in.TagKeys) > 0 {
		keys = append(keys, contextKey("aws:TagKeys", in.TagKeys...))
	}
	return nil, s.changeTags(ctx, c, n, "UntagResource", keys, func(have []Tag) ([]Tag, error) {
		if slices.ContainsFunc(in.TagKeys, reservedTag) {
			return nil, errReservedTag()
		}
		return slices.DeleteFunc(slices.Clone(have), func(t Tag) bool { return slices.Contains(in.TagKeys, t.Key) }), nil
	})
}

func (s *Service) changeTags(ctx context.Context, c *call.Call, n name, action string, keys []policy.ContextKey, change func(have []Tag) ([]Tag, error)) error {
	return c.Update(ctx, s.store, func(tx *store.Tx) error {
		old, err := s.load(ctx, c, tx.Snap, n, action, keys...)
		if err != nil {
			return err
		}
		f := old.clone()
		if f.Tags, err = change(old.Tags); err != nil || slices.Equal(f.Tags, old.Tags) {
			return err
		}
		s.functions.Put(tx, f.key(), f)
		return nil
	})
}

// ListTags lists the tags of a function.
func (s *Service) ListTags(ctx context.Context, c *call.Call, in *lambdaapi.ListTagsInput) (*lambdaapi.ListTagsOutput, error) {
	n, err := tagged(c, in.Resource)
	if err != nil {
		return nil, err
	}
	var out *lambdaapi.ListTagsOutput
	err = s.store.View(ctx, func(v *store.Snap) error {
		f, err := s.load(ctx, c, v, n, "ListTags")
		if err != nil {
			return err
		}
		out = &lambdaapi.ListTagsOutput{Tags: shownTags(f.Tags)}
		return nil
	})
	return out, err
}
