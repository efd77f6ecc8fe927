package docs_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"arca/internal/dbtest"
)

const (
	blockTimeout = 3 * time.Minute
	startTimeout = time.Minute
	stopTimeout  = time.Minute
)

// reader does what a page says, in its order, in one terminal: variables and files of
// one block are there in the next. Its machine is a folder; see places.
type reader struct {
	t   *testing.T
	dir string
	// places are the fixed addresses and paths of the pages, each followed by what
	// stands for it here, for nothing on the tester's machine may be in the way or be
	// changed.
	places []string
	env    []string
	// servers are the commands that still run, oldest first.
	servers []*server
}

type server struct {
	block  block
	cmd    *exec.Cmd
	output string // path of a file
	exited chan error
}

func newReader(t *testing.T) *reader {
	t.Helper()
	dir := t.TempDir()
	r := &reader{t: t, dir: dir}
	dev, api, ops, issuer := freePort(t), freePort(t), freePort(t), freePort(t)
	r.places = []string{
		"127.0.0.1:4566", "127.0.0.1:" + dev,
		"localhost:8444", "localhost:" + issuer,
		"(\"localhost\", 8444)", "(\"localhost\", " + issuer + ")",
		"127.0.0.1:8443", "127.0.0.1:" + api,
		"0.0.0.0:8443", "127.0.0.1:" + api,
		"127.0.0.1:9464", "127.0.0.1:" + ops,
		"/etc/arca", dir + "/etc/arca",
		"/etc/systemd/system", dir + "/etc/systemd/system",
		"/var/lib/arca", dir + "/var/lib/arca",
		"/run/credentials/arca", dir + "/run/credentials/arca",
		"/usr/local/bin", dir + "/usr/local/bin",
	}
	for _, d := range []string{"etc/arca", "etc/systemd/system", "var/lib/arca", "run/credentials/arca", "usr/local/bin", "home", "bin", "work"} {
		r.must(os.MkdirAll(filepath.Join(dir, d), 0o700))
	}
	top, err := filepath.Abs(root)
	r.must(err)
	// What a reader has in the checkout after make build.
	r.must(os.Symlink(filepath.Dir(binary), filepath.Join(dir, "work", "bin")))
	r.must(os.Symlink(filepath.Join(top, "deploy"), filepath.Join(dir, "work", "deploy")))
	// An import is looked for beside the program and above.
	r.must(os.Symlink(filepath.Join(top, "conformance/js/node_modules"), filepath.Join(dir, "work", "node_modules")))
	// Debian's clients, whatever else is in PATH; the arca that was built; the tester's Go
	// and a Node.js that is new enough, behind a name of its own.
	r.must(os.Symlink(r.node(), filepath.Join(dir, "bin", "node")))
	path := strings.Join([]string{filepath.Dir(binary), filepath.Join(dir, "bin"), "/usr/bin", "/bin", filepath.Dir(goProgram(t))}, ":")
	r.env = []string{
		"PATH=" + path, "HOME=" + dir + "/home", "LANG=C.UTF-8", "AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=true",
		"PYTHONNOUSERSITE=1", "GITHUB_ENV=" + dir + "/github.env",
	}
	for _, name := range []string{"GOPATH", "GOMODCACHE", "GOCACHE", "GOFLAGS", "GOPROXY", "GOSUMDB", "GOTOOLCHAIN"} {
		out, err := exec.Command("go", "env", name).Output()
		r.must(err)
		r.env = append(r.env, name+"="+strings.TrimSpace(string(out)))
	}
	r.must(os.WriteFile(r.session(), nil, 0o600))
	t.Cleanup(r.stopServers)
	return r
}

// havePostgreSQL starts the server that a reader is asked to have.
func (r *reader) havePostgreSQL() {
	db := dbtest.PostgreSQL(r.t)
	r.places = append(r.places,
		"PGPORT=5432", "PGPORT="+strconv.Itoa(db.Port),
		"PGUSER=postgres", "PGUSER="+db.User,
		"PGPASSWORD=the-password-of-postgres", "PGPASSWORD="+db.Password,
	)
}

func (r *reader) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// session is the file that carries variables from one block to the next.
func (r *reader) session() string { return filepath.Join(r.dir, "session.sh") }

// here is text with the fixed places of the pages replaced. Where a
// command leaves the address to its default, it is told what stands for the default.
func (r *reader) here(lang, text string) string {
	replaced := strings.NewReplacer(r.places...)
	var out strings.Builder
	for line := range strings.Lines(text) {
		switch {
		case lang == "sh" && strings.TrimSpace(line) == "make run":
			line = makeRun(r.t) + " --listen 127.0.0.1:4566\n"
		case lang == "sh" && strings.HasPrefix(line, "arca dev clock"):
			line = strings.Replace(line, "arca dev clock", "arca dev clock --endpoint http://127.0.0.1:4566", 1)
		case lang == "sh" && strings.HasPrefix(line, "arca dev") && !strings.Contains(line, "--listen"):
			line = strings.Replace(line, "arca dev", "arca dev --listen 127.0.0.1:4566", 1)
		case lang == "toml" && strings.HasPrefix(line, "data_dir") && !strings.Contains("\n"+text, "\nlisten"):
			line = "listen = \"127.0.0.1:8443\"\n" + line
		}
		out.WriteString(replaced.Replace(line))
	}
	return out.String()
}

// use does with b what the page means a reader to do, and returns what was printed.
func (r *reader) use(b block) string {
	r.t.Helper()
	text := r.here(b.lang, b.text)
	path, isFile := strings.CutPrefix(b.how, "file ")
	switch {
	case strings.HasPrefix(b.how, "skip, "):
		r.t.Logf("%v is not run: %s", b, strings.TrimPrefix(b.how, "skip, "))
		if b.lang == "sh" {
			return r.shell(b, "bash -n "+r.file("skipped.sh", text))
		}
		return ""
	case isFile:
		if path = r.here("", path); !filepath.IsAbs(path) {
			path = filepath.Join(r.dir, "work", path)
		}
		r.must(os.WriteFile(path, []byte(text), 0o600))
		return ""
	case b.how == "serve":
		return r.serve(b, text)
	case b.how == "stopped":
		r.stopServers()
		return r.shell(b, text)
	case b.how == "in checkout":
		return r.shell(b, "cd "+r.copyOfCheckout()+"\n"+text)
	case b.how != "":
		r.t.Fatalf("%v: the test does not know %q", b, b.how)
	}
	switch b.lang {
	case "sh":
		return r.shell(b, text)
	case "python":
		return r.shell(b, "/usr/bin/python3 -B "+r.file("program.py", text))
	case "go":
		return r.shell(b, "go -C "+r.top()+" run "+r.file("program.go", text))
	case "js":
		return r.shell(b, r.node()+" "+r.file("program.mjs", text))
	case "toml":
		return r.checkConfig(b)
	}
	return ""
}

func (r *reader) top() string {
	top, err := filepath.Abs(root)
	r.must(err)
	return top
}

// file writes a file where the reader works.
func (r *reader) file(name, text string) string {
	path := filepath.Join(r.dir, "work", name)
	r.must(os.WriteFile(path, []byte(text), 0o600))
	return path
}

// copyOfCheckout is for commands that write into the checkout. It has what builds arca.
func (r *reader) copyOfCheckout() string {
	dir := filepath.Join(r.dir, "checkout")
	r.must(os.MkdirAll(dir, 0o700))
	for _, name := range []string{"go.mod", "go.sum"} {
		r.must(os.WriteFile(filepath.Join(dir, name), []byte(read(r.t, filepath.Join(root, name))), 0o600))
	}
	for _, name := range []string{"cmd", "internal"} {
		// Copies, since the go command does not follow links to folders in a module.
		r.must(os.CopyFS(filepath.Join(dir, name), os.DirFS(filepath.Join(root, name))))
	}
	return dir
}

// node is the Node.js the JavaScript SDK runs on.
func (r *reader) node() string {
	out, err := exec.Command(filepath.Join(root, "scripts", "find-node")).Output()
	if err != nil {
		r.t.Fatalf("find-node: %v: make test-deps installs one", err)
	}
	return strings.TrimSpace(string(out))
}

// checkConfig has the server look at a configuration. A block that shows a part of
// one stands for it together with the only required setting.
func (r *reader) checkConfig(b block) string {
	text := b.text
	if !strings.Contains("\n"+text, "\ndata_dir") {
		text = "data_dir = \"/var/lib/arca/data\"\n" + text
	}
	text = r.here("toml", text)
	r.provide(text)
	return r.shell(b, "arca server --check-config --config "+r.file("part.toml", text))
}

var named = regexp.MustCompile(`(?m)^(passphrase_file|cert_file|key_file|ca_file) = "(.*)"`)

// provide makes the files that a configuration names and that an operator would have:
// the server reads them when it checks.
func (r *reader) provide(text string) {
	cert, key := r.certificate()
	content := map[string][]byte{
		"passphrase_file": []byte("a passphrase that is long enough\n"), "cert_file": cert, "key_file": key, "ca_file": cert,
	}
	for _, m := range named.FindAllStringSubmatch(text, -1) {
		r.must(os.MkdirAll(filepath.Dir(m[2]), 0o700))
		r.must(os.WriteFile(m[2], content[m[1]], 0o600))
	}
}

// certificate makes a certificate and its key, in PEM.
func (r *reader) certificate() (cert, key []byte) {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	r.must(err)
	t := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(crand.Reader, t, t, priv.Public(), priv)
	r.must(err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(priv)
	r.must(err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

// script is a program for bash that ends at the first command that fails.
func (r *reader) script(text string) string {
	return "set -euo pipefail\n. " + r.session() + "\n" + text + "\nexport -p > " + r.session() + "\n"
}

func (r *reader) command(script string) *exec.Cmd {
	// Without the test's context: that ends before the servers are stopped.
	cmd := exec.Command("/bin/bash", script)
	cmd.Dir, cmd.Env = filepath.Join(r.dir, "work"), r.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// shell runs text to its end, which must be a good one.
func (r *reader) shell(b block, text string) string {
	r.t.Helper()
	cmd := r.command(r.file("block.sh", r.script(text)))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	r.must(cmd.Start())
	// A block that hangs, or leaves something running, is ended as a whole.
	end := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	watch := time.AfterFunc(blockTimeout, end)
	err := cmd.Wait()
	watch.Stop()
	end()
	if err != nil {
		r.t.Fatalf("%v: %v\n%s\nprinted:\n%s%s", b, err, text, out.String(), r.serversSaid())
	}
	return out.String()
}

// serve starts a command that stays, and waits until it listens.
func (r *reader) serve(b block, text string) string {
	r.t.Helper()
	n := len(r.servers)
	out, err := os.Create(filepath.Join(r.dir, fmt.Sprintf("server-%d.out", n)))
	r.must(err)
	defer out.Close()
	// Its terminal is another one: what it exports is not brought back when it ends.
	script := r.file(fmt.Sprintf("server-%d.sh", n), "set -euo pipefail\n. "+r.session()+"\n"+text+"\n")
	s := &server{block: b, cmd: r.command(script), output: out.Name(), exited: make(chan error, 1)}
	s.cmd.Stdout, s.cmd.Stderr = out, out
	r.must(s.cmd.Start())
	r.servers = append(r.servers, s)
	go func() { s.exited <- s.cmd.Wait() }()
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		select {
		case err := <-s.exited:
			s.exited <- err
			r.t.Fatalf("%v: the server ended: %v\n%s", b, err, read(r.t, s.output))
		default:
		}
		if said := read(r.t, s.output); strings.Contains(said, "listening on") {
			return said
		}
	}
	r.t.Fatalf("%v: the server does not listen after %v\n%s", b, startTimeout, read(r.t, s.output))
	return ""
}

// stopServers presses Ctrl-C, which reaches every process of a terminal's foreground,
// and expects a clean end.
func (r *reader) stopServers() {
	r.t.Helper()
	for _, s := range r.servers {
		if err := syscall.Kill(-s.cmd.Process.Pid, syscall.SIGINT); err != nil && !errors.Is(err, syscall.ESRCH) {
			r.t.Errorf("%v: %v", s.block, err)
		}
		select {
		case err := <-s.exited:
			if err != nil {
				r.t.Errorf("%v: the server did not end cleanly: %v\n%s", s.block, err, read(r.t, s.output))
			}
		case <-time.After(stopTimeout):
			_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
			r.t.Errorf("%v: the server did not end within %v\n%s", s.block, stopTimeout, read(r.t, s.output))
		}
	}
	r.servers = nil
}

func (r *reader) serversSaid() string {
	var all strings.Builder
	for _, s := range r.servers {
		fmt.Fprintf(&all, "\nthe server of %v printed:\n%s", s.block, read(r.t, s.output))
	}
	return all.String()
}

// freePort is a port that nobody listens on now. It is not one of those the system
// hands out: such a port could be a client's before the server is up.
func freePort(t *testing.T) string {
	t.Helper()
	for range 100 {
		port := strconv.Itoa(10_000 + rand.IntN(20_000))
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			return port
		}
	}
	t.Fatal("no port is free")
	return ""
}

func goProgram(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// makeRun is what make run would run, without running it: its last command starts
// the server, on the fixed port.
func makeRun(t *testing.T) string {
	t.Helper()
	out, err := makeCommand("-s", "-n", "run", "BIN="+binary).Output()
	if err != nil {
		t.Fatalf("make -n run: %v", err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

// makeCommand is a make of its own in the checkout, also when a make runs the tests.
func makeCommand(args ...string) *exec.Cmd {
	cmd := exec.Command("make", append([]string{"--no-print-directory", "-C", root}, args...)...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "MAKE") && !strings.HasPrefix(v, "MFLAGS=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	return cmd
}
