package rotator_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"testing"

	"arca/internal/dbtest"
	"arca/internal/rotator"
)

var long = flag.Bool("long", false, "run the long versions of tests")

// TestCut breaks the connection to the database at each request of each step, before the
// server gets it and after, and the call to Secrets Manager likewise. After each cut a
// login must be there that the secret names; then the step is run again, as the engine
// does, and in the end everything must be as if nothing had happened.
func TestCut(t *testing.T) {
	t.Parallel()
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, e.start(t))
			proxy := dbtest.NewProxy(t, b.db)
			through := func(more map[string]any) map[string]any {
				more["port"] = proxy.Port
				return more
			}
			master := b.create(t, "master", b.db.Secret(b.db.User, b.db.Password, through(map[string]any{})))
			kinds := []string{e.single[0], e.multi[0]}
			n := 0
			for i, kind := range kinds {
				// With several passwords, or several users, the current version always works.
				always := i == 1 || e.name == "Redis"
				for _, cut := range []dbtest.Cut{dbtest.Before, dbtest.After} {
					t.Run(fmt.Sprintf("%s/%d", kind, cut), func(t *testing.T) {
						n++
						name := fmt.Sprintf("cut%d", n)
						more := through(map[string]any{})
						if always {
							more["masterarn"] = master
						}
						secret := b.create(t, name, user(t, b.db, name, more))
						stride := 6 // some of the places, the same ones each time
						if *long {
							stride = 1
						}
						for at := 1 + 3*int(cut)%stride; ; at += stride {
							if cutOnce(t, b, proxy, kind, secret, at, cut, always) {
								if at < 20 {
									t.Errorf("after %d places there was nothing more to cut", at)
								}
								return
							}
						}
					})
				}
			}
		})
	}
}

// cutOnce rotates with one cut and reports whether there was nothing to cut any more.
func cutOnce(t *testing.T, b *bed, proxy *dbtest.Proxy, kind, secret string, at int, cut dbtest.Cut, always bool) (done bool) {
	t.Helper()
	ctx := t.Context()
	token := newToken()
	proxy.CutAt(at, cut)
	for _, step := range steps {
		for tries := 0; ; tries++ {
			err := b.step(ctx, kind, step, secret, token)
			current := login(ctx, b.db, b.value(t, secret, "AWSCURRENT"))
			pending := errors.New("no value")
			if value := b.value(t, secret, "AWSPENDING"); value != "" {
				pending = login(ctx, b.db, value)
			}
			if current != nil && (always || pending != nil) {
				t.Fatalf("cut %d at %d, %s said %v: current version: %v, pending version: %v", cut, at, step, err, current, pending)
			}
			if err == nil {
				break
			}
			if tries == 2 {
				t.Fatalf("cut %d at %d: %s fails again and again: %v", cut, at, step, err)
			}
		}
	}
	value := b.value(t, secret, "AWSCURRENT")
	if err := login(ctx, b.db, value); err != nil {
		t.Fatalf("cut %d at %d: at the end the current version does not log in: %v", cut, at, err)
	}
	if kind == rotator.MariaDBMultiUser || kind == rotator.RedisMultiUser || kind == rotator.PostgreSQLMultiUser {
		name := member(t, value, "username")
		first := name
		if len(name) > 6 && name[len(name)-6:] == "_clone" {
			first = name[:len(name)-6]
		}
		if a, c := grants(t, b.db, first), grants(t, b.db, first+"_clone"); fmt.Sprint(a) != fmt.Sprint(c) {
			t.Fatalf("cut %d at %d: the two users may not do the same:\n%q\n%q", cut, at, a, c)
		}
	}
	return !proxy.Happened()
}

// TestCalls breaks each call to Secrets Manager, before it is made and after. The
// answer of a call that was made may be lost.
func TestCalls(t *testing.T) {
	t.Parallel()
	b := newBed(t, dbtest.Redis(t))
	master := b.create(t, "master", b.db.Secret(b.db.User, b.db.Password, nil))
	for _, kind := range []string{rotator.RedisSingleUser, rotator.RedisMultiUser, rotator.Generic} {
		t.Run(kind, func(t *testing.T) {
			secret := b.create(t, kind, user(t, b.db, kind, map[string]any{"masterarn": master}))
			lost := errors.New("the network is gone")
			stride := 3 // see TestCut
			if *long {
				stride = 1
			}
			for at := 1; ; at += stride {
				for _, made := range []bool{false, true} {
					left := at
					hook := func(_ string, in any) error {
						if left--; left != 0 {
							return nil
						}
						if made {
							_, _ = b.send(context.Background(), in)
						}
						return lost
					}
					token := newToken()
					for _, step := range steps {
						b.setHook(hook)
						err := b.step(t.Context(), kind, step, secret, token)
						b.setHook(nil)
						if err != nil {
							wantError(t, err, rotator.ServiceError, lost.Error())
							err = b.step(t.Context(), kind, step, secret, token)
						}
						if err != nil {
							t.Fatalf("call %d lost (made: %v): %s fails again: %v", at, made, step, err)
						}
						if kind == rotator.Generic {
							continue
						}
						if err := login(t.Context(), b.db, b.value(t, secret, "AWSCURRENT")); err != nil {
							t.Fatalf("call %d lost (made: %v): the current version does not log in: %v", at, made, err)
						}
					}
					if made && left > 0 {
						return
					}
				}
			}
		})
	}
}

func (b *bed) setHook(hook func(op string, in any) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hook = hook
}
