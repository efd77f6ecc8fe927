package iam

import (
	"context"

	"arca/internal/api/iamapi"
	"arca/internal/call"
	"arca/internal/policy"
	"arca/internal/store"
)

// storedTrust turns the trust policy of a request into the form in which it is kept:
// users, roles and sessions by unique id, so that a namesake made later is somebody
// else. It refuses a policy that names somebody who does not exist.
func (s *Service) storedTrust(v *store.Snap, doc string) (string, error) {
	if !policy.Within(doc, s.quotas.trust) {
		return "", errQuota("ACLSizePerRole", s.quotas.trust)
	}
	parsed, err := policy.ParseTrustPolicy(doc)
	if err != nil {
		return "", errSyntax(err)
	}
	for i := range parsed.Statements {
		if parsed.Statements[i].Principals == nil {
			continue
		}
		for _, p := range parsed.Statements[i].Principals.List {
			if _, ok := s.ResolvePrincipal(v, p); !ok {
				return "", errPrincipal(p)
			}
		}
	}
	stored, err := policy.Rewrite(doc, func(p policy.Principal) (string, bool) {
		id, ok := s.ResolvePrincipal(v, p)
		return id, ok && id != p.Value
	})
	if err != nil {
		return "", errSyntax(err)
	}
	return stored, nil
}

// errPrincipal has AWS's text.
func errPrincipal(p policy.Principal) error {
	element := "AWS"
	if p.Kind == policy.CanonicalUser {
		element = "CANONICALUSER"
	}
	return iamapi.MalformedPolicyDocument.Errorf(`Invalid principal in policy: "%s":"%s"`, element, p.Value)
}

// UpdateAssumeRolePolicy says anew who may assume a role. Sessions that are under way
// stay.
func (s *Service) UpdateAssumeRolePolicy(ctx context.Context, c *call.Call, in *iamapi.UpdateAssumeRolePolicyInput) (*iamapi.UpdateAssumeRolePolicyOutput, error) {
	err := s.changeRole(ctx, c, "UpdateAssumeRolePolicy", in.RoleName, nil, func(tx *store.Tx, r *Role) (err error) {
		r.Trust, err = s.storedTrust(tx.Snap, in.PolicyDocument)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.UpdateAssumeRolePolicyOutput{}, nil
}
