package iam

import (
	"context"

	"arca/internal/api/iamapi"
	"arca/internal/call"
	"arca/internal/policy"
	"arca/internal/store"
)

// changeRole is an operation that changes a role it finds by name: after the
// decision, change gets a copy whose slices are still those of the shared record, and
// what it returns an error for is not written.
func (s *Service) changeRole(ctx context.Context, c *call.Call, action, name string, keys []policy.ContextKey, change func(tx *store.Tx, r *Role) error) error {
	return c.Update(ctx, s.store, func(tx *store.Tx) error {
		old, err := s.loadRole(ctx, c, tx.Snap, action, name, keys...)
		if err != nil {
			return err
		}
		r := *old
		if err := change(tx, &r); err != nil {
			return err
		}
		s.putRole(tx, &r)
		return nil
	})
}

// viewRole is an operation that shows something of a role it finds by name.
func (s *Service) viewRole(ctx context.Context, c *call.Call, action, name string, show func(v *store.Snap, r *Role) error) error {
	return s.store.View(ctx, func(v *store.Snap) error {
		r, err := s.loadRole(ctx, c, v, action, name)
		if err != nil {
			return err
		}
		return show(v, r)
	})
}

// TagRole adds tags or gives them new values.
func (s *Service) TagRole(ctx context.Context, c *call.Call, in *iamapi.TagRoleInput) (*iamapi.TagRoleOutput, error) {
	err := s.changeRole(ctx, c, "TagRole", in.RoleName, requestTags(in.Tags), func(_ *store.Tx, r *Role) (err error) {
		r.Tags, err = s.setTags(r.Tags, in.Tags, quotaRoleTags)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.TagRoleOutput{}, nil
}

// UntagRole removes tags.
func (s *Service) UntagRole(ctx context.Context, c *call.Call, in *iamapi.UntagRoleInput) (*iamapi.UntagRoleOutput, error) {
	err := s.changeRole(ctx, c, "UntagRole", in.RoleName, tagKeys(in.TagKeys), func(_ *store.Tx, r *Role) error {
		r.Tags = unsetTags(r.Tags, in.TagKeys)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.UntagRoleOutput{}, nil
}

// ListRoleTags lists the tags of a role.
func (s *Service) ListRoleTags(ctx context.Context, c *call.Call, in *iamapi.ListRoleTagsInput) (*iamapi.ListRoleTagsOutput, error) {
	out := &iamapi.ListRoleTagsOutput{}
	err := s.viewRole(ctx, c, "ListRoleTags", in.RoleName, func(_ *store.Snap, r *Role) error {
		pg, err := s.newPager(c, in.Marker, in.MaxItems, r.UID)
		if err != nil {
			return err
		}
		out.Tags = pageOfTags(pg, r.Tags)
		out.IsTruncated, out.Marker, err = pg.End()
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// PutRolePermissionsBoundary sets what a role may do at most.
func (s *Service) PutRolePermissionsBoundary(ctx context.Context, c *call.Call, in *iamapi.PutRolePermissionsBoundaryInput) (*iamapi.PutRolePermissionsBoundaryOutput, error) {
	keys := requestBoundary(&in.PermissionsBoundary)
	err := s.changeRole(ctx, c, "PutRolePermissionsBoundary", in.RoleName, keys, func(tx *store.Tx, r *Role) error {
		old := r.Boundary
		r.Boundary = in.PermissionsBoundary
		return s.changeBoundary(tx, r.Account, old, r.Boundary)
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.PutRolePermissionsBoundaryOutput{}, nil
}

// DeleteRolePermissionsBoundary removes the boundary. That there is none is no
// mistake.
func (s *Service) DeleteRolePermissionsBoundary(ctx context.Context, c *call.Call, in *iamapi.DeleteRolePermissionsBoundaryInput) (*iamapi.DeleteRolePermissionsBoundaryOutput, error) {
	err := s.changeRole(ctx, c, "DeleteRolePermissionsBoundary", in.RoleName, nil, func(tx *store.Tx, r *Role) error {
		old := r.Boundary
		r.Boundary = ""
		return s.changeBoundary(tx, r.Account, old, "")
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.DeleteRolePermissionsBoundaryOutput{}, nil
}

// PutRolePolicy adds or replaces an inline policy of a role.
func (s *Service) PutRolePolicy(ctx context.Context, c *call.Call, in *iamapi.PutRolePolicyInput) (*iamapi.PutRolePolicyOutput, error) {
	err := s.changeRole(ctx, c, "PutRolePolicy", in.RoleName, nil, func(_ *store.Tx, r *Role) error {
		return putInline(&r.Policies, in.PolicyName, in.PolicyDocument, s.quotas.roleInline, kindRole+" "+r.Name)
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.PutRolePolicyOutput{}, nil
}

// GetRolePolicy shows an inline policy of a role.
func (s *Service) GetRolePolicy(ctx context.Context, c *call.Call, in *iamapi.GetRolePolicyInput) (*iamapi.GetRolePolicyOutput, error) {
	out := &iamapi.GetRolePolicyOutput{PolicyName: in.PolicyName}
	err := s.viewRole(ctx, c, "GetRolePolicy", in.RoleName, func(_ *store.Snap, r *Role) error {
		doc, err := inline(&r.Policies, kindRole, in.PolicyName)
		out.RoleName, out.PolicyDocument = r.Name, encodedPolicy(doc)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DeleteRolePolicy removes an inline policy of a role.
func (s *Service) DeleteRolePolicy(ctx context.Context, c *call.Call, in *iamapi.DeleteRolePolicyInput) (*iamapi.DeleteRolePolicyOutput, error) {
	err := s.changeRole(ctx, c, "DeleteRolePolicy", in.RoleName, nil, func(_ *store.Tx, r *Role) error {
		return deleteInline(&r.Policies, kindRole, in.PolicyName)
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.DeleteRolePolicyOutput{}, nil
}

// ListRolePolicies lists the names of the inline policies of a role.
func (s *Service) ListRolePolicies(ctx context.Context, c *call.Call, in *iamapi.ListRolePoliciesInput) (*iamapi.ListRolePoliciesOutput, error) {
	out := &iamapi.ListRolePoliciesOutput{}
	err := s.viewRole(ctx, c, "ListRolePolicies", in.RoleName, func(_ *store.Snap, r *Role) error {
		pg, err := s.newPager(c, in.Marker, in.MaxItems, r.UID)
		if err != nil {
			return err
		}
		out.PolicyNames = inlineNames(pg, &r.Policies)
		out.IsTruncated, out.Marker, err = pg.End()
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// AttachRolePolicy attaches a managed policy to a role. To do so again is no mistake.
func (s *Service) AttachRolePolicy(ctx context.Context, c *call.Call, in *iamapi.AttachRolePolicyInput) (*iamapi.AttachRolePolicyOutput, error) {
	keys := []policy.ContextKey{policyARN(in.PolicyArn)}
	err := s.changeRole(ctx, c, "AttachRolePolicy", in.RoleName, keys, func(tx *store.Tx, r *Role) error {
		return s.attach(tx, r.Account, &r.Policies, in.PolicyArn, quotaRoleAttached)
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.AttachRolePolicyOutput{}, nil
}

// DetachRolePolicy detaches a managed policy from a role.
func (s *Service) DetachRolePolicy(ctx context.Context, c *call.Call, in *iamapi.DetachRolePolicyInput) (*iamapi.DetachRolePolicyOutput, error) {
	keys := []policy.ContextKey{policyARN(in.PolicyArn)}
	err := s.changeRole(ctx, c, "DetachRolePolicy", in.RoleName, keys, func(tx *store.Tx, r *Role) error {
		return s.detach(tx, &r.Policies, in.PolicyArn)
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.DetachRolePolicyOutput{}, nil
}

// ListAttachedRolePolicies lists the managed policies of a role.
func (s *Service) ListAttachedRolePolicies(ctx context.Context, c *call.Call, in *iamapi.ListAttachedRolePoliciesInput) (*iamapi.ListAttachedRolePoliciesOutput, error) {
	out := &iamapi.ListAttachedRolePoliciesOutput{}
	err := s.viewRole(ctx, c, "ListAttachedRolePolicies", in.RoleName, func(_ *store.Snap, r *Role) error {
		pg, err := s.newPager(c, in.Marker, in.MaxItems, r.UID, pathOf(in.PathPrefix))
		if err != nil {
			return err
		}
		out.AttachedPolicies = attachedPolicies(pg, &r.Policies, in.PathPrefix)
		out.IsTruncated, out.Marker, err = pg.End()
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ListInstanceProfilesForRole lists nothing: there are no instances here. Clients ask
// before they delete a role.
func (s *Service) ListInstanceProfilesForRole(ctx context.Context, c *call.Call, in *iamapi.ListInstanceProfilesForRoleInput) (*iamapi.ListInstanceProfilesForRoleOutput, error) {
	out := &iamapi.ListInstanceProfilesForRoleOutput{InstanceProfiles: []iamapi.InstanceProfile{}}
	err := s.viewRole(ctx, c, "ListInstanceProfilesForRole", in.RoleName, func(_ *store.Snap, r *Role) error {
		pg, err := s.newPager(c, in.Marker, in.MaxItems, r.UID)
		if err != nil {
			return err
		}
		out.IsTruncated, out.Marker, err = pg.End()
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
