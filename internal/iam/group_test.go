package iam_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api"
	"arca/internal/api/iamapi"
	"arca/internal/call"
	"arca/internal/iam"
)

func noGroup(name string) string {
	return "NoSuchEntity: The group with name " + name + " cannot be found."
}

func member(group, user string) *iamapi.AddUserToGroupInput {
	return &iamapi.AddUserToGroupInput{GroupName: group, UserName: user}
}

func TestGroups(t *testing.T) {
	h := newHouse(t, func(q *iam.Quotas) { q.Groups = 3 })
	made := must[iamapi.CreateGroupOutput](t, h, iamapi.OpCreateGroup, &iamapi.CreateGroupInput{GroupName: "Ops", Path: new("/a/")}).Group
	if !regexp.MustCompile(`^AGPA[A-Z2-7]{17}$`).MatchString(made.GroupId) {
		t.Errorf("unique id %q", made.GroupId)
	}
	want := &iamapi.Group{Path: "/a/", GroupName: "Ops", GroupId: made.GroupId, Arn: "arn:aws:iam::123456789012:group/a/Ops", CreateDate: new(start)}
	if diff := cmp.Diff(want, made); diff != "" {
		t.Errorf("created (-want +got):\n%s", diff)
	}
	shown := must[iamapi.GetGroupOutput](t, h, iamapi.OpGetGroup, &iamapi.GetGroupInput{GroupName: "ops"})
	if diff := cmp.Diff(&iamapi.GetGroupOutput{Group: want, Users: []iamapi.User{}, IsTruncated: new(false)}, shown); diff != "" {
		t.Errorf("shown (-want +got):\n%s", diff)
	}
	h.refused(t, "EntityAlreadyExists: Group with name OPS already exists.", iamapi.OpCreateGroup, &iamapi.CreateGroupInput{GroupName: "OPS"})
	h.createGroup(t, "dev")
	h.createGroup(t, "Abc")
	h.refused(t, "LimitExceeded: Cannot exceed quota for GroupsPerAccount: 3", iamapi.OpCreateGroup, &iamapi.CreateGroupInput{GroupName: "more"})

	var names []string
	in := &iamapi.ListGroupsInput{MaxItems: new(int32(1))}
	for {
		out := must[iamapi.ListGroupsOutput](t, h, iamapi.OpListGroups, in)
		for _, g := range out.Groups {
			names = append(names, g.GroupName)
		}
		if in.Marker = out.Marker; in.Marker == nil {
			break
		}
	}
	if got := fmt.Sprint(names); got != "[Abc dev Ops]" {
		t.Errorf("groups %s", got)
	}
	below := must[iamapi.ListGroupsOutput](t, h, iamapi.OpListGroups, &iamapi.ListGroupsInput{PathPrefix: new("/a")})
	if len(below.Groups) != 1 || below.Groups[0].GroupName != "Ops" {
		t.Errorf("below /a: %+v", below.Groups)
	}

	// A user may have the name of a group.
	h.createUser(t, "ops")
	h.questions()
	h.run(t, iamapi.OpUpdateGroup, &iamapi.UpdateGroupInput{GroupName: "OPS", NewGroupName: new("Admins"), NewPath: new("/")})
	checkQuestions(t, h.questions(), []call.Check{
		{Action: "iam:UpdateGroup", Resource: "arn:aws:iam::123456789012:group/a/Ops", Shown: "group OPS", Account: account},
		{Action: "iam:UpdateGroup", Resource: "arn:aws:iam::123456789012:group/Admins", Account: account},
	})
	h.run(t, iamapi.OpUpdateGroup, &iamapi.UpdateGroupInput{GroupName: "admins"})
	if now := must[iamapi.GetGroupOutput](t, h, iamapi.OpGetGroup, &iamapi.GetGroupInput{GroupName: "Admins"}).Group; now.GroupId != made.GroupId || now.Path != "/" {
		t.Errorf("renamed group %+v", now)
	}
	h.refused(t, "EntityAlreadyExists: Group with name DEV already exists.", iamapi.OpUpdateGroup, &iamapi.UpdateGroupInput{GroupName: "admins", NewGroupName: new("DEV")})
	h.refuse(func(ck *call.Check) bool { return strings.HasSuffix(ck.Resource, "/root/admins") })
	h.refused(t, denied+"iam:UpdateGroup on resource: arn:aws:iam::123456789012:group/root/admins", iamapi.OpUpdateGroup, &iamapi.UpdateGroupInput{GroupName: "dev", NewGroupName: new("admins"), NewPath: new("/root/")})
	h.refuse(nil)
	h.run(t, iamapi.OpDeleteGroup, &iamapi.DeleteGroupInput{GroupName: "Admins"})
	h.refused(t, noGroup("Admins"), iamapi.OpDeleteGroup, &iamapi.DeleteGroupInput{GroupName: "Admins"})
	h.refused(t, noGroup("Admins"), iamapi.OpGetGroup, &iamapi.GetGroupInput{GroupName: "Admins"})
	h.refused(t, noGroup("Admins"), iamapi.OpUpdateGroup, &iamapi.UpdateGroupInput{GroupName: "Admins", NewGroupName: new("x")})
	h.run(t, iamapi.OpCreateGroup, &iamapi.CreateGroupInput{GroupName: "ops"})
}

// Membership holds on both sides.
func TestMembers(t *testing.T) {
	h := newHouse(t, func(q *iam.Quotas) { q.GroupsOfUser = 2 })
	for _, name := range []string{"zoe", "Bob", "alice"} {
		h.createUser(t, name)
	}
	for _, name := range []string{"ops", "Dev", "web"} {
		h.createGroup(t, name)
	}
	h.questions()
	h.run(t, iamapi.OpAddUserToGroup, member("OPS", "zoe"))
	checkQuestions(t, h.questions(), []call.Check{
		{Action: "iam:AddUserToGroup", Resource: "arn:aws:iam::123456789012:group/ops", Shown: "group OPS", Account: account},
	})
	h.run(t, iamapi.OpAddUserToGroup, member("ops", "ZOE"))
	h.run(t, iamapi.OpAddUserToGroup, member("dev", "zoe"))
	h.run(t, iamapi.OpAddUserToGroup, member("ops", "bob"))
	h.run(t, iamapi.OpAddUserToGroup, member("ops", "alice"))
	h.refused(t, "LimitExceeded: Cannot exceed quota for GroupsPerUser: 2", iamapi.OpAddUserToGroup, member("web", "zoe"))

	users := func(group string, size int32) (names []string) {
		t.Helper()
		in := &iamapi.GetGroupInput{GroupName: group, MaxItems: &size}
		for {
			out := must[iamapi.GetGroupOutput](t, h, iamapi.OpGetGroup, in)
			for _, u := range out.Users {
				names = append(names, u.UserName)
			}
			if in.Marker = out.Marker; in.Marker == nil {
				return names
			}
		}
	}
	groups := func(user string, size int32) (names []string) {
		t.Helper()
		in := &iamapi.ListGroupsForUserInput{UserName: user, MaxItems: &size}
		for {
			out := must[iamapi.ListGroupsForUserOutput](t, h, iamapi.OpListGroupsForUser, in)
			for _, g := range out.Groups {
				names = append(names, g.GroupName)
			}
			if in.Marker = out.Marker; in.Marker == nil {
				return names
			}
		}
	}
	for size := range int32(4) {
		if got := fmt.Sprint(users("ops", size+1), groups("zoe", size+1)); got != "[alice Bob zoe] [Dev ops]" {
			t.Errorf("pages of %d: %s", size+1, got)
		}
	}
	h.refused(t, "DeleteConflict: Cannot delete entity, must remove users from group first.", iamapi.OpDeleteGroup, &iamapi.DeleteGroupInput{GroupName: "dev"})
	remove := &iamapi.RemoveUserFromGroupInput{GroupName: "dev", UserName: "zoe"}
	h.run(t, iamapi.OpRemoveUserFromGroup, remove)
	h.run(t, iamapi.OpRemoveUserFromGroup, remove)
	if got := fmt.Sprint(users("dev", 9), groups("zoe", 9)); got != "[] [ops]" {
		t.Errorf("after removal: %s", got)
	}
	h.run(t, iamapi.OpDeleteGroup, &iamapi.DeleteGroupInput{GroupName: "dev"})

	// The permission is on the group; who is allowed it learns whether the user exists.
	for _, tc := range []struct {
		op   *api.Operation
		in   any
		want string
	}{
		{iamapi.OpAddUserToGroup, member("none", "zoe"), noGroup("none")},
		{iamapi.OpAddUserToGroup, member("ops", "none"), noUser("none")},
		{iamapi.OpRemoveUserFromGroup, &iamapi.RemoveUserFromGroupInput{GroupName: "none", UserName: "zoe"}, noGroup("none")},
		{iamapi.OpRemoveUserFromGroup, &iamapi.RemoveUserFromGroupInput{GroupName: "ops", UserName: "none"}, noUser("none")},
		{iamapi.OpListGroupsForUser, &iamapi.ListGroupsForUserInput{UserName: "none"}, noUser("none")},
	} {
		h.refused(t, tc.want, tc.op, tc.in)
	}
}

// A group that somebody joins while it is deleted is either still there or has nobody.
func TestJoinWhileDeleted(t *testing.T) {
	h := newHouse(t)
	for i := range 5 {
		user, group := fmt.Sprintf("u%d", i), fmt.Sprintf("g%d", i)
		h.createUser(t, user)
		h.createGroup(t, group)
		errs := make(chan error, 2)
		go func() { _, err := h.call(iamapi.OpAddUserToGroup, member(group, user)); errs <- err }()
		go func() {
			_, err := h.call(iamapi.OpDeleteGroup, &iamapi.DeleteGroupInput{GroupName: group})
			errs <- err
		}()
		a, b := <-errs, <-errs
		if (a == nil) == (b == nil) || settled(a, iamapi.NoSuchEntity, iamapi.DeleteConflict) != nil || settled(b, iamapi.NoSuchEntity, iamapi.DeleteConflict) != nil {
			t.Errorf("errors %v, %v: want one that lost", a, b)
		}
	}
}

// A group is left by its policies before it is deleted.
func TestDeleteGroupInUse(t *testing.T) {
	h := newHouse(t)
	h.createGroup(t, "ops")
	h.run(t, iamapi.OpAttachGroupPolicy, &iamapi.AttachGroupPolicyInput{GroupName: "ops", PolicyArn: adminARN})
	h.run(t, iamapi.OpPutGroupPolicy, &iamapi.PutGroupPolicyInput{GroupName: "ops", PolicyName: "p", PolicyDocument: simplePolicy})
	in := &iamapi.DeleteGroupInput{GroupName: "ops"}
	h.refused(t, "DeleteConflict: Cannot delete entity, must detach all policies first.", iamapi.OpDeleteGroup, in)
	h.run(t, iamapi.OpDetachGroupPolicy, &iamapi.DetachGroupPolicyInput{GroupName: "ops", PolicyArn: adminARN})
	h.refused(t, "DeleteConflict: Cannot delete entity, must delete policies first.", iamapi.OpDeleteGroup, in)
	h.run(t, iamapi.OpDeleteGroupPolicy, &iamapi.DeleteGroupPolicyInput{GroupName: "ops", PolicyName: "p"})
	h.run(t, iamapi.OpDeleteGroup, in)
}
