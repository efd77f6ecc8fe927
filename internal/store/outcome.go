package store

import (
	"context"
	"errors"
	"fmt"
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
)

var (
	errInjected     = errors.New("refused by a test")
	errInjectedLost = errors.New("reply dropped by a test")
)

// send is the one place where records are committed.
func (s *Store) send(ctx context.Context, p *prepared) (*clientv3.TxnResponse, error) {
	n := int(s.commits.Add(1))
	fault := NoFault
	if s.cfg.CommitFault != nil {
		fault = s.cfg.CommitFault(n)
	}
	if fault == FaultNotApplied {
		return nil, errInjected
	}
	resp, err := s.transmit(ctx, p)
	if err == nil && (fault == FaultReplyLost || fault == FaultUnknown) {
		p.silent = fault == FaultUnknown
		return nil, errInjectedLost
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
		rpctypes.ErrNoSpace,
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
// never commit any more, however late it arrives; if it does not, the value that is
// there says who was first.
//
// Tombstones stay for a day: removing one would let in a transaction that was held up
// somewhere on the way.
func (s *Store) resolve(p *prepared, cause error) (rev int64, committed bool, err error) {
	ctx, cancel := context.WithTimeout(s.life, resolveTimeout)
	defer cancel()
	tombstone, err := s.sealEffect(p.key, p.seq, effectTombstone, nil)
	if err != nil {
		return 0, false, err
	}
	for pause := retryMin; ; pause = min(2*pause, retryMax) {
		if !p.silent {
			resp, err := s.client.Txn(ctx).
				If(clientv3.Compare(clientv3.CreateRevision(p.key), "=", 0)).
				Then(clientv3.OpPut(p.key, string(tombstone))).
				Else(clientv3.OpGet(p.key)).
				Commit()
			switch {
			case err == nil && resp.Succeeded:
				s.effects.settle(p.seq, ruledOut)
				s.mirror.offer(batch{rev: resp.Header.Revision})
				return 0, false, nil
			case err == nil:
				kvs := resp.Responses[0].GetResponseRange().Kvs
				if len(kvs) == 1 && string(kvs[0].Value) == p.value {
					return kvs[0].ModRevision, true, nil
				}
				// A tombstone of an earlier try, whose reply was lost in turn.
				s.effects.settle(p.seq, ruledOut)
				return 0, false, nil
			}
			cause = err
		}
		if !p.silent {
			select {
			case <-time.After(pause):
				continue
			case <-ctx.Done():
			}
		}
		s.effects.settle(p.seq, unknown)
		s.log.Error("outcome of a commit is unknown", "effect", p.seq, "error", cause.Error())
		return 0, false, fmt.Errorf("%w: %w: %w", ErrUnavailable, ErrUnknown, cause)
	}
}
