package secrets

import (
	"context"

	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/store"
)

// RestoreSecret takes a scheduled deletion back. A secret that is not scheduled
// stays as it is.
func (s *Service) RestoreSecret(ctx context.Context, c *call.Call, in *smapi.RestoreSecretInput) (*smapi.RestoreSecretOutput, error) {
	var out *smapi.RestoreSecretOutput
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		sec, err := s.load(ctx, c, tx.Snap, "RestoreSecret", in.SecretId)
		if err != nil {
			return err
		}
		out = &smapi.RestoreSecretOutput{ARN: new(sec.ARN()), Name: &sec.Name}
		if !sec.scheduled() {
			return nil
		}
		sec = sec.clone()
		sec.Deleted, sec.DeleteAfter, sec.Changed = 0, 0, InstantOf(c.Now)
		s.put(tx, sec)
		s.wake(tx, sec, c.Now)
		for range sec.Versions {
			c.ServiceEvent(versionEvent(eventCancelDelete, sec))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
