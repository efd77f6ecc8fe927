package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Transactions that wait for etcd at the same time are sent as one: etcd does as much
// for each that it is sent, from the proposal to the news for the watch, as for writing
// three records. Each is a transaction inside the joint one, with comparisons and
// outcome of its own, so that one of them conflicting does the others no harm, and none
// can tell that it had company, but by the revision, which they share.
//
// etcd compares for all of them before it writes for any. That equals some order of one
// after the other as long as none writes what another one compares or writes, and only
// such ones are joined. There is no timer: what comes alone is sent at once, and joint
// are those that came while maxFlying were under way.
const (
	maxFlying = 2
	// An etcd outside is several members, of which one that is cut off keeps what it was
	// sent for seconds. The others must not wait for that.
	maxFlyingOutside = 32
	// A joint transaction of this many, with at most maxJoinOps comparisons or writes
	// each, is within maxTxnOps, which etcd counts along each branch.
	maxJoin    = 64
	maxJoinOps = 32
	// etcd bounds its log in memory and on disk by entries, not by their size.
	maxJoinBytes = 128 << 10
)

// joiner is where transactions of this process wait for each other.
type joiner struct {
	mu     sync.Mutex
	queue  []*ticket // guarded by mu; in the order they came
	flying int       // guarded by mu; tickets that lead and have not landed
	most   int       // of flying; 0 is maxFlying
}

// fullLocked says that nothing else can be sent now. The caller holds mu.
func (j *joiner) fullLocked() bool { return j.flying >= cmp.Or(j.most, maxFlying) }

// ticket is a transaction on its way.
type ticket struct {
	p *prepared
	// turn is closed when the ticket's goroutine is to send what stands in the queue
	// (lead), and otherwise when the transaction has been sent by another one.
	turn chan struct{}
	lead bool // guarded by joiner.mu until turn is closed
	// What became of it; written before turn is closed.
	resp *clientv3.TxnResponse
	err  error
}

// join sends a transaction, perhaps together with others. The mirror has been offered
// what it and those did if err is nil. The error says as little about the outcome as that
// of send, unless it is definite.
func (s *Store) join(ctx context.Context, p *prepared) (*clientv3.TxnResponse, error) {
	j := &s.joiner
	t := &ticket{p: p}
	j.mu.Lock()
	j.queue = append(j.queue, t)
	if !j.fullLocked() {
		j.flying++
		t.lead = true
	} else {
		t.turn = make(chan struct{})
	}
	j.mu.Unlock()
	if t.turn != nil {
		if !j.await(ctx, t) {
			return nil, fmt.Errorf("%w: %w", errNotSent, ctx.Err())
		}
		if !t.lead {
			return t.resp, t.err
		}
	}
	// The time of ctx may be over for the most part, and others go along.
	ctx, cancel := context.WithTimeout(s.life, commitTimeout)
	defer cancel()
	all := j.take(t)
	s.sendJoint(ctx, all)
	j.land(all)
	return t.resp, t.err
}

// await returns when it is the ticket's turn. False means that ctx ended first and the
// transaction is not going to be sent.
func (j *joiner) await(ctx context.Context, t *ticket) bool {
	select {
	case <-t.turn:
		return true
	case <-ctx.Done():
	}
	j.mu.Lock()
	at := slices.Index(j.queue, t)
	if at >= 0 && !t.lead {
		j.queue = slices.Delete(j.queue, at, at+1)
		j.mu.Unlock()
		return false
	}
	j.mu.Unlock()
	<-t.turn // it is being sent, which ends in time, or to be sent by the caller
	return true
}

// take removes from the queue one that leads and those that can go with it.
func (j *joiner) take(first *ticket) []*ticket {
	j.mu.Lock()
	defer j.mu.Unlock()
	var g group
	g.add(first)
	rest := j.queue[:0]
	for _, t := range j.queue {
		// Another one that leads is about to send itself.
		if t != first && (t.lead || !g.add(t)) {
			rest = append(rest, t)
		}
	}
	clear(j.queue[len(rest):])
	j.queue = rest
	j.handOnLocked() // to those that could not go along
	return g.all
}

// land wakes those whose transactions were sent, and hands on the right to send.
func (j *joiner) land(all []*ticket) {
	j.mu.Lock()
	j.flying--
	j.handOnLocked()
	j.mu.Unlock()
	for _, t := range all {
		if !t.lead {
			close(t.turn)
		}
	}
}

// handOnLocked has the first of the queue send it if another one may fly.
func (j *joiner) handOnLocked() {
	if len(j.queue) > 0 && !j.fullLocked() && !j.queue[0].lead {
		j.flying++
		j.queue[0].lead = true
		close(j.queue[0].turn)
	}
}

// group is what can be sent together.
type group struct {
	all      []*ticket
	bytes    int64
	closed   bool            // nothing else can go along
	compared map[string]bool // by etcd key
	written  map[string]bool
}

// add reports whether the ticket can go along, and if so takes it.
func (g *group) add(t *ticket) bool {
	if len(g.all) == 0 {
		g.all, g.bytes, g.closed = append(g.all, t), t.p.batch.bytes, t.p.alone()
		return true
	}
	if g.closed || len(g.all) == maxJoin || g.bytes+t.p.batch.bytes > maxJoinBytes || t.p.alone() {
		return false
	}
	if g.written == nil {
		g.compared, g.written = make(map[string]bool), make(map[string]bool)
		g.note(g.all[0].p)
	}
	for i := range t.p.ifs {
		if g.written[string(t.p.ifs[i].KeyBytes())] {
			return false
		}
	}
	for i := range t.p.thens {
		if key := t.p.thens[i].KeyBytes(); g.written[string(key)] || g.compared[string(key)] {
			return false
		}
	}
	g.note(t.p)
	g.all = append(g.all, t)
	g.bytes += t.p.batch.bytes
	return true
}

func (g *group) note(p *prepared) {
	for i := range p.ifs {
		g.compared[string(p.ifs[i].KeyBytes())] = true
	}
	for i := range p.thens {
		g.written[string(p.thens[i].KeyBytes())] = true
	}
}

// alone says that a transaction is not joined with others: it is large, or it is rare and
// of a kind that joining would have to know more of, as ranges are.
func (p *prepared) alone() bool {
	return len(p.ifs) > maxJoinOps || len(p.thens) > maxJoinOps || p.batch.bytes > maxJoinBytes || len(p.elses) > 0 ||
		slices.ContainsFunc(p.thens, func(op clientv3.Op) bool { return len(op.RangeBytes()) > 0 })
}

// sendJoint sends the transactions of the tickets and notes in these what came of it.
func (s *Store) sendJoint(ctx context.Context, all []*ticket) {
	if len(all) == 1 {
		t := all[0]
		t.resp, t.err = s.send(ctx, t.p)
		if t.err == nil && t.resp.Succeeded {
			t.p.batch.rev = t.resp.Header.Revision
			s.mirror.offer(t.p.batch)
		}
		return
	}
	var joint prepared
	for _, t := range all {
		t.p.joined = true
		joint.thens = append(joint.thens, clientv3.OpTxn(t.p.ifs, t.p.thens, nil))
	}
	resp, err := s.send(ctx, &joint)
	if err != nil {
		for _, t := range all {
			t.err, t.p.silent = err, joint.silent
		}
		return
	}
	// Durable, as much of it as did not conflict. All of that is one revision, which the
	// mirror must get whole.
	b := batch{rev: resp.Header.Revision}
	for i, t := range all {
		t.resp = (*clientv3.TxnResponse)(resp.Responses[i].GetResponseTxn())
		t.resp.Header = resp.Header
		if t.resp.Succeeded {
			b.bytes += t.p.batch.bytes
			b.changes = append(b.changes, t.p.batch.changes...)
		}
	}
	if slices.ContainsFunc(all, func(t *ticket) bool { return t.resp.Succeeded }) {
		s.mirror.offer(b)
	}
}

// ownWait is how long the watch leaves a revision of this process to the reply that
// brings it, too.
const ownWait = 100 * time.Millisecond

// isOwn reports whether a revision is a commit of this node, by its effect.
func (s *Store) isOwn(events []*clientv3.Event) bool {
	x := &s.effects
	return slices.ContainsFunc(events, func(ev *clientv3.Event) bool {
		key := ev.Kv.Key
		return ev.Type == clientv3.EventTypePut && len(key) == len(x.first) && string(key[:len(x.prefix)]) == x.prefix && string(key) >= x.first
	})
}

// awaitOwn waits until the mirror has a revision that this process has committed. The
// watch often has it first, by a moment; to open and decode all its records would be work
// for nothing, for the reply comes with the records themselves. If it was lost, it is.
func (s *Store) awaitOwn(ctx context.Context, rev int64) {
	ctx, cancel := context.WithTimeout(ctx, ownWait)
	defer cancel()
	_ = s.mirror.wait(ctx, rev) // whoever asks finds out what the mirror has
}
