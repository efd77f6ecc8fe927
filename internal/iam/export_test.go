package iam

import (
	"time"

	"arca/internal/store"
)

// Tables are the tables of the package, for tests that damage them.
type Tables struct {
	Accounts  *store.Table[Account]
	Keys      *store.Table[AccessKey]
	Users     *store.Table[User]
	Groups    *store.Table[Group]
	Roles     *store.Table[Role]
	Policies  *store.Table[ManagedPolicy]
	Providers *store.Table[Provider]
	Names     *store.Table[Name]
	Uses      *store.Table[Use]
}

// Quotas are the limits of an account, for tests that reach them.
type Quotas struct {
	Users, Groups, Roles, Policies, Providers int
	Keys, GroupsOfUser, Attached, Versions    int
	Tags                                      int
}

// NewWithTables also gives the tables, and lets functions change the quotas.
func NewWithTables(st *store.Store, shrink ...func(q *Quotas)) (*Service, Tables) {
	s := New(st, time.Now)
	q := Quotas{
		s.quotas.users, s.quotas.groups, s.quotas.roles, s.quotas.policies, s.quotas.providers,
		s.quotas.keys, s.quotas.groupsOfUser, s.quotas.attached, s.quotas.versions, s.quotas.tags,
	}
	for _, fn := range shrink {
		fn(&q)
	}
	s.quotas.users, s.quotas.groups, s.quotas.roles, s.quotas.policies, s.quotas.providers = q.Users, q.Groups, q.Roles, q.Policies, q.Providers
	s.quotas.keys, s.quotas.groupsOfUser, s.quotas.attached, s.quotas.versions, s.quotas.tags = q.Keys, q.GroupsOfUser, q.Attached, q.Versions, q.Tags
	return s, Tables{s.accounts, s.keys, s.users, s.groups, s.roles, s.policies, s.providers, s.names, s.uses}
}

// Keys of records, for tests that damage them.
func RecordKey(account, uid string) store.Key      { return recordKey(account, uid) }
func NameKey(account, kind, name string) store.Key { return nameRecordKey(account, kind, name) }
func AccessKeyKey(id string) store.Key             { return accessKeyKey(id) }
func UseKey(id string) store.Key                   { return useRecordKey(id) }

// SealPurpose and SecretAD are what a secret access key is sealed under and for.
const SealPurpose = sealPurpose

// SecretAD is the additional data of a sealed secret access key.
func SecretAD(account, accessKeyID string) []byte { return secretAD(account, accessKeyID) }

// OpenSession opens a session token.
func (s *Service) OpenSession(keyID, token string) (*Session, error) {
	return s.openSession(keyID, token)
}
