package sts_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"

	"arca/internal/api"
	"arca/internal/api/stsapi"
)

// provoked collects which operation answered with which code in this run.
var provoked sync.Map

func noteCode(op *api.Operation, err error) {
	if aerr, ok := errors.AsType[*api.Error](err); ok {
		provoked.Store(op.Name+" "+aerr.Code.Name, true)
	}
}

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
	status := m.Run()
	if status == 0 && wholeRun() {
		for _, op := range stsapi.Service.Operations {
			for _, code := range op.Errors {
				if _, ok := provoked.Load(op.Name + " " + code.Name); !ok && unprovoked(op.Name, code.Name) == "" {
					fmt.Println("no test provokes", op.Name, code.Name)
					status = 1
				}
			}
		}
	}
	os.Exit(status)
}

// wholeRun says whether all tests were asked for, so that what did not happen means
// something.
func wholeRun() bool {
	for _, name := range []string{"test.run", "test.skip", "test.fuzz", "test.list"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" {
			return false
		}
	}
	return true
}
