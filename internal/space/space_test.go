package space_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"arca/internal/space"
)

const mib = 1 << 20

// fixture is a watcher on one pretended file system whose ballast is a real file:
// what the file takes is taken from what is free.
type fixture struct {
	*space.Watcher
	t    *testing.T
	dir  string
	now  time.Time
	free int64 // without a ballast
	disk space.Disk
	log  bytes.Buffer
}

func newFixture(t *testing.T, cfg space.Config) *fixture {
	t.Helper()
	f := &fixture{t: t, dir: t.TempDir(), now: time.Unix(1e9, 0), free: 1000 * mib, disk: space.Disk{Total: 100_000 * mib}}
	cfg.Paths = []space.Path{{Role: "the database", Dir: f.dir}, {Role: "the audit log", Dir: f.dir}}
	cfg.Logger = slog.New(slog.NewTextHandler(&f.log, nil))
	w, err := space.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	f.Watcher = w
	w.Pretend(func(string) space.Disk {
		d := f.disk
		d.Free = f.free - f.ballast()
		return d
	})
	return f
}

func (f *fixture) ballast() int64 {
	info, err := os.Lstat(filepath.Join(f.dir, "ballast"))
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	return info.Size()
}

func (f *fixture) step() {
	f.t.Helper()
	if err := f.Step(f.t.Context(), f.now); err != nil {
		f.t.Fatal(err)
	}
}

func TestLevels(t *testing.T) {
	f := newFixture(t, space.Config{WriteMark: space.Mark{Bytes: 80 * mib}, ReadMark: space.Mark{Bytes: 40 * mib}, BallastBytes: 10 * mib})
	// free is what statfs would say without a ballast; with it, 10 MiB less.
	steps := []struct {
		name    string
		free    int64
		level   space.Level
		ballast int64
	}{
		{"plenty: ballast made", 1000, space.OK, 10},
		{"at the write mark", 90, space.OK, 10},
		{"below the write mark", 89, space.WritesRefused, 10},
		{"back above it, within the margin", 100, space.WritesRefused, 10},
		{"above the margin", 110, space.OK, 10},
		{"straight to the bottom", 49, space.ReadsRefused, 0},
		{"even lower", 5, space.ReadsRefused, 0},
		{"the ballast given up is not room", 55, space.ReadsRefused, 0},
		{"above the margin of the read mark", 60, space.WritesRefused, 0},
		{"down again", 45, space.ReadsRefused, 0},
		{"within the margin of the write mark", 105, space.WritesRefused, 0},
		{"room again: ballast made anew", 110, space.OK, 10},
		{"and still enough", 109, space.OK, 10},
		{"within the margin of low", 170, space.OK, 10},
		{"room to spare", 215, space.OK, 10},
	}
	for _, s := range steps {
		f.free = s.free * mib
		f.step()
		if f.Level() != s.level || f.ballast() != s.ballast*mib {
			t.Fatalf("%s: level %v, ballast %d MiB, want %v, %d MiB", s.name, f.Level(), f.ballast()/mib, s.level, s.ballast)
		}
		if got, want := f.Free(), (s.free-10)*mib; s.name != steps[0].name && got != want {
			t.Errorf("%s: Free() = %d, want %d", s.name, got, want)
		}
		if got, want := f.Writes() != nil, s.level != space.OK; got != want {
			t.Errorf("%s: Writes() = %v", s.name, f.Writes())
		}
		if got, want := f.Reads() != nil, s.level == space.ReadsRefused; got != want {
			t.Errorf("%s: Reads() = %v", s.name, f.Reads())
		}
		if got, want := f.Low(), s.free < 1000 && s.name != "room to spare"; got != want {
			t.Errorf("%s: Low() = %v", s.name, got)
		}
		for range 3 { // nothing moves while nothing moves
			f.step()
			if f.Level() != s.level || f.ballast() != s.ballast*mib {
				t.Fatalf("%s, again: level %v, ballast %d MiB", s.name, f.Level(), f.ballast()/mib)
			}
		}
	}
}

func TestRefusalText(t *testing.T) {
	f := newFixture(t, space.Config{BallastBytes: -1})
	tests := []struct {
		free int64
		want string
	}{
		{200*mib + mib/2, "the disk that holds the database has 200.5 MiB free, and below 256.0 MiB changes are not accepted: make room on it or enlarge it, and service resumes by itself"},
		{10, "the disk that holds the database has 10 B free, and below 64.0 MiB no calls are served: make room on it or enlarge it, and service resumes by itself"},
	}
	for _, tt := range tests {
		f.free = tt.free
		f.step()
		err := f.Writes()
		if err == nil || err.Error() != tt.want {
			t.Errorf("Writes() = %v\nwant %s", err, tt.want)
		}
		if r, ok := errors.AsType[*space.Refusal](err); !ok || r.Free != tt.free || r.Level != f.Level() {
			t.Errorf("refusal %+v", r)
		}
	}
	if log := f.log.String(); strings.Count(log, "space: ") != 2 {
		t.Errorf("want one line per change of level:\n%s", log)
	}
}

func TestDefaultsOnSmallDisks(t *testing.T) {
	tests := []struct {
		name                 string
		total                int64
		write, read, ballast int64
	}{
		{"large", 100_000 * mib, 256 * mib, 64 * mib, 128 * mib},
		{"1 GB", 1000 * mib, 100 * mib, 25 * mib, 50 * mib},
		{"100 MB", 100 * mib, 10 * mib, 5 * mib / 2, 5 * mib},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, space.Config{})
			f.disk.Total = tt.total
			for _, s := range []struct {
				free int64
				want space.Level
			}{
				{tt.write + tt.ballast, space.OK}, {tt.write + tt.ballast - 1, space.WritesRefused},
				{tt.read + tt.ballast, space.WritesRefused}, {tt.read + tt.ballast - 1, space.ReadsRefused},
			} {
				f.free = s.free
				f.step()
				if f.Level() != s.want {
					t.Errorf("free %d: %v, want %v", s.free, f.Level(), s.want)
				}
			}
		})
	}
}

// A server that died on the full disk gets its ballast back before it opens anything.
func TestStartOnFullDisk(t *testing.T) {
	f := newFixture(t, space.Config{BallastBytes: 10 * mib})
	if err := os.WriteFile(filepath.Join(f.dir, "ballast"), make([]byte, 10*mib), 0o600); err != nil {
		t.Fatal(err)
	}
	f.free = 10 * mib // all of it in the ballast
	f.step()
	if f.Level() != space.ReadsRefused || f.ballast() != 0 {
		t.Errorf("level %v, ballast %d, want reads refused, none", f.Level(), f.ballast())
	}
}

func TestWorstDiskCounts(t *testing.T) {
	data, log := t.TempDir(), t.TempDir()
	disks := map[string]space.Disk{data: {Free: 1000 * mib, Total: 100_000 * mib, Device: 1}, log: {Free: 1000 * mib, Total: 100_000 * mib, Device: 2}}
	w, err := space.New(space.Config{Paths: []space.Path{{Role: "the database", Dir: data}, {Role: "the audit log", Dir: log}}, BallastBytes: mib,
		Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	w.Pretend(func(dir string) space.Disk { return disks[dir] })
	set := func(dir string, free int64, err error) {
		d := disks[dir]
		d.Free, d.Err = free*mib, err
		disks[dir] = d
	}
	step := func(want space.Level, role string) {
		t.Helper()
		_ = w.Step(t.Context(), time.Now()) // one case has an error, and is about the level
		if w.Level() != want {
			t.Errorf("level %v, want %v", w.Level(), want)
		}
		if err := w.Writes(); want != space.OK && !strings.Contains(err.Error(), role) {
			t.Errorf("refusal %q does not name %q", err, role)
		}
	}
	step(space.OK, "")
	for _, dir := range []string{data, log} {
		if _, err := os.Stat(filepath.Join(dir, "ballast")); err != nil {
			t.Error(err)
		}
	}
	set(log, 100, nil)
	step(space.WritesRefused, "the audit log")
	set(data, 10, nil)
	step(space.ReadsRefused, "the database")
	set(data, 1000, nil)
	step(space.WritesRefused, "the audit log")
	set(log, 0, errors.New("gone"))
	step(space.WritesRefused, "the audit log") // unknown is no better than before
	set(log, 1000, nil)
	step(space.OK, "")
}

func TestBallastImpossible(t *testing.T) {
	f := newFixture(t, space.Config{WriteMark: space.Mark{Bytes: 80 * mib}, ReadMark: space.Mark{Bytes: 40 * mib}, BallastBytes: 10 * mib})
	path := filepath.Join(f.dir, "ballast")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	f.step()
	f.free = 85 * mib
	for range 3 {
		f.now = f.now.Add(2 * space.BallastRetry)
		f.step()
		// Without ballast the mark is the mark.
		if f.Level() != space.OK {
			t.Fatalf("level %v, want ok", f.Level())
		}
	}
	if got := strings.Count(f.log.String(), "going on without"); got != 1 {
		t.Errorf("%d warnings, want 1: %s", got, f.log.String())
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	f.free = 500 * mib
	f.now = f.now.Add(2 * space.BallastRetry)
	f.step()
	if f.ballast() != 10*mib {
		t.Errorf("ballast %d after the obstacle is gone", f.ballast())
	}
}

// A link under the ballast's name leads to a file that is not ours to empty.
func TestBallastIsNoLink(t *testing.T) {
	f := newFixture(t, space.Config{BallastBytes: 10 * mib})
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(other, filepath.Join(f.dir, "ballast")); err != nil {
		t.Fatal(err)
	}
	f.step()
	f.free = 0
	f.step()
	if got, err := os.ReadFile(other); err != nil || string(got) != "precious" {
		t.Errorf("other file is %q, %v", got, err)
	}
}

func TestBallastDeletedOrResized(t *testing.T) {
	f := newFixture(t, space.Config{BallastBytes: 10 * mib})
	path := filepath.Join(f.dir, "ballast")
	f.step()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	f.step()
	if f.ballast() != 10*mib {
		t.Errorf("ballast %d after it was deleted", f.ballast())
	}
	for _, size := range []int64{3 * mib, 30 * mib} {
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		f.step()
		if f.ballast() != 10*mib {
			t.Errorf("ballast %d after it had %d", f.ballast(), size)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	paths := []space.Path{{Role: "x", Dir: "."}}
	tests := []struct {
		name string
		cfg  space.Config
		want string
	}{
		{"no paths", space.Config{}, "no paths"},
		{"crossed marks", space.Config{Paths: paths, WriteMark: space.Mark{Bytes: 1}, ReadMark: space.Mark{Bytes: 2}}, "ReadMark 2 is above WriteMark 1"},
		{"crossed shares", space.Config{Paths: paths, WriteMark: space.Mark{Percent: 1}, ReadMark: space.Mark{Percent: 2}}, "ReadMark 2% is above WriteMark 1%"},
		{"negative", space.Config{Paths: paths, WriteMark: space.Mark{Bytes: -1}}, "WriteMark -1: negative"},
		{"all of it", space.Config{Paths: paths, ReadMark: space.Mark{Percent: 100}}, "ReadMark 100%: 100 % or more"},
		{"both", space.Config{Paths: paths, ReadMark: space.Mark{Percent: 1, Bytes: 1}}, "both bytes and percent"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := space.New(tt.cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("New = %v, want %q", err, tt.want)
			}
		})
	}
}

// The real thing on a real file system: the ballast takes what it says, and Run ends
// with its context.
func TestReal(t *testing.T) {
	dir := t.TempDir()
	w, err := space.New(space.Config{Paths: []space.Path{{Role: "the database", Dir: dir}}, WriteMark: space.Mark{Bytes: 1}, ReadMark: space.Mark{Bytes: 1},
		BallastBytes: 3 * mib, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Step(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if w.Level() != space.OK || w.Free() <= 0 {
		t.Errorf("level %v, free %d", w.Level(), w.Free())
	}
	if info, err := os.Stat(filepath.Join(dir, "ballast")); err != nil || info.Size() != 3*mib {
		t.Errorf("ballast: %v, %v", info, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}
	w, err = space.New(space.Config{Paths: []space.Path{{Role: "the database", Dir: filepath.Join(dir, "none")}}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Step(t.Context(), time.Now()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Step on nothing = %v, want that it does not exist", err)
	}
}

func TestMetrics(t *testing.T) {
	f := newFixture(t, space.Config{BallastBytes: -1})
	f.free = 100 * mib
	f.step()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(f.Watcher)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, m := range families {
		got[m.GetName()] = m.GetMetric()[0].GetGauge().GetValue()
	}
	if diff := cmp.Diff(map[string]float64{"arca_space_free_bytes": 100 * mib, "arca_space_level": 1}, got); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}
