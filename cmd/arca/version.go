package main

import (
	"crypto/fips140"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"arca/internal/rootkey"
)

// version is set by the linker (see the Makefile).
var version = "devel"

func newVersion(env *environment) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print version, Go version, FIPS 140-3 module and mode, and what is built in",
		Long: `Print, on one line: the version and the commit it was built from, the version of Go,
the platform, whether FIPS 140-3 mode is off, on, or on with everything refused that is
not approved (only), the version of the cryptographic module (latest is the one of this
Go version, which no certificate names), and whether PKCS#11 is built in.`,
		Args: exactArgs(0),
		RunE: func(*cobra.Command, []string) error {
			b := thisBuild()
			_, err := fmt.Fprintf(env.out, "arca %s%s %s %s/%s fips140=%s fips140-module=%s pkcs11=%s\n",
				version, b.commit(), runtime.Version(), runtime.GOOS, runtime.GOARCH, b.fips, b.module, b.pkcs11)
			return err
		},
	}
}

// build is what an operator or an auditor wants to know of a binary, besides its version.
type build struct {
	revision string // "" when it was not built from a checkout
	fips     string // off, on or only
	module   string // version of the FIPS 140-3 module
	pkcs11   string // yes or no
}

func thisBuild() build {
	b := build{fips: "off", module: fips140.Version(), pkcs11: "no"}
	switch {
	case fips140.Enforced():
		b.fips = "only"
	case fips140.Enabled():
		b.fips = "on"
	}
	if rootkey.PKCS11BuiltIn {
		b.pkcs11 = "yes"
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				b.revision = s.Value
			}
		}
	}
	return b
}

func (b build) commit() string {
	if b.revision == "" {
		return ""
	}
	return " " + b.revision
}

// log says at the start of a server what it is, so that its log is enough to tell later
// which cryptography it ran with.
func (b build) log(log *slog.Logger) {
	log.Info("this is arca", "version", version, "commit", b.revision, "go", runtime.Version(),
		"fips140", b.fips, "fips140_module", b.module, "pkcs11", b.pkcs11)
}
