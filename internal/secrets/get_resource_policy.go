package secrets

import (
	"context"

	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/store"
)

// GetResourcePolicy returns the policy attached to a secret. Users and roles are shown
// by ARN, those that are gone by the unique id they had; all else is letter for letter
// what was sent.
func (s *Service) GetResourcePolicy(ctx context.Context, c *call.Call, in *smapi.GetResourcePolicyInput) (*smapi.GetResourcePolicyOutput, error) {
	var out *smapi.GetResourcePolicyOutput
	err := s.store.View(ctx, func(v *store.Snap) error {
		sec, err := s.loadUsable(ctx, c, v, "GetResourcePolicy", in.SecretId)
		if err != nil {
			return err
		}
		out = &smapi.GetResourcePolicyOutput{ARN: new(sec.ARN()), Name: &sec.Name}
		if sec.ResourcePolicy != "" {
			out.ResourcePolicy = new(s.iam.ShownPolicy(v, sec.ResourcePolicy))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
