package iam

import (
	"context"
	"slices"
	"strings"

	"arca/internal/api/iamapi"
	"arca/internal/call"
	"arca/internal/store"
)

func (s *Service) registerGroups(d *call.Dispatcher) {
	call.Register(d, iamapi.OpCreateGroup, s.CreateGroup)
	call.Register(d, iamapi.OpGetGroup, s.GetGroup)
	call.Register(d, iamapi.OpUpdateGroup, s.UpdateGroup)
	call.Register(d, iamapi.OpDeleteGroup, s.DeleteGroup)
	call.Register(d, iamapi.OpListGroups, s.ListGroups)
	call.Register(d, iamapi.OpAddUserToGroup, s.AddUserToGroup)
	call.Register(d, iamapi.OpRemoveUserFromGroup, s.RemoveUserFromGroup)
	call.Register(d, iamapi.OpPutGroupPolicy, s.PutGroupPolicy)
	call.Register(d, iamapi.OpGetGroupPolicy, s.GetGroupPolicy)
	call.Register(d, iamapi.OpDeleteGroupPolicy, s.DeleteGroupPolicy)
	call.Register(d, iamapi.OpListGroupPolicies, s.ListGroupPolicies)
	call.Register(d, iamapi.OpAttachGroupPolicy, s.AttachGroupPolicy)
	call.Register(d, iamapi.OpDetachGroupPolicy, s.DetachGroupPolicy)
	call.Register(d, iamapi.OpListAttachedGroupPolicies, s.ListAttachedGroupPolicies)
}

// putGroup writes a group, which must not be a shared record.
func (s *Service) putGroup(tx *store.Tx, g *Group) { s.groups.Put(tx, recordKey(g.Account, g.UID), g) }

func wireGroup(g *Group) iamapi.Group {
	return iamapi.Group{Path: g.Path, GroupName: g.Name, GroupId: g.UID, Arn: g.ARN(), CreateDate: moment(g.Created)}
}

// CreateGroup makes a group without members.
func (s *Service) CreateGroup(ctx context.Context, c *call.Call, in *iamapi.CreateGroupInput) (*iamapi.CreateGroupOutput, error) {
	// Drawn here, not in the closure: that one may run again.
	fresh := Group{
		UID: newUniqueID(groupIDPrefix), Account: c.Caller.Account, Path: pathOf(in.Path), Name: in.GroupName,
		Created: c.Now.UnixMilli(),
	}
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		if err := authorize(ctx, c, "CreateGroup", entity{arn: fresh.ARN(), snap: tx.Snap}); err != nil {
			return err
		}
		if err := s.takeName(tx, fresh.Account, kindGroup, fresh.Name, fresh.UID); err != nil {
			return err
		}
		if s.groups.Count(fresh.Account) >= s.quotas.groups {
			return errQuota("GroupsPerAccount", s.quotas.groups)
		}
		s.putGroup(tx, &fresh)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.CreateGroupOutput{Group: new(wireGroup(&fresh))}, nil
}

// GetGroup shows a group and its members in the order of their names.
func (s *Service) GetGroup(ctx context.Context, c *call.Call, in *iamapi.GetGroupInput) (*iamapi.GetGroupOutput, error) {
	var out *iamapi.GetGroupOutput
	err := s.viewGroup(ctx, c, "GetGroup", in.GroupName, func(v *store.Snap, g *Group) error {
		pg, err := s.newPager(c, in.Marker, in.MaxItems, g.UID)
		if err != nil {
			return err
		}
		out = &iamapi.GetGroupOutput{Group: new(wireGroup(g)), Users: []iamapi.User{}}
		each(s.users, v, byGroup, g.UID+"\x00", func(u *User) bool {
			take, more := pg.Offer(strings.ToLower(u.Name))
			if take {
				out.Users = append(out.Users, wireUser(u))
			}
			return more
		})
		out.IsTruncated, out.Marker, err = pg.End()
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// UpdateGroup gives a group another name or path. Its unique id stays, and so do its
// members.
func (s *Service) UpdateGroup(ctx context.Context, c *call.Call, in *iamapi.UpdateGroupInput) (*iamapi.UpdateGroupOutput, error) {
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		old, err := s.loadGroup(ctx, c, tx.Snap, "UpdateGroup", in.GroupName)
		if err != nil {
			return err
		}
		g := *old
		if in.NewPath != nil {
			g.Path = *in.NewPath
		}
		if in.NewGroupName != nil {
			g.Name = *in.NewGroupName
		}
		if g.ARN() == old.ARN() {
			return nil
		}
		// The permission is needed on both sides: on what it was and on what it becomes.
		if err := authorize(ctx, c, "UpdateGroup", entity{arn: g.ARN(), snap: tx.Snap}); err != nil {
			return err
		}
		if err := s.moveName(tx, g.Account, kindGroup, old.Name, g.Name, g.UID); err != nil {
			return err
		}
		s.putGroup(tx, &g)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.UpdateGroupOutput{}, nil
}

// DeleteGroup removes a group without members and policies.
func (s *Service) DeleteGroup(ctx context.Context, c *call.Call, in *iamapi.DeleteGroupInput) (*iamapi.DeleteGroupOutput, error) {
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		g, err := s.loadGroup(ctx, c, tx.Snap, "DeleteGroup", in.GroupName)
		if err != nil {
			return err
		}
		// All of this is in the record itself, so whoever adds to it meets the deletion.
		switch {
		case g.Members > 0:
			return errInUse(firstMembers)
		case len(g.Policies.Attached) > 0:
			return errInUse(firstAttached)
		case len(g.Policies.Inline) > 0:
			return errInUse(firstInline)
		}
		s.names.Delete(tx, nameRecordKey(g.Account, kindGroup, g.Name))
		s.groups.Delete(tx, recordKey(g.Account, g.UID))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.DeleteGroupOutput{}, nil
}

// ListGroups lists the groups of the caller's account in the order of their names.
func (s *Service) ListGroups(ctx context.Context, c *call.Call, in *iamapi.ListGroupsInput) (*iamapi.ListGroupsOutput, error) {
	if err := authorizeList(ctx, c, "ListGroups", kindGroup, in.PathPrefix); err != nil {
		return nil, err
	}
	pg, err := s.newPager(c, in.Marker, in.MaxItems, pathOf(in.PathPrefix))
	if err != nil {
		return nil, err
	}
	out := &iamapi.ListGroupsOutput{}
	err = s.store.View(ctx, func(v *store.Snap) error {
		pg.Begin()
		out.Groups = []iamapi.Group{}
		s.Groups(v, c.Caller.Account, func(g *Group) bool {
			if !below(g.Path, in.PathPrefix) {
				return true
			}
			take, more := pg.Offer(strings.ToLower(g.Name))
			if take {
				out.Groups = append(out.Groups, wireGroup(g))
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

// AddUserToGroup makes a user a member. That it is one already is no mistake.
func (s *Service) AddUserToGroup(ctx context.Context, c *call.Call, in *iamapi.AddUserToGroupInput) (*iamapi.AddUserToGroupOutput, error) {
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		return s.changeMember(ctx, tx, c, "AddUserToGroup", in.GroupName, in.UserName, func(u *User, g *Group) error {
			if slices.Contains(u.Groups, g.UID) {
				return nil
			}
			if len(u.Groups) >= s.quotas.groupsOfUser {
				return errQuota("GroupsPerUser", s.quotas.groupsOfUser)
			}
			u.Groups = append(slices.Clone(u.Groups), g.UID)
			g.Members++
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.AddUserToGroupOutput{}, nil
}

// RemoveUserFromGroup ends a membership. That there is none is no mistake.
func (s *Service) RemoveUserFromGroup(ctx context.Context, c *call.Call, in *iamapi.RemoveUserFromGroupInput) (*iamapi.RemoveUserFromGroupOutput, error) {
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		return s.changeMember(ctx, tx, c, "RemoveUserFromGroup", in.GroupName, in.UserName, func(u *User, g *Group) error {
			at := slices.Index(u.Groups, g.UID)
			if at < 0 {
				return nil
			}
			u.Groups = slices.Delete(slices.Clone(u.Groups), at, at+1)
			g.Members--
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.RemoveUserFromGroupOutput{}, nil
}

// changeMember gives change copies of a user and a group, and writes both if it has
// changed the number of members: the group with every change of membership, so that
// it cannot be deleted while somebody joins.
func (s *Service) changeMember(ctx context.Context, tx *store.Tx, c *call.Call, action, group, user string, change func(u *User, g *Group) error) error {
	oldGroup, err := s.loadGroup(ctx, c, tx.Snap, action, group)
	if err != nil {
		return err
	}
	oldUser := s.User(tx.Snap, c.Caller.Account, user)
	if oldUser == nil {
		return errNoEntity(kindUser, user)
	}
	u, g := *oldUser, *oldGroup
	if err := change(&u, &g); err != nil {
		return err
	}
	if g.Members != oldGroup.Members {
		s.putUser(tx, &u)
		s.putGroup(tx, &g)
	}
	return nil
}

// ListGroupsForUser lists the groups of a user in the order of their names.
func (s *Service) ListGroupsForUser(ctx context.Context, c *call.Call, in *iamapi.ListGroupsForUserInput) (*iamapi.ListGroupsForUserOutput, error) {
	out := &iamapi.ListGroupsForUserOutput{}
	err := s.viewUser(ctx, c, "ListGroupsForUser", in.UserName, func(v *store.Snap, u *User) error {
		pg, err := s.newPager(c, in.Marker, in.MaxItems, u.UID)
		if err != nil {
			return err
		}
		out.Groups = []iamapi.Group{}
		for _, g := range s.groupsOf(v, u) {
			take, more := pg.Offer(strings.ToLower(g.Name))
			if take {
				out.Groups = append(out.Groups, wireGroup(g))
			}
			if !more {
				break
			}
		}
		out.IsTruncated, out.Marker, err = pg.End()
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// groupsOf are the groups of a user in the order of their names.
func (s *Service) groupsOf(v *store.Snap, u *User) (groups []*Group) {
	for _, uid := range u.Groups {
		if g := s.GroupByID(v, uid); g != nil {
			groups = append(groups, g)
		}
	}
	slices.SortFunc(groups, func(a, b *Group) int { return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)) })
	return groups
}
