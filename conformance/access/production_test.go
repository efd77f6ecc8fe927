package access_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"arca/conformance/identity"
	"arca/internal/oidctest"
)

// What only a production server has: TLS, and neighbours that nobody may make it call.
func TestProduction(t *testing.T) {
	if shared.Server == nil {
		t.Skip("needs a server of its own")
	}
	t.Parallel()
	k := identity.NewSerial(t, shared.Server.StartProduction(t).ProductionTarget(t))
	_, arn := k.Secret(k.Caller, "s", "v")

	secure := k.User("secure", identity.Allow(actGet, "*", identity.If("Bool", "aws:SecureTransport", "true")))
	reads(k, secure.Caller, arn, "v")
	insecure := k.User("insecure", identity.Allow(actGet, "*", identity.If("Bool", "aws:SecureTransport", "false")))
	cannotRead(k, insecure.Caller, arn, identity.NoIdentity)
	k.Must(nil, putPolicy(k.Ctx(), k.Caller, arn, identity.Policy(identity.Statement{
		Effect: "Deny", Principal: "*", Action: actAll, Resource: "*", Condition: identity.If("Bool", "aws:SecureTransport", "false")})))
	reads(k, secure.Caller, arn, "v")

	// An account cannot make the server call its own machine, whatever the certificate.
	issuer := oidctest.New(t)
	for _, url := range []string{issuer.URL, strings.Replace(issuer.URL, "127.0.0.1", "localhost", 1)} {
		made, err := k.IAM.CreateOpenIDConnectProvider(k.Ctx(), &iam.CreateOpenIDConnectProviderInput{
			Url: &url, ClientIDList: []string{oidctest.Audience}, ThumbprintList: []string{issuer.Authority.Thumbprint()}})
		if err != nil {
			t.Fatal(err)
		}
		role := k.Role("web-"+identity.RandomHex(2), identity.Policy(identity.Statement{
			Effect: "Allow", Principal: map[string]any{"Federated": *made.OpenIDConnectProviderArn}, Action: "sts:AssumeRoleWithWebIdentity"}))
		token := issuer.Token(t, map[string]any{"iss": url})
		_, err = k.STS.AssumeRoleWithWebIdentity(k.Ctx(), &sts.AssumeRoleWithWebIdentityInput{RoleArn: &role.ARN, RoleSessionName: aws.String("session"), WebIdentityToken: &token},
			func(o *sts.Options) { o.RetryMaxAttempts = 1 })
		// Not the code that asks to try again.
		identity.WantError(t, err, "InvalidIdentityToken", http.StatusBadRequest, "")
	}
	if discoveries, keySets := issuer.Requests(); discoveries+keySets != 0 {
		t.Errorf("the issuer on loopback got %d and %d requests", discoveries, keySets)
	}
}
