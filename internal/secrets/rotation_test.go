package secrets_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api"
	"arca/internal/api/arcaapi"
	"arca/internal/api/smapi"
	"arca/internal/audit"
	"arca/internal/call"
	"arca/internal/secrets"
	"arca/internal/store"
)

const (
	rotatorARN = "arn:aws:lambda:eu-west-1:123456789012:function:rotator"
	missingARN = "arn:aws:lambda:eu-west-1:123456789012:function:missing"
)

// withFunction lets every function but missingARN be invoked.
func withFunction(cfg *secrets.Config) {
	cfg.Function = func(_ context.Context, _ *call.Call, _ *store.Snap, functionARN, _ string) error {
		if functionARN == missingARN {
			return secrets.ErrFunction
		}
		return nil
	}
}

// rotator is an engine and its functions in one: it runs steps one by one as the
// functions of AWS's templates do.
type rotator struct {
	b *bed
	r *secrets.Rotations
	// fail makes so many runs of a step fail.
	fail map[secrets.RotationStep]int
	// before runs before a step.
	before func(step secrets.RotationStep)
	// keepCurrent makes finishSecret end well without having moved AWSCURRENT.
	keepCurrent bool
	// keepPending leaves AWSPENDING on the new current version, as older templates do.
	keepPending bool
	steps       []string
}

func (b *bed) rotator() *rotator {
	return &rotator{b: b, r: secrets.NewRotations(b.svc, b.dispatcher), fail: make(map[secrets.RotationStep]int)}
}

func lease(string) time.Duration { return time.Minute }

func none(string) bool { return false }

func (x *rotator) claim(t testing.TB) *secrets.Claimed {
	t.Helper()
	c, err := x.r.Claim(context.Background(), x.b.now, "node", lease, none)
	if err != nil {
		t.Fatalf("Claim: %v", err)
	}
	return c
}

// run does everything that is due.
func (x *rotator) run(t testing.TB) {
	t.Helper()
	if err := x.try(); err != nil {
		t.Fatal(err)
	}
}

func (x *rotator) try() error {
	ctx := context.Background()
	if _, err := x.r.Begin(ctx, x.b.now, 100); err != nil {
		return err
	}
	for {
		c, err := x.r.Claim(ctx, x.b.now, "node", lease, none)
		if err != nil || c == nil {
			return err
		}
		run := secrets.StepRun{Step: c.Job.Step, Started: secrets.InstantOf(x.b.now), Output: "ran " + string(c.Job.Step)}
		if err := x.step(c); err != nil && !errors.Is(err, errStep) {
			return err // as if the process had ended in the middle
		} else if err != nil {
			run.Error, run.Output = c.Job.FailureText(), err.Error()
		}
		x.r.Redact(ctx, c, &run.Output)
		if _, err := x.r.Settle(ctx, x.b.now, c, run); err != nil {
			return err
		}
	}
}

// errStep is what a function fails with on purpose.
var errStep = errors.New("step failed")

// step is the function.
func (x *rotator) step(c *secrets.Claimed) error {
	x.steps = append(x.steps, string(c.Job.Step))
	if x.before != nil {
		x.before(c.Job.Step)
	}
	if x.fail[c.Job.Step] > 0 {
		x.fail[c.Job.Step]--
		return errStep
	}
	id := c.Job.VersionID
	switch c.Job.Step {
	case secrets.StepCreate:
		if _, err := x.b.call(smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: c.SecretARN, VersionId: &id, VersionStage: new("AWSPENDING")}); err == nil {
			return nil
		}
		_, err := x.b.call(smapi.OpPutSecretValue, &smapi.PutSecretValueInput{
			SecretId: c.SecretARN, ClientRequestToken: &id, SecretString: new(api.SensitiveString("value " + id)),
			VersionStages: []string{"AWSPENDING"}, RotationToken: new(api.SensitiveString(c.Token)),
		})
		return err
	case secrets.StepFinish:
		if x.keepCurrent {
			return nil
		}
		d, err := x.b.call(smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: c.SecretARN})
		if err != nil {
			return err
		}
		current := ""
		for v, stages := range d.(*smapi.DescribeSecretOutput).VersionIdsToStages {
			if slices.Contains(stages, "AWSCURRENT") {
				current = v
			}
		}
		if current != id {
			in := &smapi.UpdateSecretVersionStageInput{SecretId: c.SecretARN, VersionStage: "AWSCURRENT", MoveToVersionId: &id}
			if current != "" {
				in.RemoveFromVersionId = &current
			}
			if _, err := x.b.call(smapi.OpUpdateSecretVersionStage, in); err != nil {
				return err
			}
		}
		if !x.keepPending {
			in := &smapi.UpdateSecretVersionStageInput{SecretId: c.SecretARN, VersionStage: "AWSPENDING", RemoveFromVersionId: &id}
			if _, err := x.b.call(smapi.OpUpdateSecretVersionStage, in); err != nil && current != id {
				return err
			}
		}
	}
	return nil
}

func allSteps(times int) (steps []string) {
	for range times {
		steps = append(steps, "createSecret", "setSecret", "testSecret", "finishSecret")
	}
	return steps
}

func rotate(id string, n int, set ...func(*smapi.RotateSecretInput)) *smapi.RotateSecretInput {
	in := &smapi.RotateSecretInput{SecretId: id, ClientRequestToken: token(n), RotationLambdaARN: new(rotatorARN)}
	for _, s := range set {
		s(in)
	}
	return in
}

func everyDays(n int64) func(*smapi.RotateSecretInput) {
	return func(in *smapi.RotateSecretInput) {
		in.RotationRules = &smapi.RotationRulesType{AutomaticallyAfterDays: &n}
	}
}

func later(in *smapi.RotateSecretInput) { in.RotateImmediately = new(false) }

// rotationEvents are the names and error texts of the service events of rotations.
func (b *bed) rotationEvents(t testing.TB) (events []string) {
	t.Helper()
	err := audit.Scan(context.Background(), b.logDir, 0, func(_ uint64, line []byte) error {
		var r struct{ EventName, ErrorMessage, EventType string }
		if err := json.Unmarshal(line, &r); err != nil {
			return err
		}
		if r.EventType == "AwsServiceEvent" && strings.Contains(r.EventName, "Rotation") {
			events = append(events, strings.TrimSpace(r.EventName+" "+r.ErrorMessage))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func TestRotateSecret(t *testing.T) {
	b := newBed(t, withFunction)
	defer b.check(t)
	created := b.create(t, "s")
	x := b.rotator()
	out := must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate("s", 2, everyDays(30)))
	if diff := cmp.Diff(&smapi.RotateSecretOutput{ARN: created.ARN, Name: new("s"), VersionId: token(2)}, out); diff != "" {
		t.Errorf("RotateSecret (-want +got):\n%s", diff)
	}
	// Templates refuse to run unless they see this before the first step.
	d := b.describe(t, "s")
	if d.RotationEnabled == nil || !*d.RotationEnabled || d.LastRotatedDate != nil || d.NextRotationDate == nil {
		t.Errorf("before the first step: %+v", d)
	}
	if got, want := b.labels(t, "s"), "1:AWSCURRENT 2:AWSPENDING"; got != want {
		t.Errorf("labels = %s, want %s", got, want)
	}
	refused(t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: "s", VersionStage: new("AWSPENDING")},
		"ResourceNotFoundException: Secrets Manager can't find the specified secret value for staging label: AWSPENDING")
	// A repeat changes nothing, another call has to wait.
	must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate("s", 2, everyDays(30)))
	refused(t, b, smapi.OpRotateSecret, rotate("s", 3), "InvalidRequestException: A previous rotation isn't complete. That rotation will be reattempted.")

	x.run(t)
	if diff := cmp.Diff(allSteps(1), x.steps); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if got, want := b.labels(t, "s"), "1:AWSPREVIOUS 2:AWSCURRENT"; got != want {
		t.Errorf("labels = %s, want %s", got, want)
	}
	d = b.describe(t, "s")
	next := bedStart.AddDate(0, 0, 31).Truncate(24 * time.Hour).Add(-time.Second)
	if !d.LastRotatedDate.Equal(b.now) || !d.NextRotationDate.Equal(next) || *d.RotationRules.AutomaticallyAfterDays != 30 {
		t.Errorf("after the rotation: last %v, next %v (want %v), rules %+v", d.LastRotatedDate, d.NextRotationDate, next, d.RotationRules)
	}
	if diff := cmp.Diff([]string{"RotationStarted", "RotationSucceeded"}, b.rotationEvents(t)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	// A repeat of a call whose rotation has ended is still one.
	must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate("s", 2))
	x.run(t)
	if len(x.steps) != 4 {
		t.Errorf("a repeat rotated again: %v", x.steps)
	}
}

// The schedule rotates by itself, once in each window, with whatever the clock does.
func TestRotationBySchedule(t *testing.T) {
	b := newBed(t, withFunction)
	defer b.check(t)
	b.create(t, "s")
	x := b.rotator()
	x.keepPending = true
	must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate("s", 2, everyDays(1)))
	x.run(t)
	for day := 1; day <= 3; day++ {
		b.now = bedStart.AddDate(0, 0, day).Truncate(24 * time.Hour).Add(20 * time.Hour)
		x.run(t)
		x.run(t)
		if diff := cmp.Diff(allSteps(1+day), x.steps); diff != "" {
			t.Fatalf("steps by day %d (-want +got):\n%s", day, diff)
		}
	}
	// Days that were missed are not made up for.
	b.now = b.now.AddDate(0, 0, 20)
	x.run(t)
	x.run(t)
	if diff := cmp.Diff(allSteps(5), x.steps); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

// A value made by hand counts as a rotation.
func TestRotationAfterValueByHand(t *testing.T) {
	b := newBed(t, withFunction)
	defer b.check(t)
	b.create(t, "s")
	x := b.rotator()
	must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate("s", 2, everyDays(10)))
	x.run(t)
	before := *b.describe(t, "s").NextRotationDate
	b.now = b.now.AddDate(0, 0, 5)
	b.put(t, "s", 3)
	if got := *b.describe(t, "s").NextRotationDate; !got.Equal(before.AddDate(0, 0, 5)) {
		t.Errorf("next rotation %v, want %v", got, before.AddDate(0, 0, 5))
	}
}

func TestRotateSecretRefusals(t *testing.T) {
	b := newBed(t, withFunction)
	defer b.check(t)
	b.create(t, "s")
	both := func(in *smapi.RotateSecretInput) {
		in.RotationRules = &smapi.RotationRulesType{AutomaticallyAfterDays: new(int64(1)), ScheduleExpression: new("rate(1 day)")}
	}
	expression := func(e string) func(*smapi.RotateSecretInput) {
		return func(in *smapi.RotateSecretInput) { in.RotationRules = &smapi.RotationRulesType{ScheduleExpression: &e} }
	}
	for _, tc := range []struct {
		name string
		in   *smapi.RotateSecretInput
		want string
	}{
		{"no token", rotate("s", 2, func(in *smapi.RotateSecretInput) { in.ClientRequestToken = nil }),
			"InvalidParameterException: You must provide a ClientRequestToken value. We recommend a UUID-type value."},
		{"no function", rotate("s", 2, func(in *smapi.RotateSecretInput) { in.RotationLambdaARN = nil }),
			"InvalidRequestException: No Lambda rotation function ARN is associated with this secret."},
		{"missing function", rotate("s", 2, func(in *smapi.RotateSecretInput) { in.RotationLambdaARN = new(missingARN) }),
			"AccessDeniedException: Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants access to the principal secretsmanager.amazonaws.com."},
		{"both rules", rotate("s", 2, both), "InvalidParameterException: You cannot specify both rotation frequency and schedule expression together."},
		{"too often", rotate("s", 2, expression("rate(1 hour)")), "InvalidParameterException: ScheduleExpression rate() must be between 4 hours and 999 days."},
		{"external", rotate("s", 2, func(in *smapi.RotateSecretInput) {
			in.ExternalSecretRotationRoleArn = new("arn:aws:iam::123456789012:role/r")
		}),
			"InvalidRequestException: ExternalSecretRotationRoleArn is not supported by this server."},
		{"token in use", rotate("s", 1), "InvalidRequestException: You can't use ClientRequestToken " + *token(1) + " because that value is already in use for a version of secret " + *b.describe(t, "s").ARN + "."},
		{"no secret", rotate("none", 2), noSecret},
	} {
		t.Run(tc.name, func(t *testing.T) { refused(t, b, smapi.OpRotateSecret, tc.in, tc.want) })
	}
	// Nothing of all that is kept.
	if d := b.describe(t, "s"); d.RotationEnabled != nil || d.RotationRules != nil || d.RotationLambdaARN != nil || len(d.VersionIdsToStages) != 1 {
		t.Errorf("a refused operation left traces: %+v", d)
	}
	b.schedule(t, "s")
	refused(t, b, smapi.OpRotateSecret, rotate("s", 2), wasScheduled)
}

// The label tells whether a rotation has succeeded, not the function.
func TestFinishWithoutMoving(t *testing.T) {
	b := newBed(t, withFunction)
	defer b.check(t)
	b.create(t, "s")
	x := b.rotator()
	x.keepCurrent = true
	must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate("s", 2))
	x.run(t)
	sum := must[arcaapi.DescribeRotationOutput](t, b, arcaapi.OpDescribeRotation, &arcaapi.DescribeRotationInput{SecretId: "s"}).Summary
	if want := "finishSecret has ended, and AWSCURRENT is not on version " + *token(2); *sum.State != "failing" || *sum.LastError != want {
		t.Errorf("state %s, last error %v; want failing, %q", *sum.State, sum.LastError, want)
	}
	x.keepCurrent = false
	b.now = b.now.Add(time.Minute)
	x.run(t)
	if got, want := b.labels(t, "s"), "1:AWSPREVIOUS 2:AWSCURRENT"; got != want {
		t.Errorf("labels = %s, want %s", got, want)
	}
	failed := "RotationFailed Error when executing lambda " + rotatorARN + " during finishSecret step"
	if diff := cmp.Diff([]string{"RotationStarted", failed, "RotationSucceeded"}, b.rotationEvents(t)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// A step that fails is tried again after a pause, from there on.
func TestRotationRetries(t *testing.T) {
	b := newBed(t, withFunction)
	defer b.check(t)
	b.create(t, "s")
	x := b.rotator()
	x.fail[secrets.StepTest] = 3
	must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate("s", 2))
	for _, pause := range []time.Duration{0, time.Minute, 2 * time.Minute, 4 * time.Minute} {
		if pause > 0 {
			b.now = b.now.Add(pause - time.Second)
			n := len(x.steps)
			x.run(t)
			if len(x.steps) != n {
				t.Errorf("tried again before %v had passed", pause)
			}
			b.now = b.now.Add(time.Second)
		}
		x.run(t)
	}
	want := []string{"createSecret", "setSecret", "testSecret", "testSecret", "testSecret", "testSecret", "finishSecret"}
	if diff := cmp.Diff(want, x.steps); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	failed := "RotationFailed Error when executing lambda " + rotatorARN + " during testSecret step"
	if diff := cmp.Diff([]string{"RotationStarted", failed, failed, failed, "RotationSucceeded"}, b.rotationEvents(t)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// A new value made by hand in the middle ends the rotation, also while a step runs.
func TestRotationAbandoned(t *testing.T) {
	for _, step := range []secrets.RotationStep{secrets.StepSet, secrets.StepTest} {
		t.Run(string(step), func(t *testing.T) {
			b := newBed(t, withFunction)
			defer b.check(t)
			b.create(t, "s")
			x := b.rotator()
			x.before = func(s secrets.RotationStep) {
				if s == step {
					b.put(t, "s", 7)
				}
			}
			must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate("s", 2))
			x.run(t)
			if diff := cmp.Diff([]string{"RotationStarted", "RotationAbandoned"}, b.rotationEvents(t)); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			if got, want := b.labels(t, "s"), "1:AWSPREVIOUS 7:AWSCURRENT"; got != want {
				t.Errorf("labels = %s, want %s", got, want)
			}
			x.before = nil
			must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate("s", 3))
			x.run(t)
			if got, want := b.labels(t, "s"), "3:AWSCURRENT 7:AWSPREVIOUS"; got != want {
				t.Errorf("labels = %s, want %s", got, want)
			}
		})
	}
}

// While the pause after a failure lasts, a value made by hand settles it at once.
func TestRotationAbandonedBetweenTries(t *testing.T) {
	b := newBed(t, withFunction)
	defer b.check(t)
	b.create(t, "s")
	x := b.rotator()
	x.fail[secrets.StepSet] = 1
	must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate("s", 2))
	x.run(t)
	b.put(t, "s", 7)
	x.run(t)
	events := b.rotationEvents(t)
	if got := events[len(events)-1]; got != "RotationAbandoned" {
		t.Errorf("last event = %s", got)
	}
}

func TestTestRotation(t *testing.T) {
	for _, fails := range []bool{false, true} {
		t.Run(fmt.Sprintf("fails %v", fails), func(t *testing.T) {
			b := newBed(t, withFunction)
			defer b.check(t)
			b.create(t, "s")
			x := b.rotator()
			last := "TestRotationSucceeded"
			if fails {
				x.fail[secrets.StepTest] = 1
				last = "TestRotationFailed Error when executing lambda " + rotatorARN + " during testSecret step"
			}
			x.before = func(secrets.RotationStep) {
				got := must[smapi.GetSecretValueOutput](t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: "s", VersionStage: new("AWSPENDING")})
				if *got.SecretString != "value of s" {
					t.Errorf("the version under test holds %q", string(*got.SecretString))
				}
			}
			must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate("s", 2, everyDays(30), later))
			x.run(t)
			if diff := cmp.Diff([]string{"testSecret"}, x.steps); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			if got, want := b.labels(t, "s"), "1:AWSCURRENT"; got != want {
				t.Errorf("labels = %s, want %s", got, want)
			}
			if diff := cmp.Diff([]string{"TestRotationStarted", last}, b.rotationEvents(t)); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			d := b.describe(t, "s")
			if !*d.RotationEnabled || d.LastRotatedDate != nil || d.NextRotationDate == nil {
				t.Errorf("after the test: %+v", d)
			}
		})
	}
}

func TestCancelRotateSecret(t *testing.T) {
	b := newBed(t, withFunction)
	defer b.check(t)
	b.create(t, "s")
	x := b.rotator()
	in := &smapi.CancelRotateSecretInput{SecretId: "s"}
	refused(t, b, smapi.OpCancelRotateSecret, in, "InvalidRequestException: You can't cancel the rotation of a secret for which rotation was never configured.")
	refused(t, b, smapi.OpCancelRotateSecret, &smapi.CancelRotateSecretInput{SecretId: "none"}, noSecret)
	must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate("s", 2, everyDays(1)))
	x.fail[secrets.StepSet] = 1
	x.run(t)
	out := must[smapi.CancelRotateSecretOutput](t, b, smapi.OpCancelRotateSecret, in)
	if out.VersionId == nil || *out.VersionId != *token(2) {
		t.Errorf("CancelRotateSecret = %+v, want the version under way", out)
	}
	d := b.describe(t, "s")
	if *d.RotationEnabled || *d.RotationLambdaARN != rotatorARN || d.RotationRules == nil || d.NextRotationDate != nil {
		t.Errorf("after cancelling: %+v", d)
	}
	b.now = b.now.AddDate(0, 0, 3)
	n := len(x.steps)
	x.run(t)
	if len(x.steps) != n {
		t.Errorf("a step ran after cancelling: %v", x.steps)
	}
	// The version stays pending until somebody clears it; then rotation starts again.
	refused(t, b, smapi.OpRotateSecret, rotate("s", 3), "InvalidRequestException: A previous rotation isn't complete. That rotation will be reattempted.")
	must[smapi.UpdateSecretVersionStageOutput](t, b, smapi.OpUpdateSecretVersionStage, &smapi.UpdateSecretVersionStageInput{SecretId: "s", VersionStage: "AWSPENDING", RemoveFromVersionId: token(2)})
	must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, &smapi.RotateSecretInput{SecretId: "s", ClientRequestToken: token(3)})
	x.run(t)
	if got, want := b.labels(t, "s"), "1:AWSPREVIOUS 3:AWSCURRENT"; got != want {
		t.Errorf("labels = %s, want %s", got, want)
	}
}

// The token of a rotation serves its own version while it is under way, nothing else.
func TestRotationToken(t *testing.T) {
	b := newBed(t, withFunction)
	defer b.check(t)
	b.create(t, "s")
	b.create(t, "other")
	x := b.rotator()
	must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate("s", 2))
	c := x.claim(t)
	must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate("other", 2))
	const wrong = "InvalidParameterException: The RotationToken doesn't belong to a rotation of this secret."
	put := func(id string, n int, tok string) *smapi.PutSecretValueInput {
		return &smapi.PutSecretValueInput{SecretId: id, ClientRequestToken: token(n), SecretString: new(api.SensitiveString("v")),
			VersionStages: []string{"AWSPENDING"}, RotationToken: new(api.SensitiveString(tok))}
	}
	refused(t, b, smapi.OpPutSecretValue, put("other", 2, c.Token), wrong)
	refused(t, b, smapi.OpPutSecretValue, put("s", 3, c.Token), wrong)
	refused(t, b, smapi.OpPutSecretValue, put("s", 2, strings.Repeat("a", 64)), wrong)
	b.denies(t, "PutSecretValue")
	refused(t, b, smapi.OpPutSecretValue, put("s", 2, c.Token), denial("PutSecretValue"))
	b.refuse(nil)
	must[smapi.PutSecretValueOutput](t, b, smapi.OpPutSecretValue, put("s", 2, c.Token))
	b.now = b.now.Add(time.Hour) // the claims end
	x.run(t)
	refused(t, b, smapi.OpPutSecretValue, put("s", 2, c.Token), wrong)
}

// Of two that run the same step, because the first was paused, one result counts.
func TestClaimsEnd(t *testing.T) {
	b := newBed(t, withFunction)
	defer b.check(t)
	b.create(t, "s")
	x := b.rotator()
	must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate("s", 2))
	paused := x.claim(t)
	if second := x.claim(t); second != nil {
		t.Fatal("a step was claimed twice")
	}
	b.now = b.now.Add(time.Minute)
	successor := x.claim(t)
	if successor == nil || successor.Job.Step != secrets.StepCreate {
		t.Fatalf("the successor got %+v", successor)
	}
	settle := func(c *secrets.Claimed, text string) {
		t.Helper()
		if _, err := x.r.Settle(t.Context(), b.now, c, secrets.StepRun{Step: c.Job.Step, Error: text}); err != nil {
			t.Fatal(err)
		}
	}
	settle(paused, "too late")
	if err := x.step(successor); err != nil {
		t.Fatal(err)
	}
	settle(successor, "")
	settle(paused, "much too late")
	x.run(t)
	if diff := cmp.Diff([]string{"RotationStarted", "RotationSucceeded"}, b.rotationEvents(t)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// The claims of a process that has ended are given back when it starts again.
func TestResume(t *testing.T) {
	b := newBed(t, withFunction)
	defer b.check(t)
	b.create(t, "s")
	x := b.rotator()
	must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate("s", 2))
	dead := x.claim(t)
	for _, node := range []string{"another", "node"} {
		if err := x.r.Resume(t.Context(), b.now, node); err != nil {
			t.Fatal(err)
		}
		if c := x.claim(t); (c != nil) != (node == "node") {
			t.Errorf("after %s resumed: claimed %v", node, c != nil)
		}
	}
	if out, err := x.r.Settle(t.Context(), b.now, dead, secrets.StepRun{Step: dead.Job.Step}); err != nil || out != 0 {
		t.Errorf("a claim that was given back was settled: %v, %v", out, err)
	}
}

// Every commit of the engine can fail, and the rotation ends well.
func TestRotationEveryCommit(t *testing.T) {
	everyCommitWith(t, withFunction, func(t *testing.T, b *bed) {
		b.create(t, "s")
		must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate("s", 2, everyDays(30)))
	}, func(_ *testing.T, b *bed) error {
		b.now = b.now.Add(time.Hour) // whoever had a claim before has ended
		return b.rotator().try()
	}, func(t *testing.T, b *bed) {
		if got, want := b.labels(t, "s"), "1:AWSPREVIOUS 2:AWSCURRENT"; got != want {
			t.Errorf("labels = %s, want %s", got, want)
		}
		if err := b.dispatcher.Recover(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"RotationStarted", "RotationSucceeded"}, b.rotationEvents(t)); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

// What a function prints is kept without the secret.
func TestRedact(t *testing.T) {
	b := newBed(t, withFunction)
	defer b.check(t)
	value := api.SensitiveString(`{"engine":"postgres","host":"db.example.com","username":"app","password":"it's 100% s3cret/\"q","pin":20463,"ok":"yes"}`)
	b.create(t, "s", func(in *smapi.CreateSecretInput) { in.SecretString = &value })
	x := b.rotator()
	must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate("s", 2))
	c := x.claim(t)
	for _, tc := range []struct{ in, want string }{
		{`connect app@db.example.com: yes`, `connect app@db.example.com: yes`},
		{`password it's 100% s3cret/"q refused`, `password [REDACTED] refused`},
		{`ALTER USER app PASSWORD 'it''s 100% s3cret/"q'`, `ALTER USER app PASSWORD '[REDACTED]'`},
		{`{"password":"it's 100% s3cret/\"q"}`, `{"password":"[REDACTED]"}`},
		{`postgres://app:it%27s+100%25+s3cret%2F%22q@db`, `postgres://app:[REDACTED]@db`},
		{string(value), `[REDACTED]`},
		{`{'password': 'it\'s 100% s3cret/"q'}`, `{'password': '[REDACTED]'}`},
		{`pin 20463`, `pin [REDACTED]`},
		{`% s3cret/"q, cut off before`, `[REDACTED], cut off before`},
		{`cut off after it's 100% s3c`, `cut off after [REDACTED]`},
	} {
		got := tc.in
		x.r.Redact(t.Context(), c, &got)
		if got != tc.want {
			t.Errorf("Redact(%s) = %s, want %s", tc.in, got, tc.want)
		}
	}
}

// A long secret that is printed is not kept because the output was cut in its middle, and
// one of many parts does not keep the engine busy: then nothing is kept.
func TestRedactLongSecrets(t *testing.T) {
	b := newBed(t, withFunction)
	defer b.check(t)
	var lines strings.Builder
	for i := range 7000 {
		fmt.Fprintf(&lines, "%d\n", 700000+i)
	}
	key := lines.String()
	var parts []string
	for i := range 6000 {
		parts = append(parts, fmt.Sprintf("%d", 100000+i))
	}
	many, err := json.Marshal(parts)
	if err != nil {
		t.Fatal(err)
	}
	x := b.rotator()
	for name, tc := range map[string]struct{ value, in, want string }{
		"one":  {key, "a\n" + key + key + "\nb", "[REDACTED][REDACTED]\nb"},
		"many": {string(many), "the first is 100000", "[output withheld: the values of the secret could not be looked for]"},
	} {
		t.Run(name, func(t *testing.T) {
			value := api.SensitiveString(tc.value)
			b.create(t, name, func(in *smapi.CreateSecretInput) { in.SecretString = &value })
			must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate(name, 2))
			c := x.claim(t)
			got := tc.in
			if x.r.Redact(t.Context(), c, &got); got != tc.want {
				t.Errorf("Redact = %.200s, want %s", got, tc.want)
			}
		})
	}
}

// The value that a rotation makes is a secret also when somebody has taken its label
// meanwhile.
func TestRedactAbandoned(t *testing.T) {
	b := newBed(t, withFunction)
	defer b.check(t)
	b.create(t, "s")
	x := b.rotator()
	must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate("s", 2))
	c := x.claim(t)
	if err := x.step(c); err != nil {
		t.Fatal(err)
	}
	must[smapi.UpdateSecretVersionStageOutput](t, b, smapi.OpUpdateSecretVersionStage, &smapi.UpdateSecretVersionStageInput{
		SecretId: "s", VersionStage: "AWSPENDING", RemoveFromVersionId: &c.Job.VersionID,
	})
	got := "made value " + c.Job.VersionID
	if x.r.Redact(t.Context(), c, &got); got != "made [REDACTED]" {
		t.Errorf("Redact = %s", got)
	}
}

// A schedule whose windows follow each other without a gap stays where it is, however
// late in them the rotations begin.
func TestScheduleDoesNotDrift(t *testing.T) {
	b := newBed(t, withFunction)
	defer b.check(t)
	b.create(t, "s")
	x := b.rotator()
	must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate("s", 2, func(in *smapi.RotateSecretInput) {
		in.RotationRules = &smapi.RotationRulesType{ScheduleExpression: new("rate(5 hours)"), Duration: new("5h")}
	}))
	x.run(t)
	next := *b.describe(t, "s").NextRotationDate
	for range 4 {
		b.now = next.Add(-10 * time.Minute)
		x.run(t)
		got := *b.describe(t, "s").NextRotationDate
		if want := next.Add(5 * time.Hour); !got.Equal(want) {
			t.Fatalf("after a rotation at %v the next is due by %v, want %v", b.now, got, want)
		}
		next = got
	}
}

// A rollback moves AWSCURRENT, and whoever may not do that may not roll back.
func TestRollBackAsks(t *testing.T) {
	b := newBed(t, withFunction)
	defer b.check(t)
	b.create(t, "s")
	x := b.rotator()
	must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate("s", 2))
	x.run(t)
	ck := b.askedBy(t, func() {
		must[arcaapi.RollBackRotationOutput](t, b, arcaapi.OpRollBackRotation, &arcaapi.RollBackRotationInput{SecretId: "s"})
	})
	if got := keysOf(ck)["secretsmanager:VersionStage"]; ck.Action != "secretsmanager:UpdateSecretVersionStage" || got != "AWSCURRENT" {
		t.Errorf("asked %s with the label %q", ck.Action, got)
	}
}

// In the midst of a line, an end of a secret is a word like any other.
func TestRedactWords(t *testing.T) {
	b := newBed(t, withFunction)
	defer b.check(t)
	b.create(t, "s", func(in *smapi.CreateSecretInput) {
		in.SecretString = new(api.SensitiveString("first-password"))
	})
	x := b.rotator()
	must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate("s", 2))
	c := x.claim(t)
	for _, tc := range []struct{ in, want string }{
		{"set the password of app", "set the password of app"},
		{"password of app", "[REDACTED] of app"},
		{"START\npassword of app\nEND", "START\n[REDACTED] of app\nEND"},
		{"connects with first-pas", "connects with [REDACTED]"},
		{"connects with first-pas\nEND", "connects with [REDACTED]\nEND"},
		{"the first-passenger", "the first-passenger"},
	} {
		got := tc.in
		x.r.Redact(t.Context(), c, &got)
		if got != tc.want {
			t.Errorf("Redact(%q) = %q, want %q", tc.in, got, tc.want)
		}
	}
}
