package secrets

import (
	"context"
	"errors"

	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/policy"
	"arca/internal/store"
)

// The findings of ValidateResourcePolicy. AWS does not publish its CheckNames.
const (
	broadAccessCheck   = "BROAD_ACCESS"
	broadAccessMessage = "You can't attach a resource-based policy that allows broad access to the secret."

	lockOutCheck   = "LOCK_OUT"
	lockOutMessage = "Your requested changes will not allow you to manage this secret in the future."

	principalCheck   = "UNSUPPORTED_PRINCIPAL"
	principalMessage = "This resource policy contains an unsupported principal."
)

// parsePolicy holds a policy text to the quota and to the grammar of policies that
// hang on a resource. The client learns no more than AWS tells; the reason and its
// place go to the log with the cause.
func (s *Service) parsePolicy(text string) (*policy.Document, error) {
	if len(text) > s.quotas.PolicyBytes {
		return nil, errTooLong("resourcePolicy", s.quotas.PolicyBytes)
	}
	doc, err := policy.ParseResourcePolicy(text)
	if err == nil {
		return doc, nil
	}
	message := "This resource policy contains a syntax error."
	if syntax, ok := errors.AsType[*policy.SyntaxError](err); ok {
		switch syntax.Kind {
		case policy.BadPrincipal:
			message = principalMessage
		case policy.BadServiceName:
			message = "This resource policy contains an unsupported service principal."
		}
	}
	return nil, smapi.MalformedPolicyDocumentException.Wrap(err, message)
}

// secretActions lists the actions that a secret's own policy can decide about: those of
// all operations but the ones that are about no secret, or about one that is not there
// yet.
func secretActions() []string {
	actions := make([]string, 0, len(smapi.Service.Operations))
	for _, op := range smapi.Service.Operations {
		switch op {
		case smapi.OpBatchGetSecretValue, smapi.OpCreateSecret, smapi.OpGetRandomPassword, smapi.OpListSecrets:
		default:
			actions = append(actions, "secretsmanager:"+op.Name)
		}
	}
	return actions
}

// broadAccess tells whom a policy lets in that it does not name; nil when nobody.
// resource is the ARN of the secret, "" when none is known.
func (s *Service) broadAccess(doc *policy.Document, resource string) *policy.Broad {
	broad, _ := policy.FindBroadAccess(doc, policy.Target{Resource: resource, Actions: s.actions})
	return broad
}

// staysManageable reports whether the caller could still put a policy on a secret that
// has the given one. It is the question PutResourcePolicy has asked, under the new
// policy instead of the old.
func staysManageable(ctx context.Context, c *call.Call, v *store.Snap, id *identifier, sec *Secret, newPolicy string, keys conditions) (bool, error) {
	changed := *sec
	changed.ResourcePolicy = newPolicy
	return c.Allowed(ctx, check(v, "PutResourcePolicy", id, &changed, keys...))
}
