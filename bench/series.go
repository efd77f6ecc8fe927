package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// request is what is sent once, or over and over, and a text that its answer holds.
type request struct {
	bytes []byte
	want  []byte
}

// requests are what one series sends, signed ahead of time.
type requests struct {
	// sign makes at least n, or all that are sent over and over.
	sign func(n int) ([]request, error)
	// once: none may be sent twice, since a write has a token of its own.
	once bool

	all    []request
	signed time.Time
}

// signatureLife is how long repeated requests are sent before they are signed anew: a
// signature is accepted for five minutes.
const signatureLife = 3 * time.Minute

// ready signs what the next measurement needs.
func (r *requests) ready(n int) (err error) {
	if !r.once && r.all != nil && time.Since(r.signed) < signatureLife {
		return nil
	}
	r.signed = time.Now()
	r.all, err = r.sign(n)
	return err
}

func (r *requests) at(n int64) *request { return &r.all[n%int64(len(r.all))] }

// series is one server doing one thing, measured round by round.
type series struct {
	row         string
	contender   string
	proc        *process
	connections int
	requests    *requests
	// check looks at an answer, besides what each request wants; nil for no more.
	check func(body []byte) error
	// forgiving is for a server that fails now and then by design: moto is not safe for
	// concurrent use.
	forgiving bool
	// optional is for peers: one that fails is left out, and told of.
	optional bool
	// fastest is the highest rate seen, warm-up included: it says how much to sign.
	fastest float64
	result
}

func (s *series) name() string { return s.row + ": " + s.contender }

// The bounds of what is signed ahead for a measurement whose requests are sent once.
const (
	fewestOnce = 2_000
	mostOnce   = 60_000
)

// run measures once. A pace of 0 is full load.
func (s *series) run(ctx context.Context, length, pace time.Duration) (found *sample, cpu time.Duration, err error) {
	n := min(max(int(1.7*s.fastest*length.Seconds()), fewestOnce), mostOnce)
	if err := s.requests.ready(n); err != nil {
		return nil, 0, fmt.Errorf("%s: sign: %w", s.name(), err)
	}
	l := &load{
		addr: s.proc.addr, tls: s.proc.tls, connections: s.connections, length: length, pace: pace, forgiving: s.forgiving,
		next:  func(n int64) []byte { return s.requests.at(n).bytes },
		check: func(n int64, body []byte) error { return s.inspect(s.requests.at(n), body) },
	}
	if s.requests.once {
		l.count = int64(len(s.requests.all))
	}
	before, err := s.proc.cpu()
	if err != nil {
		return nil, 0, err
	}
	own := ownTime()
	if found, err = l.run(ctx); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", s.name(), err)
	}
	found.generator = ownTime() - own
	s.fastest = max(s.fastest, found.rate())
	after, err := s.proc.cpu()
	return found, after - before, err
}

// measure adds a round to the results.
func (s *series) measure(ctx context.Context, length time.Duration) error {
	found, cpu, err := s.run(ctx, length, 0)
	if err != nil {
		return err
	}
	s.add(found, cpu)
	return nil
}

// result is what is known of a series.
type result struct {
	rates []float64       // of each round
	p99s  []time.Duration // of each round
	times []time.Duration
	cpu   time.Duration // of the server, over all rounds
	own   time.Duration // of the load generator, likewise
}

func (r *result) add(s *sample, cpu time.Duration) {
	r.rates = append(r.rates, s.rate())
	r.p99s = append(r.p99s, quantile(s.times, 0.99))
	r.times = append(r.times, s.times...)
	r.cpu += cpu
	r.own += s.generator
}

func (r *result) median() float64 { return median(r.rates) }

// spread is half the distance between the extremes, in percent of the median.
func (r *result) spread() float64 {
	return (slices.Max(r.rates) - slices.Min(r.rates)) / 2 / r.median() * 100
}

func (r *result) cpuPerRequest() time.Duration {
	return r.cpu / time.Duration(max(1, len(r.times)))
}

// ownTime is the processor time that this process has used.
func ownTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func median(list []float64) float64 {
	s := slices.Sorted(slices.Values(list))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// deviation is the median distance from the median.
func deviation(list []float64) float64 {
	m := median(list)
	all := make([]float64, len(list))
	for i, v := range list {
		all[i] = max(v-m, m-v)
	}
	return median(all)
}

func quantile(times []time.Duration, q float64) time.Duration {
	s := slices.Sorted(slices.Values(times))
	return s[min(len(s)-1, int(q*float64(len(s))))]
}

// inspect looks whether an answer is the one to its request.
func (s *series) inspect(r *request, body []byte) error {
	if !bytes.Contains(body, r.want) {
		return fmt.Errorf("answer without %q: %s", r.want, body[:min(len(body), 500)])
	}
	if s.check != nil {
		return s.check(body)
	}
	return nil
}
