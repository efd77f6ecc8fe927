package iam

import (
	"arca/internal/api/iamapi"
	"arca/internal/call"
)

// Register makes the dispatcher serve the operations of IAM that this package has.
// Those that simulate decisions are in package access.
func (s *Service) Register(d *call.Dispatcher) {
	s.registerUsers(d)
	s.registerGroups(d)
	s.registerRoles(d)
	s.registerPolicies(d)
	s.registerProviders(d)
	call.Register(d, iamapi.OpGetAccountAuthorizationDetails, s.GetAccountAuthorizationDetails)
}
