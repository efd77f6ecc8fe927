package oidc_test

import (
	"encoding/base64"
	"encoding/json"
	"testing"

	"arca/internal/oidc"
	"arca/internal/oidctest"
)

// FuzzParse: no token makes Parse fail in another way than by its error, and what it
// took is what the standard library reads.
func FuzzParse(f *testing.F) {
	for _, claims := range []string{
		`{"iss":"https://i.example","sub":"s","aud":"a","iat":1,"exp":2}`,
		`{"iss":"https://i.example","sub":"s","aud":["a","b"],"azp":"c","iat":1.5,"exp":2e3,"nbf":0}`,
		`{"iss":"x","iss":"y"}`, `{"iss":null}`, `[]`, `{`, ``, `{"a":[[[[{"b":"\""}]]]]}`, `{"exp":-1}`, `{"aud":[]}`, `{"\u0069ss":"x"}`,
	} {
		f.Add(`{"alg":"RS256","kid":"k"}`, claims)
	}
	f.Add(`{"alg":"none"}`, `{}`)
	f.Add(`{"alg":"HS256","jwk":{"kty":"oct","k":"AA"}}`, `{}`)
	f.Add(`{"alg":"ES256","crit":["b64"],"b64":false}`, `{}`)
	f.Fuzz(func(t *testing.T, header, claims string) {
		enc := base64.RawURLEncoding.EncodeToString
		u, err := oidc.Parse(enc([]byte(header)) + "." + enc([]byte(claims)) + ".AA")
		if err != nil {
			if kindOf(err) <= 0 {
				t.Fatalf("Parse error without kind: %v", err)
			}
			return
		}
		var plain map[string]any
		if err := json.Unmarshal([]byte(claims), &plain); err != nil {
			t.Fatalf("Parse took what is not JSON: %v", err)
		}
		if plain["iss"] != u.Issuer() {
			t.Fatalf("issuer %q, want %q", u.Issuer(), plain["iss"])
		}
	})
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","kid":"k","use":"sig"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"},null,1,"x",{}]}`))
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","x5c":["AA"]}]}`))
	f.Add([]byte(`{"keys":{}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if n, err := oidc.ParseKeys(body); err == nil && n == 0 {
			t.Fatal("a set without usable keys was taken")
		}
	})
}

// FuzzClaims: whatever claims a good token has, those that are shown are its own, no
// two look alike, and the standard's are what was verified.
func FuzzClaims(f *testing.F) {
	f.Add(`{"email":"x","Email":"y","a":[1,true,"z",null],"n":1e400}`)
	f.Add(`{"SUB":"x","oaud":"y","":0}`)
	issuer := oidctest.New(f)
	b := newBed(issuer)
	f.Fuzz(func(t *testing.T, more string) {
		var change map[string]any
		if json.Unmarshal([]byte(more), &change) != nil {
			return
		}
		for _, name := range []string{"iss", "sub", "aud", "azp", "exp", "iat", "nbf"} {
			delete(change, name)
		}
		token, err := b.verify(t.Context(), providerOf(issuer), issuer.Token(t, change))
		if kindOf(err) == oidc.Malformed {
			return // too long or too deep
		}
		if err != nil {
			t.Fatal(err)
		}
		seen := make(map[string]bool)
		for _, c := range token.Claims() {
			folded := string(foldASCII(c.Name))
			if seen[folded] {
				t.Fatalf("claim %q is there twice", folded)
			}
			seen[folded] = true
			switch folded {
			case "sub", "aud":
				if len(c.Values) != 1 || c.Values[0] != oidctest.Subject && c.Values[0] != oidctest.Audience {
					t.Fatalf("%s = %q", c.Name, c.Values)
				}
			case "oaud", "azp":
				t.Fatalf("%s without an authorized party", c.Name)
			}
		}
	})
}

func foldASCII(s string) []byte {
	b := []byte(s)
	for i := range b {
		if b[i] >= 'A' && b[i] <= 'Z' {
			b[i] |= 0x20
		}
	}
	return b
}
