package call_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"arca/internal/api"
	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/store"
)

// TestLine: the whole record of a change and of a read (AWS CloudTrail user guide,
// "Record contents").
func TestLine(t *testing.T) {
	b := newBed(t)
	b.servePut()
	b.serveRead(allowed)
	c := newCall(smapi.OpCreateSecret)
	c.TLS = &call.TLS{Version: "TLSv1.3", CipherSuite: "TLS_AES_128_GCM_SHA256"}
	if _, err := b.d.Do(t.Context(), c, createInput("a")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.read(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	lines := b.lines(t)
	if len(lines) != 2 {
		t.Fatalf("%d lines, want 2", len(lines))
	}
	const identity = `{"type":"Root","principalId":"123456789012","arn":"arn:aws:iam::123456789012:root","accountId":"123456789012","accessKeyId":"AKIAEXAMPLE"}`
	for i, want := range []string{
		`{"eventVersion":"1.11","userIdentity":` + identity + `,"eventTime":"2026-05-04T03:02:01Z","eventSource":"secretsmanager.amazonaws.com","eventName":"CreateSecret",
		"awsRegion":"eu-west-1","sourceIPAddress":"192.0.2.1","userAgent":"test/1","requestParameters":{"name":"a","forceOverwriteReplicaSecret":false},"responseElements":{"arn":"arn:a","name":"a"},
		"requestID":"11111111-2222-3333-4444-555555555555","eventID":"ID","readOnly":false,"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"123456789012",
		"eventCategory":"Management","tlsDetails":{"tlsVersion":"TLSv1.3","cipherSuite":"TLS_AES_128_GCM_SHA256","clientProvidedHostHeader":"arca.example:8443"},
		"arca":{"node":"NODE","changes":[{"table":"note","key":"KEY","sequence":0,"sha256":"HASH"}]}}`,
		`{"eventVersion":"1.11","userIdentity":` + identity + `,"eventTime":"2026-05-04T03:02:01Z","eventSource":"secretsmanager.amazonaws.com","eventName":"GetSecretValue",
		"awsRegion":"eu-west-1","sourceIPAddress":"192.0.2.1","userAgent":"test/1","requestParameters":{"secretId":"a"},"responseElements":null,
		"requestID":"11111111-2222-3333-4444-555555555555","eventID":"ID","readOnly":true,"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"123456789012",
		"eventCategory":"Management","arca":{"node":"NODE"}}`,
	} {
		got := lines[i].raw
		if strings.Contains(got, "secret of") || strings.Contains(got, "the value") {
			t.Errorf("the line holds a secret value: %s", got)
		}
		for pattern, fixed := range map[string]string{
			`"eventID":"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"`: `"eventID":"ID"`,
			`"node":"` + b.store.NodeID() + `"`:                                               `"node":"NODE"`,
			`"key":"([0-9a-f]{2})+"`:                                                          `"key":"KEY"`,
			`"sequence":[1-9][0-9]*`:                                                          `"sequence":0`,
			`"sha256":"[0-9a-f]{64}"`:                                                         `"sha256":"HASH"`,
		} {
			got = regexp.MustCompile(pattern).ReplaceAllString(got, fixed)
		}
		if diff := cmp.Diff(object(t, want), object(t, got)); diff != "" {
			t.Errorf("line %d (-want +got):\n%s", i, diff)
		}
	}
}

func object(t *testing.T, text string) (m map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return m
}

// Nothing is answered or changed that the authorizer did not allow.
func TestDecision(t *testing.T) {
	deny := func(*call.Check) error { return api.AccessDeniedException.Errorf("no") }
	write := func(b *bed) func(ctx context.Context, c *call.Call) error {
		return func(ctx context.Context, c *call.Call) error {
			return c.Update(ctx, b.store, func(tx *store.Tx) error { b.notes.Put(tx, noteKey("a"), &note{"a"}); return nil })
		}
	}
	for _, tt := range []struct {
		name  string
		allow func(ck *call.Check) error
		op    func(b *bed) func(ctx context.Context, c *call.Call) error
		want  string
		saved bool
	}{
		{"answers without asking", nil, func(*bed) func(context.Context, *call.Call) error {
			return func(context.Context, *call.Call) error { return nil }
		}, internal, false},
		{"answers although denied", deny, func(*bed) func(context.Context, *call.Call) error {
			return func(ctx context.Context, c *call.Call) error { _ = allowed(ctx, c); return nil }
		}, internal, false},
		{"changes without asking", nil, write, internal, false},
		{"changes although denied", deny, func(b *bed) func(context.Context, *call.Call) error {
			return func(ctx context.Context, c *call.Call) error { _ = allowed(ctx, c); return write(b)(ctx, c) }
		}, internal, false},
		{"passes the denial on", deny, func(*bed) func(context.Context, *call.Call) error { return allowed }, "AccessDeniedException: no", false},
		{"is allowed", nil, func(b *bed) func(context.Context, *call.Call) error {
			return func(ctx context.Context, c *call.Call) error {
				if err := allowed(ctx, c); err != nil {
					return err
				}
				return write(b)(ctx, c)
			}
		}, "", true},
		{"decides inside the closure", nil, func(b *bed) func(context.Context, *call.Call) error {
			return func(ctx context.Context, c *call.Call) error {
				return c.Update(ctx, b.store, func(tx *store.Tx) error {
					b.notes.Put(tx, noteKey("a"), &note{"a"})
					return allowed(ctx, c)
				})
			}
		}, "", true},
		{"needs no decision", deny, func(b *bed) func(context.Context, *call.Call) error {
			return func(ctx context.Context, c *call.Call) error {
				c.NoDecision("AWS lets everybody do this")
				return write(b)(ctx, c)
			}
		}, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t, func(b *bed) { b.allow = tt.allow })
			b.serve(tt.op(b))
			out, err := b.create(t.Context(), "a")
			if got := code(t, err); got != tt.want {
				t.Errorf("error %q, want %q", got, tt.want)
			}
			if (out == nil) != (tt.want != "") {
				t.Errorf("answer %v beside error %v", out, err)
			}
			if got := b.has(t, "a"); got != tt.saved {
				t.Errorf("stored: %v, want %v", got, tt.saved)
			}
			if n := len(b.lines(t)); n != 1 {
				t.Errorf("%d audit lines, want 1", n)
			}
		})
	}
	t.Run("without a reason", func(t *testing.T) {
		defer func() {
			if recover() == nil {
				t.Error("NoDecision without a reason did not panic")
			}
		}()
		newCall(smapi.OpCreateSecret).NoDecision("")
	})
}

// The client and the audit log see code and message and nothing else; the log sees
// the cause.
func TestErrors(t *testing.T) {
	cause := errors.New("disk 7 of rack 3")
	for _, tt := range []struct {
		name   string
		err    error
		want   string
		logged string
	}{
		{"for the client", smapi.ResourceExistsException.Errorf("There is one."), "ResourceExistsException: There is one.", ""},
		{"for the client, with a cause", smapi.DecryptionFailure.Wrap(cause, "Can't decrypt."), "DecryptionFailure: Can't decrypt.", "disk 7"},
		{"for the client, wrapped", fmt.Errorf("look at rack 3: %w", smapi.ResourceExistsException.Errorf("There is one.")), "ResourceExistsException: There is one.", "rack 3"},
		{"unexpected", cause, internal, "disk 7"},
		{"caller gone", fmt.Errorf("wait: %w", context.Canceled), internal, "caller went away"},
		{"too late", fmt.Errorf("wait: %w", context.DeadlineExceeded), internal, "deadline"},
		{"conflict", store.ErrConflict, internal, "conflict"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t)
			b.serve(func(ctx context.Context, c *call.Call) error { return errors.Join(allowed(ctx, c), tt.err) })
			out, err := b.create(t.Context(), "a")
			if got := code(t, err); got != tt.want || out != nil {
				t.Errorf("answer %v and error %q, want %q", out, got, tt.want)
			}
			l := b.lines(t)[0]
			if got := l.ErrorCode + ": " + l.ErrorMessage; got != tt.want {
				t.Errorf("audit line tells %q, want %q", got, tt.want)
			}
			if l.ResponseElements != nil || len(l.RequestParameters) == 0 {
				t.Errorf("audit line %s", l.raw)
			}
			if got := b.logged.String(); !strings.Contains(got, tt.logged) || tt.logged == "" && strings.Contains(got, "ERROR") {
				t.Errorf("log %q, want %q in it", got, tt.logged)
			}
		})
	}
}

func TestRefuse(t *testing.T) {
	b := newBed(t)
	refusal := api.ValidationException.Errorf("Member must not be null")
	if err := b.d.Refuse(t.Context(), newCall(smapi.OpCreateSecret), refusal); err != nil {
		t.Fatal(err)
	}
	l := b.lines(t)[0]
	if l.String() != "CreateSecret ValidationException" || l.RequestParameters != nil || l.ErrorMessage != refusal.Message {
		t.Errorf("line %s", l.raw)
	}
	b.breakLog()
	if err := b.d.Refuse(t.Context(), newCall(smapi.OpCreateSecret), refusal); err == nil {
		t.Error("Refuse = nil although nothing was recorded")
	}
	want := []string{
		`arca_requests_total{code="InternalServiceError",operation="CreateSecret",service="secretsmanager"} 1`,
		`arca_requests_total{code="ValidationException",operation="CreateSecret",service="secretsmanager"} 1`,
	}
	if diff := cmp.Diff(want, b.counted(t, "arca_requests_total")); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

// A caller that has gone is recorded like any other.
func TestCancelledCaller(t *testing.T) {
	b := newBed(t)
	ctx, cancel := context.WithCancel(t.Context())
	b.serve(func(ctx context.Context, c *call.Call) error {
		if err := allowed(ctx, c); err != nil {
			return err
		}
		err := c.Update(ctx, b.store, func(tx *store.Tx) error { b.notes.Put(tx, noteKey("a"), &note{"a"}); return nil })
		cancel()
		return err
	})
	if _, err := b.create(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.create(ctx, "b"); code(t, err) != internal { // gone before it began
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff([]string{"CreateSecret+", "CreateSecret InternalServiceError"}, b.events(t)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// A call may be left out of the log if it did nothing but answer.
func TestOmitRecord(t *testing.T) {
	b := newBed(t)
	b.serveRead(func(ctx context.Context, c *call.Call) error {
		c.OmitRecord("a test")
		return allowed(ctx, c)
	})
	b.serve(func(ctx context.Context, c *call.Call) error {
		c.OmitRecord("a test")
		if err := allowed(ctx, c); err != nil {
			return err
		}
		return c.Update(ctx, b.store, func(tx *store.Tx) error { b.notes.Put(tx, noteKey("a"), &note{"a"}); return nil })
	})
	if _, err := b.read(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.create(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	b.allow = func(*call.Check) error { return smapi.AccessDeniedException.Errorf("no") }
	if _, err := b.read(t.Context(), "a"); code(t, err) != "AccessDeniedException: no" {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff([]string{"CreateSecret+", "GetSecretValue AccessDeniedException"}, b.events(t)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// An operation that panics leaves a record, also of what it had committed.
func TestPanic(t *testing.T) {
	b := newBed(t)
	b.serve(func(ctx context.Context, c *call.Call) error {
		if err := allowed(ctx, c); err != nil {
			return err
		}
		if err := c.Update(ctx, b.store, func(tx *store.Tx) error { b.notes.Put(tx, noteKey("a"), &note{"a"}); return nil }); err != nil {
			return err
		}
		panic("oops")
	})
	func() {
		defer func() {
			if v := recover(); v != "oops" {
				t.Errorf("recovered %v, want the operation's own panic", v)
			}
		}()
		_, _ = b.create(t.Context(), "a") // does not return
	}()
	if diff := cmp.Diff([]string{"CreateSecret InternalServiceError+"}, b.events(t)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestGateAndLimit(t *testing.T) {
	none, writes, all := func(bool) error { return nil }, func(readOnly bool) error {
		if readOnly {
			return nil
		}
		return errors.New("disk nearly full")
	}, func(bool) error { return errors.New("disk full") }
	throttled := func(*call.Call) error { return api.ThrottlingException.Errorf("Rate exceeded") }
	for _, tt := range []struct {
		name        string
		gate        func(bool) error
		limit       func(*call.Call) error
		write, read string
		events      []string
	}{
		{"open", none, nil, "", "", []string{"CreateSecret+", "GetSecretValue"}},
		{"for reads", writes, nil, "InternalServiceError: disk nearly full", "", []string{"CreateSecret InternalServiceError", "GetSecretValue"}},
		// Refusals must not fill the disk.
		{"shut", all, nil, "InternalServiceError: disk full", "InternalServiceError: disk full", []string{}},
		{"limited", none, throttled, "ThrottlingException: Rate exceeded", "ThrottlingException: Rate exceeded",
			[]string{"CreateSecret ThrottlingException", "GetSecretValue ThrottlingException"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t, func(b *bed) { b.gate, b.limit = tt.gate, tt.limit })
			b.servePut()
			b.serveRead(allowed)
			_, err := b.create(t.Context(), "a")
			if got := code(t, err); got != tt.write {
				t.Errorf("write: %q, want %q", got, tt.write)
			}
			_, err = b.read(t.Context(), "a")
			if got := code(t, err); got != tt.read {
				t.Errorf("read: %q, want %q", got, tt.read)
			}
			if b.has(t, "a") != (tt.write == "") {
				t.Errorf("stored although refused, or not stored")
			}
			if diff := cmp.Diff(tt.events, b.events(t)); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			refusal := b.d.Refuse(t.Context(), newCall(smapi.OpCreateSecret), api.ValidationException.Errorf("no"))
			if (refusal != nil) != (tt.name == "shut") {
				t.Errorf("Refuse = %v", refusal)
			}
			if n := len(b.counted(t, "arca_requests_total")); n < 2 {
				t.Errorf("%d series counted, want one for each operation", n)
			}
		})
	}
}

func TestMetrics(t *testing.T) {
	b := newBed(t)
	b.servePut()
	b.serveRead(func(context.Context, *call.Call) error { return smapi.ResourceNotFoundException.Errorf("none") })
	for range 3 {
		_, _ = b.create(t.Context(), "a") // counted whatever comes
	}
	_, _ = b.read(t.Context(), "a")
	want := []string{
		`arca_requests_total{code="OK",operation="CreateSecret",service="secretsmanager"} 3`,
		`arca_requests_total{code="ResourceNotFoundException",operation="GetSecretValue",service="secretsmanager"} 1`,
	}
	if diff := cmp.Diff(want, b.counted(t, "arca_requests_total")); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
	want = []string{
		`arca_request_seconds_count{operation="CreateSecret",service="secretsmanager"} 3`,
		`arca_request_seconds_count{operation="GetSecretValue",service="secretsmanager"} 1`,
	}
	if diff := cmp.Diff(want, b.counted(t, "arca_request_seconds_count")); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

// counted is what a scrape shows of one metric.
func (b *bed) counted(t *testing.T, metric string) (lines []string) {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(b.d.Metrics.Collectors()...)
	w := httptest.NewRecorder()
	promhttp.HandlerFor(reg, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil))
	for l := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(l, metric+"{") {
			lines = append(lines, strings.TrimSpace(l))
		}
	}
	return lines
}

func TestRegister(t *testing.T) {
	d := call.New(call.Config{})
	if d.Serves(smapi.OpGetSecretValue) {
		t.Error("serves an operation that nobody registered")
	}
	read := func(context.Context, *call.Call, *smapi.GetSecretValueInput) (*smapi.GetSecretValueOutput, error) {
		return nil, nil
	}
	call.Register(d, smapi.OpGetSecretValue, read)
	if !d.Serves(smapi.OpGetSecretValue) {
		t.Error("does not serve what was registered")
	}
	for name, register := range map[string]func(){
		"twice":                 func() { call.Register(d, smapi.OpGetSecretValue, read) },
		"for another operation": func() { call.Register(d, smapi.OpCreateSecret, read) },
		"with its input alone right": func() {
			call.Register(d, smapi.OpListSecrets, func(context.Context, *call.Call, *smapi.ListSecretsInput) (*smapi.GetSecretValueOutput, error) {
				return nil, nil
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("Register did not panic")
				}
			}()
			register()
		})
	}
}

// An operation that nobody serves is an internal error.
func TestNoHandler(t *testing.T) {
	b := newBed(t)
	if _, err := b.create(t.Context(), "a"); code(t, err) != internal {
		t.Errorf("error %v", err)
	}
}

// Calls at the same time, while the disk under the log comes and goes: every answer
// has its record, every change exactly one.
func TestConcurrentCalls(t *testing.T) {
	b := newBed(t)
	b.servePut()
	stop := make(chan struct{})
	var flapping sync.WaitGroup
	flapping.Go(func() {
		for on := false; ; on = !on {
			select {
			case <-stop:
				return
			default:
			}
			if on {
				b.breakLog()
			} else {
				b.diskFault.Store(nil)
			}
			_ = b.d.Settle(context.Background()) // fails while the disk is away
		}
	})
	var calls sync.WaitGroup
	var mu sync.Mutex
	answered := map[string]bool{}
	for w := range 8 {
		calls.Go(func() {
			for i := range 20 {
				name := fmt.Sprint(w, "-", i)
				if _, err := b.create(context.Background(), name); err == nil {
					mu.Lock()
					answered[name] = true
					mu.Unlock()
				}
			}
		})
	}
	calls.Wait()
	close(stop)
	flapping.Wait()
	b.mendLog(t)
	if err := b.d.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	recorded := map[string]int{}
	for _, l := range b.lines(t) {
		name, _ := l.RequestParameters["name"].(string)
		if len(l.Arca.Changes) > 0 {
			recorded[name]++
		}
	}
	for w := range 8 {
		for i := range 20 {
			name := fmt.Sprint(w, "-", i)
			want := 0
			if b.has(t, name) {
				want = 1
			} else if answered[name] {
				t.Errorf("%s was answered and is not stored", name)
			}
			if recorded[name] != want {
				t.Errorf("%s: %d records of a change, want %d", name, recorded[name], want)
			}
		}
	}
}

// The reason of a denial is in the record of the call that failed for it, and in no
// other.
func TestDenialInRecord(t *testing.T) {
	first := call.Denial{Action: "a:First", Resource: "r", Reason: "because", Policy: "p", Statement: "s"}
	for _, tt := range []struct {
		name string
		op   func(ctx context.Context, c *call.Call) error
		want string
	}{
		{"denied", func(_ context.Context, c *call.Call) error {
			c.NoteDenial(first)
			c.NoteDenial(call.Denial{Action: "a:Second"})
			return api.AccessDeniedException.Errorf("no")
		}, `"denied":{"action":"a:First","resource":"r","reason":"because","policy":"p","statement":"s"}`},
		{"answered all the same", func(_ context.Context, c *call.Call) error {
			c.NoteDenial(first)
			c.NoDecision("it does not matter")
			return nil
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t)
			b.serve(tt.op)
			_, _ = b.create(t.Context(), "a")
			lines := b.lines(t)
			if len(lines) != 1 {
				t.Fatalf("%d lines", len(lines))
			}
			if has := strings.Contains(lines[0].raw, `"denied":`); has != (tt.want != "") || !strings.Contains(lines[0].raw, tt.want) {
				t.Errorf("line %s, want %s in it", lines[0].raw, tt.want)
			}
		})
	}
}

// A stranger leaves no record until an operation has found out who it is.
func TestAnonymous(t *testing.T) {
	user := call.Principal{Type: call.WebIdentityUser, Account: account, ID: "p:aud:sub", UserName: "sub", Provider: "p"}
	for _, tt := range []struct {
		name  string
		op    func(ctx context.Context, c *call.Call) error
		lines int
	}{
		{"refused", func(context.Context, *call.Call) error { return api.ValidationException.Errorf("no") }, 0},
		{"panics", func(context.Context, *call.Call) error { panic("oh") }, 0},
		{"known, refused", func(_ context.Context, c *call.Call) error {
			c.Caller = user
			return api.ValidationException.Errorf("no")
		}, 1},
		{"known, answered", func(_ context.Context, c *call.Call) error {
			c.Caller = user
			c.NoDecision("a test")
			return nil
		}, 1},
		{"answered", func(_ context.Context, c *call.Call) error {
			c.NoDecision("a test")
			return nil
		}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t)
			b.serve(tt.op)
			c := newCall(smapi.OpCreateSecret)
			c.Caller = call.Principal{Type: call.Anonymous}
			func() {
				defer func() { _ = recover() }()
				_, _ = b.d.Do(t.Context(), c, createInput("a"))
			}()
			if n := len(b.lines(t)); n != tt.lines {
				t.Errorf("%d lines, want %d", n, tt.lines)
			}
		})
	}
}
