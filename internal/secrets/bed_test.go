package secrets_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"arca/internal/access"
	"arca/internal/api"
	"arca/internal/api/smapi"
	"arca/internal/audit"
	"arca/internal/audittest"
	"arca/internal/call"
	"arca/internal/envelope"
	"arca/internal/iam"
	"arca/internal/kms"
	"arca/internal/secrets"
	"arca/internal/store"
	"arca/internal/storetest"
)

const (
	bedAccount   = "123456789012"
	otherAccount = "999999999999"
	bedRegion    = "eu-west-1"
)

var bedStart = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

// bed runs operations as the server does: through a dispatcher, on a real store,
// with a real audit log.
type bed struct {
	store      *store.Store
	iam        *iam.Service
	kms        *kms.Service
	svc        *secrets.Service
	dispatcher *call.Dispatcher
	log        *audit.Log
	logDir     string
	now        time.Time

	// decide takes the place of the answers below: the server's own decisions, for tests
	// with more than one principal.
	decide *access.Service
	config secrets.Config // what a test wants to be set

	mu    sync.Mutex
	deny  func(ck *call.Check) bool // guarded by mu; nil allows everything
	asked []call.Check              // guarded by mu; without those about keys
	keys  []call.Check              // guarded by mu; those about keys
}

func newBed(t testing.TB, set ...func(*secrets.Config)) *bed {
	b := &bed{now: bedStart, logDir: filepath.Join(t.TempDir(), "audit")}
	for _, s := range set {
		s(&b.config)
	}
	b.store = storetest.New(t, b.attach, b.verify)
	b.start(t)
	return b
}

func (b *bed) attach(st *store.Store) {
	b.iam = iam.New(st, time.Now)
	cfg := b.config
	b.kms = kms.New(kms.Config{Store: st, IAM: b.iam, Logger: slog.New(slog.DiscardHandler)})
	cfg.Store, cfg.KMS, cfg.IAM, cfg.Logger = st, b.kms, b.iam, slog.New(slog.DiscardHandler)
	b.svc = secrets.New(cfg)
}

func (b *bed) verify(v *store.Snap, report func(problem string)) {
	b.svc.Check(context.Background(), v, report)
	b.kms.Check(v, report)
}

// everyCommit runs do with each of its commits failing in every way, and repeated
// after an error as a client repeats it. The whole store is checked after each run.
func everyCommit(t *testing.T, setup func(t *testing.T, b *bed), do func(t *testing.T, b *bed) error, verify func(t *testing.T, b *bed)) {
	everyCommitWith(t, func(*secrets.Config) {}, setup, do, verify)
}

func everyCommitWith(t *testing.T, set func(*secrets.Config), setup func(t *testing.T, b *bed), do func(t *testing.T, b *bed) error, verify func(t *testing.T, b *bed)) {
	storetest.EveryCommit(t, storetest.Scenario[*bed]{
		Attach: func(st *store.Store) *bed {
			b := &bed{now: bedStart, store: st}
			set(&b.config)
			b.attach(st)
			return b
		},
		Setup: func(t *testing.T, b *bed) {
			b.logDir = filepath.Join(t.TempDir(), "audit")
			b.start(t)
			setup(t, b)
		},
		Do:     do,
		Verify: verify,
		Check:  func(b *bed, v *store.Snap, report func(problem string)) { b.verify(v, report) },
	})
}

// start opens the audit log and registers the operations on a dispatcher.
func (b *bed) start(t testing.TB) {
	log := audittest.Open(t, audit.Config{Dir: b.logDir, Node: b.store.NodeID()})
	b.log = log
	b.dispatcher = call.New(call.Config{Store: b.store, Log: log, Authorize: b.authorize, Logger: slog.New(slog.DiscardHandler)})
	b.svc.Register(b.dispatcher)
	b.iam.Register(b.dispatcher)
	b.kms.Register(b.dispatcher)
	for _, account := range []string{bedAccount, otherAccount} {
		secret := envelope.NewPlaintext([]byte("secret of " + account))
		if err := b.iam.EnsureRoot(context.Background(), bedStart, account, "account"+account, "ROOT"+account, secret); err != nil {
			t.Fatal(err)
		}
	}
}

func (b *bed) authorize(ctx context.Context, c *call.Call, ck *call.Check) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if strings.HasPrefix(ck.Action, "kms:") {
		b.keys = append(b.keys, *ck)
	} else {
		b.asked = append(b.asked, secrets.WithKeys(ck))
	}
	if b.decide != nil {
		return b.decide.Authorize(ctx, c, ck)
	}
	if all := secrets.WithKeys(ck); b.deny != nil && b.deny(&all) {
		return api.AccessDeniedException.Errorf("User: %s is not authorized to perform: %s", c.Caller.ARN, ck.Action)
	}
	return nil
}

// denies makes the authorizer refuse these actions until the test ends.
func (b *bed) denies(t testing.TB, actions ...string) {
	b.refuse(func(ck *call.Check) bool {
		return slices.Contains(actions, strings.TrimPrefix(ck.Action, "secretsmanager:"))
	})
	t.Cleanup(func() { b.refuse(nil) })
}

func (b *bed) refuse(deny func(ck *call.Check) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deny = deny
}

// questions returns what the authorizer was asked since the last time, but for questions
// about keys.
func (b *bed) questions() []call.Check {
	b.mu.Lock()
	defer b.mu.Unlock()
	asked := b.asked
	b.asked = nil
	return asked
}

// callOption changes who calls, or where.
type callOption func(*call.Call)

func fromAccount(account string) callOption {
	return func(c *call.Call) {
		c.Caller = call.Principal{Type: call.Root, Account: account, ID: account, ARN: "arn:aws:iam::" + account + ":root"}
	}
}

func inRegion(region string) callOption { return func(c *call.Call) { c.Region = region } }

// call runs one call of bedAccount in bedRegion, unless options say otherwise.
func (b *bed) call(op *api.Operation, in any, options ...callOption) (any, error) {
	c := &call.Call{Op: op, Now: b.now, Partition: "aws", Region: bedRegion, RequestID: "11111111-2222-3333-4444-555555555555"}
	fromAccount(bedAccount)(c)
	for _, set := range options {
		set(c)
	}
	out, err := b.dispatcher.Do(context.Background(), c, in)
	codes.Note(op, err)
	return out, err
}

// do is call with the type of the answer.
func do[Out any](t testing.TB, b *bed, op *api.Operation, in any, options ...callOption) (*Out, error) {
	t.Helper()
	out, err := b.call(op, in, options...)
	if err != nil {
		return nil, err
	}
	if out == nil { // nothing is to be said
		return nil, nil
	}
	typed, ok := out.(*Out)
	if !ok {
		t.Fatalf("%s answered %T", op.Name, out)
	}
	return typed, nil
}

// must is do for calls that have to succeed.
func must[Out any](t testing.TB, b *bed, op *api.Operation, in any, options ...callOption) *Out {
	t.Helper()
	out, err := do[Out](t, b, op, in, options...)
	if err != nil {
		t.Fatalf("%s: %v", op.Name, err)
	}
	return out
}

// refused runs a call that has to fail with this code and text.
func refused(t testing.TB, b *bed, op *api.Operation, in any, want string, options ...callOption) {
	t.Helper()
	_, err := b.call(op, in, options...)
	aerr, ok := errors.AsType[*api.Error](err)
	if !ok {
		t.Fatalf("%s: error %v, want %s", op.Name, err, want)
	}
	if got := aerr.Code.Name + ": " + aerr.Message; got != want {
		t.Fatalf("%s: error\n %s, want\n %s", op.Name, got, want)
	}
}

// token is the n-th ClientRequestToken.
func token(n int) *string { return new(fmt.Sprintf("00000000-0000-4000-8000-%012d", n)) }

func itoa(n int) string { return strconv.Itoa(n) }

// create makes a secret with a value, a second after the one before.
func (b *bed) create(t testing.TB, name string, set ...func(*smapi.CreateSecretInput)) *smapi.CreateSecretOutput {
	t.Helper()
	b.now = b.now.Add(time.Second)
	value := api.SensitiveString("value of " + name)
	in := &smapi.CreateSecretInput{Name: name, ClientRequestToken: token(1), SecretString: &value}
	for _, s := range set {
		s(in)
	}
	return must[smapi.CreateSecretOutput](t, b, smapi.OpCreateSecret, in)
}

// auditEvents returns event name, error code and secret id of every audit record.
func (b *bed) auditEvents(t testing.TB) (events []string) {
	t.Helper()
	err := audit.Scan(context.Background(), b.logDir, 0, func(_ uint64, line []byte) error {
		var r struct {
			EventName         string
			ErrorCode         string
			RequestParameters struct{ SecretID string }
		}
		if err := json.Unmarshal(line, &r); err != nil {
			return err
		}
		events = append(events, strings.TrimSpace(r.EventName+" "+r.RequestParameters.SecretID+" "+r.ErrorCode))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return events
}

const (
	noSecret     = "ResourceNotFoundException: Secrets Manager can't find the specified secret."
	wasScheduled = "InvalidRequestException: You can't perform this operation on the secret because it was marked for deletion."
	badName      = "ValidationException: Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!"
	badPageToken = "InvalidNextTokenException: The NextToken value is invalid."
)

func denial(action string) string {
	return "AccessDeniedException: User: arn:aws:iam::" + bedAccount + ":root is not authorized to perform: secretsmanager:" + action
}
