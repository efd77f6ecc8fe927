package iam_test

import (
	"strings"
	"testing"

	"arca/internal/api"
	"arca/internal/api/iamapi"
	"arca/internal/call"
	"arca/internal/codetest"
)

// codes are those that operations answered with in this run.
var codes codetest.Codes

// unprovoked says why nothing in this package answers an operation with a code that
// its description lists; empty if a test must provoke it.
func unprovoked(op, code string) string {
	switch code {
	case iamapi.ConcurrentModification.Name:
		return "transactions that meet run again, and do not tell their callers"
	case iamapi.EntityTemporarilyUnmodifiable.Name:
		return "what was made or deleted is so for everybody at once"
	case iamapi.PolicyNotAttachable.Name, iamapi.UnmodifiableEntity.Name:
		return "there are no service-linked roles, nor policies meant for them alone"
	case iamapi.LimitExceeded.Name:
		if deletes(op) || op == "UpdateUser" || op == "UpdateGroup" || op == "UpdateAccessKey" || op == "SetDefaultPolicyVersion" {
			return "makes nothing more of anything"
		}
	}
	const byWire = "what parameters can be wrong is in the published constraints, which package wire checks"
	return map[string]string{
		"CreateGroup NoSuchEntity":                                "nothing needs to exist",
		"CreateOpenIDConnectProvider OpenIdIdpCommunicationError": "an operation never waits for another system",
		"DeleteOpenIDConnectProvider NoSuchEntity":                "to delete what is not there is no mistake",
		"ListAttachedGroupPolicies InvalidInput":                  byWire,
		"ListAttachedRolePolicies InvalidInput":                   byWire,
		"ListAttachedUserPolicies InvalidInput":                   byWire,
	}[op+" "+code]
}

func deletes(op string) bool {
	return strings.HasPrefix(op, "Delete") || strings.HasPrefix(op, "Detach") || strings.HasPrefix(op, "Remove") || strings.HasPrefix(op, "Untag")
}

func TestMain(m *testing.M) { codes.Main(m, served, unprovoked) }

// served are the operations of IAM that this package has.
func served() (ops []*api.Operation) {
	d := call.New(call.Config{})
	newUnopened().Register(d)
	for _, op := range iamapi.Service.Operations {
		if d.Serves(op) {
			ops = append(ops, op)
		}
	}
	return ops
}
