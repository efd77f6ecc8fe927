package app

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"arca/internal/api"
	"arca/internal/call"
	"arca/internal/compliance"
	"arca/internal/event"
	"arca/internal/rootkey"
	"arca/internal/store"
)

// Seams for tests.
var (
	AWSRates    = awsRates
	GroupOf     = groupOf
	NewLimiter  = newLimiter
	ReplaceFile = replaceFile

	NewPatientKey = newPatientKey
)

// Lifetimes of the server's own certificate.
const (
	OwnCertificateLife    = ownCertificateLife
	OwnCertificateRenewal = ownCertificateRenewal
)

// EnsureOwnCertificate is ensureOwnCertificate.
func EnsureOwnCertificate(c *Config, now time.Time) (certFile, keyFile, fingerprint string, err error) {
	return c.ensureOwnCertificate(now)
}

// Dispatcher is what a server runs its calls with.
func Dispatcher(a *App) *call.Dispatcher { return a.dispatch }

// Limit asks the limiter about a call.
func Limit(l *limiter, account, region string, op *api.Operation) error {
	return l.Limit(&call.Call{Op: op, Region: region, Caller: call.Principal{Account: account}})
}

// ClosedStore is the store of a configuration, with all its tables and not open.
func ClosedStore(cfg Config, key rootkey.Provider) *store.Store {
	a := &App{cfg: cfg, log: slog.New(slog.DiscardHandler), mode: mode{rootKey: key}}
	a.attach()
	return a.store
}

// StoreOf is the store of a server.
func StoreOf(a *App) *store.Store { return a.store }

// Registry is where the metrics of a server are registered.
func Registry(a *App) *prometheus.Registry { return a.registry }

// TryRootKey tries whether the root key of a server can be reached.
func TryRootKey(ctx context.Context, a *App) { a.tryRootKey(ctx) }

// Edge is the handler that a server serves.
func Edge(a *App) http.Handler { return a.edge }

// ComplianceEvent is the event of a change, and what wantsChange asks about.
func ComplianceEvent(c compliance.Change) (e event.Event, part []byte, err error) {
	e, err = complianceEvent(&c)
	return e, changeKind{c.Rule, c.New}.part(), err
}
