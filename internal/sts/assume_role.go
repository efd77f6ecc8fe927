package sts

import (
	"context"

	"arca/internal/api/stsapi"
	"arca/internal/call"
	"arca/internal/iam"
	"arca/internal/policy"
	"arca/internal/store"
)

// AssumeRole opens a session of a role for a user or for the session of another role.
// A role that does not exist is denied like one that does not trust the caller.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
func (s *Service) AssumeRole(ctx context.Context, c *call.Call, in *stsapi.AssumeRoleInput) (*stsapi.AssumeRoleOutput, error) {
	w, err := roleWish(c, in)
	if err != nil {
		return nil, err
	}
	packed, err := w.packed()
	if err != nil {
		return nil, err
	}
	if err := refuseDevice(c, in.SerialNumber, in.TokenCode); err != nil {
		return nil, err
	}
	if c.Caller.Type == call.Root {
		c.NoteDenial(call.Denial{Action: "sts:AssumeRole", Resource: w.role.arn, Reason: "because the root of an account may assume no role"})
		return nil, stsapi.AccessDenied.Errorf("Roles may not be assumed by root accounts.")
	}
	var role *iam.Role
	err = s.store.View(ctx, func(v *store.Snap) error {
		role = s.role(v, w.role)
		if role != nil {
			c.NoteOwned(role.Account, roleType, role.ARN())
		}
		for _, ck := range w.checks(v, role, "sts:AssumeRole") {
			if err := c.Authorize(ctx, ck); err != nil {
				return err
			}
		}
		if role == nil {
			return deny(c, "sts:AssumeRole", w.role.arn, "because there is no such role")
		}
		if own := sourceIdentityOf(c); own != "" && own != w.sourceIdentity {
			return deny(c, "sts:SetSourceIdentity", w.role.arn, "because the calling session has another source identity")
		}
		return s.fit(v, w, role)
	})
	if err != nil {
		return nil, err
	}
	credentials, user, err := s.assume(c, w, role)
	if err != nil {
		return nil, err
	}
	out := &stsapi.AssumeRoleOutput{Credentials: credentials, AssumedRoleUser: user, PackedPolicySize: packed}
	if w.sourceIdentity != "" {
		out.SourceIdentity = &w.sourceIdentity
	}
	return out, nil
}

// roleWish reads the request, as far as that needs no role.
func roleWish(c *call.Call, in *stsapi.AssumeRoleInput) (*wish, error) {
	role, err := parseRole(in.RoleArn)
	if err != nil {
		return nil, err
	}
	if in.ProvidedContexts != nil {
		return nil, stsapi.InvalidParameterValue.Errorf("ProvidedContexts is not supported: there are no context providers.")
	}
	w := &wish{
		role: role, session: in.RoleSessionName, lifetime: seconds(in.DurationSeconds, usualRoleSession),
		chained: c.Caller.Type == call.AssumedRole,
	}
	if c.Caller.Session != nil && w.lifetime > mostChained {
		return nil, stsapi.ValidationError.Errorf("The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
	}
	if err := w.setPolicies(in.Policy, in.PolicyArns); err != nil {
		return nil, err
	}
	tags := make([]iam.Tag, len(in.Tags))
	for i, t := range in.Tags {
		tags[i] = iam.Tag{Key: t.Key, Value: t.Value}
	}
	if err := w.setTags(tags, in.TransitiveTagKeys); err != nil {
		return nil, err
	}
	if err := w.setSourceIdentity(in.SourceIdentity); err != nil {
		return nil, err
	}
	if c.Caller.Session != nil {
		if err := w.inherit(c.Caller.Session); err != nil {
			return nil, err
		}
	}
	if in.ExternalId != nil {
		w.keys = append(w.keys, policy.ContextKey{Name: "sts:ExternalId", Values: []string{*in.ExternalId}})
	}
	return w, nil
}

func sourceIdentityOf(c *call.Call) string {
	if c.Caller.Session == nil {
		return ""
	}
	return c.Caller.Session.SourceIdentity
}

// deny refuses what no policy was asked about, in the words of a policy's denial.
func deny(c *call.Call, action, resource, reason string) error {
	c.NoteDenial(call.Denial{Action: action, Resource: resource, Reason: reason})
	return stsapi.AccessDenied.Errorf("User: %s is not authorized to perform: %s on resource: %s", c.Caller.ARN, action, resource)
}
