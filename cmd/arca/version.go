package main

import (
	"crypto/fips140"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker (see the Makefile).
var version = "devel"

func newVersion(env *environment) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print version, Go version and whether FIPS 140-3 mode is on",
		Args:  exactArgs(0),
		RunE: func(*cobra.Command, []string) error {
			revision := ""
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						revision = " " + s.Value
					}
				}
			}
			fips := "off"
			if fips140.Enabled() {
				fips = "on"
			}
			_, err := fmt.Fprintf(env.out, "arca %s%s %s %s/%s fips140=%s\n", version, revision, runtime.Version(), runtime.GOOS, runtime.GOARCH, fips)
			return err
		},
	}
}
