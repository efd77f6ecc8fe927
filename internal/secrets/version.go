package secrets

import (
	"context"
	"slices"
	"time"

	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/kms"
	"arca/internal/store"
)

// repeat says whether a version with this token exists already and holds this
// value, so that the call was made before and is answered as then. A version that
// holds something else is an error. One that a rotation has announced under
// AWSPENDING and not filled is neither: it waits for its value.
func (s *Service) repeat(ctx context.Context, c *call.Call, v *store.Snap, sec *Secret, token string, val value, fills bool) (bool, error) {
	ver := sec.version(token)
	if ver == nil {
		return false, nil
	}
	if fills && ver.Kind == NoValue && slices.Contains(ver.Stages, stagePending) {
		return false, nil
	}
	same, err := s.holds(ctx, c, v, sec, ver, val)
	if err != nil {
		return false, err
	}
	if !same {
		return false, errTokenInUse(token, sec)
	}
	return true, nil
}

// addVersion seals val as a version of sec, which must be a clone, and labels it. The
// caller has the key from newVersionKey, and puts the record: value and labels commit
// together or not at all.
func (s *Service) addVersion(ctx context.Context, tx *store.Tx, c *call.Call, sec *Secret, token string, val value, stages []string, key *kms.Key, keyName string) error {
	labels := countLabels(sec.Versions)
	ver := sec.version(token)
	if ver == nil {
		if err := s.makeRoom(tx, c, sec); err != nil {
			return err
		}
		sec.Versions = append(sec.Versions, Version{ID: token, Created: InstantOf(c.Now)})
		ver = &sec.Versions[len(sec.Versions)-1]
	}
	ver.KMSKeyID, ver.FormerKMSKeyIDs, ver.Kind, ver.Size = keyName, nil, val.kind, val.bytes.Len()
	labelNew(sec.Versions, ver, stages)
	if err := s.checkLabelQuota(sec, labels); err != nil {
		return err
	}
	return s.seal(ctx, tx, c, sec, ver, val, key)
}

// checkLabelQuota refuses a change that leaves more labels than are allowed. One
// that does not add labels always passes, so that a quota made smaller later does
// not lock a secret up.
func (s *Service) checkLabelQuota(sec *Secret, before int) error {
	if n := countLabels(sec.Versions); n > s.quotas.Labels && n > before {
		return smapi.LimitExceededException.Errorf("You can't attach more than %d staging labels to the versions of a secret.", s.quotas.Labels)
	}
	return nil
}

// makeRoom prunes what it may so that one more version stays within the quota. The
// expiry engine does the same in the background; doing it here too keeps a secret
// that is written often from running into its quota while it has versions to spare.
func (s *Service) makeRoom(tx *store.Tx, c *call.Call, sec *Secret) error {
	for range s.prune(tx, sec, s.quotas.Versions-1, c.Now) {
		c.ServiceEvent(versionEvent(eventStartDelete, sec))
		c.ServiceEvent(versionEvent(eventEndDelete, sec))
	}
	if len(sec.Versions) >= s.quotas.Versions {
		return smapi.LimitExceededException.Errorf("You can't have more than %d versions of a secret. Versions without staging labels are removed %d hours after their creation.", s.quotas.Versions, pruneAgeHours)
	}
	return nil
}

// maxPruned bounds how many versions one commit removes, since a transaction holds
// only so many writes. More can be due after the quota was made smaller.
const maxPruned = 100

// prune removes the oldest unlabelled versions of sec, a clone, with their values
// until no more than limit are left or none may go. It returns the ids of the removed.
func (s *Service) prune(tx *store.Tx, sec *Secret, limit int, now time.Time) (removed []string) {
	surplus := min(len(sec.Versions)-limit, maxPruned)
	if surplus <= 0 {
		return nil
	}
	youngest := InstantOf(now.Add(-pruneAgeHours * time.Hour))
	sec.Versions = slices.DeleteFunc(sec.Versions, func(v Version) bool {
		if len(removed) == surplus || len(v.Stages) > 0 || v.Created > youngest {
			return false
		}
		removed = append(removed, v.ID)
		return true
	})
	for _, id := range removed {
		s.payloads.Delete(tx, valueKey(sec, id))
	}
	return removed
}

// The service events of a version's end (AWS CloudTrail, Secrets Manager events).
const (
	eventStartDelete  = "StartSecretVersionDelete"
	eventCancelDelete = "CancelSecretVersionDelete"
	eventEndDelete    = "EndSecretVersionDelete"
)

// versionEvent is an event about one version of sec. There is one for each version,
// although CloudTrail's form names the secret only.
func versionEvent(name string, sec *Secret) call.ServiceEvent {
	return call.ServiceEvent{
		Source: smapi.Service.EventSource, Name: name,
		Account: sec.Account, Region: sec.Region, ResourceARN: sec.ARN(),
	}
}
