package iam_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api/iamapi"
	"arca/internal/call"
	"arca/internal/iam"
)

const denied = "AccessDenied: User: arn:aws:iam::" + account + ":root is not authorized to perform: "

func noUser(name string) string {
	return "NoSuchEntity: The user with name " + name + " cannot be found."
}

// getUser is what GetUser tells of a user.
func (h *house) getUser(t testing.TB, name string, options ...callOption) *iamapi.User {
	t.Helper()
	return must[iamapi.GetUserOutput](t, h, iamapi.OpGetUser, &iamapi.GetUserInput{UserName: &name}, options...).User
}

// A user is shown as it was made, wherever it is shown.
func TestCreateUser(t *testing.T) {
	h := newHouse(t)
	limit := h.createPolicy(t, "limit")
	made := h.createUser(t, "Alice", func(in *iamapi.CreateUserInput) {
		in.Path, in.PermissionsBoundary, in.Tags = new("/dev/ops/"), &limit, tags("team", "blue", "Cost", "1")
	})
	if !regexp.MustCompile(`^AIDA[A-Z2-7]{17}$`).MatchString(made.UserId) {
		t.Errorf("unique id %q", made.UserId)
	}
	want := &iamapi.User{
		Path: "/dev/ops/", UserName: "Alice", UserId: made.UserId, Arn: "arn:aws:iam::123456789012:user/dev/ops/Alice",
		CreateDate:          new(h.now.UTC()),
		PermissionsBoundary: &iamapi.AttachedPermissionsBoundary{PermissionsBoundaryType: new("Policy"), PermissionsBoundaryArn: &limit},
		Tags:                tags("team", "blue", "Cost", "1"),
	}
	if diff := cmp.Diff(want, made); diff != "" {
		t.Errorf("created (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, h.getUser(t, "aLICE")); diff != "" {
		t.Errorf("shown (-want +got):\n%s", diff)
	}
	want.PermissionsBoundary, want.Tags = nil, nil
	list := must[iamapi.ListUsersOutput](t, h, iamapi.OpListUsers, &iamapi.ListUsersInput{})
	if diff := cmp.Diff([]iamapi.User{*want}, list.Users); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}

	asked := h.questions()
	if asked[0].Action != "iam:CreatePolicy" {
		t.Fatalf("first question %v", asked[0])
	}
	request := []string{"aws:RequestTag/team=blue", "aws:RequestTag/Cost=1", "aws:TagKeys=team,Cost"}
	checkQuestions(t, asked[1:4], []call.Check{
		{Action: "iam:CreateUser", Resource: want.Arn, Account: account},
		{Action: "iam:TagUser", Resource: want.Arn, Account: account},
		{Action: "iam:GetUser", Resource: want.Arn, Shown: "user aLICE", Account: account},
	}, append(append([]string(nil), request...), "iam:PermissionsBoundary="+limit), request,
		[]string{"aws:ResourceTag/team=blue", "iam:ResourceTag/team=blue", "aws:ResourceTag/Cost=1", "iam:ResourceTag/Cost=1"})
}

// checkQuestions compares questions to the authorizer, their keys as "name=value,value".
func checkQuestions(t testing.TB, got, want []call.Check, keys ...[]string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d questions %v, want %d", len(got), got, len(want))
	}
	for i := range got {
		var have []string
		for _, k := range got[i].Keys {
			have = append(have, k.Name+"="+strings.Join(k.Values, ","))
		}
		got[i].Keys, got[i].Snap = nil, nil
		if diff := cmp.Diff(want[i], got[i]); diff != "" {
			t.Errorf("question %d (-want +got):\n%s", i, diff)
		}
		if i < len(keys) {
			if diff := cmp.Diff(keys[i], have); diff != "" {
				t.Errorf("keys of question %d (-want +got):\n%s", i, diff)
			}
		}
	}
}

func TestCreateUserRefused(t *testing.T) {
	h := newHouse(t, func(q *iam.Quotas) { q.Users, q.Tags = 2, 3 })
	h.createUser(t, "alice")
	foreign := "arn:aws:iam::999999999999:policy/limit"
	for _, tc := range []struct {
		name, want string
		in         iamapi.CreateUserInput
	}{
		{"taken", "EntityAlreadyExists: User with name alice already exists.", iamapi.CreateUserInput{UserName: "alice"}},
		{"taken but for case", "EntityAlreadyExists: User with name ALICE already exists.", iamapi.CreateUserInput{UserName: "ALICE"}},
		{"tag twice", "InvalidInput: Duplicate tag keys found. Please note that Tag keys are case insensitive.", iamapi.CreateUserInput{UserName: "bob", Tags: tags("a", "1", "A", "2")}},
		{"reserved tag", "InvalidInput: Tag keys that begin with aws: are reserved for system use.", iamapi.CreateUserInput{UserName: "bob", Tags: tags("AWS:x", "1")}},
		{"too many tags", "LimitExceeded: Cannot exceed quota for TagsPerUser: 3", iamapi.CreateUserInput{UserName: "bob", Tags: tags("a", "", "b", "", "c", "", "d", "")}},
		{"boundary without form", "ValidationError: Invalid ARN:  Could not be parsed!", iamapi.CreateUserInput{UserName: "bob", PermissionsBoundary: new("not the ARN of anything")}},
		{"boundary is a user", "InvalidInput: ARN arn:aws:iam::123456789012:user/alice is not valid.", iamapi.CreateUserInput{UserName: "bob", PermissionsBoundary: new("arn:aws:iam::123456789012:user/alice")}},
		{"boundary of another account", "NoSuchEntity: Scope ARN: " + foreign + " does not exist or is not attachable.", iamapi.CreateUserInput{UserName: "bob", PermissionsBoundary: &foreign}},
		{"bad path", "ValidationError: 1 validation error detected: Value 'x' at 'path' failed to satisfy constraint: Member must satisfy regular expression pattern: (\\u002F)|(\\u002F[\\u0021-\\u007E]+\\u002F)", iamapi.CreateUserInput{UserName: "bob", Path: new("x")}},
	} {
		t.Run(tc.name, func(t *testing.T) { h.refused(t, tc.want, iamapi.OpCreateUser, &tc.in) })
	}
	h.createUser(t, "bob")
	h.refused(t, "LimitExceeded: Cannot exceed quota for UsersPerAccount: 2", iamapi.OpCreateUser, &iamapi.CreateUserInput{UserName: "carol"})

	// Another account has its own names and quotas.
	h.run(t, iamapi.OpCreateUser, &iamapi.CreateUserInput{UserName: "alice"}, otherRoot())
	if got := h.getUser(t, "alice", otherRoot()).Arn; got != "arn:aws:iam::999999999999:user/alice" {
		t.Errorf("the other account's alice is %s", got)
	}
	h.refused(t, noUser("bob"), iamapi.OpGetUser, &iamapi.GetUserInput{UserName: new("bob")}, otherRoot())
}

// Tags are a permission of their own, also when a user is made with them.
func TestCreateUserWithoutTagging(t *testing.T) {
	h := newHouse(t)
	h.refuse(func(ck *call.Check) bool { return ck.Action == "iam:TagUser" })
	h.refused(t, denied+"iam:TagUser on resource: arn:aws:iam::123456789012:user/alice", iamapi.OpCreateUser, &iamapi.CreateUserInput{UserName: "alice", Tags: tags("k", "v")})
	h.createUser(t, "alice")
}

// Without a name, a user is shown itself and a root itself; a role is nobody's name.
func TestGetUserOfCaller(t *testing.T) {
	h := newHouse(t)
	h.createUser(t, "alice")
	h.questions()
	itself := must[iamapi.GetUserOutput](t, h, iamapi.OpGetUser, &iamapi.GetUserInput{}, h.asUser(t, "alice"))
	if got := itself.User.UserName; got != "alice" {
		t.Errorf("alice is shown %s", got)
	}
	root := must[iamapi.GetUserOutput](t, h, iamapi.OpGetUser, &iamapi.GetUserInput{})
	want := &iamapi.User{UserId: account, Arn: "arn:aws:iam::123456789012:root", CreateDate: new(start)}
	if diff := cmp.Diff(want, root.User); diff != "" {
		t.Errorf("root (-want +got):\n%s", diff)
	}
	checkQuestions(t, h.questions(), []call.Check{
		{Action: "iam:GetUser", Resource: "arn:aws:iam::123456789012:user/alice", Shown: "user alice", Account: account},
		{Action: "iam:GetUser", Resource: want.Arn, Account: account},
	})
	h.refused(t, "ValidationError: Must specify userName when calling with non-User credentials", iamapi.OpGetUser, &iamapi.GetUserInput{}, asRole())
}

// A user who gets another name or path stays who it is.
func TestUpdateUser(t *testing.T) {
	h := newHouse(t)
	made := h.createUser(t, "alice")
	h.createUser(t, "bob")
	h.createGroup(t, "ops")
	h.run(t, iamapi.OpAddUserToGroup, &iamapi.AddUserToGroupInput{GroupName: "ops", UserName: "alice"})
	h.createKey(t, "alice")
	h.questions()

	h.run(t, iamapi.OpUpdateUser, &iamapi.UpdateUserInput{UserName: "alice", NewUserName: new("Carol"), NewPath: new("/x/")})
	checkQuestions(t, h.questions(), []call.Check{
		{Action: "iam:UpdateUser", Resource: "arn:aws:iam::123456789012:user/alice", Shown: "user alice", Account: account},
		{Action: "iam:UpdateUser", Resource: "arn:aws:iam::123456789012:user/x/Carol", Account: account},
	})
	h.refused(t, noUser("alice"), iamapi.OpGetUser, &iamapi.GetUserInput{UserName: new("alice")})
	now := h.getUser(t, "carol")
	if now.UserId != made.UserId || now.Arn != "arn:aws:iam::123456789012:user/x/Carol" {
		t.Errorf("renamed user is %+v, was %+v", now, made)
	}
	members := must[iamapi.GetGroupOutput](t, h, iamapi.OpGetGroup, &iamapi.GetGroupInput{GroupName: "ops"}).Users
	if len(members) != 1 || members[0].UserName != "Carol" {
		t.Errorf("members %+v", members)
	}
	keys := must[iamapi.ListAccessKeysOutput](t, h, iamapi.OpListAccessKeys, &iamapi.ListAccessKeysInput{UserName: new("Carol")}).AccessKeyMetadata
	if len(keys) != 1 || *keys[0].UserName != "Carol" {
		t.Errorf("keys %+v", keys)
	}

	// Only the case changes, then nothing.
	h.run(t, iamapi.OpUpdateUser, &iamapi.UpdateUserInput{UserName: "carol", NewUserName: new("cAROL")})
	h.run(t, iamapi.OpUpdateUser, &iamapi.UpdateUserInput{UserName: "carol", NewUserName: new("cAROL")})
	h.run(t, iamapi.OpUpdateUser, &iamapi.UpdateUserInput{UserName: "carol"})
	if got := h.getUser(t, "Carol").UserName; got != "cAROL" {
		t.Errorf("name %s", got)
	}
	h.refused(t, "EntityAlreadyExists: User with name BOB already exists.", iamapi.OpUpdateUser, &iamapi.UpdateUserInput{UserName: "carol", NewUserName: new("BOB")})
	h.refused(t, noUser("dave"), iamapi.OpUpdateUser, &iamapi.UpdateUserInput{UserName: "dave", NewUserName: new("eve")})

	// The old name is free, and whoever takes it is somebody else.
	if again := h.createUser(t, "alice"); again.UserId == made.UserId {
		t.Error("two users have one unique id")
	}
	// Without the permission on what it would become, a user does not change.
	h.refuse(func(ck *call.Check) bool { return strings.HasSuffix(ck.Resource, "/admin") })
	h.refused(t, denied+"iam:UpdateUser on resource: arn:aws:iam::123456789012:user/admin", iamapi.OpUpdateUser, &iamapi.UpdateUserInput{UserName: "alice", NewUserName: new("admin")})
	h.refuse(nil)
	h.refused(t, noUser("admin"), iamapi.OpGetUser, &iamapi.GetUserInput{UserName: new("admin")})
}

// A user is deleted when all that AWS wants to be gone is gone, and not before.
func TestDeleteUser(t *testing.T) {
	h := newHouse(t)
	limit := h.createPolicy(t, "limit")
	h.createGroup(t, "ops")
	h.createUser(t, "alice", func(in *iamapi.CreateUserInput) { in.PermissionsBoundary, in.Tags = &limit, tags("k", "v") })
	key := h.createKey(t, "alice")
	h.run(t, iamapi.OpAttachUserPolicy, &iamapi.AttachUserPolicyInput{UserName: "alice", PolicyArn: limit})
	h.run(t, iamapi.OpPutUserPolicy, &iamapi.PutUserPolicyInput{UserName: "alice", PolicyName: "p", PolicyDocument: simplePolicy})
	h.run(t, iamapi.OpAddUserToGroup, &iamapi.AddUserToGroupInput{UserName: "alice", GroupName: "ops"})
	in := &iamapi.DeleteUserInput{UserName: "alice"}

	const must = "DeleteConflict: Cannot delete entity, must "
	h.refused(t, must+"delete access keys first.", iamapi.OpDeleteUser, in)
	h.run(t, iamapi.OpDeleteAccessKey, &iamapi.DeleteAccessKeyInput{UserName: new("alice"), AccessKeyId: key.AccessKeyId})
	h.refused(t, must+"detach all policies first.", iamapi.OpDeleteUser, in)
	h.run(t, iamapi.OpDetachUserPolicy, &iamapi.DetachUserPolicyInput{UserName: "alice", PolicyArn: limit})
	h.refused(t, must+"delete policies first.", iamapi.OpDeleteUser, in)
	h.run(t, iamapi.OpDeleteUserPolicy, &iamapi.DeleteUserPolicyInput{UserName: "alice", PolicyName: "p"})
	h.refused(t, must+"remove users from group first.", iamapi.OpDeleteUser, in)
	h.run(t, iamapi.OpRemoveUserFromGroup, &iamapi.RemoveUserFromGroupInput{UserName: "alice", GroupName: "ops"})
	h.run(t, iamapi.OpDeleteUser, in)
	h.refused(t, noUser("alice"), iamapi.OpDeleteUser, in)

	// The boundary went with its user.
	h.run(t, iamapi.OpDeletePolicy, &iamapi.DeletePolicyInput{PolicyArn: limit})
	h.createUser(t, "alice")
}

// Pages of a list put together are the list, in the order of the names without case,
// whatever is made or deleted meanwhile elsewhere in it.
func TestListUsers(t *testing.T) {
	h := newHouse(t)
	for i, name := range []string{"b1", "A2", "a1", "B3", "c"} {
		h.createUser(t, name, func(in *iamapi.CreateUserInput) {
			if i%2 == 0 {
				in.Path = new("/dev/")
			}
		})
	}
	pages := func(prefix *string, size int32) (names []string) {
		t.Helper()
		in := &iamapi.ListUsersInput{PathPrefix: prefix, MaxItems: &size}
		for {
			out := must[iamapi.ListUsersOutput](t, h, iamapi.OpListUsers, in)
			for _, u := range out.Users {
				names = append(names, u.UserName)
			}
			if *out.IsTruncated != (out.Marker != nil) {
				t.Fatalf("truncated %v with marker %v", *out.IsTruncated, out.Marker)
			}
			if out.Marker == nil {
				return names
			}
			if len(out.Users) != int(size) || len(*out.Marker) > 320 {
				t.Fatalf("page of %d with a marker of %d characters", len(out.Users), len(*out.Marker))
			}
			in.Marker = out.Marker
		}
	}
	for _, tc := range []struct {
		prefix *string
		want   string
	}{
		{nil, "[a1 A2 b1 B3 c]"}, {new("/"), "[a1 A2 b1 B3 c]"}, {new("/dev/"), "[a1 b1 c]"}, {new("/de"), "[a1 b1 c]"}, {new("/x/"), "[]"},
	} {
		for size := range int32(6) {
			if got := fmt.Sprint(pages(tc.prefix, size+1)); got != tc.want {
				t.Errorf("below %v, pages of %d: %s, want %s", tc.prefix, size+1, got, tc.want)
			}
		}
	}
	h.questions()
	h.run(t, iamapi.OpListUsers, &iamapi.ListUsersInput{PathPrefix: new("/dev/")})
	h.run(t, iamapi.OpListUsers, &iamapi.ListUsersInput{})
	checkQuestions(t, h.questions(), []call.Check{
		{Action: "iam:ListUsers", Resource: "arn:aws:iam::123456789012:user/dev/", Account: account},
		{Action: "iam:ListUsers", Resource: "arn:aws:iam::123456789012:user/", Account: account},
	})
	if got := must[iamapi.ListUsersOutput](t, h, iamapi.OpListUsers, &iamapi.ListUsersInput{}, otherRoot()).Users; got == nil || len(got) != 0 {
		t.Errorf("the other account lists %v, want an empty list", got)
	}
}

// A marker continues the list it was given for and no other.
func TestMarkers(t *testing.T) {
	h := newHouse(t)
	for _, name := range []string{"a", "b", "c"} {
		h.createUser(t, name)
		h.createGroup(t, name)
	}
	const bad = "ValidationError: The Marker value is invalid."
	first := must[iamapi.ListUsersOutput](t, h, iamapi.OpListUsers, &iamapi.ListUsersInput{MaxItems: new(int32(1))})
	h.run(t, iamapi.OpListUsers, &iamapi.ListUsersInput{Marker: first.Marker, MaxItems: new(int32(3))})
	h.refused(t, bad, iamapi.OpListUsers, &iamapi.ListUsersInput{Marker: first.Marker, PathPrefix: new("/x")})
	h.refused(t, bad, iamapi.OpListUsers, &iamapi.ListUsersInput{Marker: first.Marker}, otherRoot())
	h.refused(t, bad, iamapi.OpListGroups, &iamapi.ListGroupsInput{Marker: first.Marker})
	for _, marker := range []string{"x", "!", "AAAA", (*first.Marker)[:len(*first.Marker)-2], strings.ToUpper(*first.Marker)} {
		h.refused(t, bad, iamapi.OpListUsers, &iamapi.ListUsersInput{Marker: &marker})
	}
	// Whoever it named last may be gone.
	h.run(t, iamapi.OpDeleteUser, &iamapi.DeleteUserInput{UserName: "a"})
	rest := must[iamapi.ListUsersOutput](t, h, iamapi.OpListUsers, &iamapi.ListUsersInput{Marker: first.Marker})
	if len(rest.Users) != 2 || rest.Users[0].UserName != "b" {
		t.Errorf("the list goes on with %+v", rest.Users)
	}
}

// Tag keys are one key whatever their case, and keep the case they were given last.
func TestUserTags(t *testing.T) {
	h := newHouse(t, func(q *iam.Quotas) { q.Tags = 3 })
	h.createUser(t, "alice")
	tag := func(keysAndValues ...string) *iamapi.TagUserInput {
		return &iamapi.TagUserInput{UserName: "alice", Tags: tags(keysAndValues...)}
	}
	want := func(keysAndValues ...string) {
		t.Helper()
		got := must[iamapi.ListUserTagsOutput](t, h, iamapi.OpListUserTags, &iamapi.ListUserTagsInput{UserName: "alice"}).Tags
		if diff := cmp.Diff(append([]iamapi.Tag{}, tags(keysAndValues...)...), got); diff != "" {
			t.Errorf("tags (-want +got):\n%s", diff)
		}
	}
	want()
	h.run(t, iamapi.OpTagUser, tag("Team", "blue", "env", "dev"))
	h.run(t, iamapi.OpTagUser, tag("team", "red", "x", ""))
	want("team", "red", "env", "dev", "x", "")
	h.refused(t, "LimitExceeded: Cannot exceed quota for TagsPerUser: 3", iamapi.OpTagUser, tag("y", ""))
	h.run(t, iamapi.OpTagUser, tag("X", "new"))
	h.refused(t, "InvalidInput: Duplicate tag keys found. Please note that Tag keys are case insensitive.", iamapi.OpTagUser, tag("z", "1", "Z", "2"))
	h.questions()
	h.run(t, iamapi.OpUntagUser, &iamapi.UntagUserInput{UserName: "alice", TagKeys: []string{"ENV", "never there"}})
	checkQuestions(t, h.questions(), []call.Check{
		{Action: "iam:UntagUser", Resource: "arn:aws:iam::123456789012:user/alice", Shown: "user alice", Account: account},
	}, []string{"aws:TagKeys=ENV,never there",
		"aws:ResourceTag/team=red", "iam:ResourceTag/team=red", "aws:ResourceTag/env=dev", "iam:ResourceTag/env=dev", "aws:ResourceTag/X=new", "iam:ResourceTag/X=new"})
	want("team", "red", "X", "new")

	page := must[iamapi.ListUserTagsOutput](t, h, iamapi.OpListUserTags, &iamapi.ListUserTagsInput{UserName: "alice", MaxItems: new(int32(1))})
	rest := must[iamapi.ListUserTagsOutput](t, h, iamapi.OpListUserTags, &iamapi.ListUserTagsInput{UserName: "alice", Marker: page.Marker})
	if diff := cmp.Diff(tags("team", "red", "X", "new"), append(page.Tags, rest.Tags...)); diff != "" {
		t.Errorf("tags in pages (-want +got):\n%s", diff)
	}
	for _, step := range []func() string{
		func() string {
			_, err := h.call(iamapi.OpTagUser, &iamapi.TagUserInput{UserName: "bob", Tags: tags("a", "b")})
			return shownError(err)
		},
		func() string {
			_, err := h.call(iamapi.OpUntagUser, &iamapi.UntagUserInput{UserName: "bob", TagKeys: []string{"a"}})
			return shownError(err)
		},
		func() string {
			_, err := h.call(iamapi.OpListUserTags, &iamapi.ListUserTagsInput{UserName: "bob"})
			return shownError(err)
		},
	} {
		if got := step(); got != noUser("bob") {
			t.Errorf("error %q", got)
		}
	}
}

// The boundary of a user counts with the policy, which cannot be deleted under it.
func TestUserPermissionsBoundary(t *testing.T) {
	h := newHouse(t)
	one, two := h.createPolicy(t, "one"), h.createPolicy(t, "two")
	h.createUser(t, "alice")
	put := func(arn string) *iamapi.PutUserPermissionsBoundaryInput {
		return &iamapi.PutUserPermissionsBoundaryInput{UserName: "alice", PermissionsBoundary: arn}
	}
	boundary := func() string {
		t.Helper()
		if b := h.getUser(t, "alice").PermissionsBoundary; b != nil {
			return *b.PermissionsBoundaryArn
		}
		return ""
	}
	counts := func(want string) {
		t.Helper()
		var got []int32
		for _, arn := range []string{one, two} {
			got = append(got, *must[iamapi.GetPolicyOutput](t, h, iamapi.OpGetPolicy, &iamapi.GetPolicyInput{PolicyArn: arn}).Policy.PermissionsBoundaryUsageCount)
		}
		if fmt.Sprint(got) != want {
			t.Errorf("counts %v, want %s", got, want)
		}
	}
	h.run(t, iamapi.OpPutUserPermissionsBoundary, put(one))
	h.run(t, iamapi.OpPutUserPermissionsBoundary, put(one))
	counts("[1 0]")
	h.questions()
	h.run(t, iamapi.OpPutUserPermissionsBoundary, put(two))
	checkQuestions(t, h.questions(), []call.Check{
		{Action: "iam:PutUserPermissionsBoundary", Resource: "arn:aws:iam::123456789012:user/alice", Shown: "user alice", Account: account},
	}, []string{"iam:PermissionsBoundary=" + two})
	counts("[0 1]")
	if got := boundary(); got != two {
		t.Errorf("boundary %s", got)
	}
	h.refused(t, "DeleteConflict: Cannot delete a policy attached to entities.", iamapi.OpDeletePolicy, &iamapi.DeletePolicyInput{PolicyArn: two})

	// The boundary in force is what the operations around it are asked about.
	h.questions()
	h.run(t, iamapi.OpAttachUserPolicy, &iamapi.AttachUserPolicyInput{UserName: "alice", PolicyArn: one})
	h.run(t, iamapi.OpGetUser, &iamapi.GetUserInput{UserName: new("alice")})
	checkQuestions(t, h.questions(), []call.Check{
		{Action: "iam:AttachUserPolicy", Resource: "arn:aws:iam::123456789012:user/alice", Shown: "user alice", Account: account},
		{Action: "iam:GetUser", Resource: "arn:aws:iam::123456789012:user/alice", Shown: "user alice", Account: account},
	}, []string{"iam:PolicyARN=" + one, "iam:PermissionsBoundary=" + two}, nil)

	h.run(t, iamapi.OpPutUserPermissionsBoundary, put(adminARN))
	h.run(t, iamapi.OpDeleteUserPermissionsBoundary, &iamapi.DeleteUserPermissionsBoundaryInput{UserName: "alice"})
	h.run(t, iamapi.OpDeleteUserPermissionsBoundary, &iamapi.DeleteUserPermissionsBoundaryInput{UserName: "alice"})
	counts("[0 0]")
	if got := boundary(); got != "" {
		t.Errorf("boundary %s after it was deleted", got)
	}
	h.refused(t, "NoSuchEntity: Scope ARN: arn:aws:iam::aws:policy/None does not exist or is not attachable.", iamapi.OpPutUserPermissionsBoundary, put("arn:aws:iam::aws:policy/None"))
	h.refused(t, "InvalidInput: ARN arn:aws:iam:eu-west-1:aws:policy/X is not valid.", iamapi.OpPutUserPermissionsBoundary, put("arn:aws:iam:eu-west-1:aws:policy/X"))
	h.refused(t, noUser("bob"), iamapi.OpPutUserPermissionsBoundary, &iamapi.PutUserPermissionsBoundaryInput{UserName: "bob", PermissionsBoundary: one})
	h.refused(t, noUser("bob"), iamapi.OpDeleteUserPermissionsBoundary, &iamapi.DeleteUserPermissionsBoundaryInput{UserName: "bob"})
}

// Two creations of one name at once: one wins, and nothing is left of the other.
func TestCreateUserAtOnce(t *testing.T) {
	h := newHouse(t)
	const n = 8
	errs := make(chan error, n)
	for i := range n {
		go func() {
			_, err := h.call(iamapi.OpCreateUser, &iamapi.CreateUserInput{UserName: []string{"alice", "ALICE"}[i%2]})
			errs <- err
		}()
	}
	made := 0
	for range n {
		switch err := <-errs; {
		case err == nil:
			made++
		case settled(err, iamapi.EntityAlreadyExists) != nil:
			t.Error(err)
		}
	}
	if made != 1 {
		t.Errorf("%d calls made the user", made)
	}
}
