// Package codetest holds the tests of a service to its description: each error code
// that the description of an operation lists must be provoked by some test, or stand
// in a table with the reason why nothing can.
package codetest

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"arca/internal/api"
)

// Codes collects which operation answered with which code. The zero value is ready;
// it can be used concurrently.
type Codes struct{ provoked sync.Map }

// Note takes down what an operation returned.
func (c *Codes) Note(op *api.Operation, err error) {
	if aerr, ok := errors.AsType[*api.Error](err); ok {
		c.provoked.Store(op.Name+" "+aerr.Code.Name, true)
	}
}

// Main is a package's TestMain: when all tests ran and passed, it fails for every code
// of the operations that none of them provoked, unless excused gives a reason. It does
// not return.
func (c *Codes) Main(m *testing.M, operations func() []*api.Operation, excused func(op, code string) string) {
	status := m.Run()
	if status == 0 && wholeRun() {
		for _, missing := range c.missing(operations(), excused) {
			fmt.Println("no test provokes", missing)
			status = 1
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

func (c *Codes) missing(operations []*api.Operation, excused func(op, code string) string) (missing []string) {
	for _, op := range operations {
		for _, code := range op.Errors {
			what := op.Name + " " + code.Name
			if _, ok := c.provoked.Load(what); !ok && excused(op.Name, code.Name) == "" {
				missing = append(missing, what)
			}
		}
	}
	slices.SortFunc(missing, strings.Compare)
	return missing
}
