package schedule_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"arca/internal/schedule"

	"pgregory.net/rapid"
)

// item is one item of a field: how it is written, and when it holds, said in terms of
// package time alone.
type item struct {
	text  string
	holds func(t time.Time) bool
}

func anyOf(items []item) (string, func(time.Time) bool) {
	texts := make([]string, len(items))
	for i, it := range items {
		texts[i] = it.text
	}
	return strings.Join(texts, ","), func(t time.Time) bool {
		for _, it := range items {
			if it.holds(t) {
				return true
			}
		}
		return false
	}
}

// plain draws an item that is a value, a range, or either with a step.
func plain(lo, hi int, name func(int) string, get func(time.Time) int) *rapid.Generator[item] {
	return rapid.Custom(func(t *rapid.T) item {
		write := func(v int) string {
			if name != nil && rapid.Bool().Draw(t, "by name") {
				return name(v)
			}
			return fmt.Sprint(v)
		}
		from := rapid.IntRange(lo, hi).Draw(t, "from")
		to, by := from, 1
		var text string
		switch rapid.IntRange(0, 5).Draw(t, "form") {
		case 0:
			text = write(from)
		case 1:
			to = rapid.IntRange(from, hi).Draw(t, "to")
			text = write(from) + "-" + write(to)
		case 2:
			to, by = hi, rapid.IntRange(1, hi-lo+1).Draw(t, "by")
			text = fmt.Sprintf("%s/%d", write(from), by)
		case 3:
			to, by = rapid.IntRange(from, hi).Draw(t, "to"), rapid.IntRange(1, hi-lo+1).Draw(t, "by")
			text = fmt.Sprintf("%s-%s/%d", write(from), write(to), by)
		case 4:
			from, to, by = lo, hi, rapid.IntRange(1, hi-lo+1).Draw(t, "by")
			text = fmt.Sprintf("/%d", by)
		case 5:
			from, to, by = lo, hi, rapid.IntRange(1, hi-lo+1).Draw(t, "by")
			text = fmt.Sprintf("*/%d", by)
		}
		return item{text, func(at time.Time) bool {
			v := get(at)
			return from <= v && v <= to && (v-from)%by == 0
		}}
	})
}

func dayName(v int) string { return strings.ToUpper(time.Weekday(v - 1).String()[:3]) }

func monthName(v int) string { return strings.ToUpper(time.Month(v).String()[:3]) }

// lastNamed is a day of the week that is the last such of its month.
func lastNamed(byNumber bool) *rapid.Generator[item] {
	return rapid.Custom(func(t *rapid.T) item {
		v := rapid.IntRange(1, 7).Draw(t, "weekday")
		text := dayName(v)
		if byNumber && rapid.Bool().Draw(t, "by number") {
			text = fmt.Sprint(v)
		}
		return item{text + "L", func(at time.Time) bool {
			return int(at.Weekday()) == v-1 && at.AddDate(0, 0, 7).Month() != at.Month()
		}}
	})
}

func nthNamed() *rapid.Generator[item] {
	return rapid.Custom(func(t *rapid.T) item {
		v, n := rapid.IntRange(1, 7).Draw(t, "weekday"), rapid.IntRange(1, 5).Draw(t, "week")
		return item{fmt.Sprintf("%s#%d", dayName(v), n), func(at time.Time) bool {
			before := 0
			for d := at; d.Month() == at.Month(); d = d.AddDate(0, 0, -7) {
				before++
			}
			return int(at.Weekday()) == v-1 && before == n
		}}
	})
}

// expression draws a cron expression and what it means.
func expression() *rapid.Generator[item] {
	return rapid.Custom(func(t *rapid.T) item {
		list := func(label string, g *rapid.Generator[item]) (string, func(time.Time) bool) {
			if rapid.IntRange(0, 3).Draw(t, label+" all") == 0 {
				return "*", func(time.Time) bool { return true }
			}
			return anyOf(rapid.SliceOfN(g, 1, 3).Draw(t, label))
		}
		hourText, hour := anyOf(rapid.SliceOfN(plain(0, 23, nil, time.Time.Hour), 1, 2).Draw(t, "hours"))
		if rapid.Bool().Draw(t, "one hour") {
			h := rapid.IntRange(0, 23).Draw(t, "hour")
			hourText, hour = fmt.Sprint(h), func(at time.Time) bool { return at.Hour() == h }
		}
		monthText, month := list("months", plain(1, 12, monthName, func(at time.Time) int { return int(at.Month()) }))
		if rapid.Bool().Draw(t, "by date") {
			dateText, date := list("dates", rapid.OneOf(
				plain(1, 31, nil, time.Time.Day),
				rapid.Just(item{"L", func(at time.Time) bool { return at.AddDate(0, 0, 1).Month() != at.Month() }}),
				lastNamed(false)))
			return item{fmt.Sprintf("cron(0 %s %s %s ? *)", hourText, dateText, monthText), func(at time.Time) bool { return hour(at) && month(at) && date(at) }}
		}
		dayText, day := list("days", rapid.OneOf(
			plain(1, 7, dayName, func(at time.Time) int { return int(at.Weekday()) + 1 }),
			rapid.Just(item{"L", func(at time.Time) bool { return at.Weekday() == time.Saturday }}),
			lastNamed(true), nthNamed()))
		return item{fmt.Sprintf("cron(0 %s ? %s %s *)", hourText, monthText, dayText), func(at time.Time) bool { return hour(at) && month(at) && day(at) }}
	})
}

// Next of a cron expression is what stepping through the hours finds.
func TestNextStepping(t *testing.T) {
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		e := expression().Draw(t, "expression")
		s, err := schedule.Parse(schedule.Rules{Expression: e.text})
		if err != nil {
			return // TestParseRefuses and TestSurvey look at these
		}
		accepted++
		last := time.Unix(rapid.Int64Range(0, 8_000_000_000).Draw(t, "last"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")).UTC()
		want := last.Truncate(time.Hour).Add(time.Hour)
		for !e.holds(want) {
			want = want.Add(time.Hour)
		}
		w := s.Next(last)
		if !w.Start.Equal(want) {
			t.Fatalf("%v: Next(%v) = %v, want %v", s, last, w.Start, want)
		}
		if !w.End.After(w.Start) || w.End.After(s.Next(w.Start).Start) {
			t.Fatalf("%v: window %s, then %s", s, show(w), show(s.Next(w.Start)))
		}
	})
	if accepted == 0 {
		t.Error("no expression was accepted")
	}
}

// Parse refuses the expressions that, stepped through for longer than it looks itself,
// miss a year or come too soon. The years hold all the calendars in another order, with
// a century that is no leap year.
func TestSurvey(t *testing.T) {
	const first, last = 2072, 2112
	rapid.Check(t, func(t *rapid.T) {
		e := expression().Draw(t, "expression")
		_, err := schedule.Parse(schedule.Rules{Expression: e.text})
		var years [last - first]bool
		var before time.Time
		gap := time.Duration(math.MaxInt64)
		for at := time.Date(first, 1, 1, 0, 0, 0, 0, time.UTC); at.Year() < last; at = at.Add(time.Hour) {
			if !e.holds(at) {
				continue
			}
			years[at.Year()-first] = true
			if !before.IsZero() {
				gap = min(gap, at.Sub(before))
			}
			before = at
		}
		missed := false
		for _, found := range years {
			missed = missed || !found
		}
		if bad := missed || gap < 4*time.Hour; bad != (err != nil) {
			t.Fatalf("%s: misses a year: %v, shortest gap: %v; Parse: %v", e.text, missed, gap, err)
		}
	})
}

// A rate comes at its distance, from a beginning that its grid allows, and never later
// than the rate after the last rotation.
func TestNextRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hours := rapid.IntRange(4, 24*999).Draw(t, "hours")
		s, err := schedule.Parse(schedule.Rules{Expression: fmt.Sprintf("rate(%d hours)", hours)})
		if err != nil {
			t.Fatal(err)
		}
		every := time.Duration(hours) * time.Hour
		last := time.Unix(rapid.Int64Range(0, 8_000_000_000).Draw(t, "last"), 0).UTC()
		w := s.Next(last)
		if !w.Start.After(last) || w.Start.After(last.Add(every)) {
			t.Fatalf("%v: Next(%v) = %v", s, last, w.Start)
		}
		if again := s.Next(w.Start); !again.Start.Equal(w.Start.Add(every)) {
			t.Fatalf("%v: %v is followed by %v", s, w.Start, again.Start)
		}
		if midnight := w.Start.Hour() == 0; hours%24 == 0 && !midnight {
			t.Fatalf("%v: Next(%v) = %v", s, last, w.Start)
		}
		if 24%hours == 0 && w.Start.Hour()%hours != 0 {
			t.Fatalf("%v: Next(%v) = %v", s, last, w.Start)
		}
		if w.Start.Minute() != 0 || w.Start.Second() != 0 {
			t.Fatalf("%v: Next(%v) = %v", s, last, w.Start)
		}
	})
}

// A schedule in hours does not drift, wherever in its windows the rotations fall, when
// the base of each is kept.
func TestNoDrift(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hours := rapid.IntRange(4, 100).Draw(t, "hours")
		length := rapid.IntRange(1, min(hours, 24)).Draw(t, "length")
		s, err := schedule.Parse(schedule.Rules{Expression: fmt.Sprintf("rate(%d hours)", hours), Duration: fmt.Sprintf("%dh", length)})
		if err != nil {
			t.Fatal(err)
		}
		base := time.Unix(rapid.Int64Range(0, 8_000_000_000).Draw(t, "set up"), 0).UTC()
		first := s.Next(base).Start
		for i := range 10 {
			w := s.Next(base)
			if want := first.Add(time.Duration(i*hours) * time.Hour); !w.Start.Equal(want) {
				t.Fatalf("%v: window %d begins at %v, want %v", s, i, w.Start, want)
			}
			base = w.Base(w.Start.Add(time.Duration(rapid.Int64Range(0, int64(w.End.Sub(w.Start))-1).Draw(t, "rotated"))))
		}
	})
}
