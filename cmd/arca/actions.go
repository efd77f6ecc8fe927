package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"arca/internal/api"
	"arca/internal/api/cloudtrailapi"
	"arca/internal/api/iamapi"
	"arca/internal/api/kmsapi"
	"arca/internal/api/lambdaapi"
	"arca/internal/api/smapi"
	"arca/internal/api/stsapi"
)

// actions are those of the services that the server has, in the order of the services:
// their operations, and what operations ask for besides or instead of their own name.
func actions() []string {
	var all []string
	for _, service := range []*api.Service{smapi.Service, kmsapi.Service, iamapi.Service, stsapi.Service, lambdaapi.Service, cloudtrailapi.Service} {
		for _, op := range service.Operations {
			switch op {
			case kmsapi.OpReEncrypt:
				all = append(all, "kms:ReEncryptFrom", "kms:ReEncryptTo")
			case lambdaapi.OpInvoke:
				all = append(all, "lambda:InvokeFunction")
			default:
				all = append(all, service.Name+":"+op.Name)
			}
		}
	}
	return append(all, "iam:PassRole", "sts:SetSourceIdentity", "sts:TagSession")
}

// knownAction reports whether an action is one of the server's, or of a service that
// it does not have: nothing is known of those.
func knownAction(action string) bool {
	service, _, _ := strings.Cut(action, ":")
	others := true
	for _, known := range actions() {
		if strings.EqualFold(known, action) {
			return true
		}
		if name, _, _ := strings.Cut(known, ":"); strings.EqualFold(name, service) {
			others = false
		}
	}
	return others
}

// completeAction completes actions.
func completeAction(_ *cobra.Command, _ []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	found := slices.DeleteFunc(actions(), func(a string) bool { return !strings.HasPrefix(a, toComplete) })
	return found, cobra.ShellCompDirectiveNoFileComp
}
