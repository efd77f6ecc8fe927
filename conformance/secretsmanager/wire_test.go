package secretsmanager_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// What every answer looks like, whatever the operation.
func TestWireAnswer(t *testing.T) {
	k := newKit(t)
	name, _ := k.secret("s", "v")
	id := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	for _, body := range []any{in{"SecretId": name}, in{"SecretId": k.prefix + "none"}, in{}, "{"} {
		a := askAnswer(t, "GetSecretValue", body)
		if got := a.header.Get("Content-Type"); got != contentType {
			t.Errorf("Content-Type = %q, want %q", got, contentType)
		}
		requestID := a.header.Get("x-amzn-RequestId")
		if !id.MatchString(requestID) || seen[requestID] {
			t.Errorf("x-amzn-RequestId = %q, want a fresh UUID", requestID)
		}
		seen[requestID] = true
		if strings.Contains(a.body, "null") && a.status == http.StatusOK {
			t.Errorf("the answer has a null: %s", a.body)
		}
	}
}

// Errors of the service carry their text in Message, and the type has no namespace.
func TestWireServiceErrors(t *testing.T) {
	k := newKit(t)
	a := askAnswer(t, "GetSecretValue", in{"SecretId": k.prefix + "none"})
	if want := `{"__type":"ResourceNotFoundException","Message":"Secrets Manager can't find the specified secret."}`; a.status != 400 || a.body != want {
		t.Errorf("answer %d %s, want 400 %s", a.status, a.body, want)
	}
}

// errorType reads the code and the names of the other members of an error body.
func errorType(t *testing.T, body string) (code string, others []string) {
	t.Helper()
	var e map[string]any
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		t.Fatalf("error body %q: %v", body, err)
	}
	code, _ = e["__type"].(string)
	for name := range e {
		if name != "__type" {
			others = append(others, name)
		}
	}
	return code, others
}

func TestWireFrontEndErrors(t *testing.T) {
	newKit(t)
	text := http.Header{"Content-Type": {"text/plain"}}
	for _, tc := range []struct {
		name   string
		req    rawRequest
		status int
		code   string // "" for the XML answer
	}{
		{"unknown operation", rawRequest{op: "NoSuchOperation", body: "{}"}, 400, "UnknownOperationException"},
		{"operation in other case", rawRequest{op: "getsecretvalue", body: "{}"}, 400, "UnknownOperationException"},
		{"no target", rawRequest{body: "{}"}, 400, "UnknownOperationException"},
		{"target without prefix", rawRequest{header: http.Header{"X-Amz-Target": {"GetSecretValue"}}, body: "{}"}, 400, "UnknownOperationException"},
		{"unknown service", rawRequest{header: http.Header{"X-Amz-Target": {"nosuchservice.GetSecretValue"}}, body: "{}"}, 400, "UnknownOperationException"},
		{"wrong content type", rawRequest{op: "GetSecretValue", header: text, body: "{}"}, 404, ""},
		{"no content type", rawRequest{op: "GetSecretValue", header: http.Header{"Content-Type": {}}, body: "{}"}, 404, ""},
		{"not JSON", rawRequest{op: "GetSecretValue", body: "SecretId=x"}, 400, "SerializationException"},
		{"cut off", rawRequest{op: "GetSecretValue", body: `{"SecretId":"x"`}, 400, "SerializationException"},
		{"empty body", rawRequest{op: "GetSecretValue", body: ""}, 400, ""},
		{"an array", rawRequest{op: "GetSecretValue", body: `[]`}, 400, "SerializationException"},
		{"a number for a string", rawRequest{op: "GetSecretValue", body: `{"SecretId":1}`}, 400, "SerializationException"},
		{"a string for a list", rawRequest{op: "UntagResource", body: `{"SecretId":"x","TagKeys":"k"}`}, 400, "SerializationException"},
		{"a string for a number", rawRequest{op: "ListSecrets", body: `{"MaxResults":"many"}`}, 400, "SerializationException"},
		{"not base64", rawRequest{op: "CreateSecret", body: `{"Name":"x","SecretBinary":"%%%"}`}, 400, "SerializationException"},
		{"two values", rawRequest{op: "ListSecrets", body: `{}{}`}, 400, "SerializationException"},
		{"deep", rawRequest{op: "ListSecrets", body: strings.Repeat(`{"a":`, 100000) + "1" + strings.Repeat("}", 100000)}, 400, "SerializationException"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := tc.req.send(t)
			if tc.name == "empty body" {
				// Whether nothing is JSON or an empty object is not known: an error it is.
				if a.status != 400 {
					t.Errorf("answer %d %s, want 400", a.status, a.body)
				}
				return
			}
			if tc.code == "" {
				if a.status != tc.status || strings.TrimSpace(a.body) != "<UnknownOperationException/>" {
					t.Errorf("answer %d %s, want %d <UnknownOperationException/>", a.status, a.body, tc.status)
				}
				return
			}
			code, others := errorType(t, a.body)
			if a.status != tc.status || code != tc.code {
				t.Errorf("answer %d %s, want %d %s", a.status, a.body, tc.status, tc.code)
			}
			for _, name := range others {
				if name != "message" || tc.code == "UnknownOperationException" {
					t.Errorf("the error has a member %s: %s", name, a.body)
				}
			}
		})
	}
}

// Content types may have parameters, and other case.
func TestWireContentTypes(t *testing.T) {
	newKit(t)
	for _, ct := range []string{"application/x-amz-json-1.1; charset=utf-8", "Application/X-Amz-Json-1.1"} {
		a := rawRequest{op: "ListSecrets", body: `{"MaxResults":1}`, header: http.Header{"Content-Type": {ct}}}.send(t)
		if a.status != http.StatusOK {
			t.Errorf("%s: answer %d %s", ct, a.status, a.body)
		}
	}
}

// Members that no one knows are passed over, and null is absence.
func TestWireTolerance(t *testing.T) {
	k := newKit(t)
	name, _ := k.secret("s", "v")
	out := ask(t, "GetSecretValue", `{"Unknown":{"a":[1,2,{"b":null}]},"SecretId":"`+name+`","VersionId":null}`)
	if out["SecretString"] != "v" {
		t.Errorf("answer = %v", out)
	}
	out = ask(t, "GetSecretValue", ` { "SecretId" : "\u0063`+strings.TrimPrefix(name, "c")+`" } `)
	if out["SecretString"] != "v" {
		t.Errorf("answer with an escaped name = %v", out)
	}
}

// Several broken constraints are told in one answer.
func TestWireValidation(t *testing.T) {
	newKit(t)
	for _, tc := range []struct {
		name, op, body, want string
	}{
		{"required", "GetSecretValue", `{}`,
			"1 validation error detected: Value null at 'secretId' failed to satisfy constraint: Member must not be null"},
		{"two", "GetSecretValue", `{"SecretId":"","VersionId":"short"}`,
			"2 validation errors detected: Value '' at 'secretId' failed to satisfy constraint: Member must have length greater than or equal to 1; " +
				"Value 'short' at 'versionId' failed to satisfy constraint: Member must have length greater than or equal to 32"},
		{"sensitive values are not shown", "PutSecretValue", `{"SecretId":"x","ClientRequestToken":"` + strings.Repeat("t", 32) + `","SecretString":""}`,
			"1 validation error detected: Value at 'secretString' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		{"sensitive with a pattern", "PutSecretValue", `{"SecretId":"x","SecretString":"v","RotationToken":"` + strings.Repeat("!", 40) + `"}`,
			`1 validation error detected: Value at 'rotationToken' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-zA-Z0-9\-]+$`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wantCode(t, rawError(t, tc.op, tc.body), "ValidationException", tc.want)
		})
	}
}

func TestWireMethods(t *testing.T) {
	ours(t, "its front end answers these elsewhere")
	newKit(t)
	for _, method := range []string{"GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "NONSENSE"} {
		a := rawRequest{method: method, op: "ListSecrets", body: "{}"}.send(t)
		if a.status < 400 || a.status >= 500 {
			t.Errorf("%s: answer %d %s, want a refusal", method, a.status, a.body)
		}
	}
	for _, path := range []string{"/x", "//", "/secret/../", "/%2e"} {
		a := rawRequest{path: path, op: "ListSecrets", body: "{}"}.send(t)
		if a.status < 400 || a.status >= 500 {
			t.Errorf("POST %s: answer %d %s, want a refusal", path, a.status, a.body)
		}
	}
}

// More than a server should read is refused without being read.
func TestWireTooLarge(t *testing.T) {
	ours(t, "it is a lot to send")
	newKit(t)
	a := rawRequest{op: "CreateSecret", body: `{"Name":"x","SecretString":"` + strings.Repeat("v", 8<<20) + `"}`}.send(t)
	if a.status < 400 || a.status >= 500 {
		t.Errorf("answer %d %s, want a refusal", a.status, a.body)
	}
}

// A page of a browser cannot use the server, even with credentials.
func TestWireBrowsers(t *testing.T) {
	ours(t, "the rules are Arca's")
	newKit(t)
	for _, header := range []http.Header{
		{"Origin": {"https://evil.example"}},
		{"Origin": {"null"}},
		{"Sec-Fetch-Site": {"cross-site"}},
	} {
		a := rawRequest{op: "ListSecrets", body: "{}", header: header}.send(t)
		if a.status < 400 || a.status >= 500 || a.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%v: answer %d %s, want a refusal", header, a.status, a.body)
		}
	}
	a := rawRequest{op: "ListSecrets", body: "{}", unsigned: true, change: func(r *http.Request) { r.Host = "evil.example" }}.send(t)
	if a.status < 400 || a.status >= 500 {
		t.Errorf("foreign Host: answer %d %s, want a refusal", a.status, a.body)
	}
}
