package sigv4_test

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"arca/internal/api"
	"arca/internal/sigv4"
)

// The credentials and the scope of AWS's published cases.
const (
	exampleKey    = "AKIDEXAMPLE"
	exampleSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	exampleScope  = "20150830/us-east-1/service/aws4_request"
	exampleDate   = "20150830T123600Z"
)

var exampleTime = time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)

func expect() sigv4.Expect {
	return sigv4.Expect{
		Service: "service",
		Region:  func(r string) bool { return r == "us-east-1" },
		Now:     exampleTime,
		Window:  5 * time.Minute,
	}
}

func verify(r *sigv4.Request, e sigv4.Expect, body string, secret string) *sigv4.Failure {
	var s sigv4.Signed
	if f := s.Parse(r); f != nil {
		return f
	}
	return s.Verify(e, sha256.Sum256([]byte(body)), derive(secret))
}

func derive(secret string) func(sigv4.Scope) *sigv4.SigningKey {
	return func(s sigv4.Scope) *sigv4.SigningKey {
		return sigv4.DeriveKey([]byte(secret), s.Day, s.Region, s.Service)
	}
}

func authorization(scope, headers, signature string) string {
	return "AWS4-HMAC-SHA256 Credential=" + exampleKey + "/" + scope + ", SignedHeaders=" + headers + ", Signature=" + signature
}

// TestPublished holds requests and signatures that AWS has published for this key,
// in its test suite and in the IAM user guide.
func TestPublished(t *testing.T) {
	type header = map[string][]string
	tests := []struct {
		name, method, path, query, body string
		header                          header
		headers, signature              string
	}{
		{name: "plain", method: "GET", path: "/", headers: "host;x-amz-date",
			signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{name: "path resolves to the root", method: "GET", path: "/example1/example2/../..", headers: "host;x-amz-date",
			signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{name: "empty segments", method: "GET", path: "//", headers: "host;x-amz-date",
			signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{name: "path of other letters", method: "GET", path: "/ሴ", headers: "host;x-amz-date",
			signature: "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"},
		{name: "unreserved path", method: "GET", headers: "host;x-amz-date",
			path:      "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
			signature: "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"},
		{name: "query sorted", method: "GET", path: "/", query: "Param2=value2&Param1=value1", headers: "host;x-amz-date",
			signature: "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
		{name: "one parameter", method: "GET", path: "/", query: "Param1=value1", headers: "host;x-amz-date",
			signature: "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
		{name: "header given twice", method: "GET", path: "/", header: header{"My-Header1": {"value2", "value2", "value1"}},
			headers:   "host;my-header1;x-amz-date",
			signature: "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"},
		{name: "spaces in headers", method: "GET", path: "/", header: header{"My-Header1": {" value1"}, "My-Header2": {` "a   b   c"`}},
			headers:   "host;my-header1;my-header2;x-amz-date",
			signature: "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
		{name: "post", method: "POST", path: "/", headers: "host;x-amz-date",
			signature: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
		{name: "post with a form", method: "POST", path: "/", body: "Param1=value1",
			header:    header{"Content-Type": {"application/x-www-form-urlencoded"}},
			headers:   "content-type;host;x-amz-date",
			signature: "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &sigv4.Request{Method: tt.method, Path: tt.path, RawQuery: tt.query, Host: "example.amazonaws.com", Header: tt.header}
			if r.Header == nil {
				r.Header = header{}
			}
			r.Header["X-Amz-Date"] = []string{exampleDate}
			r.Header["Authorization"] = []string{authorization(exampleScope, tt.headers, tt.signature)}
			if f := verify(r, expect(), tt.body, exampleSecret); f != nil {
				t.Errorf("Verify = %v", f)
			}
		})
	}
}

// TestPublishedIAM is the worked example of the IAM user guide.
func TestPublishedIAM(t *testing.T) {
	r := &sigv4.Request{Method: "GET", Path: "/", RawQuery: "Action=ListUsers&Version=2010-05-08", Host: "iam.amazonaws.com",
		Header: map[string][]string{
			"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"},
			"X-Amz-Date":   {exampleDate},
			"Authorization": {authorization("20150830/us-east-1/iam/aws4_request", "content-type;host;x-amz-date",
				"5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7")},
		}}
	e := expect()
	e.Service = "iam"
	if f := verify(r, e, "", exampleSecret); f != nil {
		t.Errorf("Verify = %v", f)
	}
}

// plain is the first of the published requests.
func plain() *sigv4.Request {
	return &sigv4.Request{Method: "GET", Path: "/", Host: "example.amazonaws.com", Header: map[string][]string{
		"X-Amz-Date": {exampleDate},
		"Authorization": {authorization(exampleScope, "host;x-amz-date",
			"5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31")},
	}}
}

const (
	mismatch = "The request signature we calculated does not match the signature you provided." +
		" Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
	vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
)

func TestRefuses(t *testing.T) {
	setAuth := func(v ...string) func(*sigv4.Request, *sigv4.Expect) {
		return func(r *sigv4.Request, _ *sigv4.Expect) { r.Header["Authorization"] = v }
	}
	at := func(now time.Time) func(*sigv4.Request, *sigv4.Expect) {
		return func(_ *sigv4.Request, e *sigv4.Expect) { e.Now = now }
	}
	set := func(name string, v ...string) func(*sigv4.Request, *sigv4.Expect) {
		return func(r *sigv4.Request, _ *sigv4.Expect) { r.Header[name] = v }
	}
	tests := []struct {
		name   string
		change func(*sigv4.Request, *sigv4.Expect)
		kind   sigv4.Kind
		want   string
	}{
		{"no authorization", setAuth(), sigv4.Missing, "Request is missing Authentication Token"},
		{"empty authorization", setAuth(""), sigv4.Missing, "Request is missing Authentication Token"},
		{"two authorizations", setAuth("a", "b"), sigv4.Incomplete, "There must be only one 'Authorization' header."},
		{"algorithm alone", setAuth("AWS4-HMAC-SHA256"), sigv4.Incomplete,
			"Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter." +
				" Authorization header requires 'SignedHeaders' parameter." +
				" (Hashed with SHA-256 and encoded with Base64) Authorization=YI2YWea8FSxnksZL2ETHbs5elHm9HQufxTLK0W0ffV0="},
		{"nothing and no date", func(r *sigv4.Request, _ *sigv4.Expect) {
			r.Header = map[string][]string{"Authorization": {"AWS4-HMAC-SHA256"}}
		}, sigv4.Incomplete,
			"Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter." +
				" Authorization header requires 'SignedHeaders' parameter." +
				" Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header." +
				" (Hashed with SHA-256 and encoded with Base64) Authorization=YI2YWea8FSxnksZL2ETHbs5elHm9HQufxTLK0W0ffV0="},
		{"bearer", setAuth("Bearer abc"), sigv4.Incomplete,
			"Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and encoded with Base64):" +
				" 'w1Xc6WwWEogNEZQP/dkBTThsJT4MNlKmzQanIm970rY='."},
		{"part twice", setAuth(authorization(exampleScope, "host;x-amz-date", vanilla) + ", Signature=" + vanilla), sigv4.Incomplete,
			"Authorization header holds 'Signature' more than once."},
		{"bad date", set("X-Amz-Date", "yesterday"), sigv4.Incomplete,
			"Date must be in ISO-8601 'basic format'. Got 'yesterday'. See http://en.wikipedia.org/wiki/ISO_8601"},
		{"fraction of a second", set("X-Amz-Date", "20150830T123600.5Z"), sigv4.Incomplete,
			"Date must be in ISO-8601 'basic format'. Got '20150830T123600.5Z'. See http://en.wikipedia.org/wiki/ISO_8601"},
		{"two dates", set("X-Amz-Date", exampleDate, exampleDate), sigv4.Incomplete, "There must be only one 'X-Amz-Date' header."},
		{"host not signed", setAuth(authorization(exampleScope, "x-amz-date", vanilla)), sigv4.Invalid,
			"'Host' must be a 'SignedHeader' in the AWS Authorization."},
		{"date not signed", setAuth(authorization(exampleScope, "host", vanilla)), sigv4.Invalid,
			"'X-Amz-Date' must be a 'SignedHeader' in the AWS Authorization."},
		{"target not signed", set("X-Amz-Target", "a.B"), sigv4.Invalid,
			"'X-Amz-Target' must be a 'SignedHeader' in the AWS Authorization."},
		{"token not signed", set("X-Amz-Security-Token", "t"), sigv4.Invalid,
			"'X-Amz-Security-Token' must be a 'SignedHeader' in the AWS Authorization."},
		{"signed headers out of order", setAuth(authorization(exampleScope, "x-amz-date;host", vanilla)), sigv4.Incomplete,
			"'SignedHeaders' must be header names in lower case, sorted, each once."},
		{"signed header that is not there", setAuth(authorization(exampleScope, "accept;host;x-amz-date", vanilla)), sigv4.Invalid, mismatch},
		{"other algorithm", setAuth("AWS4-ECDSA-P256-SHA256 Credential=AKIDEXAMPLE/20150830/service/aws4_request," +
			" SignedHeaders=host;x-amz-date, Signature=00"), sigv4.Incomplete,
			"Unsupported AWS 'algorithm': 'AWS4-ECDSA-P256-SHA256' (only AWS4-HMAC-SHA256 for now). "},
		{"four parts", setAuth(authorization("20150830/us-east-1/aws4_request", "host;x-amz-date", vanilla)), sigv4.Incomplete,
			"Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term," +
				" got 'AKIDEXAMPLE/20150830/us-east-1/aws4_request'"},
		{"region", setAuth(authorization("20150830/eu-west-1/service/aws4_request", "host;x-amz-date", vanilla)), sigv4.Invalid,
			"Credential should be scoped to a valid region, not 'eu-west-1'. "},
		{"service", setAuth(authorization("20150830/us-east-1/other/aws4_request", "host;x-amz-date", vanilla)), sigv4.Invalid,
			"Credential should be scoped to correct service: 'service'. "},
		{"terminator", setAuth(authorization("20150830/us-east-1/service/aws5_request", "host;x-amz-date", vanilla)), sigv4.Invalid,
			"Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5_request'. "},
		{"day", setAuth(authorization("20150829/us-east-1/service/aws4_request", "host;x-amz-date", vanilla)), sigv4.Invalid,
			"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP:" +
				" '20150829' != '20150830', from '20150830T123600Z'."},
		{"whole scope", setAuth(authorization("20150829/eu-west-1/other/x", "host;x-amz-date", vanilla)), sigv4.Invalid,
			"Credential should be scoped to a valid region, not 'eu-west-1'. Credential should be scoped to correct service: 'service'. " +
				"Credential should be scoped with a valid terminator: 'aws4_request', not 'x'. " +
				"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP:" +
				" '20150829' != '20150830', from '20150830T123600Z'."},
		{"too old", at(exampleTime.Add(5*time.Minute + time.Second)), sigv4.Invalid,
			"Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T124101Z - 5 min.)"},
		{"too early", at(exampleTime.Add(-5*time.Minute - time.Second)), sigv4.Invalid,
			"Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z (20150830T123059Z + 5 min.)"},
		{"signature differs", setAuth(authorization(exampleScope, "host;x-amz-date", "6"+vanilla[1:])), sigv4.Invalid, mismatch},
		{"signature too long", setAuth(authorization(exampleScope, "host;x-amz-date", vanilla+"0")), sigv4.Invalid, mismatch},
		{"parameters without end", func(r *sigv4.Request, _ *sigv4.Expect) { r.RawQuery = strings.Repeat("a&", 1001) }, sigv4.Invalid, mismatch},
		{"both forms", func(r *sigv4.Request, _ *sigv4.Expect) { r.RawQuery = "X-Amz-Algorithm=AWS4-HMAC-SHA256" }, sigv4.Invalid,
			"Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header."},
		{"query of nothing but an algorithm", func(r *sigv4.Request, _ *sigv4.Expect) {
			r.RawQuery = "X-Amz-Algorithm=AWS4-HMAC-SHA256"
			delete(r.Header, "Authorization")
		}, sigv4.Incomplete,
			"AWS query-string parameters must include 'X-Amz-Credential'. AWS query-string parameters must include 'X-Amz-Signature'. " +
				"AWS query-string parameters must include 'X-Amz-SignedHeaders'. AWS query-string parameters must include 'X-Amz-Date'. " +
				"Re-examine the query-string parameters."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, e := plain(), expect()
			tt.change(r, &e)
			f := verify(r, e, "", exampleSecret)
			if f == nil || f.Kind != tt.kind || f.Message != tt.want {
				t.Errorf("Verify = %v, want %v: %s", f, tt.kind, tt.want)
			}
		})
	}
}

func TestWindowIsInclusive(t *testing.T) {
	for _, off := range []time.Duration{-5 * time.Minute, 0, 5*time.Minute + 900*time.Millisecond} {
		e := expect()
		e.Now = exampleTime.Add(off)
		if f := verify(plain(), e, "", exampleSecret); f != nil {
			t.Errorf("Verify %v later = %v", off, f)
		}
	}
}

func TestSpacing(t *testing.T) {
	for _, auth := range []string{
		"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/" + exampleScope + ",SignedHeaders=host;x-amz-date,Signature=" + vanilla,
		"AWS4-HMAC-SHA256  Signature=" + vanilla + " ,  SignedHeaders=host;x-amz-date, Credential=AKIDEXAMPLE/" + exampleScope,
	} {
		r := plain()
		r.Header["Authorization"] = []string{auth}
		if f := verify(r, expect(), "", exampleSecret); f != nil {
			t.Errorf("Verify(%q) = %v", auth, f)
		}
	}
}

func TestCodes(t *testing.T) {
	tests := []struct {
		kind     sigv4.Kind
		protocol api.Protocol
		code     string
		status   int
	}{
		{sigv4.Missing, api.JSON11, "MissingAuthenticationTokenException", 400},
		{sigv4.Incomplete, api.JSON11, "IncompleteSignatureException", 400},
		{sigv4.Invalid, api.JSON11, "InvalidSignatureException", 400},
		{sigv4.Unknown, api.JSON11, "UnrecognizedClientException", 400},
		{sigv4.Expired, api.JSON11, "ExpiredTokenException", 400},
		{sigv4.Missing, api.Query, "MissingAuthenticationToken", 403},
		{sigv4.Incomplete, api.Query, "IncompleteSignature", 400},
		{sigv4.Invalid, api.Query, "SignatureDoesNotMatch", 403},
		{sigv4.Unknown, api.Query, "InvalidClientTokenId", 403},
		{sigv4.Expired, api.Query, "ExpiredToken", 403},
		{sigv4.Invalid, api.RESTJSON, "InvalidSignatureException", 403},
	}
	for _, tt := range tests {
		got := (&sigv4.Failure{Kind: tt.kind, Message: "m"}).API(tt.protocol)
		if got.Code.Name != tt.code || got.Code.Status != tt.status || got.Message != "m" {
			t.Errorf("%v in protocol %v = %v %d, want %v %d", tt.kind, tt.protocol, got.Code.Name, got.Code.Status, tt.code, tt.status)
		}
	}
}

func TestSigningKeyIsNotPrinted(t *testing.T) {
	k := sigv4.DeriveKey([]byte(exampleSecret), "20150830", "us-east-1", "iam")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
		if got := fmt.Sprintf(verb, k); got != "REDACTED" {
			t.Errorf("%s prints %s", verb, got)
		}
	}
	if got := k.LogValue().String(); got != "REDACTED" {
		t.Errorf("LogValue = %s", got)
	}
}

// TestKeyUsedAgain verifies good and bad requests with one key, many at a time: what a
// key keeps between signatures must not show in them.
func TestKeyUsedAgain(t *testing.T) {
	key := sigv4.DeriveKey([]byte(exampleSecret), "20150830", "us-east-1", "service")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 200 {
				r, good := plain(), i%3 > 0
				if !good {
					r.Path = "/other"
				}
				var s sigv4.Signed
				f := s.Parse(r)
				if f == nil {
					f = s.Verify(expect(), sha256.Sum256(nil), func(sigv4.Scope) *sigv4.SigningKey { return key })
				}
				if (f == nil) != good {
					t.Errorf("Verify %d = %v", i, f)
				}
			}
		})
	}
	all.Wait()
}

// TestNoKey: without a key nothing verifies.
func TestNoKey(t *testing.T) {
	var s sigv4.Signed
	if f := s.Parse(plain()); f != nil {
		t.Fatal(f)
	}
	if f := s.Verify(expect(), sha256.Sum256(nil), func(sigv4.Scope) *sigv4.SigningKey { return nil }); f == nil || f.Message != mismatch {
		t.Errorf("Verify = %v", f)
	}
}

// TestAllocations: a request that verifies with a key that is there costs none of its own.
func TestAllocations(t *testing.T) {
	key := sigv4.DeriveKey([]byte(exampleSecret), "20150830", "us-east-1", "service")
	r, e, sum := plain(), expect(), sha256.Sum256(nil)
	get := func(sigv4.Scope) *sigv4.SigningKey { return key }
	// The pool of states may be emptied at any time, and is under the race detector.
	if n := testing.AllocsPerRun(100, func() {
		var s sigv4.Signed
		if f := s.Parse(r); f != nil || s.Verify(e, sum, get) != nil {
			t.Fatal("does not verify")
		}
	}); n > 4 {
		t.Errorf("%v allocations", n)
	}
}
