package ship

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// The pause after a failure doubles from the first to the second.
	minPause = 250 * time.Millisecond
	maxPause = 30 * time.Second
	// repeatEvery: a failure that lasts is logged again.
	repeatEvery = 10 * time.Minute
)

// state is what one copy or sink tells others about itself, and how it fails.
type state struct {
	what   string // "audit sink" or "audit copy", for the log
	name   string
	logger *slog.Logger

	mu      sync.Mutex
	next    uint64    // the first line that the other side does not have; guarded by mu
	pending time.Time // time of that line, or when it was found missing; guarded by mu
	sent    uint64    // lines; guarded by mu
	bytes   uint64    // guarded by mu
	errors  uint64    // failed attempts; guarded by mu
	missed  uint64    // lines that the log did not have any more; guarded by mu
	skipped uint64    // lines that the receiver refused for good; guarded by mu
	failing string    // why the last attempt failed; guarded by mu
	since   time.Time // when that began; guarded by mu
	logged  time.Time // when that was last logged; guarded by mu
	pause   time.Duration
}

// trying notes the age of the oldest line that is not delivered.
func (s *state) trying(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending.IsZero() || t.Before(s.pending) {
		s.pending = t
	}
}

// at notes how far the other side is, without any news of delivery.
func (s *state) at(next uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = next
}

// delivered notes that the other side has everything before next.
func (s *state) delivered(next, lines, bytes uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next, s.pending = next, time.Time{}
	s.sent += lines
	s.bytes += bytes
	s.recoverLocked()
}

// count adds to what was sent.
func (s *state) count(lines, bytes uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent += lines
	s.bytes += bytes
}

func (s *state) recoverLocked() {
	if s.failing != "" {
		s.logger.Info(s.what+" works again", "name", s.name, "after", time.Since(s.since).Round(time.Millisecond))
	}
	s.failing, s.since, s.logged, s.pause = "", time.Time{}, time.Time{}, 0
}

// failed counts a failure, logs it now and then, and returns the pause before the
// next attempt. size is how many lines the log has.
func (s *state) failed(err error, size uint64) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	// Who fails before reading a line does not know how old it is, and is late all the
	// same. Without lines to deliver, nobody is late.
	if size > s.next && s.pending.IsZero() {
		s.pending = now
	}
	s.errors++
	if s.failing == "" {
		s.since = now
	}
	s.failing = err.Error()
	if now.Sub(s.logged) >= repeatEvery {
		s.logged = now
		s.logger.Warn(s.what+" fails; it is tried again until it works", "name", s.name, "since", s.since, "error", err)
	}
	s.pause = min(max(minPause, 2*s.pause), maxPause)
	// Spread, so that several that failed together do not come back together.
	return s.pause/2 + rand.N(s.pause)/2
}

// miss notes lines that retention or damage took away before they were delivered.
func (s *state) miss(from, to uint64) {
	s.logger.Error(s.what+" was too late: lines are not in the log any more", "name", s.name, "from", from, "to", to)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.missed += to - from + 1
}

// skip notes a line that the receiver refuses for good.
func (s *state) skip(n uint64, err error) {
	s.logger.Error(s.what+" leaves out a line that the receiver refuses", "name", s.name, "line", n, "error", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.skipped++
}

func (s *state) status(kind, name, target string, size uint64, now time.Time) Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{Kind: kind, Name: name, Target: target, Failing: s.failing, Since: s.since}
	if size > s.next {
		st.LagLines = size - s.next
		if !s.pending.IsZero() {
			st.Lag = max(0, now.Sub(s.pending))
		}
	}
	return st
}

// sleep waits and reports false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
