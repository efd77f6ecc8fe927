// Package ship takes the audit log elsewhere: copies of its files to a directory or a
// bucket, so that a lost disk loses seconds, and its lines to sinks (the standard
// output, a file, syslog, HTTPS), each at its own pace.
//
// It promises that every line reaches each copy and each sink at least once, in
// order, over restarts and outages on either side, as long as the log still has it;
// and says so when it has not. A place is only kept once the other side has
// acknowledged everything before it, so what a crash costs are lines sent twice.
//
// Nobody waits for it. It reads the files that the log has synced, in its own
// goroutines, with a bounded amount of memory for each copy and sink; one that hangs
// keeps its goroutine and nothing else. The one thing a laggard can hold up is
// retention (Held), unless its configuration says that it may not.
//
// It trusts the operator with where the log goes: addresses are not restricted. It
// trusts nothing that comes back. What it finds in a copy is compared with the log
// before anything is written there, and a copy that holds lines which the log does
// not have is left as it is: it may be the only proof of them.
//
// Described in docs/design/shipping.md.
package ship

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"path/filepath"
	"sync"
	"time"

	"arca/internal/audit"
)

// stopTimeout is how long Run waits for what does not let go: a write to a pipe or
// to a network file system cannot be broken off.
const stopTimeout = 10 * time.Second

// Config says what goes where.
type Config struct {
	Log *audit.Log
	// Dir is this node's directory, the one that Log writes to. Its last element names
	// the node in copies.
	Dir string
	// StateDir keeps how far each copy and sink has come. It is made if missing, and
	// must not be lost: without it sinks begin at the end again.
	StateDir string
	Copies   []CopyConfig
	Sinks    []SinkConfig
	// Stdout is where sinks of the kind stdout write.
	Stdout io.Writer
	// Hostname is this machine's name in syslog messages. Empty: none is given.
	Hostname string
	Logger   *slog.Logger
}

// Shipper runs the copies and sinks of one log. Its methods may be called
// concurrently.
type Shipper struct {
	cfg    Config
	copies []*copier
	sinks  []*sink
}

// New checks the configuration and reads the files it names (secrets, certificates).
// It does not touch the network, nor any target.
func New(cfg Config) (*Shipper, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if err := Validate(cfg.Copies, cfg.Sinks); err != nil {
		return nil, err
	}
	s := &Shipper{cfg: cfg}
	for _, c := range cfg.Copies {
		k, err := newCopier(cfg, c)
		if err != nil {
			return nil, fmt.Errorf("audit copy %q: %w", c.Name, err)
		}
		s.copies = append(s.copies, k)
	}
	for _, c := range cfg.Sinks {
		k, err := newSink(cfg, c)
		if err != nil {
			return nil, fmt.Errorf("audit sink %q: %w", c.Name, err)
		}
		s.sinks = append(s.sinks, k)
	}
	return s, nil
}

// Run copies and ships until ctx ends or the log is closed, and returns nil. An error
// of a target does not end it. Copies are brought up to date once more at the end, if
// that takes no longer than some seconds: end ctx before the log is closed.
func (s *Shipper) Run(ctx context.Context) error {
	var running sync.WaitGroup
	for _, c := range s.copies {
		running.Go(func() { c.run(ctx) })
	}
	for _, k := range s.sinks {
		running.Go(func() { k.run(ctx) })
	}
	done := make(chan struct{})
	go func() {
		running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-done:
	case <-time.After(stopTimeout):
		s.cfg.Logger.Warn("audit copies and sinks: one of them does not let go; what it had not acknowledged is sent after the next start")
	}
	return nil
}

// Held is the number of the first line that a copy or a sink still needs: retention
// must not remove it, nor any after it. Before Run has found out how far a copy has
// come, it is what was kept of it.
func (s *Shipper) Held() uint64 {
	held := uint64(math.MaxUint64)
	for _, c := range s.copies {
		if !c.cfg.NoHold {
			held = min(held, c.held.Load())
		}
	}
	for _, k := range s.sinks {
		if !k.cfg.NoHold {
			held = min(held, k.kept.Load())
		}
	}
	return held
}

// Status says how one copy or sink is doing.
type Status struct {
	// Kind is "copy" or "sink".
	Kind string
	Name string
	// Target names where it goes, without credentials and without the path of a URL.
	Target string
	// LagLines is how many lines of the log it does not have yet.
	LagLines uint64
	// Lag is how old the oldest of them is; 0 when there are none.
	Lag time.Duration
	// Failing is why the last attempt failed, empty when it did not; Since is when
	// that began.
	Failing string
	Since   time.Time
}

// Status lists the copies, then the sinks, in the order of the configuration.
func (s *Shipper) Status() []Status {
	now, size := time.Now(), s.cfg.Log.Size()
	var all []Status
	for _, c := range s.copies {
		all = append(all, c.state.status("copy", c.cfg.Name, c.place.String(), size, now))
	}
	for _, k := range s.sinks {
		all = append(all, k.state.status("sink", k.cfg.Name, k.out.String(), size, now))
	}
	return all
}

// cursorPath is where the place of a copy or sink is kept.
func (c Config) cursorPath(kind, name string) string {
	return filepath.Join(c.StateDir, kind+"-"+name+".json")
}

// node names this log's node in copies.
func (c Config) node() string { return filepath.Base(c.Dir) }
