package secrets

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"arca/internal/call"
	"arca/internal/store"
)

// Rotations is what the engine of rotations does to secrets: begin what the schedules
// say, claim the next step of a job, and put down what came of it. Each is one
// transaction that decides on the state it changes, so it may run in two processes at
// once; a step itself may, too, when a process is paused for longer than its claim.
type Rotations struct {
	secrets    *Service
	dispatcher *call.Dispatcher
}

// NewRotations makes the engine's side of a service. The dispatcher records what it does.
func NewRotations(s *Service, d *call.Dispatcher) *Rotations {
	return &Rotations{secrets: s, dispatcher: d}
}

// NextDue is when there is something to do: a schedule that begins, a step that may run,
// a claim that has ended. It looks at the first of each; zero means nothing at all.
func (r *Rotations) NextDue(v *store.Snap) (at time.Time) {
	var first Instant
	note := func(t Instant) {
		if t != 0 && (first == 0 || t < first) {
			first = t
		}
	}
	r.secrets.secrets.Ascend(v, indexRotation, "", func(_ string, sec *Secret) bool { note(sec.Rotation.Start); return false })
	r.secrets.jobs.Ascend(v, indexRotating, "", func(_ string, j *RotationJob) bool { note(j.due()); return false })
	if first == 0 {
		return time.Time{}
	}
	return first.Time()
}

// Begin starts the scheduled rotations that are due, at most limit of them, those that
// have waited longest first. A secret whose last rotation has not ended goes on with it.
func (r *Rotations) Begin(ctx context.Context, now time.Time, limit int) (begun int, err error) {
	s := r.secrets
	var due []store.Key
	err = s.store.View(ctx, func(v *store.Snap) error {
		due = due[:0]
		s.secrets.Ascend(v, indexRotation, "", func(at string, sec *Secret) bool {
			if at > InstantOf(now).orderKey() || len(due) == limit {
				return false
			}
			due = append(due, secretKey(sec))
			return true
		})
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("list rotations that are due: %w", err)
	}
	var problems []error
	for _, key := range due {
		if ctx.Err() != nil {
			return begun, ctx.Err()
		}
		if err := r.begin(ctx, now, key); err != nil {
			problems = append(problems, fmt.Errorf("begin rotation of secret %s: %w", key.Parent, err))
			continue
		}
		begun++
	}
	return begun, errors.Join(problems...)
}

// scheduled is who begins a rotation that nobody asked for.
const scheduled = "schedule"

func (r *Rotations) begin(ctx context.Context, now time.Time, key store.Key) error {
	s := r.secrets
	id, versionID := newJobID(), dashed(newJobID())
	return r.commit(ctx, now, func(tx *store.Tx, emit func(call.ServiceEvent)) error {
		sec, ok := s.secrets.Get(tx.Snap, key)
		if !ok {
			return nil
		}
		if at, due := sec.rotationDue(); !due || at > InstantOf(now) {
			return nil
		}
		sec = sec.clone()
		rot := *sec.Rotation
		// Unless it succeeds before, the next window tries again.
		window := rot.Next
		rot.rotated(sec.UID, now)
		if rot.Missed == 0 {
			rot.Missed = window
		}
		sec.Rotation = &rot
		held, running := s.jobs.Get(tx.Snap, jobKey(sec))
		switch {
		case running && (held.Claim != nil || held.Kind == Rehearsal):
			// It goes on by itself, or waits for somebody.
		case running && sec.pending(held.VersionID):
			j := *held
			j.Attempt, j.NotBefore, j.Window = 0, InstantOf(now), window
			s.jobs.Put(tx, jobKey(sec), &j)
		default:
			if running { // it has lost its version
				if err := s.settle(ctx, tx, sec, held, now, emit); err != nil {
					return err
				}
			}
			ver := sec.unfinished()
			if ver == nil {
				for range s.prune(tx, sec, s.quotas.Versions-1, now) {
					emit(versionEvent(eventStartDelete, sec))
					emit(versionEvent(eventEndDelete, sec))
				}
				sec.Versions = append(sec.Versions, Version{ID: versionID, Created: InstantOf(now)})
				ver = &sec.Versions[len(sec.Versions)-1]
			}
			j, event := s.startJob(tx, sec, Rotate, ver, id, scheduled, now)
			j.Window = window
			s.jobs.Put(tx, jobKey(sec), j)
			emit(event)
		}
		s.put(tx, sec)
		return nil
	})
}

// errLoud ends a quiet transaction that has something to record after all.
var errLoud = errors.New("service event in a transaction without a record")

// commit is a transaction of the engine. One without events is bookkeeping that no
// record needs. fn may run again on a newer state, and then be one with events where it
// was one without, or the other way round.
func (r *Rotations) commit(ctx context.Context, now time.Time, fn func(tx *store.Tx, emit func(call.ServiceEvent)) error) error {
	for {
		loud := false
		err := r.dispatcher.ServiceUpdate(ctx, now, func(tx *store.Tx, emit func(call.ServiceEvent)) error {
			loud = false
			return fn(tx, func(e call.ServiceEvent) { loud = true; emit(e) })
		})
		if err != nil || loud {
			return err
		}
		_, err = r.secrets.store.Update(ctx, func(tx *store.Tx) error {
			loud = false
			if err := fn(tx, func(call.ServiceEvent) { loud = true }); err != nil {
				return err
			}
			if loud {
				return errLoud
			}
			return nil
		})
		if !errors.Is(err, errLoud) {
			return err
		}
	}
}

// Claimed is a step that this process is to run before its deadline.
type Claimed struct {
	Job        RotationJob
	SecretARN  string
	SecretName string
	// Token is the RotationToken of the event.
	Token string
}

// Claim takes over a step that is due, for the time that lease gives its function. skip
// names functions that have enough to do. The result is nil when nothing is due.
func (r *Rotations) Claim(ctx context.Context, now time.Time, node string, lease func(functionARN string) time.Duration, skip func(functionARN string) bool) (*Claimed, error) {
	s := r.secrets
	for {
		var scope string
		var uid UID
		found := false
		err := s.store.View(ctx, func(v *store.Snap) error {
			found = false
			s.jobs.Ascend(v, indexRotating, "", func(at string, j *RotationJob) bool {
				if at > InstantOf(now).orderKey() {
					return false
				}
				if skip(j.LambdaARN) {
					return true
				}
				found = true
				scope, uid = scopeOf(j.Account, j.Region), j.UID
				return false
			})
			return nil
		})
		if err != nil || !found {
			return nil, err
		}
		claimed, err := r.claim(ctx, now, scope, uid, node, lease)
		if err != nil || claimed != nil {
			return claimed, err
		}
	}
}

// claim is nil when the job has been dealt with otherwise.
func (r *Rotations) claim(ctx context.Context, now time.Time, scope string, uid UID, node string, lease func(string) time.Duration) (claimed *Claimed, err error) {
	s := r.secrets
	var mark [16]byte
	_, _ = rand.Read(mark[:]) // never fails: crypto/rand ends the program instead
	err = r.commit(ctx, now, func(tx *store.Tx, emit func(call.ServiceEvent)) error {
		claimed = nil
		sec := s.byUID(tx.Snap, scope, uid)
		if sec == nil {
			return nil // its jobs are gone with it
		}
		held, ok := s.jobs.Get(tx.Snap, jobKey(sec))
		if !ok || held.due() == 0 || held.due() > InstantOf(now) {
			return nil
		}
		if !sec.pending(held.VersionID) {
			// AWSPENDING is gone, or on its way with the current label: whatever an earlier
			// run reached counts.
			return s.settle(ctx, tx, sec.clone(), held, now, emit)
		}
		j := *held
		s.secrets.Guard(tx, secretKey(sec))
		if sec.scheduled() {
			j.Claim, j.NotBefore = nil, InstantOf(now.Add(pausedJobEvery))
			s.jobs.Put(tx, jobKey(sec), &j)
			return nil
		}
		j.LambdaARN = sec.Rotation.LambdaARN
		j.Claim = &RotationClaim{Token: mark, Node: node, Since: InstantOf(now), Deadline: InstantOf(now.Add(lease(j.LambdaARN)))}
		s.jobs.Put(tx, jobKey(sec), &j)
		token, err := s.rotationToken(&j)
		if err != nil {
			return err
		}
		claimed = &Claimed{Job: j, SecretARN: sec.ARN(), SecretName: sec.Name, Token: token}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return claimed, nil
}

// pausedJobEvery is how often the job of a secret that is scheduled for deletion is
// looked at. RestoreSecret wakes it at once.
const pausedJobEvery = 6 * time.Hour

// Settle puts down what came of a claimed step. It changes nothing when the claim has
// been lost: then another process has run the step since, and its result counts. It
// reports the outcome of the rotation when it has ended by this, and 0 otherwise.
func (r *Rotations) Settle(ctx context.Context, now time.Time, claimed *Claimed, run StepRun) (outcome RotationOutcome, err error) {
	s := r.secrets
	run.Output = outputEnd(run.Output)
	err = r.commit(ctx, now, func(tx *store.Tx, emit func(call.ServiceEvent)) error {
		outcome = 0
		j0 := &claimed.Job
		sec := s.byUID(tx.Snap, scopeOf(j0.Account, j0.Region), j0.UID)
		if sec == nil {
			return nil
		}
		held, ok := s.jobs.Get(tx.Snap, jobKey(sec))
		if !ok || held.Claim == nil || held.Claim.Token != j0.Claim.Token {
			return nil
		}
		j := *held
		j.Claim = nil
		run := run // fn may run again
		if unmoved(sec, &j) && run.Error == "" {
			run.Error = j.FailureText()
			run.Output = outputEnd(run.Output + "\nfinishSecret has ended, and AWSCURRENT is not on version " + j.VersionID)
		}
		j.Runs = append(slices.Clip(j.Runs), run)
		j.Runs = j.Runs[max(0, len(j.Runs)-maxRotationRuns):]
		sec = sec.clone()
		if done, err := s.finished(ctx, tx, sec, &j, run, now, emit); err != nil || done != 0 {
			outcome = done
			return err
		}
		if run.Error != "" {
			j.Attempt++
			j.NotBefore = InstantOf(now.Add(retryAfter(j.Attempt)))
			emit(rotationEvent(sec, &j, eventRotationFailed, run.Error))
		} else {
			j.advance(now)
		}
		s.secrets.Guard(tx, secretKey(sec))
		s.jobs.Put(tx, jobKey(sec), &j)
		return nil
	})
	return outcome, err
}

// unmoved reports whether the version of a job is still to become the current one, after
// the step that should have seen to it.
func unmoved(sec *Secret, j *RotationJob) bool {
	ver := sec.version(j.VersionID)
	return j.Step == StepFinish && sec.pending(j.VersionID) && !slices.Contains(ver.Stages, stageCurrent)
}

// outputEnd is the end of an output, as text: functions print any bytes, and records hold
// none but UTF-8.
func outputEnd(output string) string {
	output = strings.ToValidUTF8(output, "\uFFFD")
	from := max(0, len(output)-maxOutputBytes)
	for from < len(output) && !utf8.RuneStart(output[from]) {
		from++
	}
	return output[from:]
}

// Resume gives back every claim of a node, which must not run any of the steps any more.
func (r *Rotations) Resume(ctx context.Context, now time.Time, node string) error {
	var left []*Claimed
	err := r.secrets.store.View(ctx, func(v *store.Snap) error {
		left = left[:0]
		return r.secrets.jobs.Walk(ctx, v, func(j *RotationJob) error {
			if j.Claim != nil && j.Claim.Node == node {
				left = append(left, &Claimed{Job: *j})
			}
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("list claims: %w", err)
	}
	for _, claimed := range left {
		if err := r.Release(ctx, now, claimed); err != nil {
			return fmt.Errorf("give back a claim: %w", err)
		}
	}
	return nil
}

// Release gives a claim back whose step was not run, or not to its end, to be claimed
// again from then on.
func (r *Rotations) Release(ctx context.Context, from time.Time, claimed *Claimed) error {
	s := r.secrets
	_, err := s.store.Update(ctx, func(tx *store.Tx) error {
		j0 := &claimed.Job
		sec := s.byUID(tx.Snap, scopeOf(j0.Account, j0.Region), j0.UID)
		if sec == nil {
			return nil
		}
		held, ok := s.jobs.Get(tx.Snap, jobKey(sec))
		if !ok || held.Claim == nil || held.Claim.Token != j0.Claim.Token {
			return nil
		}
		j := *held
		j.Claim, j.NotBefore = nil, InstantOf(from)
		s.secrets.Guard(tx, secretKey(sec))
		s.jobs.Put(tx, jobKey(sec), &j)
		return nil
	})
	return err
}

// advance goes to the next step; a rehearsal without one waits.
func (j *RotationJob) advance(now time.Time) {
	steps := j.Kind.steps()
	next := slices.Index(steps, j.Step) + 1
	if next == len(steps) {
		j.Step, j.NotBefore = StepFinish, 0
		return
	}
	j.Step, j.NotBefore = steps[next], InstantOf(now)
}

// The pauses after failures: minutes at first, then long enough that a database that is
// down for a day is not stormed.
const (
	firstRetry = time.Minute
	lastRetry  = time.Hour
)

// retryAfter is the pause after so many failures.
func retryAfter(attempt int) time.Duration {
	return min(lastRetry, firstRetry<<min(attempt-1, 10))
}

// finished ends a job if its step has ended it, and reports how.
func (s *Service) finished(ctx context.Context, tx *store.Tx, sec *Secret, j *RotationJob, run StepRun, now time.Time, emit func(call.ServiceEvent)) (RotationOutcome, error) {
	ver := sec.version(j.VersionID)
	current := ver != nil && slices.Contains(ver.Stages, stageCurrent)
	switch {
	case j.Kind == TestRotation:
		event, outcome := rotationEvent(sec, j, eventTestSucceeded, ""), Succeeded
		if run.Error != "" {
			event, outcome = rotationEvent(sec, j, eventTestFailed, run.Error), Failed
		}
		emit(event)
		if sec.pending(j.VersionID) {
			detach(sec.Versions, stagePending)
		}
		return outcome, s.endJob(ctx, tx, sec, j, outcome, now)
	case current && j.Step == StepFinish && run.Error == "":
		return Succeeded, s.succeed(ctx, tx, sec, j, now, emit)
	case !current && !sec.pending(j.VersionID):
		emit(rotationEvent(sec, j, eventRotationAbandoned, ""))
		return Abandoned, s.endJob(ctx, tx, sec, j, Abandoned, now)
	}
	return 0, nil
}

// settle ends a job whose version has lost AWSPENDING while nobody ran a step.
func (s *Service) settle(ctx context.Context, tx *store.Tx, sec *Secret, j *RotationJob, now time.Time, emit func(call.ServiceEvent)) error {
	if v := sec.version(j.VersionID); v != nil && slices.Contains(v.Stages, stageCurrent) {
		return s.succeed(ctx, tx, sec, j, now, emit)
	}
	emit(rotationEvent(sec, j, eventRotationAbandoned, ""))
	return s.endJob(ctx, tx, sec, j, Abandoned, now)
}

func (s *Service) succeed(ctx context.Context, tx *store.Tx, sec *Secret, j *RotationJob, now time.Time, emit func(call.ServiceEvent)) error {
	emit(rotationEvent(sec, j, eventRotationSucceeded, ""))
	if sec.Rotation != nil {
		r := *sec.Rotation
		r.Last, r.Missed = InstantOf(now), 0
		// One that the schedule began counts from the opening of its window, as was planned
		// when it began.
		if r.Enabled && InstantOf(now) > j.Window {
			r.rotated(sec.UID, now)
		}
		sec.Rotation = &r
	}
	sec.Changed = InstantOf(now)
	return s.endJob(ctx, tx, sec, j, Succeeded, now)
}

// endJob puts sec, a clone, and moves its job to the history.
func (s *Service) endJob(ctx context.Context, tx *store.Tx, sec *Secret, j *RotationJob, outcome RotationOutcome, now time.Time) error {
	past, err := s.history(ctx, tx.Snap, sec)
	if err != nil {
		return err
	}
	s.put(tx, sec)
	s.histories.Put(tx, historyKey(sec), remember(past, j.past(outcome, InstantOf(now))))
	s.jobs.Delete(tx, jobKey(sec))
	return nil
}

// RotationBacklog is how the rotations of all accounts are doing. Each number is counted
// up to a bound.
type RotationBacklog struct {
	Waiting int // scheduled, due and not begun
	Running int // with a claim
	Failing int // failed and to be tried again
	// Oldest is how long the one that has waited longest has been due.
	Oldest time.Duration
}

// maxBacklog bounds what Backlog counts.
const maxBacklog = 1000

// Backlog looks at the rotations that are due or under way.
func (r *Rotations) Backlog(v *store.Snap, now time.Time) (b RotationBacklog) {
	late := func(at Instant) {
		if d := now.Sub(at.Time()); d > b.Oldest {
			b.Oldest = d
		}
	}
	r.secrets.secrets.Ascend(v, indexRotation, "", func(at string, sec *Secret) bool {
		if at > InstantOf(now).orderKey() || b.Waiting == maxBacklog {
			return false
		}
		b.Waiting++
		late(sec.Rotation.Start)
		return true
	})
	seen := 0
	r.secrets.jobs.Ascend(v, indexRotating, "", func(_ string, j *RotationJob) bool {
		switch {
		case j.Claim != nil:
			b.Running++
		case j.Attempt > 0:
			b.Failing++
			late(j.Started)
		case j.NotBefore <= InstantOf(now):
			late(j.NotBefore)
		}
		seen++
		return seen < maxBacklog
	})
	return b
}
