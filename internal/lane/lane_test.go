package lane_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	cryptorand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"arca/internal/lane"
)

// served is a lane with net/http behind it.
type served struct {
	*lane.Server
	addr   string
	handed atomic.Int32 // connections that went to net/http
	ended  atomic.Int32 // connections that ended in the lane
	log    syncBuffer
	done   chan error
}

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

func behind(h http.Handler, c lane.Config) *http.Server {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: c.HeaderTimeout, ReadTimeout: c.ReadTimeout, WriteTimeout: c.WriteTimeout,
		IdleTimeout: c.IdleTimeout, ErrorLog: c.ErrorLog, Protocols: &http.Protocols{}}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	return srv
}

func config(h http.Handler) lane.Config {
	return lane.Config{
		Handler: h, Context: context.Background(), ErrorLog: log.New(io.Discard, "", 0), Closed: func() {},
		HeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: 10 * time.Second,
	}
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// serve runs a lane until the test ends.
func serve(t testing.TB, h http.Handler, change ...func(*lane.Config)) *served {
	t.Helper()
	s := &served{done: make(chan error, 1)}
	cfg := config(h)
	cfg.Closed = func() { s.ended.Add(1) }
	cfg.ErrorLog = log.New(&s.log, "", 0)
	for _, f := range change {
		f(&cfg)
	}
	var err error
	if s.Server, err = lane.New(cfg); err != nil {
		t.Fatal(err)
	}
	srv := behind(h, cfg)
	srv.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.handed.Add(1)
		}
	}
	ln := listen(t)
	s.addr = ln.Addr().String()
	go func() { s.done <- s.Serve(ln) }()
	go func() { _ = srv.Serve(s.Others()) }()
	t.Cleanup(func() { _, _ = s.Close(), srv.Close() })
	return s
}

// TestWiped makes sure that nothing of a request or an answer is left in the buffers
// when the next request is waited for.
func TestWiped(t *testing.T) {
	s, err := lane.New(config(http.HandlerFunc(behave)))
	if err != nil {
		t.Fatal(err)
	}
	ln := listen(t)
	done := make(chan error, 1)
	go func() { done <- s.Serve(&watched{ln, t}) }()
	got := say(t, ln.Addr().String(), post("a secret"), post("another", "X-Do: undeclared\r\n"), post("long "+strings.Repeat("secret", 1000)), post("x")+post("y"), post("z"))
	if strings.Count(got, "200 OK") != 6 {
		t.Errorf("answers = %.1000q", got)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	<-done
}

// watched looks at the buffers whenever a connection is read from.
type watched struct {
	net.Listener
	t testing.TB
}

func (w *watched) Accept() (net.Conn, error) {
	c, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &watchedConn{Conn: c, t: w.t}, nil
}

type watchedConn struct {
	net.Conn
	t     testing.TB
	wrote []byte
}

func (c *watchedConn) Write(b []byte) (int, error) {
	if bytes.HasPrefix(b, []byte("HTTP/1.1 ")) { // others are the handler's
		c.wrote = b
	}
	return c.Conn.Write(b)
}

func (c *watchedConn) Read(b []byte) (int, error) {
	if text := bytes.Trim(b, "\x00"); len(b) == 4<<10 && len(text) > 0 { // the whole buffer
		c.t.Errorf("%q is left in the buffer of requests", text)
	}
	if text := bytes.Trim(c.wrote, "\x00"); len(text) > 0 {
		c.t.Errorf("%q is left in the buffer of answers", text)
	}
	return c.Conn.Read(b)
}

// say sends text in pieces and returns all that comes back until the end of the
// connection, which the client half closes.
func say(t testing.TB, addr string, pieces ...string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	for i, p := range pieces {
		if i > 0 {
			time.Sleep(5 * time.Millisecond)
		}
		if _, err := io.WriteString(conn, p); err != nil {
			t.Fatal(err)
		}
	}
	_ = conn.(*net.TCPConn).CloseWrite()
	got, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("read: %v after %q", err, got)
	}
	return string(got)
}

func post(body string, fields ...string) string {
	return fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\n%sContent-Length: %d\r\n\r\n%s", strings.Join(fields, ""), len(body), body)
}

var date = regexp.MustCompile(`\r\nDate: [^\r]*`)

// behave is a handler that does what the body asks for.
func behave(w http.ResponseWriter, r *http.Request) {
	what := r.Header.Get("X-Do")
	if what == "ignore the body" {
		w.Header().Set("Content-Length", "2")
		_, _ = io.WriteString(w, "no")
		return
	}
	body, err := io.ReadAll(r.Body)
	h := w.Header()
	switch what {
	case "":
		h["x-amzn-RequestId"] = []string{"9b1deb4d"}
		h["Content-Type"] = []string{"application/x-amz-json-1.1"}
		h["Content-Length"] = []string{fmt.Sprint(len(body))}
		_, _ = w.Write(body)
	case "nothing":
	case "status alone":
		w.WriteHeader(500)
	case "odd status":
		w.WriteHeader(299)
		_, _ = io.WriteString(w, "odd")
	case "no content":
		h.Set("Content-Length", "3")
		w.WriteHeader(204)
		_, _ = io.WriteString(w, "abc")
	case "not modified":
		h.Set("Content-Type", "text/plain")
		w.WriteHeader(304)
	case "undeclared":
		_, _ = io.WriteString(w, "some ")
		_, _ = io.WriteString(w, "text")
	case "sniffed":
		h.Set("Content-Length", "6")
		_, _ = io.WriteString(w, "<html>")
	case "encoded":
		h.Set("Content-Encoding", "gzip")
		_, _ = io.WriteString(w, "xx")
	case "in pieces":
		h.Set("Content-Length", fmt.Sprint(3*5000))
		for _, c := range "abc" {
			_, _ = io.WriteString(w, strings.Repeat(string(c), 5000))
		}
	case "large":
		h.Set("Content-Length", "100000")
		_, _ = w.Write(bytes.Repeat([]byte("x"), 100_000))
	case "too much":
		h.Set("Content-Length", "3")
		_, _ = io.WriteString(w, "abc")
		if _, err := io.WriteString(w, "d"); !errors.Is(err, http.ErrContentLength) {
			panic(err)
		}
	case "too little":
		h.Set("Content-Length", "30")
		_, _ = io.WriteString(w, "abc")
	case "close":
		h.Set("Connection", "close")
		h.Set("Content-Length", "1")
		_, _ = io.WriteString(w, "c")
	case "odd fields":
		h["X-Split"] = []string{"a\r\nInjected: b", " spaces "}
		h["Bad Name"] = []string{"v"}
		h["Lower"] = []string{"1", "2"}
		h["Date"] = []string{"today"}
		_, _ = io.WriteString(w, "x")
	case "two answers":
		w.WriteHeader(400)
		w.WriteHeader(200)
		h.Set("Too-Late", "x")
		_, _ = io.WriteString(w, "once")
	case "error":
		_, _ = fmt.Fprintf(w, "%v %v", errors.Is(err, io.ErrUnexpectedEOF), len(body))
	case "closed body":
		_ = r.Body.Close()
		_, err := r.Body.Read(make([]byte, 1))
		_, _ = fmt.Fprint(w, err)
	case "panic":
		panic("a secret")
	case "abort":
		panic(http.ErrAbortHandler)
	case "echo":
		_, _ = fmt.Fprintf(w, "%v %q", look(r), body)
	}
}

// TestAnswers compares every answer with that of net/http, byte for byte but for the
// date, and what becomes of the connection: a second request follows the first.
func TestAnswers(t *testing.T) {
	h := http.HandlerFunc(behave)
	fast := serve(t, h)
	ln := listen(t)
	slow := behind(h, config(h))
	slow.ErrorLog = log.New(io.Discard, "", 0)
	go func() { _ = slow.Serve(ln) }()
	t.Cleanup(func() { _ = slow.Close() })
	second := post("second")
	do := func(what string) string { return post("body", "X-Do: "+what+"\r\n") + second }
	tests := map[string][]string{
		"plain":                 {post("first") + second},
		"empty":                 {post("") + second},
		"large body":            {post(strings.Repeat("y", 100_000)) + second},
		"large body left":       {post(strings.Repeat("y", 100_000), "X-Do: ignore the body\r\n") + second},
		"larger body":           {post(strings.Repeat("y", 300_000)) + second},
		"larger body left":      {"POST / HTTP/1.1\r\nHost: a\r\nX-Do: ignore the body\r\nContent-Length: 300000\r\n\r\n"},
		"cut off":               {"POST / HTTP/1.1\r\nHost: a\r\nX-Do: error\r\nContent-Length: 9\r\n\r\nabc"},
		"cut off and ignored":   {"POST / HTTP/1.1\r\nHost: a\r\nX-Do: ignore the body\r\nContent-Length: 9\r\n\r\nabc"},
		"cut off in the header": {"POST / HTTP/1.1\r\nHost: a\r\nX"},
		"newlines between":      {post("first") + "\r\n\r\n" + second},
		"many newlines between": {post("first") + "\r\n\r\n\r\n" + second},
		"GET after":             {post("first") + "GET / HTTP/1.1\r\nHost: a\r\n\r\n" + second},
		"chunks after":          {post("first") + "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n" + second},
		"nonsense after":        {post("first") + "nonsense\r\n\r\n" + second},
		"two lengths":           {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc" + second},
		"length and chunks":     {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second},
		"HTTP/1.0":              {"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nab"},
		"close":                 {post("first", "Connection: close\r\n") + second},
		"request":               {post("first", "X-Do: echo\r\nx-a: 1\r\nX-A: 2\r\n") + second},
		"in pieces":             {"PO", "ST / HTTP/1.1\r\nHo", "st: a\r\nContent-Length: 4\r", "\n\r", "\nbo", "dy" + second[:20], second[20:]},
		"byte by byte":          strings.Split("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab", ""),
		"expectation":           {"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab" + second},
		"many fields":           {post("a", strings.Repeat("X: y\r\n", 100)) + second},
		"many bytes":            {post("a", "X: "+strings.Repeat("y", 20_000)+"\r\n") + second},
		"nothing at all":        {""},
	}
	for _, what := range []string{"nothing", "status alone", "odd status", "no content", "not modified", "undeclared", "sniffed", "encoded",
		"in pieces", "large", "too much", "too little", "close", "odd fields", "two answers", "closed body", "panic", "abort"} {
		tests["handler: "+what] = []string{do(what)}
	}
	for name, pieces := range tests {
		t.Run(name, func(t *testing.T) {
			got := date.ReplaceAllString(say(t, fast.addr, pieces...), "\r\nDate: x")
			want := date.ReplaceAllString(say(t, ln.Addr().String(), pieces...), "\r\nDate: x")
			if got != want {
				t.Errorf("lane answers\n%.600q\nnet/http\n%.600q", got, want)
			}
		})
	}
	if text := fast.log.String(); !strings.Contains(text, "panic serving") || strings.Contains(text, "a secret") {
		t.Errorf("log = %s", text)
	}
}

// TestServedHere makes sure that what SDKs send does not go to net/http.
func TestServedHere(t *testing.T) {
	s := serve(t, http.HandlerFunc(behave))
	if got := say(t, s.addr, strings.Repeat(usual+usualBody, 5)); strings.Count(got, usualBody) != 5 {
		t.Errorf("answers = %q", got)
	}
	until(t, "the connection ends", func() bool { return s.ended.Load() == 1 })
	if s.handed.Load() != 0 {
		t.Error("the connection was handed over")
	}
	if got := say(t, s.addr, usual+usualBody+"GET / HTTP/1.1\r\nHost: a\r\n\r\n"+usual+usualBody); strings.Count(got, "HTTP/1.1 200 OK") != 3 {
		t.Errorf("answers = %q", got)
	}
	if s.handed.Load() != 1 || s.ended.Load() != 1 {
		t.Errorf("%d connections were handed over and %d ended here, want 1 and 1", s.handed.Load(), s.ended.Load())
	}
}

// until waits for what happens soon.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// TestTimeouts makes sure that no connection lives on by being slow.
func TestTimeouts(t *testing.T) {
	var why atomic.Value
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			why.Store(err)
			w.WriteHeader(http.StatusRequestTimeout)
		}
	})
	soon := 100 * time.Millisecond
	s := serve(t, h, func(c *lane.Config) { c.HeaderTimeout, c.ReadTimeout, c.IdleTimeout = soon, soon, soon })
	for _, tt := range []struct{ name, text, want string }{
		{"silent", "", ""},
		{"half a header", "POST / HTTP/1.1\r\nHost:", ""},
		{"half a header after a request", post("") + "POST / HTTP/1.1\r\nHost:", "HTTP/1.1 200 OK"},
		{"half a body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na", "HTTP/1.1 408 Request Timeout"},
		{"idle", post(""), "HTTP/1.1 200 OK"},
		{"idle at net/http", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", s.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			_, _ = io.WriteString(conn, tt.text)
			got, err := io.ReadAll(conn)
			if err != nil || !strings.HasPrefix(string(got), tt.want) || tt.want == "" && len(got) > 0 {
				t.Errorf("answer = %q, %v, want %s", got, err, tt.want)
			}
		})
	}
	if err, _ := why.Load().(error); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the slow body ends with %v", err)
	}
}

// TestHandedOverLater makes sure that the timeouts of the requests served here do not
// stay with a connection.
func TestHandedOverLater(t *testing.T) {
	s := serve(t, http.HandlerFunc(behave), func(c *lane.Config) { c.WriteTimeout, c.ReadTimeout = time.Second, time.Second })
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	in := bufio.NewReader(conn)
	for i, text := range []string{post("a"), "GET / HTTP/1.1\r\nHost: a\r\n\r\n", post("b")} {
		if i == 1 {
			time.Sleep(1200 * time.Millisecond)
		}
		_, _ = io.WriteString(conn, text)
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
	}
}

func TestDeadlinesOfTheHandler(t *testing.T) {
	s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		if err := errors.Join(rc.SetWriteDeadline(time.Now().Add(time.Hour)), rc.SetReadDeadline(time.Now().Add(-time.Second))); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadAll(r.Body); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read past the deadline: %v", err)
		}
		_, _ = io.WriteString(w, "fine")
	}))
	if got := say(t, s.addr, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"); !strings.HasSuffix(got, "fine") || !strings.Contains(got, "Connection: close") {
		t.Errorf("answer = %q", got)
	}
}

// TestShutdown: what is between requests ends at once, what is busy is answered and
// told that the connection closes.
func TestShutdown(t *testing.T) {
	entered, release := make(chan bool), make(chan bool)
	s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 4 {
			entered <- true
			<-release
		}
		behave(w, r)
	}))
	dial := func(text string) net.Conn {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		_, _ = io.WriteString(conn, text)
		return conn
	}
	fresh, used, busy := dial(""), dial(post("")), dial(post("busy"))
	if _, err := http.ReadResponse(bufio.NewReader(used), nil); err != nil {
		t.Fatal(err)
	}
	<-entered
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown during a request = %v", err)
	}
	if err := <-s.done; !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Serve = %v", err)
	}
	for name, conn := range map[string]net.Conn{"fresh": fresh, "used": used} {
		if n, err := conn.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s connection: %d bytes", name, n)
		}
	}
	if conn, err := net.Dial("tcp", s.addr); err == nil {
		_ = conn.Close()
		t.Error("a connection was taken after Shutdown")
	}
	close(release)
	if got, err := io.ReadAll(busy); err != nil || !strings.Contains(string(got), "Connection: close\r\n") || !strings.HasSuffix(string(got), "busy") {
		t.Errorf("answer = %q, %v", got, err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown = %v", err)
	}
	if s.ended.Load() != 3 {
		t.Errorf("%d connections ended, want 3", s.ended.Load())
	}
}

// TestClose ends what does not end by itself, and the contexts of its requests.
func TestClose(t *testing.T) {
	entered, gone := make(chan bool), make(chan bool)
	s := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		entered <- true
		_, err := io.ReadAll(r.Body)
		gone <- err != nil
	}))
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n")
	<-entered
	if err := s.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if !<-gone {
		t.Error("the body came to an end")
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown = %v", err)
	}
}

func TestBrokenListener(t *testing.T) {
	ln := listen(t)
	_ = ln.Close()
	s, err := lane.New(config(http.NotFoundHandler()))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(ln); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve = %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	for name, change := range map[string]func(*lane.Config){
		"handler": func(c *lane.Config) { c.Handler = nil },
		"closed":  func(c *lane.Config) { c.Closed = nil },
		"timeout": func(c *lane.Config) { c.IdleTimeout = 0 },
	} {
		c := config(http.NotFoundHandler())
		change(&c)
		if _, err := lane.New(c); err == nil {
			t.Errorf("New without %s returns a server", name)
		}
	}
}

func selfSigned(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), cryptorand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(cryptorand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{NextProtos: []string{"h2", "http/1.1"}, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// TestTLS: HTTP/1.1 is served here whether or not the client names it, HTTP/2 and odd
// requests by net/http; both know that they came over TLS.
func TestTLS(t *testing.T) {
	s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s %v", r.Proto, r.TLS != nil && r.TLS.HandshakeComplete && r.TLS.Version == tls.VersionTLS13)
	}), func(c *lane.Config) { c.TLS = selfSigned(t) })
	for _, tt := range []struct {
		name   string
		protos []string
		text   string
		want   string
		handed int32
	}{
		{"named", []string{"http/1.1"}, post("a"), "HTTP/1.1 true", 0},
		{"not named", nil, post("a"), "HTTP/1.1 true", 0},
		{"odd", nil, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 true", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := s.handed.Load()
			conn, err := tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true, NextProtos: tt.protos})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			_, _ = io.WriteString(conn, tt.text)
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := io.ReadAll(res.Body)
			if string(got) != tt.want || s.handed.Load()-before != tt.handed {
				t.Errorf("answer = %q and %d handed over, want %q and %d", got, s.handed.Load()-before, tt.want, tt.handed)
			}
		})
	}
	t.Run("HTTP/2", func(t *testing.T) {
		tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Protocols: &http.Protocols{}}
		tr.Protocols.SetHTTP2(true)
		defer tr.CloseIdleConnections()
		res, err := (&http.Client{Transport: tr}).Post("https://"+s.addr, "text/plain", strings.NewReader("a"))
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := io.ReadAll(res.Body); string(got) != "HTTP/2.0 true" {
			t.Errorf("answer = %q", got)
		}
		_ = res.Body.Close()
	})
	t.Run("no TLS", func(t *testing.T) {
		if got := say(t, s.addr, post("a")); !strings.Contains(got, "Client sent an HTTP request to an HTTPS server.") {
			t.Errorf("answer = %q", got)
		}
	})
}
