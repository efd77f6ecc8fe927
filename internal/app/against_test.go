package app_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"arca/internal/app"
	"arca/internal/audit"
	"arca/internal/backup"
)

// against opens data offline and compares it with the log.
func against(t *testing.T, cfg app.Config) (problems, notes []string) {
	t.Helper()
	a, err := app.OpenOffline(t.Context(), cfg, app.ServerSecrets{}, discard)
	if err != nil {
		t.Fatal(err)
	}
	err = a.CheckAgainstAudit(t.Context(),
		func(p string) { problems = append(problems, p) }, func(n string) { notes = append(notes, n) })
	if err != nil {
		t.Error(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	return problems, notes
}

// fillServer makes some records, changes and removes some of them.
func fillServer(t *testing.T, c *secretsmanager.Client, prefix string) {
	t.Helper()
	ctx := t.Context()
	for i := range 6 {
		name := aws.String(fmt.Sprintf("%s/%d", prefix, i))
		if _, err := c.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: name, SecretString: aws.String("v")}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: name, SecretBinary: make([]byte, 5000)}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: name}); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			if _, err := c.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: name, ForceDeleteWithoutRecovery: aws.Bool(true)}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// What a server does, its restarts and a new storage key are all explained by its log.
func TestAgainstAudit(t *testing.T) {
	cfg := serverConfig(t)
	a, stop := start(t, cfg, app.ServerSecrets{})
	creds := loadCredentials(t, cfg.CredentialsFile)
	fillServer(t, client(a.URL(), creds.AccessKeyID, creds.SecretAccessKey), "first")
	stop()
	a, stop = start(t, cfg, app.ServerSecrets{})
	if _, err := app.StoreOf(a).RotateStorageKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		p, err := app.StoreOf(a).Reseal(t.Context(), time.Now())
		if err == nil && !p.More && p.Done == p.Total {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not sealed anew: %+v, %v", p, err)
		}
	}
	fillServer(t, client(a.URL(), creds.AccessKeyID, creds.SecretAccessKey), "second")
	stop()
	problems, notes := against(t, cfg)
	if len(problems) > 0 {
		t.Errorf("problems: %q", problems)
	}
	if len(notes) != 1 || !strings.Contains(notes[0], "records compared with the audit log") {
		t.Errorf("notes: %q", notes)
	}
}

// After a restore the log of before is of another time: it is named and not compared
// with. What was restored is older than the log, what came since is explained.
func TestAgainstAuditAfterRestore(t *testing.T) {
	first := serverConfig(t)
	a, stop := start(t, first, app.ServerSecrets{})
	creds := loadCredentials(t, first.CredentialsFile)
	c := client(a.URL(), creds.AccessKeyID, creds.SecretAccessKey)
	fillServer(t, c, "before")
	raw := backupOf(t, a, backup.Wrapping{})
	fillServer(t, c, "lost") // after the backup
	stop()

	cfg := beside(t, first)
	if err := os.CopyFS(cfg.AuditDir, os.DirFS(first.AuditDir)); err != nil {
		t.Fatal(err)
	}
	if problems, err := restore(t, cfg, raw); err != nil || len(problems) > 0 {
		t.Fatalf("restore: %q, %v", problems, err)
	}
	a, stop = start(t, cfg, app.ServerSecrets{})
	fillServer(t, client(a.URL(), creds.AccessKeyID, creds.SecretAccessKey), "after")
	stop()
	problems, notes := against(t, cfg)
	if len(problems) > 0 {
		t.Errorf("problems: %q", problems)
	}
	if all := strings.Join(notes, "\n"); !strings.Contains(all, "older than the log") || !strings.Contains(all, "restored from a backup") {
		t.Errorf("notes: %q", notes)
	}
}

// Lines of another node's log are compared with as well; what is missing from it is
// named, and what it would have explained is no problem.
func TestAgainstAuditWithGap(t *testing.T) {
	cfg := serverConfig(t)
	a, stop := start(t, cfg, app.ServerSecrets{})
	creds := loadCredentials(t, cfg.CredentialsFile)
	fillServer(t, client(a.URL(), creds.AccessKeyID, creds.SecretAccessKey), "first")
	stop()
	other := filepath.Join(cfg.AuditDir, "0123456789abcdef0123456789abcdef")
	if err := os.Mkdir(other, 0o700); err != nil {
		t.Fatal(err)
	}
	line := append((&audit.Record{EventID: "e", EventTime: time.Now(), EventName: "n"}).AppendLine(nil, "other"), '\n')
	bad := []byte(`{"arca":{"changes":[{"table":"secret","key":"zz"}]}}` + "\n")
	for first, content := range map[uint64][]byte{0: line, 5: bad} {
		if err := os.WriteFile(filepath.Join(other, audit.SegmentName(first, false)), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	problems, _ := against(t, cfg)
	if len(problems) != 2 || !strings.Contains(problems[0], "0123456789abcdef0123456789abcdef cannot be read from line 1 on") || !strings.Contains(problems[0], "lines 1 to 4 are missing") ||
		!strings.Contains(problems[1], "line 5 of 0123456789abcdef0123456789abcdef") {
		t.Errorf("problems: %q", problems)
	}
}
