package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// The aims, at the largest size.
const (
	aimReads     = 0.9
	aimPages     = 2.0
	aimNothing   = 100 * time.Millisecond
	aimMemory    = 4e9
	dreamMemory  = 3e9
	aimReady     = 15 * time.Second
	aimFirstRead = 5 * time.Second
)

func verdict(met bool) string {
	if met {
		return "met"
	}
	return "**missed**"
}

func (r *listResult) String() string {
	return fmt.Sprintf("%-60s %8.2f ms %8.2f ms  p99 %8.2f ms %8.2f ms  ratio %6.2f  cpu %8.2f ms %8.2f ms ratio %6.2f  found %v in %v requests", r.name, ms(quantile(r.times[0], 0.5)),
		ms(quantile(r.times[1], 0.5)), ms(quantile(r.times[0], 0.99)), ms(quantile(r.times[1], 0.99)), r.ratio(),
		ms(quantile(r.cpus[0], 0.5)), ms(quantile(r.cpus[1], 0.5)), r.ratioOfCPU(), r.found, r.pages)
}

// met reports whether a list has the aim that it is held to.
func (r *listResult) met() bool {
	if strings.HasPrefix(r.name, nothing) {
		return quantile(r.times[1], 0.5) <= aimNothing
	}
	return r.ratio() <= aimPages
}

// middleOf is the median of one time of several restarts.
func middleOf(all []comeback, of func(comeback) time.Duration) time.Duration {
	var times []time.Duration
	for _, c := range all {
		times = append(times, of(c))
	}
	slices.Sort(times)
	return times[len(times)/2]
}

func inSeconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

func gigabytes(n int64) string { return fmt.Sprintf("%.2f GB", float64(n)/1e9) }

// thousands writes a number with commas.
func thousands(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// String is the report of a run as it stands in the docs.
func (r *scaleRun) String() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("### %s secrets beside %s\n", thousands(r.size), thousands(r.base))
	line("| | measured | aim | |\n|---|---:|---:|---|")
	if len(r.reads[0].rates) > 0 {
		r.reportReads(line)
	}
	missed, worst := 0, 0.0
	var longest time.Duration
	for _, l := range r.lists {
		if !l.met() {
			missed++
		}
		if strings.HasPrefix(l.name, nothing) {
			longest = max(longest, quantile(l.times[1], 0.5))
		} else {
			worst = max(worst, l.ratio())
		}
	}
	if len(r.lists) > 0 {
		line("| lists: largest ratio of p50 | %.2f | %.0f | %s |", worst, aimPages, verdict(worst <= aimPages))
		line("| filters that match nothing: longest p50 of a whole list | %.1f ms | %v | %s |", ms(longest), aimNothing, verdict(longest <= aimNothing))
	}
	if r.memory[1].started > 0 {
		line("| anonymous memory, quiet after the start | %s (%s) | %.0f GB, better %.0f | %s |", gigabytes(r.memory[1].started), gigabytes(r.memory[0].started), aimMemory/1e9, dreamMemory/1e9, verdict(r.memory[1].started <= aimMemory))
		line("| … quiet after all reads and lists | %s (%s) | %.0f GB | %s |", gigabytes(r.memory[1].worked), gigabytes(r.memory[0].worked), aimMemory/1e9, verdict(r.memory[1].worked <= aimMemory))
		line("| … the most meanwhile | %s | %.0f GB | %s |", gigabytes(r.memory[1].highest), aimMemory/1e9, verdict(r.memory[1].highest <= aimMemory))
	}
	for _, again := range []struct {
		after string
		all   []comeback
	}{{"SIGTERM", r.stopped}, {"SIGKILL under writes", r.killed}} {
		if len(again.all) == 0 {
			continue
		}
		read := middleOf(again.all, func(c comeback) time.Duration { return c.read })
		ready := middleOf(again.all, func(c comeback) time.Duration { return max(c.ready, c.list) })
		line("| after %s: reads by name | %s | %v | %s |", again.after, inSeconds(read), aimFirstRead, verdict(read <= aimFirstRead))
		line("| … ready, lists included | %s | %v | %s |", inSeconds(ready), aimReady, verdict(ready <= aimReady))
		line("| … processor time until then | %s | | |", inSeconds(middleOf(again.all, func(c comeback) time.Duration { return c.cpu })))
	}
	if len(r.stopped) > 0 {
		line("| time to stop | %s | | |", inSeconds(middleOf(r.stopped, func(c comeback) time.Duration { return c.stop })))
	}
	if r.fsck > 0 {
		line("| `arca fsck` | %s | | |", inSeconds(r.fsck))
	}
	line("| on disk: database, all data, audit log | %s, %s, %s | | |", gigabytes(r.disk.database), gigabytes(r.disk.data), gigabytes(r.disk.audit))
	if len(r.lists) == 0 {
		return b.String()
	}
	line("\n%d of %d lists miss their aim:\n", missed, len(r.lists))
	line("| list | p50 at %s | p50 at %s | ratio | of CPU | p99 at %s | secrets, requests | |\n|---|---:|---:|---:|---:|---:|---:|---|", thousands(r.base), thousands(r.size), thousands(r.size))
	for _, l := range r.lists {
		ratio, cpu := fmt.Sprintf("%.2f", l.ratio()), fmt.Sprintf("%.2f", l.ratioOfCPU())
		if strings.HasPrefix(l.name, nothing) {
			ratio, cpu = "", ""
		}
		line("| %s | %.2f ms | %.2f ms | %s | %s | %.2f ms | %d, %d | %s |", l.name, ms(quantile(l.times[0], 0.5)), ms(quantile(l.times[1], 0.5)), ratio, cpu,
			ms(quantile(l.times[1], 0.99)), l.found[1], l.pages[1], verdict(l.met()))
	}
	return b.String()
}

func (r *scaleRun) reportReads(line func(format string, args ...any)) {
	reads := readRatio(&r.reads[1], &r.reads[0])
	line("| reads/s, uniformly over all, %d connections | %.0f and %.0f: %.2f | %.2f | %s |", r.connections, r.reads[1].median(), r.reads[0].median(), reads, aimReads, verdict(reads >= aimReads))
	line("| p50 and p99 of them | %.2f and %.2f ms (%.2f and %.2f ms) | | |", ms(quantile(r.reads[1].times, 0.5)), ms(quantile(r.reads[1].times, 0.99)),
		ms(quantile(r.reads[0].times, 0.5)), ms(quantile(r.reads[0].times, 0.99)))
	line("| processor time of a read | %v (%v) | | |", r.reads[1].cpuPerRequest(), r.reads[0].cpuPerRequest())
	line("| first reads/s since the start, of every secret | %.0f and %.0f: %.2f | | |", r.firstReads[1].median(), r.firstReads[0].median(), readRatio(&r.firstReads[1], &r.firstReads[0]))
	line("| processor time of such a read | %v (%v) | | |", r.firstReads[1].cpuPerRequest(), r.firstReads[0].cpuPerRequest())
}

// readRatio is the median over rounds of the ratio within a round, so that a slow moment
// of the machine touches both sides.
func readRatio(a, b *result) float64 {
	var all []float64
	for i := range min(len(a.rates), len(b.rates)) {
		all = append(all, a.rates[i]/b.rates[i])
	}
	return median(all)
}

// The lines between which the docs hold what was measured.
const scaleBegin, scaleEnd = "<!-- scale:begin -->\n", "<!-- scale:end -->\n"

// writeScaleDoc puts the reports into the docs.
func writeScaleDoc(ctx context.Context, path string, runs []*scaleRun) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s; %s; GOGC %s, GOMEMLIMIT %s; the files in the page cache; %s, commit %s.\n\n",
		thisMachine(), runtime.Version(), setting("GOGC"), setting("GOMEMLIMIT"), time.Now().UTC().Format(time.DateOnly),
		firstLine(ctx, "git", "describe", "--tags", "--always", "--dirty"))
	for _, r := range runs {
		b.WriteString(r.String() + "\n")
	}
	text, err := replaceBetween(old, scaleBegin, scaleEnd, b.String())
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, text, 0o644)
}

func setting(name string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return "not set"
}
