package secrets

import (
	"bytes"
	"context"
	"slices"

	"arca/internal/api"
	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/store"
)

// GetSecretValue opens one version: the one asked for by id or label, else the
// current one. It notes the day, but never fails for not being able to.
func (s *Service) GetSecretValue(ctx context.Context, c *call.Call, in *smapi.GetSecretValueInput) (*smapi.GetSecretValueOutput, error) {
	keys := make(conditions, 0, 2)
	keys.text("secretsmanager:VersionId", in.VersionId)
	keys.text("secretsmanager:VersionStage", in.VersionStage)
	var out *smapi.GetSecretValueOutput
	err := s.store.View(ctx, func(v *store.Snap) error {
		sec, err := s.loadUsable(ctx, c, v, "GetSecretValue", in.SecretId, keys...)
		if err != nil {
			return err
		}
		ver, err := chooseVersion(sec, in.VersionId, in.VersionStage)
		if err != nil {
			return err
		}
		if err := checkOwnAccount(c, sec, ver.KMSKeyID); err != nil {
			return err
		}
		plain, err := s.open(ctx, c, v, sec, ver)
		if err != nil {
			return err
		}
		defer plain.Wipe()
		created := ver.Created.Time()
		out = &smapi.GetSecretValueOutput{
			ARN: new(sec.ARN()), Name: &sec.Name, VersionId: &ver.ID, VersionStages: ver.Stages, CreatedDate: &created,
		}
		if ver.Kind == BinaryValue {
			out.SecretBinary = api.SensitiveBytes(bytes.Clone(plain.Bytes()))
		} else {
			out.SecretString = new(api.SensitiveString(plain.Bytes()))
		}
		s.seen.note(sec, ver.ID, DayOf(c.Now))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// chooseVersion finds the version a read asks for. One without a value counts as
// absent: a rotation has announced it, and nothing is there to read.
func chooseVersion(sec *Secret, id, stage *string) (*Version, error) {
	if id == nil {
		label := stageCurrent
		if stage != nil {
			label = *stage
		}
		ver := sec.holder(label)
		if ver == nil || ver.Kind == NoValue {
			return nil, errNoStage(label)
		}
		return ver, nil
	}
	ver := sec.version(*id)
	if ver == nil {
		return nil, errNoVersion(*id)
	}
	if stage != nil && !slices.Contains(ver.Stages, *stage) {
		return nil, smapi.InvalidRequestException.Errorf("You provided a VersionStage that is not associated to the provided VersionId.")
	}
	if ver.Kind == NoValue {
		if slices.Contains(ver.Stages, stagePending) {
			return nil, errNoStage(stagePending)
		}
		return nil, errNoVersion(*id)
	}
	return ver, nil
}

func errNoStage(label string) error {
	return smapi.ResourceNotFoundException.Errorf("Secrets Manager can't find the specified secret value for staging label: %s", label)
}

func errNoVersion(id string) error {
	return smapi.ResourceNotFoundException.Errorf("Secrets Manager can't find the specified secret value for VersionId: %s", id)
}
