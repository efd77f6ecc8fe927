package access

import (
	"cmp"
	"strconv"
	"strings"

	"arca/internal/api"
	"arca/internal/call"
	"arca/internal/policy"
	"arca/internal/store"
)

// deny notes why a call is denied and words it for the client as AWS does.
func (s *Service) deny(c *call.Call, ck *call.Check, d *decision) error {
	note := call.Denial{Action: ck.Action, Resource: ck.Resource, Reason: d.only}
	if d.only == "" {
		note.Reason = d.Reason(ck.Action)
		note.Policy, note.Statement = d.Source.Name, StatementName(d.Source, d.Statement)
	}
	c.NoteDenial(note)

	var b strings.Builder
	if c.Caller.Type == call.WebIdentityUser || c.Caller.Type == call.Anonymous {
		// AWS does not tell the bearer of a token who it takes him for.
		b.WriteString("Not authorized to perform " + ck.Action)
		if !d.Explicit {
			note.Policy = "" // only a role that exists has a trust policy
		}
		s.tell(&b, &note, true)
		return code(c).Errorf("%s", b.String())
	}
	b.WriteString("User: " + c.Caller.ARN + " is not authorized to perform: " + ck.Action)
	if isForeignKey(c, ck) {
		b.WriteString(" on " + cmp.Or(ck.Shown, "this resource") + foreignKeyReason)
		return code(c).Errorf("%s", b.String())
	}
	b.WriteString(onResource(c, ck))
	// What another account does not share shows in which side is told to be missing: that
	// it exists and, to somebody who writes his policies for that, which tags it has. So
	// the client is told the same of all of it, whatever he is told otherwise.
	switch {
	case ck.ResourceDecides && ck.Account != "" && ck.Account != c.Caller.Account:
	case d.outside:
		b.WriteString(" " + policy.Decision{Layer: policy.ResourceLayer}.Reason(ck.Action))
	default:
		b.WriteString(" " + note.Reason)
		s.tell(&b, &note, false)
	}
	return code(c).Errorf("%s", b.String())
}

// foreignKeyReason is what KMS says about every key of another account that does not let
// the caller in, and about those that do not exist.
const foreignKeyReason = " because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access"

func isForeignKey(c *call.Call, ck *call.Check) bool {
	return ck.ResourceDecides && ck.Account != "" && ck.Account != c.Caller.Account && strings.HasPrefix(ck.Action, "kms:")
}

// tell adds to the client's error what stands in the audit record and not in AWS's
// text, if the operator wants that.
func (s *Service) tell(b *strings.Builder, note *call.Denial, reason bool) {
	if !s.cfg.TellClients {
		return
	}
	if reason {
		b.WriteString(" " + note.Reason)
	}
	if note.Policy == "" {
		return
	}
	b.WriteString(" (" + note.Policy)
	if note.Statement != "" {
		b.WriteString(", statement " + note.Statement)
	}
	b.WriteString(")")
}

// onResource names the resource. The services of the JSON protocol leave it out for
// actions without one; those of the Query protocol write a star.
func onResource(c *call.Call, ck *call.Check) string {
	shown := cmp.Or(ck.Shown, ck.Resource)
	if shown == "*" && c.Op != nil && c.Op.Service != nil && c.Op.Service.Protocol != api.Query {
		return ""
	}
	return " on resource: " + shown
}

// StatementName is the Sid of a statement, or its number from 1; "" without one.
func StatementName(src policy.Source, index int) string {
	if src.Policy == nil || index < 0 {
		return ""
	}
	if list := src.Policy.Document().Statements; index < len(list) && list[index].Sid != "" {
		return list[index].Sid
	}
	return strconv.Itoa(index + 1)
}

func isRole(resource string) bool {
	return strings.HasPrefix(resource, "arn:aws:iam::") && strings.Contains(resource, ":role/")
}

// serverDecision decides what is no matter of policies, ok for that only.
//
// What GetSessionToken hands out works, without MFA, with every service but IAM; and
// no root may assume a role.
// Arca's own operations on the server as a whole belong to the root of the management
// account: no policy hands them on, and no guardrail takes them away, so that a
// guardrail can always be mended. Looking at the development clock is any root's.
// Questions about access ("arca:ExplainAccess", "arca:WhoCan") are left to policies.
func (s *Service) serverDecision(v *store.Snap, p *call.Principal, action string) (d decision, ok bool) {
	switch service, name, _ := strings.Cut(action, ":"); {
	case strings.EqualFold(service, "iam"):
		if p.Session == nil || p.Type == call.AssumedRole {
			return d, false
		}
		// Or a stolen session could be turned into an access key that lasts.
		// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_control-access_getsessiontoken.html
		d.only = "because credentials of GetSessionToken may not, without MFA"
	case strings.EqualFold(action, "sts:AssumeRole") && p.Type == call.Root:
		d.only = "because the root of an account may assume no role"
	case !strings.EqualFold(service, "arca"), strings.EqualFold(name, "ExplainAccess"), strings.EqualFold(name, "WhoCan"):
		return d, false
	case strings.EqualFold(name, "GetClock"):
		d.only = "because only the root of an account may"
		d.Allowed = p.Type == call.Root
	default:
		d.only = "because only the root of the management account may"
		d.Allowed = s.IsManagement(v, p)
	}
	return d, true
}

// IsManagement reports whether p is the root of the management account.
func (s *Service) IsManagement(v *store.Snap, p *call.Principal) bool {
	return p.Type == call.Root && p.Account != "" && p.Account == s.cfg.IAM.ManagementAccount(v)
}
