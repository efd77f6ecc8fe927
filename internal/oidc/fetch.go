package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"arca/internal/egress"
)

const (
	// fetchTime is the longest that asking an issuer takes, both documents together.
	fetchTime = 5 * time.Second
	// maxDiscoveryBytes and maxKeySetBytes bound the documents.
	maxDiscoveryBytes = 64 << 10
	maxKeySetBytes    = 256 << 10
	// maxKeys is how many keys a set may have. AWS takes 100 RSA and 100 EC keys.
	maxKeys = 200
	// RSA keys of other sizes are too weak, or cost too much to verify with.
	minRSABits, maxRSABits = 2048, 8192
)

var (
	errUnknownKey = errors.New("issuer publishes no key of the token's kid and algorithm")
	errBusy       = errors.New("too many issuers are being asked at this moment")
)

// fetch asks an issuer for its keys. The error is an *Error.
func (k *keyCache) fetch(p Provider) (*keySet, error) {
	if !k.begin(p.Account) {
		return nil, &Error{Kind: Unreachable, cause: errBusy}
	}
	defer k.end(p.Account)
	select {
	case k.slots <- struct{}{}:
		defer func() { <-k.slots }()
	default:
		return nil, &Error{Kind: Unreachable, cause: errBusy}
	}
	ctx, cancel := context.WithTimeout(context.Background(), k.timeout)
	defer cancel()
	set, err := k.fetchDocuments(ctx, p)
	if err != nil {
		k.cfg.Logger.Warn("keys of an identity provider not fetched", "issuer", p.Issuer, "error", err.Error())
		return nil, &Error{Kind: kindOf(err), cause: fmt.Errorf("fetch keys of %s: %w", p.Issuer, err)}
	}
	return set, nil
}

func (k *keyCache) fetchDocuments(ctx context.Context, p Provider) (*keySet, error) {
	options := egress.Options{Timeout: k.timeout}
	for _, text := range p.Thumbprints {
		if t, ok := egress.ParseThumbprint(text); ok {
			options.Thumbprints = append(options.Thumbprints, t)
		}
	}
	where := strings.TrimSuffix(p.Issuer, "/") + "/.well-known/openid-configuration"
	body, _, err := k.cfg.Egress.Get(ctx, where, maxDiscoveryBytes, options)
	if err != nil {
		return nil, err
	}
	var discovery struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(body, &discovery); err != nil {
		return nil, unusable("discovery document is not JSON of the expected form")
	}
	if discovery.Issuer != p.Issuer {
		return nil, unusable("discovery document is that of issuer %q", discovery.Issuer)
	}
	body, header, err := k.cfg.Egress.Get(ctx, discovery.JWKSURI, maxKeySetBytes, options)
	if err != nil {
		return nil, err
	}
	keys, err := parseKeys(body)
	if err != nil {
		return nil, err
	}
	now := k.cfg.Now()
	return &keySet{keys: keys, size: len(body), fetched: now, fresh: now.Add(freshFor(header))}, nil
}

// unusableError is an answer that will not be better the next time.
type unusableError struct{ reason string }

func (e *unusableError) Error() string { return e.reason }

func unusable(format string, args ...any) error { return &unusableError{fmt.Sprintf(format, args...)} }

// kindOf tells an issuer that does not answer from one whose answer is of no use.
func kindOf(err error) Kind {
	if errors.Is(err, egress.ErrCertificate) {
		return BadServer
	}
	for _, final := range []error{egress.ErrURL, egress.ErrRefused, egress.ErrRedirect, egress.ErrTooLarge} {
		if errors.Is(err, final) {
			return NoKey
		}
	}
	if status, ok := errors.AsType[*egress.StatusError](err); ok && status.Code < 500 && status.Code != http.StatusTooManyRequests {
		return NoKey
	}
	if _, ok := errors.AsType[*unusableError](err); ok {
		return NoKey
	}
	return Unreachable
}

// parseKeys reads a set of keys and keeps those that tokens may be verified with. Keys
// of kinds that we do not know are no mistake: issuers add new ones beside the old.
func parseKeys(body []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, unusable("key set is not JSON of the expected form")
	}
	if len(set.Keys) > maxKeys {
		return nil, unusable("key set has %d keys, more than %d", len(set.Keys), maxKeys)
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if key.UnmarshalJSON(raw) != nil || !usable(&key) {
			continue
		}
		// Certificates are not looked at: only the issuer's word counts.
		keys = append(keys, jose.JSONWebKey{Key: key.Key, KeyID: key.KeyID, Algorithm: key.Algorithm})
	}
	if len(keys) == 0 {
		return nil, unusable("key set has no key that tokens can be verified with")
	}
	return keys, nil
}

func usable(key *jose.JSONWebKey) bool {
	if !key.Valid() || !key.IsPublic() || key.Use != "" && key.Use != "sig" {
		return false
	}
	switch k := key.Key.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen() >= minRSABits && k.N.BitLen() <= maxRSABits
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return true
	}
	return false
}

// fits reports whether a signature of alg can be made with the key's private half.
func fits(key *jose.JSONWebKey, alg jose.SignatureAlgorithm) bool {
	if key.Algorithm != "" && key.Algorithm != string(alg) {
		return false
	}
	switch k := key.Key.(type) {
	case *rsa.PublicKey:
		return slices.Contains([]jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512}, alg)
	case *ecdsa.PublicKey:
		return alg == jose.ES256 && k.Curve == elliptic.P256() ||
			alg == jose.ES384 && k.Curve == elliptic.P384() ||
			alg == jose.ES512 && k.Curve == elliptic.P521()
	case ed25519.PublicKey:
		return alg == jose.EdDSA
	}
	return false
}

// freshFor is how long a key set may be taken for current.
func freshFor(header http.Header) time.Duration {
	for part := range strings.SplitSeq(strings.Join(header.Values("Cache-Control"), ","), ",") {
		part = strings.ToLower(strings.TrimSpace(part))
		if part == "no-store" || part == "no-cache" {
			return minFresh
		}
		if age, ok := strings.CutPrefix(part, "max-age="); ok {
			if seconds, err := strconv.ParseUint(age, 10, 31); err == nil {
				return min(max(time.Duration(seconds)*time.Second, minFresh), maxFresh)
			}
		}
	}
	return usualFresh
}
