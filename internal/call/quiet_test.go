package call_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"arca/internal/api/smapi"
	"arca/internal/call"
)

// While the audit log is broken every call fails; the server's own log gets a few lines
// of that in an interval, and learns how many there were.
func TestBrokenLogIsLoggedRarely(t *testing.T) {
	b := newBed(t)
	b.servePut()
	b.serveRead(allowed)
	b.breakLog()
	if _, err := b.create(t.Context(), "unsettled"); err == nil {
		t.Fatal("a change without a record was answered")
	}
	before := strings.Count(b.logged.String(), "\n")
	for range 500 {
		if _, err := b.read(t.Context(), "any"); err == nil {
			t.Fatal("a read without a record was answered")
		}
	}
	if n := strings.Count(b.logged.String(), "\n") - before; n > 10 {
		t.Errorf("%d lines of 500 calls that failed alike:\n%s", n, b.logged.String())
	}
	b.mendLog(t)
}

// Whoever has shown no credentials cannot fill the log of the server, either.
func TestStrangersAreLoggedRarely(t *testing.T) {
	b := newBed(t)
	cause := context.DeadlineExceeded
	b.serveRead(func(context.Context, *call.Call) error { return smapi.InvalidRequestException.Wrap(cause, "no") })
	for range 500 {
		c := newCall(smapi.OpGetSecretValue)
		c.Caller = call.Principal{Type: call.Anonymous}
		if _, err := b.d.Do(t.Context(), c, &smapi.GetSecretValueInput{SecretId: "x"}); err == nil {
			t.Fatal("answered")
		}
	}
	if n := strings.Count(b.logged.String(), "\n"); n == 0 || n > 10 {
		t.Errorf("%d lines, want a few", n)
	}
	if n := len(b.lines(t)); n != 0 {
		t.Errorf("%d audit records of strangers", n)
	}
}

func TestQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, text := call.NewQuiet()
		for range 100 {
			log("again")
		}
		if n := strings.Count(text(), "\n"); n != 5 {
			t.Errorf("%d lines in an interval, want 5", n)
		}
		time.Sleep(11 * time.Second)
		log("once more")
		log("and again")
		if got := text(); strings.Count(got, "\n") != 7 || strings.Count(got, "not_logged_before=95") != 1 {
			t.Errorf("log:\n%s", got)
		}
	})
}
