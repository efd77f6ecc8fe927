package rotator_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"arca/internal/dbtest"
	"arca/internal/rotator"
)

// TestOverlap runs every step several times at once: a leader that was held up, and its
// successor. The database and AWSCURRENT agree in the end.
func TestOverlap(t *testing.T) {
	t.Parallel()
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, e.start(t))
			master := b.create(t, "master", b.db.Secret(b.db.User, b.db.Password, nil))
			for _, kind := range []string{e.single[0], e.multi[0]} {
				more := map[string]any{"masterarn": master}
				secret := b.create(t, kind, user(t, b.db, "u"+newToken()[:8], more))
				for range 3 {
					token := newToken()
					for _, step := range steps {
						var wg sync.WaitGroup
						var worked atomic.Int32
						for range 3 {
							wg.Go(func() {
								if b.step(t.Context(), kind, step, secret, token) == nil {
									worked.Add(1)
								}
							})
						}
						wg.Wait()
						// Who came second may fail; then the engine asks again.
						if err := b.step(t.Context(), kind, step, secret, token); err != nil {
							t.Fatalf("%s, %s after the others: %v", kind, step, err)
						}
						if worked.Load() == 0 {
							t.Errorf("%s, %s: all failed", kind, step)
						}
					}
					if err := login(t.Context(), b.db, b.value(t, secret, "AWSCURRENT")); err != nil {
						t.Fatalf("%s: the current version does not log in: %v", kind, err)
					}
				}
			}
		})
	}
}

// TestOvertaken: who finds, right before the change, that the rotation went on without
// him, changes nothing.
func TestOvertaken(t *testing.T) {
	t.Parallel()
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, e.start(t))
			master := b.create(t, "master", b.db.Secret(b.db.User, b.db.Password, nil))
			for _, kind := range []string{e.single[0], e.multi[0]} {
				secret := b.create(t, kind, user(t, b.db, "u"+newToken()[:8], map[string]any{"masterarn": master}))
				late := newToken()
				if err := b.step(t.Context(), kind, "createSecret", secret, late); err != nil {
					t.Fatal(err)
				}
				described := 0
				b.setHook(func(op string, _ any) error {
					if op != "DescribeSecret" {
						return nil
					}
					if described++; described == 2 {
						// Somebody takes AWSPENDING for a version of his own.
						b.put(t, secret, newToken(), b.value(t, secret, "AWSCURRENT"), "AWSPENDING")
					}
					return nil
				})
				err := b.step(t.Context(), kind, "setSecret", secret, late)
				b.setHook(nil)
				wantError(t, err, rotator.InvalidSecret, "has no stage for rotation")
				if err := login(t.Context(), b.db, b.value(t, secret, "AWSCURRENT")); err != nil {
					t.Errorf("%s: the current version does not log in: %v", kind, err)
				}
			}
		})
	}
}

// TestTimeout: a step ends with its context, also while a server does not answer.
func TestTimeout(t *testing.T) {
	t.Parallel()
	b := newBed(t, dbtest.PostgreSQL(t))
	secret := b.create(t, "s", user(t, b.db, "app", nil))
	token := newToken()
	if err := b.step(t.Context(), rotator.PostgreSQLSingleUser, "createSecret", secret, token); err != nil {
		t.Fatal(err)
	}
	// A lock on the role's row makes ALTER ROLE wait.
	conn := b.db.PostgreSQL(t, "postgres")
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "ALTER ROLE app CONNECTION LIMIT 7"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	wantError(t, b.step(ctx, rotator.PostgreSQLSingleUser, "setSecret", secret, token), rotator.TimedOut, "")
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, step := range steps[1:] {
		if err := b.step(t.Context(), rotator.PostgreSQLSingleUser, step, secret, token); err != nil {
			t.Fatal(step, err)
		}
	}
	if err := login(t.Context(), b.db, b.value(t, secret, "AWSCURRENT")); err != nil {
		t.Error(err)
	}
}

// TestPrevious: a rotation that was broken off by hand after it had changed the password
// and somehow lost it is repaired with the previous version.
func TestPrevious(t *testing.T) {
	t.Parallel()
	b := newBed(t, dbtest.PostgreSQL(t))
	secret := b.create(t, "s", user(t, b.db, "app", nil))
	lost := strings.Replace(b.value(t, secret, "AWSCURRENT"), "first-password", "l0st-password", 1)
	b.put(t, secret, newToken(), lost, "AWSCURRENT") // never set in the database
	if err := b.rotate(t.Context(), rotator.PostgreSQLSingleUser, secret); err != nil {
		t.Fatal(err)
	}
	if err := login(t.Context(), b.db, b.value(t, secret, "AWSCURRENT")); err != nil {
		t.Error(err)
	}
	// Twice is too often.
	for range 2 {
		lost := strings.Replace(b.value(t, secret, "AWSCURRENT"), password(t, b.value(t, secret, "AWSCURRENT")), "l0st-"+newToken(), 1)
		b.put(t, secret, newToken(), lost, "AWSCURRENT")
	}
	wantError(t, b.rotate(t.Context(), rotator.PostgreSQLSingleUser, secret), rotator.LoginRefused, "previous, current, or pending")
}

// TestEnvironment: new passwords follow the function's environment.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	for _, tc := range []struct {
		name  string
		env   map[string]string
		value string
		check func(t *testing.T, value string)
		bad   string
	}{
		{"by default", nil, `{"a": 1, "password": "x"}`, func(t *testing.T, value string) {
			if p := password(t, value); len(p) != 32 || strings.ContainsAny(p, ":/@\"'\\") || !strings.HasPrefix(value, `{"a": 1, "password": `) {
				t.Errorf("value %s", value)
			}
		}, ""},
		{"digits", map[string]string{"PASSWORD_LENGTH": "64", "EXCLUDE_PUNCTUATION": "Yes", "EXCLUDE_LOWERCASE": "1", "EXCLUDE_UPPERCASE": "true", "EXCLUDE_CHARACTERS": "0"}, `{"password": "x"}`, func(t *testing.T, value string) {
			if p := password(t, value); len(p) != 64 || strings.Trim(p, "123456789") != "" {
				t.Errorf("value %s", value)
			}
		}, ""},
		{"another field", map[string]string{"SECRET_FIELD": "token"}, `{"password": "stays", "token": "x"}`, func(t *testing.T, value string) {
			if password(t, value) != "stays" || len(member(t, value, "token")) != 32 {
				t.Errorf("value %s", value)
			}
		}, ""},
		{"the whole value", nil, "plain", func(t *testing.T, value string) {
			if len(value) != 32 || json.Valid([]byte(value)) {
				t.Errorf("value %s", value)
			}
		}, ""},
		{"a field of what is no object", map[string]string{"SECRET_FIELD": "token"}, "plain", nil, rotator.InvalidSecret},
		{"a length that is none", map[string]string{"PASSWORD_LENGTH": "many"}, "plain", nil, rotator.InvalidEvent},
		{"a length that is too much", map[string]string{"PASSWORD_LENGTH": "5000"}, "plain", nil, rotator.ServiceError},
		{"neither true nor false", map[string]string{"EXCLUDE_NUMBERS": "perhaps"}, "plain", nil, rotator.InvalidEvent},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b.env = tc.env
			secret := b.create(t, "s/"+newToken(), tc.value)
			err := b.rotate(t.Context(), rotator.Generic, secret)
			if tc.bad != "" {
				wantError(t, err, tc.bad, "")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			tc.check(t, b.value(t, secret, "AWSCURRENT"))
		})
	}
}
