package kms

import (
	"context"
	"time"

	"arca/internal/api/kmsapi"
	"arca/internal/call"
	"arca/internal/policy"
	"arca/internal/store"
)

// Register makes the dispatcher serve every operation of the service.
func (s *Service) Register(d *call.Dispatcher) {
	call.Register(d, kmsapi.OpCancelKeyDeletion, s.CancelKeyDeletion)
	call.Register(d, kmsapi.OpCreateAlias, s.CreateAlias)
	call.Register(d, kmsapi.OpCreateGrant, s.CreateGrant)
	call.Register(d, kmsapi.OpCreateKey, s.CreateKey)
	call.Register(d, kmsapi.OpDecrypt, s.opDecrypt)
	call.Register(d, kmsapi.OpDeleteAlias, s.DeleteAlias)
	call.Register(d, kmsapi.OpDescribeKey, s.DescribeKey)
	call.Register(d, kmsapi.OpDisableKey, s.DisableKey)
	call.Register(d, kmsapi.OpDisableKeyRotation, s.DisableKeyRotation)
	call.Register(d, kmsapi.OpEnableKey, s.EnableKey)
	call.Register(d, kmsapi.OpEnableKeyRotation, s.EnableKeyRotation)
	call.Register(d, kmsapi.OpEncrypt, s.Encrypt)
	call.Register(d, kmsapi.OpGenerateDataKey, s.opGenerateDataKey)
	call.Register(d, kmsapi.OpGenerateDataKeyWithoutPlaintext, s.GenerateDataKeyWithoutPlaintext)
	call.Register(d, kmsapi.OpGenerateRandom, s.GenerateRandom)
	call.Register(d, kmsapi.OpGetKeyPolicy, s.GetKeyPolicy)
	call.Register(d, kmsapi.OpGetKeyRotationStatus, s.GetKeyRotationStatus)
	call.Register(d, kmsapi.OpListAliases, s.ListAliases)
	call.Register(d, kmsapi.OpListGrants, s.ListGrants)
	call.Register(d, kmsapi.OpListKeyPolicies, s.ListKeyPolicies)
	call.Register(d, kmsapi.OpListKeyRotations, s.ListKeyRotations)
	call.Register(d, kmsapi.OpListKeys, s.ListKeys)
	call.Register(d, kmsapi.OpListResourceTags, s.ListResourceTags)
	call.Register(d, kmsapi.OpListRetirableGrants, s.ListRetirableGrants)
	call.Register(d, kmsapi.OpPutKeyPolicy, s.PutKeyPolicy)
	call.Register(d, kmsapi.OpReEncrypt, s.ReEncrypt)
	call.Register(d, kmsapi.OpRetireGrant, s.RetireGrant)
	call.Register(d, kmsapi.OpRevokeGrant, s.RevokeGrant)
	call.Register(d, kmsapi.OpRotateKeyOnDemand, s.RotateKeyOnDemand)
	call.Register(d, kmsapi.OpScheduleKeyDeletion, s.ScheduleKeyDeletion)
	call.Register(d, kmsapi.OpTagResource, s.TagResource)
	call.Register(d, kmsapi.OpUntagResource, s.UntagResource)
	call.Register(d, kmsapi.OpUpdateAlias, s.UpdateAlias)
	call.Register(d, kmsapi.OpUpdateKeyDescription, s.UpdateKeyDescription)
}

// want is what an operation wants to do with a key that it is given by name.
type want struct {
	action string // "DescribeKey"
	keyID  string
	// alias says that the key may be named by an alias, foreign that it may be another
	// account's: AWS states both for each operation.
	alias, foreign bool
	// crypto says that the operation encrypts or decrypts, encCtx with which context.
	crypto bool
	encCtx map[string]string
	// keys are condition keys of the operation's own.
	keys []policy.ContextKey
	// proposed is the grant that the operation is to make.
	proposed *Grant
	// shown is how a denial names a key of another account that was not asked for by name.
	shown string
}

// keyType is CloudTrail's name for keys among the resources of a record.
const keyType = "AWS::KMS::Key"

// load finds the key that a request names and asks whether the caller may do with it
// what is wanted. Whether a key exists shows only to those who may; of keys of other
// accounts that let nobody in, it does not show at all.
func (s *Service) load(ctx context.Context, c *call.Call, v *store.Snap, w *want) (*Key, error) {
	if isAlias(w.keyID) && !w.alias {
		return nil, kmsapi.NotFoundException.Errorf("Invalid keyId '%s'", w.keyID)
	}
	n, missing := s.resolve(v, callersOwn(c), w.keyID)
	switch {
	case n.arn == "":
		return nil, missing // it names nothing, wherever
	case n.alias != "" && !w.alias:
		return nil, kmsapi.InvalidArnException.Errorf("Key Aliases are not supported for this operation")
	case n.account != c.Caller.Account && (n.key == nil || !w.foreign):
		return nil, deniedForeign(c, w, n.arn)
	case n.key == nil:
		return nil, s.askMissing(ctx, c, v, w, &n, missing)
	}
	if err := s.askFor(ctx, c, v, w, n.key, n.alias); err != nil {
		return nil, err
	}
	return n.key, nil
}

// askFor asks whether the caller may do with a key what is wanted.
func (s *Service) askFor(ctx context.Context, c *call.Call, v *store.Snap, w *want, key *Key, alias string) error {
	// What an alias or a ciphertext of another account stands for is not put into the
	// records of whoever may not know.
	own := key.Account == c.Caller.Account
	if own {
		c.NoteResource(key.Account, keyType, key.ARN())
	} else {
		c.NoteOwned(key.Account, keyType, key.ARN())
	}
	err := s.ask(ctx, v, s.questionFor(c, w, key, alias))
	if err == nil && !own {
		c.NoteResource(key.Account, keyType, key.ARN())
	}
	return err
}

func (s *Service) questionFor(c *call.Call, w *want, key *Key, alias string) *question {
	return &question{
		Check: call.Check{Action: "kms:" + w.action, Keys: w.keys, Shown: shownForeign(c, key, w.shown)},
		c:     c, key: key, alias: alias, encCtx: w.encCtx, crypto: w.crypto, proposed: w.proposed,
	}
}

func shownForeign(c *call.Call, key *Key, shown string) string {
	if key.Account == c.Caller.Account {
		return ""
	}
	return shown
}

// askMissing asks about a key that the caller's account does not have, as if it had the
// policy that keys get at first; missing is the answer to those who may know.
func (s *Service) askMissing(ctx context.Context, c *call.Call, v *store.Snap, w *want, n *named, missing error) error {
	resource := n.arn
	if n.alias != "" {
		resource = arnOf(n.account, c.Region, "key/*") // any key could have that alias
	}
	ck := call.Check{
		Action: "kms:" + w.action, Resource: resource, Shown: n.arn, Account: n.account, Snap: v,
		Keys: ownKeys(c, w.keys...), ResourceDecides: true, ResourcePolicy: initialPolicy(n.account),
	}
	if err := c.Authorize(ctx, &ck); err != nil {
		return err
	}
	return missing
}

// deniedForeign is the answer about a key of another account that does not exist, or
// that the operation does not work on. It reads like the one about a key that does not
// let the caller in.
func deniedForeign(c *call.Call, w *want, keyARN string) error {
	c.NoteDenial(call.Denial{
		Action: "kms:" + w.action, Resource: keyARN,
		Reason: "because there is no such key, or the action is for keys of the own account only",
	})
	shown := w.shown
	if shown == "" {
		shown = "this resource"
	}
	return kmsapi.AccessDeniedException.Errorf("User: %s is not authorized to perform: kms:%s on %s because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access", c.Caller.ARN, w.action, shown)
}

// askAll asks about an action that is about no key.
func (s *Service) askAll(ctx context.Context, c *call.Call, v *store.Snap, action string, keys ...policy.ContextKey) error {
	return c.Authorize(ctx, &call.Check{Action: "kms:" + action, Resource: "*", Snap: v, Keys: ownKeys(c, keys...)})
}

// ownKeys are the condition keys of a question that is about no key that exists.
func ownKeys(c *call.Call, more ...policy.ContextKey) []policy.ContextKey {
	return append([]policy.ContextKey{contextKey("kms:CallerAccount", c.Caller.Account)}, more...)
}

func contextKey(name string, values ...string) policy.ContextKey {
	return policy.ContextKey{Name: name, Values: values}
}

// change is an operation that changes a key: after the decision, fn gets a copy to
// change and says whether it did.
func (s *Service) change(ctx context.Context, c *call.Call, w *want, fn func(tx *store.Tx, key *Key) (bool, error)) error {
	return c.Update(ctx, s.store, func(tx *store.Tx) error {
		old, err := s.load(ctx, c, tx.Snap, w)
		if err != nil {
			return err
		}
		key := old.clone()
		changed, err := fn(tx, key)
		if err != nil || !changed {
			return err
		}
		s.keys.Put(tx, keyKey(key), key)
		return nil
	})
}

// text is a string that may be absent.
func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func isTrue(b *bool) bool { return b != nil && *b }

func timeOf(at Millis) *time.Time { return new(time.UnixMilli(at).UTC()) }
