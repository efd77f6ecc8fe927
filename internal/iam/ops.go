package iam

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"arca/internal/api/iamapi"
	"arca/internal/call"
	"arca/internal/policy"
	"arca/internal/store"
)

// quotas are the limits of an account, AWS's where it starts with.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
type quotas struct {
	users, groups, roles, policies, providers int // in an account
	keys                                      int // of a user or a root
	groupsOfUser                              int
	attached                                  int // managed policies of one user, group or role
	versions                                  int // of a managed policy
	tags                                      int
	clients                                   int // ids of an OpenID Connect provider
	// Characters without white space: of all inline policies of one bearer together, of
	// a managed policy, of a trust policy.
	userInline, groupInline, roleInline, managed, trust int
}

func newQuotas() quotas {
	return quotas{
		users: 5000, groups: 300, roles: 1000, policies: 1500, providers: 100,
		keys: 2, groupsOfUser: 10, attached: 10, versions: 5, tags: 50, clients: 100,
		userInline: 2048, groupInline: 5120, roleInline: 10240, managed: 6144, trust: 2048,
	}
}

// Kinds of what IAM's operations are about, as their ARNs and name records call them.
const (
	kindUser   = "user"
	kindGroup  = "group"
	kindRole   = "role"
	kindPolicy = "policy"
)

// entity is what an operation is about, as far as a decision needs it.
type entity struct {
	arn   string
	shown string // how a denial names it
	tags  []Tag
	// boundary is the ARN of its permissions boundary, "" without one.
	boundary string
	account  string // its owner, "" for the caller's
	// snap is the state it was looked for in; nil for none in particular.
	snap *store.Snap
}

// nobody is an entity that does not exist, or not yet: its path is unknown, so it is
// asked about with the shortest.
func nobody(account, kind, name string) entity {
	return entity{arn: arnPrefix + account + ":" + kind + "/" + name, shown: kind + " " + name}
}

func userEntity(account, name string, u *User) entity {
	if u == nil {
		return nobody(account, kindUser, name)
	}
	return entity{arn: u.ARN(), shown: kindUser + " " + name, tags: u.Tags, boundary: u.Boundary}
}

func groupEntity(account, name string, g *Group) entity {
	if g == nil {
		return nobody(account, kindGroup, name)
	}
	return entity{arn: g.ARN(), shown: kindGroup + " " + name}
}

func roleEntity(account, name string, r *Role) entity {
	if r == nil {
		return nobody(account, kindRole, name)
	}
	return entity{arn: r.ARN(), shown: kindRole + " " + name, tags: r.Tags, boundary: r.Boundary}
}

// authorize asks whether the caller may do an action of IAM, given without its
// prefix, to an entity.
func authorize(ctx context.Context, c *call.Call, action string, e entity, keys ...policy.ContextKey) error {
	all := slices.Clone(keys)
	for _, t := range e.tags {
		all = append(all,
			policy.ContextKey{Name: "aws:ResourceTag/" + t.Key, Values: []string{t.Value}},
			policy.ContextKey{Name: "iam:ResourceTag/" + t.Key, Values: []string{t.Value}})
	}
	if e.boundary != "" && asksBoundary(action) {
		all = append(all, policy.ContextKey{Name: "iam:PermissionsBoundary", Values: []string{e.boundary}})
	}
	return c.Authorize(ctx, &call.Check{
		Action: "iam:" + action, Resource: e.arn, Shown: e.shown, Account: cmp.Or(e.account, c.Caller.Account), Keys: all,
		Snap: e.snap,
	})
}

// asksBoundary reports whether the boundary that a user or role has is a condition key of
// an action. Where the request itself names a boundary, that one is the key.
func asksBoundary(action string) bool {
	switch action {
	case "AttachRolePolicy", "AttachUserPolicy", "DetachRolePolicy", "DetachUserPolicy",
		"PutRolePolicy", "PutUserPolicy", "DeleteRolePolicy", "DeleteUserPolicy",
		"DeleteRolePermissionsBoundary", "DeleteUserPermissionsBoundary":
		return true
	}
	return false
}

// authorizeList asks for an action that lists all of a kind below a path, of which
// AWS takes the path itself for the resource.
func authorizeList(ctx context.Context, c *call.Call, action, kind string, prefix *string) error {
	return authorize(ctx, c, action, entity{arn: arnPrefix + c.Caller.Account + ":" + kind + pathOf(prefix)})
}

// loadUser finds a user of the caller's account after asking for the action.
func (s *Service) loadUser(ctx context.Context, c *call.Call, v *store.Snap, action, name string, keys ...policy.ContextKey) (*User, error) {
	u := s.User(v, c.Caller.Account, name)
	e := userEntity(c.Caller.Account, name, u)
	e.snap = v
	if err := authorize(ctx, c, action, e, keys...); err != nil {
		return nil, err
	}
	if u == nil {
		return nil, errNoEntity(kindUser, name)
	}
	return u, nil
}

// loadGroup finds a group of the caller's account after asking for the action.
func (s *Service) loadGroup(ctx context.Context, c *call.Call, v *store.Snap, action, name string, keys ...policy.ContextKey) (*Group, error) {
	g := s.Group(v, c.Caller.Account, name)
	e := groupEntity(c.Caller.Account, name, g)
	e.snap = v
	if err := authorize(ctx, c, action, e, keys...); err != nil {
		return nil, err
	}
	if g == nil {
		return nil, errNoEntity(kindGroup, name)
	}
	return g, nil
}

// loadRole finds a role of the caller's account after asking for the action.
func (s *Service) loadRole(ctx context.Context, c *call.Call, v *store.Snap, action, name string, keys ...policy.ContextKey) (*Role, error) {
	r := s.Role(v, c.Caller.Account, name)
	e := roleEntity(c.Caller.Account, name, r)
	e.snap = v
	if err := authorize(ctx, c, action, e, keys...); err != nil {
		return nil, err
	}
	if r == nil {
		return nil, errNoEntity(kindRole, name)
	}
	return r, nil
}

// Condition keys that requests fill. A key whose member is absent is left out.

// requestTags are the keys of the tags in a request, one for each and one with all
// names.
func requestTags(tags []iamapi.Tag) (keys []policy.ContextKey) {
	if len(tags) == 0 {
		return nil
	}
	names := make([]string, len(tags))
	for i, t := range tags {
		names[i] = t.Key
		keys = append(keys, policy.ContextKey{Name: "aws:RequestTag/" + t.Key, Values: []string{t.Value}})
	}
	return append(keys, tagKeys(names)...)
}

// tagKeys is the key of the names of tags in a request.
func tagKeys(names []string) []policy.ContextKey {
	if len(names) == 0 {
		return nil
	}
	return []policy.ContextKey{{Name: "aws:TagKeys", Values: names}}
}

// policyARN is the key of a managed policy that is attached or detached.
func policyARN(arn string) policy.ContextKey {
	return policy.ContextKey{Name: "iam:PolicyARN", Values: []string{arn}}
}

// requestBoundary is the key of a permissions boundary that a request names.
func requestBoundary(arn *string) []policy.ContextKey {
	if arn == nil {
		return nil
	}
	return []policy.ContextKey{{Name: "iam:PermissionsBoundary", Values: []string{*arn}}}
}

// takeName writes the record that keeps a name, which must be free. After the commit
// nobody else of this kind can have it; of two that take it at once, the later runs
// again and finds it taken.
func (s *Service) takeName(tx *store.Tx, account, kind, name, uid string) error {
	at := nameRecordKey(account, kind, name)
	if _, taken := s.names.Get(tx.Snap, at); taken {
		return errExists(kind, name)
	}
	s.names.Put(tx, at, &Name{UID: uid})
	return nil
}

// moveName gives an entity another name, which may differ from its own in case only.
func (s *Service) moveName(tx *store.Tx, account, kind, old, name, uid string) error {
	if strings.EqualFold(old, name) {
		return nil
	}
	if err := s.takeName(tx, account, kind, name, uid); err != nil {
		return err
	}
	s.names.Delete(tx, nameRecordKey(account, kind, old))
	return nil
}

// errNoEntity has AWS's text. kind is that of an entity, or as in "user policy".
func errNoEntity(kind, name string) error {
	return iamapi.NoSuchEntity.Errorf("The %s with name %s cannot be found.", kind, name)
}

func errNoPolicy(arn string) error {
	return iamapi.NoSuchEntity.Errorf("Policy %s was not found.", arn)
}

func errExists(kind, name string) error {
	if kind == kindPolicy {
		return iamapi.EntityAlreadyExists.Errorf("A policy called %s already exists. Duplicate names are not allowed.", name)
	}
	return iamapi.EntityAlreadyExists.Errorf("%s with name %s already exists.", strings.ToUpper(kind[:1])+kind[1:], name)
}

// errInUse says what must be done before an entity can be deleted.
func errInUse(first string) error {
	return iamapi.DeleteConflict.Errorf("Cannot delete entity, must %s first.", first)
}

// What must be done before a deletion, in AWS's words.
const (
	firstKeys     = "delete access keys"
	firstAttached = "detach all policies"
	firstInline   = "delete policies"
	firstMembers  = "remove users from group"
)

// errQuota says that what there may be at most most of is all used up.
func errQuota(what string, most int) error {
	return iamapi.LimitExceeded.Errorf("Cannot exceed quota for %s: %d", what, most)
}

// errSyntax turns the refusal of a policy into what a client is told of it.
func errSyntax(err error) error {
	syntax, ok := errors.AsType[*policy.SyntaxError](err)
	if !ok {
		return err
	}
	return iamapi.MalformedPolicyDocument.Wrap(err, syntax.Text)
}

// encodedPolicy is the form of a policy text in answers: URL-encoded as RFC 3986 says.
func encodedPolicy(text string) string {
	return strings.ReplaceAll(url.QueryEscape(text), "+", "%20")
}

// pathOf is the path in a request, or the one that stands for none.
func pathOf(p *string) string {
	if p == nil {
		return "/"
	}
	return *p
}

// below reports whether a path is below the prefix of a list, if there is one.
func below(path string, prefix *string) bool {
	return prefix == nil || strings.HasPrefix(path, *prefix)
}

// text is an optional string, "" when absent.
func text(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

// optional is the other way: nil for what is not there.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// moment is the form of a time in answers, nil for never. IAM's times have whole
// seconds.
func moment(ms Millis) *time.Time {
	if ms == 0 {
		return nil
	}
	return new(time.UnixMilli(ms).UTC().Truncate(time.Second))
}
