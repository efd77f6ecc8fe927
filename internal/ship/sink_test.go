package ship_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"arca/internal/ship"
	"arca/internal/webhook"
)

const secretText = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func TestStdout(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.append(10) // before the sink was configured
	var out syncBuffer
	cfg := b.config()
	cfg.Stdout = &out
	cfg.Sinks = []ship.SinkConfig{{Name: "out", Kind: "stdout"}}
	s, stop := b.start(cfg)
	eventually(t, "begun", func() bool { return s.Held() == 10 })
	b.append(10)
	eventually(t, "ten lines", func() bool { return len(numbers(t, out.String())) == 10 })
	if got := numbers(t, out.String()); got[0] != 10 {
		t.Errorf("first line is %d, want 10", got[0])
	}
	eventually(t, "kept", func() bool { return s.Held() == 20 })
	stop()
	// Lines that were written while it did not run come after the next start.
	b.append(5)
	_, stop = b.start(cfg)
	eventually(t, "five more", func() bool { return len(numbers(t, out.String())) == 15 })
	stop()
	inOrder(t, numbers(t, out.String()))
}

// A process that ends between a delivery and keeping the place sends again.
func TestKilledBeforeKeeping(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	var out syncBuffer
	cfg := b.config()
	cfg.Stdout = &out
	cfg.Sinks = []ship.SinkConfig{{Name: "out", Kind: "stdout", FromStart: true}}
	s, stop := b.start(cfg)
	b.append(10)
	eventually(t, "kept", func() bool { return s.Held() == 10 })
	path := filepath.Join(b.state, "sink-out.json")
	kept := readFile(t, path)
	b.append(10)
	eventually(t, "all", func() bool { return arrived(numbers(t, out.String())) == 20 })
	stop()
	writeFile(t, path, kept)
	b.append(1)
	_, _ = b.start(cfg)
	eventually(t, "again", func() bool { return arrived(numbers(t, out.String())) == 21 })
	got := numbers(t, out.String())
	inOrder(t, got)
	if len(got) != 31 {
		t.Errorf("%d lines, want 31: %v", len(got), got)
	}
}

func TestCursorThatCannotBeRead(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	var out syncBuffer
	cfg := b.config()
	cfg.Stdout = &out
	cfg.Sinks = []ship.SinkConfig{{Name: "out", Kind: "stdout", FromStart: true}}
	if err := os.MkdirAll(b.state, 0o700); err != nil {
		t.Fatal(err)
	}
	path := writeFile(t, filepath.Join(b.state, "sink-out.json"), "{")
	b.append(3)
	s, _ := b.start(cfg)
	eventually(t, "failing", func() bool { return strings.Contains(s.Status()[0].Failing, path) })
	if held := s.Held(); held != 0 {
		t.Errorf("Held() = %d, want 0", held)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all", func() bool { return arrived(numbers(t, out.String())) == 3 })
}

func TestFilter(t *testing.T) {
	tests := []struct {
		name string
		sink ship.SinkConfig
		want []int // of the first eight lines
	}{
		{"all", ship.SinkConfig{}, []int{0, 1, 2, 3, 4, 5, 6, 7}},
		{"one source", ship.SinkConfig{Sources: []string{"kms.amazonaws.com"}}, []int{3, 7}},
		{"two sources", ship.SinkConfig{Sources: []string{"kms.amazonaws.com", "secretsmanager.amazonaws.com"}}, []int{0, 1, 2, 3, 4, 5, 6, 7}},
		{"writes", ship.SinkConfig{WritesOnly: true}, []int{1, 3, 5, 7}},
		{"writes of one source", ship.SinkConfig{WritesOnly: true, Sources: []string{"secretsmanager.amazonaws.com"}}, []int{1, 5}},
		{"none", ship.SinkConfig{Sources: []string{"x"}}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []int
			for n := range 8 {
				if ship.Wants(tt.sink, line(n)) {
					got = append(got, n)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("lines %v, want %v", got, tt.want)
			}
		})
	}
	if !ship.Wants(ship.SinkConfig{WritesOnly: true}, []byte("damaged")) {
		t.Error("a line that cannot be read is left out")
	}
}

// The place moves on over lines that a sink does not want, so that they are not held.
func TestFilteredLinesAreNotHeld(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	var out syncBuffer
	cfg := b.config()
	cfg.Stdout = &out
	cfg.Sinks = []ship.SinkConfig{{Name: "out", Kind: "stdout", FromStart: true, Sources: []string{"kms.amazonaws.com"}}}
	s, _ := b.start(cfg)
	b.append(4002)
	eventually(t, "kept", func() bool { return s.Held() == 4002 })
	if got := len(numbers(t, out.String())); got != 1000 {
		t.Errorf("%d lines, want 1000", got)
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.log")
	// A crash left a part of a line, which is replaced by the whole.
	writeFile(t, path, "what somebody else wrote\n"+`{"eventVersion":"1.11","userIden`)
	cfg := b.config()
	cfg.Sinks = []ship.SinkConfig{{Name: "file", Kind: "file", Path: path, FromStart: true}}
	s, stop := b.start(cfg)
	b.append(10)
	ours := func() string { return strings.TrimPrefix(readFile(t, path), "what somebody else wrote\n") }
	eventually(t, "ten lines", func() bool { return arrived(numbers(t, ours())) == 10 })

	// Rotated by renaming.
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	b.append(5)
	eventually(t, "rotated", func() bool { return len(numbers(t, readFile(t, path))) == 5 })
	// Rotated by copying and cutting.
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	b.append(5)
	eventually(t, "cut", func() bool { return slices.Equal(numbers(t, readFile(t, path)), []int{15, 16, 17, 18, 19}) })

	// Its folder is moved away for a while.
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	b.append(5)
	eventually(t, "failing", func() bool { return s.Status()[0].Failing != "" })
	if st := s.Status()[0]; st.LagLines != 5 || st.Lag <= 0 || st.Since.IsZero() {
		t.Errorf("status %+v, want 5 lines behind", st)
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	eventually(t, "recovered", func() bool { return arrived(append(numbers(t, readFile(t, path)), seq(15)...)) == 25 })
	eventually(t, "kept", func() bool { return s.Held() == 25 })
	if st := s.Status()[0]; st.LagLines != 0 || st.Failing != "" || st.Lag != 0 {
		t.Errorf("status %+v, want none behind", st)
	}
	stop()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func seq(n int) (s []int) {
	for i := range n {
		s = append(s, i)
	}
	return s
}

func TestFileThatIsNone(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	cfg := b.config()
	cfg.Sinks = []ship.SinkConfig{{Name: "file", Kind: "file", Path: t.TempDir(), FromStart: true}}
	s, _ := b.start(cfg)
	b.append(1)
	eventually(t, "failing", func() bool { return strings.Contains(s.Status()[0].Failing, "not a regular file") })
}

// A line without an end that is none of ours stays.
func TestFileOfSomebodyElse(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	path := writeFile(t, filepath.Join(t.TempDir(), "f"), "no newline")
	cfg := b.config()
	cfg.Sinks = []ship.SinkConfig{{Name: "file", Kind: "file", Path: path, FromStart: true}}
	_, _ = b.start(cfg)
	b.append(1)
	eventually(t, "a line", func() bool { return strings.HasPrefix(readFile(t, path), "no newline\n{") })
}

// receiver is an HTTPS server that checks signatures and keeps what it accepts.
type receiver struct {
	t      testing.TB
	server *httptest.Server
	caFile string

	mu     sync.Mutex
	answer func(ids string, lines []string) int // guarded by mu
	lines  []string                             // guarded by mu
	ids    []string                             // of every request; guarded by mu
	types  map[string]bool                      // guarded by mu
}

func newReceiver(t testing.TB) *receiver {
	t.Helper()
	r := &receiver{t: t, types: make(map[string]bool)}
	r.server = httptest.NewUnstartedServer(r)
	r.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	r.server.StartTLS()
	t.Cleanup(r.server.Close)
	r.caFile = filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, r.caFile, "-----BEGIN CERTIFICATE-----\n"+base64.StdEncoding.EncodeToString(r.server.Certificate().Raw)+"\n-----END CERTIFICATE-----\n")
	return r
}

func (r *receiver) answers(f func(id string, lines []string) int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = f
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	secret, err := webhook.ParseSecret(secretText)
	if err != nil {
		r.t.Error(err)
	}
	id := req.Header.Get("Webhook-Id")
	var at int64
	_, _ = fmt.Sscan(req.Header.Get("Webhook-Timestamp"), &at) // the signature shows
	if got, want := req.Header.Get("Webhook-Signature"), secret.Sign(id, time.Unix(at, 0), body); got != want {
		r.t.Errorf("signature %s, want %s", got, want)
	}
	if req.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err == nil {
			body, err = io.ReadAll(z)
		}
		if err != nil {
			r.t.Error(err)
		}
	}
	var lines []string
	if req.Header.Get("Content-Type") == "application/json" {
		var all []json.RawMessage
		if err := json.Unmarshal(body, &all); err != nil {
			r.t.Errorf("body %q: %v", body, err)
		}
		for _, l := range all {
			lines = append(lines, string(l)+"\n")
		}
	} else {
		lines = slices.Collect(strings.Lines(string(body)))
	}
	r.mu.Lock()
	answer := r.answer
	r.ids = append(r.ids, id)
	r.types[req.Header.Get("Content-Type")+req.Header.Get("Content-Encoding")] = true
	r.mu.Unlock()
	if answer != nil {
		if code := answer(id, lines); code != http.StatusOK {
			w.WriteHeader(code)
			return
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, lines...)
}

func (r *receiver) numbers() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return numbers(r.t, strings.Join(r.lines, ""))
}

func (r *receiver) requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.ids)
}

func (r *receiver) sink(t testing.TB) ship.SinkConfig {
	return ship.SinkConfig{
		Name: "https", Kind: "https", URL: r.server.URL + "/in?token=hidden", CAFile: r.caFile, FromStart: true,
		SecretFiles: []string{writeFile(t, filepath.Join(t.TempDir(), "secret"), secretText+"\n")},
	}
}

func TestHTTPS(t *testing.T) {
	tests := []struct {
		name   string
		change func(*ship.SinkConfig)
		want   string
	}{
		{"lines", func(*ship.SinkConfig) {}, "application/x-ndjson"},
		{"array", func(c *ship.SinkConfig) { c.Format = "array" }, "application/json"},
		{"lines, gzip", func(c *ship.SinkConfig) { c.Gzip = true }, "application/x-ndjsongzip"},
		{"array, gzip", func(c *ship.SinkConfig) { c.Format, c.Gzip = "array", true }, "application/jsongzip"},
		{"one line each", func(c *ship.SinkConfig) { c.BatchLines = 1 }, "application/x-ndjson"},
		{"small batches", func(c *ship.SinkConfig) { c.BatchBytes = 2000 }, "application/x-ndjson"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newReceiver(t)
			b := newBed(t)
			sink := r.sink(t)
			tt.change(&sink)
			cfg := b.config()
			cfg.Sinks = []ship.SinkConfig{sink}
			b.append(100)
			s, _ := b.start(cfg)
			eventually(t, "all", func() bool { return len(r.numbers()) == 100 })
			if got := r.numbers(); !slices.Equal(got, seq(100)) {
				t.Errorf("lines %v", got)
			}
			if len(r.types) != 1 || !r.types[tt.want] {
				t.Errorf("types %v, want %s", r.types, tt.want)
			}
			if id := r.requests()[0]; !strings.HasPrefix(id, "arca-deployment-node-1-") || !strings.Contains(id, "-0-") {
				t.Errorf("id %q", id)
			}
			if u, _ := url.Parse(r.server.URL); !strings.Contains(s.Status()[0].Target, u.Host) || strings.Contains(s.Status()[0].Target, "hidden") {
				t.Errorf("target %q", s.Status()[0].Target)
			}
		})
	}
}

// TestHTTPSOutage: whatever a receiver answers, nothing is left out, and the same
// batch keeps its id.
func TestHTTPSOutage(t *testing.T) {
	for _, code := range []int{500, 429, 404, 401, 302, 400} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			t.Parallel()
			r := newReceiver(t)
			b := newBed(t)
			cfg := b.config()
			cfg.Sinks = []ship.SinkConfig{r.sink(t)}
			var refused []string
			r.answers(func(id string, _ []string) int {
				if len(refused) < 3 {
					refused = append(refused, id)
					return code
				}
				return http.StatusOK
			})
			b.append(100)
			s, _ := b.start(cfg)
			eventually(t, "all", func() bool { return len(r.numbers()) == 100 })
			if got := r.numbers(); !slices.Equal(got, seq(100)) {
				t.Errorf("lines %v", got)
			}
			if ids := r.requests(); len(ids) < 4 || ids[0] != ids[1] || ids[0] != ids[2] || ids[0] != ids[3] {
				t.Errorf("ids %q: the same lines have different ones", ids)
			}
			if got := testutil.CollectAndCount(s.Metrics(), "arca_sink_errors_total"); got != 1 {
				t.Errorf("%d metrics of errors, want 1", got)
			}
			if strings.Contains(b.out.String(), "hidden") {
				t.Errorf("the log has the URL: %s", b.out)
			}
		})
	}
}

func TestHTTPSRejected(t *testing.T) {
	poison := func(code int, bad ...int) func(string, []string) int {
		return func(_ string, lines []string) int {
			for _, n := range numbers(t, strings.Join(lines, "")) {
				if slices.Contains(bad, n) {
					return code
				}
			}
			return http.StatusOK
		}
	}
	tests := []struct {
		name     string
		rejected string
		answer   func(string, []string) int
		want     int // lines that arrive
		stuck    bool
	}{
		{"too large, halved", "", func(_ string, lines []string) int {
			if len(lines) > 7 {
				return http.StatusRequestEntityTooLarge
			}
			return http.StatusOK
		}, 100, false},
		{"one refused, skipped", "skip", poison(400, 17), 99, false},
		{"some refused, skipped", "skip", poison(422, 0, 50, 99), 97, false},
		{"one refused, kept", "retry", poison(400, 50), 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newReceiver(t)
			r.answers(tt.answer)
			b := newBed(t)
			sink := r.sink(t)
			sink.OnRejected = tt.rejected
			cfg := b.config()
			cfg.Sinks = []ship.SinkConfig{sink}
			b.append(100)
			s, _ := b.start(cfg)
			if tt.stuck {
				eventually(t, "three attempts", func() bool { return len(r.requests()) >= 3 })
				if held := s.Held(); held != 0 {
					t.Errorf("Held() = %d, want 0", held)
				}
				return
			}
			eventually(t, "kept", func() bool { return s.Held() == 100 })
			if got := r.numbers(); len(got) != tt.want {
				t.Errorf("%d lines, want %d: %v", len(got), tt.want, got)
			}
			if skipped := 100 - tt.want; skipped > 0 && strings.Count(b.out.String(), "leaves out a line") != skipped {
				t.Errorf("log: %s", b.out)
			}
		})
	}
}

// TestStdoutReaderGone: the process whose standard output nobody reads any more goes
// on, and says so. It runs as a process of its own.
func TestStdoutReaderGone(t *testing.T) {
	if os.Getenv("ARCA_TEST_STDOUT") != "" {
		b := newBed(t)
		cfg := b.config()
		cfg.Stdout = os.Stdout
		cfg.Sinks = []ship.SinkConfig{{Name: "out", Kind: "stdout", FromStart: true}}
		s, _ := b.start(cfg)
		eventually(t, "a broken pipe", func() bool {
			b.append(1)
			return strings.Contains(s.Status()[0].Failing, "broken pipe")
		})
		_, _ = os.Stderr.WriteString("still here\n")
		os.Exit(0)
	}
	t.Parallel()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestStdoutReaderGone$")
	cmd.Env = append(os.Environ(), "ARCA_TEST_STDOUT=1", "TMPDIR="+t.TempDir()) // it cannot clean up
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr syncBuffer
	cmd.Stdout, cmd.Stderr = w, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = w.Close(), r.Close()
	if err := cmd.Wait(); err != nil || !strings.Contains(stderr.String(), "still here") {
		t.Errorf("the process ended: %v\n%s", err, &stderr)
	}
}
