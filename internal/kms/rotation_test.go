package kms_test

import (
	"strings"
	"testing"
	"time"

	"arca/internal/api/kmsapi"
	"arca/internal/kms"
	"arca/internal/store"
)

func (h *house) rotations(t *testing.T, id string) (kinds []string) {
	t.Helper()
	for _, r := range must[kmsapi.ListKeyRotationsOutput](t, h, kmsapi.OpListKeyRotations, &kmsapi.ListKeyRotationsInput{KeyId: id}).Rotations {
		kinds = append(kinds, *r.RotationType+" "+r.RotationDate.Format(time.DateOnly))
	}
	return kinds
}

func (h *house) status(t *testing.T, id string) *kmsapi.GetKeyRotationStatusOutput {
	t.Helper()
	return must[kmsapi.GetKeyRotationStatusOutput](t, h, kmsapi.OpGetKeyRotationStatus, &kmsapi.GetKeyRotationStatusInput{KeyId: id})
}

// A key is rotated when its period is over, not before, not while it is disabled, and
// what was encrypted stays readable.
func TestAutomaticRotation(t *testing.T) {
	h := newHouse(t)
	id, _ := h.key(t)
	if s := h.status(t, id); *s.KeyRotationEnabled || s.NextRotationDate != nil {
		t.Errorf("rotation of a new key: %+v", s)
	}
	h.run(t, kmsapi.OpEnableKeyRotation, &kmsapi.EnableKeyRotationInput{KeyId: id, RotationPeriodInDays: new(int32(90))})
	if s := h.status(t, id); !*s.KeyRotationEnabled || *s.RotationPeriodInDays != 90 || !s.NextRotationDate.Equal(start.AddDate(0, 0, 90)) {
		t.Errorf("rotation: %+v", s)
	}
	h.run(t, kmsapi.OpEnableKeyRotation, &kmsapi.EnableKeyRotationInput{KeyId: id})
	if s := h.status(t, id); *s.RotationPeriodInDays != 90 {
		t.Errorf("the period changed by itself: %+v", s)
	}
	first := h.encrypt(t, id, "first", nil)
	h.now = start.AddDate(0, 0, 90).Add(-time.Second)
	h.step(t)
	if got := h.rotations(t, id); got != nil {
		t.Errorf("rotated before its time: %v", got)
	}
	h.now = start.AddDate(0, 0, 90)
	h.step(t)
	h.step(t)
	if got := strings.Join(h.rotations(t, id), ","); got != "AUTOMATIC 2026-08-02" {
		t.Errorf("rotations %s", got)
	}
	second := h.encrypt(t, id, "second", nil)
	h.decrypts(t, first, nil, "first")
	h.decrypts(t, second, nil, "second")
	if a, b := materialOf(t, h, first), materialOf(t, h, second); a == b {
		t.Error("the same material before and after the rotation")
	}
	if log := h.audited(t); !strings.Contains(log, `"eventName":"RotateKey"`) || !strings.Contains(log, `"rotationType":"AUTOMATIC"`) {
		t.Error("the rotation is not on record")
	}

	h.run(t, kmsapi.OpDisableKey, &kmsapi.DisableKeyInput{KeyId: id})
	h.now = h.now.AddDate(1, 0, 0)
	h.step(t)
	if got := h.rotations(t, id); len(got) != 1 {
		t.Errorf("a disabled key was rotated: %v", got)
	}
	h.run(t, kmsapi.OpEnableKey, &kmsapi.EnableKeyInput{KeyId: id})
	h.step(t)
	if got := h.rotations(t, id); len(got) != 2 {
		t.Errorf("rotations after it was enabled again: %v", got)
	}
	h.run(t, kmsapi.OpScheduleKeyDeletion, &kmsapi.ScheduleKeyDeletionInput{KeyId: id})
	if s := h.status(t, id); *s.KeyRotationEnabled {
		t.Error("a key pending deletion is rotated")
	}
	h.run(t, kmsapi.OpCancelKeyDeletion, &kmsapi.CancelKeyDeletionInput{KeyId: id})
	if s := h.status(t, id); !*s.KeyRotationEnabled || *s.RotationPeriodInDays != 90 {
		t.Errorf("rotation after the deletion was cancelled: %+v", s)
	}
	h.run(t, kmsapi.OpEnableKey, &kmsapi.EnableKeyInput{KeyId: id})
	h.run(t, kmsapi.OpDisableKeyRotation, &kmsapi.DisableKeyRotationInput{KeyId: id})
	h.now = h.now.AddDate(5, 0, 0)
	h.step(t)
	if got := h.rotations(t, id); len(got) != 2 {
		t.Errorf("rotated although that is off: %v", got)
	}
}

func materialOf(t *testing.T, h *house, blob []byte) string {
	t.Helper()
	return *must[kmsapi.DecryptOutput](t, h, kmsapi.OpDecrypt, &kmsapi.DecryptInput{CiphertextBlob: blob}).KeyMaterialId
}

func TestRotateOnDemand(t *testing.T) {
	h := newHouse(t)
	id, _ := h.key(t)
	h.run(t, kmsapi.OpEnableKeyRotation, &kmsapi.EnableKeyRotationInput{KeyId: id})
	before := h.encrypt(t, id, "x", nil)
	if out := must[kmsapi.RotateKeyOnDemandOutput](t, h, kmsapi.OpRotateKeyOnDemand, &kmsapi.RotateKeyOnDemandInput{KeyId: id}); *out.KeyId != id {
		t.Errorf("RotateKeyOnDemand = %s", *out.KeyId)
	}
	h.decrypts(t, before, nil, "x")
	if s := h.status(t, id); !s.NextRotationDate.Equal(start.AddDate(0, 0, 365)) {
		t.Errorf("the automatic rotation moved: %+v", s)
	}
	all := must[kmsapi.ListKeyRotationsOutput](t, h, kmsapi.OpListKeyRotations, &kmsapi.ListKeyRotationsInput{KeyId: id, IncludeKeyMaterial: new("ALL_KEY_MATERIAL")}).Rotations
	if len(all) != 2 || *all[0].KeyMaterialState != "NON_CURRENT" || all[0].RotationType != nil || *all[1].KeyMaterialState != "CURRENT" || *all[1].RotationType != "ON_DEMAND" {
		t.Errorf("ListKeyRotations = %+v", all)
	}
	m := must[kmsapi.DescribeKeyOutput](t, h, kmsapi.OpDescribeKey, &kmsapi.DescribeKeyInput{KeyId: id}).KeyMetadata
	if *m.CurrentKeyMaterialId != *all[1].KeyMaterialId || materialOf(t, h, before) != *all[0].KeyMaterialId {
		t.Error("the ids of the material do not fit together")
	}
}

// An account's own default key is rotated every year.
func TestDefaultKeyRotates(t *testing.T) {
	h := newHouse(t)
	var id string
	var wrapped []byte
	c := from(account, region)
	_, err := h.store.Update(t.Context(), func(tx *store.Tx) (err error) {
		_, wrapped, id, err = h.svc.GenerateDataKey(tx, c, ownerOf(c), "", versioned("1"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if s := h.status(t, id); !*s.KeyRotationEnabled || *s.RotationPeriodInDays != 365 || !s.NextRotationDate.Equal(start.AddDate(0, 0, 365)) {
		t.Errorf("rotation: %+v", s)
	}
	h.now = start.AddDate(0, 0, 365)
	h.step(t)
	h.step(t)
	h.view(t, func(v *store.Snap) {
		if k := h.svc.KeyByID(v, id); len(k.Material) != 2 {
			t.Errorf("%d versions after a year", len(k.Material))
		}
		if _, err := h.svc.Decrypt(v, c, wrapped, versioned("1")); err != nil {
			t.Error(err)
		}
	})
}

// The account sees its default key, and can change nothing about it.
func TestDefaultKeyIsAWSs(t *testing.T) {
	h := newHouse(t)
	c := from(account, region)
	if _, err := h.store.Update(t.Context(), func(tx *store.Tx) error { _, err := h.svc.DefaultKey(tx, c, ownerOf(c)); return err }); err != nil {
		t.Fatal(err)
	}
	m := must[kmsapi.DescribeKeyOutput](t, h, kmsapi.OpDescribeKey, &kmsapi.DescribeKeyInput{KeyId: kms.SecretsManagerAlias}).KeyMetadata
	if *m.KeyManager != "AWS" || *m.Description != "Default key that protects my Secrets Manager data when no other key is defined" {
		t.Errorf("DescribeKey = %+v", m)
	}
	policy := *must[kmsapi.GetKeyPolicyOutput](t, h, kmsapi.OpGetKeyPolicy, &kmsapi.GetKeyPolicyInput{KeyId: m.KeyId}).Policy
	for _, part := range []string{`"kms:CallerAccount" : "123456789012"`, `"kms:ViaService" : "secretsmanager.eu-west-1.amazonaws.com"`} {
		if !strings.Contains(policy, part) {
			t.Errorf("policy lacks %s:\n%s", part, policy)
		}
	}
	for action, in := range map[string]any{
		"DisableKey":           &kmsapi.DisableKeyInput{KeyId: m.KeyId},
		"ScheduleKeyDeletion":  &kmsapi.ScheduleKeyDeletionInput{KeyId: m.KeyId},
		"Encrypt":              &kmsapi.EncryptInput{KeyId: m.KeyId, Plaintext: []byte("x")},
		"GenerateDataKey":      &kmsapi.GenerateDataKeyInput{KeyId: m.KeyId, KeySpec: new("AES_256")},
		"PutKeyPolicy":         &kmsapi.PutKeyPolicyInput{KeyId: m.KeyId, Policy: kms.InitialPolicy(account)},
		"TagResource":          &kmsapi.TagResourceInput{KeyId: m.KeyId, Tags: []kmsapi.Tag{}},
		"UpdateKeyDescription": &kmsapi.UpdateKeyDescriptionInput{KeyId: m.KeyId},
		"EnableKeyRotation":    &kmsapi.EnableKeyRotationInput{KeyId: m.KeyId},
	} {
		h.refused(t, "AccessDeniedException: User: arn:aws:iam::123456789012:root is not authorized to perform: kms:"+action+" on resource: "+*m.Arn+" because no resource-based policy allows the kms:"+action+" action",
			kmsapi.Service.Operation(action), in)
	}
}
