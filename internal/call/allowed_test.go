package call_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"arca/internal/api"
	"arca/internal/call"
)

// Allowed tells what the authorizer would say. It is no decision to answer by, and
// leaves nothing behind.
func TestAllowed(t *testing.T) {
	unreachable := errors.New("no store")
	b := newBed(t)
	denials := map[string]error{
		"denied": api.AccessDeniedException.Errorf("no"), "broken": unreachable, "throttled": api.ThrottlingException.Errorf("slow down"),
	}
	b.allow = func(ck *call.Check) error { return denials[ck.Resource] }
	var asks string
	var also bool
	b.serveRead(func(ctx context.Context, c *call.Call) error {
		if also {
			if err := allowed(ctx, c); err != nil {
				return err
			}
		}
		c.NoteDenial(call.Denial{Reason: "noted before"})
		ok, err := c.Allowed(ctx, &call.Check{Action: "secretsmanager:DescribeSecret", Resource: asks})
		if err != nil {
			return err
		}
		if want := asks == "fine"; ok != want {
			t.Errorf("Allowed(%s) = %v, want %v", asks, ok, want)
		}
		return nil
	})
	for _, tc := range []struct {
		asks string
		also bool
		want string
	}{
		{"fine", true, ""}, {"denied", true, ""},
		{"fine", false, internal}, // asking so allows nothing
		{"broken", true, internal},
		{"throttled", true, "ThrottlingException: slow down"},
	} {
		asks, also = tc.asks, tc.also
		if _, err := b.read(t.Context(), "s"); code(t, err) != tc.want {
			t.Errorf("asks %s: %v, want %q", tc.asks, err, tc.want)
		}
	}
	for _, l := range b.lines(t) {
		if l.ErrorCode != "" && !strings.Contains(l.raw, "noted before") {
			t.Errorf("%s: the denial noted before is lost", l.raw)
		}
	}
}
