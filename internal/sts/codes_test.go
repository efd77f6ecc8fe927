package sts_test

import (
	"testing"

	"arca/internal/api"
	"arca/internal/api/stsapi"
	"arca/internal/codetest"
)

// codes are those that operations answered with in this run.
var codes codetest.Codes

// unprovoked says why nothing answers an operation with a code that its description
// lists; empty if a test must provoke it.
func unprovoked(op, code string) string {
	switch {
	case code == stsapi.RegionDisabledException.Name:
		return "no region can be switched off for an account"
	case op == "AssumeRole" && code == stsapi.ExpiredTokenException.Name:
		return "an expired session is refused where signatures are verified"
	}
	return ""
}

func TestMain(m *testing.M) {
	codes.Main(m, func() []*api.Operation { return stsapi.Service.Operations }, unprovoked)
}
