package app

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"arca/internal/audit"
	"arca/internal/compliance"
	"arca/internal/ship"
	"arca/internal/space"
	"arca/internal/store"
	"arca/internal/trail"
)

// AuditConfig says how the audit log is kept and who else gets it. Where it lies is
// Config.AuditDir.
type AuditConfig struct {
	// SegmentBytes is the size from which on a new file is begun [audit.segment_bytes].
	// Default: 128 MiB.
	SegmentBytes string `toml:"segment_bytes"`
	// Uncompressed keeps files that are full as they are [audit.uncompressed]. Otherwise
	// they are compressed.
	Uncompressed bool `toml:"uncompressed"`
	// RetainDays is after how many days files that are full are removed
	// [audit.retain_days]. Default: never.
	RetainDays int `toml:"retain_days"`
	// RetainBytes is how much disk space the log may take before its oldest files are
	// removed [audit.retain_bytes]. Default: no limit.
	RetainBytes string `toml:"retain_bytes"`
	// Copies keep the log in other places, too [audit.copy].
	Copies []ship.CopyConfig `toml:"copy"`
	// Sinks are sent every line [audit.sink].
	Sinks []ship.SinkConfig `toml:"sink"`
}

// ComplianceConfig has the parameters of AWS Config's rules for secrets.
type ComplianceConfig struct {
	// MaxRotationDays is the longest time between two scheduled rotations that
	// secretsmanager-rotation-enabled-check accepts [compliance.max_rotation_days].
	// Default: any.
	MaxRotationDays int `toml:"max_rotation_days"`
	// MaxRotationHours is the same in hours; only one of them can be set
	// [compliance.max_rotation_hours].
	MaxRotationHours int `toml:"max_rotation_hours"`
	// MaxDaysSinceRotation is that parameter of secretsmanager-secret-periodic-rotation
	// [compliance.max_days_since_rotation]. Default: 90.
	MaxDaysSinceRotation int `toml:"max_days_since_rotation"`
	// UnusedForDays is that parameter of secretsmanager-secret-unused
	// [compliance.unused_for_days]. Default: 90.
	UnusedForDays int `toml:"unused_for_days"`
	// KMSKeyARNs are the keys that secretsmanager-using-cmk accepts
	// [compliance.kms_key_arns]. Default: every customer managed key.
	KMSKeyARNs []string `toml:"kms_key_arns"`
}

func (c *ComplianceConfig) parameters() compliance.Parameters {
	return compliance.Parameters{
		MaxRotationDays: c.MaxRotationDays, MaxRotationHours: c.MaxRotationHours,
		MaxDaysSinceRotation: c.MaxDaysSinceRotation, UnusedForDays: c.UnusedForDays, KMSKeyARNs: c.KMSKeyARNs,
	}
}

// minSegmentBytes keeps the number of files in bounds.
const minSegmentBytes = 1 << 20

func (c *AuditConfig) validate(p *problems) {
	if n, err := parseSize(c.SegmentBytes); err != nil {
		p.add("audit.segment_bytes", "%v", err)
	} else if c.SegmentBytes != "" && n < minSegmentBytes {
		p.add("audit.segment_bytes", "%q is below 1MiB", c.SegmentBytes)
	}
	if c.RetainDays < 0 {
		p.add("audit.retain_days", "%d is negative", c.RetainDays)
	}
	if _, err := parseSize(c.RetainBytes); err != nil {
		p.add("audit.retain_bytes", "%v", err)
	}
	if err := ship.Validate(c.Copies, c.Sinks); err != nil {
		p.add("audit", "%v", err)
	}
}

// parseSize reads an amount such as "128MiB"; "" is 0.
func parseSize(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	m, err := space.ParseMark(text)
	if err == nil && m.Percent != 0 {
		err = fmt.Errorf("%q must be an amount, such as \"128MiB\"", text)
	}
	return m.Bytes, err
}

// size is an amount that has passed validate.
func size(text string) int64 {
	n, _ := parseSize(text)
	return n
}

// deliveryDir keeps how far those have come who follow the log.
func (c *Config) deliveryDir() string { return filepath.Join(c.DataDir, "delivery") }

// auditDir is where this node's log lies.
func (a *App) auditDir() string { return filepath.Join(a.cfg.AuditDir, a.store.NodeID()) }

// openAudit opens this node's log, and with it the view on all logs that lie there:
// before a restore, the node had another name.
func (a *App) openAudit(ctx context.Context) error {
	key, head, err := a.register.Node(ctx)
	if err != nil {
		return fmt.Errorf("load the key that signs the audit log: %w", err)
	}
	a.audit, err = audit.Open(audit.Config{
		Dir: a.auditDir(), Node: a.store.NodeID(), MaxSegmentBytes: size(a.cfg.Audit.SegmentBytes),
		Signer: treeSigner(key), Head: head, Keep: a.register.Keep, Logger: a.log,
	})
	if err != nil {
		return fmt.Errorf("open audit log: %w", err)
	}
	dirs, err := trail.Dirs(a.cfg.AuditDir)
	if err != nil {
		return err
	}
	a.trail, err = trail.Open(trail.Config{Dirs: dirs, Log: a.audit, LogDir: a.auditDir(), Logger: a.log})
	if err != nil {
		return fmt.Errorf("open the index of the audit log: %w", err)
	}
	return nil
}

// maintainEvery is how often the log's full files are looked at.
const maintainEvery = 10 * time.Second

// maintainAudit compresses full files of the log and removes old ones until ctx ends.
func (a *App) maintainAudit(ctx context.Context) error {
	retain := audit.RetainConfig{
		Compress: !a.cfg.Audit.Uncompressed, MaxAge: time.Duration(a.cfg.Audit.RetainDays) * 24 * time.Hour,
		MaxBytes: size(a.cfg.Audit.RetainBytes), Held: a.heldAudit,
	}
	tick := time.NewTicker(maintainEvery)
	defer tick.Stop()
	for {
		for more := true; more && ctx.Err() == nil; {
			var err error
			if more, err = a.audit.Maintain(ctx, retain, time.Now()); err != nil && ctx.Err() == nil {
				a.log.Warn("full files of the audit log are compressed or removed later", "error", err.Error())
				more = false
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// newCompliance makes the service that holds secrets to rules. What it has told is
// kept, so that a restart does not tell it again.
func (a *App) newCompliance() {
	file := filepath.Join(a.cfg.deliveryDir(), "compliance.states")
	a.compliance = compliance.New(compliance.Config{
		Store: a.store, Survey: a.survey, Parameters: a.cfg.Compliance.parameters(), File: file,
		Changed: a.complianceChanged, Logger: a.log,
	})
}

// runCompliance watches secrets while this process leads.
func (a *App) runCompliance(ctx context.Context) error {
	return a.store.Lead(ctx, "compliance", func(ctx context.Context, _ *store.Leadership) error {
		return a.compliance.Run(ctx, a.clock.Now)
	})
}

// newShipper checks what the configuration says about copies and sinks.
func (a *App) newShipper(log *slog.Logger) (*ship.Shipper, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "" // messages go without
	}
	return ship.New(ship.Config{
		Log: a.audit, Dir: a.auditDir(), StateDir: a.cfg.deliveryDir(),
		Copies: a.cfg.Audit.Copies, Sinks: a.cfg.Audit.Sinks, Stdout: os.Stdout, Hostname: host, Logger: log,
	})
}

// heldAudit is the first line of the log that somebody has not got yet.
func (a *App) heldAudit() uint64 {
	held := a.audit.Size()
	if a.ship != nil {
		held = min(held, a.ship.Held())
	}
	return held
}
