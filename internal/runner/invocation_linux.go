package runner

import (
	"context"
	"fmt"
	"time"

	"arca/internal/lambda"
)

const (
	// lastBreath is how long an answer may take that was sent right before the process
	// ended.
	lastBreath = 100 * time.Millisecond
	// settling is how long a process may keep its answer waiting after it.
	settling = 100 * time.Millisecond
	// stamp is how Lambda writes the time into a log.
	stamp = "2006-01-02T15:04:05.000Z"
)

// ending is how an invocation ended.
type ending struct {
	payload []byte
	failed  bool
	// last says that the process is not to be used again.
	last bool
}

// run hands an event to the process and waits for what becomes of it. cold says that the
// process was started for this. An error means that nobody waits any more: the process
// is stopped, and what it did is unknown.
func (in *instance) run(ctx context.Context, inv *lambda.Invocation, cold bool) (*lambda.Result, error) {
	rep := &report{requestID: inv.RequestID, memoryMB: int64(inv.Function.Memory)}
	if !cold {
		in.out.take() // what was printed after the last answer belongs to nobody
	}
	in.tell(commandBusy)
	end, err := in.await(ctx, inv, cold, rep)
	if err != nil {
		in.stop()
		return nil, err
	}
	if end.last {
		in.stop()
		select {
		case <-in.ended:
		case <-time.After(stopTime + time.Second):
		}
	} else {
		in.settle()
	}
	rep.peakMB = in.peakKB.Load() >> 10
	res := &lambda.Result{Payload: end.payload, Log: rep.log(in.out.take())}
	if end.failed {
		// Lambda's word for every failure: "Handled" was that of runtimes that are gone.
		res.FunctionError = lambda.Unhandled
	}
	if !end.last {
		in.leave()
	}
	return res, nil
}

// settle asks the supervisor for the memory used, tells it that the process rests, and
// waits a moment for the process to come back for its next event: without that, the next
// invocation would often start another one.
func (in *instance) settle() {
	select {
	case <-in.measured: // an old one
	default:
	}
	in.tell(commandIdle)
	timer := time.NewTimer(settling)
	defer timer.Stop()
	for _, c := range []chan struct{}{in.measured, in.back} {
		select {
		case <-c:
		case <-in.dead:
		case <-timer.C:
			return
		}
	}
}

func (in *instance) await(ctx context.Context, inv *lambda.Invocation, cold bool, rep *report) (ending, error) {
	if cold {
		end, ready, err := in.awaitReady(ctx, inv, rep)
		if !ready {
			return end, err
		}
	}
	limit := inv.Function.MaxDuration()
	began := time.Now()
	r := &running{inv: inv, deadline: began.Add(limit), done: make(chan outcome, 1)}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	timedOutNow := func() ending {
		rep.duration = limit
		rep.note = fmt.Sprintf("%s %s Task timed out after %.2f seconds", time.Now().UTC().Format(stamp), inv.RequestID, limit.Seconds())
		return ending{payload: timedOut(inv.RequestID, limit), failed: true, last: true}
	}
	select {
	case in.events <- r:
	case <-timer.C:
		return timedOutNow(), nil
	case <-in.dead:
		return in.crashed(inv, rep), nil
	case <-ctx.Done():
		return ending{}, ctx.Err()
	}
	select {
	case out := <-r.done:
		rep.duration = time.Since(began)
		return ending{payload: out.payload, failed: out.failed}, nil
	case <-timer.C:
		return timedOutNow(), nil
	case <-in.dead:
		rep.duration = time.Since(began)
		select {
		case out := <-r.done:
			return ending{payload: out.payload, failed: out.failed, last: true}, nil
		case <-time.After(lastBreath):
		}
		return in.crashed(inv, rep), nil
	case <-ctx.Done():
		return ending{}, ctx.Err()
	}
}

// awaitReady waits until a new process asks for an event.
func (in *instance) awaitReady(ctx context.Context, inv *lambda.Invocation, rep *report) (end ending, ready bool, err error) {
	limit := in.p.cfg.StartTime
	timer := time.NewTimer(limit)
	defer timer.Stop()
	failed := func(body []byte) ending { return ending{payload: body, failed: true, last: true} }
	select {
	case <-in.ready:
		rep.start = time.Since(in.started)
		return ending{}, true, nil
	case body := <-in.initFailed:
		return failed(body), false, nil
	case <-in.dead:
		select {
		case body := <-in.initFailed: // it ends after it has said why
			return failed(body), false, nil
		case <-time.After(lastBreath):
		}
		return in.crashed(inv, rep), false, nil
	case <-timer.C:
		rep.note = fmt.Sprintf("%s %s The function did not start within %.2f seconds", time.Now().UTC().Format(stamp), inv.RequestID, limit.Seconds())
		return failed(timedOut(inv.RequestID, limit)), false, nil
	case <-ctx.Done():
		return ending{}, false, ctx.Err()
	}
}

// crashed is the ending of a process that ended without an answer.
func (in *instance) crashed(inv *lambda.Invocation, rep *report) ending {
	in.mu.Lock()
	defer in.mu.Unlock()
	end := ending{failed: true, last: true}
	switch {
	case in.failed != "":
		end.payload = failure("Runtime.InvalidEntrypoint", "RequestId: "+inv.RequestID+" Error: "+in.failed)
	case in.limit != "":
		rep.note = fmt.Sprintf("%s %s The function was stopped: it used more %s than it may", time.Now().UTC().Format(stamp), inv.RequestID, in.limit)
		end.payload = exited(inv.RequestID, in.how)
	default:
		end.payload = exited(inv.RequestID, in.how)
	}
	return end
}
