package server_test

import (
	"crypto/tls"
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
		{"[::1]attacker.example", false},
		{"[::1", false},
		{"[fe80::1%attacker.example]", false},
		{"localhost..", false},
		{"127.0.0.1.", true},
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
		{"text in a zone", []string{"192.0.2.7"}, []string{"fe80::1%\"}] any text"}, "fe80::1"},
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

// Whether a request came over TLS is what this server saw, or what a trusted proxy
// says last.
func TestSecure(t *testing.T) {
	for _, tt := range []struct {
		name    string
		trusted []string
		tls     bool
		said    []string
		want    bool
	}{
		{"TLS", nil, true, nil, true},
		{"plain", nil, false, nil, false},
		{"said by a stranger", nil, false, []string{"https"}, false},
		{"said by another", []string{"198.51.100.1"}, false, []string{"https"}, false},
		{"said by a proxy", []string{"192.0.2.7"}, false, []string{"https"}, true},
		{"plain at the proxy", []string{"192.0.2.7"}, false, []string{"http"}, false},
		{"forged by the client", []string{"192.0.2.7"}, false, []string{"https, http"}, false},
		{"forged in a header of its own", []string{"192.0.2.7"}, false, []string{"https", "http"}, false},
		{"proxy says nothing", []string{"192.0.2.7"}, false, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := newEdge(t, func(c *server.Config) { c.TrustedProxies = tt.trusted })
			r := signed(t, here, body)
			if tt.said != nil {
				r.Header["X-Forwarded-Proto"] = tt.said
			}
			if tt.tls {
				r.TLS = &tls.ConnectionState{Version: tls.VersionTLS13}
			}
			if got := read(t, direct(e, r)); got.status != http.StatusOK {
				t.Fatalf("answer = %+v", got)
			}
			if got := e.calls[0].Secure; got != tt.want {
				t.Errorf("Secure = %v, want %v", got, tt.want)
			}
		})
	}
}

// TestTargets sends request targets that are more than the path that is signed.
func TestTargets(t *testing.T) {
	e := newEdge(t)
	rn := run(t, e, nil, nil)
	host := strings.TrimPrefix(rn.url, "http://")
	tests := []struct {
		name, target string
		status       string
	}{
		{"path", "/", "200"},
		{"absolute", "http://" + host + "/", "200"},
		{"absolute without a path", "http://" + host, "200"},
		{"another host", "http://attacker.example/", "421"},
		{"opaque", "http:anything", "400"},
		{"user", "http://somebody@" + host + "/", "400"},
		{"other path", "/x", "404"},
		{"path that resolves to the root", "/x/..", "404"},
		{"empty segment", "//", "404"},
		{"escaped slash", "/%2f", "404"},
		{"fragment", "/#x", "404"},
		{"question mark alone", "/?", "200"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e.mu.Lock()
			e.calls = nil
			e.mu.Unlock()
			r := signed(t, rn.url, body)
			var head strings.Builder
			r.Header.Set("Connection", "close")
			if err := r.Header.Write(&head); err != nil {
				t.Fatal(err)
			}
			got := raw(t, rn, "POST "+tt.target+" HTTP/1.1\r\nHost: "+host+"\r\nContent-Length: 17\r\n"+head.String()+"\r\n"+body, false)
			if !strings.HasPrefix(got, "HTTP/1.1 "+tt.status) {
				t.Errorf("answer = %q, want %s", got, tt.status)
			}
			e.mu.Lock()
			defer e.mu.Unlock()
			if called := len(e.calls) == 1; called != (tt.status == "200") {
				t.Errorf("%d calls", len(e.calls))
			}
		})
	}
}

// TestProfilesUnderOtherNames makes sure that no page in a browser reads profiles by
// a name of its own, and that probes may use any name.
func TestProfilesUnderOtherNames(t *testing.T) {
	rn := run(t, newEdge(t), nil, nil)
	for _, tt := range []struct {
		path, host, origin string
		status             int
	}{
		{"/debug/pprof/cmdline", "127.0.0.1", "", 200},
		{"/debug/pprof/cmdline", "localhost:9100", "", 200},
		{"/debug/pprof/cmdline", "attacker.example", "", 421},
		{"/debug/pprof/cmdline", "127.0.0.1", "http://attacker.example", 403},
		{"/readyz", "arca.monitoring.svc", "", 200},
	} {
		r := mustRequest(t, "GET", rn.ops+tt.path)
		r.Host = tt.host
		if tt.origin != "" {
			r.Header.Set("Origin", tt.origin)
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if got := read(t, res); got.status != tt.status {
			t.Errorf("%s as %s from %q = %+v, want %d", tt.path, tt.host, tt.origin, got, tt.status)
		}
	}
}

// TestAddedHeaders adds lines to the header of a signed request, as whoever stands
// between client and server can. No operation runs for a request that could be read
// in two ways.
func TestAddedHeaders(t *testing.T) {
	e := newEdge(t)
	rn := run(t, e, nil, nil)
	host := strings.TrimPrefix(rn.url, "http://")
	tests := []struct {
		name, lines string
		ok          bool
	}{
		{"nothing", "", true},
		{"target again", "X-Amz-Target: " + target, false},
		{"target again in other case", "x-AMZ-target: secretsmanager.DeleteSecret", false},
		{"empty target", "X-Amz-Target:", false},
		{"target with a space before the colon", "X-Amz-Target : secretsmanager.DeleteSecret", false},
		{"date again", "X-Amz-Date: 20300101T000000Z", false},
		{"two other dates", "Date: x\r\nDate: y", false},
		{"unsigned x-amz header", "X-Amz-Anything: x", false},
		{"unsigned session token", "X-Amz-Security-Token: x", false},
		{"unsigned payload", "X-Amz-Content-Sha256: UNSIGNED-PAYLOAD", false},
		{"user agent that SDKs do not sign", "X-Amz-User-Agent: x", true},
		{"authorization again", "Authorization: AWS4-HMAC-SHA256 x", false},
		{"content type again", "Content-Type: application/x-www-form-urlencoded", false},
		{"host again", "Host: " + host, false},
		{"length again", "Content-Length: 3", false},
		{"chunked as well", "Transfer-Encoding: chunked", false},
		{"another coding", "Transfer-Encoding: gzip", false},
		{"chunked by another name", "Transfer-Encoding: xchunked", false},
		{"folded line", "X-Other: a\r\n X-Amz-Target: b", true},
		{"name with a control character", "X-Amz-\x00Target: b", false},
		{"value with a line feed alone", "X-Other: a\nX-Amz-Target: b", false},
		{"underscore", "X_Amz_Target: secretsmanager.DeleteSecret", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e.mu.Lock()
			e.calls = nil
			e.mu.Unlock()
			r := signed(t, rn.url, body)
			var head strings.Builder
			if err := r.Header.Write(&head); err != nil {
				t.Fatal(err)
			}
			lines := head.String()
			if tt.lines != "" {
				lines += tt.lines + "\r\n"
			}
			got := raw(t, rn, "POST / HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\nContent-Length: 17\r\n"+lines+"\r\n"+body,
				strings.HasPrefix(tt.lines, "Transfer-Encoding")) // no chunk ends
			e.mu.Lock()
			defer e.mu.Unlock()
			if called := len(e.calls) == 1; called != tt.ok || called != strings.HasPrefix(got, "HTTP/1.1 200") {
				t.Errorf("%d calls, answer %q", len(e.calls), got)
			}
		})
	}
}
