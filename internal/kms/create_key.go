package kms

import (
	"context"
	"fmt"

	"arca/internal/api/kmsapi"
	"arca/internal/call"
	"arca/internal/policy"
	"arca/internal/store"
)

// CreateKey makes a symmetric key for encryption.
func (s *Service) CreateKey(ctx context.Context, c *call.Call, in *kmsapi.CreateKeyInput) (*kmsapi.CreateKeyOutput, error) {
	id := newID()
	var out *kmsapi.CreateKeyOutput
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		now := c.Now.UnixMilli()
		key := &Key{
			ID: id, Account: c.Caller.Account, Region: c.Region, Manager: managerCustomer, Created: now, State: Enabled,
			Description: text(in.Description), Policy: initialPolicy(c.Caller.Account),
		}
		if err := s.authorizeCreate(ctx, c, tx.Snap, key, in); err != nil {
			return err
		}
		if err := checkKind(in); err != nil {
			return err
		}
		var err error
		if key.Tags, err = s.setTags(nil, in.Tags); err != nil {
			return err
		}
		if s.keys.Count(key.scope()) >= s.quotas.keys {
			return kmsapi.LimitExceededException.Errorf("You can't have more than %d KMS keys in a Region.", s.quotas.keys)
		}
		if in.Policy != nil {
			if key.Policy, err = s.acceptedPolicy(tx.Snap, *in.Policy); err != nil {
				return err
			}
		}
		if err := s.checkLockout(ctx, c, tx.Snap, key, in.BypassPolicyLockoutSafetyCheck); err != nil {
			return err
		}
		if err := s.addMaterial(key, now, ""); err != nil {
			return err
		}
		s.keys.Put(tx, keyKey(key), key)
		c.NoteResource(key.Account, keyType, key.ARN())
		out = &kmsapi.CreateKeyOutput{KeyMetadata: metadata(key)}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// authorizeCreate asks for CreateKey and, for a key that is to have tags, TagResource.
// No key policy speaks yet.
func (s *Service) authorizeCreate(ctx context.Context, c *call.Call, v *store.Snap, key *Key, in *kmsapi.CreateKeyInput) error {
	tags := requestTags(in.Tags)
	keys := []policy.ContextKey{
		contextKey("kms:BypassPolicyLockoutSafetyCheck", flag(in.BypassPolicyLockoutSafetyCheck)),
		contextKey("kms:MultiRegion", flag(in.MultiRegion)),
		contextKey("kms:KeyOrigin", orElse(in.Origin, originKMS)),
		contextKey("kms:KeyUsage", orElse(in.KeyUsage, encryptDecrypt)),
		contextKey("kms:KeySpec", orElse(in.KeySpec, orElse(in.CustomerMasterKeySpec, symmetricDefault))),
	}
	if err := s.askAll(ctx, c, v, "CreateKey", append(keys, tags...)...); err != nil || len(in.Tags) == 0 {
		return err
	}
	return c.Authorize(ctx, &call.Check{
		Action: "kms:TagResource", Resource: key.ARN(), Shown: "*", Account: key.Account, Snap: v, Keys: ownKeys(c, tags...),
	})
}

// flag is the value of a condition key for a member that may be absent.
func flag(b *bool) string { return fmt.Sprint(isTrue(b)) }

func orElse(s *string, otherwise string) string {
	if s == nil {
		return otherwise
	}
	return *s
}

// checkKind refuses by name every kind of key but the one there is. The texts are ours
// where AWS would have made the key.
func checkKind(in *kmsapi.CreateKeyInput) error {
	spec := in.KeySpec
	if in.CustomerMasterKeySpec != nil {
		if spec != nil {
			return kmsapi.ValidationException.Errorf("You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is deprecated.")
		}
		spec = in.CustomerMasterKeySpec
	}
	if spec := orElse(spec, symmetricDefault); spec != symmetricDefault {
		return kmsapi.UnsupportedOperationException.Errorf("KeySpec %s is not supported: keys are %s.", spec, symmetricDefault)
	}
	if usage := orElse(in.KeyUsage, encryptDecrypt); usage != encryptDecrypt {
		return kmsapi.ValidationException.Errorf("The operation failed because the KeyUsage value of the KMS key is %s. To perform this operation, the KeyUsage value must be %s.", usage, encryptDecrypt)
	}
	if origin := orElse(in.Origin, originKMS); origin != originKMS {
		return kmsapi.UnsupportedOperationException.Errorf("Origin %s is not supported: key material is made by %s.", origin, originKMS)
	}
	if isTrue(in.MultiRegion) {
		return kmsapi.UnsupportedOperationException.Errorf("MultiRegion is not supported: a key belongs to one Region.")
	}
	if in.CustomKeyStoreId != nil {
		return errKeyStore(*in.CustomKeyStoreId)
	}
	if in.XksKeyId != nil {
		return kmsapi.UnsupportedOperationException.Errorf("XksKeyId is not supported: there are no external key stores.")
	}
	return nil
}

// errKeyStore is true of every custom key store: there are none.
func errKeyStore(id string) error {
	return kmsapi.CustomKeyStoreNotFoundException.Errorf("Custom key store %s does not exist.", id)
}

// DescribeKey tells what a key is.
func (s *Service) DescribeKey(ctx context.Context, c *call.Call, in *kmsapi.DescribeKeyInput) (*kmsapi.DescribeKeyOutput, error) {
	w := want{action: "DescribeKey", keyID: in.KeyId, alias: true, foreign: true}
	var out *kmsapi.DescribeKeyOutput
	err := s.store.View(ctx, func(v *store.Snap) error {
		key, err := s.load(ctx, c, v, &w)
		if err != nil {
			return err
		}
		if _, err := s.openTokens(in.GrantTokens); err != nil {
			return err
		}
		out = &kmsapi.DescribeKeyOutput{KeyMetadata: metadata(key)}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// defaultKeyDescription is AWS's own.
const defaultKeyDescription = "Default key that protects my Secrets Manager data when no other key is defined"

// metadata is a key as answers show it.
func metadata(key *Key) *kmsapi.KeyMetadata {
	m := &kmsapi.KeyMetadata{
		AWSAccountId: &key.Account, KeyId: IDText(key.ID), Arn: new(key.ARN()), CreationDate: timeOf(key.Created),
		Enabled: new(key.State == Enabled), Description: &key.Description, KeyUsage: new(encryptDecrypt),
		KeyState: new(string(key.State)), Origin: new(originKMS), KeyManager: &key.Manager,
		CustomerMasterKeySpec: new(symmetricDefault), KeySpec: new(symmetricDefault),
		EncryptionAlgorithms: []string{symmetricDefault}, MultiRegion: new(false),
		CurrentKeyMaterialId: new(materialID(key, key.current())),
	}
	if key.IsDefault() {
		m.Description = new(defaultKeyDescription)
	}
	if key.State == PendingDeletion {
		m.DeletionDate = timeOf(key.DeleteAfter)
	}
	return m
}

// ListKeys lists the keys of the caller's account and region.
func (s *Service) ListKeys(ctx context.Context, c *call.Call, in *kmsapi.ListKeysInput) (*kmsapi.ListKeysOutput, error) {
	p, err := s.newPager(c, in.Marker, in.Limit, 100, 1000)
	if err != nil {
		return nil, err
	}
	prefix := scope(c.Caller.Account, c.Region) + "\x00"
	var list []kmsapi.KeyListEntry
	err = s.store.View(ctx, func(v *store.Snap) error {
		p.Begin()
		list = []kmsapi.KeyListEntry{}
		if err := s.askAll(ctx, c, v, "ListKeys"); err != nil {
			return err
		}
		from(s.keys, v, byScope, prefix, p.After(), func(position string, k *Key) bool {
			take, more := p.Offer(position)
			if take {
				list = append(list, kmsapi.KeyListEntry{KeyId: new(IDText(k.ID)), KeyArn: new(k.ARN())})
			}
			return more
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := &kmsapi.ListKeysOutput{Keys: list}
	out.Truncated, out.NextMarker, err = p.End()
	return out, err
}

// UpdateKeyDescription changes what people wrote about a key.
func (s *Service) UpdateKeyDescription(ctx context.Context, c *call.Call, in *kmsapi.UpdateKeyDescriptionInput) (*kmsapi.UpdateKeyDescriptionOutput, error) {
	w := want{action: "UpdateKeyDescription", keyID: in.KeyId}
	err := s.change(ctx, c, &w, func(_ *store.Tx, key *Key) (bool, error) {
		if key.State == PendingDeletion {
			return false, key.invalidState()
		}
		changed := key.Description != in.Description
		key.Description = in.Description
		return changed, nil
	})
	return nil, err
}
