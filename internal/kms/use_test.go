package kms_test

import (
	"context"
	"errors"
	"testing"

	"arca/internal/access"
	"arca/internal/api"
	"arca/internal/api/kmsapi"
	"arca/internal/call"
	"arca/internal/kms"
	"arca/internal/store"
)

// dispatchUse asks Use within a call of its own, since decisions need a dispatcher.
func (h *house) dispatchUse(t *testing.T, c *call.Call, key *kms.Key, via string, encCtx map[string]string) error {
	t.Helper()
	decide := access.New(access.Config{Store: h.store, IAM: h.iam})
	d := call.New(call.Config{Store: h.store, Log: h.log, Authorize: decide.Authorize, Logger: discard()})
	call.Register(d, kmsapi.OpGenerateRandom, func(ctx context.Context, c *call.Call, _ *kmsapi.GenerateRandomInput) (*kmsapi.GenerateRandomOutput, error) {
		c.NoDecision("the test is about another one")
		return nil, h.store.View(ctx, func(v *store.Snap) error { return h.svc.Use(ctx, c, v, key, "kms:Decrypt", via, encCtx) })
	})
	c.Op = kmsapi.OpGenerateRandom
	_, err := d.Do(context.Background(), c, &kmsapi.GenerateRandomInput{})
	if _, ok := errors.AsType[*api.Error](err); err != nil && !ok {
		t.Fatal(err)
	}
	return err
}
