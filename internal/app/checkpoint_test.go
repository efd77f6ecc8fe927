package app_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"arca/internal/app"
	"arca/internal/audit"
	"arca/internal/merkle"
)

// When a server has stopped, a checkpoint covers the last line that it wrote, and a
// second start goes on with the same log.
func TestStopLeavesCheckpoint(t *testing.T) {
	cfg := serverConfig(t)
	for start := range 2 {
		var messages bytes.Buffer
		a, err := app.OpenServer(t.Context(), cfg, app.ServerSecrets{}, slog.New(slog.NewTextHandler(&messages, nil)))
		if err != nil {
			t.Fatal(err)
		}
		stop := run(t, a)
		root := loadCredentials(t, cfg.CredentialsFile)
		if err := works(t, client(a.URL(), root.AccessKeyID, root.SecretAccessKey), fmt.Sprint("secret", start)); err != nil {
			t.Fatal(err)
		}
		stop()
		if strings.Contains(messages.String(), "audit log: ") && strings.Contains(messages.String(), "level=ERROR") {
			t.Errorf("messages:\n%s", messages.String())
		}
		dirs, err := filepath.Glob(filepath.Join(cfg.AuditDir, "*"))
		if err != nil || len(dirs) != 1 {
			t.Fatalf("directories %q, %v", dirs, err)
		}
		lines := uint64(0)
		err = audit.Scan(t.Context(), dirs[0], 0, func(uint64, []byte) error { lines++; return nil })
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(dirs[0], "checkpoint"))
		if err != nil {
			t.Fatal(err)
		}
		vkey, err := os.ReadFile(filepath.Join(dirs[0], "key"))
		if err != nil {
			t.Fatal(err)
		}
		key, err := note.NewVerifier(strings.TrimSpace(string(vkey)))
		if err != nil {
			t.Fatal(err)
		}
		c, err := merkle.OpenCheckpoint(text, key)
		if err != nil {
			t.Fatal(err)
		}
		if c.Size != lines || lines < uint64(start+1) || !strings.HasSuffix(c.Origin, "/1") {
			t.Errorf("start %d: checkpoint of %s with %d lines, want %d", start, c.Origin, c.Size, lines)
		}
	}
}
