package kms_test

import (
	"context"
	"testing"

	"arca/internal/access"
	"arca/internal/api/kmsapi"
	"arca/internal/call"
	"arca/internal/kms"
	"arca/internal/store"
)

// BenchmarkUse is what every read of a secret pays for the decision on its key.
func BenchmarkUse(b *testing.B) {
	h := newHouse(b)
	alice := h.user(b, account, "alice", "")
	c := from(account, region)
	var key *kms.Key
	if _, err := h.store.Update(b.Context(), func(tx *store.Tx) (err error) { key, err = h.svc.DefaultKey(tx, c, ownerOf(c)); return err }); err != nil {
		b.Fatal(err)
	}
	decide := access.New(access.Config{Store: h.store, IAM: h.iam})
	d := call.New(call.Config{Store: h.store, Log: h.log, Authorize: decide.Authorize, Logger: discard()})
	encCtx := map[string]string{"SecretARN": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:a-AbCdEf", "SecretVersionId": missingKey}
	call.Register(d, kmsapi.OpGenerateRandom, func(ctx context.Context, c *call.Call, _ *kmsapi.GenerateRandomInput) (*kmsapi.GenerateRandomOutput, error) {
		return nil, h.store.View(ctx, func(v *store.Snap) error {
			b.ReportAllocs()
			for b.Loop() {
				if err := h.svc.Use(ctx, c, v, key, "kms:Decrypt", "secretsmanager", encCtx); err != nil {
					return err
				}
			}
			return nil
		})
	})
	c.Op, c.Caller = kmsapi.OpGenerateRandom, alice
	if _, err := d.Do(b.Context(), c, &kmsapi.GenerateRandomInput{}); err != nil {
		b.Fatal(err)
	}
}
