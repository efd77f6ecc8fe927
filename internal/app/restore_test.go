package app_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"arca/internal/app"
	"arca/internal/backup"
	"arca/internal/rootkey"
	"arca/internal/store"
)

// backupOf makes a backup of an open server.
func backupOf(t *testing.T, a *app.App, w backup.Wrapping) []byte {
	t.Helper()
	m := a.Backups()
	b, err := m.Begin(t.Context(), time.Now(), w)
	if err != nil {
		t.Fatal(err)
	}
	raw := bytes.Clone(b.Raw)
	for cursor := b.Cursor; cursor != ""; {
		p, err := m.Read(t.Context(), b.Header, cursor, w)
		if err != nil {
			t.Fatal(err)
		}
		raw, cursor = append(raw, p.Frame...), p.Cursor
	}
	return raw
}

// beside is the configuration of another server with the same root key.
func beside(t *testing.T, cfg app.Config) app.Config {
	t.Helper()
	return serverConfig(t, func(c *app.Config) { c.RootKey.File = cfg.RootKey.File })
}

func restore(t *testing.T, cfg app.Config, raw []byte, set ...func(o *app.RestoreOptions)) (problems []string, err error) {
	t.Helper()
	o := app.RestoreOptions{
		Source: bytes.NewReader(raw), Report: func(backup.Stage, int64) {},
		Problem: func(p string) { problems = append(problems, p) },
	}
	for _, s := range set {
		s(&o)
	}
	_, err = app.Restore(t.Context(), cfg, app.ServerSecrets{}, o, discard)
	return problems, err
}

// What clients had before the backup works with the restored server: secrets, their
// keys, ciphertexts, credentials and sessions. What came later is not there.
func TestRestoredServer(t *testing.T) {
	cfg := serverConfig(t)
	a, stop := start(t, cfg, app.ServerSecrets{})
	creds := loadCredentials(t, cfg.CredentialsFile)
	static := credentials.NewStaticCredentialsProvider(creds.AccessKeyID, creds.SecretAccessKey, "")
	c := client(a.URL(), creds.AccessKeyID, creds.SecretAccessKey)
	ctx := t.Context()

	keys := kms.New(kms.Options{Region: "us-east-1", BaseEndpoint: aws.String(a.URL()), Credentials: static})
	key, err := keys.CreateKey(ctx, &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := keys.Encrypt(ctx, &kms.EncryptInput{KeyId: key.KeyMetadata.KeyId, Plaintext: []byte("sealed before")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateSecret(ctx, &secretsmanager.CreateSecretInput{
		Name: aws.String("under-a-key"), SecretString: aws.String("value"), KmsKeyId: key.KeyMetadata.KeyId,
	}); err != nil {
		t.Fatal(err)
	}
	session, err := sts.New(sts.Options{Region: "us-east-1", BaseEndpoint: aws.String(a.URL()), Credentials: static}).GetSessionToken(ctx, &sts.GetSessionTokenInput{})
	if err != nil {
		t.Fatal(err)
	}

	// The backup is made while others write.
	writing, done := context.WithCancel(ctx)
	var writers sync.WaitGroup
	var wrote [2]int
	for w := range wrote {
		writers.Go(func() {
			for ; writing.Err() == nil; wrote[w]++ {
				if err := works(t, c, fmt.Sprintf("writer-%d/%d", w, wrote[w])); err != nil && writing.Err() == nil {
					t.Errorf("write beside a backup: %v", err)
					return
				}
			}
		})
	}
	time.Sleep(50 * time.Millisecond)
	raw := backupOf(t, a, backup.Wrapping{})
	done()
	writers.Wait()
	if err := works(t, c, "later"); err != nil {
		t.Fatal(err)
	}
	stop()

	other := beside(t, cfg)
	if problems, err := restore(t, other, raw); err != nil || len(problems) > 0 {
		t.Fatalf("Restore: %v, %q", err, problems)
	}
	b, _ := start(t, other, app.ServerSecrets{})
	if _, err := os.Stat(other.CredentialsFile); other.CredentialsFile != cfg.CredentialsFile && err == nil {
		t.Error("root credentials were made, although the backup has some")
	}
	for name, p := range map[string]aws.CredentialsProvider{
		"root":    static,
		"session": credentials.NewStaticCredentialsProvider(*session.Credentials.AccessKeyId, *session.Credentials.SecretAccessKey, *session.Credentials.SessionToken),
	} {
		c := secretsmanager.New(secretsmanager.Options{Region: "us-east-1", BaseEndpoint: aws.String(b.URL()), Credentials: p})
		got, err := c.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String("under-a-key")})
		if err != nil || *got.SecretString != "value" {
			t.Errorf("%s: GetSecretValue = %v", name, err)
		}
		if _, err := c.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String("later")}); err == nil || !strings.Contains(err.Error(), "ResourceNotFoundException") {
			t.Errorf("%s: a secret of after the backup: %v", name, err)
		}
	}
	keys = kms.New(kms.Options{Region: "us-east-1", BaseEndpoint: aws.String(b.URL()), Credentials: static})
	opened, err := keys.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob})
	if err != nil || string(opened.Plaintext) != "sealed before" {
		t.Errorf("Decrypt of a ciphertext of before: %v", err)
	}
	// Of what each writer wrote there is a beginning without a gap.
	for w, n := range wrote {
		missing := -1
		for i := range n {
			_, err := client(b.URL(), creds.AccessKeyID, creds.SecretAccessKey).DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: aws.String(fmt.Sprintf("writer-%d/%d", w, i))})
			if err != nil && missing < 0 {
				missing = i
			}
			if err == nil && missing >= 0 {
				t.Fatalf("writer %d: secret %d is there and %d is not", w, i, missing)
			}
		}
	}
}

// A restore that died before its check is checked by the server's start.
func TestRestoreWithoutCheck(t *testing.T) {
	cfg := serverConfig(t)
	a, stop := start(t, cfg, app.ServerSecrets{})
	raw := backupOf(t, a, backup.Wrapping{})
	stop()
	other := beside(t, cfg)
	key, err := app.NewRootKey(&other, app.ServerSecrets{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Restore(t.Context(), app.ClosedStore(other, key), bytes.NewReader(raw), backup.Unlock{RootKey: key}, func(backup.Stage, int64) {}); err != nil {
		t.Fatal(err)
	}
	b, _ := start(t, other, app.ServerSecrets{})
	if name, yes, err := app.StoreOf(b).Imported(t.Context()); yes || err != nil {
		t.Errorf("backup %s counts as unchecked after a start: %v", name, err)
	}
}

// A backup whose records contradict each other, as after a bug, is restored and not
// served, unless somebody says that it is better than nothing.
func TestRestoreOfProblems(t *testing.T) {
	cfg := serverConfig(t)
	a, stop := start(t, cfg, app.ServerSecrets{})
	creds := loadCredentials(t, cfg.CredentialsFile)
	c := client(a.URL(), creds.AccessKeyID, creds.SecretAccessKey)
	// Large enough to be a record of its own, which will be missing.
	if _, err := c.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("torn"), SecretString: aws.String(strings.Repeat("v", 2000))}); err != nil {
		t.Fatal(err)
	}
	s := app.StoreOf(a)
	x, err := s.BeginExport(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	im := store.Import{Name: "torn", Deployment: s.DeploymentID()}
	if im.Keys, im.Ceiling, err = s.ExportKeyring(t.Context(), x); err != nil {
		t.Fatal(err)
	}
	r, err := s.ExportRoot(t.Context(), x)
	if err != nil {
		t.Fatal(err)
	}
	im.RootParams = r.Params
	var records []store.ExportRecord
	if _, err := s.ExportPage(t.Context(), x, 1<<30, func(r store.ExportRecord) error {
		if r.Table != "secret-value" {
			r.Plain = bytes.Clone(r.Plain)
			records = append(records, r)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	stop()
	im.Records = func(yield func(store.ExportRecord, error) bool) {
		for _, r := range records {
			if !yield(r, nil) {
				return
			}
		}
	}
	torn := beside(t, cfg)
	key, err := app.NewRootKey(&torn, app.ServerSecrets{})
	if err != nil {
		t.Fatal(err)
	}
	if err := app.ClosedStore(torn, key).Import(t.Context(), im); err != nil {
		t.Fatal(err)
	}
	if err := refuses(t, torn, app.ServerSecrets{}, "has problems", "--accept-problems"); !errors.Is(err, app.ErrUnchecked) {
		t.Errorf("start = %v, want ErrUnchecked", err)
	}
	broken, err := app.OpenOffline(t.Context(), torn, app.ServerSecrets{}, discard)
	if err != nil {
		t.Fatal(err)
	}
	raw := backupOf(t, broken, backup.Wrapping{})
	if err := broken.Close(); err != nil {
		t.Fatal(err)
	}

	other := beside(t, cfg)
	problems, err := restore(t, other, raw)
	if !errors.Is(err, app.ErrUnchecked) || len(problems) == 0 {
		t.Errorf("Restore = %v, %q; want ErrUnchecked and problems", err, problems)
	}
	refuses(t, other, app.ServerSecrets{}, "has problems")
	if err := os.RemoveAll(other.DataDir); err != nil {
		t.Fatal(err)
	}
	if problems, err = restore(t, other, raw, func(o *app.RestoreOptions) { o.AcceptProblems = true }); err != nil || len(problems) == 0 {
		t.Errorf("Restore = %v, %q; want problems that are accepted", err, problems)
	}
	b, err := app.OpenServer(t.Context(), other, app.ServerSecrets{}, discard)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// An unfinished restore is no data for anybody but another restore.
func TestUnfinishedRestore(t *testing.T) {
	cfg := serverConfig(t)
	a, stop := start(t, cfg, app.ServerSecrets{})
	raw := backupOf(t, a, backup.Wrapping{})
	stop()
	other := beside(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	o := app.RestoreOptions{Source: bytes.NewReader(raw), Problem: func(string) {}, Report: func(s backup.Stage, _ int64) {
		if s == backup.StageWrite {
			cancel()
		}
	}}
	if _, err := app.Restore(ctx, other, app.ServerSecrets{}, o, discard); !errors.Is(err, context.Canceled) {
		t.Fatalf("Restore = %v, want context.Canceled", err)
	}
	refuses(t, other, app.ServerSecrets{}, "unfinished restore: run arca restore again")
	if _, err := app.OpenOffline(t.Context(), other, app.ServerSecrets{}, discard); !errors.Is(err, store.ErrUnfinishedImport) {
		t.Errorf("OpenOffline = %v, want ErrUnfinishedImport", err)
	}
	if problems, err := restore(t, other, raw); err != nil || len(problems) > 0 {
		t.Fatalf("Restore: %v, %q", err, problems)
	}
	start(t, other, app.ServerSecrets{})
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(other.DataDir), ".arca-restore*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

// A backup that was made once is restored for ever, with all that its records are made
// of: testdata/format1.backup is one of a development server, under a passphrase.
func TestRestoreFormat1(t *testing.T) {
	raw, err := os.ReadFile("testdata/format1.backup")
	if err != nil {
		t.Fatal(err)
	}
	cfg := serverConfig(t)
	problems, err := restore(t, cfg, raw, func(o *app.RestoreOptions) {
		o.Passphrase = rootkey.NewPassphrase(plain("open this for ever and ever"))
	})
	if err != nil || len(problems) > 0 {
		t.Fatalf("Restore: %v, %q", err, problems)
	}
	a, _ := start(t, cfg, app.ServerSecrets{})
	c := client(a.URL(), "test", "test")
	for _, want := range []struct{ name, stage, value string }{
		{"golden/db", "AWSCURRENT", "second"}, {"golden/db", "AWSPREVIOUS", "first"}, {"golden/plain", "AWSCURRENT", "plain"},
	} {
		got, err := c.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &want.name, VersionStage: &want.stage})
		if err != nil || *got.SecretString != want.value {
			t.Errorf("%s %s: %v, want %s", want.name, want.stage, err, want.value)
		}
	}
	blob, err := base64.StdEncoding.DecodeString("AQVCjkaykUgFrG8cj+QRzewAAAAB/SQIQ1mAQFxQoPo4lkyhatjmQvU7cEwAXvrLSorunZIc0ixSqT427IH5bzXe/sIeSkM=")
	if err != nil {
		t.Fatal(err)
	}
	keys := kms.New(kms.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(a.URL()), Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
	})
	if got, err := keys.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: blob, KeyId: aws.String("alias/golden")}); err != nil || string(got.Plaintext) != "sealed" {
		t.Errorf("Decrypt: %v", err)
	}
}
