// Package conformance_test holds the cases that are not written with the Go SDK:
// those of other clients, which run as programs of their own, and one that looks at
// what a server leaves on disk. Its siblings hold the cases of each service.
package conformance_test

import (
	"os"
	"testing"

	"arca/conformance/target"
)

// shared is set once, before the tests.
var shared *target.Target

func TestMain(m *testing.M) {
	os.Exit(target.Main(m, func(t *target.Target) { shared = t }))
}
