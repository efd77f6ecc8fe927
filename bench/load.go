package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// load is what the generator does to one server: so many connections, each of which
// waits for its answer before it sends the next request.
type load struct {
	addr        string
	tls         bool
	connections int
	// count and length end it, whichever comes first; 0 is no bound.
	count  int64
	length time.Duration
	// pace is the time between two requests; 0 sends as soon as there is an answer. What
	// is due while all connections wait is sent late, and its time counts from when
	// it was due.
	pace time.Duration
	// next returns the bytes of the n-th request. With TLS it is called concurrently.
	next func(n int64) []byte
	// check looks at the answer to the n-th request, of some of them; nil for no check.
	check func(n int64, body []byte) error
	// anyLength is for answers that differ in length by their nature.
	anyLength bool
	// forgiving leaves answers that fail out of the count, up to one in a hundred, instead
	// of giving up. Without TLS only.
	forgiving bool
}

// checkEvery is of how many answers one is looked at as a whole. All must be 200 and
// of about the same length.
const checkEvery = 61

// sample is what a load found.
type sample struct {
	times []time.Duration // of every answer
	took  time.Duration
	// generator is the processor time that it took to make the load.
	generator time.Duration
}

func (s *sample) rate() float64 { return float64(len(s.times)) / s.took.Seconds() }

// drive sends requests over the connections until the count or the time is used up
// (0: unbounded). Every answer must be 200.
func drive(ctx context.Context, addr string, connections int, count int64, length time.Duration, next func(n int64) []byte) ([]time.Duration, error) {
	s, err := (&load{addr: addr, connections: connections, count: count, length: length, next: next}).run(ctx)
	if err != nil {
		return nil, err
	}
	return s.times, nil
}

func (l *load) run(ctx context.Context) (*sample, error) {
	if l.tls {
		return l.runTLS(ctx)
	}
	return l.runPoll(ctx)
}

// judge decides whether an answer counts.
type judge struct {
	l             *load
	minLen, width int
}

func (j *judge) accept(n int64, r reply) error {
	if !r.ok {
		return fmt.Errorf("answer %s %s", r.status, r.body[:min(len(r.body), 500)])
	}
	if j.width == 0 {
		// An answer may name a longer number or date; a wrong one is far shorter.
		j.minLen, j.width = len(r.body)*3/4, len(r.body)/2+64
	}
	if !j.l.anyLength && uint(len(r.body)-j.minLen) > uint(j.width) {
		return fmt.Errorf("answer of %d bytes, others have about %d: %s", len(r.body), j.minLen*4/3, r.body[:min(len(r.body), 500)])
	}
	if j.l.check != nil && n%checkEvery == 0 {
		return j.l.check(n, r.body)
	}
	return nil
}

// runTLS has a goroutine for each connection, because tls.Conn wants one. Both sides of
// a comparison are always driven the same way.
func (l *load) runTLS(ctx context.Context) (*sample, error) {
	if l.pace > 0 {
		return nil, errors.New("no pace with TLS")
	}
	var n atomic.Int64
	n.Store(-1)
	all := make([][]time.Duration, l.connections)
	errs := make([]error, l.connections)
	conns := make([]net.Conn, l.connections)
	for i := range conns {
		// The servers are this program's own, with certificates of their own.
		c, err := tls.Dial("tcp", l.addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
		if err != nil {
			return nil, err
		}
		defer func() { _ = c.Close() }()
		conns[i] = c
	}
	begin := time.Now()
	deadline := begin.Add(l.length)
	var wg sync.WaitGroup
	for i, conn := range conns {
		wg.Go(func() {
			j, in := judge{l: l}, inbox{}
			for ctx.Err() == nil {
				k := n.Add(1)
				if l.count > 0 && k >= l.count || l.length > 0 && time.Now().After(deadline) {
					return
				}
				begin := time.Now()
				r, err := exchange(conn, &in, l.next(k))
				if err == nil {
					err = j.accept(k, r)
				}
				if err != nil {
					errs[i] = err
					return
				}
				all[i] = append(all[i], time.Since(begin))
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errors.Join(errs...), ctx.Err()); err != nil {
		return nil, err
	}
	return &sample{times: slices.Concat(all...), took: time.Since(begin)}, nil
}

// exchange sends a request and waits for its answer.
func exchange(conn net.Conn, in *inbox, request []byte) (reply, error) {
	if _, err := conn.Write(request); err != nil {
		return reply{}, err
	}
	for {
		got, err := conn.Read(in.space())
		if err != nil {
			return reply{}, err
		}
		in.have += got
		if r, whole, err := in.take(); whole || err != nil {
			return r, err
		}
	}
}
