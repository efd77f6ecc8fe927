// Package schedule knows when secrets are due for rotation.
//
// It reads the rotation rules of Secrets Manager (AutomaticallyAfterDays, rate(),
// cron(), Duration) and answers which window a rotation belongs into and at which
// moment of the window it begins. Everything is UTC, so no hour is missing and none
// comes twice. The grammar is AWS's and no wider where a reading would be a guess:
// what is not understood is refused with a text that says why.
//
// The package is pure. It does not know what time it is, does not remember when a
// secret was last rotated and does not decide what to do about a missed window; its
// caller does. Rules are outside bytes: reading them costs microseconds whatever they
// say and never panics.
//
// https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_schedule.html
package schedule

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The bounds of what a schedule may ask for.
const (
	maxAfterDays      = 1000
	maxRateDays       = 999
	minGapHours       = 4 // between two rotations
	maxWindowHours    = 24
	maxExpressionSize = 256
)

// Rules are a secret's rotation rules as a client gives them. Empty members are
// absent; AfterDays and Expression exclude each other, and one of them is needed.
type Rules struct {
	AfterDays  int64  // days between rotations
	Expression string // rate(…) or cron(…)
	Duration   string // length of the window, as 3h
}

// Error says what is wrong with rules. Its text is for the client, who gave them: it
// quotes the rules and nothing else.
type Error struct{ Message string }

// Error returns the text.
func (e *Error) Error() string { return e.Message }

func refuse(format string, args ...any) error {
	return &Error{Message: fmt.Sprintf(format, args...)}
}

// Schedule is the meaning of rules. It does not change and may be shared.
type Schedule struct {
	text string
	cron *cron // nil for a rate

	// every and grid make a rate. Times are cut down to the grid before every is added,
	// so that windows begin at the same hours of the day wherever every allows that.
	every, grid time.Duration

	window time.Duration // zero: to the end of the UTC day
}

// Parse reads rules. The error is an *Error.
func Parse(r Rules) (*Schedule, error) {
	var s *Schedule
	var err error
	switch {
	case r.AfterDays != 0 && r.Expression != "":
		return nil, refuse("You cannot specify both rotation frequency and schedule expression together.")
	case r.Expression != "":
		s, err = parseExpression(r.Expression)
	case r.AfterDays < 0 || r.AfterDays > maxAfterDays:
		return nil, refuse("RotationRules.AutomaticallyAfterDays must be within 1-%d.", maxAfterDays)
	case r.AfterDays > 0:
		s = newRate(24 * r.AfterDays)
		s.text = fmt.Sprintf("every %d days", r.AfterDays)
		if r.AfterDays == 1 {
			s.text = "every day"
		}
	default:
		return nil, refuse("RotationRules must have AutomaticallyAfterDays or ScheduleExpression.")
	}
	if err != nil {
		return nil, err
	}
	if r.Duration != "" {
		if err := s.setDuration(r.Duration); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func parseExpression(e string) (*Schedule, error) {
	if len(e) > maxExpressionSize {
		return nil, refuse("ScheduleExpression must have at most %d characters.", maxExpressionSize)
	}
	for i := range len(e) {
		if !expressionByte(e[i]) {
			return nil, refuse("ScheduleExpression has a character that is not allowed at position %d.", i+1)
		}
	}
	body, closed := strings.CutSuffix(e, ")")
	if rate, ok := strings.CutPrefix(body, "rate("); ok && closed {
		return parseRate(e, rate)
	}
	if fields, ok := strings.CutPrefix(body, "cron("); ok && closed {
		c, err := parseCron(fields)
		if err != nil {
			return nil, err
		}
		s := &Schedule{text: e, cron: c}
		if c.hourly() {
			s.window = time.Hour
		}
		return s, nil
	}
	return nil, refuse("ScheduleExpression must be rate(value unit) or cron(minutes hours day-of-month month day-of-week year).")
}

func expressionByte(b byte) bool {
	return '0' <= b && b <= '9' || 'A' <= b && b <= 'Z' || 'a' <= b && b <= 'z' || strings.IndexByte("()#?*-/, ", b) >= 0
}

func parseRate(text, body string) (*Schedule, error) {
	parts := strings.Fields(body)
	if len(parts) != 2 {
		return nil, refuse("ScheduleExpression rate() must have a value and a unit, such as rate(10 days).")
	}
	n, ok := number(parts[0], 5)
	if !ok {
		return nil, refuse("ScheduleExpression rate() must have a whole number, not %s.", parts[0])
	}
	var s *Schedule
	switch parts[1] {
	case "hour", "hours":
		if n < minGapHours || n > 24*maxRateDays {
			return nil, refuse("ScheduleExpression rate() must be between %d hours and %d days.", minGapHours, maxRateDays)
		}
		s = newRate(int64(n))
		s.window = time.Hour
	case "day", "days":
		if n < 1 || n > maxRateDays {
			return nil, refuse("ScheduleExpression rate() must be between 1 and %d days.", maxRateDays)
		}
		s = newRate(24 * int64(n))
	default:
		return nil, refuse("ScheduleExpression rate() must be in hours or days, not %s.", parts[1])
	}
	s.text = text
	return s, nil
}

// newRate makes a schedule that comes every so many hours. AWS counts windows from
// midnight. The grid is the coarsest division of the day that the rate keeps to: at 4
// hours, windows begin at 0, 4, 8 …; at 10 hours at even hours; at whole days at
// midnight; at 5 hours it is the hours themselves.
func newRate(hours int64) *Schedule {
	grid, rest := int64(24), hours%24
	for rest != 0 {
		grid, rest = rest, grid%rest
	}
	return &Schedule{every: time.Duration(hours) * time.Hour, grid: time.Duration(grid) * time.Hour}
}

// setDuration replaces the length of the windows. A schedule in days keeps each window
// within its UTC day; one in hours may pass midnight but not reach into the next
// window.
func (s *Schedule) setDuration(text string) error {
	digits, isHours := strings.CutSuffix(text, "h")
	n, ok := number(digits, 2)
	if !isHours || !ok || n < 1 || n > maxWindowHours {
		return refuse("Duration must be between 1h and %dh.", maxWindowHours)
	}
	switch {
	case s.window == 0 && s.cron != nil && s.cron.firstHour()+n > 24:
		return refuse("Duration must not extend into the next UTC day: the window opens at %02d:00.", s.cron.firstHour())
	case s.window != 0 && s.cron != nil && n > s.cron.gapHours():
		return refuse("Duration must not extend into the next rotation window, which can open after %d hours.", s.cron.gapHours())
	case s.window != 0 && s.cron == nil && time.Duration(n)*time.Hour > s.every:
		return refuse("Duration must not extend into the next rotation window, which opens after %d hours.", s.every/time.Hour)
	}
	s.window = time.Duration(n) * time.Hour
	s.text += ", within " + strconv.Itoa(n) + "h"
	return nil
}

// String returns the schedule for people to read.
func (s *Schedule) String() string { return s.text }

// Next returns the window of the rotation that follows one at last. A rate counts from
// last, which is the set-up of the schedule when there was no rotation; so does
// AutomaticallyAfterDays, and both give a window that begins after last. For a cron
// expression it is the first window that begins after last.
//
// A new value that someone stores by hand counts as a rotation. Moments outside of the
// years 1 to 9999 count as the nearest within.
func (s *Schedule) Next(last time.Time) Window {
	last = last.UTC()
	if last.Year() < 1 {
		last = time.Time{}
	} else if last.Year() > 9999 {
		last = time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC)
	}
	var start time.Time
	if s.cron != nil {
		start = s.cron.after(last)
	} else {
		start = last.Truncate(s.grid).Add(s.every)
	}
	if s.window == 0 {
		return Window{Start: start, End: start.Truncate(24 * time.Hour).Add(24 * time.Hour)}
	}
	return Window{Start: start, End: start.Add(s.window)}
}

// After returns the window that follows w when the secret was rotated at the given
// moment. Who wants the window after that one keeps w.Base(rotated), not the moment.
func (s *Schedule) After(w Window, rotated time.Time) Window {
	return s.Next(w.Base(rotated))
}

// Upcoming returns the next n windows after last, each following the one before.
func (s *Schedule) Upcoming(last time.Time, n int) []Window {
	var all []Window
	for range n {
		w := s.Next(last)
		all = append(all, w)
		last = w.Start
	}
	return all
}

// AfterDays returns the number of days from a rotation at last to the next one, as
// RotationRules shows it after each rotation whichever way the schedule was given. It
// counts UTC days, and is 1 for whatever comes sooner.
func (s *Schedule) AfterDays(last time.Time) int64 {
	const day = 24 * time.Hour
	days := s.Next(last).Start.Truncate(day).Sub(last.UTC().Truncate(day)) / day
	return max(1, int64(days))
}

// number reads a decimal number of at most so many digits.
func number(s string, digits int) (int, bool) {
	if s == "" || len(s) > digits {
		return 0, false
	}
	n := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, true
}
