package rotation_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api"
	"arca/internal/api/smapi"
	"arca/internal/lambda"
)

// database is a server with one user.
type database struct {
	mu       sync.Mutex
	password string // guarded by mu
}

func (d *database) set(password string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.password = password
}

func (d *database) login(password string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if password != d.password {
		return errors.New("password authentication failed")
	}
	return nil
}

func (b *bed) value(e event, stage string) (string, error) {
	in := &smapi.GetSecretValueInput{SecretId: e.SecretID, VersionStage: &stage}
	if stage == "AWSPENDING" {
		in.VersionId = &e.ClientRequestToken
	}
	out, err := b.call(smapi.OpGetSecretValue, in)
	if err != nil {
		return "", err
	}
	return string(*out.(*smapi.GetSecretValueOutput).SecretString), nil
}

// singleUser rotates the user's password, as AWS's templates do. It calls at when it has
// looked at everything and is about to act, and when it has acted.
func (b *bed) singleUser(d *database, e event, at func(step, when string)) error {
	out, err := b.call(smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: e.SecretID})
	if err != nil {
		return err
	}
	versions := out.(*smapi.DescribeSecretOutput).VersionIdsToStages
	switch stages := versions[e.ClientRequestToken]; {
	case slices.Contains(stages, "AWSCURRENT"):
		return nil
	case !slices.Contains(stages, "AWSPENDING"):
		return errors.New("the version is not pending")
	}
	pending, pendingErr := b.value(e, "AWSPENDING")
	act := func() error { return nil }
	switch e.Step {
	case "createSecret":
		if pendingErr == nil {
			return nil
		}
		act = func() error {
			_, err := b.call(smapi.OpPutSecretValue, &smapi.PutSecretValueInput{
				SecretId: e.SecretID, ClientRequestToken: &e.ClientRequestToken, VersionStages: []string{"AWSPENDING"},
				SecretString: new(api.SensitiveString("password " + rand.Text())),
			})
			return err
		}
	case "setSecret":
		if d.login(pending) == nil {
			return nil
		}
		current, err := b.value(e, "AWSCURRENT")
		if err == nil {
			err = d.login(current)
		}
		if err != nil {
			return err
		}
		act = func() error { d.set(pending); return nil }
	case "testSecret":
		act = func() error { return d.login(pending) }
	case "finishSecret":
		act = func() error {
			for id, stages := range versions {
				if !slices.Contains(stages, "AWSCURRENT") {
					continue
				}
				_, err := b.call(smapi.OpUpdateSecretVersionStage, &smapi.UpdateSecretVersionStageInput{
					SecretId: e.SecretID, VersionStage: "AWSCURRENT", MoveToVersionId: &e.ClientRequestToken, RemoveFromVersionId: &id,
				})
				return err
			}
			return errors.New("no version is current")
		}
	}
	at(e.Step, "before")
	if err := act(); err != nil {
		return err
	}
	at(e.Step, "after")
	return nil
}

// A leader that is paused in a step for longer than its claim, and the successor that
// has gone on meanwhile: one result is put down for each step, and what the paused one
// does when it wakes up changes neither the database nor the secret.
func TestOverlap(t *testing.T) {
	steps := []string{"createSecret", "setSecret", "testSecret", "finishSecret"}
	for _, step := range steps {
		for _, when := range []string{"before", "after"} {
			for _, wakes := range []string{"within the step", "after the rotation"} {
				t.Run(fmt.Sprintf("%s, %s it acts, waking %s", step, when, wakes), func(t *testing.T) {
					overlap(t, step, when, wakes == "within the step")
				})
			}
		}
	}
}

func overlap(t *testing.T, step, when string, within bool) {
	b := newBed(t)
	b.addFunction(t, "f")
	b.addSecret(t, "s", "first-password")
	d := &database{password: "first-password"}
	paused, wake, woken := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var stopped atomic.Bool
	b.setFunction(func(_ context.Context, inv *lambda.Invocation) (*lambda.Result, error) {
		e, leader := eventOf(t, inv), false
		err := b.singleUser(d, e, func(s, w string) {
			if s != step {
				return
			}
			if w == when && stopped.CompareAndSwap(false, true) {
				leader = true
				close(paused)
				<-wake
			}
			if within && !leader && stopped.Load() && w == "before" {
				// The successor lets the leader act first, in the middle of its own step.
				select {
				case <-wake:
				default:
					close(wake)
					<-woken
				}
			}
		})
		if leader {
			close(woken)
		}
		if err != nil {
			return failed(err.Error(), "")
		}
		return ok()
	})
	b.rotate(t, "s", "f", 2)
	leader, successor := b.engine(), b.engine()
	if err := leader.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-paused
	// Until the claim ends nobody else runs the step.
	b.step(t, successor)
	if d := b.describe(t, "s"); *d.Summary.State != "running" {
		t.Fatalf("while the leader has its claim the rotation is %s", *d.Summary.State)
	}
	b.advance(10 * time.Minute)
	b.step(t, successor)
	select {
	case <-wake:
	default:
		close(wake)
	}
	leader.Wait()
	// A result that was a failure of the successor's, because the leader came first, is
	// tried again.
	for range 3 {
		b.advance(time.Hour)
		b.step(t, successor)
	}
	shown := b.describe(t, "s")
	if *shown.Summary.State != "idle" || len(shown.Rotations) != 1 || *shown.Rotations[0].Outcome != "succeeded" {
		t.Fatalf("the rotation is %s: %+v", *shown.Summary.State, shown)
	}
	var done []string
	for _, s := range shown.Rotations[0].Steps {
		if s.Error == nil {
			done = append(done, *s.Step)
		}
	}
	if diff := cmp.Diff([]string{"createSecret", "setSecret", "testSecret", "finishSecret"}, done); diff != "" {
		t.Errorf("results that were put down (-want +got):\n%s", diff)
	}
	current, err := b.value(event{SecretID: "s"}, "AWSCURRENT")
	if err != nil || current == "first-password" {
		t.Fatalf("AWSCURRENT = %q, %v", current, err)
	}
	if err := d.login(current); err != nil {
		t.Errorf("the database and AWSCURRENT do not agree: %v", err)
	}
}
