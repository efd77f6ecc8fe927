package conformance_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// programEnv is the environment of a client program that has no credentials yet: what
// it needs to reach the target, and nothing of the tester's that could lead it
// elsewhere.
func programEnv(t *testing.T) []string {
	t.Helper()
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + t.TempDir(),
		"LANG=C.UTF-8",
		"PYTHONNOUSERSITE=1",
		"AWS_EC2_METADATA_DISABLED=true",
		"AWS_PAGER=",
		"ARCA_URL=" + shared.Endpoint(),
		"AWS_REGION=" + shared.Config.Region,
		"AWS_DEFAULT_REGION=" + shared.Config.Region,
	}
}

// clientEnv is programEnv with the credentials of the target.
func clientEnv(t *testing.T) []string {
	t.Helper()
	creds, err := shared.Config.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	env := append(programEnv(t), "AWS_ACCESS_KEY_ID="+creds.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+creds.SecretAccessKey)
	if creds.SessionToken != "" {
		env = append(env, "AWS_SESSION_TOKEN="+creds.SessionToken)
	}
	return env
}

// run executes a client program and shows what it wrote if it fails.
func run(t *testing.T, dir string, program string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir, cmd.Env = dir, clientEnv(t)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(program), err, out.Bytes())
	}
	if testing.Verbose() {
		t.Logf("%s", out.Bytes())
	}
}

// needs fails a test whose programs are not there: a client that was not tried is
// not one that works.
func needs(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: make test-deps installs it", err)
	}
}

// node is the Node.js that the JavaScript SDK runs on.
func node(t *testing.T) string {
	t.Helper()
	path, err := exec.Command("../scripts/find-node").Output()
	if err != nil {
		t.Fatalf("find-node: %v: make test-deps installs one", err)
	}
	needs(t, "js/node_modules/@aws-sdk/client-secrets-manager")
	return strings.TrimSpace(string(path))
}

func TestJavaScript(t *testing.T) {
	t.Parallel()
	run(t, "js", node(t), "--test")
}

// The boto3 of Debian.
func TestPython(t *testing.T) {
	t.Parallel()
	needs(t, "/usr/bin/python3")
	run(t, "python", "/usr/bin/python3", "-B", "walkthrough.py")
}

// Who did what, with the boto3 of Debian.
func TestPythonEvents(t *testing.T) {
	t.Parallel()
	needs(t, "/usr/bin/python3")
	run(t, "python", "/usr/bin/python3", "-B", "events.py")
}

// Who did what, with the AWS CLI of Debian.
func TestCLIEvents(t *testing.T) {
	t.Parallel()
	needs(t, "/usr/bin/aws")
	run(t, "cli", "/bin/bash", "events.sh")
}

// Keys, with the AWS CLI of Debian.
func TestCLIKeys(t *testing.T) {
	t.Parallel()
	needs(t, "/usr/bin/aws")
	run(t, "cli", "/bin/bash", "keys.sh")
}

// Functions, with the AWS CLI of Debian.
func TestCLIFunctions(t *testing.T) {
	t.Parallel()
	needs(t, "/usr/bin/aws")
	run(t, "cli", "/bin/bash", "functions.sh")
}

// The AWS CLI of Debian.
func TestCLI(t *testing.T) {
	t.Parallel()
	needs(t, "/usr/bin/aws")
	run(t, "cli", "/bin/bash", "walkthrough.sh")
}
