// Package iam_test says what IAM answers, with the client that AWS publishes. Texts
// are AWS's, letter for letter, wherever they are known; a case whose text is Arca's
// own checks code and status only.
package iam_test

import (
	"context"
	"net/http"
	"os"
	"testing"

	"arca/conformance/identity"
	"arca/conformance/target"
)

// shared is set once, before the tests.
var shared *target.Target

func TestMain(m *testing.M) {
	os.Exit(target.Main(m, func(t *target.Target) { shared = t }))
}

type ctx = context.Context

// The codes with the statuses that AWS gives them.

func wantMissing(t *testing.T, err error, text string) {
	t.Helper()
	identity.WantError(t, err, "NoSuchEntity", http.StatusNotFound, text)
}

func wantExists(t *testing.T, err error, text string) {
	t.Helper()
	identity.WantError(t, err, "EntityAlreadyExists", http.StatusConflict, text)
}

func wantConflict(t *testing.T, err error, text string) {
	t.Helper()
	identity.WantError(t, err, "DeleteConflict", http.StatusConflict, text)
}

func wantLimit(t *testing.T, err error, text string) {
	t.Helper()
	identity.WantError(t, err, "LimitExceeded", http.StatusConflict, text)
}

func wantMalformed(t *testing.T, err error, text string) {
	t.Helper()
	identity.WantError(t, err, "MalformedPolicyDocument", http.StatusBadRequest, text)
}

func wantInvalid(t *testing.T, err error, text string) {
	t.Helper()
	identity.WantError(t, err, "ValidationError", http.StatusBadRequest, text)
}

func wantInvalidInput(t *testing.T, err error, text string) {
	t.Helper()
	identity.WantError(t, err, "InvalidInput", http.StatusBadRequest, text)
}

// Texts that several operations answer.
const (
	textNotJSON       = "This policy contains invalid Json"
	textDuplicateTags = "Duplicate tag keys found. Please note that Tag keys are case insensitive."
	detected          = "1 validation error detected: "
)
