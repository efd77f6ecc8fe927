package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func newClock(env *environment) *cobra.Command {
	var endpoint string
	cmd := &cobra.Command{
		Use:   "clock",
		Short: "Show or move the clock of a development server",
		Long: `Show or move the clock of a development server. The clock moves recovery windows,
schedules and stored dates; signatures, certificates and tokens stay on real time.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	endpointFlag(cmd, &endpoint)
	cmd.AddCommand(&cobra.Command{
		Use:     "advance DURATION",
		Short:   "Move the clock forward, e.g. by 31d or 1d12h",
		Example: "  arca dev clock advance 31d",
		Args:    exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := newClient(cmd.Context(), endpoint, env.getenv)
			if err != nil {
				return err
			}
			var out struct{ Now float64 }
			if err := c.call(cmd.Context(), "AdvanceClock", map[string]string{"Duration": args[0]}, &out); err != nil {
				return err
			}
			fmt.Fprintln(env.out, wireTime(out.Now))
			return nil
		},
	}, &cobra.Command{
		Use:   "show",
		Short: "Show the server's time and how far it was moved",
		Args:  exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newClient(cmd.Context(), endpoint, env.getenv)
			if err != nil {
				return err
			}
			var out struct {
				Now    float64
				Offset string
			}
			if err := c.call(cmd.Context(), "GetClock", struct{}{}, &out); err != nil {
				return err
			}
			fmt.Fprintf(env.out, "%s (%s ahead)\n", wireTime(out.Now), out.Offset)
			return nil
		},
	})
	return cmd
}

// wireTime shows a time of the wire, in seconds, as RFC 3339.
func wireTime(seconds float64) string {
	return time.UnixMilli(int64(seconds * 1000)).UTC().Format(time.RFC3339)
}
