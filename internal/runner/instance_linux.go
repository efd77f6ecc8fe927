package runner

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"arca/internal/lambda"
)

const (
	// afterAnswer is how long a process may go on after its answer before it asks for the
	// next event.
	afterAnswer = 10 * time.Second
	// stopTime is how long a supervisor may take to kill everything. After it, it is
	// killed itself.
	stopTime = 10 * time.Second
	// maxReportBytes bounds one report of a supervisor.
	maxReportBytes = 16 << 10
)

// instance is one process of a function, with everything it starts.
type instance struct {
	p       *Process
	key     instanceKey
	name    string // of its folder; random
	uid     int    // -1: the server's own
	tmp     string
	code    *codeDir
	expires time.Time // of its credentials

	proc     *os.Process // the supervisor
	control  *os.File
	out      *output
	outFile  *os.File
	listener net.Listener
	server   *http.Server
	started  time.Time

	events     chan *running
	initFailed chan []byte
	ready      chan struct{} // closed when it first asks for an event
	dead       chan struct{} // closed when the function's process has ended
	ended      chan struct{} // closed when nothing of it is left
	stopOnce   sync.Once
	freeOnce   sync.Once
	warnOnce   sync.Once
	peakKB     atomic.Int64
	measured   chan struct{} // takes a token for each report of peakKB
	back       chan struct{} // takes a token whenever it asks for an event

	mu     sync.Mutex
	parked bool     // it waits for an event (guarded by mu)
	owned  bool     // an invocation has it (guarded by mu)
	asked  bool     // it has asked for an event before (guarded by mu)
	now    *running // (guarded by mu)
	pid    int      // of the function's first process (guarded by mu)
	failed string   // why there is no process (guarded by mu)
	how    string   // what ended it (guarded by mu)
	limit  string   // the limit that it passed (guarded by mu)
	clean  bool     // its supervisor has killed all that was left (guarded by mu)
}

// instanceKey is what must be the same for a process to be used again.
type instanceKey struct {
	account  string
	uid      [16]byte
	revision string
	role     string
}

// start starts a process of a function. On error nothing is left.
func (p *Process) start(ctx context.Context, inv *lambda.Invocation, key instanceKey) (_ *instance, err error) {
	in := &instance{
		p: p, key: key, name: randomName(), uid: -1, started: time.Now(), owned: true,
		events: make(chan *running), initFailed: make(chan []byte, 1),
		ready: make(chan struct{}), dead: make(chan struct{}), ended: make(chan struct{}),
		measured: make(chan struct{}, 1), back: make(chan struct{}, 1),
	}
	defer func() {
		if err != nil {
			in.release()
		}
	}()
	creds, err := inv.Credentials(ctx, sessionLifetime)
	if err != nil {
		return nil, err
	}
	in.expires = creds.Expires
	if in.code, err = p.code.open(ctx, inv); err != nil {
		return nil, err
	}
	rt, err := p.cfg.Runtimes.find(inv.Function, p.bootstraps(), in.code.path)
	if err != nil {
		return nil, err
	}
	if err := in.makeFolder(); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	if in.listener, err = lc.Listen(ctx, "tcp4", "127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("open a Runtime API: %w", err)
	}
	end := p.cfg.Endpoint()
	caFile, err := in.writeCA(end.CA)
	if err != nil {
		return nil, err
	}
	stream := time.Now().UTC().Format("2006/01/02") + "/[" + version + "]" + in.name
	t := &task{
		Path: rt.path, Args: rt.args, Dir: in.code.path, Tmp: in.tmp, Read: append([]string{p.bootstraps()}, rt.read...),
		Env:     environment(inv, rt, creds, end.URL, caFile, in.listener.Addr().String(), in.code.path, in.tmp, stream),
		Limits:  p.cfg.Limits,
		OwnUser: in.uid >= 0,
	}
	t.MemoryBytes = int64(inv.Function.Memory) << 20
	if caFile != "" {
		t.Read = append(t.Read, caFile)
	}
	if err := in.launch(t); err != nil {
		return nil, err
	}
	return in, nil
}

func randomName() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(b[:])
}

// makeFolder makes the temporary folder, which belongs to the process.
func (in *instance) makeFolder() (err error) {
	base := filepath.Join(in.p.runDir(), in.name)
	in.tmp = filepath.Join(base, "tmp")
	if err := errors.Join(os.Mkdir(base, 0o711), os.Chmod(base, 0o711), os.Mkdir(in.tmp, 0o700)); err != nil {
		return fmt.Errorf("make temporary folder: %w", err)
	}
	if in.p.users == nil {
		return nil
	}
	if in.uid, err = in.p.users.take(); err != nil {
		return err
	}
	if err := os.Chown(in.tmp, in.uid, in.uid); err != nil {
		return fmt.Errorf("make temporary folder: %w", err)
	}
	return nil
}

// writeCA puts the server's certificates where the process can read them.
func (in *instance) writeCA(pem []byte) (path string, err error) {
	if len(pem) == 0 {
		return "", nil
	}
	path = filepath.Join(filepath.Dir(in.tmp), "ca.pem")
	if err := errors.Join(os.WriteFile(path, pem, 0o644), os.Chmod(path, 0o644)); err != nil {
		return "", fmt.Errorf("write certificates for a function: %w", err)
	}
	return path, nil
}

// launch starts the supervisor and the Runtime API, and what watches both.
func (in *instance) launch(t *task) error {
	controlR, controlW, err1 := os.Pipe()
	outR, outW, err2 := os.Pipe()
	reportR, reportW, err3 := os.Pipe()
	if err := errors.Join(err1, err2, err3); err != nil {
		closeAll(controlR, controlW, outR, outW, reportR, reportW)
		return fmt.Errorf("make pipes: %w", err)
	}
	attr := &os.ProcAttr{
		Dir: "/", Env: []string{},
		Files: []*os.File{controlR, outW, outW, reportW},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	if in.uid >= 0 {
		attr.Sys.Credential = in.p.users.credential(in.uid, in.code.gid)
	}
	args := append(in.p.cfg.Command[:len(in.p.cfg.Command):len(in.p.cfg.Command)], roleSupervise)
	proc, err := os.StartProcess("/proc/self/exe", args, attr)
	closeAll(controlR, outW, reportW)
	if err != nil {
		closeAll(controlW, outR, reportR)
		return fmt.Errorf("start supervisor: %w", err)
	}
	in.proc, in.control, in.outFile = proc, controlW, outR
	in.server = &http.Server{
		Handler: in.handler(), ReadHeaderTimeout: 30 * time.Second, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	go func() {
		_ = in.server.Serve(&ownListener{Listener: in.listener, own: in.isOwn, refused: in.refused})
	}()
	var collected sync.WaitGroup
	if in.out, err = newOutput(outR); err == nil {
		collected.Go(in.out.run)
	}
	go in.readReports(reportR)
	go in.wait(&collected)
	if err == nil {
		_ = controlW.SetWriteDeadline(time.Now().Add(stopTime))
		err = writeTask(controlW, t)
	}
	if err != nil {
		in.stop()
		<-in.ended
		return fmt.Errorf("start supervisor: %w", err)
	}
	return nil
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close()
		}
	}
}

// readReports takes what the supervisor says, up to its end.
func (in *instance) readReports(f *os.File) {
	defer f.Close()
	defer close(in.dead)
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 0, 1024), maxReportBytes)
	for lines.Scan() {
		var s status
		if json.Unmarshal(lines.Bytes(), &s) != nil {
			break
		}
		in.peakKB.Store(max(in.peakKB.Load(), s.PeakKB))
		signal(in.measured)
		in.mu.Lock()
		if s.PID != 0 {
			in.pid = s.PID
		}
		if s.Ended {
			in.how, in.limit, in.failed, in.clean = s.How, s.Limit, s.Failed, true
		}
		in.mu.Unlock()
		if s.Ended {
			return
		}
	}
	in.mu.Lock()
	in.how = "signal: killed" // the supervisor, and with it the function
	in.mu.Unlock()
}

// wait clears up when the supervisor has ended.
func (in *instance) wait(collected *sync.WaitGroup) {
	_, _ = in.proc.Wait()
	<-in.dead
	in.stop()
	_ = in.server.Close()
	in.release()
	// Whoever held the other end of the output is gone by now; if not, it is cut off.
	_ = in.outFile.SetReadDeadline(time.Now().Add(time.Second))
	collected.Wait()
	close(in.ended)
	in.p.gone(in)
	_ = in.outFile.Close()
}

// release ends what may be left of a process and gives back what it had, once.
func (in *instance) release() { in.freeOnce.Do(in.free) }

func (in *instance) free() {
	if in.listener != nil {
		_ = in.listener.Close()
	}
	log := in.p.cfg.Logger
	in.mu.Lock()
	pid, clean := in.pid, in.clean
	in.mu.Unlock()
	switch {
	case in.uid >= 0:
		// All processes of the user id, whoever their parents are.
		if err := in.p.users.sweep(in.uid, in.tmp); err != nil {
			// The id is not used again before the next start.
			log.Error("processes of a function may be left", "error", err.Error())
		} else {
			in.p.users.giveBack(in.uid)
		}
	case in.tmp != "":
		if pid > 0 && !clean {
			_ = syscall.Kill(-pid, syscall.SIGKILL) // somebody killed the supervisor
		}
		if err := wipe(in.tmp); err != nil {
			log.Warn("temporary files of a function are removed at the next start", "error", err.Error())
		}
	}
	if in.tmp != "" {
		_ = os.RemoveAll(filepath.Dir(in.tmp))
	}
	if in.code != nil {
		in.p.code.release(in.code)
	}
}

// refused notes that somebody else tried to use the Runtime API.
func (in *instance) refused(from net.Addr, why string) {
	in.warnOnce.Do(func() {
		in.p.cfg.Logger.Warn("connections to a function's Runtime API are refused", "from", from.String(), "reason", why)
	})
}

// isOwn reports whether a connection to the Runtime API comes from this function.
func (in *instance) isOwn(p peer) bool {
	if in.uid >= 0 {
		return p.uid == in.uid
	}
	return p.uid == os.Getuid() && hasSocket(descendants(in.proc.Pid, in.p.cfg.Limits.Tasks), p.inode)
}

// stop orders the end. It does not wait for it.
func (in *instance) stop() {
	in.stopOnce.Do(func() {
		_ = in.control.Close()
		time.AfterFunc(stopTime, func() {
			select {
			case <-in.ended:
				return
			default:
			}
			if in.uid < 0 {
				_ = in.proc.Kill()
			} else if err := in.p.users.sweep(in.uid, ""); err != nil {
				// Not by Kill: a server that is not root may not kill other users' processes.
				in.p.cfg.Logger.Error("a function does not end", "error", err.Error())
			}
		})
	})
}

func (in *instance) tell(command byte) {
	_ = in.control.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = in.control.Write([]byte{command}) // a supervisor that is gone is noticed as that
}

// park notes that the process waits for an event. It is false for one that must not.
func (in *instance) park() bool {
	in.mu.Lock()
	if in.parked || in.now != nil {
		in.mu.Unlock()
		return false
	}
	in.parked = true
	if !in.asked {
		in.asked = true
		close(in.ready)
	}
	free := !in.owned
	in.mu.Unlock()
	signal(in.back)
	// Either this or leave finds both conditions met, and lists it.
	if free {
		in.p.putIdle(in)
	}
	return true
}

// signal puts a token into a channel that holds one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// begin notes that the process has the event of an invocation.
func (in *instance) begin(r *running) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.parked = false
	in.now = r
	select {
	case <-in.back: // that was this event
	default:
	}
}

// finish takes the outcome of the invocation with that id, if it is the one that runs.
func (in *instance) finish(id string, out outcome) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.now == nil || in.now.inv.RequestID != id {
		return false
	}
	in.now.done <- out
	in.now = nil
	return true
}

// leave ends an invocation's hold of an instance that can be used again.
func (in *instance) leave() {
	in.mu.Lock()
	in.owned = false
	parked := in.parked
	in.mu.Unlock()
	if parked {
		in.p.putIdle(in)
		return
	}
	// It is not back from its answer yet.
	time.AfterFunc(afterAnswer, func() {
		in.mu.Lock()
		defer in.mu.Unlock()
		if !in.owned && !in.parked {
			in.stop()
		}
	})
}
