package secrets

import (
	"context"

	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/store"
)

// RemoveRegionsFromReplication succeeds without doing anything: no secret has
// replicas, and removing a region that is none succeeds. Clients that clean up
// before a deletion rely on it.
func (s *Service) RemoveRegionsFromReplication(ctx context.Context, c *call.Call, in *smapi.RemoveRegionsFromReplicationInput) (*smapi.RemoveRegionsFromReplicationOutput, error) {
	var out *smapi.RemoveRegionsFromReplicationOutput
	err := s.store.View(ctx, func(v *store.Snap) error {
		sec, err := s.loadUsable(ctx, c, v, "RemoveRegionsFromReplication", in.SecretId)
		if err != nil {
			return err
		}
		out = &smapi.RemoveRegionsFromReplicationOutput{ARN: new(sec.ARN()), ReplicationStatus: []smapi.ReplicationStatusType{}}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
