package iam_test

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"arca/conformance/identity"
)

func noRole(name string) string { return "The role with name " + name + " cannot be found." }

// lambdaTrust is what most roles trust.
var lambdaTrust = identity.Policy(identity.Statement{Effect: "Allow", Principal: map[string]any{"Service": "lambda.amazonaws.com"}, Action: "sts:AssumeRole"})

func newRole(k *identity.Kit, name, trust string, change ...func(*iam.CreateRoleInput)) *types.Role {
	k.T.Helper()
	in := &iam.CreateRoleInput{RoleName: aws.String(k.Prefix + name), AssumeRolePolicyDocument: &trust}
	for _, c := range change {
		c(in)
	}
	out, err := k.IAM.CreateRole(k.Ctx(), in)
	if err != nil {
		k.T.Fatalf("CreateRole(%s): %v", *in.RoleName, err)
	}
	k.Cleanup(func(ctx ctx) { _, _ = k.IAM.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: in.RoleName}) })
	return out.Role
}

func TestRole(t *testing.T) {
	k := identity.New(t, shared)
	made := newRole(k, "Role", lambdaTrust, func(in *iam.CreateRoleInput) {
		in.Path, in.Description, in.MaxSessionDuration = aws.String("/service/x/"), aws.String("made for a test"), aws.Int32(7200)
		in.Tags = identity.Tags("a", "b")
	})
	name := k.Prefix + "Role"
	if aws.ToString(made.Arn) != "arn:aws:iam::"+k.ID+":role/service/x/"+name || !regexp.MustCompile(`^AROA[A-Z0-9]{17}$`).MatchString(aws.ToString(made.RoleId)) || made.CreateDate == nil {
		t.Errorf("CreateRole = %s %s", *made.Arn, *made.RoleId)
	}
	get := func() *types.Role {
		t.Helper()
		out, err := k.IAM.GetRole(k.Ctx(), &iam.GetRoleInput{RoleName: &name})
		if err != nil {
			t.Fatal(err)
		}
		return out.Role
	}
	got := get()
	// The text comes URL-encoded, as RFC 3986 has it.
	if encoded := aws.ToString(got.AssumeRolePolicyDocument); strings.ContainsAny(encoded, ` {"+`) || k.Text(&encoded) != lambdaTrust {
		t.Errorf("trust policy %s", encoded)
	}
	if aws.ToString(got.Description) != "made for a test" || aws.ToInt32(got.MaxSessionDuration) != 7200 || len(got.Tags) != 1 || got.PermissionsBoundary != nil {
		t.Errorf("GetRole = %+v", got)
	}
	wantExists(t, errOf(k.IAM.CreateRole(k.Ctx(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &lambdaTrust})), "Role with name "+name+" already exists.")
	k.Must(k.IAM.UpdateRole(k.Ctx(), &iam.UpdateRoleInput{RoleName: &name, Description: aws.String(""), MaxSessionDuration: aws.Int32(3600)}))
	if got := get(); aws.ToString(got.Description) != "" || *got.MaxSessionDuration != 3600 {
		t.Errorf("after UpdateRole: %q %d", aws.ToString(got.Description), *got.MaxSessionDuration)
	}
	described, err := k.IAM.UpdateRoleDescription(k.Ctx(), &iam.UpdateRoleDescriptionInput{RoleName: &name, Description: aws.String("again")})
	if err != nil {
		t.Fatal(err)
	}
	if aws.ToString(described.Role.Description) != "again" || aws.ToString(described.Role.Arn) != aws.ToString(made.Arn) {
		t.Errorf("UpdateRoleDescription = %+v", described.Role)
	}
	k.Must(k.IAM.DeleteRole(k.Ctx(), &iam.DeleteRoleInput{RoleName: &name}))
	wantMissing(t, errOf(k.IAM.GetRole(k.Ctx(), &iam.GetRoleInput{RoleName: &name})), noRole(name))
	wantMissing(t, errOf(k.IAM.DeleteRole(k.Ctx(), &iam.DeleteRoleInput{RoleName: &name})), noRole(name))
}

func TestRoleErrors(t *testing.T) {
	k := identity.New(t, shared)
	none := k.Prefix + "none"
	for what, call := range map[string]func() error{
		"GetRole":    func() error { return errOf(k.IAM.GetRole(k.Ctx(), &iam.GetRoleInput{RoleName: &none})) },
		"UpdateRole": func() error { return errOf(k.IAM.UpdateRole(k.Ctx(), &iam.UpdateRoleInput{RoleName: &none})) },
		"UpdateAssumeRolePolicy": func() error {
			return errOf(k.IAM.UpdateAssumeRolePolicy(k.Ctx(), &iam.UpdateAssumeRolePolicyInput{RoleName: &none, PolicyDocument: &lambdaTrust}))
		},
		"ListRoleTags": func() error { return errOf(k.IAM.ListRoleTags(k.Ctx(), &iam.ListRoleTagsInput{RoleName: &none})) },
		"ListRolePolicies": func() error {
			return errOf(k.IAM.ListRolePolicies(k.Ctx(), &iam.ListRolePoliciesInput{RoleName: &none}))
		},
		"ListAttachedRolePolicies": func() error {
			return errOf(k.IAM.ListAttachedRolePolicies(k.Ctx(), &iam.ListAttachedRolePoliciesInput{RoleName: &none}))
		},
	} {
		t.Log(what)
		wantMissing(t, call(), noRole(none))
	}
	create := func(trust string, change ...func(*iam.CreateRoleInput)) error {
		in := &iam.CreateRoleInput{RoleName: &none, AssumeRolePolicyDocument: &trust}
		for _, c := range change {
			c(in)
		}
		return errOf(k.IAM.CreateRole(k.Ctx(), in))
	}
	unknown := "arn:aws:iam::" + k.ID + ":user/" + none
	wantMalformed(t, create("{"), textNotJSON)
	wantMalformed(t, create(identity.Trust(unknown)), `Invalid principal in policy: "AWS":"`+unknown+`"`)
	wantMalformed(t, create(identity.Allow("sts:AssumeRole", "*")), "")                                                                                                                            // no principal
	wantMalformed(t, create(identity.Policy(identity.Statement{Effect: "Allow", Principal: identity.Principals(k.ID), Action: "sts:AssumeRole", Resource: "*"})), "Has prohibited field Resource") // a resource
	wantMalformed(t, create(strings.Replace(lambdaTrust, "Allow", "Permit", 1)), "")
	wantInvalid(t, create(lambdaTrust, func(in *iam.CreateRoleInput) { in.MaxSessionDuration = aws.Int32(3599) }), "")
	wantInvalid(t, create(lambdaTrust, func(in *iam.CreateRoleInput) { in.MaxSessionDuration = aws.Int32(43201) }), "")
	wantInvalid(t, create(lambdaTrust, func(in *iam.CreateRoleInput) { in.RoleName = aws.String(strings.Repeat("x", 65)) }), "")
	wantInvalidInput(t, create(lambdaTrust, func(in *iam.CreateRoleInput) { in.Tags = identity.Tags("a", "1", "A", "2") }), textDuplicateTags)
	wantLimit(t, create(strings.Replace(lambdaTrust, `"Allow"`, `"Allow","Sid":"`+strings.Repeat("x", 2048)+`"`, 1)), "Cannot exceed quota for ACLSizePerRole: 2048")
	wantMissing(t, errOf(k.IAM.GetRole(k.Ctx(), &iam.GetRoleInput{RoleName: &none})), noRole(none))
}

// A trust policy keeps whom it names by unique id.
func TestTrustPrincipals(t *testing.T) {
	k := identity.New(t, shared)
	user := newUser(k, "user")
	text := identity.Trust(*user.Arn)
	role := newRole(k, "role", text)
	trust := func() string {
		t.Helper()
		out, err := k.IAM.GetRole(k.Ctx(), &iam.GetRoleInput{RoleName: role.RoleName})
		if err != nil {
			t.Fatal(err)
		}
		return k.Text(out.Role.AssumeRolePolicyDocument)
	}
	identity.SameJSON(t, trust(), text)
	k.Must(k.IAM.DeleteUser(k.Ctx(), &iam.DeleteUserInput{UserName: user.UserName}))
	k.Settle()
	identity.SameJSON(t, trust(), identity.Trust(*user.UserId))
	newUser(k, "user")
	identity.SameJSON(t, trust(), identity.Trust(*user.UserId))
	k.Must(k.IAM.UpdateAssumeRolePolicy(k.Ctx(), &iam.UpdateAssumeRolePolicyInput{RoleName: role.RoleName, PolicyDocument: &lambdaTrust}))
	identity.SameJSON(t, trust(), lambdaTrust)
	// An account may be named by its id and is shown by its root.
	k.Must(k.IAM.UpdateAssumeRolePolicy(k.Ctx(), &iam.UpdateAssumeRolePolicyInput{RoleName: role.RoleName, PolicyDocument: aws.String(identity.Trust(k.ID))}))
	identity.SameJSON(t, trust(), identity.Trust(k.Root()))
	none := "arn:aws:iam::" + k.ID + ":role/" + k.Prefix + "none"
	wantMalformed(t, errOf(k.IAM.UpdateAssumeRolePolicy(k.Ctx(), &iam.UpdateAssumeRolePolicyInput{RoleName: role.RoleName, PolicyDocument: aws.String(identity.Trust(none))})),
		`Invalid principal in policy: "AWS":"`+none+`"`)
	identity.SameJSON(t, trust(), identity.Trust(k.Root()))
}

// sized is a policy of at least so many characters.
func sized(chars int) string {
	return identity.Allow("s3:*", "arn:aws:s3:::"+strings.Repeat("x", chars))
}

// Inline policies of users, groups and roles are alike.
func TestInlinePolicies(t *testing.T) {
	k := identity.New(t, shared)
	user, role := newUser(k, "user"), newRole(k, "role", lambdaTrust)
	group := k.Group("group")
	type inline struct {
		quota  int
		put    func(name, text string) error
		get    func(name string) (*string, error)
		list   func() ([]string, error)
		remove func(name string) error
		none   string
	}
	for kind, of := range map[string]inline{
		"user": {2048,
			func(name, text string) error {
				return errOf(k.IAM.PutUserPolicy(k.Ctx(), &iam.PutUserPolicyInput{UserName: user.UserName, PolicyName: &name, PolicyDocument: &text}))
			},
			func(name string) (*string, error) {
				out, err := k.IAM.GetUserPolicy(k.Ctx(), &iam.GetUserPolicyInput{UserName: user.UserName, PolicyName: &name})
				if err != nil {
					return nil, err
				}
				return out.PolicyDocument, nil
			},
			func() ([]string, error) {
				out, err := k.IAM.ListUserPolicies(k.Ctx(), &iam.ListUserPoliciesInput{UserName: user.UserName})
				if err != nil {
					return nil, err
				}
				return out.PolicyNames, nil
			},
			func(name string) error {
				return errOf(k.IAM.DeleteUserPolicy(k.Ctx(), &iam.DeleteUserPolicyInput{UserName: user.UserName, PolicyName: &name}))
			}, "The user policy with name none cannot be found."},
		"group": {5120,
			func(name, text string) error {
				return errOf(k.IAM.PutGroupPolicy(k.Ctx(), &iam.PutGroupPolicyInput{GroupName: &group, PolicyName: &name, PolicyDocument: &text}))
			},
			func(name string) (*string, error) {
				out, err := k.IAM.GetGroupPolicy(k.Ctx(), &iam.GetGroupPolicyInput{GroupName: &group, PolicyName: &name})
				if err != nil {
					return nil, err
				}
				return out.PolicyDocument, nil
			},
			func() ([]string, error) {
				out, err := k.IAM.ListGroupPolicies(k.Ctx(), &iam.ListGroupPoliciesInput{GroupName: &group})
				if err != nil {
					return nil, err
				}
				return out.PolicyNames, nil
			},
			func(name string) error {
				return errOf(k.IAM.DeleteGroupPolicy(k.Ctx(), &iam.DeleteGroupPolicyInput{GroupName: &group, PolicyName: &name}))
			}, "The group policy with name none cannot be found."},
		"role": {10240,
			func(name, text string) error {
				return errOf(k.IAM.PutRolePolicy(k.Ctx(), &iam.PutRolePolicyInput{RoleName: role.RoleName, PolicyName: &name, PolicyDocument: &text}))
			},
			func(name string) (*string, error) {
				out, err := k.IAM.GetRolePolicy(k.Ctx(), &iam.GetRolePolicyInput{RoleName: role.RoleName, PolicyName: &name})
				if err != nil {
					return nil, err
				}
				return out.PolicyDocument, nil
			},
			func() ([]string, error) {
				out, err := k.IAM.ListRolePolicies(k.Ctx(), &iam.ListRolePoliciesInput{RoleName: role.RoleName})
				if err != nil {
					return nil, err
				}
				return out.PolicyNames, nil
			},
			func(name string) error {
				return errOf(k.IAM.DeleteRolePolicy(k.Ctx(), &iam.DeleteRolePolicyInput{RoleName: role.RoleName, PolicyName: &name}))
			}, "The role policy with name none cannot be found."},
	} {
		t.Run(kind, func(t *testing.T) {
			// White space and order are kept.
			first, second := "{\n  \"Version\" : \"2012-10-17\",\n\t\"Statement\": {\"Resource\":\"*\", \"Action\":\"s3:Get*\", \"Effect\":\"Allow\"}\n}", identity.Allow([]string{"s3:*", "iam:List*"}, "*")
			for name, text := range map[string]string{"b": second, "a": first} {
				k.Must(nil, of.put(name, text))
			}
			for name, text := range map[string]string{"a": first, "b": second} {
				got, err := of.get(name)
				if err != nil {
					t.Fatal(err)
				}
				if k.Text(got) != text {
					t.Errorf("%s: %s", name, *got)
				}
			}
			if names, err := of.list(); err != nil || strings.Join(names, " ") != "a b" {
				t.Errorf("list = %q, %v", names, err)
			}
			k.Must(nil, of.put("a", second)) // replaces
			if got, err := of.get("a"); err != nil || k.Text(got) != second {
				t.Errorf("replaced: %v, %v", got, err)
			}
			_, err := of.get("none")
			wantMissing(t, err, of.none)
			wantMissing(t, of.remove("none"), of.none)
			wantMalformed(t, of.put("a", "{"), textNotJSON)
			wantMalformed(t, of.put("a", identity.Share("s3:*", k.ID)), "Policy document should not specify a principal.")
			wantMalformed(t, of.put("a", strings.Replace(second, "Allow", "Permit", 1)), "")
			wantMalformed(t, of.put("a", strings.Replace(second, `"*"`, `"everything"`, 1)), "")
			wantMalformed(t, of.put("a", strings.Replace(second, `"s3:*"`, `"s3"`, 1)), "")
			wantInvalid(t, of.put("a b", second), "")
			big := sized(of.quota)
			wantLimit(t, of.put("c", big), "")
			// All of them together count, without their white space.
			half := sized(of.quota / 2)
			k.Must(nil, of.put("c", half+strings.Repeat(" ", of.quota)))
			wantLimit(t, of.put("d", half), "")
			for _, name := range []string{"a", "b", "c"} {
				k.Must(nil, of.remove(name))
			}
			if names, err := of.list(); err != nil || len(names) != 0 {
				t.Errorf("list = %q, %v", names, err)
			}
		})
	}
}

// A role goes when nothing hangs on it any more.
func TestDeleteRoleConflicts(t *testing.T) {
	k := identity.New(t, shared)
	role := newRole(k, "role", lambdaTrust)
	managed := k.Policy("managed", identity.Allow("*", "*"))
	remove := func() error { return errOf(k.IAM.DeleteRole(k.Ctx(), &iam.DeleteRoleInput{RoleName: role.RoleName})) }
	k.Must(k.IAM.AttachRolePolicy(k.Ctx(), &iam.AttachRolePolicyInput{RoleName: role.RoleName, PolicyArn: &managed}))
	wantConflict(t, remove(), "Cannot delete entity, must detach all policies first.")
	k.Must(k.IAM.DetachRolePolicy(k.Ctx(), &iam.DetachRolePolicyInput{RoleName: role.RoleName, PolicyArn: &managed}))
	k.Must(k.IAM.PutRolePolicy(k.Ctx(), &iam.PutRolePolicyInput{RoleName: role.RoleName, PolicyName: aws.String("p"), PolicyDocument: aws.String(identity.Allow("*", "*"))}))
	wantConflict(t, remove(), "Cannot delete entity, must delete policies first.")
	k.Must(k.IAM.DeleteRolePolicy(k.Ctx(), &iam.DeleteRolePolicyInput{RoleName: role.RoleName, PolicyName: aws.String("p")}))
	profiles, err := k.IAM.ListInstanceProfilesForRole(k.Ctx(), &iam.ListInstanceProfilesForRoleInput{RoleName: role.RoleName})
	if err != nil || len(profiles.InstanceProfiles) != 0 {
		t.Errorf("ListInstanceProfilesForRole = %+v, %v", profiles, err)
	}
	k.Must(nil, remove())
}

// The encoding of texts is that of URLs.
func TestPolicyEncoding(t *testing.T) {
	k := identity.New(t, shared)
	role := newRole(k, "role", lambdaTrust)
	text := strings.Replace(identity.Allow("s3:*", "arn:aws:s3:::bücket/a b+c%20d/${aws:username}~_-.*"), "{", "{ ", 1)
	k.Must(k.IAM.PutRolePolicy(k.Ctx(), &iam.PutRolePolicyInput{RoleName: role.RoleName, PolicyName: aws.String("p"), PolicyDocument: &text}))
	k.Cleanup(func(ctx ctx) {
		_, _ = k.IAM.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: role.RoleName, PolicyName: aws.String("p")})
	})
	out, err := k.IAM.GetRolePolicy(k.Ctx(), &iam.GetRolePolicyInput{RoleName: role.RoleName, PolicyName: aws.String("p")})
	if err != nil {
		t.Fatal(err)
	}
	got := aws.ToString(out.PolicyDocument)
	if regexp.MustCompile(`[^A-Za-z0-9%._~*-]`).MatchString(got) || !strings.Contains(got, "%20") || strings.Contains(got, "+") {
		t.Errorf("encoded as %s", got)
	}
	if back, err := url.PathUnescape(got); err != nil || back != text {
		t.Errorf("decoded %s, want %s", back, text)
	}
}
