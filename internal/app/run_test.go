package app_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"arca/internal/app"
)

// The ops listener tells health, readiness and metrics, and the API listener none of
// the latter.
func TestOps(t *testing.T) {
	cfg := serverConfig(t, func(c *app.Config) { c.OpsListen = "127.0.0.1:0" })
	a, _ := start(t, cfg, app.ServerSecrets{})
	creds := loadCredentials(t, cfg.CredentialsFile)
	if err := works(t, client(a.URL(), creds.AccessKeyID, creds.SecretAccessKey), "s"); err != nil {
		t.Fatal(err)
	}
	ops := "http://" + a.OpsAddr()
	for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ready\n"} {
		if status, body := get(t, ops+path); status != http.StatusOK || body != want {
			t.Errorf("%s: %d %q, want 200 %q", path, status, body, want)
		}
	}
	_, metrics := get(t, ops+"/metrics")
	for _, want := range []string{
		`arca_requests_total{code="OK",operation="CreateSecret",service="secretsmanager"} 1`,
		"arca_request_seconds_bucket", "arca_audit_", "arca_space_free_bytes", "arca_space_level 0", "go_goroutines", "process_open_fds",
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if strings.Contains(metrics, creds.AccountID) || strings.Contains(metrics, creds.AccessKeyID) {
		t.Error("metrics name accounts or keys")
	}
	for _, path := range []string{"/metrics", "/readyz"} {
		if status, _ := get(t, a.URL()+path); status == http.StatusOK {
			t.Errorf("the API listener answers %s", path)
		}
	}
	if b, _ := start(t, serverConfig(t), app.ServerSecrets{}); b.OpsAddr() != "" {
		t.Errorf("OpsAddr without ops_listen = %q", b.OpsAddr())
	}
}

// A server whose audit log cannot be written is not ready, and is again by itself.
func TestReadyNeedsAuditLog(t *testing.T) {
	cfg := serverConfig(t, func(c *app.Config) {
		c.OpsListen = "127.0.0.1:0"
		c.AuditDir = filepath.Join(filepath.Dir(c.DataDir), "audit")
	})
	a, _ := start(t, cfg, app.ServerSecrets{})
	ready := func() (int, string) { return get(t, "http://"+a.OpsAddr()+"/readyz") }
	aside := cfg.AuditDir + ".aside"
	if err := os.Rename(cfg.AuditDir, aside); err != nil {
		t.Fatal(err)
	}
	// A file where the folder was: nothing can be made there.
	if err := os.WriteFile(cfg.AuditDir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "not ready", func() bool {
		status, body := ready()
		return status == http.StatusServiceUnavailable && strings.Contains(body, "audit log")
	})
	if err := os.Remove(cfg.AuditDir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(aside, cfg.AuditDir); err != nil {
		t.Fatal(err)
	}
	eventually(t, "ready again", func() bool { status, _ := ready(); return status == http.StatusOK })
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(stopTimeout); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("timed out waiting: %s", what)
		}
	}
}

// A stop finishes what is in flight and takes nothing new.
func TestGracefulStop(t *testing.T) {
	a, err := app.OpenServer(t.Context(), serverConfig(t), app.ServerSecrets{}, discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	dial := func() (net.Conn, error) { return new(net.Dialer).DialContext(t.Context(), "tcp", a.Addr()) }
	conn, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// Half a request, which the server begins to read.
	if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(conn)
	if line, err := answers.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("server says %q, %v", line, err)
	}
	if _, err := answers.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	cancel()
	eventually(t, "new connections are refused", func() bool {
		c, err := dial()
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	select {
	case err := <-ended:
		t.Fatalf("the server ended beside a request in flight: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if _, err := io.WriteString(conn, "{}"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatalf("the request in flight got no answer: %v", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest && resp.StatusCode != http.StatusNotFound && resp.StatusCode != http.StatusForbidden {
		t.Errorf("answer %s to an unsigned request", resp.Status)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("run: %v", err)
		}
	case <-time.After(stopTimeout):
		t.Fatal("the server does not stop")
	}
}

// A stop waits for so long and no longer.
func TestStopCutsOff(t *testing.T) {
	a, err := app.OpenServer(t.Context(), serverConfig(t, func(c *app.Config) { c.ShutdownSeconds = 1 }), app.ServerSecrets{}, discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", a.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "cut off after 1s") {
			t.Errorf("run = %v, want to be told of the cut", err)
		}
	case <-time.After(stopTimeout):
		t.Fatal("the server does not stop")
	}
}
