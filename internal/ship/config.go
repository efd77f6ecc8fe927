package ship

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"arca/internal/webhook"
)

// CopyConfig is one copy of the log's files. Exactly one of Dir and Bucket is set.
// The names in brackets are those of the configuration file.
type CopyConfig struct {
	// Name of the copy, in metrics, messages and the file that keeps its place: lower
	// case letters, digits and "-" [name]. Required.
	Name string `toml:"name"`
	// Dir is an existing directory on another disk or machine [dir]. The copy is the
	// folder in it that has this node's name.
	Dir string `toml:"dir"`
	// Bucket of an S3-compatible store [bucket].
	Bucket string `toml:"bucket"`
	// Prefix of the names in the bucket, without slashes at its ends [prefix].
	Prefix string `toml:"prefix"`
	// Endpoint is the store's URL [endpoint]. Default: AWS's for the region. It is https,
	// or http if it leads to this machine itself.
	Endpoint string `toml:"endpoint"`
	// Insecure also allows http to other machines [insecure].
	Insecure bool `toml:"insecure"`
	// Region of the bucket [region]. Default: us-east-1.
	Region string `toml:"region"`
	// PathStyle puts the bucket into the path instead of the host name [path_style].
	PathStyle bool `toml:"path_style"`
	// CAFile holds the authorities that vouch for the endpoint, PEM [ca_file]. Default:
	// those of the system.
	CAFile string `toml:"ca_file"`
	// CredentialsFile is a file as the AWS command line keeps it [credentials_file]. It is
	// read again every few minutes. Default: the environment, then what else AWS's SDK
	// looks at.
	CredentialsFile string `toml:"credentials_file"`
	// Profile in that file [profile]. Default: default.
	Profile string `toml:"profile"`
	// IntervalSeconds is how much of the log a lost disk costs [interval_seconds].
	// Default: 1 for a directory, 5 for a bucket.
	IntervalSeconds int `toml:"interval_seconds"`
	// NoHold lets retention remove lines that this copy does not have yet [no_hold].
	NoHold bool `toml:"no_hold"`
}

// SinkConfig is one receiver of the log's lines.
type SinkConfig struct {
	// Name of the sink, in metrics, messages and the file that keeps its place: lower
	// case letters, digits and "-" [name]. Required.
	Name string `toml:"name"`
	// Kind is stdout, file, syslog or https [kind]. Required.
	Kind string `toml:"kind"`
	// FromStart sends the lines that were there before the sink was configured
	// [from_start]. Otherwise a new sink begins with the next line.
	FromStart bool `toml:"from_start"`
	// NoHold lets retention remove lines that this sink does not have yet [no_hold].
	NoHold bool `toml:"no_hold"`
	// Sources names the services whose events are sent, as eventSource has them:
	// "secretsmanager.amazonaws.com" [sources]. Default: all.
	Sources []string `toml:"sources"`
	// WritesOnly leaves out events that only read [writes_only].
	WritesOnly bool `toml:"writes_only"`

	// Path of a file [path]. Its folder must exist. Rotating it by renaming is noticed.
	Path string `toml:"path"`

	// Address of a syslog receiver: tls://host:port, or tcp://host:port, which is only
	// for this machine itself unless Insecure is set [address].
	Address string `toml:"address"`
	// Insecure allows tcp to other machines, where everybody in between can read and
	// change what is sent [insecure].
	Insecure bool `toml:"insecure"`
	// CertFile and KeyFile hold a client certificate to show to a syslog receiver, PEM
	// [cert_file, key_file]. Default: none.
	CertFile string `toml:"cert_file"`
	KeyFile  string `toml:"key_file"`
	// Facility of syslog messages, 0 to 23 [facility]. Default: 13, log audit.
	Facility *int `toml:"facility"`
	// MaxMessageBytes is the longest syslog message the receiver takes
	// [max_message_bytes]. Of longer lines, the largest members are left out as CloudTrail
	// does it. Default: 8192.
	MaxMessageBytes int `toml:"max_message_bytes"`

	// URL that batches are posted to [url]: https, or http to this machine itself.
	URL string `toml:"url"`
	// SecretFiles hold the secrets that sign batches, whsec_ and base64, one each; two
	// while a secret is replaced [secret_files].
	SecretFiles []string `toml:"secret_files"`
	// Format of a batch: lines (JSON lines, application/x-ndjson) or array (a JSON array)
	// [format]. Default: lines.
	Format string `toml:"format"`
	// Gzip compresses batches [gzip].
	Gzip bool `toml:"gzip"`
	// BatchLines and BatchBytes bound a batch [batch_lines, batch_bytes]. Default: 500
	// lines, 1 MiB. A single line is sent whatever its size.
	BatchLines int `toml:"batch_lines"`
	BatchBytes int `toml:"batch_bytes"`
	// BatchSeconds is how long a batch waits to be filled [batch_seconds]. Default: 1.
	BatchSeconds int `toml:"batch_seconds"`
	// TimeoutSeconds of one attempt [timeout_seconds]. Default: 15.
	TimeoutSeconds int `toml:"timeout_seconds"`
	// OnRejected says what becomes of lines that the receiver answers with 400, 413, 415 or
	// 422: retry (nothing is passed over, the sink waits until somebody mends it) or skip
	// (the lines that are refused are found, left out, counted and logged) [on_rejected].
	// Default: retry.
	OnRejected string `toml:"on_rejected"`

	// CAFile holds the authorities that vouch for a syslog receiver or a URL, PEM
	// [ca_file]. Default: those of the system.
	CAFile string `toml:"ca_file"`
}

// Bounds of what can be configured.
const (
	maxNameBytes     = 64
	maxInterval      = time.Hour
	minMessageBytes  = 1024
	maxMessageBytes  = 4 << 20
	maxBatchLines    = 10_000
	maxBatchBytes    = 16 << 20
	defaultLines     = 500
	defaultBytes     = 1 << 20
	defaultMessage   = 8192
	defaultFacility  = 13
	defaultRegion    = "us-east-1"
	defaultDirEvery  = time.Second
	defaultPutsEvery = 5 * time.Second
)

func checkName(name string) error {
	if name == "" || len(name) > maxNameBytes || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || name[0] == '-' {
		return errors.New("name: want 1 to 64 lower case letters, digits and -")
	}
	return nil
}

// Validate checks the settings of copies and sinks as New does, without looking at the
// files that they name. Its errors name the copy or sink, and the setting.
func Validate(copies []CopyConfig, sinks []SinkConfig) error {
	names := make(map[string]bool)
	check := func(what, name string, err error) error {
		if err == nil && names[what+name] {
			err = errors.New("another one has this name")
		}
		names[what+name] = true
		if err != nil {
			return fmt.Errorf("%s %q: %w", what, name, err)
		}
		return nil
	}
	for _, c := range copies {
		if err := check("audit copy", c.Name, c.check()); err != nil {
			return err
		}
	}
	for _, c := range sinks {
		if err := check("audit sink", c.Name, c.check()); err != nil {
			return err
		}
	}
	return nil
}

// check fills in defaults and refuses what cannot be honoured.
func (c *CopyConfig) check() error {
	if err := checkName(c.Name); err != nil {
		return err
	}
	interval := time.Duration(c.IntervalSeconds) * time.Second
	switch {
	case (c.Dir == "") == (c.Bucket == ""):
		return errors.New("want one of dir and bucket")
	case interval < 0 || interval > maxInterval:
		return fmt.Errorf("interval_seconds: want up to %.0f", maxInterval.Seconds())
	case c.Dir != "" && (c.Prefix != "" || c.Endpoint != "" || c.Region != "" || c.CredentialsFile != "" || c.Profile != "" || c.CAFile != "" || c.PathStyle || c.Insecure):
		return errors.New("dir: the settings of a bucket mean nothing here")
	case c.Dir != "" && !filepath.IsAbs(c.Dir):
		return errors.New("dir: want an absolute path")
	case c.Profile != "" && c.CredentialsFile == "":
		return errors.New("profile: only together with credentials_file")
	}
	if c.Prefix != strings.Trim(c.Prefix, "/") || strings.Contains(c.Prefix, "//") || len(c.Prefix) > 512 {
		return errors.New("prefix: want up to 512 bytes without slashes at the ends")
	}
	if c.Endpoint != "" {
		u, err := url.Parse(c.Endpoint)
		if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http" {
			return errors.New("endpoint: want a URL of the form https://host:port")
		}
		if u.Scheme == "http" && !c.Insecure && !loopback(u.Hostname()) {
			return errors.New("endpoint: http is only for this machine itself, unless insecure is set")
		}
	}
	return nil
}

func (c *SinkConfig) check() error {
	if err := checkName(c.Name); err != nil {
		return err
	}
	kinds := map[string]bool{"stdout": false, "file": c.Path != "", "syslog": c.Address != "", "https": c.URL != ""}
	if _, ok := kinds[c.Kind]; !ok {
		return errors.New("kind: want stdout, file, syslog or https")
	}
	for kind, set := range kinds {
		if set && kind != c.Kind {
			return fmt.Errorf("kind is %s, but there are settings of %s", c.Kind, kind)
		}
	}
	if c.Kind != "stdout" && !kinds[c.Kind] {
		return fmt.Errorf("%s: missing", map[string]string{"file": "path", "syslog": "address", "https": "url"}[c.Kind])
	}
	switch {
	case c.Kind != "syslog" && (c.Insecure || c.CertFile != "" || c.KeyFile != "" || c.Facility != nil || c.MaxMessageBytes != 0):
		return errors.New("insecure, cert_file, key_file, facility, max_message_bytes: only for syslog")
	case c.Kind != "https" && (len(c.SecretFiles) > 0 || c.Format != "" || c.Gzip || c.BatchLines != 0 || c.BatchBytes != 0 || c.BatchSeconds != 0 || c.TimeoutSeconds != 0 || c.OnRejected != ""):
		return errors.New("secret_files, format, gzip, batch_…, timeout_seconds, on_rejected: only for https")
	case c.CAFile != "" && c.Kind != "https" && c.Kind != "syslog":
		return errors.New("ca_file: only for syslog and https")
	case (c.CertFile == "") != (c.KeyFile == ""):
		return errors.New("cert_file, key_file: want both or none")
	case c.Facility != nil && (*c.Facility < 0 || *c.Facility > 23):
		return errors.New("facility: want 0 to 23")
	case c.MaxMessageBytes != 0 && (c.MaxMessageBytes < minMessageBytes || c.MaxMessageBytes > maxMessageBytes):
		return fmt.Errorf("max_message_bytes: want %d to %d", minMessageBytes, maxMessageBytes)
	case c.BatchLines < 0 || c.BatchLines > maxBatchLines:
		return fmt.Errorf("batch_lines: want 1 to %d", maxBatchLines)
	case c.BatchBytes < 0 || c.BatchBytes > maxBatchBytes:
		return fmt.Errorf("batch_bytes: want 1 to %d", maxBatchBytes)
	case c.BatchSeconds < 0 || c.BatchSeconds > 60:
		return errors.New("batch_seconds: want up to 60")
	case c.TimeoutSeconds < 0 || c.TimeoutSeconds > 120:
		return errors.New("timeout_seconds: want up to 120")
	case c.Format != "" && c.Format != "lines" && c.Format != "array":
		return errors.New("format: want lines or array")
	case c.OnRejected != "" && c.OnRejected != "retry" && c.OnRejected != "skip":
		return errors.New("on_rejected: want retry or skip")
	case c.Kind == "file" && !filepath.IsAbs(c.Path):
		return errors.New("path: want an absolute path")
	}
	if slices.Contains(c.Sources, "") {
		return errors.New("sources: one is empty")
	}
	switch c.Kind {
	case "syslog":
		if _, _, _, err := c.syslogAddress(); err != nil {
			return err
		}
	case "https":
		if len(c.SecretFiles) == 0 {
			return errors.New("secret_files: missing")
		}
	}
	if c.BatchLines == 0 {
		c.BatchLines = defaultLines
	}
	if c.BatchBytes == 0 {
		c.BatchBytes = defaultBytes
	}
	if c.MaxMessageBytes == 0 {
		c.MaxMessageBytes = defaultMessage
	}
	if c.Facility == nil {
		facility := defaultFacility
		c.Facility = &facility
	}
	return nil
}

// syslogAddress takes tcp://host:port or tls://host:port apart.
func (c *SinkConfig) syslogAddress() (address, host string, secure bool, err error) {
	u, err := url.Parse(c.Address)
	if err != nil || u.Hostname() == "" || u.Port() == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" ||
		u.Scheme != "tcp" && u.Scheme != "tls" {
		return "", "", false, errors.New("address: want tls://host:port or tcp://host:port")
	}
	if u.Scheme == "tcp" {
		switch {
		case !c.Insecure && !loopback(u.Hostname()):
			return "", "", false, errors.New("address: tcp is only for this machine itself, unless insecure is set")
		case c.CAFile != "" || c.CertFile != "":
			return "", "", false, errors.New("ca_file, cert_file: only with tls://")
		}
	}
	return net.JoinHostPort(u.Hostname(), u.Port()), u.Hostname(), u.Scheme == "tls", nil
}

func (c *SinkConfig) tlsConfig(host string) (*tls.Config, error) {
	roots, err := webhook.ReadRoots(c.CAFile)
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{RootCAs: roots, ServerName: host, MinVersion: tls.VersionTLS12}
	if c.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("cert_file, key_file: %w", err)
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	return cfg, nil
}

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}
