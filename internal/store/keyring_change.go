package store

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"arca/internal/envelope"
)

// The keyring changes in etcd first, by one transaction that compares what it was made
// from, and is then taken over by every node in the order of revisions. A value is
// sealed under the keyring of a revision, and commits only while that is the newest:
// see prepared.ring. A node that cannot follow, because the keys are wrapped under a
// root key that it does not have yet, knows that it cannot, and commits nothing.

// doubt is why the keyring in etcd cannot be followed.
type doubt struct{ cause error }

// suspect makes commits stop until the keyring is learned.
func (r *keyring) suspect(cause error) {
	r.doubt.Store(&doubt{cause})
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// trusted returns the error that a commit ends with while the keyring is in doubt.
func (r *keyring) trusted() error {
	if d := r.doubt.Load(); d != nil {
		return fmt.Errorf("%w: nothing is written until the keyring can be read: %w", ErrUnavailable, d.cause)
	}
	return nil
}

// learnPatience is how long a commit waits for a keyring in doubt: opening the root key
// takes a moment after every change of it by another node.
const learnPatience = 2 * time.Second

// followed returns when the keyring is not in doubt, or the error that a commit ends
// with if it stays so.
func (s *Store) followed(ctx context.Context) error {
	if s.ring.doubt.Load() == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, learnPatience)
	defer cancel()
	if s.awaitKeyring(ctx) == nil {
		return nil
	}
	return s.ring.trusted()
}

// keyringAt is root record and keyring as they were at one revision.
type keyringAt struct {
	root      rootRecord
	rootValue []byte
	rootRev   int64
	ring      keyringRecord
	ringValue []byte
	ringRev   int64
}

func (s *Store) readKeyring(ctx context.Context) (at keyringAt, err error) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	resp, err := s.client.Txn(ctx).Then(clientv3.OpGet(rootKeyKey), clientv3.OpGet(keyringKey)).Commit()
	if err != nil {
		return at, fmt.Errorf("%w: read keyring: %w", ErrUnavailable, err)
	}
	root, ring := resp.Responses[0].GetResponseRange().Kvs, resp.Responses[1].GetResponseRange().Kvs
	if len(root) == 0 {
		return at, errors.New("the root record is missing from etcd; nothing can be read without it: restore a backup")
	}
	if len(ring) == 0 {
		return at, errNoKeyring
	}
	at.rootValue, at.rootRev = root[0].Value, root[0].ModRevision
	at.ringValue, at.ringRev = ring[0].Value, ring[0].ModRevision
	if at.root, err = s.decodeRoot(at.rootValue); err != nil {
		return at, err
	}
	at.ring, err = s.decodeKeyring(at.ringValue)
	return at, err
}

func (s *Store) decodeRoot(value []byte) (rec rootRecord, err error) {
	if err := s.codec.dec.Unmarshal(value, &rec); err != nil {
		return rec, fmt.Errorf("read root record: %w", err)
	}
	if rec.Format != rootFormat || len(rec.Deployment) != 16 {
		return rec, fmt.Errorf("root record has format %d, which this version does not know", rec.Format)
	}
	return rec, nil
}

func (s *Store) decodeKeyring(value []byte) (rec keyringRecord, err error) {
	if err := s.codec.dec.Unmarshal(value, &rec); err != nil {
		return rec, fmt.Errorf("read keyring: %w", err)
	}
	if rec.Format != keyringFormat {
		return rec, fmt.Errorf("keyring has format %d, which this version does not know", rec.Format)
	}
	return rec, nil
}

// learnKeyring takes over the keyring that is in etcd, opening the root key if the KEK
// is not the one in memory. The caller holds ring.change or is the only one.
func (s *Store) learnKeyring(ctx context.Context) error {
	doubted := s.ring.doubt.Load()
	if err := s.settleKeyring(ctx); err != nil {
		return err
	}
	at, err := s.readKeyring(ctx)
	if err != nil {
		return err
	}
	if err := s.takeKeyring(ctx, at); err != nil {
		return err
	}
	if at.ringRev == s.ring.rev.Load() {
		// The watch may have brought this keyring before its change was known to be lost:
		// then it was there already, and nothing above has ended the doubt.
		s.ring.doubt.CompareAndSwap(doubted, nil)
	}
	s.adopt(ctx, at.root)
	return nil
}

// takeKeyring is the part of learnKeyring that works on what was read.
func (s *Store) takeKeyring(ctx context.Context, at keyringAt) error {
	if s.deployment != nil && !bytes.Equal(s.deployment, at.root.Deployment) {
		return errors.New("the root record in etcd is of another deployment now")
	}
	err := s.installKeyring(at.ringValue, at.ringRev)
	if errors.Is(err, errOtherKEK) {
		var kek *envelope.Key
		if kek, err = s.openRoot(ctx, at.root); err != nil {
			return err
		}
		if used := s.ring.key(); used != nil && (kek.ID() != used.ID() || kek.Version() < used.Version()) {
			kek.Wipe()
			return errOldRoot
		}
		if s.deployment == nil { // a start: nobody reads it yet, and it never changes
			s.deployment = at.root.Deployment
			s.deploymentID = hex.EncodeToString(at.root.Deployment)
		}
		s.ring.propose(kek)
		err = s.installKeyring(at.ringValue, at.ringRev)
	}
	if err != nil {
		return err
	}
	if s.mirror == nil { // a start; a running process compares with what it has
		if err := s.node.checkKeys(s.keysInUse()); err != nil {
			return err
		}
	}
	return nil
}

// settleKeyring decides the fate of a change of the keyring whose reply was lost: it
// writes again what was there before, if it still is. If that gets in, the lost change
// never will, since it compares the revisions; if not, it or another one is there.
func (s *Store) settleKeyring(ctx context.Context) error {
	was := s.ring.unsettled
	if was == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	resp, err := s.client.Txn(ctx).
		If(was.unchanged()...).
		Then(clientv3.OpPut(rootKeyKey, string(was.rootValue)), clientv3.OpPut(keyringKey, string(was.ringValue))).
		Commit()
	if err != nil {
		return fmt.Errorf("%w: find out what became of the keyring: %w", ErrUnavailable, err)
	}
	s.ring.unsettled = nil
	if resp.Succeeded {
		if err := s.installKeyring(was.ringValue, resp.Header.Revision); err != nil {
			return err
		}
		if s.mirror != nil {
			s.mirror.offer(batch{rev: resp.Header.Revision})
		}
	}
	return nil
}

func (at *keyringAt) unchanged() []clientv3.Cmp {
	return []clientv3.Cmp{
		clientv3.Compare(clientv3.ModRevision(rootKeyKey), "=", at.rootRev),
		clientv3.Compare(clientv3.ModRevision(keyringKey), "=", at.ringRev),
	}
}

// propose makes a KEK known that a keyring may turn out to be sealed under.
func (r *keyring) propose(kek *envelope.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next != nil {
		r.next.Wipe()
	}
	r.next = kek
}

// openRoot opens the KEK with the configured root key.
func (s *Store) openRoot(ctx context.Context, rec rootRecord) (*envelope.Key, error) {
	if kind := s.cfg.RootKey.Kind(); kind != rec.RootKind {
		return nil, fmt.Errorf("this store was sealed with a root key of kind %q, but one of kind %q is configured", rec.RootKind, kind)
	}
	rootKey, err := s.cfg.RootKey.Open(ctx, rec.RootParams)
	if err != nil {
		return nil, fmt.Errorf("open root key: %w", err)
	}
	defer rootKey.Wipe()
	if id, _, err := envelope.Header(rec.KEK); err == nil && id != rootKey.ID() {
		return nil, fmt.Errorf("the configured root key has the id %s, but this store was sealed with %s", rootKey.ID(), id)
	}
	kek, err := rootKey.OpenKey(rec.KEK, kekAD(rec.Deployment))
	if err != nil {
		return nil, errors.New("the configured root key does not open this store: it is not the one that sealed it, or the root record in etcd is damaged")
	}
	if _, err := s.openHistory(kek, rec); err != nil {
		kek.Wipe()
		return nil, err
	}
	return kek, nil
}

// currentKeyring returns what etcd holds, after taking it over. The caller holds
// ring.change.
func (s *Store) currentKeyring(ctx context.Context) (keyringAt, error) {
	if s.ring.unsettled != nil || s.ring.doubt.Load() != nil {
		if err := s.learnKeyring(ctx); err != nil {
			return keyringAt{}, err
		}
	}
	at, err := s.readKeyring(ctx)
	if err != nil {
		return at, err
	}
	if at.ringRev != s.ring.rev.Load() {
		if err := s.learnKeyring(ctx); err != nil {
			return at, err
		}
		// Changed in between, or never to be followed.
		if at.ringRev != s.ring.rev.Load() {
			return at, fmt.Errorf("%w: the keyring is being changed by another node", ErrConflict)
		}
	}
	return at, nil
}

// commitKeyring writes a new root record, a new keyring or both in place of those it
// was made from; nil leaves one as it is. ErrConflict means that another node was
// faster and that nothing was changed. With ErrUnknown the change may still happen, and
// nothing else is committed by this process until that is settled. The caller holds
// ring.change.
func (s *Store) commitKeyring(was keyringAt, rootValue, ringValue []byte) (rev int64, err error) {
	var puts []clientv3.Op
	if rootValue != nil {
		puts = append(puts, clientv3.OpPut(rootKeyKey, string(rootValue)))
	}
	if ringValue != nil {
		puts = append(puts, clientv3.OpPut(keyringKey, string(ringValue)))
	}
	fault := s.nextFault()
	if fault == FaultNotApplied {
		return 0, fmt.Errorf("%w: write keyring: %w", ErrUnavailable, errInjected)
	}
	ctx, cancel := context.WithTimeout(s.life, resolveTimeout)
	defer cancel()
	lost := false
	for pause := retryMin; ; pause = min(2*pause, retryMax) {
		// The same transaction again is harmless: once it is in, its comparisons fail.
		resp, err := s.client.Txn(ctx).
			If(was.unchanged()...).
			Then(puts...).
			Else(clientv3.OpGet(rootKeyKey), clientv3.OpGet(keyringKey)).
			Commit()
		if err == nil && !lost && (fault == FaultReplyLost || fault == FaultUnknown) {
			err = errInjectedLost
		}
		switch {
		case err == nil && resp.Succeeded:
			return resp.Header.Revision, nil
		case err == nil:
			for i, want := range [][]byte{rootValue, ringValue} {
				kvs := resp.Responses[i].GetResponseRange().Kvs
				if lost && want != nil && len(kvs) == 1 && bytes.Equal(kvs[0].Value, want) {
					return kvs[0].ModRevision, nil
				}
			}
			return 0, fmt.Errorf("%w: another node changed the keyring", ErrConflict)
		case !lost && (definite(err) || errors.Is(err, rpctypes.ErrNoSpace)):
			if ringValue != nil && errors.Is(err, rpctypes.ErrNoSpace) {
				// It may be there for all that. Nothing is sealed until that was looked up.
				s.ring.suspect(err)
			}
			return 0, fmt.Errorf("%w: write keyring: %w", ErrUnavailable, err)
		}
		lost = true
		if fault != FaultUnknown {
			select {
			case <-time.After(pause):
				continue
			case <-ctx.Done():
			}
		}
		if ringValue != nil {
			s.ring.unsettled = &was
			s.ring.suspect(errUnsettled)
		}
		return 0, fmt.Errorf("%w: %w: write keyring: %w", ErrUnavailable, ErrUnknown, err)
	}
}

// keyringChanged follows a change of the keyring by another node, before the first
// record sealed under its keys arrives. nil means that the keyring was deleted.
func (s *Store) keyringChanged(value []byte, rev int64) {
	err := s.installKeyring(value, rev)
	switch {
	case errors.Is(err, errOtherKEK):
		s.log.Info("the root key was changed by another node; opening the new one", "revision", rev)
	case err != nil:
		s.log.Error("keyring in etcd not taken over; nothing is written until it can be", "revision", rev, "cause", err.Error())
	}
}

const (
	learnMin = 100 * time.Millisecond
	learnMax = 30 * time.Second
)

// followKeyring learns the keyring whenever it is in doubt, until ctx ends: the root
// key may have to be brought to this node first.
func (s *Store) followKeyring(ctx context.Context) error {
	pause := learnMin
	for {
		select {
		case <-s.ring.kick:
		case <-ctx.Done():
			return nil
		}
		for s.ring.doubt.Load() != nil && ctx.Err() == nil {
			s.ring.change.Lock()
			err := s.learnKeyring(ctx)
			s.ring.change.Unlock()
			if err == nil && s.ring.doubt.Load() == nil {
				s.log.Info("keyring taken over", "revision", s.ring.rev.Load())
				pause = learnMin
				break
			}
			if err != nil {
				s.log.Error("keyring not learned; trying again", "error", err.Error(), "pause", pause.String())
			}
			select {
			case <-time.After(pause):
			case <-s.ring.kick:
			case <-ctx.Done():
			}
			pause = min(2*pause, learnMax)
		}
	}
}

// awaitKeyring returns when the keyring is not in doubt.
func (s *Store) awaitKeyring(ctx context.Context) error {
	for s.ring.doubt.Load() != nil {
		select {
		case <-time.After(learnMin / 10):
		case <-ctx.Done():
			return ctx.Err()
		case <-s.life.Done():
			return ErrClosed
		}
	}
	return nil
}
