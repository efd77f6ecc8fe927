package secrets_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api"
	"arca/internal/api/arcaapi"
	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/secrets"
)

// rotationOperations are Arca's own operations about rotation, each with the action that
// decides about it and a request about the secret s.
func rotationOperations() map[*api.Operation]struct {
	action string
	in     any
} {
	return map[*api.Operation]struct {
		action string
		in     any
	}{
		arcaapi.OpDescribeRotation: {"DescribeSecret", &arcaapi.DescribeRotationInput{SecretId: "s"}},
		arcaapi.OpDropRotation:     {"RotateSecret", &arcaapi.DropRotationInput{SecretId: "s"}},
		arcaapi.OpListRotations:    {"ListSecrets", &arcaapi.ListRotationsInput{}},
		arcaapi.OpRehearseRotation: {"RotateSecret", &arcaapi.RehearseRotationInput{SecretId: "s", ClientRequestToken: token(9)}},
		arcaapi.OpRetryRotation:    {"RotateSecret", &arcaapi.RetryRotationInput{SecretId: "s"}},
		arcaapi.OpRollBackRotation: {"UpdateSecretVersionStage", &arcaapi.RollBackRotationInput{SecretId: "s"}},
	}
}

// Arca's own operations ask for the permission that shows or changes as much on AWS,
// before they tell whether the secret is there.
func TestRotationOperationsAsk(t *testing.T) {
	b := newBed(t, withFunction)
	for _, exists := range []bool{false, true} {
		if exists {
			b.create(t, "s")
			must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate("s", 2))
		}
		b.refuse(func(*call.Check) bool { return true })
		for op, x := range rotationOperations() {
			b.questions()
			_, err := b.call(op, x.in)
			if aerr, ok := errors.AsType[*api.Error](err); !ok || aerr.Code.Name != "AccessDeniedException" {
				t.Errorf("%s, secret there %v: error %v, want AccessDeniedException", op.Name, exists, err)
			}
			if asked := b.questions(); len(asked) != 1 || asked[0].Action != "secretsmanager:"+x.action {
				t.Errorf("%s, secret there %v: asked %+v, want one question about %s", op.Name, exists, asked, x.action)
			}
		}
		b.refuse(nil)
	}
}

func TestRotationOperationsWithoutStore(t *testing.T) {
	b := newBed(t, withFunction)
	b.create(t, "s")
	if err := b.store.Close(); err != nil {
		t.Fatal(err)
	}
	for op, x := range rotationOperations() {
		refused(t, b, op, x.in, "InternalServiceError: An error occurred on the server side.")
	}
}

// What cannot be done is refused with the reason, and changes nothing.
func TestRotationOperationRefusals(t *testing.T) {
	b := newBed(t, withFunction)
	defer b.check(t)
	b.create(t, "s")
	x := b.rotator()
	const (
		never   = "InvalidRequestException: Rotation was never set up for this secret."
		none    = "InvalidRequestException: No rotation of this secret is under way."
		off     = "InvalidRequestException: Rotation of this secret is switched off. RotateSecret switches it on."
		running = "InvalidRequestException: A step of the rotation is running."
		under   = "InvalidRequestException: A rotation of this secret is under way."
	)
	all := rotationOperations()
	one := func(op *api.Operation, want string) {
		t.Helper()
		refused(t, b, op, all[op].in, want)
	}
	for op := range all {
		if op == arcaapi.OpListRotations {
			continue
		}
		one(op, never)
	}
	must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate("s", 2))
	one(arcaapi.OpRehearseRotation, under)
	one(arcaapi.OpRollBackRotation, under+" Drop it first.")
	claimed := x.claim(t)
	one(arcaapi.OpRetryRotation, running)
	one(arcaapi.OpDropRotation, running)
	if _, err := x.r.Settle(t.Context(), b.now, claimed, secrets.StepRun{Step: claimed.Job.Step, Error: "no"}); err != nil {
		t.Fatal(err)
	}
	must[arcaapi.DropRotationOutput](t, b, arcaapi.OpDropRotation, all[arcaapi.OpDropRotation].in)
	one(arcaapi.OpDropRotation, none)
	one(arcaapi.OpRetryRotation, none+" Start one with RotateSecret.")
	one(arcaapi.OpRollBackRotation, "InvalidRequestException: The secret has no previous value.")
	refused(t, b, arcaapi.OpRehearseRotation, &arcaapi.RehearseRotationInput{SecretId: "s"},
		"InvalidParameterException: You must provide a ClientRequestToken value. We recommend a UUID-type value.")
	refused(t, b, arcaapi.OpRehearseRotation, &arcaapi.RehearseRotationInput{SecretId: "s", ClientRequestToken: token(1)},
		"InvalidRequestException: The ClientRequestToken is the id of a version of this secret already.")
	must[smapi.CancelRotateSecretOutput](t, b, smapi.OpCancelRotateSecret, &smapi.CancelRotateSecretInput{SecretId: "s"})
	one(arcaapi.OpRehearseRotation, off)
	one(arcaapi.OpRetryRotation, off)
	if got := *must[arcaapi.DescribeRotationOutput](t, b, arcaapi.OpDescribeRotation, all[arcaapi.OpDescribeRotation].in).Summary.State; got != "off" {
		t.Errorf("state = %s, want off", got)
	}
	for _, op := range []*api.Operation{arcaapi.OpDescribeRotation, arcaapi.OpDropRotation, arcaapi.OpRehearseRotation, arcaapi.OpRetryRotation, arcaapi.OpRollBackRotation} {
		in := map[*api.Operation]any{
			arcaapi.OpDescribeRotation: &arcaapi.DescribeRotationInput{SecretId: "none"},
			arcaapi.OpDropRotation:     &arcaapi.DropRotationInput{SecretId: "none"},
			arcaapi.OpRehearseRotation: &arcaapi.RehearseRotationInput{SecretId: "none", ClientRequestToken: token(9)},
			arcaapi.OpRetryRotation:    &arcaapi.RetryRotationInput{SecretId: "none"},
			arcaapi.OpRollBackRotation: &arcaapi.RollBackRotationInput{SecretId: "none"},
		}[op]
		refused(t, b, op, in, noSecret)
	}
	refused(t, b, arcaapi.OpListRotations, &arcaapi.ListRotationsInput{NextToken: new("x")}, "InvalidParameterException: The NextToken value is invalid.")
	b.schedule(t, "s")
	one(arcaapi.OpDropRotation, wasScheduled)
}

// A scheduled rotation that is due shows as one before the engine has come to it, so that
// whoever waits for it does not miss it.
func TestDueRotationShows(t *testing.T) {
	b := newBed(t, withFunction)
	defer b.check(t)
	b.create(t, "s")
	x := b.rotator()
	must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate("s", 2, everyDays(1)))
	state := func() string {
		return *must[arcaapi.DescribeRotationOutput](t, b, arcaapi.OpDescribeRotation, &arcaapi.DescribeRotationInput{SecretId: "s"}).Summary.State
	}
	var got []string
	got = append(got, state())
	x.run(t)
	got = append(got, state())
	b.now = b.now.AddDate(0, 0, 2)
	got = append(got, state())
	x.run(t)
	got = append(got, state())
	x.fail[secrets.StepTest] = 1
	b.now = b.now.AddDate(0, 0, 2)
	x.run(t)
	got = append(got, state())
	if diff := cmp.Diff([]string{"waiting", "idle", "waiting", "idle", "failing"}, got); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}

// ListRotations goes by name, page by page, and shows what rotates in the caller's scope.
func TestListRotations(t *testing.T) {
	b := newBed(t, withFunction)
	defer b.check(t)
	x := b.rotator()
	for i, name := range []string{"c", "a", "b", "never"} {
		b.create(t, name)
		if name != "never" {
			must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate(name, 2+i, everyDays(7)))
		}
	}
	x.run(t)
	var names []string
	in := &arcaapi.ListRotationsInput{MaxResults: new(int32(1))}
	for pages := 0; pages < 10; pages++ {
		out := must[arcaapi.ListRotationsOutput](t, b, arcaapi.OpListRotations, in)
		for _, r := range out.Rotations {
			names = append(names, fmt.Sprintf("%s %s %s", *r.Name, *r.State, *r.Schedule))
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			break
		}
	}
	if diff := cmp.Diff([]string{"a idle every 7 days", "b idle every 7 days", "c idle every 7 days"}, names); diff != "" {
		t.Errorf("ListRotations (-want +got):\n%s", diff)
	}
	x.fail[secrets.StepSet] = 1
	must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, &smapi.RotateSecretInput{SecretId: "b", ClientRequestToken: token(20)})
	x.run(t)
	failing := must[arcaapi.ListRotationsOutput](t, b, arcaapi.OpListRotations, &arcaapi.ListRotationsInput{Failing: new(true)}).Rotations
	if len(failing) != 1 || *failing[0].Name != "b" || *failing[0].Step != "setSecret" || *failing[0].LastError != errStep.Error() {
		t.Errorf("failing: %+v", failing)
	}
	if other := must[arcaapi.ListRotationsOutput](t, b, arcaapi.OpListRotations, &arcaapi.ListRotationsInput{}, inRegion("eu-north-1")); len(other.Rotations) != 0 {
		t.Errorf("another region lists %+v", other.Rotations)
	}
}

// RotateSecret's own condition keys, and the function that a secret has, decide.
func TestRotationConditionKeys(t *testing.T) {
	b := newBed(t, withFunction)
	defer b.check(t)
	b.create(t, "s")
	keys := func(op *api.Operation, in any) (found []string) {
		t.Helper()
		b.questions()
		if _, err := b.call(op, in); err != nil {
			t.Fatal(err)
		}
		for _, k := range b.questions()[0].Keys {
			switch k.Name {
			case "secretsmanager:RotationLambdaARN", "secretsmanager:RotateImmediately", "secretsmanager:ModifyRotationRules", "secretsmanager:resource/AllowRotationLambdaArn":
				found = append(found, fmt.Sprint(k.Name, " ", k.Values))
			}
		}
		slices.Sort(found)
		return found
	}
	got := [][]string{
		keys(smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: "s"}),
		keys(smapi.OpRotateSecret, rotate("s", 2, everyDays(1), later)),
		keys(smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: "s"}),
	}
	b.rotator().run(t)
	got = append(got, keys(smapi.OpRotateSecret, &smapi.RotateSecretInput{SecretId: "s", ClientRequestToken: token(3)}))
	want := [][]string{
		nil,
		{"secretsmanager:ModifyRotationRules [true]", "secretsmanager:RotateImmediately [false]", "secretsmanager:RotationLambdaARN [" + rotatorARN + "]"},
		{"secretsmanager:resource/AllowRotationLambdaArn [" + rotatorARN + "]"},
		{"secretsmanager:resource/AllowRotationLambdaArn [" + rotatorARN + "]"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("condition keys (-want +got):\n%s", diff)
	}
}

// ListSecrets shows of a rotation what DescribeSecret shows.
func TestListSecretsShowsRotation(t *testing.T) {
	b := newBed(t, withFunction)
	defer b.check(t)
	b.create(t, "s")
	must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate("s", 2, everyDays(30)))
	b.rotator().run(t)
	d := b.describe(t, "s")
	e := must[smapi.ListSecretsOutput](t, b, smapi.OpListSecrets, &smapi.ListSecretsInput{}).SecretList[0]
	type shown struct {
		Enabled    bool
		Lambda     string
		Rules      *smapi.RotationRulesType
		Last, Next time.Time
	}
	want := shown{*d.RotationEnabled, *d.RotationLambdaARN, d.RotationRules, *d.LastRotatedDate, *d.NextRotationDate}
	if diff := cmp.Diff(want, shown{*e.RotationEnabled, *e.RotationLambdaARN, e.RotationRules, *e.LastRotatedDate, *e.NextRotationDate}); diff != "" {
		t.Errorf("ListSecrets (-DescribeSecret +ListSecrets):\n%s", diff)
	}
}

// A rotation that somebody took AWSPENDING from is written down as abandoned, also when
// the next one begins before the engine has looked.
func TestLostRotationIsAbandonedByTheNext(t *testing.T) {
	b := newBed(t, withFunction)
	defer b.check(t)
	b.create(t, "s")
	x := b.rotator()
	must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate("s", 2))
	must[smapi.UpdateSecretVersionStageOutput](t, b, smapi.OpUpdateSecretVersionStage, &smapi.UpdateSecretVersionStageInput{SecretId: "s", VersionStage: "AWSPENDING", RemoveFromVersionId: token(2)})
	must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate("s", 3))
	x.run(t)
	if diff := cmp.Diff([]string{"RotationStarted", "RotationAbandoned", "RotationStarted", "RotationSucceeded"}, b.rotationEvents(t)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	var outcomes []string
	for _, r := range must[arcaapi.DescribeRotationOutput](t, b, arcaapi.OpDescribeRotation, &arcaapi.DescribeRotationInput{SecretId: "s"}).Rotations {
		outcomes = append(outcomes, *r.Outcome+" "+*r.VersionId)
	}
	if diff := cmp.Diff([]string{"succeeded " + *token(3), "abandoned " + *token(2)}, outcomes); diff != "" {
		t.Errorf("history, newest first (-want +got):\n%s", diff)
	}
}

// Each commit of each operation about rotation fails in every way it can. The repeated
// call has the result of one call.
func TestRotationOperationsEveryCommit(t *testing.T) {
	failed := func(t *testing.T, b *bed, kind secrets.RotationStep) {
		b.create(t, "s")
		must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate("s", 2, everyDays(30)))
		x := b.rotator()
		x.fail[kind] = 1
		x.run(t)
	}
	whole := func(t *testing.T, b *bed) {
		b.create(t, "s")
		must[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate("s", 2, everyDays(30)))
		b.rotator().run(t)
	}
	state := func(t *testing.T, b *bed) string {
		t.Helper()
		return *must[arcaapi.DescribeRotationOutput](t, b, arcaapi.OpDescribeRotation, &arcaapi.DescribeRotationInput{SecretId: "s"}).Summary.State
	}
	for _, tc := range []struct {
		name          string
		setup         func(t *testing.T, b *bed)
		do            func(t *testing.T, b *bed) error
		state, labels string
	}{
		{"RotateSecret", func(t *testing.T, b *bed) { b.create(t, "s") }, func(t *testing.T, b *bed) error {
			return tried[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate("s", 2, everyDays(1)))
		}, "waiting", "1:AWSCURRENT 2:AWSPENDING"},
		{"RotateSecret later", func(t *testing.T, b *bed) { b.create(t, "s") }, func(t *testing.T, b *bed) error {
			return tried[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, rotate("s", 2, everyDays(1), later))
		}, "waiting", "1:AWSCURRENT 2:AWSPENDING"},
		{"CancelRotateSecret", func(t *testing.T, b *bed) { failed(t, b, secrets.StepSet) }, func(t *testing.T, b *bed) error {
			return tried[smapi.CancelRotateSecretOutput](t, b, smapi.OpCancelRotateSecret, &smapi.CancelRotateSecretInput{SecretId: "s"})
		}, "off", "1:AWSCURRENT 2:AWSPENDING"},
		{"RetryRotation", func(t *testing.T, b *bed) { failed(t, b, secrets.StepSet) }, func(t *testing.T, b *bed) error {
			return tried[arcaapi.RetryRotationOutput](t, b, arcaapi.OpRetryRotation, &arcaapi.RetryRotationInput{SecretId: "s"})
		}, "waiting", "1:AWSCURRENT 2:AWSPENDING"},
		{"RehearseRotation", whole, func(t *testing.T, b *bed) error {
			return tried[arcaapi.RehearseRotationOutput](t, b, arcaapi.OpRehearseRotation, &arcaapi.RehearseRotationInput{SecretId: "s", ClientRequestToken: token(3)})
		}, "waiting", "1:AWSPREVIOUS 2:AWSCURRENT 3:AWSPENDING"},
		{"DropRotation", func(t *testing.T, b *bed) { failed(t, b, secrets.StepTest) }, func(t *testing.T, b *bed) error {
			return done(tried[arcaapi.DropRotationOutput](t, b, arcaapi.OpDropRotation, &arcaapi.DropRotationInput{SecretId: "s"}), "No rotation of this secret is under way.")
		}, "idle", "1:AWSCURRENT"},
		{"RollBackRotation", whole, func(t *testing.T, b *bed) error {
			return tried[arcaapi.RollBackRotationOutput](t, b, arcaapi.OpRollBackRotation, &arcaapi.RollBackRotationInput{SecretId: "s", ClientRequestToken: token(9)})
		}, "idle", "1:AWSCURRENT 2:AWSPREVIOUS"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			everyCommitWith(t, withFunction, tc.setup, tc.do, func(t *testing.T, b *bed) {
				if got := state(t, b); got != tc.state {
					t.Errorf("state = %s, want %s", got, tc.state)
				}
				if got := b.labels(t, "s"); got != tc.labels {
					t.Errorf("labels = %s, want %s", got, tc.labels)
				}
			})
		})
	}
}
