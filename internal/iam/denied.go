package iam

import (
	"arca/internal/api"
	"arca/internal/call"
)

// denied words a denial as AWS does: it names the kind of policy that is missing. A
// root is held back only at another account's resource, where its own side always
// allows and the resource's policy does not; whoever else asks has no policy yet.
func denied(c *call.Call, ck *call.Check) error {
	shown := ck.Shown
	if shown == "" {
		shown = ck.Resource
	}
	on := ""
	if shown != "*" {
		on = " on resource: " + shown
	}
	missing := "identity-based"
	if c.Caller.Type == call.Root {
		missing = "resource-based"
	}
	return api.AccessDeniedException.Errorf("User: %s is not authorized to perform: %s%s because no %s policy allows the %s action",
		c.Caller.ARN, ck.Action, on, missing, ck.Action)
}
