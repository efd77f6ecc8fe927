package server_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
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
		Verify:  server.NewSignatures(e.lookup, []string{region, "cn-north-1"}, time.Now),
		Logger:  slog.New(slog.NewJSONHandler(e.log, nil)),
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

// requestIDs reads a header whose name is spelled as AWS does and not as package
// http would.
func requestIDs(res *http.Response) []string {
	return map[string][]string(res.Header)[wire.HeaderRequestID]
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
			if id := requestIDs(res); len(id) != 1 || !uuid.MatchString(id[0]) {
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
		RequestID: requestIDs(res)[0],
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
