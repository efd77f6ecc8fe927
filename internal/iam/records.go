package iam

import (
	"strings"

	"arca/internal/store"
)

// The records of this package are stored for good: a key number, once given out,
// keeps its meaning and is never reused.

// Millis is a moment in milliseconds since the Unix epoch. Zero means never.
type Millis = int64

// Account is the record of an account.
type Account struct {
	ID      string `cbor:"1,keyasint"` // 12 digits
	Name    string `cbor:"2,keyasint"`
	Created Millis `cbor:"3,keyasint"`
	// Guardrail is a policy that limits everybody in the account, its root included;
	// empty limits nothing. It plays the part of a service control policy.
	Guardrail string `cbor:"4,keyasint,omitempty"`
	// Management marks the one account whose root makes accounts and sets guardrails: the
	// first there was.
	Management bool `cbor:"5,keyasint,omitempty"`
}

// AccessKey is the record of a long-lived credential of an account root or a user.
type AccessKey struct {
	ID           string `cbor:"1,keyasint"`
	Account      string `cbor:"2,keyasint"`
	SealedSecret []byte `cbor:"3,keyasint"`
	Active       bool   `cbor:"4,keyasint"`
	Created      Millis `cbor:"5,keyasint"`
	// User is the unique id of its user; empty for a key of the root.
	User string `cbor:"6,keyasint,omitempty"`
}

// Tag is one key with its value. Keys are unique without case, kept with it.
type Tag struct {
	Key   string `cbor:"1,keyasint"`
	Value string `cbor:"2,keyasint"`
}

// InlinePolicy is a policy that belongs to one user, group or role.
type InlinePolicy struct {
	Name string `cbor:"1,keyasint"`
	Text string `cbor:"2,keyasint"`
}

// Policies are the policies of a user, group or role.
type Policies struct {
	Inline []InlinePolicy `cbor:"1,keyasint,omitempty"` // in order of name
	// Attached are the ARNs of managed policies in order of attachment. A policy that is
	// attached cannot be deleted: it counts its attachments.
	Attached []string `cbor:"2,keyasint,omitempty"`
}

// User is the record of an IAM user.
type User struct {
	UID      string   `cbor:"1,keyasint"` // AIDA…
	Account  string   `cbor:"2,keyasint"`
	Path     string   `cbor:"3,keyasint"` // begins and ends with a slash
	Name     string   `cbor:"4,keyasint"`
	Created  Millis   `cbor:"5,keyasint"`
	Boundary string   `cbor:"6,keyasint,omitempty"` // ARN of the permissions boundary
	Tags     []Tag    `cbor:"7,keyasint,omitempty"`
	Policies Policies `cbor:"8,keyasint"`
	Groups   []string `cbor:"9,keyasint,omitempty"`  // unique ids
	Keys     []string `cbor:"10,keyasint,omitempty"` // access key ids, in order of creation
}

// Group is the record of a group of users.
type Group struct {
	UID      string   `cbor:"1,keyasint"` // AGPA…
	Account  string   `cbor:"2,keyasint"`
	Path     string   `cbor:"3,keyasint"`
	Name     string   `cbor:"4,keyasint"`
	Created  Millis   `cbor:"5,keyasint"`
	Policies Policies `cbor:"6,keyasint"`
	// Members is how many users are in the group. It is written with every change of
	// membership, so that a group cannot be deleted while somebody joins it.
	Members int `cbor:"7,keyasint,omitempty"`
}

// Role is the record of a role.
type Role struct {
	UID         string `cbor:"1,keyasint"` // AROA…
	Account     string `cbor:"2,keyasint"`
	Path        string `cbor:"3,keyasint"`
	Name        string `cbor:"4,keyasint"`
	Created     Millis `cbor:"5,keyasint"`
	Description string `cbor:"6,keyasint,omitempty"`
	// Trust is the trust policy in its stored form: principals by unique id.
	Trust      string   `cbor:"7,keyasint"`
	MaxSeconds int      `cbor:"8,keyasint"` // of a session
	Boundary   string   `cbor:"9,keyasint,omitempty"`
	Tags       []Tag    `cbor:"10,keyasint,omitempty"`
	Policies   Policies `cbor:"11,keyasint"`
}

// ManagedPolicy is the record of a customer managed policy.
type ManagedPolicy struct {
	UID         string          `cbor:"1,keyasint"` // ANPA…
	Account     string          `cbor:"2,keyasint"`
	Path        string          `cbor:"3,keyasint"`
	Name        string          `cbor:"4,keyasint"`
	Created     Millis          `cbor:"5,keyasint"`
	Updated     Millis          `cbor:"6,keyasint"`
	Description string          `cbor:"7,keyasint,omitempty"`
	Versions    []PolicyVersion `cbor:"8,keyasint"` // in order of creation
	Default     string          `cbor:"9,keyasint"` // id of the version in effect
	Next        int             `cbor:"10,keyasint"`
	Tags        []Tag           `cbor:"11,keyasint,omitempty"`
	// Attachments and Boundaries count the users, groups and roles that have the policy
	// attached or as their boundary. Every attachment writes them, so that a policy
	// cannot be deleted while somebody attaches it.
	Attachments int `cbor:"12,keyasint,omitempty"`
	Boundaries  int `cbor:"13,keyasint,omitempty"`
}

// PolicyVersion is one version of a managed policy.
type PolicyVersion struct {
	ID      string `cbor:"1,keyasint"` // v1, v2, …; never used again
	Text    string `cbor:"2,keyasint"`
	Created Millis `cbor:"3,keyasint"`
}

// Provider is the record of an OpenID Connect provider whose tokens an account
// accepts.
type Provider struct {
	Account     string   `cbor:"1,keyasint"`
	URL         string   `cbor:"2,keyasint"` // of the issuer, without https://
	Created     Millis   `cbor:"3,keyasint"`
	ClientIDs   []string `cbor:"4,keyasint,omitempty"` // audiences
	Thumbprints []string `cbor:"5,keyasint,omitempty"` // SHA-1 of certificates, hexadecimal, lower case
	Tags        []Tag    `cbor:"6,keyasint,omitempty"`
}

// Name keeps the names of accounts, and within one those of users, groups, roles and
// managed policies, unique: two that are created at once meet at this record.
type Name struct {
	UID string `cbor:"1,keyasint"` // of an account, its id
}

// Use is when an access key or role was last used. It is written now and then, never
// by the request itself.
type Use struct {
	ID      string `cbor:"1,keyasint"` // access key id, or unique id of a role
	Account string `cbor:"2,keyasint"`
	At      Millis `cbor:"3,keyasint"`
	Service string `cbor:"4,keyasint"`
	Region  string `cbor:"5,keyasint"`
}

const (
	accountFormat   = 2 // 1 had neither guardrail nor management
	accessKeyFormat = 2 // 1 had keys of roots only
	recordFormat    = 1
)

// Names of indexes.
const (
	byID         = "id"         // unique id, account id, access key id
	byName       = "name"       // account, then the name in lower case
	byARN        = "arn"        // of managed policies and providers
	byPolicy     = "policy"     // ARN of an attached policy
	byBoundary   = "boundary"   // ARN of a boundary
	byGroup      = "group"      // unique id of a group
	byManagement = "management" // the management account alone
	byUser       = "user"       // unique id of the user of an access key, or account of a root's
)

// tables are the tables of package iam.
type tables struct {
	accounts  *store.Table[Account]
	keys      *store.Table[AccessKey]
	users     *store.Table[User]
	groups    *store.Table[Group]
	roles     *store.Table[Role]
	policies  *store.Table[ManagedPolicy]
	providers *store.Table[Provider]
	names     *store.Table[Name]
	uses      *store.Table[Use]
}

func newTables(st *store.Store) tables {
	return tables{
		accounts: store.NewTable(st, store.TableSpec[Account]{
			Name: "account", Format: accountFormat,
			// The first account is there before anybody can call.
			Quiet: func(a *Account) bool { return a.Management },
			Indexes: []store.Index[Account]{
				{Name: byID, Keys: func(a *Account, emit func(string)) { emit(a.ID) }},
				{Name: byManagement, Keys: func(a *Account, emit func(string)) {
					if a.Management {
						emit(a.ID)
					}
				}},
				{Name: byName, Keys: func(a *Account, emit func(string)) {
					if a.Name != "" {
						emit(strings.ToLower(a.Name))
					}
				}},
			},
		}),
		keys: store.NewTable(st, store.TableSpec[AccessKey]{
			Name: "access-key", Format: accessKeyFormat,
			// The first root key is there before anybody can call.
			Quiet: func(k *AccessKey) bool { return k.User == "" },
			Indexes: []store.Index[AccessKey]{
				{Name: byID, Keys: func(k *AccessKey, emit func(string)) { emit(k.ID) }},
				{Name: byUser, Keys: func(k *AccessKey, emit func(string)) {
					owner := k.User
					if owner == "" {
						owner = k.Account
					}
					emit(owner + "\x00" + k.ID)
				}},
			},
		}),
		users: store.NewTable(st, store.TableSpec[User]{
			Name: "iam-user", Format: recordFormat,
			Indexes: []store.Index[User]{
				{Name: byID, Keys: func(u *User, emit func(string)) { emit(u.UID) }},
				{Name: byName, Keys: func(u *User, emit func(string)) { emit(nameKey(u.Account, u.Name)) }},
				{Name: byGroup, Keys: func(u *User, emit func(string)) {
					for _, g := range u.Groups {
						emit(g + "\x00" + strings.ToLower(u.Name))
					}
				}},
				{Name: byPolicy, Keys: func(u *User, emit func(string)) { emitAttached(u.Account, u.Name, u.Policies, emit) }},
				{Name: byBoundary, Keys: func(u *User, emit func(string)) { emitBoundary(u.Account, u.Name, u.Boundary, emit) }},
			},
		}),
		groups: store.NewTable(st, store.TableSpec[Group]{
			Name: "iam-group", Format: recordFormat,
			Indexes: []store.Index[Group]{
				{Name: byID, Keys: func(g *Group, emit func(string)) { emit(g.UID) }},
				{Name: byName, Keys: func(g *Group, emit func(string)) { emit(nameKey(g.Account, g.Name)) }},
				{Name: byPolicy, Keys: func(g *Group, emit func(string)) { emitAttached(g.Account, g.Name, g.Policies, emit) }},
			},
		}),
		roles: store.NewTable(st, store.TableSpec[Role]{
			Name: "iam-role", Format: recordFormat,
			Indexes: []store.Index[Role]{
				{Name: byID, Keys: func(r *Role, emit func(string)) { emit(r.UID) }},
				{Name: byName, Keys: func(r *Role, emit func(string)) { emit(nameKey(r.Account, r.Name)) }},
				{Name: byPolicy, Keys: func(r *Role, emit func(string)) { emitAttached(r.Account, r.Name, r.Policies, emit) }},
				{Name: byBoundary, Keys: func(r *Role, emit func(string)) { emitBoundary(r.Account, r.Name, r.Boundary, emit) }},
			},
		}),
		policies: store.NewTable(st, store.TableSpec[ManagedPolicy]{
			Name: "iam-policy", Format: recordFormat,
			Indexes: []store.Index[ManagedPolicy]{
				{Name: byName, Keys: func(p *ManagedPolicy, emit func(string)) { emit(nameKey(p.Account, p.Name)) }},
				{Name: byARN, Keys: func(p *ManagedPolicy, emit func(string)) { emit(p.ARN()) }},
			},
		}),
		providers: store.NewTable(st, store.TableSpec[Provider]{
			Name: "iam-oidc-provider", Format: recordFormat,
			Indexes: []store.Index[Provider]{
				{Name: byARN, Keys: func(p *Provider, emit func(string)) { emit(p.ARN()) }},
				{Name: byName, Keys: func(p *Provider, emit func(string)) { emit(p.Account + "\x00" + p.URL) }},
			},
		}),
		names: store.NewTable(st, store.TableSpec[Name]{Name: "iam-name", Format: recordFormat}),
		uses: store.NewTable(st, store.TableSpec[Use]{
			Name: "iam-use", Format: recordFormat, Vanishes: true,
			Quiet:   func(*Use) bool { return true },
			Indexes: []store.Index[Use]{{Name: byID, Keys: func(u *Use, emit func(string)) { emit(u.ID) }}},
		}),
	}
}

// nameKey orders what has a name within an account; names are unique without case.
func nameKey(account, name string) string { return account + "\x00" + strings.ToLower(name) }

// emitAttached lists a record under every managed policy attached to it. A policy of
// the server's own is attached in many accounts, so the account is part of the key.
func emitAttached(account, name string, p Policies, emit func(string)) {
	for _, arn := range p.Attached {
		emit(useKey(arn, account, name))
	}
}

func emitBoundary(account, name, arn string, emit func(string)) {
	if arn != "" {
		emit(useKey(arn, account, name))
	}
}

// useKey orders the users of a policy: by policy, account and name.
func useKey(arn, account, name string) string {
	return arn + "\x00" + account + "\x00" + strings.ToLower(name)
}

// recordKey is where the record with a unique id lives, nameRecordKey where its name
// is taken; kind is "user", "group", "role" or "policy".
func recordKey(account, uid string) store.Key { return store.Key{Scope: account, Parent: uid} }

func nameRecordKey(account, kind, name string) store.Key {
	return store.Key{Scope: account, Parent: kind + "/" + strings.ToLower(name)}
}

// providerKey is where a provider lives: there is one for each URL and account.
func providerKey(account, url string) store.Key { return store.Key{Scope: account, Parent: url} }

func accountKey(id string) store.Key { return store.Key{Scope: "account", Parent: id} }

func accessKeyKey(id string) store.Key { return store.Key{Scope: "access-key", Parent: id} }

// arnPrefix begins the ARNs of identities. They belong to no region, and whatever
// region a caller names, to this one partition.
const arnPrefix = "arn:aws:iam::"

// ARN is arn:aws:iam::ACCOUNT:user/PATH/NAME.
func (u *User) ARN() string { return arnPrefix + u.Account + ":user" + u.Path + u.Name }

// ARN is arn:aws:iam::ACCOUNT:group/PATH/NAME.
func (g *Group) ARN() string { return arnPrefix + g.Account + ":group" + g.Path + g.Name }

// ARN is arn:aws:iam::ACCOUNT:role/PATH/NAME.
func (r *Role) ARN() string { return arnPrefix + r.Account + ":role" + r.Path + r.Name }

// SessionARN is the ARN of a session of the role, which has no path.
func (r *Role) SessionARN(session string) string {
	return "arn:aws:sts::" + r.Account + ":assumed-role/" + r.Name + "/" + session
}

// ARN is arn:aws:iam::ACCOUNT:policy/PATH/NAME.
func (p *ManagedPolicy) ARN() string { return arnPrefix + p.Account + ":policy" + p.Path + p.Name }

// ARN is arn:aws:iam::ACCOUNT:oidc-provider/HOST/PATH.
func (p *Provider) ARN() string { return arnPrefix + p.Account + ":oidc-provider/" + p.URL }

// RootARN is the ARN of an account's root, which also stands for the account.
func RootARN(account string) string { return arnPrefix + account + ":root" }

// Version returns a version of the policy, nil when there is none of this id.
func (p *ManagedPolicy) Version(id string) *PolicyVersion {
	for i := range p.Versions {
		if p.Versions[i].ID == id {
			return &p.Versions[i]
		}
	}
	return nil
}
