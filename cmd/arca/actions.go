package main

import (
	"strings"

	"github.com/spf13/cobra"

	"arca/internal/api"
	"arca/internal/api/iamapi"
	"arca/internal/api/smapi"
	"arca/internal/api/stsapi"
)

// completeAction completes the actions of the services that the server has.
func completeAction(_ *cobra.Command, _ []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var found []cobra.Completion
	for _, service := range []*api.Service{smapi.Service, iamapi.Service, stsapi.Service} {
		for _, op := range service.Operations {
			if action := service.Name + ":" + op.Name; strings.HasPrefix(action, toComplete) {
				found = append(found, action)
			}
		}
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}
