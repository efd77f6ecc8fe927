package iam

import (
	"context"

	"arca/internal/api/iamapi"
	"arca/internal/call"
	"arca/internal/policy"
	"arca/internal/store"
)

// changeGroup is an operation that changes a group it finds by name: after the
// decision, change gets a copy whose slices are still those of the shared record, and
// what it returns an error for is not written.
func (s *Service) changeGroup(ctx context.Context, c *call.Call, action, name string, keys []policy.ContextKey, change func(tx *store.Tx, g *Group) error) error {
	return c.Update(ctx, s.store, func(tx *store.Tx) error {
		old, err := s.loadGroup(ctx, c, tx.Snap, action, name, keys...)
		if err != nil {
			return err
		}
		g := *old
		if err := change(tx, &g); err != nil {
			return err
		}
		s.putGroup(tx, &g)
		return nil
	})
}

// viewGroup is an operation that shows something of a group it finds by name.
func (s *Service) viewGroup(ctx context.Context, c *call.Call, action, name string, show func(v *store.Snap, g *Group) error) error {
	return s.store.View(ctx, func(v *store.Snap) error {
		g, err := s.loadGroup(ctx, c, v, action, name)
		if err != nil {
			return err
		}
		return show(v, g)
	})
}

// PutGroupPolicy adds or replaces an inline policy of a group.
func (s *Service) PutGroupPolicy(ctx context.Context, c *call.Call, in *iamapi.PutGroupPolicyInput) (*iamapi.PutGroupPolicyOutput, error) {
	err := s.changeGroup(ctx, c, "PutGroupPolicy", in.GroupName, nil, func(_ *store.Tx, g *Group) error {
		return putInline(&g.Policies, in.PolicyName, in.PolicyDocument, s.quotas.groupInline, kindGroup+" "+g.Name)
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.PutGroupPolicyOutput{}, nil
}

// GetGroupPolicy shows an inline policy of a group.
func (s *Service) GetGroupPolicy(ctx context.Context, c *call.Call, in *iamapi.GetGroupPolicyInput) (*iamapi.GetGroupPolicyOutput, error) {
	out := &iamapi.GetGroupPolicyOutput{PolicyName: in.PolicyName}
	err := s.viewGroup(ctx, c, "GetGroupPolicy", in.GroupName, func(_ *store.Snap, g *Group) error {
		doc, err := inline(&g.Policies, kindGroup, in.PolicyName)
		out.GroupName, out.PolicyDocument = g.Name, encodedPolicy(doc)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DeleteGroupPolicy removes an inline policy of a group.
func (s *Service) DeleteGroupPolicy(ctx context.Context, c *call.Call, in *iamapi.DeleteGroupPolicyInput) (*iamapi.DeleteGroupPolicyOutput, error) {
	err := s.changeGroup(ctx, c, "DeleteGroupPolicy", in.GroupName, nil, func(_ *store.Tx, g *Group) error {
		return deleteInline(&g.Policies, kindGroup, in.PolicyName)
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.DeleteGroupPolicyOutput{}, nil
}

// ListGroupPolicies lists the names of the inline policies of a group.
func (s *Service) ListGroupPolicies(ctx context.Context, c *call.Call, in *iamapi.ListGroupPoliciesInput) (*iamapi.ListGroupPoliciesOutput, error) {
	out := &iamapi.ListGroupPoliciesOutput{}
	err := s.viewGroup(ctx, c, "ListGroupPolicies", in.GroupName, func(_ *store.Snap, g *Group) error {
		pg, err := s.newPager(c, in.Marker, in.MaxItems, g.UID)
		if err != nil {
			return err
		}
		out.PolicyNames = inlineNames(pg, &g.Policies)
		out.IsTruncated, out.Marker, err = pg.End()
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// AttachGroupPolicy attaches a managed policy to a group. To do so again is no
// mistake.
func (s *Service) AttachGroupPolicy(ctx context.Context, c *call.Call, in *iamapi.AttachGroupPolicyInput) (*iamapi.AttachGroupPolicyOutput, error) {
	keys := []policy.ContextKey{policyARN(in.PolicyArn)}
	err := s.changeGroup(ctx, c, "AttachGroupPolicy", in.GroupName, keys, func(tx *store.Tx, g *Group) error {
		return s.attach(tx, g.Account, &g.Policies, in.PolicyArn, quotaGroupAttached)
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.AttachGroupPolicyOutput{}, nil
}

// DetachGroupPolicy detaches a managed policy from a group.
func (s *Service) DetachGroupPolicy(ctx context.Context, c *call.Call, in *iamapi.DetachGroupPolicyInput) (*iamapi.DetachGroupPolicyOutput, error) {
	keys := []policy.ContextKey{policyARN(in.PolicyArn)}
	err := s.changeGroup(ctx, c, "DetachGroupPolicy", in.GroupName, keys, func(tx *store.Tx, g *Group) error {
		return s.detach(tx, &g.Policies, in.PolicyArn)
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.DetachGroupPolicyOutput{}, nil
}

// ListAttachedGroupPolicies lists the managed policies of a group.
func (s *Service) ListAttachedGroupPolicies(ctx context.Context, c *call.Call, in *iamapi.ListAttachedGroupPoliciesInput) (*iamapi.ListAttachedGroupPoliciesOutput, error) {
	out := &iamapi.ListAttachedGroupPoliciesOutput{}
	err := s.viewGroup(ctx, c, "ListAttachedGroupPolicies", in.GroupName, func(_ *store.Snap, g *Group) error {
		pg, err := s.newPager(c, in.Marker, in.MaxItems, g.UID, pathOf(in.PathPrefix))
		if err != nil {
			return err
		}
		out.AttachedPolicies = attachedPolicies(pg, &g.Policies, in.PathPrefix)
		out.IsTruncated, out.Marker, err = pg.End()
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
