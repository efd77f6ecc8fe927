package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a server under measurement.
type process struct {
	cmd  *exec.Cmd
	addr string // host:port
	tls  bool
}

// startReference starts this program as one of the servers in reference.go.
func startReference(ctx context.Context, kind string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return start(ctx, self, "-serve", kind)
}

func startArca(ctx context.Context, path string) (*process, error) {
	return start(ctx, path, "dev", "--ephemeral", "--listen", "127.0.0.1:0")
}

// start runs a server and reads its address from its first line.
func start(ctx context.Context, path string, args ...string) (*process, error) {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w (make build first?)", path, err)
	}
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("read address of %s %v: %w", path, args, err)
	}
	// More may come, and must not fill the pipe.
	go func() { _, _ = io.Copy(io.Discard, lines) }()
	scheme, addr, ok := strings.Cut(strings.TrimSpace(line), "://")
	if !ok {
		return nil, fmt.Errorf("first line of %s is %q", path, line)
	}
	return &process{cmd: cmd, addr: addr, tls: strings.HasSuffix(scheme, "https")}, nil
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.cmd.Wait()
}

// rss is the resident memory of the process in bytes.
func (p *process) rss() (int64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb * 1024, err
		}
	}
	return 0, fmt.Errorf("no VmRSS of process %d", p.cmd.Process.Pid)
}

// clockTick is the kernel's unit of process times (USER_HZ), 100 a second on Linux.
const clockTick = 10 * time.Millisecond

// cpu is the processor time the process has used, by itself and in the kernel.
func (p *process) cpu() (time.Duration, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The second field, the program's name, may hold anything up to the last ")".
	_, rest, _ := strings.Cut(string(raw), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0, fmt.Errorf("process times of %d are not readable", p.cmd.Process.Pid)
	}
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * clockTick, errors.Join(err1, err2)
}

// measureStarts is the median time from exec to the first answered request.
func measureStarts(ctx context.Context, path string, times int) (time.Duration, error) {
	var all []time.Duration
	for range times {
		begin := time.Now()
		p, err := startArca(ctx, path)
		if err != nil {
			return 0, err
		}
		resp, err := http.Get("http://" + p.addr + "/healthz")
		took := time.Since(begin)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				err = fmt.Errorf("healthz answered %s", resp.Status)
			}
		}
		p.stop()
		if err != nil {
			return 0, err
		}
		all = append(all, took)
	}
	slices.Sort(all)
	return all[len(all)/2], nil
}
