package event_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"

	"arca/internal/audit"
	"arca/internal/audittest"
	"arca/internal/event"
	"arca/internal/webhook"
)

var hookSecret = "whsec_" + base64.StdEncoding.EncodeToString([]byte("a secret of thirty-two bytes: 01"))

// receiver is a real HTTPS server that takes events.
type receiver struct {
	*httptest.Server
	t testing.TB

	mu    sync.Mutex
	got   []message                  // guarded by mu
	do    func(id string, n int) int // the answer to the n-th request; guarded by mu
	calls int                        // guarded by mu
}

type message struct {
	id   string
	body string
}

func newReceiver(t testing.TB) *receiver {
	r := &receiver{t: t}
	r.Server = httptest.NewTLSServer(r)
	r.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	s, err := webhook.ParseSecret(hookSecret)
	if err != nil {
		r.t.Error(err)
	}
	var at int64
	if _, err := fmt.Sscan(req.Header.Get("Webhook-Timestamp"), &at); err != nil {
		r.t.Errorf("timestamp: %v", err)
	}
	id := req.Header.Get("Webhook-Id")
	if got, want := req.Header.Get("Webhook-Signature"), s.Sign(id, time.Unix(at, 0), body); got != want {
		r.t.Errorf("signature %q, want %q", got, want)
	}
	r.mu.Lock()
	r.calls++
	n, do := r.calls, r.do
	r.mu.Unlock()
	code := http.StatusOK
	if do != nil {
		code = do(id, n)
	}
	if code == 0 {
		<-req.Context().Done() // hang until the client leaves
		return
	}
	if code == http.StatusOK {
		r.mu.Lock()
		r.got = append(r.got, message{id, string(body)})
		r.mu.Unlock()
	}
	w.WriteHeader(code)
}

func (r *receiver) answer(do func(id string, n int) int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.do = do
}

// ids are those received, sorted, each once.
func (r *receiver) ids() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	ids := []string{}
	for _, m := range r.got {
		ids = append(ids, m.id)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func (r *receiver) requests() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls
}

// wants waits until exactly these have been received.
func (r *receiver) wants(ids ...string) {
	r.t.Helper()
	eventually(r.t, fmt.Sprint("receiving ", ids), func() bool { return len(r.ids()) >= len(ids) })
	slices.Sort(ids)
	if diff := cmp.Diff(ids, r.ids()); diff != "" {
		r.t.Errorf("events (-want +got):\n%s", diff)
	}
}

func (r *receiver) target(name string) event.Target {
	pool := x509.NewCertPool()
	pool.AddCert(r.Certificate())
	s, err := webhook.ParseSecret(hookSecret)
	if err != nil {
		r.t.Fatal(err)
	}
	return event.Target{Name: name, URL: r.URL + "/hook", Secrets: []webhook.Secret{s}, RootCAs: pool, Timeout: 2 * time.Second}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 20 seconds", what)
		}
	}
}

// start runs a service until stop is called or the test ends.
func start(t testing.TB, cfg event.Config) (s *event.Service, stop func()) {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = quiet()
	}
	s, err := event.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.SetBackoff(5*time.Millisecond, 50*time.Millisecond)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return s, stop
}

func config(t testing.TB, r *receiver) event.Config {
	return event.Config{
		Log: audittest.Open(t, audit.Config{Dir: filepath.Join(t.TempDir(), "audit")}),
		Dir: t.TempDir(), Targets: []event.Target{r.target("t")},
		Rules: []event.Rule{{Name: "r", Pattern: pattern("alice", "eve"), Targets: []string{"t"}}},
		Bus:   event.NewBus(event.BusConfig{Account: "111111111111", Region: "eu-central-1"}),
	}
}

func TestDelivery(t *testing.T) {
	r := newReceiver(t)
	cfg := config(t, r)
	appendLines(t, cfg.Log, line("before", "alice", noon))
	s, stop := start(t, cfg)
	appendLines(t, cfg.Log, line("a", "alice", noon), line("b", "bob", noon), line("c", "eve", noon))
	r.wants("a", "c")
	for _, m := range r.got {
		want, err := event.FromLine(line(m.id, map[string]string{"a": "alice", "c": "eve"}[m.id], noon))
		if err != nil {
			t.Fatal(err)
		}
		if m.body != string(want) {
			t.Errorf("event %s, want %s", m.body, want)
		}
	}
	// The answers have been read, too: otherwise they are sent again.
	eventually(t, "acknowledgement", func() bool { return metric(t, s, "arca_events_delivered_total") == 2 })
	stop()
	// What is written while nothing runs is sent afterwards, and nothing else again.
	appendLines(t, cfg.Log, line("d", "alice", noon))
	start(t, cfg)
	appendLines(t, cfg.Log, line("e", "alice", noon))
	r.wants("a", "c", "d", "e")
	if got := r.requests(); got != 4 {
		t.Errorf("%d requests, want 4", got)
	}
}

func TestFromStart(t *testing.T) {
	r := newReceiver(t)
	cfg := config(t, r)
	cfg.Targets[0].FromStart = true
	appendLines(t, cfg.Log, line("before", "alice", noon))
	start(t, cfg)
	r.wants("before")
}

// TestOutage: a target that is down for a while gets everything afterwards, over a
// restart in the middle, and meanwhile others are served.
func TestOutage(t *testing.T) {
	down, up := newReceiver(t), newReceiver(t)
	down.answer(func(string, int) int { return http.StatusServiceUnavailable })
	cfg := config(t, down)
	cfg.Targets = append(cfg.Targets, up.target("up"))
	cfg.Rules = append(cfg.Rules, event.Rule{Name: "all", Pattern: pattern("alice"), Targets: []string{"up"}})
	_, stop := start(t, cfg)
	var want []string
	send := func(n int) {
		for range n {
			id := fmt.Sprintf("e%03d", len(want))
			want = append(want, id)
			appendLines(t, cfg.Log, line(id, "alice", noon))
		}
	}
	send(60)
	up.wants(want...)
	eventually(t, "being tried", func() bool { return down.requests() > 10 })
	stop()
	send(40)
	start(t, cfg)
	up.wants(want...)
	if got := down.ids(); len(got) != 0 {
		t.Errorf("received %v while down", got)
	}
	down.answer(nil)
	down.wants(want...)
}

// TestOutageOfTheNetwork: likewise when nobody listens, and the log says so once.
func TestOutageOfTheNetwork(t *testing.T) {
	r := newReceiver(t)
	cfg := config(t, r)
	pool := cfg.Targets[0].RootCAs
	dead := httptest.NewServer(nil)
	dead.Close()
	cfg.Targets[0].URL = dead.URL + "/token-of-the-url"
	var log safeBuffer
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	_, stop := start(t, cfg)
	appendLines(t, cfg.Log, line("a", "alice", noon), line("b", "alice", noon))
	eventually(t, "the failure is logged", func() bool { return strings.Contains(log.String(), "cannot be delivered") })
	time.Sleep(200 * time.Millisecond)
	stop()
	if got := strings.Count(log.String(), "cannot be delivered"); got != 1 {
		t.Errorf("logged %d times:\n%s", got, log.String())
	}
	if strings.Contains(log.String(), "token-of-the-url") {
		t.Errorf("the URL is in the log:\n%s", log.String())
	}
	cfg.Targets[0].URL, cfg.Targets[0].RootCAs = r.URL, pool
	start(t, cfg)
	r.wants("a", "b")
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestPoison: an event that its target cannot take does not keep the others from it,
// stays over a restart, and is delivered when the target has been mended.
func TestPoison(t *testing.T) {
	r := newReceiver(t)
	r.answer(func(id string, n int) int {
		if strings.HasPrefix(id, "bad") {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	cfg := config(t, r)
	s, stop := start(t, cfg)
	var want, lines = []string{}, [][]byte{}
	for i := range 40 {
		id := fmt.Sprintf("e%02d", i)
		want = append(want, id)
		if i%4 == 0 {
			lines = append(lines, line("bad-"+id, "alice", noon))
		}
		lines = append(lines, line(id, "alice", noon))
	}
	appendLines(t, cfg.Log, lines...)
	r.wants(want...)
	eventually(t, "being set aside", func() bool { return metric(t, s, "arca_events_waiting") == 10 })
	eventually(t, "passing on", func() bool { return metric(t, s, "arca_event_lag_lines") == 0 })
	stop()
	s, stop = start(t, cfg)
	time.Sleep(50 * time.Millisecond)
	r.answer(nil)
	for i := range 10 {
		want = append(want, fmt.Sprintf("bad-e%02d", 4*i))
	}
	r.wants(want...)
	eventually(t, "acknowledgement", func() bool { return metric(t, s, "arca_events_waiting") == 0 })
	stop()
	s, _ = start(t, cfg)
	if got := metric(t, s, "arca_events_waiting"); got != 0 {
		t.Errorf("%v events wait after they were delivered", got)
	}
}

// TestRefused: what is refused for good is given up at once.
func TestRefused(t *testing.T) {
	r := newReceiver(t)
	r.answer(func(id string, n int) int {
		if id == "bad" {
			return http.StatusUnprocessableEntity
		}
		return http.StatusOK
	})
	s, _ := start(t, config(t, r))
	_ = s
	cfg := config(t, r)
	s, _ = start(t, cfg)
	appendLines(t, cfg.Log, line("bad", "alice", noon), line("good", "alice", noon))
	r.wants("good")
	eventually(t, "giving up", func() bool { return metric(t, s, "arca_events_given_up_total") == 1 })
	if got := metric(t, s, "arca_events_delivered_total"); got != 1 {
		t.Errorf("%v delivered, want 1", got)
	}
}

// TestHangingTarget: it holds up neither the log nor another target nor the end.
func TestHangingTarget(t *testing.T) {
	hangs, other := newReceiver(t), newReceiver(t)
	hangs.answer(func(string, int) int { return 0 })
	cfg := config(t, hangs)
	cfg.Targets = append(cfg.Targets, other.target("other"))
	cfg.Rules[0].Targets = []string{"t", "other"}
	_, stop := start(t, cfg)
	var want []string
	began := time.Now()
	for i := range 100 {
		want = append(want, fmt.Sprint("e", i))
		appendLines(t, cfg.Log, line(want[i], "alice", noon))
	}
	other.wants(want...)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("writing and delivering beside a hanging target took %v", took)
	}
	if got := hangs.requests(); got > 20 {
		t.Errorf("%d requests to the hanging target", got)
	}
	began = time.Now()
	stop()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the end took %v", took)
	}
}

// TestAlarmDelivery: an alarm reaches its target although the target is down when it
// is raised and the server restarts meanwhile.
func TestAlarmDelivery(t *testing.T) {
	r := newReceiver(t)
	r.answer(func(string, int) int { return http.StatusBadGateway })
	cfg := config(t, r)
	cfg.Rules = nil
	a, _ := event.Ready("denied-reads")
	a.Targets = []string{"t"}
	cfg.Alarms = []event.Alarm{a}
	s, stop := start(t, cfg)
	now := time.Now()
	for i := range 4 {
		appendLines(t, cfg.Log, line(fmt.Sprint("e", i), "eve", now))
	}
	appendLines(t, cfg.Log, line("other", "bob", now))
	stop()
	s, stop = start(t, cfg)
	appendLines(t, cfg.Log, line("e4", "eve", now))
	eventually(t, "the alarm", func() bool { return metric(t, s, "arca_alarm_state") == 1 })
	stop()
	r.answer(nil)
	s, _ = start(t, cfg)
	eventually(t, "the notification", func() bool { return len(r.ids()) == 1 })
	var e struct {
		DetailType string `json:"detail-type"`
		Detail     struct {
			AlarmName, Group string
			State            struct{ Value string }
			Events           []struct{ EventID string }
		}
	}
	if err := json.Unmarshal([]byte(r.got[0].body), &e); err != nil {
		t.Fatal(err)
	}
	if e.Detail.AlarmName != "denied-reads" || e.Detail.State.Value != "ALARM" || !strings.HasSuffix(e.Detail.Group, "user/eve") || len(e.Detail.Events) != 5 {
		t.Errorf("notification %+v", e)
	}
	if got := metric(t, s, "arca_alarm_state"); got != 1 {
		t.Errorf("alarm state %v after a restart, want 1", got)
	}
}

// TestBusEvents: conditions reach rules and alarms; what is quiet, alarms alone.
func TestBusEvents(t *testing.T) {
	r, alarms := newReceiver(t), newReceiver(t)
	cfg := config(t, r)
	cfg.Targets = append(cfg.Targets, alarms.target("alarms"))
	cfg.Rules = []event.Rule{{Name: "own", Pattern: `{"source":["arca"]}`, Targets: []string{"t"}}}
	a, _ := event.Ready("disk-low")
	a.Targets = []string{"alarms"}
	cfg.Alarms = []event.Alarm{a}
	var mu sync.Mutex
	on := true
	cfg.Watch = []event.Watch{{Raised: "Disk Space Low", Cleared: "Disk Space Recovered", Check: func() (bool, any) {
		mu.Lock()
		defer mu.Unlock()
		return on, map[string]int{"free": 5}
	}}}
	_, stop := start(t, cfg)
	eventually(t, "both", func() bool { return len(r.ids()) == 1 && len(alarms.ids()) == 1 })
	if body := r.got[0].body; !strings.Contains(body, `"detail-type":"Disk Space Low"`) || !strings.Contains(body, `"detail":{"free":5}`) || !strings.Contains(body, `"account":"111111111111"`) {
		t.Errorf("event %s", body)
	}
	stop()
	mu.Lock()
	on = false
	mu.Unlock()
	s, _ := start(t, cfg)
	eventually(t, "the end", func() bool { return len(alarms.ids()) == 2 })
	if got := metric(t, s, "arca_alarm_state"); got != 0 {
		t.Errorf("alarm state %v, want 0", got)
	}
	if got := r.ids(); len(got) != 1 {
		t.Errorf("the quiet event was sent: %v", got)
	}
}

// TestAuditFailing: the one thing that the log cannot tell.
func TestAuditFailing(t *testing.T) {
	r := newReceiver(t)
	var mu sync.Mutex
	var fault error
	log := audittest.Open(t, audit.Config{Dir: filepath.Join(t.TempDir(), "audit"), SyncFault: func() error {
		mu.Lock()
		defer mu.Unlock()
		return fault
	}})
	var alarms []event.Alarm
	for _, name := range []string{"audit-failing", "audit-damaged"} {
		a, _ := event.Ready(name)
		a.Targets = []string{"t"}
		alarms = append(alarms, a)
	}
	start(t, event.Config{Log: log, Dir: t.TempDir(), Targets: []event.Target{r.target("t")}, Alarms: alarms})
	mu.Lock()
	fault = fmt.Errorf("no such disk")
	mu.Unlock()
	if err := log.Append(t.Context(), line("lost", "x", noon)); err == nil {
		t.Fatal("Append = nil")
	}
	eventually(t, "the alarm", func() bool { return len(r.ids()) == 1 })
	mu.Lock()
	fault = nil
	mu.Unlock()
	eventually(t, "its end", func() bool { return len(r.ids()) == 2 })
	for i, want := range []string{`"value":"ALARM"`, `"value":"OK"`} {
		if !strings.Contains(r.got[i].body, want) || !strings.Contains(r.got[i].body, "audit-failing") {
			t.Errorf("notification %s, want %s", r.got[i].body, want)
		}
	}
}

// TestFullDisk: what cannot be kept is delivered nevertheless.
func TestFullDisk(t *testing.T) {
	r := newReceiver(t)
	cfg := config(t, r)
	a, _ := event.Ready("denied-reads")
	a.Count, a.Targets = 1, []string{"t"}
	cfg.Alarms = []event.Alarm{a}
	start(t, cfg)
	if err := os.RemoveAll(cfg.Dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cfg.Dir, []byte("in the way"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // so that the end of Run can write
		_ = os.Remove(cfg.Dir)
		_ = os.Mkdir(cfg.Dir, 0o700)
	})
	appendLines(t, cfg.Log, line("a", "alice", time.Now()))
	eventually(t, "both", func() bool { return len(r.ids()) == 2 })
	if err := os.Remove(cfg.Dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(cfg.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

// TestCrash: whatever a crash leaves on disk, what was sent before it and what is sent
// after it are together everything, and no alarm is told differently the second time.
func TestCrash(t *testing.T) {
	before := newReceiver(t)
	before.answer(func(id string, n int) int {
		if n%3 == 0 {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	cfg := config(t, before)
	cfg.Alarms = []event.Alarm{reads(3, time.Minute, func(a *event.Alarm) { a.GroupBy = "detail.userIdentity.userName" })}
	_, stop := start(t, cfg)
	type crash struct {
		dir  string
		sent []string
	}
	var crashes []crash
	now := time.Now()
	for i := range 120 {
		appendLines(t, cfg.Log, line(fmt.Sprint("e", i), []string{"alice", "bob", "eve"}[i%3], now.Add(time.Duration(i)*time.Minute/20+time.Duration(i/30)*5*time.Minute)))
		if i%20 == 19 {
			time.Sleep(time.Duration(i) * 3 * time.Millisecond)
			c := crash{dir: t.TempDir()}
			// The counts before the queues: that is the order in which they are written.
			for _, name := range []string{"alarms.json", "event-t.json", "event-t-queue.json"} {
				text, err := os.ReadFile(filepath.Join(cfg.Dir, name))
				if err != nil {
					continue // not there yet
				}
				if err := os.WriteFile(filepath.Join(c.dir, name), text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			c.sent = before.ids()
			crashes = append(crashes, c)
		}
	}
	// 80 events of alice and eve, and what the alarm said.
	eventually(t, "delivery", func() bool { return len(before.ids()) > 80 })
	settled := func() bool {
		n := len(before.ids())
		time.Sleep(1500 * time.Millisecond)
		return len(before.ids()) == n
	}
	eventually(t, "silence", settled)
	all := before.ids()
	stop()
	for i, c := range crashes {
		after := newReceiver(t)
		cfg := cfg
		cfg.Dir, cfg.Targets = c.dir, []event.Target{after.target("t")}
		// Without its first place, a target begins at the end of the log, which was then.
		if _, err := os.Stat(filepath.Join(c.dir, "event-t.json")); err != nil {
			continue
		}
		_, stop := start(t, cfg)
		got := func() []string {
			ids := append(after.ids(), c.sent...)
			slices.Sort(ids)
			return slices.Compact(ids)
		}
		for end := time.Now().Add(10 * time.Second); len(got()) < len(all) && time.Now().Before(end); {
			time.Sleep(5 * time.Millisecond)
		}
		if diff := cmp.Diff(all, got()); diff != "" {
			t.Errorf("after crash %d (-want +got):\n%s", i, diff)
		}
		stop()
	}
}

func TestOpenRefuses(t *testing.T) {
	r := newReceiver(t)
	rule := func(change func(*event.Rule)) []event.Rule {
		one := event.Rule{Name: "r", Pattern: `{"a":[1]}`, Targets: []string{"t"}}
		change(&one)
		return []event.Rule{one}
	}
	alarm := reads(1, time.Minute, nil)
	for name, change := range map[string]func(*event.Config){
		"target name":       func(c *event.Config) { c.Targets[0].Name = "../x" },
		"two targets":       func(c *event.Config) { c.Targets = append(c.Targets, c.Targets[0]) },
		"URL":               func(c *event.Config) { c.Targets[0].URL = "http://example.com/" },
		"secret":            func(c *event.Config) { c.Targets[0].Secrets = nil },
		"concurrency":       func(c *event.Config) { c.Targets[0].Concurrency = 1000 },
		"rule name":         func(c *event.Config) { c.Rules = rule(func(r *event.Rule) { r.Name = "" }) },
		"rule's target":     func(c *event.Config) { c.Rules = rule(func(r *event.Rule) { r.Targets = []string{"nobody"} }) },
		"no target":         func(c *event.Config) { c.Rules = rule(func(r *event.Rule) { r.Targets = nil }) },
		"rule's pattern":    func(c *event.Config) { c.Rules = rule(func(r *event.Rule) { r.Pattern = "{}" }) },
		"two rules":         func(c *event.Config) { c.Rules = append(c.Rules, c.Rules[0]) },
		"two alarms":        func(c *event.Config) { c.Alarms = []event.Alarm{alarm, alarm} },
		"alarm's target":    func(c *event.Config) { c.Alarms = []event.Alarm{alarm}; c.Alarms[0].Targets = []string{"nobody"} },
		"alarm for nobody":  func(c *event.Config) { c.Alarms = []event.Alarm{alarm}; c.Alarms[0].Targets = nil },
		"damaged counts":    func(c *event.Config) { c.Alarms = []event.Alarm{alarm}; damage(t, c.Dir, "alarms.json") },
		"damaged queue":     func(c *event.Config) { damage(t, c.Dir, "event-t-queue.json") },
		"damaged place":     func(c *event.Config) { damage(t, c.Dir, "event-t.json") },
		"directory":         func(c *event.Config) { damage(t, c.Dir, "file"); c.Dir = filepath.Join(c.Dir, "file") },
		"hundreds of rules": func(c *event.Config) { c.Rules = make([]event.Rule, 1000) },
	} {
		cfg := config(t, r)
		change(&cfg)
		if _, err := event.Open(cfg); err == nil {
			t.Errorf("%s: Open = nil", name)
		}
	}
}

func damage(t *testing.T, dir, name string) {
	if err := os.WriteFile(filepath.Join(dir, name), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// metric is the sum of a metric over its labels.
func metric(t testing.TB, s *event.Service, name string) float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(s.Metrics()); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			sum := 0.0
			for _, m := range f.GetMetric() {
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
			return sum
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func TestMetricNames(t *testing.T) {
	r := newReceiver(t)
	cfg := config(t, r)
	cfg.Alarms = []event.Alarm{reads(1, time.Minute, nil)}
	s, err := event.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := testutil.CollectAndLint(s.Metrics()); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

// TestBadNetworks: behind connections that are slow, cut and reset, everything
// arrives; a slow receiver of one target holds up nothing else.
func TestBadNetworks(t *testing.T) {
	tests := []struct {
		name, kind, stream string
		attributes         string
		arrives            bool // even while it lasts
	}{
		{"slow", "latency", "downstream", `{"latency":300,"jitter":100}`, true},
		{"a trickle", "slicer", "upstream", `{"average_size":64,"size_variation":32,"delay":100}`, true},
		{"swallows everything", "timeout", "upstream", `{"timeout":0}`, false},
		{"cuts requests off", "limit_data", "upstream", `{"bytes":900}`, false},
		{"resets", "reset_peer", "downstream", `{"timeout":20}`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newReceiver(t)
			cfg := config(t, r)
			proxy := newProxy(t, r.Listener.Addr().String())
			cfg.Targets[0].URL = "https://" + proxy.Listen + "/hook"
			cfg.Targets[0].Timeout = time.Second
			if _, err := proxy.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(
				`{"name":"x","type":%q,"stream":%q,"attributes":%s}`, tt.kind, tt.stream, tt.attributes))); err != nil {
				t.Fatal(err)
			}
			s, _ := start(t, cfg)
			var want []string
			for i := range 20 {
				want = append(want, fmt.Sprint("e", i))
				began := time.Now()
				appendLines(t, cfg.Log, line(want[i], "alice", noon))
				if took := time.Since(began); took > 2*time.Second {
					t.Errorf("a line took %v", took)
				}
			}
			if !tt.arrives {
				eventually(t, "failing", func() bool { return metric(t, s, "arca_events_failed_total") > 3 })
				if err := proxy.Toxics.RemoveToxic(t.Context(), "x"); err != nil {
					t.Fatal(err)
				}
			}
			r.wants(want...)
		})
	}
}

func newProxy(t testing.TB, upstream string) *toxiproxy.Proxy {
	t.Helper()
	zerolog.SetGlobalLevel(zerolog.Disabled) // some of it goes to the standard error whatever the logger
	p := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), "p", "127.0.0.1:0", upstream)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

// TestWants: what is not told of an event counts as matched, what is told is compared.
func TestWants(t *testing.T) {
	r := newReceiver(t)
	cfg := config(t, r)
	cfg.Rules = []event.Rule{
		{Name: "one-rule", Pattern: `{"source":["aws.config"],"detail":{"configRuleName":["used"],"resourceId":[{"prefix":"arn:"}]}}`, Targets: []string{"t"}},
		{Name: "either", Pattern: `{"$or":[{"detail-type":["A"]},{"detail":{"kind":["b"]}}],"detail":{"gone":[{"exists":false}]}}`, Targets: []string{"t"}},
	}
	a, _ := event.Ready("rotation-overdue")
	a.Targets = []string{"t"}
	cfg.Alarms = []event.Alarm{a}
	s, _ := start(t, cfg)
	for part, want := range map[string]bool{
		`{}`:                      true,
		`{"source":"aws.config"}`: true,
		`{"source":"aws.s3"}`:     true, // detail-type is not told
		`{"detail":{"kind":"b"}}`: true,
		`{"source":"aws.config","detail-type":"T","detail":{"configRuleName":"used","kind":"c"}}`:  true,
		`{"source":"aws.config","detail-type":"T","detail":{"configRuleName":"other","kind":"c"}}`: false,
		`{"source":"aws.config","detail-type":"A","detail":{"configRuleName":"other","gone":1}}`:   false,
		`{"source":"aws.config","detail-type":"A","detail":{"configRuleName":"other"}}`:            true,
		`{"source":"aws.config","detail-type":"Config Rules Compliance Change","detail":{"kind":"c","configRuleName":"secretsmanager-scheduled-rotation-success-check","newEvaluationResult":{"complianceType":"NON_COMPLIANT"}}}`: true,  // raises the alarm
		`{"source":"aws.config","detail-type":"Config Rules Compliance Change","detail":{"kind":"c","configRuleName":"secretsmanager-scheduled-rotation-success-check","newEvaluationResult":{"complianceType":"COMPLIANT"}}}`:     true,  // clears it
		`{"source":"aws.config","detail-type":"Config Rules Compliance Change","detail":{"kind":"c","configRuleName":"secretsmanager-using-cmk","newEvaluationResult":{"complianceType":"COMPLIANT"}}}`:                            false, // nobody's
		`not JSON`: true,
	} {
		if got := s.Wants([]byte(part)); got != want {
			t.Errorf("Wants(%s) = %v, want %v", part, got, want)
		}
	}
}
