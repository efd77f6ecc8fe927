package iam

import (
	"context"

	"arca/internal/api/iamapi"
	"arca/internal/call"
	"arca/internal/policy"
	"arca/internal/store"
)

// changeUser is an operation that changes a user it finds by name: after the
// decision, change gets a copy whose slices are still those of the shared record, and
// what it returns an error for is not written.
func (s *Service) changeUser(ctx context.Context, c *call.Call, action, name string, keys []policy.ContextKey, change func(tx *store.Tx, u *User) error) error {
	return c.Update(ctx, s.store, func(tx *store.Tx) error {
		old, err := s.loadUser(ctx, c, tx.Snap, action, name, keys...)
		if err != nil {
			return err
		}
		u := *old
		if err := change(tx, &u); err != nil {
			return err
		}
		s.putUser(tx, &u)
		return nil
	})
}

// viewUser is an operation that shows something of a user it finds by name.
func (s *Service) viewUser(ctx context.Context, c *call.Call, action, name string, show func(v *store.Snap, u *User) error) error {
	return s.store.View(ctx, func(v *store.Snap) error {
		u, err := s.loadUser(ctx, c, v, action, name)
		if err != nil {
			return err
		}
		return show(v, u)
	})
}

// TagUser adds tags or gives them new values.
func (s *Service) TagUser(ctx context.Context, c *call.Call, in *iamapi.TagUserInput) (*iamapi.TagUserOutput, error) {
	err := s.changeUser(ctx, c, "TagUser", in.UserName, requestTags(in.Tags), func(_ *store.Tx, u *User) (err error) {
		u.Tags, err = s.setTags(u.Tags, in.Tags, quotaUserTags)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.TagUserOutput{}, nil
}

// UntagUser removes tags.
func (s *Service) UntagUser(ctx context.Context, c *call.Call, in *iamapi.UntagUserInput) (*iamapi.UntagUserOutput, error) {
	err := s.changeUser(ctx, c, "UntagUser", in.UserName, tagKeys(in.TagKeys), func(_ *store.Tx, u *User) error {
		u.Tags = unsetTags(u.Tags, in.TagKeys)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.UntagUserOutput{}, nil
}

// ListUserTags lists the tags of a user.
func (s *Service) ListUserTags(ctx context.Context, c *call.Call, in *iamapi.ListUserTagsInput) (*iamapi.ListUserTagsOutput, error) {
	out := &iamapi.ListUserTagsOutput{}
	err := s.viewUser(ctx, c, "ListUserTags", in.UserName, func(_ *store.Snap, u *User) error {
		pg, err := s.newPager(c, in.Marker, in.MaxItems, u.UID)
		if err != nil {
			return err
		}
		out.Tags = pageOfTags(pg, u.Tags)
		out.IsTruncated, out.Marker, err = pg.End()
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// PutUserPermissionsBoundary sets what a user may do at most.
func (s *Service) PutUserPermissionsBoundary(ctx context.Context, c *call.Call, in *iamapi.PutUserPermissionsBoundaryInput) (*iamapi.PutUserPermissionsBoundaryOutput, error) {
	keys := requestBoundary(&in.PermissionsBoundary)
	err := s.changeUser(ctx, c, "PutUserPermissionsBoundary", in.UserName, keys, func(tx *store.Tx, u *User) error {
		old := u.Boundary
		u.Boundary = in.PermissionsBoundary
		return s.changeBoundary(tx, u.Account, old, u.Boundary)
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.PutUserPermissionsBoundaryOutput{}, nil
}

// DeleteUserPermissionsBoundary removes the boundary. That there is none is no
// mistake.
func (s *Service) DeleteUserPermissionsBoundary(ctx context.Context, c *call.Call, in *iamapi.DeleteUserPermissionsBoundaryInput) (*iamapi.DeleteUserPermissionsBoundaryOutput, error) {
	err := s.changeUser(ctx, c, "DeleteUserPermissionsBoundary", in.UserName, nil, func(tx *store.Tx, u *User) error {
		old := u.Boundary
		u.Boundary = ""
		return s.changeBoundary(tx, u.Account, old, "")
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.DeleteUserPermissionsBoundaryOutput{}, nil
}

// PutUserPolicy adds or replaces an inline policy of a user.
func (s *Service) PutUserPolicy(ctx context.Context, c *call.Call, in *iamapi.PutUserPolicyInput) (*iamapi.PutUserPolicyOutput, error) {
	err := s.changeUser(ctx, c, "PutUserPolicy", in.UserName, nil, func(_ *store.Tx, u *User) error {
		return putInline(&u.Policies, in.PolicyName, in.PolicyDocument, s.quotas.userInline, kindUser+" "+u.Name)
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.PutUserPolicyOutput{}, nil
}

// GetUserPolicy shows an inline policy of a user.
func (s *Service) GetUserPolicy(ctx context.Context, c *call.Call, in *iamapi.GetUserPolicyInput) (*iamapi.GetUserPolicyOutput, error) {
	out := &iamapi.GetUserPolicyOutput{PolicyName: in.PolicyName}
	err := s.viewUser(ctx, c, "GetUserPolicy", in.UserName, func(_ *store.Snap, u *User) error {
		doc, err := inline(&u.Policies, kindUser, in.PolicyName)
		out.UserName, out.PolicyDocument = u.Name, encodedPolicy(doc)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DeleteUserPolicy removes an inline policy of a user.
func (s *Service) DeleteUserPolicy(ctx context.Context, c *call.Call, in *iamapi.DeleteUserPolicyInput) (*iamapi.DeleteUserPolicyOutput, error) {
	err := s.changeUser(ctx, c, "DeleteUserPolicy", in.UserName, nil, func(_ *store.Tx, u *User) error {
		return deleteInline(&u.Policies, kindUser, in.PolicyName)
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.DeleteUserPolicyOutput{}, nil
}

// ListUserPolicies lists the names of the inline policies of a user.
func (s *Service) ListUserPolicies(ctx context.Context, c *call.Call, in *iamapi.ListUserPoliciesInput) (*iamapi.ListUserPoliciesOutput, error) {
	out := &iamapi.ListUserPoliciesOutput{}
	err := s.viewUser(ctx, c, "ListUserPolicies", in.UserName, func(_ *store.Snap, u *User) error {
		pg, err := s.newPager(c, in.Marker, in.MaxItems, u.UID)
		if err != nil {
			return err
		}
		out.PolicyNames = inlineNames(pg, &u.Policies)
		out.IsTruncated, out.Marker, err = pg.End()
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// AttachUserPolicy attaches a managed policy to a user. To do so again is no mistake.
func (s *Service) AttachUserPolicy(ctx context.Context, c *call.Call, in *iamapi.AttachUserPolicyInput) (*iamapi.AttachUserPolicyOutput, error) {
	keys := []policy.ContextKey{policyARN(in.PolicyArn)}
	err := s.changeUser(ctx, c, "AttachUserPolicy", in.UserName, keys, func(tx *store.Tx, u *User) error {
		return s.attach(tx, u.Account, &u.Policies, in.PolicyArn, quotaUserAttached)
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.AttachUserPolicyOutput{}, nil
}

// DetachUserPolicy detaches a managed policy from a user.
func (s *Service) DetachUserPolicy(ctx context.Context, c *call.Call, in *iamapi.DetachUserPolicyInput) (*iamapi.DetachUserPolicyOutput, error) {
	keys := []policy.ContextKey{policyARN(in.PolicyArn)}
	err := s.changeUser(ctx, c, "DetachUserPolicy", in.UserName, keys, func(tx *store.Tx, u *User) error {
		return s.detach(tx, &u.Policies, in.PolicyArn)
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.DetachUserPolicyOutput{}, nil
}

// ListAttachedUserPolicies lists the managed policies of a user.
func (s *Service) ListAttachedUserPolicies(ctx context.Context, c *call.Call, in *iamapi.ListAttachedUserPoliciesInput) (*iamapi.ListAttachedUserPoliciesOutput, error) {
	out := &iamapi.ListAttachedUserPoliciesOutput{}
	err := s.viewUser(ctx, c, "ListAttachedUserPolicies", in.UserName, func(_ *store.Snap, u *User) error {
		pg, err := s.newPager(c, in.Marker, in.MaxItems, u.UID, pathOf(in.PathPrefix))
		if err != nil {
			return err
		}
		out.AttachedPolicies = attachedPolicies(pg, &u.Policies, in.PathPrefix)
		out.IsTruncated, out.Marker, err = pg.End()
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
