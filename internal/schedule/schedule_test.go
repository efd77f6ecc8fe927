package schedule_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"arca/internal/schedule"
)

const layout = "2006-01-02T15:04:05"

func at(t testing.TB, text string) time.Time {
	t.Helper()
	if len(text) == len("2006-01-02T15") {
		text += ":00:00"
	}
	moment, err := time.Parse(layout, text)
	if err != nil {
		t.Fatal(err)
	}
	return moment
}

func parse(t testing.TB, r schedule.Rules) *schedule.Schedule {
	t.Helper()
	s, err := schedule.Parse(r)
	if err != nil {
		t.Fatalf("Parse(%+v): %v", r, err)
	}
	return s
}

func show(w schedule.Window) string {
	return w.Start.Format("2006-01-02T15") + " " + w.End.Format("2006-01-02T15")
}

// Starts and ends were worked out with a printed calendar.
func TestNext(t *testing.T) {
	tests := []struct {
		name  string
		rules schedule.Rules
		last  string
		want  string
	}{
		// The examples of AWS's documentation.
		{"every four hours", schedule.Rules{Expression: "rate(4 hours)"}, "2026-03-04T10:37:12", "2026-03-04T12 2026-03-04T13"},
		{"every day", schedule.Rules{Expression: "rate(1 day)"}, "2026-03-04T10:37:12", "2026-03-05T00 2026-03-06T00"},
		{"every ten days", schedule.Rules{Expression: "rate(10 days)"}, "2026-02-24T10:37:12", "2026-03-06T00 2026-03-07T00"},
		{"eight hours from midnight", schedule.Rules{Expression: "cron(0 /8 * * ? *)"}, "2026-03-04T16", "2026-03-05T00 2026-03-05T01"},
		{"eight hours from eight", schedule.Rules{Expression: "cron(0 8/8 * * ? *)"}, "2026-03-04T16", "2026-03-05T08 2026-03-05T09"},
		{"eight hours in two", schedule.Rules{Expression: "cron(0 8/8 * * ? *)", Duration: "2h"}, "2026-03-04T15:59:59", "2026-03-04T16 2026-03-04T18"},
		{"ten hours from two", schedule.Rules{Expression: "cron(0 2/10 * * ? *)"}, "2026-03-04T12", "2026-03-04T22 2026-03-04T23"},
		{"ten hours from two, the next day", schedule.Rules{Expression: "cron(0 2/10 * * ? *)"}, "2026-03-04T22", "2026-03-05T02 2026-03-05T03"},
		{"twelve hours from four", schedule.Rules{Expression: "cron(0 4/12 * * ? *)"}, "2026-12-31T16", "2027-01-01T04 2027-01-01T05"},
		{"every day at ten", schedule.Rules{Expression: "cron(0 10 * * ? *)"}, "2026-03-04T10", "2026-03-05T10 2026-03-06T00"},
		{"Saturdays", schedule.Rules{Expression: "cron(0 18 ? * SAT *)"}, "2026-03-04T00", "2026-03-07T18 2026-03-08T00"},
		{"first of the month", schedule.Rules{Expression: "cron(0 8 1 * ? *)"}, "2026-03-04T00", "2026-04-01T08 2026-04-02T00"},
		{"first Sunday of each third month", schedule.Rules{Expression: "cron(0 1 ? 1/3 SUN#1 *)"}, "2026-03-04T00", "2026-04-05T01 2026-04-06T00"},
		{"last of the month", schedule.Rules{Expression: "cron(0 17 L * ? *)"}, "2026-02-04T00", "2026-02-28T17 2026-03-01T00"},
		{"weekdays", schedule.Rules{Expression: "cron(0 8 ? * MON-FRI *)"}, "2026-03-06T08", "2026-03-09T08 2026-03-10T00"},
		{"first and fifteenth", schedule.Rules{Expression: "cron(0 16 1,15 * ? *)"}, "2026-03-04T00", "2026-03-15T16 2026-03-16T00"},
		{"first and fifteenth in two hours", schedule.Rules{Expression: "cron(0 16 1,15 * ? *)", Duration: "2h"}, "2026-03-15T16", "2026-04-01T16 2026-04-01T18"},
		{"first Sunday", schedule.Rules{Expression: "cron(0 0 ? * SUN#1 *)"}, "2026-03-01T00", "2026-04-05T00 2026-04-06T00"},
		{"named last day in its own field", schedule.Rules{Expression: "cron(0 3 ? * SUNL *)"}, "2026-05-01T00", "2026-05-31T03 2026-06-01T00"},
		{"named last day in the other field", schedule.Rules{Expression: "cron(0 3 SUNL * ? *)"}, "2026-06-01T00", "2026-06-28T03 2026-06-29T00"},
		{"months by name", schedule.Rules{Expression: "cron(0 10 ? FEB,MAY,AUG,NOV TUE#2 *)"}, "2026-03-04T00", "2026-05-12T10 2026-05-13T00"},

		{"automatically, after thirty days", schedule.Rules{AfterDays: 30}, "2026-02-03T17:34:02", "2026-03-05T00 2026-03-06T00"},
		{"automatically, after a day", schedule.Rules{AfterDays: 1}, "2026-12-31T23:59:59", "2027-01-01T00 2027-01-02T00"},
		{"automatically, within three hours", schedule.Rules{AfterDays: 7, Duration: "3h"}, "2026-03-04T10", "2026-03-11T00 2026-03-11T03"},
		{"automatically, after the longest time", schedule.Rules{AfterDays: 1000}, "2024-02-29T12", "2026-11-25T00 2026-11-26T00"},
		{"over a leap day", schedule.Rules{AfterDays: 2}, "2028-02-28T00", "2028-03-01T00 2028-03-02T00"},
		{"over no leap day", schedule.Rules{AfterDays: 2}, "2100-02-28T00", "2100-03-02T00 2100-03-03T00"},

		{"five hours have no fixed hours", schedule.Rules{Expression: "rate(5 hours)"}, "2026-03-04T21:30:00", "2026-03-05T02 2026-03-05T03"},
		{"ten hours have even hours", schedule.Rules{Expression: "rate(10 hours)"}, "2026-03-04T21:30:00", "2026-03-05T06 2026-03-05T07"},
		{"a day in hours begins at midnight", schedule.Rules{Expression: "rate(24 hours)"}, "2026-03-04T21:30:00", "2026-03-05T00 2026-03-05T01"},
		{"two days in hours", schedule.Rules{Expression: "rate(48 hour)"}, "2026-03-04T21:30:00", "2026-03-06T00 2026-03-06T01"},
		{"four hours all the time", schedule.Rules{Expression: "rate(4 hours)", Duration: "4h"}, "2026-03-04T21:30:00", "2026-03-05T00 2026-03-05T04"},
		{"longest rate", schedule.Rules{Expression: "rate(999 days)"}, "2026-01-01T05", "2028-09-26T00 2028-09-27T00"},

		{"a moment before", schedule.Rules{Expression: "cron(0 10 * * ? *)"}, "2026-03-04T09:59:59", "2026-03-04T10 2026-03-05T00"},
		{"a moment after", schedule.Rules{Expression: "cron(0 10 * * ? *)"}, "2026-03-04T10:00:01", "2026-03-05T10 2026-03-06T00"},
		{"the thirty-first", schedule.Rules{Expression: "cron(0 0 31 * ? *)"}, "2026-01-31T00", "2026-03-31T00 2026-04-01T00"},
		{"last of February in a leap year", schedule.Rules{Expression: "cron(0 0 L 2 ? *)"}, "2028-01-01T00", "2028-02-29T00 2028-03-01T00"},
		{"last of February in a century", schedule.Rules{Expression: "cron(0 0 L 2 ? *)"}, "2100-01-01T00", "2100-02-28T00 2100-03-01T00"},
		{"fifth Friday", schedule.Rules{Expression: "cron(0 0 ? * FRI#5 *)"}, "2026-03-01T00", "2026-05-29T00 2026-05-30T00"},
		{"last day of the week", schedule.Rules{Expression: "cron(0 0 ? * L *)"}, "2026-03-01T00", "2026-03-07T00 2026-03-08T00"},
		{"days of the week by number", schedule.Rules{Expression: "cron(0 0 ? * 1,4 *)"}, "2026-03-01T00", "2026-03-04T00 2026-03-05T00"},
		{"every second day of the week", schedule.Rules{Expression: "cron(0 0 ? * 1/2 *)"}, "2026-03-07T00", "2026-03-08T00 2026-03-09T00"},
		{"every tenth day, anew each month", schedule.Rules{Expression: "cron(0 0 1/10 * ? *)"}, "2026-03-21T00", "2026-03-31T00 2026-04-01T00"},
		{"small letters", schedule.Rules{Expression: "cron(0 0 ? jan-mar monl *)"}, "2026-03-01T00", "2026-03-30T00 2026-03-31T00"},
		{"spaces", schedule.Rules{Expression: "cron( 0  10 * * ? * )"}, "2026-03-01T00", "2026-03-01T10 2026-03-02T00"},
		{"hours as a list", schedule.Rules{Expression: "cron(0 6,18 * * ? *)", Duration: "12h"}, "2026-03-01T06", "2026-03-01T18 2026-03-02T06"},
		{"hours as a range with steps", schedule.Rules{Expression: "cron(0 8-16/4 * * ? *)"}, "2026-03-01T16", "2026-03-02T08 2026-03-02T09"},
		{"hours that would be close on days that are not", schedule.Rules{Expression: "cron(0 0/7 ? * MON *)", Duration: "7h"}, "2026-03-02T20", "2026-03-02T21 2026-03-03T04"},
		{"to the end of the day", schedule.Rules{Expression: "cron(0 22 * * ? *)", Duration: "2h"}, "2026-03-01T22", "2026-03-02T22 2026-03-03T00"},
		{"all day", schedule.Rules{Expression: "rate(3 days)", Duration: "24h"}, "2026-03-01T22", "2026-03-04T00 2026-03-05T00"},
		{"once a year", schedule.Rules{Expression: "cron(0 0 1 1 ? *)"}, "2026-01-01T00", "2027-01-01T00 2027-01-02T00"},

		{"beginning of time", schedule.Rules{Expression: "cron(0 0 L 12 ? *)"}, "0001-01-01T00", "0001-12-31T00 0002-01-01T00"},
		{"end of time", schedule.Rules{Expression: "cron(0 0 1 1 ? *)"}, "9999-12-31T23", "10000-01-01T00 10000-01-02T00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := parse(t, tt.rules)
			if got := show(s.Next(at(t, tt.last))); got != tt.want {
				t.Errorf("%v: Next(%s) = %s, want %s", s, tt.last, got, tt.want)
			}
			// Another zone is another way of writing the same moment.
			kathmandu := time.FixedZone("", 5*3600+45*60)
			if got := show(s.Next(at(t, tt.last).In(kathmandu))); got != tt.want {
				t.Errorf("%v: in another zone: %s", s, got)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	const (
		shape   = "ScheduleExpression must be rate(value unit) or cron(minutes hours day-of-month month day-of-week year)."
		minutes = "ScheduleExpression cron() must have 0 for minutes: rotation windows open on the hour."
		mark    = "ScheduleExpression cron() must have ? for exactly one of day-of-month and day-of-week."
		yearly  = "ScheduleExpression cron() must come round at least once in every year."
		hours   = "ScheduleExpression rate() must be between 4 hours and 999 days."
		length  = "Duration must be between 1h and 24h."
		six     = "ScheduleExpression cron() must have six fields: minutes hours day-of-month month day-of-week year."
	)
	value := func(field, item string) string {
		return "ScheduleExpression cron() has a value for " + field + " that is not allowed there: " + item + "."
	}
	expr := func(e string) schedule.Rules { return schedule.Rules{Expression: e} }
	tests := []struct {
		name  string
		rules schedule.Rules
		want  string
	}{
		{"nothing", schedule.Rules{}, "RotationRules must have AutomaticallyAfterDays or ScheduleExpression."},
		{"a window of nothing", schedule.Rules{Duration: "3h"}, "RotationRules must have AutomaticallyAfterDays or ScheduleExpression."},
		{"both", schedule.Rules{AfterDays: 1, Expression: "rate(1 day)"}, "You cannot specify both rotation frequency and schedule expression together."},
		{"days below", schedule.Rules{AfterDays: -1}, "RotationRules.AutomaticallyAfterDays must be within 1-1000."},
		{"days above", schedule.Rules{AfterDays: 1001}, "RotationRules.AutomaticallyAfterDays must be within 1-1000."},
		{"days far above", schedule.Rules{AfterDays: math.MaxInt64}, "RotationRules.AutomaticallyAfterDays must be within 1-1000."},

		{"no function", expr("10 days"), shape},
		{"another function", expr("at(2026-03-04T10)"), shape},
		{"not closed", expr("rate(10 days"), shape},
		{"capitals", expr("RATE(10 days)"), shape},
		{"something before", expr(" rate(10 days)"), shape},
		{"something after", expr("rate(10 days) "), shape},
		{"two", expr("rate(10 days)rate(10 days)"), "ScheduleExpression rate() must have a value and a unit, such as rate(10 days)."},
		{"a tab", expr("rate(10\tdays)"), "ScheduleExpression has a character that is not allowed at position 8."},
		{"not ASCII", expr("cron(0 8 ١ * ? *)"), "ScheduleExpression has a character that is not allowed at position 10."},
		{"too long", expr("rate(10" + strings.Repeat(" ", 260) + "days)"), "ScheduleExpression must have at most 256 characters."},

		{"no unit", expr("rate(10)"), "ScheduleExpression rate() must have a value and a unit, such as rate(10 days)."},
		{"joined", expr("rate(10days)"), "ScheduleExpression rate() must have a value and a unit, such as rate(10 days)."},
		{"minutes", expr("rate(300 minutes)"), "ScheduleExpression rate() must be in hours or days, not minutes."},
		{"negative", expr("rate(-1 day)"), "ScheduleExpression rate() must have a whole number, not -1."},
		{"huge", expr("rate(99999999999999999999 days)"), "ScheduleExpression rate() must have a whole number, not 99999999999999999999."},
		{"no days", expr("rate(0 days)"), "ScheduleExpression rate() must be between 1 and 999 days."},
		{"a thousand days", expr("rate(1000 days)"), "ScheduleExpression rate() must be between 1 and 999 days."},
		{"three hours", expr("rate(3 hours)"), hours},
		{"too many hours", expr("rate(23977 hours)"), hours},

		{"five fields", expr("cron(0 8 * * ?)"), six},
		{"seven fields", expr("cron(0 0 8 * * ? *)"), six},
		{"minutes other than zero", expr("cron(30 8 * * ? *)"), minutes},
		{"every minute", expr("cron(* 8 * * ? *)"), minutes},
		{"a year", expr("cron(0 8 * * ? 2026)"), "ScheduleExpression cron() must have * for year."},
		{"no question mark", expr("cron(0 1 * 1/3 SUN *)"), mark},
		{"two question marks", expr("cron(0 1 ? * ? *)"), mark},
		{"question mark in hours", expr("cron(0 ? * * ? *)"), value("hours", "?")},
		{"question mark in a list", expr("cron(0 8 1,? * ? *)"), value("day-of-month", "?")},
		{"hour 24", expr("cron(0 24 * * ? *)"), value("hours", "24")},
		{"day 0", expr("cron(0 8 0 * ? *)"), value("day-of-month", "0")},
		{"day 32", expr("cron(0 8 32 * ? *)"), value("day-of-month", "32")},
		{"month 13", expr("cron(0 8 1 13 ? *)"), value("month", "13")},
		{"weekday 0", expr("cron(0 8 ? * 0 *)"), value("day-of-week", "0")},
		{"weekday 8", expr("cron(0 8 ? * 8 *)"), value("day-of-week", "8")},
		{"long names", expr("cron(0 8 ? * MONDAY *)"), value("day-of-week", "MONDAY")},
		{"part of two names", expr("cron(0 8 ? * UNM *)"), value("day-of-week", "UNM")},
		{"day name as month", expr("cron(0 8 1 MON ? *)"), value("month", "MON")},
		{"day name as date", expr("cron(0 8 MON * ? *)"), value("day-of-month", "MON")},
		{"numbered last day as date", expr("cron(0 8 1L * ? *)"), value("day-of-month", "1L")},
		{"days before the last", expr("cron(0 8 L-3 * ? *)"), value("day-of-month", "L-3")},
		{"last month", expr("cron(0 8 1 L ? *)"), value("month", "L")},
		{"nearest weekday", expr("cron(0 8 15W * ? *)"), "ScheduleExpression cron() has 15W for day-of-month: W is not supported."},
		{"last weekday", expr("cron(0 8 LW * ? *)"), "ScheduleExpression cron() has LW for day-of-month: W is not supported."},
		{"sixth Monday", expr("cron(0 8 ? * MON#6 *)"), value("day-of-week", "MON#6")},
		{"zeroth Monday", expr("cron(0 8 ? * MON#0 *)"), value("day-of-week", "MON#0")},
		{"which Monday", expr("cron(0 8 ? * MON# *)"), value("day-of-week", "MON#")},
		{"nth of a range", expr("cron(0 8 ? * MON-TUE#1 *)"), value("day-of-week", "MON-TUE#1")},
		{"nth as date", expr("cron(0 8 MON#1 * ? *)"), value("day-of-month", "MON#1")},
		{"empty item", expr("cron(0 8 1,,2 * ? *)"), "ScheduleExpression cron() has an empty value for day-of-month."},
		{"comma alone", expr("cron(0 8 , * ? *)"), "ScheduleExpression cron() has an empty value for day-of-month."},
		{"star in a list", expr("cron(0 8 1,* * ? *)"), "ScheduleExpression cron() has * beside other values for day-of-month."},
		{"step of nothing", expr("cron(0 8 1/ * ? *)"), value("day-of-month", "1/")},
		{"step zero", expr("cron(0 8 1/0 * ? *)"), value("day-of-month", "1/0")},
		{"step beyond the field", expr("cron(0 8 1 1/13 ? *)"), value("month", "1/13")},
		{"two steps", expr("cron(0 8 1/2/3 * ? *)"), value("day-of-month", "1/2/3")},
		{"slash alone", expr("cron(0 8 / * ? *)"), value("day-of-month", "/")},
		{"open range", expr("cron(0 8 1- * ? *)"), value("day-of-month", "1-")},
		{"range of three", expr("cron(0 8 1-2-3 * ? *)"), value("day-of-month", "1-2-3")},
		{"range backwards", expr("cron(0 8 ? * FRI-MON *)"), "ScheduleExpression cron() has a range that runs backwards for day-of-week: FRI-MON."},
		{"parenthesis within", expr("cron(0 8 (1) * ? *)"), value("day-of-month", "(1)")},

		{"every hour", expr("cron(0 * * * ? *)"), "ScheduleExpression cron() must leave at least 4 hours between rotations; this one leaves 1."},
		{"every three hours", expr("cron(0 /3 * * ? *)"), "ScheduleExpression cron() must leave at least 4 hours between rotations; this one leaves 3."},
		{"close at midnight", expr("cron(0 0/11 * * ? *)"), "ScheduleExpression cron() must leave at least 4 hours between rotations; this one leaves 2."},
		{"close at the end of a month", expr("cron(0 1,23 1,L * ? *)"), "ScheduleExpression cron() must leave at least 4 hours between rotations; this one leaves 2."},
		{"close at the end of a year", expr("cron(0 1,23 1,31 1,12 ? *)"), "ScheduleExpression cron() must leave at least 4 hours between rotations; this one leaves 2."},
		{"never", expr("cron(0 8 30 2 ? *)"), yearly},
		{"leap years", expr("cron(0 8 29 2 ? *)"), yearly},
		{"some years", expr("cron(0 8 ? JAN FRI#5 *)"), yearly},

		{"length without unit", schedule.Rules{AfterDays: 1, Duration: "3"}, length},
		{"length in days", schedule.Rules{AfterDays: 1, Duration: "1d"}, length},
		{"no length", schedule.Rules{AfterDays: 1, Duration: "0h"}, length},
		{"signed length", schedule.Rules{AfterDays: 1, Duration: "+1h"}, length},
		{"over a day", schedule.Rules{AfterDays: 10, Duration: "25h"}, length},
		{"over a day, in hours", schedule.Rules{Expression: "rate(72 hours)", Duration: "25h"}, length},
		{"very long", schedule.Rules{AfterDays: 10, Duration: "100h"}, length},
		{"into the next day", schedule.Rules{Expression: "cron(0 22 * * ? *)", Duration: "3h"}, "Duration must not extend into the next UTC day: the window opens at 22:00."},
		{"into the next window of a rate", schedule.Rules{Expression: "rate(4 hours)", Duration: "5h"}, "Duration must not extend into the next rotation window, which opens after 4 hours."},
		{"into the next window of a cron", schedule.Rules{Expression: "cron(0 2/10 * * ? *)", Duration: "5h"}, "Duration must not extend into the next rotation window, which can open after 4 hours."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := schedule.Parse(tt.rules)
			if _, ok := errors.AsType[*schedule.Error](err); !ok {
				t.Fatalf("Parse(%+v) = %v, %v, want an Error", tt.rules, s, err)
			}
			if err.Error() != tt.want {
				t.Errorf("Parse(%+v): %q, want %q", tt.rules, err, tt.want)
			}
		})
	}
}

func TestAfter(t *testing.T) {
	tests := []struct {
		name    string
		rules   schedule.Rules
		last    string // the rotation before the window
		rotated string
		want    string
	}{
		{"late in a long window", schedule.Rules{Expression: "rate(5 hours)", Duration: "5h"}, "2026-03-01T00", "2026-03-01T09:30:00", "2026-03-01T10 2026-03-01T15"},
		{"at its start", schedule.Rules{Expression: "rate(5 hours)", Duration: "5h"}, "2026-03-01T00", "2026-03-01T05", "2026-03-01T10 2026-03-01T15"},
		{"at its end", schedule.Rules{Expression: "rate(5 hours)", Duration: "2h"}, "2026-03-01T00", "2026-03-01T07", "2026-03-01T12 2026-03-01T14"},
		{"by hand before it", schedule.Rules{AfterDays: 30}, "2026-03-01T00", "2026-03-11T12", "2026-04-10T00 2026-04-11T00"},
		{"late by days", schedule.Rules{AfterDays: 30}, "2026-03-01T00", "2026-04-03T12", "2026-05-03T00 2026-05-04T00"},
		{"cron, in the window", schedule.Rules{Expression: "cron(0 8 * * ? *)"}, "2026-03-01T08", "2026-03-02T23:59:59", "2026-03-03T08 2026-03-04T00"},
		{"cron, missed some", schedule.Rules{Expression: "cron(0 8 * * ? *)"}, "2026-03-01T08", "2026-03-05T12", "2026-03-06T08 2026-03-07T00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := parse(t, tt.rules)
			w := s.Next(at(t, tt.last))
			if got := show(s.After(w, at(t, tt.rotated))); got != tt.want {
				t.Errorf("%v: After(%s, %s) = %s, want %s", s, show(w), tt.rotated, got, tt.want)
			}
		})
	}
}

func TestUpcoming(t *testing.T) {
	s := parse(t, schedule.Rules{Expression: "rate(10 hours)", Duration: "2h"})
	var got []string
	for _, w := range s.Upcoming(at(t, "2026-03-01T00:30:00"), 3) {
		got = append(got, show(w))
	}
	want := []string{"2026-03-01T10 2026-03-01T12", "2026-03-01T20 2026-03-01T22", "2026-03-02T06 2026-03-02T08"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("Upcoming = %v, want %v", got, want)
	}
	if got := s.Upcoming(at(t, "2026-03-01T00"), -1); len(got) != 0 {
		t.Errorf("Upcoming(-1) = %v", got)
	}
}

func TestAfterDays(t *testing.T) {
	tests := []struct {
		rules schedule.Rules
		last  string
		want  int64
	}{
		{schedule.Rules{AfterDays: 45}, "2026-03-01T23:59:59", 45},
		{schedule.Rules{Expression: "rate(10 days)"}, "2026-03-01T01", 10},
		{schedule.Rules{Expression: "rate(4 hours)"}, "2026-03-01T01", 1},
		{schedule.Rules{Expression: "rate(30 hours)"}, "2026-03-01T01", 1},
		{schedule.Rules{Expression: "cron(0 16 1,15 * ? *)"}, "2026-03-01T16:20:00", 14},
		{schedule.Rules{Expression: "cron(0 16 1,15 * ? *)"}, "2026-03-15T16:20:00", 17},
		{schedule.Rules{Expression: "cron(0 8/8 * * ? *)"}, "2026-03-15T16:20:00", 1},
	}
	for _, tt := range tests {
		s := parse(t, tt.rules)
		if got := s.AfterDays(at(t, tt.last)); got != tt.want {
			t.Errorf("%v: AfterDays(%s) = %d, want %d", s, tt.last, got, tt.want)
		}
	}
}

func TestString(t *testing.T) {
	for _, tt := range []struct {
		rules schedule.Rules
		want  string
	}{
		{schedule.Rules{AfterDays: 1}, "every day"},
		{schedule.Rules{AfterDays: 30, Duration: "3h"}, "every 30 days, within 3h"},
		{schedule.Rules{Expression: "rate(10 days)"}, "rate(10 days)"},
		{schedule.Rules{Expression: "cron(0 8 ? * mon *)", Duration: "09h"}, "cron(0 8 ? * mon *), within 9h"},
	} {
		if got := parse(t, tt.rules).String(); got != tt.want {
			t.Errorf("String of %+v = %q, want %q", tt.rules, got, tt.want)
		}
	}
}
