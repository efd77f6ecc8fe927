package faulttest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// counter is a secret whose value only grows.
type counter struct {
	name  string
	acked atomic.Int64 // the last value that was acknowledged
	sent  atomic.Int64 // the last value that was sent
}

// count writes on, over all lives of the server at url.
func (c *counter) count(ctx context.Context, url string) {
	sm := client(url, "test", "test")
	for ctx.Err() == nil {
		n := c.sent.Add(1)
		value := strconv.FormatInt(n, 10)
		_, err := sm.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: &c.name, SecretString: &value})
		if err == nil {
			c.acked.Store(n)
		} else {
			time.Sleep(5 * time.Millisecond)
		}
	}
}

func acknowledged(counters []*counter) []int64 {
	out := make([]int64, len(counters))
	for i, c := range counters {
		out[i] = c.acked.Load()
	}
	return out
}

// runFor runs the binary and kills it after a while, if it is not done by then.
func runFor(t *testing.T, limit time.Duration, args ...string) (out string, killed bool, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	raw, err := exec.CommandContext(ctx, binary, args...).CombinedOutput() // kill -9
	return string(raw), ctx.Err() != nil, err
}

// backupID is what the second line of a backup names, "" if there is none yet.
func backupID(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, 8<<10))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := bytes.Cut(head, []byte(`"backup":"`))
	if !ok || len(rest) < 32 {
		return ""
	}
	return string(rest[:32])
}

// TestKillDuringBackupAndRestore kills the server, the command that makes a backup and
// the one that restores it at any moment, while others write. The backup is one state,
// not older than what was acknowledged before it began.
func TestKillDuringBackupAndRestore(t *testing.T) {
	kills := 8
	if *long {
		kills = 60
	}
	dir := t.TempDir()
	home, file := filepath.Join(dir, "home"), filepath.Join(dir, "arca.backup")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String() // the same in every life
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	serve := func() *process { return start(t, nil, "dev", "--data-dir", home, "--listen", address) }
	p := serve()
	sm := client(p.url, "test", "test")
	large := strings.Repeat("x", 60_000)
	for i := range 100 { // so that a backup takes a while
		if _, err := sm.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String(fmt.Sprint("large/", i)), SecretString: &large}); err != nil {
			t.Fatal(err)
		}
	}
	counters := make([]*counter, 4)
	for i := range counters {
		counters[i] = &counter{name: fmt.Sprint("counter/", i)}
		if _, err := sm.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: &counters[i].name, SecretString: aws.String("0")}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var writers sync.WaitGroup
	for _, c := range counters {
		writers.Go(func() { c.count(ctx, p.url) })
	}

	// What was acknowledged before the backup began that is in the file now.
	var begun []int64
	id := ""
	lives, done := 0, false
	for round := 0; !done; round++ {
		before := acknowledged(counters)
		limit := time.Duration(20+rand.IntN(120)) * time.Millisecond
		if round >= kills {
			limit = 2 * time.Minute
		}
		down := make(chan struct{})
		go func() { // half of the rounds, under the command
			defer close(down)
			if round < kills && round%2 == 0 {
				time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
				p.kill()
			}
		}()
		finished := make(chan struct{})
		var out string
		var killed bool
		var runErr error
		if round%4 == 0 && round < kills {
			limit = 2 * time.Minute // it waits for the server to come back
		}
		go func() {
			defer close(finished)
			out, killed, runErr = runFor(t, limit, "backup", "--out", file, "--endpoint", "http://"+address)
		}()
		<-down
		if !p.alive() {
			lives++
			p = serve()
		}
		<-finished
		name := backupID(t, file+".partial")
		if _, err := os.Stat(file); err == nil {
			name, done = backupID(t, file), true
		}
		if name != id {
			id, begun = name, before
		}
		switch {
		case done && runErr != nil && !killed:
			t.Fatalf("the backup is there, and yet: %v\n%s", runErr, out)
		case !done && runErr == nil:
			t.Fatalf("the backup is not there, and yet it is well:\n%s", out)
		case !done && round >= kills:
			t.Fatalf("a backup that nobody disturbed fails: %v\n%s", runErr, out)
		}
	}
	stop()
	writers.Wait()
	p.stop()
	t.Logf("%d lives of the server; %d, %d, … acknowledged before the backup began, %d, … in the end",
		lives+1, begun[0], begun[1], counters[0].acked.Load())

	other := filepath.Join(dir, "other")
	if err := os.MkdirAll(filepath.Join(other, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(home, "keys", "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(other, "keys", "root.key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	restored := false
	for round := 0; !restored; round++ {
		limit := time.Duration(50+rand.IntN(200)) * time.Millisecond
		if round >= kills {
			limit = 2 * time.Minute
		}
		out, killed, err := runFor(t, limit, "restore", "--data-dir", other, "--from", file)
		switch {
		case err == nil:
			restored = true
		case !killed && strings.Contains(out, "the store is not empty"):
			restored = true // the kill came after the last commit; the start checks
		case !killed || round >= kills:
			t.Fatalf("restore: %v\n%s", err, out)
		}
	}
	r := start(t, nil, "dev", "--data-dir", other, "--listen", "127.0.0.1:0")
	sm = client(r.url, "test", "test")
	for i, c := range counters {
		got, err := sm.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &c.name})
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if n, err := strconv.ParseInt(*got.SecretString, 10, 64); err != nil || n < begun[i] || n > c.sent.Load() {
			t.Errorf("%s is %s after the restore, want %d to %d", c.name, *got.SecretString, begun[i], c.sent.Load())
		}
	}
	for i := range 100 {
		got, err := sm.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String(fmt.Sprint("large/", i))})
		if err != nil || *got.SecretString != large {
			t.Errorf("large/%d: %v\n%s", i, err, r.log())
		}
	}
	r.stop()
	fsck(t, nil, "--data-dir", other)
}
