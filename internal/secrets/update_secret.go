package secrets

import (
	"context"

	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/store"
)

// UpdateSecret changes the description and adds a version as PutSecretValue does
// without labels. What the request does not name stays as it is; a call that names
// nothing succeeds and changes nothing.
func (s *Service) UpdateSecret(ctx context.Context, c *call.Call, in *smapi.UpdateSecretInput) (*smapi.UpdateSecretOutput, error) {
	var out *smapi.UpdateSecretOutput
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		sec, err := s.loadForUpdate(ctx, c, tx.Snap, in)
		if err != nil {
			return err
		}
		val, err := s.requestValue(in.SecretString, in.SecretBinary)
		if err != nil {
			return err
		}
		defer val.wipe()
		sec = sec.clone()
		out = &smapi.UpdateSecretOutput{ARN: new(sec.ARN()), Name: &sec.Name}
		changed := in.Description != nil || in.KmsKeyId != nil
		if in.Description != nil {
			sec.Description = *in.Description
		}
		if in.KmsKeyId != nil {
			sec.KMSKeyID = "" // the only key there is, under whichever of its names
		}
		if val.kind != NoValue {
			added, err := s.updateValue(ctx, tx, c, sec, in, val)
			if err != nil {
				return err
			}
			out.VersionId = in.ClientRequestToken
			changed = changed || added
		}
		if changed {
			sec.Changed = InstantOf(c.Now)
			s.secrets.Put(tx, secretKey(sec), sec)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// loadForUpdate finds the secret, and refuses by name what cannot be honoured.
func (s *Service) loadForUpdate(ctx context.Context, c *call.Call, v *store.Snap, in *smapi.UpdateSecretInput) (*Secret, error) {
	id, err := parseIdentifier(c, in.SecretId)
	if err != nil {
		return nil, err
	}
	var keys conditions
	keys.text("secretsmanager:Description", in.Description)
	s.keyConditions(&keys, c, v, id.account, in.KmsKeyId)
	keys.text("secretsmanager:Type", in.Type)
	sec, err := s.loadUsable(ctx, c, v, "UpdateSecret", in.SecretId, keys...)
	if err != nil {
		return nil, err
	}
	if text(in.Type) != "" {
		return nil, errUnsupported("Type")
	}
	return sec, s.checkDefaultKey(c, v, sec.Account, in.KmsKeyId)
}

// updateValue adds the version; false says that it was there, from a first try of
// the same call.
func (s *Service) updateValue(ctx context.Context, tx *store.Tx, c *call.Call, sec *Secret, in *smapi.UpdateSecretInput, val value) (bool, error) {
	token, err := checkToken(in.ClientRequestToken)
	if err != nil {
		return false, err
	}
	if err := checkOwnAccount(c, sec, sec.KMSKeyID); err != nil {
		return false, err
	}
	again, err := s.repeat(ctx, c, tx.Snap, sec, token, val, false)
	if err != nil || again {
		return false, err
	}
	return true, s.addVersion(tx, c, sec, token, val, nil)
}
