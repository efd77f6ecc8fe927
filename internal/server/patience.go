package server

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// patience is a context with a deadline like that of context.WithDeadline, whose timer
// starts when somebody first waits for it. Most calls wait for nothing that could fail
// to come: reads come from memory, and what is recorded is recorded whatever the caller
// does. For them the timer, and the entry among the children of the connection's
// context, cost as much as decoding their input.
type patience struct {
	context.Context //nolint:containedctx // the parent, for its values
	deadline        time.Time

	// timed is the context that is waited for, nil while nobody does. From then on it
	// answers for everything, also to package context, which asks for it as a value.
	timed atomic.Pointer[timed]

	mu    sync.Mutex
	ended bool  // the call is over (guarded by mu)
	err   error // what Err said without timed (guarded by mu)
}

type timed struct {
	context.Context //nolint:containedctx // it is one
	cancel          context.CancelFunc
}

// withPatience is context.WithTimeout. end is to be called when the call is over.
func withPatience(parent context.Context, d time.Duration) *patience {
	p := &patience{Context: parent, deadline: time.Now().Add(d)}
	if earlier, ok := parent.Deadline(); ok && earlier.Before(p.deadline) {
		p.deadline = earlier
	}
	return p
}

// end cancels the context.
func (p *patience) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	if t := p.timed.Load(); t != nil {
		t.cancel()
	}
}

// Deadline implements context.Context.
func (p *patience) Deadline() (time.Time, bool) { return p.deadline, true }

// Done implements context.Context.
func (p *patience) Done() <-chan struct{} {
	if t := p.timed.Load(); t != nil {
		return t.Done()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.timed.Load()
	if t == nil {
		ctx, cancel := context.WithDeadline(p.Context, p.deadline)
		if p.ended {
			cancel()
		}
		t = &timed{ctx, cancel}
		p.timed.Store(t)
	}
	return t.Done()
}

// Err implements context.Context.
func (p *patience) Err() error {
	if t := p.timed.Load(); t != nil {
		return t.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.err != nil:
	case p.Context.Err() != nil:
		p.err = p.Context.Err()
	case p.ended:
		p.err = context.Canceled
	case !time.Now().Before(p.deadline):
		p.err = context.DeadlineExceeded
	}
	return p.err
}

// Value implements context.Context.
func (p *patience) Value(key any) any {
	if t := p.timed.Load(); t != nil {
		return t.Value(key)
	}
	return p.Context.Value(key)
}
