package runner

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"arca/internal/lambda"
)

// Process runs functions as processes of this machine. It is a lambda.Runner. It is
// safe for concurrent use.
type Process struct {
	cfg   ProcessConfig
	users *users // nil: processes have the server's own user id
	code  codeCache

	mu sync.Mutex
	// all are the processes there are, by function; those that are being started count in
	// starting only. Both are guarded by mu.
	all      map[instanceKey]map[*instance]bool
	starting map[instanceKey]int
	// idle are the processes that wait for work, those used last at the end of their list
	// (guarded by mu).
	idle map[instanceKey][]*idleInstance
	// changed is closed, and made anew, when something above may let a waiter go on
	// (guarded by mu).
	changed chan struct{}
	closed  bool // (guarded by mu)
}

type idleInstance struct {
	*instance
	timer *time.Timer
}

// NewProcess makes a runner and its folder, and ends what an earlier one has left.
func NewProcess(cfg ProcessConfig) (*Process, error) {
	cfg.setDefaults()
	p := &Process{
		cfg: cfg, all: make(map[instanceKey]map[*instance]bool), starting: make(map[instanceKey]int),
		idle: make(map[instanceKey][]*idleInstance), changed: make(chan struct{}),
	}
	if len(cfg.Command) == 0 || cfg.Endpoint == nil || cfg.Logger == nil {
		return nil, errors.New("run functions: the configuration is incomplete")
	}
	if cfg.Users != nil {
		if r := *cfg.Users; r.First < 1 || r.Last-r.First+1 < minUsers {
			return nil, fmt.Errorf("run functions: the user ids %d-%d are not a range of at least %d above 0", r.First, r.Last, minUsers)
		}
		p.users = newUsers(*cfg.Users, cfg.Command)
		p.cfg.MaxInstances = min(p.cfg.MaxInstances, len(p.users.free))
		if own := os.Getuid(); own >= cfg.Users.First && own <= cfg.Users.Last {
			return nil, fmt.Errorf("run functions: user id %d, which the server has itself, is in the range for functions", own)
		}
		if err := p.users.sweepAll(); err != nil {
			return nil, fmt.Errorf("run functions: %w", err)
		}
	}
	if err := p.makeFolders(); err != nil {
		return nil, fmt.Errorf("run functions: %w", err)
	}
	p.code = codeCache{dir: filepath.Join(cfg.Dir, "code"), own: p.ownCode, disown: p.disownCode}
	if p.users != nil {
		if err := p.users.probe(p.bootstraps(), filepath.Join(p.bootstraps(), pythonFile)); err != nil {
			return nil, fmt.Errorf("run functions: %w", err)
		}
	}
	return p, nil
}

// marker is the file by which a folder is known to be ours to empty.
const marker = ".arca-functions"

// makeFolders empties the folder: everything in it can be made again.
func (p *Process) makeFolders() error {
	dir := p.cfg.Dir
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	mark := filepath.Join(dir, marker)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if _, err := os.Stat(mark); errors.Is(err, fs.ErrNotExist) {
		if len(entries) > 0 {
			return fmt.Errorf("the folder %s is not empty, and is not one that a server has used for functions before", dir)
		}
		if err := os.WriteFile(mark, []byte("Arca empties this folder at its start.\n"), 0o600); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == marker {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	// Names inside are random, and nobody else may list them.
	for _, path := range []string{p.runDir(), filepath.Join(dir, "code")} {
		if err := errors.Join(os.Mkdir(path, 0o711), os.Chmod(path, 0o711)); err != nil {
			return err
		}
	}
	return errors.Join(os.Chmod(dir, 0o711), writeBootstraps(p.bootstraps()))
}

func (p *Process) runDir() string     { return filepath.Join(p.cfg.Dir, "run") }
func (p *Process) bootstraps() string { return filepath.Join(p.cfg.Dir, "runtime") }

// ownCode lets those who run code into its folder: a group that the code has to itself.
func (p *Process) ownCode(path string) (int, error) {
	if p.users == nil {
		return -1, nil
	}
	gid, err := p.users.takeGroup()
	if err != nil {
		return -1, err
	}
	if err := errors.Join(os.Chown(path, -1, gid), os.Chmod(path, 0o750)); err != nil {
		p.users.giveBackGroup(gid)
		return -1, err
	}
	return gid, nil
}

func (p *Process) disownCode(gid int) {
	if p.users != nil && gid >= 0 {
		p.users.giveBackGroup(gid)
	}
}

// Isolation says in words how far processes are kept apart from each other and from the
// server.
func (p *Process) Isolation() string {
	who := "the server's own user id"
	if p.users != nil {
		who = fmt.Sprintf("user ids %d to %d", p.users.all.First, p.users.all.Last)
	}
	if v := landlockVersion(); v > 0 {
		return fmt.Sprintf("%s, files restricted (Landlock %d)", who, v)
	}
	return who + ", files not restricted: this kernel has no Landlock"
}

// Invoke runs a function. It may take the time that a process needs to start besides the
// function's own.
func (p *Process) Invoke(ctx context.Context, inv *lambda.Invocation) (*lambda.Result, error) {
	if len(inv.Payload) > maxPayload {
		return nil, fmt.Errorf("the event has %d bytes, more than %d", len(inv.Payload), maxPayload)
	}
	in, cold, err := p.acquire(ctx, inv)
	if err != nil {
		return nil, err
	}
	return in.run(ctx, inv, cold)
}

// acquire finds a process that waits for work, or starts one.
func (p *Process) acquire(ctx context.Context, inv *lambda.Invocation) (_ *instance, cold bool, err error) {
	key := instanceKey{account: inv.Function.Account, uid: inv.Function.UID, revision: inv.Function.Revision, role: inv.Function.RoleUID}
	wait := time.NewTimer(p.cfg.BusyTime)
	defer wait.Stop()
	for {
		in, changed, err := p.reserve(key, time.Now().Add(inv.Function.MaxDuration()+time.Minute))
		switch {
		case err != nil:
			return nil, false, err
		case in != nil:
			return in, false, nil
		case changed == nil:
			in, err = p.start(ctx, inv, key)
			p.started(key, in)
			return in, true, err
		}
		select {
		case <-changed:
		case <-wait.C:
			return nil, false, lambda.ErrBusy
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
}

// reserve returns a process to use, or a place to start one in, for which changed is nil,
// or what to wait for. A process is used when its credentials are good until then.
func (p *Process) reserve(key instanceKey, until time.Time) (_ *instance, changed <-chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, errClosed
	}
	// Processes of an older revision will not be used again.
	for other, list := range p.idle {
		if other.uid == key.uid && other != key {
			for _, i := range list {
				p.dropLocked(other, i)
			}
		}
	}
	for len(p.idle[key]) > 0 {
		i := p.idle[key][len(p.idle[key])-1]
		if i.expires.After(until) && i.claim() {
			p.unlistLocked(key, i)
			return i.instance, nil, nil
		}
		p.dropLocked(key, i)
	}
	all, account, function := p.countLocked(key)
	switch free := p.cfg.MaxInstances - all; {
	case free <= 0:
		p.dropIdleLocked("")
		return nil, p.changed, nil
	case function >= p.cfg.MaxPerFunction, account >= free:
		// An account has no more places than it leaves to others, so that there is one for
		// an account that has none.
		p.dropIdleLocked(key.account)
		return nil, p.changed, nil
	}
	p.starting[key]++
	return nil, nil, nil
}

// claim takes an idle process for an invocation; false for one that has ended.
func (in *instance) claim() bool {
	select {
	case <-in.dead:
		return false
	default:
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.owned = true
	return in.parked
}

// started notes that a process was started, or not.
func (p *Process) started(key instanceKey, in *instance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.starting[key]--; p.starting[key] == 0 {
		delete(p.starting, key)
	}
	if in == nil {
		p.notifyLocked()
		return
	}
	select {
	case <-in.ended: // and gone was called before it was in the list
		p.notifyLocked()
		return
	default:
	}
	if p.all[key] == nil {
		p.all[key] = make(map[*instance]bool)
	}
	p.all[key][in] = true
	if p.closed {
		in.stop()
	}
}

// gone forgets a process that has ended.
func (p *Process) gone(in *instance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, i := range p.idle[in.key] {
		if i.instance == in {
			p.unlistLocked(in.key, i)
			break
		}
	}
	delete(p.all[in.key], in)
	if len(p.all[in.key]) == 0 {
		delete(p.all, in.key)
	}
	p.notifyLocked()
}

// putIdle lists a process that waits for work.
func (p *Process) putIdle(in *instance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		in.stop()
		return
	}
	i := &idleInstance{instance: in}
	i.timer = time.AfterFunc(p.cfg.IdleTime, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.dropLocked(in.key, i)
	})
	p.idle[in.key] = append(p.idle[in.key], i)
	p.notifyLocked()
}

// dropLocked stops a process that is listed as idle; one that is not is left alone.
func (p *Process) dropLocked(key instanceKey, i *idleInstance) {
	if p.unlistLocked(key, i) {
		i.stop()
	}
}

func (p *Process) unlistLocked(key instanceKey, i *idleInstance) bool {
	list := p.idle[key]
	for at, have := range list {
		if have != i {
			continue
		}
		i.timer.Stop()
		rest := append(list[:at:at], list[at+1:]...)
		if len(rest) == 0 {
			delete(p.idle, key)
		} else {
			p.idle[key] = rest
		}
		return true
	}
	return false
}

// dropIdleLocked makes room by an idle process of an account, or of any for "".
func (p *Process) dropIdleLocked(account string) {
	for key, list := range p.idle { // any function's: which is as good as another
		if account == "" || key.account == account {
			p.dropLocked(key, list[0])
			return
		}
	}
}

// countLocked counts the processes there are and those that are being started: all, those
// of the account, and those of the function, whatever their revision.
func (p *Process) countLocked(of instanceKey) (all, account, function int) {
	add := func(key instanceKey, n int) {
		all += n
		if key.account == of.account {
			account += n
		}
		if key.uid == of.uid {
			function += n
		}
	}
	for key, list := range p.all {
		add(key, len(list))
	}
	for key, n := range p.starting {
		add(key, n)
	}
	return all, account, function
}

func (p *Process) notifyLocked() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// Close stops all processes and waits for their end. Invocations that are running fail.
func (p *Process) Close() error {
	deadline := time.After(2 * stopTime)
	for {
		p.mu.Lock()
		p.closed = true
		for _, list := range p.all {
			for in := range list {
				in.stop()
			}
		}
		left, changed := len(p.all)+len(p.starting), p.changed
		p.mu.Unlock()
		if left == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-deadline:
			return errors.New("stop functions: some processes are left")
		}
	}
}
