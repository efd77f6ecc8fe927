package schedule_test

import (
	"encoding/binary"
	"testing"
	"time"

	"arca/internal/schedule"
)

// AWS shows the last second of the day for a schedule in days.
func TestDate(t *testing.T) {
	w := parse(t, schedule.Rules{AfterDays: 30}).Next(at(t, "2026-02-03T17:34:02"))
	if got := w.Date().Format(layout); got != "2026-03-05T23:59:59" {
		t.Errorf("Date = %s", got)
	}
}

func TestContains(t *testing.T) {
	w := schedule.Window{Start: at(t, "2026-03-01T08"), End: at(t, "2026-03-01T10")}
	for _, tt := range []struct {
		moment string
		want   bool
	}{
		{"2026-03-01T07:59:59", false},
		{"2026-03-01T08", true},
		{"2026-03-01T09:59:59", true},
		{"2026-03-01T10", false},
	} {
		if got := w.Contains(at(t, tt.moment)); got != tt.want {
			t.Errorf("Contains(%s) = %v, want %v", tt.moment, got, tt.want)
		}
	}
}

// Many secrets with one window are spread over it evenly, its last quarter excepted,
// and each keeps its place in the next.
func TestStartAt(t *testing.T) {
	const secrets = 10_000
	s := parse(t, schedule.Rules{Expression: "cron(0 8 * * ? *)", Duration: "1h"})
	w := s.Next(at(t, "2026-03-01T08"))
	next := s.Next(w.Start)
	var perMinute [60]int
	for i := range secrets {
		seed := binary.BigEndian.AppendUint32(nil, uint32(i))
		begin := w.StartAt(seed)
		if !w.Contains(begin) {
			t.Fatalf("StartAt = %v, outside of %v", begin, w)
		}
		if again := w.StartAt(seed); !again.Equal(begin) {
			t.Fatalf("StartAt = %v, then %v", begin, again)
		}
		if gap := next.StartAt(seed).Sub(begin); gap != 24*time.Hour {
			t.Fatalf("the same secret a day later: %v", gap)
		}
		perMinute[begin.Minute()]++
	}
	for minute, n := range perMinute {
		switch fair := secrets / 45; {
		case minute < 45 && (n < fair*2/3 || n > fair*4/3):
			t.Errorf("%d begin in minute %d, want about %d", n, minute, fair)
		case minute >= 45 && n != 0:
			t.Errorf("%d begin in minute %d, which is left free", n, minute)
		}
	}
	var none schedule.Window
	if got := none.StartAt(nil); !got.Equal(none.Start) {
		t.Errorf("StartAt of an empty window = %v", got)
	}
}
