package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// leaseSeconds is how long a leader that died keeps the others out.
const leaseSeconds = 10

// leaseSession is the lease that all leaderships of this process hang on.
type leaseSession struct {
	mu      sync.Mutex
	session *concurrency.Session // guarded by mu; nil before the first Lead
}

// get returns a live session, opening one if there is none.
func (l *leaseSession) get(s *Store) (*concurrency.Session, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session != nil {
		select {
		case <-l.session.Done():
		default:
			return l.session, nil
		}
	} else if s.free.Load() {
		// Nobody but an earlier life of this process can have been leader; waiting for
		// its lease to end would only delay the engines.
		ctx, cancel := context.WithTimeout(s.life, commitTimeout)
		defer cancel()
		if _, err := s.client.Delete(ctx, leadPrefix, clientv3.WithPrefix()); err != nil {
			return nil, err
		}
	}
	session, err := concurrency.NewSession(s.client, concurrency.WithTTL(leaseSeconds), concurrency.WithContext(s.life))
	if err != nil {
		return nil, err
	}
	l.session = session
	return session, nil
}

// close gives up all leaderships at once, so that successors need not wait. If etcd
// cannot be told, they end with the lease.
func (l *leaseSession) close(log *slog.Logger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session == nil {
		return
	}
	if err := l.session.Close(); err != nil {
		log.Warn("lease not given up; leaderships end when it does", "error", err.Error())
	}
}

// Leadership proves that this process leads an engine. It is a key in etcd that
// exists as long as the leadership does; transactions compare it (Tx.Fence).
type Leadership struct {
	name string
	key  string
	rev  int64 // create revision
}

// Name is the engine that is led.
func (l *Leadership) Name() string { return l.name }

func (l *Leadership) compare() clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(l.key), "=", l.rev)
}

func (l *Leadership) get() clientv3.Op { return clientv3.OpGet(l.key, clientv3.WithKeysOnly()) }

// holds tells from the reply to a failed transaction whether the fence was the cause.
func (l *Leadership) holds(resp *clientv3.TxnResponse) bool {
	if len(resp.Responses) == 0 {
		return false
	}
	kvs := resp.Responses[0].GetResponseRange().Kvs
	return len(kvs) == 1 && kvs[0].CreateRevision == l.rev
}

// Lead campaigns for name and runs fn while this process leads; fn's ctx ends with
// the leadership. When fn returns the leadership is given up and, unless ctx has
// ended, campaigned for again after a pause. Lead returns nil when ctx ends. Run must
// be running.
//
// A process that is paused can believe for a while that it still leads, and fn be
// running in two processes. What must not happen twice is fenced with Tx.Fence.
func (s *Store) Lead(ctx context.Context, name string, fn func(ctx context.Context, l *Leadership) error) error {
	if err := validTableName(name); err != nil {
		return fmt.Errorf("lead: %w", err)
	}
	s.metrics.campaigns(name, 0)
	for ctx.Err() == nil {
		err := s.leadOnce(ctx, name, fn)
		if ctx.Err() != nil {
			break
		}
		if err != nil && !errors.Is(err, ErrNotLeader) {
			s.log.Warn("leadership ended", "engine", name, "error", err.Error())
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
	return nil
}

func (s *Store) leadOnce(ctx context.Context, name string, fn func(ctx context.Context, l *Leadership) error) error {
	session, err := s.session.get(s)
	if err != nil {
		return fmt.Errorf("%w: open lease: %w", ErrUnavailable, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(s.life, cancel)
	defer stop()
	go func() {
		// Ends with the leadership at the latest.
		select {
		case <-session.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	election := concurrency.NewElection(session, leadPrefix+name)
	if err := election.Campaign(ctx, s.node.id); err != nil {
		return fmt.Errorf("campaign: %w", err)
	}
	s.metrics.campaigns(name, 1)
	err = fn(ctx, &Leadership{name: name, key: election.Key(), rev: election.Rev()})
	s.metrics.campaigns(name, 0)

	resignCtx, cancelResign := context.WithTimeout(s.life, 2*time.Second)
	defer cancelResign()
	if rerr := election.Resign(resignCtx); rerr != nil && s.life.Err() == nil {
		err = errors.Join(err, fmt.Errorf("give up leadership: %w", rerr))
	}
	return err
}
