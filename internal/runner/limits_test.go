package runner_test

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"arca/internal/runner"
)

// TestOutput: what is printed is kept up to a bound, the end of it, and slows nobody down.
func TestOutput(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	f := python(b, `
import sys
def lambda_handler(e, c):
    for i in range(e["lines"]):
        sys.stdout.write("%07d\n" % i)
    sys.stderr.write("to stderr\n")
    return "done"
`)
	res := b.invoke(f, `{"lines":131072}`) // a megabyte
	if string(res.Payload) != `"done"` || res.FunctionError != "" {
		t.Fatalf("answer = %s", res.Payload)
	}
	text := string(res.Log)
	if len(text) > 70<<10 {
		t.Errorf("the log has %d bytes", len(text))
	}
	const printed = 131072*8 + len("to stderr\n")
	if want := fmt.Sprintf("[%d bytes of output before this were not kept]\n", printed-64<<10); !strings.Contains(text, want) {
		t.Errorf("log begins %q, want %q in it", text[:200], want)
	}
	if !strings.Contains(text, "0131071\nto stderr\nEND ") {
		t.Errorf("log ends %q", text[len(text)-300:])
	}
	if res = b.invoke(f, `{"lines":1}`); !regexp.MustCompile(`^START .*\n0000000\nto stderr\nEND `).Match(res.Log) {
		t.Errorf("the next log = %s", res.Log)
	}
}

// TestLimits: whoever uses more than he may is stopped, and said so.
func TestLimits(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(c *runner.ProcessConfig) {
		c.Limits = runner.Limits{Tasks: 40, Files: 64, DiskBytes: 8 << 20}
	})
	for _, tc := range []struct{ name, code, wantLog string }{
		{"memory", `
def lambda_handler(e, c):
    hoard = []
    while True:
        hoard.append(bytearray(1 << 20))
`, "it used more memory than it may"},
		{"memory of children", `
import os, time
def lambda_handler(e, c):
    for i in range(4):
        if os.fork() == 0:
            hoard = b"x" * (80 << 20)
            time.sleep(60)
            os._exit(0)
    time.sleep(60)
`, "it used more memory than it may"},
		{"temporary files", `
import tempfile, time
def lambda_handler(e, c):
    keep = []
    for i in range(20):
        f = tempfile.NamedTemporaryFile()
        f.write(b"x" * (1 << 20))
        f.flush()
        keep.append(f)
    time.sleep(60)
`, "it used more temporary files than it may"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := python(b, tc.code)
			got, res := b.fail(f, `{}`)
			if got.ErrorType != "Runtime.ExitError" || !strings.Contains(string(res.Log), tc.wantLog) {
				t.Errorf("failure = %s\n%s", res.Payload, res.Log)
			}
		})
	}
	for _, tc := range []struct{ name, code, wantType string }{
		{"a large file", "import os\ndef lambda_handler(e, c):\n    open(os.environ['TMPDIR'] + '/f', 'wb').write(b'x' * (9 << 20))\n", "OSError"},
		{"many open files", "def lambda_handler(e, c):\n    return len([open('/dev/null') for i in range(100)])\n", "OSError"},
		{"far too much memory at once", "def lambda_handler(e, c):\n    return len(bytearray(4 << 30))\n", "MemoryError"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			// The sweeper of temporary files may see a large one before the write fails.
			swept := tc.name == "a large file"
			if got, res := b.fail(python(b, tc.code), `{}`); got.ErrorType != tc.wantType && !(swept && got.ErrorType == "Runtime.ExitError") {
				t.Errorf("failure = %s, want %s", res.Payload, tc.wantType)
			}
		})
	}
}

// TestForkBomb: the kernel counts processes where the function has a user id of its own,
// so that the supervisor has the time to end them.
func TestForkBomb(t *testing.T) {
	t.Parallel()
	users := withUsers(t, true)
	b := newBed(t, func(c *runner.ProcessConfig) {
		users(c)
		c.Limits.Tasks = 40
	})
	for _, code := range []string{`
import os, time
def lambda_handler(e, c):
    while True:
        try:
            os.fork()
        except OSError:
            time.sleep(0.01)
`, `
import os, time
def lambda_handler(e, c):
    while True:
        try:
            os.fork()
            os.setsid()
        except OSError:
            time.sleep(0.01)
`, `
import os, signal, time
def lambda_handler(e, c):
    while True:
        try:
            os.fork()
            os.kill(-1, signal.SIGCONT)
        except OSError:
            pass
`} {
		got, res := b.fail(python(b, code), `{}`)
		if got.ErrorType != "Runtime.ExitError" || !strings.Contains(string(res.Log), "it used more processes than it may") {
			t.Errorf("failure = %s\n%s", res.Payload, res.Log)
		}
	}
}

// TestNothingStays: what a process started and lost ends with it, and so does every file
// it made.
func TestNothingStays(t *testing.T) {
	t.Parallel()
	for _, users := range []bool{false, true} {
		t.Run(fmt.Sprintf("own users %v", users), func(t *testing.T) {
			b := newBed(t, withUsers(t, users))
			f := python(b, `
import os, subprocess, time
def lambda_handler(e, c):
    os.makedirs(os.environ["TMPDIR"] + "/a/b")
    open(os.environ["TMPDIR"] + "/a/b/file", "w").write("left")
    os.chmod(os.environ["TMPDIR"] + "/a/b", 0)
    # A daemon: another session, and an orphan.
    out = subprocess.run(["sh", "-c", "setsid setsid sleep 600 >/dev/null 2>&1 & echo $!"], capture_output=True, text=True)
    time.sleep(0.2)
    return [os.getpid(), os.environ["TMPDIR"]]
`)
			got := answer[[]any](b, f, `{}`)
			own := fmt.Sprint(got[0])
			daemons := pidsOf(t, "sleep\x00600\x00", own)
			if len(daemons) == 0 {
				t.Fatal("the daemon is not there")
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			for _, pid := range append(daemons, own) {
				if _, err := os.Stat("/proc/" + pid); err == nil {
					t.Errorf("process %s is still there", pid)
				}
			}
			if _, err := os.Stat(got[1].(string)); !os.IsNotExist(err) {
				t.Errorf("the temporary folder is still there: %v", err)
			}
		})
	}
}

// pidsOf are the processes with a command line that have the environment of process pid.
func pidsOf(t *testing.T, cmdline, pid string) (out []string) {
	t.Helper()
	api := func(pid string) string {
		text, _ := os.ReadFile("/proc/" + pid + "/environ")
		_, rest, _ := strings.Cut(string(text), "AWS_LAMBDA_RUNTIME_API=")
		return strings.SplitN(rest, "\x00", 2)[0]
	}
	want := api(pid)
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		if text, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline"); string(text) == cmdline && api(e.Name()) == want {
			out = append(out, e.Name())
		}
	}
	return out
}

// TestRuntimeAPIIsOwn: a Runtime API can be used by its own function only.
func TestRuntimeAPIIsOwn(t *testing.T) {
	t.Parallel()
	for _, users := range []bool{false, true} {
		t.Run(fmt.Sprintf("own users %v", users), func(t *testing.T) {
			b := newBed(t, withUsers(t, users))
			tell := python(b, "import os\ndef lambda_handler(e, c):\n    return os.environ['AWS_LAMBDA_RUNTIME_API']\n")
			address := answer[string](b, tell, `{}`)
			thief := python(b, `
import http.client, socket
def lambda_handler(e, c):
    try:
        conn = http.client.HTTPConnection(e["address"], timeout=10)
        conn.request("GET", "/2018-06-01/runtime/invocation/next")
        return "status %d" % conn.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return "refused"
`)
			if got := answer[string](b, thief, fmt.Sprintf(`{"address":%q}`, address)); got != "refused" {
				t.Errorf("another function got %q", got)
			}
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			_, _ = conn.Write([]byte("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n"))
			if n, err := conn.Read(make([]byte, 1)); err == nil || n > 0 {
				t.Error("the test itself could use a function's Runtime API")
			}
			if got := answer[string](b, tell, `{}`); got != address {
				t.Errorf("afterwards the function has another process: %s, not %s", got, address)
			}
		})
	}
}

// TestProtocol: a function that does not keep to the order of the Runtime API harms only
// itself.
func TestProtocol(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	f := python(b, `
import http.client, os
def call(method, path, body=None):
    conn = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    conn.request(method, "/2018-06-01/runtime/" + path, body)
    answer = conn.getresponse()
    return answer.status, answer.read().decode()

def lambda_handler(event, context):
    if event["do"] == "other":
        return call("POST", "invocation/" + event["id"] + "/response", "{}")
    if event["do"] == "next":
        return call("GET", "invocation/next")
    if event["do"] == "twice":
        first = call("POST", "invocation/" + context.aws_request_id + "/response", '"first"')
        return first
    if event["do"] == "large":
        return "x" * (6 << 20)
    if event["do"] == "odd":
        call("POST", "invocation/" + context.aws_request_id + "/error", "not JSON")
`)
	if got := answer[[]any](b, f, `{"do":"other","id":"of-another-invocation"}`); got[0] != 400.0 || !strings.Contains(got[1].(string), "InvalidRequestID") {
		t.Errorf("an answer to another invocation: %v", got)
	}
	if got := answer[[]any](b, f, `{"do":"next"}`); got[0] != 403.0 {
		t.Errorf("asking for an event while one is running: %v", got)
	}
	if got := answer[string](b, f, `{"do":"twice"}`); got != "first" {
		t.Errorf("of two answers the first counts, not %q", got)
	}
	if got, _ := b.fail(f, `{"do":"large"}`); got.ErrorType != "Function.ResponseSizeTooLarge" {
		t.Errorf("an answer that is too large: %+v", got)
	}
	if got, _ := b.fail(f, `{"do":"odd"}`); got.ErrorType != "Runtime.Unknown" {
		t.Errorf("a failure that is not JSON: %+v", got)
	}
}

// TestSilence: a function that closes the connection instead of asking for events, or
// never asks for one, ends.
func TestSilence(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(c *runner.ProcessConfig) { c.StartTime = 2 * time.Second })
	f := python(b, "import time\ntime.sleep(600)\n")
	got, res := b.fail(f, `{}`)
	if got.ErrorType != "Sandbox.Timedout" || !strings.Contains(string(res.Log), "The function did not start within 2.00 seconds") {
		t.Errorf("failure = %s\n%s", res.Payload, res.Log)
	}
}

// withUsers configures processes with own user ids; newBed skips the test where that
// cannot be.
func withUsers(t *testing.T, own bool) func(*runner.ProcessConfig) {
	t.Helper()
	if !own {
		return nil
	}
	return func(c *runner.ProcessConfig) {
		r := nextRange()
		c.Users = &r
	}
}

// TestConnections: a function cannot take all of the server's open files.
func TestConnections(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	f := python(b, `
import os, socket, time
def lambda_handler(e, c):
    host, port = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
    keep = [socket.create_connection((host, int(port))) for i in range(40)]
    def is_open(s):
        s.settimeout(0.05)
        try:
            return s.recv(1) != b""
        except TimeoutError:
            return True
        except OSError:
            return False
    for i in range(100): # the server takes its time
        keep = [s for s in keep if is_open(s)]
        if len(keep) <= 16:
            break
    return len(keep)
`)
	if got := answer[int](b, f, `{}`); got < 10 || got > 16 {
		t.Errorf("%d connections stay open, want at most 16", got)
	}
	if got := answer[int](b, f, `{}`); got < 10 || got > 16 {
		t.Errorf("%d connections stay open afterwards, want at most 16", got)
	}
}
