package iam

import (
	"cmp"
	"context"
	"strings"

	"arca/internal/api/iamapi"
	"arca/internal/arn"
	"arca/internal/call"
	"arca/internal/policy"
	"arca/internal/store"
)

func (s *Service) registerPolicies(d *call.Dispatcher) {
	call.Register(d, iamapi.OpCreatePolicy, s.CreatePolicy)
	call.Register(d, iamapi.OpGetPolicy, s.GetPolicy)
	call.Register(d, iamapi.OpDeletePolicy, s.DeletePolicy)
	call.Register(d, iamapi.OpListPolicies, s.ListPolicies)
	call.Register(d, iamapi.OpCreatePolicyVersion, s.CreatePolicyVersion)
	call.Register(d, iamapi.OpGetPolicyVersion, s.GetPolicyVersion)
	call.Register(d, iamapi.OpDeletePolicyVersion, s.DeletePolicyVersion)
	call.Register(d, iamapi.OpListPolicyVersions, s.ListPolicyVersions)
	call.Register(d, iamapi.OpSetDefaultPolicyVersion, s.SetDefaultPolicyVersion)
	call.Register(d, iamapi.OpTagPolicy, s.TagPolicy)
	call.Register(d, iamapi.OpUntagPolicy, s.UntagPolicy)
	call.Register(d, iamapi.OpListPolicyTags, s.ListPolicyTags)
	call.Register(d, iamapi.OpListEntitiesForPolicy, s.ListEntitiesForPolicy)
}

// loadPolicy finds a managed policy by its ARN after asking for the action: a
// customer's or, in the form of one, the server's own.
func (s *Service) loadPolicy(ctx context.Context, c *call.Call, v *store.Snap, action, policyARN string, keys ...policy.ContextKey) (*ManagedPolicy, error) {
	if err := checkPolicyARN(policyARN); err != nil {
		return nil, err
	}
	a, err := arn.Parse(policyARN)
	if err != nil {
		return nil, err
	}
	e := entity{arn: policyARN, shown: kindPolicy + " " + policyARN, snap: v}
	var m *ManagedPolicy
	switch a.Account {
	case builtinAccount:
		if b := builtinPolicy(policyARN); b != nil {
			m = b.managed()
		}
	case c.Caller.Account:
		if m = s.Policy(v, policyARN); m != nil {
			e.tags = m.Tags
		}
	default:
		// Nothing is found in another account, whoever may reach it: the question is the
		// same whether the policy is there or not.
		e.account = a.Account
	}
	if err := authorize(ctx, c, action, e, keys...); err != nil {
		return nil, err
	}
	if m == nil {
		return nil, errNoPolicy(policyARN)
	}
	return m, nil
}

// changePolicy is an operation that changes a managed policy: after the decision,
// change gets a copy whose slices are still those of the shared record, and what it
// returns an error for is not written.
func (s *Service) changePolicy(ctx context.Context, c *call.Call, action, policyARN string, keys []policy.ContextKey, change func(m *ManagedPolicy) error) error {
	return c.Update(ctx, s.store, func(tx *store.Tx) error {
		old, err := s.loadPolicy(ctx, c, tx.Snap, action, policyARN, keys...)
		if err != nil {
			return err
		}
		if old.isBuiltin() {
			return errBuiltin(c, action, policyARN)
		}
		m := *old
		if err := change(&m); err != nil {
			return err
		}
		s.putPolicy(tx, &m)
		return nil
	})
}

// viewPolicy is an operation that shows something of a managed policy.
func (s *Service) viewPolicy(ctx context.Context, c *call.Call, action, policyARN string, show func(v *store.Snap, m *ManagedPolicy) error) error {
	return s.store.View(ctx, func(v *store.Snap) error {
		m, err := s.loadPolicy(ctx, c, v, action, policyARN)
		if err != nil {
			return err
		}
		return show(v, m)
	})
}

// errBuiltin refuses a change of one of the server's own policies, whoever asks. On
// AWS they belong to another account, into which nobody's permissions reach.
func errBuiltin(c *call.Call, action, policyARN string) error {
	c.NoteDenial(call.Denial{Action: "iam:" + action, Resource: policyARN, Reason: "because the policy is the server's own"})
	return iamapi.AccessDenied.Errorf("User: %s is not authorized to perform: iam:%s on resource: policy %s", c.Caller.ARN, action, policyARN)
}

// putPolicy writes a customer managed policy, which must not be a shared record.
func (s *Service) putPolicy(tx *store.Tx, m *ManagedPolicy) {
	s.policies.Put(tx, recordKey(m.Account, m.UID), m)
}

// checkManaged holds the text of a managed policy to size and grammar.
func (s *Service) checkManaged(doc string) error {
	if !policy.Within(doc, s.quotas.managed) {
		return errQuota("PolicySize", s.quotas.managed)
	}
	if _, err := policy.ParseIdentityPolicy(doc); err != nil {
		return errSyntax(err)
	}
	return nil
}

// wirePolicy is the form of a managed policy in lists, which tell neither tags nor
// description. account is whose use of it is counted.
func (s *Service) wirePolicy(v *store.Snap, account string, m *ManagedPolicy) iamapi.Policy {
	attachments, boundaries := s.useCount(v, account, m)
	return iamapi.Policy{
		PolicyName: &m.Name, PolicyId: &m.UID, Arn: new(m.ARN()), Path: &m.Path, DefaultVersionId: &m.Default,
		AttachmentCount: new(int32(attachments)), PermissionsBoundaryUsageCount: new(int32(boundaries)),
		IsAttachable: new(true), CreateDate: moment(m.Created), UpdateDate: moment(m.Updated),
	}
}

// CreatePolicy makes a managed policy of the caller's account.
func (s *Service) CreatePolicy(ctx context.Context, c *call.Call, in *iamapi.CreatePolicyInput) (*iamapi.CreatePolicyOutput, error) {
	account, now := c.Caller.Account, c.Now.UnixMilli()
	// Drawn here, not in the closure: that one may run again.
	fresh := ManagedPolicy{
		UID: newUniqueID(policyIDPrefix), Account: account, Path: pathOf(in.Path), Name: in.PolicyName,
		Created: now, Updated: now, Description: text(in.Description),
		Versions: []PolicyVersion{{ID: versionID(1), Text: in.PolicyDocument, Created: now}}, Default: versionID(1), Next: 2,
	}
	var out *iamapi.CreatePolicyOutput
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		itself := entity{arn: fresh.ARN(), shown: kindPolicy + " " + fresh.Name, snap: tx.Snap}
		if err := authorize(ctx, c, "CreatePolicy", itself, requestTags(in.Tags)...); err != nil {
			return err
		}
		if len(in.Tags) > 0 {
			if err := authorize(ctx, c, "TagPolicy", itself, requestTags(in.Tags)...); err != nil {
				return err
			}
		}
		m := fresh
		err := s.checkManaged(in.PolicyDocument)
		if err != nil {
			return err
		}
		if m.Tags, err = s.setTags(nil, in.Tags, quotaPolicyTags); err != nil {
			return err
		}
		if err := s.takeName(tx, account, kindPolicy, m.Name, m.UID); err != nil {
			return err
		}
		if s.policies.Count(account) >= s.quotas.policies {
			return errQuota("PoliciesPerAccount", s.quotas.policies)
		}
		s.putPolicy(tx, &m)
		shown := s.wirePolicy(tx.Snap, account, &m)
		shown.Tags = wireTags(m.Tags)
		out = &iamapi.CreatePolicyOutput{Policy: &shown}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// GetPolicy shows a managed policy without its text, which its versions have.
func (s *Service) GetPolicy(ctx context.Context, c *call.Call, in *iamapi.GetPolicyInput) (*iamapi.GetPolicyOutput, error) {
	out := &iamapi.GetPolicyOutput{}
	err := s.viewPolicy(ctx, c, "GetPolicy", in.PolicyArn, func(v *store.Snap, m *ManagedPolicy) error {
		shown := s.wirePolicy(v, c.Caller.Account, m)
		shown.Description, shown.Tags = optional(m.Description), wireTags(m.Tags)
		out.Policy = &shown
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DeletePolicy removes a managed policy that nobody uses and that has no version but
// the default one.
func (s *Service) DeletePolicy(ctx context.Context, c *call.Call, in *iamapi.DeletePolicyInput) (*iamapi.DeletePolicyOutput, error) {
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		m, err := s.loadPolicy(ctx, c, tx.Snap, "DeletePolicy", in.PolicyArn)
		switch {
		case err != nil:
			return err
		case m.isBuiltin():
			return errBuiltin(c, "DeletePolicy", in.PolicyArn)
		// The counts are in the record, so whoever attaches the policy meets the deletion.
		case m.Attachments > 0 || m.Boundaries > 0:
			return iamapi.DeleteConflict.Errorf("Cannot delete a policy attached to entities.")
		case len(m.Versions) > 1:
			return iamapi.DeleteConflict.Errorf("This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.")
		}
		s.names.Delete(tx, nameRecordKey(m.Account, kindPolicy, m.Name))
		s.policies.Delete(tx, recordKey(m.Account, m.UID))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.DeletePolicyOutput{}, nil
}

// ListPolicies lists the account's policies and then the server's own, each in the
// order of their names.
func (s *Service) ListPolicies(ctx context.Context, c *call.Call, in *iamapi.ListPoliciesInput) (*iamapi.ListPoliciesOutput, error) {
	account := c.Caller.Account
	err := authorize(ctx, c, "ListPolicies", entity{
		arn: arnPrefix + account + ":" + kindPolicy + pathOf(in.PathPrefix), shown: kindPolicy + " path " + pathOf(in.PathPrefix),
	})
	if err != nil {
		return nil, err
	}
	scope, usage := cmp.Or(text(in.Scope), iamapi.PolicyScopeTypeAll), text(in.PolicyUsageFilter)
	attached := in.OnlyAttached != nil && *in.OnlyAttached
	narrow := ""
	if attached {
		narrow = "attached"
	}
	pg, err := s.newPager(c, in.Marker, in.MaxItems, scope, usage, narrow, pathOf(in.PathPrefix))
	if err != nil {
		return nil, err
	}
	out := &iamapi.ListPoliciesOutput{}
	err = s.store.View(ctx, func(v *store.Snap) error {
		pg.Begin()
		out.Policies = []iamapi.Policy{}
		s.eachPolicy(v, account, scope, func(position string, m *ManagedPolicy) bool {
			if !below(m.Path, in.PathPrefix) || !s.usedAs(v, account, m, attached, usage) {
				return true
			}
			take, more := pg.Offer(position)
			if take {
				out.Policies = append(out.Policies, s.wirePolicy(v, account, m))
			}
			return more
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	out.IsTruncated, out.Marker, err = pg.End()
	return out, err
}

// eachPolicy visits the managed policies of a scope, with ascending positions, while
// fn returns true.
func (s *Service) eachPolicy(v *store.Snap, account, scope string, fn func(position string, m *ManagedPolicy) bool) {
	more := true
	if scope != iamapi.PolicyScopeTypeAWS {
		each(s.policies, v, byName, account+"\x00", func(m *ManagedPolicy) bool {
			more = fn("1"+strings.ToLower(m.Name), m)
			return more
		})
	}
	if scope == iamapi.PolicyScopeTypeLocal {
		return
	}
	for i := range builtins {
		if !more {
			return
		}
		more = fn("2"+strings.ToLower(builtins[i].Name), builtins[i].managed())
	}
}

// usedAs reports whether a list that is narrowed to certain uses has a policy.
func (s *Service) usedAs(v *store.Snap, account string, m *ManagedPolicy, attached bool, usage string) bool {
	if !attached && usage == "" {
		return true
	}
	attachments, boundaries := s.useCount(v, account, m)
	if usage == iamapi.PolicyUsageTypePermissionsBoundary {
		return boundaries > 0
	}
	return attachments > 0
}
