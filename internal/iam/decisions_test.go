package iam_test

import (
	"strings"
	"testing"

	"arca/internal/access"
	"arca/internal/api"
	"arca/internal/api/iamapi"
	"arca/internal/iam"
)

// decide lets the server's own authorizer decide from here on.
func (h *house) decide() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.real = access.New(access.Config{Store: h.store, IAM: h.svc}).Authorize
}

// allow gives a user an inline policy of these statements.
func (h *house) allow(t *testing.T, user, name string, statements ...string) {
	t.Helper()
	doc := `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
	h.run(t, iamapi.OpPutUserPolicy, &iamapi.PutUserPolicyInput{UserName: user, PolicyName: name, PolicyDocument: doc})
}

func deniedTo(user, action, shown string) string {
	return "AccessDenied: User: arn:aws:iam::123456789012:user/" + user + " is not authorized to perform: iam:" + action +
		" on resource: " + shown + " because no identity-based policy allows the iam:" + action + " action"
}

// Users may do what their policies say, to whom they say, from the next call on.
func TestDecisions(t *testing.T) {
	h := newHouse(t)
	limit := h.createPolicy(t, "limit")
	h.createUser(t, "alice")
	h.createUser(t, "bob", func(in *iamapi.CreateUserInput) { in.Tags = tags("team", "blue") })
	h.createGroup(t, "readers")
	h.run(t, iamapi.OpAttachGroupPolicy, &iamapi.AttachGroupPolicyInput{GroupName: "readers", PolicyArn: "arn:aws:iam::aws:policy/IAMReadOnlyAccess"})
	h.decide()
	alice, bob := h.asUser(t, "alice"), h.asUser(t, "bob")

	type step struct {
		name string
		who  callOption
		op   *api.Operation
		in   any
		want string
	}
	try := func(steps ...step) {
		t.Helper()
		for _, s := range steps {
			_, err := h.call(s.op, s.in, s.who)
			if got := shownError(err); got != s.want {
				t.Errorf("%s: %s\n %s, want\n %s", s.name, s.op.Name, got, s.want)
			}
		}
	}
	getBob := &iamapi.GetUserInput{UserName: new("bob")}
	keyOf := func(user string) any { return &iamapi.CreateAccessKeyInput{UserName: &user} }
	create := func(user string, set func(in *iamapi.CreateUserInput)) any {
		in := &iamapi.CreateUserInput{UserName: user}
		set(in)
		return in
	}

	try(step{"nothing allows it", alice, iamapi.OpGetUser, getBob, deniedTo("alice", "GetUser", "user bob")},
		step{"not even itself", alice, iamapi.OpGetUser, &iamapi.GetUserInput{}, deniedTo("alice", "GetUser", "user alice")},
		step{"nor what is not there", alice, iamapi.OpGetUser, &iamapi.GetUserInput{UserName: new("nobody")}, deniedTo("alice", "GetUser", "user nobody")},
		step{"nor all", alice, iamapi.OpListUsers, &iamapi.ListUsersInput{}, deniedTo("alice", "ListUsers", "arn:aws:iam::123456789012:user/")},
		step{"the root may", as(iam.RootPrincipal(account, keyID)), iamapi.OpGetUser, getBob, ""})

	h.allow(t, "alice", "self", `{"Effect":"Allow","Action":"iam:*AccessKey*","Resource":"arn:aws:iam::*:user/${aws:username}"}`)
	try(step{"its own keys", alice, iamapi.OpCreateAccessKey, keyOf("alice"), ""},
		step{"its own keys without a name", alice, iamapi.OpListAccessKeys, &iamapi.ListAccessKeysInput{}, ""},
		step{"keys of others", alice, iamapi.OpCreateAccessKey, keyOf("bob"), deniedTo("alice", "CreateAccessKey", "user bob")},
		step{"another's policy", bob, iamapi.OpCreateAccessKey, keyOf("bob"), deniedTo("bob", "CreateAccessKey", "user bob")})

	h.allow(t, "alice", "blue", `{"Effect":"Allow","Action":["iam:TagUser","iam:GetUser"],"Resource":"*","Condition":{"StringEquals":{"iam:ResourceTag/team":"blue","aws:RequestTag/env":"dev"}}}`,
		`{"Effect":"Allow","Action":"iam:CreateUser","Resource":"arn:aws:iam::*:user/dev/*","Condition":{"ArnEquals":{"iam:PermissionsBoundary":"`+limit+`"}}}`)
	try(step{"tags as they may be", alice, iamapi.OpTagUser, &iamapi.TagUserInput{UserName: "bob", Tags: tags("env", "dev")}, ""},
		step{"another tag", alice, iamapi.OpTagUser, &iamapi.TagUserInput{UserName: "bob", Tags: tags("env", "prod")}, deniedTo("alice", "TagUser", "user bob")},
		step{"whom it may not tag", alice, iamapi.OpTagUser, &iamapi.TagUserInput{UserName: "alice", Tags: tags("env", "dev")}, deniedTo("alice", "TagUser", "user alice")},
		step{"no boundary", alice, iamapi.OpCreateUser, create("carol", func(in *iamapi.CreateUserInput) { in.Path = new("/dev/") }),
			deniedTo("alice", "CreateUser", "arn:aws:iam::123456789012:user/dev/carol")},
		step{"another path", alice, iamapi.OpCreateUser, create("carol", func(in *iamapi.CreateUserInput) { in.PermissionsBoundary = &limit }),
			deniedTo("alice", "CreateUser", "arn:aws:iam::123456789012:user/carol")},
		step{"tags that it may not set", alice, iamapi.OpCreateUser, create("carol", func(in *iamapi.CreateUserInput) {
			in.Path, in.PermissionsBoundary, in.Tags = new("/dev/"), &limit, tags("a", "b")
		}), deniedTo("alice", "TagUser", "arn:aws:iam::123456789012:user/dev/carol")},
		step{"as it may", alice, iamapi.OpCreateUser, create("carol", func(in *iamapi.CreateUserInput) { in.Path, in.PermissionsBoundary = new("/dev/"), &limit }), ""})

	// A group's policies begin with the membership, and end with it.
	h.run(t, iamapi.OpAddUserToGroup, member("readers", "bob"))
	try(step{"in the group", bob, iamapi.OpListUsers, &iamapi.ListUsersInput{}, ""},
		step{"reading only", bob, iamapi.OpDeleteUser, &iamapi.DeleteUserInput{UserName: "carol"}, deniedTo("bob", "DeleteUser", "user carol")})
	h.run(t, iamapi.OpPutUserPermissionsBoundary, &iamapi.PutUserPermissionsBoundaryInput{UserName: "bob", PermissionsBoundary: limit})
	try(step{"beyond its boundary", bob, iamapi.OpGetUser, getBob, "AccessDenied: User: arn:aws:iam::123456789012:user/bob is not authorized to perform: iam:GetUser on resource: user bob because no permissions boundary allows the iam:GetUser action"})
	h.run(t, iamapi.OpDeleteUserPermissionsBoundary, &iamapi.DeleteUserPermissionsBoundaryInput{UserName: "bob"})
	try(step{"without it", bob, iamapi.OpGetUser, getBob, ""})
	h.run(t, iamapi.OpRemoveUserFromGroup, &iamapi.RemoveUserFromGroupInput{GroupName: "readers", UserName: "bob"})
	try(step{"out of the group", bob, iamapi.OpGetUser, getBob, deniedTo("bob", "GetUser", "user bob")})

	// Whoever takes a deleted user's name gets none of its rights.
	h.run(t, iamapi.OpDeleteUser, &iamapi.DeleteUserInput{UserName: "bob"})
	h.createUser(t, "bob")
	_, err := h.call(iamapi.OpGetUser, getBob, bob)
	if got := shownError(err); !strings.HasPrefix(got, "AccessDenied: ") {
		t.Errorf("a deleted user is answered %q", got)
	}
	// Another account's root is nobody here, and has its own.
	try(step{"another account", otherRoot(), iamapi.OpGetUser, getBob, noUser("bob")},
		step{"its own", otherRoot(), iamapi.OpCreateUser, &iamapi.CreateUserInput{UserName: "bob"}, ""})
}
