package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"arca": main})
}

// TestScripts runs the sessions in testdata with the command as a process of its
// own. -update rewrites the texts they compare with.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Setup: func(e *testscript.Env) error {
			home := filepath.Join(e.WorkDir, "home")
			e.Setenv("HOME", home)
			e.Setenv("TMPDIR", filepath.Join(e.WorkDir, "tmp"))
			return errors.Join(os.Mkdir(home, 0o700), os.MkdirAll(filepath.Join(e.WorkDir, "tmp"), 0o700))
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"serve":   serve,
			"said":    said,
			"finish":  finish,
			"exits":   exits,
			"get":     get,
			"mode":    mode,
			"aws":     callAWS,
			"pick":    pick,
			"expand":  expand,
			"rotated": rotated,
		},
	})
}

var update = flag.Bool("update", false, "rewrite the texts that scripts compare with")

// passedOn are the environment variables of a script that arca may see.
var passedOn = []string{
	"HOME", "PATH", "TMPDIR", "WORK", "XDG_STATE_HOME", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
	"AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_REGION", "AWS_CA_BUNDLE",
	"ARCA_ROOT_ACCESS_KEY_ID", "ARCA_ROOT_SECRET_ACCESS_KEY", "ARCA_ROOT_PASSPHRASE", "ARCA_NEW_ROOT_PASSPHRASE", "GODEBUG",
}

func command(ts *testscript.TestScript, args []string) *exec.Cmd {
	cmd := exec.Command("arca", args...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range passedOn {
		if v := ts.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	return cmd
}

// running is the server of a script.
type running struct {
	cmd *exec.Cmd
	// drained is closed when the output is read to its end.
	drained chan struct{}
	mu      sync.Mutex
	output  bytes.Buffer // guarded by mu
}

func (r *running) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.output.Write(p)
}

func (r *running) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.output.String()
}

// servers holds the server of each script by its working folder: testscript gives
// commands no other place for it.
var servers sync.Map

// serve ARGS...: starts arca, waits for its first line and sets $first to it,
// $AWS_ENDPOINT_URL to the URL in it and $address to its host and port.
func serve(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("serve cannot be negated; use exits")
	}
	r := &running{cmd: command(ts, args), drained: make(chan struct{})}
	stdout, err := r.cmd.StdoutPipe()
	ts.Check(err)
	r.cmd.Stderr = r
	ts.Check(r.cmd.Start())
	work := ts.Getenv("WORK")
	servers.Store(work, r)
	ts.Defer(func() {
		if _, mine := servers.LoadAndDelete(work); mine {
			_ = r.cmd.Process.Kill()
			_ = r.cmd.Wait()
		}
	})
	lines := make(chan string, 1)
	go func() {
		defer close(r.drained)
		br := bufio.NewReader(stdout)
		line, _ := br.ReadString('\n') // an end without a line shows below
		lines <- strings.TrimSuffix(line, "\n")
		_, _ = io.WriteString(r, line)
		_, _ = io.Copy(r, br)
	}()
	select {
	case line := <-lines:
		at := strings.LastIndex(line, " ")
		if at < 0 || !strings.Contains(line, "://") {
			<-r.drained
			ts.Fatalf("the first line of the server is %q; it wrote:\n%s", line, r)
		}
		ts.Setenv("first", line)
		url := line[at+1:]
		ts.Setenv("AWS_ENDPOINT_URL", url)
		ts.Setenv("address", url[strings.Index(url, "://")+len("://"):])
	case <-time.After(30 * time.Second):
		ts.Fatalf("the server said nothing; it wrote:\n%s", r)
	}
}

// said REGEXP [VARIABLE]: waits until the server has written something, and sets a
// variable to the part in brackets.
func said(ts *testscript.TestScript, neg bool, args []string) {
	re := regexp.MustCompile(`(?m)` + args[0])
	v, ok := servers.Load(ts.Getenv("WORK"))
	if !ok {
		ts.Fatalf("no server is running")
	}
	r := v.(*running)
	if neg {
		if re.MatchString(r.String()) {
			ts.Fatalf("the server wrote:\n%s", r)
		}
		return
	}
	var match []string
	for deadline := time.Now().Add(20 * time.Second); match == nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("%s was not said; the server wrote:\n%s", args[0], r)
		}
		match = re.FindStringSubmatch(r.String())
	}
	if len(args) > 1 {
		ts.Setenv(args[1], match[1])
	}
}

// finish: ends the server with SIGTERM. Its status must be 0.
func finish(ts *testscript.TestScript, neg bool, args []string) {
	v, ok := servers.LoadAndDelete(ts.Getenv("WORK"))
	if neg || len(args) > 0 || !ok {
		ts.Fatalf("usage: finish, after serve")
	}
	r := v.(*running)
	ts.Check(r.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-r.drained:
	case <-time.After(40 * time.Second):
		_ = r.cmd.Process.Kill()
		ts.Fatalf("the server did not end; it wrote:\n%s", r)
	}
	if err := r.cmd.Wait(); err != nil {
		ts.Fatalf("the server ended with %v; it wrote:\n%s", err, r)
	}
}

// exits CODE STDERR-REGEXP arca ARGS...: runs arca and checks its status and what it
// writes to standard error.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || args[2] != "arca" {
		ts.Fatalf("usage: exits code regexp arca args...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	cmd := command(ts, args[3:])
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		ts.Fatalf("run arca: %v", err)
	}
	ts.Logf("[stdout]\n%s[stderr]\n%s", stdout, stderr.Bytes())
	if got := cmd.ProcessState.ExitCode(); got != want {
		ts.Fatalf("status = %d, want %d", got, want)
	}
	if !regexp.MustCompile(`(?ms)` + args[1]).Match(stderr.Bytes()) {
		ts.Fatalf("standard error does not match %s", args[1])
	}
}

// get CODE URL [REGEXP]: makes a GET request and checks status and body. The URL
// may leave the server out.
func get(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: get code url [regexp]")
	}
	url := args[1]
	if strings.HasPrefix(url, "/") {
		url = ts.Getenv("AWS_ENDPOINT_URL") + url
	}
	resp, err := http.Get(url)
	ts.Check(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)
	if strconv.Itoa(resp.StatusCode) != args[0] {
		ts.Fatalf("GET %s: %s %s, want %s", url, resp.Status, body, args[0])
	}
	if len(args) > 2 && !regexp.MustCompile(args[2]).Match(body) {
		ts.Fatalf("GET %s: the body does not match %s:\n%s", url, args[2], body)
	}
}

// mode PERMISSIONS PATH...: checks the permissions of files and folders.
func mode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: mode permissions path...")
	}
	want, err := strconv.ParseUint(args[0], 8, 32)
	ts.Check(err)
	for _, path := range args[1:] {
		fi, err := os.Stat(ts.MkAbs(path))
		ts.Check(err)
		if got := fi.Mode().Perm(); got != os.FileMode(want) {
			ts.Fatalf("%s has mode %o, want %o", path, got, want)
		}
	}
}
