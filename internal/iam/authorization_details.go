package iam

import (
	"context"
	"slices"
	"strings"

	"arca/internal/api/iamapi"
	"arca/internal/call"
	"arca/internal/paging"
	"arca/internal/store"
)

// GetAccountAuthorizationDetails shows everything that decides about access in the
// caller's account: users, groups, roles and managed policies, the server's own
// included, or those kinds that the filter names.
func (s *Service) GetAccountAuthorizationDetails(ctx context.Context, c *call.Call, in *iamapi.GetAccountAuthorizationDetailsInput) (*iamapi.GetAccountAuthorizationDetailsOutput, error) {
	if err := authorize(ctx, c, "GetAccountAuthorizationDetails", entity{arn: "*"}); err != nil {
		return nil, err
	}
	kinds := slices.Clone(in.Filter)
	slices.Sort(kinds)
	kinds = slices.Compact(kinds)
	pg, err := s.newPager(c, in.Marker, in.MaxItems, kinds...)
	if err != nil {
		return nil, err
	}
	d := details{s: s, account: c.Caller.Account, pg: pg, out: &iamapi.GetAccountAuthorizationDetailsOutput{}}
	err = s.store.View(ctx, func(v *store.Snap) error {
		d.begin(v)
		wanted := func(kind string) bool { return len(kinds) == 0 || slices.Contains(kinds, kind) }
		// Positions ascend in this order.
		for _, part := range []struct {
			kind string
			walk func() (more bool)
		}{
			{iamapi.EntityTypeUser, d.users},
			{iamapi.EntityTypeGroup, d.groups},
			{iamapi.EntityTypeRole, d.roles},
			{iamapi.EntityTypeLocalManagedPolicy, d.localPolicies},
			{iamapi.EntityTypeAWSManagedPolicy, d.builtinPolicies},
		} {
			if wanted(part.kind) && !part.walk() {
				break
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	d.out.IsTruncated, d.out.Marker, err = pg.End()
	return d.out, err
}

// details fills one page. Each kind's walk goes on after the page's position and
// reports whether the next kind is of interest.
type details struct {
	s       *Service
	account string
	pg      *paging.Pager
	out     *iamapi.GetAccountAuthorizationDetailsOutput
	v       *store.Snap
}

// begin starts the page anew: the function of a view may run again.
func (d *details) begin(v *store.Snap) {
	d.v = v
	d.pg.Begin()
	*d.out = iamapi.GetAccountAuthorizationDetailsOutput{
		UserDetailList: []iamapi.UserDetail{}, GroupDetailList: []iamapi.GroupDetail{},
		RoleDetailList: []iamapi.RoleDetail{}, Policies: []iamapi.ManagedPolicyDetail{},
	}
}

func (d *details) users() (more bool) {
	more = true
	d.s.Users(d.v, d.account, func(u *User) bool {
		var take bool
		if take, more = d.pg.Offer("1" + strings.ToLower(u.Name)); !take {
			return more
		}
		groups := []string{}
		for _, uid := range u.Groups {
			if g := d.s.GroupByID(d.v, uid); g != nil {
				groups = append(groups, g.Name)
			}
		}
		d.pg.Weigh(inlineBytes(&u.Policies))
		d.out.UserDetailList = append(d.out.UserDetailList, iamapi.UserDetail{
			Path: &u.Path, UserName: &u.Name, UserId: &u.UID, Arn: new(u.ARN()), CreateDate: moment(u.Created),
			UserPolicyList: inlineDetails(&u.Policies), GroupList: groups, AttachedManagedPolicies: wireAttached(&u.Policies),
			PermissionsBoundary: wireBoundary(u.Boundary), Tags: wireTags(u.Tags),
		})
		return true
	})
	return more
}

func (d *details) groups() (more bool) {
	more = true
	d.s.Groups(d.v, d.account, func(g *Group) bool {
		var take bool
		if take, more = d.pg.Offer("2" + strings.ToLower(g.Name)); !take {
			return more
		}
		d.pg.Weigh(inlineBytes(&g.Policies))
		d.out.GroupDetailList = append(d.out.GroupDetailList, iamapi.GroupDetail{
			Path: &g.Path, GroupName: &g.Name, GroupId: &g.UID, Arn: new(g.ARN()), CreateDate: moment(g.Created),
			GroupPolicyList: inlineDetails(&g.Policies), AttachedManagedPolicies: wireAttached(&g.Policies),
		})
		return true
	})
	return more
}

func (d *details) roles() (more bool) {
	more = true
	d.s.Roles(d.v, d.account, func(r *Role) bool {
		var take bool
		if take, more = d.pg.Offer("3" + strings.ToLower(r.Name)); !take {
			return more
		}
		d.pg.Weigh(len(r.Trust))
		d.pg.Weigh(inlineBytes(&r.Policies))
		d.out.RoleDetailList = append(d.out.RoleDetailList, iamapi.RoleDetail{
			Path: &r.Path, RoleName: &r.Name, RoleId: &r.UID, Arn: new(r.ARN()), CreateDate: moment(r.Created),
			AssumeRolePolicyDocument: new(encodedPolicy(d.s.ShownPolicy(d.v, r.Trust))), InstanceProfileList: []iamapi.InstanceProfile{},
			RolePolicyList: inlineDetails(&r.Policies), AttachedManagedPolicies: wireAttached(&r.Policies),
			PermissionsBoundary: wireBoundary(r.Boundary), Tags: wireTags(r.Tags), RoleLastUsed: d.s.roleLastUsed(d.v, r),
		})
		return true
	})
	return more
}

func (d *details) localPolicies() (more bool) { return d.policies("4", iamapi.PolicyScopeTypeLocal) }

func (d *details) builtinPolicies() (more bool) { return d.policies("5", iamapi.PolicyScopeTypeAWS) }

func (d *details) policies(order, scope string) (more bool) {
	more = true
	d.s.eachPolicy(d.v, d.account, scope, func(position string, m *ManagedPolicy) bool {
		var take bool
		if take, more = d.pg.Offer(order + position); !take {
			return more
		}
		p := d.s.wirePolicy(d.v, d.account, m)
		versions := make([]iamapi.PolicyVersion, 0, len(m.Versions))
		for i := len(m.Versions) - 1; i >= 0; i-- {
			shown := wireVersion(m, &m.Versions[i])
			shown.Document = new(encodedPolicy(m.Versions[i].Text))
			d.pg.Weigh(len(m.Versions[i].Text))
			versions = append(versions, shown)
		}
		d.out.Policies = append(d.out.Policies, iamapi.ManagedPolicyDetail{
			PolicyName: p.PolicyName, PolicyId: p.PolicyId, Arn: p.Arn, Path: p.Path, DefaultVersionId: p.DefaultVersionId,
			AttachmentCount: p.AttachmentCount, PermissionsBoundaryUsageCount: p.PermissionsBoundaryUsageCount,
			IsAttachable: p.IsAttachable, Description: optional(m.Description), CreateDate: p.CreateDate, UpdateDate: p.UpdateDate,
			PolicyVersionList: versions,
		})
		return true
	})
	return more
}

// inlineDetails are inline policies with their texts.
func inlineDetails(p *Policies) []iamapi.PolicyDetail {
	out := make([]iamapi.PolicyDetail, len(p.Inline))
	for i := range p.Inline {
		out[i] = iamapi.PolicyDetail{PolicyName: &p.Inline[i].Name, PolicyDocument: new(encodedPolicy(p.Inline[i].Text))}
	}
	return out
}

// wireAttached is the form of all attached policies.
func wireAttached(p *Policies) []iamapi.AttachedPolicy {
	out := make([]iamapi.AttachedPolicy, len(p.Attached))
	for i := range p.Attached {
		out[i] = iamapi.AttachedPolicy{PolicyName: new(lastElement(p.Attached[i])), PolicyArn: &p.Attached[i]}
	}
	return out
}
