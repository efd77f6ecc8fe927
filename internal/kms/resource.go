package kms

import (
	"arca/internal/arn"
	"arca/internal/call"
	"arca/internal/store"
)

// Resource looks up a key that somebody asks about, by the ARN of the key or of an alias
// in whichever region it is. ck is the question that an operation on the key asks, as far
// as it can be told without the request: it has no action and no grant. It decides
// nothing: who may know is the caller's to ask. Keys that depend on who calls are absent.
func (s *Service) Resource(v *store.Snap, c *call.Call, resource string) (ck call.Check, found bool) {
	a, err := arn.Parse(resource)
	if err != nil || a.Service != "kms" {
		return call.Check{}, false
	}
	n, _ := s.resolve(v, Owner{Account: c.Caller.Account, Region: a.Region}, resource)
	if n.key == nil {
		return call.Check{}, false
	}
	return call.Check{
		Resource: n.key.ARN(), Account: n.key.Account, ResourcePolicy: s.policyOf(n.key), ResourceDecides: true, Snap: v,
		Context: &question{s: s, c: &call.Call{Region: a.Region}, key: n.key, alias: n.alias, Check: call.Check{Snap: v}},
	}, true
}
