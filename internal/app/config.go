package app

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"arca/internal/arn"
	"arca/internal/space"
)

// Config is everything a server can be told. The names in brackets are those of the
// configuration file; every field has a zero value that works or that Validate
// refuses by name. A configuration file of an older release keeps its meaning.
type Config struct {
	// DataDir holds the database and, unless AuditDir says otherwise, the audit log
	// [data_dir]. Required. It is created with mode 0700.
	DataDir string `toml:"data_dir"`
	// AuditDir holds this node's audit segments [audit_dir]. Default: DataDir/audit.
	AuditDir string `toml:"audit_dir"`
	// Listen is the address of the API [listen]. Default: 127.0.0.1:8443.
	Listen string `toml:"listen"`
	// OpsListen is the address of /healthz, /readyz and /metrics [ops_listen]. Empty:
	// no such listener. It has no authentication: keep it on a private address.
	OpsListen string `toml:"ops_listen"`
	// Hosts are the host names clients use, besides the listening address and the
	// loopback names [hosts]. A request for another host is refused.
	Hosts []string `toml:"hosts"`
	// Regions that are served [regions]. Default: every region of AWS's list.
	Regions []string `toml:"regions"`
	// TrustedProxies are addresses or networks whose X-Forwarded-For is believed
	// [trusted_proxies].
	TrustedProxies []string `toml:"trusted_proxies"`
	// Account is the 12-digit id of the first account [account]. Default: drawn at random
	// when the store is created.
	Account string `toml:"account"`
	// CredentialsFile receives the root credentials that the first start makes, as one
	// JSON object, mode 0600 [credentials_file]. Default: root-credentials.json beside
	// the root key. Not written when the environment gives the credentials.
	CredentialsFile string `toml:"credentials_file"`
	// ShutdownSeconds is how long a stop waits for requests in flight
	// [shutdown_seconds]. Default: 30.
	ShutdownSeconds int `toml:"shutdown_seconds"`

	TLS     TLSConfig     `toml:"tls"`
	RootKey RootKeyConfig `toml:"root_key"`
	Space   SpaceConfig   `toml:"space"`
	Quotas  QuotaConfig   `toml:"quotas"`
	// Rates are requests per second for each account and region, by AWS's group of
	// operations [rates]; a group that is not named is not limited. Groups: see
	// docs/configuration.md.
	Rates map[string]float64 `toml:"rates"`
}

// TLSConfig says with which certificate the API is served.
type TLSConfig struct {
	// CertFile and KeyFile are PEM files [tls.cert_file, tls.key_file]. They are read
	// again when they are replaced. Empty: the server makes a certificate of its own
	// for Hosts, beside the root key, and renews it.
	CertFile string `toml:"cert_file"`
	KeyFile  string `toml:"key_file"`
	// Off serves plain HTTP [tls.off]. For loopback and for listeners behind a proxy
	// that ends TLS.
	Off bool `toml:"off"`
}

// RootKeyConfig says where the root key comes from.
type RootKeyConfig struct {
	// Kind is "file" or "passphrase" [root_key.kind]. Default: file.
	Kind string `toml:"kind"`
	// File is the path of the root key [root_key.file]. It must not lie inside
	// DataDir. Default: root.key in the folder DataDir + ".keys".
	File string `toml:"file"`
	// PassphraseFile holds the passphrase, one line [root_key.passphrase_file].
	// Default: the environment variable ARCA_ROOT_PASSPHRASE.
	PassphraseFile string `toml:"passphrase_file"`
}

// SpaceConfig are the free-space marks: an amount ("256MiB") or a share of the file
// system ("5%").
type SpaceConfig struct {
	// WriteMark: below it writes are refused [space.write_mark]. Default: 256 MiB, or
	// 10 % of a file system where that is less.
	WriteMark string `toml:"write_mark"`
	// ReadMark: below it reads are refused, too [space.read_mark]. Default: 64 MiB, or
	// 2.5 % of a file system where that is less.
	ReadMark string `toml:"read_mark"`
	// Ballast is the size of a file on each file system that is given up when the disk
	// runs full [space.ballast]. Default: 128 MiB, or 5 % of a file system where that is
	// less.
	Ballast string `toml:"ballast"`
}

// QuotaConfig are AWS's quotas; 0 stands for AWS's own value.
type QuotaConfig struct {
	SecretsPerRegion  int `toml:"secrets_per_region"`  // 500,000
	LabelsPerSecret   int `toml:"labels_per_secret"`   // 20
	VersionsPerSecret int `toml:"versions_per_secret"` // 100
	TagsPerSecret     int `toml:"tags_per_secret"`     // 50
}

// Keys returns the folder for what must not lie in DataDir: root key, own
// certificate, root credentials.
func (c *Config) keysDir() string { return filepath.Dir(c.RootKey.File) }

// ListenAddress is Listen with its default.
func (c *Config) listenAddress() string {
	if c.Listen == "" {
		return "127.0.0.1:8443"
	}
	return c.Listen
}

var accountForm = regexp.MustCompile(`^[0-9]{12}$`)

// Validate fills defaults in and refuses what cannot be honoured, naming the field.
func (c *Config) Validate() error {
	var problems []error
	bad := func(field, format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	}
	if c.DataDir == "" {
		bad("data_dir", "is required")
	} else if abs, err := filepath.Abs(c.DataDir); err != nil {
		bad("data_dir", "%v", err)
	} else {
		c.DataDir = abs
	}
	if c.AuditDir == "" {
		c.AuditDir = filepath.Join(c.DataDir, "audit")
	}
	c.Listen = c.listenAddress()
	for field, addr := range map[string]string{"listen": c.Listen, "ops_listen": c.OpsListen} {
		if addr == "" {
			continue
		}
		if _, port, err := net.SplitHostPort(addr); err != nil || port == "" {
			bad(field, "%q is not of the form address:port", addr)
		}
	}
	for _, r := range c.Regions {
		if _, ok := arn.PartitionOf(r); !ok {
			bad("regions", "%q is not a region of AWS's list", r)
		}
	}
	for _, p := range c.TrustedProxies {
		if _, _, err := net.ParseCIDR(p); err != nil && net.ParseIP(p) == nil {
			bad("trusted_proxies", "%q is neither an address nor a network such as 10.0.0.0/8", p)
		}
	}
	if c.Account != "" && !accountForm.MatchString(c.Account) {
		bad("account", "%q is not 12 digits", c.Account)
	}
	if c.ShutdownSeconds < 0 {
		bad("shutdown_seconds", "%d is negative", c.ShutdownSeconds)
	} else if c.ShutdownSeconds == 0 {
		c.ShutdownSeconds = 30
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		bad("tls", "cert_file and key_file go together")
	}
	if c.TLS.Off && c.TLS.CertFile != "" {
		bad("tls.off", "is set beside a certificate")
	}
	c.validateRootKey(bad)
	for field, text := range map[string]string{"space.write_mark": c.Space.WriteMark, "space.read_mark": c.Space.ReadMark, "space.ballast": c.Space.Ballast} {
		if m, err := space.ParseMark(text); err != nil {
			bad(field, "%v", err)
		} else if field == "space.ballast" && m.Percent != 0 {
			bad(field, "%q must be an amount, such as \"128MiB\"", text)
		}
	}
	for field, n := range map[string]int{
		"quotas.secrets_per_region": c.Quotas.SecretsPerRegion, "quotas.labels_per_secret": c.Quotas.LabelsPerSecret,
		"quotas.versions_per_secret": c.Quotas.VersionsPerSecret, "quotas.tags_per_secret": c.Quotas.TagsPerSecret,
	} {
		if n < 0 {
			bad(field, "%d is negative", n)
		}
	}
	for group, rate := range c.Rates {
		if !slices.Contains(rateGroups(), group) {
			bad("rates", "%q is not a group of operations; the groups are %s", group, strings.Join(rateGroups(), ", "))
		} else if rate <= 0 {
			bad("rates."+group, "%v is not a positive number of requests per second", rate)
		}
	}
	return errors.Join(problems...)
}

func (c *Config) validateRootKey(bad func(field, format string, args ...any)) {
	switch c.RootKey.Kind {
	case "":
		c.RootKey.Kind = "file"
	case "file", "passphrase":
	default:
		bad("root_key.kind", "%q is neither \"file\" nor \"passphrase\"", c.RootKey.Kind)
	}
	if c.RootKey.Kind == "file" && c.RootKey.PassphraseFile != "" {
		bad("root_key.passphrase_file", "is set, but root_key.kind is \"file\"")
	}
	if c.RootKey.File == "" && c.DataDir != "" {
		c.RootKey.File = filepath.Join(c.DataDir+".keys", "root.key")
	}
	if c.CredentialsFile == "" && c.RootKey.File != "" {
		c.CredentialsFile = filepath.Join(c.keysDir(), "root-credentials.json")
	}
	if inside(c.DataDir, c.RootKey.File) {
		bad("root_key.file", "%s lies inside data_dir: whoever copies the data would have its key", c.RootKey.File)
	}
}

// inside reports whether path lies in dir.
func inside(dir, path string) bool {
	if dir == "" || path == "" {
		return false
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return false
	}
	rel, err := filepath.Rel(dir, abs)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

func (c *Config) shutdownTimeout() time.Duration {
	return time.Duration(c.ShutdownSeconds) * time.Second
}
