package kms

import (
	"maps"
	"slices"
	"strings"

	"arca/internal/call"
	"arca/internal/iam"
	"arca/internal/policy"
	"arca/internal/store"
)

// grantFor finds a grant on the key that lets the caller do what is asked: of several,
// the one that names him most closely.
func (s *Service) grantFor(v *store.Snap, q *question) policy.Grant {
	operation, ok := strings.CutPrefix(q.Action, "kms:")
	if !ok || s.grants.Count(q.key.scope()) == 0 {
		return policy.Grant{}
	}
	for _, p := range principalsOf(&q.c.Caller) {
		var found *Grant
		each(s.grants, v, byGrantee, granteeKey(q.key.ID, p.stored), func(g *Grant) bool {
			if g.covers(operation, q) {
				found = g
			}
			return found == nil
		})
		if found != nil {
			return policy.Grant{Name: "grant " + found.ID, To: p.how}
		}
	}
	return policy.Grant{}
}

// grantee is a stored principal by which a caller can be named.
type grantee struct {
	stored string
	how    policy.GrantTo
}

// principalsOf lists the principals that a caller is, the closest first.
func principalsOf(p *call.Principal) []grantee {
	account := grantee{iam.RootARN(p.Account), policy.GrantToAccount}
	switch p.Type {
	case call.Root:
		return []grantee{account}
	case call.IAMUser:
		return []grantee{{p.UniqueID, policy.GrantToCaller}, account}
	case call.AssumedRole:
		role := grantee{p.UniqueID, policy.GrantToRole}
		if p.Session == nil {
			return []grantee{role, account}
		}
		return []grantee{{p.UniqueID + ":" + p.Session.Name, policy.GrantToCaller}, role, account}
	case call.AWSService:
		return []grantee{{p.ID, policy.GrantToCaller}}
	}
	return nil
}

// covers reports whether the grant is for what is asked. Its constraints bind the
// operations that have an encryption context; a grant that is made under it must be for
// no more than itself.
// https://docs.aws.amazon.com/kms/latest/APIReference/API_GrantConstraints.html
func (g *Grant) covers(operation string, q *question) bool {
	switch {
	case !slices.Contains(g.Operations, operation):
		return false
	case q.proposed != nil:
		return g.includes(q.proposed)
	case !q.crypto:
		return true
	case g.Equals != nil && !maps.Equal(g.Equals, q.encCtx):
		return false
	}
	return contains(q.encCtx, g.Subset)
}

// includes reports whether the grant allows all that another one would.
func (g *Grant) includes(other *Grant) bool {
	for _, op := range other.Operations {
		if !slices.Contains(g.Operations, op) {
			return false
		}
	}
	if g.Equals != nil && !(other.Equals != nil && maps.Equal(g.Equals, other.Equals)) {
		return false
	}
	return contains(other.Subset, g.Subset) || other.Equals != nil && contains(other.Equals, g.Subset)
}

// contains reports whether m has all pairs of part.
func contains(m, part map[string]string) bool {
	for k, want := range part {
		if have, ok := m[k]; !ok || have != want {
			return false
		}
	}
	return true
}
