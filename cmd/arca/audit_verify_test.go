package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"arca/internal/audit"
)

// testLog is a log on disk as a node writes it.
type testLog struct {
	dir  string
	key  *audit.NodeKey
	head audit.Head
}

const testLineBytes = 600 // about

// write adds lines up to a number and signs them.
func (l *testLog) write(t *testing.T, lines int) {
	t.Helper()
	cfg := audit.Config{
		Dir: l.dir, Node: "n1", Logger: slog.New(slog.DiscardHandler), Signer: l.key, MaxSegmentBytes: 10 * testLineBytes,
		Keep: func(_ context.Context, h audit.Head) error {
			l.head = h
			return nil
		},
	}
	if l.head.Origin != "" {
		head := l.head
		cfg.Head = &head
	}
	log, err := audit.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- log.Run(ctx) }()
	for n := int(log.Size()); n < lines; n++ {
		r := audit.Record{
			EventID: testID(n), EventTime: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), EventType: "AwsApiCall",
			EventSource: "secretsmanager.amazonaws.com", EventName: "GetSecretValue", Region: "us-east-1", SourceIP: "192.0.2.7",
			Identity:          audit.Identity{Type: "IAMUser", ARN: "arn:aws:iam::123456789012:user/ada", AccountID: "123456789012"},
			RequestParameters: []byte(`{"secretId":"prod/db"}`), RecipientAccountID: "123456789012",
		}
		if err := log.Append(t.Context(), r.AppendLine(nil, "n1")); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}

func testID(n int) string { return fmt.Sprintf("0af1b2c3-1111-2222-3333-%012d", n) }

func newTestLog(t *testing.T) *testLog {
	t.Helper()
	key, err := audit.NewNodeKey("arca/test/n1", bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return &testLog{dir: filepath.Join(t.TempDir(), "audit"), key: key}
}

// arcaSays runs the command line.
func arcaSays(t *testing.T, args ...string) (status int, text string) {
	t.Helper()
	var out, errOut bytes.Buffer
	status = run(args, strings.NewReader(""), &out, &errOut, func(string) string { return "" })
	return status, out.String() + errOut.String()
}

func writeFile(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func removeTiles(t *testing.T, dir string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(dir, "tile")); err != nil {
		t.Fatal(err)
	}
}

// prune lets retention remove the oldest segments.
func (l *testLog) prune(t *testing.T) {
	t.Helper()
	head := l.head
	log, err := audit.Open(audit.Config{Dir: l.dir, Node: "n1", Logger: slog.New(slog.DiscardHandler), Signer: l.key, Head: &head, MaxSegmentBytes: 10 * testLineBytes})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- log.Run(ctx) }()
	for deadline := time.Now().Add(20 * time.Second); ; {
		more, err := log.Maintain(t.Context(), audit.RetainConfig{MaxBytes: 20 * testLineBytes}, time.Now())
		if err == nil && !more {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("Maintain: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if segs, err := audit.Segments(l.dir); err != nil || segs[0].First <= 15 {
		t.Fatalf("segments after retention: %v, %v", segs, err)
	}
}

// What is said of a log is what was found out about it, and no more.
func TestVerifyClaims(t *testing.T) {
	l := newTestLog(t)
	l.write(t, 5)
	kept := writeFile(t, "kept", l.head.Checkpoint)
	l.write(t, 100)
	whole := writeFile(t, "whole", l.head.Checkpoint)
	before := filepath.Join(t.TempDir(), "before")
	if err := os.CopyFS(before, os.DirFS(l.dir)); err != nil {
		t.Fatal(err)
	}
	bare := filepath.Join(t.TempDir(), "bare")
	if err := os.CopyFS(bare, os.DirFS(l.dir)); err != nil {
		t.Fatal(err)
	}
	removeTiles(t, bare)
	l.prune(t)
	pruned := filepath.Join(t.TempDir(), "pruned")
	if err := os.CopyFS(pruned, os.DirFS(l.dir)); err != nil {
		t.Fatal(err)
	}
	removeTiles(t, pruned)

	const (
		extends = "proven:     the log extends the checkpoint in "
		unknown = "not proven: that the log extends the checkpoint in "
		lines   = "proven:     the lines are those the node signed on "
	)
	tests := []struct {
		name   string
		args   []string
		status int
		says   []string
		not    []string
	}{
		{"all there", []string{"--from", before, "--checkpoint", kept, "--checkpoint", whole}, 0, []string{lines, extends + kept, extends + whole}, []string{unknown}},
		{"its lines removed, and tiles there", []string{"--from", l.dir, "--checkpoint", kept}, 0, []string{lines, extends + kept}, []string{unknown}},
		{"its lines removed, and no tiles", []string{"--from", pruned, "--checkpoint", kept, "--checkpoint", whole}, 3,
			[]string{lines, unknown + kept + ": it could not be compared", extends + whole, "arca: 1 problems"}, []string{extends + kept}},
		{"a range before it", []string{"--from", before, "--checkpoint", whole, "--range", "20-30"}, 0,
			[]string{"proven:     the lines of --range are those", extends + whole}, []string{unknown, "database knows"}},
		{"a range before it, and no tiles", []string{"--from", bare, "--checkpoint", whole, "--range", "20-30"}, 0,
			[]string{"proven:     the lines of --range are those", unknown + whole + ": it could not be compared"}, []string{extends}},
		{"a range that ends behind the log", []string{"--from", before, "--range", "90-120"}, 0,
			[]string{"proven:     lines 90 to 99 of --range are those", "not proven: anything about lines 100 to 120 of --range: "}, nil},
		{"a range behind the log", []string{"--from", before, "--range", "500-600"}, 0,
			[]string{"not proven: anything about lines 500 to 600 of --range: "}, []string{"are those the node signed"}},
		{"a range without end behind the log", []string{"--from", before, "--range", "500-"}, 0,
			[]string{"not proven: anything about the lines of --range from 500 on: "}, []string{"are those the node signed"}},
		{"a range of what was removed", []string{"--from", l.dir, "--range", "0-5"}, 0,
			[]string{"not proven: anything about lines 0 to 5 of --range: "}, []string{"are those the node signed"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, text := arcaSays(t, append([]string{"audit", "verify", "--key", l.key.VerifierKey()}, tt.args...)...)
			if status != tt.status {
				t.Errorf("status %d, want %d", status, tt.status)
			}
			for _, s := range tt.says {
				if !strings.Contains(text, s) {
					t.Errorf("it does not say %q", s)
				}
			}
			for _, s := range tt.not {
				if strings.Contains(text, "\n"+s) {
					t.Errorf("it says %q", s)
				}
			}
			if t.Failed() {
				t.Log(text)
			}
		})
	}
}

// A log that was left behind is verified and proven with its node's key.
func TestVerifyLost(t *testing.T) {
	l := newTestLog(t)
	l.write(t, 40)
	old := filepath.Join(t.TempDir(), "old")
	if err := os.CopyFS(old, os.DirFS(l.dir)); err != nil {
		t.Fatal(err)
	}
	l.write(t, 60)
	l.dir = old
	l.write(t, 10)
	lost := filepath.Join(old, l.head.Former[0].Dir)
	for _, from := range []string{old, lost} {
		status, text := arcaSays(t, "audit", "verify", "--from", from)
		if status != 0 || !strings.Contains(text, lost) || !strings.Contains(text, "when there were 40") || !strings.Contains(text, "warning:    the verifier key was read from the directory") {
			t.Errorf("verify --from %s: status %d:\n%s", from, status, text)
		}
		status, text = arcaSays(t, "audit", "prove", testID(30), "--from", from)
		if status != 0 || !strings.HasPrefix(text, "c2sp.org/tlog-proof@v1\n") {
			t.Errorf("prove --from %s: status %d:\n%s", from, status, text)
		}
	}
	if status, text := arcaSays(t, "audit", "key", "--from", lost); status != 0 || strings.TrimSpace(text) != l.key.VerifierKey() {
		t.Errorf("key: status %d: %s", status, text)
	}
}
