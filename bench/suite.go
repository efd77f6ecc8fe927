package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"
)

// halfLoad is what series are called that run at half of the rate they reached.
const halfLoad = " at half load"

// suite measures the chosen rows, in turns, and returns what was found.
func suite(ctx context.Context, o options, ch choice) (_ *record, err error) {
	fmt.Printf("%d cores, %s, %s/%s; %d connections, %d rounds of %v, all servers on this machine with the load generator\n",
		runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH, o.connections, o.rounds, o.length)
	dir, err := os.MkdirTemp("", "arca-bench-")
	if err != nil {
		return nil, err
	}
	c := &cast{o: o, dir: dir, procs: make(map[string]*process), w: make(map[string]*world)}
	defer func() { err = errors.Join(err, c.stop()) }()
	if err := c.startPeers(ctx, ch); err != nil {
		return nil, err
	}
	all, err := c.series(ctx, ch)
	if err != nil {
		return nil, err
	}
	if all, err = rounds(ctx, o, all); err != nil {
		return nil, err
	}
	halves, err := halfLoads(ctx, o, all)
	if err != nil {
		return nil, err
	}
	list := slices.Concat(all...)
	rec := newRecord(ctx, o, list, halves)
	for _, p := range c.peers {
		rec.Versions[p.name] = p.version
	}
	if !o.quick && o.check == "" {
		if err := rec.addStart(ctx, o); err != nil {
			return nil, err
		}
	}
	rec.print()
	return rec, nil
}

// rounds measures everything once to warm up, which does not count, and then in turns.
// The series of a row follow each other, so that a slow moment of the machine touches
// all of them; their order changes, and that of the rows, so that nobody always comes
// after the same neighbour. It returns all series but those of peers that failed.
func rounds(ctx context.Context, o options, all [][]*series) ([][]*series, error) {
	failed := make(map[*series]bool)
	try := func(s *series, measure func() error) error {
		if failed[s] {
			return nil
		}
		err := measure()
		if err != nil && s.optional && ctx.Err() == nil {
			fmt.Printf("%s: left out: %v\n", s.name(), err)
			failed[s] = true
			return nil
		}
		return err
	}
	for _, list := range all {
		for _, s := range list {
			if err := try(s, func() error { _, _, err := s.run(ctx, o.length/2, 0); return err }); err != nil {
				return nil, err
			}
		}
	}
	for round := range o.rounds {
		order := slices.Clone(all)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, list := range order {
			for _, s := range turn(list, round) {
				if err := try(s, func() error { return s.measure(ctx, o.length) }); err != nil {
					return nil, err
				}
			}
		}
	}
	for i, list := range all {
		all[i] = slices.DeleteFunc(list, func(s *series) bool { return failed[s] })
	}
	return all, nil
}

// turn is the order of a round: another one begins, and every second round goes backwards.
func turn(list []*series, round int) []*series {
	at := round / 2 % len(list)
	out := slices.Concat(list[at:], list[:at])
	if round%2 == 1 {
		slices.Reverse(out)
	}
	return out
}

// halfLoads measures GetSecretValue and the synced echo once more, each at half of the
// rate that it reached, on a schedule that does not wait for answers.
func halfLoads(ctx context.Context, o options, all [][]*series) ([]*series, error) {
	var halves []*series
	var paces []time.Duration
	for _, list := range all {
		for _, s := range list {
			if s.row != getRow || s.contender != arcaName && s.contender != syncedName {
				continue
			}
			half := &series{row: s.row + halfLoad, contender: s.contender, proc: s.proc, connections: s.connections, requests: s.requests, check: s.check}
			halves = append(halves, half)
			paces = append(paces, time.Duration(2/s.median()*float64(time.Second)))
		}
	}
	// A percentile wants more answers than a rate.
	length := 2 * o.length
	for round := range o.rounds {
		for k := range halves {
			i := (k + round) % len(halves)
			found, cpu, err := halves[i].run(ctx, length, paces[i])
			if err != nil {
				return nil, err
			}
			halves[i].add(found, cpu)
		}
	}
	return halves, nil
}

// report prints medians and spreads, and the ratio of the first series to the others.
func report(list []*series) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\trequests/s\tspread\tp50\tp99\tCPU/request\t")
	for _, s := range list {
		fmt.Fprintf(w, "%s\t%.0f\t±%.0f %%\t%v\t%v\t%v\t\n", s.name(), s.median(), s.spread(),
			quantile(s.times, 0.50).Round(10*time.Microsecond), quantile(s.times, 0.99).Round(10*time.Microsecond), s.cpuPerRequest().Round(time.Microsecond))
	}
	_ = w.Flush()
	fmt.Println()
	for _, s := range list[1:] {
		each := perRound(list[0].rates, s.rates)
		fmt.Printf("%s / %s = %.2f\n", list[0].contender, s.contender, median(each))
	}
}

// perRound is the ratio within each round, so that a slow moment of the machine touches
// both sides.
func perRound(a, b []float64) []float64 {
	out := make([]float64, min(len(a), len(b)))
	for i := range out {
		out[i] = a[i] / b[i]
	}
	return out
}
