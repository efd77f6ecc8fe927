package kms_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"arca/internal/api"
	"arca/internal/api/kmsapi"
	"arca/internal/kms"
	"arca/internal/store"
	"arca/internal/storetest"
)

// settled is nil for errors that only say that the first try went through: operations of
// KMS cannot tell a repeat from a second wish.
func settled(err error, codes ...*api.Code) error {
	if aerr, ok := errors.AsType[*api.Error](err); ok && slices.Contains(codes, aerr.Code) {
		return nil
	}
	return err
}

// Every change happens wholly or not at all, whatever becomes of its commit, and can be
// repeated.
func TestEveryCommit(t *testing.T) {
	var id, arn, grantID string
	var blob []byte
	setup := func(t *testing.T, h *house) {
		id, arn = h.key(t)
		h.run(t, kmsapi.OpCreateAlias, &kmsapi.CreateAliasInput{AliasName: "alias/old", TargetKeyId: id})
		grantID, _ = h.grant(t, &kmsapi.CreateGrantInput{KeyId: id, GranteePrincipal: new("arn:aws:iam::123456789012:root"), Operations: []string{"Decrypt"}})
		blob = h.encrypt(t, id, "x", ctx1)
	}
	metadata := func(t *testing.T, h *house) *kmsapi.KeyMetadata {
		return must[kmsapi.DescribeKeyOutput](t, h, kmsapi.OpDescribeKey, &kmsapi.DescribeKeyInput{KeyId: id}).KeyMetadata
	}
	state := func(want string) func(t *testing.T, h *house) {
		return func(t *testing.T, h *house) {
			if got := *metadata(t, h).KeyState; got != want {
				t.Errorf("the key is %s, want %s", got, want)
			}
		}
	}
	for _, tt := range []struct {
		name   string
		op     *api.Operation
		in     func() any
		done   []*api.Code // codes of a repeat
		verify func(t *testing.T, h *house)
	}{
		{"CreateKey", kmsapi.OpCreateKey, func() any { return &kmsapi.CreateKeyInput{} }, nil, func(t *testing.T, h *house) {
			// A repeat makes another key, as on AWS.
			if n := len(must[kmsapi.ListKeysOutput](t, h, kmsapi.OpListKeys, &kmsapi.ListKeysInput{}).Keys); n < 2 || n > 3 {
				t.Errorf("%d keys", n)
			}
		}},
		{"CreateAlias", kmsapi.OpCreateAlias, func() any { return &kmsapi.CreateAliasInput{AliasName: "alias/new", TargetKeyId: id} }, []*api.Code{kmsapi.AlreadyExistsException}, func(t *testing.T, h *house) {
			if m := must[kmsapi.DescribeKeyOutput](t, h, kmsapi.OpDescribeKey, &kmsapi.DescribeKeyInput{KeyId: "alias/new"}).KeyMetadata; *m.Arn != arn {
				t.Errorf("the alias names %s", *m.Arn)
			}
		}},
		{"UpdateAlias", kmsapi.OpUpdateAlias, func() any { return &kmsapi.UpdateAliasInput{AliasName: "alias/old", TargetKeyId: id} }, nil, nil},
		{"DeleteAlias", kmsapi.OpDeleteAlias, func() any { return &kmsapi.DeleteAliasInput{AliasName: "alias/old"} }, []*api.Code{kmsapi.NotFoundException}, func(t *testing.T, h *house) {
			if _, err := h.call(kmsapi.OpDescribeKey, &kmsapi.DescribeKeyInput{KeyId: "alias/old"}); err == nil {
				t.Error("the alias is there")
			}
		}},
		{"DisableKey", kmsapi.OpDisableKey, func() any { return &kmsapi.DisableKeyInput{KeyId: id} }, nil, state("Disabled")},
		{"ScheduleKeyDeletion", kmsapi.OpScheduleKeyDeletion, func() any { return &kmsapi.ScheduleKeyDeletionInput{KeyId: id} }, []*api.Code{kmsapi.KMSInvalidStateException}, state("PendingDeletion")},
		{"EnableKeyRotation", kmsapi.OpEnableKeyRotation, func() any { return &kmsapi.EnableKeyRotationInput{KeyId: id} }, nil, func(t *testing.T, h *house) {
			if !*h.status(t, id).KeyRotationEnabled {
				t.Error("not enabled")
			}
		}},
		{"RotateKeyOnDemand", kmsapi.OpRotateKeyOnDemand, func() any { return &kmsapi.RotateKeyOnDemandInput{KeyId: id} }, nil, func(t *testing.T, h *house) {
			if n := len(h.rotations(t, id)); n < 1 || n > 2 {
				t.Errorf("%d rotations", n)
			}
			h.decrypts(t, blob, ctx1, "x")
			if !strings.Contains(h.audited(t), `"eventName":"RotateKey"`) {
				t.Error("the rotation is not on record")
			}
		}},
		{"PutKeyPolicy", kmsapi.OpPutKeyPolicy, func() any { return &kmsapi.PutKeyPolicyInput{KeyId: id, Policy: kms.InitialPolicy(account) + "\n"} }, nil, func(t *testing.T, h *house) {
			if p := must[kmsapi.GetKeyPolicyOutput](t, h, kmsapi.OpGetKeyPolicy, &kmsapi.GetKeyPolicyInput{KeyId: id}).Policy; !strings.HasSuffix(*p, "\n") {
				t.Error("not put")
			}
		}},
		{"TagResource", kmsapi.OpTagResource, func() any {
			return &kmsapi.TagResourceInput{KeyId: id, Tags: []kmsapi.Tag{{TagKey: "a", TagValue: "b"}}}
		}, nil, nil},
		{"UpdateKeyDescription", kmsapi.OpUpdateKeyDescription, func() any { return &kmsapi.UpdateKeyDescriptionInput{KeyId: id, Description: "d"} }, nil, func(t *testing.T, h *house) {
			if d := *metadata(t, h).Description; d != "d" {
				t.Errorf("description %q", d)
			}
		}},
		{"CreateGrant", kmsapi.OpCreateGrant, func() any {
			return &kmsapi.CreateGrantInput{KeyId: id, Name: new("n"), GranteePrincipal: new("arn:aws:iam::999999999999:root"), Operations: []string{"Encrypt"}}
		}, nil, func(t *testing.T, h *house) {
			if n := len(must[kmsapi.ListGrantsOutput](t, h, kmsapi.OpListGrants, &kmsapi.ListGrantsInput{KeyId: id}).Grants); n != 2 {
				t.Errorf("%d grants, want 2", n)
			}
		}},
		{"RevokeGrant", kmsapi.OpRevokeGrant, func() any { return &kmsapi.RevokeGrantInput{KeyId: id, GrantId: grantID} }, []*api.Code{kmsapi.NotFoundException}, func(t *testing.T, h *house) {
			if n := len(must[kmsapi.ListGrantsOutput](t, h, kmsapi.OpListGrants, &kmsapi.ListGrantsInput{KeyId: id}).Grants); n != 0 {
				t.Errorf("%d grants, want none", n)
			}
		}},
		{"RetireGrant", kmsapi.OpRetireGrant, func() any { return &kmsapi.RetireGrantInput{KeyId: &arn, GrantId: &grantID} }, []*api.Code{kmsapi.NotFoundException}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			verify := tt.verify
			if verify == nil {
				verify = func(*testing.T, *house) {}
			}
			everyCommit(t, setup, func(_ *testing.T, h *house) error {
				_, err := h.call(tt.op, tt.in())
				return settled(err, tt.done...)
			}, verify)
		})
	}
}

// The engine rotates and deletes once, whatever becomes of its commits.
func TestUpkeepEveryCommit(t *testing.T) {
	var rotated, deleted string
	var blob []byte
	everyCommit(t, func(t *testing.T, h *house) {
		rotated, _ = h.key(t)
		deleted, _ = h.key(t)
		h.run(t, kmsapi.OpEnableKeyRotation, &kmsapi.EnableKeyRotationInput{KeyId: rotated, RotationPeriodInDays: new(int32(90))})
		h.run(t, kmsapi.OpCreateAlias, &kmsapi.CreateAliasInput{AliasName: "alias/a", TargetKeyId: deleted})
		h.grant(t, &kmsapi.CreateGrantInput{KeyId: deleted, GranteePrincipal: new("arn:aws:iam::123456789012:root"), Operations: []string{"Decrypt"}})
		blob = h.encrypt(t, rotated, "x", nil)
		h.run(t, kmsapi.OpScheduleKeyDeletion, &kmsapi.ScheduleKeyDeletionInput{KeyId: deleted})
		h.now = start.AddDate(0, 0, 90)
	}, func(_ *testing.T, h *house) error {
		return kms.NewUpkeep(h.svc, h.dispatcher).Step(context.Background(), h.now)
	}, func(t *testing.T, h *house) {
		if n := len(h.rotations(t, rotated)); n != 1 {
			t.Errorf("%d rotations, want 1", n)
		}
		h.decrypts(t, blob, nil, "x")
		if n := len(must[kmsapi.ListKeysOutput](t, h, kmsapi.OpListKeys, &kmsapi.ListKeysInput{}).Keys); n != 1 {
			t.Errorf("%d keys, want 1", n)
		}
		// The lines of an unknown outcome are written by whoever recovers.
		if err := h.dispatcher.Recover(context.Background()); err != nil {
			t.Fatal(err)
		}
		log := h.audited(t)
		if strings.Count(log, `"eventName":"RotateKey"`) != 1 || strings.Count(log, `"eventName":"DeleteKey"`) != 1 {
			t.Error("rotation and deletion are not on record once each")
		}
	})
}

// A store that does not answer is KMS's internal failure.
func TestStoreGone(t *testing.T) {
	h := newHouse(t)
	id, _ := h.key(t)
	if err := h.store.Close(); err != nil {
		t.Fatal(err)
	}
	every := inputs(id)
	for op, in := range general() {
		every[op] = in
	}
	for op, in := range every {
		_, err := h.call(op, in)
		if got := shown(err); got != "KMSInternalException: An error occurred on the server side." {
			t.Errorf("%s: %s", op.Name, got)
		}
	}
}

// Data of the first release, whose aliases did not know where they are, is made whole.
func TestUpgrade(t *testing.T) {
	b := &bed{}
	b.store = storetest.New(t, b.attach)
	for _, c := range []string{account, otherAccount} {
		b.mustGenerate(t, from(c, region), "1")
		at := store.Key{Scope: c + "/" + region, Parent: kms.SecretsManagerAlias}
		b.change(t, func(tx *store.Tx) {
			a, ok := b.aliases.Get(tx.Snap, at)
			if !ok {
				t.Fatal("no alias")
			}
			b.aliases.Put(tx, at, &kms.Alias{Name: a.Name, KeyID: a.KeyID})
		})
	}
	for range 2 {
		if err := b.Upgrade(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, c := range []string{account, otherAccount} {
			err := b.store.View(t.Context(), func(v *store.Snap) error {
				a, ok := b.aliases.Get(v, store.Key{Scope: c + "/" + region, Parent: kms.SecretsManagerAlias})
				if !ok || a.Account != c || a.Region != region || a.Created != start.UnixMilli() {
					t.Errorf("alias of %s: %+v", c, a)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}
