package app_test

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"

	"arca/internal/app"
)

func certConfig(t *testing.T, set ...func(c *app.Config)) *app.Config {
	t.Helper()
	cfg := app.Config{DataDir: filepath.Join(t.TempDir(), "data"), Listen: "arca.internal:8443", Hosts: []string{"arca.example.com", "*.arca.example"}}
	for _, s := range set {
		s(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	return &cfg
}

// The own certificate is good for all names of the server, for as long as clients
// accept, and a client that knows nothing but its file trusts it.
func TestOwnCertificate(t *testing.T) {
	cfg := certConfig(t)
	now := time.Now()
	certFile, keyFile, fingerprint, err := app.EnsureOwnCertificate(cfg, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{certFile, keyFile} {
		if info, err := os.Stat(file); err != nil {
			t.Error(err)
		} else if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", file, info.Mode())
		}
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(certFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(raw) {
		t.Fatal("the certificate file is no CA bundle")
	}
	for _, name := range []string{"localhost", "127.0.0.1", "::1", "arca.example.com", "x.arca.example", "arca.internal"} {
		_, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := pair.Leaf.VerifyHostname("other.example.com"); err == nil {
		t.Error("the certificate is good for a name that is not served")
	}
	if life := pair.Leaf.NotAfter.Sub(now); life > app.OwnCertificateLife+time.Minute {
		t.Errorf("the certificate lives %v", life)
	}
	if len(fingerprint) != 64 {
		t.Errorf("fingerprint %q", fingerprint)
	}
}

// The certificate stays while it is good and is made anew when it is not.
func TestOwnCertificateIsKept(t *testing.T) {
	now := time.Now()
	truncate := func(name string) func(t *testing.T, dir string, cfg *app.Config) {
		return func(t *testing.T, dir string, cfg *app.Config) {
			if err := os.Truncate(filepath.Join(dir, name), 10); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, dir string, cfg *app.Config)
		later  time.Duration
		kept   bool
	}{
		{"nothing", nil, 0, true},
		{"long before its end", nil, app.OwnCertificateLife - app.OwnCertificateRenewal - time.Hour, true},
		{"near its end", nil, app.OwnCertificateLife - app.OwnCertificateRenewal + time.Hour, false},
		{"after its end", nil, 2 * app.OwnCertificateLife, false},
		{"fewer names", func(t *testing.T, _ string, cfg *app.Config) { cfg.Hosts = cfg.Hosts[:1] }, 0, true},
		{"another name", func(t *testing.T, _ string, cfg *app.Config) { cfg.Hosts = append(cfg.Hosts, "new.example") }, 0, false},
		{"another listening address", func(t *testing.T, _ string, cfg *app.Config) { cfg.Listen = "192.0.2.7:8443" }, 0, false},
		{"listening everywhere", func(t *testing.T, _ string, cfg *app.Config) { cfg.Listen = "0.0.0.0:8443" }, 0, true},
		{"key cut", truncate("tls.key"), 0, false},
		{"certificate cut", truncate("tls.crt"), 0, false},
		{"key gone", func(t *testing.T, dir string, _ *app.Config) {
			if err := os.Remove(filepath.Join(dir, "tls.key")); err != nil {
				t.Fatal(err)
			}
		}, 0, false},
		{"key of another pair", func(t *testing.T, dir string, _ *app.Config) {
			other := certConfig(t)
			_, key, _, err := app.EnsureOwnCertificate(other, now)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(key, filepath.Join(dir, "tls.key")); err != nil {
				t.Fatal(err)
			}
		}, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := certConfig(t)
			certFile, _, before, err := app.EnsureOwnCertificate(cfg, now)
			if err != nil {
				t.Fatal(err)
			}
			if tt.change != nil {
				tt.change(t, filepath.Dir(certFile), cfg)
			}
			certFile, keyFile, after, err := app.EnsureOwnCertificate(cfg, now.Add(tt.later))
			if err != nil {
				t.Fatal(err)
			}
			if (before == after) != tt.kept {
				t.Errorf("kept: %v, want %v", before == after, tt.kept)
			}
			if _, err := tls.LoadX509KeyPair(certFile, keyFile); err != nil {
				t.Error(err)
			}
			if files, err := os.ReadDir(filepath.Dir(certFile)); err != nil || len(files) != 2 {
				t.Errorf("files %v, %v, want two", files, err)
			}
		})
	}
}

func TestOwnCertificateUnwritable(t *testing.T) {
	cfg := certConfig(t)
	// A file where the folder should be.
	if err := os.WriteFile(cfg.DataDir+".keys", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := app.EnsureOwnCertificate(cfg, time.Now()); err == nil {
		t.Error("EnsureOwnCertificate = nil")
	}
}

func TestReplaceFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sub", "file")
	for _, text := range []string{"one", "the second"} {
		if err := app.ReplaceFile(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != text {
			t.Errorf("file holds %q, %v, want %q", got, err, text)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := app.ReplaceFile(filepath.Dir(path), []byte("x")); err == nil {
		t.Error("a folder was replaced")
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("files %v, %v: something is left over", files, err)
	}
}
