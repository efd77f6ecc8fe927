package admin_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"arca/internal/admin"
	"arca/internal/api"
	"arca/internal/api/arcaapi"
	"arca/internal/store"
	"arca/internal/storetest"
)

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
		Attach: func(s *store.Store) *bed { b := &bed{}; b.attach(s, true); return b },
		Setup:  func(t *testing.T, b *bed) { b.serve(t) },
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
