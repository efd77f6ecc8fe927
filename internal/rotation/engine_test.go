package rotation_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api"
	"arca/internal/api/arcaapi"
	"arca/internal/api/lambdaapi"
	"arca/internal/api/smapi"
	"arca/internal/lambda"
	"arca/internal/rotation"
)

func token(n int) *string { return new(fmt.Sprintf("00000000-0000-4000-8000-%012d", n)) }

type event struct{ Step, SecretID, ClientRequestToken, RotationToken string }

func eventOf(t testing.TB, inv *lambda.Invocation) event {
	var e event
	if err := json.Unmarshal(inv.Payload, &e); err != nil {
		t.Errorf("event %s: %v", inv.Payload, err)
	}
	return e
}

// template does the work of a rotation function.
func (b *bed) template(e event) error {
	switch e.Step {
	case "createSecret":
		if _, err := b.call(smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: e.SecretID, VersionId: &e.ClientRequestToken}); err == nil {
			return nil
		}
		_, err := b.call(smapi.OpPutSecretValue, &smapi.PutSecretValueInput{
			SecretId: e.SecretID, ClientRequestToken: &e.ClientRequestToken, VersionStages: []string{"AWSPENDING"},
			SecretString:  new(api.SensitiveString("new value " + e.ClientRequestToken)),
			RotationToken: new(api.SensitiveString(e.RotationToken)),
		})
		return err
	case "finishSecret":
		out, err := b.call(smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: e.SecretID})
		if err != nil {
			return err
		}
		for id, stages := range out.(*smapi.DescribeSecretOutput).VersionIdsToStages {
			if slices.Contains(stages, "AWSCURRENT") && id != e.ClientRequestToken {
				_, err = b.call(smapi.OpUpdateSecretVersionStage, &smapi.UpdateSecretVersionStageInput{
					SecretId: e.SecretID, VersionStage: "AWSCURRENT", MoveToVersionId: &e.ClientRequestToken, RemoveFromVersionId: &id,
				})
			}
		}
		return err
	}
	return nil
}

func ok() (*lambda.Result, error) { return &lambda.Result{Payload: []byte("null")}, nil }

func failed(text, log string) (*lambda.Result, error) {
	return &lambda.Result{FunctionError: lambda.Unhandled, Payload: fmt.Appendf(nil, `{"errorType":"ValueError","errorMessage":%q}`, text), Log: []byte(log)}, nil
}

func (b *bed) rotate(t testing.TB, name, function string, n int) {
	t.Helper()
	must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, &smapi.RotateSecretInput{
		SecretId: name, ClientRequestToken: token(n), RotationLambdaARN: new(functionARN(function)),
		RotationRules: &smapi.RotationRulesType{AutomaticallyAfterDays: new(int64(1))},
	})
}

func TestRotation(t *testing.T) {
	b := newBed(t)
	b.addFunction(t, "f")
	b.addSecret(t, "s", `{"username":"app","password":"first-password"}`)
	var steps []string
	b.setFunction(func(_ context.Context, inv *lambda.Invocation) (*lambda.Result, error) {
		e := eventOf(t, inv)
		steps = append(steps, e.Step)
		if err := b.template(e); err != nil {
			return failed(err.Error(), "")
		}
		return &lambda.Result{Payload: []byte("null"), Log: []byte("user app has first-password and new value " + e.ClientRequestToken)}, nil
	})
	e := b.engine()
	b.step(t, e)
	if len(steps) > 0 {
		t.Fatalf("steps %v before anything was due", steps)
	}
	b.rotate(t, "s", "f", 2)
	b.step(t, e)
	want := []string{"createSecret", "setSecret", "testSecret", "finishSecret"}
	if diff := cmp.Diff(want, steps); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	d := b.describe(t, "s")
	if *d.Summary.State != "idle" || len(d.Rotations) != 1 || *d.Rotations[0].Outcome != "succeeded" || len(d.Rotations[0].Steps) != 4 {
		t.Fatalf("DescribeRotation = %+v", d)
	}
	if got, want := *d.Rotations[0].Steps[3].Output, "user app has [REDACTED] and [REDACTED]"; got != want {
		t.Errorf("output = %q, want %q", got, want)
	}
	// The schedule.
	steps = nil
	b.advance(48 * time.Hour)
	b.step(t, e)
	if diff := cmp.Diff(want, steps); diff != "" {
		t.Errorf("steps by schedule (-want +got):\n%s", diff)
	}
}

// A failure says why, is tried again, and can be told to go on at once.
func TestFailure(t *testing.T) {
	b := newBed(t)
	b.addFunction(t, "f")
	b.addSecret(t, "s", "first-password")
	fails := true
	b.setFunction(func(_ context.Context, inv *lambda.Invocation) (*lambda.Result, error) {
		e := eventOf(t, inv)
		if fails && e.Step == "setSecret" {
			return failed("no route to database", "connecting with first-password\n")
		}
		if err := b.template(e); err != nil {
			return failed(err.Error(), "")
		}
		return ok()
	})
	e := b.engine()
	b.rotate(t, "s", "f", 2)
	b.step(t, e)
	d := b.describe(t, "s")
	if got := *d.Summary; *got.State != "failing" || *got.Step != "setSecret" || *got.LastError != "ValueError: no route to database" {
		t.Errorf("summary = state %s, step %s, error %s", *got.State, *got.Step, *got.LastError)
	}
	if got, want := *d.Current.Steps[1].Output, "connecting with [REDACTED]\n\nValueError: no route to database"; got != want {
		t.Errorf("output = %q, want %q", got, want)
	}
	list := must[arcaapi.ListRotationsOutput](t, b, arcaapi.OpListRotations, &arcaapi.ListRotationsInput{Failing: new(true)})
	if len(list.Rotations) != 1 || *list.Rotations[0].Name != "s" {
		t.Errorf("failing rotations = %+v", list.Rotations)
	}
	fails = false
	b.step(t, e) // not yet
	if d := b.describe(t, "s"); *d.Summary.State != "failing" {
		t.Errorf("tried again before its time: %s", *d.Summary.State)
	}
	must[arcaapi.RetryRotationOutput](t, b, arcaapi.OpRetryRotation, &arcaapi.RetryRotationInput{SecretId: "s"})
	b.step(t, e)
	d = b.describe(t, "s")
	if *d.Summary.State != "idle" || *d.Rotations[0].Outcome != "succeeded" {
		t.Errorf("after the retry: %s", *d.Summary.State)
	}
	refused(t, b, arcaapi.OpRetryRotation, &arcaapi.RetryRotationInput{SecretId: "s"},
		"InvalidRequestException: No rotation of this secret is under way. Start one with RotateSecret.")
}

// The policy of the function is asked for each step, not only when rotation is set up.
func TestPermissionTakenAway(t *testing.T) {
	b := newBed(t)
	b.addFunction(t, "f")
	b.addSecret(t, "s", "first-password")
	refused(t, b, smapi.OpRotateSecret, &smapi.RotateSecretInput{SecretId: "s", ClientRequestToken: token(2), RotationLambdaARN: new(functionARN("none"))},
		"AccessDeniedException: Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants access to the principal secretsmanager.amazonaws.com.")
	b.setFunction(func(_ context.Context, inv *lambda.Invocation) (*lambda.Result, error) {
		if e := eventOf(t, inv); e.Step == "createSecret" {
			must[lambdaapi.RemovePermissionOutput](t, b, lambdaapi.OpRemovePermission, &lambdaapi.RemovePermissionInput{FunctionName: "f", StatementId: "rotation"})
		}
		return ok()
	})
	e := b.engine()
	b.rotate(t, "s", "f", 2)
	b.step(t, e)
	d := b.describe(t, "s")
	if *d.Summary.State != "failing" || *d.Summary.Step != "setSecret" || !strings.Contains(*d.Summary.LastError, "does not let secretsmanager.amazonaws.com invoke it") {
		t.Errorf("summary = %s %s %s", *d.Summary.State, *d.Summary.Step, *d.Summary.LastError)
	}
}

// What ends with the process is no failure: the step runs again.
func TestEngineStops(t *testing.T) {
	b := newBed(t)
	b.addFunction(t, "f")
	b.addSecret(t, "s", "first-password")
	entered := make(chan struct{})
	b.setFunction(func(ctx context.Context, _ *lambda.Invocation) (*lambda.Result, error) {
		close(entered)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	b.rotate(t, "s", "f", 2)
	ctx, stop := context.WithCancel(t.Context())
	e := b.engine()
	if err := e.Step(ctx); err != nil {
		t.Fatal(err)
	}
	<-entered
	stop()
	e.Wait()
	b.setFunction(func(_ context.Context, inv *lambda.Invocation) (*lambda.Result, error) {
		if err := b.template(eventOf(t, inv)); err != nil {
			return failed(err.Error(), "")
		}
		return ok()
	})
	b.step(t, b.engine()) // the next life of the process
	if d := b.describe(t, "s"); *d.Summary.State != "idle" || len(d.Rotations) != 1 || *d.Rotations[0].Outcome != "succeeded" {
		t.Errorf("after the restart: %s, %+v", *d.Summary.State, d.Current)
	}
}

// No more steps run at once than the engine and each function may.
func TestConcurrency(t *testing.T) {
	b := newBed(t)
	b.addFunction(t, "a")
	b.addFunction(t, "b")
	var running, most atomic.Int64
	var mu sync.Mutex
	byFunction := make(map[string]int)
	mostOf := make(map[string]int)
	var started sync.WaitGroup
	started.Add(5)
	var once [5]sync.Once
	var n atomic.Int64
	b.setFunction(func(_ context.Context, inv *lambda.Invocation) (*lambda.Result, error) {
		most.Store(max(most.Load(), running.Add(1)))
		mu.Lock()
		byFunction[inv.Function.Name]++
		mostOf[inv.Function.Name] = max(mostOf[inv.Function.Name], byFunction[inv.Function.Name])
		mu.Unlock()
		if i := n.Add(1) - 1; i < 5 {
			once[i].Do(started.Done)
			started.Wait() // the first five meet
		}
		defer func() {
			mu.Lock()
			byFunction[inv.Function.Name]--
			mu.Unlock()
			running.Add(-1)
		}()
		if err := b.template(eventOf(t, inv)); err != nil {
			return failed(err.Error(), "")
		}
		return ok()
	})
	for i := range 12 {
		name := fmt.Sprintf("s%d", i)
		b.addSecret(t, name, "v")
		b.rotate(t, name, map[bool]string{true: "a", false: "b"}[i%2 == 0], 2)
	}
	e := b.engine(func(cfg *rotation.Config) { cfg.Workers, cfg.PerFunction = 6, 3 })
	b.step(t, e)
	for i := range 12 {
		if d := b.describe(t, fmt.Sprintf("s%d", i)); *d.Summary.State != "idle" {
			t.Errorf("s%d is %s", i, *d.Summary.State)
		}
	}
	// One of the six workers is for other accounts.
	if most.Load() > 5 || mostOf["a"] > 3 || mostOf["b"] > 3 {
		t.Errorf("%d steps at once, %v by function", most.Load(), mostOf)
	}
}

// A runner that has no room is asked again, and that is no failure.
func TestBusy(t *testing.T) {
	b := newBed(t)
	b.addFunction(t, "f")
	b.addSecret(t, "s", "first-password")
	busy := 1
	b.setFunction(func(_ context.Context, inv *lambda.Invocation) (*lambda.Result, error) {
		if busy > 0 {
			busy--
			return nil, lambda.ErrBusy
		}
		if err := b.template(eventOf(t, inv)); err != nil {
			return failed(err.Error(), "")
		}
		return ok()
	})
	e := b.engine()
	b.rotate(t, "s", "f", 2)
	b.step(t, e)
	if d := b.describe(t, "s"); *d.Summary.State != "waiting" || len(d.Current.Steps) != 0 {
		t.Errorf("state %s with %d steps", *d.Summary.State, len(d.Current.Steps))
	}
	b.advance(5 * time.Second)
	b.step(t, e)
	if d := b.describe(t, "s"); *d.Summary.State != "idle" {
		t.Errorf("state %s", *d.Summary.State)
	}
}

// A rehearsal leaves the current value alone until it is finished, or dropped.
func TestRehearsal(t *testing.T) {
	for _, finish := range []bool{true, false} {
		t.Run(fmt.Sprintf("finish %v", finish), func(t *testing.T) {
			b := newBed(t)
			b.addFunction(t, "f")
			b.addSecret(t, "s", "first-password")
			var steps []string
			b.setFunction(func(_ context.Context, inv *lambda.Invocation) (*lambda.Result, error) {
				e := eventOf(t, inv)
				steps = append(steps, e.Step)
				if err := b.template(e); err != nil {
					return failed(err.Error(), "")
				}
				return ok()
			})
			e := b.engine()
			rehearse := &arcaapi.RehearseRotationInput{SecretId: "s", ClientRequestToken: token(3)}
			refused(t, b, arcaapi.OpRehearseRotation, rehearse, "InvalidRequestException: Rotation was never set up for this secret.")
			b.rotate(t, "s", "f", 2)
			b.step(t, e)
			steps = nil
			must[arcaapi.RehearseRotationOutput](t, b, arcaapi.OpRehearseRotation, rehearse)
			must[arcaapi.RehearseRotationOutput](t, b, arcaapi.OpRehearseRotation, rehearse) // a repeat
			b.step(t, e)
			if diff := cmp.Diff([]string{"createSecret", "setSecret", "testSecret"}, steps); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			stages := must[smapi.DescribeSecretOutput](t, b, smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: "s"}).VersionIdsToStages
			if got := *b.describe(t, "s").Summary.State; got != "rehearsed" || !slices.Contains(stages[*token(2)], "AWSCURRENT") {
				t.Errorf("state %s, labels %v", got, stages)
			}
			current := *token(2)
			if finish {
				must[arcaapi.RetryRotationOutput](t, b, arcaapi.OpRetryRotation, &arcaapi.RetryRotationInput{SecretId: "s"})
				b.step(t, e)
				current = *token(3)
			} else {
				must[arcaapi.DropRotationOutput](t, b, arcaapi.OpDropRotation, &arcaapi.DropRotationInput{SecretId: "s"})
			}
			stages = must[smapi.DescribeSecretOutput](t, b, smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: "s"}).VersionIdsToStages
			if got := *b.describe(t, "s").Summary.State; got != "idle" || !slices.Contains(stages[current], "AWSCURRENT") {
				t.Errorf("at the end: state %s, labels %v", got, stages)
			}
			if finish {
				must[arcaapi.RollBackRotationOutput](t, b, arcaapi.OpRollBackRotation, &arcaapi.RollBackRotationInput{SecretId: "s"})
				stages = must[smapi.DescribeSecretOutput](t, b, smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: "s"}).VersionIdsToStages
				if !slices.Contains(stages[*token(2)], "AWSCURRENT") {
					t.Errorf("after the roll-back: labels %v", stages)
				}
			}
		})
	}
}
