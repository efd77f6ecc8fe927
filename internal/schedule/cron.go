package schedule

import (
	"math/bits"
	"strings"
)

// field is one of the four fields of a cron expression in which there is something to
// choose. Its values are numbers from lo to hi; names, three letters each, stand for
// them in order.
type field struct {
	name   string
	lo, hi int
	names  string
}

const (
	monthNames = "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC"
	dayNames   = "SUNMONTUEWEDTHUFRISAT"
)

// Not variables: nothing may change them.
func hourField() field  { return field{name: "hours", lo: 0, hi: 23} }
func dateField() field  { return field{name: "day-of-month", lo: 1, hi: 31} }
func monthField() field { return field{name: "month", lo: 1, hi: 12, names: monthNames} }
func dayField() field   { return field{name: "day-of-week", lo: 1, hi: 7, names: dayNames} }

// parseCron reads what is between the parentheses of cron().
func parseCron(body string) (*cron, error) {
	// Names and L may be written small; there is no other reading of them.
	parts := strings.Fields(strings.ToUpper(body))
	if len(parts) != 6 {
		return nil, refuse("ScheduleExpression cron() must have six fields: minutes hours day-of-month month day-of-week year.")
	}
	minutes, hours, date, month, day, year := parts[0], parts[1], parts[2], parts[3], parts[4], parts[5]
	switch {
	case minutes != "0":
		return nil, refuse("ScheduleExpression cron() must have 0 for minutes: rotation windows open on the hour.")
	case year != "*":
		return nil, refuse("ScheduleExpression cron() must have * for year.")
	case (date == "?") == (day == "?"):
		return nil, refuse("ScheduleExpression cron() must have ? for exactly one of day-of-month and day-of-week.")
	}
	c := &cron{}
	if err := hourField().each(hours, func(item string) error {
		return hourField().add(&c.hours, item)
	}); err != nil {
		return nil, err
	}
	if err := monthField().each(month, func(item string) error {
		return monthField().add(&c.months, item)
	}); err != nil {
		return nil, err
	}
	if date != "?" {
		if err := dateField().each(date, c.addDate); err != nil {
			return nil, err
		}
	}
	if day != "?" {
		if err := dayField().each(day, c.addDay); err != nil {
			return nil, err
		}
	}
	if err := c.survey(); err != nil {
		return nil, err
	}
	return c, nil
}

// addDate adds an item of the day-of-month field.
func (c *cron) addDate(item string) error {
	f := dateField()
	if item == "L" {
		c.lastDate = true
		return nil
	}
	// A named last day, as SUNL, belongs to the other field; AWS documents it for this
	// one. A number would be ambiguous here.
	if name, ok := strings.CutSuffix(item, "L"); ok {
		if d, ok := dayField().named(name); ok {
			c.lastDays |= 1 << d
			return nil
		}
	}
	return f.add(&c.dates, item)
}

// addDay adds an item of the day-of-week field.
func (c *cron) addDay(item string) error {
	f := dayField()
	if item == "L" { // the last day of the week
		c.days |= 1 << f.hi
		return nil
	}
	if day, ok := strings.CutSuffix(item, "L"); ok {
		d, ok := f.value(day)
		if !ok {
			return f.refuse(item)
		}
		c.lastDays |= 1 << d
		return nil
	}
	if day, week, ok := strings.Cut(item, "#"); ok {
		d, okDay := f.value(day)
		n, okWeek := number(week, 1)
		if !okDay || !okWeek || n < 1 || n > len(c.nthDays) {
			return f.refuse(item)
		}
		c.nthDays[n-1] |= 1 << d
		return nil
	}
	return f.add(&c.days, item)
}

// each calls add for the items of a list.
func (f field) each(list string, add func(item string) error) error {
	items := strings.Split(list, ",")
	for _, item := range items {
		if item == "*" && len(items) > 1 {
			return refuse("ScheduleExpression cron() has * beside other values for %s.", f.name)
		}
		if err := add(item); err != nil {
			return err
		}
	}
	return nil
}

// add sets the bits of an item: a value, a range, or either with a step. Steps begin
// anew with each day, month, year or week; a step without a start begins at the lowest
// value.
func (f field) add(set *uint32, item string) error {
	base, step, stepped := strings.Cut(item, "/")
	lo, hi, by := f.lo, f.hi, 1
	if stepped {
		n, ok := number(step, 2)
		if !ok || n < 1 || n > f.hi-f.lo+1 {
			return f.refuse(item)
		}
		by = n
	}
	first, last, ranged := strings.Cut(base, "-")
	switch {
	case base == "*" || base == "" && stepped:
	case ranged:
		from, okFrom := f.value(first)
		to, okTo := f.value(last)
		if !okFrom || !okTo {
			return f.refuse(item)
		}
		if from > to {
			return refuse("ScheduleExpression cron() has a range that runs backwards for %s: %s.", f.name, item)
		}
		lo, hi = from, to
	default:
		v, ok := f.value(base)
		if !ok {
			return f.refuse(item)
		}
		lo = v
		if !stepped {
			hi = v
		}
	}
	for v := lo; v <= hi; v += by {
		*set |= 1 << v
	}
	return nil
}

// value reads a number or a name.
func (f field) value(s string) (int, bool) {
	if n, ok := number(s, 2); ok {
		return n, f.lo <= n && n <= f.hi
	}
	return f.named(s)
}

func (f field) named(s string) (int, bool) {
	for i := 0; i < len(f.names); i += 3 {
		if f.names[i:i+3] == s {
			return f.lo + i/3, true
		}
	}
	return 0, false
}

func (f field) refuse(item string) error {
	switch {
	case item == "":
		return refuse("ScheduleExpression cron() has an empty value for %s.", f.name)
	case strings.HasSuffix(item, "W"):
		return refuse("ScheduleExpression cron() has %s for %s: W is not supported.", item, f.name)
	}
	return refuse("ScheduleExpression cron() has a value for %s that is not allowed there: %s.", f.name, item)
}

// hourly says whether the expression is a schedule in hours: one that comes more than
// once a day.
func (c *cron) hourly() bool { return bits.OnesCount32(c.hours) > 1 }

func (c *cron) firstHour() int { return bits.TrailingZeros32(c.hours) }

func (c *cron) lastHour() int { return bits.Len32(c.hours) - 1 }
