package compliance

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"arca/internal/schedule"
	"arca/internal/secrets"
)

const dayMillis = 24 * 60 * 60 * 1000

// facts are what the rules ask of a secret.
type facts struct {
	created  secrets.Instant
	deleted  bool              // scheduled for deletion
	rotation *secrets.Rotation // nil: never set up
	lastRead secrets.Instant   // midnight of that day; 0: never
	keyARN   string            // "" for aws/secretsmanager
}

// verdict is what one rule says.
type verdict struct {
	state State
	// until is the last moment at which it says so when nothing changes but the time; 0
	// for always.
	until secrets.Instant
	why   reason
	at    secrets.Instant // what the reason speaks of
	n     int64           // likewise
}

// reason is why; text puts it into words.
type reason uint8

const (
	whyNothing reason = iota
	whyDeleted
	whyRotationOff
	whyNoSchedule
	whyTooRare
	whyMissed
	whyNotDue
	whyOldRotation
	whyNeverRotated
	whyUnread
	whyNeverRead
	whyDefaultKey
	whyOtherKey
)

// judge applies all rules to a secret as of now.
func (p *judged) judge(f *facts, now secrets.Instant) (out [ruleCount]verdict) {
	if f.deleted {
		// AWS Config holds what is scheduled for deletion for deleted.
		for i := range out {
			out[i] = verdict{state: NotApplicable, why: whyDeleted}
		}
		return out
	}
	out[rotationEnabled] = p.rotationEnabled(f)
	out[scheduledSuccess] = scheduledOnTime(f, now)
	out[periodicRotation] = p.rotatedLately(f, now)
	out[unused] = p.usedLately(f, now)
	out[usingCMK] = p.sealedWell(f)
	return out
}

// judged is parameters together with what is worked out from them.
type judged struct {
	Parameters
	maxInterval time.Duration // between rotations; 0: no bound
	intervals   intervals
}

func newJudged(p Parameters) *judged {
	j := &judged{Parameters: p.withDefaults()}
	j.maxInterval = time.Duration(j.MaxRotationDays)*24*time.Hour + time.Duration(j.MaxRotationHours)*time.Hour
	return j
}

func (p *judged) rotationEnabled(f *facts) verdict {
	if f.rotation == nil || !f.rotation.Enabled {
		return verdict{state: NonCompliant, why: whyRotationOff}
	}
	if p.maxInterval == 0 {
		return verdict{state: Compliant}
	}
	every, ok := p.intervals.of(f.rotation.Rules)
	if !ok {
		return verdict{state: NonCompliant, why: whyNoSchedule}
	}
	if every > p.maxInterval {
		return verdict{state: NonCompliant, why: whyTooRare, n: int64(every / time.Hour)}
	}
	return verdict{state: Compliant}
}

// scheduledOnTime holds a window for missed when it ends without a success, whether the
// rotation failed, was given up, or never began.
func scheduledOnTime(f *facts, now secrets.Instant) verdict {
	r := f.rotation
	if r == nil || !r.Enabled {
		return verdict{state: NotApplicable, why: whyRotationOff}
	}
	due := r.Missed
	if due == 0 {
		due = r.Next
	}
	switch {
	case due == 0:
		return verdict{state: NotApplicable, why: whyNoSchedule}
	case now > due:
		return verdict{state: NonCompliant, why: whyMissed, at: due}
	}
	return verdict{state: Compliant, until: due, why: whyNotDue, at: due}
}

func (p *judged) rotatedLately(f *facts, now secrets.Instant) verdict {
	from, why := f.created, whyNeverRotated
	if f.rotation != nil && f.rotation.Last != 0 {
		from, why = f.rotation.Last, whyOldRotation
	}
	limit := from + secrets.Instant(p.MaxDaysSinceRotation)*dayMillis
	if now > limit {
		return verdict{state: NonCompliant, why: why, at: from}
	}
	return verdict{state: Compliant, until: limit, why: why, at: from}
}

// usedLately counts days as AWS keeps dates of last access: without the time of day.
func (p *judged) usedLately(f *facts, now secrets.Instant) verdict {
	from, why := f.created, whyNeverRead
	if f.lastRead != 0 {
		from, why = f.lastRead, whyUnread
	}
	// The end of the last day on which it does not count as unused.
	limit := (from/dayMillis+secrets.Instant(p.UnusedForDays)+1)*dayMillis - 1
	if now > limit {
		return verdict{state: NonCompliant, why: why, at: from}
	}
	return verdict{state: Compliant, until: limit, why: why, at: from}
}

func (p *judged) sealedWell(f *facts) verdict {
	switch {
	case f.keyARN == "":
		return verdict{state: NonCompliant, why: whyDefaultKey}
	case len(p.KMSKeyARNs) > 0 && !slices.Contains(p.KMSKeyARNs, f.keyARN):
		return verdict{state: NonCompliant, why: whyOtherKey}
	}
	return verdict{state: Compliant}
}

// maxAnnotation is as long as an annotation of AWS Config may be.
const maxAnnotation = 256

// annotation says in words why a verdict is what it is.
func (p *judged) annotation(v verdict, f *facts) string {
	text := p.words(v, f)
	return text[:min(len(text), maxAnnotation)]
}

func (p *judged) words(v verdict, f *facts) string {
	date := func() string { return v.at.Time().Format("2006-01-02") }
	switch v.why {
	case whyDeleted:
		return "The secret is scheduled for deletion."
	case whyRotationOff:
		return "Rotation is not enabled."
	case whyNoSchedule:
		return "Rotation has no schedule."
	case whyTooRare:
		return fmt.Sprintf("Up to %s lie between two rotations, and %s are allowed.", hours(v.n), hours(int64(p.maxInterval/time.Hour)))
	case whyMissed:
		return "The rotation that was due by " + v.at.Time().Format(time.RFC3339) + " has not succeeded."
	case whyNotDue:
		return "The next rotation is due by " + v.at.Time().Format(time.RFC3339) + "."
	case whyOldRotation:
		return "The secret was last rotated on " + date() + "; " + strconv.Itoa(p.MaxDaysSinceRotation) + " days are allowed."
	case whyNeverRotated:
		return "The secret was created on " + date() + " and never rotated; " + strconv.Itoa(p.MaxDaysSinceRotation) + " days are allowed."
	case whyUnread:
		return "The secret was last read on " + date() + "; " + strconv.Itoa(p.UnusedForDays) + " days are allowed."
	case whyNeverRead:
		return "The secret was created on " + date() + " and never read; " + strconv.Itoa(p.UnusedForDays) + " days are allowed."
	case whyDefaultKey:
		return "The secret is encrypted with aws/secretsmanager."
	case whyOtherKey:
		return "The key of the secret is not among kmsKeyArns: " + f.keyARN
	}
	return ""
}

// hours writes a number of hours in days where that is exact.
func hours(n int64) string {
	if n%24 == 0 {
		return strconv.FormatInt(n/24, 10) + " days"
	}
	return strconv.FormatInt(n, 10) + " hours"
}

// intervals remembers the longest time between rotations of schedules: working it out
// takes about a millisecond, and few schedules serve many secrets.
type intervals struct {
	mu    sync.Mutex
	known map[secrets.RotationRules]time.Duration // guarded by mu
}

// maxIntervals bounds the memory of schedules that somebody makes different on purpose.
const maxIntervals = 4096

// of is the longest time between two windows of a schedule; false without a schedule.
func (i *intervals) of(r secrets.RotationRules) (time.Duration, bool) {
	if r == (secrets.RotationRules{}) {
		return 0, false
	}
	i.mu.Lock()
	every, ok := i.known[r]
	i.mu.Unlock()
	if ok {
		return every, true
	}
	sch, err := schedule.Parse(schedule.Rules{AfterDays: r.AfterDays, Expression: r.Expression, Duration: r.Duration})
	if err != nil {
		return 0, false
	}
	every = longest(sch)
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.known == nil || len(i.known) >= maxIntervals {
		i.known = make(map[secrets.RotationRules]time.Duration)
	}
	i.known[r] = every
	return every, true
}

// longest is the longest time between two windows that follow each other: over 28 years,
// after which the calendar repeats itself, but for schedules of many windows over what so
// many take, and never over less than a year. The shortest gap is 4 hours, which bounds
// the work.
func longest(sch *schedule.Schedule) (gap time.Duration) {
	const manyWindows = 1500
	from := time.Date(2024, time.January, 1, 0, 0, 0, 0, time.UTC)
	year, cycle := from.AddDate(1, 0, 1), from.AddDate(28, 0, 1)
	last := sch.Next(from).Start
	for n := 0; n < 3 || last.Before(year) || n < manyWindows && last.Before(cycle); n++ {
		next := sch.Next(last).Start
		if !next.After(last) { // beyond the calendar
			break
		}
		gap = max(gap, next.Sub(last))
		last = next
	}
	return gap
}
