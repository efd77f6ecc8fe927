// Package app builds a server from one Config and runs it: it is the only place
// that knows every part. It starts all goroutines and ends them in order: first the
// listeners, then the engines, then the audit log, at last the store, so that what
// was answered is written down.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"arca/internal/access"
	"arca/internal/admin"
	"arca/internal/audit"
	"arca/internal/call"
	"arca/internal/cloudtrail"
	"arca/internal/compliance"
	"arca/internal/envelope"
	"arca/internal/event"
	"arca/internal/iam"
	"arca/internal/kms"
	"arca/internal/lambda"
	"arca/internal/rootkey"
	"arca/internal/rotation"
	"arca/internal/rotator"
	"arca/internal/secrets"
	"arca/internal/server"
	"arca/internal/ship"
	"arca/internal/space"
	"arca/internal/store"
	"arca/internal/sts"
	"arca/internal/trail"
)

// App is a server that is open but perhaps not yet serving.
type App struct {
	cfg      Config
	log      *slog.Logger
	store    *store.Store
	register *audit.Register
	audit    *audit.Log
	trail    *trail.Trail
	// ship and events are nil unless something is served.
	ship     *ship.Shipper
	bus      *event.Bus
	events   *event.Service
	space    *space.Watcher
	clock    *admin.Clock
	iam      *iam.Service
	access   *access.Service
	kms      *kms.Service
	secrets  *secrets.Service
	lambda   *lambda.Service
	runners  atomic.Pointer[runners] // nil unless functions can be run
	dispatch *call.Dispatcher
	registry *prometheus.Registry

	// wantedChanges is what wantsChange has found, by changeKind.
	wantedChanges sync.Map

	rootKeyReachable *prometheus.GaugeVec

	mode   mode
	expiry *secrets.Expiry
	upkeep *kms.Upkeep
	rotate *rotation.Engine
	keys   *admin.Keys
	eraser *admin.Eraser

	survey     *secrets.Survey
	compliance *compliance.Service

	// edge and listeners are set by listen, and stay empty when nothing is served.
	edge      *server.Server
	listeners server.RunConfig

	// background runs from open to close; stopBackground ends it.
	background     *errgroup.Group
	stopAudit      context.CancelFunc
	auditEnded     chan struct{}
	stopBackground context.CancelFunc
	backgroundCtx  context.Context
}

// mode is how the two ways to start differ below their settings.
type mode struct {
	movableClock   bool
	anyCredentials bool
	// reachLoopback lets URLs that accounts name lead to this machine.
	reachLoopback bool
	rootKey       rootkey.Provider
	// noBallast is for data that is gone at the end, perhaps in memory.
	noBallast bool
}

// open builds everything up to the point where requests could be served. On error
// nothing stays open.
func open(ctx context.Context, cfg Config, m mode, log *slog.Logger) (_ *App, err error) {
	a := &App{cfg: cfg, log: log, mode: m, registry: prometheus.NewRegistry()}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	defer m.rootKey.Wipe() // the store has opened its keyring by then, or never will
	if err := a.makeFolders(); err != nil {
		return nil, err
	}
	if a.space, err = newSpace(&cfg, m, log); err != nil {
		return nil, err
	}
	// On a disk that is full this gives the ballast up, so that etcd can start at all.
	if err := a.space.Step(ctx, time.Now()); err != nil {
		return nil, fmt.Errorf("look at free disk space: %w", err)
	}
	a.attach()
	if err := a.store.Open(ctx); err != nil {
		return nil, fmt.Errorf("open store in %s: %w", cfg.DataDir, err)
	}
	if err := a.clock.Load(ctx); err != nil {
		return nil, err
	}
	if err := a.iam.Upgrade(ctx); err != nil {
		return nil, fmt.Errorf("upgrade accounts: %w", err)
	}
	if err := a.kms.Upgrade(ctx); err != nil {
		return nil, fmt.Errorf("upgrade aliases of keys: %w", err)
	}
	if a.gate(false) == nil {
		a.secrets.Upgrade(ctx)
	} // else what can be is moved while it serves
	if err := a.openAudit(ctx); err != nil {
		return nil, err
	}
	a.access = access.New(access.Config{
		Store: a.store, IAM: a.iam, OrganizationID: a.organizationID(), TellClients: cfg.Access.ExplainDenials,
		Find: a.findResource,
	})
	limit := newLimiter(cfg.Rates)
	a.dispatch = call.New(call.Config{
		Store: a.store, Log: a.audit, Authorize: a.access.Authorize, Logger: log,
		Gate: a.gate, Limit: limit.Limit,
	})
	tokens, err := a.cfg.newTokenVerifier(log, m.reachLoopback)
	if err != nil {
		return nil, err
	}
	a.secrets.Register(a.dispatch)
	a.kms.Register(a.dispatch)
	a.lambda.Register(a.dispatch)
	a.iam.Register(a.dispatch)
	a.access.Register(a.dispatch)
	sts.New(sts.Config{Store: a.store, IAM: a.iam, OIDC: tokens}).Register(a.dispatch)
	cloudtrail.New(cloudtrail.Config{Store: a.store, Trail: a.trail}).Register(a.dispatch)
	a.expiry = secrets.NewExpiry(a.secrets, a.dispatch)
	a.upkeep = kms.NewUpkeep(a.kms, a.dispatch)
	a.rotate = rotation.New(rotation.Config{
		Store: a.store, Rotations: secrets.NewRotations(a.secrets, a.dispatch), Lambda: a.lambda, Now: a.clock.Now, Logger: log,
		Workers: cfg.Rotation.Workers, PerFunction: cfg.Rotation.PerFunction, StartsPerSecond: cfg.Rotation.StartsPerSecond,
	})
	a.eraser = admin.NewEraser(a.keys, a.dispatch, log)
	a.newCompliance()
	admin.New(admin.Config{
		Store: a.store, Clock: a.clock, IAM: a.iam, Access: a.access, Keys: a.keys, Version: cfg.Version,
		Audit:      admin.AuditLog{Node: a.store.NodeID(), Dir: a.auditDir(), Log: a.audit, Register: a.register, Trail: a.trail},
		Compliance: a.compliance,
	}).Register(a.dispatch)
	a.startBackground()
	if err := a.dispatch.Recover(ctx); err != nil {
		return nil, err
	}
	a.registerMetrics()
	return a, nil
}

// findResource looks up what somebody asks about: a key or a function by its ARN, or
// else a secret.
func (a *App) findResource(v *store.Snap, c *call.Call, resource string) (call.Check, bool) {
	if ck, found := a.kms.Resource(v, c, resource); found {
		return ck, true
	}
	if ck, found := a.lambda.Resource(v, c, resource); found {
		return ck, true
	}
	return a.secrets.Resource(v, c, resource)
}

// attach builds the parts that keep records; their tables must exist before the
// store is opened.
func (a *App) attach() {
	cfg, log := &a.cfg, a.log
	a.store = store.New(store.Config{Dir: filepath.Join(cfg.DataDir, "store"), RootKey: a.mode.rootKey, Logger: log})
	a.register = audit.NewRegister(a.store)
	a.clock = admin.NewClock(a.store, a.mode.movableClock)
	a.iam = iam.New(a.store, time.Now)
	a.keys = admin.NewKeys(a.store, admin.KeysConfig{
		StoreDir: filepath.Join(cfg.DataDir, "store"), RootKeyFile: cfg.RootKey.place(), IAM: a.iam,
	})
	a.kms = kms.New(kms.Config{Store: a.store, IAM: a.iam, Logger: log})
	a.lambda = lambda.New(lambda.Config{Store: a.store, IAM: a.iam, Logger: log, BuiltIn: rotator.Known, Runner: a.runner})
	a.secrets = secrets.New(secrets.Config{
		Store: a.store, KMS: a.kms, IAM: a.iam, Logger: log, Function: rotation.FunctionCheck(a.lambda),
		ListOnlyDescribable: cfg.Access.ListOnlyDescribable, OmitKeyEvents: cfg.OmitKMSEvents,
		Quotas: secrets.Quotas{
			Secrets: cfg.Quotas.SecretsPerRegion, Labels: cfg.Quotas.LabelsPerSecret,
			Versions: cfg.Quotas.VersionsPerSecret, Tags: cfg.Quotas.TagsPerSecret,
		},
	})
	a.survey = secrets.NewSurvey(a.secrets)
}

func newSpace(cfg *Config, m mode, log *slog.Logger) (*space.Watcher, error) {
	if err := os.MkdirAll(cfg.AuditDir, 0o700); err != nil {
		return nil, fmt.Errorf("create audit_dir: %w", err)
	}
	var marks [3]space.Mark
	for i, text := range []string{cfg.Space.WriteMark, cfg.Space.ReadMark, cfg.Space.Ballast} {
		var err error
		if marks[i], err = space.ParseMark(text); err != nil {
			return nil, err
		}
	}
	ballast := marks[2].Bytes
	if m.noBallast {
		ballast = -1
	}
	return space.New(space.Config{
		Paths: []space.Path{
			{Dir: cfg.DataDir, Role: "data directory"}, {Dir: cfg.AuditDir, Role: "audit log"},
		},
		WriteMark: marks[0], ReadMark: marks[1], BallastBytes: ballast, Logger: log,
	})
}

// startBackground runs what must live as long as the store is open: the log and the
// mirror first of all, since opening already depends on them.
func (a *App) startBackground() {
	ctx, cancel := context.WithCancel(context.Background())
	a.background, a.backgroundCtx = errgroup.WithContext(ctx)
	a.stopBackground = cancel
	a.background.Go(func() error { return a.store.Run(a.backgroundCtx) })
	// The log signs a last checkpoint when it ends, and the store keeps that.
	auditCtx, stopAudit := context.WithCancel(a.backgroundCtx)
	a.stopAudit, a.auditEnded = stopAudit, make(chan struct{})
	a.background.Go(func() error {
		defer close(a.auditEnded)
		return a.audit.Run(auditCtx)
	})
	a.background.Go(func() error { return a.space.Run(a.backgroundCtx) })
}

// gate refuses calls the disk has no room for.
func (a *App) gate(readOnly bool) error {
	if readOnly {
		return a.space.Reads()
	}
	return a.space.Writes()
}

// engineInterval is how often engines look for what is due.
const engineInterval = time.Second

// runEngines leads and steps the engines of this process until ctx ends.
func (a *App) runEngines(ctx context.Context) error {
	return a.store.Lead(ctx, "expiry", func(ctx context.Context, _ *store.Leadership) error {
		tick := time.NewTicker(engineInterval)
		defer tick.Stop()
		for {
			if a.gate(false) == nil {
				a.stepEngines(ctx)
			} // else what is due stays due; package space has said why
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	})
}

// stepEngines does what is due now, a bounded amount of it.
func (a *App) stepEngines(ctx context.Context) {
	now := a.clock.Now()
	if err := a.expiry.Step(ctx, now); err != nil && ctx.Err() == nil {
		a.log.Warn("expiry step did not finish; it is tried again", "error", err.Error())
	}
	if err := a.upkeep.Step(ctx, now); err != nil && ctx.Err() == nil {
		a.log.Warn("upkeep of keys did not finish; it is tried again", "error", err.Error())
	}
	if err := a.lambda.Sweep(ctx, now); err != nil && ctx.Err() == nil {
		a.log.Warn("unused code of functions is removed later", "error", err.Error())
	}
}

// runRotation rotates secrets while this process leads.
func (a *App) runRotation(ctx context.Context) error {
	return a.store.Lead(ctx, "rotation", func(ctx context.Context, _ *store.Leadership) error {
		a.rotate.Run(ctx, func() error { return a.gate(false) })
		return nil
	})
}

// accessTicks is after how many looks days of access are stored that are left to gather.
const accessTicks = 10

// tidy does what every node does for itself: it writes audit lines that could not be
// written when they were due, or of which nobody knew whether they were, and stores
// days of last access.
func (a *App) tidy(ctx context.Context) error {
	tick := time.NewTicker(engineInterval)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := a.dispatch.Settle(ctx); err != nil {
				a.log.Error("audit log cannot be written; calls are refused until it can", "error", err.Error())
			} else if err := a.dispatch.Recover(ctx); err != nil && ctx.Err() == nil {
				a.log.Error("audit records of changes whose outcome was unknown are written later", "error", err.Error())
			}
			if a.gate(false) != nil {
				continue
			}
			if err := a.secrets.UpgradeSome(ctx); err != nil && ctx.Err() == nil {
				a.log.Warn("days of last access that an older version has stored are moved later", "error", err.Error())
			}
			if n%accessTicks == 0 || a.secrets.AccessDue() {
				if err := a.secrets.FlushAccess(ctx); err != nil && ctx.Err() == nil {
					a.log.Warn("days of last access are stored later", "error", err.Error())
				}
			}
			if err := a.iam.FlushUses(ctx); err != nil && ctx.Err() == nil {
				a.log.Warn("times of last use of credentials are stored later", "error", err.Error())
			}
		}
	}
}

// fillCatalog has every node fill what filtered lists are found by, after the start and
// whenever the store had to be read anew. It is beside tidy because it may take seconds.
func (a *App) fillCatalog(ctx context.Context) error {
	tick := time.NewTicker(engineInterval)
	defer tick.Stop()
	for {
		if err := a.secrets.FillCatalog(ctx); err != nil && ctx.Err() == nil {
			a.log.Warn("what filtered lists are found by is filled later", "error", err.Error())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Run serves until ctx ends, then stops in order: it finishes what is in flight,
// for at most the configured time. It returns early when a part breaks that the
// server cannot do without.
func (a *App) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.edge.Run(ctx, a.listeners) })
	g.Go(func() error { return a.renewCertificate(ctx) })
	g.Go(func() error { return a.watchRootKey(ctx) })
	g.Go(func() error { return a.runEngines(ctx) })
	g.Go(func() error { return a.runKeys(ctx) })
	g.Go(func() error { return a.runRotation(ctx) })
	g.Go(func() error { return a.tidy(ctx) })
	g.Go(func() error { return a.fillCatalog(ctx) })
	g.Go(func() error { return a.trail.Run(ctx) })
	g.Go(func() error { return a.maintainAudit(ctx) })
	// Those who follow the log go on until the last request has its line.
	following, stopFollowing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopFollowing()
	var followers errgroup.Group
	followers.Go(func() error { return a.ship.Run(following) })
	followers.Go(func() error { return a.events.Run(following) })
	g.Go(func() error { return a.runCompliance(ctx) })
	g.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-a.backgroundCtx.Done():
			return fmt.Errorf("a part of the server ended: %w", context.Cause(a.backgroundCtx))
		}
	})
	err := g.Wait()
	a.lastFlush()
	stopFollowing()
	err = errors.Join(err, followers.Wait())
	return errors.Join(err, a.Close())
}

// lastFlushTimeout bounds what a stop spends on each kind of what a crash may lose.
const lastFlushTimeout = 5 * time.Second

// lastFlush stores the days of last access that the last requests left.
func (a *App) lastFlush() {
	if a.gate(false) != nil || a.backgroundCtx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastFlushTimeout)
	defer cancel()
	if err := a.secrets.FlushAccess(ctx); err != nil {
		a.log.Warn("days of last access since the last flush are lost", "error", err.Error())
	}
	usesCtx, cancelUses := context.WithTimeout(context.Background(), lastFlushTimeout)
	defer cancelUses()
	if err := a.iam.FlushUses(usesCtx); err != nil {
		a.log.Warn("times of last use of credentials since the last flush are lost", "error", err.Error())
	}
}

// Close ends everything that open started. Idempotent, but not to be called beside
// Run, which ends with it.
func (a *App) Close() error {
	var errs []error
	a.closeListeners()
	errs = append(errs, a.closeRunners())
	if a.stopBackground != nil {
		a.stopAudit()
		<-a.auditEnded
		a.stopBackground()
		if err := a.background.Wait(); err != nil && !errors.Is(err, context.Canceled) {
			errs = append(errs, err)
		}
		a.stopBackground = nil
	}
	if a.compliance != nil {
		errs = append(errs, a.compliance.Close())
	}
	if a.trail != nil {
		errs = append(errs, a.trail.Close())
	}
	if a.audit != nil {
		errs = append(errs, a.audit.Close())
	}
	if a.store != nil {
		errs = append(errs, a.store.Close())
	}
	return errors.Join(errs...)
}

// Addr is the address the API listens on, with the real port.
func (a *App) Addr() string { return a.listeners.API.Addr().String() }

// OpsAddr is the address of the ops listener, "" without one.
func (a *App) OpsAddr() string {
	if a.listeners.Ops == nil {
		return ""
	}
	return a.listeners.Ops.Addr().String()
}

// URL is what clients set as their endpoint.
func (a *App) URL() string {
	scheme := "https"
	if a.cfg.TLS.Off {
		scheme = "http"
	}
	addr := a.Addr()
	// Nobody can connect to the wildcard address itself.
	if host, port, err := net.SplitHostPort(addr); err == nil && net.ParseIP(host).IsUnspecified() {
		addr = net.JoinHostPort(a.reachableHost(), port)
	}
	return scheme + "://" + addr
}

// reachableHost is a name under which a server that listens everywhere is reached.
func (a *App) reachableHost() string {
	for _, h := range a.cfg.Hosts {
		if !strings.Contains(h, "*") {
			return h
		}
	}
	return "127.0.0.1"
}

// listenError says which setting is wrong, and what to do when the port is taken.
func listenError(setting, addr string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s: %s is in use, perhaps by another server: choose another port; port 0 picks a free one: %w", setting, addr, syscall.EADDRINUSE)
	}
	return fmt.Errorf("%s: %w", setting, err)
}

func (a *App) registerMetrics() {
	a.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	a.registry.MustRegister(a.dispatch.Metrics.Collectors()...)
	a.registry.MustRegister(a.rotate.Metrics().Collectors()...)
	a.registry.MustRegister(a.audit.Metrics(), a.space, newKeyMetrics(a.store), a.compliance)
	a.rootKeyReachable = newRootKeyMetric()
	a.registry.MustRegister(a.store.Metrics(), kms.NewMetrics(a.kms), newBuildInfo(a.cfg.Version), a.rootKeyReachable,
		newResourceCount(func() int { return a.store.Stats().Records["secret"] }))
}

// Check runs every invariant check over an open server's data and reports problems.
func (a *App) Check(ctx context.Context, report func(problem string)) error {
	if err := a.store.Check(ctx, report); err != nil {
		return fmt.Errorf("check store: %w", err)
	}
	err := a.store.View(ctx, func(v *store.Snap) error {
		a.iam.Check(v, report)
		a.kms.Check(v, report)
		a.lambda.Check(ctx, v, report)
		a.secrets.Check(ctx, v, report)
		a.register.Check(v, report)
		return nil
	})
	if err != nil {
		return fmt.Errorf("check records: %w", err)
	}
	if err := a.audit.Check(ctx, report); err != nil {
		return fmt.Errorf("check audit log: %w", err)
	}
	return nil
}

// Dump writes every record as a line of JSON.
func (a *App) Dump(ctx context.Context, w io.Writer) error { return a.store.Dump(ctx, w) }

// ensureRoot makes the root credential of an account.
func (a *App) ensureRoot(ctx context.Context, account, keyID string, secret envelope.Plaintext) error {
	return a.iam.EnsureRoot(ctx, a.clock.Now(), account, "", keyID, secret)
}
