package app

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"arca/internal/arn"
	"arca/internal/egress"
	"arca/internal/rootkey"
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
	// OmitKMSEvents leaves out the audit records of KMS that reads and writes of secrets
	// under customers' keys get besides their own [omit_kms_events].
	OmitKMSEvents bool `toml:"omit_kms_events"`
	// Listen is the address of the API [listen]. Default: 127.0.0.1:8443.
	Listen string `toml:"listen"`
	// OpsListen is the address of /healthz, /readyz and /metrics [ops_listen]. Empty:
	// no such listener. It has no authentication: keep it on a private address.
	OpsListen string `toml:"ops_listen"`
	// Hosts are the host names clients use, besides addresses and the loopback names;
	// "*.example.com" stands for every name that ends so [hosts]. A request for another
	// host is refused.
	Hosts []string `toml:"hosts"`
	// Regions that are served [regions]. Default: every region of AWS's list.
	Regions []string `toml:"regions"`
	// TrustedProxies are addresses or networks whose X-Forwarded-For and
	// X-Forwarded-Proto are believed [trusted_proxies].
	TrustedProxies []string `toml:"trusted_proxies"`
	// Account is the 12-digit id of the first account [account]. Default: drawn at random
	// when the store is created. Data that was set up for another account is refused.
	Account string `toml:"account"`
	// CredentialsFile receives the root credentials that the first start makes, as one
	// JSON object, mode 0600 [credentials_file]. It must not lie inside DataDir.
	// Default: root-credentials.json beside the root key, or in the folder
	// DataDir + ".keys". Not written when the environment gives the credentials.
	CredentialsFile string `toml:"credentials_file"`
	// ShutdownSeconds is how long a stop waits for requests in flight
	// [shutdown_seconds]. Default: 30.
	ShutdownSeconds int `toml:"shutdown_seconds"`

	// Version of this binary. It is no setting: the command fills it in, and backups
	// name it.
	Version string `toml:"-"`

	TLS     TLSConfig     `toml:"tls"`
	RootKey RootKeyConfig `toml:"root_key"`
	Access  AccessConfig  `toml:"access"`
	Egress  EgressConfig  `toml:"egress"`
	// Audit says how the audit log is kept and who else gets it.
	Audit AuditConfig `toml:"audit"`
	// Webhooks are sent the events that Events choose, and the alarms of Alarms.
	Webhooks []WebhookConfig `toml:"webhook"`
	Events   []EventConfig   `toml:"event"`
	Alarms   []AlarmConfig   `toml:"alarm"`
	// Compliance has the parameters of the rules that secrets are held to.
	Compliance ComplianceConfig `toml:"compliance"`
	// Rotation bounds what rotations take of the machine.
	Rotation RotationConfig `toml:"rotation"`
	// Functions says how functions are run.
	Functions FunctionsConfig `toml:"functions"`
	Space     SpaceConfig     `toml:"space"`
	Quotas    QuotaConfig     `toml:"quotas"`
	// Rates are requests per second for each account and region, by AWS's group of
	// operations [rates]; a group that is not named is not limited. Groups: see
	// docs/configuration.md.
	Rates map[string]float64 `toml:"rates"`
}

// TLSConfig says with which certificate the API is served.
type TLSConfig struct {
	// CertFile and KeyFile are PEM files [tls.cert_file, tls.key_file]. They are read
	// again when they are replaced. Empty: the server makes a certificate of its own
	// for Hosts, in the folder of the root key or in DataDir + ".keys", and replaces it
	// a month before it ends.
	CertFile string `toml:"cert_file"`
	KeyFile  string `toml:"key_file"`
	// Off serves plain HTTP [tls.off]. For loopback and for listeners behind a proxy
	// that ends TLS.
	Off bool `toml:"off"`
}

// AccessConfig says where decisions are more, or tell more, than AWS's.
type AccessConfig struct {
	// ExplainDenials tells clients in AccessDenied errors which statement denied or what
	// was missing, as the audit log does [access.explain_denials]. Callers then learn the
	// names of policies.
	ExplainDenials bool `toml:"explain_denials"`
	// ListOnlyDescribable leaves secrets that the caller may not describe out of
	// ListSecrets [access.list_only_describable].
	ListOnlyDescribable bool `toml:"list_only_describable"`
	// OrganizationID is aws:PrincipalOrgID of all accounts [access.organization_id].
	// Default: derived from the identity of the data.
	OrganizationID string `toml:"organization_id"`
}

// EgressConfig says which servers Arca may call when an account names them, as it does
// with identity providers and with the databases of rotation functions. Addresses of the public Internet are always
// allowed.
type EgressConfig struct {
	// Allow are addresses and networks besides, such as 10.0.0.0/8 [egress.allow].
	Allow []string `toml:"allow"`
	// CAFile holds PEM certificates to trust besides the system's [egress.ca_file].
	CAFile string `toml:"ca_file"`
}

// prefixes are the networks of Allow, which has passed Validate.
func (e *EgressConfig) prefixes() []netip.Prefix {
	var out []netip.Prefix
	for _, text := range e.Allow {
		if p, ok := parseNetwork(text); ok {
			out = append(out, p)
		}
	}
	return out
}

func parseNetwork(text string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(text)
	return p.Masked(), err == nil
}

// RotationConfig bounds what the rotation of secrets takes of the machine.
type RotationConfig struct {
	// Workers is how many steps of rotations run at the same time [rotation.workers].
	// Default: 16.
	Workers int `toml:"workers"`
	// PerFunction is how many of them may be of one function [rotation.per_function].
	// Default: 4.
	PerFunction int `toml:"per_function"`
	// StartsPerSecond is how many scheduled rotations begin in a second when many are due
	// [rotation.starts_per_second]. Default: 5.
	StartsPerSecond float64 `toml:"starts_per_second"`
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

const (
	defaultListen          = "127.0.0.1:8443"
	defaultShutdownSeconds = 30
	// maxRate is far above what a process serves and far below what a rate limiter
	// can still count.
	maxRate = 1e9
)

var (
	accountForm = regexp.MustCompile(`^[0-9]{12}$`)
	// organizationForm is AWS's own.
	organizationForm = regexp.MustCompile(`^o-[a-z0-9]{10,32}$`)
	// hostForm is a host name, or a pattern for all names below one.
	hostForm = regexp.MustCompile(`^(\*\.)?[0-9A-Za-z_-]+(\.[0-9A-Za-z_-]+)*\.?$`)
)

// keysDir is the folder for what must not lie in DataDir: root key, own certificate,
// root credentials.
func (c *Config) keysDir() string {
	if c.RootKey.File == "" {
		return c.DataDir + ".keys"
	}
	return filepath.Dir(c.RootKey.File)
}

// problems gathers what Validate finds, in the order of the fields.
type problems []error

func (p *problems) add(field, format string, args ...any) {
	*p = append(*p, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
}

// Validate fills defaults in and refuses what cannot be honoured, naming each field.
// What has passed passes again unchanged.
func (c *Config) Validate() error {
	var p problems
	c.validatePaths(&p)
	c.validateListeners(&p)
	if c.Account != "" && !accountForm.MatchString(c.Account) {
		p.add("account", "%q is not 12 digits", c.Account)
	}
	if c.ShutdownSeconds < 0 {
		p.add("shutdown_seconds", "%d is negative", c.ShutdownSeconds)
	} else if c.ShutdownSeconds == 0 {
		c.ShutdownSeconds = defaultShutdownSeconds
	}
	c.validateAccess(&p)
	c.Audit.validate(&p)
	if err := new(c.Compliance.parameters()).Validate(); err != nil {
		p.add("compliance", "%v", err)
	}
	c.Functions.validate(&p, c.DataDir)
	c.validateSpace(&p)
	c.validateLimits(&p)
	return errors.Join(p...)
}

// pathSetting is a setting that names a file or folder.
type pathSetting struct {
	field string
	path  *string
}

// validatePaths also makes paths absolute, so that they mean the same everywhere.
func (c *Config) validatePaths(p *problems) {
	if c.DataDir == "" {
		p.add("data_dir", "is required")
	}
	for _, f := range append([]pathSetting{
		{"data_dir", &c.DataDir}, {"audit_dir", &c.AuditDir}, {"credentials_file", &c.CredentialsFile},
		{"tls.cert_file", &c.TLS.CertFile}, {"tls.key_file", &c.TLS.KeyFile}, {"egress.ca_file", &c.Egress.CAFile},
		{"functions.dir", &c.Functions.Dir}, {"functions.ca_file", &c.Functions.CAFile},
	}, c.RootKey.paths()...) {
		if *f.path == "" {
			continue
		}
		abs, err := filepath.Abs(*f.path)
		if err != nil {
			p.add(f.field, "%v", err)
			continue
		}
		*f.path = abs
	}
	c.RootKey.validate(p)
	if c.DataDir == "" {
		return
	}
	if c.AuditDir == "" {
		c.AuditDir = filepath.Join(c.DataDir, "audit")
	}
	if c.RootKey.Kind == rootkey.KindFile && c.RootKey.File == "" {
		c.RootKey.File = filepath.Join(c.keysDir(), "root.key")
	}
	if c.CredentialsFile == "" {
		c.CredentialsFile = filepath.Join(c.keysDir(), "root-credentials.json")
	}
	for _, f := range []struct{ field, path, holds string }{
		{"root_key.file", c.RootKey.File, "its key"},
		{"root_key.passphrase_file", c.RootKey.PassphraseFile, "its passphrase"},
		{"root_key.pin_file", c.RootKey.PINFile, "the PIN of its token"},
		{"credentials_file", c.CredentialsFile, "the root credentials"},
	} {
		if f.path != "" && inside(c.DataDir, f.path) {
			p.add(f.field, "%s lies inside data_dir: whoever copies the data would have %s", f.path, f.holds)
			break // the folder of one may only follow that of another
		}
	}
}

func (c *Config) validateListeners(p *problems) {
	if c.Listen == "" {
		c.Listen = defaultListen
	}
	for _, l := range []struct{ field, addr string }{{"listen", c.Listen}, {"ops_listen", c.OpsListen}} {
		if l.addr == "" {
			continue
		}
		if _, port, err := net.SplitHostPort(l.addr); err != nil || port == "" {
			p.add(l.field, "%q is not of the form address:port", l.addr)
		}
	}
	for _, h := range c.Hosts {
		if !hostForm.MatchString(h) {
			p.add("hosts", "%q is neither a host name nor a pattern such as *.example.com", h)
		}
	}
	for _, r := range c.Regions {
		if _, ok := arn.PartitionOf(r); !ok {
			p.add("regions", "%q is not a region of AWS's list", r)
		}
	}
	for _, a := range c.TrustedProxies {
		if _, _, err := net.ParseCIDR(a); err != nil && net.ParseIP(a) == nil {
			p.add("trusted_proxies", "%q is neither an address nor a network such as 10.0.0.0/8", a)
		}
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		p.add("tls", "cert_file and key_file go together")
	}
	if c.TLS.Off && (c.TLS.CertFile != "" || c.TLS.KeyFile != "") {
		p.add("tls.off", "is set beside a certificate")
	}
}

func (c *Config) validateAccess(p *problems) {
	if id := c.Access.OrganizationID; id != "" && !organizationForm.MatchString(id) {
		p.add("access.organization_id", "%q is not o- with 10 to 32 lower-case letters and digits", id)
	}
	for _, a := range c.Egress.Allow {
		network, ok := parseNetwork(a)
		if !ok {
			p.add("egress.allow", "%q is neither an address nor a network such as 10.0.0.0/8", a)
		} else if err := egress.CheckAllow(network); err != nil {
			p.add("egress.allow", "%s", err)
		}
	}
}

func (c *Config) validateSpace(p *problems) {
	var write, read space.Mark
	for _, m := range []struct {
		field, text string
		into        *space.Mark
	}{
		{"space.write_mark", c.Space.WriteMark, &write}, {"space.read_mark", c.Space.ReadMark, &read},
		{"space.ballast", c.Space.Ballast, new(space.Mark)},
	} {
		var err error
		if *m.into, err = space.ParseMark(m.text); err != nil {
			p.add(m.field, "%v", err)
		} else if m.field == "space.ballast" && m.into.Percent != 0 {
			p.add(m.field, "%q must be an amount, such as \"128MiB\"", m.text)
		}
	}
	// An amount and a share can only be compared on the disk.
	if write.Bytes > 0 && read.Bytes > write.Bytes || write.Percent > 0 && read.Percent > write.Percent {
		p.add("space.read_mark", "%q is above space.write_mark, %q", c.Space.ReadMark, c.Space.WriteMark)
	}
}

func (c *Config) validateLimits(p *problems) {
	for _, q := range []struct {
		field string
		n     int
	}{
		{"quotas.secrets_per_region", c.Quotas.SecretsPerRegion}, {"quotas.labels_per_secret", c.Quotas.LabelsPerSecret},
		{"quotas.versions_per_secret", c.Quotas.VersionsPerSecret}, {"quotas.tags_per_secret", c.Quotas.TagsPerSecret},
	} {
		if q.n < 0 {
			p.add(q.field, "%d is negative", q.n)
		}
	}
	if c.Rotation.Workers < 0 || c.Rotation.PerFunction < 0 {
		p.add("rotation", "workers %d and per_function %d must not be negative", c.Rotation.Workers, c.Rotation.PerFunction)
	}
	if r := c.Rotation.StartsPerSecond; !(r >= 0 && r <= maxRate) { // so that it is false for NaN, too
		p.add("rotation.starts_per_second", "%v is not a number of rotations per second above 0, at most %.0e", r, maxRate)
	}
	for _, group := range slices.Sorted(maps.Keys(c.Rates)) {
		rate := c.Rates[group]
		if !slices.Contains(rateGroups(), group) {
			p.add("rates", "%q is not a group of operations; the groups are %s", group, strings.Join(rateGroups(), ", "))
		} else if !(rate > 0 && rate <= maxRate) { // so that it is false for NaN, too
			p.add("rates."+group, "%v is not a number of requests per second above 0, at most %.0e", rate, maxRate)
		}
	}
}

// inside reports whether path lies in dir, or is it. Both are absolute.
func inside(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

func (c *Config) shutdownTimeout() time.Duration {
	return time.Duration(c.ShutdownSeconds) * time.Second
}
