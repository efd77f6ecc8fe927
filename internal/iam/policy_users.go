package iam

import (
	"context"
	"slices"
	"strings"

	"arca/internal/api/iamapi"
	"arca/internal/call"
	"arca/internal/store"
)

// useCount is how many users, groups and roles of an account have a managed policy
// attached, and how many have it as their boundary. Customers' policies have counts;
// the uses of the server's own are looked up.
func (s *Service) useCount(v *store.Snap, account string, m *ManagedPolicy) (attachments, boundaries int) {
	if !m.isBuiltin() {
		return m.Attachments, m.Boundaries
	}
	prefix := usePrefix(m.ARN(), account)
	each(s.groups, v, byPolicy, prefix, func(*Group) bool { attachments++; return true })
	each(s.users, v, byPolicy, prefix, func(*User) bool { attachments++; return true })
	each(s.roles, v, byPolicy, prefix, func(*Role) bool { attachments++; return true })
	each(s.users, v, byBoundary, prefix, func(*User) bool { boundaries++; return true })
	each(s.roles, v, byBoundary, prefix, func(*Role) bool { boundaries++; return true })
	return attachments, boundaries
}

// usePrefix begins the index keys of those who use a policy in an account.
func usePrefix(policyARN, account string) string { return useKey(policyARN, account, "") }

// policyUser is a user, group or role that uses a managed policy.
type policyUser struct {
	kind      string // EntityType
	path      string
	name, uid string
}

// position orders groups before users before roles, each by name.
func (u *policyUser) position() string {
	name := strings.ToLower(u.name)
	switch u.kind {
	case iamapi.EntityTypeGroup:
		return "1" + name
	case iamapi.EntityTypeUser:
		return "2" + name
	}
	return "3" + name
}

// policyUsers are those of an account who use a policy, one entry each, in the order
// of their positions. usage narrows it to one use.
func (s *Service) policyUsers(v *store.Snap, account, policyARN, usage string) []policyUser {
	prefix := usePrefix(policyARN, account)
	var all []policyUser
	group := func(g *Group) bool {
		all = append(all, policyUser{iamapi.EntityTypeGroup, g.Path, g.Name, g.UID})
		return true
	}
	user := func(u *User) bool {
		all = append(all, policyUser{iamapi.EntityTypeUser, u.Path, u.Name, u.UID})
		return true
	}
	role := func(r *Role) bool {
		all = append(all, policyUser{iamapi.EntityTypeRole, r.Path, r.Name, r.UID})
		return true
	}
	if usage != iamapi.PolicyUsageTypePermissionsBoundary {
		each(s.groups, v, byPolicy, prefix, group)
		each(s.users, v, byPolicy, prefix, user)
		each(s.roles, v, byPolicy, prefix, role)
	}
	if usage != iamapi.PolicyUsageTypePermissionsPolicy {
		each(s.users, v, byBoundary, prefix, user)
		each(s.roles, v, byBoundary, prefix, role)
	}
	slices.SortFunc(all, func(a, b policyUser) int { return strings.Compare(a.position(), b.position()) })
	return slices.CompactFunc(all, func(a, b policyUser) bool { return a.uid == b.uid })
}

// ListEntitiesForPolicy lists who in the caller's account uses a managed policy: the
// groups, then the users, then the roles.
func (s *Service) ListEntitiesForPolicy(ctx context.Context, c *call.Call, in *iamapi.ListEntitiesForPolicyInput) (*iamapi.ListEntitiesForPolicyOutput, error) {
	out := &iamapi.ListEntitiesForPolicyOutput{}
	kind, usage := text(in.EntityFilter), text(in.PolicyUsageFilter)
	err := s.viewPolicy(ctx, c, "ListEntitiesForPolicy", in.PolicyArn, func(v *store.Snap, m *ManagedPolicy) error {
		pg, err := s.newPager(c, in.Marker, in.MaxItems, m.UID, kind, usage, pathOf(in.PathPrefix))
		if err != nil {
			return err
		}
		out.PolicyGroups, out.PolicyUsers, out.PolicyRoles = []iamapi.PolicyGroup{}, []iamapi.PolicyUser{}, []iamapi.PolicyRole{}
		for _, u := range s.policyUsers(v, c.Caller.Account, in.PolicyArn, usage) {
			if kind != "" && kind != u.kind || !below(u.path, in.PathPrefix) {
				continue
			}
			take, more := pg.Offer(u.position())
			if !more {
				break
			}
			if !take {
				continue
			}
			switch u.kind {
			case iamapi.EntityTypeGroup:
				out.PolicyGroups = append(out.PolicyGroups, iamapi.PolicyGroup{GroupName: &u.name, GroupId: &u.uid})
			case iamapi.EntityTypeUser:
				out.PolicyUsers = append(out.PolicyUsers, iamapi.PolicyUser{UserName: &u.name, UserId: &u.uid})
			default:
				out.PolicyRoles = append(out.PolicyRoles, iamapi.PolicyRole{RoleName: &u.name, RoleId: &u.uid})
			}
		}
		out.IsTruncated, out.Marker, err = pg.End()
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
