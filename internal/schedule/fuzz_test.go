package schedule_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"arca/internal/schedule"
)

// Whatever rules say, they are refused for the client or keep what windows promise, at
// any moment.
func FuzzParse(f *testing.F) {
	for _, e := range []string{
		"", "rate(4 hours)", "rate(10 days)", "rate(23976 hours)", "cron(0 /8 * * ? *)", "cron(0 2/10 * * ? *)",
		"cron(0 17 L * ? *)", "cron(0 1 ? 1/3 SUN#1 *)", "cron(0 3 SUNL * ? *)", "cron(0 3 ? * 2L,MON#3 *)",
		"cron(0 16 1,15 JAN-JUN ? *)", "cron(0 8 29 2 ? *)", "cron(0 8 15W * ? *)", "cron(0 0 31 */2 ? *)",
	} {
		f.Add(e, "", int64(0), int64(1_772_000_000))
		f.Add(e, "3h", int64(0), int64(-62_135_596_801))
	}
	f.Add("", "24h", int64(1000), int64(253_402_300_799))
	f.Add("", "", int64(math.MinInt64), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, expression, duration string, days, last int64) {
		r := schedule.Rules{AfterDays: days, Expression: expression, Duration: duration}
		s, err := schedule.Parse(r)
		if err != nil {
			if _, ok := errors.AsType[*schedule.Error](err); !ok || err.Error() == "" {
				t.Fatalf("Parse(%+v): %v", r, err)
			}
			return
		}
		for _, from := range []time.Time{time.Unix(last, 0), time.Unix(math.MinInt64, 0), time.Unix(math.MaxInt64, 0)} {
			w := s.Next(from)
			next := s.Next(w.Start)
			whole := w.Start.Equal(w.Start.Truncate(time.Hour)) && w.End.Equal(w.End.Truncate(time.Hour))
			if length := w.End.Sub(w.Start); !whole || length < time.Hour || length > 24*time.Hour {
				t.Fatalf("%v: window %v", s, w)
			}
			if next.Start.Year() < 10000 && (next.Start.Sub(w.Start) < 4*time.Hour || next.Start.Before(w.End)) {
				t.Fatalf("%v: window %v, then %v", s, w, next)
			}
			if from.Year() > 0 && from.Year() < 10000 && !w.Start.After(from) {
				t.Fatalf("%v: Next(%v) = %v", s, from, w)
			}
			if begin := w.StartAt([]byte(expression)); !w.Contains(begin) {
				t.Fatalf("%v: StartAt = %v, window %v", s, begin, w)
			}
			if n := s.AfterDays(from); n < 1 {
				t.Fatalf("%v: AfterDays(%v) = %d", s, from, n)
			}
		}
	})
}
