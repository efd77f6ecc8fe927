package ship_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"arca/internal/audit"
	"arca/internal/ship"
)

func TestSyslogMessage(t *testing.T) {
	const l = `{"eventVersion":"1.11","eventTime":"2026-03-04T05:06:07Z","eventID":"a"}`
	tests := []struct {
		name     string
		facility int
		host     string
		line     string
		want     string
	}{
		{"ordinary", 13, "host-1", l, "<110>1 2026-03-04T05:06:07Z host-1 arca - audit - " + l},
		{"first facility", 0, "host-1", l, "<6>1 2026-03-04T05:06:07Z host-1 arca - audit - " + l},
		{"last facility", 23, "h", l, "<190>1 2026-03-04T05:06:07Z h arca - audit - " + l},
		{"no host", 13, "", l, "<110>1 2026-03-04T05:06:07Z - arca - audit - " + l},
		{"host with spaces and more", 13, "a b\nc\x7fé", l, "<110>1 2026-03-04T05:06:07Z abc arca - audit - " + l},
		{"no time", 13, "h", `{}`, "<110>1 - h arca - audit - {}"},
		{"a time that is none", 13, "h", `{"eventTime":"now"}`, `<110>1 - h arca - audit - {"eventTime":"now"}`},
		{"empty", 13, "h", ``, "<110>1 - h arca - audit - "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, string(ship.SyslogMessage(tt.facility, tt.host, 8192, []byte(tt.line)))); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
			want := strconv.Itoa(len(tt.want)) + " " + tt.want
			if diff := cmp.Diff(want, string(ship.SyslogFrame(tt.facility, tt.host, 8192, []byte(tt.line)))); diff != "" {
				t.Errorf("frame (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSyslogLongLines(t *testing.T) {
	big := func(n int) string { return strings.Repeat("x", n) }
	omitted := func(n int) string {
		return fmt.Sprintf(`{"omitted":true,"originalSize":%d,"reason":"syslog message too large"}`, n)
	}
	tests := []struct {
		name, line, want string
		max              int
	}{
		{"largest member left out",
			`{"eventVersion":"1.11","requestParameters":{"a":"` + big(2000) + `"},"responseElements":{"b":"` + big(200) + `"},"eventID":"1"}`,
			`{"eventVersion":"1.11","requestParameters":` + omitted(2008) + `,"responseElements":{"b":"` + big(200) + `"},"eventID":"1"}`, 1024},
		{"two left out",
			`{"requestParameters":{"a":"` + big(2000) + `"},"responseElements":{"b":"` + big(1500) + `"},"eventID":"1"}`,
			`{"requestParameters":` + omitted(2008) + `,"responseElements":` + omitted(1508) + `,"eventID":"1"}`, 1024},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ship.SyslogMessage(13, "h", tt.max, []byte(tt.line))
			_, got, _ = bytes.Cut(got, []byte(" audit - "))
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzSyslogMessage(f *testing.F) {
	f.Add(line(1), 1024)
	f.Add([]byte(`{"requestParameters":{"a":"`+strings.Repeat("x", 3000)+`"},"eventID":"1"}`), 1024)
	f.Add([]byte(`{"a":1,"a":2}`), 0)
	f.Add([]byte("{\"eventTime\":\"2026-03-04T05:06:07Z\xff"), 1500)
	f.Fuzz(func(t *testing.T, l []byte, limit int) {
		limit = 1024 + max(0, limit%4096)
		msg := ship.SyslogMessage(13, "host", limit, l)
		if len(msg) > limit {
			t.Fatalf("%d bytes, the limit is %d", len(msg), limit)
		}
		header, body, ok := bytes.Cut(msg, []byte(" host arca - audit - "))
		if !ok || !bytes.HasPrefix(header, []byte("<110>1 ")) || bytes.Count(header, []byte{' '}) != 1 {
			t.Fatalf("header of %q", msg)
		}
		if json.Valid(l) && utf8.Valid(l) && len(l) < limit-64 && !bytes.Equal(body, l) {
			t.Fatalf("%q became %q", l, body)
		}
		if frame := ship.SyslogFrame(13, "host", limit, l); string(frame) != strconv.Itoa(len(msg))+" "+string(msg) {
			t.Fatalf("frame %q", frame)
		}
	})
}

// Nothing that strangers choose is taken for the time of an event.
func FuzzSyslogTime(f *testing.F) {
	f.Add("ada", "agent", "s")
	f.Add(`","eventTime":"1999-01-01T00:00:00Z`, `"eventTime":"1999-01-01T00:00:00Z"`, `eventTime`)
	f.Fuzz(func(t *testing.T, user, agent, secret string) {
		params, err := json.Marshal(map[string]string{"eventTime": secret, secret: user})
		if err != nil {
			t.Fatal(err)
		}
		at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
		r := &audit.Record{EventID: "x", EventTime: at, EventName: "E", UserAgent: agent, RequestParameters: params,
			Identity: audit.Identity{Type: "IAMUser", UserName: user, PrincipalID: secret}}
		msg := ship.SyslogMessage(13, "h", 1<<20, r.AppendLine(nil, user))
		if !bytes.HasPrefix(msg, []byte("<110>1 2026-03-04T05:06:07Z h arca")) {
			t.Fatalf("message %q", msg)
		}
	})
}

// rsyslog is a real receiver that writes what it gets to a file.
type rsyslog struct {
	t         testing.TB
	dir       string
	port, tls int
	caFile    string
	cmd       *exec.Cmd
}

func newRsyslog(t testing.TB) *rsyslog {
	t.Helper()
	if _, err := os.Stat("/usr/sbin/rsyslogd"); err != nil {
		t.Fatalf("%v; scripts/test-deps.sh installs it", err)
	}
	r := &rsyslog{t: t, dir: t.TempDir(), port: freePort(t), tls: freePort(t)}
	ca, cert, key := certificate(t)
	r.caFile = ca
	writeFile(t, filepath.Join(r.dir, "conf"), fmt.Sprintf(`
global(workDirectory="%[1]s" maxMessageSize="64k" DefaultNetstreamDriver="ossl"
  DefaultNetstreamDriverCAFile="%[2]s" DefaultNetstreamDriverCertFile="%[3]s" DefaultNetstreamDriverKeyFile="%[4]s")
module(load="imtcp")
template(name="all" type="string" string="%%pri%% %%timereported:::date-rfc3339%% %%hostname%% %%app-name%% %%procid%% %%msgid%% %%structured-data%% %%msg%%\n")
input(type="imtcp" address="127.0.0.1" port="%[5]d" StreamDriver.Name="ptcp" StreamDriver.Mode="0")
input(type="imtcp" address="127.0.0.1" port="%[6]d" StreamDriver.Name="ossl" StreamDriver.Mode="1" StreamDriver.AuthMode="anon")
action(type="omfile" file="%[1]s/out" template="all")
`, r.dir, ca, cert, key, r.port, r.tls))
	r.start()
	t.Cleanup(r.kill)
	return r
}

func (r *rsyslog) start() {
	r.t.Helper()
	cmd := exec.Command("/usr/sbin/rsyslogd", "-n", "-f", filepath.Join(r.dir, "conf"), "-i", filepath.Join(r.dir, "pid"))
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.cmd = cmd
	listening(r.t, r.port)
	listening(r.t, r.tls)
}

func (r *rsyslog) kill() {
	if r.cmd == nil {
		return
	}
	_ = r.cmd.Process.Kill() // it may have ended
	_ = r.cmd.Wait()
	r.cmd = nil
}

// received returns the messages' texts. What is not a message of ours is an error. A
// message that was being written when the receiver was killed runs into the next one.
func (r *rsyslog) received() (lines string) {
	const header = " host-1 arca - audit - "
	var b strings.Builder
	for l := range strings.Lines(readFile(r.t, filepath.Join(r.dir, "out"))) {
		i := strings.LastIndex(l, header)
		switch {
		case !strings.HasSuffix(l, "\n"):
			continue // being written
		case i < 0 && (strings.Contains(l, "rsyslogd") || strings.Contains(l, "imtcp") || strings.Contains(l, "netstream")):
			continue // it tells about itself
		case i < 0:
			r.t.Errorf("message %q", l)
			continue
		}
		fields := strings.Fields(l[:i])
		if _, err := time.Parse(time.RFC3339Nano, fields[len(fields)-1]); err != nil || !strings.HasSuffix(fields[len(fields)-2], "110") {
			r.t.Errorf("header %q", l[:i])
		}
		b.WriteString(strings.TrimPrefix(l[i+len(header):], " "))
	}
	return b.String()
}

// TestSyslog: a real receiver gets every line, over restarts of it that nobody
// announced.
func TestSyslog(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(map[bool]string{false: "tcp", true: "tls"}[secure], func(t *testing.T) {
			t.Parallel()
			r := newRsyslog(t)
			b := newBed(t)
			sink := ship.SinkConfig{Name: "siem", Kind: "syslog", Address: fmt.Sprintf("tcp://127.0.0.1:%d", r.port), FromStart: true}
			if secure {
				sink.Address, sink.CAFile = fmt.Sprintf("tls://127.0.0.1:%d", r.tls), r.caFile
			}
			cfg := b.config()
			cfg.Sinks = []ship.SinkConfig{sink}
			b.append(500)
			s, stop := b.start(cfg)
			eventually(t, "500 lines", func() bool { return arrived(numbers(t, r.received())) == 500 })
			if got := numbers(t, r.received()); len(got) != 500 {
				t.Errorf("%d lines, want 500", len(got))
			}
			if held := s.Held(); held != 0 {
				t.Errorf("Held() = %d while deliveries are in doubt, want 0", held)
			}
			eventually(t, "settled", func() bool { return s.Held() == 500 })

			// Killed in the middle of a stream, what it had in memory is lost.
			b.append(2000)
			eventually(t, "some more", func() bool { return arrived(numbers(t, r.received())) > 600 })
			r.kill()
			b.append(500)
			eventually(t, "failing", func() bool { return s.Status()[0].Failing != "" })
			r.start()
			eventually(t, "all lines", func() bool { return arrived(numbers(t, r.received())) == b.n })
			inOrder(t, numbers(t, r.received()))
			eventually(t, "settled again", func() bool { return s.Held() == uint64(b.n) })
			stop()

			// What is kept is not sent again.
			before := len(numbers(t, r.received()))
			_, stop = b.start(cfg)
			b.append(1)
			eventually(t, "one more line", func() bool { return arrived(numbers(t, r.received())) == b.n })
			stop()
			if got := len(numbers(t, r.received())); got != before+1 {
				t.Errorf("%d lines after a restart, want %d", got, before+1)
			}
		})
	}
}

func TestSyslogUnknownCertificate(t *testing.T) {
	r := newRsyslog(t)
	b := newBed(t)
	other, _, _ := certificate(t)
	cfg := b.config()
	cfg.Sinks = []ship.SinkConfig{{Name: "siem", Kind: "syslog", Address: fmt.Sprintf("tls://127.0.0.1:%d", r.tls), CAFile: other, FromStart: true}}
	s, _ := b.start(cfg)
	b.append(1)
	eventually(t, "failing", func() bool { return strings.Contains(s.Status()[0].Failing, "certificate") })
	if got := r.received(); got != "" {
		t.Errorf("received %q", got)
	}
}
