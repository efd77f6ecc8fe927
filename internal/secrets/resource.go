package secrets

import (
	"strings"

	"arca/internal/call"
	"arca/internal/store"
)

// Resource looks up a secret that somebody asks about, as a request of c for a
// secret's own operations would name it, but for an ARN in whichever region it is. ck
// is the question that such a request asks, without an action; when there is no such
// secret, it is about what that would be. It decides nothing: who may know is the
// caller's to ask.
func (s *Service) Resource(v *store.Snap, c *call.Call, secretID string) (ck call.Check, found bool) {
	as := &call.Call{Caller: c.Caller, Partition: c.Partition, Region: c.Region}
	if part := strings.SplitN(secretID, ":", 5); len(part) == 5 && part[0] == "arn" {
		as.Partition, as.Region = part[1], part[3]
	}
	id, err := parseIdentifier(as, secretID)
	if err != nil {
		return call.Check{Resource: secretID}, false
	}
	sec := s.find(v, &id)
	ck = *check(v, "", &id, sec)
	// All keys at once, for who wants to tell which there are.
	q := question{secretID: id.raw, sec: sec}
	ck.Action, ck.Keys, ck.Context = "", q.conditionKeys(), nil
	return ck, sec != nil
}
