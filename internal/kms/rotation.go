package kms

import (
	"context"
	"strconv"

	"arca/internal/api/kmsapi"
	"arca/internal/call"
	"arca/internal/paging"
	"arca/internal/store"
)

// How a version of a key came, in AWS's words.
const (
	automatic = "AUTOMATIC"
	onDemand  = "ON_DEMAND"
)

func decimal(n int32) string { return strconv.Itoa(int(n)) }

// EnableKeyRotation lets a key be rotated by itself, every so many days from now.
func (s *Service) EnableKeyRotation(ctx context.Context, c *call.Call, in *kmsapi.EnableKeyRotationInput) (*kmsapi.EnableKeyRotationOutput, error) {
	w := want{action: "EnableKeyRotation", keyID: in.KeyId}
	if in.RotationPeriodInDays != nil {
		w.keys = append(w.keys, contextKey("kms:RotationPeriodInDays", decimal(*in.RotationPeriodInDays)))
	}
	return nil, s.change(ctx, c, &w, func(_ *store.Tx, key *Key) (bool, error) {
		if err := key.usable(); err != nil {
			return false, err
		}
		period := key.RotationDays
		switch {
		case in.RotationPeriodInDays != nil:
			period = *in.RotationPeriodInDays
		case period == 0:
			period = defaultRotationDays
		}
		if period == key.RotationDays {
			return false, nil
		}
		key.RotationDays, key.NextRotation = period, c.Now.UnixMilli()+days(period)
		return true, nil
	})
}

// DisableKeyRotation ends automatic rotation.
func (s *Service) DisableKeyRotation(ctx context.Context, c *call.Call, in *kmsapi.DisableKeyRotationInput) (*kmsapi.DisableKeyRotationOutput, error) {
	w := want{action: "DisableKeyRotation", keyID: in.KeyId}
	return nil, s.change(ctx, c, &w, func(_ *store.Tx, key *Key) (bool, error) {
		if err := key.usable(); err != nil {
			return false, err
		}
		changed := key.RotationDays != 0
		key.RotationDays, key.NextRotation = 0, 0
		return changed, nil
	})
}

// GetKeyRotationStatus tells whether and when a key is rotated by itself. A key that is
// pending deletion is not, whatever was set.
func (s *Service) GetKeyRotationStatus(ctx context.Context, c *call.Call, in *kmsapi.GetKeyRotationStatusInput) (*kmsapi.GetKeyRotationStatusOutput, error) {
	w := want{action: "GetKeyRotationStatus", keyID: in.KeyId, foreign: true}
	var out *kmsapi.GetKeyRotationStatusOutput
	err := s.store.View(ctx, func(v *store.Snap) error {
		key, err := s.load(ctx, c, v, &w)
		if err != nil {
			return err
		}
		period := key.RotationDays
		if key.IsDefault() {
			period = defaultRotationDays
		}
		on := period != 0 && key.State != PendingDeletion
		out = &kmsapi.GetKeyRotationStatusOutput{KeyId: new(IDText(key.ID)), KeyRotationEnabled: &on}
		if on {
			out.RotationPeriodInDays, out.NextRotationDate = &period, timeOf(key.nextRotation())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// RotateKeyOnDemand gives a key a new version at once. Automatic rotation goes on as it
// was planned.
func (s *Service) RotateKeyOnDemand(ctx context.Context, c *call.Call, in *kmsapi.RotateKeyOnDemandInput) (*kmsapi.RotateKeyOnDemandOutput, error) {
	w := want{action: "RotateKeyOnDemand", keyID: in.KeyId}
	var out *kmsapi.RotateKeyOnDemandOutput
	err := s.change(ctx, c, &w, func(_ *store.Tx, key *Key) (bool, error) {
		if err := key.usable(); err != nil {
			return false, err
		}
		n := 0
		for i := range key.Material {
			if key.Material[i].Rotation == onDemand {
				n++
			}
		}
		if n >= s.quotas.onDemandRotations {
			return false, kmsapi.LimitExceededException.Errorf("The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations can be performed for this key: %s", key.ARN())
		}
		if err := s.addMaterial(key, c.Now.UnixMilli(), onDemand); err != nil {
			return false, err
		}
		c.ServiceEvent(rotated(key))
		out = &kmsapi.RotateKeyOnDemandOutput{KeyId: new(IDText(key.ID))}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ListKeyRotations lists the versions that a key has got by rotation, the oldest first.
func (s *Service) ListKeyRotations(ctx context.Context, c *call.Call, in *kmsapi.ListKeyRotationsInput) (*kmsapi.ListKeyRotationsOutput, error) {
	all := text(in.IncludeKeyMaterial) == "ALL_KEY_MATERIAL"
	p, err := s.newPager(c, in.Marker, in.Limit, 100, 1000, in.KeyId, text(in.IncludeKeyMaterial))
	if err != nil {
		return nil, err
	}
	w := want{action: "ListKeyRotations", keyID: in.KeyId}
	var list []kmsapi.RotationsListEntry
	err = s.store.View(ctx, func(v *store.Snap) error {
		p.Begin()
		key, err := s.load(ctx, c, v, &w)
		if err != nil {
			return err
		}
		list = nil
		for i := range key.Material {
			if m := &key.Material[i]; all || m.Rotation != "" {
				list = append(list, rotationEntry(key, m))
			}
		}
		list = paging.Page(p, list)
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := &kmsapi.ListKeyRotationsOutput{Rotations: list}
	out.Truncated, out.NextMarker, err = p.End()
	return out, err
}

func rotationEntry(key *Key, m *Material) kmsapi.RotationsListEntry {
	e := kmsapi.RotationsListEntry{
		KeyId: new(IDText(key.ID)), KeyMaterialId: new(materialID(key, m)), KeyMaterialState: new("NON_CURRENT"),
	}
	if m == key.current() {
		e.KeyMaterialState = new("CURRENT")
	}
	if m.Rotation != "" {
		e.RotationType, e.RotationDate = &m.Rotation, timeOf(m.Created)
	}
	return e
}
