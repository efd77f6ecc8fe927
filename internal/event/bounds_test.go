package event_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"arca/internal/event"
)

// TestForbidden: events that the target answers with a refusal, before it has taken
// anything, do not keep the next ones from it; one that refuses everything leaves all
// but a few in the log.
func TestForbidden(t *testing.T) {
	r := newReceiver(t)
	r.answer(func(id string, n int) int {
		if strings.HasPrefix(id, "bad") {
			return http.StatusForbidden
		}
		return http.StatusOK
	})
	cfg := config(t, r)
	cfg.Targets[0].Concurrency = 1
	s, stop := start(t, cfg)
	appendLines(t, cfg.Log, line("bad-1", "alice", noon), line("bad-2", "alice", noon), line("a", "alice", noon), line("b", "alice", noon))
	r.wants("a", "b")
	eventually(t, "passing on", func() bool { return metric(t, s, "arca_event_lag_lines") == 0 })
	stop()

	r.answer(func(string, int) int { return http.StatusForbidden })
	s, _ = start(t, cfg)
	want := []string{"a", "b", "bad-1", "bad-2"}
	for i := range 20 {
		want = append(want, fmt.Sprint("e", i))
		appendLines(t, cfg.Log, line(want[len(want)-1], "alice", noon))
	}
	eventually(t, "being tried", func() bool { return metric(t, s, "arca_events_waiting") == 2+4 })
	time.Sleep(100 * time.Millisecond)
	if waiting, lag := metric(t, s, "arca_events_waiting"), metric(t, s, "arca_event_lag_lines"); waiting != 2+4 || lag != 16 {
		t.Errorf("%v events set aside and %v in the log, want 6 and 16", waiting, lag)
	}
	r.answer(nil)
	r.wants(want...)
}

// TestSessionsOfARole count as one principal: their names are the caller's to choose.
func TestSessionsOfARole(t *testing.T) {
	tests := []struct {
		name  string
		arn   func(i int) string
		group string // of the alarm that is raised; "": none
	}{
		{"sessions", func(i int) string { return fmt.Sprint("arn:aws:sts::111111111111:assumed-role/app/s", i) }, "arn:aws:sts::111111111111:assumed-role/app"},
		{"roles", func(i int) string { return fmt.Sprint("arn:aws:sts::111111111111:assumed-role/app", i, "/s") }, ""},
		{"accounts", func(i int) string { return fmt.Sprintf("arn:aws:sts::%012d:assumed-role/app/s", i) }, ""},
		{"another partition", func(i int) string { return fmt.Sprint("arn:aws-cn:sts::111111111111:assumed-role/app/s", i) }, "arn:aws-cn:sts::111111111111:assumed-role/app"},
		{"no session", func(int) string { return "arn:aws:sts::111111111111:assumed-role/app/" }, "arn:aws:sts::111111111111:assumed-role/app/"},
		{"users", func(i int) string { return fmt.Sprint("arn:aws:iam::111111111111:user/assumed-role/app/s", i) }, ""},
		{"not an ARN", func(int) string { return "assumed-role/app/s" }, "assumed-role/app/s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, _ := event.Ready("denied-reads")
			c, err := event.NewCounting(filepath.Join(t.TempDir(), "a"), 0, a)
			if err != nil {
				t.Fatal(err)
			}
			group := ""
			for i := range a.Count {
				r := record(fmt.Sprint(i), "x", noon)
				r.Identity.Type, r.Identity.ARN = "AssumedRole", tt.arn(i)
				for _, n := range c.Line(r.AppendLine(nil, "n1"), noon) {
					group = n.Group
				}
			}
			if group != tt.group {
				t.Errorf("raised for %q, want %q", group, tt.group)
			}
		})
	}
}

// TestNewGroupStays: when there is no room but that of groups whose alarm is raised, a
// group that begins gets it.
func TestNewGroupStays(t *testing.T) {
	const count = 20
	c, err := event.NewCounting(filepath.Join(t.TempDir(), "a"), 0,
		reads(count, 24*time.Hour, func(a *event.Alarm) { a.GroupBy = "detail.userIdentity.userName" }))
	if err != nil {
		t.Fatal(err)
	}
	for i := range event.MaxMatches {
		c.Line(line(fmt.Sprint(i), fmt.Sprint("user", i/count), noon), noon)
	}
	var got []event.Notice
	for i := range count {
		got = append(got, c.Line(line(fmt.Sprint("x", i), "eve", noon), noon)...)
	}
	if len(got) != 1 || got[0].Group != "eve" {
		t.Errorf("told %v, want of eve", got)
	}
}

// TestStateIsBounded: however long and odd what strangers send, and however many alarms
// there are, the state can be written and read.
func TestStateIsBounded(t *testing.T) {
	var alarms []event.Alarm
	for i := range 6 {
		alarms = append(alarms, reads(10, 24*time.Hour, func(a *event.Alarm) {
			a.Name, a.GroupBy = fmt.Sprint("a", i), "detail.userIdentity.arn"
		}))
	}
	alarms = append(alarms, event.Alarm{Name: "other", Pattern: `{"detail":{"eventName":["DeleteSecret"]}}`, Count: 2, Period: time.Hour})
	path := filepath.Join(t.TempDir(), "alarms.json")
	c, err := event.NewCounting(path, 0, alarms...)
	if err != nil {
		t.Fatal(err)
	}
	// What another alarm has counted is not forgotten for the flood.
	other := func(id string) int {
		r := record(id, "x", noon)
		r.EventName = "DeleteSecret"
		return len(c.Line(r.AppendLine(nil, "n1"), noon))
	}
	if other("first") != 0 {
		t.Error("told of one of two")
	}
	odd := strings.Repeat("<\x01é\u2028", 150)
	for i := range 2000 {
		r := record(fmt.Sprint(i), "x", noon)
		r.Identity.ARN = fmt.Sprint(i%900) + odd
		r.SourceIP, r.ErrorCode = odd, odd
		r.RequestParameters = []byte(`{"secretId":"` + strings.Repeat("<", 600) + `"}`)
		c.Line(r.AppendLine(nil, "n1"), noon)
	}
	if kept := c.Bytes(); kept > event.MaxKeptBytes || kept < event.MaxKeptBytes*3/4 {
		t.Errorf("%d bytes kept, want nearly %d", kept, event.MaxKeptBytes)
	}
	if other("second") != 1 {
		t.Error("not told of the second of two")
	}
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > event.MaxKeptBytes+1<<10 {
		t.Errorf("%d bytes written", info.Size())
	}
	again, err := event.NewCounting(path, 0, alarms...)
	if err != nil {
		t.Fatal(err)
	}
	if was, is := c.Bytes(), again.Bytes(); was != is {
		t.Errorf("%d bytes kept, %d after a restart", was, is)
	}
}

// TestEmitWait: who can wait loses nothing to a full bus, and hears when it was not
// taken.
func TestEmitWait(t *testing.T) {
	b := event.NewBus(event.BusConfig{})
	const n = 3*event.MaxWaiting + 7
	done := make(chan error, 1)
	go func() {
		for i := range n {
			if err := b.EmitWait(context.Background(), event.Event{DetailType: fmt.Sprint(i)}); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	got := 0
	eventually(t, "all", func() bool {
		events, _ := event.Waiting(b)
		for _, e := range events {
			if e.DetailType != fmt.Sprint(got) {
				t.Errorf("event %s, want %d", e.DetailType, got)
			}
			got++
		}
		return got == n
	})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for range event.MaxWaiting {
		b.Emit(event.Event{})
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { done <- b.EmitWait(ctx, event.Event{}) }()
	time.Sleep(10 * time.Millisecond)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("a full bus: %v, want that it was canceled", err)
	}
	if _, dropped := event.Waiting(b); dropped != 0 {
		t.Errorf("%d dropped", dropped)
	}
	if err := b.EmitWait(ctx, event.Event{}); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
	var none *event.Bus
	if err := none.EmitWait(ctx, event.Event{}); err != nil {
		t.Errorf("no bus: %v", err)
	}
}

// TestLastEvents: what comes until the end is taken, and there after a restart.
func TestLastEvents(t *testing.T) {
	r := newReceiver(t)
	cfg := config(t, r)
	cfg.Rules = []event.Rule{{Name: "own", Pattern: `{"source":["arca"]}`, Targets: []string{"t"}}}
	s, err := event.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	cfg.Bus.Emit(event.Event{ID: "last"})
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
	start(t, cfg)
	r.wants("last")
}
