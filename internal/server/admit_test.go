package server_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"arca/internal/server"
)

func TestHosts(t *testing.T) {
	e := newEdge(t, func(c *server.Config) {
		c.Hosts = []string{"Vault.Example.com.", "*.arca.test", "secretsmanager.us-east-1.amazonaws.com"}
	})
	tests := []struct {
		host string
		ok   bool
	}{
		{"127.0.0.1:4566", true},
		{"127.0.0.1", true},
		{"[::1]:4566", true},
		{"10.1.2.3:4566", true},
		{"localhost:4566", true},
		{"LocalHost", true},
		{"secrets.localhost:4566", true},
		{"vault.example.com", true},
		{"vault.example.com:443", true},
		{"vault.example.com.:443", true},
		{"a.arca.test", true},
		{"a.b.arca.test", true},
		{"secretsmanager.us-east-1.amazonaws.com", true},
		{"arca.test", false},
		{"xarca.test", false},
		{"secretsmanager.eu-west-1.amazonaws.com", false},
		{"attacker.example", false},
		{"127.0.0.1.attacker.example:4566", false},
		{"localhost.attacker.example", false},
		{"", false},
		{":4566", false},
	}
	for _, tt := range tests {
		t.Run(tt.host, func(t *testing.T) {
			r := request(t, here, body)
			r.Host = tt.host
			sign(t, r, body, credentials(), "secretsmanager", region, time.Now())
			in := r.Clone(t.Context())
			in.URL.Host, in.Host = "", tt.host
			got := read(t, direct(e, in))
			if tt.ok && got.status != http.StatusOK {
				t.Errorf("host %q: %+v, want it served", tt.host, got)
			}
			if !tt.ok && (got.status != http.StatusMisdirectedRequest || !strings.Contains(got.body, "list of hosts")) {
				t.Errorf("host %q: %+v, want 421", tt.host, got)
			}
		})
	}
}

func TestHostsRefused(t *testing.T) {
	for _, h := range []string{"", "*", "*.", "*x.example", "a*.example", "http://x", "x:1", "a b"} {
		cfg := newEdge(t).cfg
		cfg.Hosts = []string{h}
		if _, err := server.New(cfg); err == nil {
			t.Errorf("New accepts host %q", h)
		}
	}
}

func TestBrowsers(t *testing.T) {
	e := newEdge(t)
	tests := []struct {
		name    string
		headers http.Header
		ok      bool
	}{
		{"no browser", http.Header{}, true},
		{"typed by hand", http.Header{"Sec-Fetch-Site": {"none"}}, true},
		{"own page", http.Header{"Sec-Fetch-Site": {"same-origin"}, "Origin": {"http://127.0.0.1:4566"}}, true},
		{"other site", http.Header{"Sec-Fetch-Site": {"cross-site"}}, false},
		{"other port", http.Header{"Sec-Fetch-Site": {"same-site"}}, false},
		{"value to come", http.Header{"Sec-Fetch-Site": {"friendly-site"}}, false},
		{"old browser, other origin", http.Header{"Origin": {"https://attacker.example"}}, false},
		{"old browser, other port", http.Header{"Origin": {"http://127.0.0.1:8080"}}, false},
		{"opaque origin", http.Header{"Origin": {"null"}}, false},
		{"two origins", http.Header{"Origin": {"http://127.0.0.1:4566", "https://attacker.example"}}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := signed(t, here, body)
			for k, v := range tt.headers {
				r.Header[k] = v
			}
			res := direct(e, r)
			for k := range res.Header {
				if strings.HasPrefix(k, "Access-Control-") {
					t.Errorf("answer has %s", k)
				}
			}
			got := read(t, res)
			if tt.ok && got.status != http.StatusOK {
				t.Errorf("%+v, want it served", got)
			}
			if !tt.ok && (got.status != http.StatusForbidden || got.body != `{"__type":"AccessDeniedException","message":"Requests from web pages are not accepted."}`) {
				t.Errorf("%+v, want 403", got)
			}
		})
	}
}

func TestPreflightGetsNoPermission(t *testing.T) {
	e := newEdge(t)
	r, _ := http.NewRequest("OPTIONS", here+"/", nil)
	r.Header.Set("Origin", "https://attacker.example")
	r.Header.Set("Access-Control-Request-Method", "POST")
	res := direct(e, r)
	if res.StatusCode != http.StatusForbidden || res.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("preflight answered %d %v", res.StatusCode, res.Header)
	}
}

func TestSourceIP(t *testing.T) {
	tests := []struct {
		name      string
		trusted   []string
		forwarded []string
		want      string
	}{
		{"nobody trusted", nil, []string{"203.0.113.9"}, "192.0.2.7"},
		{"other proxy trusted", []string{"198.51.100.1"}, []string{"203.0.113.9"}, "192.0.2.7"},
		{"proxy trusted", []string{"192.0.2.7"}, []string{"203.0.113.9"}, "203.0.113.9"},
		{"network trusted", []string{"192.0.2.0/24"}, []string{"203.0.113.9"}, "203.0.113.9"},
		{"forged by the client", []string{"192.0.2.0/24"}, []string{"1.1.1.1, 203.0.113.9"}, "203.0.113.9"},
		{"two proxies", []string{"192.0.2.0/24", "10.0.0.0/8"}, []string{"1.1.1.1, 203.0.113.9", "10.1.1.1"}, "203.0.113.9"},
		{"all are proxies", []string{"192.0.2.0/24", "10.0.0.0/8"}, []string{"10.2.2.2, 10.1.1.1"}, "10.2.2.2"},
		{"proxy says nothing", []string{"192.0.2.7"}, nil, "192.0.2.7"},
		{"proxy says nonsense", []string{"192.0.2.7"}, []string{"unknown"}, "192.0.2.7"},
		{"mapped address", []string{"192.0.2.7"}, []string{"::ffff:203.0.113.9"}, "203.0.113.9"},
		{"IPv6", []string{"192.0.2.7"}, []string{"2001:db8::1"}, "2001:db8::1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := newEdge(t, func(c *server.Config) { c.TrustedProxies = tt.trusted })
			r := signed(t, here, body)
			if tt.forwarded != nil {
				r.Header["X-Forwarded-For"] = tt.forwarded
			}
			if got := read(t, direct(e, r)); got.status != http.StatusOK {
				t.Fatalf("answer = %+v", got)
			}
			if got := e.calls[0].SourceIP; got != tt.want {
				t.Errorf("SourceIP = %q, want %q", got, tt.want)
			}
		})
	}
	cfg := newEdge(t).cfg
	cfg.TrustedProxies = []string{"proxy.example"}
	if _, err := server.New(cfg); err == nil {
		t.Error("New accepts a trusted proxy by name")
	}
}
