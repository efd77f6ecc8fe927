// Package dbtest starts real database servers for tests: PostgreSQL, MariaDB and
// Redis, on free ports of loopback, with certificates of an authority of their own,
// and with data in a temporary folder. They end with the test.
//
// The programs come from Debian's packages (scripts/test-deps.sh); a missing one fails
// the test. The servers that the packages bring are not touched. A test that runs as
// root starts the programs as an unprivileged user, because they refuse to be root's.
package dbtest

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// startTimeout is how long a server may take until it answers.
	startTimeout = 60 * time.Second
	// unprivileged is the user and group nobody of Debian.
	unprivileged = 65534
	// superPassword is that of the superuser, whose name is the same everywhere.
	superPassword = "super-password"
	superUser     = "super"
)

// Server is a running database server.
type Server struct {
	// Engine is the word for it in secrets: postgres, mariadb or redis.
	Engine string
	// Host and Port are where it listens. PostgreSQL and MariaDB speak with and without
	// TLS there, Redis only with; PlainPort is Redis without.
	Host            string
	Port, PlainPort int
	// User and Password are the superuser's.
	User, Password string
	// Roots verify the server's certificate; CAFile holds the same as PEM.
	Roots  *x509.CertPool
	CAFile string
	// LogFile is what the server writes about itself, every statement included where
	// the server can do that.
	LogFile string

	dir  string
	cert *certificate
}

// Secret is the JSON of a secret for a user of the server, with more members as given.
func (s *Server) Secret(user, password string, more map[string]any) string {
	members := map[string]any{
		"engine": s.Engine, "host": s.Host, "port": s.Port, "username": user, "password": password,
	}
	maps.Copy(members, more)
	b, err := json.Marshal(members)
	if err != nil {
		panic(err) // a test passes what JSON cannot hold
	}
	return string(b)
}

// newServer makes the folder and the certificate.
func newServer(t testing.TB, engine string) *Server {
	t.Helper()
	// Not t.TempDir: its parents are the test's user's alone.
	dir, err := os.MkdirTemp("", "arca-"+engine+"-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &Server{
		Engine: engine, Host: "127.0.0.1", User: superUser, Password: superPassword,
		LogFile: filepath.Join(dir, "log"), CAFile: filepath.Join(dir, "ca.pem"),
		dir: dir, cert: newCertificate(t),
	}
	s.Roots = s.cert.roots
	s.write(t, "ca.pem", s.cert.ca)
	s.write(t, "cert.pem", s.cert.cert)
	s.write(t, "key.pem", s.cert.key)
	s.write(t, "log", nil)
	s.own(t, dir)
	return s
}

// path is a file in the server's folder.
func (s *Server) path(name string) string { return filepath.Join(s.dir, name) }

// write makes a file that only the server's user may read.
func (s *Server) write(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(s.path(name), data, 0o600); err != nil {
		t.Fatal(err)
	}
	s.own(t, s.path(name))
}

func (s *Server) own(t testing.TB, path string) {
	t.Helper()
	if os.Getuid() != 0 {
		return
	}
	if err := os.Chown(path, unprivileged, unprivileged); err != nil {
		t.Fatal(err)
	}
}

// program finds a program of a Debian package, also where PATH does not look.
func program(t testing.TB, name string, folders ...string) string {
	t.Helper()
	for _, pattern := range folders {
		found, err := filepath.Glob(filepath.Join(pattern, name))
		if err != nil {
			t.Fatal(err)
		}
		if len(found) > 0 {
			return found[len(found)-1] // the newest version
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v; scripts/test-deps.sh installs it", err)
	}
	return path
}

// command prepares a program that runs in the server's folder, as nobody when the
// test is root's, and that dies with the test.
func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "HOME=" + s.dir, "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if os.Getuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: unprivileged, Gid: unprivileged}
	}
	return cmd
}

// run waits for a program that prepares something.
func (s *Server) run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := s.command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(name), err, out)
	}
}

// start runs the server until the test ends, and waits until ready says nil. A port
// that somebody else took in the meantime is given up for another one.
func (s *Server) start(t testing.TB, args func() []string, ready func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	for attempt := 1; ; attempt++ {
		s.Port, s.PlainPort = freePort(t), freePort(t)
		ended, stop := s.launch(t, args())
		err := wait(ctx, ended, ready)
		if err == nil {
			t.Cleanup(stop)
			return
		}
		stop()
		if attempt == 3 || ctx.Err() != nil {
			t.Fatalf("%s does not answer: %v\n%s", s.Engine, err, s.Log(t))
		}
	}
}

func (s *Server) launch(t testing.TB, args []string) (ended <-chan struct{}, stop func()) {
	t.Helper()
	cmd := s.command(args[0], args[1:]...)
	log, err := os.OpenFile(s.LogFile, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	err = cmd.Start()
	_ = log.Close()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	return done, func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // the data is thrown away
		<-done
	}
}

func wait(ctx context.Context, ended <-chan struct{}, ready func(context.Context) error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("the server ended: %w", err)
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// Log is what the server has written about itself so far.
func (s *Server) Log(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(s.LogFile)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ToValidUTF8(string(b), "?")
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
