// Package space keeps the server from finding a disk full. It watches the free room
// of the file systems the server writes to, says when writes and later reads must be
// refused, and holds a ballast file that is given up at the lowest mark, so that the
// database and the audit log can finish what they have begun.
//
// It promises that marks are judged as if the ballast were in place: giving it up
// does not look like room, and does not bring refused calls back. It trusts statfs.
// It cannot stop others from taking the last byte between two looks; what then fails
// to write must be able to recover by itself.
package space

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Level says what is served.
type Level int

// The levels, from best to worst.
const (
	OK            Level = iota
	WritesRefused       // calls that change something are refused
	ReadsRefused        // all calls are refused: a read writes its audit record
)

func (l Level) String() string {
	switch l {
	case OK:
		return "ok"
	case WritesRefused:
		return "writes refused"
	case ReadsRefused:
		return "reads and writes refused"
	}
	return fmt.Sprintf("Level(%d)", int(l))
}

const (
	// stepEvery bounds how much others can write before it is noticed. A step costs
	// a few system calls.
	stepEvery = 200 * time.Millisecond
	// ballastRetry is the pause after a ballast file could not be made.
	ballastRetry = time.Minute
	// marginShare: a mark is left again when this share of it is free on top.
	marginShare = 4
)

// Path is one place the server writes to.
type Path struct {
	// Role names it in messages, e.g. "the database" or "the audit log". The path
	// itself is never shown to clients.
	Role string
	// Dir exists, and holds the ballast of its file system when it is the first of
	// the paths there.
	Dir string
}

// Config says what to watch.
type Config struct {
	Paths []Path
	// WriteMark: below it writes are refused. Zero means 256 MiB, or 10 % of a file
	// system where that is less.
	WriteMark Mark
	// ReadMark: below it everything is refused. Zero means 64 MiB, or 2.5 % of a
	// file system where that is less. It must not be above WriteMark.
	ReadMark Mark
	// BallastBytes is the size of the ballast file on each file system. Zero means
	// 128 MiB, or 5 % of a file system where that is less; negative means none.
	BallastBytes int64
	Logger       *slog.Logger
}

// The defaults: each an amount, and the share of a small file system that replaces it.
const (
	defaultWriteBytes   = 256 << 20
	defaultReadBytes    = 64 << 20
	defaultBallastBytes = 128 << 20

	defaultWritePercent   = 10
	defaultReadPercent    = 2.5
	defaultBallastPercent = 5
)

// Watcher knows how much room there is. Level, Free, Writes and Reads never block
// and may be called by every request; Step and Run by one goroutine.
type Watcher struct {
	cfg   Config
	usage func(dir string) (usage, error)
	state atomic.Pointer[state]

	mu      sync.Mutex
	systems map[uint64]*system // by device; guarded by mu
	failing string             // the last error that was logged; guarded by mu
}

// usage is what statfs tells about the file system of a directory.
type usage struct {
	free, total int64 // bytes; free is what unprivileged processes may use
	device      uint64
}

// system is one file system that holds one or several of the paths.
type system struct {
	level   Level
	low     bool
	ballast ballast
}

// state is the outcome of a step: that of the file system that is worst off.
type state struct {
	level Level
	free  int64
	low   bool  // some file system is
	err   error // why calls are refused; a *Refusal
}

// New returns a watcher that has not looked yet: call Step before relying on it.
func New(cfg Config) (*Watcher, error) {
	if len(cfg.Paths) == 0 {
		return nil, errors.New("space: no paths to watch")
	}
	for _, m := range []struct {
		name string
		Mark
	}{{"WriteMark", cfg.WriteMark}, {"ReadMark", cfg.ReadMark}} {
		if err := m.validate(); err != nil {
			return nil, fmt.Errorf("space: %s %v: %w", m.name, m.Mark, err)
		}
	}
	if cfg.WriteMark.Bytes > 0 && cfg.ReadMark.Bytes > cfg.WriteMark.Bytes ||
		cfg.WriteMark.Percent > 0 && cfg.ReadMark.Percent > cfg.WriteMark.Percent {
		return nil, fmt.Errorf("space: ReadMark %v is above WriteMark %v", cfg.ReadMark, cfg.WriteMark)
	}
	w := &Watcher{cfg: cfg, usage: statfs, systems: make(map[uint64]*system)}
	w.state.Store(&state{})
	return w, nil
}

// Level is what is served as of the last step: by the worst file system.
func (w *Watcher) Level() Level { return w.state.Load().level }

// Free is the room on the file system that is worst off, not counting what the
// ballast takes or should take. It can be negative when ballast has been given up.
func (w *Watcher) Free() int64 { return w.state.Load().free }

// Low reports whether there is less room on some file system than twice the write mark:
// everything is still served, and somebody should look.
func (w *Watcher) Low() bool { return w.state.Load().low }

// Writes returns nil when calls that change something are served, and otherwise the
// *Refusal to answer with.
func (w *Watcher) Writes() error { return w.state.Load().err }

// Reads returns nil when calls that change nothing are served, and otherwise the
// *Refusal to answer with.
func (w *Watcher) Reads() error {
	if s := w.state.Load(); s.level >= ReadsRefused {
		return s.err
	}
	return nil
}

// Run takes a step at once and then several a second, until ctx ends. It returns nil.
func (w *Watcher) Run(ctx context.Context) error {
	tick := time.NewTicker(stepEvery)
	defer tick.Stop()
	for {
		err := w.Step(ctx, time.Now())
		if ctx.Err() != nil {
			return nil // a step that the stop interrupted has nothing to tell
		}
		w.logOnce(err)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// logOnce logs an error when it is another one than that of the step before.
func (w *Watcher) logOnce(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != w.failing && err != nil {
		w.cfg.Logger.Error("space: cannot tell how much room there is; the last known level stays", "error", err)
	}
	w.failing = text
}

// Step looks at every file system, sets the level, gives ballast up where the lowest
// mark is reached and makes it anew where there is room again. Call it once before
// the database is opened: on a full disk it is the ballast that lets it start. An
// error means that a path could not be examined; its level stays as it was.
func (w *Watcher) Step(ctx context.Context, now time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	var worst *state
	var low bool
	seen := make(map[uint64]bool, len(w.cfg.Paths))
	for _, p := range w.cfg.Paths {
		if err := ctx.Err(); err != nil {
			return err
		}
		u, err := w.usage(p.Dir)
		if err != nil {
			errs = append(errs, fmt.Errorf("examine the disk of %s: %w", p.Role, err))
			continue
		}
		if seen[u.device] {
			continue
		}
		seen[u.device] = true
		s := w.stepSystemLocked(p, u, now)
		low = low || s.low
		if worst == nil || s.level > worst.level || s.level == worst.level && s.free < worst.free {
			worst = s
		}
	}
	if len(errs) > 0 {
		old := w.state.Load()
		if worst == nil || worst.level < old.level {
			worst = old
		}
		low = low || old.low
	}
	w.state.Store(&state{level: worst.level, free: worst.free, low: low, err: worst.err})
	return errors.Join(errs...)
}

func (w *Watcher) stepSystemLocked(p Path, u usage, now time.Time) *state {
	sys := w.systems[u.device]
	if sys == nil {
		sys = &system{ballast: newBallast(p.Dir)}
		w.systems[u.device] = sys
	}
	write := w.cfg.WriteMark.bytes(u.total, defaultWriteBytes, defaultWritePercent)
	read := min(write, w.cfg.ReadMark.bytes(u.total, defaultReadBytes, defaultReadPercent))
	want := max(w.cfg.BallastBytes, 0)
	if w.cfg.BallastBytes == 0 {
		want = Mark{}.bytes(u.total, defaultBallastBytes, defaultBallastPercent)
	}
	free := u.free - sys.ballast.missing(want)

	wasLow := sys.low
	sys.low = free < 2*write || wasLow && free < 2*(write+write/marginShare)
	before := sys.level
	sys.level = nextLevel(before, free, write, read)
	if sys.level != before {
		w.logLevel(p, before, sys.level, free, write, read)
	} else if sys.low && !wasLow {
		w.cfg.Logger.Warn("space: getting low; below the write mark changes are refused", "of", p.Role,
			"free", Bytes(free).String(), "write_mark", Bytes(write).String())
	}
	switch {
	case sys.level == ReadsRefused:
		if freed, err := sys.ballast.release(); err != nil {
			w.cfg.Logger.Error("space: give up the ballast", "of", p.Role, "error", err)
		} else if freed > 0 {
			w.cfg.Logger.Warn("space: gave up the ballast", "of", p.Role, "bytes", freed)
		}
	case sys.level == OK && sys.ballast.due(want, u.free-write, now):
		if err := sys.ballast.build(want, now); err != nil {
			w.cfg.Logger.Warn("space: make the ballast; going on without", "of", p.Role, "bytes", want, "error", err)
		}
	}
	s := &state{level: sys.level, free: free, low: sys.low}
	switch sys.level {
	case WritesRefused:
		s.err = &Refusal{Level: WritesRefused, Role: p.Role, Free: free, Mark: write}
	case ReadsRefused:
		s.err = &Refusal{Level: ReadsRefused, Role: p.Role, Free: free, Mark: read}
	}
	return s
}

// nextLevel falls as soon as a mark is crossed and rises only well above it, so that
// a disk that hovers at a mark does not turn calls on and off.
func nextLevel(now Level, free, write, read int64) Level {
	switch {
	case free < read, now == ReadsRefused && free < read+read/marginShare:
		return ReadsRefused
	case free < write, now != OK && free < write+write/marginShare:
		return WritesRefused
	}
	return OK
}

func (w *Watcher) logLevel(p Path, before, after Level, free, write, read int64) {
	log := w.cfg.Logger.Error
	if after < before {
		log = w.cfg.Logger.Warn
	}
	log("space: "+after.String(), "before", before.String(), "of", p.Role, "free", Bytes(free).String(),
		"write_mark", Bytes(write).String(), "read_mark", Bytes(read).String())
}

// Refusal is the error of a call that was not served for want of space. Its text is
// for clients: it names what is full, not where it is.
type Refusal struct {
	Level Level
	Role  string // of the path
	Free  int64
	Mark  int64
}

func (r *Refusal) Error() string {
	refused := "changes are not accepted"
	if r.Level == ReadsRefused {
		refused = "no calls are served"
	}
	return fmt.Sprintf("the disk that holds %s has %v free, and below %v %s: make room on it or enlarge it, and service resumes by itself",
		r.Role, Bytes(max(r.Free, 0)), Bytes(r.Mark), refused)
}

// Describe implements prometheus.Collector.
func (w *Watcher) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(w, ch) }

// Collect implements prometheus.Collector.
func (w *Watcher) Collect(ch chan<- prometheus.Metric) {
	s := w.state.Load()
	gauge := func(name, help string, v float64) {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("arca_space_"+name, help, nil, nil), prometheus.GaugeValue, v)
	}
	gauge("free_bytes", "Room on the file system that is worst off, not counting the ballast.", float64(s.free))
	gauge("level", "0: all served, 1: writes refused, 2: reads and writes refused.", float64(s.level))
}
