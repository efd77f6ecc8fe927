package secrets

import (
	"context"

	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/store"
)

// PutResourcePolicy attaches a policy to a secret in place of the one it had. The
// text is kept as it was sent.
func (s *Service) PutResourcePolicy(ctx context.Context, c *call.Call, in *smapi.PutResourcePolicyInput) (*smapi.PutResourcePolicyOutput, error) {
	var keys conditions
	keys.flag("secretsmanager:BlockPublicPolicy", in.BlockPublicPolicy)
	var out *smapi.PutResourcePolicyOutput
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		old, err := s.loadUsable(ctx, c, tx.Snap, "PutResourcePolicy", in.SecretId, keys...)
		if err != nil {
			return err
		}
		doc, err := s.parsePolicy(in.ResourcePolicy)
		if err != nil {
			return err
		}
		if isTrue(in.BlockPublicPolicy) && grantsBroadAccess(doc) {
			return smapi.PublicPolicyException.Errorf("%s", broadAccessMessage)
		}
		sec := old.clone()
		sec.ResourcePolicy, sec.Changed = in.ResourcePolicy, InstantOf(c.Now)
		s.secrets.Put(tx, secretKey(sec), sec)
		out = &smapi.PutResourcePolicyOutput{ARN: new(sec.ARN()), Name: &sec.Name}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
