package iam

import (
	"context"
	"strings"

	"arca/internal/api/iamapi"
	"arca/internal/call"
	"arca/internal/store"
)

func (s *Service) registerUsers(d *call.Dispatcher) {
	call.Register(d, iamapi.OpCreateUser, s.CreateUser)
	call.Register(d, iamapi.OpGetUser, s.GetUser)
	call.Register(d, iamapi.OpUpdateUser, s.UpdateUser)
	call.Register(d, iamapi.OpDeleteUser, s.DeleteUser)
	call.Register(d, iamapi.OpListUsers, s.ListUsers)
	call.Register(d, iamapi.OpTagUser, s.TagUser)
	call.Register(d, iamapi.OpUntagUser, s.UntagUser)
	call.Register(d, iamapi.OpListUserTags, s.ListUserTags)
	call.Register(d, iamapi.OpPutUserPermissionsBoundary, s.PutUserPermissionsBoundary)
	call.Register(d, iamapi.OpDeleteUserPermissionsBoundary, s.DeleteUserPermissionsBoundary)
	call.Register(d, iamapi.OpPutUserPolicy, s.PutUserPolicy)
	call.Register(d, iamapi.OpGetUserPolicy, s.GetUserPolicy)
	call.Register(d, iamapi.OpDeleteUserPolicy, s.DeleteUserPolicy)
	call.Register(d, iamapi.OpListUserPolicies, s.ListUserPolicies)
	call.Register(d, iamapi.OpAttachUserPolicy, s.AttachUserPolicy)
	call.Register(d, iamapi.OpDetachUserPolicy, s.DetachUserPolicy)
	call.Register(d, iamapi.OpListAttachedUserPolicies, s.ListAttachedUserPolicies)
	call.Register(d, iamapi.OpCreateAccessKey, s.CreateAccessKey)
	call.Register(d, iamapi.OpUpdateAccessKey, s.UpdateAccessKey)
	call.Register(d, iamapi.OpDeleteAccessKey, s.DeleteAccessKey)
	call.Register(d, iamapi.OpListAccessKeys, s.ListAccessKeys)
	call.Register(d, iamapi.OpGetAccessKeyLastUsed, s.GetAccessKeyLastUsed)
	call.Register(d, iamapi.OpListGroupsForUser, s.ListGroupsForUser)
}

// putUser writes a user, which must not be a shared record.
func (s *Service) putUser(tx *store.Tx, u *User) { s.users.Put(tx, recordKey(u.Account, u.UID), u) }

// wireUser is the form of a user in lists, which tell neither tags nor boundary.
func wireUser(u *User) iamapi.User {
	return iamapi.User{Path: u.Path, UserName: u.Name, UserId: u.UID, Arn: u.ARN(), CreateDate: moment(u.Created)}
}

// wholeUser is the form of a user that is shown by itself.
func wholeUser(u *User) *iamapi.User {
	out := wireUser(u)
	out.PermissionsBoundary, out.Tags = wireBoundary(u.Boundary), wireTags(u.Tags)
	return &out
}

// CreateUser makes a user, who may do nothing yet.
func (s *Service) CreateUser(ctx context.Context, c *call.Call, in *iamapi.CreateUserInput) (*iamapi.CreateUserOutput, error) {
	account := c.Caller.Account
	// Drawn here, not in the closure: that one may run again.
	fresh := User{
		UID: newUniqueID(userIDPrefix), Account: account, Path: pathOf(in.Path), Name: in.UserName,
		Created: c.Now.UnixMilli(), Boundary: text(in.PermissionsBoundary),
	}
	var out *iamapi.CreateUserOutput
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		itself := entity{arn: fresh.ARN(), snap: tx.Snap}
		keys := append(requestTags(in.Tags), requestBoundary(in.PermissionsBoundary)...)
		if err := authorize(ctx, c, "CreateUser", itself, keys...); err != nil {
			return err
		}
		if len(in.Tags) > 0 {
			if err := authorize(ctx, c, "TagUser", itself, requestTags(in.Tags)...); err != nil {
				return err
			}
		}
		u := fresh
		var err error
		if u.Tags, err = s.setTags(nil, in.Tags, quotaUserTags); err != nil {
			return err
		}
		if err := s.takeName(tx, account, kindUser, u.Name, u.UID); err != nil {
			return err
		}
		if s.users.Count(account) >= s.quotas.users {
			return errQuota("UsersPerAccount", s.quotas.users)
		}
		if in.PermissionsBoundary != nil {
			if err := s.changeBoundary(tx, account, "", u.Boundary); err != nil {
				return err
			}
		}
		s.putUser(tx, &u)
		out = &iamapi.CreateUserOutput{User: wholeUser(&u)}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// GetUser shows a user: without a name the caller itself, which may be the root.
func (s *Service) GetUser(ctx context.Context, c *call.Call, in *iamapi.GetUserInput) (*iamapi.GetUserOutput, error) {
	var out *iamapi.GetUserOutput
	err := s.store.View(ctx, func(v *store.Snap) error {
		name, root, err := nameOrCaller(c, in.UserName)
		if err != nil {
			return err
		}
		if root {
			if err := authorize(ctx, c, "GetUser", rootEntity(c, v)); err != nil {
				return err
			}
			out = &iamapi.GetUserOutput{User: &iamapi.User{UserId: c.Caller.Account, Arn: RootARN(c.Caller.Account)}}
			if a := s.Account(v, c.Caller.Account); a != nil {
				out.User.CreateDate = moment(a.Created)
			}
			return nil
		}
		u, err := s.loadUser(ctx, c, v, "GetUser", name)
		if err != nil {
			return err
		}
		out = &iamapi.GetUserOutput{User: wholeUser(u)}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// nameOrCaller is the user a request is about: the one it names or else its caller,
// who may be a root.
func nameOrCaller(c *call.Call, name *string) (user string, root bool, err error) {
	switch {
	case name != nil:
		return *name, false, nil
	case c.Caller.Type == call.IAMUser:
		return c.Caller.UserName, false, nil
	case c.Caller.Type == call.Root:
		return "", true, nil
	}
	return "", false, iamapi.ValidationError.Errorf("Must specify userName when calling with non-User credentials")
}

// rootEntity is the caller's account's root.
func rootEntity(c *call.Call, v *store.Snap) entity {
	return entity{arn: RootARN(c.Caller.Account), snap: v}
}

// UpdateUser gives a user another name or path. Its unique id stays, and so does all
// that refers to it.
func (s *Service) UpdateUser(ctx context.Context, c *call.Call, in *iamapi.UpdateUserInput) (*iamapi.UpdateUserOutput, error) {
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		old, err := s.loadUser(ctx, c, tx.Snap, "UpdateUser", in.UserName)
		if err != nil {
			return err
		}
		u := *old
		if in.NewPath != nil {
			u.Path = *in.NewPath
		}
		if in.NewUserName != nil {
			u.Name = *in.NewUserName
		}
		if u.ARN() == old.ARN() {
			return nil
		}
		// The permission is needed on both sides: on what it was and on what it becomes.
		if err := authorize(ctx, c, "UpdateUser", entity{arn: u.ARN(), tags: u.Tags, snap: tx.Snap}); err != nil {
			return err
		}
		if err := s.moveName(tx, u.Account, kindUser, old.Name, u.Name, u.UID); err != nil {
			return err
		}
		s.putUser(tx, &u)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.UpdateUserOutput{}, nil
}

// DeleteUser removes a user who has nothing left but tags and a boundary.
func (s *Service) DeleteUser(ctx context.Context, c *call.Call, in *iamapi.DeleteUserInput) (*iamapi.DeleteUserOutput, error) {
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		u, err := s.loadUser(ctx, c, tx.Snap, "DeleteUser", in.UserName)
		if err != nil {
			return err
		}
		// All of this is in the record itself, so whoever adds to it meets the deletion.
		switch {
		case len(u.Keys) > 0:
			return errInUse(firstKeys)
		case len(u.Policies.Attached) > 0:
			return errInUse(firstAttached)
		case len(u.Policies.Inline) > 0:
			return errInUse(firstInline)
		case len(u.Groups) > 0:
			return errInUse(firstMembers)
		}
		if err := s.changeBoundary(tx, u.Account, u.Boundary, ""); err != nil {
			return err
		}
		s.names.Delete(tx, nameRecordKey(u.Account, kindUser, u.Name))
		s.users.Delete(tx, recordKey(u.Account, u.UID))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.DeleteUserOutput{}, nil
}

// ListUsers lists the users of the caller's account in the order of their names.
func (s *Service) ListUsers(ctx context.Context, c *call.Call, in *iamapi.ListUsersInput) (*iamapi.ListUsersOutput, error) {
	if err := authorizeList(ctx, c, "ListUsers", kindUser, in.PathPrefix); err != nil {
		return nil, err
	}
	pg, err := s.newPager(c, in.Marker, in.MaxItems, pathOf(in.PathPrefix))
	if err != nil {
		return nil, err
	}
	out := &iamapi.ListUsersOutput{}
	err = s.store.View(ctx, func(v *store.Snap) error {
		pg.Begin()
		out.Users = []iamapi.User{}
		s.Users(v, c.Caller.Account, func(u *User) bool {
			if !below(u.Path, in.PathPrefix) {
				return true
			}
			take, more := pg.Offer(strings.ToLower(u.Name))
			if take {
				out.Users = append(out.Users, wireUser(u))
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
