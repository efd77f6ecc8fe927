package secrets

import (
	"context"

	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/policy"
	"arca/internal/store"
)

// What this server does not do is refused by name, and never ignored: whoever sets
// up a replica must not believe that it is there. The refusal comes after the decision
// about the secret, like any other answer.

// errUnsupported refuses an operation or a member of a request.
func errUnsupported(what string) error {
	return smapi.InvalidRequestException.Errorf("%s is not supported by this server.", what)
}

// refuse finds and authorizes the secret as the operation would, then refuses.
func (s *Service) refuse(ctx context.Context, c *call.Call, secretID string, keys ...policy.ContextKey) error {
	err := s.store.View(ctx, func(v *store.Snap) error {
		_, err := s.loadUsable(ctx, c, v, c.Op.Name, secretID, keys...)
		return err
	})
	if err != nil {
		return err
	}
	return errUnsupported(c.Op.Name)
}

// ReplicateSecretToRegions is refused.
func (s *Service) ReplicateSecretToRegions(ctx context.Context, c *call.Call, in *smapi.ReplicateSecretToRegionsInput) (*smapi.ReplicateSecretToRegionsOutput, error) {
	var keys conditions
	keys.regions(in.AddReplicaRegions)
	keys.flag("secretsmanager:ForceOverwriteReplicaSecret", in.ForceOverwriteReplicaSecret)
	return nil, s.refuse(ctx, c, in.SecretId, keys...)
}

// StopReplicationToReplica is refused.
func (s *Service) StopReplicationToReplica(ctx context.Context, c *call.Call, in *smapi.StopReplicationToReplicaInput) (*smapi.StopReplicationToReplicaOutput, error) {
	return nil, s.refuse(ctx, c, in.SecretId)
}
