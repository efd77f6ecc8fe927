package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"arca/internal/app"
	"arca/internal/envelope"
)

func newRootKey(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "root-key",
		Short: "Look at the root key of a server, exchange it, or move to another kind",
		Long: `Look at the root key of a server, exchange it, or move to another kind. The root key
wraps every other key and lies outside the data; docs/root-keys.md tells of its kinds.

"arca account root-key" is something else: access keys of the root of an account.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newRootKeyStatus(env), newRootKeyRotate(env), newRootKeyMigrate(env))
	return cmd
}

func newRootKeyStatus(env *environment) *cobra.Command {
	var endpoint, output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the root key, and former ones that were not destroyed",
		Example: `  arca root-key status
  arca root-key status --output json`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(cmd, output); err != nil {
				return err
			}
			var got keyringAnswer
			if err := ask(cmd.Context(), env, endpoint, "DescribeKeyring", struct{}{}, &got); err != nil {
				return err
			}
			type former struct{ Kind, KeyId, RetiredDate, Place string }
			r, formers := got.RootKey, []former{}
			for _, f := range r.Former {
				formers = append(formers, former{f.Kind, f.KeyID, wireTime(f.RetiredDate), f.Place})
			}
			if output == outputJSON {
				return printJSON(env.out, map[string]any{"DeploymentId": got.DeploymentID, "RootKey": map[string]any{
					"Kind": r.Kind, "KeyId": r.KeyID, "CreatedDate": wireTime(r.CreatedDate), "Former": formers,
				}})
			}
			w := tabwriter.NewWriter(env.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "STATE\tKIND\tID\tSINCE\tPLACE")
			fmt.Fprintf(w, "in use\t%s\t%s\t%s\t-\n", r.Kind, r.KeyID, wireTime(r.CreatedDate))
			for _, f := range formers {
				fmt.Fprintf(w, "former\t%s\t%s\t%s\t%s\n", f.Kind, f.KeyId, f.RetiredDate, orDash(f.Place))
			}
			return w.Flush()
		},
	}
	endpointFlag(cmd, &endpoint)
	outputFlag(cmd, &output)
	return cmd
}

func newRootKeyRotate(env *environment) *cobra.Command {
	var endpoint string
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Exchange the root key for a new one of the same kind",
		Long: `Exchange the root key for a new one of the same kind, while the server serves. The keys
below it are wrapped anew; no record is rewritten. The former root key is set aside, since
older backups and copies of the data open with it only; "arca erase" destroys it.

Somebody who has both the former root key and a copy of the data from before can go on
reading that copy, and nothing that is sealed under a storage key made afterwards:
"arca keyring rotate" makes one. It is for the root of the server's first account.`,
		Example: "  arca root-key rotate",
		Args:    exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var out struct{ RootKey storeRootKey }
			if err := ask(cmd.Context(), env, endpoint, "RotateRootKey", struct{}{}, &out); err != nil {
				return err
			}
			r := out.RootKey
			fmt.Fprintf(env.out, "the root key is now %s (%s); every key below it was wrapped anew\n", r.KeyID, r.Kind)
			fmt.Fprintln(env.out, "keep a copy of it where the backups are not")
			if n := len(r.Former); n > 0 {
				fmt.Fprintf(env.out, "set aside: %s; backups made until now open with it only\n", r.Former[n-1])
			}
			return nil
		},
	}
	endpointFlag(cmd, &endpoint)
	return cmd
}

func newRootKeyMigrate(env *environment) *cobra.Command {
	var from, to string
	var logs logFlags
	cmd := &cobra.Command{
		Use:   "migrate --config OLD --to NEW",
		Short: "Seal the data of a stopped server under another kind of root key",
		Long: `Seal the data of a stopped server under the root key that another configuration names:
of any kind, or of the same kind elsewhere. Both configurations name the same data. The
new root key is made; afterwards the server starts with the new configuration only.

The passphrase of the old configuration comes from where a server takes it, that of the
new one from its root_key.passphrase_file or from ARCA_NEW_ROOT_PASSPHRASE. The PIN of
either comes from its root_key.pin_file or from ARCA_PKCS11_PIN.

If the command is cut off, one of the two configurations opens the data, and the error of
the other one says so. The former root key is left where it is: older backups open with it
only.`,
		Example: "  arca root-key migrate --config /etc/arca/arca.toml --to /etc/arca/new.toml",
		Args:    exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" || to == "" {
				return usageError{fmt.Errorf("--config and --to are required"), cmd.CommandPath()}
			}
			log, err := logs.logger(env.err)
			if err != nil {
				return err
			}
			oldCfg, err := readConfig(from)
			if err != nil {
				return err
			}
			newCfg, err := readConfig(to)
			if err != nil {
				return err
			}
			given, err := serverSecrets(env.getenv)
			if err != nil {
				return err
			}
			next := app.ServerSecrets{
				Passphrase: envelope.NewPlaintext([]byte(env.getenv("ARCA_NEW_ROOT_PASSPHRASE"))),
				PIN:        envelope.NewPlaintext([]byte(env.getenv("ARCA_PKCS11_PIN"))),
			}
			state, err := app.MigrateRootKey(cmd.Context(), oldCfg, newCfg, given, next, log)
			if err != nil {
				return err
			}
			fmt.Fprintf(env.out, "the data in %s is sealed under root key %s (%s)\n", newCfg.DataDir, state.ID, state.Kind)
			fmt.Fprintf(env.out, "start the server with %s from now on; %s does not open the data any more\n", to, from)
			fmt.Fprintln(env.out, "the former root key is where it was; older backups open with it only")
			return nil
		},
	}
	cmd.Flags().StringVar(&from, "config", "", "configuration `file` that the data opens with now")
	cmd.Flags().StringVar(&to, "to", "", "configuration `file` with the new root key")
	_ = cmd.MarkFlagFilename("config", "toml")
	_ = cmd.MarkFlagFilename("to", "toml")
	logs.add(cmd, "warn")
	return cmd
}
