package runner_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"arca/internal/egress"
	"arca/internal/lambda"
	"arca/internal/runner"
)

const webhookSecret = "a secret of both sides"

func webhook(t *testing.T, handler http.HandlerFunc) (*runner.Webhook, *function) {
	t.Helper()
	srv := httptest.NewTLSServer(handler)
	t.Cleanup(srv.Close)
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	w := runner.NewWebhook(egress.New(egress.Config{AllowLoopback: true, RootCAs: roots}))
	f := &function{env: map[string]string{lambda.WebhookURL: srv.URL + "/rotate?token=hidden", lambda.WebhookSecret: webhookSecret}}
	f.Function = lambda.Function{Account: "123456789012", Region: "eu-west-1", Name: "hook", Handler: "arca.webhook", Timeout: 20, Memory: 128}
	return w, f
}

// verify is what docs/rotation.md tells webhooks to do.
func verify(t *testing.T, r *http.Request, body []byte) bool {
	t.Helper()
	var at, mac string
	for part := range strings.SplitSeq(r.Header.Get("Arca-Signature"), ",") {
		name, value, _ := strings.Cut(part, "=")
		switch name {
		case "t":
			at = value
		case "v1":
			mac = value
		}
	}
	sent, err := strconv.ParseInt(at, 10, 64)
	if err != nil || time.Since(time.Unix(sent, 0)).Abs() > 5*time.Minute {
		return false
	}
	want := hmac.New(sha256.New, []byte(webhookSecret))
	fmt.Fprintf(want, "%s.%s", at, body)
	got, err := hex.DecodeString(mac)
	return err == nil && hmac.Equal(got, want.Sum(nil))
}

func TestWebhook(t *testing.T) {
	t.Parallel()
	w, f := webhook(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || !verify(t, r, body) || verify(t, r, append(body, ' ')) {
			t.Errorf("the signature %q does not hold", r.Header.Get("Arca-Signature"))
		}
		if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Arca-Function-Arn") != "arn:aws:lambda:eu-west-1:123456789012:function:hook" {
			t.Errorf("request = %s %v", r.Method, r.Header)
		}
		fmt.Fprintf(w, `{"got":%s}`, body)
	})
	inv := f.invocation(`{"Step":"createSecret"}`)
	res, err := w.Invoke(t.Context(), inv)
	if err != nil || res.FunctionError != "" || string(res.Payload) != `{"got":{"Step":"createSecret"}}` {
		t.Errorf("Invoke = %+v, %v", res, err)
	}
	if !strings.HasPrefix(string(res.Log), "START RequestId: "+inv.RequestID) {
		t.Errorf("log = %s", res.Log)
	}
}

func TestWebhookFailures(t *testing.T) {
	t.Parallel()
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	for _, tc := range []struct {
		name    string
		handler http.HandlerFunc
		change  func(*function)
		want    string // in the payload
		wantLog string
	}{
		{"a refusal", answer(500, "no such database\n"), nil, `"errorType":"Webhook.Refused","errorMessage":"the webhook answered with status 500"`, "no such database\nEND"},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://example.com/", http.StatusFound)
		}, nil,
			`redirects are not followed`, ""},
		{"an answer that is too large", answer(200, strings.Repeat("x", 6<<20+1)), nil, "Function.ResponseSizeTooLarge", ""},
		{"an answer that is no text", answer(200, "\xff\xfe"), nil, "Webhook.BadAnswer", ""},
		{"no answer in time", func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}, func(f *function) { f.Timeout = 1 }, "Task timed out after 1.00 seconds", ""},
		{"no secret", answer(200, ""), func(f *function) { delete(f.env, lambda.WebhookSecret) }, "Webhook.NoSecret", ""},
		{"plain HTTP", answer(200, ""), func(f *function) { f.env[lambda.WebhookURL] = "http://127.0.0.1:1/" }, "Webhook.BadURL", ""},
		{"an address that is not allowed", answer(200, ""), func(f *function) { f.env[lambda.WebhookURL] = "https://10.1.2.3/hidden" }, "egress.allow", ""},
		{"another server", answer(200, ""), func(f *function) { f.env[lambda.WebhookURL] = "https://127.0.0.1:1/hidden" }, "Webhook.Unreachable", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w, f := webhook(t, tc.handler)
			if tc.change != nil {
				tc.change(f)
			}
			res, err := w.Invoke(t.Context(), f.invocation(`{}`))
			if err != nil {
				t.Fatal(err)
			}
			if res.FunctionError != lambda.Unhandled || !strings.Contains(string(res.Payload), tc.want) {
				t.Errorf("failure = %q %s, want %s", res.FunctionError, res.Payload, tc.want)
			}
			if !strings.Contains(string(res.Log), tc.wantLog) {
				t.Errorf("log = %s", res.Log)
			}
			if strings.Contains(string(res.Payload)+string(res.Log), "hidden") {
				t.Errorf("the URL shows: %s %s", res.Payload, res.Log)
			}
		})
	}
}

func TestWebhookAnswers(t *testing.T) {
	for body, want := range map[string]string{
		"": "null", " \n": "null", `{"a":1}`: `{"a":1}`, "null": "null", "OK": `"OK"`, "1 2": `"1 2"`, "a\"b": `"a\"b"`,
	} {
		if got, err := runner.AsJSON([]byte(body)); err != nil || string(got) != want {
			t.Errorf("answer %q = %s, %v, want %s", body, got, err, want)
		}
	}
}
