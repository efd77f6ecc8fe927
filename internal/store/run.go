package store

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"
)

// Run keeps the mirror fed and the database small until ctx ends, and then returns
// nil. It returns an error if the embedded member stops by itself, as it does when it
// can no longer write; the process should end then.
func (s *Store) Run(ctx context.Context) error {
	if s.mirror == nil {
		return ErrClosed
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.watch(ctx) })
	g.Go(func() error { return s.removeEffects(ctx) })
	g.Go(func() error { return s.housekeep(ctx) })
	g.Go(func() error { return s.followKeyring(ctx) })
	g.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-s.life.Done():
			return ErrClosed
		case <-s.memberStopped():
			if s.life.Err() != nil {
				return ErrClosed
			}
			return errors.New("the etcd member in this process has stopped")
		}
	})
	return g.Wait()
}
