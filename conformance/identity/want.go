package identity

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
)

// WantError checks code, HTTP status and text of an error. A text of "" is one that is
// not known to be AWS's, and must at least be there.
func WantError(t *testing.T, err error, code string, status int, text string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want %s: %s", code, text)
		return
	}
	e, ok := errors.AsType[smithy.APIError](err)
	if !ok || e.ErrorCode() != code {
		t.Errorf("error = %v, want %s: %s", err, code, text)
		return
	}
	switch got := e.ErrorMessage(); {
	case text != "" && got != text:
		t.Errorf("%s says\n\t%s\nwant\n\t%s", code, got, text)
	case got == "":
		t.Errorf("%s says nothing", code)
	}
	wantStatus(t, err, status)
}

func wantStatus(t *testing.T, err error, status int) {
	t.Helper()
	resp, ok := errors.AsType[*awshttp.ResponseError](err)
	if !ok {
		t.Errorf("error %v has no HTTP status, want %d", err, status)
		return
	}
	if got := resp.HTTPStatusCode(); got != status {
		t.Errorf("%v: status %d, want %d", err, got, status)
	}
	if resp.ServiceRequestID() == "" {
		t.Errorf("%v: no request id", err)
	}
}

// Why ends AWS's texts of denials.
const (
	NoIdentity  = "because no identity-based policy allows the "
	NoResource  = "because no resource-based policy allows the "
	NoBoundary  = "because no permissions boundary allows the "
	NoSession   = "because no session policy allows the "
	NoGuardrail = "because no service control policy allows the "
	ByIdentity  = "with an explicit deny in an identity-based policy"
	ByResource  = "with an explicit deny in a resource-based policy"
	ByBoundary  = "with an explicit deny in a permissions boundary"
	BySession   = "with an explicit deny in a session policy"
	ByGuardrail = "with an explicit deny in a service control policy"
)

// DenialText is AWS's text of a denial. A reason that begins with "because" ends with
// the action.
func DenialText(caller, action, resource, why string) string {
	text := "User: " + caller + " is not authorized to perform: " + action
	if resource != "" {
		text += " on resource: " + resource
	}
	if strings.HasPrefix(why, "because ") {
		why += action + " action"
	}
	if why != "" {
		text += " " + why
	}
	return text
}

// WantDenied checks that Secrets Manager has denied a call, in AWS's words.
func WantDenied(t *testing.T, err error, caller, action, resource, why string) {
	t.Helper()
	WantError(t, err, "AccessDeniedException", http.StatusBadRequest, DenialText(caller, action, resource, why))
}

// WantDeniedQuery checks that IAM or STS has denied a call, in AWS's words.
func WantDeniedQuery(t *testing.T, err error, caller, action, resource, why string) {
	t.Helper()
	WantError(t, err, "AccessDenied", http.StatusForbidden, DenialText(caller, action, resource, why))
}

// SameJSON compares JSON texts by what they say.
func SameJSON(t *testing.T, got, want string) {
	t.Helper()
	var a, b any
	if err := json.Unmarshal([]byte(got), &a); err != nil {
		t.Fatalf("policy %q: %v", got, err)
	}
	if err := json.Unmarshal([]byte(want), &b); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b, a); diff != "" {
		t.Errorf("policy (-want +got):\n%s", diff)
	}
}
