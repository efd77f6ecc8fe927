package compliance

import (
	"io"
	"time"

	"arca/internal/secrets"
)

// Facts are what the rules ask of a secret.
type Facts struct {
	Created, LastRead time.Time
	Deleted           bool
	Rotation          *secrets.Rotation
	KeyARN            string
}

// Verdict is what one rule says, until when, and why.
type Verdict struct {
	State      State
	Until      time.Time
	Annotation string
}

// Judge applies the rules.
func Judge(p Parameters, in Facts, now time.Time) map[Rule]Verdict {
	j := newJudged(p)
	f := facts{created: secrets.InstantOf(in.Created), deleted: in.Deleted, rotation: in.Rotation, keyARN: in.KeyARN}
	if !in.LastRead.IsZero() {
		f.lastRead = secrets.InstantOf(in.LastRead)
	}
	out := make(map[Rule]Verdict)
	verdicts := j.judge(&f, secrets.InstantOf(now))
	for i, r := range Rules() {
		v := Verdict{State: verdicts[i].state, Annotation: j.annotation(verdicts[i], &f)}
		if verdicts[i].until != 0 {
			v.Until = verdicts[i].until.Time()
		}
		out[r] = v
	}
	return out
}

// Longest is the longest time between two windows of a schedule.
func Longest(r secrets.RotationRules) (time.Duration, bool) { return new(intervals).of(r) }

// ReadTold reads a file of states and returns, by uid, all states that it holds.
func ReadTold(r io.Reader) (told map[secrets.UID][]State, whole bool, err error) {
	raw, whole, _, err := readTold(r)
	told = make(map[secrets.UID][]State)
	for uid, is := range raw {
		for i := range ruleCount {
			told[uid] = append(told[uid], is.of(i))
		}
	}
	return told, whole, err
}

// AppendTold adds a record as Step writes it, the states in the order of Rules; none for
// a secret that is gone.
func AppendTold(b []byte, uid secrets.UID, all ...State) []byte {
	var is states
	for i, st := range all {
		is |= states(st) << (3 * i)
	}
	return appendTold(b, uid, is)
}

// ToldMagic begins a file of states.
const ToldMagic = toldMagic

// Narrow makes a step look at so few secrets of each kind.
func (s *Service) Narrow(n int) { s.bounds = bounds{n, n, n} }

// Behind reports whether a walk is under way.
func (s *Service) Behind() bool { return s.walking }

// Due is how many secrets wait for the time to change their state.
func (s *Service) Due() int { return len(s.seen.due) }
