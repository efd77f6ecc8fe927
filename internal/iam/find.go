package iam

import (
	"regexp"
	"strings"

	"arca/internal/policy"
	"arca/internal/store"
)

// Records that finders return are shared and must not be modified.

// first returns the record whose index key is exactly key.
func first[T any](t *store.Table[T], v *store.Snap, index, key string) (found *T) {
	t.Ascend(v, index, key, func(k string, r *T) bool {
		if k == key {
			found = r
		}
		return false
	})
	return found
}

// Account returns an account, nil when there is none of this id.
func (s *Service) Account(v *store.Snap, id string) *Account { return first(s.accounts, v, byID, id) }

// AccountNamed returns the account with a name, compared without case.
func (s *Service) AccountNamed(v *store.Snap, name string) *Account {
	return first(s.accounts, v, byName, strings.ToLower(name))
}

// Accounts visits all accounts in the order of their ids while fn returns true.
func (s *Service) Accounts(v *store.Snap, fn func(a *Account) bool) {
	s.accounts.Ascend(v, byID, "", func(_ string, a *Account) bool { return fn(a) })
}

// AccessKey returns a long-lived access key, active or not, nil when there is none.
func (s *Service) AccessKey(v *store.Snap, id string) *AccessKey { return first(s.keys, v, byID, id) }

// UserByID returns the user with a unique id, nil when it is gone.
func (s *Service) UserByID(v *store.Snap, uid string) *User { return first(s.users, v, byID, uid) }

// RoleByID returns the role with a unique id, nil when it is gone.
func (s *Service) RoleByID(v *store.Snap, uid string) *Role { return first(s.roles, v, byID, uid) }

// GroupByID returns the group with a unique id, nil when it is gone.
func (s *Service) GroupByID(v *store.Snap, uid string) *Group { return first(s.groups, v, byID, uid) }

// User returns the user with a name, compared without case.
func (s *Service) User(v *store.Snap, account, name string) *User {
	return first(s.users, v, byName, nameKey(account, name))
}

// Group returns the group with a name, compared without case.
func (s *Service) Group(v *store.Snap, account, name string) *Group {
	return first(s.groups, v, byName, nameKey(account, name))
}

// Role returns the role with a name, compared without case.
func (s *Service) Role(v *store.Snap, account, name string) *Role {
	return first(s.roles, v, byName, nameKey(account, name))
}

// Users visits the users of an account in the order of their names while fn returns
// true.
func (s *Service) Users(v *store.Snap, account string, fn func(u *User) bool) {
	each(s.users, v, byName, account+"\x00", fn)
}

// Groups visits the groups of an account in the order of their names while fn returns
// true.
func (s *Service) Groups(v *store.Snap, account string, fn func(g *Group) bool) {
	each(s.groups, v, byName, account+"\x00", fn)
}

// Roles visits the roles of an account in the order of their names while fn returns
// true.
func (s *Service) Roles(v *store.Snap, account string, fn func(r *Role) bool) {
	each(s.roles, v, byName, account+"\x00", fn)
}

// each visits the records whose index key begins with prefix.
func each[T any](t *store.Table[T], v *store.Snap, index, prefix string, fn func(r *T) bool) {
	t.Ascend(v, index, prefix, func(k string, r *T) bool { return strings.HasPrefix(k, prefix) && fn(r) })
}

// Policy returns a customer managed policy, nil when there is none of this ARN.
func (s *Service) Policy(v *store.Snap, arn string) *ManagedPolicy {
	return first(s.policies, v, byARN, arn)
}

// PolicyText returns the text in effect of a managed policy, one of the server's own
// or a customer's; false when there is none of this ARN.
func (s *Service) PolicyText(v *store.Snap, arn string) (string, bool) {
	if b := builtinPolicy(arn); b != nil {
		return b.Text, true
	}
	p := s.Policy(v, arn)
	if p == nil {
		return "", false
	}
	ver := p.Version(p.Default)
	if ver == nil {
		return "", false
	}
	return ver.Text, true
}

// ProviderByARN returns an OpenID Connect provider, nil when there is none.
func (s *Service) ProviderByARN(v *store.Snap, arn string) *Provider {
	return first(s.providers, v, byARN, arn)
}

// Revision stands for the state of everything that identities and their policies
// consist of: it is equal in two snapshots only if all of that is.
type Revision struct{ accounts, users, groups, roles, policies int64 }

// Revision returns the state's revision.
func (s *Service) Revision(v *store.Snap) Revision {
	return Revision{
		s.accounts.Revision(v), s.users.Revision(v), s.groups.Revision(v), s.roles.Revision(v), s.policies.Revision(v),
	}
}

// ResolvePrincipal turns a principal of a policy, as a client wrote it, into the form
// in which it is stored: users and roles by unique id, sessions by the role's, whole
// accounts by the ARN of their root. Everything else stays as it is. It is false for
// a user, role, session or account that does not exist.
func (s *Service) ResolvePrincipal(v *store.Snap, p policy.Principal) (stored string, ok bool) {
	switch p.Kind {
	case policy.Account:
		if p.ARN.Partition != "" && p.ARN.Partition != "aws" || s.Account(v, p.ARN.Account) == nil {
			return "", false
		}
		return RootARN(p.ARN.Account), true
	case policy.User:
		u := s.User(v, p.ARN.Account, lastElement(p.ARN.Resource))
		if u == nil || u.ARN() != p.Value {
			return "", false
		}
		return u.UID, true
	case policy.Role:
		r := s.Role(v, p.ARN.Account, lastElement(p.ARN.Resource))
		if r == nil || r.ARN() != p.Value {
			return "", false
		}
		return r.UID, true
	case policy.AssumedRole:
		part := strings.Split(p.ARN.Resource, "/") // assumed-role/NAME/SESSION
		r := s.Role(v, p.ARN.Account, part[1])
		if r == nil || r.SessionARN(part[2]) != p.Value || !sessionNameForm.MatchString(part[2]) {
			return "", false
		}
		return r.UID + ":" + part[2], true
	case policy.UniqueID:
		// A client may send back what it was shown for a principal that is gone, or the id
		// of one that is not; never the stored form of a session.
		return p.Value, !strings.Contains(p.Value, ":")
	case policy.FederatedUser, policy.CanonicalUser:
		return "", false
	}
	return p.Value, true
}

// ShowPrincipal is the other way: the ARN of a user, role or session that is stored
// by its unique id, or the id itself once it is gone.
func (s *Service) ShowPrincipal(v *store.Snap, p policy.Principal) (shown string, ok bool) {
	if p.Kind != policy.UniqueID {
		return p.Value, true
	}
	uid, session, isSession := strings.Cut(p.Value, ":")
	if u := s.UserByID(v, uid); u != nil && !isSession {
		return u.ARN(), true
	}
	if r := s.RoleByID(v, uid); r != nil {
		if isSession {
			return r.SessionARN(session), true
		}
		return r.ARN(), true
	}
	return p.Value, true
}

// sessionNameForm is what a session can be called. Another name must not get into a
// stored policy, which would no longer parse.
var sessionNameForm = regexp.MustCompile(`^[0-9A-Za-z_+=,.@-]{2,64}$`)

func lastElement(resource string) string { return resource[strings.LastIndexByte(resource, '/')+1:] }
