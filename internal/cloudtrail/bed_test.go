package cloudtrail_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"arca/internal/access"
	"arca/internal/api"
	"arca/internal/api/cloudtrailapi"
	"arca/internal/audit"
	"arca/internal/audittest"
	"arca/internal/call"
	"arca/internal/cloudtrail"
	"arca/internal/codetest"
	"arca/internal/envelope"
	"arca/internal/iam"
	"arca/internal/store"
	"arca/internal/storetest"
	"arca/internal/trail"
	"arca/internal/wire"
)

const (
	account      = "123456789012"
	otherAccount = "999999999999"
	region       = "eu-west-1"
)

var start = time.Date(2026, 11, 4, 5, 6, 7, 0, time.UTC)

// codes are those that operations answered with in this run.
var codes codetest.Codes

// unprovoked says why nothing in this package answers with a code that the description
// lists.
func unprovoked(_, code string) string {
	switch code {
	case cloudtrailapi.InvalidEventCategoryException.Name:
		return "which categories there are is in the published constraints, which package wire checks"
	case cloudtrailapi.UnsupportedOperationException.Name:
		return "what is served is supported"
	case cloudtrailapi.OperationNotPermittedException.Name:
		return "there are no organizations whose trails would forbid something"
	}
	return ""
}

func TestMain(m *testing.M) {
	codes.Main(m, func() []*api.Operation { return cloudtrailapi.Service.Operations }, unprovoked)
}

// house runs LookupEvents as the server does, over a log that tests write to.
type house struct {
	store      *store.Store
	log        *audit.Log
	iam        *iam.Service
	trail      *trail.Trail
	dispatcher *call.Dispatcher
	now        time.Time
	dir        string
	n          int
}

func newHouse(t *testing.T, perSecond float64) *house {
	t.Helper()
	h := &house{now: start}
	h.store = storetest.New(t, func(st *store.Store) { h.iam = iam.New(st, time.Now) })
	for _, account := range []string{account, otherAccount} {
		secret := envelope.NewPlaintext([]byte("secret of " + account))
		if err := h.iam.EnsureRoot(context.Background(), start, account, "", "AKIA"+account, secret); err != nil {
			t.Fatal(err)
		}
	}
	h.dir = filepath.Join(t.TempDir(), "n1")
	h.log = audittest.Open(t, audit.Config{Dir: h.dir, Node: "n1", MaxSegmentBytes: 32 << 10})
	var err error
	if h.trail, err = trail.Open(trail.Config{Log: h.log, LogDir: h.dir}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.trail.Close(); err != nil {
			t.Error(err)
		}
	})
	decide := access.New(access.Config{Store: h.store, IAM: h.iam})
	h.dispatcher = call.New(call.Config{Store: h.store, Log: h.log, Authorize: decide.Authorize, Logger: slog.New(slog.DiscardHandler)})
	cloudtrail.New(cloudtrail.Config{Store: h.store, Trail: h.trail, RequestsPerSecond: perSecond}).Register(h.dispatcher)
	h.iam.Register(h.dispatcher)
	return h
}

// write appends a record that change may change, and returns its event id.
func (h *house) write(t *testing.T, change func(r *audit.Record)) string {
	t.Helper()
	r := &audit.Record{
		EventID: fmt.Sprintf("00000000-0000-4000-8000-%012d", h.n), EventTime: start.Add(-time.Hour + time.Duration(h.n)*time.Second),
		EventType: "AwsApiCall", EventSource: "secretsmanager.amazonaws.com", EventName: "GetSecretValue", ReadOnly: true,
		Region: region, SourceIP: "192.0.2.1", UserAgent: "test", RequestID: "r", RecipientAccountID: account,
		Identity: audit.Identity{
			Type: "IAMUser", PrincipalID: "AIDA", ARN: "arn:aws:iam::" + account + ":user/alice", AccountID: account,
			AccessKeyID: "AKIAALICE", UserName: "alice",
		},
		RequestParameters: []byte(`{"secretId":"db/password"}`),
	}
	h.n++
	if change != nil {
		change(r)
	}
	if err := h.log.Append(t.Context(), r.AppendLine(nil, "n1")); err != nil {
		t.Fatal(err)
	}
	return r.EventID
}

// lookup runs one lookup of account's root, unless options say otherwise.
func (h *house) lookup(in *cloudtrailapi.LookupEventsInput, options ...func(*call.Call)) (*cloudtrailapi.LookupEventsOutput, error) {
	c := &call.Call{
		Op: cloudtrailapi.OpLookupEvents, Now: h.now, Partition: "aws", Region: region, SourceIP: "192.0.2.10",
		RequestID: "11111111-2222-3333-4444-555555555555", Caller: iam.RootPrincipal(account, "AKIA"+account),
	}
	for _, set := range options {
		set(c)
	}
	if err := wire.Validate(c.Op, in); err != nil {
		return nil, err
	}
	out, err := h.dispatcher.Do(context.Background(), c, in)
	codes.Note(c.Op, err)
	if err != nil {
		return nil, err
	}
	return out.(*cloudtrailapi.LookupEventsOutput), nil
}

func as(p call.Principal) func(*call.Call) { return func(c *call.Call) { c.Caller = p } }

func in(region string) func(*call.Call) { return func(c *call.Call) { c.Region = region } }

// ids pages through a lookup.
func (h *house) ids(t *testing.T, in cloudtrailapi.LookupEventsInput, options ...func(*call.Call)) []string {
	t.Helper()
	ids := []string{}
	for range 1000 {
		out, err := h.lookup(&in, options...)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range out.Events {
			if *e.EventSource != "cloudtrail.amazonaws.com" { // the lookups themselves
				ids = append(ids, *e.EventId)
			}
		}
		if out.NextToken == nil {
			return ids
		}
		in.NextToken = out.NextToken
	}
	t.Fatal("the lookup does not end")
	return nil
}

func refused(t *testing.T, what string, err error, code *api.Code) {
	t.Helper()
	if aerr, ok := errors.AsType[*api.Error](err); !ok || aerr.Code != code {
		t.Errorf("%s: %v, want %s", what, err, code.Name)
	}
}
