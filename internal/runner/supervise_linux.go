package runner

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// busyWatch and idleWatch are how often memory and processes are counted.
	busyWatch = 100 * time.Millisecond
	idleWatch = time.Second
	// diskWatch is how often the temporary folder is measured.
	diskWatch = time.Second
	// killBatch is how many processes are stopped before they are killed. Of more than
	// that, the others come next.
	killBatch = 4096
	// maxDiskEntries bounds the files in it.
	maxDiskEntries = 50_000
)

// supervisor runs one function and everything it starts.
type supervisor struct {
	task    *task
	pid     int
	reports *json.Encoder
	peakKB  int64
	limit   string // the limit that was passed
	lastDu  time.Time
}

// supervise is the supervisor's whole life.
func supervise() error {
	unix.Umask(0o077)
	// What the function starts and loses becomes ours, whatever session it is in.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("adopt processes: %w", err)
	}
	// A function has the same user id: it may not look into us or take us over.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("hide from the function: %w", err)
	}
	if err := dropCapabilities(); err != nil {
		return err
	}
	unix.CloseOnExec(reportFD)
	reports := os.NewFile(reportFD, "reports")
	s := &supervisor{reports: json.NewEncoder(reports)}
	in := bufio.NewReader(os.Stdin)
	var err error
	if s.task, err = readTask(in); err != nil {
		return fmt.Errorf("read task: %w", err)
	}
	if err := s.start(); err != nil {
		return s.reports.Encode(status{Ended: true, Failed: err.Error()})
	}
	if err := s.reports.Encode(status{PID: s.pid}); err != nil {
		s.killAll() // the server is gone
		return nil
	}
	how := s.watch(readCommands(in))
	s.killAll()
	return s.reports.Encode(status{Ended: true, How: how, Limit: s.limit, PeakKB: s.peakKB})
}

// readCommands passes on what the server says; the channel ends with it.
func readCommands(in *bufio.Reader) <-chan byte {
	commands := make(chan byte)
	go func() {
		defer close(commands)
		for {
			b, err := in.ReadByte()
			if err != nil {
				return
			}
			commands <- b
		}
	}()
	return commands
}

// start starts the confiner and waits until it is the function, or failed to be.
func (s *supervisor) start() error {
	taskR, taskW, err := os.Pipe()
	if err != nil {
		return err
	}
	failR, failW, err := os.Pipe()
	if err != nil {
		return errors.Join(err, taskR.Close(), taskW.Close())
	}
	args := append(os.Args[:len(os.Args)-1:len(os.Args)-1], roleConfine)
	s.pid, err = syscall.ForkExec("/proc/self/exe", args, &syscall.ProcAttr{
		Dir: "/", Env: []string{},
		Files: []uintptr{taskR.Fd(), os.Stdout.Fd(), os.Stderr.Fd(), failW.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	})
	_, _ = taskR.Close(), failW.Close()
	if err == nil {
		// The confiner reads all of it before it can fail; a pipe may hold less.
		err = writeTask(taskW, s.task)
	}
	_ = taskW.Close()
	// The confiner's end of this pipe closes when it becomes the function.
	why, readErr := io.ReadAll(io.LimitReader(failR, 4096))
	_ = failR.Close()
	if err = errors.Join(err, readErr); err == nil && len(why) > 0 {
		err = errors.New(string(why))
	}
	return err
}

// watch waits for the end of the function and says what it was.
func (s *supervisor) watch(commands <-chan byte) (how string) {
	exits := make(chan syscall.WaitStatus, 1)
	stop := make(chan struct{})
	defer close(stop)
	go s.reap(exits)
	interval := time.NewTimer(busyWatch)
	defer interval.Stop()
	pause := busyWatch
	for {
		select {
		case ws := <-exits:
			return describeExit(ws)
		case c, ok := <-commands:
			if !ok {
				return "the server stopped it"
			}
			switch c {
			case commandBusy:
				pause = busyWatch
				interval.Reset(pause)
			case commandIdle:
				pause = idleWatch
				s.measure()
				_ = s.reports.Encode(status{PeakKB: s.peakKB}) // the end of input tells of the server's end
			}
		case <-interval.C:
			s.measure()
			if s.limit != "" {
				return "signal: killed"
			}
			interval.Reset(pause)
		}
	}
}

// reap collects every process that ends until there is none, and reports the function.
func (s *supervisor) reap(exits chan<- syscall.WaitStatus) {
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return
		case pid == s.pid && (ws.Exited() || ws.Signaled()):
			exits <- ws
		}
	}
}

// describeExit words an exit status as Go's os package does, since Lambda does.
func describeExit(ws syscall.WaitStatus) string {
	switch {
	case ws.Signaled():
		text := "signal: " + ws.Signal().String()
		if ws.CoreDump() {
			text += " (core dumped)"
		}
		return text
	case ws.ExitStatus() != 0:
		return "exit status " + strconv.Itoa(ws.ExitStatus())
	}
	return ""
}

// killAll ends every process of the function, and returns when none is left. They are
// stopped before they are killed, so that none can start another meanwhile.
func (s *supervisor) killAll() {
	_ = syscall.Kill(-s.pid, syscall.SIGKILL) // the usual case: all of them at once
	for {
		stopped := make(map[int]bool)
		for {
			fresh := false
			for _, pid := range descendants(os.Getpid(), killBatch) {
				if !stopped[pid] {
					stopped[pid], fresh = true, true
					_ = syscall.Kill(pid, syscall.SIGSTOP)
				}
			}
			if !fresh {
				break
			}
		}
		for pid := range stopped {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if len(stopped) == 0 {
			return
		}
		// reap collects them, unless it has ended because there were none for a moment.
		var ws syscall.WaitStatus
		_, _ = syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
		time.Sleep(time.Millisecond)
	}
}

// measure counts what the function uses and notes a limit that it has passed.
func (s *supervisor) measure() {
	pids := descendants(os.Getpid(), s.task.Tasks+1)
	if len(pids) > s.task.Tasks {
		s.limit = "processes"
		return
	}
	var kb, peak int64
	tasks := 0
	for _, pid := range pids {
		m := memoryOf(pid)
		kb += m.usedKB
		peak += m.peakKB
		tasks += m.threads
	}
	s.peakKB = max(s.peakKB, peak)
	switch {
	case kb > s.task.MemoryBytes>>10:
		// What several processes share was counted several times. Counting exactly costs
		// more, so it is done only now.
		if exactMemory(pids) > s.task.MemoryBytes>>10 {
			s.limit = "memory"
		}
	case tasks > s.task.Tasks:
		s.limit = "processes"
	case time.Since(s.lastDu) >= diskWatch:
		s.lastDu = time.Now()
		if used, entries := diskUse(s.task.Tmp); used > s.task.DiskBytes || entries > maxDiskEntries {
			s.limit = "temporary files"
		}
	}
}

// diskUse is what the files below dir take.
func diskUse(dir string) (bytes int64, entries int) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if entries++; entries > maxDiskEntries {
			return fs.SkipAll
		}
		if err != nil {
			return nil //nolint:nilerr // the function removes files meanwhile
		}
		if info, err := d.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				bytes += st.Blocks * 512
			}
		}
		return nil
	})
	return bytes, entries
}
