package server_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"arca/internal/api"
	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/server"
	"arca/internal/wire"
)

const (
	keyID   = "AKIDEXAMPLE"
	secret  = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	account = "123456789012"
	region  = "us-east-1"
	body    = `{"SecretId":"db"}`
	target  = "secretsmanager.GetSecretValue"
)

// edge is a server whose one credential and whose dispatcher belong to the test.
type edge struct {
	*server.Server
	cfg server.Config
	log *bytes.Buffer

	mu     sync.Mutex
	secret string       // of keyID (guarded by mu)
	calls  []*call.Call // that reached the dispatcher (guarded by mu)
}

func (e *edge) lookup(_ context.Context, id, token string) (*server.Credential, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case id == "ASIAEXPIRED" && token != "":
		return nil, server.ErrExpiredCredential
	case id != keyID || token != "":
		return nil, server.ErrUnknownCredential
	}
	s := e.secret
	return &server.Credential{
		Principal:   call.Principal{Type: call.Root, Account: account, ID: account, AccessKeyID: id},
		Fingerprint: []byte(s),
		Secret:      func(use func([]byte)) error { use([]byte(s)); return nil },
	}, nil
}

// do answers GetSecretValue with a secret that repeats its name.
func (e *edge) do(_ context.Context, c *call.Call, in any) (any, error) {
	e.mu.Lock()
	e.calls = append(e.calls, c)
	e.mu.Unlock()
	get, ok := in.(*smapi.GetSecretValueInput)
	if !ok {
		return nil, smapi.InvalidRequestException.Errorf("Not here.")
	}
	switch get.SecretId {
	case "missing":
		return nil, smapi.ResourceNotFoundException.Errorf("Secrets Manager can't find the specified secret.")
	case "panic":
		panic("holding a value: " + get.SecretId)
	case "bug":
		return nil, io.ErrUnexpectedEOF
	}
	v := api.SensitiveString("value of " + get.SecretId)
	return &smapi.GetSecretValueOutput{Name: &get.SecretId, SecretString: &v}, nil
}

func newEdge(t testing.TB, change ...func(*server.Config)) *edge {
	t.Helper()
	router, err := wire.NewRouter(smapi.Service)
	if err != nil {
		t.Fatal(err)
	}
	e := &edge{secret: secret, log: &bytes.Buffer{}}
	e.cfg = server.Config{
		Do: e.do, Router: router, Now: time.Now,
		Refused: func(context.Context, *call.Call, *api.Error) error { return nil },
		Verify: server.NewSignatures(e.lookup, []string{region, "cn-north-1"}, time.Now),
		Logger: slog.New(slog.NewJSONHandler(e.log, nil)),
	}
	for _, f := range change {
		f(&e.cfg)
	}
	if e.Server, err = server.New(e.cfg); err != nil {
		t.Fatal(err)
	}
	return e
}

// request is a GetSecretValue, unsigned.
func request(t testing.TB, base, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequest("POST", base+"/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", target)
	return r
}

func credentials() aws.Credentials {
	return aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secret}
}

// sign signs a request whose body is given again.
func sign(t testing.TB, r *http.Request, body string, creds aws.Credentials, service, region string, when time.Time) {
	t.Helper()
	sum := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(context.Background(), creds, r, hex.EncodeToString(sum[:]), service, region, when); err != nil {
		t.Fatal(err)
	}
}

func signed(t testing.TB, base, body string) *http.Request {
	t.Helper()
	r := request(t, base, body)
	sign(t, r, body, credentials(), "secretsmanager", region, time.Now())
	return r
}

// direct hands a client's request to the handler without a network.
func direct(h http.Handler, r *http.Request) *http.Response {
	in := r.Clone(context.Background())
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	in.RequestURI = r.URL.RequestURI()
	in.RemoteAddr = "192.0.2.7:50000"
	w := httptest.NewRecorder()
	h.ServeHTTP(w, in)
	return w.Result()
}

type answer struct {
	status      int
	contentType string
	body        string
}

func read(t testing.TB, res *http.Response) answer {
	t.Helper()
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header.Get("Content-Type"), string(b)}
}

var anyAnswer = cmp.AllowUnexported(answer{})

const here = "http://127.0.0.1:4566"

func TestAnswers(t *testing.T) {
	e := newEdge(t)
	tests := []struct {
		name, body string
		want       answer
	}{
		{"output", body, answer{200, wire.ContentTypeJSON11, `{"Name":"db","SecretString":"value of db"}`}},
		{"error of the operation", `{"SecretId":"missing"}`, answer{400, wire.ContentTypeJSON11,
			`{"__type":"ResourceNotFoundException","Message":"Secrets Manager can't find the specified secret."}`}},
		{"constraint", `{}`, answer{400, wire.ContentTypeJSON11,
			`{"__type":"ValidationException","message":"1 validation error detected: Value null at 'secretId' failed to satisfy constraint: Member must not be null"}`}},
		{"error without a code", `{"SecretId":"bug"}`, answer{500, wire.ContentTypeJSON11,
			`{"__type":"InternalServiceError","Message":"An error occurred on the server side."}`}},
		{"panic", `{"SecretId":"panic"}`, answer{500, wire.ContentTypeJSON11,
			`{"__type":"InternalServiceError","Message":"An error occurred on the server side."}`}},
	}
	uuid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res := direct(e, signed(t, here, tt.body))
			if d := cmp.Diff(tt.want, read(t, res), anyAnswer); d != "" {
				t.Errorf("answer (-want +got):\n%s", d)
			}
			if id := res.Header["x-amzn-RequestId"]; len(id) != 1 || !uuid.MatchString(id[0]) {
				t.Errorf("x-amzn-RequestId = %q, want one UUID", id)
			}
		})
	}
	if strings.Contains(e.log.String(), "holding a value") {
		t.Errorf("the log repeats a panic's value:\n%s", e.log)
	}
	if !strings.Contains(e.log.String(), "panicked") {
		t.Errorf("the log does not tell of the panic:\n%s", e.log)
	}
}

func TestCall(t *testing.T) {
	now := time.Date(2031, 1, 2, 3, 4, 5, 0, time.UTC)
	e := newEdge(t, func(c *server.Config) { c.Now = func() time.Time { return now } })
	r := request(t, here, body)
	r.Header.Set("User-Agent", "aws-cli/2")
	r.Header.Set("X-Forwarded-For", "203.0.113.9")
	sign(t, r, body, credentials(), "secretsmanager", "cn-north-1", time.Now())
	res := direct(e, r)
	want := &call.Call{
		Op: smapi.OpGetSecretValue, Now: now,
		Caller:    call.Principal{Type: call.Root, Account: account, ID: account, AccessKeyID: keyID},
		Partition: "aws-cn", Region: "cn-north-1",
		RequestID: res.Header["x-amzn-RequestId"][0],
		SourceIP:  "192.0.2.7", UserAgent: "aws-cli/2", Host: "127.0.0.1:4566",
	}
	if len(e.calls) != 1 {
		t.Fatalf("%d calls, want 1: %v", len(e.calls), read(t, res))
	}
	ignore := cmpopts.IgnoreUnexported(call.Call{})
	if d := cmp.Diff(want, e.calls[0], ignore, cmp.Comparer(func(a, b *api.Operation) bool { return a == b })); d != "" {
		t.Errorf("call (-want +got):\n%s", d)
	}
}

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

// TestRefusedInput makes sure that a verified caller's unreadable input is told to
// those who keep records.
func TestRefusedInput(t *testing.T) {
	var got *api.Error
	e := newEdge(t, func(c *server.Config) {
		c.Refused = func(_ context.Context, c *call.Call, err *api.Error) error {
			if c.Caller.AccessKeyID != keyID || c.Op != smapi.OpGetSecretValue {
				t.Errorf("refused call = %+v", c)
			}
			got = err
			return nil
		}
	})
	direct(e, signed(t, here, `{"SecretId":`))
	if got == nil || got.Code.Name != "SerializationException" {
		t.Errorf("refusal = %v", got)
	}
	got = nil
	direct(e, request(t, here, `{"SecretId":`))
	if got != nil {
		t.Errorf("refusal of a stranger recorded: %v", got)
	}
}

// TestUnrecordedRefusal makes sure that nobody learns anything without a record.
func TestUnrecordedRefusal(t *testing.T) {
	e := newEdge(t, func(c *server.Config) {
		c.Refused = func(context.Context, *call.Call, *api.Error) error { return io.ErrShortWrite }
	})
	got := read(t, direct(e, signed(t, here, `{}`)))
	if got.status != 500 || strings.Contains(got.body, "secretId") {
		t.Errorf("answer = %+v, want an internal error", got)
	}
}

func TestNewRefuses(t *testing.T) {
	if _, err := server.New(server.Config{}); err == nil {
		t.Error("New accepts an empty configuration")
	}
}
