package sigv4

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"arca/internal/api"
)

// Kind is why a request has no verified principal. Each protocol has its own code
// for it; the text is the same in all.
type Kind int

const (
	// Missing: no signature at all.
	Missing Kind = iota + 1
	// Incomplete: there is a signature, but it cannot be read.
	Incomplete
	// Invalid: it can be read, and does not hold: wrong key, scope, time or content.
	Invalid
	// Unknown: nobody has this access key, or not with this session token.
	Unknown
	// Expired: the session token's time is over.
	Expired
)

// String names the kind, for metrics and logs.
func (k Kind) String() string {
	switch k {
	case Missing:
		return "missing"
	case Incomplete:
		return "incomplete"
	case Invalid:
		return "invalid"
	case Unknown:
		return "unknown_key"
	case Expired:
		return "expired_token"
	}
	return "none"
}

// Failure is the reason why a request has no verified principal. It is not an
// error value, so that a nil one is not mistaken for a failure.
type Failure struct {
	Kind    Kind
	Message string // as the client is to read it
}

// String is for logs. It may quote the request, never a key or a signature.
func (f *Failure) String() string { return f.Kind.String() + ": " + f.Message }

// API renders the failure as a service of the given protocol does.
func (f *Failure) API(p api.Protocol) *api.Error {
	return &api.Error{Code: f.code(p), Message: f.Message}
}

func (f *Failure) code(p api.Protocol) *api.Code {
	if p == api.Query {
		switch f.Kind {
		case Missing:
			return &api.Code{Name: "MissingAuthenticationToken", Status: 403}
		case Incomplete:
			return &api.Code{Name: "IncompleteSignature", Status: 400}
		case Unknown:
			return &api.Code{Name: "InvalidClientTokenId", Status: 403}
		case Expired:
			return &api.Code{Name: "ExpiredToken", Status: 403}
		}
		return &api.Code{Name: "SignatureDoesNotMatch", Status: 403}
	}
	status := 400
	if p == api.RESTJSON {
		status = 403
	}
	switch f.Kind {
	case Missing:
		return &api.Code{Name: "MissingAuthenticationTokenException", Status: status}
	case Incomplete:
		return &api.Code{Name: "IncompleteSignatureException", Status: status}
	case Unknown:
		return &api.Code{Name: "UnrecognizedClientException", Status: status}
	case Expired:
		return &api.Code{Name: "ExpiredTokenException", Status: status}
	}
	return &api.Code{Name: "InvalidSignatureException", Status: status}
}

// UnknownKey is the failure for an access key that nobody has, that is disabled,
// or that came without the session token it needs or with another one. A client
// cannot tell these apart.
func UnknownKey() *Failure {
	return &Failure{Unknown, "The security token included in the request is invalid."}
}

// ExpiredToken is the failure for a session token whose time is over.
func ExpiredToken() *Failure {
	return &Failure{Expired, "The security token included in the request is expired"}
}

func missing() *Failure {
	return &Failure{Missing, "Request is missing Authentication Token"}
}

func mismatch() *Failure {
	return &Failure{Invalid, "The request signature we calculated does not match the signature you provided." +
		" Check your AWS Secret Access Key and signing method. Consult the service documentation for details."}
}

func invalid(text string) *Failure    { return &Failure{Invalid, text} }
func incomplete(text string) *Failure { return &Failure{Incomplete, text} }

// hashed stands for an Authorization header in a text, as AWS's newer services
// write it: the header itself may hold another system's password.
func hashed(header string) string {
	sum := sha256.Sum256([]byte(header))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// shown makes a part of the request fit for quoting in an error text.
func shown(s string) string {
	const max = 256
	if len(s) > max {
		s = s[:max] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}
