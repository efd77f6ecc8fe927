package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"arca/internal/api/arcaapi"
	"arca/internal/api/smapi"
	"arca/internal/arn"
	"arca/internal/server"
	"arca/internal/wire"
)

// front is what answers on the listeners, and how.
type front struct {
	server *server.Server
	run    server.RunConfig
}

// listen opens the listeners and builds the edge: afterwards clients can connect,
// and are answered as soon as Run serves.
func (a *App) listen(ctx context.Context) error {
	router, err := wire.NewRouter(smapi.Service, arcaapi.Service)
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
		Do: a.dispatch.Do, Refused: a.dispatch.Refuse, Router: router, Verify: verify, Now: a.clock.Now,
		Hosts: a.cfg.Hosts, TrustedProxies: a.cfg.TrustedProxies, Logger: a.log,
	})
	if err != nil {
		return err
	}
	a.registry.MustRegister(edge.Metrics().Collectors()...)
	f := &front{server: edge, run: server.RunConfig{Drain: a.cfg.shutdownTimeout()}}
	if !a.cfg.TLS.Off {
		if f.run.Certificate, err = a.certificate(); err != nil {
			return err
		}
	}
	var lc net.ListenConfig
	if f.run.API, err = lc.Listen(ctx, "tcp", a.cfg.Listen); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if a.cfg.OpsListen != "" {
		if f.run.Ops, err = lc.Listen(ctx, "tcp", a.cfg.OpsListen); err != nil {
			return errors.Join(fmt.Errorf("ops_listen: %w", err), f.run.API.Close())
		}
		f.run.OpsHandler = server.NewOps(server.OpsConfig{
			Ready:   a.ready,
			Metrics: promhttp.HandlerFor(a.registry, promhttp.HandlerOpts{}),
		})
	}
	a.front = f
	return nil
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

// serve answers until ctx ends and then finishes what is in flight.
func (f *front) serve(ctx context.Context) error { return f.server.Run(ctx, f.run) }

// close releases listeners that were never served. Run has closed them otherwise.
func (f *front) close() {
	_ = f.run.API.Close()
	if f.run.Ops != nil {
		_ = f.run.Ops.Close()
	}
}
