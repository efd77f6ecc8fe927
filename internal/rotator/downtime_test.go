package rotator_test

import (
	"context"
	"sync"
	"testing"
	"time"
)

// TestNoDowntime: a client that reads the secret and logs in, again and again, is never
// refused while two users alternate.
func TestNoDowntime(t *testing.T) {
	t.Parallel()
	rotations := 10
	if *long {
		rotations = 50
	}
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, e.start(t))
			master := b.create(t, "master", b.db.Secret(b.db.User, b.db.Password, nil))
			secret := b.create(t, "s", user(t, b.db, "app", map[string]any{"masterarn": master}))
			ctx, stop := context.WithCancel(t.Context())
			var readers sync.WaitGroup
			var mu sync.Mutex
			logins := 0
			for range 2 {
				readers.Go(func() {
					for ctx.Err() == nil {
						value := b.value(t, secret, "AWSCURRENT")
						// A client is slower than that to use what it read.
						time.Sleep(5 * time.Millisecond)
						if err := login(context.WithoutCancel(ctx), b.db, value); err != nil {
							t.Errorf("after %d logins one fails: %v", logins, err)
							return
						}
						mu.Lock()
						logins++
						mu.Unlock()
					}
				})
			}
			for i := range rotations {
				if err := b.rotate(t.Context(), e.multi[0], secret); err != nil {
					t.Errorf("rotation %d: %v", i, err)
					break
				}
			}
			stop()
			readers.Wait()
			if logins < rotations {
				t.Errorf("%d logins during %d rotations", logins, rotations)
			}
			t.Logf("%d logins during %d rotations", logins, rotations)
		})
	}
}
