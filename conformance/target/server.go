package target

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
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

const (
	startTimeout = 30 * time.Second
	stopTimeout  = 60 * time.Second
)

// Server is an arca that runs as a process of its own.
type Server struct {
	URL string
	// Binary is the arca that runs.
	Binary string
	// Home is the folder of everything it keeps.
	Home string

	dir    string   // to remove in the end; "" for none
	fsck   []string // how to check its data
	cmd    *exec.Cmd
	exited chan error
	out    *tail
}

// startBuilt builds arca and starts it in a folder of its own.
func startBuilt() (*Server, error) {
	dir, err := os.MkdirTemp("", "arca-conformance-")
	if err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	binary, err := build(dir)
	if err == nil {
		var s *Server
		if s, err = startDev(binary, filepath.Join(dir, "home")); err == nil {
			s.dir = dir
			return s, nil
		}
	}
	return nil, errors.Join(err, os.RemoveAll(dir))
}

// build compiles arca into dir.
func build(dir string) (string, error) {
	binary := filepath.Join(dir, "arca")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", binary, "arca/cmd/arca").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build arca: %w\n%s", err, out)
	}
	return binary, nil
}

// Start starts one more development server with the binary of s, on data of its own,
// for tests that must not share theirs or that need further flags of `arca dev`. It is
// stopped, and its data checked, when t ends.
func (s *Server) Start(t testing.TB, flags ...string) *Server {
	t.Helper()
	return stopWith(t)(startDev(s.Binary, filepath.Join(t.TempDir(), "home"), flags...))
}

// Arca runs a command of arca against a development server, with no more configuration
// than its address, and returns what it writes to standard output. The error holds
// what it writes to standard error.
func (s *Server) Arca(ctx context.Context, args ...string) ([]byte, error) {
	return s.arca(ctx, nil, args)
}

// ArcaAs is Arca with credentials in the environment.
func (s *Server) ArcaAs(ctx context.Context, c aws.Credentials, args ...string) ([]byte, error) {
	return s.arca(ctx, []string{
		"AWS_ACCESS_KEY_ID=" + c.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + c.SecretAccessKey, "AWS_SESSION_TOKEN=" + c.SessionToken,
	}, args)
}

func (s *Server) arca(ctx context.Context, env, args []string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, s.Binary, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Dir(s.Home), "AWS_ENDPOINT_URL=" + s.URL}, env...)
	out, err := cmd.Output()
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("arca %s: %w: %s", strings.Join(args, " "), err, e.Stderr)
	}
	return out, err
}

// Target is a development server as a target of its own.
func (s *Server) Target() *Target {
	return &Target{URL: s.URL, Server: s, Config: aws.Config{
		Region: Region, BaseEndpoint: aws.String(s.URL),
		Credentials: credentials.NewStaticCredentialsProvider(AccessKeyID, SecretAccessKey, ""),
	}}
}

// StartProduction starts a production server with the binary of s and a configuration
// of its own making: TLS with the server's own certificate, and everything below Home.
func (s *Server) StartProduction(t testing.TB) *Server {
	t.Helper()
	home := t.TempDir()
	config := filepath.Join(home, "arca.toml")
	text := fmt.Sprintf("data_dir = %q\nlisten = \"127.0.0.1:0\"\n", filepath.Join(home, "data"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return stopWith(t)(start(&Server{
		Binary: s.Binary, Home: home, fsck: []string{"fsck", "--against-audit", "--config", config},
	}, "server", "--config", config))
}

// stopWith ends a server together with a test.
func stopWith(t testing.TB) func(*Server, error) *Server {
	return func(s *Server, err error) *Server {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Stop(); err != nil {
				t.Error(err)
			}
		})
		return s
	}
}

func startDev(binary, home string, flags ...string) (*Server, error) {
	return start(&Server{Binary: binary, Home: home, fsck: []string{"fsck", "--against-audit", "--data-dir", home}},
		"dev", append([]string{"--data-dir", home, "--listen", "127.0.0.1:0"}, flags...)...)
}

// start runs the binary of s and waits for its address.
func start(s *Server, mode string, args ...string) (*Server, error) {
	s.exited, s.out = make(chan error, 1), &tail{}
	cmd := exec.Command(s.Binary, append([]string{mode, "--log-level", "debug"}, args...)...)
	// Nothing of the tester's environment shall matter to it.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Dir(s.Home)}
	cmd.Stderr = s.out
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start arca: %w", err)
	}
	s.cmd = cmd
	first := make(chan string, 1)
	go func() {
		r := bufio.NewReader(stdout)
		line, _ := r.ReadString('\n') // an end without a line shows below
		_, _ = io.WriteString(s.out, line)
		first <- strings.TrimSuffix(line, "\n")
		_, _ = io.Copy(s.out, r)
		s.exited <- cmd.Wait()
	}()
	select {
	case line := <-first:
		begin := "arca " + mode + " listening on "
		url, ok := strings.CutPrefix(line, begin)
		if !ok {
			_ = cmd.Process.Kill()
			return nil, fmt.Errorf("the first line of arca %s is %q, not %q and a URL; it wrote:\n%s", mode, line, begin, s.Output())
		}
		s.URL = url
		return s, nil
	case <-time.After(startTimeout):
		_ = cmd.Process.Kill()
		return nil, fmt.Errorf("arca %s said nothing within %v; it wrote:\n%s", mode, startTimeout, s.Output())
	}
}

// ProductionTarget is a production server as a target of its own: its clients use the
// credentials and trust the certificate that its first start has written down.
func (s *Server) ProductionTarget(t testing.TB) *Target {
	t.Helper()
	keys := filepath.Join(s.Home, "data.keys")
	var root struct{ AccessKeyID, SecretAccessKey string }
	text, err := os.ReadFile(filepath.Join(keys, "root-credentials.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(filepath.Join(keys, "tls.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatalf("%s holds no certificate", keys)
	}
	return &Target{URL: s.URL, Server: s, Config: aws.Config{
		Region: Region, BaseEndpoint: aws.String(s.URL),
		Credentials: credentials.NewStaticCredentialsProvider(root.AccessKeyID, root.SecretAccessKey, ""),
		HTTPClient:  &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}},
	}}
}

// Client returns a Secrets Manager client for a development server.
func (s *Server) Client() *secretsmanager.Client {
	return secretsmanager.New(secretsmanager.Options{
		Region: Region, BaseEndpoint: aws.String(s.URL),
		Credentials: credentials.NewStaticCredentialsProvider(AccessKeyID, SecretAccessKey, ""),
	})
}

// Output is what the server has written so far, standard output and error together.
func (s *Server) Output() string { return s.out.String() }

// Stop ends the server as a service manager does. It fails when the server does not
// end cleanly, or leaves data that fsck objects to.
func (s *Server) Stop() error {
	if s.cmd == nil {
		return nil
	}
	cmd := s.cmd
	s.cmd = nil
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop arca: %w; it wrote:\n%s", err, s.Output())
	}
	select {
	case err := <-s.exited:
		if err != nil {
			return fmt.Errorf("arca did not end cleanly: %w; it wrote:\n%s", err, s.Output())
		}
	case <-time.After(stopTimeout):
		_ = cmd.Process.Signal(syscall.SIGQUIT) // for the stacks
		err := <-s.exited
		return fmt.Errorf("arca did not end within %v of SIGTERM (then: %w); it wrote:\n%s", stopTimeout, err, s.Output())
	}
	if out, err := exec.Command(s.Binary, s.fsck...).CombinedOutput(); err != nil {
		return fmt.Errorf("arca fsck: %w\n%s", err, out)
	}
	return s.checkRecords()
}

// tail keeps what is written to it, up to a bound.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

const maxTailBytes = 64 << 20

func (w *tail) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.buf.Len()+len(p) > maxTailBytes {
		w.buf.Reset()
	}
	return w.buf.Write(p)
}

func (w *tail) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}
