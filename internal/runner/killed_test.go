package runner_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"arca/internal/lambda"
	"arca/internal/runner"
)

// hostCommand makes this test program a server that can be killed.
const hostCommand = "host"

// host runs a function, tells which processes it has, and waits to be killed. It makes no
// use of the testing package: the process ends without a word.
func host(dir string, archive []byte) error {
	p, err := runner.NewProcess(runner.ProcessConfig{
		Dir: dir, Command: []string{"arca", helperCommand}, Logger: newBedLogger(),
		Endpoint: func() runner.Endpoint { return runner.Endpoint{URL: "http://127.0.0.1:1"} }, StartTime: time.Minute,
	})
	if err != nil {
		return err
	}
	f := newFunction("python3.11", "lambda_function.lambda_handler", archive)
	res, err := p.Invoke(context.Background(), f.invocation(`{}`))
	if err != nil {
		return err
	}
	if res.FunctionError != "" {
		return fmt.Errorf("%s: %s", res.FunctionError, res.Payload)
	}
	fmt.Println(string(res.Payload))
	select {}
}

// TestServerKilled: when the server is killed, nothing of its functions stays.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	code := dir + "/code.zip"
	err := os.WriteFile(code, zipped(t, files{"lambda_function.py": `
import os, subprocess, time
def lambda_handler(e, c):
    out = subprocess.run(["sh", "-c", "setsid setsid sleep 600 >/dev/null 2>&1 & echo"], capture_output=True)
    for i in range(100):
        mine = [p for p in os.listdir("/proc") if p.isdigit() and has(p)]
        if mine:
            return " ".join(mine + [str(os.getpid()), str(os.getppid())])
        time.sleep(0.05)

def has(pid):
    try:
        return (open("/proc/%s/cmdline" % pid).read() == "sleep\0" + "600\0" and
            os.environ["AWS_LAMBDA_RUNTIME_API"] in open("/proc/%s/environ" % pid).read())
    except OSError:
        return False
`}), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, hostCommand, dir+"/functions", code)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if err != nil {
		t.Fatalf("the server said %q: %v", line, err)
	}
	pids := strings.Fields(strings.Trim(strings.TrimSpace(line), `"`))
	if len(pids) < 3 {
		t.Fatalf("the function has processes %q", pids)
	}
	deadline := time.Now().Add(20 * time.Second)
	for _, pid := range pids {
		for alive(pid) {
			if time.Now().After(deadline) {
				t.Fatalf("process %s is still there", pid)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// alive reports whether a process exists and is no zombie, which whoever is process 1 may
// leave behind.
func alive(pid string) bool {
	text, err := os.ReadFile("/proc/" + pid + "/status")
	return err == nil && !strings.Contains(string(text), "\nState:\tZ")
}

func newFunction(runtime, handler string, archive []byte) *function {
	f := &function{archive: archive}
	f.Function = lambda.Function{
		Account: "123456789012", Region: "eu-west-1", Name: "fn", Runtime: runtime, Handler: handler,
		RoleUID: "AROATESTTESTTESTTESTT", Timeout: 60, Memory: 256, Revision: "1", SHA256: sum(archive),
	}
	return f
}

// TestSupervisorKilled: a function that got rid of its supervisor has got rid of itself.
func TestSupervisorKilled(t *testing.T) {
	t.Parallel()
	for _, users := range []bool{false, true} {
		t.Run(fmt.Sprintf("own users %v", users), func(t *testing.T) {
			b := newBed(t, withUsers(t, users))
			f := python(b, `
import os, subprocess
def lambda_handler(e, c):
    child = subprocess.Popen(["sleep", "600"], start_new_session=e["users"])
    return [os.getppid(), os.getpid(), child.pid]
`)
			pids := answer[[]int](b, f, fmt.Sprintf(`{"users":%v}`, users))
			if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			deadline := time.Now().Add(20 * time.Second)
			for _, pid := range pids {
				for alive(strconv.Itoa(pid)) {
					if time.Now().After(deadline) {
						t.Fatalf("process %d is still there", pid)
					}
					time.Sleep(20 * time.Millisecond)
				}
			}
			if again := answer[[]int](b, f, `{"users":false}`); again[1] == pids[1] {
				t.Error("the dead process answered")
			}
		})
	}
}
