package kms

import (
	"context"
	"errors"

	"arca/internal/api/kmsapi"
	"arca/internal/call"
	"arca/internal/policy"
	"arca/internal/store"
)

// policyName is the only name that a key policy can have.
const policyName = "default"

func checkPolicyName(name *string) error {
	if n := orElse(name, policyName); n != policyName {
		return kmsapi.NotFoundException.Errorf("No such policy exists")
	}
	return nil
}

// acceptedPolicy holds a key policy to all that it must be but for the lock-out check,
// and returns it in the form in which it is kept.
func (s *Service) acceptedPolicy(v *store.Snap, text string) (string, error) {
	if len(text) > s.quotas.policyBytes {
		return "", kmsapi.LimitExceededException.Errorf("The key policy is longer than %d bytes.", s.quotas.policyBytes)
	}
	if _, err := policy.ParseResourcePolicy(text); err != nil {
		message := "The new key policy is not valid."
		if syntax, ok := errors.AsType[*policy.SyntaxError](err); ok {
			switch syntax.Kind {
			case policy.NotJSON:
				message = "The new key policy contains invalid Json."
			case policy.BadPrincipal, policy.BadServiceName:
				message = principalMessage
			}
		}
		return "", kmsapi.MalformedPolicyDocumentException.Wrap(err, message)
	}
	stored, known, err := s.iam.StoredPolicy(v, text)
	if err != nil {
		return "", err
	}
	if !known {
		return "", kmsapi.MalformedPolicyDocumentException.Errorf("%s", principalMessage)
	}
	return stored, nil
}

const principalMessage = "Policy contains a statement with one or more invalid principals."

// checkLockout refuses a policy under which its maker could not change it again.
// https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html
func (s *Service) checkLockout(ctx context.Context, c *call.Call, v *store.Snap, key *Key, bypass *bool) error {
	if isTrue(bypass) {
		return nil
	}
	q := s.questionFor(c, &want{action: "PutKeyPolicy", keys: bypassKey(nil)}, key, "")
	s.complete(v, q)
	ok, err := c.Allowed(ctx, &q.Check)
	if err != nil {
		return err
	}
	if !ok {
		return kmsapi.MalformedPolicyDocumentException.Errorf("The new key policy will not allow you to update the key policy in the future.")
	}
	return nil
}

func bypassKey(bypass *bool) []policy.ContextKey {
	return []policy.ContextKey{contextKey("kms:BypassPolicyLockoutSafetyCheck", flag(bypass))}
}

// PutKeyPolicy gives a key another policy.
func (s *Service) PutKeyPolicy(ctx context.Context, c *call.Call, in *kmsapi.PutKeyPolicyInput) (*kmsapi.PutKeyPolicyOutput, error) {
	w := want{action: "PutKeyPolicy", keyID: in.KeyId, keys: bypassKey(in.BypassPolicyLockoutSafetyCheck)}
	return nil, s.change(ctx, c, &w, func(tx *store.Tx, key *Key) (bool, error) {
		if err := checkPolicyName(in.PolicyName); err != nil {
			return false, err
		}
		if key.IsDefault() {
			return false, kmsapi.UnsupportedOperationException.Errorf("The policy of an AWS managed key cannot be changed.")
		}
		stored, err := s.acceptedPolicy(tx.Snap, in.Policy)
		if err != nil {
			return false, err
		}
		changed := key.Policy != stored
		key.Policy = stored
		return changed, s.checkLockout(ctx, c, tx.Snap, key, in.BypassPolicyLockoutSafetyCheck)
	})
}

// GetKeyPolicy shows the policy of a key.
func (s *Service) GetKeyPolicy(ctx context.Context, c *call.Call, in *kmsapi.GetKeyPolicyInput) (*kmsapi.GetKeyPolicyOutput, error) {
	w := want{action: "GetKeyPolicy", keyID: in.KeyId}
	var out *kmsapi.GetKeyPolicyOutput
	err := s.store.View(ctx, func(v *store.Snap) error {
		key, err := s.load(ctx, c, v, &w)
		if err != nil {
			return err
		}
		if err := checkPolicyName(in.PolicyName); err != nil {
			return err
		}
		out = &kmsapi.GetKeyPolicyOutput{Policy: new(s.iam.ShownPolicy(v, s.policyOf(key))), PolicyName: new(policyName)}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ListKeyPolicies lists the names of a key's policies, of which there is one.
func (s *Service) ListKeyPolicies(ctx context.Context, c *call.Call, in *kmsapi.ListKeyPoliciesInput) (*kmsapi.ListKeyPoliciesOutput, error) {
	w := want{action: "ListKeyPolicies", keyID: in.KeyId}
	err := s.store.View(ctx, func(v *store.Snap) error {
		_, err := s.load(ctx, c, v, &w)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &kmsapi.ListKeyPoliciesOutput{PolicyNames: []string{policyName}, Truncated: new(false)}, nil
}
