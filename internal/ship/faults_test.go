package ship_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"arca/internal/audit"
	"arca/internal/ship"
)

// proxy stands between a sink and its receiver and is told to misbehave.
type proxy struct {
	t    testing.TB
	p    *toxiproxy.Proxy
	port int
}

func newProxy(t testing.TB, upstream int) *proxy {
	t.Helper()
	zerolog.SetGlobalLevel(zerolog.Disabled) // some of it goes to the standard error whatever the logger
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	port := freePort(t)
	p := toxiproxy.NewProxy(server, "p", fmt.Sprintf("127.0.0.1:%d", port), fmt.Sprintf("127.0.0.1:%d", upstream))
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return &proxy{t: t, p: p, port: port}
}

// toxic makes the connections of the proxy misbehave.
func (p *proxy) toxic(kind, stream string, attributes map[string]any) {
	p.t.Helper()
	text, err := json.Marshal(map[string]any{"name": kind + stream, "type": kind, "stream": stream, "attributes": attributes})
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.p.Toxics.AddToxicJson(strings.NewReader(string(text))); err != nil {
		p.t.Fatal(err)
	}
}

func (p *proxy) heal() { p.p.Toxics.ResetToxics(context.Background()) }

// TestFaultsBetween: whatever happens to connections, every line arrives, in order.
func TestFaultsBetween(t *testing.T) {
	faults := []struct {
		name       string
		kind       string
		stream     string
		attributes map[string]any
	}{
		{"slow", "bandwidth", "upstream", map[string]any{"rate": 30}},
		{"slow answers", "latency", "downstream", map[string]any{"latency": 700}},
		{"in small pieces", "slicer", "upstream", map[string]any{"average_size": 200, "size_variation": 100, "delay": 500}},
		{"reset now and then", "reset_peer", "upstream", map[string]any{"timeout": 300}},
		{"cut after some bytes", "limit_data", "upstream", map[string]any{"bytes": 20000}},
		{"silent", "timeout", "upstream", map[string]any{"timeout": 400}},
	}
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			r := newRsyslog(t)
			h := newReceiver(t)
			u, err := url.Parse(h.server.URL)
			if err != nil {
				t.Fatal(err)
			}
			var hport int
			_, _ = fmt.Sscan(u.Port(), &hport)
			toSyslog, toHTTPS := newProxy(t, r.tls), newProxy(t, hport)
			cfg := b.config()
			sink := h.sink(t)
			sink.URL, sink.TimeoutSeconds, sink.BatchLines = fmt.Sprintf("https://127.0.0.1:%d/in", toHTTPS.port), 2, 50
			cfg.Sinks = []ship.SinkConfig{sink, {Name: "siem", Kind: "syslog", Address: fmt.Sprintf("tls://127.0.0.1:%d", toSyslog.port), CAFile: r.caFile, FromStart: true}}
			s, _ := b.start(cfg)
			b.append(100)
			eventually(t, "first lines", func() bool {
				return arrived(numbers(t, r.received())) == 100 && arrived(h.numbers()) == 100
			})
			toSyslog.toxic(f.kind, f.stream, f.attributes)
			toHTTPS.toxic(f.kind, f.stream, f.attributes)
			for range 10 {
				b.append(40)
				time.Sleep(100 * time.Millisecond)
			}
			toSyslog.heal()
			toHTTPS.heal()
			b.append(1)
			eventually(t, "all lines over syslog", func() bool { return arrived(numbers(t, r.received())) == b.n })
			eventually(t, "all lines over https", func() bool { return arrived(h.numbers()) == b.n })
			inOrder(t, numbers(t, r.received()))
			inOrder(t, h.numbers())
			eventually(t, "kept", func() bool { return s.Held() == uint64(b.n) })
		})
	}
}

// stuck is a stream that takes nothing.
type stuck struct{ release chan struct{} }

func (s stuck) Write(p []byte) (int, error) {
	<-s.release
	return 0, errors.New("released")
}

// TestNobodyWaits: with every receiver hanging, lines are written as if there were
// none, in bounded memory, and a stop does not hang either.
func TestNobodyWaits(t *testing.T) {
	b := newBed(t)
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-hang }))
	t.Cleanup(func() {
		close(hang)
		server.Close()
	})
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	secret := writeFile(t, filepath.Join(t.TempDir(), "s"), secretText)
	creds := writeFile(t, filepath.Join(t.TempDir(), "c"), "[default]\naws_access_key_id = A\naws_secret_access_key = B\n")
	cfg := b.config()
	cfg.Stdout = stuck{hang}
	cfg.Sinks = []ship.SinkConfig{
		{Name: "out", Kind: "stdout"},
		{Name: "siem", Kind: "syslog", Address: "tcp://" + u.Host}, // reads nothing that is no request
		{Name: "https", Kind: "https", URL: server.URL, SecretFiles: []string{secret}},
	}
	cfg.Copies = []ship.CopyConfig{{Name: "bucket", Bucket: "b", Endpoint: server.URL, PathStyle: true, CredentialsFile: creds}}
	s, err := ship.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	eventually(t, "begun", func() bool { _, err := os.Stat(filepath.Join(b.state, "sink-https.json")); return err == nil })
	b.append(100)
	time.Sleep(2 * time.Second)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	began := time.Now()
	b.append(30_000)
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("30,000 lines took %v", took)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 24<<20 {
		t.Errorf("memory has grown by %d bytes", grown)
	}
	if st := s.Status()[1]; st.LagLines < 30_000 || st.Lag <= 0 {
		t.Errorf("status of stdout: %+v", st)
	}
	began = time.Now()
	stop()
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("stopping took %v", took)
	}
}

// TestPrunedLines: a sink that may not hold lines says which ones it missed; one that
// may is waited for.
func TestPrunedLines(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	dir := filepath.Join(t.TempDir(), "later")
	var out syncBuffer
	cfg := b.config()
	cfg.Stdout = &out
	cfg.Sinks = []ship.SinkConfig{{Name: "file", Kind: "file", Path: filepath.Join(dir, "f"), FromStart: true, NoHold: true}, {Name: "out", Kind: "stdout", FromStart: true}}
	s, _ := b.start(cfg)
	b.append(1000)
	eventually(t, "one has all, the other none", func() bool { return s.Held() == 1000 && s.Status()[0].Failing != "" })
	eventually(t, "pruned", func() bool {
		if _, err := b.log.Maintain(t.Context(), audit.RetainConfig{MaxBytes: 1, Held: s.Held}, time.Now()); err != nil {
			t.Log(err) // until a checkpoint covers the lines
		}
		segs, err := audit.Segments(b.dir)
		return err == nil && len(segs) == 1
	})
	segs, err := audit.Segments(b.dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the rest", func() bool {
		got := numbers(t, readFile(t, filepath.Join(dir, "f")))
		return len(got) > 0 && got[len(got)-1] == 999
	})
	if !strings.Contains(b.out.String(), "was too late") {
		t.Errorf("log: %s", b.out)
	}
	got := numbers(t, readFile(t, filepath.Join(dir, "f")))
	if missing := 1000 - len(got); missing < 1 || missing > int(segs[0].First) {
		t.Errorf("%d lines are missing, %d are pruned", missing, segs[0].First)
	}
}

// TestFullDisk: a copy and a sink on a disk that is full go on where they were once
// there is room.
func TestFullDisk(t *testing.T) {
	disk := t.TempDir()
	err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=2m")
	if errors.Is(err, unix.EPERM) {
		t.Skip("mounting a file system is not permitted here")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	ballast := writeFile(t, filepath.Join(disk, "ballast"), strings.Repeat("x", 1500<<10))
	b := newBed(t)
	cfg := b.config()
	cfg.Copies = []ship.CopyConfig{{Name: "dir", Dir: disk}}
	cfg.Sinks = []ship.SinkConfig{{Name: "file", Kind: "file", Path: filepath.Join(disk, "lines"), FromStart: true}}
	s, stop := b.start(cfg)
	b.append(700) // about 400 KiB, twice
	eventually(t, "full", func() bool {
		st := s.Status()
		return strings.Contains(st[0].Failing+st[1].Failing, "no space left")
	})
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	eventually(t, "recovered", func() bool {
		st := s.Status()
		return st[0].Failing == "" && st[1].Failing == "" && st[0].LagLines == 0 && st[1].LagLines == 0
	})
	stop()
	if got := lines(t, filepath.Join(disk, "node-1")); !slices.Equal(got, seq(700)) {
		t.Errorf("copy: lines %v", got)
	}
	verify(t, b, filepath.Join(disk, "node-1"))
	got := numbers(t, readFile(t, filepath.Join(disk, "lines")))
	inOrder(t, got)
	if arrived(got) != 700 {
		t.Errorf("sink: lines %v", got)
	}
}

// TestBucketThatKeepsEverything: a bucket that refuses to delete anything still shows
// exactly the log.
func TestBucketThatKeepsEverything(t *testing.T) {
	t.Parallel()
	o := newObjectStore(t, false)
	target, err := url.Parse(o.endpoint())
	if err != nil {
		t.Fatal(err)
	}
	pass := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host },
		Transport: transport(t, o.caFile),
		ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	refused := 0
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete {
			refused++
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>`)
			return
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	b := newBed(t)
	c := o.copyConfig()
	c.Endpoint, c.CAFile = front.URL, ""
	cfg := b.config()
	cfg.Copies = []ship.CopyConfig{c}
	s := newShipper(t, cfg)
	b.append(400)
	now(t, b, s)
	compress(t, b)
	b.append(3)
	now(t, b, s)
	s.LookAgain()
	b.append(3)
	now(t, b, s)
	if refused == 0 {
		t.Error("nothing was refused")
	}
	dir := filepath.Join(o.download(), "node-1")
	if got := lines(t, dir); !slices.Equal(got, seq(b.n)) {
		t.Errorf("lines %v\n%s", got, tree(t, dir))
	}
	verify(t, b, dir)
}

// TestBucketInParts: a segment that is not compressed in time goes up as it is, in
// parts when it is long.
func TestBucketInParts(t *testing.T) {
	t.Parallel()
	o := newObjectStore(t, false)
	b := newBed(t)
	b.close()
	b.cfg.MaxSegmentBytes = 66 << 20
	b.open()
	cfg := b.config()
	cfg.Copies = []ship.CopyConfig{o.copyConfig()}
	r := &audit.Record{EventID: "id-000000", EventTime: time.Now(), EventName: "x", RequestParameters: []byte(`{"a":"` + strings.Repeat("x", 99<<10) + `"}`)}
	long := r.AppendLine(nil, "node-1")
	for range 700 {
		if err := b.log.Append(t.Context(), long); err != nil {
			t.Fatal(err)
		}
	}
	segs, err := audit.Segments(b.dir)
	if err != nil || len(segs) != 2 {
		t.Fatalf("segments %v, %v", segs, err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(segs[0].Path, old, old); err != nil {
		t.Fatal(err)
	}
	s := newShipper(t, cfg)
	now(t, b, s)
	dir := filepath.Join(o.download(), "node-1")
	if info, err := os.Stat(filepath.Join(dir, filepath.Base(segs[0].Path))); err != nil || info.Size() != segs[0].Bytes {
		t.Errorf("%v, %v: want %d bytes\n%s", info, err, segs[0].Bytes, tree(t, dir))
	}
	if got := verify(t, b, dir); got != 700 {
		t.Errorf("%d lines, want 700", got)
	}
}

// TestFaultsToBucket: a copy over a connection that misbehaves becomes whole.
func TestFaultsToBucket(t *testing.T) {
	t.Parallel()
	o := newObjectStore(t, false)
	p := newProxy(t, o.port)
	b := newBed(t)
	c := o.copyConfig()
	c.Endpoint = fmt.Sprintf("https://127.0.0.1:%d", p.port)
	cfg := b.config()
	cfg.Copies = []ship.CopyConfig{c}
	s, stop := b.start(cfg)
	for _, f := range []struct {
		kind, stream string
		attributes   map[string]any
	}{
		{"reset_peer", "upstream", map[string]any{"timeout": 50}},
		{"limit_data", "upstream", map[string]any{"bytes": 5000}},
		{"limit_data", "downstream", map[string]any{"bytes": 2000}},
		{"latency", "downstream", map[string]any{"latency": 300, "jitter": 200}},
		{"timeout", "downstream", map[string]any{"timeout": 300}},
	} {
		p.toxic(f.kind, f.stream, f.attributes)
		for range 5 {
			b.append(40)
			time.Sleep(100 * time.Millisecond)
		}
		p.heal()
	}
	eventually(t, "whole", func() bool { st := s.Status()[0]; return st.LagLines == 0 && st.Failing == "" })
	stop()
	dir := filepath.Join(o.download(), "node-1")
	if got := lines(t, dir); !slices.Equal(got, seq(b.n)) {
		t.Errorf("lines %v\n%s", got, tree(t, dir))
	}
	verify(t, b, dir)
}
