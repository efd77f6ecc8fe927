package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"arca/internal/api/arcaapi"
	"arca/internal/api/cloudtrailapi"
	"arca/internal/api/iamapi"
	"arca/internal/api/kmsapi"
	"arca/internal/api/lambdaapi"
	"arca/internal/api/smapi"
	"arca/internal/api/stsapi"
	"arca/internal/arn"
	"arca/internal/server"
	"arca/internal/wire"
)

// listen opens the listeners and builds the edge: afterwards clients can connect,
// and are answered as soon as Run serves.
func (a *App) listen(ctx context.Context) error {
	router, err := wire.NewRouter(smapi.Service, kmsapi.Service, iamapi.Service, stsapi.Service, lambdaapi.Service, cloudtrailapi.Service, arcaapi.Service)
	if err != nil {
		return fmt.Errorf("build router: %w", err)
	}
	regions := a.cfg.Regions
	if len(regions) == 0 {
		regions = arn.Regions()
	}
	verify := server.NewSignatures(server.FromIAM(a.iam), regions, time.Now)
	if a.mode.anyCredentials {
		verify = server.AnyCredentials(DevAccount, regions)
	}
	edge, err := server.New(server.Config{
		Do: a.do, Refused: a.dispatch.Refuse, Router: router, Verify: verify, Now: a.clock.Now,
		Hosts: a.cfg.Hosts, TrustedProxies: a.cfg.TrustedProxies, Logger: a.log,
	})
	if err != nil {
		return err
	}
	a.registry.MustRegister(edge.Metrics().Collectors()...)
	run := server.RunConfig{Drain: a.cfg.shutdownTimeout()}
	if !a.cfg.TLS.Off {
		if run.Certificate, err = a.certificate(); err != nil {
			return err
		}
		a.registry.MustRegister(newCertificateMetric(run.Certificate))
	}
	var lc net.ListenConfig
	if run.API, err = lc.Listen(ctx, "tcp", a.cfg.Listen); err != nil {
		return listenError("listen", a.cfg.Listen, err)
	}
	if a.cfg.OpsListen != "" {
		if run.Ops, err = lc.Listen(ctx, "tcp", a.cfg.OpsListen); err != nil {
			return errors.Join(listenError("ops_listen", a.cfg.OpsListen, err), run.API.Close())
		}
		run.OpsHandler = server.NewOps(server.OpsConfig{
			Ready:   a.ready,
			Metrics: promhttp.HandlerFor(a.registry, promhttp.HandlerOpts{}),
		})
	}
	a.edge, a.listeners = edge, run
	if a.ship, err = a.newShipper(a.log); err != nil {
		return err
	}
	if a.events, err = a.openEvents(ctx); err != nil {
		return err
	}
	a.registry.MustRegister(a.ship.Metrics(), a.events.Metrics())
	return a.openRunners()
}

// closeListeners is for listeners that were never served: Run closes its own.
func (a *App) closeListeners() {
	for _, l := range []net.Listener{a.listeners.API, a.listeners.Ops} {
		if l != nil {
			_ = l.Close()
		}
	}
}

// checkCertificate finds out early whether a configured certificate can be served.
func (c *Config) checkCertificate(log *slog.Logger) error {
	if c.TLS.CertFile == "" {
		return nil
	}
	if _, err := server.OpenCertificate(c.TLS.CertFile, c.TLS.KeyFile, log); err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	return nil
}

// CheckFiles reads the files that a valid configuration names and a start would need
// at once: certificate, and what the root key needs. It makes nothing, and asks no other
// system.
func (c *Config) CheckFiles(given ServerSecrets, log *slog.Logger) error {
	key, err := NewRootKey(c, given)
	if err != nil {
		return err
	}
	defer key.Wipe()
	if err := checkRootKey(key); err != nil {
		return err
	}
	if _, err := c.Egress.roots(); err != nil {
		return err
	}
	if err := c.checkEvents(); err != nil {
		return err
	}
	return c.checkCertificate(log)
}

// certificate is the configured one, or the server's own.
func (a *App) certificate() (*server.Certificate, error) {
	certFile, keyFile := a.cfg.TLS.CertFile, a.cfg.TLS.KeyFile
	if certFile == "" {
		var err error
		var fingerprint string
		if certFile, keyFile, fingerprint, err = a.cfg.ensureOwnCertificate(time.Now()); err != nil {
			return nil, err
		}
		a.log.Info("serving with an own certificate; give the file to clients as AWS_CA_BUNDLE",
			"file", certFile, "sha256", fingerprint)
	}
	c, err := server.OpenCertificate(certFile, keyFile, a.log)
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	return c, nil
}

// ready says why calls would not be served now, nil when they would.
func (a *App) ready(ctx context.Context) error {
	if err := a.space.Reads(); err != nil {
		return err
	}
	if err := a.audit.Err(); err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	if _, err := a.iam.HasRoot(ctx); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

// renewCertificate replaces the server's own certificate in time, until ctx ends. The
// edge notices that the files are new.
func (a *App) renewCertificate(ctx context.Context) error {
	if a.cfg.TLS.Off || a.cfg.TLS.CertFile != "" {
		return nil
	}
	tick := time.NewTicker(ownCertificateLook)
	defer tick.Stop()
	_, _, last, err := a.cfg.ensureOwnCertificate(time.Now())
	for {
		if err != nil {
			a.log.Error("own certificate cannot be renewed", "error", err.Error())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		var file, now string
		if file, _, now, err = a.cfg.ensureOwnCertificate(time.Now()); err == nil && now != last {
			last = now
			a.log.Warn("own certificate was renewed; give the new file to clients", "file", file, "sha256", now)
		}
	}
}
