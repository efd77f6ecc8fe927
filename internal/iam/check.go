package iam

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"arca/internal/policy"
	"arca/internal/store"
)

// Check reports whatever breaks the promises of this package: names that lead
// elsewhere, members, keys and policies that are not there, counts that are wrong,
// texts that no longer parse, secrets that do not open, records nobody owns.
func (s *Service) Check(v *store.Snap, report func(problem string)) {
	s.checkAccounts(v, report)
	c := checker{s: s, v: v, report: report, members: make(map[string]int), attached: make(map[string]int), boundaries: make(map[string]int), named: make(map[string]bool)}
	s.Accounts(v, func(a *Account) bool {
		if a.Name != "" {
			c.named[a.ID] = true
		}
		return true
	})
	s.keys.Ascend(v, byID, "", func(_ string, k *AccessKey) bool { c.key(k); return true })
	s.users.Ascend(v, byID, "", func(_ string, u *User) bool { c.user(u); return true })
	s.groups.Ascend(v, byID, "", func(_ string, g *Group) bool { c.group(g); return true })
	s.roles.Ascend(v, byID, "", func(_ string, r *Role) bool { c.role(r); return true })
	s.policies.Ascend(v, byARN, "", func(_ string, p *ManagedPolicy) bool { c.managed(p); return true })
	s.providers.Ascend(v, byARN, "", func(_ string, p *Provider) bool {
		c.account("provider "+p.URL, p.Account)
		return true
	})
	s.uses.Ascend(v, byID, "", func(_ string, u *Use) bool {
		if first(s.keys, v, byID, u.ID) == nil && s.RoleByID(v, u.ID) == nil {
			report("last use of " + u.ID + ", which does not exist")
		}
		return true
	})
	c.names()
}

// checker goes through all records once and adds up what others must agree with.
type checker struct {
	s      *Service
	v      *store.Snap
	report func(problem string)

	members              map[string]int // by unique id of the group
	attached, boundaries map[string]int // by ARN of the policy
	named                map[string]bool
}

func (c *checker) problem(of, format string, args ...any) {
	c.report(of + ": " + fmt.Sprintf(format, args...))
}

func (c *checker) account(of, account string) {
	if c.s.Account(c.v, account) == nil {
		c.problem(of, "its account %s does not exist", account)
	}
}

func (c *checker) key(k *AccessKey) {
	of := "access key " + k.ID
	c.account(of, k.Account)
	if k.User != "" {
		u := c.s.UserByID(c.v, k.User)
		if u == nil || u.Account != k.Account || !slices.Contains(u.Keys, k.ID) {
			c.problem(of, "its user %s does not have it", k.User)
		}
	}
	secret, err := c.s.store.Unseal(sealPurpose, k.SealedSecret, secretAD(k.Account, k.ID))
	if err != nil {
		c.problem(of, "its secret does not open: %v", err)
		return
	}
	secret.Wipe()
}

// entity looks at what all that have a name and a unique id have in common.
func (c *checker) entity(kind, account, name, uid string, tags []Tag) (of string) {
	of = kind + " " + uid
	c.account(of, account)
	c.named[uid] = true
	if n, ok := c.s.names.Get(c.v, nameRecordKey(account, kind, name)); !ok || n.UID != uid {
		c.problem(of, "its name does not lead to it")
	}
	for i, t := range tags {
		if slices.ContainsFunc(tags[:i], func(o Tag) bool { return strings.EqualFold(o.Key, t.Key) }) {
			c.problem(of, "tag %q is there twice", t.Key)
		}
	}
	return of
}

// grants looks at the policies and boundary of a user, group or role.
func (c *checker) grants(of, account string, p *Policies, boundary string) {
	for i, in := range p.Inline {
		if i > 0 && p.Inline[i-1].Name >= in.Name {
			c.problem(of, "its inline policies are out of order at %s", in.Name)
		}
		if _, err := policy.ParseIdentityPolicy(in.Text); err != nil {
			c.problem(of, "its inline policy %s: %v", in.Name, err)
		}
	}
	for i, arn := range p.Attached {
		c.attached[arn]++
		if !c.s.attachable(c.v, account, arn) {
			c.problem(of, "its policy %s does not exist", arn)
		}
		if slices.Contains(p.Attached[:i], arn) {
			c.problem(of, "its policy %s is attached twice", arn)
		}
	}
	if boundary != "" {
		c.boundaries[boundary]++
		if !c.s.attachable(c.v, account, boundary) {
			c.problem(of, "its boundary %s does not exist", boundary)
		}
	}
}

func (c *checker) user(u *User) {
	of := c.entity(kindUser, u.Account, u.Name, u.UID, u.Tags)
	c.grants(of, u.Account, &u.Policies, u.Boundary)
	for i, uid := range u.Groups {
		c.members[uid]++
		if g := c.s.GroupByID(c.v, uid); g == nil || g.Account != u.Account {
			c.problem(of, "its group %s does not exist", uid)
		}
		if slices.Contains(u.Groups[:i], uid) {
			c.problem(of, "it is in group %s twice", uid)
		}
	}
	for _, id := range u.Keys {
		if k := first(c.s.keys, c.v, byID, id); k == nil || k.User != u.UID {
			c.problem(of, "its access key %s does not exist", id)
		}
	}
}

func (c *checker) group(g *Group) {
	of := c.entity(kindGroup, g.Account, g.Name, g.UID, nil)
	c.grants(of, g.Account, &g.Policies, "")
	if n := c.members[g.UID]; g.Members != n {
		c.problem(of, "it counts %d members and has %d", g.Members, n)
	}
}

func (c *checker) role(r *Role) {
	of := c.entity(kindRole, r.Account, r.Name, r.UID, r.Tags)
	c.grants(of, r.Account, &r.Policies, r.Boundary)
	if _, err := policy.ParseTrustPolicy(r.Trust); err != nil {
		c.problem(of, "its trust policy: %v", err)
	}
}

func (c *checker) managed(p *ManagedPolicy) {
	of := c.entity(kindPolicy, p.Account, p.Name, p.UID, p.Tags)
	if p.Version(p.Default) == nil {
		c.problem(of, "its default version %s does not exist", p.Default)
	}
	for i, ver := range p.Versions {
		if _, err := policy.ParseIdentityPolicy(ver.Text); err != nil {
			c.problem(of, "version %s: %v", ver.ID, err)
		}
		if p.Version(ver.ID) != &p.Versions[i] {
			c.problem(of, "version %s is there twice", ver.ID)
		}
	}
	if n := c.attached[p.ARN()]; p.Attachments != n {
		c.problem(of, "it counts %d attachments and has %d", p.Attachments, n)
	}
	if n := c.boundaries[p.ARN()]; p.Boundaries != n {
		c.problem(of, "it counts %d bearers of it as a boundary and has %d", p.Boundaries, n)
	}
}

// names looks for names of what does not exist. Everything that exists was found by
// its name already, so further names of it show in the number.
func (c *checker) names() {
	n := 0
	err := c.s.names.Walk(context.Background(), c.v, func(name *Name) error { // in memory: nothing to wait for
		n++
		if !c.named[name.UID] {
			c.report("name of " + name.UID + ", which does not exist")
		}
		return nil
	})
	switch {
	case err != nil:
		c.report("check of names was interrupted: " + err.Error())
	case n != len(c.named):
		c.report(fmt.Sprintf("%d names for %d that have one", n, len(c.named)))
	}
}
