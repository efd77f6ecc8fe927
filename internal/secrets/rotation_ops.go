package secrets

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"arca/internal/api/arcaapi"
	"arca/internal/call"
	"arca/internal/paging"
	"arca/internal/policy"
	"arca/internal/schedule"
	"arca/internal/store"
)

// The operations of this file are Arca's own, for what AWS shows nowhere: how a rotation
// is doing, step by step, and what can be done about it. They are decided by the actions
// of Secrets Manager that show or change as much: DescribeSecret, ListSecrets,
// RotateSecret and UpdateSecretVersionStage.

// The states of a rotation in answers.
const (
	stateOff       = "off"       // cancelled
	stateIdle      = "idle"      // waits for its schedule, or for somebody
	stateWaiting   = "waiting"   // a step is due
	stateRunning   = "running"   // a step runs
	stateFailing   = "failing"   // the last step failed and is tried again
	stateRehearsed = "rehearsed" // all but finishSecret has been done
)

// kindText is the kind of a job in answers.
func (k RotationKind) kindText() string {
	switch k {
	case TestRotation:
		return "test"
	case Rehearsal:
		return "rehearsal"
	}
	return "rotation"
}

// rotationSummary is what a list tells of the rotation of a secret.
func (s *Service) rotationSummary(v *store.Snap, sec *Secret, now time.Time) arcaapi.RotationSummary {
	r := sec.Rotation
	last, next := r.dates()
	out := arcaapi.RotationSummary{
		ARN: new(sec.ARN()), Name: &sec.Name, RotationEnabled: &r.Enabled, RotationLambdaARN: &r.LambdaARN,
		LastRotatedDate: last, NextRotationDate: next, State: new(stateIdle),
	}
	if sch, err := schedule.Parse(r.Rules.schedule()); err == nil {
		out.Schedule = new(sch.String())
	}
	if !r.Enabled {
		out.State = new(stateOff)
	}
	j, ok := s.jobs.Get(v, jobKey(sec))
	if !ok {
		if at, due := sec.rotationDue(); due && at <= InstantOf(now) {
			out.State, out.Step = new(stateWaiting), new(string(StepCreate))
		}
		return out
	}
	out.Step = new(string(j.Step))
	switch {
	case j.Claim != nil:
		out.State = new(stateRunning)
	case j.NotBefore == 0:
		out.State = new(stateRehearsed)
	case j.Attempt > 0:
		out.State, out.Failures, out.NextTryDate = new(stateFailing), new(int32(j.Attempt)), j.NotBefore.pointer()
	default:
		out.State = new(stateWaiting)
	}
	if n := len(j.Runs); n > 0 && j.Runs[n-1].Error != "" {
		out.LastError = new(lastLine(j.Runs[n-1]))
	}
	return out
}

// lastLine is the last thing that a failed step said.
func lastLine(r StepRun) string {
	text := strings.TrimSpace(r.Output)
	if at := strings.LastIndexByte(text, '\n'); at >= 0 {
		text = text[at+1:]
	}
	if text == "" {
		return r.Error
	}
	return text
}

// maxLooked bounds the secrets that one page of ListRotations looks at.
const maxLooked = 2000

// ListRotations lists the secrets of the caller's account and region that rotate, by name.
func (s *Service) ListRotations(ctx context.Context, c *call.Call, in *arcaapi.ListRotationsInput) (*arcaapi.ListRotationsOutput, error) {
	if err := c.Authorize(ctx, &call.Check{Action: "secretsmanager:ListSecrets", Resource: "*"}); err != nil {
		return nil, err
	}
	scope := scopeOf(c.Caller.Account, c.Region)
	question := paging.QuestionOf("arca", "ListRotations", scope, strconv.FormatBool(isTrue(in.Failing)))
	after := ""
	if in.NextToken != nil {
		var err error
		if after, err = paging.Open(s.store, question, *in.NextToken); errors.Is(err, paging.ErrToken) {
			return nil, arcaapi.InvalidParameterException.Errorf("The NextToken value is invalid.")
		} else if err != nil {
			return nil, err
		}
	}
	limit := pageSize(in.MaxResults, listPageSize)
	var out *arcaapi.ListRotationsOutput
	next := ""
	err := s.store.View(ctx, func(v *store.Snap) error {
		out, next = &arcaapi.ListRotationsOutput{Rotations: []arcaapi.RotationSummary{}}, ""
		looked, last := 0, ""
		prefix := nameKey(scope, "")
		s.secrets.Ascend(v, indexRotated, prefix+after, func(key string, sec *Secret) bool {
			name, ok := strings.CutPrefix(key, prefix)
			switch {
			case !ok:
				return false
			case name == after:
				return true
			case len(out.Rotations) == limit || looked == maxLooked:
				next = last
				return false
			}
			looked++
			last = name
			if e := s.rotationSummary(v, sec, c.Now); !isTrue(in.Failing) || *e.State == stateFailing {
				out.Rotations = append(out.Rotations, e)
			}
			return true
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	out.NextToken, err = sealPageToken(s.store, question, next)
	return out, err
}

// DescribeRotation tells how the rotation of a secret is doing, and how the last ones
// went, newest first.
func (s *Service) DescribeRotation(ctx context.Context, c *call.Call, in *arcaapi.DescribeRotationInput) (*arcaapi.DescribeRotationOutput, error) {
	var out *arcaapi.DescribeRotationOutput
	err := s.store.View(ctx, func(v *store.Snap) error {
		sec, err := s.load(ctx, c, v, "DescribeSecret", in.SecretId)
		if err != nil {
			return err
		}
		if sec.Rotation == nil {
			return errNeverRotated()
		}
		out = &arcaapi.DescribeRotationOutput{Summary: new(s.rotationSummary(v, sec, c.Now)), Rotations: []arcaapi.Rotation{}}
		if j, ok := s.jobs.Get(v, jobKey(sec)); ok {
			out.Current = new(wireRotation(j.past(0, 0)))
		}
		past, err := s.history(ctx, v, sec)
		if err != nil {
			return err
		}
		for _, p := range slices.Backward(past) {
			out.Rotations = append(out.Rotations, wireRotation(p))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func errNeverRotated() error {
	return arcaapi.InvalidRequestException.Errorf("Rotation was never set up for this secret.")
}

func wireRotation(p PastRotation) arcaapi.Rotation {
	out := arcaapi.Rotation{
		RotationId: new(dashed(p.ID)), Kind: new(p.Kind.kindText()), VersionId: &p.VersionID, RotationLambdaARN: &p.LambdaARN,
		StartedDate: p.Started.pointer(), StartedBy: nonEmpty(p.StartedBy), EndedDate: p.Ended.pointer(), Steps: []arcaapi.RotationStep{},
	}
	if p.Outcome != 0 {
		out.Outcome = new(p.Outcome.String())
	}
	for _, r := range p.Runs {
		out.Steps = append(out.Steps, arcaapi.RotationStep{
			Step: new(string(r.Step)), StartedDate: r.Started.pointer(), DurationMillis: &r.Millis,
			Error: nonEmpty(r.Error), Output: nonEmpty(r.Output), RequestId: nonEmpty(r.RequestID),
		})
	}
	return out
}

// changeRotation loads a secret whose rotation somebody changes. sec is a clone that fn
// may change and that is put afterwards; j is a copy of its job, nil without one.
func (s *Service) changeRotation(ctx context.Context, c *call.Call, action, secretID string, fn func(tx *store.Tx, sec *Secret, j *RotationJob) error, keys ...policy.ContextKey) (sec *Secret, err error) {
	err = c.Update(ctx, s.store, func(tx *store.Tx) error {
		held, err := s.loadUsable(ctx, c, tx.Snap, action, secretID, keys...)
		if err != nil {
			return err
		}
		if held.Rotation == nil {
			return errNeverRotated()
		}
		sec = held.clone()
		j, _ := s.jobs.Get(tx.Snap, jobKey(sec))
		if j != nil {
			j = new(*j)
		}
		if err := fn(tx, sec, j); err != nil {
			return err
		}
		s.put(tx, sec)
		return nil
	})
	return sec, err
}

// RetryRotation lets a rotation go on now: with the step that failed, with finishSecret
// after a rehearsal, or from the beginning with a version that was left pending.
func (s *Service) RetryRotation(ctx context.Context, c *call.Call, in *arcaapi.RetryRotationInput) (*arcaapi.RetryRotationOutput, error) {
	id := newJobID()
	version := ""
	sec, err := s.changeRotation(ctx, c, "RotateSecret", in.SecretId, func(tx *store.Tx, sec *Secret, j *RotationJob) error {
		if !sec.Rotation.Enabled {
			return errSwitchedOff()
		}
		if err := s.checkFunction(ctx, c, tx.Snap, sec); err != nil {
			return err
		}
		switch left := sec.unfinished(); {
		case j != nil && j.Claim != nil:
			return errStepRuns()
		case j != nil && sec.pending(j.VersionID):
			if j.Kind == Rehearsal && j.Step == StepFinish {
				j.Kind = Rotate
			}
			j.Attempt, j.NotBefore = 0, InstantOf(c.Now)
			s.jobs.Put(tx, jobKey(sec), j)
			version = j.VersionID
		case left != nil:
			started, event := s.startJob(tx, sec, Rotate, left, id, c.Caller.ARN, c.Now)
			c.ServiceEvent(event)
			version = started.VersionID
		default:
			return arcaapi.InvalidRequestException.Errorf("No rotation of this secret is under way. Start one with RotateSecret.")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &arcaapi.RetryRotationOutput{ARN: new(sec.ARN()), Name: &sec.Name, VersionId: &version}, nil
}

func errSwitchedOff() error {
	return arcaapi.InvalidRequestException.Errorf("Rotation of this secret is switched off. RotateSecret switches it on.")
}

func errStepRuns() error {
	return arcaapi.InvalidRequestException.Errorf("A step of the rotation is running.")
}

// RehearseRotation runs a rotation up to the test of the new value and leaves the current
// one alone. RetryRotation finishes it, DropRotation ends it.
func (s *Service) RehearseRotation(ctx context.Context, c *call.Call, in *arcaapi.RehearseRotationInput) (*arcaapi.RehearseRotationOutput, error) {
	id := newJobID()
	token := text(in.ClientRequestToken)
	sec, err := s.changeRotation(ctx, c, "RotateSecret", in.SecretId, func(tx *store.Tx, sec *Secret, j *RotationJob) error {
		if !sec.Rotation.Enabled {
			return errSwitchedOff()
		}
		if err := s.checkFunction(ctx, c, tx.Snap, sec); err != nil {
			return err
		}
		switch {
		case token == "":
			return arcaapi.InvalidParameterException.Errorf("You must provide a ClientRequestToken value. We recommend a UUID-type value.")
		case j != nil && j.VersionID == token:
			return nil // a repeat
		case sec.version(token) != nil:
			return arcaapi.InvalidRequestException.Errorf("The ClientRequestToken is the id of a version of this secret already.")
		case j != nil || sec.unfinished() != nil:
			return arcaapi.InvalidRequestException.Errorf("A rotation of this secret is under way.")
		}
		if err := s.addPending(ctx, tx, c, sec, token, Rehearsal); err != nil {
			return err
		}
		_, event := s.startJob(tx, sec, Rehearsal, sec.version(token), id, c.Caller.ARN, c.Now)
		c.ServiceEvent(event)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &arcaapi.RehearseRotationOutput{ARN: new(sec.ARN()), Name: &sec.Name, VersionId: &token}, nil
}

// DropRotation ends a rotation that is under way: its version loses AWSPENDING. What its
// function has done to a database stays.
func (s *Service) DropRotation(ctx context.Context, c *call.Call, in *arcaapi.DropRotationInput) (*arcaapi.DropRotationOutput, error) {
	sec, err := s.changeRotation(ctx, c, "RotateSecret", in.SecretId, func(tx *store.Tx, sec *Secret, j *RotationJob) error {
		switch {
		case j == nil && sec.unfinished() == nil:
			return arcaapi.InvalidRequestException.Errorf("No rotation of this secret is under way.")
		case j != nil && j.Claim != nil && j.Claim.Deadline > InstantOf(c.Now):
			return errStepRuns()
		}
		if sec.unfinished() != nil {
			detach(sec.Versions, stagePending)
		}
		sec.Changed = InstantOf(c.Now)
		if j == nil {
			return nil
		}
		c.ServiceEvent(rotationEvent(sec, j, eventRotationAbandoned, ""))
		return s.endJob(ctx, tx, sec, j, Dropped, c.Now)
	})
	if err != nil {
		return nil, err
	}
	return &arcaapi.DropRotationOutput{ARN: new(sec.ARN()), Name: &sec.Name}, nil
}

// RollBackRotation makes the previous version the current one again. It changes no
// database: where two users alternate, the previous credential still works; that of a
// single user does not. A repeat with the same token changes nothing.
func (s *Service) RollBackRotation(ctx context.Context, c *call.Call, in *arcaapi.RollBackRotationInput) (*arcaapi.RollBackRotationOutput, error) {
	id := text(in.ClientRequestToken)
	if id == "" {
		id = newJobID()
	}
	version := ""
	sec, err := s.changeRotation(ctx, c, "UpdateSecretVersionStage", in.SecretId, func(tx *store.Tx, sec *Secret, j *RotationJob) error {
		past, err := s.history(ctx, tx.Snap, sec)
		if err != nil {
			return err
		}
		if n := len(past); n > 0 && past[n-1].ID == id {
			version = past[n-1].VersionID
			return nil
		}
		if j != nil {
			return arcaapi.InvalidRequestException.Errorf("A rotation of this secret is under way. Drop it first.")
		}
		previous := sec.holder(stagePrevious)
		if previous == nil || previous.Kind == NoValue {
			return arcaapi.InvalidRequestException.Errorf("The secret has no previous value.")
		}
		version = previous.ID
		promote(sec.Versions, previous)
		sec.Changed = InstantOf(c.Now)
		done := &RotationJob{ID: id, Kind: Rotate, VersionID: version, LambdaARN: sec.Rotation.LambdaARN, Started: InstantOf(c.Now), StartedBy: c.Caller.ARN}
		s.histories.Put(tx, historyKey(sec), remember(past, done.past(RolledBack, InstantOf(c.Now))))
		return nil
	}, contextKey("secretsmanager:VersionStage", stageCurrent))
	if err != nil {
		return nil, err
	}
	return &arcaapi.RollBackRotationOutput{ARN: new(sec.ARN()), Name: &sec.Name, VersionId: &version}, nil
}

// registerRotation makes the dispatcher serve Arca's own operations about rotation.
func (s *Service) registerRotation(d *call.Dispatcher) {
	call.Register(d, arcaapi.OpDescribeRotation, s.DescribeRotation)
	call.Register(d, arcaapi.OpDropRotation, s.DropRotation)
	call.Register(d, arcaapi.OpListRotations, s.ListRotations)
	call.Register(d, arcaapi.OpRehearseRotation, s.RehearseRotation)
	call.Register(d, arcaapi.OpRetryRotation, s.RetryRotation)
	call.Register(d, arcaapi.OpRollBackRotation, s.RollBackRotation)
}
