package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func recordOf(ratios ...recordedRatio) *record { return &record{Ratios: ratios} }

func ratioTo(contender string, value, deviation float64) recordedRatio {
	return recordedRatio{Name: getRow + " / " + contender, Row: getRow, Contender: contender, Value: value, Deviation: deviation}
}

func TestCompare(t *testing.T) {
	read := func(value, deviation float64) *record { return recordOf(ratioTo(syncedName, value, deviation)) }
	slow := func(value, deviation float64) *record {
		r := ratioTo(syncedName, value, deviation)
		r.Most = true
		return recordOf(r)
	}
	elsewhere := read(0.8, 0.01)
	elsewhere.Machine = machine{CPU: "another", Cores: 64}
	worse := read(0.6, 0.01)
	worse.Machine = elsewhere.Machine
	for _, test := range []struct {
		name     string
		was, is  *record
		drops    []string
		warnings []string // parts of them
	}{
		{name: "equal", was: read(0.8, 0.01), is: read(0.8, 0.01)},
		{name: "better", was: read(0.8, 0.01), is: read(1.2, 0.01)},
		{name: "a small drop", was: read(0.8, 0.01), is: read(0.73, 0.01)},
		{name: "a drop", was: read(0.8, 0.01), is: read(0.71, 0.01), drops: []string{"GetSecretValue / synced echo"}},
		{name: "noise when it was recorded", was: read(0.8, 0.05), is: read(0.66, 0.01)},
		{name: "noise now", was: read(0.8, 0.01), is: read(0.66, 0.05)},
		{name: "a drop beyond noise", was: read(0.8, 0.05), is: read(0.64, 0.05), drops: []string{"GetSecretValue / synced echo"}},
		{name: "too much noise to tell", was: read(0.8, 0.01), is: read(0.5, 0.2), warnings: []string{"rounds differ so much"}},
		{name: "lower is better", was: slow(2, 0.1), is: slow(1, 0.1)},
		{name: "lower is better, and it rose a little", was: slow(2, 0.1), is: slow(2.25, 0.1)},
		{name: "lower is better, and it rose", was: slow(2, 0.1), is: slow(2.5, 0.1), drops: []string{"GetSecretValue / synced echo"}},
		{
			name: "missing now", was: recordOf(ratioTo(syncedName, 0.8, 0.01), ratioTo(etcdName, 0.8, 0.01)), is: read(0.8, 0.01),
			warnings: []string{"GetSecretValue / etcd behind echo: recorded, but not measured"},
		},
		{
			name: "missing in what was recorded", was: read(0.8, 0.01), is: recordOf(ratioTo(syncedName, 0.8, 0.01), ratioTo(etcdName, 0.1, 0.01)),
			warnings: []string{"GetSecretValue / etcd behind echo: measured, but not recorded"},
		},
		{name: "peers do not count", was: recordOf(ratioTo("vault", 9, 0.01)), is: recordOf(ratioTo("vault", 1, 0.01))},
		{name: "another machine", was: read(0.8, 0.01), is: elsewhere, warnings: []string{"another machine"}},
		{
			name: "a drop on another machine", was: read(0.8, 0.01), is: worse,
			drops: []string{"GetSecretValue / synced echo"}, warnings: []string{"another machine"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := compare(test.was, test.is, bounded)
			var drops []string
			for _, d := range got.drops {
				drops = append(drops, d.name)
			}
			if diff := cmp.Diff(test.drops, drops); diff != "" {
				t.Errorf("drops (-want +got):\n%s", diff)
			}
			if len(got.warnings) != len(test.warnings) {
				t.Fatalf("warnings %q, want %d", got.warnings, len(test.warnings))
			}
			for i, w := range test.warnings {
				if !strings.Contains(got.warnings[i], w) {
					t.Errorf("warning %q does not say %q", got.warnings[i], w)
				}
			}
		})
	}
}

func TestDeviation(t *testing.T) {
	for _, test := range []struct {
		list                  []float64
		middle, wantDeviation float64
	}{
		{[]float64{3}, 3, 0},
		{[]float64{1, 2, 3, 4, 100}, 3, 1},
		{[]float64{4, 1, 3, 2}, 2.5, 1},
	} {
		if got := median(test.list); got != test.middle {
			t.Errorf("median(%v) = %v, want %v", test.list, got, test.middle)
		}
		if got := deviation(test.list); got != test.wantDeviation {
			t.Errorf("deviation(%v) = %v, want %v", test.list, got, test.wantDeviation)
		}
	}
}

// No series has the same neighbour before it in every round.
func TestTurn(t *testing.T) {
	list := []*series{{contender: "a"}, {contender: "b"}, {contender: "c"}}
	var got []string
	for round := range 6 {
		order := ""
		for _, s := range turn(list, round) {
			order += s.contender
		}
		got = append(got, order)
	}
	if diff := cmp.Diff([]string{"abc", "cba", "bca", "acb", "cab", "bac"}, got); diff != "" {
		t.Errorf("orders (-want +got):\n%s", diff)
	}
}
