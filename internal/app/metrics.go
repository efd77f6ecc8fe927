package app

import (
	"context"
	"errors"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"arca/internal/rootkey"
	"arca/internal/server"
)

// newBuildInfo is a metric whose labels tell what runs.
func newBuildInfo(version string) prometheus.Collector {
	revision := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	if version == "" {
		version = "unknown"
	}
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "arca_build_info", Help: "1; the labels tell which build runs.",
		ConstLabels: prometheus.Labels{"version": version, "revision": revision, "go": runtime.Version()},
	})
	g.Set(1)
	return g
}

// newResourceCount is the metric that AWS has of Secrets Manager, with AWS's dimensions
// as labels. count is the number of secrets, those scheduled for deletion included.
// https://docs.aws.amazon.com/secretsmanager/latest/userguide/monitoring-cloudwatch.html
func newResourceCount(count func() int) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "arca_resource_count", Help: "ResourceCount of AWS/SecretsManager: secrets of all accounts, those scheduled for deletion included.",
		ConstLabels: prometheus.Labels{"service": "Secrets Manager", "type": "Resource", "resource": "SecretCount", "class": "None"},
	}, func() float64 { return float64(count()) })
}

// newCertificateMetric tells when the certificate of the API listener ends.
func newCertificateMetric(c *server.Certificate) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "arca_certificate_expiry_seconds", Help: "Time until the certificate that is served ends, in seconds; negative when it has ended.",
		ConstLabels: prometheus.Labels{"use": "api"},
	}, func() float64 { return time.Until(c.NotAfter()).Seconds() })
}

const (
	// rootKeyProbe is how often it is tried whether the root key can be reached.
	rootKeyProbe        = 10 * time.Minute
	rootKeyProbeTimeout = 30 * time.Second
)

// newRootKeyMetric tells whether the next start would find the root key.
func newRootKeyMetric() *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "arca_root_key_reachable", Help: "1 when the root key could be opened at the last try, which comes every ten minutes.",
	}, []string{"kind"})
}

// probed reports whether the root key can be tried: a file, a KMS, or a token whose PIN
// lies in a file. Passphrases and PINs from the environment are not kept, and deriving a
// key from a passphrase takes what a busy server needs.
func (c *RootKeyConfig) probed() bool {
	return c.Kind == rootkey.KindFile || c.Kind == rootkey.KindKMS || c.Kind == rootkey.KindPKCS11 && c.PINFile != ""
}

// watchRootKey tries the root key now and then until ctx ends.
func (a *App) watchRootKey(ctx context.Context) error {
	if _, served := a.mode.rootKey.(*patientKey); !served || !a.cfg.RootKey.probed() {
		return nil
	}
	tick := time.NewTicker(rootKeyProbe)
	defer tick.Stop()
	for {
		if !a.tryRootKey(ctx) && a.cfg.RootKey.Kind == rootkey.KindPKCS11 {
			return nil // another login with a PIN that is wrong might lock the token
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// tryRootKey reports whether another try can do no harm.
func (a *App) tryRootKey(ctx context.Context) bool {
	limited, cancel := context.WithTimeout(ctx, rootKeyProbeTimeout)
	defer cancel()
	reachable, again := 1.0, true
	if err := a.store.TryRootKey(limited); err != nil {
		if ctx.Err() != nil {
			return true // the server stops
		}
		reachable, again = 0, errors.Is(err, rootkey.ErrUnreachable)
		a.log.Error("the root key cannot be opened: the server goes on, and will not start again without it",
			"kind", a.cfg.RootKey.Kind, "error", err.Error())
	}
	a.rootKeyReachable.WithLabelValues(a.cfg.RootKey.Kind).Set(reachable)
	return again
}
