package iam_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"arca/conformance/identity"
)

func containsPrefix(prefix string) func(types.OpenIDConnectProviderListEntry) bool {
	return func(e types.OpenIDConnectProviderListEntry) bool {
		return strings.Contains(aws.ToString(e.Arn), prefix)
	}
}

// Lists come in pages that leave nothing out and repeat nothing.
func TestPages(t *testing.T) {
	k := identity.New(t, shared)
	path := "/" + k.Prefix + "/"
	var want []string
	for i := range 7 {
		u := newUser(k, fmt.Sprintf("user-%d", i), func(in *iam.CreateUserInput) { in.Path = aws.String(path + fmt.Sprintf("sub-%d/", i%2)) })
		want = append(want, *u.UserName)
	}
	var got []string
	sizes := 0
	pages := iam.NewListUsersPaginator(k.IAM, &iam.ListUsersInput{PathPrefix: &path, MaxItems: aws.Int32(3)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(k.Ctx())
		if err != nil {
			t.Fatal(err)
		}
		if page.IsTruncated != (page.Marker != nil) || len(page.Users) > 3 {
			t.Errorf("page of %d: IsTruncated = %v, Marker = %v", len(page.Users), page.IsTruncated, page.Marker)
		}
		sizes++
		for _, u := range page.Users {
			got = append(got, *u.UserName)
			if u.Tags != nil {
				t.Errorf("a list shows tags")
			}
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) || sizes != 3 {
		t.Errorf("%d pages with %q, want %q", sizes, got, want)
	}
	sub, err := k.IAM.ListUsers(k.Ctx(), &iam.ListUsersInput{PathPrefix: aws.String(path + "sub-1/")})
	if err != nil || len(sub.Users) != 3 || sub.IsTruncated || sub.Marker != nil {
		t.Errorf("below sub-1: %+v, %v", sub, err)
	}

	first, err := k.IAM.ListUsers(k.Ctx(), &iam.ListUsersInput{PathPrefix: &path, MaxItems: aws.Int32(2)})
	if err != nil {
		t.Fatal(err)
	}
	// A marker made up or from another list is none.
	for what, call := range map[string]func() error{
		"made up": func() error {
			return errOf(k.IAM.ListUsers(k.Ctx(), &iam.ListUsersInput{Marker: aws.String("made-up")}))
		},
		"of other items": func() error { return errOf(k.IAM.ListRoles(k.Ctx(), &iam.ListRolesInput{Marker: first.Marker})) },
	} {
		t.Log(what)
		wantInvalid(t, call(), "")
	}
	wantInvalid(t, errOf(k.IAM.ListUsers(k.Ctx(), &iam.ListUsersInput{MaxItems: aws.Int32(0)})),
		detected+"Value '0' at 'maxItems' failed to satisfy constraint: Member must have value greater than or equal to 1")
	wantInvalid(t, errOf(k.IAM.ListUsers(k.Ctx(), &iam.ListUsersInput{MaxItems: aws.Int32(1001)})),
		detected+"Value '1001' at 'maxItems' failed to satisfy constraint: Member must have value less than or equal to 1000")
}

// Every list has a paginator that ends.
func TestAllLists(t *testing.T) {
	k := identity.New(t, shared)
	one := aws.Int32(1)
	user := newUser(k, "user", func(in *iam.CreateUserInput) { in.Tags = identity.Tags("a", "1", "b", "2", "c", "3") })
	role := newRole(k, "role", lambdaTrust, func(in *iam.CreateRoleInput) { in.Tags = identity.Tags("a", "1", "b", "2") })
	group := k.Group("group")
	k.Must(k.IAM.AddUserToGroup(k.Ctx(), &iam.AddUserToGroupInput{GroupName: &group, UserName: user.UserName}))
	k.Must(k.IAM.AddUserToGroup(k.Ctx(), &iam.AddUserToGroupInput{GroupName: &group, UserName: newUser(k, "second").UserName}))
	for _, name := range []string{"x", "y"} {
		k.Must(k.IAM.PutUserPolicy(k.Ctx(), &iam.PutUserPolicyInput{UserName: user.UserName, PolicyName: &name, PolicyDocument: &readSecrets}))
		k.Must(k.IAM.PutRolePolicy(k.Ctx(), &iam.PutRolePolicyInput{RoleName: role.RoleName, PolicyName: &name, PolicyDocument: &readSecrets}))
		k.Must(k.IAM.PutGroupPolicy(k.Ctx(), &iam.PutGroupPolicyInput{GroupName: &group, PolicyName: &name, PolicyDocument: &readSecrets}))
		arn := k.Policy(name, readSecrets)
		k.Must(k.IAM.CreatePolicyVersion(k.Ctx(), &iam.CreatePolicyVersionInput{PolicyArn: &arn, PolicyDocument: &readSecrets}))
		k.Must(k.IAM.AttachUserPolicy(k.Ctx(), &iam.AttachUserPolicyInput{UserName: user.UserName, PolicyArn: &arn}))
		k.Must(k.IAM.AttachRolePolicy(k.Ctx(), &iam.AttachRolePolicyInput{RoleName: role.RoleName, PolicyArn: &arn}))
		k.Must(k.IAM.AttachGroupPolicy(k.Ctx(), &iam.AttachGroupPolicyInput{GroupName: &group, PolicyArn: &arn}))
	}
	managed := "arn:aws:iam::" + k.ID + ":policy/" + k.Prefix + "x"
	k.Cleanup(func(ctx ctx) { undo(ctx, k, user, role, group) })

	for what, tc := range map[string]struct {
		want int
		next func(marker *string) (n int, more bool, next *string, err error)
	}{
		"ListUserTags": {3, func(m *string) (int, bool, *string, error) {
			out, err := k.IAM.ListUserTags(k.Ctx(), &iam.ListUserTagsInput{UserName: user.UserName, MaxItems: one, Marker: m})
			if err != nil {
				return 0, false, nil, err
			}
			return len(out.Tags), out.IsTruncated, out.Marker, nil
		}},
		"ListRoleTags": {2, func(m *string) (int, bool, *string, error) {
			out, err := k.IAM.ListRoleTags(k.Ctx(), &iam.ListRoleTagsInput{RoleName: role.RoleName, MaxItems: one, Marker: m})
			if err != nil {
				return 0, false, nil, err
			}
			return len(out.Tags), out.IsTruncated, out.Marker, nil
		}},
		"GetGroup": {2, func(m *string) (int, bool, *string, error) {
			out, err := k.IAM.GetGroup(k.Ctx(), &iam.GetGroupInput{GroupName: &group, MaxItems: one, Marker: m})
			if err != nil {
				return 0, false, nil, err
			}
			return len(out.Users), out.IsTruncated, out.Marker, nil
		}},
		"ListUserPolicies": {2, func(m *string) (int, bool, *string, error) {
			out, err := k.IAM.ListUserPolicies(k.Ctx(), &iam.ListUserPoliciesInput{UserName: user.UserName, MaxItems: one, Marker: m})
			if err != nil {
				return 0, false, nil, err
			}
			return len(out.PolicyNames), out.IsTruncated, out.Marker, nil
		}},
		"ListRolePolicies": {2, func(m *string) (int, bool, *string, error) {
			out, err := k.IAM.ListRolePolicies(k.Ctx(), &iam.ListRolePoliciesInput{RoleName: role.RoleName, MaxItems: one, Marker: m})
			if err != nil {
				return 0, false, nil, err
			}
			return len(out.PolicyNames), out.IsTruncated, out.Marker, nil
		}},
		"ListGroupPolicies": {2, func(m *string) (int, bool, *string, error) {
			out, err := k.IAM.ListGroupPolicies(k.Ctx(), &iam.ListGroupPoliciesInput{GroupName: &group, MaxItems: one, Marker: m})
			if err != nil {
				return 0, false, nil, err
			}
			return len(out.PolicyNames), out.IsTruncated, out.Marker, nil
		}},
		"ListAttachedUserPolicies": {2, func(m *string) (int, bool, *string, error) {
			out, err := k.IAM.ListAttachedUserPolicies(k.Ctx(), &iam.ListAttachedUserPoliciesInput{UserName: user.UserName, MaxItems: one, Marker: m})
			if err != nil {
				return 0, false, nil, err
			}
			return len(out.AttachedPolicies), out.IsTruncated, out.Marker, nil
		}},
		"ListAttachedRolePolicies": {2, func(m *string) (int, bool, *string, error) {
			out, err := k.IAM.ListAttachedRolePolicies(k.Ctx(), &iam.ListAttachedRolePoliciesInput{RoleName: role.RoleName, MaxItems: one, Marker: m})
			if err != nil {
				return 0, false, nil, err
			}
			return len(out.AttachedPolicies), out.IsTruncated, out.Marker, nil
		}},
		"ListAttachedGroupPolicies": {2, func(m *string) (int, bool, *string, error) {
			out, err := k.IAM.ListAttachedGroupPolicies(k.Ctx(), &iam.ListAttachedGroupPoliciesInput{GroupName: &group, MaxItems: one, Marker: m})
			if err != nil {
				return 0, false, nil, err
			}
			return len(out.AttachedPolicies), out.IsTruncated, out.Marker, nil
		}},
		"ListPolicyVersions": {2, func(m *string) (int, bool, *string, error) {
			out, err := k.IAM.ListPolicyVersions(k.Ctx(), &iam.ListPolicyVersionsInput{PolicyArn: &managed, MaxItems: one, Marker: m})
			if err != nil {
				return 0, false, nil, err
			}
			return len(out.Versions), out.IsTruncated, out.Marker, nil
		}},
		"ListEntitiesForPolicy": {3, func(m *string) (int, bool, *string, error) {
			out, err := k.IAM.ListEntitiesForPolicy(k.Ctx(), &iam.ListEntitiesForPolicyInput{PolicyArn: &managed, MaxItems: one, Marker: m})
			if err != nil {
				return 0, false, nil, err
			}
			return len(out.PolicyUsers) + len(out.PolicyGroups) + len(out.PolicyRoles), out.IsTruncated, out.Marker, nil
		}},
	} {
		t.Run(what, func(t *testing.T) {
			var marker *string
			total := 0
			for range tc.want + 2 {
				n, more, next, err := tc.next(marker)
				if err != nil {
					t.Fatal(err)
				}
				if total += n; !more {
					break
				}
				if marker = next; n > 1 || next == nil {
					t.Fatalf("page of %d, marker %v", n, next)
				}
			}
			if total != tc.want {
				t.Errorf("%d entries in pages, want %d", total, tc.want)
			}
		})
	}
}

// undo takes apart what TestAllLists ties together.
func undo(ctx ctx, k *identity.Kit, user *types.User, role *types.Role, group string) {
	for _, name := range []string{"x", "y"} {
		arn := "arn:aws:iam::" + k.ID + ":policy/" + k.Prefix + name
		_, _ = k.IAM.DeleteUserPolicy(ctx, &iam.DeleteUserPolicyInput{UserName: user.UserName, PolicyName: &name})
		_, _ = k.IAM.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: role.RoleName, PolicyName: &name})
		_, _ = k.IAM.DetachUserPolicy(ctx, &iam.DetachUserPolicyInput{UserName: user.UserName, PolicyArn: &arn})
		_, _ = k.IAM.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: role.RoleName, PolicyArn: &arn})
		_, _ = k.IAM.DetachGroupPolicy(ctx, &iam.DetachGroupPolicyInput{GroupName: &group, PolicyArn: &arn})
		_, _ = k.IAM.DeletePolicyVersion(ctx, &iam.DeletePolicyVersionInput{PolicyArn: &arn, VersionId: aws.String("v2")})
	}
	for _, name := range []string{"user", "second"} {
		full := k.Prefix + name
		_, _ = k.IAM.RemoveUserFromGroup(ctx, &iam.RemoveUserFromGroupInput{GroupName: &group, UserName: &full})
	}
}

// Tags of users, roles, policies and providers are alike.
func TestTags(t *testing.T) {
	k := identity.New(t, shared)
	user, role := newUser(k, "user"), newRole(k, "role", lambdaTrust)
	managed := k.Policy("policy", readSecrets)
	provider, err := k.IAM.CreateOpenIDConnectProvider(k.Ctx(), &iam.CreateOpenIDConnectProviderInput{Url: aws.String("https://" + k.Prefix + "tags.example.com")})
	if err != nil {
		t.Fatal(err)
	}
	arn := provider.OpenIDConnectProviderArn
	k.Cleanup(func(ctx ctx) {
		_, _ = k.IAM.DeleteOpenIDConnectProvider(ctx, &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn})
	})
	for kind, of := range map[string]struct {
		set   func([]types.Tag) error
		unset func([]string) error
		list  func() ([]types.Tag, error)
	}{
		"user": {
			func(tags []types.Tag) error {
				return errOf(k.IAM.TagUser(k.Ctx(), &iam.TagUserInput{UserName: user.UserName, Tags: tags}))
			},
			func(keys []string) error {
				return errOf(k.IAM.UntagUser(k.Ctx(), &iam.UntagUserInput{UserName: user.UserName, TagKeys: keys}))
			},
			func() ([]types.Tag, error) {
				out, err := k.IAM.ListUserTags(k.Ctx(), &iam.ListUserTagsInput{UserName: user.UserName})
				if err != nil {
					return nil, err
				}
				return out.Tags, nil
			}},
		"role": {
			func(tags []types.Tag) error {
				return errOf(k.IAM.TagRole(k.Ctx(), &iam.TagRoleInput{RoleName: role.RoleName, Tags: tags}))
			},
			func(keys []string) error {
				return errOf(k.IAM.UntagRole(k.Ctx(), &iam.UntagRoleInput{RoleName: role.RoleName, TagKeys: keys}))
			},
			func() ([]types.Tag, error) {
				out, err := k.IAM.ListRoleTags(k.Ctx(), &iam.ListRoleTagsInput{RoleName: role.RoleName})
				if err != nil {
					return nil, err
				}
				return out.Tags, nil
			}},
		"policy": {
			func(tags []types.Tag) error {
				return errOf(k.IAM.TagPolicy(k.Ctx(), &iam.TagPolicyInput{PolicyArn: &managed, Tags: tags}))
			},
			func(keys []string) error {
				return errOf(k.IAM.UntagPolicy(k.Ctx(), &iam.UntagPolicyInput{PolicyArn: &managed, TagKeys: keys}))
			},
			func() ([]types.Tag, error) {
				out, err := k.IAM.ListPolicyTags(k.Ctx(), &iam.ListPolicyTagsInput{PolicyArn: &managed})
				if err != nil {
					return nil, err
				}
				return out.Tags, nil
			}},
		"provider": {
			func(tags []types.Tag) error {
				return errOf(k.IAM.TagOpenIDConnectProvider(k.Ctx(), &iam.TagOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, Tags: tags}))
			},
			func(keys []string) error {
				return errOf(k.IAM.UntagOpenIDConnectProvider(k.Ctx(), &iam.UntagOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, TagKeys: keys}))
			},
			func() ([]types.Tag, error) {
				out, err := k.IAM.ListOpenIDConnectProviderTags(k.Ctx(), &iam.ListOpenIDConnectProviderTagsInput{OpenIDConnectProviderArn: arn})
				if err != nil {
					return nil, err
				}
				return out.Tags, nil
			},
		},
	} {
		t.Run(kind, func(t *testing.T) {
			has := func(want ...string) {
				t.Helper()
				tags, err := of.list()
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, tag := range tags {
					got = append(got, aws.ToString(tag.Key)+"="+aws.ToString(tag.Value))
				}
				slices.Sort(got)
				if !slices.Equal(got, want) {
					t.Errorf("tags %q, want %q", got, want)
				}
			}
			has()
			k.Must(nil, of.set(identity.Tags("team", "red", "empty", "", "ümläut", "ß + @")))
			has("empty=", "team=red", "ümläut=ß + @")
			k.Must(nil, of.set(identity.Tags("Team", "blue"))) // the same key, in the new form
			has("Team=blue", "empty=", "ümläut=ß + @")
			k.Must(nil, of.unset([]string{"TEAM", "none"}))
			has("empty=", "ümläut=ß + @")
			wantInvalidInput(t, of.set(identity.Tags("a", "1", "A", "2")), textDuplicateTags)
			if err := of.set(identity.Tags("aws:a", "1")); err == nil {
				t.Error("a reserved key is taken")
			}
			wantInvalid(t, of.set(identity.Tags(strings.Repeat("x", 129), "1")), "")
			wantInvalid(t, of.set(identity.Tags("a", strings.Repeat("x", 257))), "")
			wantInvalid(t, of.set(identity.Tags("a*", "1")), "")
			has("empty=", "ümläut=ß + @")
			var many []types.Tag
			for i := range 48 {
				many = append(many, types.Tag{Key: aws.String(fmt.Sprintf("key-%d", i)), Value: aws.String("v")})
			}
			k.Must(nil, of.set(many))
			wantLimit(t, of.set(identity.Tags("one", "more")), "")
			k.Must(nil, of.set(identity.Tags("empty", "no more")))
		})
	}
}
