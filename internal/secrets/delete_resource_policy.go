package secrets

import (
	"context"

	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/store"
)

// DeleteResourcePolicy takes the policy off a secret. Without one it succeeds and
// changes nothing.
func (s *Service) DeleteResourcePolicy(ctx context.Context, c *call.Call, in *smapi.DeleteResourcePolicyInput) (*smapi.DeleteResourcePolicyOutput, error) {
	var out *smapi.DeleteResourcePolicyOutput
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		old, err := s.loadUsable(ctx, c, tx.Snap, "DeleteResourcePolicy", in.SecretId)
		if err != nil {
			return err
		}
		out = &smapi.DeleteResourcePolicyOutput{ARN: new(old.ARN()), Name: &old.Name}
		if old.ResourcePolicy == "" {
			return nil
		}
		sec := old.clone()
		sec.ResourcePolicy, sec.Changed = "", InstantOf(c.Now)
		s.put(tx, sec)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
