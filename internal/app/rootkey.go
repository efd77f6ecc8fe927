package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"arca/internal/envelope"
	"arca/internal/rootkey"
)

const (
	defaultKeyLabel = "arca-root-key"
	// maxTokenLabelBytes is what a token has room for.
	maxTokenLabelBytes = 32

	defaultRootKeyWait = 5 * time.Minute
	firstRootKeyPause  = time.Second
	longestPause       = 30 * time.Second
)

// RootKeyConfig says where the root key comes from. Each kind has settings of its own,
// and those of another kind are refused.
type RootKeyConfig struct {
	// Kind is "file", "passphrase", "kms" or "pkcs11" [root_key.kind]. Default: file.
	Kind string `toml:"kind"`
	// WaitSeconds is how long a start waits for a KMS or a token that cannot be reached
	// [root_key.wait_seconds]. Default: 300; negative: not at all.
	WaitSeconds int `toml:"wait_seconds"`

	// File is the path of the root key, for kind "file" [root_key.file]. It must not lie
	// inside DataDir. Default: root.key in the folder DataDir + ".keys".
	File string `toml:"file"`

	// PassphraseFile holds the passphrase, one line, for kind "passphrase"
	// [root_key.passphrase_file]. It must not lie inside DataDir. Default: the
	// environment variable ARCA_ROOT_PASSPHRASE.
	PassphraseFile string `toml:"passphrase_file"`

	// KeyID is the id, ARN or alias of the KMS key that wraps the root key, for kind "kms"
	// [root_key.key_id]. Required there. Credentials are looked for where the AWS SDKs
	// look.
	KeyID string `toml:"key_id"`
	// Region is the region of that KMS [root_key.region]. Default: that of the ARN in
	// KeyID, or what the AWS SDKs find.
	Region string `toml:"region"`
	// Endpoint is the URL of a KMS other than AWS's [root_key.endpoint].
	Endpoint string `toml:"endpoint"`
	// CAFile holds PEM certificates to trust there, besides the system's
	// [root_key.ca_file].
	CAFile string `toml:"ca_file"`
	// Profile is the profile of the AWS configuration files with the credentials
	// [root_key.profile].
	Profile string `toml:"profile"`

	// Module is the path of the PKCS#11 library, for kind "pkcs11" [root_key.module].
	// Required there.
	Module string `toml:"module"`
	// TokenLabel is the label of the token [root_key.token_label]. Required there.
	TokenLabel string `toml:"token_label"`
	// KeyLabel is the label of the key objects that are made in it [root_key.key_label].
	// Default: arca-root-key.
	KeyLabel string `toml:"key_label"`
	// PINFile holds the token's PIN, one line [root_key.pin_file]. It must not lie inside
	// DataDir. Default: the environment variable ARCA_PKCS11_PIN.
	PINFile string `toml:"pin_file"`
}

// paths are the settings that name files, to be made absolute.
func (c *RootKeyConfig) paths() []pathSetting {
	return []pathSetting{
		{"root_key.file", &c.File}, {"root_key.passphrase_file", &c.PassphraseFile},
		{"root_key.ca_file", &c.CAFile}, {"root_key.module", &c.Module}, {"root_key.pin_file", &c.PINFile},
	}
}

// validate refuses what the kind does not have or lacks, and fills defaults in that do
// not depend on other settings.
func (c *RootKeyConfig) validate(p *problems) {
	kinds := []string{rootkey.KindFile, rootkey.KindPassphrase, rootkey.KindKMS, rootkey.KindPKCS11}
	if c.Kind == "" {
		c.Kind = rootkey.KindFile
	}
	if !slices.Contains(kinds, c.Kind) {
		p.add("root_key.kind", "%q is none of %s", c.Kind, strings.Join(kinds, ", "))
		return
	}
	for _, s := range []struct{ field, value, kind string }{
		{"file", c.File, rootkey.KindFile},
		{"passphrase_file", c.PassphraseFile, rootkey.KindPassphrase},
		{"key_id", c.KeyID, rootkey.KindKMS},
		{"region", c.Region, rootkey.KindKMS},
		{"endpoint", c.Endpoint, rootkey.KindKMS},
		{"ca_file", c.CAFile, rootkey.KindKMS},
		{"profile", c.Profile, rootkey.KindKMS},
		{"module", c.Module, rootkey.KindPKCS11},
		{"token_label", c.TokenLabel, rootkey.KindPKCS11},
		{"key_label", c.KeyLabel, rootkey.KindPKCS11},
		{"pin_file", c.PINFile, rootkey.KindPKCS11},
	} {
		if s.value != "" && s.kind != c.Kind {
			p.add("root_key."+s.field, "is set, but root_key.kind is %q", c.Kind)
		}
	}
	switch c.Kind {
	case rootkey.KindKMS:
		c.validateKMS(p)
	case rootkey.KindPKCS11:
		c.validatePKCS11(p)
	}
}

func (c *RootKeyConfig) validateKMS(p *problems) {
	if c.KeyID == "" {
		p.add("root_key.key_id", "is required for kind %q", c.Kind)
	}
	// arn:aws:kms:REGION:ACCOUNT:key/ID
	if parts := strings.Split(c.KeyID, ":"); parts[0] == "arn" {
		switch {
		case len(parts) != 6 || parts[2] != "kms" || parts[3] == "":
			p.add("root_key.key_id", "%q is not the ARN of a KMS key or alias", c.KeyID)
		case c.Region == "":
			c.Region = parts[3]
		case c.Region != parts[3]:
			p.add("root_key.region", "%q is not the region of root_key.key_id, %q", c.Region, parts[3])
		}
	}
	if c.Endpoint == "" {
		return
	}
	u, err := url.Parse(c.Endpoint)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		p.add("root_key.endpoint", "%q is not of the form https://host:port", c.Endpoint)
	case u.Scheme == "https":
	case u.Scheme == "http" && isLoopback(u.Hostname()):
	case u.Scheme == "http":
		p.add("root_key.endpoint", "%q would send root keys in the clear: use https", c.Endpoint)
	default:
		p.add("root_key.endpoint", "%q is not of the form https://host:port", c.Endpoint)
	}
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

func (c *RootKeyConfig) validatePKCS11(p *problems) {
	if c.Module == "" {
		p.add("root_key.module", "is required for kind %q", c.Kind)
	}
	if c.TokenLabel == "" {
		p.add("root_key.token_label", "is required for kind %q", c.Kind)
	} else if len(c.TokenLabel) > maxTokenLabelBytes {
		p.add("root_key.token_label", "%q has more than %d bytes", c.TokenLabel, maxTokenLabelBytes)
	}
	if c.KeyLabel == "" {
		c.KeyLabel = defaultKeyLabel
	}
}

// wait is how long a start waits for a root key out of reach.
func (c *RootKeyConfig) wait() time.Duration {
	if c.WaitSeconds == 0 {
		return defaultRootKeyWait
	}
	return max(0, time.Duration(c.WaitSeconds)*time.Second)
}

// NewRootKey returns the root key that a valid configuration names. given holds what
// the environment has to say about it.
func NewRootKey(cfg *Config, given ServerSecrets) (rootkey.Provider, error) {
	c := &cfg.RootKey
	switch c.Kind {
	case rootkey.KindFile:
		return rootkey.NewFile(c.File, cfg.DataDir), nil
	case rootkey.KindPassphrase:
		if c.PassphraseFile != "" {
			return rootkey.NewPassphraseFile(c.PassphraseFile, cfg.DataDir), nil
		}
		if given.Passphrase.Len() == 0 {
			return nil, errors.New("root_key.kind is \"passphrase\", but there is none: set root_key.passphrase_file or ARCA_ROOT_PASSPHRASE")
		}
		return rootkey.NewPassphrase(given.Passphrase), nil
	case rootkey.KindKMS:
		return rootkey.NewKMS(rootkey.KMSConfig{
			KeyID: c.KeyID, Region: c.Region, Endpoint: c.Endpoint, CAFile: c.CAFile, Profile: c.Profile,
		}), nil
	case rootkey.KindPKCS11:
		return rootkey.NewPKCS11(rootkey.PKCS11Config{
			Module: c.Module, TokenLabel: c.TokenLabel, KeyLabel: c.KeyLabel,
			PIN: given.PIN, PINFile: c.PINFile, DataDir: cfg.DataDir,
		}), nil
	}
	return nil, fmt.Errorf("root_key.kind: %q is not known", c.Kind)
}

// NewTargetRootKey is NewRootKey for the configuration that a store is migrated to.
func NewTargetRootKey(cfg *Config, given ServerSecrets) (rootkey.Provider, error) {
	key, err := NewRootKey(cfg, given)
	if err != nil {
		return nil, err
	}
	return rootkey.Target{Provider: key}, nil
}

// checkRootKey looks at the files the root key needs, without asking anybody else. A
// root key that is still to be made is nothing wrong.
func checkRootKey(key rootkey.Provider) error {
	if c, ok := key.(interface{ Check() error }); ok {
		return c.Check()
	}
	return nil
}

// patientKey is a root key whose first opening waits for a service or device that
// cannot be reached yet, as after a power cut, when everything starts at once. Other
// errors do not get better by waiting, and are returned at once.
type patientKey struct {
	rootkey.Provider
	log   *slog.Logger
	limit time.Duration
	first time.Duration // the first pause; doubled up to longestPause
	// opened: a server that runs has who asks again, with a back-off of his own.
	opened atomic.Bool
}

func newPatientKey(key rootkey.Provider, limit time.Duration, log *slog.Logger) *patientKey {
	return &patientKey{Provider: key, limit: limit, first: firstRootKeyPause, log: log}
}

// Create waits as Open does.
func (k *patientKey) Create(ctx context.Context) (key *envelope.Key, params []byte, err error) {
	err = k.wait(ctx, func() (err error) {
		key, params, err = k.Provider.Create(ctx)
		return err
	})
	return key, params, err
}

// Open waits until the root key can be reached.
func (k *patientKey) Open(ctx context.Context, params []byte) (key *envelope.Key, err error) {
	err = k.wait(ctx, func() (err error) {
		key, err = k.Provider.Open(ctx, params)
		return err
	})
	return key, err
}

func (k *patientKey) wait(ctx context.Context, attempt func() error) error {
	deadline := time.Now().Add(k.limit)
	for pause := k.first; ; pause = min(2*pause, longestPause) {
		err := attempt()
		if err == nil {
			k.opened.Store(true)
			return nil
		}
		left := time.Until(deadline)
		if !errors.Is(err, rootkey.ErrUnreachable) || k.opened.Load() || k.limit == 0 {
			return err
		}
		if left <= 0 {
			return fmt.Errorf("gave up after %v: %w", k.limit, err)
		}
		pause := min(pause, left)
		k.log.Warn("the root key cannot be reached; trying again", "pause", pause.String(), "giving_up_in", left.Round(time.Second).String(), "error", err.Error())
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
