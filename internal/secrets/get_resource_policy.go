package secrets

import (
	"context"

	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/store"
)

// GetResourcePolicy returns the policy attached to a secret, letter for letter.
func (s *Service) GetResourcePolicy(ctx context.Context, c *call.Call, in *smapi.GetResourcePolicyInput) (*smapi.GetResourcePolicyOutput, error) {
	var out *smapi.GetResourcePolicyOutput
	err := s.store.View(ctx, func(v *store.Snap) error {
		sec, err := s.loadUsable(ctx, c, v, "GetResourcePolicy", in.SecretId)
		if err != nil {
			return err
		}
		out = &smapi.GetResourcePolicyOutput{ARN: new(sec.ARN()), Name: &sec.Name}
		if sec.ResourcePolicy != "" {
			out.ResourcePolicy = &sec.ResourcePolicy
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
