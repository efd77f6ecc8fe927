package secrets

import (
	"context"

	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/store"
)

// PutResourcePolicy attaches a policy to a secret in place of the one it had, unless
// its principals do not exist or it would shut its own author out.
func (s *Service) PutResourcePolicy(ctx context.Context, c *call.Call, in *smapi.PutResourcePolicyInput) (*smapi.PutResourcePolicyOutput, error) {
	id, err := parseIdentifier(c, in.SecretId)
	if err != nil {
		return nil, err
	}
	var keys conditions
	keys.flag("secretsmanager:BlockPublicPolicy", in.BlockPublicPolicy)
	var out *smapi.PutResourcePolicyOutput
	err = c.Update(ctx, s.store, func(tx *store.Tx) error {
		old, err := s.loadUsable(ctx, c, tx.Snap, "PutResourcePolicy", in.SecretId, keys...)
		if err != nil {
			return err
		}
		sec := old.clone()
		sec.Changed = InstantOf(c.Now)
		if sec.ResourcePolicy, err = s.acceptedPolicy(ctx, c, tx.Snap, &id, old, in, keys); err != nil {
			return err
		}
		s.put(tx, sec)
		out = &smapi.PutResourcePolicyOutput{ARN: new(sec.ARN()), Name: &sec.Name}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// acceptedPolicy holds the policy of a request to all that it must be, and returns it in
// the form in which it is kept. Principals are looked up and not guarded: one that goes
// at the same time leaves an id behind that nobody will ever have again.
func (s *Service) acceptedPolicy(ctx context.Context, c *call.Call, v *store.Snap, id *identifier, sec *Secret, in *smapi.PutResourcePolicyInput, keys conditions) (string, error) {
	doc, err := s.parsePolicy(in.ResourcePolicy)
	if err != nil {
		return "", err
	}
	stored, known, err := s.iam.StoredPolicy(v, in.ResourcePolicy)
	if err != nil {
		return "", err
	}
	if !known {
		return "", smapi.MalformedPolicyDocumentException.Errorf("%s", principalMessage)
	}
	if isTrue(in.BlockPublicPolicy) {
		if broad := s.broadAccess(doc, sec.ARN()); broad != nil {
			return "", smapi.PublicPolicyException.Wrap(broad, broadAccessMessage)
		}
	}
	ok, err := staysManageable(ctx, c, v, id, sec, stored, keys)
	if err != nil {
		return "", err
	}
	if !ok {
		return "", smapi.MalformedPolicyDocumentException.Errorf("%s", lockOutMessage)
	}
	return stored, nil
}
