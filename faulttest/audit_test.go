package faulttest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"arca/internal/audit"
)

// answers is what clients received: the name of the operation by request id.
type answers struct {
	mu  sync.Mutex
	ops map[string]string // guarded by mu
}

// Do is the HTTP client of an SDK, and remembers every answer whose header arrived.
func (a *answers) Do(r *http.Request) (*http.Response, error) {
	resp, err := inOnePiece{}.Do(r)
	if err == nil {
		_, op, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		a.mu.Lock()
		a.ops[resp.Header.Get("x-amzn-RequestId")] = op
		a.mu.Unlock()
	}
	return resp, err
}

// client is one whose answers are remembered.
func (a *answers) client(url string) *secretsmanager.Client {
	return secretsmanager.New(secretsmanager.Options{
		BaseEndpoint: aws.String(url), Region: "us-east-1", HTTPClient: a,
		Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
		Retryer:     aws.NopRetryer{},
	})
}

// written is a stream of writes and reads, and which of the writes were answered.
type written struct {
	mu    sync.Mutex
	sent  map[string]string // secret by token of each write that was begun (guarded by mu)
	acked map[string]bool   // tokens of those that were answered well (guarded by mu)
}

// work writes and reads until the server is gone: changes, reads, batches, refusals.
func (w *written) work(ctx context.Context, c *secretsmanager.Client, name string) {
	tell := func(token string, err error) bool {
		if err != nil {
			return false
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.acked[token] = true
		return true
	}
	begin := func() *string {
		token := fmt.Sprintf("%016x%016x", rand.Uint64(), rand.Uint64())
		w.mu.Lock()
		defer w.mu.Unlock()
		w.sent[token] = name
		return &token
	}
	token := begin()
	_, err := c.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &name, SecretString: token, ClientRequestToken: token})
	if !tell(*token, err) {
		return
	}
	for n := 0; n < 40 && ctx.Err() == nil; n++ {
		token := begin()
		_, err := c.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: &name, SecretString: token, ClientRequestToken: token})
		if !tell(*token, err) {
			return
		}
		if _, err := c.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &name}); err != nil {
			return
		}
		switch n % 4 {
		case 0:
			_, _ = c.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String("none")})
		case 1:
			_, _ = c.BatchGetSecretValue(ctx, &secretsmanager.BatchGetSecretValueInput{SecretIdList: []string{name, "none"}})
		case 2:
			_, _ = c.TagResource(ctx, &secretsmanager.TagResourceInput{SecretId: &name, Tags: []types.Tag{{Key: aws.String("n"), Value: token}}})
		}
	}
}

// line is what this test looks at of an audit line.
type line struct {
	EventName         string
	EventType         string
	EventID           string
	RequestID         string
	ErrorCode         string
	RequestParameters struct{ ClientRequestToken string }
	Arca              struct{ Changes []struct{ Table string } }
}

// auditDirs are the log directories below a development server's folder.
func auditDirs(t *testing.T, home string) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(home, "data", "audit", "*"))
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no audit log below %s: %v", home, err)
	}
	return dirs
}

// records reads every line of the log, in its order.
func records(t *testing.T, home string) (all []line) {
	t.Helper()
	for _, dir := range auditDirs(t, home) {
		err := audit.Scan(t.Context(), dir, 0, func(n uint64, raw []byte) error {
			var l line
			if err := json.Unmarshal(raw, &l); err != nil {
				return fmt.Errorf("line %d: %w", n, err)
			}
			all = append(all, l)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// TestKillAndTheAuditLog kills the server in the middle of reads and writes, again and
// again on the same data, sometimes while it is still starting. No answer may ever have
// been sent whose record is not in the log, no change may be without a record or with
// two, and log and data agree at the end.
func TestKillAndTheAuditLog(t *testing.T) {
	const workers = 8
	kills := 6
	if *long {
		kills = 100
	}
	home := t.TempDir()
	args := []string{"dev", "--data-dir", home, "--listen", "127.0.0.1:0"}
	got := answers{ops: make(map[string]string)}
	work := written{sent: make(map[string]string), acked: make(map[string]bool)}
	for n := range kills {
		if n%4 == 3 {
			killEarly(t, args, time.Duration(rand.IntN(120))*time.Millisecond)
		}
		p := start(t, nil, args...)
		c := got.client(p.url)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range workers {
			wg.Go(func() {
				for k := 0; ctx.Err() == nil && p.alive(); k++ {
					work.work(ctx, c, fmt.Sprintf("audit/%d/%d/%d", n, i, k))
				}
			})
		}
		time.Sleep(time.Duration(100+rand.IntN(400)) * time.Millisecond)
		p.kill()
		cancel()
		wg.Wait()
	}
	p := start(t, nil, args...)
	stored := versions(t, client(p.url, "test", "test"))
	p.must("audit", "verify") // against what etcd knows of the log, too
	p.stop()

	lines := records(t, home)
	byRequest := make(map[string][]string)
	changed := make(map[string]int) // records of a change by the token of a write
	ids := make(map[string]bool)
	for _, l := range lines {
		if ids[l.EventID] {
			t.Errorf("event %s is in the log twice", l.EventID)
		}
		ids[l.EventID] = true
		if l.EventType == "AwsApiCall" {
			byRequest[l.RequestID] = append(byRequest[l.RequestID], l.EventName)
		}
		if len(l.Arca.Changes) > 0 && l.RequestParameters.ClientRequestToken != "" {
			changed[l.RequestParameters.ClientRequestToken]++
		}
	}
	for id, op := range got.ops {
		if n := count(byRequest[id], op); n != 1 {
			t.Errorf("the answer of %s to %s has %d records, want 1", id, op, n)
		}
	}
	for token, secret := range work.sent {
		n := changed[token]
		switch {
		case n > 1:
			t.Errorf("the write %s of %s is recorded %d times", token, secret, n)
		case work.acked[token] && n == 0:
			t.Errorf("the write %s of %s was answered and is not recorded", token, secret)
		case work.acked[token] && !stored[token]:
			t.Errorf("the write %s of %s was answered and is lost", token, secret)
		case stored[token] != (n == 1):
			t.Errorf("the write %s of %s: stored %v, recorded %d times", token, secret, stored[token], n)
		}
	}
	for token := range stored {
		if work.sent[token] == "" {
			t.Errorf("a version %s that nobody wrote", token)
		}
	}
	if want := 20 * kills; len(work.acked) < want || len(got.ops) < 3*want {
		t.Errorf("only %d writes and %d answers over %d lives", len(work.acked), len(got.ops), kills)
	}
	fsck(t, nil, "--data-dir", home)
	verifyLogs(t, home)
	t.Logf("%d kills, %d answers, %d writes answered, %d lines", kills, len(got.ops), len(work.acked), len(lines))
}

// verifyLogs requires that the log's tree is right, from the files alone.
func verifyLogs(t *testing.T, home string) {
	t.Helper()
	for _, dir := range auditDirs(t, home) {
		rep, err := audit.Verify(t.Context(), audit.VerifyOptions{Dir: dir})
		if err != nil {
			t.Fatalf("verify %s: %v", dir, err)
		}
		for _, p := range rep.Problems {
			t.Errorf("verify %s: %+v", dir, p)
		}
		if rep.Size == 0 || rep.Tail > 0 {
			t.Errorf("verify %s: %d lines are proven, %d are not", dir, rep.Size, rep.Tail)
		}
	}
}

func count(list []string, s string) (n int) {
	for _, have := range list {
		if have == s {
			n++
		}
	}
	return n
}

// killEarly starts the server and kills it after a time, wherever it is then.
func killEarly(t *testing.T, args []string, after time.Duration) {
	t.Helper()
	cmd := exec.Command(binary, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(after)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// versions are the ids of all versions there are.
func versions(t *testing.T, c *secretsmanager.Client) map[string]bool {
	t.Helper()
	all := make(map[string]bool)
	list := secretsmanager.NewListSecretsPaginator(c, &secretsmanager.ListSecretsInput{MaxResults: aws.Int32(100)})
	for list.HasMorePages() {
		page, err := list.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range page.SecretList {
			of := secretsmanager.NewListSecretVersionIdsPaginator(c, &secretsmanager.ListSecretVersionIdsInput{
				SecretId: s.ARN, IncludeDeprecated: aws.Bool(true), MaxResults: aws.Int32(100),
			})
			for of.HasMorePages() {
				got, err := of.NextPage(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, v := range got.Versions {
					all[aws.ToString(v.VersionId)] = true
				}
			}
		}
	}
	return all
}

// noticed is how soon something that happens to the log's files must be seen: a second,
// and some for a machine that has other things to do.
const noticed = 1500 * time.Millisecond

// within waits for a condition and fails if it takes too long.
func within(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// newestSegment is the file that a log is being written to.
func newestSegment(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no segment in %s: %v", dir, err)
	}
	return slices.Max(files)
}

// TestAuditLogDisturbed removes, cuts and hides the log of a running server. It notices
// within a second, loses no line that it can still have, refuses calls for as long as it
// cannot write, and goes on by itself.
func TestAuditLogDisturbed(t *testing.T) {
	home := t.TempDir()
	p := start(t, nil, "dev", "--data-dir", home, "--listen", "127.0.0.1:0")
	got := answers{ops: make(map[string]string)}
	c := got.client(p.url)
	name := aws.String("disturbed")
	if _, err := c.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: name, SecretString: aws.String("v")}); err != nil {
		t.Fatal(err)
	}
	read := func() error {
		_, err := c.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: name})
		return err
	}
	for range 20 {
		if err := read(); err != nil {
			t.Fatal(err)
		}
	}
	dir := auditDirs(t, home)[0]

	// Removed: what the open file holds is written again under its name, with nobody asking.
	segment := newestSegment(t, dir)
	if err := os.Remove(segment); err != nil {
		t.Fatal(err)
	}
	within(t, noticed, "the segment is back", func() bool { _, err := os.Stat(segment); return err == nil })
	within(t, noticed, "the log of the server tells", func() bool {
		return strings.Contains(p.log(), "the segment in use was removed or replaced; it has been written again")
	})
	if err := read(); err != nil {
		t.Fatal(err)
	}

	// Out of reach: no call is answered, and when it is back everything is as it was.
	hidden := dir + ".hidden"
	if err := errors.Join(os.Rename(dir, hidden), os.WriteFile(dir, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	within(t, noticed, "the log of the server tells", func() bool {
		return strings.Contains(p.log(), "audit log: cannot write, calls are refused until it can")
	})
	refused := 0
	for range 300 {
		if err := read(); err == nil {
			t.Fatal("a read was answered that cannot be recorded")
		}
		refused++
	}
	if n := strings.Count(p.log(), "audit record not written"); n > 20 {
		t.Errorf("%d lines in the server's log for %d refused calls", n, refused)
	}
	if err := errors.Join(os.Remove(dir), os.Rename(hidden, dir)); err != nil {
		t.Fatal(err)
	}
	within(t, 5*time.Second, "calls are answered again", func() bool { return read() == nil })

	p.stop()
	requests := make(map[string]bool)
	for _, l := range records(t, home) {
		requests[l.RequestID] = true
	}
	lost := 0
	for id := range maps.Keys(got.ops) {
		if !requests[id] {
			lost++
		}
	}
	// Only those that were refused for want of the log have no record.
	if lost > refused+1000 || lost < refused {
		t.Errorf("%d answers have no record, %d calls were refused", lost, refused)
	}
	fsck(t, nil, "--data-dir", home)
	verifyLogs(t, home)
}

// TestFsckFindsWhatWasPutBack copies the database aside, goes on, and puts the copy back
// under the log of all that happened: every change since then is missed.
func TestFsckFindsWhatWasPutBack(t *testing.T) {
	home := t.TempDir()
	args := []string{"dev", "--data-dir", home, "--listen", "127.0.0.1:0"}
	p := start(t, nil, args...)
	c := client(p.url, "test", "test")
	for i := range 5 {
		name := fmt.Sprintf("s%d", i)
		if _, err := c.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: &name, SecretString: aws.String("old")}); err != nil {
			t.Fatal(err)
		}
	}
	p.stop()
	data, aside := filepath.Join(home, "data", "store"), filepath.Join(t.TempDir(), "store")
	if err := os.CopyFS(aside, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	fsck(t, nil, "--data-dir", home)

	p = start(t, nil, args...)
	c = client(p.url, "test", "test")
	_, errPut := c.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String("s0"), SecretString: aws.String("new")})
	_, errDelete := c.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: aws.String("s1"), ForceDeleteWithoutRecovery: aws.Bool(true)})
	// Large enough for a record of its own.
	_, errCreate := c.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("s9"), SecretString: aws.String(strings.Repeat("new", 1000))})
	if err := errors.Join(errPut, errDelete, errCreate); err != nil {
		t.Fatal(err)
	}
	p.stop()
	fsck(t, nil, "--data-dir", home)

	if err := errors.Join(os.RemoveAll(data), os.CopyFS(data, os.DirFS(aside))); err != nil {
		t.Fatal(err)
	}
	if err := private(data); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), binary, "fsck", "--data-dir", home, "--against-audit").CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Fatalf("arca fsck: %v\n%s", err, out)
	}
	for _, want := range []string{
		"table secret, record ", "an old state was put back", "it was deleted and is there again",
		"it is missing, though it was written", "table secret-value, record ",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("arca fsck does not say %q:\n%s", want, out)
		}
	}
	// Without the log there is nothing to see: the old state is whole in itself.
	if out, err := exec.CommandContext(t.Context(), binary, "fsck", "--data-dir", home).CombinedOutput(); err != nil {
		t.Errorf("arca fsck without the log: %v\n%s", err, out)
	}
}

// private gives copied files the permissions that the store insists on.
func private(dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return os.Chmod(path, 0o600)
	})
}
