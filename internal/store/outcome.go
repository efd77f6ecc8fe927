package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Fault is what a test wants to go wrong with a commit.
type Fault int

const (
	// NoFault lets the commit pass.
	NoFault Fault = iota
	// FaultNotApplied makes Update fail as if etcd had refused the transaction.
	FaultNotApplied
	// FaultReplyLost sends the transaction and drops the reply. The store finds out
	// what became of it, so Update succeeds all the same.
	FaultReplyLost
	// FaultUnknown is FaultReplyLost with nobody to ask afterwards: the transaction is
	// applied, but Update returns an error that wraps ErrUnknown.
	FaultUnknown
	// FaultFull sends the transaction and has etcd say that there was no space for it. The
	// store finds out that it was applied.
	FaultFull
)

var (
	errInjected     = errors.New("refused by a test")
	errInjectedLost = errors.New("reply dropped by a test")

	// errNotSent: etcd answered so slowly that others' transactions were all it was sent.
	errNotSent = errors.New("the commit was not sent")
)

// nextFault asks the test what goes wrong with the next commit.
func (s *Store) nextFault() Fault {
	n := int(s.commits.Add(1))
	if s.cfg.CommitFault == nil {
		return NoFault
	}
	return s.cfg.CommitFault(n)
}

// send is the one place where records are committed.
func (s *Store) send(ctx context.Context, p *prepared) (*clientv3.TxnResponse, error) {
	fault := s.nextFault()
	if fault == FaultNotApplied {
		return nil, errInjected
	}
	resp, err := s.transmit(ctx, p)
	if err == nil && (fault == FaultReplyLost || fault == FaultUnknown) {
		p.silent = fault == FaultUnknown
		return nil, errInjectedLost
	}
	if err == nil && fault == FaultFull {
		return nil, rpctypes.ErrNoSpace
	}
	return resp, err
}

func (s *Store) transmitTxn(ctx context.Context, p *prepared) (*clientv3.TxnResponse, error) {
	return s.client.Txn(ctx).If(p.ifs...).Then(p.thens...).Else(p.elses...).Commit()
}

// definite recognises errors with which etcd says that it did not and will not apply
// the transaction. Anything else, timeouts above all, says nothing about it.
func definite(err error) bool {
	for _, known := range []error{
		errInjected,
		errNotSent,
		rpctypes.ErrTooManyRequests,
		rpctypes.ErrRequestTooLarge,
		rpctypes.ErrTooManyOps,
		rpctypes.ErrDuplicateKey,
		rpctypes.ErrEmptyKey,
		rpctypes.ErrPermissionDenied,
		rpctypes.ErrUserEmpty,
		rpctypes.ErrNotCapable,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

const resolveTimeout = 15 * time.Second

// resolve finds out what became of a transaction whose reply was lost, and rules it
// out if it has not been applied yet. Each transaction puts a value of its own at a
// key of its own, and only if that key does not exist. So whoever puts something
// there first decides: if the tombstone written here gets in, the transaction can
// never commit any more, however late it arrives; if it does not, what is there says
// who was first. It may have been sealed anew since, so its kind tells, not its bytes,
// and the revision at which it was created.
//
// Tombstones stay for a day: removing one would let in a transaction that was held up
// somewhere on the way.
func (s *Store) resolve(p *prepared, cause error) (rev int64, committed bool, err error) {
	ctx, cancel := context.WithTimeout(s.life, resolveTimeout)
	defer cancel()
	for pause := retryMin; !p.silent; pause = min(2*pause, retryMax) {
		kind, at, err := s.entomb(ctx, p.key, p.seq)
		if err == nil {
			if kind != effectTombstone {
				return at, true, nil
			}
			s.effects.settle(p.seq, ruledOut)
			return 0, false, nil
		}
		cause = err
		select {
		case <-time.After(pause):
			continue
		case <-ctx.Done():
		}
		break
	}
	s.effects.settle(p.seq, unknown)
	s.log.Error("outcome of a commit is unknown", "effect", p.seq, "error", cause.Error())
	return 0, false, fmt.Errorf("%w: %w: %w", ErrUnavailable, ErrUnknown, cause)
}

// lookUp finds out what became of a transaction of which etcd said that there is no
// space for it. It says so of those that it refuses, and also, having applied it, of one
// that crosses the quota on its way from the first check to the second. Either way it is
// done with the transaction, so that a read of the effect's key tells.
func (s *Store) lookUp(p *prepared, cause error) (rev int64, committed bool, err error) {
	ctx, cancel := context.WithTimeout(s.life, commitTimeout)
	defer cancel()
	resp, err := s.client.Get(ctx, p.key)
	if err != nil {
		return s.resolve(p, err)
	}
	if len(resp.Kvs) == 0 {
		s.effects.settle(p.seq, removable)
		return 0, false, fmt.Errorf("%w: commit: %w", ErrUnavailable, cause)
	}
	return resp.Kvs[0].CreateRevision, true, nil
}

// entomb writes a tombstone at an effect's key if nothing is there. It returns what
// is there afterwards, and the revision at which it came.
func (s *Store) entomb(ctx context.Context, key string, seq uint64) (effectKind, int64, error) {
	ring := s.ring.rev.Load()
	tombstone, err := s.sealEffect(key, seq, effectTombstone, nil)
	if err != nil {
		return 0, 0, err
	}
	ifs := []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(key), "=", 0)}
	if !s.free.Load() {
		ifs = append(ifs, compareKeyring(ring))
	}
	resp, err := s.client.Txn(ctx).
		If(ifs...).
		Then(clientv3.OpPut(key, string(tombstone))).
		Else(clientv3.OpGet(key)).
		Commit()
	if err != nil {
		return 0, 0, err
	}
	if resp.Succeeded {
		s.mirror.offer(batch{rev: resp.Header.Revision})
		return effectTombstone, resp.Header.Revision, nil
	}
	kvs := resp.Responses[0].GetResponseRange().Kvs
	if len(kvs) == 0 {
		return 0, 0, errors.New("the keyring has changed and this node has not learned of it yet")
	}
	rec, err := s.openEffect(key, kvs[0].Value)
	if err != nil {
		return 0, 0, fmt.Errorf("open effect %d: %w", seq, err)
	}
	return rec.Kind, kvs[0].CreateRevision, nil
}

// ruleOut decides the fate of all commits of this process whose outcome is unknown.
func (s *Store) ruleOut(ctx context.Context) error {
	x := &s.effects
	x.mu.Lock()
	doubtful := slices.Sorted(maps.Keys(x.orphans))
	x.mu.Unlock()
	for _, seq := range doubtful {
		kind, _, err := s.entomb(ctx, x.key(seq), seq)
		if err != nil {
			return fmt.Errorf("%w: find out what became of commit %d: %w", ErrUnavailable, seq, err)
		}
		if kind == effectTombstone {
			x.mu.Lock()
			if x.orphans[seq] {
				delete(x.orphans, seq)
				x.kept[seq] = time.Now().Add(tombstoneLife)
			}
			x.mu.Unlock()
		}
	}
	return nil
}

// compareKeyring makes a transaction fail unless the keyring in etcd is that of the
// given revision.
func compareKeyring(rev int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(keyringKey), "=", rev)
}
