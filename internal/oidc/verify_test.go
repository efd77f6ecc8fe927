package oidc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"arca/internal/egress"
	"arca/internal/oidc"
	"arca/internal/oidctest"
)

// clock is a real clock that tests move.
type clock struct {
	mu     sync.Mutex
	offset time.Duration // guarded by mu
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.offset)
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
}

// bed is a verifier that trusts the servers of some issuers.
type bed struct {
	*oidc.Verifier
	clock clock
}

func newBed(issuers ...*oidctest.Issuer) *bed {
	b := &bed{}
	roots := x509.NewCertPool()
	for _, i := range issuers {
		roots.AppendCertsFromPEM(i.Authority.PEM())
	}
	b.Verifier = oidc.New(oidc.Config{
		Egress: egress.New(egress.Config{AllowLoopback: true, RootCAs: roots}), Now: b.clock.now, Logger: slog.New(slog.DiscardHandler),
	})
	return b
}

func providerOf(i *oidctest.Issuer) oidc.Provider {
	return oidc.Provider{Issuer: i.URL, ClientIDs: []string{"other-client", oidctest.Audience}}
}

// verify parses and verifies.
func (b *bed) verify(ctx context.Context, p oidc.Provider, token string) (*oidc.Token, error) {
	u, err := oidc.Parse(token)
	if err != nil {
		return nil, err
	}
	return b.Verify(ctx, u, p)
}

// kindOf is the kind of an error: 0 for nil, -1 for one that has none.
func kindOf(err error) oidc.Kind {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[*oidc.Error](err); ok {
		return e.Kind
	}
	return -1
}

func TestVerify(t *testing.T) {
	issuer := oidctest.New(t)
	b := newBed(issuer)
	token, err := b.verify(t.Context(), providerOf(issuer), issuer.Token(t, map[string]any{
		"aud": []string{"elsewhere", oidctest.Audience, "other-client"}, "email": "a@b.example", "amr": []string{"pwd", "mfa"},
		"level": 3, "ratio": 1.50, "admin": true, "repository": "org/app", "kubernetes.io": map[string]any{"namespace": "shop"},
		"nothing": nil, "mixed": []any{"x", 1, false}, "deep": []any{[]any{"x"}}, "https://example.com/claim": "x",
	}))
	if err != nil {
		t.Fatal(err)
	}
	if token.Issuer != issuer.URL || token.Subject != oidctest.Subject || token.Audience != oidctest.Audience {
		t.Errorf("token = %q %q %q", token.Issuer, token.Subject, token.Audience)
	}
	got := make(map[string][]string)
	for _, c := range token.Claims() {
		got[c.Name] = c.Values
	}
	for _, name := range []string{"iat", "exp", "nbf"} {
		if len(got[name]) != 1 {
			t.Errorf("claim %s = %q", name, got[name])
		}
		delete(got, name)
	}
	want := map[string][]string{
		"sub": {oidctest.Subject}, "aud": {oidctest.Audience, "other-client"}, "iss": {issuer.URL},
		"email": {"a@b.example"}, "amr": {"pwd", "mfa"}, "level": {"3"}, "ratio": {"1.5"}, "admin": {"true"},
		"repository": {"org/app"}, "mixed": {"x", "1", "false"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Claims (-want +got):\n%s", diff)
	}
	if raw, ok := token.Claim("kubernetes.io"); !ok || string(raw) != `{"namespace":"shop"}` {
		t.Errorf("Claim(kubernetes.io) = %s, %v", raw, ok)
	}
}

func TestVerifyAlgorithms(t *testing.T) {
	issuer := oidctest.New(t)
	b := newBed(issuer)
	for _, alg := range []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
	} {
		issuer.AddKey(t, alg)
		b.clock.advance(time.Minute)
		if _, err := b.verify(t.Context(), providerOf(issuer), issuer.Token(t, nil)); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
	}
}

// TestVerifyRefuses holds all tokens that are no good, each of which differs from a
// good one in what its name says.
func TestVerifyRefuses(t *testing.T) {
	issuer, other := oidctest.New(t), oidctest.New(t)
	key := issuer.AddKey(t, jose.RS256)
	ecKey := issuer.AddKey(t, jose.ES256)
	stranger := other.AddKey(t, jose.RS256)
	b := newBed(issuer, other)
	good := providerOf(issuer)
	now := time.Now().Unix()

	change := func(name string, value any) string { return issuer.Token(t, map[string]any{name: value}) }
	forge := func(alg, kid string, sign func([]byte) []byte) string {
		return oidctest.Forge(t, map[string]any{"alg": alg, "kid": kid, "typ": "JWT"}, issuer.Claims(nil), sign)
	}
	publicPEM, err := x509.MarshalPKIXPublicKey(key.Private.Public())
	if err != nil {
		t.Fatal(err)
	}
	withPublicKey := func(input []byte) []byte {
		mac := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: publicPEM}))
		mac.Write(input)
		return mac.Sum(nil)
	}
	token := issuer.Token(t, nil)
	parts := strings.Split(token, ".")
	otherParts := strings.Split(change("sub", "admin"), ".")
	impostor := *stranger
	impostor.ID = key.ID
	payload := func(text string) string { return oidctest.Sign(t, key, []byte(text)) }

	for _, tc := range []struct {
		name  string
		token string
		p     oidc.Provider
		want  oidc.Kind
	}{
		{"good", token, good, 0},
		{"nothing", "", good, oidc.Malformed},
		{"no JWT", "not-a-token", good, oidc.Malformed},
		{"two parts", parts[0] + "." + parts[1], good, oidc.Malformed},
		{"four parts", token + ".x", good, oidc.Malformed},
		{"JSON serialization", `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`, good, oidc.Malformed},
		{"too long", change("padding", strings.Repeat("x", 20000)), good, oidc.Malformed},
		{"alg none", forge("none", key.ID, func([]byte) []byte { return nil }), good, oidc.Malformed},
		{"alg none with its key's signature", forge("none", key.ID, withPublicKey), good, oidc.Malformed},
		{"alg None", forge("None", key.ID, func([]byte) []byte { return nil }), good, oidc.Malformed},
		{"no alg", forge("", key.ID, withPublicKey), good, oidc.Malformed},
		{"HS256 with the public key", forge("HS256", key.ID, withPublicKey), good, oidc.Malformed},
		{"RS256 that is an HMAC", forge("RS256", key.ID, withPublicKey), good, oidc.BadSignature},
		{"ES256 under an RSA key's id", forge("ES256", key.ID, withPublicKey), good, oidc.NoKey},
		{"RS512 under a key for RS256", forge("RS512", key.ID, withPublicKey), good, oidc.NoKey},
		{"no signature", parts[0] + "." + parts[1] + ".", good, oidc.BadSignature},
		{"signature of another token", parts[0] + "." + parts[1] + "." + otherParts[2], good, oidc.BadSignature},
		{"claims of another token", parts[0] + "." + otherParts[1] + "." + parts[2], good, oidc.BadSignature},
		{"signed by a stranger under the issuer's key id", oidctest.Sign(t, &impostor, mustJSON(t, issuer.Claims(nil))), good, oidc.BadSignature},
		{"signed by a stranger under his own", oidctest.Sign(t, stranger, mustJSON(t, issuer.Claims(nil))), good, oidc.BadSignature},
		{"unknown key id", oidctest.Sign(t, &oidctest.Key{ID: "unheard-of", Alg: key.Alg, Private: key.Private}, mustJSON(t, issuer.Claims(nil))), good, oidc.NoKey},
		{"no key id where there are several", oidctest.Sign(t, &oidctest.Key{Alg: ecKey.Alg, Private: ecKey.Private}, mustJSON(t, issuer.Claims(nil))), good, oidc.NoKey},
		{"no key id where there is one", oidctest.Sign(t, &oidctest.Key{Alg: key.Alg, Private: key.Private}, mustJSON(t, issuer.Claims(nil))), good, 0},
		{"with its own key in the header", forgeWithKey(t, issuer, stranger), good, oidc.NoKey},
		{"critical header", oidctest.Forge(t, map[string]any{"alg": "RS256", "kid": key.ID, "crit": []string{"exp"}, "exp": 1}, issuer.Claims(nil), withPublicKey), good, oidc.BadSignature},
		{"raw payload", oidctest.Forge(t, map[string]any{"alg": "RS256", "kid": key.ID, "crit": []string{"b64"}, "b64": false}, issuer.Claims(nil), withPublicKey), good, oidc.Malformed},

		{"another issuer's token", other.Token(t, nil), good, oidc.UnknownIssuer},
		{"another issuer's token in this one's name", other.Token(t, map[string]any{"iss": issuer.URL}), good, oidc.BadSignature},
		{"issuer with a slash", change("iss", issuer.URL+"/"), good, oidc.UnknownIssuer},
		{"no issuer", change("iss", nil), good, oidc.MissingClaim},
		{"issuer is a number", change("iss", 1), good, oidc.BadClaim},
		{"empty issuer", change("iss", ""), good, oidc.BadClaim},

		{"no audience", change("aud", nil), good, oidc.MissingClaim},
		{"null audience", payload(`{"iss":"` + issuer.URL + `","sub":"x","aud":null,"iat":1,"exp":9999999999}`), good, oidc.MissingClaim},
		{"another audience", change("aud", "someone-else"), good, oidc.WrongAudience},
		{"other audiences", change("aud", []string{"a", "b"}), good, oidc.WrongAudience},
		{"audience in other case", change("aud", strings.ToUpper(oidctest.Audience)), good, oidc.WrongAudience},
		{"empty audience", change("aud", ""), good, oidc.BadClaim},
		{"no audience in the list", change("aud", []string{}), good, oidc.BadClaim},
		{"audience is a number", change("aud", 1), good, oidc.BadClaim},
		{"audience is an object", change("aud", map[string]any{}), good, oidc.BadClaim},
		{"audience in a list in a list", change("aud", []any{[]string{oidctest.Audience}}), good, oidc.BadClaim},
		{"long audience", change("aud", strings.Repeat("x", 256)), good, oidc.BadClaim},
		{"no audience is registered", token, oidc.Provider{Issuer: issuer.URL}, oidc.WrongAudience},
		{"authorized party is somebody else", change("azp", "someone-else"), good, oidc.WrongAudience},
		{"authorized party is registered", issuer.Token(t, map[string]any{"aud": "elsewhere", "azp": "other-client"}), good, 0},

		{"no subject", change("sub", nil), good, oidc.MissingClaim},
		{"empty subject", change("sub", ""), good, oidc.BadClaim},
		{"long subject", change("sub", strings.Repeat("x", 256)), good, oidc.BadClaim},
		{"longest subject", change("sub", strings.Repeat("x", 255)), good, 0},
		{"subject in other case only", payload(`{"iss":"` + issuer.URL + `","Sub":"x","aud":"a","iat":1,"exp":9999999999}`), good, oidc.MissingClaim},

		{"no end", change("exp", nil), good, oidc.MissingClaim},
		{"expired", change("exp", now-301), good, oidc.Expired},
		{"expired, within the clocks' difference", change("exp", now-290), good, 0},
		{"end is a string", change("exp", "9999999999"), good, oidc.BadClaim},
		{"end is negative", change("exp", -1), good, oidc.BadClaim},
		{"end is beyond all dates", payload(`{"iss":"` + issuer.URL + `","sub":"x","aud":"a","iat":1,"exp":1e300}`), good, oidc.BadClaim},
		{"end is a number beyond numbers", payload(`{"iss":"` + issuer.URL + `","sub":"x","aud":"a","iat":1,"exp":1e999}`), good, oidc.BadClaim},
		{"end is a fraction", change("exp", float64(now)+60.5), good, 0},
		{"not yet valid", change("nbf", now+310), good, oidc.NotYetValid},
		{"not yet valid, within the clocks' difference", change("nbf", now+290), good, 0},
		{"no beginning", change("nbf", nil), good, 0},
		{"beginning is a string", change("nbf", "x"), good, oidc.BadClaim},
		{"issued in the future", change("iat", now+310), good, oidc.NotYetValid},
		{"no date of issue", change("iat", nil), good, oidc.MissingClaim},

		{"subject twice", payload(`{"iss":"` + issuer.URL + `","sub":"x","sub":"admin","aud":"a","iat":1,"exp":9999999999}`), good, oidc.Malformed},
		{"subject twice, once escaped", payload(`{"iss":"` + issuer.URL + `","sub":"x","s\u0075b":"admin","aud":"a","iat":1,"exp":9999999999}`), good, oidc.Malformed},
		{"claims are a list", payload(`["iss"]`), good, oidc.Malformed},
		{"claims are cut off", payload(`{"iss":"x"`), good, oidc.Malformed},
		{"claims are followed by more", payload(`{"iss":"x"} {}`), good, oidc.Malformed},
		{"claims are nothing", payload(``), good, oidc.Malformed},
		{"claims are no JSON", payload(`{iss:1}`), good, oidc.Malformed},
		{"claims are too deep", payload(`{"iss":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`), good, oidc.Malformed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := b.verify(t.Context(), tc.p, tc.token)
			if got := kindOf(err); got != tc.want {
				t.Errorf("kind %d (%v), want %d", got, err, tc.want)
			}
		})
	}
}

// forgeWithKey signs with a stranger's key and sends it along, in all the ways that a
// header has for it.
func forgeWithKey(t *testing.T, issuer *oidctest.Issuer, stranger *oidctest.Key) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: stranger.Alg, Key: stranger.Private}, &jose.SignerOptions{
		EmbedJWK:     true,
		ExtraHeaders: map[jose.HeaderKey]any{"kid": "mine", "jku": issuer.URL + "/keys", "x5u": issuer.URL},
	})
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(mustJSON(t, issuer.Claims(nil)))
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// TestClaimsInDisguise: a user who may name claims at the issuer cannot pass for
// somebody else by a name that condition keys would not tell apart.
func TestClaimsInDisguise(t *testing.T) {
	issuer := oidctest.New(t)
	b := newBed(issuer)
	token, err := b.verify(t.Context(), providerOf(issuer), issuer.Token(t, map[string]any{
		"SUB": "admin", "Aud": "admin", "oaud": "admin", "AZP": "admin", "Email": "admin", "EMAIL": "admin", "AMR": "mfa",
		"role": "user", "Role": "admin", "8443:sub": "admin", "": "x", "a/b": "x", "é": "x", strings.Repeat("x", 65): "x",
		"email": "me",
	}))
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, c := range token.Claims() {
		folded := strings.ToLower(c.Name)
		if seen[folded] {
			t.Errorf("claim %s is there twice", folded)
		}
		seen[folded] = true
		for _, v := range c.Values {
			if v == "admin" || v == "x" || v == "mfa" {
				t.Errorf("claim %s = %q", c.Name, c.Values)
			}
		}
	}
	if seen["role"] || !seen["email"] {
		t.Errorf("claims %v, want email and not role", seen)
	}
}

// TestAuthorizedParty: azp takes the place of aud, as AWS has it.
func TestAuthorizedParty(t *testing.T) {
	issuer := oidctest.New(t)
	b := newBed(issuer)
	token, err := b.verify(t.Context(), providerOf(issuer), issuer.Token(t, map[string]any{
		"aud": []string{"api", "web"}, "azp": "other-client", "oaud": "forged",
	}))
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string][]string)
	for _, c := range token.Claims() {
		if oidc.Lasting(c.Name) {
			got[c.Name] = append(got[c.Name], c.Values...)
		}
	}
	want := map[string][]string{
		"sub": {oidctest.Subject}, "aud": {"other-client"}, "oaud": {"api", "web"}, "azp": {"other-client"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	if token.Audience != "other-client" {
		t.Errorf("Audience = %q", token.Audience)
	}
}

// TestOddKeys: keys that are of no use, under the id of one that is, neither serve nor
// harm.
func TestOddKeys(t *testing.T) {
	issuer := oidctest.New(t)
	key := issuer.AddKey(t, jose.ES256)
	issuer.Answer(oidctest.Good, oidctest.OddKeys)
	b := newBed(issuer)
	if _, err := b.verify(t.Context(), providerOf(issuer), issuer.Token(t, nil)); err != nil {
		t.Errorf("a good key among odd ones: %v", err)
	}
	ec := key.Private.(*ecdsa.PrivateKey)
	for _, id := range []string{"encrypts", "private"} {
		token := oidctest.Sign(t, &oidctest.Key{ID: id, Alg: jose.ES256, Private: ec}, mustJSON(t, issuer.Claims(nil)))
		if _, err := b.verify(t.Context(), providerOf(issuer), token); kindOf(err) != oidc.NoKey {
			t.Errorf("signed with key %q: %v, want NoKey", id, err)
		}
	}
}
