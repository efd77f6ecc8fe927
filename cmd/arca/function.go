package main

import (
	"github.com/spf13/cobra"

	"arca/internal/app"
	"arca/internal/runner"
)

// newFunctionProcess is how the server starts itself to run the processes of functions.
func newFunctionProcess() *cobra.Command {
	return &cobra.Command{
		Use:                app.FunctionHelper,
		Hidden:             true,
		DisableFlagParsing: true,
		RunE:               func(_ *cobra.Command, args []string) error { return runner.Helper(args) },
	}
}
