// Package oidc verifies tokens of OpenID Connect issuers.
//
// It promises that a Token it returns was signed by a key that its issuer publishes,
// is meant for one of the audiences that the account has registered, is in force by
// the real clock, and that its claims were read exactly as they were signed: names are
// compared with case, and a claim that stands there twice makes the token bad. Only
// asymmetric signatures count. Keys are fetched from the issuer and from nowhere else;
// what a token itself says about keys (jku, x5u, jwk) is never looked at.
//
// An issuer that is slow, silent, hostile or gone costs its own users a bounded time
// and nobody else any. It trusts an issuer for the issuer's own tokens only, and the
// network for nothing: see package egress.
package oidc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"arca/internal/egress"
)

// Config is what a Verifier needs.
type Config struct {
	Egress *egress.Client
	Now    func() time.Time // the real clock
	// Logger is told when an issuer could not be asked or answered with nothing of use,
	// once each time it was asked.
	Logger *slog.Logger
}

// Verifier verifies tokens and remembers the keys of their issuers. It is safe for
// concurrent use.
type Verifier struct {
	cfg  Config
	keys *keyCache
}

// New returns a Verifier.
func New(cfg Config) *Verifier { return &Verifier{cfg: cfg, keys: newKeyCache(cfg)} }

// Provider is an issuer as an account has registered it.
type Provider struct {
	Account     string   // that registered it: what asking the issuer costs is counted as its own
	Issuer      string   // its URL, as in the claim iss
	ClientIDs   []string // the audiences that are accepted
	Thumbprints []string // SHA-1 of certificates, in hexadecimal
}

// leeway is by how much the clocks of an issuer and ours may differ. AWS documents
// these five minutes for the end of a token.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_oidc.html
const leeway = 5 * time.Minute

// Verify checks everything about a token. The error is an *Error, or that of ctx; ctx
// ends only this caller's wait for the issuer's keys. The audience is looked at after
// the signature: strangers cannot try out which ones are registered.
func (v *Verifier) Verify(ctx context.Context, t *Unverified, p Provider) (*Token, error) {
	if t.issuer != p.Issuer {
		return nil, &Error{Kind: UnknownIssuer, cause: fmt.Errorf("token of %q given to provider %q", t.issuer, p.Issuer)}
	}
	if err := t.inForce(v.cfg.Now()); err != nil {
		return nil, err
	}
	keys, err := v.keys.find(ctx, p, t.kid, t.alg)
	if err != nil {
		return nil, err
	}
	if !t.signedByAny(keys) {
		return nil, &Error{Kind: BadSignature, cause: errors.New("signature does not match the issuer's key")}
	}
	return t.accept(p.ClientIDs)
}

// inForce checks the dates.
func (t *Unverified) inForce(now time.Time) error {
	switch {
	case !now.Before(t.expires.Add(leeway)):
		return &Error{Kind: Expired, Now: now, Expires: t.expires, cause: errors.New("token expired")}
	case now.Add(leeway).Before(t.notBefore):
		return &Error{Kind: NotYetValid, Claim: "nbf", cause: errors.New("token is not valid yet")}
	case now.Add(leeway).Before(t.issuedAt):
		return &Error{Kind: NotYetValid, Claim: "iat", cause: errors.New("token was issued in the future")}
	}
	return nil
}

// accept checks the audience of a token whose signature is good. Like AWS it takes the
// authorized party (azp) for the audience if there is one.
func (t *Unverified) accept(clientIDs []string) (*Token, error) {
	meant := t.audiences
	if t.party != "" {
		meant = []string{t.party}
	}
	accepted := slices.DeleteFunc(slices.Clone(meant), func(a string) bool { return !slices.Contains(clientIDs, a) })
	if len(accepted) == 0 {
		return nil, &Error{Kind: WrongAudience, cause: errors.New("no audience of the token is registered")}
	}
	return &Token{
		Issuer: t.issuer, Subject: t.subject, Audience: accepted[0],
		IssuedAt: t.issuedAt, Expires: t.expires, accepted: accepted, unverified: t,
	}, nil
}

// Kind sorts errors by what the sender can do about them.
type Kind int

// The kinds of errors.
const (
	Malformed     Kind = iota + 1 // not a token, or signed in a way that is not accepted
	MissingClaim                  // Claim is not there
	BadClaim                      // Claim is there and makes no sense
	UnknownIssuer                 // it is not the provider's
	Expired                       // Now is after Expires
	NotYetValid                   // Claim lies in the future
	WrongAudience                 // it is meant for somebody else
	BadSignature                  // the issuer's key did not make the signature
	NoKey                         // the issuer answers, and publishes no such key
	BadServer                     // the issuer's server has a certificate that is not trusted
	Unreachable                   // the issuer does not answer; it may later
)

// Error is why a token is not accepted. Anybody can make most of them happen as often
// as he likes, so they are for the client; what went wrong with an issuer is logged.
type Error struct {
	Kind         Kind
	Claim        string
	Now, Expires time.Time
	cause        error
}

// Error gives the reason.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("token not accepted: ")
	if e.Claim != "" {
		b.WriteString("claim " + e.Claim + ": ")
	}
	b.WriteString(e.cause.Error())
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// Issuer URLs as accounts register them have no scheme.
const scheme = "https://"

// IssuerURL is the URL of an issuer that was registered as host and path.
func IssuerURL(registered string) string { return scheme + registered }

// Registered is what an issuer's URL is registered as: false for a URL that cannot be.
func Registered(issuer string) (string, bool) {
	host, ok := strings.CutPrefix(issuer, scheme)
	return host, ok && host != ""
}
