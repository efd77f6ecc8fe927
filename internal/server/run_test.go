package server_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"arca/internal/call"
	"arca/internal/server"
)

// running is an edge on a real listener.
type running struct {
	*edge
	url  string
	ops  string
	stop context.CancelFunc
	done chan error
}

// run serves until the test ends.
func run(t testing.TB, e *edge, cert *server.Certificate, ready func(context.Context) error) *running {
	t.Helper()
	listen := func() net.Listener {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return ln
	}
	api, ops := listen(), listen()
	if ready == nil {
		ready = func(context.Context) error { return nil }
	}
	ctx, cancel := context.WithCancel(context.Background())
	rn := &running{edge: e, url: "http://" + api.Addr().String(), ops: "http://" + ops.Addr().String(), stop: cancel, done: make(chan error, 1)}
	if cert != nil {
		rn.url = "https://" + api.Addr().String()
	}
	handler := server.NewOps(server.OpsConfig{Ready: ready, Metrics: http.NotFoundHandler()})
	go func() {
		rn.done <- e.Run(ctx, server.RunConfig{API: api, Certificate: cert, Ops: ops, OpsHandler: handler, Drain: 2 * time.Second})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-rn.done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	return rn
}

// certificate writes a self-signed pair and returns its serial number.
func certificate(t testing.TB, certFile, keyFile string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "arca"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(path, kind string, der []byte) {
		if path == "" {
			return
		}
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(certFile, "CERTIFICATE", der)
	write(keyFile, "PRIVATE KEY", pkcs8)
}

func openCertificate(t testing.TB) (c *server.Certificate, certFile, keyFile string) {
	t.Helper()
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certificate(t, certFile, keyFile, 1)
	c, err := server.OpenCertificate(certFile, keyFile, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return c, certFile, keyFile
}

// TestSDK lets the Go SDK talk to the edge over every protocol it serves.
func TestSDK(t *testing.T) {
	protocols := func(set func(*http.Protocols)) *http.Transport {
		tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Protocols: &http.Protocols{}}
		set(tr.Protocols)
		return tr
	}
	cert, _, _ := openCertificate(t)
	plain, secure := run(t, newEdge(t), nil, nil), run(t, newEdge(t), cert, nil)
	tests := []struct {
		name      string
		server    *running
		transport *http.Transport
		tls       bool
	}{
		{"HTTP/1.1", plain, protocols(func(p *http.Protocols) { p.SetHTTP1(true) }), false},
		{"HTTP/2 in the clear", plain, protocols(func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }), false},
		{"HTTP/1.1 over TLS", secure, protocols(func(p *http.Protocols) { p.SetHTTP1(true) }), true},
		{"HTTP/2", secure, protocols(func(p *http.Protocols) { p.SetHTTP2(true) }), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			defer tt.transport.CloseIdleConnections()
			client := secretsmanager.New(secretsmanager.Options{
				Region: region, BaseEndpoint: aws.String(tt.server.url), RetryMaxAttempts: 1,
				Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return credentials(), nil }),
				HTTPClient:  &http.Client{Transport: tt.transport},
			})
			out, err := client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("db")})
			if err != nil || *out.SecretString != "value of db" {
				t.Fatalf("GetSecretValue = %v, %v", out, err)
			}
			_, err = client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("missing")})
			if _, ok := errors.AsType[*types.ResourceNotFoundException](err); !ok {
				t.Errorf("GetSecretValue of a missing secret = %v", err)
			}
			c := tt.server.calls[len(tt.server.calls)-1]
			want := &call.TLS{Version: "TLSv1.3"}
			if (c.TLS != nil) != tt.tls || tt.tls && (c.TLS.Version != want.Version || !strings.HasPrefix(c.TLS.CipherSuite, "TLS_")) {
				t.Errorf("call over %+v", c.TLS)
			}
		})
	}
}

// raw sends bytes and returns the answer's first line and the rest.
func raw(t *testing.T, rn *running, request string, halfClose bool) string {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(rn.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	if halfClose {
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	got, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("read: %v after %q", err, got)
	}
	return string(got)
}

// TestBadBodies sends bodies that are too large, cut off or slow, as bytes.
func TestBadBodies(t *testing.T) {
	e := newEdge(t, func(c *server.Config) {
		c.Limits = server.Limits{BodyBytes: 1000, ReadTimeout: 300 * time.Millisecond}
	})
	rn := run(t, e, nil, nil)
	head := "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-amz-json-1.1\r\nX-Amz-Target: " + target + "\r\n"
	big := strings.Repeat("x", 2000)
	tests := []struct {
		name, request string
		halfClose     bool
		status, text  string
	}{
		{"announced as too large", head + "Content-Length: 1000000000000\r\n\r\n", false, "413", `"__type":"RequestEntityTooLargeException","message":"The request is larger than 1000 bytes."`},
		{"too large", head + "Content-Length: 2000\r\n\r\n" + big, false, "413", "RequestEntityTooLargeException"},
		{"too large in chunks", head + "Transfer-Encoding: chunked\r\n\r\n7d0\r\n" + big + "\r\n0\r\n\r\n", false, "413", "RequestEntityTooLargeException"},
		{"cut off", head + "Content-Length: 20\r\n\r\n{", true, "400", "SerializationException"},
		{"cut off in a chunk", head + "Transfer-Encoding: chunked\r\n\r\n10\r\n{", true, "400", "SerializationException"},
		{"slow", head + "Content-Length: 20\r\n\r\n{", false, "408", "RequestTimeoutException"},
		{"bad chunk", head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n{", true, "400", "SerializationException"},
		{"no body, no signature", head + "Connection: close\r\nContent-Length: 0\r\n\r\n", false, "400", "MissingAuthenticationTokenException"},
		{"no target", "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: 2\r\n\r\n{}", false, "400", "UnknownOperationException"},
		{"other content type", "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", false, "404", "<UnknownOperationException/>"},
		{"GET", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", false, "404", "<UnknownOperationException/>"},
		{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", false, "404", "<UnknownOperationException/>"},
		{"health", "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", false, "200", "ok\n"},
		{"health over HTTP/1.0", "GET /healthz HTTP/1.0\r\n\r\n", false, "200", "ok\n"},
		{"large header", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + strings.Repeat("y", 80<<10) + "\r\n\r\n", false, "431", ""},
		{"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", true, "400", ""},
		{"no HTTP", "hello\r\n\r\n", true, "400", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := raw(t, rn, tt.request, tt.halfClose)
			if !strings.HasPrefix(got, "HTTP/1.1 "+tt.status) && !strings.HasPrefix(got, "HTTP/1.0 "+tt.status) || !strings.Contains(got, tt.text) {
				t.Errorf("answer = %q, want %s %s", got, tt.status, tt.text)
			}
		})
	}
	if len(e.calls) != 0 {
		t.Errorf("%d of the requests reached the dispatcher", len(e.calls))
	}
}

// TestBadBodiesHTTP2 does the same over one HTTP/2 connection, which must survive.
func TestBadBodiesHTTP2(t *testing.T) {
	e := newEdge(t, func(c *server.Config) {
		c.Limits = server.Limits{BodyBytes: 1000, ReadTimeout: 300 * time.Millisecond}
	})
	rn := run(t, e, nil, nil)
	tr := &http.Transport{Protocols: &http.Protocols{}}
	tr.Protocols.SetUnencryptedHTTP2(true)
	defer tr.CloseIdleConnections()
	endless, never := io.Pipe()
	defer func() { _ = never.Close() }()
	tests := []struct {
		name   string
		body   io.ReadCloser
		length int64
		status int
	}{
		{"announced as too large", io.NopCloser(io.LimitReader(zeros{}, 1<<20)), 1 << 20, 413},
		{"too large", io.NopCloser(io.LimitReader(zeros{}, 1<<20)), -1, 413},
		{"slow", endless, -1, 408},
		{"fine but unsigned", io.NopCloser(strings.NewReader("{}")), 2, 400},
	}
	var remote string
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := request(t, rn.url, "")
			r.Body, r.ContentLength = tt.body, tt.length
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
				if local := i.Conn.LocalAddr().String(); remote == "" {
					remote = local
				} else if remote != local {
					t.Error("the connection did not survive")
				}
			}})
			res, err := tr.RoundTrip(r.WithContext(ctx))
			if err != nil {
				t.Fatal(err)
			}
			if got := read(t, res); got.status != tt.status {
				t.Errorf("answer = %+v, want %d", got, tt.status)
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestSlowHeader makes sure that a connection that never says what it wants ends.
func TestSlowHeader(t *testing.T) {
	e := newEdge(t, func(c *server.Config) { c.Limits = server.Limits{HeaderTimeout: 200 * time.Millisecond} })
	rn := run(t, e, nil, nil)
	if got := raw(t, rn, "POST / HTTP/1.1\r\nHost:", false); strings.Contains(got, " 200 ") {
		t.Errorf("answer = %q", got)
	}
}

// TestNotIntoTheNextRequest makes sure that what follows a refused body is not
// taken for a request.
func TestNotIntoTheNextRequest(t *testing.T) {
	e := newEdge(t, func(c *server.Config) { c.Limits = server.Limits{BodyBytes: 10} })
	rn := run(t, e, nil, nil)
	got := raw(t, rn, "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n"+
		"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", true)
	if strings.Count(got, "HTTP/1.1 ") != 1 {
		t.Errorf("answers = %q, want one", got)
	}
}

// TestStopFinishesWhatIsInFlight stops the server while a call runs.
func TestStopFinishesWhatIsInFlight(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("h2=%v", h2), func(t *testing.T) {
			entered, release := make(chan bool), make(chan bool)
			e := newEdge(t)
			cfg := e.cfg
			cfg.Do = func(ctx context.Context, c *call.Call, in any) (any, error) {
				close(entered)
				<-release
				if ctx.Err() != nil {
					t.Error("the call was cancelled")
				}
				return e.do(ctx, c, in)
			}
			var err error
			if e.Server, err = server.New(cfg); err != nil {
				t.Fatal(err)
			}
			rn := run(t, e, nil, nil)
			tr := &http.Transport{Protocols: &http.Protocols{}}
			tr.Protocols.SetHTTP1(!h2)
			tr.Protocols.SetUnencryptedHTTP2(h2)
			defer tr.CloseIdleConnections()
			res := make(chan string)
			go func() {
				r, err := tr.RoundTrip(signed(t, rn.url, body))
				if err != nil {
					res <- err.Error()
					return
				}
				res <- read(t, r).body
			}()
			<-entered
			rn.stop()
			for {
				r, err := http.Get(rn.ops + "/readyz")
				if err != nil {
					t.Fatalf("ops listener closed before the API was done: %v", err)
				}
				if a := read(t, r); a.status == http.StatusServiceUnavailable && a.body == "stopping\n" {
					break
				}
			}
			// The listener goes a moment after readiness does.
			for until := time.Now().Add(10 * time.Second); healthy(rn.url); {
				if time.Now().After(until) {
					t.Error("a stopping server takes new requests")
					break
				}
			}
			close(release)
			if got := <-res; !strings.Contains(got, "value of db") {
				t.Errorf("answer = %s", got)
			}
		})
	}
}

// healthy reports whether somebody answers a new connection. One that the kernel
// accepted and nobody looks at does not count.
func healthy(base string) bool {
	conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	_, _ = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
	line, _ := bufio.NewReader(conn).ReadString('\n')
	return strings.Contains(line, " 200 ")
}

// TestStopEnds cuts a call off that does not end by itself.
func TestStopEnds(t *testing.T) {
	entered := make(chan bool)
	e := newEdge(t)
	cfg := e.cfg
	cfg.Do = func(ctx context.Context, _ *call.Call, _ any) (any, error) {
		close(entered)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	var err error
	if e.Server, err = server.New(cfg); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx, server.RunConfig{API: ln, Drain: 50 * time.Millisecond}) }()
	go func() {
		if res, err := http.DefaultTransport.RoundTrip(signed(t, "http://"+ln.Addr().String(), body)); err == nil {
			_ = res.Body.Close()
		}
	}()
	<-entered
	cancel()
	if err := <-done; err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("Run = %v, want it to say what it cut off", err)
	}
}

func TestRunEndsWhenAListenerBreaks(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if err := newEdge(t).Run(t.Context(), server.RunConfig{API: ln}); err == nil || !strings.Contains(err.Error(), "serve API listener") {
		t.Errorf("Run = %v", err)
	}
}

func TestOps(t *testing.T) {
	why := make(chan error, 2)
	why <- errors.New("store is not open")
	why <- nil
	rn := run(t, newEdge(t), nil, func(context.Context) error { return <-why })
	for _, tt := range []struct {
		path string
		want answer
	}{
		{"/healthz", answer{200, "text/plain; charset=utf-8", "ok\n"}},
		{"/readyz", answer{503, "text/plain; charset=utf-8", "not ready: store is not open\n"}},
		{"/readyz", answer{200, "text/plain; charset=utf-8", "ready\n"}},
		{"/", answer{404, "text/plain; charset=utf-8", "404 page not found\n"}},
	} {
		res, err := http.Get(rn.ops + tt.path)
		if err != nil {
			t.Fatal(err)
		}
		if got := read(t, res); got != tt.want {
			t.Errorf("GET %s = %+v, want %+v", tt.path, got, tt.want)
		}
	}
}

func TestCertificateIsReloaded(t *testing.T) {
	cert, certFile, keyFile := openCertificate(t)
	serial := func() int64 {
		pair, err := server.Current(cert)
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf.SerialNumber.Int64()
	}
	steps := func(want int64, when string) {
		t.Helper()
		for range 3 {
			cert.Step()
		}
		if got := serial(); got != want {
			t.Errorf("serial after %s = %d, want %d", when, got, want)
		}
	}
	steps(1, "nothing")
	certificate(t, certFile, keyFile, 2)
	cert.Step()
	if got := serial(); got != 1 {
		t.Errorf("serial = %d: taken at first sight, perhaps half written", got)
	}
	steps(2, "replacing both")
	certificate(t, certFile, "", 3)
	steps(2, "replacing the certificate alone")
	certificate(t, certFile, keyFile, 4)
	steps(4, "replacing the key, too")
	if err := os.Remove(keyFile); err != nil {
		t.Fatal(err)
	}
	steps(4, "removing the key")
	certificate(t, certFile, keyFile, 5)
	steps(5, "bringing it back")
	if err := os.WriteFile(certFile, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	steps(5, "nonsense")
}

// TestCertificateThatKeepsChanging is never taken.
func TestCertificateThatKeepsChanging(t *testing.T) {
	cert, certFile, keyFile := openCertificate(t)
	for i := range int64(5) {
		certificate(t, certFile, keyFile, 10+i)
		cert.Step()
		if pair, err := server.Current(cert); err != nil || pair.Leaf.SerialNumber.Int64() != 1 {
			t.Errorf("certificate %v taken while its files were changing (%v)", pair.Leaf.SerialNumber, err)
		}
	}
}

func TestOpenCertificateRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := server.OpenCertificate(filepath.Join(dir, "a"), filepath.Join(dir, "b"), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("OpenCertificate opens nothing")
	}
}
