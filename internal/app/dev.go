package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"arca/internal/envelope"
	"arca/internal/rootkey"
)

// The fixed identity of a development server. It is public, so it protects nothing:
// a development server listens on loopback unless it is told otherwise.
const (
	DevAccount         = "000000000000"
	DevAccessKeyID     = "test"
	DevSecretAccessKey = "test"
	DevListen          = "127.0.0.1:4566"
)

// DevConfig is what `arca dev` can be told. The zero value keeps its data nowhere
// and is refused: either Home or Ephemeral is set.
type DevConfig struct {
	// Version of this binary, for backups.
	Version string
	// Home holds the data directory and, beside it, the root key.
	Home string
	// Ephemeral keeps everything in a temporary folder that Close removes.
	Ephemeral bool
	// Listen is the address of the API; "" means DevListen.
	Listen string
	// AllowRemote permits a listening address other than loopback, although the
	// credentials are known to everybody.
	AllowRemote bool
	// AnyCredentials accepts every signature and none, as root of DevAccount.
	AnyCredentials bool
	// ExplainDenials and ListOnlyDescribable are those of AccessConfig.
	ExplainDenials      bool
	ListOnlyDescribable bool
	// RunFunctions lets functions run code as processes of this machine, under the user
	// id of the server.
	RunFunctions bool
	// EgressCAFile is EgressConfig.CAFile.
	EgressCAFile string
	// Hosts are further names that clients reach the server by.
	Hosts []string
}

// Dev is a development server.
type Dev struct {
	*App
	temporary string // folder to remove at Close; "" for none
}

// OpenDev opens a development server: plain HTTP, the account and key everybody
// knows, a clock that can be moved. Signatures and policies hold as in production.
func OpenDev(ctx context.Context, dc DevConfig, log *slog.Logger) (_ *Dev, err error) {
	d := &Dev{}
	if dc.Listen == "" {
		dc.Listen = DevListen
	}
	if err := checkLoopback(dc); err != nil {
		return nil, err
	}
	switch {
	case dc.Ephemeral && dc.Home != "":
		return nil, errors.New("a data directory and an ephemeral server exclude each other")
	case dc.Ephemeral:
		if d.temporary, err = os.MkdirTemp("", "arca-dev-"); err != nil {
			return nil, fmt.Errorf("create temporary data directory: %w", err)
		}
		dc.Home = d.temporary
	case dc.Home == "":
		return nil, errors.New("no data directory is given")
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.removeTemporary())
		}
	}()
	cfg := Config{
		Version: dc.Version,
		DataDir: filepath.Join(dc.Home, "data"),
		Listen:  dc.Listen,
		Hosts:   dc.Hosts,
		Account: DevAccount,
		TLS:     TLSConfig{Off: true},
		Access:  AccessConfig{ExplainDenials: dc.ExplainDenials, ListOnlyDescribable: dc.ListOnlyDescribable},
		Egress:  EgressConfig{Allow: privateNetworks(), CAFile: dc.EgressCAFile},
		RootKey: RootKeyConfig{File: filepath.Join(dc.Home, "keys", "root.key")},
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	// After Validate, which asks for user ids of their own: a developer has only one.
	cfg.Functions.Run, cfg.Functions.Dir = dc.RunFunctions, filepath.Join(dc.Home, "functions")
	key := rootkey.NewFile(cfg.RootKey.File, cfg.DataDir)
	d.App, err = open(ctx, cfg, mode{
		movableClock: true, anyCredentials: dc.AnyCredentials, reachLoopback: true, rootKey: key, noBallast: dc.Ephemeral,
	}, log)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.App.Close())
		}
	}()
	if err := d.checkRestored(ctx); err != nil {
		return nil, err
	}
	if err := d.ensureRoot(ctx, DevAccount, DevAccessKeyID, envelope.NewPlaintext([]byte(DevSecretAccessKey))); err != nil {
		return nil, fmt.Errorf("make development credentials: %w", err)
	}
	if err := d.listen(ctx); err != nil {
		return nil, err
	}
	return d, nil
}

// privateNetworks are where a developer's identity provider may be besides loopback:
// the networks of containers and of an office.
func privateNetworks() []string {
	return []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"}
}

// Run serves until ctx ends; see App.Run. An ephemeral server's data is gone
// afterwards.
func (d *Dev) Run(ctx context.Context) error {
	return errors.Join(d.App.Run(ctx), d.removeTemporary())
}

// Close is for a server that was never run.
func (d *Dev) Close() error { return errors.Join(d.App.Close(), d.removeTemporary()) }

func (d *Dev) removeTemporary() error {
	if d.temporary == "" {
		return nil
	}
	return os.RemoveAll(d.temporary)
}

// checkLoopback refuses to hand a server with public credentials to the network.
func checkLoopback(dc DevConfig) error {
	host, _, err := net.SplitHostPort(dc.Listen)
	if err != nil {
		return fmt.Errorf("listen address %q is not of the form address:port", dc.Listen)
	}
	ip := net.ParseIP(host)
	if host == "localhost" || ip != nil && ip.IsLoopback() || dc.AllowRemote {
		return nil
	}
	return fmt.Errorf("refusing to listen on %s: everybody knows the credentials of a development server (%s/%s). Listen on loopback, use `arca server`, or pass --allow-remote if the network may have it all",
		dc.Listen, DevAccessKeyID, DevSecretAccessKey)
}
