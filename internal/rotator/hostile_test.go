package rotator_test

import (
	"crypto/rand"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"arca/internal/egress"
	"arca/internal/rotator"
)

// TestHostile logs in to servers that say what no server says. Nothing may come of it but
// an error, in bounded time and memory.
func TestHostile(t *testing.T) {
	t.Parallel()
	noise := make([]byte, 1<<20)
	_, _ = rand.Read(noise)
	mysqlHello := "\x4a\x00\x00\x00\x0a10.11.14-MariaDB\x00\x01\x00\x00\x00abcdefgh\x00\xff\xf7\x08\x02\x00\xff\x81\x15\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00abcdefghijkl\x00mysql_native_password\x00"
	for _, tc := range []struct{ name, kind, says string }{
		{"closes", "all", ""},
		{"noise", "all", string(noise)},
		{"much of nothing", "all", strings.Repeat("\x00", 32<<20)},
		{"a line without end", "all", strings.Repeat("x", 32<<20)},
		{"escape sequences", "all", "-\x1b]0;owned\x07\r\n"},
		{"a huge string", "redis", "$9223372036854775800\r\n"},
		{"a negative string", "redis", "$-2\r\n"},
		{"a huge list", "redis", "*9223372036854775800\r\n"},
		{"lists in lists", "redis", strings.Repeat("*1\r\n", 100_000)},
		{"a huge message", "postgres", "R\x7f\xff\xff\xff\x00\x00\x00\x00"},
		{"a negative message", "postgres", "R\x80\x00\x00\x00\x00\x00\x00\x00"},
		{"the password, please", "postgres", "R\x00\x00\x00\x08\x00\x00\x00\x03"},
		{"no password at all", "postgres", "R\x00\x00\x00\x08\x00\x00\x00\x00Z\x00\x00\x00\x05I"},
		{"an error with a bell", "postgres", "E\x00\x00\x00\x1aSFATAL\x00C28P01\x00M\x1b[2Jhi\x00\x00"},
		{"a huge packet", "mysql", "\xff\xff\xff\x00" + strings.Repeat("x", 20<<20)},
		{"a short packet", "mysql", "\x01\x00\x00\x00\x0a"},
		{"the password in the clear, please", "mysql", mysqlHello + "\x16\x00\x00\x02\xfemysql_clear_password\x00"},
		{"a file, please", "mysql", mysqlHello + "\x0c\x00\x00\x02\xfb/etc/passwd"},
	} {
		for kind, engine := range map[string]string{
			rotator.PostgreSQLSingleUser: "postgres", rotator.MySQLSingleUser: "mysql", rotator.RedisSingleUser: "redis",
		} {
			if tc.kind != "all" && tc.kind != engine {
				continue
			}
			t.Run(engine+"/"+tc.name, func(t *testing.T) {
				t.Parallel()
				port, heard := says(t, tc.says)
				b := newBedWith(t, egress.Config{AllowLoopback: true})
				const value = `{"engine": "ENGINE", "host": "127.0.0.1", "port": PORT, "username": "app", "password": "pl41n-p4ss", "ssl": false}`
				v := strings.NewReplacer("ENGINE", engine, "PORT", port).Replace(value)
				secret, token := b.create(t, "s", v), newToken()
				b.put(t, secret, token, v, "AWSPENDING")
				start := time.Now()
				err := b.step(t.Context(), kind, "testSecret", secret, token)
				if errorType(err) != rotator.Unreachable && errorType(err) != rotator.DatabaseError && errorType(err) != rotator.LoginRefused {
					t.Errorf("error %v", err)
				}
				if took := time.Since(start); took > 20*time.Second {
					t.Errorf("took %v", took)
				}
				said := b.said()
				if strings.ContainsAny(said, "\x1b\x07\x00") || strings.Contains(said, "pl41n-p4ss") || len(said) > 20_000 {
					t.Errorf("output %.2000q", said)
				}
				// Redis has no other way than to send it; the two others must not.
				if engine != "redis" && strings.Contains(heard(), "pl41n-p4ss") {
					t.Error("the password went out in the clear")
				}
			})
		}
	}
}

// says runs a server that sends a text to everybody, whatever he wants, and returns its
// port and what it heard.
func says(t *testing.T, text string) (port string, heard func() string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var all strings.Builder
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(3 * time.Second))
				serving.Go(func() {
					buf := make([]byte, 4096)
					for {
						n, err := conn.Read(buf)
						mu.Lock()
						all.Write(buf[:n])
						mu.Unlock()
						if err != nil {
							return
						}
					}
				})
				_, _ = io.WriteString(conn, text)
				if text != "" {
					time.Sleep(time.Second) // so that what was sent is read before the end
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port, func() string {
		mu.Lock()
		defer mu.Unlock()
		return all.String()
	}
}
