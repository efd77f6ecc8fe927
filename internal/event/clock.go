package event

import "time"

// clock is the time by which alarms count. It follows the times of the events, so
// that a log read late counts as it would have when it was written, and it never
// goes back: were the machine's clock set back, events would otherwise seem older
// than every window and raise nothing.
//
// Set forward, windows look empty and alarms end early; set back, events count at the
// time at which they are read until the clock has caught up. Neither raises an alarm
// by itself.
type clock struct {
	at     time.Time // what it shows
	anchor time.Time // when it was set to that, on the monotonic clock
}

// event moves the clock for an event and returns the time at which the event counts.
func (c *clock) event(t, now time.Time) time.Time {
	switch {
	case c.at.IsZero() || t.After(c.at):
		c.at, c.anchor = t, now
		return t
	case c.at.Sub(t) <= lateSlack:
		return t
	}
	return c.at
}

// tick lets the clock run while nothing is read because nothing is there.
func (c *clock) tick(now time.Time) {
	if !c.at.IsZero() && c.anchor.Before(now) {
		c.at = c.at.Add(now.Sub(c.anchor))
	}
	c.anchor = now
}

// caughtUp is called when a log that was read late has been read to its end: as much
// time has passed as the machine's clock says.
func (c *clock) caughtUp(now time.Time) {
	if now.After(c.at) {
		c.at = now
	}
	c.anchor = now
}
