package secrets

import (
	"context"

	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/policy"
	"arca/internal/store"
)

// ValidateResourcePolicy says what PutResourcePolicy with BlockPublicPolicy would
// say, all of it at once, and changes nothing. It needs the permission of that operation
// too.
func (s *Service) ValidateResourcePolicy(ctx context.Context, c *call.Call, in *smapi.ValidateResourcePolicyInput) (*smapi.ValidateResourcePolicyOutput, error) {
	var out *smapi.ValidateResourcePolicyOutput
	err := s.store.View(ctx, func(v *store.Snap) error {
		id, sec, err := s.authorizeValidation(ctx, c, v, in.SecretId)
		if err != nil {
			return err
		}
		doc, err := s.parsePolicy(in.ResourcePolicy)
		if err != nil {
			return err
		}
		found, err := s.policyFindings(ctx, c, v, id, sec, doc, in.ResourcePolicy)
		if err != nil {
			return err
		}
		passed := len(found) == 0
		out = &smapi.ValidateResourcePolicyOutput{PolicyValidationPassed: &passed, ValidationErrors: found}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// policyFindings lists what speaks against attaching a policy to sec, which is nil when
// it is not said where the policy is to go: then nobody can be locked out.
func (s *Service) policyFindings(ctx context.Context, c *call.Call, v *store.Snap, id *identifier, sec *Secret, doc *policy.Document, text string) ([]smapi.ValidationErrorsEntry, error) {
	found := []smapi.ValidationErrorsEntry{}
	add := func(check, message string) {
		found = append(found, smapi.ValidationErrorsEntry{CheckName: &check, ErrorMessage: &message})
	}
	stored, known, err := s.iam.StoredPolicy(v, text)
	if err != nil {
		return nil, err
	}
	if !known {
		add(principalCheck, principalMessage)
	}
	resource := ""
	if sec != nil {
		resource = sec.ARN()
	}
	if s.broadAccess(doc, resource) != nil {
		add(broadAccessCheck, broadAccessMessage)
	}
	if sec == nil {
		return found, nil
	}
	ok, err := staysManageable(ctx, c, v, id, sec, stored, nil)
	if err != nil {
		return nil, err
	}
	if !ok {
		add(lockOutCheck, lockOutMessage)
	}
	return found, nil
}

// authorizeValidation asks for both permissions, on the secret if one is named, which
// it then returns.
func (s *Service) authorizeValidation(ctx context.Context, c *call.Call, v *store.Snap, secretID *string) (*identifier, *Secret, error) {
	actions := []string{"ValidateResourcePolicy", "PutResourcePolicy"}
	if secretID == nil {
		for _, action := range actions {
			if err := c.Authorize(ctx, &call.Check{Action: "secretsmanager:" + action, Resource: "*", Snap: v}); err != nil {
				return nil, nil, err
			}
		}
		return nil, nil, nil
	}
	id, err := parseIdentifier(c, *secretID)
	if err != nil {
		return nil, nil, err
	}
	sec := s.find(v, &id)
	for _, action := range actions {
		if err := c.Authorize(ctx, check(v, action, &id, sec)); err != nil {
			return nil, nil, err
		}
	}
	switch {
	case sec == nil:
		return nil, nil, errNoSecret()
	case sec.scheduled():
		return nil, nil, errScheduled()
	}
	return &id, sec, nil
}
