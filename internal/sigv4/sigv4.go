// Package sigv4 verifies AWS Signature Version 4, in the Authorization header and
// in presigned queries.
//
// It promises that a request which verifies was made by a holder of the secret key
// for the method, path, query, host, body and every x-amz-* header it came with,
// for the service named by the caller and near the time given by the caller. It
// trusts the caller for that time, for the secret key and for the hash of the body,
// which the caller computes over what it received and never takes from the request.
// It does not remember requests: within its time a request can be sent again.
//
// It is pure: no clock, no I/O, no cache, no logging. A caller that derives signing
// keys once per day, region and service keeps them itself; see DeriveKey.
package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"hash"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
	dateFormat = "20060102T150405Z"
	dayFormat  = "20060102"
	// maxExpires is the longest life of a presigned query: a week.
	maxExpires = 7 * 24 * time.Hour
)

// Request is what is signed of an HTTP request, the body apart.
type Request struct {
	Method   string
	Path     string // as it stood in the request line, still escaped
	RawQuery string // likewise, without the question mark
	Host     string // the Host header, or HTTP/2's :authority
	// Header holds every other header under its canonical name, as net/http keeps
	// them: X-Amz-Date.
	Header map[string][]string
	// ContentLength stands for a signed Content-Length that Header does not hold.
	ContentLength int64
}

// Scope is what a signing key is for. Its strings are parts of the request's header.
type Scope struct {
	AccessKeyID string
	Day         string // YYYYMMDD
	Region      string
	Service     string
}

// Signed is a request whose signature has been read but not verified. Until Verify
// says so, its fields are claims of a stranger. A Signed that does not leave the
// function that has it costs no allocation.
type Signed struct {
	Scope
	SessionToken string // "" for long-term keys
	Time         time.Time
	Presigned    bool

	terminator string
	stamp      string        // Time in the form of dateFormat
	expires    time.Duration // how long a presigned query lives; 0 means the caller's window
	signature  string
	query      []param
	payload    string // X-Amz-Content-Sha256, "" when absent
	req        Request

	// Signed header names, sorted, lower case: the first few, or all of them.
	few  [16]string
	n    int
	many []string
}

// headers are the names of the signed headers.
func (s *Signed) headers() []string {
	if s.many != nil {
		return s.many
	}
	return s.few[:s.n]
}

// Expect is what a request must have been signed for.
type Expect struct {
	Service string // signing name of the service whose operation was asked
	// Region reports whether a region is served. It must not be nil.
	Region func(region string) bool
	Now    time.Time     // the real time
	Window time.Duration // how far the signature's time may be off, either way
}

// Verify tells whether the signature holds: nil means that a holder of the secret
// key behind AccessKeyID made exactly this request, with a body of this hash. The
// scope and the time are checked first; key is called at most once, and only for a
// scope that passed, so a cache behind it holds no keys of strangers' choosing. With no
// key no signature holds.
func (s *Signed) Verify(e Expect, bodyHash [sha256.Size]byte, key func(Scope) *SigningKey) *Failure {
	if f := s.checkScope(e); f != nil {
		return f
	}
	if f := s.checkTime(e); f != nil {
		return f
	}
	var bodyHex [2 * sha256.Size]byte
	hex.Encode(bodyHex[:], bodyHash[:])
	if s.payload != "" && s.payload != string(bodyHex[:]) {
		if s.payload == "UNSIGNED-PAYLOAD" || strings.HasPrefix(s.payload, "STREAMING-") {
			return invalid("The value of 'X-Amz-Content-Sha256' must be the SHA-256 of the request body, not '" +
				shown(s.payload) + "'.")
		}
		return mismatch()
	}

	var space [2048]byte
	canonical, ok := s.appendCanonical(space[:0], bodyHex[:])
	if !ok {
		return mismatch()
	}
	k := key(s.Scope)
	if k == nil {
		return mismatch()
	}
	want := k.sign(s, sha256.Sum256(canonical))
	if subtle.ConstantTimeCompare(want[:], []byte(s.signature)) != 1 {
		return mismatch()
	}
	return nil
}

// checkScope compares the scope with what is expected. AWS tells everything that is
// wrong with it in one text.
func (s *Signed) checkScope(e Expect) *Failure {
	var b strings.Builder
	if !e.Region(s.Region) {
		b.WriteString("Credential should be scoped to a valid region, not '" + shown(s.Region) + "'. ")
	}
	if s.Service != e.Service {
		b.WriteString("Credential should be scoped to correct service: '" + e.Service + "'. ")
	}
	if s.terminator != terminator {
		b.WriteString("Credential should be scoped with a valid terminator: '" + terminator + "', not '" + shown(s.terminator) + "'. ")
	}
	if day := s.stamp[:len(dayFormat)]; day != s.Day {
		b.WriteString("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '" +
			shown(s.Day) + "' != '" + day + "', from '" + s.stamp + "'.")
	}
	if b.Len() == 0 {
		return nil
	}
	return invalid(b.String())
}

func (s *Signed) checkTime(e Expect) *Failure {
	life := e.Window
	if s.expires > 0 {
		life = s.expires
	}
	// Signatures carry whole seconds.
	now := e.Now.UTC().Truncate(time.Second)
	if oldest := now.Add(-life); s.Time.Before(oldest) {
		return invalid("Signature expired: " + s.Time.Format(dateFormat) + " is now earlier than " +
			oldest.Format(dateFormat) + " (" + now.Format(dateFormat) + " - " + spell(life) + ")")
	}
	if newest := now.Add(e.Window); s.Time.After(newest) {
		return invalid("Signature not yet current: " + s.Time.Format(dateFormat) + " is still later than " +
			newest.Format(dateFormat) + " (" + now.Format(dateFormat) + " + " + spell(e.Window) + ")")
	}
	return nil
}

// spell writes a duration as AWS does: "5 min.".
func spell(d time.Duration) string {
	if d%time.Minute == 0 {
		return strconv.Itoa(int(d/time.Minute)) + " min."
	}
	return strconv.Itoa(int(d/time.Second)) + " sec."
}

// SigningKey is the key that signatures of one day, region and service are made
// with. It is as good as the secret key for that day; printing it yields REDACTED.
type SigningKey struct {
	k [sha256.Size]byte
	// macs holds *mac of this key. They are as secret as the key, and live no longer.
	macs sync.Pool
}

// mac is a keyed HMAC, and room for what goes into it and comes out. Making one costs
// more than using it.
type mac struct {
	hash hash.Hash
	text [256]byte
	sum  [sha256.Size]byte
}

// Format and LogValue keep the key out of logs, whatever the verb.
func (*SigningKey) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("REDACTED")) }
func (*SigningKey) LogValue() slog.Value       { return slog.StringValue("REDACTED") }

// DeriveKey makes the signing key for a day (YYYYMMDD), region and service. It costs
// four HMACs; callers with many requests keep the result, under the secret key and
// all three, so that a replaced secret key takes its derived keys along.
func DeriveKey(secretKey []byte, day, region, service string) *SigningKey {
	k := make([]byte, 0, len("AWS4")+len(secretKey))
	k = append(append(k, "AWS4"...), secretKey...)
	sum := k
	for _, part := range [...]string{day, region, service, terminator} {
		m := hmac.New(sha256.New, sum)
		m.Write([]byte(part))
		sum = m.Sum(nil)
	}
	clear(k)
	return &SigningKey{k: [sha256.Size]byte(sum)}
}

// sign gives the signature, in hex, of s with a canonical request of the given hash.
// The scope in it is the one that was checked.
func (k *SigningKey) sign(s *Signed, canonical [sha256.Size]byte) [2 * sha256.Size]byte {
	m, ok := k.macs.Get().(*mac)
	if !ok {
		m = &mac{hash: hmac.New(sha256.New, k.k[:])}
	}
	b := append(m.text[:0], algorithm+"\n"...)
	b = append(b, s.stamp...)
	b = append(b, '\n')
	b = append(b, s.stamp[:len(dayFormat)]...)
	for _, part := range [...]string{s.Region, s.Service, terminator} {
		b = append(b, '/')
		b = append(b, part...)
	}
	b = append(b, '\n')
	b = hex.AppendEncode(b, canonical[:])
	m.hash.Reset()
	m.hash.Write(b)
	var out [2 * sha256.Size]byte
	hex.Encode(out[:], m.hash.Sum(m.sum[:0]))
	k.macs.Put(m)
	return out
}
