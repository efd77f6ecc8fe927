// Package rotation is the engine that rotates secrets: it begins what the schedules say,
// invokes the rotation functions step by step and puts down what came of it.
//
// It promises that a rotation, once begun, goes on after any crash, at the step at which
// it stopped; that of two processes that run a step at once only one puts down its result;
// that no more functions run at the same time than it was told; and that what it keeps of
// a function's output holds no value of the secret.
//
// A step may run twice, after a crash or beside a process that was paused, so functions
// must be written for it, as AWS demands of them too. The engine trusts package secrets
// for the transactions, and whoever invokes the functions for their limits. It does not
// know what a function does.
package rotation

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"arca/internal/lambda"
	"arca/internal/secrets"
	"arca/internal/store"
)

// Config is what an Engine needs.
type Config struct {
	Store     *store.Store
	Rotations *secrets.Rotations
	Lambda    *lambda.Service
	// Now is the time that schedules go by.
	Now    func() time.Time
	Logger *slog.Logger
	// Workers is how many steps run at the same time; 0 means 16.
	Workers int
	// PerFunction is how many of them may be of one function; 0 means 4.
	PerFunction int
	// StartsPerSecond is how many scheduled rotations begin in a second when many are due;
	// 0 means 5.
	StartsPerSecond float64
}

const (
	defaultWorkers     = 16
	defaultPerFunction = 4
	defaultStarts      = 5
	// accountShare is the part of the workers that the functions of one account leave to
	// others, whatever they do: one that sleeps holds its worker until its time is up.
	accountShare = 4
	// beginBatch bounds the scheduled rotations that begin at a time.
	beginBatch = 32
	// leaseSlack is how much longer than its function a claim lasts: for the start of the
	// step and for putting down its result.
	leaseSlack = 30 * time.Second
	// busyPause is when a step is tried again for which no runner was free.
	busyPause = 2 * time.Second
	// releaseTimeout bounds giving a claim back when the process ends. One that is not
	// given back ends by itself, or when this node leads again.
	releaseTimeout = 2 * time.Second
	// lookEvery is how often the engine looks at when the next thing is due. Looking reads
	// the first entries of two indexes in memory.
	lookEvery = 250 * time.Millisecond
)

// Engine rotates secrets while its process leads.
type Engine struct {
	cfg    Config
	starts *rate.Limiter
	m      *Metrics

	mu       sync.Mutex
	running  map[string]int // guarded by mu; steps by function
	accounts map[string]int // guarded by mu; steps by account of the function
	workers  int            // guarded by mu
	group    sync.WaitGroup
}

// New makes an engine that runs with Run or step by step.
func New(cfg Config) *Engine {
	if cfg.Workers == 0 {
		cfg.Workers = defaultWorkers
	}
	if cfg.PerFunction == 0 {
		cfg.PerFunction = defaultPerFunction
	}
	if cfg.StartsPerSecond == 0 {
		cfg.StartsPerSecond = defaultStarts
	}
	return &Engine{
		cfg: cfg, m: newMetrics(), running: make(map[string]int), accounts: make(map[string]int),
		starts: rate.NewLimiter(rate.Limit(cfg.StartsPerSecond), beginBatch),
	}
}

// Run works until ctx ends and then waits for the steps that are running, which end
// early: their functions are stopped, and the steps run again later. gate refuses work
// while the disk has no room for it.
func (e *Engine) Run(ctx context.Context, gate func() error) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	defer e.group.Wait()
	defer e.m.look(secrets.RotationBacklog{}) // who leads next tells
	resumed := false
	for {
		if gate() == nil {
			if !resumed {
				resumed = e.resume(ctx)
			}
			if err := e.Step(ctx); err != nil && ctx.Err() == nil {
				e.cfg.Logger.Warn("rotations could not all go on; they are tried again", "error", err.Error())
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// resume takes back what an earlier life of this process had claimed: it does not run
// those steps any more.
func (e *Engine) resume(ctx context.Context) bool {
	err := e.cfg.Rotations.Resume(ctx, e.cfg.Now(), e.cfg.Store.NodeID())
	if err != nil && ctx.Err() == nil {
		e.cfg.Logger.Warn("steps that ran when the process ended go on later", "error", err.Error())
	}
	return err == nil
}

// Step begins what is due and sets workers to the steps that may run. It does not wait
// for them; Wait does.
func (e *Engine) Step(ctx context.Context) error {
	now := e.cfg.Now()
	var next time.Time
	err := e.cfg.Store.View(ctx, func(v *store.Snap) error {
		next = e.cfg.Rotations.NextDue(v)
		e.m.look(e.cfg.Rotations.Backlog(v, now))
		return nil
	})
	if err != nil || next.IsZero() || next.After(now) {
		return err
	}
	var begun int
	if n := e.allowance(); n > 0 {
		begun, err = e.cfg.Rotations.Begin(ctx, now, n)
		e.starts.AllowN(time.Now(), begun)
	}
	e.mu.Lock()
	spare := e.cfg.Workers - e.workers
	e.mu.Unlock()
	for range spare {
		claimed, cerr := e.claim(ctx)
		if cerr != nil || claimed == nil {
			return errors.Join(err, cerr)
		}
		e.mu.Lock()
		e.workers++
		e.mu.Unlock()
		e.group.Go(func() {
			e.work(ctx, claimed)
			e.mu.Lock()
			e.workers--
			e.mu.Unlock()
		})
	}
	return err
}

// allowance is how many scheduled rotations may begin now.
func (e *Engine) allowance() int {
	return min(beginBatch, int(e.starts.TokensAt(time.Now())))
}

// Wait returns when no step is running.
func (e *Engine) Wait() { e.group.Wait() }

// claim takes a step that is due and counts it as running.
func (e *Engine) claim(ctx context.Context) (*secrets.Claimed, error) {
	lease := func(functionARN string) time.Duration { return e.timeout(ctx, functionARN) + leaseSlack }
	skip := func(functionARN string) bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.running[functionName(functionARN)] >= e.cfg.PerFunction || e.accounts[accountOf(functionARN, "")] >= e.cfg.Workers-e.cfg.Workers/accountShare
	}
	claimed, err := e.cfg.Rotations.Claim(ctx, e.cfg.Now(), e.cfg.Store.NodeID(), lease, skip)
	if err != nil {
		return nil, fmt.Errorf("claim a step: %w", err)
	}
	if claimed != nil {
		e.mu.Lock()
		e.running[functionName(claimed.Job.LambdaARN)]++
		e.accounts[accountOf(claimed.Job.LambdaARN, "")]++
		e.mu.Unlock()
	}
	return claimed, nil
}

func (e *Engine) release(functionARN string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	name, account := functionName(functionARN), accountOf(functionARN, "")
	if e.running[name]--; e.running[name] == 0 {
		delete(e.running, name)
	}
	if e.accounts[account]--; e.accounts[account] == 0 {
		delete(e.accounts, account)
	}
}

// work runs the step and then whatever else is due, so that the steps of a rotation
// follow each other without a pause.
func (e *Engine) work(ctx context.Context, claimed *secrets.Claimed) {
	for claimed != nil {
		err := e.run(ctx, claimed)
		e.release(claimed.Job.LambdaARN)
		if err != nil {
			if ctx.Err() == nil {
				e.cfg.Logger.Warn("step of a rotation not put down; it runs again when its claim ends",
					"secret", claimed.Job.UID.String(), "step", string(claimed.Job.Step), "error", err.Error())
			}
			return
		}
		if claimed, err = e.claim(ctx); err != nil {
			if ctx.Err() == nil {
				e.cfg.Logger.Warn("no step could be claimed", "error", err.Error())
			}
			return
		}
	}
}

// event is what AWS sends to rotation functions.
// https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_lambda-functions.html
type event struct {
	Step               string
	SecretID           string `json:"SecretId"`
	ClientRequestToken string
	RotationToken      string
}

// run invokes the function for the step and puts down the result. A function that was
// stopped because this process ends has not failed: nothing is put down, and the step
// runs again.
func (e *Engine) run(ctx context.Context, claimed *secrets.Claimed) error {
	j := &claimed.Job
	payload, err := json.Marshal(event{Step: string(j.Step), SecretID: claimed.SecretARN, ClientRequestToken: j.VersionID, RotationToken: claimed.Token})
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	run := secrets.StepRun{Step: j.Step, Started: secrets.InstantOf(e.cfg.Now()), RequestID: newRequestID()}
	begin := time.Now()
	result, err := e.invoke(ctx, claimed, payload, run.RequestID)
	took := time.Since(begin)
	run.Millis = took.Milliseconds()
	if ctx.Err() != nil {
		rctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
		defer cancel()
		return errors.Join(ctx.Err(), e.cfg.Rotations.Release(rctx, e.cfg.Now(), claimed))
	}
	switch {
	case errors.Is(err, lambda.ErrBusy):
		// It has not run, and that is nobody's failure.
		return e.cfg.Rotations.Release(ctx, e.cfg.Now().Add(busyPause), claimed)
	case err != nil:
		run.Error, run.Output = j.FailureText(), err.Error()
	case result.FunctionError != "":
		run.Error, run.Output = j.FailureText(), string(result.Log)+failure(result.Payload)
	default:
		run.Output = string(result.Log)
	}
	e.cfg.Rotations.Redact(ctx, claimed, &run.Output)
	outcome, err := e.cfg.Rotations.Settle(ctx, e.cfg.Now(), claimed, run)
	if err != nil {
		return err
	}
	e.m.ran(j, run, outcome, took)
	return nil
}

// invoke runs the function, if its policy still lets Secrets Manager do so. A nil error
// means that the function has ended, whatever it did.
func (e *Engine) invoke(ctx context.Context, claimed *secrets.Claimed, payload []byte, requestID string) (*lambda.Result, error) {
	j := &claimed.Job
	var f *lambda.Function
	err := e.cfg.Store.View(ctx, func(v *store.Snap) (err error) {
		f, err = invocable(e.cfg.Lambda, v, j.LambdaARN, claimed.SecretARN, j.Account, e.cfg.Now())
		return err
	})
	if err != nil {
		return nil, err
	}
	return e.cfg.Lambda.Run(ctx, f, payload, requestID, "", e.cfg.Now())
}

// timeout is the longest that an invocation of a function takes; nothing for one that is
// not there.
func (e *Engine) timeout(ctx context.Context, functionARN string) (d time.Duration) {
	_ = e.cfg.Store.View(ctx, func(v *store.Snap) error {
		if f, ok := e.cfg.Lambda.Find(v, functionARN); ok {
			d = f.MaxDuration()
		}
		return nil
	})
	return d
}

// failure is what a failed function answered, as a line below what it printed.
func failure(payload []byte) string {
	var said struct {
		Type    string `json:"errorType"`
		Message string `json:"errorMessage"`
	}
	if err := json.Unmarshal(payload, &said); err != nil || said.Message == "" && said.Type == "" {
		return "\n" + string(payload)
	}
	if said.Type == "" {
		return "\n" + said.Message
	}
	return "\n" + said.Type + ": " + said.Message
}

// newRequestID draws a random UUID.
func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
