package server_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"arca/internal/server"
)

// forged is a request whose signature does not hold, from a source.
func forged(t testing.TB, source string) *http.Request {
	t.Helper()
	r := signed(t, here, body)
	auth := r.Header.Get("Authorization")
	r.Header.Set("Authorization", auth[:len(auth)-8]+"00000000")
	r.RemoteAddr = source + ":4711"
	return r
}

func answerOf(e *edge, r *http.Request) (status int, code string) {
	w := httptest.NewRecorder()
	e.ServeHTTP(w, r)
	var answer struct {
		Type string `json:"__type"`
	}
	_ = json.Unmarshal(w.Body.Bytes(), &answer)
	return w.Code, answer.Type[strings.LastIndexByte(answer.Type, '#')+1:]
}

// counters sums up arca_unverified_requests_total by reason.
func counters(t *testing.T, e *edge) (all float64, byReason map[string]float64) {
	t.Helper()
	byReason = make(map[string]float64)
	reg := prometheus.NewRegistry()
	reg.MustRegister(e.Metrics().Collectors()...)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "arca_unverified_requests_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			n := m.GetCounter().GetValue()
			byReason[m.GetLabel()[0].GetValue()] += n
			all += n
		}
	}
	return all, byReason
}

// Ten thousand forged requests from one source: each is counted, few are logged, and
// most are refused without a look. Nobody else notices.
func TestOneStranger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t)
		codes := map[string]int{}
		for range 10_000 {
			_, code := answerOf(e, forged(t, "192.0.2.66"))
			codes[code]++
		}
		if codes["ThrottlingException"] < 8000 || codes["InvalidSignatureException"] < 1000 || len(codes) != 2 {
			t.Errorf("answers %v", codes)
		}
		all, reasons := counters(t, e)
		if all != 10_000 || reasons["rate"] != float64(codes["ThrottlingException"]) {
			t.Errorf("%v counted: %v", all, reasons)
		}
		if n := strings.Count(e.log.String(), "\n"); n != 1 {
			t.Errorf("%d log lines, want 1", n)
		}
		r := signed(t, here, body)
		r.RemoteAddr = "192.0.2.1:1"
		if status, code := answerOf(e, r); status != 200 {
			t.Errorf("another source: %d %s", status, code)
		}
		if n := server.Held(e.Server); n != 0 {
			t.Errorf("%d bytes are still held", n)
		}

		// The next line tells how many there were.
		time.Sleep(11 * time.Second)
		e.log.Reset()
		if _, code := answerOf(e, forged(t, "192.0.2.66")); code != "InvalidSignatureException" {
			t.Errorf("in the next interval: %s", code)
		}
		if !strings.Contains(e.log.String(), `"not_logged_before":9999`) {
			t.Errorf("log: %s", e.log.String())
		}
	})
}

// Whoever shares an address with a stranger gets in: at first once in a while, and
// then always.
func TestStrangerBehindTheSameAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t)
		shared := "2001:db8::66"
		for range 2000 {
			answerOf(e, forged(t, "[2001:db8::1]"))
		}
		good := func() int {
			r := signed(t, here, body)
			r.RemoteAddr = "[" + shared + "]:99"
			status, _ := answerOf(e, r)
			return status
		}
		tries := 1
		for good() != 200 {
			if tries++; tries > 64 {
				t.Fatal("never let in")
			}
		}
		for range 20 {
			if status := good(); status != 200 {
				t.Errorf("refused again: %d", status)
			}
		}
		time.Sleep(11 * time.Second)
		for range 2000 {
			answerOf(e, forged(t, "[2001:db8::1]"))
		}
		if status := good(); status != 200 {
			t.Errorf("refused in the next interval: %d", status)
		}
	})
}

// Ten thousand requests from as many sources: memory and lines are bounded all the same.
func TestManyStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t)
		lines := 0
		for i := range 10_000 {
			if _, code := answerOf(e, forged(t, fmt.Sprintf("10.0.%d.%d", i>>8, i&255))); code != "InvalidSignatureException" {
				t.Fatalf("request %d: %s", i, code)
			}
		}
		lines = strings.Count(e.log.String(), "\n")
		if lines != 32 {
			t.Errorf("%d log lines, want 32", lines)
		}
		if all, _ := counters(t, e); all != 10_000 {
			t.Errorf("%v counted", all)
		}
		if n := server.Sources(e.Server); n > 1025 {
			t.Errorf("%d sources are remembered", n)
		}
	})
}

// Rubbish of every kind is counted, whatever is wrong with it, and from many at once.
func TestRubbishIsCounted(t *testing.T) {
	quiet := newEdge(t, func(c *server.Config) { c.Logger = slog.New(slog.DiscardHandler) })
	kinds := []func() *http.Request{
		func() *http.Request { return forged(t, "192.0.2.9") },
		func() *http.Request { return request(t, here, body) },
		func() *http.Request { r := request(t, here, body); r.Host = "elsewhere.example"; return r },
		func() *http.Request { r := request(t, here, body); r.Header.Set("X-Amz-Target", "no.Such"); return r },
		func() *http.Request {
			r := request(t, here, body)
			r.Header.Set("Sec-Fetch-Site", "cross-site")
			return r
		},
	}
	var wg sync.WaitGroup
	for _, kind := range kinds {
		wg.Go(func() {
			for range 300 {
				r := kind()
				if r.RemoteAddr == "" {
					r.RemoteAddr = "198.51.100.7:1"
				}
				quiet.ServeHTTP(httptest.NewRecorder(), r)
			}
		})
	}
	wg.Wait()
	all, reasons := counters(t, quiet)
	if all != float64(300*len(kinds)) || len(reasons) < 4 {
		t.Errorf("%v counted: %v", all, reasons)
	}
}

// What is remembered of sources does not grow with what they send.
func TestStrangersCostNoMemory(t *testing.T) {
	take := server.NewSampler()
	sources := make([]string, 4096)
	for i := range sources {
		sources[i] = fmt.Sprintf("10.1.%d.%d", i>>8, i&255)
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for _, s := range sources {
		take(s)
	}
	before := heap()
	for range 50 {
		for _, s := range slices.Backward(sources) {
			take(s)
		}
	}
	if after := heap(); after > before+1<<20 {
		t.Errorf("%d bytes more", after-before)
	}
}
