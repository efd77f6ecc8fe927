package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"arca/internal/app"
)

func newDev(env *environment) *cobra.Command {
	dc := app.DevConfig{Version: version}
	var logs logFlags
	var welcome bool
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a development server on loopback",
		Long: `Run a development server: account 000000000000, access key "test", secret "test",
every region. Signatures are checked and calls are audited as in production, and the
data is kept between runs (in the user's state directory, --data-dir for another).

The first line printed is the address. Set AWS_ENDPOINT_URL to it, and
AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to "test".`,
		Example: `  arca dev
  arca dev --ephemeral --listen 127.0.0.1:0
  arca dev clock advance 31d`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := logs.logger(env.err)
			if err != nil {
				return err
			}
			if dc.Home == "" && !dc.Ephemeral {
				if dc.Home, err = stateHome(env.getenv); err != nil {
					return err
				}
			}
			opened := make(chan struct{})
			go tuneGC(cmd.Context(), env.getenv, opened)
			d, err := app.OpenDev(cmd.Context(), dc, log)
			if err != nil {
				return err
			}
			close(opened)
			fmt.Fprintf(env.out, "arca dev listening on %s\n", d.URL())
			if welcome {
				go func() {
					if err := greet(cmd.Context(), env.out, d.URL()); err != nil && cmd.Context().Err() == nil {
						log.Error("the first secret could not be stored and read back", "error", err.Error())
					}
				}()
			}
			raiseProcs(env.getenv)
			go returnMemory()
			return d.Run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&dc.Home, "data-dir", "", "`folder` for data and root key (default $XDG_STATE_HOME/arca/dev or ~/.local/state/arca/dev)")
	f.BoolVar(&dc.Ephemeral, "ephemeral", false, "keep the data in a temporary folder and remove it at the end")
	f.StringVar(&dc.Listen, "listen", app.DevListen, "`address:port`; port 0 picks a free one")
	f.BoolVar(&dc.AllowRemote, "allow-remote", false, "permit a listening address that is not loopback, although everybody knows the credentials")
	f.BoolVar(&dc.AnyCredentials, "any-credentials", false, "accept every signature and none, as root of the development account")
	f.BoolVar(&dc.ExplainDenials, "explain-denials", false, "tell clients in AccessDenied errors which statement denied, or what was missing")
	f.BoolVar(&dc.ListOnlyDescribable, "list-only-describable", false, "leave secrets that the caller may not describe out of ListSecrets")
	f.StringSliceVar(&dc.Hosts, "host", nil, "further host `name` by which clients reach the server; may be repeated")
	f.StringVar(&dc.EgressCAFile, "egress-ca-file", "", "`file` with certificates to trust besides the system's, for databases that rotation functions log in to")
	f.BoolVar(&dc.RunFunctions, "run-functions", false, "run the code of functions, as processes under your own user id")
	f.BoolVar(&welcome, "welcome", false, "store and read back a first secret, and print how to connect")
	logs.add(cmd, "warn")
	cmd.AddCommand(newClock(env))
	return cmd
}

// stateHome is where a development server keeps its data by default (XDG base
// directory specification).
func stateHome(getenv func(string) string) (string, error) {
	if dir := getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "arca", "dev"), nil
	}
	home := getenv("HOME")
	if !filepath.IsAbs(home) {
		return "", fmt.Errorf("neither XDG_STATE_HOME nor HOME is set: name a folder with --data-dir, or use --ephemeral")
	}
	return filepath.Join(home, ".local", "state", "arca", "dev"), nil
}
