package iam_test

import (
	"testing"

	"arca/internal/api/iamapi"
)

// Claims become condition keys under the URL of their issuer. No issuer can make claims
// look like what a service says of a request.
func TestIssuersAreNoServices(t *testing.T) {
	h := newHouse(t)
	for _, url := range []string{"https://aws", "https://AWS", "https://sts", "https://iam", "https://secretsmanager"} {
		h.refused(t, "InvalidInput", iamapi.OpCreateOpenIDConnectProvider, &iamapi.CreateOpenIDConnectProviderInput{Url: url})
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
		h.refused(t, "InvalidInput", iamapi.OpTagUser, &iamapi.TagUserInput{
			UserName: "u", Tags: []iamapi.Tag{{Key: pair[0], Value: "a"}, {Key: pair[1], Value: "b"}},
		})
	}
}
