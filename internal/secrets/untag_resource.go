package secrets

import (
	"context"
	"slices"

	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/store"
)

// UntagResource removes tags. Keys that are not there are ignored.
func (s *Service) UntagResource(ctx context.Context, c *call.Call, in *smapi.UntagResourceInput) (*smapi.UntagResourceOutput, error) {
	var keys conditions
	if len(in.TagKeys) > 0 {
		keys = append(keys, contextKey("aws:TagKeys", in.TagKeys...))
	}
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		sec, err := s.loadUsable(ctx, c, tx.Snap, "UntagResource", in.SecretId, keys...)
		if err != nil {
			return err
		}
		for _, key := range in.TagKeys {
			if err := checkTagKey(key); err != nil {
				return err
			}
		}
		sec = sec.clone()
		before := len(sec.Tags)
		sec.Tags = slices.DeleteFunc(sec.Tags, func(t Tag) bool { return slices.Contains(in.TagKeys, t.Key) })
		if len(sec.Tags) == before {
			return nil
		}
		return s.putTags(ctx, tx, c, "UntagResource", in.SecretId, sec, keys)
	})
	if err != nil {
		return nil, err
	}
	return &smapi.UntagResourceOutput{}, nil
}
