package secrets

import (
	"context"

	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/store"
)

// UpdateSecret changes the description and the key, and adds a version as
// PutSecretValue does without labels. What the request does not name stays as it is; a
// call that names nothing succeeds and changes nothing.
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
		before := sec
		sec = sec.clone()
		out = &smapi.UpdateSecretOutput{ARN: new(sec.ARN()), Name: &sec.Name}
		if in.Description != nil {
			sec.Description = *in.Description
		}
		added, err := s.updateSealed(ctx, tx, c, sec, in, val)
		if err != nil {
			return err
		}
		if val.kind != NoValue {
			out.VersionId = in.ClientRequestToken
		}
		if added || in.Description != nil || in.KmsKeyId != nil {
			s.noteValue(tx, sec, before, c.Now)
			sec.Changed = InstantOf(c.Now)
			s.put(tx, sec)
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
	return sec, nil
}

// updateSealed changes what has to do with the key of sec, a clone: the key itself, a new
// version, and what wraps the versions that there are. It reports whether it added a
// version.
func (s *Service) updateSealed(ctx context.Context, tx *store.Tx, c *call.Call, sec *Secret, in *smapi.UpdateSecretInput, val value) (added bool, err error) {
	changed := false
	if in.KmsKeyId != nil {
		name, _, err := s.chooseKey(c, tx.Snap, sec.keyOwner(), *in.KmsKeyId)
		if err != nil {
			return false, err
		}
		changed, sec.KMSKeyID = name != sec.KMSKeyID, name
	}
	again := false
	if val.kind != NoValue {
		if again, err = s.checkNewValue(ctx, tx.Snap, c, sec, in, val); err != nil {
			return false, err
		}
		added = !again
	}
	// A customer's key may be named as before and still be another: its alias has moved.
	rewraps := in.KmsKeyId != nil && (sec.KMSKeyID != "" || len(staleVersions(sec, "")) > 0)
	if !changed && !added && !rewraps {
		return false, nil
	}
	key, keyName, err := s.newVersionKey(tx, c, sec)
	if err != nil {
		return false, err
	}
	if changed {
		if err := s.probeKey(ctx, c, tx.Snap, sec, key); err != nil {
			return false, err
		}
	}
	if added {
		if err := s.addVersion(ctx, tx, c, sec, *in.ClientRequestToken, val, nil, key, keyName); err != nil {
			return false, err
		}
	}
	if rewraps {
		return added, s.rewrap(ctx, tx, c, sec, key, keyName)
	}
	return added, nil
}

// checkNewValue says whether the version is there already, from a first try of the same
// call.
func (s *Service) checkNewValue(ctx context.Context, v *store.Snap, c *call.Call, sec *Secret, in *smapi.UpdateSecretInput, val value) (again bool, err error) {
	token, err := checkToken(in.ClientRequestToken)
	if err != nil {
		return false, err
	}
	if err := checkOwnAccount(c, sec, sec.KMSKeyID); err != nil {
		return false, err
	}
	return s.repeat(ctx, c, v, sec, token, val, false)
}
