package kms

import (
	"context"

	"arca/internal/api/kmsapi"
	"arca/internal/call"
	"arca/internal/store"
)

// EnableKey lets a key be used again.
func (s *Service) EnableKey(ctx context.Context, c *call.Call, in *kmsapi.EnableKeyInput) (*kmsapi.EnableKeyOutput, error) {
	return nil, s.setState(ctx, c, "EnableKey", in.KeyId, Enabled)
}

// DisableKey keeps a key from being used. What it encrypted stays unreadable until it is
// enabled again.
func (s *Service) DisableKey(ctx context.Context, c *call.Call, in *kmsapi.DisableKeyInput) (*kmsapi.DisableKeyOutput, error) {
	return nil, s.setState(ctx, c, "DisableKey", in.KeyId, Disabled)
}

func (s *Service) setState(ctx context.Context, c *call.Call, action, keyID string, state State) error {
	return s.change(ctx, c, &want{action: action, keyID: keyID}, func(_ *store.Tx, key *Key) (bool, error) {
		if key.State == PendingDeletion {
			return false, key.invalidState()
		}
		changed := key.State != state
		key.State = state
		return changed, nil
	})
}

// The bounds of the time between the wish to delete a key and its deletion.
const (
	minWindowDays     = 7
	maxWindowDays     = 30
	defaultWindowDays = 30
)

// ScheduleKeyDeletion begins the waiting period after which a key is deleted. Until then
// it cannot be used, and nothing of it is lost.
func (s *Service) ScheduleKeyDeletion(ctx context.Context, c *call.Call, in *kmsapi.ScheduleKeyDeletionInput) (*kmsapi.ScheduleKeyDeletionOutput, error) {
	window := int32(defaultWindowDays)
	if in.PendingWindowInDays != nil {
		window = *in.PendingWindowInDays
	}
	w := want{action: "ScheduleKeyDeletion", keyID: in.KeyId}
	if in.PendingWindowInDays != nil {
		w.keys = append(w.keys, contextKey("kms:ScheduleKeyDeletionPendingWindowInDays", decimal(window)))
	}
	var out *kmsapi.ScheduleKeyDeletionOutput
	err := s.change(ctx, c, &w, func(_ *store.Tx, key *Key) (bool, error) {
		if window < minWindowDays || window > maxWindowDays {
			return false, kmsapi.ValidationException.Errorf("PendingWindowInDays must be between %d and %d", minWindowDays, maxWindowDays)
		}
		if key.State == PendingDeletion {
			return false, key.invalidState()
		}
		key.State, key.WindowDays = PendingDeletion, window
		key.DeleteAfter = c.Now.UnixMilli() + days(window)
		out = &kmsapi.ScheduleKeyDeletionOutput{
			KeyId: new(key.ARN()), DeletionDate: timeOf(key.DeleteAfter),
			KeyState: new(string(key.State)), PendingWindowInDays: &window,
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// CancelKeyDeletion keeps a key that was to be deleted. It is disabled then.
func (s *Service) CancelKeyDeletion(ctx context.Context, c *call.Call, in *kmsapi.CancelKeyDeletionInput) (*kmsapi.CancelKeyDeletionOutput, error) {
	w := want{action: "CancelKeyDeletion", keyID: in.KeyId}
	var out *kmsapi.CancelKeyDeletionOutput
	err := s.change(ctx, c, &w, func(_ *store.Tx, key *Key) (bool, error) {
		if key.State != PendingDeletion {
			return false, kmsapi.KMSInvalidStateException.Errorf("%s is not pending deletion.", key.ARN())
		}
		key.State, key.WindowDays, key.DeleteAfter = Disabled, 0, 0
		out = &kmsapi.CancelKeyDeletionOutput{KeyId: new(key.ARN())}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
