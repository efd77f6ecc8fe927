package ship_test

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"arca/internal/ship"
)

func TestConfig(t *testing.T) {
	b := newBed(t)
	dir := t.TempDir()
	secret := writeFile(t, filepath.Join(dir, "secret"), secretText)
	short := writeFile(t, filepath.Join(dir, "short"), "whsec_AAAA")
	ca, cert, key := certificate(t)
	facility := func(n int) *int { return &n }
	type sink = ship.SinkConfig
	type cp = ship.CopyConfig
	tests := []struct {
		name string
		what any
		want string // part of the error; empty: it is fine
	}{
		{"stdout", sink{Name: "a", Kind: "stdout"}, ""},
		{"no name", sink{Kind: "stdout"}, "name:"},
		{"name of a path", sink{Name: "../x", Kind: "stdout"}, "name:"},
		{"long name", sink{Name: strings.Repeat("a", 65), Kind: "stdout"}, "name:"},
		{"upper case", sink{Name: "A", Kind: "stdout"}, "name:"},
		{"no kind", sink{Name: "a"}, "kind:"},
		{"unknown kind", sink{Name: "a", Kind: "kafka"}, "kind:"},
		{"settings of another kind", sink{Name: "a", Kind: "stdout", Path: "/x"}, "settings of file"},
		{"empty source", sink{Name: "a", Kind: "stdout", Sources: []string{""}}, "sources:"},
		{"file", sink{Name: "a", Kind: "file", Path: "/x"}, ""},
		{"file without a path", sink{Name: "a", Kind: "file"}, "path: missing"},
		{"relative path", sink{Name: "a", Kind: "file", Path: "x"}, "path:"},
		{"file with a URL's settings", sink{Name: "a", Kind: "file", Path: "/x", Gzip: true}, "only for https"},
		{"file with a syslog's settings", sink{Name: "a", Kind: "file", Path: "/x", Facility: facility(1)}, "only for syslog"},
		{"file with a CA", sink{Name: "a", Kind: "file", Path: "/x", CAFile: ca}, "ca_file:"},
		{"syslog", sink{Name: "a", Kind: "syslog", Address: "tls://siem.example.com:6514"}, ""},
		{"syslog with everything", sink{Name: "a", Kind: "syslog", Address: "tls://10.0.0.1:6514", CAFile: ca, CertFile: cert, KeyFile: key, Facility: facility(0), MaxMessageBytes: 65536}, ""},
		{"syslog in the clear, here", sink{Name: "a", Kind: "syslog", Address: "tcp://127.0.0.1:514"}, ""},
		{"syslog in the clear, elsewhere", sink{Name: "a", Kind: "syslog", Address: "tcp://10.0.0.1:514"}, "unless insecure"},
		{"syslog in the clear, elsewhere, insecure", sink{Name: "a", Kind: "syslog", Address: "tcp://10.0.0.1:514", Insecure: true}, ""},
		{"syslog in the clear with a CA", sink{Name: "a", Kind: "syslog", Address: "tcp://127.0.0.1:514", CAFile: ca}, "only with tls"},
		{"syslog over UDP", sink{Name: "a", Kind: "syslog", Address: "udp://127.0.0.1:514"}, "address:"},
		{"syslog without a port", sink{Name: "a", Kind: "syslog", Address: "tls://h"}, "address:"},
		{"syslog with a path", sink{Name: "a", Kind: "syslog", Address: "tls://h:1/x"}, "address:"},
		{"half a client certificate", sink{Name: "a", Kind: "syslog", Address: "tls://h:1", CertFile: cert}, "both or none"},
		{"a key for a certificate", sink{Name: "a", Kind: "syslog", Address: "tls://h:1", CertFile: key, KeyFile: cert}, "cert_file"},
		{"facility", sink{Name: "a", Kind: "syslog", Address: "tls://h:1", Facility: facility(24)}, "facility:"},
		{"message length", sink{Name: "a", Kind: "syslog", Address: "tls://h:1", MaxMessageBytes: 100}, "max_message_bytes:"},
		{"a CA that is none", sink{Name: "a", Kind: "syslog", Address: "tls://h:1", CAFile: secret}, "no certificate"},
		{"a CA that is missing", sink{Name: "a", Kind: "syslog", Address: "tls://h:1", CAFile: "/nowhere"}, "ca_file:"},
		{"https", sink{Name: "a", Kind: "https", URL: "https://h/x", SecretFiles: []string{secret}}, ""},
		{"https with two secrets", sink{Name: "a", Kind: "https", URL: "https://h/x", SecretFiles: []string{secret, secret}, Format: "array", Gzip: true, OnRejected: "skip"}, ""},
		{"http elsewhere", sink{Name: "a", Kind: "https", URL: "http://h/x", SecretFiles: []string{secret}}, "url:"},
		{"https without a secret", sink{Name: "a", Kind: "https", URL: "https://h/x"}, "secret_files: missing"},
		{"short secret", sink{Name: "a", Kind: "https", URL: "https://h/x", SecretFiles: []string{short}}, "secret_files:"},
		{"secret that is a folder", sink{Name: "a", Kind: "https", URL: "https://h/x", SecretFiles: []string{dir}}, "secret_files:"},
		{"format", sink{Name: "a", Kind: "https", URL: "https://h/x", SecretFiles: []string{secret}, Format: "xml"}, "format:"},
		{"rejected", sink{Name: "a", Kind: "https", URL: "https://h/x", SecretFiles: []string{secret}, OnRejected: "drop"}, "on_rejected:"},
		{"lines", sink{Name: "a", Kind: "https", URL: "https://h/x", SecretFiles: []string{secret}, BatchLines: -1}, "batch_lines:"},
		{"bytes", sink{Name: "a", Kind: "https", URL: "https://h/x", SecretFiles: []string{secret}, BatchBytes: 1 << 30}, "batch_bytes:"},
		{"seconds", sink{Name: "a", Kind: "https", URL: "https://h/x", SecretFiles: []string{secret}, BatchSeconds: 61}, "batch_seconds:"},
		{"timeout", sink{Name: "a", Kind: "https", URL: "https://h/x", SecretFiles: []string{secret}, TimeoutSeconds: 121}, "timeout_seconds:"},

		{"directory", cp{Name: "a", Dir: "/x"}, ""},
		{"bucket", cp{Name: "a", Bucket: "b", Prefix: "p/q", Region: "eu-central-1"}, ""},
		{"nowhere", cp{Name: "a"}, "one of dir and bucket"},
		{"both", cp{Name: "a", Dir: "/x", Bucket: "b"}, "one of dir and bucket"},
		{"relative directory", cp{Name: "a", Dir: "x"}, "dir:"},
		{"directory with a bucket's settings", cp{Name: "a", Dir: "/x", Region: "r"}, "dir:"},
		{"slash", cp{Name: "a", Bucket: "b", Prefix: "/p"}, "prefix:"},
		{"two slashes", cp{Name: "a", Bucket: "b", Prefix: "p//q"}, "prefix:"},
		{"endpoint", cp{Name: "a", Bucket: "b", Endpoint: "https://10.0.0.1:9000"}, ""},
		{"endpoint in the clear, here", cp{Name: "a", Bucket: "b", Endpoint: "http://localhost:9000"}, ""},
		{"endpoint in the clear, elsewhere", cp{Name: "a", Bucket: "b", Endpoint: "http://10.0.0.1:9000"}, "unless insecure"},
		{"endpoint in the clear, elsewhere, insecure", cp{Name: "a", Bucket: "b", Endpoint: "http://10.0.0.1:9000", Insecure: true}, ""},
		{"endpoint with a password", cp{Name: "a", Bucket: "b", Endpoint: "https://a:b@h"}, "endpoint:"},
		{"endpoint that is none", cp{Name: "a", Bucket: "b", Endpoint: "h:9000"}, "endpoint:"},
		{"profile without a file", cp{Name: "a", Bucket: "b", Profile: "p"}, "profile:"},
		{"interval", cp{Name: "a", Bucket: "b", IntervalSeconds: 3601}, "interval_seconds:"},
		{"copy without a name", cp{Bucket: "b"}, "name:"},
		{"CA of a bucket that is none", cp{Name: "a", Bucket: "b", CAFile: secret}, "no certificate"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := b.config()
			cfg.Stdout = &bytes.Buffer{}
			switch c := tt.what.(type) {
			case sink:
				cfg.Sinks = []ship.SinkConfig{c}
			case cp:
				cfg.Copies = []ship.CopyConfig{c}
			}
			_, err := ship.New(cfg)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("New = %v, want %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), secretText[10:]) {
				t.Errorf("the error repeats the secret: %v", err)
			}
		})
	}
	cfg := b.config()
	cfg.Stdout = &bytes.Buffer{}
	cfg.Sinks = []ship.SinkConfig{{Name: "a", Kind: "stdout"}, {Name: "a", Kind: "stdout"}}
	if _, err := ship.New(cfg); err == nil {
		t.Error("two sinks of one name are taken")
	}
}

func TestMetrics(t *testing.T) {
	b := newBed(t)
	cfg := b.config()
	cfg.Stdout = &bytes.Buffer{}
	cfg.Sinks = []ship.SinkConfig{{Name: "out", Kind: "stdout", FromStart: true}}
	cfg.Copies = []ship.CopyConfig{{Name: "dir", Dir: t.TempDir()}}
	s, _ := b.start(cfg)
	b.append(10)
	metric := func(name, label string) float64 { return gather(t, s)[name+"{"+label+"}"] }
	eventually(t, "both have all", func() bool {
		return metric("arca_sink_sent_total", "sink=out") == 10 && metric("arca_audit_copy_sent_total", "copy=dir") == 10 &&
			metric("arca_sink_lag_lines", "sink=out") == 0 && metric("arca_audit_copy_lag_lines", "copy=dir") == 0
	})
	all := gather(t, s)
	for _, name := range []string{"arca_sink_%s{sink=out}", "arca_audit_copy_%s{copy=dir}"} {
		for _, m := range []string{"lag_lines", "lag_seconds", "sent_total", "sent_bytes_total", "errors_total", "missed_total", "failing"} {
			if _, ok := all[strings.Replace(name, "%s", m, 1)]; !ok {
				t.Errorf("no metric %s of %s in %v", m, name, all)
			}
		}
	}
	if len(all) != 16 {
		t.Errorf("%d metrics: %v", len(all), all)
	}
}

// A setting that New would refuse is found without a log, too.
func TestValidate(t *testing.T) {
	tests := []struct {
		name   string
		copies []ship.CopyConfig
		sinks  []ship.SinkConfig
		want   string
	}{
		{"nothing", nil, nil, ""},
		{"a copy and a sink of one name", []ship.CopyConfig{{Name: "a", Dir: "/x"}}, []ship.SinkConfig{{Name: "a", Kind: "stdout"}}, ""},
		{"two copies of one name", []ship.CopyConfig{{Name: "a", Dir: "/x"}, {Name: "a", Dir: "/y"}}, nil, `copy "a": another`},
		{"two sinks of one name", nil, []ship.SinkConfig{{Name: "a", Kind: "stdout"}, {Name: "a", Kind: "stdout"}}, `sink "a": another`},
		{"the second", nil, []ship.SinkConfig{{Name: "a", Kind: "stdout"}, {Name: "b", Kind: "x"}}, `sink "b": kind`},
		{"address", nil, []ship.SinkConfig{{Name: "a", Kind: "syslog", Address: "tcp://10.0.0.1:1"}}, "address"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := ship.Validate(tt.copies, tt.sinks)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Validate = %v, want %q", err, tt.want)
			}
		})
	}
}
