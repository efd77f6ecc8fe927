package iam_test

import (
	"fmt"
	"strings"
	"testing"

	"arca/internal/api/iamapi"
)

// Claims become condition keys under the URL of their issuer. No issuer can make claims
// look like what a service says of a request.
func TestIssuersAreNoServices(t *testing.T) {
	h := newHouse(t)
	for _, url := range []string{"https://aws", "https://AWS", "https://sts", "https://iam", "https://secretsmanager"} {
		h.refused(t, "InvalidInput: Invalid Open ID Connect Provider URL", iamapi.OpCreateOpenIDConnectProvider, &iamapi.CreateOpenIDConnectProviderInput{Url: url})
	}
	h.createProvider(t, "https://aws.example")
	h.createProvider(t, "https://aws:8443")
	h.createProvider(t, "https://aws/tenant")
}

// A key in another spelling is the same key, within one request, too.
func TestTagKeysInTwoSpellings(t *testing.T) {
	h := newHouse(t)
	h.createUser(t, "u")
	for _, pair := range [][2]string{{"status", "ſtatus"}, {"kind", "\u212aind"}, {"Σας", "σασ"}} {
		h.refused(t, "InvalidInput: Duplicate tag keys found. Please note that Tag keys are case insensitive.", iamapi.OpTagUser, &iamapi.TagUserInput{
			UserName: "u", Tags: []iamapi.Tag{{Key: pair[0], Value: "a"}, {Key: pair[1], Value: "b"}},
		})
	}
}

// One request for everything answers with what fits, and with where it goes on.
func TestPagesOfPoliciesAreBounded(t *testing.T) {
	h := newHouse(t)
	padding := strings.Repeat(" ", 40<<10)
	for i := range 60 {
		h.run(t, iamapi.OpCreatePolicy, &iamapi.CreatePolicyInput{
			PolicyName: fmt.Sprintf("p%02d", i), PolicyDocument: simplePolicy + padding,
		})
	}
	in := &iamapi.GetAccountAuthorizationDetailsInput{Filter: []string{iamapi.EntityTypeLocalManagedPolicy}, MaxItems: new(int32(1000))}
	seen := 0
	for page := 0; ; page++ {
		out := h.answer(t, iamapi.OpGetAccountAuthorizationDetails, in).(*iamapi.GetAccountAuthorizationDetailsOutput)
		if seen += len(out.Policies); len(out.Policies) == 0 || len(out.Policies) > 52 {
			t.Fatalf("page %d has %d policies", page, len(out.Policies))
		}
		if !*out.IsTruncated {
			break
		}
		in.Marker = out.Marker
	}
	if seen != 60 {
		t.Errorf("all pages have %d policies, want 60", seen)
	}
}
