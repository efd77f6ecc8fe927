package sts_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"arca/internal/api"
	"arca/internal/api/iamapi"
	"arca/internal/api/stsapi"
	"arca/internal/call"
	"arca/internal/oidctest"
	"arca/internal/policy"
)

const webAction = `"sts:AssumeRoleWithWebIdentity"`

// register makes an issuer a provider of an account and returns its ARN.
func (b *bed) register(t testing.TB, account string, i *oidctest.Issuer, clientIDs ...string) string {
	t.Helper()
	if clientIDs == nil {
		clientIDs = []string{oidctest.Audience}
	}
	return *must[iamapi.CreateOpenIDConnectProviderOutput](t, b, root(account), iamapi.OpCreateOpenIDConnectProvider,
		&iamapi.CreateOpenIDConnectProviderInput{Url: i.URL, ClientIDList: clientIDs}).OpenIDConnectProviderArn
}

func federated(provider string) string { return `{"Federated":"` + provider + `"}` }

func webInput(role, token string, change ...func(in *stsapi.AssumeRoleWithWebIdentityInput)) *stsapi.AssumeRoleWithWebIdentityInput {
	in := &stsapi.AssumeRoleWithWebIdentityInput{RoleArn: role, RoleSessionName: "pod-1", WebIdentityToken: api.SensitiveString(token)}
	for _, fn := range change {
		fn(in)
	}
	return in
}

const notAuthorized = "AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity"

func TestWebIdentity(t *testing.T) {
	issuer := oidctest.New(t)
	b := newBed(t, issuer)
	provider := b.register(t, account, issuer)
	role := b.role(t, account, "checkout", trust(federated(provider), webAction, fmt.Sprintf(
		`{"StringEquals":{"%[1]s:aud":%[2]q,"%[1]s:sub":%[3]q}}`, issuer.Registered(), oidctest.Audience, oidctest.Subject)),
		identity(`{"Effect":"Allow","Action":"sts:GetAccessKeyInfo","Resource":"*","Condition":{"StringEquals":{`+
			`"aws:FederatedProvider":"`+provider+`","`+issuer.Registered()+`:sub":"`+oidctest.Subject+`"}}}`))
	token := issuer.Token(t, map[string]any{"email": "a@b.example", "jti": "one-of-many"})
	out := must[stsapi.AssumeRoleWithWebIdentityOutput](t, b, anonymous(), stsapi.OpAssumeRoleWithWebIdentity, webInput(role, token))

	session := b.bearer(t, out.Credentials)
	wantARN := "arn:aws:sts::" + account + ":assumed-role/checkout/pod-1"
	if out.AssumedRoleUser.Arn != wantARN || session.ARN != wantARN {
		t.Errorf("session %s, for the key %s, want %s", out.AssumedRoleUser.Arn, session.ARN, wantARN)
	}
	if *out.SubjectFromWebIdentityToken != oidctest.Subject || *out.Audience != oidctest.Audience || *out.Provider != provider {
		t.Errorf("answer has subject %q, audience %q, provider %q", *out.SubjectFromWebIdentityToken, *out.Audience, *out.Provider)
	}
	wantClaims := []policy.ContextKey{
		{Name: issuer.Registered() + ":sub", Values: []string{oidctest.Subject}},
		{Name: issuer.Registered() + ":aud", Values: []string{oidctest.Audience}},
		{Name: issuer.Registered() + ":email", Values: []string{"a@b.example"}},
	}
	if diff := cmp.Diff(wantClaims, session.Session.Claims); diff != "" {
		t.Errorf("claims of the session (-want +got):\n%s", diff)
	}
	if session.Session.Provider != provider || session.Session.Chained {
		t.Errorf("session of provider %q, chained %v", session.Session.Provider, session.Session.Chained)
	}
	if !b.mayProbe(t, session) {
		t.Error("the session may not do what its role may under a condition on its claims")
	}
	all := b.lines(t, "AssumeRoleWithWebIdentity")
	if len(all) != 1 {
		t.Fatalf("%d records, want one", len(all))
	}
	id := all[0].UserIdentity
	if id.Type != "WebIdentityUser" || id.PrincipalID != provider+":"+oidctest.Audience+":"+oidctest.Subject ||
		id.UserName != oidctest.Subject || id.IdentityProvider != provider || id.AccountID != "" {
		t.Errorf("recorded identity %+v", id)
	}
	if want := `"resources":[{"accountId":"` + account + `","type":"AWS::IAM::Role","ARN":"` + role + `"}]`; !strings.Contains(all[0].raw, want) {
		t.Errorf("record %s, want %s in it", all[0].raw, want)
	}
	for _, secret := range []string{token, string(out.Credentials.SecretAccessKey), string(out.Credentials.SessionToken)} {
		if strings.Contains(all[0].raw, secret) {
			t.Error("the record has a secret")
		}
	}
	// The provider gone, sessions stay, and no new ones are opened.
	must[iamapi.DeleteOpenIDConnectProviderOutput](t, b, root(account), iamapi.OpDeleteOpenIDConnectProvider,
		&iamapi.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: provider})
	b.bearer(t, out.Credentials)
	refused(t, b, anonymous(), stsapi.OpAssumeRoleWithWebIdentity, webInput(role, token),
		"InvalidIdentityToken: No OpenIDConnect provider found in your account for "+issuer.URL)
}

// TestWebIdentityDecides holds whom trust policies let in. The token is the issuer's
// ordinary one with the row's claims.
func TestWebIdentityDecides(t *testing.T) {
	issuer, other := oidctest.New(t), oidctest.New(t)
	b := newBed(t, issuer, other)
	provider, otherProvider := b.register(t, account, issuer, oidctest.Audience, "web"), b.register(t, account, other)
	foreign := b.register(t, otherAccount, issuer)
	at := issuer.Registered()
	condition := func(operator, claim, value string) string {
		return fmt.Sprintf(`{%q:{%q:%q}}`, operator, at+":"+claim, value)
	}
	type claims = map[string]any
	const (
		yes      = ""
		noReason = "because no role trust policy allows the sts:AssumeRoleWithWebIdentity action"
	)
	tagged := `["sts:AssumeRoleWithWebIdentity","sts:TagSession"]`
	sourced := `["sts:AssumeRoleWithWebIdentity","sts:SetSourceIdentity"]`
	tags := claims{"https://aws.amazon.com/tags": claims{
		"principal_tags": claims{"Project": []string{"Automation"}, "Env": "prod"}, "transitive_tag_keys": []string{"project"},
	}}
	for _, tc := range []struct {
		name   string
		trust  string
		claims claims
		want   string
	}{
		{"provider trusted", trust(federated(provider), webAction, ""), nil, yes},
		{"another provider trusted", trust(federated(otherProvider), webAction, ""), nil, notAuthorized},
		{"provider of another account trusted", trust(federated(foreign), webAction, ""), nil, notAuthorized},
		{"another action trusted", trust(federated(provider), assumeAction, ""), nil, notAuthorized},
		{"account trusted", trust(accountPrincipal(account), webAction, ""), nil, notAuthorized},
		{"a web identity denied", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":` + federated(provider) + `,"Action":` + webAction + `},` +
			`{"Effect":"Deny","Principal":"*","Action":"sts:*","Condition":{"StringLike":{"` + at + `:sub":"system:*"}}}]}`, nil, notAuthorized},
		{"subject", trust(federated(provider), webAction, condition("StringLike", "sub", "system:serviceaccount:shop:*")), nil, yes},
		{"another subject", trust(federated(provider), webAction, condition("StringEquals", "sub", oidctest.Subject)), claims{"sub": "system:serviceaccount:shop:other"}, notAuthorized},
		{"subject in disguise", trust(federated(provider), webAction, condition("StringEquals", "sub", oidctest.Subject)), claims{"sub": "me", "SUB": oidctest.Subject}, notAuthorized},
		{"audience", trust(federated(provider), webAction, condition("StringEquals", "aud", "web")), claims{"aud": "web"}, yes},
		{"another audience", trust(federated(provider), webAction, condition("StringEquals", "aud", "web")), nil, notAuthorized},
		{"authorized party for audience", trust(federated(provider), webAction, condition("StringEquals", "aud", "web")), claims{"aud": "api", "azp": "web"}, yes},
		{"audience behind the authorized party", trust(federated(provider), webAction, condition("StringEquals", "oaud", "api")), claims{"aud": "api", "azp": "web"}, yes},
		{"audience in disguise", trust(federated(provider), webAction, condition("StringEquals", "oaud", "api")), claims{"oaud": "api"}, notAuthorized},
		{"claim", trust(federated(provider), webAction, condition("StringEquals", "repository", "org/app")), claims{"repository": "org/app"}, yes},
		{"claim with another value", trust(federated(provider), webAction, condition("StringEquals", "repository", "org/app")), claims{"repository": "evil/app"}, notAuthorized},
		{"claim that is not there", trust(federated(provider), webAction, condition("StringEquals", "repository", "org/app")), nil, notAuthorized},
		{"claim of a list", trust(federated(provider), webAction, condition("ForAnyValue:StringEquals", "groups", "ops")), claims{"groups": []string{"dev", "ops"}}, yes},
		{"number", trust(federated(provider), webAction, condition("NumericGreaterThan", "level", "2")), claims{"level": 3}, yes},
		{"Boolean", trust(federated(provider), webAction, condition("Bool", "email_verified", "true")), claims{"email_verified": true}, yes},
		{"session name", trust(federated(provider), webAction, `{"StringEquals":{"sts:RoleSessionName":"pod-1"}}`), nil, yes},
		{"federated provider", trust(federated(provider), webAction, `{"StringEquals":{"aws:FederatedProvider":"`+provider+`"}}`), nil, yes},

		{"tags trusted", trust(federated(provider), tagged, ""), tags, yes},
		{"tags not trusted", trust(federated(provider), webAction, ""), tags, "AccessDenied: Not authorized to perform sts:TagSession"},
		{"right tags", trust(federated(provider), tagged, `{"StringEquals":{"aws:RequestTag/Project":"Automation"}}`), tags, yes},
		{"wrong tags", trust(federated(provider), tagged, `{"StringEquals":{"aws:RequestTag/Project":"Other"}}`), tags, notAuthorized},
		{"source identity trusted", trust(federated(provider), sourced, ""), claims{"https://aws.amazon.com/source_identity": "alice"}, yes},
		{"source identity not trusted", trust(federated(provider), webAction, ""), claims{"https://aws.amazon.com/source_identity": "alice"}, "AccessDenied: Not authorized to perform sts:SetSourceIdentity"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			role := b.role(t, account, "r", tc.trust, "")
			t.Cleanup(func() {
				must[iamapi.DeleteRoleOutput](t, b, root(account), iamapi.OpDeleteRole, &iamapi.DeleteRoleInput{RoleName: "r"})
			})
			_, err := b.call(anonymous(), stsapi.OpAssumeRoleWithWebIdentity, webInput(role, issuer.Token(t, tc.claims)))
			if got := told(err); got != tc.want {
				t.Errorf("error %q, want %q", got, tc.want)
			}
			if tc.want == notAuthorized {
				all := b.lines(t, "AssumeRoleWithWebIdentity")
				last := all[len(all)-1]
				if last.ErrorCode != "AccessDenied" || last.UserIdentity.Type != "WebIdentityUser" || !strings.Contains(last.raw, `"reason"`) {
					t.Errorf("record of the denial: %s", last.raw)
				}
			}
		})
	}
	t.Run("no such role", func(t *testing.T) {
		refused(t, b, anonymous(), stsapi.OpAssumeRoleWithWebIdentity, webInput(roleARN(account, "missing"), issuer.Token(t, nil)), notAuthorized)
	})
}

// TestWebIdentityRefuses: tokens that do not hold, whatever role they ask for, and
// parameters that are wrong. Nobody but the bearer of a good token gets into the log.
func TestWebIdentityRefuses(t *testing.T) {
	issuer, silent, stranger, garbled := oidctest.New(t), oidctest.New(t), oidctest.New(t), oidctest.New(t)
	unknown := oidctest.New(t)
	silent.Answer(oidctest.Failing, oidctest.Good)
	garbled.Answer(oidctest.Good, oidctest.Garbled)
	b := newBed(t, issuer, silent, stranger, garbled) // and not unknown
	provider := b.register(t, account, issuer)
	for _, i := range []*oidctest.Issuer{silent, garbled, unknown} {
		b.register(t, account, i)
	}
	b.register(t, otherAccount, stranger)
	role := b.role(t, account, "r", trust(federated(provider), webAction, ""), "")
	now := time.Now().Unix()
	change := func(name string, value any) string { return issuer.Token(t, map[string]any{name: value}) }
	forge := func(alg string, sign func([]byte) []byte) string {
		return oidctest.Forge(t, map[string]any{"alg": alg, "kid": "key-1"}, issuer.Claims(nil), sign)
	}
	hmacOf := func(in []byte) []byte { m := hmac.New(sha256.New, []byte("key")); m.Write(in); return m.Sum(nil) }
	type edit = func(in *stsapi.AssumeRoleWithWebIdentityInput)
	none := func(*stsapi.AssumeRoleWithWebIdentityInput) {}
	const (
		notJWT = "InvalidIdentityToken: The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)"
		noKey  = "InvalidIdentityToken: Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements"
	)
	for _, tc := range []struct {
		name  string
		token string
		edit  edit
		want  string // regular expression for the whole, or beginning
	}{
		{"good", issuer.Token(t, nil), none, "^$"},
		{"no JWT", "opaque-access-token", none, regexp.QuoteMeta(notJWT)},
		{"alg none", forge("none", func([]byte) []byte { return nil }), none, regexp.QuoteMeta(notJWT)},
		{"HS256", forge("HS256", hmacOf), none, regexp.QuoteMeta(notJWT)},
		{"signature of somebody else", forge("ES256", hmacOf), none, "^InvalidIdentityToken: Token signature is invalid$"},
		{"unknown key", oidctest.Forge(t, map[string]any{"alg": "ES256", "kid": "other"}, issuer.Claims(nil), hmacOf), none, regexp.QuoteMeta(noKey)},
		{"issuer without provider", stranger.Token(t, nil), none, "^InvalidIdentityToken: No OpenIDConnect provider found in your account for " + stranger.URL + "$"},
		{"issuer without https", change("iss", "accounts.example"), none, "^InvalidIdentityToken: No OpenIDConnect provider found in your account for accounts.example$"},
		{"account that does not exist", issuer.Token(t, nil), func(in *stsapi.AssumeRoleWithWebIdentityInput) { in.RoleArn = roleARN("000000000000", "r") },
			"^InvalidIdentityToken: No OpenIDConnect provider found in your account for " + issuer.URL + "$"},
		{"audience", change("aud", "another"), none, "^InvalidIdentityToken: Incorrect token audience$"},
		{"expired", change("exp", now-400), none, fmt.Sprintf(`^ExpiredTokenException: Token expired: current date/time %d\d must be before the expiration date/time %d$`, now/10, now-400)},
		{"not yet valid", change("nbf", now+400), none, "^InvalidIdentityToken: Token is not valid yet: nbf lies in the future$"},
		{"no subject", change("sub", nil), none, "^InvalidIdentityToken: Missing a required claim: sub$"},
		{"bad subject", change("sub", 7), none, "^InvalidIdentityToken: Invalid claim: sub$"},
		{"issuer out of order", silent.Token(t, nil), none, "^IDPCommunicationError: "},
		{"issuer talks nonsense", garbled.Token(t, nil), none, regexp.QuoteMeta(noKey)},
		{"issuer with an unknown certificate", unknown.Token(t, nil), none, "^InvalidIdentityToken: OpenIDConnect provider's HTTPS certificate doesn't match configured thumbprint$"},

		{"role ARN", issuer.Token(t, nil), func(in *stsapi.AssumeRoleWithWebIdentityInput) { in.RoleArn = "arn:aws:iam::" + account + ":user/r" }, "^ValidationError: .* is invalid$"},
		{"provider id", issuer.Token(t, nil), func(in *stsapi.AssumeRoleWithWebIdentityInput) { in.ProviderId = new("www.amazon.com") }, "^ValidationError: "},
		{"policy", issuer.Token(t, nil), func(in *stsapi.AssumeRoleWithWebIdentityInput) { in.Policy = new("{") }, "^MalformedPolicyDocument: "},
		{"long policy", issuer.Token(t, nil), func(in *stsapi.AssumeRoleWithWebIdentityInput) { in.Policy = new(strings.Repeat("x", 2049)) }, "^ValidationError: "},
		{"long token", strings.Repeat("x", 20001), none, "^ValidationError: "},
		{"longer than the role allows", issuer.Token(t, nil), func(in *stsapi.AssumeRoleWithWebIdentityInput) { in.DurationSeconds = new(int32(3601)) },
			"^ValidationError: The requested DurationSeconds exceeds the MaxSessionDuration set for this role.$"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := len(b.lines(t, "AssumeRoleWithWebIdentity"))
			_, err := b.call(anonymous(), stsapi.OpAssumeRoleWithWebIdentity, webInput(role, tc.token, tc.edit))
			if got := told(err); !regexp.MustCompile(tc.want).MatchString(got) {
				t.Errorf("error %q, want %q", got, tc.want)
			}
			recorded := len(b.lines(t, "AssumeRoleWithWebIdentity")) - before
			if held := err == nil || strings.Contains(told(err), "MaxSessionDuration"); held != (recorded == 1) {
				t.Errorf("%d records", recorded)
			}
		})
	}
}

// TestTokenTags: how an issuer sets tags and source identity.
func TestTokenTags(t *testing.T) {
	issuer := oidctest.New(t)
	b := newBed(t, issuer)
	provider := b.register(t, account, issuer)
	role := b.role(t, account, "r", trust(federated(provider), `["sts:AssumeRoleWithWebIdentity","sts:TagSession","sts:SetSourceIdentity"]`, ""), "")
	type claims = map[string]any
	nested := func(v any) claims { return claims{"https://aws.amazon.com/tags": v} }
	const flat = "https://aws.amazon.com/tags/"
	many := claims{}
	for i := range 51 {
		many[fmt.Sprint("k", i)] = "v"
	}
	large := claims{}
	for i := range 20 {
		large[fmt.Sprint("k", i)] = strings.Repeat("v", 250)
	}
	for _, tc := range []struct {
		name       string
		claims     claims
		tags       []call.Tag
		transitive []string
		want       string // beginning of the error
	}{
		{"none", nil, nil, nil, ""},
		{"nested", nested(claims{"principal_tags": claims{"b": []string{"2"}, "A": []string{"1"}}, "transitive_tag_keys": []string{"a"}}),
			[]call.Tag{{Key: "A", Value: "1"}, {Key: "b", Value: "2"}}, []string{"A"}, ""},
		{"flat", claims{flat + "principal_tags/A": "1", flat + "transitive_tag_keys": []string{"A"}}, []call.Tag{{Key: "A", Value: "1"}}, []string{"A"}, ""},
		{"flat list", claims{flat + "principal_tags/A": []string{"1"}}, []call.Tag{{Key: "A", Value: "1"}}, nil, ""},
		{"empty", nested(claims{}), nil, nil, ""},
		{"same key in both forms", claims{"https://aws.amazon.com/tags": claims{"principal_tags": claims{"A": "1"}}, flat + "principal_tags/a": "2"}, nil, nil,
			"InvalidParameterValue: Duplicate tag keys found."},
		{"keys that differ in case", nested(claims{"principal_tags": claims{"A": "1", "a": "2"}}), nil, nil, "InvalidParameterValue: Duplicate tag keys found."},
		{"tag of AWS", nested(claims{"principal_tags": claims{"aws:x": "1"}}), nil, nil, "InvalidParameterValue: Tag keys that begin with aws:"},
		{"transitive key without tag", nested(claims{"transitive_tag_keys": []string{"A"}}), nil, nil, "InvalidParameterValue: The specified transitive tag key"},
		{"no object", nested("x"), nil, nil, "IDPRejectedClaim: "},
		{"a list", nested([]any{claims{"principal_tags": claims{"A": "1"}}}), nil, nil, "IDPRejectedClaim: "},
		{"null", claims{"https://aws.amazon.com/tags": []any(nil)}, nil, nil, "IDPRejectedClaim: "},
		{"unknown member", nested(claims{"tags": claims{}}), nil, nil, "IDPRejectedClaim: "},
		{"two values", nested(claims{"principal_tags": claims{"A": []string{"1", "2"}}}), nil, nil, "IDPRejectedClaim: "},
		{"value is a number", nested(claims{"principal_tags": claims{"A": 1}}), nil, nil, "IDPRejectedClaim: "},
		{"value is null", nested(claims{"principal_tags": claims{"A": []any{nil}}}), nil, nil, "IDPRejectedClaim: "},
		{"tags are a list", nested(claims{"principal_tags": []string{"A"}}), nil, nil, "IDPRejectedClaim: "},
		{"transitive keys are a string", nested(claims{"transitive_tag_keys": "A"}), nil, nil, "IDPRejectedClaim: "},
		{"flat transitive keys are a string", claims{flat + "transitive_tag_keys": "A"}, nil, nil, "IDPRejectedClaim: "},
		{"flat value is an object", claims{flat + "principal_tags/A": claims{}}, nil, nil, "IDPRejectedClaim: "},
		{"empty key", claims{flat + "principal_tags/": "x"}, nil, nil, "IDPRejectedClaim: "},
		{"odd characters", nested(claims{"principal_tags": claims{"A*": "1"}}), nil, nil, "IDPRejectedClaim: "},
		{"newline", nested(claims{"principal_tags": claims{"A": "1\n"}}), nil, nil, "IDPRejectedClaim: "},
		{"long value", nested(claims{"principal_tags": claims{"A": strings.Repeat("x", 257)}}), nil, nil, "IDPRejectedClaim: "},
		{"too many", nested(claims{"principal_tags": many}), nil, nil, "IDPRejectedClaim: "},
		{"too large", nested(claims{"principal_tags": large}), nil, nil, "PackedPolicyTooLarge: "},
		{"source identity is a list", claims{"https://aws.amazon.com/source_identity": []string{"a", "b"}}, nil, nil, "IDPRejectedClaim: "},
		{"source identity with odd characters", claims{"https://aws.amazon.com/source_identity": "a b"}, nil, nil, "IDPRejectedClaim: "},
		{"source identity of AWS", claims{"https://aws.amazon.com/source_identity": "aws:ab"}, nil, nil, "IDPRejectedClaim: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, err := b.call(anonymous(), stsapi.OpAssumeRoleWithWebIdentity, webInput(role, issuer.Token(t, tc.claims)))
			if got := told(err); !strings.HasPrefix(got, tc.want) || (got == "") != (tc.want == "") {
				t.Fatalf("error %q, want %q", got, tc.want)
			}
			if err != nil {
				return
			}
			answer := out.(*stsapi.AssumeRoleWithWebIdentityOutput)
			session := b.bearer(t, answer.Credentials).Session
			if diff := cmp.Diff(tc.tags, session.Tags); diff != "" {
				t.Errorf("tags (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.transitive, session.TransitiveTags); diff != "" {
				t.Errorf("transitive keys (-want +got):\n%s", diff)
			}
			if (answer.PackedPolicySize != nil) != (tc.tags != nil) {
				t.Errorf("PackedPolicySize = %v", answer.PackedPolicySize)
			}
		})
	}
	out := must[stsapi.AssumeRoleWithWebIdentityOutput](t, b, anonymous(), stsapi.OpAssumeRoleWithWebIdentity,
		webInput(role, issuer.Token(t, map[string]any{"https://aws.amazon.com/source_identity": "alice"})))
	if session := b.bearer(t, out.Credentials).Session; out.SourceIdentity == nil || *out.SourceIdentity != "alice" || session.SourceIdentity != "alice" {
		t.Errorf("source identity %v, of the session %q", out.SourceIdentity, session.SourceIdentity)
	}
}

// TestWebIdentityRotation: the issuer changes its keys while roles are assumed.
func TestWebIdentityRotation(t *testing.T) {
	issuer := oidctest.New(t)
	b := newBed(t, issuer)
	role := b.role(t, account, "r", trust(federated(b.register(t, account, issuer)), webAction, ""), "")
	for _, alg := range []jose.SignatureAlgorithm{jose.ES256, jose.RS256, jose.ES384} {
		must[stsapi.AssumeRoleWithWebIdentityOutput](t, b, anonymous(), stsapi.OpAssumeRoleWithWebIdentity, webInput(role, issuer.Token(t, nil)))
		issuer.AddKey(t, alg)
		b.advance(15 * time.Second)
	}
}
