//go:build pkcs11

package app_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"arca/internal/app"
)

// A server whose root key a token wraps: the token may be gone while it runs, and is
// waited for when it starts.
func TestPKCS11RootKey(t *testing.T) {
	dir := t.TempDir()
	tokens := filepath.Join(dir, "tokens")
	conf := filepath.Join(dir, "softhsm2.conf")
	if err := os.Mkdir(tokens, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(conf, []byte("directories.tokendir = "+tokens+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", conf)
	out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", "arca", "--so-pin", "security officer", "--pin", "1234").CombinedOutput()
	if err != nil {
		t.Fatalf("softhsm2-util: %v\n%s: make test-deps installs it", err, out)
	}
	cfg := serverConfig(t, func(c *app.Config) {
		c.RootKey = app.RootKeyConfig{Kind: "pkcs11", Module: "/usr/lib/softhsm/libsofthsm2.so", TokenLabel: "arca"}
	})
	refuses(t, cfg, app.ServerSecrets{}, "ARCA_PKCS11_PIN")
	refuses(t, cfg, app.ServerSecrets{PIN: plain("4321")}, "the PIN is wrong")

	a, stop := start(t, cfg, app.ServerSecrets{PIN: plain("1234")})
	aside := tokens + ".aside"
	if err := os.Rename(tokens, aside); err != nil {
		t.Fatal(err)
	}
	creds := loadCredentials(t, cfg.CredentialsFile)
	if err := works(t, client(a.URL(), creds.AccessKeyID, creds.SecretAccessKey), "s"); err != nil {
		t.Fatal(err)
	}
	stop()
	cfg.RootKey.WaitSeconds = 1
	if err := os.Mkdir(tokens, 0o700); err != nil {
		t.Fatal(err)
	}
	refuses(t, cfg, app.ServerSecrets{PIN: plain("1234")}, "gave up after 1s", `no token labelled "arca"`)
	if err := os.Remove(tokens); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(aside, tokens); err != nil {
		t.Fatal(err)
	}
	start(t, cfg, app.ServerSecrets{PIN: plain("1234")})
}
