package runner_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPython(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	f := python(b, `
import logging
logger = logging.getLogger()
logger.setLevel(logging.INFO)

def lambda_handler(event, context):
    print("event", event["Step"])
    logger.info("to the log")
    assert 0 < context.get_remaining_time_in_millis() <= 60000
    return {
        "step": event["Step"], "name": context.function_name, "arn": context.invoked_function_arn,
        "memory": context.memory_limit_in_mb, "version": context.function_version, "umlaut": "ä",
        "id": context.aws_request_id, "group": context.log_group_name,
    }
`)
	inv := f.invocation(`{"Step":"createSecret"}`)
	res, err := b.Invoke(t.Context(), inv)
	if err != nil || res.FunctionError != "" {
		t.Fatalf("Invoke = %s, %v", res.Payload, err)
	}
	var got map[string]string
	if err := json.Unmarshal(res.Payload, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"step": "createSecret", "name": "fn-1", "arn": "arn:aws:lambda:eu-west-1:123456789012:function:fn-1", "memory": "256",
		"version": "$LATEST", "umlaut": "ä", "id": inv.RequestID, "group": "/aws/lambda/fn-1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	log := regexp.MustCompile(`^START RequestId: ID Version: \$LATEST\nevent createSecret\n\[INFO\]\t\S+Z\tID\tto the log\nEND RequestId: ID\n` +
		`REPORT RequestId: ID\tDuration: [0-9.]+ ms\tBilled Duration: [0-9]+ ms\tMemory Size: 256 MB\tMax Memory Used: [1-9][0-9]* MB\tInit Duration: [0-9.]+ ms\t\n$`)
	if text := strings.ReplaceAll(string(res.Log), inv.RequestID, "ID"); !log.MatchString(text) {
		t.Errorf("log = %s", text)
	}
	// The next event goes to the same process.
	if res = b.invoke(f, `{"Step":"setSecret"}`); strings.Contains(string(res.Log), "Init Duration") {
		t.Errorf("the second invocation started a process: %s", res.Log)
	}
}

func TestPythonFailures(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	for _, tc := range []struct {
		name, handler, code, event string
		wantType, wantMessage      string
		wantTrace                  string
	}{
		{"an exception", "", "def lambda_handler(e, c):\n    raise ValueError('no such ' + e['x'])\n", `{"x":"thing"}`,
			"ValueError", `^no such thing$`, "lambda_function.py\", line 2, in lambda_handler"},
		{"an answer that is not JSON", "", "def lambda_handler(e, c):\n    return object()\n", `{}`,
			"Runtime.MarshalError", `^Unable to marshal response: Object of type object is not JSON serializable$`, ""},
		{"no such module", "other.handler", "", `{}`, "Runtime.ImportModuleError", `^Unable to import module 'other': No module named 'other'$`, ""},
		{"an import that fails", "", "import nothing_like_this\n", `{}`,
			"Runtime.ImportModuleError", `^Unable to import module 'lambda_function': No module named 'nothing_like_this'$`, ""},
		{"no such function", "lambda_function.other", "x = 1\n", `{}`,
			"Runtime.HandlerNotFound", `^Handler 'other' missing on module 'lambda_function'$`, ""},
		{"a handler without a dot", "lambda_function", "", `{}`, "Runtime.MalformedHandlerName", `^Bad handler 'lambda_function'`, ""},
		{"a syntax error", "", "def lambda_handler(e, c)\n", `{}`, "Runtime.UserCodeSyntaxError", `^Syntax error in module 'lambda_function': `, "Line 1"},
		{"an exception while it is loaded", "", "raise KeyError('early')\n", `{}`, "KeyError", `early`, "line 1"},
		{"an exit", "", "import sys\ndef lambda_handler(e, c):\n    sys.exit(3)\n", `{}`,
			"Runtime.ExitError", `^RequestId: [0-9a-f]+ Error: Runtime exited with error: exit status 3$`, ""},
		{"an exit without a reason", "", "import os\ndef lambda_handler(e, c):\n    os._exit(0)\n", `{}`,
			"Runtime.ExitError", `^RequestId: [0-9a-f]+ Error: Runtime exited without providing a reason$`, ""},
		{"a crash", "", "import os, signal\ndef lambda_handler(e, c):\n    os.kill(os.getpid(), signal.SIGSEGV)\n", `{}`,
			"Runtime.ExitError", `^RequestId: [0-9a-f]+ Error: Runtime exited with error: signal: segmentation fault$`, ""},
		{"an exit while it is loaded", "", "import os\nos._exit(4)\n", `{}`,
			"Runtime.ExitError", `^RequestId: [0-9a-f]+ Error: Runtime exited with error: exit status 4$`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := python(b, tc.code)
			if tc.handler != "" {
				f.Handler = tc.handler
			}
			got, res := b.fail(f, tc.event)
			if got.ErrorType != tc.wantType || !regexp.MustCompile(tc.wantMessage).MatchString(got.ErrorMessage) {
				t.Errorf("failure = %s, want %s: %s", res.Payload, tc.wantType, tc.wantMessage)
			}
			if !strings.Contains(fmt.Sprint(got.StackTrace...), tc.wantTrace) {
				t.Errorf("trace = %q, want %q in it", got.StackTrace, tc.wantTrace)
			}
			if strings.Contains(string(res.Payload), "bootstrap.py") {
				t.Errorf("the failure shows the runtime's own frames: %s", res.Payload)
			}
		})
	}
}

// TestPythonAfterFailure: an exception does not end the process.
func TestPythonAfterFailure(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	f := python(b, "n = 0\ndef lambda_handler(e, c):\n    global n\n    n += 1\n    if n == 1:\n        raise ValueError('once')\n    return n\n")
	b.fail(f, `{}`)
	if got := answer[int](b, f, `{}`); got != 2 {
		t.Errorf("answer = %d, want 2 of the same process", got)
	}
}

// TestEnvironment: a function finds exactly this in its environment.
func TestEnvironment(t *testing.T) {
	t.Setenv("ARCA_ROOT_PASSPHRASE", "must not leak")
	b := newBed(t, nil)
	f := python(b, "import os\ndef lambda_handler(e, c):\n    return dict(os.environ, cwd=os.getcwd(), umask=oct(os.umask(0)))\n")
	f.env = map[string]string{"MY_SETTING": "mine", "AWS_ACCESS_KEY_ID": "not mine", "TZ": ":Europe/Berlin"}
	got := answer[map[string]string](b, f, `{}`)
	for name, form := range map[string]string{
		"AWS_LAMBDA_RUNTIME_API":     `^127\.0\.0\.1:[0-9]+$`,
		"AWS_LAMBDA_LOG_STREAM_NAME": `^[0-9]{4}/[0-9]{2}/[0-9]{2}/\[\$LATEST\][0-9a-f]{32}$`,
		"LAMBDA_TASK_ROOT":           "^" + regexp.QuoteMeta(b.dir) + "/code/[0-9a-f]{32}/task$",
		"TMPDIR":                     "^" + regexp.QuoteMeta(b.dir) + "/run/[0-9a-f]{32}/tmp$",
		"_X_AMZN_TRACE_ID":           `^Root=1-[0-9a-f]{8}-[0-9a-f]{24};Sampled=0$`,
	} {
		if !regexp.MustCompile(form).MatchString(got[name]) {
			t.Errorf("%s = %q, want %s", name, got[name], form)
		}
	}
	if got["cwd"] != got["LAMBDA_TASK_ROOT"] || got["HOME"] != got["TMPDIR"] || got["umask"] != "0o77" {
		t.Errorf("cwd = %q, HOME = %q, umask = %q", got["cwd"], got["HOME"], got["umask"])
	}
	for _, name := range []string{"AWS_LAMBDA_RUNTIME_API", "AWS_LAMBDA_LOG_STREAM_NAME", "LAMBDA_TASK_ROOT", "TMPDIR", "HOME", "_X_AMZN_TRACE_ID", "cwd", "umask"} {
		delete(got, name)
	}
	want := map[string]string{
		"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "en_US.UTF-8", "TZ": ":Europe/Berlin", "MY_SETTING": "mine",
		"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "SECRETS_MANAGER_ENDPOINT": "http://127.0.0.1:1", "_HANDLER": "lambda_function.lambda_handler",
		"LAMBDA_RUNTIME_DIR": filepath.Join(b.dir, "runtime"), "AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-1",
		"AWS_EXECUTION_ENV": "AWS_Lambda_python3.11", "AWS_LAMBDA_FUNCTION_NAME": "fn-1", "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256", "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand", "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/fn-1",
		"AWS_ACCESS_KEY_ID": "ASIATEST", "AWS_SECRET_ACCESS_KEY": "secret-of-the-role", "AWS_SESSION_TOKEN": "token-of-the-role",
	}
	// Python itself adds LC_CTYPE where the locale is not installed.
	if extra, ok := got["LC_CTYPE"]; ok && extra == "C.UTF-8" {
		delete(got, "LC_CTYPE")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment (-want +got):\n%s\n%v", diff, slices.Sorted(maps.Keys(got)))
	}
}

// TestTimeout: a function that takes too long is stopped, with all that it started, and
// the next event gets a new process.
func TestTimeout(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	f := python(b, `
import os, subprocess, time
def lambda_handler(e, c):
    if e.get("sleep"):
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        print("child", child.pid)
        time.sleep(600)
    return os.getpid()
`)
	f.Timeout = 1
	first := answer[int](b, f, `{}`)
	began := time.Now()
	got, res := b.fail(f, `{"sleep":true}`)
	if took := time.Since(began); took < time.Second || took > 20*time.Second {
		t.Errorf("the invocation took %s, want a second and a little", took)
	}
	if got.ErrorType != "Sandbox.Timedout" || !strings.HasSuffix(got.ErrorMessage, "Error: Task timed out after 1.00 seconds") {
		t.Errorf("failure = %s", res.Payload)
	}
	if !strings.Contains(string(res.Log), "Task timed out after 1.00 seconds\nEND ") {
		t.Errorf("log = %s", res.Log)
	}
	child := regexp.MustCompile(`child ([0-9]+)`).FindStringSubmatch(string(res.Log))
	if child == nil {
		t.Fatalf("log = %s", res.Log)
	}
	if _, err := os.Stat("/proc/" + child[1]); err == nil {
		t.Errorf("the function's child %s is still there", child[1])
	}
	if second := answer[int](b, f, `{}`); second == first {
		t.Error("the process was used again after it had timed out")
	}
}

// TestDebianModules: what AWS's rotation templates import comes from the system.
func TestDebianModules(t *testing.T) {
	if exec.Command("/usr/bin/python3", "-c", "import boto3, pgdb, pymysql").Run() != nil {
		t.Skip("the modules are not there; scripts/test-deps.sh installs them")
	}
	t.Parallel()
	b := newBed(t, nil)
	f := python(b, "import boto3, pgdb, pymysql, json, logging, os, re\ndef lambda_handler(e, c):\n    return [m.__name__ for m in (boto3, pgdb, pymysql)]\n")
	if got := answer[[]string](b, f, `{}`); strings.Join(got, " ") != "boto3 pgdb pymysql" {
		t.Errorf("answer = %v", got)
	}
}
