package secrets

import (
	"context"

	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/store"
)

// TagResource adds tags or gives them new values.
func (s *Service) TagResource(ctx context.Context, c *call.Call, in *smapi.TagResourceInput) (*smapi.TagResourceOutput, error) {
	var keys conditions
	keys.requestTags(in.Tags)
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		sec, err := s.loadUsable(ctx, c, tx.Snap, "TagResource", in.SecretId, keys...)
		if err != nil {
			return err
		}
		if len(in.Tags) == 0 {
			return nil
		}
		sec = sec.clone()
		if err := s.addTags(sec, in.Tags); err != nil {
			return err
		}
		return s.putTags(ctx, tx, c, "TagResource", in.SecretId, sec, keys)
	})
	if err != nil {
		return nil, err
	}
	return &smapi.TagResourceOutput{}, nil
}

// putTags writes sec, whose tags have changed, unless the caller would be shut out:
// where tags decide about access, a change that takes away the caller's own is
// refused. So the same question is asked about the secret as it would become.
func (s *Service) putTags(ctx context.Context, tx *store.Tx, c *call.Call, action, secretID string, sec *Secret, keys conditions) error {
	id, err := parseIdentifier(c, secretID)
	if err != nil {
		return err
	}
	if err := c.Authorize(ctx, check(tx.Snap, action, &id, sec, keys...)); err != nil {
		return err
	}
	sec.Changed = InstantOf(c.Now)
	s.put(tx, sec)
	return nil
}
