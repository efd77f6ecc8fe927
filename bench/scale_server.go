package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"arca/internal/app"
)

// scaleHome is the folder of one server and how far it is filled.
type scaleHome struct {
	dir  string
	size int // secrets it shall hold
}

// scaleConfig is how a server of a production install is set up, but for TLS, which
// costs a request the same however many secrets there are.
const scaleConfig = `data_dir = %q
audit_dir = %q
listen = %q
ops_listen = %q
account = "000000000000"

[tls]
off = true
`

func (h scaleHome) configPath() string { return filepath.Join(h.dir, "arca.toml") }

// addresses are where a server listens.
type addresses struct{ api, ops string }

// configure writes the settings of the home with addresses that are free.
func (h scaleHome) configure() (at addresses, err error) {
	dir, err := filepath.Abs(h.dir)
	if err != nil {
		return at, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return at, err
	}
	if at.api, err = freeAddress(); err != nil {
		return at, err
	}
	if at.ops, err = freeAddress(); err != nil {
		return at, err
	}
	text := fmt.Sprintf(scaleConfig, filepath.Join(dir, "data"), filepath.Join(dir, "audit"), at.api, at.ops)
	return at, os.WriteFile(h.configPath(), []byte(text), 0o600)
}

// command is a command line of arca for this home.
func (h scaleHome) command(o options, command string) []string {
	return []string{"ARCA_ROOT_ACCESS_KEY_ID=" + app.DevAccessKeyID, "ARCA_ROOT_SECRET_ACCESS_KEY=" + app.DevSecretAccessKey,
		o.arca, command, "--config", h.configPath()}
}

// scaleServer is a running server of a home.
type scaleServer struct {
	home scaleHome
	at   addresses
	proc *process
}

func (h scaleHome) start(ctx context.Context, o options) (*scaleServer, error) {
	at, err := h.configure()
	if err != nil {
		return nil, err
	}
	return h.startAt(ctx, o, at)
}

// startAt returns when the server says that it listens.
func (h scaleHome) startAt(ctx context.Context, o options, at addresses) (*scaleServer, error) {
	p, err := start(ctx, "env", h.command(o, "server")...)
	if err != nil {
		return nil, err
	}
	return &scaleServer{home: h, at: at, proc: p}, nil
}

func (s *scaleServer) caller() caller { return scaleCaller(s.at.api) }

func scaleCaller(addr string) caller {
	return caller{addr: addr, region: region, creds: aws.Credentials{AccessKeyID: app.DevAccessKeyID, SecretAccessKey: app.DevSecretAccessKey}}
}

// anonymous is the anonymous memory of the process in bytes: what it holds itself,
// without the files that are mapped.
func (p *process) anonymous() (int64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb * 1024, err
		}
	}
	return 0, fmt.Errorf("no RssAnon of process %d", p.cmd.Process.Pid)
}

// running is the processor time that the threads of the process have had, to the
// nanosecond where cpu counts ticks: enough to tell what one list costs. It leaves out
// threads that have ended, which Go's seldom do.
func (p *process) running() (sum time.Duration, err error) {
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			continue // that thread has ended
		}
		text, _, _ := strings.Cut(string(raw), " ")
		ns, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

// quietFor is how long a server is left alone before its memory is read.
const quietFor = 5 * time.Second

// quiet has the garbage collected and returns the anonymous memory that is left after a
// time in which nothing is asked of the server.
func (s *scaleServer) quiet() (int64, error) {
	if err := s.rest(); err != nil {
		return 0, err
	}
	for range 2 { // the second frees what the first has finalized
		if _, err := fetchOps(s.at.ops, "/debug/pprof/heap?gc=1"); err != nil {
			return 0, err
		}
	}
	time.Sleep(quietFor)
	return s.proc.anonymous()
}

// rest waits until the server does next to nothing: after a start it works on in the
// background for a while.
func (s *scaleServer) rest() error {
	const look, mostWait = 2 * time.Second, 4 * time.Minute
	for end := time.Now().Add(mostWait); ; {
		before, err := s.proc.running()
		if err != nil {
			return err
		}
		time.Sleep(look)
		after, err := s.proc.running()
		if err != nil {
			return err
		}
		if after-before < look/10 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("the server of %s is still at work %v after its start: %v of processor time in %v", s.home.dir, mostWait, after-before, look)
		}
	}
}

func fetchOps(ops, path string) ([]byte, error) {
	resp, err := http.Get("http://" + ops + path)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s %s", path, resp.Status, strings.TrimSpace(string(body)))
	}
	return body, err
}

// diskUse is what the home takes on disk.
type diskUse struct{ database, data, audit int64 }

func (h scaleHome) disk() (d diskUse, err error) {
	add := func(dir string, sum *int64) error {
		// A data folder may lie elsewhere.
		if dir, err = filepath.EvalSymlinks(dir); err != nil {
			return err
		}
		return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			*sum += info.Size()
			if e.Name() == "db" {
				d.database += info.Size()
			}
			return nil
		})
	}
	return d, errors.Join(add(filepath.Join(h.dir, "data"), &d.data), add(filepath.Join(h.dir, "audit"), &d.audit))
}
