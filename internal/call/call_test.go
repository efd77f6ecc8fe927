package call_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api"
	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/store"
)

const secretARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:a-AbCdEf"

func event(name string) call.ServiceEvent {
	return call.ServiceEvent{
		Source: "secretsmanager.amazonaws.com", Name: name, Account: account, Region: region, ResourceARN: secretARN,
	}
}

// conflict makes the transaction that calls it collide with another on the same note.
func (b *bed) conflict(t *testing.T, name string) {
	t.Helper()
	_, err := b.store.Update(t.Context(), func(tx *store.Tx) error {
		b.notes.Put(tx, noteKey(name), &note{"somebody else's"})
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// A closure that runs several times leaves the events of the run that committed.
func TestUpdateRunsAgain(t *testing.T) {
	b := newBed(t)
	runs := 0
	b.serve(func(ctx context.Context, c *call.Call) error {
		if err := allowed(ctx, c); err != nil {
			return err
		}
		c.ServiceEvent(event("Before"))
		err := c.Update(ctx, b.store, func(tx *store.Tx) error {
			runs++
			c.ServiceEvent(event(fmt.Sprint("Run", runs)))
			b.notes.Put(tx, noteKey("a"), &note{"a"})
			if runs < 3 {
				b.conflict(t, "a")
			}
			return nil
		})
		c.ServiceEvent(event("After"))
		return err
	})
	if _, err := b.create(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	b.wantEvents(t, "CreateSecret+", "Before", "Run3", "After")
	for _, l := range b.lines(t)[1:] {
		if l.RequestID != request || l.AdditionalData["SecretId"] != secretARN {
			t.Errorf("line %s", l.raw)
		}
	}
}

// Events of a change that did not happen are not on record.
func TestUpdateWithoutChange(t *testing.T) {
	b := newBed(t)
	for name, end := range map[string]error{"nothing written": nil, "given up": errors.New("no")} {
		t.Run(name, func(t *testing.T) {
			b.d = call.New(callConfig(b))
			b.serve(func(ctx context.Context, c *call.Call) error {
				if err := allowed(ctx, c); err != nil {
					return err
				}
				err := c.Update(ctx, b.store, func(tx *store.Tx) error {
					c.ServiceEvent(event("Never"))
					return end
				})
				if !errors.Is(err, end) {
					t.Errorf("Update = %v, want %v", err, end)
				}
				return nil
			})
			before := len(b.events(t))
			if _, err := b.create(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			if got := b.events(t)[before:]; len(got) != 1 || got[0] != "CreateSecret" {
				t.Errorf("events %v, want only the call", got)
			}
		})
	}
}

// A second commit, or one of a sub-call, would change something that no effect tells.
func TestUpdateOnce(t *testing.T) {
	put := func(b *bed, name string) func(tx *store.Tx) error {
		return func(tx *store.Tx) error { b.notes.Put(tx, noteKey(name), &note{name}); return nil }
	}
	b := newBed(t)
	b.serve(func(ctx context.Context, c *call.Call) error {
		if err := allowed(ctx, c); err != nil {
			return err
		}
		sub := c.SubCall(smapi.OpGetSecretValue, nil)
		if err := sub.Update(ctx, b.store, put(b, "sub")); !errors.Is(err, call.ErrSubCall) {
			t.Errorf("Update of a sub-call = %v, want ErrSubCall", err)
		}
		sub.Done(nil, errors.New("no"))
		if err := c.Update(ctx, b.store, put(b, "first")); err != nil {
			return err
		}
		return c.Update(ctx, b.store, put(b, "second"))
	})
	_, err := b.create(t.Context(), "a")
	if got := code(t, err); got != internal {
		t.Errorf("error %q", got)
	}
	if !b.has(t, "first") || b.has(t, "second") || b.has(t, "sub") {
		t.Error("not exactly the first change is stored")
	}
	b.wantEvents(t, "CreateSecret InternalServiceError+", "GetSecretValue InternalServiceError")
	if !strings.Contains(b.logged.String(), call.ErrSecondUpdate.Error()) {
		t.Errorf("log %s", b.logged.String())
	}
}

// Sub-calls have records of their own, of the same caller, in the same write.
func TestSubCall(t *testing.T) {
	in := func(id string) *smapi.GetSecretValueInput { return &smapi.GetSecretValueInput{SecretId: id} }
	b := newBed(t, func(b *bed) {
		b.allow = func(ck *call.Check) error {
			if ck.Resource == "denied" {
				return api.AccessDeniedException.Errorf("no")
			}
			return nil
		}
	})
	b.serveRead(func(ctx context.Context, c *call.Call) error {
		if err := allowed(ctx, c); err != nil {
			return err
		}
		for _, id := range []string{"denied", "fine", "undecided", "broken"} {
			sub := c.SubCall(smapi.OpGetSecretValue, in(id))
			if sub.Caller != c.Caller || sub.Now != c.Now || sub.RequestID != c.RequestID || sub.Region != c.Region || sub.SourceIP != c.SourceIP {
				t.Errorf("sub-call %+v", sub)
			}
			var err error
			if id != "undecided" {
				err = sub.Authorize(ctx, &call.Check{Action: "secretsmanager:GetSecretValue", Resource: id})
			}
			if id == "broken" {
				err = errors.New("rack 3")
				sub.ServiceEvent(event("Smoke"))
			}
			aerr := sub.Done(&smapi.GetSecretValueOutput{}, err)
			if (aerr == nil) != (id == "fine") {
				t.Errorf("%s: Done = %v", id, aerr)
			}
		}
		return nil
	})
	if _, err := b.read(t.Context(), "outer"); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range b.lines(t) {
		got = append(got, strings.TrimSpace(fmt.Sprint(l.RequestParameters["secretId"], " ", l)))
	}
	want := []string{
		"outer GetSecretValue", "denied GetSecretValue AccessDeniedException", "fine GetSecretValue",
		"undecided GetSecretValue InternalServiceError", "broken GetSecretValue InternalServiceError", "<nil> Smoke",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

// An answer does not leave before the sub-calls it was made from are recorded.
func TestSubCallNotDone(t *testing.T) {
	b := newBed(t)
	b.serveRead(func(ctx context.Context, c *call.Call) error {
		sub := c.SubCall(smapi.OpGetSecretValue, nil)
		_ = allowed(ctx, sub)
		return allowed(ctx, c)
	})
	if _, err := b.read(t.Context(), "a"); code(t, err) != internal {
		t.Errorf("error %v", err)
	}
}

func TestDoneOutsideSubCall(t *testing.T) {
	for name, done := range map[string]func(c *call.Call){
		"of the call itself": func(c *call.Call) { c.Done(nil, nil) },
		"twice": func(c *call.Call) {
			sub := c.SubCall(smapi.OpGetSecretValue, nil)
			sub.NoDecision("test")
			sub.Done(nil, nil)
			sub.Done(nil, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			b.serveRead(func(_ context.Context, c *call.Call) error {
				defer func() {
					if recover() == nil {
						t.Error("Done did not panic")
					}
				}()
				done(c)
				return nil
			})
			_, _ = b.read(t.Context(), "a") // undecided
		})
	}
}

func callConfig(b *bed) call.Config {
	return call.Config{
		Store: b.store, Log: b.log, Logger: discard,
		Authorize: func(context.Context, *call.Call, *call.Check) error { return nil },
	}
}
