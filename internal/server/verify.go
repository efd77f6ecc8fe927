package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"arca/internal/api"
	"arca/internal/arn"
	"arca/internal/call"
	"arca/internal/iam"
	"arca/internal/sigv4"
)

// Identity is what a signature proves.
type Identity struct {
	Caller    call.Principal
	Region    string // of the scope; served
	Partition string // of the region
}

// Verify finds out who sent a request for op whose body has the given hash. A
// *sigv4.Failure is the sender's fault, an error is ours. It may be called
// concurrently.
type Verify func(ctx context.Context, op *api.Operation, r *http.Request, bodyHash [sha256.Size]byte) (Identity, *sigv4.Failure, error)

// Errors of a Lookup that are the sender's fault.
var (
	// ErrUnknownCredential: there is no such access key that may sign, or not with
	// this session token. The client is told the token is invalid.
	ErrUnknownCredential = errors.New("no such credential")
	// ErrExpiredCredential: the session token's time is over. The client is told so
	// and should fetch a new one.
	ErrExpiredCredential = errors.New("credential has expired")
)

// Credential is what an access key stands for.
type Credential struct {
	Principal call.Principal
	// Fingerprint is equal only for equal secret keys. Derived keys are kept with it.
	Fingerprint []byte
	// Secret gives the secret key to use, which must not keep it.
	Secret func(use func(secret []byte)) error
}

// Lookup finds the credential of an access key and, for temporary ones, session
// token, as of every change acknowledged before the call. It may be called
// concurrently.
type Lookup func(ctx context.Context, accessKeyID, sessionToken string) (*Credential, error)

// FromIAM looks access keys up in package iam.
func FromIAM(s *iam.Service) Lookup {
	return func(ctx context.Context, accessKeyID, sessionToken string) (*Credential, error) {
		found, err := s.Lookup(ctx, accessKeyID, sessionToken)
		switch {
		case errors.Is(err, iam.ErrNoCredential):
			return nil, ErrUnknownCredential
		case errors.Is(err, iam.ErrExpired):
			return nil, ErrExpiredCredential
		case err != nil:
			return nil, err
		}
		return &Credential{
			Principal:   found.Principal,
			Fingerprint: found.Fingerprint(),
			Secret: func(use func([]byte)) error {
				secret, err := found.Secret()
				if err != nil {
					return err
				}
				defer secret.Wipe()
				use(secret.Bytes())
				return nil
			},
		}, nil
	}
}

// Clock windows of signatures, either way, by protocol.
const (
	jsonWindow  = 5 * time.Minute
	queryWindow = 15 * time.Minute
)

// NewSignatures verifies Signature Version 4 against the credentials that lookup
// finds. Regions are those served; the times of signatures are compared with now,
// which is the real clock.
//
// An operation that AWS lets anybody call runs for call.Anonymous when the request
// carries no signature at all. One that it carries must hold.
func NewSignatures(lookup Lookup, regions []string, now func() time.Time) Verify {
	served := partitions(regions)
	global := globalRegions(served)
	keys := &keyCache{}
	return func(ctx context.Context, op *api.Operation, r *http.Request, bodyHash [sha256.Size]byte) (Identity, *sigv4.Failure, error) {
		var signed sigv4.Signed
		failure := signed.Parse(&sigv4.Request{
			Method:        r.Method,
			Path:          r.URL.EscapedPath(),
			RawQuery:      r.URL.RawQuery,
			Host:          r.Host,
			Header:        r.Header,
			ContentLength: r.ContentLength,
		})
		if failure != nil {
			if failure.Kind == sigv4.Missing && op.Unsigned {
				return anonymous(served, regions), nil, nil
			}
			return Identity{}, failure, nil
		}
		cred, err := lookup(ctx, signed.AccessKeyID, signed.SessionToken)
		switch {
		case errors.Is(err, ErrUnknownCredential):
			return Identity{}, sigv4.UnknownKey(), nil
		case errors.Is(err, ErrExpiredCredential):
			return Identity{}, sigv4.ExpiredToken(), nil
		case err != nil:
			return Identity{}, nil, fmt.Errorf("look up credential: %w", err)
		}
		window, in := jsonWindow, served
		if op.Service.Protocol == api.Query {
			window, in = queryWindow, global
		}
		failure = signed.Verify(sigv4.Expect{
			Service: op.Service.Name, Region: func(r string) bool { return in[r] != "" }, Now: now(), Window: window,
		}, bodyHash, func(s sigv4.Scope) (k *sigv4.SigningKey) {
			k, err = keys.get(s, cred)
			return k
		})
		if err != nil {
			return Identity{}, nil, fmt.Errorf("open secret access key: %w", err)
		}
		if failure != nil {
			return Identity{}, failure, nil
		}
		return Identity{cred.Principal, signed.Region, in[signed.Region]}, nil, nil
	}
}

// partitions maps the served regions to their partitions. A region that AWS's list
// does not have, which a test may serve, counts as commercial.
func partitions(regions []string) map[string]string {
	m := make(map[string]string, len(regions))
	for _, r := range regions {
		p, ok := arn.PartitionOf(r)
		if !ok {
			p = arn.PartitionAWS
		}
		m[r] = p
	}
	return m
}

// globalRegions adds to the served regions the one in which AWS runs IAM and the
// global STS of each of their partitions: that is what clients sign for, whatever
// region they work in.
func globalRegions(served map[string]string) map[string]string {
	all := maps.Clone(served)
	for _, p := range served {
		switch p {
		case arn.PartitionAWS:
			all["us-east-1"] = p
		case arn.PartitionChina:
			all["cn-north-1"] = p
		case arn.PartitionGov:
			all["us-gov-west-1"] = p
		}
	}
	return all
}

// anonymous is who sent a request without a signature: nobody, from nowhere.
func anonymous(served map[string]string, regions []string) Identity {
	region := fallbackRegion(served, regions)
	return Identity{call.Principal{Type: call.Anonymous}, region, served[region]}
}

// fallbackRegion is the region of a request that names none: us-east-1 or, without
// it, the first served.
func fallbackRegion(served map[string]string, regions []string) string {
	if served["us-east-1"] == "" && len(regions) > 0 {
		return regions[0]
	}
	return "us-east-1"
}

// AnyCredentials takes every request for one by the root of account, whatever its
// signature; only what anybody may call runs for nobody when there is none. The
// region is that of the scope if there is one that is served, otherwise us-east-1 or,
// without it, the first served. For test suites only.
func AnyCredentials(account string, regions []string) Verify {
	served := partitions(regions)
	fallback := fallbackRegion(served, regions)
	return func(_ context.Context, op *api.Operation, r *http.Request, _ [sha256.Size]byte) (Identity, *sigv4.Failure, error) {
		key, region := claimed(r)
		if served[region] == "" {
			region = fallback
		}
		if op.Unsigned && key == "" {
			return anonymous(served, regions), nil, nil
		}
		return Identity{iam.RootPrincipal(account, key), region, served[region]}, nil, nil
	}
}

// claimed picks access key and region out of whatever looks like a credential.
func claimed(r *http.Request) (key, region string) {
	_, credential, ok := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	if ok {
		credential, _, _ = strings.Cut(credential, ",")
	} else if r.URL.RawQuery != "" {
		query, _ := url.ParseQuery(r.URL.RawQuery)
		credential = query.Get("X-Amz-Credential")
	}
	parts := strings.Split(strings.TrimSpace(credential), "/")
	if len(parts) > 2 {
		region = parts[2]
	}
	if key = parts[0]; !plainKey(key) {
		key = ""
	}
	return key, region
}

// plainKey reports whether an access key id is of AWS's form, more or less; others
// are not written into records.
func plainKey(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '_' || c == '-') {
			return false
		}
	}
	return len(s) <= 128
}

// keyCache keeps signing keys that were derived before. Deriving one opens the
// secret key and costs four HMACs. Only keys for a scope that has passed all checks
// get in, and only for access keys that exist.
//
// No key serves past its access key's end, because it decides nothing: the credential is
// looked up for each request, and one that is deleted, disabled or expired is refused
// before the cache is asked. A secret that was replaced has another fingerprint.
// Signatures of another day do not pass the check of their time for longer than the
// window, and the first one of a new day drops what is here.
type keyCache struct {
	mu   sync.RWMutex
	day  string                     // newest day seen (guarded by mu)
	keys map[sigv4.Scope]derivedKey // guarded by mu
}

type derivedKey struct {
	// fingerprint is that of the secret the key was derived from: a replaced secret
	// takes its derived keys along.
	fingerprint []byte
	key         *sigv4.SigningKey
}

// maxKeys bounds the cache. Past it everything is dropped, which costs each scope
// one derivation.
const maxKeys = 8192

func (c *keyCache) get(s sigv4.Scope, cred *Credential) (*sigv4.SigningKey, error) {
	c.mu.RLock()
	have, ok := c.keys[s]
	c.mu.RUnlock()
	if ok && bytes.Equal(have.fingerprint, cred.Fingerprint) {
		return have.key, nil
	}
	return c.derive(s, cred)
}

func (c *keyCache) derive(s sigv4.Scope, cred *Credential) (*sigv4.SigningKey, error) {
	var key *sigv4.SigningKey
	err := cred.Secret(func(secret []byte) {
		key = sigv4.DeriveKey(secret, s.Day, s.Region, s.Service)
	})
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keys == nil || len(c.keys) >= maxKeys || s.Day > c.day {
		c.keys = make(map[sigv4.Scope]derivedKey)
	}
	// As they are, these are pieces of one long header, which the map would keep.
	s = sigv4.Scope{
		AccessKeyID: strings.Clone(s.AccessKeyID), Day: strings.Clone(s.Day),
		Region: strings.Clone(s.Region), Service: strings.Clone(s.Service),
	}
	c.day = max(c.day, s.Day)
	c.keys[s] = derivedKey{bytes.Clone(cred.Fingerprint), key}
	return key, nil
}
