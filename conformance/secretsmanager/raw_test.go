package secretsmanager_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go"
)

// What SDKs hide, or never send, is asked for with requests of our own making,
// signed by the SDK's signer.

const contentType = "application/x-amz-json-1.1"

// rawRequest is one HTTP request to the target.
type rawRequest struct {
	method  string // default POST
	path    string // with query; default /
	op      string // sets X-Amz-Target
	body    string
	header  http.Header // on top of the usual ones; an empty list removes one
	service string      // of the credential scope; default secretsmanager
	region  string      // of the credential scope
	at      time.Time   // of the signature; default now
	creds   *aws.Credentials
	// unsigned leaves the signature out.
	unsigned bool
	// change alters the request after it was signed.
	change func(*http.Request)
}

type rawAnswer struct {
	status int
	header http.Header
	body   string
}

func (r rawRequest) build(t *testing.T) *http.Request {
	t.Helper()
	method, path := r.method, r.path
	if method == "" {
		method = http.MethodPost
	}
	if path == "" {
		path = "/"
	}
	req, err := http.NewRequestWithContext(t.Context(), method, shared.Endpoint()+path, bytes.NewReader([]byte(r.body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	if r.op != "" {
		req.Header.Set("X-Amz-Target", "secretsmanager."+r.op)
	}
	for name, values := range r.header {
		req.Header[http.CanonicalHeaderKey(name)] = values
		if len(values) == 0 {
			req.Header.Del(name)
		}
	}
	if !r.unsigned {
		r.sign(t, req)
	}
	if r.change != nil {
		r.change(req)
	}
	return req
}

// scope fills the defaults of a signature in.
func (r *rawRequest) scope(t *testing.T) (creds aws.Credentials, service, region string, at time.Time) {
	t.Helper()
	service, region, at = r.service, r.region, r.at
	if service == "" {
		service = "secretsmanager"
	}
	if region == "" {
		region = shared.Config.Region
	}
	if at.IsZero() {
		at = time.Now()
	}
	if r.creds != nil {
		return *r.creds, service, region, at
	}
	creds, err := shared.Config.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return creds, service, region, at
}

func (r *rawRequest) sign(t *testing.T, req *http.Request) {
	t.Helper()
	creds, service, region, at := r.scope(t)
	if err := v4.NewSigner().SignHTTP(t.Context(), creds, req, r.hash(), service, region, at); err != nil {
		t.Fatal(err)
	}
}

func (r *rawRequest) hash() string {
	sum := sha256.Sum256([]byte(r.body))
	return hex.EncodeToString(sum[:])
}

// send makes the request and reads the whole answer.
func (r rawRequest) send(t *testing.T) rawAnswer {
	t.Helper()
	return exchange(t, r.build(t))
}

func exchange(t *testing.T, req *http.Request) rawAnswer {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return rawAnswer{resp.StatusCode, resp.Header, string(body)}
}

// ask calls an operation with a body as it stands, and returns the members of the
// answer, which must be a success.
func ask(t *testing.T, op string, in any) map[string]any {
	t.Helper()
	a := askAnswer(t, op, in)
	if a.status != http.StatusOK {
		t.Fatalf("%s answers %d: %s", op, a.status, a.body)
	}
	var out map[string]any
	if err := json.Unmarshal([]byte(a.body), &out); err != nil {
		t.Fatalf("%s answers %q: %v", op, a.body, err)
	}
	return out
}

// askAnswer calls an operation. in is JSON text or a value to be encoded.
func askAnswer(t *testing.T, op string, in any) rawAnswer {
	t.Helper()
	body, ok := in.(string)
	if !ok {
		b, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		body = string(b)
	}
	return rawRequest{op: op, body: body}.send(t)
}

// refused checks an error of the service as it stands on the wire.
func refused(t *testing.T, a rawAnswer, code, text string) {
	t.Helper()
	want, err := json.Marshal(struct {
		Type    string `json:"__type"`
		Message string
	}{code, text})
	if err != nil {
		t.Fatal(err)
	}
	var got, wanted map[string]any
	if err := json.Unmarshal([]byte(a.body), &got); err != nil {
		t.Errorf("error body %q: %v", a.body, err)
		return
	}
	if err := json.Unmarshal(want, &wanted); err != nil {
		t.Fatal(err)
	}
	if a.status != http.StatusBadRequest || got["__type"] != wanted["__type"] || got["Message"] != wanted["Message"] || len(got) != 2 {
		t.Errorf("answer %d %s\nwant   400 %s", a.status, a.body, want)
	}
}

// in is short for the members of a request.
type in map[string]any

// rawError returns the error of a request that SDKs refuse to send, as an SDK would.
func rawError(t *testing.T, op string, in any) error {
	t.Helper()
	a := askAnswer(t, op, in)
	if a.status == http.StatusOK {
		return nil
	}
	var e struct {
		Type         string `json:"__type"`
		Message      string
		SmallMessage string `json:"message"`
	}
	if err := json.Unmarshal([]byte(a.body), &e); err != nil {
		t.Fatalf("error body %q: %v", a.body, err)
	}
	return &smithy.GenericAPIError{Code: e.Type, Message: e.Message + e.SmallMessage}
}
