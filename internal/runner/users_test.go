package runner_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"arca/internal/runner"
)

// ranges hands each test user ids of its own.
var ranges atomic.Int64

func nextRange() runner.UserRange {
	first := 700_000 + os.Getpid()%1000*1000 + int(ranges.Add(1))*20
	return runner.UserRange{First: first, Last: first + 19}
}

// TestUsers: functions have user ids of their own, no privileges, and no way into each
// other or into the server.
func TestUsers(t *testing.T) {
	t.Parallel()
	b := newBed(t, withUsers(t, true))
	// What the server has, and what everybody may write to.
	secret := filepath.Join(b.dir, "..", "arca-runner-secret-"+filepath.Base(b.dir))
	if err := os.WriteFile(secret, []byte("of the server"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(secret) })
	code := `
import os
def attempt(what):
    try:
        return what()
    except OSError as error:
        return type(error).__name__

def lambda_handler(e, c):
    status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
    return {
        "uid": os.getresuid(), "gid": os.getresgid(), "groups": len(os.getgroups()),
        "capabilities": [status[k] for k in ("CapInh", "CapPrm", "CapEff", "CapAmb")], "no_new_privs": status["NoNewPrivs"],
        "fds": sorted(os.listdir("/proc/self/fd")),
        "task": os.environ["LAMBDA_TASK_ROOT"], "tmp": os.environ["TMPDIR"],
        "write code": attempt(lambda: open(os.environ["LAMBDA_TASK_ROOT"] + "/x", "w").name),
        "list code": attempt(lambda: os.listdir(os.environ["LAMBDA_TASK_ROOT"] + "/../..")),
        "write /tmp": attempt(lambda: open("/tmp/arca-should-not-be", "w").name),
        "server": attempt(lambda: open(e["secret"]).read()),
        "parent": attempt(lambda: open("/proc/%d/environ" % os.getppid()).read()),
        "kill parent": attempt(lambda: os.kill(os.getppid(), 9)),
        "kill server": attempt(lambda: os.kill(e["server"], 9)),
        "other code": attempt(lambda: os.listdir(e["task"])) if "task" in e else "",
        "other tmp": attempt(lambda: os.listdir(e["tmp"])) if "tmp" in e else "",
    }
`
	one, two := python(b, code), python(b, code+"#\n")
	event := `{"secret":"` + secret + `","server":` + itoa(os.Getpid()) + `}`
	first := answer[map[string]any](b, one, event)
	second := answer[map[string]any](b, two, strings.TrimSuffix(event, "}")+`,"task":"`+first["task"].(string)+`","tmp":"`+first["tmp"].(string)+`"}`)
	uid := func(m map[string]any) float64 { return m["uid"].([]any)[0].(float64) }
	for _, got := range []map[string]any{first, second} {
		id := uid(got)
		if id < 700_000 {
			t.Errorf("uid = %v", got["uid"])
		}
		for _, k := range []string{"uid", "gid"} {
			for _, v := range got[k].([]any) {
				if v != id {
					t.Errorf("%s = %v, want %v only", k, got[k], id)
				}
			}
		}
		if got["groups"] != 1.0 {
			t.Errorf("groups = %v, want the one of the code", got["groups"])
		}
		for _, v := range got["capabilities"].([]any) {
			if v != "0000000000000000" {
				t.Errorf("capabilities = %v", got["capabilities"])
			}
		}
		if got["no_new_privs"] != "1" {
			t.Error("the function may gain privileges")
		}
		for _, k := range []string{"write code", "write /tmp", "list code", "server", "parent", "kill parent", "kill server"} {
			if got[k] != "PermissionError" {
				t.Errorf("%s = %v, want a PermissionError", k, got[k])
			}
		}
		// Its connection to the Runtime API, and the folder that is being read.
		if n := len(got["fds"].([]any)); n > 5 {
			t.Errorf("open files = %v", got["fds"])
		}
	}
	if uid(first) == uid(second) {
		t.Error("two functions have the same user id")
	}
	for _, k := range []string{"other code", "other tmp"} {
		if second[k] != "PermissionError" {
			t.Errorf("%s = %v, want a PermissionError", k, second[k])
		}
	}
}

// TestOwnUserRestricted: under the server's own user id, files are restricted by the
// kernel all the same, where it can.
func TestOwnUserRestricted(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	if strings.Contains(b.Isolation(), "not restricted") {
		t.Skip(b.Isolation())
	}
	secret := filepath.Join(b.dir, "secret")
	if err := os.WriteFile(secret, []byte("of the server"), 0o644); err != nil {
		t.Fatal(err)
	}
	got := answer[[]string](b, python(b, `
import os
def attempt(what):
    try:
        what()
        return "done"
    except OSError as error:
        return type(error).__name__

def lambda_handler(e, c):
    return [
        attempt(lambda: open(e["secret"])), attempt(lambda: os.listdir("/")), attempt(lambda: open("/tmp/arca-should-not-be", "w")),
        attempt(lambda: open("/proc/%d/environ" % e["server"])), attempt(lambda: os.kill(e["server"], 0)),
        attempt(lambda: os.symlink(e["secret"], os.environ["TMPDIR"] + "/link") or open(os.environ["TMPDIR"] + "/link")),
        attempt(lambda: open(os.environ["TMPDIR"] + "/own", "w")), attempt(lambda: open("/usr/bin/env")),
    ]
`), `{"secret":"`+secret+`","server":`+itoa(os.Getpid())+`}`)
	want := "PermissionError PermissionError PermissionError PermissionError PermissionError PermissionError done done"
	if strings.Join(got, " ") != want {
		t.Errorf("got  %v\nwant [%s]", got, want)
	}
}

func itoa(n int) string { return strconv.Itoa(n) }
