package iam

import (
	"slices"
	"strings"

	"arca/internal/api/iamapi"
	"arca/internal/arn"
	"arca/internal/paging"
	"arca/internal/policy"
	"arca/internal/store"
)

// What users, groups and roles have in common: their policies and boundaries.
// Functions that change Policies leave the slices of the given one alone, which may
// be those of a shared record.

// putInline adds an inline policy or gives it a new text. bearer names whose it is, as
// in "user alice", in the error when all together have more than most characters.
func putInline(p *Policies, name, doc string, most int, bearer string) error {
	if _, err := policy.ParseIdentityPolicy(doc); err != nil {
		return errSyntax(err)
	}
	all := slices.Clone(p.Inline)
	at, found := findInline(all, name)
	if found {
		all[at].Text = doc
	} else {
		all = slices.Insert(all, at, InlinePolicy{Name: name, Text: doc})
	}
	var together strings.Builder
	for _, in := range all {
		together.WriteString(in.Text)
	}
	if !policy.Within(together.String(), most) {
		return iamapi.LimitExceeded.Errorf("Maximum policy size of %d bytes exceeded for %s", most, bearer)
	}
	p.Inline = all
	return nil
}

// inline is the text of an inline policy of p, which belongs to an entity of a kind.
func inline(p *Policies, kind, name string) (string, error) {
	at, found := findInline(p.Inline, name)
	if !found {
		return "", errNoEntity(kind+" policy", name)
	}
	return p.Inline[at].Text, nil
}

// deleteInline removes an inline policy of p, which belongs to an entity of a kind.
func deleteInline(p *Policies, kind, name string) error {
	at, found := findInline(p.Inline, name)
	if !found {
		return errNoEntity(kind+" policy", name)
	}
	p.Inline = slices.Delete(slices.Clone(p.Inline), at, at+1)
	return nil
}

func findInline(list []InlinePolicy, name string) (at int, found bool) {
	return slices.BinarySearchFunc(list, name, func(in InlinePolicy, name string) int { return strings.Compare(in.Name, name) })
}

// inlineNames is a page of the names of inline policies.
func inlineNames(pg *paging.Pager, p *Policies) []string {
	names := []string{}
	for _, in := range p.Inline {
		take, more := pg.Offer(in.Name)
		if take {
			names = append(names, in.Name)
		}
		if !more {
			break
		}
	}
	return names
}

// checkPolicyARN holds the ARN of a managed policy to its form.
func checkPolicyARN(s string) error {
	a, err := arn.Parse(s)
	if err != nil {
		return iamapi.ValidationError.Wrap(err, "Invalid ARN:  Could not be parsed!")
	}
	if a.Partition != "aws" || a.Service != "iam" || a.Region != "" || a.Account == "" || !strings.HasPrefix(a.Resource, kindPolicy+"/") {
		return iamapi.InvalidInput.Errorf("ARN %s is not valid.", s)
	}
	return nil
}

// attach adds a managed policy to p, the policies of a bearer of the account, and
// counts it. To attach a policy again is no mistake. quota names the limit that p may
// reach.
func (s *Service) attach(tx *store.Tx, account string, p *Policies, arn, quota string) error {
	if err := checkPolicyARN(arn); err != nil {
		return err
	}
	if slices.Contains(p.Attached, arn) {
		return nil
	}
	if !s.attachable(tx.Snap, account, arn) {
		return iamapi.NoSuchEntity.Errorf("Policy %s does not exist or is not attachable.", arn)
	}
	if len(p.Attached) >= s.quotas.attached {
		return errQuota(quota, s.quotas.attached)
	}
	p.Attached = append(slices.Clone(p.Attached), arn)
	s.countUse(tx, arn, func(m *ManagedPolicy) { m.Attachments++ })
	return nil
}

// Names of the quotas of attached policies.
const (
	quotaUserAttached  = "PoliciesPerUser"
	quotaGroupAttached = "PoliciesPerGroup"
	quotaRoleAttached  = "PoliciesPerRole"
)

// detach is the other way.
func (s *Service) detach(tx *store.Tx, p *Policies, arn string) error {
	if err := checkPolicyARN(arn); err != nil {
		return err
	}
	at := slices.Index(p.Attached, arn)
	if at < 0 {
		return errNoPolicy(arn)
	}
	p.Attached = slices.Delete(slices.Clone(p.Attached), at, at+1)
	s.countUse(tx, arn, func(m *ManagedPolicy) { m.Attachments-- })
	return nil
}

// attachable reports whether a managed policy is the server's own or the account's.
func (s *Service) attachable(v *store.Snap, account, arn string) bool {
	if builtinPolicy(arn) != nil {
		return true
	}
	p := s.Policy(v, arn)
	return p != nil && p.Account == account
}

// changeBoundary counts that a bearer of the account, whose boundary was old, gets
// another; "" stands for none. The caller writes the bearer.
func (s *Service) changeBoundary(tx *store.Tx, account, old, boundary string) error {
	if boundary != "" {
		if err := checkPolicyARN(boundary); err != nil {
			return err
		}
	}
	if old == boundary {
		return nil
	}
	if boundary != "" && !s.attachable(tx.Snap, account, boundary) {
		return iamapi.NoSuchEntity.Errorf("Scope ARN: %s does not exist or is not attachable.", boundary)
	}
	s.countUse(tx, old, func(m *ManagedPolicy) { m.Boundaries-- })
	s.countUse(tx, boundary, func(m *ManagedPolicy) { m.Boundaries++ })
	return nil
}

// countUse writes the record of a customer managed policy with another count. After
// the commit the count agrees with those who use the policy, which are written in the
// same transaction; a deletion of the policy at the same time meets it there. The
// server's own policies cannot be deleted and are not counted.
func (s *Service) countUse(tx *store.Tx, arn string, change func(m *ManagedPolicy)) {
	p := s.Policy(tx.Snap, arn)
	if p == nil {
		return
	}
	m := *p
	change(&m)
	s.policies.Put(tx, recordKey(m.Account, m.UID), &m)
}

// attachedPolicies is a page of attached policies below a path.
func attachedPolicies(pg *paging.Pager, p *Policies, prefix *string) []iamapi.AttachedPolicy {
	all := make([]iamapi.AttachedPolicy, 0, len(p.Attached))
	for _, arn := range p.Attached {
		name := lastElement(arn)
		_, rest, _ := strings.Cut(arn, ":"+kindPolicy)
		if below(strings.TrimSuffix(rest, name), prefix) {
			all = append(all, iamapi.AttachedPolicy{PolicyName: &name, PolicyArn: &arn})
		}
	}
	return append([]iamapi.AttachedPolicy{}, paging.Page(pg, all)...)
}

// boundaryType is what AWS answers with. Its model names another value, which AWS does
// not use.
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_AttachedPermissionsBoundary.html
const boundaryType = "Policy"

// wireBoundary is the form of a permissions boundary in answers.
func wireBoundary(arn string) *iamapi.AttachedPermissionsBoundary {
	if arn == "" {
		return nil
	}
	return &iamapi.AttachedPermissionsBoundary{
		PermissionsBoundaryType: new(boundaryType),
		PermissionsBoundaryArn:  &arn,
	}
}
