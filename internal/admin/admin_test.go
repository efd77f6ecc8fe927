package admin_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"arca/internal/admin"
	"arca/internal/api"
	"arca/internal/api/arcaapi"
	"arca/internal/audit"
	"arca/internal/call"
	"arca/internal/iam"
	"arca/internal/store"
	"arca/internal/storetest"
)

// bed is a clock, the service around it and a dispatcher.
type bed struct {
	*admin.Clock
	dir     string
	rootKey *storetest.RootKey
	store   *store.Store
	d       *call.Dispatcher
}

func newBed(t *testing.T, movable bool) *bed {
	t.Helper()
	b := &bed{dir: t.TempDir(), rootKey: storetest.NewRootKey()}
	b.open(t, movable)
	if err := b.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bed) open(t *testing.T, movable bool) {
	t.Helper()
	cfg := store.Config{Dir: filepath.Join(b.dir, "store"), RootKey: b.rootKey, Logger: storetest.Logger(t)}
	b.store = storetest.Open(t, cfg, func(s *store.Store) { b.Clock = admin.NewClock(s, movable) })
	b.serve(t, iam.AuthorizeRoot)
}

// serve builds the dispatcher anew.
func (b *bed) serve(t *testing.T, authorize call.Authorizer) {
	t.Helper()
	log, err := audit.Open(audit.Config{Dir: t.TempDir(), Node: b.store.NodeID(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- log.Run(context.Background()) }()
	t.Cleanup(func() {
		_ = log.Close()
		if err := <-done; err != nil {
			t.Errorf("audit log: %v", err)
		}
	})
	b.d = call.New(call.Config{Store: b.store, Log: log, Authorize: authorize, Logger: slog.New(slog.DiscardHandler)})
	admin.New(b.Clock).Register(b.d)
}

func (b *bed) call(op *api.Operation, in any, caller call.Principal) (any, error) {
	return b.d.Do(context.Background(), &call.Call{Op: op, Now: b.Now(), Caller: caller, Region: "us-east-1", RequestID: "r"}, in)
}

func (b *bed) advance(by string) error {
	_, err := b.call(arcaapi.OpAdvanceClock, &arcaapi.AdvanceClockInput{Duration: by}, root)
	return err
}

// offset asks the server how far its clock was moved.
func (b *bed) offset(t *testing.T) string {
	t.Helper()
	out, err := b.call(arcaapi.OpGetClock, &arcaapi.GetClockInput{}, root)
	if err != nil {
		t.Fatal(err)
	}
	got := out.(*arcaapi.GetClockOutput)
	if d := time.Until(*got.Now); d > b.moved()+time.Minute || d < b.moved()-time.Minute {
		t.Errorf("GetClock tells %v, %v from now, beside an offset of %s", got.Now, d, *got.Offset)
	}
	return *got.Offset
}

func (b *bed) moved() time.Duration { return time.Until(b.Now()) }

var root = iam.RootPrincipal("123456789012", "AKIAEXAMPLE")

func TestAdvanceClock(t *testing.T) {
	b := newBed(t, true)
	if got := b.offset(t); got != "0s" {
		t.Errorf("offset at the start: %s", got)
	}
	for _, step := range []struct{ by, offset string }{
		{"31d", "744h0m0s"}, {"1d12h", "780h0m0s"}, {"90m", "781h30m0s"},
	} {
		if err := b.advance(step.by); err != nil {
			t.Fatal(err)
		}
		if got := b.offset(t); got != step.offset {
			t.Errorf("offset after %s: %s, want %s", step.by, got, step.offset)
		}
	}
	if loc := b.Now().Location(); loc != time.UTC {
		t.Errorf("Now is in %v", loc)
	}
	for by, want := range map[string]string{
		"36500d": "InvalidParameterException: The clock can be at most 100 years ahead.",
		"-1h":    `InvalidParameterException: duration "-1h" is not of the form 31d, 12h or 1d12h30m`,
		"0s":     `InvalidParameterException: duration "0s" is not between one nanosecond and 100 years`,
	} {
		err := b.advance(by)
		aerr, ok := errors.AsType[*api.Error](err)
		if !ok || aerr.Code.Name+": "+aerr.Message != want {
			t.Errorf("advance by %s: %v, want %s", by, err, want)
		}
	}
	if got := b.offset(t); got != "781h30m0s" {
		t.Errorf("offset after refusals: %s", got)
	}
}

// The offset outlives the process; a server on real time refuses such data.
func TestClockIsKept(t *testing.T) {
	b := newBed(t, true)
	if err := b.advance("2h"); err != nil {
		t.Fatal(err)
	}
	if err := b.store.Close(); err != nil {
		t.Fatal(err)
	}
	b.open(t, true)
	if got := b.offset(t); got != "0s" {
		t.Errorf("offset before Load: %s", got)
	}
	if err := b.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := b.offset(t); got != "2h0m0s" {
		t.Errorf("offset after a restart: %s", got)
	}
	if err := b.store.Close(); err != nil {
		t.Fatal(err)
	}
	b.open(t, false)
	if err := b.Load(t.Context()); !errors.Is(err, admin.ErrMovedClock) {
		t.Errorf("Load on real time = %v, want ErrMovedClock", err)
	}
}

func TestRealTime(t *testing.T) {
	b := newBed(t, false)
	err := b.advance("1h")
	aerr, ok := errors.AsType[*api.Error](err)
	if !ok || aerr.Code != arcaapi.InvalidParameterException || !strings.Contains(aerr.Message, "real time") {
		t.Errorf("advance = %v", err)
	}
	if got := b.offset(t); got != "0s" {
		t.Errorf("offset %s", got)
	}
}

// No policy can hand these operations on: whatever the authorizer says, a caller who
// is no root is denied.
func TestRootOnly(t *testing.T) {
	b := newBed(t, true)
	b.serve(t, func(context.Context, *call.Call, *call.Check) error { return nil })
	user := call.Principal{Type: call.IAMUser, Account: "123456789012", ARN: "arn:aws:iam::123456789012:user/eve"}
	for _, tt := range []struct {
		op *api.Operation
		in any
	}{
		{arcaapi.OpAdvanceClock, &arcaapi.AdvanceClockInput{Duration: "1h"}}, {arcaapi.OpGetClock, &arcaapi.GetClockInput{}},
	} {
		_, err := b.call(tt.op, tt.in, user)
		aerr, ok := errors.AsType[*api.Error](err)
		want := "User: arn:aws:iam::123456789012:user/eve is not authorized to perform: arca:" + tt.op.Name + "; only an account root may"
		if !ok || aerr.Code != api.AccessDeniedException || aerr.Message != want {
			t.Errorf("%s: %v, want %s", tt.op.Name, err, want)
		}
	}
	if b.moved() > time.Minute {
		t.Error("the clock was moved")
	}
}

// Calls at the same time add up, and the clock shows the sum without ever going back.
func TestAdvanceConcurrently(t *testing.T) {
	b := newBed(t, true)
	stop := make(chan struct{})
	var watch, calls sync.WaitGroup
	watch.Go(func() {
		for last := b.Now(); ; {
			select {
			case <-stop:
				return
			default:
			}
			now := b.Now()
			if now.Before(last) {
				t.Errorf("the clock went back from %v to %v", last, now)
				return
			}
			last = now
		}
	})
	for range 4 {
		calls.Go(func() {
			for range 5 {
				if err := b.advance("1h"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	calls.Wait()
	close(stop)
	watch.Wait()
	if got := b.offset(t); got != "20h0m0s" {
		t.Errorf("offset %s, want 20h", got)
	}
}

// Of two calls, the one that committed first may be the last to tell the clock.
func TestClockKeepsNewestOffset(t *testing.T) {
	b := newBed(t, true)
	b.Raise(2 * time.Hour)
	b.Raise(time.Hour)
	if got := b.offset(t); got != "2h0m0s" {
		t.Errorf("offset %s, want that of the later commit", got)
	}
}

// After any failure the clock in memory is the one in the store once a call succeeds.
// A repeat counts again when the first one had happened: the operation has no token.
func TestAdvanceClockEveryCommit(t *testing.T) {
	storetest.EveryCommit(t, storetest.Scenario[*bed]{
		Attach: func(s *store.Store) *bed { return &bed{store: s, Clock: admin.NewClock(s, true)} },
		Setup:  func(t *testing.T, b *bed) { b.serve(t, iam.AuthorizeRoot) },
		Do:     func(t *testing.T, b *bed) error { return b.advance("1h") },
		Verify: func(t *testing.T, b *bed) {
			before := b.offset(t)
			if before != "1h0m0s" && before != "2h0m0s" {
				t.Errorf("offset %s", before)
			}
			if err := b.Load(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := b.offset(t); got != before {
				t.Errorf("offset in the store %s, in memory %s", got, before)
			}
		},
	})
}

func TestParseDuration(t *testing.T) {
	const form, bounds = "is not of the form", "is not between"
	for _, tt := range []struct {
		in   string
		want time.Duration
		err  string
	}{
		{"31d", 31 * 24 * time.Hour, ""},
		{"12h", 12 * time.Hour, ""},
		{"1d12h30m", 36*time.Hour + 30*time.Minute, ""},
		{"0d1s", time.Second, ""},
		{"007d", 7 * 24 * time.Hour, ""},
		{"1.5h", 90 * time.Minute, ""},
		{"1ns", 1, ""},
		{"1d1ns", 24*time.Hour + 1, ""},
		{"36500d", 36500 * 24 * time.Hour, ""},
		{"876000h", 36500 * 24 * time.Hour, ""},
		{"36500d1ns", 0, bounds},
		{"36501d", 0, bounds},
		{"65535d876000h", 0, bounds},
		{"0s", 0, bounds},
		{"0d", 0, bounds},
		{"", 0, bounds},
		{"876001h", 0, form},
		{"65536d", 0, form},
		{"d", 0, form},
		{"-1d", 0, form},
		{"+1d", 0, form},
		{"-1h", 0, form},
		{"+1h", 0, form},
		{"1d-1h", 0, form},
		{"1d+1h", 0, form},
		{"1.5d", 0, form},
		{"1h1d", 0, form},
		{"1d1d", 0, form},
		{"1 d", 0, form},
		{"31", 0, form},
		{"9999999999999h", 0, form},
		{"1w", 0, form},
		{"١d", 0, form},
	} {
		got, err := admin.ParseDuration(tt.in)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("ParseDuration(%q) = %v, %v, want %v, error %q", tt.in, got, err, tt.want, tt.err)
		}
	}
}

func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"31d", "12h", "1d12h30m", "1.5h", "", "d", "-1h", "1d-1h", "36500d1ns", "65535d876000h", "1µs"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := admin.ParseDuration(s)
		if err != nil {
			if d != 0 {
				t.Errorf("ParseDuration(%q) = %v beside an error", s, d)
			}
			return
		}
		if d <= 0 || d > 36500*24*time.Hour {
			t.Fatalf("ParseDuration(%q) = %v, out of bounds", s, d)
		}
		again, err := admin.ParseDuration(d.String())
		if err != nil || again != d {
			t.Errorf("ParseDuration(%q) = %v, read again %v, %v", s, d, again, err)
		}
	})
}
