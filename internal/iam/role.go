package iam

import (
	"context"
	"strings"

	"arca/internal/api/iamapi"
	"arca/internal/call"
	"arca/internal/store"
)

func (s *Service) registerRoles(d *call.Dispatcher) {
	call.Register(d, iamapi.OpCreateRole, s.CreateRole)
	call.Register(d, iamapi.OpGetRole, s.GetRole)
	call.Register(d, iamapi.OpUpdateRole, s.UpdateRole)
	call.Register(d, iamapi.OpUpdateRoleDescription, s.UpdateRoleDescription)
	call.Register(d, iamapi.OpUpdateAssumeRolePolicy, s.UpdateAssumeRolePolicy)
	call.Register(d, iamapi.OpDeleteRole, s.DeleteRole)
	call.Register(d, iamapi.OpListRoles, s.ListRoles)
	call.Register(d, iamapi.OpTagRole, s.TagRole)
	call.Register(d, iamapi.OpUntagRole, s.UntagRole)
	call.Register(d, iamapi.OpListRoleTags, s.ListRoleTags)
	call.Register(d, iamapi.OpPutRolePermissionsBoundary, s.PutRolePermissionsBoundary)
	call.Register(d, iamapi.OpDeleteRolePermissionsBoundary, s.DeleteRolePermissionsBoundary)
	call.Register(d, iamapi.OpPutRolePolicy, s.PutRolePolicy)
	call.Register(d, iamapi.OpGetRolePolicy, s.GetRolePolicy)
	call.Register(d, iamapi.OpDeleteRolePolicy, s.DeleteRolePolicy)
	call.Register(d, iamapi.OpListRolePolicies, s.ListRolePolicies)
	call.Register(d, iamapi.OpAttachRolePolicy, s.AttachRolePolicy)
	call.Register(d, iamapi.OpDetachRolePolicy, s.DetachRolePolicy)
	call.Register(d, iamapi.OpListAttachedRolePolicies, s.ListAttachedRolePolicies)
	call.Register(d, iamapi.OpListInstanceProfilesForRole, s.ListInstanceProfilesForRole)
}

// defaultRoleSeconds is how long a session of a role may last when the role does not
// say otherwise.
const defaultRoleSeconds = 3600

// putRole writes a role, which must not be a shared record.
func (s *Service) putRole(tx *store.Tx, r *Role) { s.roles.Put(tx, recordKey(r.Account, r.UID), r) }

// wireRole is what every answer tells of a role.
func (s *Service) wireRole(v *store.Snap, r *Role) iamapi.Role {
	return iamapi.Role{
		Path: r.Path, RoleName: r.Name, RoleId: r.UID, Arn: r.ARN(), CreateDate: moment(r.Created),
		AssumeRolePolicyDocument: new(encodedPolicy(s.ShownPolicy(v, r.Trust))),
	}
}

// listedRole is the form of a role in lists, which tell neither tags nor boundary.
func (s *Service) listedRole(v *store.Snap, r *Role) iamapi.Role {
	out := s.wireRole(v, r)
	out.Description, out.MaxSessionDuration = optional(r.Description), new(int32(r.MaxSeconds))
	return out
}

// wholeRole is the form of a role that is shown by itself.
func (s *Service) wholeRole(v *store.Snap, r *Role) *iamapi.Role {
	out := s.listedRole(v, r)
	out.PermissionsBoundary, out.Tags = wireBoundary(r.Boundary), wireTags(r.Tags)
	out.RoleLastUsed = s.roleLastUsed(v, r)
	return &out
}

// roleLastUsed is there, and empty, for a role that never was used.
func (s *Service) roleLastUsed(v *store.Snap, r *Role) *iamapi.RoleLastUsed {
	use := s.LastUse(v, r.UID)
	if use == nil {
		return &iamapi.RoleLastUsed{}
	}
	return &iamapi.RoleLastUsed{LastUsedDate: moment(use.At), Region: optional(use.Region)}
}

// CreateRole makes a role, which may do nothing yet, and says who may assume it.
func (s *Service) CreateRole(ctx context.Context, c *call.Call, in *iamapi.CreateRoleInput) (*iamapi.CreateRoleOutput, error) {
	account := c.Caller.Account
	// Drawn here, not in the closure: that one may run again.
	fresh := Role{
		UID: newUniqueID(roleIDPrefix), Account: account, Path: pathOf(in.Path), Name: in.RoleName,
		Created: c.Now.UnixMilli(), Description: text(in.Description), MaxSeconds: maxSeconds(in.MaxSessionDuration),
		Boundary: text(in.PermissionsBoundary),
	}
	var out *iamapi.CreateRoleOutput
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		itself := entity{arn: fresh.ARN(), snap: tx.Snap}
		keys := append(requestTags(in.Tags), requestBoundary(in.PermissionsBoundary)...)
		if err := authorize(ctx, c, "CreateRole", itself, keys...); err != nil {
			return err
		}
		if len(in.Tags) > 0 {
			if err := authorize(ctx, c, "TagRole", itself, requestTags(in.Tags)...); err != nil {
				return err
			}
		}
		r := fresh
		var err error
		if r.Trust, err = s.storedTrust(tx.Snap, in.AssumeRolePolicyDocument); err != nil {
			return err
		}
		if r.Tags, err = s.setTags(nil, in.Tags, quotaRoleTags); err != nil {
			return err
		}
		if err := s.takeName(tx, account, kindRole, r.Name, r.UID); err != nil {
			return err
		}
		if s.roles.Count(account) >= s.quotas.roles {
			return errQuota("RolesPerAccount", s.quotas.roles)
		}
		if in.PermissionsBoundary != nil {
			if err := s.changeBoundary(tx, account, "", r.Boundary); err != nil {
				return err
			}
		}
		s.putRole(tx, &r)
		// As on AWS, the answer tells neither the description nor the duration.
		shown := s.wireRole(tx.Snap, &r)
		shown.PermissionsBoundary, shown.Tags = wireBoundary(r.Boundary), wireTags(r.Tags)
		out = &iamapi.CreateRoleOutput{Role: &shown}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// maxSeconds is the longest duration of a role's sessions that a request sets.
func maxSeconds(given *int32) int {
	if given == nil {
		return defaultRoleSeconds
	}
	return int(*given)
}

// GetRole shows a role.
func (s *Service) GetRole(ctx context.Context, c *call.Call, in *iamapi.GetRoleInput) (*iamapi.GetRoleOutput, error) {
	out := &iamapi.GetRoleOutput{}
	err := s.viewRole(ctx, c, "GetRole", in.RoleName, func(v *store.Snap, r *Role) error {
		out.Role = s.wholeRole(v, r)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// UpdateRole changes the description, if one is given, and how long sessions may last:
// AWS documents the default for a request that does not say.
func (s *Service) UpdateRole(ctx context.Context, c *call.Call, in *iamapi.UpdateRoleInput) (*iamapi.UpdateRoleOutput, error) {
	err := s.changeRole(ctx, c, "UpdateRole", in.RoleName, nil, func(_ *store.Tx, r *Role) error {
		if in.Description != nil {
			r.Description = *in.Description
		}
		r.MaxSeconds = maxSeconds(in.MaxSessionDuration)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.UpdateRoleOutput{}, nil
}

// UpdateRoleDescription changes the description alone: the older way, which Terraform
// still goes.
func (s *Service) UpdateRoleDescription(ctx context.Context, c *call.Call, in *iamapi.UpdateRoleDescriptionInput) (*iamapi.UpdateRoleDescriptionOutput, error) {
	out := &iamapi.UpdateRoleDescriptionOutput{}
	err := s.changeRole(ctx, c, "UpdateRoleDescription", in.RoleName, nil, func(tx *store.Tx, r *Role) error {
		r.Description = in.Description
		role := s.wireRole(tx.Snap, r)
		role.Description = &in.Description
		out.Role = &role
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DeleteRole removes a role that has nothing left but tags and a boundary. Its
// sessions end with it.
func (s *Service) DeleteRole(ctx context.Context, c *call.Call, in *iamapi.DeleteRoleInput) (*iamapi.DeleteRoleOutput, error) {
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		r, err := s.loadRole(ctx, c, tx.Snap, "DeleteRole", in.RoleName)
		if err != nil {
			return err
		}
		// Both are in the record itself, so whoever adds to it meets the deletion.
		switch {
		case len(r.Policies.Attached) > 0:
			return errInUse(firstAttached)
		case len(r.Policies.Inline) > 0:
			return errInUse(firstInline)
		}
		if err := s.changeBoundary(tx, r.Account, r.Boundary, ""); err != nil {
			return err
		}
		s.names.Delete(tx, nameRecordKey(r.Account, kindRole, r.Name))
		s.roles.Delete(tx, recordKey(r.Account, r.UID))
		s.uses.Delete(tx, useRecordKey(r.UID))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.DeleteRoleOutput{}, nil
}

// ListRoles lists the roles of the caller's account in the order of their names.
func (s *Service) ListRoles(ctx context.Context, c *call.Call, in *iamapi.ListRolesInput) (*iamapi.ListRolesOutput, error) {
	if err := authorizeList(ctx, c, "ListRoles", kindRole, in.PathPrefix); err != nil {
		return nil, err
	}
	pg, err := s.newPager(c, in.Marker, in.MaxItems, pathOf(in.PathPrefix))
	if err != nil {
		return nil, err
	}
	out := &iamapi.ListRolesOutput{}
	err = s.store.View(ctx, func(v *store.Snap) error {
		pg.Begin()
		out.Roles = []iamapi.Role{}
		s.Roles(v, c.Caller.Account, func(r *Role) bool {
			if !below(r.Path, in.PathPrefix) {
				return true
			}
			take, more := pg.Offer(strings.ToLower(r.Name))
			if take {
				pg.Weigh(len(r.Trust))
				out.Roles = append(out.Roles, s.listedRole(v, r))
			}
			return more
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	out.IsTruncated, out.Marker, err = pg.End()
	return out, err
}
