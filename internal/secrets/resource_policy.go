package secrets

import (
	"errors"
	"slices"
	"strings"

	"arca/internal/api/smapi"
	"arca/internal/policy"
)

const (
	// broadAccessCheck is the CheckName of the one finding there is so far. AWS does
	// not publish its names.
	broadAccessCheck   = "BROAD_ACCESS"
	broadAccessMessage = "You can't attach a resource-based policy that allows broad access to the secret."
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
			message = "This resource policy contains an unsupported principal."
		case policy.BadServiceName:
			message = "This resource policy contains an unsupported service principal."
		}
	}
	return nil, smapi.MalformedPolicyDocumentException.Wrap(err, message)
}

// grantsBroadAccess reports whether a policy may let in principals that it does not
// name. AWS decides that by reasoning about the whole policy; this is a safe reading
// of each statement by itself, which calls a policy broad when it cannot tell: a
// Deny elsewhere does not narrow an Allow, and a pattern is not a fixed value.
func grantsBroadAccess(doc *policy.Document) bool {
	return slices.ContainsFunc(doc.Statements, func(st policy.Statement) bool {
		return st.Effect != policy.Deny && anybody(st.Principals) && !slices.ContainsFunc(st.Conditions, ties)
	})
}

// anybody reports whether principals other than the named ones are meant.
func anybody(p *policy.Principals) bool {
	return p == nil || p.Not || slices.ContainsFunc(p.List, func(who policy.Principal) bool {
		return who.Kind == policy.Everyone || who.Kind == policy.AnyAWS
	})
}

// ties reports whether a condition ties its statement to somebody: it compares one
// of the keys that say who calls or for whom with fixed values, and does not hold
// when the key is missing (Secrets Manager user guide, "Block broad access to
// secrets"; the principal keys are as good as a Principal element). All conditions
// of a statement must hold, so one such is enough.
func ties(c policy.Condition) bool {
	op := c.Operator
	if op.Negated || op.IfExists || op.Quantifier != policy.OneValue ||
		op.Family != policy.StringFamily && op.Family != policy.ARNFamily {
		return false
	}
	switch strings.ToLower(c.Key) {
	case "aws:sourcearn", "aws:sourcevpc", "aws:sourcevpce", "aws:sourceaccount",
		"aws:principalarn", "aws:principalaccount", "aws:principalorgid":
	default:
		return false
	}
	return !slices.ContainsFunc(c.Values, func(v policy.Value) bool {
		return slices.ContainsFunc(v.Pattern.Parts, func(p policy.Part) bool { return p.Kind != policy.Literal })
	})
}
