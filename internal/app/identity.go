package app

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base32"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"arca/internal/call"
	"arca/internal/egress"
	"arca/internal/oidc"
)

// do runs a call and remembers that its credentials were used.
func (a *App) do(ctx context.Context, c *call.Call, in any) (any, error) {
	if !a.mode.anyCredentials && c.Caller.Type != call.Anonymous {
		service, region, now := c.Op.Service.Name, c.Region, time.Now()
		a.iam.NoteUse(c.Caller.AccessKeyID, service, region, now)
		if c.Caller.Type == call.AssumedRole {
			a.iam.NoteUse(c.Caller.UniqueID, service, region, now)
		}
	}
	return a.dispatch.Do(ctx, c, in)
}

// newTokenVerifier builds what reads the tokens of other issuers.
func (c *Config) newTokenVerifier(log *slog.Logger, reachLoopback bool) (*oidc.Verifier, error) {
	roots, err := c.Egress.roots()
	if err != nil {
		return nil, err
	}
	client := egress.New(egress.Config{Allow: c.Egress.prefixes(), AllowLoopback: reachLoopback, RootCAs: roots, Now: time.Now})
	return oidc.New(oidc.Config{Egress: client, Now: time.Now, Logger: log}), nil
}

// roots are the system's certificates and those of CAFile; nil without one.
func (e *EgressConfig) roots() (*x509.CertPool, error) {
	if e.CAFile == "" {
		return nil, nil //nolint:nilnil // nil is the system's pool
	}
	pem, err := os.ReadFile(e.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read egress.ca_file: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("load the system's certificates: %w", err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("egress.ca_file: %s holds no certificate", e.CAFile)
	}
	return pool, nil
}

// organizationID is what all accounts of this server have in common: the configured
// id, or one that follows from the identity of the data.
func (a *App) organizationID() string {
	if id := a.cfg.Access.OrganizationID; id != "" {
		return id
	}
	sum := sha256.Sum256([]byte("organization " + a.store.DeploymentID()))
	return "o-" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:10])
}
