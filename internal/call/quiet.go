package call

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// While the audit log cannot be written every call fails, and each would put lines into
// the server's own log, most likely on the same full disk; they all say the same. And
// those whom nobody vouches for can have themselves refused as often as they like.
const (
	quietEvery = 10 * time.Second
	quietLines = 5 // per interval
)

// quiet logs the first few of many alike in each interval, and counts the rest.
type quiet struct {
	mu      sync.Mutex
	until   time.Time // end of the interval (guarded by mu)
	lines   int       // in this interval (guarded by mu)
	skipped int       // since the last line (guarded by mu)
}

// log logs unless enough was logged of late. The next line then says how many were not.
func (q *quiet) log(log *slog.Logger, level slog.Level, msg string, args ...any) {
	now := time.Now()
	q.mu.Lock()
	if !now.Before(q.until) {
		q.until, q.lines = now.Add(quietEvery), 0
	}
	if q.lines == quietLines {
		q.skipped++
		q.mu.Unlock()
		return
	}
	q.lines++
	skipped := q.skipped
	q.skipped = 0
	q.mu.Unlock()
	if skipped > 0 {
		args = append(args, "not_logged_before", skipped)
	}
	log.Log(context.Background(), level, msg, args...)
}
