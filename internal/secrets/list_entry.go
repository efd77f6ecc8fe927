package secrets

import (
	"arca/internal/api/smapi"
	"arca/internal/store"
)

// listEntry is what ListSecrets says of a secret: what DescribeSecret says, under
// AWS's other name for the labels. stored is the stored day of its last access, or
// unknownDay.
func (s *Service) listEntry(v *store.Snap, sec *Secret, stored Day) smapi.SecretListEntry {
	e := smapi.SecretListEntry{
		ARN:                    new(sec.ARN()),
		Name:                   &sec.Name,
		Description:            nonEmpty(sec.Description),
		KmsKeyId:               nonEmpty(sec.KMSKeyID),
		CreatedDate:            sec.Created.pointer(),
		LastChangedDate:        sec.Changed.pointer(),
		LastAccessedDate:       s.lastDayAfter(v, sec, stored).pointer(),
		DeletedDate:            sec.DeleteAfter.pointer(),
		Tags:                   wireTags(sec.Tags),
		SecretVersionsToStages: stageMap(sec.Versions),
	}
	if r := sec.Rotation; r != nil {
		e.RotationEnabled, e.RotationLambdaARN, e.RotationRules = &r.Enabled, &r.LambdaARN, r.wireRules()
		e.LastRotatedDate, e.NextRotationDate = r.dates()
	}
	return e
}
