package policy

import (
	"strconv"
	"strings"
)

// Reason tells why a request for action was denied, in the words with which AWS ends
// its messages. Of a request that was allowed there is none.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
func (d Decision) Reason(action string) string {
	if d.Allowed {
		return ""
	}
	kind, article := d.Layer.String(), "a "
	switch d.Layer {
	case IdentityLayer:
		article = "an "
	case ResourceLayer:
		// The only resources of STS with policies are roles.
		if len(action) >= 4 && strings.EqualFold(action[:4], "sts:") {
			kind, article = "role trust policy", "the "
		}
	}
	if d.Explicit {
		return "with an explicit deny in " + article + kind
	}
	return "because no " + kind + " allows the " + action + " action"
}

// String returns what AWS calls the policies of the layer.
func (l Layer) String() string {
	switch l {
	case GuardrailLayer:
		return "service control policy"
	case ResourceLayer:
		return "resource-based policy"
	case BoundaryLayer:
		return "permissions boundary"
	case SessionLayer:
		return "session policy"
	case IdentityLayer:
		return "identity-based policy"
	}
	return "policy of layer " + strconv.Itoa(int(l))
}
