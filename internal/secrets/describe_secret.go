package secrets

import (
	"context"

	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/store"
)

// DescribeSecret tells everything about a secret but its values, also while it is
// scheduled for deletion.
func (s *Service) DescribeSecret(ctx context.Context, c *call.Call, in *smapi.DescribeSecretInput) (*smapi.DescribeSecretOutput, error) {
	var out *smapi.DescribeSecretOutput
	err := s.store.View(ctx, func(v *store.Snap) error {
		sec, arn, err := s.loadNamed(ctx, c, v, "DescribeSecret", in.SecretId)
		if err != nil {
			return err
		}
		out = &smapi.DescribeSecretOutput{
			ARN:                &arn,
			Name:               &sec.Name,
			Description:        nonEmpty(sec.Description),
			KmsKeyId:           nonEmpty(sec.KMSKeyID),
			LastChangedDate:    sec.Changed.pointer(),
			LastAccessedDate:   s.lastDay(v, sec).pointer(),
			DeletedDate:        sec.DeleteAfter.pointer(),
			Tags:               wireTags(sec.Tags),
			VersionIdsToStages: stageMap(sec.Versions),
			CreatedDate:        sec.Created.pointer(),
		}
		if r := sec.Rotation; r != nil {
			out.RotationEnabled, out.RotationLambdaARN, out.RotationRules = &r.Enabled, &r.LambdaARN, r.wireRules()
			out.LastRotatedDate, out.NextRotationDate = r.dates()
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// stageMap lists the labels by version, without the deprecated versions; nil, which
// is absent, when no version has one.
func stageMap(versions []Version) map[string][]string {
	var out map[string][]string
	for i := range versions {
		if len(versions[i].Stages) == 0 {
			continue
		}
		if out == nil {
			out = make(map[string][]string)
		}
		out[versions[i].ID] = versions[i].Stages
	}
	return out
}

// nonEmpty is how an empty text shows in answers: not at all.
func nonEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
