package access

import (
	"arca/internal/call"
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
func EndOf(text string, start policy.Position) policy.Position { return endOf(text, start) }
