package app_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"arca/internal/app"
	"arca/internal/envelope"
)

const stopTimeout = 20 * time.Second

var discard = slog.New(slog.DiscardHandler)

// serverConfig is a production server on a free port, its data in a folder of the
// test's.
func serverConfig(t *testing.T, set ...func(c *app.Config)) app.Config {
	t.Helper()
	cfg := app.Config{
		DataDir: filepath.Join(t.TempDir(), "data"), Listen: "127.0.0.1:0", TLS: app.TLSConfig{Off: true},
		// A test's disk may be fuller than a server's.
		Space: app.SpaceConfig{WriteMark: "1MiB", ReadMark: "1MiB", Ballast: "1MiB"},
	}
	for _, s := range set {
		s(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// passphrase makes a server of the passphrase kind.
func passphrase(c *app.Config) { c.RootKey = app.RootKeyConfig{Kind: "passphrase"} }

func plain(s string) envelope.Plaintext { return envelope.NewPlaintext([]byte(s)) }

// runner is what tests start: an *app.App or *app.Dev.
type runner interface {
	Run(ctx context.Context) error
	Check(ctx context.Context, report func(problem string)) error
}

// run serves until stop is called, at the latest until the test ends. The data is
// checked before, and a stop must work without an error.
func run(t *testing.T, a runner) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	stopped := false
	stop = func() {
		t.Helper()
		if stopped {
			return
		}
		stopped = true
		checkCtx, done := context.WithTimeout(context.Background(), stopTimeout)
		defer done()
		if err := a.Check(checkCtx, func(p string) { t.Errorf("check: %s", p) }); err != nil {
			t.Errorf("check: %v", err)
		}
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(stopTimeout):
			t.Error("the server does not stop")
		}
	}
	t.Cleanup(stop)
	return stop
}

// start opens and runs a production server.
func start(t *testing.T, cfg app.Config, given app.ServerSecrets) (a *app.App, stop func()) {
	t.Helper()
	a, err := app.OpenServer(t.Context(), cfg, given, discard)
	if err != nil {
		t.Fatal(err)
	}
	return a, run(t, a)
}

// refuses opens a server that must not start, and looks for words in the reason.
func refuses(t *testing.T, cfg app.Config, given app.ServerSecrets, words ...string) error {
	t.Helper()
	a, err := app.OpenServer(t.Context(), cfg, given, discard)
	if err == nil {
		_ = a.Close()
		t.Fatal("the server starts")
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q, want %q in it", err, w)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("the reason has several lines: %q", err)
	}
	return err
}

func loadCredentials(t *testing.T, path string) (c app.RootCredentials) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func client(url, id, secret string) *secretsmanager.Client {
	return secretsmanager.New(secretsmanager.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(url), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(id, secret, ""),
	})
}

// works stores a secret named so.
func works(t *testing.T, c *secretsmanager.Client, name string) error {
	t.Helper()
	_, err := c.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String(name), SecretString: aws.String("v")})
	return err
}

// get is a plain HTTP request.
func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(raw)
}
