package iam_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"arca/conformance/identity"
)

func noUser(name string) string { return "The user with name " + name + " cannot be found." }

// newUser makes a user without a key.
func newUser(k *identity.Kit, name string, change ...func(*iam.CreateUserInput)) *types.User {
	k.T.Helper()
	in := &iam.CreateUserInput{UserName: aws.String(k.Prefix + name)}
	for _, c := range change {
		c(in)
	}
	out, err := k.IAM.CreateUser(k.Ctx(), in)
	if err != nil {
		k.T.Fatalf("CreateUser(%s): %v", *in.UserName, err)
	}
	k.Cleanup(func(ctx ctx) { _, _ = k.IAM.DeleteUser(ctx, &iam.DeleteUserInput{UserName: in.UserName}) })
	return out.User
}

func TestUser(t *testing.T) {
	k := identity.New(t, shared)
	made := newUser(k, "Ann", func(in *iam.CreateUserInput) {
		in.Path, in.Tags = aws.String("/team/red/"), identity.Tags("Team", "red", "empty", "")
	})
	name := k.Prefix + "Ann"
	if aws.ToString(made.Arn) != "arn:aws:iam::"+k.ID+":user/team/red/"+name || aws.ToString(made.Path) != "/team/red/" || aws.ToString(made.UserName) != name {
		t.Errorf("CreateUser = %s %s %s", *made.Arn, *made.Path, *made.UserName)
	}
	if !regexp.MustCompile(`^AIDA[A-Z0-9]{17}$`).MatchString(aws.ToString(made.UserId)) {
		t.Errorf("UserId = %s", *made.UserId)
	}
	if age := time.Since(aws.ToTime(made.CreateDate)); age < -time.Minute || age > time.Minute || made.CreateDate.Nanosecond() != 0 {
		t.Errorf("CreateDate = %v", made.CreateDate)
	}
	get := func(name string) *types.User {
		t.Helper()
		out, err := k.IAM.GetUser(k.Ctx(), &iam.GetUserInput{UserName: &name})
		if err != nil {
			t.Fatal(err)
		}
		return out.User
	}
	// Names are found without regard to case, and keep theirs.
	for _, n := range []string{name, strings.ToUpper(name), strings.ToLower(name)} {
		if got := get(n); aws.ToString(got.UserName) != name || aws.ToString(got.UserId) != aws.ToString(made.UserId) || len(got.Tags) != 2 {
			t.Errorf("GetUser(%s) = %s %s %v", n, *got.UserName, *got.UserId, got.Tags)
		}
	}
	_, err := k.IAM.CreateUser(k.Ctx(), &iam.CreateUserInput{UserName: aws.String(strings.ToLower(name))})
	wantExists(t, err, "User with name "+strings.ToLower(name)+" already exists.")

	// A new name and path: the unique id stays.
	renamed := k.Prefix + "Bob"
	k.Must(k.IAM.UpdateUser(k.Ctx(), &iam.UpdateUserInput{UserName: &name, NewUserName: &renamed, NewPath: aws.String("/")}))
	k.Cleanup(func(ctx ctx) { _, _ = k.IAM.DeleteUser(ctx, &iam.DeleteUserInput{UserName: &renamed}) })
	if got := get(renamed); aws.ToString(got.Arn) != "arn:aws:iam::"+k.ID+":user/"+renamed || aws.ToString(got.UserId) != aws.ToString(made.UserId) {
		t.Errorf("renamed = %s %s", *got.Arn, *got.UserId)
	}
	_, err = k.IAM.GetUser(k.Ctx(), &iam.GetUserInput{UserName: &name})
	wantMissing(t, err, noUser(name))
	other := newUser(k, "other")
	_, err = k.IAM.UpdateUser(k.Ctx(), &iam.UpdateUserInput{UserName: &renamed, NewUserName: other.UserName})
	wantExists(t, err, "User with name "+*other.UserName+" already exists.")
	k.Must(k.IAM.DeleteUser(k.Ctx(), &iam.DeleteUserInput{UserName: &renamed}))
	_, err = k.IAM.DeleteUser(k.Ctx(), &iam.DeleteUserInput{UserName: &renamed})
	wantMissing(t, err, noUser(renamed))
	// The old name is free.
	newUser(k, "Ann")
}

// Without a name it is the caller.
func TestGetUserIsCaller(t *testing.T) {
	k := identity.New(t, shared)
	user := k.User("user", identity.Allow("*", "*"))
	out, err := user.IAM.GetUser(k.Ctx(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if aws.ToString(out.User.Arn) != user.ARN || aws.ToString(out.User.UserId) != user.ID {
		t.Errorf("GetUser = %+v", out.User)
	}
	role := k.Role("role", identity.Trust(k.Root()), identity.Allow("*", "*"))
	_, err = k.Assume(user.Caller, role, "session").IAM.GetUser(k.Ctx(), nil)
	wantInvalid(t, err, "Must specify userName when calling with non-User credentials")
	if shared.AWS {
		return
	}
	root, err := k.IAM.GetUser(k.Ctx(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if aws.ToString(root.User.Arn) != k.Root() || aws.ToString(root.User.UserId) != k.ID || root.User.CreateDate == nil {
		t.Errorf("GetUser of the root = %+v", root.User)
	}
}

func TestUserErrors(t *testing.T) {
	k := identity.New(t, shared)
	none := k.Prefix + "none"
	for what, call := range map[string]func() error{
		"GetUser":    func() error { _, err := k.IAM.GetUser(k.Ctx(), &iam.GetUserInput{UserName: &none}); return err },
		"DeleteUser": func() error { _, err := k.IAM.DeleteUser(k.Ctx(), &iam.DeleteUserInput{UserName: &none}); return err },
		"UpdateUser": func() error {
			_, err := k.IAM.UpdateUser(k.Ctx(), &iam.UpdateUserInput{UserName: &none, NewPath: aws.String("/x/")})
			return err
		},
		"ListUserTags": func() error {
			_, err := k.IAM.ListUserTags(k.Ctx(), &iam.ListUserTagsInput{UserName: &none})
			return err
		},
		"TagUser": func() error {
			_, err := k.IAM.TagUser(k.Ctx(), &iam.TagUserInput{UserName: &none, Tags: identity.Tags("a", "b")})
			return err
		},
		"UntagUser": func() error {
			_, err := k.IAM.UntagUser(k.Ctx(), &iam.UntagUserInput{UserName: &none, TagKeys: []string{"a"}})
			return err
		},
		"CreateAccessKey": func() error {
			_, err := k.IAM.CreateAccessKey(k.Ctx(), &iam.CreateAccessKeyInput{UserName: &none})
			return err
		},
		"ListAccessKeys": func() error {
			_, err := k.IAM.ListAccessKeys(k.Ctx(), &iam.ListAccessKeysInput{UserName: &none})
			return err
		},
		"PutUserPolicy": func() error {
			_, err := k.IAM.PutUserPolicy(k.Ctx(), &iam.PutUserPolicyInput{UserName: &none, PolicyName: aws.String("p"), PolicyDocument: aws.String(identity.Allow("*", "*"))})
			return err
		},
		"ListUserPolicies": func() error {
			_, err := k.IAM.ListUserPolicies(k.Ctx(), &iam.ListUserPoliciesInput{UserName: &none})
			return err
		},
		"AttachUserPolicy": func() error {
			_, err := k.IAM.AttachUserPolicy(k.Ctx(), &iam.AttachUserPolicyInput{UserName: &none, PolicyArn: aws.String("arn:aws:iam::aws:policy/AdministratorAccess")})
			return err
		},
		"ListAttachedUserPolicies": func() error {
			_, err := k.IAM.ListAttachedUserPolicies(k.Ctx(), &iam.ListAttachedUserPoliciesInput{UserName: &none})
			return err
		},
		"ListGroupsForUser": func() error {
			_, err := k.IAM.ListGroupsForUser(k.Ctx(), &iam.ListGroupsForUserInput{UserName: &none})
			return err
		},
	} {
		t.Log(what)
		wantMissing(t, call(), noUser(none))
	}
	create := func(change func(*iam.CreateUserInput)) error {
		in := &iam.CreateUserInput{UserName: &none}
		change(in)
		_, err := k.IAM.CreateUser(k.Ctx(), in)
		return err
	}
	wantInvalid(t, create(func(in *iam.CreateUserInput) { in.UserName = aws.String(strings.Repeat("x", 65)) }), "")
	wantInvalid(t, create(func(in *iam.CreateUserInput) { in.UserName = aws.String("a/b") }), "")
	wantInvalid(t, create(func(in *iam.CreateUserInput) { in.UserName = aws.String("") }), "")
	wantInvalid(t, create(func(in *iam.CreateUserInput) { in.Path = aws.String("no/slash") }), "")
	wantInvalidInput(t, create(func(in *iam.CreateUserInput) { in.Tags = identity.Tags("a", "1", "A", "2") }), textDuplicateTags)
	if err := create(func(in *iam.CreateUserInput) { in.Tags = identity.Tags("aws:a", "1") }); err == nil {
		t.Error("a reserved tag is taken")
	}
	wantMissing(t, create(func(in *iam.CreateUserInput) {
		in.PermissionsBoundary = aws.String("arn:aws:iam::" + k.ID + ":policy/" + none)
	}), "")
	_, err := k.IAM.GetUser(k.Ctx(), &iam.GetUserInput{UserName: &none})
	wantMissing(t, err, noUser(none))
}

// A user goes when nothing hangs on it any more, and AWS says what still does.
func TestDeleteUserConflicts(t *testing.T) {
	k := identity.New(t, shared)
	user := k.User("user", identity.Allow("*", "*"))
	group := k.Group("group", user)
	managed := aws.String("arn:aws:iam::aws:policy/ReadOnlyAccess")
	k.Must(k.IAM.AttachUserPolicy(k.Ctx(), &iam.AttachUserPolicyInput{UserName: &user.Name, PolicyArn: managed}))
	remove := func() error {
		_, err := k.IAM.DeleteUser(k.Ctx(), &iam.DeleteUserInput{UserName: &user.Name})
		return err
	}
	wantConflict(t, remove(), "")
	k.Must(k.IAM.DetachUserPolicy(k.Ctx(), &iam.DetachUserPolicyInput{UserName: &user.Name, PolicyArn: managed}))
	k.Must(k.IAM.RemoveUserFromGroup(k.Ctx(), &iam.RemoveUserFromGroupInput{GroupName: &group, UserName: &user.Name}))
	inline, err := k.IAM.ListUserPolicies(k.Ctx(), &iam.ListUserPoliciesInput{UserName: &user.Name})
	if err != nil {
		t.Fatal(err)
	}
	k.Must(k.IAM.DeleteUserPolicy(k.Ctx(), &iam.DeleteUserPolicyInput{UserName: &user.Name, PolicyName: &inline.PolicyNames[0]}))
	wantConflict(t, remove(), "Cannot delete entity, must delete access keys first.")
	k.Must(k.IAM.DeleteAccessKey(k.Ctx(), &iam.DeleteAccessKeyInput{UserName: &user.Name, AccessKeyId: &user.Key}))

	k.Must(k.IAM.AttachUserPolicy(k.Ctx(), &iam.AttachUserPolicyInput{UserName: &user.Name, PolicyArn: managed}))
	wantConflict(t, remove(), "Cannot delete entity, must detach all policies first.")
	k.Must(k.IAM.DetachUserPolicy(k.Ctx(), &iam.DetachUserPolicyInput{UserName: &user.Name, PolicyArn: managed}))
	name := user.Allow(identity.Allow("*", "*"))
	wantConflict(t, remove(), "Cannot delete entity, must delete policies first.")
	k.Must(k.IAM.DeleteUserPolicy(k.Ctx(), &iam.DeleteUserPolicyInput{UserName: &user.Name, PolicyName: &name}))
	k.Must(k.IAM.AddUserToGroup(k.Ctx(), &iam.AddUserToGroupInput{GroupName: &group, UserName: &user.Name}))
	wantConflict(t, remove(), "Cannot delete entity, must remove users from group first.")
	k.Must(k.IAM.RemoveUserFromGroup(k.Ctx(), &iam.RemoveUserFromGroupInput{GroupName: &group, UserName: &user.Name}))
	k.Must(nil, remove())
}

func TestAccessKeys(t *testing.T) {
	k := identity.New(t, shared)
	user := newUser(k, "user")
	create := func() (*types.AccessKey, error) {
		out, err := k.IAM.CreateAccessKey(k.Ctx(), &iam.CreateAccessKeyInput{UserName: user.UserName})
		if err != nil {
			return nil, err
		}
		k.Cleanup(func(ctx ctx) {
			_, _ = k.IAM.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: user.UserName, AccessKeyId: out.AccessKey.AccessKeyId})
		})
		return out.AccessKey, nil
	}
	first, err := create()
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^AKIA[A-Z2-7]{16}$`).MatchString(*first.AccessKeyId) || !regexp.MustCompile(`^[A-Za-z0-9+/]{40}$`).MatchString(*first.SecretAccessKey) ||
		first.Status != types.StatusTypeActive || *first.UserName != *user.UserName || first.CreateDate == nil {
		t.Errorf("CreateAccessKey = %s %s %s", *first.AccessKeyId, first.Status, *first.UserName)
	}
	second, err := create()
	if err != nil {
		t.Fatal(err)
	}
	_, err = create()
	wantLimit(t, err, "Cannot exceed quota for AccessKeysPerUser: 2")
	list, err := k.IAM.ListAccessKeys(k.Ctx(), &iam.ListAccessKeysInput{UserName: user.UserName})
	if err != nil || len(list.AccessKeyMetadata) != 2 || list.IsTruncated {
		t.Fatalf("ListAccessKeys = %+v, %v", list, err)
	}
	k.Must(k.IAM.UpdateAccessKey(k.Ctx(), &iam.UpdateAccessKeyInput{UserName: user.UserName, AccessKeyId: first.AccessKeyId, Status: types.StatusTypeInactive}))
	list, err = k.IAM.ListAccessKeys(k.Ctx(), &iam.ListAccessKeysInput{UserName: user.UserName})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list.AccessKeyMetadata {
		want := types.StatusTypeActive
		if *m.AccessKeyId == *first.AccessKeyId {
			want = types.StatusTypeInactive
		}
		if m.Status != want || *m.UserName != *user.UserName {
			t.Errorf("key %s is %s", *m.AccessKeyId, m.Status)
		}
	}
	_, err = k.IAM.UpdateAccessKey(k.Ctx(), &iam.UpdateAccessKeyInput{UserName: user.UserName, AccessKeyId: first.AccessKeyId, Status: "Fine"})
	wantInvalid(t, err, "")
	// Keys are the user's own.
	other := newUser(k, "other")
	_, err = k.IAM.DeleteAccessKey(k.Ctx(), &iam.DeleteAccessKeyInput{UserName: other.UserName, AccessKeyId: second.AccessKeyId})
	wantMissing(t, err, "The Access Key with id "+*second.AccessKeyId+" cannot be found.")
	for _, key := range []*types.AccessKey{first, second} {
		k.Must(k.IAM.DeleteAccessKey(k.Ctx(), &iam.DeleteAccessKeyInput{UserName: user.UserName, AccessKeyId: key.AccessKeyId}))
	}
	_, err = k.IAM.DeleteAccessKey(k.Ctx(), &iam.DeleteAccessKeyInput{UserName: user.UserName, AccessKeyId: first.AccessKeyId})
	wantMissing(t, err, "The Access Key with id "+*first.AccessKeyId+" cannot be found.")
}

// A user manages its own keys without saying its name.
func TestOwnAccessKeys(t *testing.T) {
	k := identity.New(t, shared)
	user := k.User("user", identity.Allow("iam:*AccessKey*", "arn:aws:iam::*:user/${aws:username}"))
	other := k.User("other")
	made, err := user.IAM.CreateAccessKey(k.Ctx(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if aws.ToString(made.AccessKey.UserName) != user.Name {
		t.Errorf("key of %s", *made.AccessKey.UserName)
	}
	list, err := user.IAM.ListAccessKeys(k.Ctx(), nil)
	if err != nil || len(list.AccessKeyMetadata) != 2 {
		t.Fatalf("ListAccessKeys = %+v, %v", list, err)
	}
	k.Must(user.IAM.DeleteAccessKey(k.Ctx(), &iam.DeleteAccessKeyInput{AccessKeyId: made.AccessKey.AccessKeyId}))
	_, err = user.IAM.CreateAccessKey(k.Ctx(), &iam.CreateAccessKeyInput{UserName: &other.Name})
	identity.WantDeniedQuery(t, err, user.ARN, "iam:CreateAccessKey", "user "+other.Name, identity.NoIdentity)
	_, err = user.IAM.DeleteAccessKey(k.Ctx(), &iam.DeleteAccessKeyInput{UserName: &other.Name, AccessKeyId: &other.Key})
	identity.WantDeniedQuery(t, err, user.ARN, "iam:DeleteAccessKey", "user "+other.Name, identity.NoIdentity)
}

func TestAccessKeyLastUsed(t *testing.T) {
	k := identity.New(t, shared)
	user := k.User("user")
	last := func() *iam.GetAccessKeyLastUsedOutput {
		t.Helper()
		out, err := k.IAM.GetAccessKeyLastUsed(k.Ctx(), &iam.GetAccessKeyLastUsedInput{AccessKeyId: &user.Key})
		if err != nil {
			t.Fatal(err)
		}
		if aws.ToString(out.UserName) != user.Name {
			t.Errorf("UserName = %s", aws.ToString(out.UserName))
		}
		return out
	}
	if got := last().AccessKeyLastUsed; aws.ToString(got.Region) != "N/A" || aws.ToString(got.ServiceName) != "N/A" || got.LastUsedDate != nil {
		t.Errorf("never used: %v %s %s", got.LastUsedDate, *got.Region, *got.ServiceName)
	}
	_, err := k.IAM.GetAccessKeyLastUsed(k.Ctx(), &iam.GetAccessKeyLastUsedInput{AccessKeyId: aws.String("AKIAIOSFODNN7EXAMPLE")})
	if err == nil {
		t.Error("a key that does not exist has a last use")
	}
	if shared.AWS {
		return // minutes until it is seen
	}
	k.Must(user.STS.GetCallerIdentity(k.Ctx(), &sts.GetCallerIdentityInput{}))
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if got := last().AccessKeyLastUsed; got.LastUsedDate != nil {
			if *got.ServiceName != "sts" || *got.Region != k.Config.Region || time.Since(*got.LastUsedDate) > time.Hour {
				t.Errorf("last use = %v %s %s", got.LastUsedDate, *got.Region, *got.ServiceName)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the use of the key is not seen")
		}
	}
}

func TestGroups(t *testing.T) {
	k := identity.New(t, shared)
	name := k.Prefix + "Ops"
	out, err := k.IAM.CreateGroup(k.Ctx(), &iam.CreateGroupInput{GroupName: &name, Path: aws.String("/team/")})
	if err != nil {
		t.Fatal(err)
	}
	k.Cleanup(func(ctx ctx) { _, _ = k.IAM.DeleteGroup(ctx, &iam.DeleteGroupInput{GroupName: &name}) })
	if g := out.Group; aws.ToString(g.Arn) != "arn:aws:iam::"+k.ID+":group/team/"+name || !strings.HasPrefix(aws.ToString(g.GroupId), "AGPA") || g.CreateDate == nil {
		t.Errorf("CreateGroup = %s %s", *g.Arn, *g.GroupId)
	}
	_, err = k.IAM.CreateGroup(k.Ctx(), &iam.CreateGroupInput{GroupName: aws.String(strings.ToLower(name))})
	wantExists(t, err, "Group with name "+strings.ToLower(name)+" already exists.")
	a, b := newUser(k, "a"), newUser(k, "b")
	for _, u := range []*types.User{b, a} {
		k.Must(k.IAM.AddUserToGroup(k.Ctx(), &iam.AddUserToGroupInput{GroupName: &name, UserName: u.UserName}))
		k.Cleanup(func(ctx ctx) {
			_, _ = k.IAM.RemoveUserFromGroup(ctx, &iam.RemoveUserFromGroupInput{GroupName: &name, UserName: u.UserName})
		})
	}
	k.Must(k.IAM.AddUserToGroup(k.Ctx(), &iam.AddUserToGroupInput{GroupName: &name, UserName: a.UserName})) // again
	group, err := k.IAM.GetGroup(k.Ctx(), &iam.GetGroupInput{GroupName: &name})
	if err != nil {
		t.Fatal(err)
	}
	if len(group.Users) != 2 || aws.ToString(group.Group.GroupName) != name {
		t.Errorf("GetGroup = %+v", group)
	}
	of, err := k.IAM.ListGroupsForUser(k.Ctx(), &iam.ListGroupsForUserInput{UserName: a.UserName})
	if err != nil || len(of.Groups) != 1 || aws.ToString(of.Groups[0].GroupName) != name {
		t.Errorf("ListGroupsForUser = %+v, %v", of, err)
	}
	wantConflict(t, errOf(k.IAM.DeleteGroup(k.Ctx(), &iam.DeleteGroupInput{GroupName: &name})), "Cannot delete entity, must remove users from group first.")
	// The group is found under a new name by those who are in it.
	renamed := k.Prefix + "Operators"
	k.Must(k.IAM.UpdateGroup(k.Ctx(), &iam.UpdateGroupInput{GroupName: &name, NewGroupName: &renamed}))
	k.Cleanup(func(ctx ctx) { _, _ = k.IAM.DeleteGroup(ctx, &iam.DeleteGroupInput{GroupName: &renamed}) })
	of, err = k.IAM.ListGroupsForUser(k.Ctx(), &iam.ListGroupsForUserInput{UserName: a.UserName})
	if err != nil || len(of.Groups) != 1 || aws.ToString(of.Groups[0].Arn) != "arn:aws:iam::"+k.ID+":group/team/"+renamed {
		t.Errorf("ListGroupsForUser = %+v, %v", of, err)
	}
	for _, u := range []*types.User{a, b} {
		k.Must(k.IAM.RemoveUserFromGroup(k.Ctx(), &iam.RemoveUserFromGroupInput{GroupName: &renamed, UserName: u.UserName}))
	}
	k.Must(k.IAM.PutGroupPolicy(k.Ctx(), &iam.PutGroupPolicyInput{GroupName: &renamed, PolicyName: aws.String("p"), PolicyDocument: aws.String(identity.Allow("*", "*"))}))
	wantConflict(t, errOf(k.IAM.DeleteGroup(k.Ctx(), &iam.DeleteGroupInput{GroupName: &renamed})), "Cannot delete entity, must delete policies first.")
	k.Must(k.IAM.DeleteGroupPolicy(k.Ctx(), &iam.DeleteGroupPolicyInput{GroupName: &renamed, PolicyName: aws.String("p")}))
	k.Must(k.IAM.DeleteGroup(k.Ctx(), &iam.DeleteGroupInput{GroupName: &renamed}))
	noGroup := "The group with name " + renamed + " cannot be found."
	wantMissing(t, errOf(k.IAM.GetGroup(k.Ctx(), &iam.GetGroupInput{GroupName: &renamed})), noGroup)
	wantMissing(t, errOf(k.IAM.DeleteGroup(k.Ctx(), &iam.DeleteGroupInput{GroupName: &renamed})), noGroup)
	wantMissing(t, errOf(k.IAM.AddUserToGroup(k.Ctx(), &iam.AddUserToGroupInput{GroupName: &renamed, UserName: a.UserName})), noGroup)
}

// errOf is the error of a call whose answer does not matter.
func errOf(_ any, err error) error { return err }

func TestGroupsPerUser(t *testing.T) {
	k := identity.New(t, shared)
	user := newUser(k, "user")
	for i := range 11 {
		group := k.Group("group-" + string(rune('a'+i)))
		_, err := k.IAM.AddUserToGroup(k.Ctx(), &iam.AddUserToGroupInput{GroupName: &group, UserName: user.UserName})
		if i < 10 {
			k.Must(nil, err)
		} else {
			wantLimit(t, err, "Cannot exceed quota for GroupsPerUser: 10")
		}
	}
}
