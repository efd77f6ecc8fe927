package secrets

import (
	"context"

	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/store"
)

// PutSecretValue makes a version and gives it labels. A repeat with the same token
// and value changes nothing; its answer shows the labels as they are now.
func (s *Service) PutSecretValue(ctx context.Context, c *call.Call, in *smapi.PutSecretValueInput) (*smapi.PutSecretValueOutput, error) {
	var out *smapi.PutSecretValueOutput
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		sec, err := s.loadUsable(ctx, c, tx.Snap, "PutSecretValue", in.SecretId)
		if err != nil {
			return err
		}
		token, err := checkToken(in.ClientRequestToken)
		if err != nil {
			return err
		}
		if err := s.checkRotationToken(tx.Snap, sec, token, in.RotationToken); err != nil {
			return err
		}
		if err := checkOwnAccount(c, sec, sec.KMSKeyID); err != nil {
			return err
		}
		val, err := s.requestValue(in.SecretString, in.SecretBinary)
		if err != nil {
			return err
		}
		defer val.wipe()
		if val.kind == NoValue {
			return smapi.InvalidRequestException.Errorf("You must provide either SecretString or SecretBinary.")
		}
		again, err := s.repeat(ctx, c, tx.Snap, sec, token, val, true)
		if err != nil {
			return err
		}
		if !again {
			key, keyName, err := s.newVersionKey(tx, c, sec)
			if err != nil {
				return err
			}
			before := sec
			sec = sec.clone()
			if err := s.addVersion(ctx, tx, c, sec, token, val, in.VersionStages, key, keyName); err != nil {
				return err
			}
			s.noteValue(tx, sec, before, c.Now)
			sec.Changed = InstantOf(c.Now)
			s.put(tx, sec)
		}
		out = &smapi.PutSecretValueOutput{
			ARN: new(sec.ARN()), Name: &sec.Name, VersionId: &token, VersionStages: sec.version(token).Stages,
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
