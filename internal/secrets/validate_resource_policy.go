package secrets

import (
	"context"

	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/store"
)

// ValidateResourcePolicy says what PutResourcePolicy with BlockPublicPolicy would
// say, and changes nothing. It needs the permission of that operation too.
func (s *Service) ValidateResourcePolicy(ctx context.Context, c *call.Call, in *smapi.ValidateResourcePolicyInput) (*smapi.ValidateResourcePolicyOutput, error) {
	if err := s.authorizeValidation(ctx, c, in.SecretId); err != nil {
		return nil, err
	}
	doc, err := s.parsePolicy(in.ResourcePolicy)
	if err != nil {
		return nil, err
	}
	out := &smapi.ValidateResourcePolicyOutput{ValidationErrors: []smapi.ValidationErrorsEntry{}}
	if grantsBroadAccess(doc) {
		check, message := broadAccessCheck, broadAccessMessage
		out.ValidationErrors = append(out.ValidationErrors, smapi.ValidationErrorsEntry{CheckName: &check, ErrorMessage: &message})
	}
	passed := len(out.ValidationErrors) == 0
	out.PolicyValidationPassed = &passed
	return out, nil
}

// authorizeValidation asks for both permissions, on the secret if one is named.
func (s *Service) authorizeValidation(ctx context.Context, c *call.Call, secretID *string) error {
	actions := []string{"ValidateResourcePolicy", "PutResourcePolicy"}
	if secretID == nil {
		for _, action := range actions {
			if err := c.Authorize(ctx, &call.Check{Action: "secretsmanager:" + action, Resource: "*"}); err != nil {
				return err
			}
		}
		return nil
	}
	id, err := parseIdentifier(c, *secretID)
	if err != nil {
		return err
	}
	return s.store.View(ctx, func(v *store.Snap) error {
		sec := s.find(v, &id)
		for _, action := range actions {
			if err := authorize(ctx, c, action, &id, sec); err != nil {
				return err
			}
		}
		switch {
		case sec == nil:
			return errNoSecret()
		case sec.scheduled():
			return errScheduled()
		}
		return nil
	})
}
