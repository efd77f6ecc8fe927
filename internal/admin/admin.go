// Package admin serves Arca's own operations: the development clock, accounts and
// their guardrails, questions about access, the keys that everything is sealed under,
// backups, the audit log, and which rules secrets keep.
//
// Who may is decided by the authorizer, as for every operation: moving the clock,
// accounts, guardrails, keys, backups and the log of all accounts belong to the root of
// the management account, and looking at the clock to the root of any, whatever policies
// say.
//
// The clock moves what Arca dates: schedules, recovery windows, stored times. It
// never moves what protects the connection: signatures, certificates and tokens
// stay on the real clock.
package admin

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"arca/internal/access"
	"arca/internal/api/arcaapi"
	"arca/internal/audit"
	"arca/internal/backup"
	"arca/internal/call"
	"arca/internal/compliance"
	"arca/internal/iam"
	"arca/internal/store"
)

// clockRecord is how far the development clock has been moved.
type clockRecord struct {
	Offset int64 `cbor:"1,keyasint"` // nanoseconds, never negative
}

const clockFormat = 1

// Clock is real time plus an offset that is kept in the store.
type Clock struct {
	store  *store.Store
	table  *store.Table[clockRecord]
	offset atomic.Int64
	// movable is set before the server starts and only read afterwards.
	movable bool
}

// NewClock attaches the clock's table to a store that is not open yet. A clock that
// is not movable is real time, whatever the store says.
func NewClock(st *store.Store, movable bool) *Clock {
	return &Clock{
		store: st, movable: movable,
		table: store.NewTable(st, store.TableSpec[clockRecord]{Name: "clock", Format: clockFormat}),
	}
}

func clockKey() store.Key { return store.Key{Scope: "clock"} }

// ErrMovedClock is returned by Load when a server without a development clock is
// started on data whose clock was moved: its dates would jump back.
var ErrMovedClock = errors.New("the clock of this data was moved by `arca dev clock advance`; it can only be served by `arca dev`")

// Load reads the offset once the store is open.
func (k *Clock) Load(ctx context.Context) error {
	return k.store.View(ctx, func(v *store.Snap) error {
		r, ok := k.table.Get(v, clockKey())
		if !ok {
			return nil
		}
		if r.Offset != 0 && !k.movable {
			return ErrMovedClock
		}
		k.raise(time.Duration(r.Offset))
		return nil
	})
}

// raise takes over an offset that was stored. Of several it keeps the largest, which
// is the newest: two calls can get here in another order than they committed in.
func (k *Clock) raise(to time.Duration) {
	for {
		old := k.offset.Load()
		if old >= int64(to) || k.offset.CompareAndSwap(old, int64(to)) {
			return
		}
	}
}

// Now is the current time, moved by the offset.
func (k *Clock) Now() time.Time { return time.Now().Add(time.Duration(k.offset.Load())).UTC() }

// Config is what a Service needs.
type Config struct {
	Store  *store.Store
	Clock  *Clock
	IAM    *iam.Service
	Access *access.Service
	Keys   *Keys
	// Audit is the log that this node writes.
	Audit AuditLog
	// Compliance holds secrets against rules.
	Compliance *compliance.Service
	// Version of this binary, for the headers of backups.
	Version string
}

// Service serves the operations of arcaapi.
type Service struct {
	store  *store.Store
	clock  *Clock
	iam    *iam.Service
	access *access.Service
	keys   *Keys
	audit  AuditLog
	prover *audit.Prover

	backups    *backup.Maker
	compliance *compliance.Service
}

// New builds the service.
func New(cfg Config) *Service {
	return &Service{
		store: cfg.Store, clock: cfg.Clock, iam: cfg.IAM, access: cfg.Access, keys: cfg.Keys,
		audit: cfg.Audit, prover: audit.NewProver(), backups: backup.NewMaker(cfg.Store, cfg.Version), compliance: cfg.Compliance,
	}
}

// Register adds the operations to a dispatcher.
func (s *Service) Register(d *call.Dispatcher) {
	call.Register(d, arcaapi.OpAcknowledgeAuditBreak, s.AcknowledgeAuditBreak)
	call.Register(d, arcaapi.OpAdvanceClock, s.AdvanceClock)
	call.Register(d, arcaapi.OpBeginBackup, s.BeginBackup)
	call.Register(d, arcaapi.OpCreateAccount, s.CreateAccount)
	call.Register(d, arcaapi.OpCreateRootAccessKey, s.CreateRootAccessKey)
	call.Register(d, arcaapi.OpDeleteAccountGuardrail, s.DeleteAccountGuardrail)
	call.Register(d, arcaapi.OpDescribeAuditLog, s.DescribeAuditLog)
	call.Register(d, arcaapi.OpDescribeCompliance, s.DescribeCompliance)
	call.Register(d, arcaapi.OpDescribeErase, s.DescribeErase)
	call.Register(d, arcaapi.OpDescribeKeyring, s.DescribeKeyring)
	call.Register(d, arcaapi.OpExplainAccess, s.ExplainAccess)
	call.Register(d, arcaapi.OpGetAccountGuardrail, s.GetAccountGuardrail)
	call.Register(d, arcaapi.OpGetClock, s.GetClock)
	call.Register(d, arcaapi.OpListAccounts, s.ListAccounts)
	call.Register(d, arcaapi.OpProveAuditEvent, s.ProveAuditEvent)
	call.Register(d, arcaapi.OpPutAccountGuardrail, s.PutAccountGuardrail)
	call.Register(d, arcaapi.OpReadBackup, s.ReadBackup)
	call.Register(d, arcaapi.OpRotateKeyring, s.RotateKeyring)
	call.Register(d, arcaapi.OpRotateRootKey, s.RotateRootKey)
	call.Register(d, arcaapi.OpSearchAuditLog, s.SearchAuditLog)
	call.Register(d, arcaapi.OpStartErase, s.StartErase)
	call.Register(d, arcaapi.OpWhoCan, s.WhoCan)
}

// maxOffset keeps every date Arca computes within what its formats can write.
const maxOffset = 100 * 365 * 24 * time.Hour

// AdvanceClock moves the development clock forward. It never goes back: dates that
// were already stored would lie in the future.
func (s *Service) AdvanceClock(ctx context.Context, c *call.Call, in *arcaapi.AdvanceClockInput) (*arcaapi.AdvanceClockOutput, error) {
	if err := c.Authorize(ctx, &call.Check{Action: "arca:AdvanceClock", Resource: "*"}); err != nil {
		return nil, err
	}
	if !s.clock.movable {
		return nil, arcaapi.InvalidParameterException.Errorf("This server runs on real time. Only `arca dev` has a clock that can be moved.")
	}
	by, err := ParseDuration(in.Duration)
	if err != nil {
		return nil, arcaapi.InvalidParameterException.Errorf("%s", err)
	}
	var total time.Duration
	err = c.Update(ctx, s.clock.store, func(tx *store.Tx) error {
		old := time.Duration(0)
		if r, ok := s.clock.table.Get(tx.Snap, clockKey()); ok {
			old = time.Duration(r.Offset)
		}
		if total = old + by; total > maxOffset {
			return arcaapi.InvalidParameterException.Errorf("The clock can be at most 100 years ahead.")
		}
		s.clock.table.Put(tx, clockKey(), &clockRecord{Offset: int64(total)})
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.clock.raise(total)
	now := s.clock.Now()
	return &arcaapi.AdvanceClockOutput{Now: &now}, nil
}

// GetClock tells the server's time and how far it has been moved.
func (s *Service) GetClock(ctx context.Context, c *call.Call, _ *arcaapi.GetClockInput) (*arcaapi.GetClockOutput, error) {
	if err := c.Authorize(ctx, &call.Check{Action: "arca:GetClock", Resource: "*"}); err != nil {
		return nil, err
	}
	now, offset := s.clock.Now(), time.Duration(s.clock.offset.Load()).String()
	return &arcaapi.GetClockOutput{Now: &now, Offset: &offset}, nil
}

// ParseDuration reads what people write for spans of days: time.ParseDuration's
// units and, before them, whole days ("31d", "1d12h", "90m"). It is positive and at
// most 100 years.
func ParseDuration(s string) (time.Duration, error) {
	bad := fmt.Errorf("duration %q is not of the form 31d, 12h or 1d12h30m", s)
	var d time.Duration
	rest := s
	if days, tail, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, bad
		}
		d, rest = time.Duration(n)*24*time.Hour, tail
	}
	if rest != "" {
		r, err := time.ParseDuration(rest)
		if err != nil || strings.ContainsAny(rest, "+-") || r > maxOffset {
			return 0, bad
		}
		d += r
	}
	if d <= 0 || d > maxOffset {
		return 0, fmt.Errorf("duration %q is not between one nanosecond and 100 years", s)
	}
	return d, nil
}
