package schedule

import (
	"math/bits"
	"time"
)

// cron is the meaning of a cron expression: at these hours, on the days that any of the
// sets of days holds, in these months. Bits stand for the values as they are written,
// days of the week from 1, which is Sunday.
type cron struct {
	hours, months uint32

	dates    uint32    // days of the month
	lastDate bool      // the last day of the month
	days     uint32    // days of the week
	lastDays uint32    // days of the week when they are the last such of the month
	nthDays  [5]uint32 // days of the week when they are the first, second … of the month

	adjacent bool // two days that follow each other can both be in it
}

// datesOf returns the days of a month on which the expression holds, as bits from 1.
func (c *cron) datesOf(year int, month time.Month) uint32 {
	if c.months&(1<<month) == 0 {
		return 0
	}
	length := time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day()
	weekday := int(time.Date(year, month, 1, 0, 0, 0, 0, time.UTC).Weekday())
	var set uint32
	for d := 1; d <= length; d++ {
		day := uint32(1) << (1 + (weekday+d-1)%7)
		if c.dates&(1<<d) != 0 ||
			c.lastDate && d == length ||
			c.days&day != 0 ||
			c.lastDays&day != 0 && d+7 > length ||
			c.nthDays[(d-1)/7]&day != 0 {
			set |= 1 << d
		}
	}
	return set
}

// after returns the first moment after t, which is in UTC, at which the expression
// holds. There is one in each year: the survey has seen to that.
func (c *cron) after(t time.Time) time.Time {
	year, month, from := t.Date()
	for {
		for set := c.datesOf(year, month) >> from << from; set != 0; set &= set - 1 {
			for hours := c.hours; hours != 0; hours &= hours - 1 {
				at := time.Date(year, month, bits.TrailingZeros32(set), bits.TrailingZeros32(hours), 0, 0, 0, time.UTC)
				if at.After(t) {
					return at
				}
			}
		}
		year, month, _ = time.Date(year, month+1, 1, 0, 0, 0, 0, time.UTC).Date()
		from = 1
	}
}

// survey looks at every calendar there is and refuses an expression that comes too
// rarely or too often. In the 28 years from 2001 each kind of year begins on each day
// of the week, and follows each kind that it can follow.
func (c *cron) survey() error {
	const firstYear, years = 2001, 28
	before := false // the last day of the month before is in the expression
	for year := firstYear; year < firstYear+years; year++ {
		found := false
		for month := time.January; month <= time.December; month++ {
			set := c.datesOf(year, month)
			found = found || set != 0
			c.adjacent = c.adjacent || set&(set<<1) != 0 || before && set&(1<<1) != 0
			length := time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day()
			before = set&(1<<length) != 0
		}
		if !found {
			return refuse("ScheduleExpression cron() must come round at least once in every year.")
		}
	}
	if gap := c.gapHours(); gap < minGapHours {
		return refuse("ScheduleExpression cron() must leave at least %d hours between rotations; this one leaves %d.", minGapHours, gap)
	}
	return nil
}

// gapHours returns the shortest time between two moments at which the expression
// holds, or the length of a day when that is shorter.
func (c *cron) gapHours() int {
	gap := 24
	for set := c.hours & (c.hours - 1); set != 0; set &= set - 1 {
		later := bits.TrailingZeros32(set)
		gap = min(gap, later-(bits.Len32(c.hours&(1<<later-1))-1))
	}
	if c.adjacent {
		gap = min(gap, 24-c.lastHour()+c.firstHour())
	}
	return gap
}
