package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// record is what a run has found, as bench/recorded.json keeps it.
type record struct {
	Date     string            `json:"date"`
	Commit   string            `json:"commit"`
	Machine  machine           `json:"machine"`
	Versions map[string]string `json:"versions"`
	Settings settings          `json:"settings"`
	Start    *starting         `json:"start,omitempty"`
	Rows     []recordedRow     `json:"rows"`
	Ratios   []recordedRatio   `json:"ratios"`
}

// machine is what numbers depend on most.
type machine struct {
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	MemoryGB   int    `json:"memory_gb"`
	Kernel     string `json:"kernel"`
	FileSystem string `json:"file_system"`
}

type settings struct {
	Connections int     `json:"connections"`
	Rounds      int     `json:"rounds"`
	Seconds     float64 `json:"seconds"`
	Secrets     int     `json:"secrets"`
}

// starting is what a server takes before anybody asks it for anything.
type starting struct {
	Milliseconds float64 `json:"milliseconds"`
	IdleMB       float64 `json:"idle_mb"`
}

// recordedRow is a series. Times are in microseconds.
type recordedRow struct {
	Row       string    `json:"row"`
	Contender string    `json:"contender"`
	Rate      float64   `json:"rate"`
	Spread    float64   `json:"spread_percent"`
	P50       float64   `json:"p50_us"`
	P99       float64   `json:"p99_us"`
	CPU       float64   `json:"cpu_us"`           // of the server, per request
	Generator float64   `json:"generator_cpu_us"` // of the load generator, per request
	Rounds    []float64 `json:"rounds"`
}

// recordedRatio compares two series, within each round.
type recordedRatio struct {
	Name      string    `json:"name"`
	Row       string    `json:"row"`
	Contender string    `json:"contender"` // arca is compared with, or its own row
	Value     float64   `json:"value"`
	Deviation float64   `json:"deviation"` // median distance from the median
	Rounds    []float64 `json:"rounds"`
	// Aim is 0 where none is set. Most means that the ratio should be no higher than that.
	Aim  float64 `json:"aim,omitempty"`
	Most bool    `json:"at_most,omitempty"`
}

// met says whether the aim is met; without one it is.
func (r *recordedRatio) met() bool {
	switch {
	case r.Aim == 0:
		return true
	case r.Most:
		return r.Value <= r.Aim
	}
	return r.Value >= r.Aim
}

func newRecord(ctx context.Context, o options, list, halves []*series) *record {
	rec := &record{
		Date: time.Now().UTC().Format(time.DateOnly), Commit: firstLine(ctx, "git", "describe", "--tags", "--always", "--dirty"),
		Machine:  thisMachine(),
		Versions: map[string]string{arcaName: firstLine(ctx, o.arca, "version"), "go": runtime.Version()},
		Settings: settings{o.connections, o.rounds, o.length.Seconds(), o.secrets},
	}
	for _, s := range append(list, halves...) {
		rec.Rows = append(rec.Rows, recordedRow{
			Row: s.row, Contender: s.contender, Rate: digits(s.median()), Spread: digits(s.spread()),
			P50: micros(quantile(s.times, 0.50)), P99: micros(quantile(s.times, 0.99)), CPU: micros(s.cpuPerRequest()),
			Generator: micros(s.own / time.Duration(max(1, len(s.times)))), Rounds: allDigits(s.rates),
		})
	}
	rec.Ratios = ratios(list, halves)
	return rec
}

// digits keeps four of a number, which is more than a measurement is worth.
func digits(v float64) float64 {
	out, _ := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 4, 64), 64)
	return out
}

func allDigits(list []float64) []float64 {
	out := make([]float64, len(list))
	for i, v := range list {
		out[i] = digits(v)
	}
	return out
}

func micros(d time.Duration) float64 { return digits(float64(d) / float64(time.Microsecond)) }

// addStart measures how a server starts, which nothing else may disturb.
func (rec *record) addStart(ctx context.Context, o options) error {
	took, err := measureStarts(ctx, o.arca, 9)
	if err != nil {
		return err
	}
	p, err := startArca(ctx, o.arca)
	if err != nil {
		return err
	}
	defer p.stop()
	idle, err := p.rss()
	rec.Start = &starting{digits(float64(took) / float64(time.Millisecond)), digits(float64(idle) / 1e6)}
	return err
}

func thisMachine() machine {
	m := machine{Cores: runtime.NumCPU(), CPU: field("/proc/cpuinfo", "model name")}
	if kb, err := strconv.Atoi(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB")); err == nil {
		m.MemoryGB = (kb + 1<<19) >> 20
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(os.TempDir(), &fs); err == nil {
		m.FileSystem = fileSystem(fs.Type)
	}
	return m
}

func fileSystem(magic int64) string {
	switch magic {
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlay"
	}
	return fmt.Sprintf("%#x", magic)
}

// field is the first value of a name in a file of lines "name: value".
func field(path, name string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(raw)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (m machine) String() string {
	return fmt.Sprintf("%d cores of %s, %d GB, Linux %s, %s", m.Cores, m.CPU, m.MemoryGB, m.Kernel, m.FileSystem)
}

func (rec *record) print() {
	fmt.Println()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\t\trequests/s\tspread\tp50\tp99\tCPU/request\tgenerator\t")
	for _, r := range rec.Rows {
		fmt.Fprintf(w, "%s\t%s\t%.0f\t±%.0f %%\t%.2f ms\t%.2f ms\t%.0f µs\t%.0f µs\t\n", r.Row, r.Contender, r.Rate, r.Spread, r.P50/1000, r.P99/1000, r.CPU, r.Generator)
	}
	_ = w.Flush()
	fmt.Println()
	w = tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, r := range rec.Ratios {
		fmt.Fprintf(w, "%s\t%.2f\t±%.2f\t%s\n", r.Name, r.Value, r.Deviation, r.verdict())
	}
	_ = w.Flush()
	if rec.Start != nil {
		fmt.Printf("\nstart to the first answered request: %.0f ms (median of 9); idle: %.0f MB\n", rec.Start.Milliseconds, rec.Start.IdleMB)
	}
}

// verdict is the aim and what became of it.
func (r *recordedRatio) verdict() string {
	if r.Aim == 0 {
		return ""
	}
	how, what := "at least", "met"
	if r.Most {
		how = "at most"
	}
	if !r.met() {
		what = "missed"
	}
	return fmt.Sprintf("%s %.2f: %s", how, r.Aim, what)
}

// write keeps the record for bench -check.
func (rec *record) write(path string) error {
	raw, err := json.MarshalIndent(rec, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(raw, '\n'), 0o644)
}

func readRecord(path string) (*record, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read what was recorded: %w", err)
	}
	var rec record
	if err := json.Unmarshal(raw, &rec); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(rec.Ratios) == 0 {
		return nil, errors.New(path + " has no ratios")
	}
	return &rec, nil
}
