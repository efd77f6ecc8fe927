package iam_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"arca/internal/api/iamapi"
	"arca/internal/call"
	"arca/internal/iam"
	"arca/internal/policy"
	"arca/internal/store"
)

// denyPolicy is simplePolicy the other way round.
var denyPolicy = strings.Replace(simplePolicy, "Allow", "Deny", 1)

// key is a condition key with one value.
func key(name, value string) policy.ContextKey {
	return policy.ContextKey{Name: name, Values: []string{value}}
}

func ownPolicyARN(name string) string { return "arn:aws:iam::" + account + ":policy/" + name }

func (h *house) getPolicy(t testing.TB, arn string, options ...callOption) *iamapi.Policy {
	t.Helper()
	return must[iamapi.GetPolicyOutput](t, h, iamapi.OpGetPolicy, &iamapi.GetPolicyInput{PolicyArn: arn}, options...).Policy
}

// inForce is the text of a managed policy by which decisions are made.
func (h *house) inForce(t testing.TB, arn string) (doc string) {
	t.Helper()
	h.view(t, func(v *store.Snap) {
		var ok bool
		if doc, ok = h.svc.PolicyText(v, arn); !ok {
			t.Errorf("policy %s has no text", arn)
		}
	})
	return doc
}

func TestPolicyLifecycle(t *testing.T) {
	h := newHouse(t)
	created := must[iamapi.CreatePolicyOutput](t, h, iamapi.OpCreatePolicy, &iamapi.CreatePolicyInput{
		PolicyName: "Readers", Path: new("/app/"), PolicyDocument: simplePolicy, Description: new("reads"), Tags: tags("k", "v"),
	}).Policy
	want := &iamapi.Policy{
		PolicyName: new("Readers"), PolicyId: created.PolicyId, Arn: new(ownPolicyARN("app/Readers")), Path: new("/app/"),
		DefaultVersionId: new("v1"), AttachmentCount: new(int32(0)), PermissionsBoundaryUsageCount: new(int32(0)),
		IsAttachable: new(true), CreateDate: &start, UpdateDate: &start, Tags: tags("k", "v"),
	}
	if diff := cmp.Diff(want, created); diff != "" {
		t.Errorf("CreatePolicy (-want +got):\n%s", diff)
	}
	if asked := h.questions(); asked[0].Resource != *created.Arn || asked[0].Shown != "policy Readers" {
		t.Errorf("asked about %s, shown as %s", asked[0].Resource, asked[0].Shown)
	}
	if !strings.HasPrefix(*created.PolicyId, "ANPA") || len(*created.PolicyId) != 21 {
		t.Errorf("PolicyId = %s", *created.PolicyId)
	}
	want.Description = new("reads")
	if diff := cmp.Diff(want, h.getPolicy(t, *created.Arn)); diff != "" {
		t.Errorf("GetPolicy (-want +got):\n%s", diff)
	}

	// Uses are counted, a boundary apart from attachments.
	h.createRole(t, "app", func(in *iamapi.CreateRoleInput) { in.PermissionsBoundary = created.Arn })
	h.run(t, iamapi.OpAttachRolePolicy, &iamapi.AttachRolePolicyInput{RoleName: "app", PolicyArn: *created.Arn})
	if got := h.getPolicy(t, *created.Arn); *got.AttachmentCount != 1 || *got.PermissionsBoundaryUsageCount != 1 {
		t.Errorf("counts = %d, %d", *got.AttachmentCount, *got.PermissionsBoundaryUsageCount)
	}
	remove := &iamapi.DeletePolicyInput{PolicyArn: *created.Arn}
	const attached = "DeleteConflict: Cannot delete a policy attached to entities."
	h.refused(t, attached, iamapi.OpDeletePolicy, remove)
	h.run(t, iamapi.OpDetachRolePolicy, &iamapi.DetachRolePolicyInput{RoleName: "app", PolicyArn: *created.Arn})
	h.refused(t, attached, iamapi.OpDeletePolicy, remove)
	h.run(t, iamapi.OpDeleteRolePermissionsBoundary, &iamapi.DeleteRolePermissionsBoundaryInput{RoleName: "app"})
	h.run(t, iamapi.OpCreatePolicyVersion, &iamapi.CreatePolicyVersionInput{PolicyArn: *created.Arn, PolicyDocument: denyPolicy})
	h.refused(t, "DeleteConflict: This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.",
		iamapi.OpDeletePolicy, remove)
	h.run(t, iamapi.OpDeletePolicyVersion, &iamapi.DeletePolicyVersionInput{PolicyArn: *created.Arn, VersionId: "v2"})
	h.run(t, iamapi.OpDeletePolicy, remove)
	h.refused(t, "NoSuchEntity: Policy "+*created.Arn+" was not found.", iamapi.OpGetPolicy, &iamapi.GetPolicyInput{PolicyArn: *created.Arn})
	if again := h.createPolicy(t, "readers"); again != ownPolicyARN("readers") {
		t.Errorf("made anew: %s", again)
	}
}

func TestCreatePolicyRefused(t *testing.T) {
	h := newHouse(t, func(q *iam.Quotas) { q.Policies = 2; q.Tags = 1 })
	h.createPolicy(t, "One")
	for _, tc := range []struct {
		name string
		set  func(in *iamapi.CreatePolicyInput)
		want string
	}{
		{"name in use, on another path and in another case", func(in *iamapi.CreatePolicyInput) { in.PolicyName, in.Path = "ONE", new("/x/") },
			"EntityAlreadyExists: A policy called ONE already exists. Duplicate names are not allowed."},
		{"not JSON", func(in *iamapi.CreatePolicyInput) { in.PolicyDocument = "policy" }, "MalformedPolicyDocument: This policy contains invalid Json"},
		{"trust policy", func(in *iamapi.CreatePolicyInput) { in.PolicyDocument = ownTrust }, "MalformedPolicyDocument: Policy document should not specify a principal."},
		{"too long", func(in *iamapi.CreatePolicyInput) { in.PolicyDocument = manyStatements(simplePolicy, 90) }, "LimitExceeded: Cannot exceed quota for PolicySize: 6144"},
		{"longer than any policy", func(in *iamapi.CreatePolicyInput) { in.PolicyDocument = strings.Repeat("x", 131072) }, "LimitExceeded: Cannot exceed quota for PolicySize: 6144"},
		{"too many tags", func(in *iamapi.CreatePolicyInput) { in.Tags = tags("a", "1", "b", "2") }, "LimitExceeded: Cannot exceed quota for TagsPerPolicy: 1"},
		{"reserved tag", func(in *iamapi.CreatePolicyInput) { in.Tags = tags("aws:a", "1") }, "InvalidInput: Tag keys that begin with aws: are reserved for system use."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := &iamapi.CreatePolicyInput{PolicyName: "two", PolicyDocument: simplePolicy}
			tc.set(in)
			h.refused(t, tc.want, iamapi.OpCreatePolicy, in)
		})
	}
	// White space is not counted.
	h.run(t, iamapi.OpCreatePolicy, &iamapi.CreatePolicyInput{PolicyName: "two", PolicyDocument: simplePolicy + strings.Repeat(" \n", 5000)})
	h.refused(t, "LimitExceeded: Cannot exceed quota for PoliciesPerAccount: 2", iamapi.OpCreatePolicy,
		&iamapi.CreatePolicyInput{PolicyName: "three", PolicyDocument: simplePolicy})
}

func TestPolicyVersions(t *testing.T) {
	h := newHouse(t)
	arn := h.createPolicy(t, "p")
	create := func(doc string, asDefault bool) *iamapi.PolicyVersion {
		t.Helper()
		h.now = h.now.Add(time.Minute)
		return must[iamapi.CreatePolicyVersionOutput](t, h, iamapi.OpCreatePolicyVersion,
			&iamapi.CreatePolicyVersionInput{PolicyArn: arn, PolicyDocument: doc, SetAsDefault: &asDefault}).PolicyVersion
	}
	v2 := create(denyPolicy, false)
	if *v2.VersionId != "v2" || *v2.IsDefaultVersion || v2.Document != nil || !v2.CreateDate.Equal(h.now) {
		t.Errorf("v2 = %+v", v2)
	}
	if got := h.getPolicy(t, arn); *got.DefaultVersionId != "v1" || !got.UpdateDate.Equal(h.now) || !got.CreateDate.Before(h.now) {
		t.Errorf("policy = %+v", got)
	}
	if got := h.inForce(t, arn); got != simplePolicy {
		t.Errorf("in force: %s", got)
	}
	if v3 := create(denyPolicy, true); *v3.VersionId != "v3" || !*v3.IsDefaultVersion {
		t.Errorf("v3 = %+v", v3)
	}
	if got := h.inForce(t, arn); got != denyPolicy {
		t.Errorf("in force: %s", got)
	}
	h.run(t, iamapi.OpSetDefaultPolicyVersion, &iamapi.SetDefaultPolicyVersionInput{PolicyArn: arn, VersionId: "v1"})
	if got := h.inForce(t, arn); got != simplePolicy {
		t.Errorf("in force: %s", got)
	}
	got := must[iamapi.GetPolicyVersionOutput](t, h, iamapi.OpGetPolicyVersion, &iamapi.GetPolicyVersionInput{PolicyArn: arn, VersionId: "v3"}).PolicyVersion
	if unescaped(t, *got.Document) != denyPolicy || *got.IsDefaultVersion || strings.ContainsAny(*got.Document, `{" +`) {
		t.Errorf("GetPolicyVersion = %+v", got)
	}
	list := func(max int32) (ids []string) {
		in := &iamapi.ListPolicyVersionsInput{PolicyArn: arn, MaxItems: &max}
		for {
			out := must[iamapi.ListPolicyVersionsOutput](t, h, iamapi.OpListPolicyVersions, in)
			for _, v := range out.Versions {
				id := *v.VersionId
				if *v.IsDefaultVersion {
					id += "!"
				}
				ids = append(ids, id)
			}
			if in.Marker = out.Marker; in.Marker == nil {
				return ids
			}
		}
	}
	if got := list(2); !slices.Equal(got, []string{"v3", "v2", "v1!"}) {
		t.Errorf("versions = %q", got)
	}

	none := "NoSuchEntity: Policy " + arn + " version v9 does not exist or is not attachable."
	h.refused(t, none, iamapi.OpGetPolicyVersion, &iamapi.GetPolicyVersionInput{PolicyArn: arn, VersionId: "v9"})
	h.refused(t, none, iamapi.OpDeletePolicyVersion, &iamapi.DeletePolicyVersionInput{PolicyArn: arn, VersionId: "v9"})
	h.refused(t, none, iamapi.OpSetDefaultPolicyVersion, &iamapi.SetDefaultPolicyVersionInput{PolicyArn: arn, VersionId: "v9"})
	h.refused(t, "DeleteConflict: Cannot delete the default version of a policy.", iamapi.OpDeletePolicyVersion, &iamapi.DeletePolicyVersionInput{PolicyArn: arn, VersionId: "v1"})
	h.refused(t, "MalformedPolicyDocument: This policy contains invalid Json", iamapi.OpCreatePolicyVersion, &iamapi.CreatePolicyVersionInput{PolicyArn: arn, PolicyDocument: "x"})
	create(simplePolicy, false)
	create(simplePolicy, false)
	h.refused(t, "LimitExceeded: A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing version.",
		iamapi.OpCreatePolicyVersion, &iamapi.CreatePolicyVersionInput{PolicyArn: arn, PolicyDocument: simplePolicy})
	// An id is never used again.
	h.run(t, iamapi.OpDeletePolicyVersion, &iamapi.DeletePolicyVersionInput{PolicyArn: arn, VersionId: "v5"})
	if v := create(simplePolicy, false); *v.VersionId != "v6" {
		t.Errorf("after v5 was deleted: %s", *v.VersionId)
	}
	if got := list(100); !slices.Equal(got, []string{"v6", "v4", "v3", "v2", "v1!"}) {
		t.Errorf("versions = %q", got)
	}
}

// The server's own policies are there in every account, are read like any other, and
// nobody changes them.
func TestBuiltinPoliciesAreReadOnly(t *testing.T) {
	h := newHouse(t)
	h.createUser(t, "ann")
	h.run(t, iamapi.OpAttachUserPolicy, &iamapi.AttachUserPolicyInput{UserName: "ann", PolicyArn: adminARN})
	h.createRole(t, "app", func(in *iamapi.CreateRoleInput) { in.PermissionsBoundary = new(adminARN) })
	got := h.getPolicy(t, adminARN)
	if *got.Arn != adminARN || *got.PolicyName != "AdministratorAccess" || *got.DefaultVersionId != "v1" || *got.AttachmentCount != 1 || *got.PermissionsBoundaryUsageCount != 1 {
		t.Errorf("GetPolicy = %+v", got)
	}
	if other := h.getPolicy(t, adminARN, otherRoot()); *other.PolicyId != *got.PolicyId || *other.AttachmentCount != 0 || *other.PermissionsBoundaryUsageCount != 0 {
		t.Errorf("GetPolicy in the other account = %+v", other)
	}
	ver := must[iamapi.GetPolicyVersionOutput](t, h, iamapi.OpGetPolicyVersion, &iamapi.GetPolicyVersionInput{PolicyArn: adminARN, VersionId: "v1"}).PolicyVersion
	if unescaped(t, *ver.Document) != h.inForce(t, adminARN) {
		t.Errorf("GetPolicyVersion = %+v", ver)
	}
	if out := must[iamapi.ListPolicyVersionsOutput](t, h, iamapi.OpListPolicyVersions, &iamapi.ListPolicyVersionsInput{PolicyArn: adminARN}); len(out.Versions) != 1 {
		t.Errorf("versions = %+v", out.Versions)
	}
	if out := must[iamapi.ListPolicyTagsOutput](t, h, iamapi.OpListPolicyTags, &iamapi.ListPolicyTagsInput{PolicyArn: adminARN}); len(out.Tags) != 0 {
		t.Errorf("tags = %+v", out.Tags)
	}
	denied := func(action string) string {
		return "AccessDenied: User: arn:aws:iam::" + account + ":root is not authorized to perform: iam:" + action + " on resource: policy " + adminARN
	}
	h.refused(t, denied("DeletePolicy"), iamapi.OpDeletePolicy, &iamapi.DeletePolicyInput{PolicyArn: adminARN})
	h.refused(t, denied("CreatePolicyVersion"), iamapi.OpCreatePolicyVersion, &iamapi.CreatePolicyVersionInput{PolicyArn: adminARN, PolicyDocument: simplePolicy})
	h.refused(t, denied("DeletePolicyVersion"), iamapi.OpDeletePolicyVersion, &iamapi.DeletePolicyVersionInput{PolicyArn: adminARN, VersionId: "v1"})
	h.refused(t, denied("SetDefaultPolicyVersion"), iamapi.OpSetDefaultPolicyVersion, &iamapi.SetDefaultPolicyVersionInput{PolicyArn: adminARN, VersionId: "v1"})
	h.refused(t, denied("TagPolicy"), iamapi.OpTagPolicy, &iamapi.TagPolicyInput{PolicyArn: adminARN, Tags: tags("a", "b")})
	h.refused(t, denied("UntagPolicy"), iamapi.OpUntagPolicy, &iamapi.UntagPolicyInput{PolicyArn: adminARN, TagKeys: []string{"a"}})
	h.refused(t, "NoSuchEntity: Policy arn:aws:iam::aws:policy/None was not found.", iamapi.OpGetPolicy, &iamapi.GetPolicyInput{PolicyArn: "arn:aws:iam::aws:policy/None"})
	// A customer's policy of the same name is another one.
	own := h.createPolicy(t, "AdministratorAccess")
	if got := h.inForce(t, own); got != simplePolicy {
		t.Errorf("in force: %s", got)
	}
}

func TestListPolicies(t *testing.T) {
	h := newHouse(t)
	for i, name := range []string{"b", "A", "c"} {
		h.run(t, iamapi.OpCreatePolicy, &iamapi.CreatePolicyInput{PolicyName: name, PolicyDocument: simplePolicy, Path: new([]string{"/", "/x/"}[i%2])})
	}
	h.run(t, iamapi.OpCreatePolicy, &iamapi.CreatePolicyInput{PolicyName: "foreign", PolicyDocument: simplePolicy}, otherRoot())
	h.createRole(t, "app", func(in *iamapi.CreateRoleInput) { in.PermissionsBoundary = new(ownPolicyARN("c")) })
	for _, arn := range []string{ownPolicyARN("b"), adminARN} {
		h.run(t, iamapi.OpAttachRolePolicy, &iamapi.AttachRolePolicyInput{RoleName: "app", PolicyArn: arn})
	}
	var builtin []string
	for _, p := range iam.BuiltinPolicies() {
		builtin = append(builtin, p.Name)
	}
	local := []string{"A", "b", "c"}
	for _, tc := range []struct {
		name string
		in   iamapi.ListPoliciesInput
		want []string
	}{
		{"default", iamapi.ListPoliciesInput{}, append(slices.Clone(local), builtin...)},
		{"all", iamapi.ListPoliciesInput{Scope: new("All")}, append(slices.Clone(local), builtin...)},
		{"local", iamapi.ListPoliciesInput{Scope: new("Local")}, local},
		{"AWS", iamapi.ListPoliciesInput{Scope: new("AWS")}, builtin},
		{"attached", iamapi.ListPoliciesInput{OnlyAttached: new(true)}, []string{"b", "AdministratorAccess"}},
		{"not only attached", iamapi.ListPoliciesInput{OnlyAttached: new(false), Scope: new("Local")}, local},
		{"used for permissions", iamapi.ListPoliciesInput{PolicyUsageFilter: new("PermissionsPolicy")}, []string{"b", "AdministratorAccess"}},
		{"used as boundaries", iamapi.ListPoliciesInput{PolicyUsageFilter: new("PermissionsBoundary")}, []string{"c"}},
		{"attached as boundaries", iamapi.ListPoliciesInput{PolicyUsageFilter: new("PermissionsBoundary"), OnlyAttached: new(true)}, []string{"c"}},
		{"below a path", iamapi.ListPoliciesInput{PathPrefix: new("/x/")}, []string{"A"}},
		{"below a path of the server's", iamapi.ListPoliciesInput{PathPrefix: new("/service-role/")}, []string{"AWSLambdaBasicExecutionRole", "AWSLambdaRole"}},
	} {
		for _, size := range []int32{1, 3, 1000} {
			t.Run(fmt.Sprintf("%s by %d", tc.name, size), func(t *testing.T) {
				in := tc.in
				in.MaxItems = &size
				var got []string
				for {
					out := must[iamapi.ListPoliciesOutput](t, h, iamapi.OpListPolicies, &in)
					for _, p := range out.Policies {
						got = append(got, *p.PolicyName)
						if p.Tags != nil || p.Description != nil {
							t.Errorf("entry %+v", p)
						}
					}
					if int32(len(out.Policies)) > size {
						t.Errorf("page of %d", len(out.Policies))
					}
					if !*out.IsTruncated {
						break
					}
					in.Marker = out.Marker
				}
				if !slices.Equal(got, tc.want) {
					t.Errorf("listed %q, want %q", got, tc.want)
				}
			})
		}
	}
	// A marker belongs to its question.
	first := must[iamapi.ListPoliciesOutput](t, h, iamapi.OpListPolicies, &iamapi.ListPoliciesInput{MaxItems: new(int32(1))})
	h.refused(t, "ValidationError: The Marker value is invalid.", iamapi.OpListPolicies, &iamapi.ListPoliciesInput{Scope: new("Local"), Marker: first.Marker})
	h.refused(t, "ValidationError: The Marker value is invalid.", iamapi.OpListPolicies, &iamapi.ListPoliciesInput{Marker: first.Marker}, otherRoot())
}

func TestListEntitiesForPolicy(t *testing.T) {
	h := newHouse(t)
	arn := h.createPolicy(t, "p")
	for _, policyARN := range []string{arn, adminARN} {
		h.createUserWith(t, "bob-"+policyARN[len(policyARN)-1:], "/", policyARN, "")
		h.createUserWith(t, "Ann-"+policyARN[len(policyARN)-1:], "/x/", policyARN, policyARN)
		h.createUserWith(t, "cat-"+policyARN[len(policyARN)-1:], "/", "", policyARN)
		group := "ops-" + policyARN[len(policyARN)-1:]
		h.createGroup(t, group)
		h.run(t, iamapi.OpAttachGroupPolicy, &iamapi.AttachGroupPolicyInput{GroupName: group, PolicyArn: policyARN})
		role := "app-" + policyARN[len(policyARN)-1:]
		h.createRole(t, role, func(in *iamapi.CreateRoleInput) { in.PermissionsBoundary = &policyARN })
	}
	for _, tc := range []struct {
		name string
		in   iamapi.ListEntitiesForPolicyInput
		want []string
	}{
		{"all", iamapi.ListEntitiesForPolicyInput{}, []string{"group ops", "user Ann", "user bob", "user cat", "role app"}},
		{"users", iamapi.ListEntitiesForPolicyInput{EntityFilter: new("User")}, []string{"user Ann", "user bob", "user cat"}},
		{"groups", iamapi.ListEntitiesForPolicyInput{EntityFilter: new("Group")}, []string{"group ops"}},
		{"roles", iamapi.ListEntitiesForPolicyInput{EntityFilter: new("Role")}, []string{"role app"}},
		{"policies", iamapi.ListEntitiesForPolicyInput{EntityFilter: new("LocalManagedPolicy")}, nil},
		{"attached", iamapi.ListEntitiesForPolicyInput{PolicyUsageFilter: new("PermissionsPolicy")}, []string{"group ops", "user Ann", "user bob"}},
		{"boundaries", iamapi.ListEntitiesForPolicyInput{PolicyUsageFilter: new("PermissionsBoundary")}, []string{"user Ann", "user cat", "role app"}},
		{"below a path", iamapi.ListEntitiesForPolicyInput{PathPrefix: new("/x/")}, []string{"user Ann"}},
	} {
		for _, policyARN := range []string{arn, adminARN} {
			for _, size := range []int32{1, 2, 100} {
				t.Run(fmt.Sprintf("%s of %s by %d", tc.name, policyARN, size), func(t *testing.T) {
					in := tc.in
					in.PolicyArn, in.MaxItems = policyARN, &size
					suffix := "-" + policyARN[len(policyARN)-1:]
					var got []string
					for {
						out := must[iamapi.ListEntitiesForPolicyOutput](t, h, iamapi.OpListEntitiesForPolicy, &in)
						for _, g := range out.PolicyGroups {
							got = append(got, "group "+strings.TrimSuffix(*g.GroupName, suffix))
						}
						for _, u := range out.PolicyUsers {
							got = append(got, "user "+strings.TrimSuffix(*u.UserName, suffix))
						}
						for _, r := range out.PolicyRoles {
							got = append(got, "role "+strings.TrimSuffix(*r.RoleName, suffix))
						}
						if !*out.IsTruncated {
							break
						}
						in.Marker = out.Marker
					}
					if !slices.Equal(got, tc.want) {
						t.Errorf("listed %q, want %q", got, tc.want)
					}
				})
			}
		}
	}
	// Who uses a policy of the server's in another account is that account's business.
	if out := must[iamapi.ListEntitiesForPolicyOutput](t, h, iamapi.OpListEntitiesForPolicy, &iamapi.ListEntitiesForPolicyInput{PolicyArn: adminARN}, otherRoot()); len(out.PolicyUsers) != 0 {
		t.Errorf("in the other account: %+v", out)
	}
}

func (h *house) createUserWith(t testing.TB, name, path, attached, boundary string) {
	t.Helper()
	h.createUser(t, name, func(in *iamapi.CreateUserInput) {
		in.Path = &path
		if boundary != "" {
			in.PermissionsBoundary = &boundary
		}
	})
	if attached != "" {
		h.run(t, iamapi.OpAttachUserPolicy, &iamapi.AttachUserPolicyInput{UserName: name, PolicyArn: attached})
	}
}

func TestPolicyTags(t *testing.T) {
	h := newHouse(t, func(q *iam.Quotas) { q.Tags = 2 })
	arn := h.createPolicy(t, "p")
	h.run(t, iamapi.OpTagPolicy, &iamapi.TagPolicyInput{PolicyArn: arn, Tags: tags("a", "1", "b", "2")})
	h.refused(t, "LimitExceeded: Cannot exceed quota for TagsPerPolicy: 2", iamapi.OpTagPolicy, &iamapi.TagPolicyInput{PolicyArn: arn, Tags: tags("c", "3")})
	h.run(t, iamapi.OpUntagPolicy, &iamapi.UntagPolicyInput{PolicyArn: arn, TagKeys: []string{"A"}})
	got := must[iamapi.ListPolicyTagsOutput](t, h, iamapi.OpListPolicyTags, &iamapi.ListPolicyTagsInput{PolicyArn: arn})
	if diff := cmp.Diff(tags("b", "2"), got.Tags); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	h.questions()
	h.run(t, iamapi.OpTagPolicy, &iamapi.TagPolicyInput{PolicyArn: arn, Tags: tags("b", "3")})
	asked := h.questions()
	want := []call.Check{{
		Action: "iam:TagPolicy", Resource: arn, Shown: "policy " + arn, Account: account,
		Keys: []policy.ContextKey{key("aws:RequestTag/b", "3"), key("aws:TagKeys", "b"), key("aws:ResourceTag/b", "2"), key("iam:ResourceTag/b", "2")},
	}}
	if diff := cmp.Diff(want, asked, cmpopts.IgnoreFields(call.Check{}, "Snap")); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

// Another account's policy is asked about as that account's, and is not found even by
// whom the authorizer would let.
func TestForeignPolicy(t *testing.T) {
	h := newHouse(t)
	arn := h.createPolicy(t, "p")
	h.run(t, iamapi.OpTagPolicy, &iamapi.TagPolicyInput{PolicyArn: arn, Tags: tags("team", "blue")})
	missing := strings.Replace(arn, "policy/p", "policy/q", 1)
	for _, policyARN := range []string{arn, missing} {
		h.questions()
		h.refused(t, "NoSuchEntity: Policy "+policyARN+" was not found.", iamapi.OpGetPolicy, &iamapi.GetPolicyInput{PolicyArn: policyARN}, otherRoot())
		h.refused(t, "NoSuchEntity: Policy "+policyARN+" was not found.", iamapi.OpDeletePolicy, &iamapi.DeletePolicyInput{PolicyArn: policyARN}, otherRoot())
		for _, ck := range h.questions() {
			if ck.Account != account || len(ck.Keys) != 0 {
				t.Errorf("%s of %s was asked as of account %s with %v", ck.Action, ck.Resource, ck.Account, ck.Keys)
			}
		}
	}
	h.getPolicy(t, arn)
}

// The form of the ARN is looked at before anything else.
func TestPolicyARNForm(t *testing.T) {
	h := newHouse(t)
	h.refused(t, "ValidationError: Invalid ARN:  Could not be parsed!", iamapi.OpGetPolicy, &iamapi.GetPolicyInput{PolicyArn: "this is not an ARN, is it"})
	for _, arn := range []string{
		"arn:aws:iam::" + account + ":user/policy", "arn:aws:s3::" + account + ":policy/p", "arn:aws:iam:eu-west-1:" + account + ":policy/p", "arn:aws-cn:iam::" + account + ":policy/p",
	} {
		want := "InvalidInput: ARN " + arn + " is not valid."
		h.refused(t, want, iamapi.OpGetPolicy, &iamapi.GetPolicyInput{PolicyArn: arn})
		h.refused(t, want, iamapi.OpDeletePolicy, &iamapi.DeletePolicyInput{PolicyArn: arn})
		h.refused(t, want, iamapi.OpCreatePolicyVersion, &iamapi.CreatePolicyVersionInput{PolicyArn: arn, PolicyDocument: simplePolicy})
		h.refused(t, want, iamapi.OpGetPolicyVersion, &iamapi.GetPolicyVersionInput{PolicyArn: arn, VersionId: "v1"})
		h.refused(t, want, iamapi.OpDeletePolicyVersion, &iamapi.DeletePolicyVersionInput{PolicyArn: arn, VersionId: "v1"})
		h.refused(t, want, iamapi.OpListPolicyVersions, &iamapi.ListPolicyVersionsInput{PolicyArn: arn})
		h.refused(t, want, iamapi.OpSetDefaultPolicyVersion, &iamapi.SetDefaultPolicyVersionInput{PolicyArn: arn, VersionId: "v1"})
		h.refused(t, want, iamapi.OpTagPolicy, &iamapi.TagPolicyInput{PolicyArn: arn, Tags: tags("a", "b")})
		h.refused(t, want, iamapi.OpUntagPolicy, &iamapi.UntagPolicyInput{PolicyArn: arn, TagKeys: []string{"a"}})
		h.refused(t, want, iamapi.OpListPolicyTags, &iamapi.ListPolicyTagsInput{PolicyArn: arn})
		h.refused(t, want, iamapi.OpListEntitiesForPolicy, &iamapi.ListEntitiesForPolicyInput{PolicyArn: arn})
	}
}
