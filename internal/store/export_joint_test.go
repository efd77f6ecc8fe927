package store

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// MaxFlying is how many joint transactions are under way at most.
const MaxFlying = maxFlying

// Queued is the number of transactions that wait for others to come back.
func (s *Store) Queued() int {
	s.joiner.mu.Lock()
	defer s.joiner.mu.Unlock()
	return len(s.joiner.queue)
}

// Grouped says of each transaction, given as the keys it compares and those it writes,
// whether it can go along with the first and those that went along before it.
func Grouped(all [][2][]string) (together []bool) {
	var g group
	for _, keys := range all {
		p := &prepared{}
		for _, key := range keys[0] {
			p.ifs = append(p.ifs, clientv3.Compare(clientv3.ModRevision(key), "=", 1))
		}
		for _, key := range keys[1] {
			p.thens = append(p.thens, clientv3.OpPut(key, ""))
		}
		together = append(together, g.add(&ticket{p: p}))
	}
	return together
}

// Withdraw reports whether a transaction is withdrawn whose time is over while others are
// under way, and whether one is that leads by then.
func Withdraw() (waiting, leading bool) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	j := joiner{flying: maxFlying}
	t := &ticket{p: &prepared{}, turn: make(chan struct{})}
	j.queue = []*ticket{t}
	waiting = !j.await(ended, t) && len(j.queue) == 0
	j.queue = []*ticket{t}
	j.land(nil)
	leading = !j.await(ended, t)
	return waiting, leading
}
