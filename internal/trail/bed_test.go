package trail_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"arca/internal/audit"
	"arca/internal/trail"
)

// epoch is the time of the first event of a bed.
var epoch = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// bed is a log with a trail over it.
type bed struct {
	t     *testing.T
	dir   string
	log   *audit.Log
	trail *trail.Trail
	stop  func()
	n     int
}

// newBed opens a log in dir, in segments of some kilobytes.
func newBed(t *testing.T, dir string) *bed {
	t.Helper()
	b := &bed{t: t, dir: dir}
	b.open()
	t.Cleanup(b.close)
	return b
}

func (b *bed) open() {
	b.t.Helper()
	var err error
	b.log, err = audit.Open(audit.Config{Dir: b.dir, Node: "n1", MaxSegmentBytes: 16 << 10, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = b.log.Run(ctx) }()
	b.trail, err = trail.Open(trail.Config{Log: b.log, LogDir: b.dir})
	if err != nil {
		b.t.Fatal(err)
	}
	b.stop = func() {
		cancel()
		<-done
		if err := b.trail.Close(); err != nil {
			b.t.Error(err)
		}
		if err := b.log.Close(); err != nil {
			b.t.Error(err)
		}
		b.stop = nil
	}
}

func (b *bed) close() {
	if b.stop != nil {
		b.stop()
	}
}

// event is the nth record of a bed, without what the test changes.
func event(n int) *audit.Record {
	return &audit.Record{
		EventID: fmt.Sprintf("00000000-0000-4000-8000-%012d", n), EventTime: epoch.Add(time.Duration(n) * time.Second),
		EventType: "AwsApiCall", EventSource: "secretsmanager.amazonaws.com", EventName: "GetSecretValue", ReadOnly: true,
		Region: "eu-central-1", SourceIP: "10.1.2.3", UserAgent: "test",
		Identity: audit.Identity{
			Type: "IAMUser", PrincipalID: "AIDA", ARN: "arn:aws:iam::111122223333:user/alice",
			AccountID: "111122223333", AccessKeyID: "AKIAEXAMPLE", UserName: "alice",
		},
		RequestID: "r", RecipientAccountID: "111122223333",
		RequestParameters: []byte(`{"secretId":"db/password"}`),
	}
}

// append writes records, each changed by change, and returns the number of the first.
func (b *bed) append(count int, change func(n int, r *audit.Record)) int {
	b.t.Helper()
	first := b.n
	for range count {
		r := event(b.n)
		if change != nil {
			change(b.n, r)
		}
		if err := b.log.Append(context.Background(), r.AppendLine(nil, "n1")); err != nil {
			b.t.Fatal(err)
		}
		b.n++
	}
	return first
}

func (b *bed) segments() []audit.Segment {
	b.t.Helper()
	segs, err := audit.Segments(b.dir)
	if err != nil {
		b.t.Fatal(err)
	}
	return segs
}

// all pages through a search and returns the numbers of the lines.
func all(t *testing.T, tr *trail.Trail, f trail.Filter, forward bool, limit int) []uint64 {
	t.Helper()
	lines := []uint64{}
	var at trail.Position
	for range 10_000 {
		search := tr.Search
		if forward {
			search = tr.SearchForward
		}
		page, err := search(t.Context(), f, at, limit)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Events) > limit {
			t.Fatalf("page of %d events, want at most %d", len(page.Events), limit)
		}
		for _, e := range page.Events {
			lines = append(lines, e.Line)
		}
		if !page.More {
			return lines
		}
		at = page.Next
	}
	t.Fatal("the search does not end")
	return nil
}

func indexFiles(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "index", "*.idx"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}
