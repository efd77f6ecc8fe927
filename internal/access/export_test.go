package access

import (
	"arca/internal/call"
	"arca/internal/iam"
	"arca/internal/policy"
	"arca/internal/store"
)

// ContextValue is what a policy that asks for a condition key gets.
func (s *Service) ContextValue(v *store.Snap, c *call.Call, ck *call.Check, key string) ([]string, bool) {
	r := new(request)
	s.fill(r, v, &c.Caller, s.bundleOf(v, &c.Caller), ck)
	r.facts.ofCall(c)
	return r.facts.Lookup(nil, key)
}

// Gather returns the policies of a request and the request, for comparing what
// package policy costs alone.
func (s *Service) Gather(v *store.Snap, c *call.Call, ck *call.Check) (*policy.Request, *policy.Policies) {
	r := new(request)
	s.fill(r, v, &c.Caller, s.bundleOf(v, &c.Caller), ck)
	r.facts.ofCall(c)
	return &r.request, &r.policies
}

// EndOf is the position where a statement ends.
func EndOf(text string, start policy.Position) policy.Position { return objectEnds(text)[start] }

// MaxBundleBytes bounds what Bundles holds.
const MaxBundleBytes = maxBundleBytes

// Bundles is what the service keeps of its callers.
type Bundles struct{ bundles }

// Put keeps a caller with policies of its own, of which the first is the boundary, too.
func (b *Bundles) Put(id string, policies ...*policy.Compiled) {
	caller := &bundle{boundary: policy.Source{Policy: policies[0]}}
	for _, p := range policies {
		caller.identity = append(caller.identity, policy.Source{Policy: p})
	}
	b.put(id, caller)
}

// Has reports whether the caller is kept.
func (b *Bundles) Has(id string) bool { return b.get(id, iam.Revision{}) != nil }

// Held is how many callers and different policies are kept, and what these take.
func (b *Bundles) Held() (callers, policies, bytes int) { return len(b.of), len(b.held), b.bytes }
