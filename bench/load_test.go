package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// counting answers each request with its own body, and counts.
func counting(served *atomic.Int64, wait time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		time.Sleep(wait)
		served.Add(1)
		if strings.Contains(string(body), "close") {
			w.Header().Set("Connection", "close")
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	})
}

func post(body string) []byte {
	return fmt.Appendf(nil, "POST / HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func address(s *httptest.Server) string {
	_, addr, _ := strings.Cut(s.URL, "://")
	return addr
}

func TestLoad(t *testing.T) {
	for _, test := range []struct {
		name string
		tls  bool
		body func(n int64) string
	}{
		{name: "plain", body: func(n int64) string { return fmt.Sprintf("%08d", n) }},
		{name: "closing", body: func(n int64) string { return fmt.Sprintf("close %08d", n) }},
		{name: "long", body: func(n int64) string { return fmt.Sprintf("%08d", n) + strings.Repeat("x", 100_000) }},
		{name: "tls", tls: true, body: func(n int64) string { return fmt.Sprintf("%08d", n) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			var served atomic.Int64
			s := httptest.NewUnstartedServer(counting(&served, 0))
			if test.tls {
				s.StartTLS()
			} else {
				s.Start()
			}
			defer s.Close()
			var checked atomic.Int64
			l := &load{
				addr: address(s), tls: test.tls, connections: 8, count: 500,
				next: func(n int64) []byte { return post(test.body(n)) },
				check: func(n int64, body []byte) error {
					checked.Add(1)
					if string(body) != test.body(n) {
						return fmt.Errorf("answer to %d is %.40q", n, body)
					}
					return nil
				},
			}
			got, err := l.run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(got.times) != 500 || served.Load() != 500 {
				t.Errorf("%d answers to %d requests, want 500", len(got.times), served.Load())
			}
			if want := int64((500 + checkEvery - 1) / checkEvery); checked.Load() != want {
				t.Errorf("%d answers checked, want %d", checked.Load(), want)
			}
		})
	}
}

// At a pace, as many requests are sent as the schedule has, and what waits for a
// connection counts from when it was due.
func TestLoadPaced(t *testing.T) {
	var served atomic.Int64
	s := httptest.NewServer(counting(&served, 5*time.Millisecond))
	defer s.Close()
	l := &load{
		addr: address(s), connections: 1, length: 200 * time.Millisecond, pace: 2 * time.Millisecond,
		next: func(int64) []byte { return post("x") },
	}
	got, err := l.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(got.times) != 100 {
		t.Errorf("%d requests, want 100", len(got.times))
	}
	// The last was due after 200 ms and is answered after 500 at the earliest.
	if last := got.times[len(got.times)-1]; last < 290*time.Millisecond {
		t.Errorf("the last request took %v; it was due long before it was sent", last)
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"status":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) },
		"chunked": func(w http.ResponseWriter, _ *http.Request) { _ = http.NewResponseController(w).Flush() },
		"content": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "wrong") },
		"hang up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(h)
			defer s.Close()
			l := &load{
				addr: address(s), connections: 2, count: 10, next: func(int64) []byte { return post("right") },
				check: func(_ int64, body []byte) error {
					if string(body) != "right" {
						return fmt.Errorf("answer %q", body)
					}
					return nil
				},
			}
			if _, err := l.run(t.Context()); err == nil {
				t.Error("no error")
			}
		})
	}
	t.Run("length", func(t *testing.T) {
		var n atomic.Int64
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if n.Add(1) == 5 {
				_, _ = io.WriteString(w, "{}")
				return
			}
			_, _ = io.WriteString(w, strings.Repeat("right", 100))
		}))
		defer s.Close()
		if _, err := drive(context.Background(), address(s), 1, 10, 0, func(int64) []byte { return post("x") }); err == nil {
			t.Error("an answer of another length counts")
		}
	})
}
