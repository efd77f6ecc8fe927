package oidc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// maxTokenBytes is AWS's limit on web identity tokens.
	maxTokenBytes = 20000
	// maxIDBytes bounds subjects and audiences.
	maxIDBytes = 255
	// maxDepth is how deep claims may be nested.
	maxDepth = 32
)

// algorithms are the signatures that are accepted: those of AWS and the others that
// only the holder of a private key can make. Neither "none" nor HS256 is among them.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// Unverified is a token that was read and says what it says. Nothing of it is to be
// believed.
type Unverified struct {
	jws       *jose.JSONWebSignature
	kid       string
	alg       jose.SignatureAlgorithm
	issuer    string
	subject   string
	audiences []string
	party     string // azp, "" without one
	issuedAt  time.Time
	notBefore time.Time // zero without one
	expires   time.Time
	claims    []rawClaim
}

// rawClaim is one member of the token's object of claims.
type rawClaim struct {
	name  string
	value json.RawMessage
}

// Issuer is whose token it claims to be.
func (t *Unverified) Issuer() string { return t.issuer }

// Parse reads a token. The error is an *Error.
func Parse(token string) (*Unverified, error) {
	if len(token) > maxTokenBytes {
		return nil, malformed(fmt.Errorf("longer than %d bytes", maxTokenBytes))
	}
	jws, err := jose.ParseSignedCompact(token, algorithms)
	if err != nil {
		return nil, malformed(err)
	}
	if len(jws.Signatures) != 1 {
		return nil, malformed(errors.New("not exactly one signature"))
	}
	header := jws.Signatures[0].Protected
	// Claims are base64 by the standard of tokens; RFC 7797's raw payload is not meant.
	if _, odd := header.ExtraHeaders["b64"]; odd {
		return nil, malformed(errors.New("header has b64"))
	}
	t := &Unverified{jws: jws, kid: header.KeyID, alg: jose.SignatureAlgorithm(header.Algorithm)}
	if t.claims, err = readClaims(jws.UnsafePayloadWithoutVerification()); err != nil {
		return nil, malformed(err)
	}
	if err := t.standard(); err != nil {
		return nil, err
	}
	return t, nil
}

func malformed(cause error) *Error { return &Error{Kind: Malformed, cause: cause} }

// standard reads the claims that every token must have.
func (t *Unverified) standard() error {
	for _, c := range []struct {
		name     string
		required bool
		read     func(raw json.RawMessage) error
	}{
		{"iss", true, func(raw json.RawMessage) error { return readID(raw, &t.issuer, 2048) }},
		{"sub", true, func(raw json.RawMessage) error { return readID(raw, &t.subject, maxIDBytes) }},
		{"aud", true, t.readAudience},
		{"azp", false, func(raw json.RawMessage) error { return readID(raw, &t.party, maxIDBytes) }},
		{"iat", true, func(raw json.RawMessage) error { return readDate(raw, &t.issuedAt) }},
		{"exp", true, func(raw json.RawMessage) error { return readDate(raw, &t.expires) }},
		{"nbf", false, func(raw json.RawMessage) error { return readDate(raw, &t.notBefore) }},
	} {
		raw, ok := t.claim(c.name)
		if !ok || string(raw) == "null" {
			if c.required {
				return &Error{Kind: MissingClaim, Claim: c.name, cause: errors.New("not there")}
			}
			continue
		}
		if err := c.read(raw); err != nil {
			return &Error{Kind: BadClaim, Claim: c.name, cause: err}
		}
	}
	return nil
}

func (t *Unverified) claim(name string) (json.RawMessage, bool) {
	for _, c := range t.claims {
		if c.name == name {
			return c.value, true
		}
	}
	return nil, false
}

// readClaims reads an object whose member names are all different.
func readClaims(payload []byte) ([]rawClaim, error) {
	if err := checkDepth(payload); err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(payload))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return nil, errors.New("claims are not an object")
	}
	var all []rawClaim
	seen := make(map[string]bool)
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("read claims: %w", err)
		}
		name, ok := tok.(string)
		if !ok {
			return nil, errors.New("claims are not an object")
		}
		if seen[name] {
			return nil, errors.New("a claim is there twice")
		}
		seen[name] = true
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, fmt.Errorf("read claims: %w", err)
		}
		all = append(all, rawClaim{name, value})
	}
	if _, err := dec.Token(); err != nil {
		return nil, fmt.Errorf("read claims: %w", err)
	}
	if len(bytes.TrimSpace(payload[dec.InputOffset():])) != 0 {
		return nil, errors.New("something follows the claims")
	}
	return all, nil
}

// checkDepth bounds how deep values are nested, before anything recurses into them.
func checkDepth(payload []byte) error {
	depth, quoted := 0, false
	for i := 0; i < len(payload); i++ {
		switch c := payload[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return fmt.Errorf("claims are nested deeper than %d", maxDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// readID reads a string that is neither empty nor too long.
func readID(raw json.RawMessage, to *string, most int) error {
	if err := json.Unmarshal(raw, to); err != nil {
		return errors.New("not a string")
	}
	if *to == "" || len(*to) > most {
		return fmt.Errorf("not 1 to %d bytes", most)
	}
	return nil
}

// readAudience reads one audience or a list.
func (t *Unverified) readAudience(raw json.RawMessage) error {
	list := []json.RawMessage{raw}
	if raw[0] == '[' {
		if err := json.Unmarshal(raw, &list); err != nil {
			return errors.New("not a list of strings")
		}
	}
	if len(list) == 0 {
		return errors.New("empty")
	}
	for _, item := range list {
		var a string
		if err := readID(item, &a, maxIDBytes); err != nil {
			return err
		}
		t.audiences = append(t.audiences, a)
	}
	return nil
}

// readDate reads seconds since 1970, perhaps with a fraction.
func readDate(raw json.RawMessage, to *time.Time) error {
	var n json.Number
	if raw[0] == '"' || json.Unmarshal(raw, &n) != nil {
		return errors.New("not a number")
	}
	seconds, err := n.Float64()
	if err != nil || seconds < 0 || seconds > 1<<40 { // the year 36812
		return errors.New("not a date")
	}
	whole, fraction := math.Modf(seconds)
	*to = time.Unix(int64(whole), int64(fraction*1e9)).UTC()
	return nil
}

// signedByAny reports whether one of the keys made the signature.
func (t *Unverified) signedByAny(keys []any) bool {
	return slices.ContainsFunc(keys, func(key any) bool {
		_, err := t.jws.Verify(key)
		return err == nil
	})
}

// Token is a token that was verified.
type Token struct {
	Issuer   string // its URL
	Subject  string
	Audience string // the first registered one
	IssuedAt time.Time
	Expires  time.Time

	accepted   []string
	unverified *Unverified // verified, by now
}

// Claim returns the value of a claim as it was signed.
func (t *Token) Claim(name string) (json.RawMessage, bool) { return t.unverified.claim(name) }

// All visits every claim as it was signed, in the token's order.
func (t *Token) All() iter.Seq2[string, json.RawMessage] {
	return func(yield func(string, json.RawMessage) bool) {
		for _, c := range t.unverified.claims {
			if !yield(c.name, c.value) {
				return
			}
		}
	}
}

// Claim is a claim with its values in the form that conditions compare.
type Claim struct {
	Name   string
	Values []string
}

// Claims of the standard, which policies may rest on most: they are only taken under
// their exact names.
const (
	claimAudience         = "aud"
	claimOriginalAudience = "oaud"
	claimParty            = "azp"
	claimSubject          = "sub"
	claimMethods          = "amr"
	claimEmail            = "email"
)

// Lasting reports whether a claim is known to policies as long as the session lives
// and not only while it is made. Those are AWS's own.
func Lasting(name string) bool {
	switch name {
	case claimAudience, claimOriginalAudience, claimParty, claimSubject, claimMethods, claimEmail:
		return true
	}
	return false
}

// Claims lists what policies may ask for: the subject; the audience as aud, which is
// the authorized party if there is one, and then the audience itself as oaud; and
// every other claim that is a string, number, Boolean or a list of these.
//
// A claim whose name could be taken for part of another condition key is left out, and
// so are claims whose names differ in case only, from each other or from one of the
// standard's: condition keys are compared without case, and an issuer may let its users
// name claims.
func (t *Token) Claims() []Claim {
	u := t.unverified
	out := []Claim{{claimSubject, []string{t.Subject}}, {claimAudience, t.accepted}}
	if u.party != "" {
		out = append(out, Claim{claimOriginalAudience, u.audiences}, Claim{claimParty, []string{u.party}})
	}
	taken := map[string]int{claimSubject: 1, claimAudience: 1, claimOriginalAudience: 1, claimParty: 1}
	for _, c := range u.claims {
		taken[strings.ToLower(c.name)]++
	}
	for _, c := range u.claims {
		folded := strings.ToLower(c.name)
		standard := c.name == claimMethods || c.name == claimEmail
		if !standard && (taken[folded] > 1 || Lasting(folded)) || !exposable(c.name) {
			continue
		}
		if values, ok := valuesOf(c.value); ok {
			out = append(out, Claim{c.name, values})
		}
	}
	return out
}

// exposable reports whether a claim's name may end a condition key.
func exposable(name string) bool {
	if name == "" || len(name) > 64 {
		return false
	}
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '-', c == '.':
		default:
			return false
		}
	}
	return true
}

// valuesOf gives the values of a claim; false for objects, null and lists of such.
func valuesOf(raw json.RawMessage) ([]string, bool) {
	list := []json.RawMessage{raw}
	if raw[0] == '[' {
		if json.Unmarshal(raw, &list) != nil {
			return nil, false
		}
	}
	values := make([]string, 0, len(list))
	for _, item := range list {
		item = bytes.TrimSpace(item)
		switch item[0] {
		case '{', '[', 'n':
			return nil, false
		case '"':
			var s string
			if json.Unmarshal(item, &s) != nil {
				return nil, false
			}
			values = append(values, s)
		default:
			values = append(values, string(item)) // a number or Boolean as it was written
		}
	}
	return values, true
}
