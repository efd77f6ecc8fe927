// Package faulttest kills, starves and restarts the real binary and checks that it
// keeps its promises: an acknowledged write is there afterwards, nothing is half
// written, and what fails for want of something works again when it is back.
package faulttest

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// long runs the number of repetitions the project promises, instead of a sample.
var long = flag.Bool("long", false, "run the long versions of the tests")

var binary string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "arca-fault-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "arca")
		build := exec.Command("go", "build", "-o", binary, "arca/cmd/arca")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build arca:", err)
			return 1
		}
		return m.Run()
	}())
}

// process is one life of a server.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	url    string
	ended  chan struct{}
	mu     sync.Mutex
	output bytes.Buffer // guarded by mu; standard error and what follows the first line
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.Write(b)
}

func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// tryStart starts the binary and waits for its address; an error carries its output.
func tryStart(t *testing.T, env []string, args ...string) (*process, error) {
	t.Helper()
	p := &process{t: t, ended: make(chan struct{})}
	p.cmd = exec.Command(binary, args...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = p
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	first, err := lines.ReadString('\n')
	if err != nil {
		_ = p.cmd.Wait()
		close(p.ended)
		return nil, fmt.Errorf("arca %v ended at start:\n%s", args, p.log())
	}
	_, p.url, _ = strings.Cut(strings.TrimSpace(first), "listening on ")
	go func() {
		defer close(p.ended)
		_, _ = lines.WriteTo(p)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() { p.kill() })
	return p, nil
}

func start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p, err := tryStart(t, env, args...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// kill is kill -9; it returns when the process is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// stop ends the process as an operator would and requires that it ends well.
func (p *process) stop() {
	p.t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(40 * time.Second):
		p.t.Fatalf("server did not stop:\n%s", p.log())
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		p.t.Fatalf("server ended with status %d:\n%s", code, p.log())
	}
}

func (p *process) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// client does not retry: an error is what the server answered.
func client(url, key, secret string) *secretsmanager.Client {
	return secretsmanager.New(secretsmanager.Options{
		BaseEndpoint: aws.String(url), Region: "us-east-1", HTTPClient: inOnePiece{},
		Credentials: credentials.NewStaticCredentialsProvider(key, secret, ""),
		Retryer:     aws.NopRetryer{},
	})
}

// inOnePiece is the HTTP client of an SDK, and sends what net/http knows to be in memory.
// A body of the SDK's own type leaves after the header, and the SDK takes it back as soon
// as the head of the answer is there: if net/http was not quite done with it then, it
// closes the connection, and an answer of more than its buffer cannot be read.
type inOnePiece struct{}

func (inOnePiece) Do(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(body))
	return http.DefaultClient.Do(r)
}

// fsck requires that the data of a stopped server has no problems, and that its audit
// log explains all of it.
func fsck(t *testing.T, env []string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, append([]string{"fsck", "--against-audit"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "no problems") {
		t.Fatalf("arca fsck: %v\n%s", err, out)
	}
}
