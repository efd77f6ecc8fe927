package call_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"arca/internal/api"
	"arca/internal/api/smapi"
	"arca/internal/audit"
	"arca/internal/call"
	"arca/internal/store"
	"arca/internal/storetest"
)

const (
	account = "123456789012"
	region  = "eu-west-1"
	request = "11111111-2222-3333-4444-555555555555"
)

var start = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

// note is a record that operations of these tests change.
type note struct {
	Text string `cbor:"1,keyasint"`
}

func noteKey(name string) store.Key { return store.Key{Scope: "note", Parent: name} }

// bed is a dispatcher on a real store and a real log. Its directories outlive a stop,
// as those of a node do.
type bed struct {
	dir     string
	rootKey *storetest.RootKey
	// commit says what shall go wrong with the next commits; nil means nothing.
	commit func() store.Fault

	diskFault atomic.Pointer[error] // what writes to the log fail with
	allow     func(ck *call.Check) error
	gate      func(readOnly bool) error
	limit     func(c *call.Call) error
	logged    buffer

	store *store.Store
	notes *store.Table[note]
	log   *audit.Log
	d     *call.Dispatcher
}

// buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (b *buffer) Write(p []byte) (int, error) { b.mu.Lock(); defer b.mu.Unlock(); return b.b.Write(p) }
func (b *buffer) String() string              { b.mu.Lock(); defer b.mu.Unlock(); return b.b.String() }

func newBed(t testing.TB, set ...func(b *bed)) *bed {
	t.Helper()
	b := &bed{dir: t.TempDir(), rootKey: storetest.NewRootKey()}
	for _, s := range set {
		s(b)
	}
	b.start(t)
	return b
}

// start begins a life of the node.
func (b *bed) start(t testing.TB) {
	t.Helper()
	b.store = storetest.Open(t, store.Config{
		Dir: filepath.Join(b.dir, "store"), RootKey: b.rootKey, Logger: slog.New(slog.DiscardHandler),
		CommitFault: func(int) store.Fault {
			if b.commit == nil {
				return store.NoFault
			}
			return b.commit()
		},
	}, func(s *store.Store) { b.notes = store.NewTable(s, store.TableSpec[note]{Name: "note", Format: 1}) })
	var err error
	b.log, err = audit.Open(audit.Config{
		Dir: b.logDir(), Node: b.store.NodeID(), Logger: slog.New(slog.DiscardHandler),
		WriteFault: func(p []byte) (int, error) {
			if err := b.diskFault.Load(); err != nil {
				return 0, *err
			}
			return len(p), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	log := b.log
	done := make(chan error, 1)
	go func() { done <- log.Run(context.Background()) }()
	t.Cleanup(func() {
		_ = log.Close()
		if err := <-done; err != nil {
			t.Errorf("audit log: %v", err)
		}
	})
	b.d = call.New(call.Config{
		Store: b.store, Log: b.log, Logger: slog.New(slog.NewTextHandler(&b.logged, nil)),
		Authorize: func(_ context.Context, c *call.Call, ck *call.Check) error {
			if b.allow == nil {
				return nil
			}
			return b.allow(ck)
		},
		Gate: b.gate, Limit: b.limit,
	})
}

// restart ends the node as a crash would, as far as a process can tell, and begins its
// next life.
func (b *bed) restart(t *testing.T) {
	t.Helper()
	if err := errors.Join(b.log.Close(), b.store.Close()); err != nil {
		t.Fatal(err)
	}
	b.start(t)
}

func (b *bed) logDir() string { return filepath.Join(b.dir, "audit") }

// breakLog makes every write to the log fail until it is mended.
func (b *bed) breakLog() { err := errors.New("no such disk"); b.diskFault.Store(&err) }

func (b *bed) mendLog(t *testing.T) {
	t.Helper()
	b.diskFault.Store(nil)
	eventually(t, "the log heals", func() bool { return b.log.Err() == nil })
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("timed out waiting: %s", what)
		}
	}
}

// put is an operation that is allowed and writes one note named like its input.
func (b *bed) put(ctx context.Context, c *call.Call, in *smapi.CreateSecretInput) (*smapi.CreateSecretOutput, error) {
	if err := c.Authorize(ctx, &call.Check{Action: "secretsmanager:CreateSecret", Resource: in.Name}); err != nil {
		return nil, err
	}
	err := c.Update(ctx, b.store, func(tx *store.Tx) error {
		b.notes.Put(tx, noteKey(in.Name), &note{in.Name})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &smapi.CreateSecretOutput{ARN: new("arn:" + in.Name), Name: &in.Name}, nil
}

// servePut makes the dispatcher serve put as CreateSecret.
func (b *bed) servePut() { call.Register(b.d, smapi.OpCreateSecret, b.put) }

// serve makes the dispatcher serve a change.
func (b *bed) serve(fn func(ctx context.Context, c *call.Call) error) {
	call.Register(b.d, smapi.OpCreateSecret, func(ctx context.Context, c *call.Call, in *smapi.CreateSecretInput) (*smapi.CreateSecretOutput, error) {
		if err := fn(ctx, c); err != nil {
			return nil, err
		}
		return &smapi.CreateSecretOutput{ARN: new("arn:" + in.Name)}, nil
	})
}

// serveRead makes the dispatcher serve a read.
func (b *bed) serveRead(fn func(ctx context.Context, c *call.Call) error) {
	call.Register(b.d, smapi.OpGetSecretValue, func(ctx context.Context, c *call.Call, in *smapi.GetSecretValueInput) (*smapi.GetSecretValueOutput, error) {
		if err := fn(ctx, c); err != nil {
			return nil, err
		}
		value := api.SensitiveString("the value")
		return &smapi.GetSecretValueOutput{Name: &in.SecretId, SecretString: &value}, nil
	})
}

func allowed(ctx context.Context, c *call.Call) error {
	return c.Authorize(ctx, &call.Check{Action: "secretsmanager:" + c.Op.Name, Resource: "*"})
}

func newCall(op *api.Operation) *call.Call {
	return &call.Call{
		Op: op, Now: start, Partition: "aws", Region: region, RequestID: request,
		Caller: call.Principal{
			Type: call.Root, Account: account, ID: account, ARN: "arn:aws:iam::" + account + ":root", AccessKeyID: "AKIAEXAMPLE",
		},
		SourceIP: "192.0.2.1", UserAgent: "test/1", Host: "arca.example:8443",
	}
}

func createInput(name string) *smapi.CreateSecretInput {
	value := api.SensitiveString("secret of " + name)
	return &smapi.CreateSecretInput{Name: name, SecretString: &value}
}

// create calls CreateSecret.
func (b *bed) create(ctx context.Context, name string) (any, error) {
	return b.d.Do(ctx, newCall(smapi.OpCreateSecret), createInput(name))
}

// read calls GetSecretValue.
func (b *bed) read(ctx context.Context, name string) (any, error) {
	return b.d.Do(ctx, newCall(smapi.OpGetSecretValue), &smapi.GetSecretValueInput{SecretId: name})
}

// has reports whether the note is stored.
func (b *bed) has(t *testing.T, name string) (ok bool) {
	t.Helper()
	err := b.store.View(t.Context(), func(v *store.Snap) error {
		_, ok = b.notes.Get(v, noteKey(name))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

// line is what tests look at of an audit line.
type line struct {
	EventID           string
	EventName         string
	EventType         string
	ErrorCode         string
	ErrorMessage      string
	RequestID         string
	RequestParameters map[string]any
	ResponseElements  map[string]any
	AdditionalData    map[string]any `json:"additionalEventData"`
	Arca              struct{ Changes []struct{ Table string } }
	raw               string
}

// String is the event, its error, and + for each changed record.
func (l line) String() string {
	s := l.EventName
	if l.ErrorCode != "" {
		s += " " + l.ErrorCode
	}
	for range l.Arca.Changes {
		s += "+"
	}
	return s
}

// lines reads the whole log. No event id may occur twice in it.
func (b *bed) lines(t *testing.T) (all []line) {
	t.Helper()
	seen := map[string]bool{}
	err := audit.Scan(t.Context(), b.logDir(), 0, func(_ uint64, raw []byte) error {
		l := line{raw: string(raw)}
		if err := json.Unmarshal(raw, &l); err != nil {
			return err
		}
		if seen[l.EventID] {
			t.Errorf("event id %s is in the log twice", l.EventID)
		}
		seen[l.EventID] = true
		all = append(all, l)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// events is the log in short.
func (b *bed) events(t *testing.T) []string {
	t.Helper()
	out := []string{}
	for _, l := range b.lines(t) {
		out = append(out, l.String())
	}
	return out
}

// code is the error's code and text as the client sees it, "" for none.
func code(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	aerr, ok := err.(*api.Error) //nolint:errorlint // Do promises this very type
	if !ok {
		t.Fatalf("error is a %T: %v", err, err)
	}
	return aerr.Code.Name + ": " + aerr.Message
}

const internal = "InternalServiceError: An error occurred on the server side."
