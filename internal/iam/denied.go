package iam

import (
	"arca/internal/api"
	"arca/internal/call"
)

// denied words a denial as AWS does. A root is held back only at another account's
// resource, where its own side always allows and the resource's policy does not.
func denied(c *call.Call, ck *call.Check) error {
	shown := ck.Shown
	if shown == "" {
		shown = ck.Resource
	}
	on := ""
	if shown != "*" {
		on = " on resource: " + shown
	}
	return api.AccessDeniedException.Errorf("User: %s is not authorized to perform: %s%s because no resource-based policy allows the %s action",
		c.Caller.ARN, ck.Action, on, ck.Action)
}
