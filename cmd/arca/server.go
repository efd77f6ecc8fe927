package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"

	"arca/internal/app"
	"arca/internal/envelope"
)

func newServer(env *environment) *cobra.Command {
	var path string
	var check bool
	var logs logFlags
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run a production server from a configuration file",
		Long: `Run a production server. A setting that is unknown or cannot be honoured stops the
start with its name; docs/configuration.md lists them all.

The first start makes the root key and the root credentials of the first account, and
says where they are. The environment can give the credentials instead:
ARCA_ROOT_ACCESS_KEY_ID and ARCA_ROOT_SECRET_ACCESS_KEY; and the passphrase of the
root key, ARCA_ROOT_PASSPHRASE, or the PIN of the token that holds it, ARCA_PKCS11_PIN.

A root key that cannot be reached yet, in a KMS or a token, is waited for
(root_key.wait_seconds); a wrong or missing one ends the start at once.`,
		Example: "  arca server --config /etc/arca/arca.toml",
		Args:    exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := logs.logger(env.err)
			if err != nil {
				return err
			}
			cfg, err := readConfig(path)
			if err != nil {
				return err
			}
			given, err := serverSecrets(env.getenv)
			if err != nil {
				return err
			}
			if check {
				if err := cfg.CheckFiles(given, log); err != nil {
					return fmt.Errorf("%s: %w", path, err)
				}
				fmt.Fprintf(env.out, "%s is a good configuration\n", path)
				return nil
			}
			thisBuild().log(log)
			opened := make(chan struct{})
			go tuneGC(cmd.Context(), env.getenv, opened)
			a, err := app.OpenServer(cmd.Context(), cfg, given, log)
			if errors.Is(err, context.Canceled) && cmd.Context().Err() != nil {
				log.Info("stopped before the start was complete", "reason", err.Error())
				return nil
			}
			if err != nil {
				return err
			}
			close(opened)
			fmt.Fprintf(env.out, "arca server listening on %s\n", a.URL())
			if a.OpsAddr() != "" {
				fmt.Fprintf(env.out, "health and metrics on http://%s\n", a.OpsAddr())
			}
			// Outside systemd there is no socket to notify, and nothing happens.
			if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
				log.Warn("systemd was not notified", "error", err.Error())
			}
			stop := cmd.Context().Done()
			go func() {
				<-stop
				_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
			}()
			raiseProcs(env.getenv)
			go returnMemory()
			return a.Run(cmd.Context())
		},
	}
	configFlag(cmd, &path)
	cmd.Flags().BoolVar(&check, "check-config", false, "check the configuration and end")
	logs.add(cmd, "info")
	return cmd
}

func configFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVar(path, "config", "/etc/arca/arca.toml", "configuration `file` (TOML)")
	_ = cmd.MarkFlagFilename("config", "toml")
}

// readConfig reads and validates a configuration file. Unknown names are refused:
// a misspelt setting must not be a setting that is off.
func readConfig(path string) (cfg app.Config, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return cfg, fmt.Errorf("there is no configuration file %s: name one with --config. A first one is the line data_dir = \"/var/lib/arca/data\"", path)
	}
	if err != nil {
		return cfg, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	if err := toml.NewDecoder(f).DisallowUnknownFields().Decode(&cfg); err != nil {
		var unknown *toml.StrictMissingError
		if errors.As(err, &unknown) {
			return cfg, fmt.Errorf("%s: unknown settings:\n%s", path, unknown.String())
		}
		var bad *toml.DecodeError
		if errors.As(err, &bad) {
			return cfg, fmt.Errorf("%s:\n%s", path, bad.String())
		}
		return cfg, fmt.Errorf("%s: %w", path, err)
	}
	cfg.Version = version
	if err := cfg.Validate(); err != nil {
		return cfg, fmt.Errorf("%s:\n%w", path, err)
	}
	return cfg, nil
}

func serverSecrets(getenv func(string) string) (app.ServerSecrets, error) {
	s := app.ServerSecrets{
		AccessKeyID:     getenv("ARCA_ROOT_ACCESS_KEY_ID"),
		SecretAccessKey: envelope.NewPlaintext([]byte(getenv("ARCA_ROOT_SECRET_ACCESS_KEY"))),
		Passphrase:      envelope.NewPlaintext([]byte(getenv("ARCA_ROOT_PASSPHRASE"))),
		PIN:             envelope.NewPlaintext([]byte(getenv("ARCA_PKCS11_PIN"))),
	}
	if (s.AccessKeyID == "") != (s.SecretAccessKey.Len() == 0) {
		return s, errors.New("ARCA_ROOT_ACCESS_KEY_ID and ARCA_ROOT_SECRET_ACCESS_KEY go together; one of them is not set")
	}
	return s, nil
}
