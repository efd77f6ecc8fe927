package server_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"arca/internal/call"
	"arca/internal/server"
	"arca/internal/wire"
)

const mismatch = `The request signature we calculated does not match the signature you provided.` +
	` Check your AWS Secret Access Key and signing method. Consult the service documentation for details.`

// TestSignatureFailures sends every failure of a signature that AWS has a text for.
func TestSignatureFailures(t *testing.T) {
	e := newEdge(t)
	now := time.Now().UTC()
	stamp := func(at time.Time) string { return at.UTC().Format("20060102T150405Z") }
	day := now.Format("20060102")
	auth := func(credential, headers string) func(*testing.T, *http.Request) {
		return func(t *testing.T, r *http.Request) {
			r.Header.Set("X-Amz-Date", stamp(now))
			r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+credential+", SignedHeaders="+headers+", Signature=00")
		}
	}
	good := func(t *testing.T, r *http.Request) {
		sign(t, r, body, credentials(), "secretsmanager", region, now)
	}
	tests := []struct {
		name          string
		change        func(t *testing.T, r *http.Request)
		code, message string // message is a pattern
	}{
		{"no authorization", func(*testing.T, *http.Request) {}, "MissingAuthenticationTokenException", "Request is missing Authentication Token"},
		{"unknown key", func(t *testing.T, r *http.Request) {
			sign(t, r, body, aws.Credentials{AccessKeyID: "AKIDOTHER", SecretAccessKey: "x"}, "secretsmanager", region, now)
		}, "UnrecognizedClientException", `The security token included in the request is invalid\.`},
		{"token nobody gave", func(t *testing.T, r *http.Request) {
			sign(t, r, body, aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secret, SessionToken: "x"}, "secretsmanager", region, now)
		}, "UnrecognizedClientException", `The security token included in the request is invalid\.`},
		{"expired token", func(t *testing.T, r *http.Request) {
			sign(t, r, body, aws.Credentials{AccessKeyID: "ASIAEXPIRED", SecretAccessKey: "x", SessionToken: "x"}, "secretsmanager", region, now)
		}, "ExpiredTokenException", `The security token included in the request is expired`},
		{"wrong secret", func(t *testing.T, r *http.Request) {
			sign(t, r, body, aws.Credentials{AccessKeyID: keyID, SecretAccessKey: "x"}, "secretsmanager", region, now)
		}, "InvalidSignatureException", regexp.QuoteMeta(mismatch)},
		{"other body", func(t *testing.T, r *http.Request) {
			sign(t, r, body+" ", credentials(), "secretsmanager", region, now)
		}, "InvalidSignatureException", regexp.QuoteMeta(mismatch)},
		{"other target", func(t *testing.T, r *http.Request) {
			good(t, r)
			r.Header.Set("X-Amz-Target", "secretsmanager.DeleteSecret")
		}, "InvalidSignatureException", regexp.QuoteMeta(mismatch)},
		{"unsigned payload", func(t *testing.T, r *http.Request) {
			r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
			err := v4.NewSigner().SignHTTP(t.Context(), credentials(), r, "UNSIGNED-PAYLOAD", "secretsmanager", region, now)
			if err != nil {
				t.Fatal(err)
			}
		}, "InvalidSignatureException", `The value of 'X-Amz-Content-Sha256' must be the SHA-256 of the request body, not 'UNSIGNED-PAYLOAD'\.`},
		{"streamed payload", func(t *testing.T, r *http.Request) {
			r.Header.Set("X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
			good(t, r)
		}, "InvalidSignatureException", `The value of 'X-Amz-Content-Sha256' must be .* not 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD'\.`},
		{"too old", func(t *testing.T, r *http.Request) {
			sign(t, r, body, credentials(), "secretsmanager", region, now.Add(-6*time.Minute))
		}, "InvalidSignatureException",
			`(Signature expired: \d{8}T\d{6}Z is now earlier than \d{8}T\d{6}Z \(\d{8}T\d{6}Z - 5 min\.\))`},
		{"in the future", func(t *testing.T, r *http.Request) {
			sign(t, r, body, credentials(), "secretsmanager", region, now.Add(6*time.Minute))
		}, "InvalidSignatureException",
			`(Signature not yet current: \d{8}T\d{6}Z is still later than \d{8}T\d{6}Z \(\d{8}T\d{6}Z \+ 5 min\.\))`},
		{"nothing but the algorithm", func(t *testing.T, r *http.Request) { r.Header.Set("Authorization", "AWS4-HMAC-SHA256") },
			"IncompleteSignatureException", `Authorization header requires 'Credential' parameter\. Authorization header requires 'Signature' parameter\.` +
				` Authorization header requires 'SignedHeaders' parameter\. Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header\.` +
				` \(Hashed with SHA-256 and encoded with Base64\) Authorization=.{43}=`},
		{"credential of four parts", auth(keyID+"/"+day+"/us-east-1/aws4_request", "host;x-amz-date;x-amz-target"), "IncompleteSignatureException",
			`Credential must have exactly 5 slash-delimited elements, e\.g\. keyid/date/region/service/term, got 'AKIDEXAMPLE/\d{8}/us-east-1/aws4_request'`},
		{"bad date", func(t *testing.T, r *http.Request) { good(t, r); r.Header.Set("X-Amz-Date", "now") }, "IncompleteSignatureException",
			`Date must be in ISO-8601 'basic format'\. Got 'now'\. See http://en\.wikipedia\.org/wiki/ISO_8601`},
		{"host not signed", auth(keyID+"/"+day+"/us-east-1/secretsmanager/aws4_request", "x-amz-date;x-amz-target"), "InvalidSignatureException",
			`'Host' must be a 'SignedHeader' in the AWS Authorization\.`},
		{"target not signed", auth(keyID+"/"+day+"/us-east-1/secretsmanager/aws4_request", "host;x-amz-date"), "InvalidSignatureException",
			`'X-Amz-Target' must be a 'SignedHeader' in the AWS Authorization\.`},
		{"other algorithm", func(t *testing.T, r *http.Request) {
			good(t, r)
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", 1))
		}, "IncompleteSignatureException", `Unsupported AWS 'algorithm': 'AWS4-ECDSA-P256-SHA256' \(only AWS4-HMAC-SHA256 for now\)\. `},
		{"region that is not served", func(t *testing.T, r *http.Request) {
			sign(t, r, body, credentials(), "secretsmanager", "eu-west-1", now)
		}, "InvalidSignatureException", `Credential should be scoped to a valid region, not 'eu-west-1'\. `},
		{"other service", func(t *testing.T, r *http.Request) { sign(t, r, body, credentials(), "kms", region, now) },
			"InvalidSignatureException", `Credential should be scoped to correct service: 'secretsmanager'\. `},
		{"region and service", func(t *testing.T, r *http.Request) { sign(t, r, body, credentials(), "kms", "eu-west-1", now) },
			"InvalidSignatureException", `Credential should be scoped to a valid region, not 'eu-west-1'\. Credential should be scoped to correct service: 'secretsmanager'\. `},
		{"terminator", auth(keyID+"/"+day+"/us-east-1/secretsmanager/aws5_request", "host;x-amz-date;x-amz-target"), "InvalidSignatureException",
			`Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5_request'\. `},
		{"scope date", auth(keyID+"/20200101/us-east-1/secretsmanager/aws4_request", "host;x-amz-date;x-amz-target"), "InvalidSignatureException",
			`Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20200101' != '\d{8}', from '\d{8}T\d{6}Z'\.`},
		{"header and query", func(t *testing.T, r *http.Request) {
			good(t, r)
			r.URL.RawQuery = "X-Amz-Algorithm=AWS4-HMAC-SHA256"
		}, "InvalidSignatureException", `Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header\.`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := request(t, here, body)
			tt.change(t, r)
			got := read(t, direct(e, r))
			var form struct {
				Type    string `json:"__type"`
				Message string `json:"message"`
			}
			dec := json.NewDecoder(strings.NewReader(got.body))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&form); err != nil {
				t.Fatalf("answer %q: %v", got.body, err)
			}
			if got.status != 400 || got.contentType != wire.ContentTypeJSON11 || form.Type != tt.code ||
				!regexp.MustCompile("^(?:"+tt.message+")$").MatchString(form.Message) {
				t.Errorf("answer = %+v, want 400 %s %s", got, tt.code, tt.message)
			}
		})
	}
	if len(e.calls) != 0 {
		t.Errorf("%d of the requests reached the dispatcher", len(e.calls))
	}
}

func TestPresigned(t *testing.T) {
	e := newEdge(t)
	presign := func(t *testing.T, expires string, when time.Time) *http.Request {
		r := request(t, here, body)
		r.URL.RawQuery = url.Values{"X-Amz-Expires": {expires}}.Encode()
		sum := sha256.Sum256([]byte(body))
		uri, headers, err := v4.NewSigner().PresignHTTP(t.Context(), credentials(), r, hex.EncodeToString(sum[:]), "secretsmanager", region, when)
		if err != nil {
			t.Fatal(err)
		}
		p, err := http.NewRequest("POST", uri, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		p.Header = headers
		p.Header.Del("Host")
		return p
	}
	tests := []struct {
		name    string
		request func(t *testing.T) *http.Request
		want    string
	}{
		{"fresh", func(t *testing.T) *http.Request { return presign(t, "60", time.Now()) }, `"SecretString":"value of db"`},
		{"old but not too old", func(t *testing.T) *http.Request { return presign(t, "3600", time.Now().Add(-59*time.Minute)) }, `"SecretString":"value of db"`},
		{"a week", func(t *testing.T) *http.Request { return presign(t, "604800", time.Now()) }, `"SecretString":"value of db"`},
		{"more than a week", func(t *testing.T) *http.Request { return presign(t, "604801", time.Now()) }, "X-Amz-Expires must be less than a week"},
		{"negative", func(t *testing.T) *http.Request { return presign(t, "-1", time.Now()) }, "X-Amz-Expires should be a number"},
		{"over", func(t *testing.T) *http.Request { return presign(t, "60", time.Now().Add(-62*time.Second)) }, "- 1 min.)"},
		{"other body", func(t *testing.T) *http.Request {
			r := presign(t, "60", time.Now())
			r.Body = io.NopCloser(strings.NewReader(`{"SecretId":"other"}`))
			return r
		}, mismatch},
		{"second target in a header", func(t *testing.T) *http.Request {
			r := presign(t, "60", time.Now())
			r.Header.Set("X-Amz-Target", target)
			return r
		}, "UnknownOperationException"},
		{"target changed", func(t *testing.T) *http.Request {
			r := presign(t, "60", time.Now())
			r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "GetSecretValue", "DescribeSecret", 1)
			return r
		}, mismatch},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := read(t, direct(e, tt.request(t)))
			if !strings.Contains(got.body, tt.want) {
				t.Errorf("answer = %+v, want %s", got, tt.want)
			}
		})
	}
}

// TestReplacedSecret makes sure that no key derived from an old secret survives it.
func TestReplacedSecret(t *testing.T) {
	e := newEdge(t)
	if got := read(t, direct(e, signed(t, here, body))); got.status != 200 {
		t.Fatalf("answer = %+v", got)
	}
	e.mu.Lock()
	e.secret = "another"
	e.mu.Unlock()
	if got := read(t, direct(e, signed(t, here, body))); !strings.Contains(got.body, mismatch) {
		t.Errorf("answer to the old secret = %+v", got)
	}
	r := request(t, here, body)
	sign(t, r, body, aws.Credentials{AccessKeyID: keyID, SecretAccessKey: "another"}, "secretsmanager", region, time.Now())
	if got := read(t, direct(e, r)); got.status != 200 {
		t.Errorf("answer to the new secret = %+v", got)
	}
}

// TestManyKeys makes sure that sessions, of which anybody can have any number, do not
// fill the memory with signing keys.
func TestManyKeys(t *testing.T) {
	kept, err := server.DeriveMany(10_000)
	if err != nil || kept > 8192 {
		t.Errorf("%d signing keys are kept, %v", kept, err)
	}
}

func TestAnyCredentials(t *testing.T) {
	e := newEdge(t, func(c *server.Config) {
		c.Verify = server.AnyCredentials("000000000000", []string{"us-east-1", "eu-west-1"})
	})
	tests := []struct {
		name, auth, query, wantKey, wantRegion string
	}{
		{"nothing", "", "", "", "us-east-1"},
		{"other scheme", "Bearer x", "", "", "us-east-1"},
		{"scope", "AWS4-HMAC-SHA256 Credential=foo/20200101/eu-west-1/s3/aws4_request, SignedHeaders=host, Signature=0", "", "foo", "eu-west-1"},
		{"region that is not served", "AWS4-HMAC-SHA256 Credential=foo/20200101/mars-1/s3/aws4_request", "", "foo", "us-east-1"},
		{"key of odd letters", "AWS4-HMAC-SHA256 Credential=f\"o/20200101/eu-west-1/s3/aws4_request", "", "", "eu-west-1"},
		{"presigned", "", "X-Amz-Credential=foo%2F20200101%2Feu-west-1%2Fs3%2Faws4_request", "foo", "eu-west-1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e.calls = nil
			r := request(t, here, body)
			r.URL.RawQuery = tt.query
			if tt.auth != "" {
				r.Header.Set("Authorization", tt.auth)
			}
			if got := read(t, direct(e, r)); got.status != 200 {
				t.Fatalf("answer = %+v", got)
			}
			c := e.calls[0]
			if c.Region != tt.wantRegion || c.Caller.AccessKeyID != tt.wantKey || c.Caller.Account != "000000000000" || c.Caller.Type != call.Root {
				t.Errorf("call by %+v in %s, want key %q in %s", c.Caller, c.Region, tt.wantKey, tt.wantRegion)
			}
		})
	}
}
