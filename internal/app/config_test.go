package app_test

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/app"
)

func TestValidateDefaults(t *testing.T) {
	for _, tt := range []struct {
		name     string
		in, want app.Config
	}{
		{"file", app.Config{DataDir: "/var/lib/arca"}, app.Config{
			DataDir: "/var/lib/arca", AuditDir: "/var/lib/arca/audit", Listen: "127.0.0.1:8443", ShutdownSeconds: 30,
			CredentialsFile: "/var/lib/arca.keys/root-credentials.json",
			RootKey:         app.RootKeyConfig{Kind: "file", File: "/var/lib/arca.keys/root.key"},
		}},
		{"file elsewhere", app.Config{DataDir: "/var/lib/arca", RootKey: app.RootKeyConfig{File: "/etc/arca/../keys/root.key"}}, app.Config{
			DataDir: "/var/lib/arca", AuditDir: "/var/lib/arca/audit", Listen: "127.0.0.1:8443", ShutdownSeconds: 30,
			CredentialsFile: "/etc/keys/root-credentials.json",
			RootKey:         app.RootKeyConfig{Kind: "file", File: "/etc/keys/root.key"},
		}},
		{"passphrase", app.Config{DataDir: "/var/lib/arca/", RootKey: app.RootKeyConfig{Kind: "passphrase"}}, app.Config{
			DataDir: "/var/lib/arca", AuditDir: "/var/lib/arca/audit", Listen: "127.0.0.1:8443", ShutdownSeconds: 30,
			CredentialsFile: "/var/lib/arca.keys/root-credentials.json",
			RootKey:         app.RootKeyConfig{Kind: "passphrase"},
		}},
		{"kms", app.Config{DataDir: "/var/lib/arca", RootKey: app.RootKeyConfig{Kind: "kms", KeyID: "arn:aws:kms:eu-west-1:111122223333:alias/arca"}}, app.Config{
			DataDir: "/var/lib/arca", AuditDir: "/var/lib/arca/audit", Listen: "127.0.0.1:8443", ShutdownSeconds: 30,
			CredentialsFile: "/var/lib/arca.keys/root-credentials.json",
			RootKey:         app.RootKeyConfig{Kind: "kms", KeyID: "arn:aws:kms:eu-west-1:111122223333:alias/arca", Region: "eu-west-1"},
		}},
		{"pkcs11", app.Config{DataDir: "/var/lib/arca", RootKey: app.RootKeyConfig{Kind: "pkcs11", Module: "/m.so", TokenLabel: "t"}}, app.Config{
			DataDir: "/var/lib/arca", AuditDir: "/var/lib/arca/audit", Listen: "127.0.0.1:8443", ShutdownSeconds: 30,
			CredentialsFile: "/var/lib/arca.keys/root-credentials.json",
			RootKey:         app.RootKeyConfig{Kind: "pkcs11", Module: "/m.so", TokenLabel: "t", KeyLabel: "arca-root-key"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.want.Functions.Dir = "/var/lib/arca.functions"
			for range 2 { // what has passed passes again
				if err := tt.in.Validate(); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, tt.in); diff != "" {
					t.Errorf("config (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// Relative paths mean the folder the server was started in, whatever it does later.
func TestValidateRelativePaths(t *testing.T) {
	t.Chdir(t.TempDir())
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	cfg := app.Config{DataDir: "data", AuditDir: "audit", RootKey: app.RootKeyConfig{File: "keys/root.key"}}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	for got, want := range map[string]string{
		cfg.DataDir: "data", cfg.AuditDir: "audit", cfg.RootKey.File: "keys/root.key", cfg.CredentialsFile: "keys/root-credentials.json",
	} {
		if got != filepath.Join(here, want) {
			t.Errorf("path %q, want %q made absolute", got, want)
		}
	}
}

// Each setting that cannot be honoured is refused by its name.
func TestValidate(t *testing.T) {
	good := func(set func(c *app.Config)) app.Config {
		c := app.Config{DataDir: "/var/lib/arca"}
		set(&c)
		return c
	}
	rates := func(group string, n float64) func(c *app.Config) {
		return func(c *app.Config) { c.Rates = map[string]float64{group: n} }
	}
	for _, tt := range []struct {
		name string
		set  func(c *app.Config)
		want string // "" is good
	}{
		{"no data_dir", func(c *app.Config) { c.DataDir = "" }, `data_dir: is required`},
		{"listen without port", func(c *app.Config) { c.Listen = "localhost" }, `listen: "localhost" is not of the form address:port`},
		{"listen with an empty port", func(c *app.Config) { c.Listen = "localhost:" }, `listen: "localhost:" is not of the form address:port`},
		{"listen everywhere", func(c *app.Config) { c.Listen = ":8443" }, ``},
		{"listen on IPv6", func(c *app.Config) { c.Listen = "[::1]:8443" }, ``},
		{"ops_listen without port", func(c *app.Config) { c.OpsListen = "::1" }, `ops_listen: "::1" is not of the form address:port`},
		{"hosts", func(c *app.Config) {
			c.Hosts = []string{"arca.example.com", "*.arca.example", "arca", "arca.", "192.0.2.1", "my_host"}
		}, ``},
		{"host with a port", func(c *app.Config) { c.Hosts = []string{"arca:8443"} }, `hosts: "arca:8443" is neither a host name nor a pattern such as *.example.com`},
		{"host as URL", func(c *app.Config) { c.Hosts = []string{"https://arca"} }, `hosts: "https://arca" is neither a host name nor a pattern such as *.example.com`},
		{"empty host", func(c *app.Config) { c.Hosts = []string{""} }, `hosts: "" is neither a host name nor a pattern such as *.example.com`},
		{"star in the middle", func(c *app.Config) { c.Hosts = []string{"a.*.example"} }, `hosts: "a.*.example" is neither a host name nor a pattern such as *.example.com`},
		{"star alone", func(c *app.Config) { c.Hosts = []string{"*"} }, `hosts: "*" is neither a host name nor a pattern such as *.example.com`},
		{"region", func(c *app.Config) { c.Regions = []string{"eu-west-1", "eu-nowhere-9"} }, `regions: "eu-nowhere-9" is not a region of AWS's list`},
		{"organisation", func(c *app.Config) { c.Access.OrganizationID = "o-exampleorgid" }, ``},
		{"organisation of another form", func(c *app.Config) { c.Access.OrganizationID = "O-1" }, `access.organization_id: "O-1" is not o- with 10 to 32 lower-case letters and digits`},
		{"egress", func(c *app.Config) { c.Egress.Allow = []string{"10.0.0.0/8", "fd00::/8", "192.0.2.1"} }, ``},
		{"egress too wide", func(c *app.Config) { c.Egress.Allow = []string{"0.0.0.0/0"} }, `egress.allow: 0.0.0.0/0 holds addresses that no server can have: 0.0.0.0/8 is unspecified`},
		{"egress by name", func(c *app.Config) { c.Egress.Allow = []string{"issuer.example"} }, `egress.allow: "issuer.example" is neither an address nor a network such as 10.0.0.0/8`},
		{"functions", func(c *app.Config) {
			c.Functions = app.FunctionsConfig{Run: true, UIDRange: "200000-200999", Interpreters: map[string]string{"python3.12": "/opt/python", "nodejs": "/opt/node"}, NodePath: []string{"/srv/node_modules"}}
		}, ``},
		{"functions under the server's user id", func(c *app.Config) { c.Functions.Run = true },
			`functions.uid_range: is required for functions.run: code of functions must not run under the server's own user id. Name user ids that nothing else uses, such as "200000-200999"`},
		{"functions under root", func(c *app.Config) { c.Functions.UIDRange = "0-10" }, `functions.uid_range: "0-10" is not a range of user ids such as "200000-200999"`},
		{"functions under one user id", func(c *app.Config) { c.Functions.UIDRange = "5000-5000" }, `functions.uid_range: "5000-5000" is not a range of user ids such as "200000-200999"`},
		{"functions in the data", func(c *app.Config) { c.Functions.Dir = "/var/lib/arca/functions" },
			`functions.dir: /var/lib/arca/functions and data_dir lie in each other: functions.dir is emptied at every start`},
		{"functions around the data", func(c *app.Config) { c.Functions.Dir = "/var/lib" },
			`functions.dir: /var/lib and data_dir lie in each other: functions.dir is emptied at every start`},
		{"interpreter of something else", func(c *app.Config) { c.Functions.Interpreters = map[string]string{"ruby": "/usr/bin/ruby"} },
			`functions.interpreters: "ruby" is neither a runtime such as python3.12 or nodejs20.x nor python3 or nodejs`},
		{"interpreter by name", func(c *app.Config) { c.Functions.Interpreters = map[string]string{"python3": "python3"} },
			`functions.interpreters.python3: "python3" is not an absolute path`},
		{"modules by name", func(c *app.Config) { c.Functions.PythonPath = []string{"lib"} }, `functions.python_path: "lib" is not an absolute path`},
		{"max_processes", func(c *app.Config) { c.Functions.MaxProcesses = -1 }, `functions.max_processes: -1 is negative`},
		{"endpoint of functions", func(c *app.Config) { c.Functions.Endpoint = "arca:8443" }, `functions.endpoint: "arca:8443" is not a URL of the form https://host:port`},
		{"proxies", func(c *app.Config) { c.TrustedProxies = []string{"10.0.0.1", "10.0.0.0/8", "fd00::/8"} }, ``},
		{"proxy by name", func(c *app.Config) { c.TrustedProxies = []string{"proxy"} }, `trusted_proxies: "proxy" is neither an address nor a network such as 10.0.0.0/8`},
		{"account", func(c *app.Config) { c.Account = "1234" }, `account: "1234" is not 12 digits`},
		{"shutdown_seconds", func(c *app.Config) { c.ShutdownSeconds = -1 }, `shutdown_seconds: -1 is negative`},
		{"certificate without key", func(c *app.Config) { c.TLS.CertFile = "c" }, `tls: cert_file and key_file go together`},
		{"key without certificate", func(c *app.Config) { c.TLS.KeyFile = "k" }, `tls: cert_file and key_file go together`},
		{"certificate and off", func(c *app.Config) { c.TLS = app.TLSConfig{CertFile: "c", KeyFile: "k", Off: true} }, `tls.off: is set beside a certificate`},
		{"root_key.kind", func(c *app.Config) { c.RootKey.Kind = "hsm" }, `root_key.kind: "hsm" is none of file, passphrase, kms, pkcs11`},
		{"kms", func(c *app.Config) {
			c.RootKey = app.RootKeyConfig{Kind: "kms", KeyID: "arn:aws:kms:eu-west-1:111122223333:alias/arca", Endpoint: "https://kms.example:8443/", CAFile: "/ca.pem"}
		}, ``},
		{"kms without a key", func(c *app.Config) { c.RootKey.Kind = "kms" }, `root_key.key_id: is required for kind "kms"`},
		{"kms key by an ARN of something else", func(c *app.Config) { c.RootKey = app.RootKeyConfig{Kind: "kms", KeyID: "arn:aws:s3:::x"} },
			`root_key.key_id: "arn:aws:s3:::x" is not the ARN of a KMS key or alias`},
		{"kms key of another region", func(c *app.Config) {
			c.RootKey = app.RootKeyConfig{Kind: "kms", KeyID: "arn:aws:kms:eu-west-1:111122223333:alias/arca", Region: "us-east-1"}
		}, `root_key.region: "us-east-1" is not the region of root_key.key_id, "eu-west-1"`},
		{"kms in the clear", func(c *app.Config) {
			c.RootKey = app.RootKeyConfig{Kind: "kms", KeyID: "k", Endpoint: "http://kms.example"}
		}, `root_key.endpoint: "http://kms.example" would send root keys in the clear: use https`},
		{"kms in the clear on loopback", func(c *app.Config) {
			c.RootKey = app.RootKeyConfig{Kind: "kms", KeyID: "k", Endpoint: "http://127.0.0.1:4566"}
		}, ``},
		{"kms at a page", func(c *app.Config) {
			c.RootKey = app.RootKeyConfig{Kind: "kms", KeyID: "k", Endpoint: "https://kms.example/path"}
		}, `root_key.endpoint: "https://kms.example/path" is not of the form https://host:port`},
		{"kms with a password", func(c *app.Config) {
			c.RootKey = app.RootKeyConfig{Kind: "kms", KeyID: "k", Endpoint: "https://u:p@kms.example"}
		}, `root_key.endpoint: "https://u:p@kms.example" is not of the form https://host:port`},
		{"kms of another kind of URL", func(c *app.Config) {
			c.RootKey = app.RootKeyConfig{Kind: "kms", KeyID: "k", Endpoint: "ftp://kms.example"}
		}, `root_key.endpoint: "ftp://kms.example" is not of the form https://host:port`},
		{"setting of another kind", func(c *app.Config) {
			c.RootKey = app.RootKeyConfig{Kind: "kms", KeyID: "k", TokenLabel: "t"}
		}, `root_key.token_label: is set, but root_key.kind is "kms"`},
		{"token without module and label", func(c *app.Config) { c.RootKey.Kind = "pkcs11" },
			"root_key.module: is required for kind \"pkcs11\"\nroot_key.token_label: is required for kind \"pkcs11\""},
		{"token with a long label", func(c *app.Config) {
			c.RootKey = app.RootKeyConfig{Kind: "pkcs11", Module: "/m.so", TokenLabel: "123456789012345678901234567890123"}
		}, `root_key.token_label: "123456789012345678901234567890123" has more than 32 bytes`},
		{"PIN inside the data", func(c *app.Config) {
			c.RootKey = app.RootKeyConfig{Kind: "pkcs11", Module: "/m.so", TokenLabel: "t", PINFile: "/var/lib/arca/pin"}
		}, `root_key.pin_file: /var/lib/arca/pin lies inside data_dir: whoever copies the data would have the PIN of its token`},
		{"passphrase file beside a key file", func(c *app.Config) { c.RootKey.PassphraseFile = "/p" }, `root_key.passphrase_file: is set, but root_key.kind is "file"`},
		{"key file beside a passphrase", func(c *app.Config) { c.RootKey = app.RootKeyConfig{Kind: "passphrase", File: "/k"} }, `root_key.file: is set, but root_key.kind is "passphrase"`},
		{"root key inside the data", func(c *app.Config) { c.RootKey.File = "/var/lib/arca/keys/root.key" },
			`root_key.file: /var/lib/arca/keys/root.key lies inside data_dir: whoever copies the data would have its key`},
		{"passphrase inside the data", func(c *app.Config) {
			c.RootKey = app.RootKeyConfig{Kind: "passphrase", PassphraseFile: "/var/lib/arca/../arca/p"}
		}, `root_key.passphrase_file: /var/lib/arca/p lies inside data_dir: whoever copies the data would have its passphrase`},
		{"credentials inside the data", func(c *app.Config) { c.CredentialsFile = "/var/lib/arca/c.json" },
			`credentials_file: /var/lib/arca/c.json lies inside data_dir: whoever copies the data would have the root credentials`},
		{"root key beside the data", func(c *app.Config) { c.RootKey.File = "/var/lib/arca-keys/root.key" }, ``},
		{"write_mark", func(c *app.Config) { c.Space.WriteMark = "lots" }, `space.write_mark: parse space mark "lots": not a number`},
		{"read_mark", func(c *app.Config) { c.Space.ReadMark = "-1" }, `space.read_mark: parse space mark "-1": not a number`},
		{"read_mark above write_mark", func(c *app.Config) { c.Space.ReadMark, c.Space.WriteMark = "2GiB", "1GiB" }, `space.read_mark: "2GiB" is above space.write_mark, "1GiB"`},
		{"shares the wrong way round", func(c *app.Config) { c.Space.ReadMark, c.Space.WriteMark = "10%", "5%" }, `space.read_mark: "10%" is above space.write_mark, "5%"`},
		{"marks", func(c *app.Config) { c.Space = app.SpaceConfig{WriteMark: "5%", ReadMark: "1%", Ballast: "10MiB"} }, ``},
		{"ballast", func(c *app.Config) { c.Space.Ballast = "x" }, `space.ballast: parse space mark "x": not a number`},
		{"ballast as a share", func(c *app.Config) { c.Space.Ballast = "5%" }, `space.ballast: "5%" must be an amount, such as "128MiB"`},
		{"secrets_per_region", func(c *app.Config) { c.Quotas.SecretsPerRegion = -1 }, `quotas.secrets_per_region: -1 is negative`},
		{"labels_per_secret", func(c *app.Config) { c.Quotas.LabelsPerSecret = -2 }, `quotas.labels_per_secret: -2 is negative`},
		{"versions_per_secret", func(c *app.Config) { c.Quotas.VersionsPerSecret = -3 }, `quotas.versions_per_secret: -3 is negative`},
		{"tags_per_secret", func(c *app.Config) { c.Quotas.TagsPerSecret = -4 }, `quotas.tags_per_secret: -4 is negative`},
		{"rates", rates("get", 0.5), ``},
		{"unknown rate group", rates("Get", 1), `rates: "Get" is not a group of operations; the groups are batch_get, create, delete, get, list, random_password, resource_policy, restore, rotate, tag, update`},
		{"rate zero", rates("get", 0), `rates.get: 0 is not a number of requests per second above 0, at most 1e+09`},
		{"rate negative", rates("get", -1), `rates.get: -1 is not a number of requests per second above 0, at most 1e+09`},
		{"rate NaN", rates("get", math.NaN()), `rates.get: NaN is not a number of requests per second above 0, at most 1e+09`},
		{"rate infinite", rates("get", math.Inf(1)), `rates.get: +Inf is not a number of requests per second above 0, at most 1e+09`},
		{"several", func(c *app.Config) {
			c.Rates = map[string]float64{"z": 1, "a": 1}
			c.Account, c.ShutdownSeconds = "x", -1
			c.Quotas.TagsPerSecret = -1
		}, `account: "x" is not 12 digits
shutdown_seconds: -1 is negative
quotas.tags_per_secret: -1 is negative
rates: "a" is not a group of operations; the groups are batch_get, create, delete, get, list, random_password, resource_policy, restore, rotate, tag, update
rates: "z" is not a group of operations; the groups are batch_get, create, delete, get, list, random_password, resource_policy, restore, rotate, tag, update`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := good(tt.set)
			got := ""
			if err := cfg.Validate(); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("Validate =\n %s, want\n %s", got, tt.want)
			}
		})
	}
}

// settings lists the names a configuration file may hold.
func settings(t reflect.Type, prefix string) (names []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Tag.Get("toml") == "-" {
			continue
		}
		name := prefix + f.Tag.Get("toml")
		kind := f.Type.Kind()
		if kind == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct {
			names = append(names, settings(f.Type.Elem(), name+".")...)
			continue
		}
		switch kind {
		case reflect.Struct:
			names = append(names, settings(f.Type, name+".")...)
		case reflect.Map:
			names = append(names, name+"."+map[string]string{"rates": "<group>", "functions.interpreters": "<runtime>"}[name])
		default:
			names = append(names, name)
		}
	}
	return names
}

// docs/configuration.md lists exactly the settings there are, in their order.
func TestConfigurationIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	table, rest, ok := strings.Cut(string(text), "## Rate groups")
	if !ok {
		t.Fatal("the page has no section on rate groups")
	}
	var listed []string
	for row := range strings.Lines(table) {
		if !strings.HasPrefix(row, "| `") {
			continue
		}
		for _, name := range regexp.MustCompile("`[^`]+`").FindAllString(strings.Split(row, "|")[1], -1) {
			listed = append(listed, strings.Trim(name, "`"))
		}
	}
	want := settings(reflect.TypeFor[app.Config](), "")
	slices.Sort(want)
	slices.Sort(listed)
	if diff := cmp.Diff(want, listed); diff != "" {
		t.Errorf("settings (-there are +listed):\n%s", diff)
	}
	figures := map[string]float64{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z_]+) = ([0-9]+) `).FindAllStringSubmatch(rest, -1) {
		if figures[m[1]], err = strconv.ParseFloat(m[2], 64); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(app.AWSRates(), figures); diff != "" {
		t.Errorf("rates (-known +listed):\n%s", diff)
	}
}
