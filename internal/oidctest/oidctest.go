// Package oidctest runs OpenID Connect issuers on loopback for tests: good ones, which
// sign tokens and rotate their keys, and all kinds of bad ones.
package oidctest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Subject and Audience are in every token that does not say otherwise.
const (
	Subject  = "system:serviceaccount:shop:checkout"
	Audience = "sts.amazonaws.com"
)

// Mode is how an issuer answers for one of its documents.
type Mode int

// The modes.
const (
	Good         Mode = iota
	Hang              // takes the request and never answers
	Failing           // 500
	Missing           // 404
	Redirecting       // to the same document of the same server
	Huge              // never stops
	Garbled           // not JSON
	OtherIssuer       // the discovery document of somebody else
	InsecureKeys      // the discovery document names keys without TLS
	NoKeys            // a key set without any key
	TooManyKeys       // a key set of 201
	OddKeys           // keys of unknown kinds, for encryption, symmetric and too short, beside the good ones
)

// Key is a key pair of an issuer.
type Key struct {
	ID      string
	Alg     jose.SignatureAlgorithm
	Private crypto.Signer
}

// Issuer is an OpenID Connect issuer.
type Issuer struct {
	URL       string // the claim iss
	Authority *Authority
	server    *httptest.Server
	closing   chan struct{}

	mu           sync.Mutex
	keys         []*Key // newest last; guarded by mu
	made         int    // keys made so far; guarded by mu
	discovery    Mode   // guarded by mu
	keySet       Mode   // guarded by mu
	cacheControl string // Cache-Control of the key set; guarded by mu
	discoveries  int    // requests for it; guarded by mu
	keySets      int    // requests for it; guarded by mu
}

// New starts an issuer with one ES256 key until the test ends.
func New(t testing.TB) *Issuer { return Start(t, Certificate{}) }

// Start starts an issuer whose server has a certificate of the given kind.
func Start(t testing.TB, c Certificate) *Issuer {
	t.Helper()
	i := &Issuer{Authority: newAuthority(t), closing: make(chan struct{})}
	i.server = httptest.NewUnstartedServer(http.HandlerFunc(i.serve))
	i.server.Config.ErrorLog = quiet()
	i.server.TLS = i.Authority.serverConfig(t, c)
	i.server.StartTLS()
	i.URL = i.server.URL
	t.Cleanup(func() {
		close(i.closing)
		i.server.Close()
	})
	i.AddKey(t, jose.ES256)
	return i
}

// Registered is the issuer's URL as accounts register it, without https://.
func (i *Issuer) Registered() string { return strings.TrimPrefix(i.URL, "https://") }

// AddKey makes a key pair, with which tokens are signed from now on, and publishes it.
func (i *Issuer) AddKey(t testing.TB, alg jose.SignatureAlgorithm) *Key {
	t.Helper()
	private, err := generate(alg)
	if err != nil {
		t.Fatal(err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.made++
	k := &Key{ID: fmt.Sprintf("key-%d", i.made), Alg: alg, Private: private}
	i.keys = append(i.keys, k)
	return k
}

// Retire stops publishing all keys but the newest.
func (i *Issuer) Retire() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = i.keys[len(i.keys)-1:]
}

func generate(alg jose.SignatureAlgorithm) (crypto.Signer, error) {
	switch alg {
	case jose.ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.ES384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case jose.ES512:
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case jose.EdDSA:
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	}
	return rsa.GenerateKey(rand.Reader, 2048)
}

// Answer says how the issuer answers from now on.
func (i *Issuer) Answer(discovery, keySet Mode) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.discovery, i.keySet = discovery, keySet
}

// CacheControl sets that header of the key set.
func (i *Issuer) CacheControl(value string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.cacheControl = value
}

// Requests tells how often each document was asked for.
func (i *Issuer) Requests() (discoveries, keySets int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.discoveries, i.keySets
}

// newest is the key that signs.
func (i *Issuer) newest() *Key {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.keys[len(i.keys)-1]
}

// Claims are those of an ordinary token, changed as told; nil takes one away.
func (i *Issuer) Claims(change map[string]any) map[string]any {
	now := time.Now().Unix()
	claims := map[string]any{
		"iss": i.URL, "sub": Subject, "aud": Audience, "iat": now - 10, "nbf": now - 10, "exp": now + 3600,
	}
	maps.Copy(claims, change)
	for name, value := range claims {
		if value == nil {
			delete(claims, name)
		}
	}
	return claims
}

// Token signs an ordinary token, changed as told, with the newest key.
func (i *Issuer) Token(t testing.TB, change map[string]any) string {
	t.Helper()
	payload, err := json.Marshal(i.Claims(change))
	if err != nil {
		t.Fatal(err)
	}
	return Sign(t, i.newest(), payload)
}

// Sign signs any payload.
func Sign(t testing.TB, k *Key, payload []byte) string {
	t.Helper()
	options := (&jose.SignerOptions{}).WithType("JWT")
	if k.ID != "" {
		options = options.WithHeader("kid", k.ID)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: k.Alg, Key: k.Private}, options)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// Forge puts a token together from parts that nobody vouches for.
func Forge(t testing.TB, header, claims map[string]any, sign func(input []byte) []byte) string {
	t.Helper()
	part := func(v any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	input := part(header) + "." + part(claims)
	return input + "." + base64.RawURLEncoding.EncodeToString(sign([]byte(input)))
}
