package secrets

import (
	"bytes"
	"context"
	"slices"
	"time"

	"arca/internal/api"
	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/store"
)

// GetSecretValue opens one version: the one asked for by id or label, else the
// current one. It notes the day, but never fails for not being able to.
func (s *Service) GetSecretValue(ctx context.Context, c *call.Call, in *smapi.GetSecretValueInput) (*smapi.GetSecretValueOutput, error) {
	var keys conditions
	keys.text("secretsmanager:VersionId", in.VersionId)
	keys.text("secretsmanager:VersionStage", in.VersionStage)
	var out *smapi.GetSecretValueOutput
	err := s.store.View(ctx, func(v *store.Snap) error {
		sec, arn, err := s.loadNamed(ctx, c, v, "GetSecretValue", in.SecretId, keys...)
		if err != nil {
			return err
		}
		if sec.scheduled() {
			return errScheduled()
		}
		ver, err := chooseVersion(sec, in.VersionId, in.VersionStage)
		if err != nil {
			return err
		}
		if err := checkOwnAccount(c, sec, ver.KMSKeyID); err != nil {
			return err
		}
		plain, err := s.open(ctx, c, v, sec, arn, ver)
		if err != nil {
			return err
		}
		defer plain.Wipe()
		out = valueAnswer(sec, arn, ver, plain.Bytes())
		s.noteRead(v, sec, ver.ID, DayOf(c.Now))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// valueAnswer is the answer with a value, in one piece of memory but for the value itself
// and the ARN's text: its members point to what stands beside them.
func valueAnswer(sec *Secret, arn string, ver *Version, plain []byte) *smapi.GetSecretValueOutput {
	a := &struct {
		out     smapi.GetSecretValueOutput
		arn     string
		created time.Time
		text    api.SensitiveString
	}{arn: arn, created: ver.Created.Time()}
	a.out = smapi.GetSecretValueOutput{
		ARN: &a.arn, Name: &sec.Name, VersionId: &ver.ID, VersionStages: ver.Stages, CreatedDate: &a.created,
	}
	if ver.Kind == BinaryValue {
		a.out.SecretBinary = api.SensitiveBytes(bytes.Clone(plain))
	} else {
		a.text = api.SensitiveString(plain)
		a.out.SecretString = &a.text
	}
	return &a.out
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
