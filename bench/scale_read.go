package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	// readsPerSecond bounds how many reads are signed for a second of measurement.
	readsPerSecond = 20_000
	// readRoundFactor is how many times the length of other measurements a round of reads
	// takes: long enough that each has its share of garbage collections, which at 500,000
	// secrets are ten seconds apart.
	readRoundFactor = 8
	// firstReadsPerRound is how many secrets a round reads for the first time.
	firstReadsPerRound = 50_000
)

// reads are requests to read these secrets, in this order.
func (s *scaleServer) reads(numbers []int) (all [][]byte, err error) {
	who := s.caller()
	for _, i := range numbers {
		r, err := who.request(secretsManager, "GetSecretValue", map[string]any{"SecretId": scaleName(i)})
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// drawn are n secrets drawn at random.
func (h scaleHome) drawn(n int) []int {
	numbers := make([]int, n)
	for k := range numbers {
		numbers[k] = rand.IntN(h.size)
	}
	return numbers
}

// readRound sends a read of each of these secrets, until length has passed.
func (s *scaleServer) readRound(ctx context.Context, o options, numbers []int, length time.Duration, r *result) error {
	requests, err := s.reads(numbers)
	if err != nil {
		return err
	}
	l := &load{
		addr: s.at.api, connections: o.connections, count: int64(len(requests)), length: length, anyLength: true,
		next: func(n int64) []byte { return requests[n] },
		check: func(n int64, body []byte) error {
			var out struct{ Name, SecretString string }
			if err := json.Unmarshal(body, &out); err != nil {
				return err
			}
			return checkScaleValue(numbers[n], out.Name, out.SecretString)
		},
	}
	before, err := s.proc.cpu()
	if err != nil {
		return err
	}
	found, err := l.run(ctx)
	if err != nil {
		return fmt.Errorf("read from %s: %w", s.home.dir, err)
	}
	after, err := s.proc.cpu()
	if err != nil {
		return err
	}
	r.add(found, after-before)
	return nil
}

// measureFirstReads reads every secret of the larger server once, in turns with reads of
// the other: the first read of a secret after a start finds nothing of it in any cache,
// and the first of a day is written down.
func measureFirstReads(ctx context.Context, o options, servers [2]*scaleServer) (rs [2]result, err error) {
	base, s := servers[0], servers[1]
	for numbers := range slices.Chunk(rand.Perm(s.home.size), firstReadsPerRound) {
		if err := s.readRound(ctx, o, numbers, 0, &rs[1]); err != nil {
			return rs, err
		}
		if err := base.readRound(ctx, o, base.home.drawn(len(numbers)), 0, &rs[0]); err != nil {
			return rs, err
		}
	}
	return rs, s.rest()
}

// measureReads measures reads of secrets that have all been read before, on both servers
// in turns.
func measureReads(ctx context.Context, o options, servers [2]*scaleServer) (rs [2]result, err error) {
	length := readRoundFactor * o.length
	for round := range o.rounds {
		for turn := range 2 {
			i := (round + turn) % 2
			numbers := servers[i].home.drawn(int(readsPerSecond * length.Seconds()))
			if err := servers[i].readRound(ctx, o, numbers, length, &rs[i]); err != nil {
				return rs, err
			}
		}
	}
	return rs, nil
}
