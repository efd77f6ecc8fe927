package egress_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"arca/internal/egress"
	"arca/internal/oidctest"
)

const small = 1 << 10

func TestGet(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s", r.Method, r.Proto, r.Header.Get("User-Agent"))
	})
	mux.HandleFunc("/exact", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("x", small)) })
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("x", small+1)) })
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ok", http.StatusFound) })
	mux.HandleFunc("/gone", http.NotFound)
	mux.HandleFunc("/header", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 64<<10)) })
	server := httptest.NewTLSServer(mux)
	t.Cleanup(server.Close)
	roots := server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	c := egress.New(egress.Config{AllowLoopback: true, RootCAs: roots})

	for _, tc := range []struct {
		name, path string
		want       string // beginning of the answer
		err        error  // nil means any when want is empty
	}{
		{"an answer", "/ok", "GET HTTP/1.1 arca", nil},
		{"one that just fits", "/exact", "xxx", nil},
		{"one that does not", "/large", "", egress.ErrTooLarge},
		{"a redirect", "/away", "", egress.ErrRedirect},
		{"a large header", "/header", "", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			body, _, err := c.Get(t.Context(), server.URL+tc.path, small, egress.Options{})
			if tc.want != "" {
				if err != nil || !strings.HasPrefix(string(body), tc.want) {
					t.Errorf("Get = %q, %v, want %q…", body, err, tc.want)
				}
				return
			}
			if err == nil || tc.err != nil && !errors.Is(err, tc.err) {
				t.Errorf("Get = %q, %v, want error %v", body, err, tc.err)
			}
		})
	}
	_, _, err := c.Get(t.Context(), server.URL+"/gone", small, egress.Options{})
	if status, ok := errors.AsType[*egress.StatusError](err); !ok || status.Code != 404 {
		t.Errorf("Get of what is not there: %v, want status 404", err)
	}
	closed := egress.New(egress.Config{RootCAs: roots})
	if _, _, err := closed.Get(t.Context(), server.URL+"/ok", small, egress.Options{}); !errors.Is(err, egress.ErrRefused) {
		t.Errorf("Get from loopback: %v, want ErrRefused", err)
	}
	byName := strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	if _, _, err := closed.Get(t.Context(), byName+"/ok", small, egress.Options{}); !errors.Is(err, egress.ErrRefused) {
		t.Errorf("Get from a name of loopback: %v, want ErrRefused", err)
	}
}

func TestCheckURL(t *testing.T) {
	c := egress.New(egress.Config{AllowLoopback: true})
	for _, bad := range []string{
		"", "https://", "https:///path", "http://issuer.example/", "ftp://issuer.example/", "issuer.example", "//issuer.example/",
		"https://user@issuer.example/", "https://user:secret@issuer.example/", "https://issuer.example/#there", "https:issuer.example",
		"https://issuer.example/" + strings.Repeat("x", 2048), "https://issuer.example/%zz", "https://[::1/", "file:///etc/passwd",
	} {
		if err := egress.CheckURL(bad); !errors.Is(err, egress.ErrURL) {
			t.Errorf("CheckURL(%.60q) = %v, want ErrURL", bad, err)
		}
		if _, _, err := c.Get(t.Context(), bad, small, egress.Options{}); !errors.Is(err, egress.ErrURL) {
			t.Errorf("Get(%.60q) = %v, want ErrURL", bad, err)
		}
	}
	for _, good := range []string{"https://issuer.example", "https://issuer.example:8443/a/b?c=d", "https://[2606:4700::1111]/"} {
		if err := egress.CheckURL(good); err != nil {
			t.Errorf("CheckURL(%q) = %v, want nil", good, err)
		}
	}
}

// TestHTTPOnlyHTTPS: a caller that builds his own request gets no further.
func TestHTTPOnlyHTTPS(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(server.Close)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := egress.New(egress.Config{AllowLoopback: true}).HTTP(egress.Options{}).Do(req)
	if err == nil {
		resp.Body.Close()
	}
	if !errors.Is(err, egress.ErrURL) || asked.Load() != 0 {
		t.Errorf("plain HTTP: error %v, %d requests; want ErrURL and none", err, asked.Load())
	}
}

// TestNoProxy: the environment cannot put somebody in between.
func TestNoProxy(t *testing.T) {
	var asked atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(proxy.Close)
	u, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("HTTPS_PROXY", u.String())
	_, _, err = egress.New(egress.Config{}).Get(t.Context(), "https://198.51.100.7/", small, egress.Options{Timeout: time.Second})
	if !errors.Is(err, egress.ErrRefused) || asked.Load() != 0 {
		t.Errorf("Get with a proxy in the environment: %v, proxy asked %d times; want ErrRefused and never", err, asked.Load())
	}
}

func TestTimeout(t *testing.T) {
	issuer := oidctest.New(t)
	issuer.Answer(oidctest.Hang, oidctest.Good)
	c := egress.New(egress.Config{AllowLoopback: true, RootCAs: issuer.Authority.Roots()})
	const where = "/.well-known/openid-configuration"
	start := time.Now()
	if _, _, err := c.Get(t.Context(), issuer.URL+where, small, egress.Options{Timeout: 50 * time.Millisecond}); err == nil {
		t.Error("Get from a server that hangs = nil error")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := c.Get(ctx, issuer.URL+where, small, egress.Options{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Get with a context that ends: %v", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("both took %v", took)
	}
}

func TestThumbprints(t *testing.T) {
	for _, tc := range []struct {
		name   string
		server oidctest.Certificate
		known  bool // the authority is in the pool
		print  string
		ok     bool
	}{
		{"an authority that is known", oidctest.Certificate{}, true, "", true},
		{"one that is not", oidctest.Certificate{}, false, "", false},
		{"its thumbprint", oidctest.Certificate{}, false, "authority", true},
		{"its thumbprint in capitals", oidctest.Certificate{}, false, "AUTHORITY", true},
		{"another thumbprint", oidctest.Certificate{}, false, strings.Repeat("0", 40), false},
		{"another thumbprint, authority known", oidctest.Certificate{}, true, strings.Repeat("0", 40), true},
		{"a certificate that has expired", oidctest.Certificate{Expired: true}, true, "", false},
		{"thumbprint, expired", oidctest.Certificate{Expired: true}, false, "authority", false},
		{"another host", oidctest.Certificate{OtherHost: true}, true, "", false},
		{"thumbprint, another host", oidctest.Certificate{OtherHost: true}, false, "authority", false},
		{"thumbprint of what is not sent", oidctest.Certificate{Bare: true}, false, "authority", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			issuer := oidctest.Start(t, tc.server)
			cfg := egress.Config{AllowLoopback: true, RootCAs: oidctest.New(t).Authority.Roots()} // somebody else's
			if tc.known {
				cfg.RootCAs = issuer.Authority.Roots()
			}
			var o egress.Options
			text := strings.Replace(tc.print, "authority", issuer.Authority.Thumbprint(), 1)
			text = strings.Replace(text, "AUTHORITY", strings.ToUpper(issuer.Authority.Thumbprint()), 1)
			if p, ok := egress.ParseThumbprint(text); ok {
				o.Thumbprints = append(o.Thumbprints, p)
			} else if tc.print != "" {
				t.Fatalf("ParseThumbprint(%q) is false", text)
			}
			_, _, err := egress.New(cfg).Get(t.Context(), issuer.URL+"/keys", 64<<10, o)
			if tc.ok && err != nil || !tc.ok && !errors.Is(err, egress.ErrCertificate) {
				t.Errorf("Get: %v, want success %v or ErrCertificate", err, tc.ok)
			}
		})
	}
}

// TestSelfSigned: a server that vouches for itself is accepted by its thumbprint, and
// only for the names and time that its certificate has.
func TestSelfSigned(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	print := egress.ThumbprintOf(server.Certificate().Raw)
	cfg := egress.Config{AllowLoopback: true, RootCAs: oidctest.New(t).Authority.Roots()}
	get := func(cfg egress.Config, where string) error {
		_, _, err := egress.New(cfg).Get(t.Context(), where, small, egress.Options{Thumbprints: []egress.Thumbprint{print}})
		return err
	}
	if err := get(cfg, server.URL); err != nil {
		t.Errorf("Get from a server that signed itself: %v", err)
	}
	if err := get(cfg, strings.Replace(server.URL, "127.0.0.1", "localhost", 1)); !errors.Is(err, egress.ErrCertificate) {
		t.Errorf("Get under a name its certificate lacks: %v, want ErrCertificate", err)
	}
	cfg.Now = func() time.Time { return server.Certificate().NotAfter.Add(time.Second) }
	if err := get(cfg, server.URL); !errors.Is(err, egress.ErrCertificate) {
		t.Errorf("Get after its end: %v, want ErrCertificate", err)
	}
}

func TestParseThumbprint(t *testing.T) {
	for _, bad := range []string{"", "00", strings.Repeat("0", 39), strings.Repeat("0", 41), strings.Repeat("g", 40), strings.Repeat("0", 38) + "0x"} {
		if _, ok := egress.ParseThumbprint(bad); ok {
			t.Errorf("ParseThumbprint(%q) = true", bad)
		}
	}
}
