package app_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"arca/internal/app"
	"arca/internal/envelope"
	"arca/internal/rootkey"
)

// keeper is another Arca, whose KMS wraps the root key of the server that is tested.
type keeper struct {
	kms *kms.Client
	arn string
	// down makes it unavailable for so many requests.
	down atomic.Int64
	url  string
}

func newKeeper(t *testing.T) *keeper {
	t.Helper()
	d, err := app.OpenDev(t.Context(), app.DevConfig{Ephemeral: true, Listen: "127.0.0.1:0"}, discard)
	if err != nil {
		t.Fatal(err)
	}
	run(t, d)
	to, err := url.Parse(d.URL())
	if err != nil {
		t.Fatal(err)
	}
	k := &keeper{}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host // it is signed
	}}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if k.down.Add(-1) >= 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	k.url = front.URL
	k.kms = kms.New(kms.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(d.URL()),
		Credentials: credentials.NewStaticCredentialsProvider(app.DevAccessKeyID, app.DevSecretAccessKey, ""),
	})
	out, err := k.kms.CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	k.arn = aws.ToString(out.KeyMetadata.Arn)
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": app.DevAccessKeyID, "AWS_SECRET_ACCESS_KEY": app.DevSecretAccessKey, "AWS_SESSION_TOKEN": "",
		"AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent", "AWS_PROFILE": "",
	} {
		t.Setenv(name, value)
	}
	return k
}

// config is a server whose root key the keeper wraps.
func (k *keeper) config(c *app.Config) {
	c.RootKey = app.RootKeyConfig{Kind: "kms", KeyID: k.arn, Endpoint: k.url}
}

func TestKMSRootKey(t *testing.T) {
	k := newKeeper(t)
	cfg := serverConfig(t, k.config)
	a, stop := start(t, cfg, app.ServerSecrets{})
	creds := loadCredentials(t, cfg.CredentialsFile)
	if err := works(t, client(a.URL(), creds.AccessKeyID, creds.SecretAccessKey), "s"); err != nil {
		t.Fatal(err)
	}
	// A server that runs needs the keeper no more.
	k.down.Store(1 << 30)
	if err := works(t, client(a.URL(), creds.AccessKeyID, creds.SecretAccessKey), "s2"); err != nil {
		t.Fatal(err)
	}
	stop()

	cfg.RootKey.WaitSeconds = 1
	if err := refuses(t, cfg, app.ServerSecrets{}, "gave up after 1s", k.url, k.arn); !errors.Is(err, rootkey.ErrUnreachable) {
		t.Errorf("error %v, want ErrUnreachable", err)
	}
	cfg.RootKey.WaitSeconds = -1
	refuses(t, cfg, app.ServerSecrets{}, "cannot be reached")

	// Two failures, each of a call with its second attempt; then the keeper is back.
	cfg.RootKey.WaitSeconds = 0
	k.down.Store(4)
	var said bytes.Buffer
	a, err := app.OpenServer(t.Context(), cfg, app.ServerSecrets{}, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	stop = run(t, a)
	if got := strings.Count(said.String(), "the root key cannot be reached; trying again"); got != 2 {
		t.Errorf("the log tells of %d failures, want 2:\n%s", got, said.String())
	}
	stop()

	// What waiting does not help is refused at once.
	if _, err := k.kms.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &k.arn}); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	refuses(t, cfg, app.ServerSecrets{}, "disabled", k.arn)
	if d := time.Since(begin); d > 10*time.Second {
		t.Errorf("the refusal took %v", d)
	}
	if _, err := k.kms.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: &k.arn}); err != nil {
		t.Fatal(err)
	}
	start(t, cfg, app.ServerSecrets{})
}

// A stop ends the wait, and leaves the data to others.
func TestStopWhileWaiting(t *testing.T) {
	k := newKeeper(t)
	cfg := serverConfig(t, k.config)
	k.down.Store(1 << 30)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	waits := make(chan struct{})
	log := slog.New(slog.NewTextHandler(writerFunc(func(p []byte) {
		if bytes.Contains(p, []byte("trying again")) {
			cancel()
			close(waits)
		}
	}), nil))
	a, err := app.OpenServer(ctx, cfg, app.ServerSecrets{}, log)
	if a != nil || !errors.Is(err, context.Canceled) {
		t.Fatalf("OpenServer = %v, %v, want context.Canceled", a, err)
	}
	<-waits
	k.down.Store(0)
	start(t, cfg, app.ServerSecrets{})
}

type writerFunc func(p []byte)

func (w writerFunc) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}

// fragile is a root key that fails so many times.
type fragile struct {
	rootkey.Provider
	fails int
	err   error
	calls []time.Time
}

func (f *fragile) Open(context.Context, []byte) (*envelope.Key, error) {
	f.calls = append(f.calls, time.Now())
	if f.fails--; f.fails >= 0 {
		return nil, f.err
	}
	return envelope.GenerateKey(envelope.NewKeyID(), 1), nil
}

// seconds are the moments of the calls, from the first on.
func (f *fragile) seconds() string {
	var all []string
	for _, c := range f.calls {
		all = append(all, fmt.Sprint(int(c.Sub(f.calls[0]).Seconds())))
	}
	return strings.Join(all, " ")
}

func TestPatience(t *testing.T) {
	unreachable := fmt.Errorf("%w: no answer", rootkey.ErrUnreachable)
	for _, tt := range []struct {
		name  string
		fails int
		err   error
		limit time.Duration
		want  string // when it was tried, in seconds
		ok    bool
	}{
		{"at once", 0, nil, 300 * time.Second, "0", true},
		{"later", 7, unreachable, 300 * time.Second, "0 1 3 7 15 31 61 91", true},
		{"never", 99, unreachable, 100 * time.Second, "0 1 3 7 15 31 61 91 100", false},
		{"not waited for", 99, unreachable, 0, "0", false},
		{"another reason", 99, rootkey.ErrMissing, 300 * time.Second, "0", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fragile{fails: tt.fails, err: tt.err}
				key := app.NewPatientKey(f, tt.limit, discard)
				_, err := key.Open(t.Context(), nil)
				if (err == nil) != tt.ok || !tt.ok && !errors.Is(err, tt.err) {
					t.Errorf("Open = %v, want ok: %t (%v)", err, tt.ok, tt.err)
				}
				if got := f.seconds(); got != tt.want {
					t.Errorf("tried at %s, want %s", got, tt.want)
				}
				if !tt.ok {
					return
				}
				// A server that runs is told at once.
				f.fails, f.calls = 1, nil
				f.err = unreachable
				if _, err := key.Open(t.Context(), nil); !errors.Is(err, rootkey.ErrUnreachable) || len(f.calls) != 1 {
					t.Errorf("Open of a running server = %v after %d calls, want ErrUnreachable after one", err, len(f.calls))
				}
			})
		})
	}
}

func TestNewRootKey(t *testing.T) {
	for _, tt := range []struct {
		config app.RootKeyConfig
		given  app.ServerSecrets
		want   string
	}{
		{app.RootKeyConfig{}, app.ServerSecrets{}, "*rootkey.File"},
		{app.RootKeyConfig{Kind: "passphrase"}, app.ServerSecrets{Passphrase: plain("a passphrase of some length")}, "*rootkey.Passphrase"},
		{app.RootKeyConfig{Kind: "passphrase", PassphraseFile: "/p"}, app.ServerSecrets{}, "*rootkey.PassphraseFile"},
		{app.RootKeyConfig{Kind: "kms", KeyID: "alias/a"}, app.ServerSecrets{}, "*rootkey.KMS"},
		{app.RootKeyConfig{Kind: "pkcs11", Module: "/m.so", TokenLabel: "t"}, app.ServerSecrets{}, "*rootkey.PKCS11"},
	} {
		cfg := serverConfig(t, func(c *app.Config) { c.RootKey = tt.config })
		key, err := app.NewRootKey(&cfg, tt.given)
		if err != nil {
			t.Error(err)
			continue
		}
		if got := fmt.Sprintf("%T", key); got != tt.want || key.Kind() != cfg.RootKey.Kind {
			t.Errorf("NewRootKey(%+v) = %s of kind %s, want %s", tt.config, got, key.Kind(), tt.want)
		}
		target, err := app.NewTargetRootKey(&cfg, tt.given)
		if _, ok := target.(rootkey.Target); err != nil || !ok {
			t.Errorf("NewTargetRootKey(%+v) = %T, %v", tt.config, target, err)
		}
	}
}

// Files the root key needs are looked at before anything is started.
func TestRootKeyFilesAreChecked(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	for name, c := range map[string]app.RootKeyConfig{
		"read root_key.passphrase_file": {Kind: "passphrase", PassphraseFile: none},
		"read root_key.ca_file":         {Kind: "kms", KeyID: "alias/a", Region: "us-east-1", CAFile: none},
	} {
		cfg := serverConfig(t, func(cfg *app.Config) { cfg.RootKey = c })
		refuses(t, cfg, app.ServerSecrets{}, name, none)
		if err := cfg.CheckFiles(app.ServerSecrets{}, discard); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("CheckFiles = %v, want %q in it", err, name)
		}
		if _, err := os.Stat(cfg.DataDir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the data directory was made: %v", err)
		}
	}
}
