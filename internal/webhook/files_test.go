package webhook_test

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"arca/internal/webhook"
)

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, bad := put("good", secretText+"\n"), put("bad", "whsec_no-secret-at-all")
	large := put("large", strings.Repeat("a", 2<<20))
	secrets, err := webhook.ReadSecrets([]string{good, good})
	if err != nil || len(secrets) != 2 {
		t.Errorf("ReadSecrets = %d, %v", len(secrets), err)
	}
	for name, paths := range map[string][]string{"none": nil, "bad": {good, bad}, "missing": {filepath.Join(dir, "missing")}, "large": {large}, "directory": {dir}} {
		if _, err := webhook.ReadSecrets(paths); err == nil {
			t.Errorf("ReadSecrets, %s = nil", name)
		} else if strings.Contains(err.Error(), "no-secret-at-all") {
			t.Errorf("the error repeats the secret: %v", err)
		}
	}
	srv := httptest.NewTLSServer(http.NotFoundHandler())
	defer srv.Close()
	ca := put("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})))
	if pool, err := webhook.ReadRoots(ca); err != nil || pool == nil {
		t.Errorf("ReadRoots = %v, %v", pool, err)
	}
	if pool, err := webhook.ReadRoots(""); err != nil || pool != nil {
		t.Errorf("ReadRoots of nothing = %v, %v", pool, err)
	}
	for _, path := range []string{good, filepath.Join(dir, "missing"), large, dir} {
		if _, err := webhook.ReadRoots(path); err == nil {
			t.Errorf("ReadRoots(%s) = nil", path)
		}
	}
}
