package secretsmanager_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// presign makes a request whose signature stands in the URL, with the SDK's signer.
// That one moves X-Amz-Target into the URL, too.
func presign(t *testing.T, r rawRequest, expires time.Duration) *http.Request {
	t.Helper()
	creds, service, region, at := r.scope(t)
	r.unsigned = true
	req := r.build(t)
	q := req.URL.Query()
	q.Set("X-Amz-Expires", jsonNumber(expires))
	req.URL.RawQuery = q.Encode()
	signed, headers, err := v4.NewSigner().PresignHTTP(t.Context(), creds, req, r.hash(), service, region, at)
	if err != nil {
		t.Fatal(err)
	}
	out, err := http.NewRequestWithContext(t.Context(), http.MethodPost, signed, bytes.NewReader([]byte(r.body)))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range headers {
		if name != "Host" && name != "Content-Length" {
			out.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	return out
}

func jsonNumber(d time.Duration) string {
	b, _ := json.Marshal(int(d / time.Second)) // an int can always be encoded
	return string(b)
}

func TestPresigned(t *testing.T) {
	k := newKit(t)
	name, _ := k.secret("s", "presigned ✓")
	body := `{"SecretId":"` + name + `"}`
	for what, at := range map[string]time.Time{"fresh": time.Now(), "20 minutes old": time.Now().Add(-20 * time.Minute)} {
		req := presign(t, rawRequest{op: "GetSecretValue", body: body, at: at}, time.Hour)
		if !strings.Contains(req.URL.RawQuery, "X-Amz-Target=") {
			t.Fatalf("the signer left the target in the header: %s", req.URL.RawQuery)
		}
		a := exchange(t, req)
		if a.status != http.StatusOK || !strings.Contains(a.body, "presigned ✓") {
			t.Errorf("%s: answer %d %s", what, a.status, a.body)
		}
	}
}

// A whole week is the longest life.
func TestPresignedLongest(t *testing.T) {
	newKit(t)
	a := exchange(t, presign(t, rawRequest{op: "ListSecrets", body: `{"MaxResults":1}`, at: time.Now().Add(-6 * 24 * time.Hour)}, 7*24*time.Hour))
	if a.status != http.StatusOK {
		t.Errorf("answer %d %s", a.status, a.body)
	}
}

func TestPresignedFailures(t *testing.T) {
	newKit(t)
	const body = `{"MaxResults":1}`
	// edit changes a parameter of the finished URL; "" removes it.
	edit := func(name, value string) func(*http.Request) {
		return func(r *http.Request) {
			q := r.URL.Query()
			q.Del(name)
			if value != "" {
				q.Set(name, value)
			}
			r.URL.RawQuery = q.Encode()
		}
	}
	for _, tc := range []struct {
		name    string
		req     rawRequest
		expires time.Duration
		change  func(*http.Request)
	}{
		{"expired", rawRequest{at: time.Now().Add(-2 * time.Hour)}, time.Hour, nil},
		{"of the future", rawRequest{at: time.Now().Add(time.Hour)}, time.Hour, nil},
		{"longer than a week", rawRequest{}, 8 * 24 * time.Hour, nil},
		{"life changed", rawRequest{}, time.Hour, edit("X-Amz-Expires", "7200")},
		{"without a life", rawRequest{}, time.Hour, edit("X-Amz-Expires", "")},
		{"other operation", rawRequest{}, time.Hour, edit("X-Amz-Target", "secretsmanager.GetRandomPassword")},
		{"operation named twice", rawRequest{}, time.Hour, func(r *http.Request) { r.Header.Set("X-Amz-Target", "secretsmanager.GetRandomPassword") }},
		{"other key", rawRequest{creds: &aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "x"}}, time.Hour, nil},
		{"other service", rawRequest{service: "kms"}, time.Hour, nil},
		{"no signature", rawRequest{}, time.Hour, edit("X-Amz-Signature", "")},
		{"other signature", rawRequest{}, time.Hour, edit("X-Amz-Signature", strings.Repeat("0", 64))},
		{"parameter twice", rawRequest{}, time.Hour, func(r *http.Request) { r.URL.RawQuery += "&X-Amz-Expires=" + url.QueryEscape("3600") }},
		{"other body", rawRequest{}, time.Hour, func(r *http.Request) {
			other := rawRequest{op: "ListSecrets", body: `{"MaxResults":2}`, unsigned: true}.build(t)
			r.Body, r.ContentLength, r.GetBody = other.Body, other.ContentLength, other.GetBody
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.req.op, tc.req.body = "ListSecrets", body
			req := presign(t, tc.req, tc.expires)
			if tc.change != nil {
				tc.change(req)
			}
			a := exchange(t, req)
			if a.status != http.StatusBadRequest && a.status != http.StatusForbidden {
				t.Errorf("answer %d %s, want a refusal", a.status, a.body)
			}
			if code, _ := errorType(t, a.body); code == "" || code == "InternalServiceError" {
				t.Errorf("answer %s", a.body)
			}
		})
	}
}
