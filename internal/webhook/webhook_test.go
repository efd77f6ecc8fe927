package webhook_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"arca/internal/webhook"
)

const secretText = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func secret(t testing.TB, text string) webhook.Secret {
	t.Helper()
	s, err := webhook.ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The example of the Standard Webhooks documentation.
func TestSignKnownAnswer(t *testing.T) {
	got := secret(t, secretText).Sign("msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("Sign = %s, want %s", got, want)
	}
}

func TestParseSecret(t *testing.T) {
	enc := func(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }
	tests := []struct {
		name, text string
		ok         bool
	}{
		{"with prefix", "whsec_" + enc(24), true},
		{"without", enc(32), true},
		{"longest", enc(64), true},
		{"trailing newline of a file", enc(32) + "\n", true},
		{"too short", enc(23), false},
		{"too long", enc(65), false},
		{"empty", "", false},
		{"prefix alone", "whsec_", false},
		{"not base64", "whsec_" + strings.Repeat("!", 40), false},
		{"URL alphabet", "whsec_" + strings.Repeat("-", 40), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := webhook.ParseSecret(tt.text)
			if (err == nil) != tt.ok {
				t.Errorf("ParseSecret = %v, want ok %v", err, tt.ok)
			}
			if err != nil && len(tt.text) > 10 && strings.Contains(err.Error(), tt.text[6:]) {
				t.Errorf("the error repeats the secret: %v", err)
			}
		})
	}
}

func TestSecretIsHidden(t *testing.T) {
	s := secret(t, secretText)
	j, err := json.Marshal(map[string]any{"s": s, "p": &s})
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []string{fmt.Sprint(s), fmt.Sprintf("%+v %#v %x %q %s", s, s, s, s, s), fmt.Sprintf("%v", struct{ S webhook.Secret }{s}), string(j)} {
		if !strings.Contains(got, "REDACTED") || strings.Contains(got, "31f2") || strings.Contains(got, "MfKQ") {
			t.Errorf("printed as %s", got)
		}
	}
}

func TestNew(t *testing.T) {
	ok := []string{"https://example.com/x", "https://10.0.0.1:8443/", "http://127.0.0.1:80/a", "http://[::1]:9/", "http://localhost:9/", "https://h/p?token=1"}
	bad := []string{"", "example.com", "ftp://example.com/", "http://example.com/", "http://10.0.0.1/", "https://", "https://u:p@h/", "https://h/#f",
		"https:opaque", "https://h/" + strings.Repeat("a", 2048), "https://h:port/", "http://localhost.example.com/", "https:///path"}
	for _, u := range ok {
		if _, err := webhook.New(webhook.Config{URL: u, Secrets: []webhook.Secret{secret(t, secretText)}}); err != nil {
			t.Errorf("New(%s) = %v", u, err)
		}
	}
	for _, u := range bad {
		_, err := webhook.New(webhook.Config{URL: u, Secrets: []webhook.Secret{secret(t, secretText)}})
		if !errors.Is(err, webhook.ErrURL) {
			t.Errorf("New(%s) = %v, want %v", u, err, webhook.ErrURL)
		} else if len(u) > 8 && strings.Contains(err.Error(), u) {
			t.Errorf("New(%s) repeats the URL: %v", u, err)
		}
	}
	for name, cfg := range map[string]webhook.Config{
		"no secret":        {URL: "https://h/"},
		"zero secret":      {URL: "https://h/", Secrets: make([]webhook.Secret, 1)},
		"too many secrets": {URL: "https://h/", Secrets: make([]webhook.Secret, 5)},
		"timeout":          {URL: "https://h/", Secrets: []webhook.Secret{secret(t, secretText)}, Timeout: time.Hour},
		"connections":      {URL: "https://h/", Secrets: []webhook.Secret{secret(t, secretText)}, Connections: -1},
	} {
		if _, err := webhook.New(cfg); err == nil {
			t.Errorf("%s: New = nil", name)
		}
	}
}

// client is a client of a real TLS server.
func client(t testing.TB, h http.HandlerFunc, change func(*webhook.Config)) *webhook.Client {
	t.Helper()
	srv := httptest.NewTLSServer(h)
	t.Cleanup(srv.Close)
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	cfg := webhook.Config{URL: srv.URL + "/in?token=hidden", Secrets: []webhook.Secret{secret(t, secretText)}, RootCAs: pool, Timeout: 5 * time.Second}
	if change != nil {
		change(&cfg)
	}
	c, err := webhook.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestSend(t *testing.T) {
	second := base64.StdEncoding.EncodeToString([]byte("the next secret, thirty-two bytes"))
	at := time.Unix(1_700_000_000, 5)
	var seen atomic.Int32
	c := client(t, func(w http.ResponseWriter, r *http.Request) {
		seen.Add(1)
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if r.Method != http.MethodPost || r.URL.RequestURI() != "/in?token=hidden" || string(body) != `{"a":1}` {
			t.Errorf("%s %s %q", r.Method, r.URL, body)
		}
		for name, want := range map[string]string{"Content-Type": "application/json", "Webhook-Id": "id-1", "Webhook-Timestamp": "1700000000", "User-Agent": "arca"} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		signatures := strings.Fields(r.Header.Get("Webhook-Signature"))
		for i, text := range []string{strings.TrimPrefix(secretText, "whsec_"), second} {
			key, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				t.Error(err)
			}
			mac := hmac.New(sha256.New, key)
			_, _ = fmt.Fprintf(mac, "%s.%s.%s", r.Header.Get("Webhook-Id"), r.Header.Get("Webhook-Timestamp"), body)
			if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); i >= len(signatures) || signatures[i] != want {
				t.Errorf("signatures %q, want %s at %d", signatures, want, i)
			}
		}
		w.WriteHeader(http.StatusAccepted)
	}, func(cfg *webhook.Config) {
		cfg.Secrets = append(cfg.Secrets, secret(t, second))
		cfg.Now = func() time.Time { return at }
	})
	if err := c.Send(t.Context(), webhook.Message{ID: "id-1", Body: []byte(`{"a":1}`)}); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"", "a.b", "a\r\nb", "ä", strings.Repeat("a", 201)} {
		if err := c.Send(t.Context(), webhook.Message{ID: id}); err == nil {
			t.Errorf("Send with id %q = nil", id)
		}
	}
	if seen.Load() != 1 {
		t.Errorf("%d requests, want 1", seen.Load())
	}
}

func TestStatus(t *testing.T) {
	tests := []struct {
		code      int
		after     string
		permanent bool
		want      time.Duration
	}{
		{200, "", false, 0}, {204, "", false, 0},
		{301, "", false, 0}, {307, "", false, 0}, {308, "", false, 0},
		{400, "", true, 0}, {401, "", false, 0}, {403, "", false, 0}, {404, "", false, 0}, {408, "", false, 0}, {410, "", false, 0},
		{413, "", true, 0}, {415, "", true, 0}, {422, "", true, 0},
		{429, "7", false, 7 * time.Second}, {429, "-7", false, 0}, {429, "x", false, 0}, {429, "99999999999", false, 0},
		{500, "", false, 0}, {503, "86400", false, time.Hour}, {503, "Mon, 02 Jan 2006 15:04:05 GMT", false, 0},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.code, tt.after), func(t *testing.T) {
			var seen atomic.Int32
			c := client(t, func(w http.ResponseWriter, r *http.Request) {
				seen.Add(1)
				w.Header().Set("Location", "/elsewhere")
				if tt.after != "" {
					w.Header().Set("Retry-After", tt.after)
				}
				w.WriteHeader(tt.code)
			}, nil)
			err := c.Send(t.Context(), webhook.Message{ID: "a", Body: []byte("{}")})
			if (err == nil) != (tt.code/100 == 2) || webhook.Permanent(err) != tt.permanent || webhook.RetryAfter(err) != tt.want {
				t.Errorf("Send = %v, permanent %v, after %v", err, webhook.Permanent(err), webhook.RetryAfter(err))
			}
			if err != nil && strings.Contains(err.Error(), "hidden") {
				t.Errorf("the error repeats the URL: %v", err)
			}
			if seen.Load() != 1 {
				t.Errorf("%d requests, want 1", seen.Load())
			}
		})
	}
}

// TestReceiversThatMisbehave: every one of them ends in an error, in time, that says
// nothing of the URL's path.
func TestReceiversThatMisbehave(t *testing.T) {
	hangs := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // the server notices a client that leaves only after that
		<-r.Context().Done()
		panic(http.ErrAbortHandler) // a handler that returns has answered
	}
	const short = 300 * time.Millisecond
	tests := []struct {
		name   string
		h      http.HandlerFunc
		change func(*webhook.Config)
	}{
		{"hangs", hangs, nil},
		{"closes", func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }, nil},
		{"huge header", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X", strings.Repeat("a", 1<<20))
		}, nil},
		{"unknown certificate", nil, func(cfg *webhook.Config) { cfg.RootCAs = x509.NewCertPool() }},
		{"nobody there", nil, func(cfg *webhook.Config) { cfg.URL = "http://127.0.0.1:1/in?token=hidden" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.h == nil {
				tt.h = func(http.ResponseWriter, *http.Request) {}
			}
			c := client(t, tt.h, func(cfg *webhook.Config) {
				cfg.Timeout = short
				if tt.change != nil {
					tt.change(cfg)
				}
			})
			began := time.Now()
			err := c.Send(t.Context(), webhook.Message{ID: "a", Body: []byte("{}")})
			if err == nil || webhook.Permanent(err) || strings.Contains(err.Error(), "hidden") {
				t.Errorf("Send = %v", err)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
	t.Run("endless answer", func(t *testing.T) {
		c := client(t, func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 4<<10)); err != nil {
					return
				}
			}
		}, nil)
		// Its status was good; what follows it does not matter.
		if err := c.Send(t.Context(), webhook.Message{ID: "a", Body: []byte("{}")}); err != nil {
			t.Errorf("Send = %v", err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		c := client(t, hangs, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := c.Send(ctx, webhook.Message{ID: "a", Body: []byte("{}")}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Send = %v", err)
		}
	})
}

func FuzzParseSecret(f *testing.F) {
	f.Add(secretText)
	f.Add("whsec_")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := webhook.ParseSecret(text)
		if err == nil && s.Sign("a", time.Unix(0, 0), nil) == "" {
			t.Error("no signature")
		}
	})
}
