package app_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"arca/internal/admin"
	"arca/internal/api/arcaapi"
	"arca/internal/app"
	"arca/internal/call"
	"arca/internal/iam"
	"arca/internal/rootkey"
)

// The first start draws an account and credentials into a file for its owner only;
// later ones leave it alone and go on without it.
func TestFirstStart(t *testing.T) {
	cfg := serverConfig(t)
	a, stop := start(t, cfg, app.ServerSecrets{})
	creds := loadCredentials(t, cfg.CredentialsFile)
	if info, err := os.Stat(cfg.CredentialsFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("credentials file: %v, %v", info.Mode(), err)
	}
	if !regexp.MustCompile(`^[1-9][0-9]{11}$`).MatchString(creds.AccountID) {
		t.Errorf("account %q", creds.AccountID)
	}
	if err := works(t, client(a.URL(), creds.AccessKeyID, creds.SecretAccessKey), "first"); err != nil {
		t.Error(err)
	}
	if err := works(t, client(a.URL(), creds.AccessKeyID, "wrong"), "second"); err == nil {
		t.Error("a wrong secret key is accepted")
	}
	stop()
	if err := os.Remove(cfg.CredentialsFile); err != nil {
		t.Fatal(err)
	}
	b, _ := start(t, cfg, app.ServerSecrets{})
	if _, err := os.Stat(cfg.CredentialsFile); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("credentials are written again: %v", err)
	}
	if err := works(t, client(b.URL(), creds.AccessKeyID, creds.SecretAccessKey), "third"); err != nil {
		t.Error(err)
	}
	for _, dir := range []string{cfg.DataDir, filepath.Dir(cfg.RootKey.File)} {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("folder %s: %v, %v", dir, info.Mode(), err)
		}
	}
}

// A start that was cut off after it wrote the credentials goes on with them.
func TestCredentialsSurviveCutOffStart(t *testing.T) {
	const file = `{"AccountId": "123456789012", "AccessKeyId": "AKIACUTOFF", "SecretAccessKey": "written before"}`
	for _, tt := range []struct{ name, file, account, err string }{
		{"whole", file, "", ""},
		{"of the configured account", file, "123456789012", ""},
		{"of another account", file, "999999999999", `is in the way of new root credentials: it is for account "123456789012", not 999999999999`},
		{"cut", file[:40], "", "is in the way of new root credentials and is not one of ours"},
		{"empty", "", "", "is in the way of new root credentials and is not one of ours"},
		{"something else", "{}", "", `account id "" is not 12 digits`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := serverConfig(t, func(c *app.Config) { c.Account = tt.account })
			if err := os.MkdirAll(filepath.Dir(cfg.CredentialsFile), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(cfg.CredentialsFile, []byte(tt.file), 0o600); err != nil {
				t.Fatal(err)
			}
			if tt.err != "" {
				refuses(t, cfg, app.ServerSecrets{}, cfg.CredentialsFile, tt.err)
				return
			}
			a, _ := start(t, cfg, app.ServerSecrets{})
			if err := works(t, client(a.URL(), "AKIACUTOFF", "written before"), "s"); err != nil {
				t.Error(err)
			}
			if raw, err := os.ReadFile(cfg.CredentialsFile); err != nil || string(raw) != tt.file {
				t.Errorf("the file now holds %q, %v", raw, err)
			}
		})
	}
}

// Credentials of the environment are set at every start, and no file is written.
func TestGivenCredentials(t *testing.T) {
	cfg := serverConfig(t, func(c *app.Config) { c.Account = "123456789012" })
	for _, secret := range []string{"first secret", "first secret", "second secret"} {
		a, stop := start(t, cfg, app.ServerSecrets{AccessKeyID: "AKIAGIVEN", SecretAccessKey: plain(secret)})
		if _, err := client(a.URL(), "AKIAGIVEN", secret).ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{}); err != nil {
			t.Errorf("%s: %v", secret, err)
		}
		stop()
	}
	if _, err := os.Stat(cfg.CredentialsFile); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a credentials file was written: %v", err)
	}
	a, stop := start(t, cfg, app.ServerSecrets{}) // what was given stays
	if _, err := client(a.URL(), "AKIAGIVEN", "second secret").ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{}); err != nil {
		t.Error(err)
	}
	stop()
	err := refuses(t, cfg, app.ServerSecrets{AccessKeyID: "bad/key", SecretAccessKey: plain("very secret")},
		"set root credentials of the environment", `access key id "bad/key"`)
	if strings.Contains(err.Error(), "very secret") {
		t.Errorf("the error shows the secret: %v", err)
	}
}

// A setting for other data than these stops the start with its name.
func TestOtherAccount(t *testing.T) {
	cfg := serverConfig(t, func(c *app.Config) { c.Account = "123456789012" })
	_, stop := start(t, cfg, app.ServerSecrets{})
	stop()
	cfg.Account = "999999999999"
	refuses(t, cfg, app.ServerSecrets{}, "account: the data in "+cfg.DataDir+" was set up for account 123456789012, not 999999999999")
	refuses(t, cfg, app.ServerSecrets{AccessKeyID: "AKIAGIVEN", SecretAccessKey: plain("secret")}, "account: ")
}

func TestRootKeyFile(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, cfg *app.Config)
		is    error
		words []string
	}{
		{"missing", func(t *testing.T, cfg *app.Config) {
			if err := os.Remove(cfg.RootKey.File); err != nil {
				t.Fatal(err)
			}
		}, rootkey.ErrMissing, []string{"root.key", "restore the file from its backup"}},
		{"of another store", func(t *testing.T, cfg *app.Config) {
			other := serverConfig(t)
			_, stop := start(t, other, app.ServerSecrets{})
			stop()
			if err := os.Rename(other.RootKey.File, cfg.RootKey.File); err != nil {
				t.Fatal(err)
			}
		}, rootkey.ErrMismatch, []string{"root.key", "is not the one this store was sealed with"}},
		{"no key file", func(t *testing.T, cfg *app.Config) {
			if err := os.WriteFile(cfg.RootKey.File, []byte("hello"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, nil, []string{"root.key"}},
		{"readable by others", func(t *testing.T, cfg *app.Config) {
			if err := os.Chmod(cfg.RootKey.File, 0o644); err != nil {
				t.Fatal(err)
			}
		}, nil, []string{"root.key"}},
		{"a passphrase instead", func(t *testing.T, cfg *app.Config) {
			cfg.RootKey = app.RootKeyConfig{Kind: "passphrase"}
		}, nil, []string{"passphrase", "file"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := serverConfig(t)
			_, stop := start(t, cfg, app.ServerSecrets{})
			stop()
			tt.spoil(t, &cfg)
			err := refuses(t, cfg, app.ServerSecrets{Passphrase: plain("a passphrase of some length")}, tt.words...)
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("error %v, want %v", err, tt.is)
			}
		})
	}
}

func TestPassphrase(t *testing.T) {
	const phrase = "correct horse battery staple"
	cfg := serverConfig(t, passphrase)
	refuses(t, cfg, app.ServerSecrets{}, "root_key.passphrase_file", "ARCA_ROOT_PASSPHRASE")
	refuses(t, cfg, app.ServerSecrets{Passphrase: plain("short")}, "passphrase has 5 characters")
	_, stop := start(t, cfg, app.ServerSecrets{Passphrase: plain(phrase)})
	stop()
	if err := refuses(t, cfg, app.ServerSecrets{Passphrase: plain("incorrect horse battery")}, "is not the one"); !errors.Is(err, rootkey.ErrWrongPassphrase) {
		t.Errorf("error %v", err)
	}
	cfg.RootKey.PassphraseFile = filepath.Join(t.TempDir(), "none")
	refuses(t, cfg, app.ServerSecrets{}, "read root_key.passphrase_file", "none")
	if err := os.WriteFile(cfg.RootKey.PassphraseFile, []byte(phrase+"\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stop = start(t, cfg, app.ServerSecrets{})
	stop()
}

func TestSecondProcess(t *testing.T) {
	cfg := serverConfig(t)
	start(t, cfg, app.ServerSecrets{})
	refuses(t, cfg, app.ServerSecrets{}, cfg.DataDir, "is in use by process")
	a, err := app.OpenOffline(t.Context(), cfg, app.ServerSecrets{}, discard)
	if err == nil {
		_ = a.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "is in use by process") {
		t.Errorf("OpenOffline = %v", err)
	}
}

// What cannot be listened on is named, and nothing stays behind.
func TestListenRefused(t *testing.T) {
	busy, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	cfg := serverConfig(t)
	noPEM := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(noPEM, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, set := range map[string]func(c *app.Config){
		"listen: ":     func(c *app.Config) { c.Listen = busy.Addr().String() },
		"ops_listen: ": func(c *app.Config) { c.OpsListen = busy.Addr().String() },
		"tls: ":        func(c *app.Config) { c.TLS = app.TLSConfig{CertFile: noPEM, KeyFile: noPEM} },
	} {
		bad := cfg
		set(&bad)
		refuses(t, bad, app.ServerSecrets{}, name)
	}
	start(t, cfg, app.ServerSecrets{})
}

// Without a certificate the server makes its own, which its clients can trust.
func TestOwnCertificateIsServed(t *testing.T) {
	cfg := serverConfig(t, func(c *app.Config) { c.TLS = app.TLSConfig{} })
	a, _ := start(t, cfg, app.ServerSecrets{})
	raw, err := os.ReadFile(filepath.Join(filepath.Dir(cfg.RootKey.File), "tls.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(raw)
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.URL()+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(a.URL(), "https://") {
		t.Errorf("%s answers %s", a.URL(), resp.Status)
	}
}

// Data whose clock was moved cannot be served on real time, but looked at.
func TestMovedClock(t *testing.T) {
	home := t.TempDir()
	d, err := app.OpenDev(t.Context(), app.DevConfig{Home: home, Listen: "127.0.0.1:0"}, discard)
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, d)
	c := &call.Call{Op: arcaapi.OpAdvanceClock, Now: time.Now(), Caller: iam.RootPrincipal(app.DevAccount, "test"), Region: "us-east-1"}
	if _, err := app.Dispatcher(d.App).Do(t.Context(), c, &arcaapi.AdvanceClockInput{Duration: "31d"}); err != nil {
		t.Fatal(err)
	}
	stop()
	cfg := serverConfig(t, func(c *app.Config) {
		c.DataDir, c.RootKey.File = filepath.Join(home, "data"), filepath.Join(home, "keys", "root.key")
	})
	if err := refuses(t, cfg, app.ServerSecrets{}, "arca dev"); !errors.Is(err, admin.ErrMovedClock) {
		t.Errorf("error %v, want ErrMovedClock", err)
	}
	a, err := app.OpenOffline(t.Context(), cfg, app.ServerSecrets{}, discard)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

func TestOffline(t *testing.T) {
	cfg := serverConfig(t)
	if _, err := app.OpenOffline(t.Context(), cfg, app.ServerSecrets{}, discard); err == nil || !strings.Contains(err.Error(), "no data in "+cfg.DataDir) {
		t.Errorf("OpenOffline without data = %v", err)
	}
	if _, err := os.Stat(cfg.DataDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a data folder was made: %v", err)
	}
	a, stop := start(t, cfg, app.ServerSecrets{})
	creds := loadCredentials(t, cfg.CredentialsFile)
	if err := works(t, client(a.URL(), creds.AccessKeyID, creds.SecretAccessKey), "some/name"); err != nil {
		t.Fatal(err)
	}
	stop()
	off, err := app.OpenOffline(t.Context(), cfg, app.ServerSecrets{}, discard)
	if err != nil {
		t.Fatal(err)
	}
	defer off.Close()
	var out strings.Builder
	if err := off.Dump(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "some/name") || strings.Contains(out.String(), creds.SecretAccessKey) {
		t.Errorf("dump:\n%s", out.String())
	}
	if err := off.Check(t.Context(), func(p string) { t.Errorf("check: %s", p) }); err != nil {
		t.Error(err)
	}
}

// What was read last is known after a stop, although it is stored only now and then.
func TestLastAccessSurvivesStop(t *testing.T) {
	cfg := serverConfig(t)
	a, stop := start(t, cfg, app.ServerSecrets{})
	creds := loadCredentials(t, cfg.CredentialsFile)
	c := client(a.URL(), creds.AccessKeyID, creds.SecretAccessKey)
	if err := works(t, c, "s"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("s")}); err != nil {
		t.Fatal(err)
	}
	stop()
	a, _ = start(t, cfg, app.ServerSecrets{})
	out, err := client(a.URL(), creds.AccessKeyID, creds.SecretAccessKey).DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: aws.String("s")})
	if err != nil {
		t.Fatal(err)
	}
	if out.LastAccessedDate == nil {
		t.Error("the day of access is lost")
	}
}

func TestCloseWithoutRun(t *testing.T) {
	cfg := serverConfig(t)
	a, err := app.OpenServer(t.Context(), cfg, app.ServerSecrets{}, discard)
	if err != nil {
		t.Fatal(err)
	}
	addr := a.Addr()
	for range 2 {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
	if c, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr); err == nil {
		_ = c.Close()
		t.Error("somebody still listens")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := app.OpenServer(ctx, cfg, app.ServerSecrets{}, discard); err == nil {
		t.Error("OpenServer = nil with a context that has ended")
	}
	start(t, cfg, app.ServerSecrets{}) // nothing was left behind
}
