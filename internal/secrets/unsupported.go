package secrets

import (
	"context"

	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/policy"
	"arca/internal/store"
)

// What this server does not do is refused by name, and never ignored: whoever sets
// up a rotation must not believe that it runs. The refusal comes after the decision
// about the secret, like any other answer.

// errUnsupported refuses an operation or a member of a request.
func errUnsupported(what string) error {
	return smapi.InvalidRequestException.Errorf("%s is not supported by this server.", what)
}

// refuse finds and authorizes the secret as the operation would, then refuses.
func (s *Service) refuse(ctx context.Context, c *call.Call, secretID string, keys ...policy.ContextKey) error {
	if err := s.permit(ctx, c, secretID, keys...); err != nil {
		return err
	}
	return errUnsupported(c.Op.Name)
}

func (s *Service) permit(ctx context.Context, c *call.Call, secretID string, keys ...policy.ContextKey) error {
	return s.store.View(ctx, func(v *store.Snap) error {
		_, err := s.loadUsable(ctx, c, v, c.Op.Name, secretID, keys...)
		return err
	})
}

// RotateSecret is refused.
func (s *Service) RotateSecret(ctx context.Context, c *call.Call, in *smapi.RotateSecretInput) (*smapi.RotateSecretOutput, error) {
	var keys conditions
	keys.text("secretsmanager:RotationLambdaARN", in.RotationLambdaARN)
	keys.flag("secretsmanager:RotateImmediately", in.RotateImmediately)
	if in.RotationRules != nil {
		keys.flag("secretsmanager:ModifyRotationRules", new(true))
	}
	keys.text("secretsmanager:ExternalSecretRotationRoleArn", in.ExternalSecretRotationRoleArn)
	if err := s.permit(ctx, c, in.SecretId, keys...); err != nil {
		return nil, err
	}
	if in.ClientRequestToken == nil {
		// The same text as elsewhere, but AWS gives it another code here.
		return nil, smapi.InvalidParameterException.Errorf("You must provide a ClientRequestToken value. We recommend a UUID-type value.")
	}
	return nil, errUnsupported(c.Op.Name)
}

// CancelRotateSecret is refused.
func (s *Service) CancelRotateSecret(ctx context.Context, c *call.Call, in *smapi.CancelRotateSecretInput) (*smapi.CancelRotateSecretOutput, error) {
	return nil, s.refuse(ctx, c, in.SecretId)
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
