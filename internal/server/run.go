package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	stdlog "log"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"arca/internal/lane"
)

// RunConfig says where to serve and how to stop.
type RunConfig struct {
	// API is the listener of the API. Run closes it.
	API net.Listener
	// Certificate is what the API listener proves itself with; nil serves plain HTTP,
	// for loopback and for proxies that end TLS.
	Certificate *Certificate
	// Ops is the listener of the ops endpoints, nil for none. Run closes it.
	Ops net.Listener
	// OpsHandler answers on Ops; see NewOps.
	OpsHandler *Ops
	// Drain is how long a stop waits for requests in flight. 0 means 30 s.
	Drain time.Duration
}

// opsDrain is for requests to the ops listener, which hold nobody up.
const opsDrain = time.Second

// opsConnections is plenty for probes, scrapers and somebody who looks for a fault.
const opsConnections = 128

// Run serves until ctx ends and then stops in order: it says it is not ready, takes
// no more connections, finishes what is in flight, and only then closes the ops
// listener. Requests that are still running after the drain time are cut off, and
// Run says how it ended. It returns early when a listener breaks.
func (s *Server) Run(ctx context.Context, rc RunConfig) error {
	if rc.Drain <= 0 {
		rc.Drain = 30 * time.Second
	}
	// Requests outlive ctx by up to the drain time.
	requests, cutOff := context.WithCancel(context.WithoutCancel(ctx))
	defer cutOff()
	g, ctx := errgroup.WithContext(ctx)
	api := newHTTPServer(requests, s, s.cfg.Limits, s.cfg.Logger)
	apiListener := limitConnections(rc.API, s.cfg.Limits.Connections, api)
	fast, err := s.newLane(requests, rc.Certificate, apiListener)
	if err != nil {
		return err
	}
	g.Go(func() error { return served("API", fast.Serve(apiListener)) })
	g.Go(func() error { return served("API", api.Serve(fast.Others())) })
	if rc.Certificate != nil {
		g.Go(func() error { return rc.Certificate.Run(ctx) })
	}
	var ops *http.Server
	if rc.Ops != nil {
		ops = newHTTPServer(requests, s.keepBrowsersOut(rc.OpsHandler), s.cfg.Limits, s.cfg.Logger)
		opsListener := limitConnections(rc.Ops, opsConnections, ops)
		g.Go(func() error { return served("ops", ops.Serve(opsListener)) })
	}
	g.Go(func() error {
		<-ctx.Done()
		if rc.OpsHandler != nil {
			rc.OpsHandler.stopping.Store(true)
		}
		var errs []error
		if err := shut(rc.Drain, fast, api); err != nil {
			cutOff()
			errs = append(errs, fmt.Errorf("requests were cut off after %v: %w", rc.Drain, err))
		}
		if ops != nil {
			// What is left there is a scrape that can be repeated.
			_ = shut(opsDrain, ops)
		}
		return errors.Join(errs...)
	})
	return g.Wait()
}

// served tells an ordinary stop from a listener that broke.
func served(name string, err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve %s listener: %w", name, err)
}

// stoppable is a *lane.Server or an *http.Server.
type stoppable interface {
	Shutdown(ctx context.Context) error
	Close() error
}

// shut stops the servers together, gracefully within the time given, and at once after
// it.
func shut(within time.Duration, servers ...stoppable) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	var g errgroup.Group
	for _, srv := range servers {
		g.Go(func() error {
			err := srv.Shutdown(ctx)
			if err != nil {
				err = errors.Join(err, srv.Close())
			}
			return err
		})
	}
	return g.Wait()
}

// newLane builds what looks at connections to the API first. It answers the requests
// that AWS clients usually send itself and leaves everything else to net/http.
func (s *Server) newLane(requests context.Context, cert *Certificate, ln *limited) (*lane.Server, error) {
	cfg := lane.Config{
		Handler:       s,
		Context:       requests,
		HeaderTimeout: s.cfg.Limits.HeaderTimeout,
		ReadTimeout:   s.cfg.Limits.ReadTimeout,
		WriteTimeout:  s.cfg.Limits.WriteTimeout,
		IdleTimeout:   s.cfg.Limits.IdleTimeout,
		Closed:        ln.release,
		ErrorLog:      strangersLog(s.cfg.Logger),
	}
	if cert != nil {
		cfg.TLS = cert.config()
	}
	return lane.New(cfg)
}

// strangersLog is for what strangers do to connections: noise.
func strangersLog(log *slog.Logger) *stdlog.Logger {
	return slog.NewLogLogger(log.Handler(), slog.LevelDebug)
}

func newHTTPServer(base context.Context, h http.Handler, l Limits, log *slog.Logger) *http.Server {
	srv := &http.Server{
		Handler:                      h,
		ReadHeaderTimeout:            l.HeaderTimeout,
		ReadTimeout:                  l.ReadTimeout,
		WriteTimeout:                 l.WriteTimeout,
		IdleTimeout:                  l.IdleTimeout,
		MaxHeaderBytes:               l.HeaderBytes,
		BaseContext:                  func(net.Listener) context.Context { return base },
		ErrorLog:                     strangersLog(log),
		DisableGeneralOptionsHandler: true,
		Protocols:                    &http.Protocols{},
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: 100, // the least that RFC 9113 recommends
			MaxReadFrameSize:     64 << 10,
		},
	}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	return srv
}

// OpsConfig is what the ops endpoints tell.
type OpsConfig struct {
	// Ready returns nil when requests can be served, otherwise why not.
	Ready func(ctx context.Context) error
	// Metrics answers /metrics.
	Metrics http.Handler
}

// Ops answers /healthz (the process runs), /readyz (it can serve), /metrics and
// Go's profiles under /debug/pprof/. It
// asks nobody for credentials, so its listener belongs on a private address.
type Ops struct {
	cfg      OpsConfig
	mux      *http.ServeMux
	stopping atomic.Bool
}

// NewOps builds the ops endpoints.
func NewOps(cfg OpsConfig) *Ops {
	o := &Ops{cfg: cfg, mux: http.NewServeMux()}
	o.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		answerText(w, r, http.StatusOK, "ok\n")
	})
	o.mux.HandleFunc("GET /readyz", o.ready)
	o.mux.Handle("GET /metrics", cfg.Metrics)
	o.mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	o.mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	o.mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	o.mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	o.mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return o
}

// ServeHTTP answers one request.
func (o *Ops) ServeHTTP(w http.ResponseWriter, r *http.Request) { o.mux.ServeHTTP(w, r) }

// keepBrowsersOut refuses profiles under a host name that is none of ours: they are
// costly and tell much, and a page that a browser shows could otherwise ask for them
// under a name of its own. Probes and metrics have no such rule; they are reached by
// whatever name the network gives the server.
func (s *Server) keepBrowsersOut(ops http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/debug/") {
			if ref := s.admit(r); ref != nil {
				answerText(w, r, ref.err.Code.Status, ref.err.Message+"\n")
				return
			}
		}
		ops.ServeHTTP(w, r)
	})
}

func (o *Ops) ready(w http.ResponseWriter, r *http.Request) {
	if o.stopping.Load() {
		answerText(w, r, http.StatusServiceUnavailable, "stopping\n")
		return
	}
	if err := o.cfg.Ready(r.Context()); err != nil {
		answerText(w, r, http.StatusServiceUnavailable, "not ready: "+err.Error()+"\n")
		return
	}
	answerText(w, r, http.StatusOK, "ready\n")
}

// config is the TLS configuration of the API listener.
func (c *Certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil },
	}
}
