package server_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/server"
)

// TestConnections makes sure that no more connections are served than are allowed,
// that one that ends makes room for one that waits, and that a stop does not wait.
func TestConnections(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", secure), func(t *testing.T) {
			var cert *server.Certificate
			if secure {
				cert, _, _ = openCertificate(t)
			}
			e := newEdge(t, func(c *server.Config) { c.Limits.Connections = 2 })
			rn := run(t, e, cert, nil)
			dial := func() net.Conn {
				_, addr, _ := strings.Cut(rn.url, "://")
				conn, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				if secure {
					conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
				}
				t.Cleanup(func() { _ = conn.Close() })
				return conn
			}
			healthy := func(conn net.Conn, within time.Duration) bool {
				if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
					t.Fatal(err)
				}
				if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
					return false
				}
				line, _ := bufio.NewReader(conn).ReadString('\n')
				return strings.Contains(line, "200")
			}
			a, b := dial(), dial()
			if !healthy(a, 10*time.Second) || !healthy(b, 10*time.Second) {
				t.Fatal("the first two connections are not served")
			}
			waiting := dial()
			if healthy(waiting, 200*time.Millisecond) {
				t.Error("a third connection is served")
			}
			_ = waiting.Close()
			_ = a.Close()
			if !healthy(dial(), 10*time.Second) {
				t.Error("no connection is served after one has ended")
			}
			dial() // Run must end while Accept waits for room; run's cleanup makes sure
		})
	}
}

// TestMemory makes sure that requests past the bound are refused at once and served
// again when there is room.
func TestMemory(t *testing.T) {
	const requests = 8 // each counts for 16 KiB
	entered, release := make(chan bool), make(chan bool)
	e := newEdge(t, func(c *server.Config) {
		c.Limits.MemoryBytes = requests * 16 << 10
		c.Do = func(context.Context, *call.Call, any) (any, error) {
			entered <- true
			<-release
			return nil, smapi.InvalidRequestException.Errorf("Later.")
		}
	})
	large := strings.Repeat(" ", 100<<10) + body
	if got := read(t, direct(e, signed(t, here, large))); got.status != 503 {
		t.Errorf("answer to a body of most of the memory = %+v, want 503", got)
	}
	var all sync.WaitGroup
	for range requests {
		all.Go(func() { direct(e, signed(t, here, body)) })
		<-entered
	}
	want := answer{503, "application/x-amz-json-1.1", `{"__type":"ServiceUnavailable","message":"The server is handling too many requests. Try again."}`}
	if d := cmp.Diff(want, read(t, direct(e, signed(t, here, body))), anyAnswer); d != "" {
		t.Errorf("answer past the bound (-want +got):\n%s", d)
	}
	if got := read(t, direct(e, mustRequest(t, "GET", here+"/healthz"))); got.status != 200 {
		t.Errorf("health = %+v", got)
	}
	close(release)
	all.Wait()
	if held := server.Held(e.Server); held != 0 {
		t.Errorf("%d bytes held by no request", held)
	}
	go func() { <-entered }()
	if got := read(t, direct(e, signed(t, here, body))); got.status != 400 {
		t.Errorf("answer after the rush = %+v", got)
	}
}

func mustRequest(t testing.TB, method, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestSample makes sure that refused requests are logged by source and that all of
// them together are logged rarely.
func TestSample(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		take := server.NewSampler()
		wants := func(source string, skipped int, ok bool) {
			t.Helper()
			if n, got := take(source); n != skipped || got != ok {
				t.Errorf("take(%s) = %d, %v, want %d, %v", source, n, got, skipped, ok)
			}
		}
		wants("192.0.2.1", 0, true)
		wants("192.0.2.1", 0, false)
		wants("192.0.2.1", 0, false)
		wants("192.0.2.2", 0, true) // another source is not hidden by a loud one
		wants("2001:db8::1", 0, true)
		wants("2001:db8::2", 0, false) // the same network
		wants("2001:db8:0:1::2", 0, true)
		time.Sleep(11 * time.Second)
		wants("192.0.2.1", 2, true)
		wants("192.0.2.2", 0, true)

		time.Sleep(11 * time.Second)
		lines := 0
		for i := range 100_000 {
			if _, ok := take(fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)); ok {
				lines++
			}
		}
		if lines != 32 {
			t.Errorf("%d lines of many sources in one interval, want 32", lines)
		}
		time.Sleep(11 * time.Second)
		wants("192.0.2.3", 0, true)
	})
}

// keeper is a ResponseWriter whose client has gone, and which is not done with what
// it was given: HTTP/2 returns from Write when a stream ends, although a frame may
// still be made of the same memory.
type keeper struct {
	nothing
	kept []byte
}

func (k *keeper) Write(b []byte) (int, error) { k.kept = b; return 0, http.ErrHandlerTimeout }

// TestAnswerNotReused makes sure that the memory of an answer that was not sent is
// used for no other answer.
func TestAnswerNotReused(t *testing.T) {
	e := newEdge(t)
	in := signed(t, here, body)
	in.RemoteAddr = "192.0.2.7:1"
	k := &keeper{nothing: nothing{http.Header{}}}
	e.ServeHTTP(k, in)
	for range 10 {
		direct(e, signed(t, here, `{"SecretId":"other"}`))
	}
	if want := `{"Name":"db","SecretString":"value of db"}`; string(k.kept) != want {
		t.Errorf("memory of the answer holds %q, want %q", k.kept, want)
	}
}
