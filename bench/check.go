package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

const (
	// leastDrop is what a ratio may lose before it is looked at: two runs of one binary
	// differ by less.
	leastDrop = 0.10
	// deviations is how many times the median deviation of the rounds it must lose besides.
	deviations = 3
	// mostNoise is how much of a ratio noise may explain before somebody should know.
	mostNoise = 0.30
)

// drop is a ratio that is worse than it was.
type drop struct {
	name             string
	was, is, allowed float64 // allowed is the change that would have passed for noise
}

func (d drop) String() string {
	return fmt.Sprintf("%s: %.2f, was %.2f; noise explains ±%.2f", d.name, d.is, d.was, d.allowed)
}

// comparison is what became of the ratios of a record.
type comparison struct {
	drops    []drop
	warnings []string
}

// compare looks for ratios that are worse than those recorded beyond noise, which is what
// the rounds of either run differ by. Only ratios are compared, and only those that
// ofInterest names; those that only one run has are told of.
func compare(was, is *record, ofInterest func(*recordedRatio) bool) comparison {
	var c comparison
	if was.Machine != is.Machine {
		c.warnings = append(c.warnings, fmt.Sprintf("recorded on another machine (%s; this one: %s): ratios are compared all the same, but a disk of another speed moves them", was.Machine, is.Machine))
	}
	now := make(map[string]*recordedRatio)
	for i := range is.Ratios {
		if r := &is.Ratios[i]; ofInterest(r) {
			now[r.Name] = r
		}
	}
	for i := range was.Ratios {
		old := &was.Ratios[i]
		if !ofInterest(old) {
			continue
		}
		r := now[old.Name]
		if r == nil {
			c.warnings = append(c.warnings, old.Name+": recorded, but not measured now")
			continue
		}
		delete(now, old.Name)
		allowed := max(leastDrop*old.Value, deviations*old.Deviation, deviations*r.Deviation)
		if allowed > mostNoise*old.Value {
			c.warnings = append(c.warnings, fmt.Sprintf("%s: rounds differ so much (±%.2f, recorded ±%.2f) that only a large drop shows; is the machine busy?", old.Name, r.Deviation, old.Deviation))
		}
		worse := old.Value - r.Value
		if old.Most {
			worse = -worse
		}
		if worse > allowed {
			c.drops = append(c.drops, drop{old.Name, old.Value, r.Value, allowed})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(now)) {
		c.warnings = append(c.warnings, name+": measured, but not recorded")
	}
	return c
}

// bounded are the ratios to what bounds Arca. Peers come and go.
func bounded(r *recordedRatio) bool {
	return r.Contender == syncedName || r.Contender == etcdName
}

// check measures what is of interest, and again what seems to have dropped: a single
// slow moment is no regression.
func check(ctx context.Context, o options) error {
	was, err := readRecord(o.check)
	if err != nil {
		return err
	}
	o.beside = "^(" + regexp.QuoteMeta(syncedName) + "|" + regexp.QuoteMeta(etcdName) + ")$"
	measured := func(only string) (comparison, error) {
		o.only = only
		ch, err := newChoice(o)
		if err != nil {
			return comparison{}, err
		}
		is, err := suite(ctx, o, ch)
		if err != nil {
			return comparison{}, err
		}
		c := compare(was, is, func(r *recordedRatio) bool { return bounded(r) && ch.row(strings.TrimSuffix(r.Row, halfLoad)) })
		return c, nil
	}
	first, err := measured(o.only)
	if err != nil {
		return err
	}
	for _, w := range first.warnings {
		fmt.Println("warning:", w)
	}
	if len(first.drops) == 0 {
		fmt.Println("no ratio dropped")
		return nil
	}
	fmt.Println("measuring again what dropped:")
	var again []string
	for _, r := range was.Ratios {
		if slices.ContainsFunc(first.drops, func(d drop) bool { return d.name == r.Name }) {
			again = append(again, regexp.QuoteMeta(strings.TrimSuffix(r.Row, halfLoad)))
		}
	}
	second, err := measured("^(" + strings.Join(again, "|") + ")$")
	if err != nil {
		return err
	}
	// What dropped twice dropped.
	drops := slices.DeleteFunc(second.drops, func(d drop) bool {
		return !slices.ContainsFunc(first.drops, func(f drop) bool { return f.name == d.name })
	})
	var errs []error
	for _, d := range drops {
		errs = append(errs, errors.New(d.String()))
	}
	if len(errs) == 0 {
		fmt.Println("no ratio dropped twice")
	}
	return errors.Join(errs...)
}
