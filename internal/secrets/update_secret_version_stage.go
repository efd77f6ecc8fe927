package secrets

import (
	"context"
	"slices"

	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/store"
)

// UpdateSecretVersionStage moves a label between versions, attaches or detaches it.
// Whoever moves a label names the version it is on, so that two movers cannot undo
// each other unseen.
func (s *Service) UpdateSecretVersionStage(ctx context.Context, c *call.Call, in *smapi.UpdateSecretVersionStageInput) (*smapi.UpdateSecretVersionStageOutput, error) {
	var out *smapi.UpdateSecretVersionStageOutput
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		sec, err := s.loadUsable(ctx, c, tx.Snap, "UpdateSecretVersionStage", in.SecretId,
			contextKey("secretsmanager:VersionStage", in.VersionStage))
		if err != nil {
			return err
		}
		out = &smapi.UpdateSecretVersionStageOutput{ARN: new(sec.ARN()), Name: &sec.Name}
		before := sec
		sec = sec.clone()
		labels := countLabels(sec.Versions)
		moved, err := moveLabel(sec.Versions, in.VersionStage, in.RemoveFromVersionId, in.MoveToVersionId)
		if err != nil || !moved {
			return err
		}
		if err := s.checkLabelQuota(sec, labels); err != nil {
			return err
		}
		s.noteValue(tx, sec, before, c.Now)
		sec.Changed = InstantOf(c.Now)
		s.put(tx, sec)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// moveLabel is the operation on the versions of a clone. It reports whether anything
// changed; after an error nothing has.
func moveLabel(versions []Version, stage string, from, to *string) (moved bool, err error) {
	if from == nil && to == nil {
		return false, smapi.InvalidParameterException.Errorf("You must provide RemoveFromVersionId, MoveToVersionId, or both.")
	}
	source, err := versionNamed(versions, from)
	if err != nil {
		return false, err
	}
	target, err := versionNamed(versions, to)
	if err != nil {
		return false, err
	}
	if target == nil && stage == stageCurrent {
		return false, smapi.InvalidParameterException.Errorf("You can only move staging label AWSCURRENT to a different secret version. It can’t be completely removed.")
	}
	if source != nil && !slices.Contains(source.Stages, stage) {
		return false, smapi.InvalidParameterException.Errorf("Version stage %s not found in version %s", stage, source.ID)
	}
	if target == nil {
		detach(versions, stage)
		return true, nil
	}
	at := holder(versions, stage)
	if at == target {
		return false, nil
	}
	if at != nil && source == nil {
		return false, smapi.InvalidParameterException.Errorf("The parameter RemoveFromVersionId can't be empty. Staging label %s is currently attached to version %s, so you must explicitly reference that version in RemoveFromVersionId.", stage, at.ID)
	}
	if stage != stageCurrent {
		attach(versions, target, stage)
		return true, nil
	}
	if target.Kind == NoValue {
		return false, smapi.InvalidRequestException.Errorf("You can't move staging label AWSCURRENT to version %s because it has no secret value.", target.ID)
	}
	promote(versions, target)
	return true, nil
}

// versionNamed finds the version of an optional parameter: nil without one.
func versionNamed(versions []Version, id *string) (*Version, error) {
	if id == nil {
		return nil, nil
	}
	at := slices.IndexFunc(versions, func(v Version) bool { return v.ID == *id })
	if at < 0 {
		return nil, smapi.InvalidParameterException.Errorf("Not a valid version: %s", *id)
	}
	return &versions[at], nil
}
