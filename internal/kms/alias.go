package kms

import (
	"context"
	"strings"

	"arca/internal/api/kmsapi"
	"arca/internal/arn"
	"arca/internal/call"
	"arca/internal/store"
)

// checkAliasName holds the name of a new or changed alias to what AWS states. The
// published pattern is less strict.
// https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateAlias.html
func checkAliasName(name string) error {
	switch rest, ok := strings.CutPrefix(name, "alias/"); {
	case !ok:
		return kmsapi.ValidationException.Errorf(`Alias must start with the prefix "alias/". Please see https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html`)
	case rest == "" || strings.Contains(rest, ":"):
		return kmsapi.InvalidAliasNameException.Errorf("Alias name %s is not valid: alias/ is followed by letters, digits, slashes, underscores and hyphens.", name)
	case strings.HasPrefix(rest, "aws/"):
		return kmsapi.InvalidAliasNameException.Errorf("Alias name %s is reserved: names that begin with alias/aws/ belong to AWS managed keys.", name)
	}
	return nil
}

// askAlias asks about the alias itself, of which only identity policies speak.
func (s *Service) askAlias(ctx context.Context, c *call.Call, v *store.Snap, action, name string) error {
	return c.Authorize(ctx, &call.Check{
		Action: "kms:" + action, Resource: arnOf(c.Caller.Account, c.Region, name), Account: c.Caller.Account, Snap: v,
		Keys: ownKeys(c, contextKey("kms:RequestAlias", name)),
	})
}

// loadTarget finds the key that an alias is to name.
func (s *Service) loadTarget(ctx context.Context, c *call.Call, v *store.Snap, action, keyID string) (*Key, error) {
	if a, err := arn.Parse(keyID); isAlias(keyID) || err == nil && isAlias(a.Resource) {
		return nil, kmsapi.ValidationException.Errorf("Aliases must refer to keys. Not aliases")
	}
	key, err := s.load(ctx, c, v, &want{action: action, keyID: keyID})
	if err != nil {
		return nil, err
	}
	if key.State == PendingDeletion {
		return nil, key.invalidState()
	}
	return key, nil
}

// checkAliasQuota counts the aliases that a key has.
func (s *Service) checkAliasQuota(v *store.Snap, key *Key) error {
	n := 0
	s.aliasesOf(v, key, func(*Alias) bool { n++; return n < s.quotas.aliases })
	if n >= s.quotas.aliases {
		return kmsapi.LimitExceededException.Errorf("You can't have more than %d aliases for a KMS key.", s.quotas.aliases)
	}
	return nil
}

// CreateAlias gives a key a name.
func (s *Service) CreateAlias(ctx context.Context, c *call.Call, in *kmsapi.CreateAliasInput) (*kmsapi.CreateAliasOutput, error) {
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		if err := s.askAlias(ctx, c, tx.Snap, "CreateAlias", in.AliasName); err != nil {
			return err
		}
		if err := checkAliasName(in.AliasName); err != nil {
			return err
		}
		key, err := s.loadTarget(ctx, c, tx.Snap, "CreateAlias", in.TargetKeyId)
		if err != nil {
			return err
		}
		at := aliasKey(key.scope(), in.AliasName)
		now := c.Now.UnixMilli()
		a := &Alias{Name: in.AliasName, KeyID: key.ID, Account: key.Account, Region: key.Region, Created: now, Updated: now}
		if _, ok := s.aliases.Get(tx.Snap, at); ok {
			return kmsapi.AlreadyExistsException.Errorf("An alias with the name %s already exists", a.ARN())
		}
		if err := s.checkAliasQuota(tx.Snap, key); err != nil {
			return err
		}
		// Guarded, so that no alias is left of a key that is deleted at the same time.
		s.keys.Guard(tx, keyKey(key))
		s.aliases.Put(tx, at, a)
		return nil
	})
	return nil, err
}

// loadAlias finds an alias of the caller's account and asks about it and the key that
// it names now.
func (s *Service) loadAlias(ctx context.Context, c *call.Call, v *store.Snap, action, name string) (*Alias, error) {
	if err := s.askAlias(ctx, c, v, action, name); err != nil {
		return nil, err
	}
	if err := checkAliasName(name); err != nil {
		return nil, err
	}
	a, ok := s.aliases.Get(v, aliasKey(scope(c.Caller.Account, c.Region), name))
	if !ok {
		return nil, kmsapi.NotFoundException.Errorf("Alias %s is not found.", arnOf(c.Caller.Account, c.Region, name))
	}
	if key := s.find(v, a.KeyID); key != nil {
		if err := s.askFor(ctx, c, v, &want{action: action}, key, name); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// UpdateAlias lets an alias name another key.
func (s *Service) UpdateAlias(ctx context.Context, c *call.Call, in *kmsapi.UpdateAliasInput) (*kmsapi.UpdateAliasOutput, error) {
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		old, err := s.loadAlias(ctx, c, tx.Snap, "UpdateAlias", in.AliasName)
		if err != nil {
			return err
		}
		key, err := s.loadTarget(ctx, c, tx.Snap, "UpdateAlias", in.TargetKeyId)
		if err != nil {
			return err
		}
		if key.ID == old.KeyID {
			return nil
		}
		if err := s.checkAliasQuota(tx.Snap, key); err != nil {
			return err
		}
		a := *old
		a.KeyID, a.Updated = key.ID, c.Now.UnixMilli()
		s.keys.Guard(tx, keyKey(key)) // as for CreateAlias
		s.aliases.Put(tx, aliasKey(key.scope(), a.Name), &a)
		return nil
	})
	return nil, err
}

// DeleteAlias takes a name from a key; the key stays.
func (s *Service) DeleteAlias(ctx context.Context, c *call.Call, in *kmsapi.DeleteAliasInput) (*kmsapi.DeleteAliasOutput, error) {
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		a, err := s.loadAlias(ctx, c, tx.Snap, "DeleteAlias", in.AliasName)
		if err != nil {
			return err
		}
		s.aliases.Delete(tx, aliasKey(a.scope(), a.Name))
		return nil
	})
	return nil, err
}

// ListAliases lists the aliases of the caller's account and region, or those of one key.
func (s *Service) ListAliases(ctx context.Context, c *call.Call, in *kmsapi.ListAliasesInput) (*kmsapi.ListAliasesOutput, error) {
	p, err := s.newPager(c, in.Marker, in.Limit, 50, 100, text(in.KeyId))
	if err != nil {
		return nil, err
	}
	var list []kmsapi.AliasListEntry
	err = s.store.View(ctx, func(v *store.Snap) error {
		p.Begin()
		list = []kmsapi.AliasListEntry{}
		if err := s.askAll(ctx, c, v, "ListAliases"); err != nil {
			return err
		}
		index, prefix := byName, scope(c.Caller.Account, c.Region)+"\x00"
		if in.KeyId != nil {
			key, err := s.ownKey(v, c, *in.KeyId)
			if err != nil {
				return err
			}
			index, prefix = byKey, string(key.ID[:])+"\x00"
		}
		from(s.aliases, v, index, prefix, p.After(), func(position string, a *Alias) bool {
			take, more := p.Offer(position)
			if take {
				list = append(list, kmsapi.AliasListEntry{
					AliasName: &a.Name, AliasArn: new(a.ARN()), TargetKeyId: new(IDText(a.KeyID)),
					CreationDate: timeOf(a.Created), LastUpdatedDate: timeOf(a.Updated),
				})
			}
			return more
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := &kmsapi.ListAliasesOutput{Aliases: list}
	out.Truncated, out.NextMarker, err = p.End()
	return out, err
}

// ownKey finds a key that narrows a list of what the caller's account has.
func (s *Service) ownKey(v *store.Snap, c *call.Call, keyID string) (*Key, error) {
	n, missing := s.resolve(v, callersOwn(c), keyID)
	switch {
	case n.arn == "":
		return nil, missing
	case n.alias != "":
		return nil, kmsapi.InvalidArnException.Errorf("Key Aliases are not supported for this operation")
	case n.key == nil || n.account != c.Caller.Account:
		return nil, kmsapi.NotFoundException.Errorf("Key '%s' does not exist", n.arn)
	}
	return n.key, nil
}
