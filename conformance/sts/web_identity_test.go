package sts_test

import (
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"arca/conformance/identity"
	"arca/internal/oidctest"
)

// federation is an issuer on loopback that the account has registered.
type federation struct {
	*identity.Kit
	issuer   *oidctest.Issuer
	provider string // ARN
}

func newFederation(t *testing.T) *federation {
	t.Helper()
	k := identity.New(t, shared)
	if shared.Server == nil {
		t.Skip("needs a server that reaches an issuer on loopback")
	}
	f := &federation{Kit: k, issuer: oidctest.New(t)}
	f.provider = f.register(k.Account, f.issuer.Authority.Thumbprint())
	return f
}

// register registers the issuer in an account.
func (f *federation) register(in *identity.Account, thumbprints ...string) string {
	f.T.Helper()
	made, err := in.IAM.CreateOpenIDConnectProvider(f.Ctx(), &iam.CreateOpenIDConnectProviderInput{
		Url: &f.issuer.URL, ClientIDList: []string{oidctest.Audience}, ThumbprintList: thumbprints})
	if err != nil {
		f.T.Fatal(err)
	}
	return aws.ToString(made.OpenIDConnectProviderArn)
}

// trust lets the issuer's bearers in under conditions on claims, given by name.
func (f *federation) trust(operator string, claims map[string]any) string {
	keys := map[string]any{}
	for name, value := range claims {
		if !strings.Contains(name, "aws:") && !strings.HasPrefix(name, "sts:") {
			name = f.issuer.Registered() + ":" + name
		}
		keys[name] = value
	}
	s := identity.Statement{Effect: "Allow", Principal: map[string]any{"Federated": f.provider}, Action: []string{"sts:AssumeRoleWithWebIdentity", actTag, actName}}
	if len(keys) > 0 {
		s.Condition = identity.Conditions{operator: keys}
	}
	return identity.Policy(s)
}

// exchange shows a token. Whoever does so needs no credentials.
func (f *federation) exchange(role, token string, change ...func(*sts.AssumeRoleWithWebIdentityInput)) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	cfg := f.Config.Copy()
	cfg.Credentials = aws.AnonymousCredentials{}
	cfg.RetryMaxAttempts = 1
	in := &sts.AssumeRoleWithWebIdentityInput{RoleArn: &role, RoleSessionName: aws.String("session"), WebIdentityToken: &token}
	for _, c := range change {
		c(in)
	}
	return sts.NewFromConfig(cfg).AssumeRoleWithWebIdentity(f.Ctx(), in)
}

func TestAssumeRoleWithWebIdentity(t *testing.T) {
	f := newFederation(t)
	role := f.Role("role", f.trust("StringEquals", map[string]any{"sub": oidctest.Subject, "aud": oidctest.Audience}), identity.Allow("secretsmanager:*", "*"))
	out, err := f.exchange(role.ARN, f.issuer.Token(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	if aws.ToString(out.AssumedRoleUser.Arn) != role.SessionARN("session") || aws.ToString(out.AssumedRoleUser.AssumedRoleId) != role.ID+":session" ||
		aws.ToString(out.Provider) != f.provider || aws.ToString(out.Audience) != oidctest.Audience || aws.ToString(out.SubjectFromWebIdentityToken) != oidctest.Subject {
		t.Errorf("answer = %+v", out)
	}
	wantLife(t, out.Credentials, time.Hour)
	session := as(f.Caller, out.AssumedRoleUser.Arn, out.Credentials)
	f.Must(session.SM.ListSecrets(f.Ctx(), nil))
	if got := ask(f.Kit, session); got.arn != role.SessionARN("session") {
		t.Errorf("session = %+v", got)
	}

	// A session policy limits this session, too, and so does the role's duration.
	out, err = f.exchange(role.ARN, f.issuer.Token(t, nil), func(in *sts.AssumeRoleWithWebIdentityInput) {
		in.Policy, in.DurationSeconds = aws.String(identity.Allow("secretsmanager:GetSecretValue", "*")), aws.Int32(900)
	})
	if err != nil {
		t.Fatal(err)
	}
	wantLife(t, out.Credentials, 15*time.Minute)
	limited := as(f.Caller, out.AssumedRoleUser.Arn, out.Credentials)
	_, err = limited.SM.ListSecrets(f.Ctx(), nil)
	identity.WantDenied(t, err, limited.ARN, "secretsmanager:ListSecrets", "", identity.NoSession)
	_, err = f.exchange(role.ARN, f.issuer.Token(t, nil), func(in *sts.AssumeRoleWithWebIdentityInput) { in.DurationSeconds = aws.Int32(3601) })
	identity.WantError(t, err, "ValidationError", 400, "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
}

// Claims are condition keys of the trust policy, by the issuer's name.
func TestTokenClaims(t *testing.T) {
	f := newFederation(t)
	// Of the kinds that build services and clusters hand out.
	claims := map[string]any{
		"sub": "repo:octo-org/octo-repo:ref:refs/heads/main", "repository": "octo-org/octo-repo", "email": "ann@example.com",
		"amr": []string{"authenticated", "pwd"}, "run_attempt": 3, "email_verified": true,
	}
	for name, tc := range map[string]struct {
		operator string
		want     map[string]any
		pass     bool
	}{
		"subject":            {"StringEquals", map[string]any{"sub": "repo:octo-org/octo-repo:ref:refs/heads/main"}, true},
		"like":               {"StringLike", map[string]any{"sub": "repo:octo-org/*"}, true},
		"another repository": {"StringLike", map[string]any{"sub": "repo:other-org/*"}, false},
		"case":               {"StringEquals", map[string]any{"sub": "Repo:octo-org/octo-repo:ref:refs/heads/main"}, false},
		"audience":           {"StringEquals", map[string]any{"aud": oidctest.Audience}, true},
		"another audience":   {"StringEquals", map[string]any{"aud": "other"}, false},
		"own claim":          {"StringEquals", map[string]any{"repository": "octo-org/octo-repo", "email": "ann@example.com"}, true},
		"list":               {"ForAnyValue:StringEquals", map[string]any{"amr": "pwd"}, true},
		"list without it":    {"ForAnyValue:StringEquals", map[string]any{"amr": "mfa"}, false},
		"no such claim":      {"StringEquals", map[string]any{"groups": "x"}, false},
		"provider":           {"StringEquals", map[string]any{"aws:FederatedProvider": f.provider}, true},
		"session name":       {"StringEquals", map[string]any{"sts:RoleSessionName": "session"}, true},
		"other session name": {"StringEquals", map[string]any{"sts:RoleSessionName": "other"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			role := f.Role(identity.RandomHex(4), f.trust(tc.operator, tc.want))
			_, err := f.exchange(role.ARN, f.issuer.Token(t, claims))
			if tc.pass {
				f.Must(nil, err)
			} else {
				identity.WantError(t, err, "AccessDenied", http.StatusForbidden, "Not authorized to perform sts:AssumeRoleWithWebIdentity")
			}
		})
	}
}

// The claims stay with the session as long as policies may ask for them.
func TestClaimsInSession(t *testing.T) {
	f := newFederation(t)
	role := f.Role("role", f.trust("", nil), identity.Allow("secretsmanager:*", "*", identity.If("StringEquals", f.issuer.Registered()+":sub", "one")))
	for subject, pass := range map[string]bool{"one": true, "two": false} {
		out, err := f.exchange(role.ARN, f.issuer.Token(t, map[string]any{"sub": subject}))
		if err != nil {
			t.Fatal(err)
		}
		_, err = as(f.Caller, out.AssumedRoleUser.Arn, out.Credentials).SM.ListSecrets(f.Ctx(), &secretsmanager.ListSecretsInput{})
		if (err == nil) != pass {
			t.Errorf("%s: %v", subject, err)
		}
	}
}

// Tags that the issuer vouches for are tags of the session.
func TestTokenTags(t *testing.T) {
	f := newFederation(t)
	role := f.Role("role", f.trust("StringEquals", map[string]any{"aws:RequestTag/team": "red"}),
		identity.Allow("secretsmanager:*", "*", identity.If("StringEquals", "aws:PrincipalTag/team", "red")))
	claim := func(team string) map[string]any {
		return map[string]any{"https://aws.amazon.com/tags": map[string]any{
			"principal_tags": map[string]any{"team": []string{team}}, "transitive_tag_keys": []string{"team"}}}
	}
	out, err := f.exchange(role.ARN, f.issuer.Token(t, claim("red")))
	if err != nil {
		t.Fatal(err)
	}
	f.Must(as(f.Caller, out.AssumedRoleUser.Arn, out.Credentials).SM.ListSecrets(f.Ctx(), nil))
	for _, claims := range []map[string]any{claim("blue"), nil} {
		_, err = f.exchange(role.ARN, f.issuer.Token(t, claims))
		identity.WantError(t, err, "AccessDenied", http.StatusForbidden, "")
	}
}

// Tokens that do not hold open nothing, and their bearers learn nothing of roles.
func TestBadTokens(t *testing.T) {
	f := newFederation(t)
	role := f.Role("role", f.trust("", nil))
	stranger := oidctest.New(t) // registered nowhere
	now := time.Now().Unix()
	payload := func(change map[string]any) map[string]any { return f.issuer.Claims(change) }
	none := oidctest.Forge(t, map[string]any{"alg": "none", "typ": "JWT"}, payload(nil), func([]byte) []byte { return nil })
	symmetric := oidctest.Forge(t, map[string]any{"alg": "HS256", "typ": "JWT", "kid": "key-1"}, payload(nil), func([]byte) []byte { return make([]byte, 32) })
	good := f.issuer.Token(t, nil)
	foreign := maps.Clone(stranger.Claims(nil))
	foreign["iss"] = f.issuer.URL
	const invalid = "InvalidIdentityToken"
	for name, tc := range map[string]struct{ token, code, text string }{
		"expired":              {f.issuer.Token(t, map[string]any{"exp": now - 3600, "iat": now - 7200}), "ExpiredTokenException", ""},
		"not yet valid":        {f.issuer.Token(t, map[string]any{"nbf": now + 3600}), invalid, ""},
		"for another":          {f.issuer.Token(t, map[string]any{"aud": "other"}), invalid, "Incorrect token audience"},
		"without subject":      {f.issuer.Token(t, map[string]any{"sub": nil}), invalid, ""},
		"without audience":     {f.issuer.Token(t, map[string]any{"aud": nil}), invalid, ""},
		"without end":          {f.issuer.Token(t, map[string]any{"exp": nil}), invalid, ""},
		"of an unknown issuer": {stranger.Token(t, nil), invalid, "No OpenIDConnect provider found in your account for " + stranger.URL},
		"of another's key":     {stranger.Token(t, map[string]any{"iss": f.issuer.URL}), invalid, ""},
		"altered":              {good[:len(good)-8] + "AAAAAAAA", invalid, ""},
		"unsigned":             {none, invalid, ""},
		"signed by a secret":   {symmetric, invalid, ""},
		"not a token":          {strings.Repeat("token", 10), invalid, ""},
		"without a signature":  {good[:strings.LastIndexByte(good, '.')], invalid, ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, arn := range []string{role.ARN, role.ARN + "x"} { // also of a role that there is not
				_, err := f.exchange(arn, tc.token)
				identity.WantError(t, err, tc.code, http.StatusBadRequest, tc.text)
			}
		})
	}
	_, err := f.exchange(role.ARN+"x", good)
	identity.WantError(t, err, "AccessDenied", http.StatusForbidden, "Not authorized to perform sts:AssumeRoleWithWebIdentity")
	_, err = f.exchange(role.ARN, "x")
	identity.WantError(t, err, "ValidationError", http.StatusBadRequest, "")
	_, err = f.exchange("arn:aws:iam::"+f.ID+":user/nobody-at-all", good)
	identity.WantError(t, err, "ValidationError", http.StatusBadRequest, "")
	// A role of another trust: by users, or by another provider.
	_, err = f.exchange(f.Role("users", identity.Trust(f.Root())).ARN, good)
	identity.WantError(t, err, "AccessDenied", http.StatusForbidden, "Not authorized to perform sts:AssumeRoleWithWebIdentity")
	// The good token was good throughout.
	_, err = f.exchange(role.ARN, good)
	f.Must(nil, err)
}

// A provider speaks in its own account only.
func TestProviderOfAnotherAccount(t *testing.T) {
	f := newFederation(t)
	other := f.Other()
	trust := f.trust("", nil)
	theirs := other.Role("role", trust) // names a provider that is not its own
	_, err := f.exchange(theirs.ARN, f.issuer.Token(t, nil))
	identity.WantError(t, err, "InvalidIdentityToken", http.StatusBadRequest, "No OpenIDConnect provider found in your account for "+f.issuer.URL)
	f.register(other, f.issuer.Authority.Thumbprint())
	_, err = f.exchange(theirs.ARN, f.issuer.Token(t, nil))
	identity.WantError(t, err, "AccessDenied", http.StatusForbidden, "Not authorized to perform sts:AssumeRoleWithWebIdentity")
}

// An issuer is believed if its certificate or its thumbprint is right.
func TestThumbprints(t *testing.T) {
	f := newFederation(t)
	role := f.Role("role", f.trust("", nil))
	token := f.issuer.Token(t, nil)
	set := func(prints ...string) {
		f.Must(f.IAM.UpdateOpenIDConnectProviderThumbprint(f.Ctx(), &iam.UpdateOpenIDConnectProviderThumbprintInput{OpenIDConnectProviderArn: &f.provider, ThumbprintList: prints}))
	}
	set(strings.Repeat("ab", 20))
	_, err := f.exchange(role.ARN, token)
	identity.WantError(t, err, "InvalidIdentityToken", http.StatusBadRequest, "OpenIDConnect provider's HTTPS certificate doesn't match configured thumbprint")
	// The account mends it, and need not wait.
	set(strings.Repeat("ab", 20), f.issuer.Authority.Thumbprint())
	_, err = f.exchange(role.ARN, token)
	f.Must(nil, err)
	// A client that is taken away is refused at once.
	f.Must(f.IAM.RemoveClientIDFromOpenIDConnectProvider(f.Ctx(), &iam.RemoveClientIDFromOpenIDConnectProviderInput{OpenIDConnectProviderArn: &f.provider, ClientID: aws.String(oidctest.Audience)}))
	_, err = f.exchange(role.ARN, token)
	identity.WantError(t, err, "InvalidIdentityToken", http.StatusBadRequest, "Incorrect token audience")
	f.Must(f.IAM.DeleteOpenIDConnectProvider(f.Ctx(), &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: &f.provider}))
	_, err = f.exchange(role.ARN, token)
	identity.WantError(t, err, "InvalidIdentityToken", http.StatusBadRequest, "No OpenIDConnect provider found in your account for "+f.issuer.URL)
}

// An issuer that cannot be used says so, and one that hangs costs a bounded time and
// holds nobody else up.
func TestBadIssuers(t *testing.T) {
	f := newFederation(t)
	for name, tc := range map[string]struct {
		discovery, keys oidctest.Mode
		code            string
	}{
		"redirects":        {oidctest.Redirecting, oidctest.Good, ""},
		"fails":            {oidctest.Failing, oidctest.Good, ""},
		"garbled":          {oidctest.Garbled, oidctest.Good, ""},
		"somebody else":    {oidctest.OtherIssuer, oidctest.Good, ""},
		"keys without TLS": {oidctest.InsecureKeys, oidctest.Good, ""},
		"endless keys":     {oidctest.Good, oidctest.Huge, ""},
		"too many keys":    {oidctest.Good, oidctest.TooManyKeys, ""},
		"no keys":          {oidctest.Good, oidctest.NoKeys, "InvalidIdentityToken"},
		"hangs":            {oidctest.Hang, oidctest.Good, "IDPCommunicationError"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad := &federation{Kit: f.Kit, issuer: oidctest.New(t)}
			k := *f.Kit
			k.T, bad.Kit = t, &k
			bad.issuer.Answer(tc.discovery, tc.keys)
			bad.provider = bad.register(k.Account, bad.issuer.Authority.Thumbprint())
			role := k.Role(identity.RandomHex(4), bad.trust("", nil))
			start := time.Now()
			_, err := bad.exchange(role.ARN, bad.issuer.Token(t, nil))
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("it takes %v", took)
			}
			switch {
			case err == nil:
				t.Error("the token is taken")
			case tc.code != "":
				identity.WantError(t, err, tc.code, http.StatusBadRequest, "")
			case !strings.Contains(err.Error(), "IDPCommunicationError") && !strings.Contains(err.Error(), "InvalidIdentityToken"):
				t.Error(err)
			}
		})
	}
	t.Run("good", func(t *testing.T) {
		t.Parallel()
		role := f.Role("role", f.trust("", nil))
		for range 3 {
			start := time.Now()
			_, err := f.exchange(role.ARN, f.issuer.Token(t, nil))
			if took := time.Since(start); err != nil || took > 3*time.Second {
				t.Errorf("%v after %v", err, took)
			}
		}
	})
}
