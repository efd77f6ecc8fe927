package ship_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"arca/internal/audit"
	"arca/internal/ship"
)

// bed is a log that is shipped, over restarts of both.
type bed struct {
	t     testing.TB
	dir   string // the node's
	state string
	key   string
	out   *syncBuffer // what is logged
	cfg   audit.Config
	log   *audit.Log
	close func()
	n     int // lines appended
	agent string
}

// newBed opens a log of small segments.
func newBed(t testing.TB) *bed {
	t.Helper()
	root := t.TempDir()
	key, err := audit.NewNodeKey("arca/deployment/node-1", bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{t: t, dir: filepath.Join(root, "audit", "node-1"), state: filepath.Join(root, "delivery"), key: key.VerifierKey(), out: &syncBuffer{}, agent: "test"}
	b.cfg = audit.Config{Dir: b.dir, Node: "node-1", MaxSegmentBytes: 64 << 10, Signer: key}
	b.open()
	return b
}

// open opens the log (again) and runs it.
func (b *bed) open() {
	b.t.Helper()
	cfg := b.cfg
	cfg.Logger = b.logger()
	log, err := audit.Open(cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- log.Run(ctx) }()
	var once sync.Once
	b.log, b.close = log, func() {
		once.Do(func() {
			stop()
			if err := <-done; err != nil {
				b.t.Errorf("audit log: %v", err)
			}
			if err := log.Close(); err != nil {
				b.t.Errorf("close audit log: %v", err)
			}
		})
	}
	b.t.Cleanup(b.close)
}

func (b *bed) logger() *slog.Logger { return slog.New(slog.NewTextHandler(b.out, nil)) }

// append writes n more lines.
func (b *bed) append(n int) {
	b.t.Helper()
	for n > 0 {
		lines := make([][]byte, min(n, 100))
		for i := range lines {
			lines[i] = lineOf(b.n+i, b.agent)
		}
		if err := b.log.Append(b.t.Context(), lines...); err != nil {
			b.t.Fatal(err)
		}
		b.n += len(lines)
		n -= len(lines)
	}
}

// line is a record with a number in its event id. Every fourth is of another service,
// every second changes something.
func line(n int) []byte { return lineOf(n, "test") }

func lineOf(n int, agent string) []byte {
	r := &audit.Record{
		EventID: fmt.Sprintf("id-%06d", n), EventTime: time.Now(), EventType: "AwsApiCall", EventName: "GetSecretValue",
		EventSource: "secretsmanager.amazonaws.com", Region: "eu-central-1", SourceIP: "192.0.2.1", UserAgent: agent, ReadOnly: n%2 == 0,
		RecipientAccountID: "123456789012", RequestParameters: fmt.Appendf(nil, `{"secretId":"s-%d"}`, n),
	}
	if n%4 == 3 {
		r.EventSource = "kms.amazonaws.com"
	}
	return r.AppendLine(nil, "node-1")
}

// config is what the bed's Shipper is made of.
func (b *bed) config() ship.Config {
	return ship.Config{Log: b.log, Dir: b.dir, StateDir: b.state, Logger: b.logger(), Hostname: "host-1"}
}

// start runs a Shipper until stop is called, or the test ends.
func (b *bed) start(cfg ship.Config) (s *ship.Shipper, stop func()) {
	b.t.Helper()
	s, err := ship.New(cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				b.t.Errorf("Run = %v", err)
			}
		})
	}
	b.t.Cleanup(stop)
	return s, stop
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for began := time.Now(); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > 40*time.Second {
			t.Fatalf("not within 40 seconds: %s", what)
		}
	}
}

// syncBuffer is a buffer that may be read while others write.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// numbers returns the numbers in the event ids of JSON lines. A line that is none is
// an error, if it is not the last one and unfinished.
func numbers(t testing.TB, text string) (all []int) {
	t.Helper()
	lines := strings.SplitAfter(text, "\n")
	for _, l := range lines {
		if !strings.HasSuffix(l, "\n") {
			continue
		}
		var r struct{ EventID string }
		if err := json.Unmarshal([]byte(l), &r); err != nil {
			t.Errorf("line %q: %v", l, err)
			continue
		}
		n := -1
		if _, err := fmt.Sscanf(r.EventID, "id-%d", &n); err != nil {
			t.Errorf("event id %q: %v", r.EventID, err)
		}
		all = append(all, n)
	}
	return all
}

// arrived reports how many of the numbers from 0 on are there.
func arrived(all []int) int {
	seen := make(map[int]bool)
	for _, n := range all {
		seen[n] = true
	}
	n := 0
	for seen[n] {
		n++
	}
	return n
}

// inOrder checks that no line came before one with a smaller number that had not come
// yet: what is sent again may go back, but leaves nothing out.
func inOrder(t testing.TB, all []int) {
	t.Helper()
	next := all[0]
	for i, n := range all {
		if n > next {
			t.Fatalf("place %d has line %d before line %d", i, n, next)
		}
		next = max(next, n+1)
	}
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return ""
	} else if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func writeFile(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// certificate makes an authority, and a server certificate for 127.0.0.1, in files.
func certificate(t testing.TB) (caFile, certFile, keyFile string) {
	t.Helper()
	newKey := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "test receiver"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}
	caKey, key := newKey(), newKey()
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, server, ca, key.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name, kind string, der []byte) string {
		return writeFile(t, filepath.Join(dir, name), string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
	}
	return file("ca.pem", "CERTIFICATE", caDER), file("cert.pem", "CERTIFICATE", der), file("key.pem", "PRIVATE KEY", keyDER)
}

// freePort returns a port of the loopback interface that nobody listens on.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// listening waits until somebody listens.
func listening(t testing.TB, port int) {
	t.Helper()
	eventually(t, fmt.Sprintf("port %d listening", port), func() bool {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// gather returns the metrics of a Shipper: name{label=value}.
func gather(t testing.TB, s *ship.Shipper) map[string]float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	if err := r.Register(s.Metrics()); err != nil {
		t.Fatal(err)
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			l := m.GetLabel()[0]
			all[f.GetName()+"{"+l.GetName()+"="+l.GetValue()+"}"] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return all
}
