package iam

import (
	"context"
	"fmt"
	"slices"

	"arca/internal/api"
	"arca/internal/api/iamapi"
	"arca/internal/call"
	"arca/internal/paging"
	"arca/internal/store"
)

// keyOwner is the user whose access keys an operation is about, or the root when user
// is nil.
type keyOwner struct {
	account string
	user    *User
}

// loadKeyOwner finds the owner of access keys after asking for the action: the user of
// this name, or the caller.
func (s *Service) loadKeyOwner(ctx context.Context, c *call.Call, v *store.Snap, action string, name *string) (keyOwner, error) {
	owner := keyOwner{account: c.Caller.Account}
	user, root, err := nameOrCaller(c, name)
	switch {
	case err != nil:
	case root:
		err = authorize(ctx, c, action, rootEntity(c, v))
	default:
		owner.user, err = s.loadUser(ctx, c, v, action, user)
	}
	return owner, err
}

// name is the user's, "" for the root.
func (o keyOwner) name() string {
	if o.user == nil {
		return ""
	}
	return o.user.Name
}

// keyIDs are the access keys of an owner, a user's in the order of creation.
func (s *Service) keyIDs(v *store.Snap, o keyOwner) (ids []string) {
	if o.user != nil {
		return o.user.Keys
	}
	each(s.keys, v, byUser, o.account+"\x00", func(k *AccessKey) bool {
		ids = append(ids, k.ID)
		return true
	})
	return ids
}

// ownKey is the access key of this id, if it is the owner's.
func (s *Service) ownKey(v *store.Snap, o keyOwner, id string) (*AccessKey, error) {
	k := first(s.keys, v, byID, id)
	if k == nil || !slices.Contains(s.keyIDs(v, o), id) {
		return nil, errNoKey(id)
	}
	return k, nil
}

func errNoKey(id string) error {
	return iamapi.NoSuchEntity.Errorf("The Access Key with id %s cannot be found.", id)
}

func keyStatus(k *AccessKey) string {
	if k.Active {
		return iamapi.StatusTypeActive
	}
	return iamapi.StatusTypeInactive
}

// CreateAccessKey makes an access key. Its secret is in this one answer and nowhere
// else: what is stored is sealed.
func (s *Service) CreateAccessKey(ctx context.Context, c *call.Call, in *iamapi.CreateAccessKeyInput) (*iamapi.CreateAccessKeyOutput, error) {
	account := c.Caller.Account
	id, secret := NewAccessKey()
	defer secret.Wipe()
	sealed, err := s.store.Seal(sealPurpose, secret.Bytes(), secretAD(account, id))
	if err != nil {
		return nil, fmt.Errorf("seal secret access key: %w", err)
	}
	fresh := AccessKey{ID: id, Account: account, SealedSecret: sealed, Active: true, Created: c.Now.UnixMilli()}
	var name string
	err = c.Update(ctx, s.store, func(tx *store.Tx) error {
		owner, err := s.loadKeyOwner(ctx, c, tx.Snap, "CreateAccessKey", in.UserName)
		if err != nil {
			return err
		}
		if len(s.keyIDs(tx.Snap, owner)) >= s.quotas.keys {
			return errQuota("AccessKeysPerUser", s.quotas.keys)
		}
		k := fresh
		name = owner.name()
		if owner.user != nil {
			u := *owner.user
			u.Keys = append(slices.Clone(u.Keys), id)
			k.User = u.UID
			s.putUser(tx, &u)
		} else if err := s.touchAccount(tx, account); err != nil {
			return err
		}
		s.keys.Put(tx, accessKeyKey(id), &k)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.CreateAccessKeyOutput{AccessKey: &iamapi.AccessKey{
		UserName: name, AccessKeyId: id, Status: iamapi.StatusTypeActive,
		SecretAccessKey: api.SensitiveString(secret.Bytes()), CreateDate: moment(fresh.Created),
	}}, nil
}

// touchAccount writes the record of an account as it is, so that of two transactions
// that count the same things of the account's root, the later counts again.
func (s *Service) touchAccount(tx *store.Tx, account string) error {
	a, ok := s.accounts.Get(tx.Snap, accountKey(account))
	if !ok {
		return fmt.Errorf("account %s of the caller is not there", account)
	}
	s.accounts.Put(tx, accountKey(account), a)
	return nil
}

// UpdateAccessKey switches an access key on or off.
func (s *Service) UpdateAccessKey(ctx context.Context, c *call.Call, in *iamapi.UpdateAccessKeyInput) (*iamapi.UpdateAccessKeyOutput, error) {
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		owner, err := s.loadKeyOwner(ctx, c, tx.Snap, "UpdateAccessKey", in.UserName)
		if err != nil {
			return err
		}
		if in.Status != iamapi.StatusTypeActive && in.Status != iamapi.StatusTypeInactive {
			return iamapi.InvalidInput.Errorf("Status must be either Active or Inactive.")
		}
		old, err := s.ownKey(tx.Snap, owner, in.AccessKeyId)
		if err != nil {
			return err
		}
		k := *old
		k.Active = in.Status == iamapi.StatusTypeActive
		s.keys.Put(tx, accessKeyKey(k.ID), &k)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.UpdateAccessKeyOutput{}, nil
}

// DeleteAccessKey removes an access key, be it the one that signed the request.
func (s *Service) DeleteAccessKey(ctx context.Context, c *call.Call, in *iamapi.DeleteAccessKeyInput) (*iamapi.DeleteAccessKeyOutput, error) {
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		owner, err := s.loadKeyOwner(ctx, c, tx.Snap, "DeleteAccessKey", in.UserName)
		if err != nil {
			return err
		}
		k, err := s.ownKey(tx.Snap, owner, in.AccessKeyId)
		if err != nil {
			return err
		}
		if owner.user != nil {
			u := *owner.user
			u.Keys = slices.DeleteFunc(slices.Clone(u.Keys), func(id string) bool { return id == k.ID })
			s.putUser(tx, &u)
		}
		s.keys.Delete(tx, accessKeyKey(k.ID))
		s.uses.Delete(tx, useRecordKey(k.ID))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.DeleteAccessKeyOutput{}, nil
}

// ListAccessKeys lists the access keys of a user or the root, without their secrets.
func (s *Service) ListAccessKeys(ctx context.Context, c *call.Call, in *iamapi.ListAccessKeysInput) (*iamapi.ListAccessKeysOutput, error) {
	var out *iamapi.ListAccessKeysOutput
	err := s.store.View(ctx, func(v *store.Snap) error {
		owner, err := s.loadKeyOwner(ctx, c, v, "ListAccessKeys", in.UserName)
		if err != nil {
			return err
		}
		pg, err := s.newPager(c, in.Marker, in.MaxItems, owner.name())
		if err != nil {
			return err
		}
		out = &iamapi.ListAccessKeysOutput{AccessKeyMetadata: []iamapi.AccessKeyMetadata{}}
		for _, id := range paging.Page(pg, s.keyIDs(v, owner)) {
			k := first(s.keys, v, byID, id)
			if k == nil {
				continue // damaged data, which Check reports
			}
			out.AccessKeyMetadata = append(out.AccessKeyMetadata, iamapi.AccessKeyMetadata{
				UserName: optional(owner.name()), AccessKeyId: &k.ID, Status: new(keyStatus(k)), CreateDate: moment(k.Created),
			})
		}
		out.IsTruncated, out.Marker, err = pg.End()
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// GetAccessKeyLastUsed tells when an access key of the account was last used, to a
// quarter of an hour.
func (s *Service) GetAccessKeyLastUsed(ctx context.Context, c *call.Call, in *iamapi.GetAccessKeyLastUsedInput) (*iamapi.GetAccessKeyLastUsedOutput, error) {
	var out *iamapi.GetAccessKeyLastUsedOutput
	err := s.store.View(ctx, func(v *store.Snap) error {
		k := first(s.keys, v, byID, in.AccessKeyId)
		if k != nil && k.Account != c.Caller.Account {
			k = nil
		}
		var owner *User
		// Whose key it is decides; a key that is nobody's is asked about as anybody's.
		about := entity{arn: "*", shown: "access key " + in.AccessKeyId, snap: v}
		if k != nil && k.User == "" {
			about.arn = RootARN(k.Account)
		} else if k != nil {
			if owner = s.UserByID(v, k.User); owner == nil {
				return fmt.Errorf("user %s of access key %s is not there", k.User, k.ID)
			}
			about.arn, about.tags = owner.ARN(), owner.Tags
		}
		if err := authorize(ctx, c, "GetAccessKeyLastUsed", about); err != nil {
			return err
		}
		if k == nil {
			return errNoKey(in.AccessKeyId)
		}
		used := &iamapi.AccessKeyLastUsed{ServiceName: "N/A", Region: "N/A"}
		if u := s.LastUse(v, k.ID); u != nil {
			used.LastUsedDate, used.ServiceName, used.Region = moment(u.At), u.Service, u.Region
		}
		out = &iamapi.GetAccessKeyLastUsedOutput{AccessKeyLastUsed: used}
		if owner != nil {
			out.UserName = &owner.Name
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
