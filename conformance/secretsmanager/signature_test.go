package secretsmanager_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

const textMismatch = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."

// authorization changes the Authorization header of a signed request.
func authorization(change func(string) string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", change(r.Header.Get("Authorization"))) }
}

func replace(pattern, with string) func(*http.Request) {
	re := regexp.MustCompile(pattern)
	return authorization(func(s string) string { return re.ReplaceAllString(s, with) })
}

// Requests whose signature does not hold, and what is said of them. The text is a
// regular expression: "" stands for any.
func TestSignatureFailures(t *testing.T) {
	newKit(t)
	const when = `[0-9]{8}T[0-9]{6}Z`
	for _, tc := range []struct {
		name       string
		req        rawRequest
		code, text string
	}{
		{"no signature", rawRequest{unsigned: true}, "MissingAuthenticationTokenException", ".*Missing Authentication Token|Request is missing Authentication Token"},
		{"unknown access key", rawRequest{creds: &aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "x"}},
			"UnrecognizedClientException", regexp.QuoteMeta("The security token included in the request is invalid.")},
		{"wrong secret key", rawRequest{change: replace(`Signature=.*`, "Signature="+strings.Repeat("0", 64))}, "InvalidSignatureException", regexp.QuoteMeta(textMismatch)},
		{"body changed", rawRequest{change: func(r *http.Request) {
			other := rawRequest{op: "ListSecrets", body: `{"MaxResults":2}`}.build(t)
			r.Body, r.ContentLength, r.GetBody = other.Body, other.ContentLength, other.GetBody
		}}, "InvalidSignatureException", regexp.QuoteMeta(textMismatch)},
		{"operation changed", rawRequest{change: func(r *http.Request) { r.Header.Set("X-Amz-Target", "secretsmanager.GetRandomPassword") }},
			"InvalidSignatureException", regexp.QuoteMeta(textMismatch)},
		{"query added", rawRequest{change: func(r *http.Request) { r.URL.RawQuery = "x=1" }}, "InvalidSignatureException", regexp.QuoteMeta(textMismatch)},
		{"expired", rawRequest{at: time.Now().Add(-6 * time.Minute)}, "InvalidSignatureException",
			"Signature expired: " + when + " is now earlier than " + when + ` \(` + when + ` - 5 min\.\)`},
		{"not yet current", rawRequest{at: time.Now().Add(6 * time.Minute)}, "InvalidSignatureException",
			"Signature not yet current: " + when + " is still later than " + when + ` \(` + when + ` \+ 5 min\.\)`},
		{"service of the scope", rawRequest{service: "kms"}, "InvalidSignatureException", regexp.QuoteMeta("Credential should be scoped to correct service: 'secretsmanager'. ")},
		{"region of the scope", rawRequest{region: "mars-north-1"}, "InvalidSignatureException", "Credential should be scoped to a valid region.*"},
		{"both", rawRequest{region: "mars-north-1", service: "s3"}, "InvalidSignatureException",
			"Credential should be scoped to a valid region.* Credential should be scoped to correct service: 'secretsmanager'. "},
		{"terminator", rawRequest{change: replace(`aws4_request`, "aws5_request")}, "InvalidSignatureException", "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5_request'. "},
		{"date of the scope", rawRequest{change: replace(`/[0-9]{8}/`, "/20200101/")}, "InvalidSignatureException",
			"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20200101' != '[0-9]{8}', from '" + when + "'."},
		{"host not signed", rawRequest{change: replace(`host;`, "")}, "", "'Host' must be a 'SignedHeader' in the AWS Authorization."},
		{"four parts", rawRequest{change: replace(`/secretsmanager/`, "/")}, "IncompleteSignatureException",
			"Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '.*'"},
		{"no credential", rawRequest{change: replace(`Credential=[^,]*, `, "")}, "IncompleteSignatureException", "Authorization header requires 'Credential' parameter.*"},
		{"no signature part", rawRequest{change: replace(`, Signature=.*`, "")}, "IncompleteSignatureException", "Authorization header requires 'Signature' parameter.*"},
		{"no signed headers", rawRequest{change: replace(`SignedHeaders=[^,]*, `, "")}, "IncompleteSignatureException", "Authorization header requires 'SignedHeaders' parameter.*"},
		{"no date", rawRequest{change: func(r *http.Request) { r.Header.Del("X-Amz-Date") }}, "IncompleteSignatureException", ".*existence of either a 'X-Amz-Date' or a 'Date' header.*"},
		{"bad date", rawRequest{change: func(r *http.Request) { r.Header.Set("X-Amz-Date", "yesterday") }}, "",
			"Date must be in ISO-8601 'basic format'. Got 'yesterday'. See http://en.wikipedia.org/wiki/ISO_8601"},
		{"other algorithm", rawRequest{change: replace(`AWS4-HMAC-SHA256`, "AWS4-HMAC-MD5")}, "IncompleteSignatureException", `Unsupported AWS 'algorithm': 'AWS4-HMAC-MD5'.*`},
		{"header and query", rawRequest{change: func(r *http.Request) { r.URL.RawQuery = "X-Amz-Algorithm=AWS4-HMAC-SHA256" }}, "InvalidSignatureException",
			"Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header."},
		{"not a signature", rawRequest{change: authorization(func(string) string { return "Basic dGVzdDp0ZXN0" })}, "", ""},
		{"unsigned payload", rawRequest{header: http.Header{"X-Amz-Content-Sha256": {"UNSIGNED-PAYLOAD"}}}, "InvalidSignatureException", ""},
		{"token of a lasting key", rawRequest{creds: &aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test", SessionToken: "made-up"}}, "UnrecognizedClientException", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.name == "token of a lasting key" {
				ours(t, "the key is Arca's")
			}
			tc.req.op, tc.req.body = "ListSecrets", `{"MaxResults":1}`
			a := tc.req.send(t)
			var e map[string]string
			if err := json.Unmarshal([]byte(a.body), &e); err != nil {
				t.Fatalf("error body %q: %v", a.body, err)
			}
			if a.status != http.StatusBadRequest || tc.code != "" && e["__type"] != tc.code {
				t.Errorf("answer %d %s, want 400 %s", a.status, a.body, tc.code)
			}
			if _, ok := e["message"]; !ok || len(e) != 2 {
				t.Errorf("the answer %s should have the members __type and message", a.body)
			}
			if tc.text != "" && !regexp.MustCompile("^(?:"+tc.text+")$").MatchString(e["message"]) {
				t.Errorf("message = %q, want %q", e["message"], tc.text)
			}
		})
	}
}

// Four minutes off is still in time, either way.
func TestSignatureClockWindow(t *testing.T) {
	newKit(t)
	for _, off := range []time.Duration{-4 * time.Minute, 4 * time.Minute} {
		a := rawRequest{op: "ListSecrets", body: `{"MaxResults":1}`, at: time.Now().Add(off)}.send(t)
		if a.status != http.StatusOK {
			t.Errorf("%v off: answer %d %s", off, a.status, a.body)
		}
	}
}

// Every region has its own secrets, and the region is that of the signature.
func TestSignatureRegions(t *testing.T) {
	ours(t, "there, regions have hosts of their own")
	k := newKit(t)
	name, _ := k.secret("s", "v")
	a := rawRequest{op: "DescribeSecret", body: `{"SecretId":"` + name + `"}`, region: "eu-central-1"}.send(t)
	refused(t, a, "ResourceNotFoundException", textNoSecret)
	for region, partition := range map[string]string{"eu-central-1": "aws", "cn-north-1": "aws-cn", "us-gov-west-1": "aws-us-gov"} {
		a := rawRequest{op: "CreateSecret", body: `{"Name":"` + name + `","ClientRequestToken":"` + token() + `"}`, region: region}.send(t)
		if want := `"ARN":"arn:` + partition + `:secretsmanager:` + region + `:`; a.status != http.StatusOK || !strings.Contains(a.body, want) {
			t.Errorf("answer %d %s, want an ARN of %s in %s", a.status, a.body, region, partition)
		}
	}
}
