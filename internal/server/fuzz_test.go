package server_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"arca/internal/call"
	"arca/internal/server"
)

// FuzzHandler sends whatever parses as HTTP. Nothing panics, nothing is answered
// with our own fault, and nothing unsigned reaches an operation but as nobody's.
func FuzzHandler(f *testing.F) {
	head := "POST / HTTP/1.1\r\nHost: 127.0.0.1:4566\r\nContent-Type: application/x-amz-json-1.1\r\nX-Amz-Target: " + target + "\r\n"
	r := signed(f, here, body)
	f.Add([]byte(head + "X-Amz-Date: " + r.Header.Get("X-Amz-Date") + "\r\nAuthorization: " + r.Header.Get("Authorization") + "\r\nContent-Length: 17\r\n\r\n" + body))
	f.Add([]byte(head + "Authorization: Bearer x\r\nContent-Length: 2\r\n\r\n{}"))
	f.Add([]byte(head + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"))
	f.Add([]byte("POST /?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a%2Fb&x-amz-target=" + target + "&X-Amz-Signature=0 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-amz-json-1.1\r\n\r\n"))
	f.Add([]byte("GET /%zz?%zz HTTP/1.1\r\nHost: [::1]\r\nOrigin: http://[::1\r\nX-Forwarded-For: ,,\r\n\r\n"))
	f.Add([]byte("OPTIONS * HTTP/1.1\r\nHost: localhost.\r\nSec-Fetch-Site: none\r\n\r\n"))
	query := "POST / HTTP/1.1\r\nHost: 127.0.0.1:4566\r\nContent-Type: " + form + "\r\n"
	r = signedForm(f, whoami, "sts", region, time.Now())
	f.Add([]byte(query + "X-Amz-Date: " + r.Header.Get("X-Amz-Date") + "\r\nAuthorization: " + r.Header.Get("Authorization") +
		fmt.Sprintf("\r\nContent-Length: %d\r\n\r\n%s", len(whoami), whoami)))
	f.Add([]byte(query + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(federal), federal)))
	f.Add([]byte("GET /?" + whoami + "&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0 HTTP/1.1\r\nHost: localhost\r\n\r\n"))
	e := newQueryEdge(f, func(_ *edge, c *server.Config) { c.TrustedProxies = []string{"192.0.2.0/24"} })
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			return
		}
		r.RemoteAddr = "192.0.2.7:1"
		e.log.Reset()
		w := httptest.NewRecorder()
		e.ServeHTTP(w, r)
		if w.Code >= 500 || strings.Contains(e.log.String(), "panicked") {
			t.Fatalf("answer %d %s to %q\n%s", w.Code, w.Body, b, e.log)
		}
		if len(e.calls) > 0 && !strings.Contains(string(b), "Signature=") && (e.calls[0].Caller.Type != call.Anonymous || !e.calls[0].Op.Unsigned) {
			t.Fatalf("a call without a signature: %q", b)
		}
		e.calls = nil
	})
}

// nothing is an http.ResponseWriter that keeps only its header.
type nothing struct{ h http.Header }

func (n nothing) Header() http.Header         { return n.h }
func (n nothing) Write(b []byte) (int, error) { return len(b), nil }
func (n nothing) WriteHeader(int)             {}

// BenchmarkGetSecretValue is the edge alone, without a socket or an operation.
func BenchmarkGetSecretValue(b *testing.B) {
	e := newEdge(b)
	cfg := e.cfg
	cfg.Do = e.do
	s, err := server.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	r := signed(b, here, body)
	in := httptest.NewRequestWithContext(context.Background(), "POST", "/", nil)
	in.Header, in.Host, in.ContentLength, in.RemoteAddr = r.Header, r.Host, int64(len(body)), "192.0.2.7:1"
	w := nothing{http.Header{}}
	b.ReportAllocs()
	start := time.Now()
	for b.Loop() {
		if time.Since(start) > 4*time.Minute {
			b.Fatal("the signature grows too old")
		}
		in.Body = fakeBody{strings.NewReader(body)}
		e.calls = e.calls[:0]
		s.ServeHTTP(w, in)
	}
	if len(e.calls) != 1 {
		b.Fatal(fmt.Sprint(e.calls))
	}
}

type fakeBody struct{ *strings.Reader }

func (fakeBody) Close() error { return nil }
