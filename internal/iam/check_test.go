package iam_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"arca/internal/api/iamapi"
	"arca/internal/iam"
	"arca/internal/store"
	"arca/internal/storetest"
)

// newUnopened is a service on a store that nobody opens.
func newUnopened() *iam.Service {
	s, _ := iam.NewWithTables(store.New(store.Config{RootKey: storetest.NewRootKey()}))
	return s
}

// dump prints every record of identities.
func (h *house) dump(v *store.Snap) string {
	var all []string
	add := func(kind string, r any) error { all = append(all, fmt.Sprintf("%s %+v", kind, r)); return nil }
	for _, err := range []error{
		h.tables.Keys.Walk(context.Background(), v, func(r *iam.AccessKey) error { return add("key", *r) }),
		h.tables.Users.Walk(context.Background(), v, func(r *iam.User) error { return add("user", *r) }),
		h.tables.Groups.Walk(context.Background(), v, func(r *iam.Group) error { return add("group", *r) }),
		h.tables.Roles.Walk(context.Background(), v, func(r *iam.Role) error { return add("role", *r) }),
		h.tables.Policies.Walk(context.Background(), v, func(r *iam.ManagedPolicy) error { return add("policy", *r) }),
		h.tables.Providers.Walk(context.Background(), v, func(r *iam.Provider) error { return add("provider", *r) }),
		h.tables.Names.Walk(context.Background(), v, func(r *iam.Name) error { return add("name", *r) }),
		h.tables.Uses.Walk(context.Background(), v, func(r *iam.Use) error { return add("use", *r) }),
	} {
		if err != nil {
			all = append(all, err.Error())
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// Check finds every way in which records can contradict each other, and names it.
func TestCheck(t *testing.T) {
	h := &house{now: start, logDir: t.TempDir()}
	h.store = storetest.New(t, func(st *store.Store) { h.attach(st) })
	h.open(t)
	h.createPolicy(t, "x")
	h.createUser(t, "x", func(in *iamapi.CreateUserInput) { in.Tags = tags("k", "v") })
	h.createGroup(t, "x")
	h.run(t, iamapi.OpCreateRole, inputs()[iamapi.OpCreateRole])
	h.createKey(t, "x")
	h.run(t, iamapi.OpAttachUserPolicy, &iamapi.AttachUserPolicyInput{UserName: "x", PolicyArn: xPolicyARN})
	h.run(t, iamapi.OpPutUserPermissionsBoundary, &iamapi.PutUserPermissionsBoundaryInput{UserName: "x", PermissionsBoundary: xPolicyARN})
	h.run(t, iamapi.OpAddUserToGroup, member("x", "x"))
	for _, name := range []string{"a", "b"} {
		h.run(t, iamapi.OpPutUserPolicy, &iamapi.PutUserPolicyInput{UserName: "x", PolicyName: name, PolicyDocument: simplePolicy})
	}

	var user *iam.User
	var group *iam.Group
	var role *iam.Role
	var managed *iam.ManagedPolicy
	h.view(t, func(v *store.Snap) {
		user, group, role, managed = h.svc.User(v, account, "x"), h.svc.Group(v, account, "x"), h.svc.Role(v, account, "x"), h.svc.Policy(v, xPolicyARN)
	})
	if user == nil || group == nil || role == nil || managed == nil {
		t.Fatal("something is missing")
	}
	putUser := func(change func(u *iam.User)) func(tx *store.Tx) {
		return func(tx *store.Tx) {
			u := *user
			change(&u)
			h.tables.Users.Put(tx, iam.RecordKey(account, user.UID), &u)
		}
	}
	putPolicy := func(change func(p *iam.ManagedPolicy)) func(tx *store.Tx) {
		return func(tx *store.Tx) {
			p := *managed
			p.Versions = slices.Clone(p.Versions)
			change(&p)
			h.tables.Policies.Put(tx, iam.RecordKey(account, managed.UID), &p)
		}
	}
	key := user.Keys[0]
	var keys []*iam.AccessKey
	var other *iam.Account
	h.view(t, func(v *store.Snap) {
		other = h.svc.Account(v, otherAccount)
		_ = h.tables.Keys.Walk(t.Context(), v, func(k *iam.AccessKey) error { keys = append(keys, k); return nil })
	})
	// repair undoes all damage below.
	repair := func(tx *store.Tx) error {
		h.tables.Accounts.Put(tx, store.Key{Scope: "account", Parent: otherAccount}, other)
		for _, k := range keys {
			h.tables.Keys.Put(tx, iam.AccessKeyKey(k.ID), k)
		}
		h.tables.Users.Put(tx, iam.RecordKey(account, user.UID), user)
		h.tables.Roles.Put(tx, iam.RecordKey(account, role.UID), role)
		h.tables.Policies.Put(tx, iam.RecordKey(account, managed.UID), managed)
		h.tables.Names.Put(tx, iam.NameKey(account, "user", "x"), &iam.Name{UID: user.UID})
		h.tables.Names.Put(tx, iam.NameKey(account, "role", "x"), &iam.Name{UID: role.UID})
		h.tables.Names.Delete(tx, iam.NameKey(account, "user", "y"))
		h.tables.Uses.Delete(tx, iam.UseKey("AKIAGONE"))
		h.tables.Providers.Delete(tx, store.Key{Scope: "000000000000", Parent: "i.example"})
		return nil
	}
	u, g, r, p := "user "+user.UID+": ", "group "+group.UID+": ", "role "+role.UID+": ", "policy "+managed.UID+": "
	for _, tc := range []struct {
		name   string
		damage func(tx *store.Tx)
		want   []string
	}{
		{"nothing", func(tx *store.Tx) {}, nil},
		{"account gone", func(tx *store.Tx) { h.tables.Accounts.Delete(tx, store.Key{Scope: "account", Parent: otherAccount}) },
			[]string{"access key " + otherKeyID + ": its account 999999999999 does not exist"}},
		{"key moved", func(tx *store.Tx) {
			h.tables.Keys.Put(tx, iam.AccessKeyKey(otherKeyID), &iam.AccessKey{ID: otherKeyID, Account: account, SealedSecret: []byte("x"), Active: true})
		}, []string{"access key " + otherKeyID + ": its secret does not open: "}},
		{"key gone", func(tx *store.Tx) { h.tables.Keys.Delete(tx, iam.AccessKeyKey(key)) }, []string{u + "its access key " + key + " does not exist"}},
		{"key forgotten", putUser(func(u *iam.User) { u.Keys = nil }), []string{"access key " + key + ": its user " + user.UID + " does not have it"}},
		{"user gone", func(tx *store.Tx) { h.tables.Users.Delete(tx, iam.RecordKey(account, user.UID)) }, []string{
			"access key " + key + ": its user " + user.UID + " does not have it", g + "it counts 1 members and has 0",
			p + "it counts 1 attachments and has 0", p + "it counts 1 bearers of it as a boundary and has 0",
			"name of " + user.UID + ", which does not exist", "names for"}},
		{"name gone", func(tx *store.Tx) { h.tables.Names.Delete(tx, iam.NameKey(account, "user", "x")) }, []string{u + "its name does not lead to it", "names for"}},
		{"name leads elsewhere", func(tx *store.Tx) {
			h.tables.Names.Put(tx, iam.NameKey(account, "role", "x"), &iam.Name{UID: user.UID})
		}, []string{r + "its name does not lead to it"}},
		{"second name", func(tx *store.Tx) {
			h.tables.Names.Put(tx, iam.NameKey(account, "user", "y"), &iam.Name{UID: user.UID})
		}, []string{"names for"}},
		{"tag twice", putUser(func(u *iam.User) { u.Tags = []iam.Tag{{Key: "k"}, {Key: "K"}} }), []string{u + `tag "K" is there twice`}},
		{"group gone", putUser(func(u *iam.User) { u.Groups = []string{"AGPAGONE"} }), []string{u + "its group AGPAGONE does not exist", g + "it counts 1 members and has 0"}},
		{"group twice", putUser(func(u *iam.User) { u.Groups = []string{group.UID, group.UID} }), []string{u + "it is in group " + group.UID + " twice", g + "it counts 1 members and has 2"}},
		{"inline out of order", putUser(func(u *iam.User) {
			u.Policies.Inline = []iam.InlinePolicy{{Name: "b", Text: simplePolicy}, {Name: "a", Text: simplePolicy}}
		}), []string{u + "its inline policies are out of order at a"}},
		{"inline does not parse", putUser(func(u *iam.User) { u.Policies.Inline = []iam.InlinePolicy{{Name: "a", Text: "{"}} }), []string{u + "its inline policy a: "}},
		{"policy of another account", putUser(func(u *iam.User) {
			u.Policies.Attached = []string{xPolicyARN, "arn:aws:iam::999999999999:policy/x"}
		}), []string{u + "its policy arn:aws:iam::999999999999:policy/x does not exist"}},
		{"policy twice", putUser(func(u *iam.User) { u.Policies.Attached = []string{xPolicyARN, xPolicyARN} }), []string{
			u + "its policy " + xPolicyARN + " is attached twice", p + "it counts 1 attachments and has 2"}},
		{"boundary gone", putUser(func(u *iam.User) { u.Boundary = adminARN + "X" }), []string{
			u + "its boundary " + adminARN + "X does not exist", p + "it counts 1 bearers of it as a boundary and has 0"}},
		{"trust does not parse", func(tx *store.Tx) {
			bad := *role
			bad.Trust = simplePolicy
			h.tables.Roles.Put(tx, iam.RecordKey(account, role.UID), &bad)
		}, []string{r + "its trust policy: "}},
		{"no default version", putPolicy(func(p *iam.ManagedPolicy) { p.Default = "v7" }), []string{p + "its default version v7 does not exist"}},
		{"version twice", putPolicy(func(p *iam.ManagedPolicy) { p.Versions = append(p.Versions, p.Versions[0]) }), []string{p + "version v1 is there twice"}},
		{"version does not parse", putPolicy(func(p *iam.ManagedPolicy) { p.Versions[0].Text = "[]" }), []string{p + "version v1: "}},
		{"use of nothing", func(tx *store.Tx) { h.tables.Uses.Put(tx, iam.UseKey("AKIAGONE"), &iam.Use{ID: "AKIAGONE"}) }, []string{"last use of AKIAGONE, which does not exist"}},
		{"provider of nobody", func(tx *store.Tx) {
			h.tables.Providers.Put(tx, store.Key{Scope: "000000000000", Parent: "i.example"}, &iam.Provider{Account: "000000000000", URL: "i.example"})
		}, []string{"provider i.example: its account 000000000000 does not exist"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var problems []string
			_, err := h.store.Update(t.Context(), func(tx *store.Tx) error { tc.damage(tx); return nil })
			if err != nil {
				t.Fatal(err)
			}
			h.view(t, func(v *store.Snap) { h.svc.Check(v, func(p string) { problems = append(problems, p) }) })
			if _, err := h.store.Update(t.Context(), repair); err != nil {
				t.Fatal(err)
			}
			for _, want := range tc.want {
				if !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, want) }) {
					t.Errorf("problems %q, want one that says %q", problems, want)
				}
			}
			if len(problems) != len(tc.want) {
				t.Errorf("%d problems %q, want %d", len(problems), problems, len(tc.want))
			}
		})
	}
}
