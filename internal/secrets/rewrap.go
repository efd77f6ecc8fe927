package secrets

import (
	"context"
	"fmt"
	"slices"

	"arca/internal/call"
	"arca/internal/kms"
	"arca/internal/store"
)

// staleVersions are those that follow a change of key, because they carry one of AWS's
// labels, and are under another key than the one of this name.
func staleVersions(sec *Secret, name string) (list []*Version) {
	for _, stage := range []string{stageCurrent, stagePending, stagePrevious} {
		ver := sec.holder(stage)
		if ver != nil && ver.Kind != NoValue && ver.KMSKeyID != name && !slices.Contains(list, ver) {
			list = append(list, ver)
		}
	}
	return list
}

// rewrap puts the data keys of stale versions under another key as well. What they are
// wrapped with stays beside it, as on AWS, so that whoever may use the former key can
// still read them; to take that away takes a new version.
//
// A version stays as it is when the caller may not decrypt under its keys or not encrypt
// under the new one, or when they are in no state to. sec is a clone; the caller puts it.
//
// https://docs.aws.amazon.com/secretsmanager/latest/userguide/manage_update-encryption-key.html
func (s *Service) rewrap(ctx context.Context, tx *store.Tx, c *call.Call, sec *Secret, key *kms.Key, name string) error {
	for _, ver := range staleVersions(sec, name) {
		p, err := s.payload(ctx, tx.Snap, sec, ver)
		if err != nil {
			return fmt.Errorf("load value of version %s of secret %s: %w", ver.ID, sec.UID, err)
		}
		encCtx := encryptionContext(sec.ARN(), ver.ID)
		for former, wrapped := range wrappings(ver, p) {
			from, err := s.wrapper(tx.Snap, sec, former, wrapped)
			if err != nil || former == name {
				continue // the key is gone, or nothing would change
			}
			anew, err := s.rewrapDataKey(ctx, tx.Snap, c, from, wrapped, key, encCtx)
			if err != nil {
				return err
			}
			if anew == nil {
				continue
			}
			ver.KMSKeyID, ver.FormerKMSKeyIDs = name, []string{former}
			apart := ver.Payload.Value == nil
			ver.Payload = Payload{DataKey: anew, Value: p.Value, FormerDataKeys: [][]byte{wrapped}}
			if apart && ver.keptInSecret() {
				s.payloads.Delete(tx, valueKey(sec, ver.ID))
			}
			break
		}
	}
	return nil
}

// rewrapDataKey wraps a data key under another key; the result is nil when the caller or
// one of the keys cannot.
func (s *Service) rewrapDataKey(ctx context.Context, v *store.Snap, c *call.Call, from *kms.Key, wrapped []byte, to *kms.Key, encCtx map[string]string) ([]byte, error) {
	for _, ask := range []struct {
		key *kms.Key
		use keyUse
	}{{from, decrypt}, {to, encrypt}} {
		if _, err := s.tryKey(ctx, c, v, ask.key, ask.use, encCtx); err != nil {
			if ofClient(err) {
				return nil, nil
			}
			return nil, err
		}
	}
	anew, err := s.kms.Rewrap(v, c, wrapped, to, encCtx)
	if err != nil {
		return nil, errDecrypt(err) // both keys could be used: what is stored does not open
	}
	return anew, nil
}
