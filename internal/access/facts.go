package access

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"arca/internal/call"
	"arca/internal/iam"
	"arca/internal/policy"
)

// facts are the condition keys of one request. The operation's own keys come first;
// the global ones are worked out when a policy asks for them.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
type facts struct {
	keys            []policy.ContextKey
	more            policy.Context // nil for none
	caller          *call.Principal
	tags            []iam.Tag // of the user or role
	resourceAccount string
	organization    string

	now    time.Time // zero when the time is not known
	region string

	// The connection; known is false for a request that somebody only asks about.
	known     bool
	tls       bool
	sourceIP  string
	userAgent string
}

// ofCall adds what the call itself tells. The time is the call's: a development clock
// that was moved moves conditions on dates with it. When a session began is real time.
func (f *facts) ofCall(c *call.Call) {
	f.now, f.region = c.Now, c.Region
	f.known, f.tls, f.sourceIP, f.userAgent = true, c.Secure, c.SourceIP, c.UserAgent
	if len(f.userAgent) > maxUserAgent {
		f.userAgent = f.userAgent[:maxUserAgent]
	}
}

// maxUserAgent is how much of the user agent policies see. It is the one key whose value
// the caller could make longer than any pattern is meant for.
const maxUserAgent = 1024

// dateForm is how condition keys write times.
const dateForm = "2006-01-02T15:04:05Z"

const principalTag = "aws:principaltag/"

// Lookup implements policy.Context.
func (f *facts) Lookup(dst []string, key string) ([]string, bool) {
	found := false
	for i := range f.keys {
		if k := &f.keys[i]; sameKey(k.Name, key) {
			dst, found = append(dst, k.Values...), true
		}
	}
	if found {
		return dst, true
	}
	if f.more != nil {
		if values, ok := f.more.Lookup(dst, key); ok {
			return values, true
		}
	}
	value, ok := f.global(key)
	if ok {
		return append(dst, value), true
	}
	if session := f.caller.Session; session != nil {
		for i := range session.Claims {
			if k := &session.Claims[i]; sameKey(k.Name, key) {
				return append(dst, k.Values...), true
			}
		}
	}
	return dst, false
}

// sameKey reports whether two names of a condition key, or two keys of tags, are the
// same. There is one rule for all of them, wherever they are compared: a tag that one
// place takes for the same and the next for another could be set past a condition on it.
func sameKey(a, b string) bool {
	if a == "" || b == "" {
		return a == b
	}
	// Most names differ in their last letter already. Beyond ASCII, letters of different
	// length can be the same.
	x, y := a[len(a)-1], b[len(b)-1]
	if x < utf8.RuneSelf && y < utf8.RuneSelf && x|0x20 != y|0x20 {
		return false
	}
	return strings.EqualFold(a, b)
}

// global is the value of a key that AWS adds to the requests of every service. What is
// not here, such as aws:SourceVpc or aws:CalledVia, no request has.
func (f *facts) global(key string) (value string, ok bool) {
	if !strings.HasPrefix(key, "aws:") {
		return "", false
	}
	if strings.HasPrefix(key, principalTag) {
		return f.principalTag(key[len(principalTag):])
	}
	switch key {
	case "aws:currenttime":
		return f.now.UTC().Format(dateForm), !f.now.IsZero()
	case "aws:epochtime":
		return strconv.FormatInt(f.now.Unix(), 10), !f.now.IsZero()
	case "aws:requestedregion":
		return some(f.region)
	case "aws:resourceaccount":
		return some(f.resourceAccount)
	case "aws:resourceorgid":
		return f.organization, f.organization != "" && f.resourceAccount != ""
	case "aws:viaawsservice":
		return "false", true
	case "aws:sourceip":
		return some(f.sourceIP)
	case "aws:useragent":
		return some(f.userAgent)
	case "aws:securetransport":
		return strconv.FormatBool(f.tls), f.known
	}
	return f.ofCaller(key)
}

func some(value string) (string, bool) { return value, value != "" }

// ofCaller is the value of a key that tells who calls.
func (f *facts) ofCaller(key string) (value string, ok bool) {
	p := f.caller
	signed := p.Type == call.Root || p.Type == call.IAMUser || p.Type == call.AssumedRole
	switch key {
	case "aws:principalarn":
		if p.Type == call.AssumedRole {
			return p.Session.IssuerARN, true
		}
		return p.ARN, signed
	case "aws:principalaccount":
		return p.Account, signed
	case "aws:principalorgid":
		return f.organization, signed && f.organization != ""
	case "aws:principaltype":
		return principalType(p.Type)
	case "aws:userid":
		return p.ID, signed
	case "aws:username":
		return p.UserName, p.Type == call.IAMUser
	case "aws:principalisawsservice":
		return strconv.FormatBool(p.Type == call.AWSService), signed || p.Type == call.AWSService
	case "aws:principalservicename", "aws:principalservicenameslist":
		return p.ID, p.Type == call.AWSService
	case "aws:federatedprovider":
		if p.Session != nil {
			return some(p.Session.Provider)
		}
		return some(p.Provider)
	}
	session := p.Session
	if session == nil || !signed {
		return "", false
	}
	switch key {
	case "aws:tokenissuetime":
		if session.Issued.IsZero() { // one that somebody only asks about begins now
			return f.now.UTC().Format(dateForm), !f.now.IsZero()
		}
		return session.Issued.UTC().Format(dateForm), true
	case "aws:multifactorauthpresent":
		return "false", true // there are no devices
	case "aws:sourceidentity":
		return some(session.SourceIdentity)
	}
	return "", false
}

func principalType(t call.PrincipalType) (string, bool) {
	switch t {
	case call.Root:
		return "Account", true
	case call.IAMUser:
		return "User", true
	case call.AssumedRole:
		return "AssumedRole", true
	case call.Anonymous:
		return "Anonymous", true
	}
	return "", false
}

// principalTag is a tag of the caller. Those of the session hide those of the role or
// user.
func (f *facts) principalTag(key string) (string, bool) {
	if f.caller.Session != nil {
		for _, t := range f.caller.Session.Tags {
			if sameKey(t.Key, key) {
				return t.Value, true
			}
		}
	}
	for _, t := range f.tags {
		if sameKey(t.Key, key) {
			return t.Value, true
		}
	}
	return "", false
}
