package iam_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api/iamapi"
	"arca/internal/call"
	"arca/internal/iam"
	"arca/internal/policy"
	"arca/internal/store"
)

// trust is a trust policy that lets a principal in; principal is its JSON.
func trust(principal string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":` + principal + `,"Action":"sts:AssumeRole"}]}`
}

// ownTrust lets the own account in.
var ownTrust = trust(`{"AWS":"arn:aws:iam::` + account + `:root"}`)

// createRole makes a role that the own account may assume.
func (h *house) createRole(t testing.TB, name string, set ...func(in *iamapi.CreateRoleInput)) *iamapi.Role {
	t.Helper()
	h.now = h.now.Add(time.Second)
	in := &iamapi.CreateRoleInput{RoleName: name, AssumeRolePolicyDocument: ownTrust}
	for _, s := range set {
		s(in)
	}
	return must[iamapi.CreateRoleOutput](t, h, iamapi.OpCreateRole, in).Role
}

func (h *house) getRole(t testing.TB, name string) *iamapi.Role {
	t.Helper()
	return must[iamapi.GetRoleOutput](t, h, iamapi.OpGetRole, &iamapi.GetRoleInput{RoleName: name}).Role
}

const noRole = "NoSuchEntity: The role with name nobody cannot be found."

func TestRoleLifecycle(t *testing.T) {
	h := newHouse(t)
	boundary := h.createPolicy(t, "most")
	created := h.createRole(t, "Deployer", func(in *iamapi.CreateRoleInput) {
		in.Path, in.Description, in.MaxSessionDuration = new("/ci/"), new("deploys"), new(int32(7200))
		in.PermissionsBoundary, in.Tags = &boundary, tags("team", "blue")
	})
	if !strings.HasPrefix(created.RoleId, "AROA") || len(created.RoleId) != 21 {
		t.Errorf("RoleId = %s", created.RoleId)
	}
	if created.Arn != "arn:aws:iam::"+account+":role/ci/Deployer" {
		t.Errorf("Arn = %s", created.Arn)
	}
	if created.MaxSessionDuration != nil || created.Description != nil || created.RoleLastUsed != nil {
		t.Errorf("CreateRole tells more than AWS: %+v", created)
	}
	if got := unescaped(t, *created.AssumeRolePolicyDocument); got != ownTrust {
		t.Errorf("trust policy = %s", got)
	}

	got := h.getRole(t, "deployer")
	want := *created
	want.Description, want.MaxSessionDuration, want.RoleLastUsed = new("deploys"), new(int32(7200)), &iamapi.RoleLastUsed{}
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Errorf("GetRole (-want +got):\n%s", diff)
	}

	h.run(t, iamapi.OpUpdateRole, &iamapi.UpdateRoleInput{RoleName: "Deployer", Description: new("runs"), MaxSessionDuration: new(int32(43200))})
	if got := h.getRole(t, "Deployer"); *got.Description != "runs" || *got.MaxSessionDuration != 43200 {
		t.Errorf("after UpdateRole: %s, %d", *got.Description, *got.MaxSessionDuration)
	}
	// What is not said: the description stays, the duration is the default.
	h.run(t, iamapi.OpUpdateRole, &iamapi.UpdateRoleInput{RoleName: "Deployer"})
	if got := h.getRole(t, "Deployer"); *got.Description != "runs" || *got.MaxSessionDuration != 3600 {
		t.Errorf("after an empty UpdateRole: %s, %d", *got.Description, *got.MaxSessionDuration)
	}

	h.run(t, iamapi.OpDeleteRolePermissionsBoundary, &iamapi.DeleteRolePermissionsBoundaryInput{RoleName: "Deployer"})
	h.run(t, iamapi.OpDeleteRolePermissionsBoundary, &iamapi.DeleteRolePermissionsBoundaryInput{RoleName: "Deployer"})
	if got := h.getRole(t, "Deployer"); got.PermissionsBoundary != nil {
		t.Errorf("boundary = %+v", got.PermissionsBoundary)
	}
	h.run(t, iamapi.OpPutRolePermissionsBoundary, &iamapi.PutRolePermissionsBoundaryInput{RoleName: "Deployer", PermissionsBoundary: boundary})

	// A role goes with its boundary, tags and last use, not with its policies.
	h.svc.NoteUse(created.RoleId, "secretsmanager", "eu-west-1", h.now)
	if err := h.svc.FlushUses(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := h.getRole(t, "Deployer").RoleLastUsed; got.LastUsedDate == nil || *got.Region != "eu-west-1" {
		t.Errorf("RoleLastUsed = %+v", got)
	}
	h.run(t, iamapi.OpAttachRolePolicy, &iamapi.AttachRolePolicyInput{RoleName: "Deployer", PolicyArn: adminARN})
	h.run(t, iamapi.OpPutRolePolicy, &iamapi.PutRolePolicyInput{RoleName: "Deployer", PolicyName: "p", PolicyDocument: simplePolicy})
	remove := &iamapi.DeleteRoleInput{RoleName: "Deployer"}
	h.refused(t, "DeleteConflict: Cannot delete entity, must detach all policies first.", iamapi.OpDeleteRole, remove)
	h.run(t, iamapi.OpDetachRolePolicy, &iamapi.DetachRolePolicyInput{RoleName: "Deployer", PolicyArn: adminARN})
	h.refused(t, "DeleteConflict: Cannot delete entity, must delete policies first.", iamapi.OpDeleteRole, remove)
	h.run(t, iamapi.OpDeleteRolePolicy, &iamapi.DeleteRolePolicyInput{RoleName: "Deployer", PolicyName: "p"})
	h.run(t, iamapi.OpDeleteRole, remove)
	h.refused(t, "NoSuchEntity: The role with name Deployer cannot be found.", iamapi.OpGetRole, &iamapi.GetRoleInput{RoleName: "Deployer"})
	h.run(t, iamapi.OpDeletePolicy, &iamapi.DeletePolicyInput{PolicyArn: boundary})

	if again := h.createRole(t, "deployer"); again.RoleId == created.RoleId {
		t.Error("the role made anew has the old id")
	}
}

func TestCreateRoleRefused(t *testing.T) {
	h := newHouse(t, func(q *iam.Quotas) { q.Roles = 2; q.Tags = 1 })
	h.createRole(t, "One")
	long := strings.Repeat("x", 2048)
	for _, tc := range []struct {
		name string
		set  func(in *iamapi.CreateRoleInput)
		want string
	}{
		{"name in use, in another case", func(in *iamapi.CreateRoleInput) { in.RoleName = "ONE" },
			"EntityAlreadyExists: Role with name ONE already exists."},
		{"not JSON", func(in *iamapi.CreateRoleInput) { in.AssumeRolePolicyDocument = "{" },
			"MalformedPolicyDocument: This policy contains invalid Json"},
		{"identity policy", func(in *iamapi.CreateRoleInput) { in.AssumeRolePolicyDocument = simplePolicy },
			"MalformedPolicyDocument: AssumeRole policy may only specify STS AssumeRole actions."},
		{"too long", func(in *iamapi.CreateRoleInput) { in.AssumeRolePolicyDocument = trust(`{"AWS":"` + long + `"}`) },
			"LimitExceeded: Cannot exceed quota for ACLSizePerRole: 2048"},
		{"duplicate tags", func(in *iamapi.CreateRoleInput) { in.Tags = tags("a", "1", "A", "2") },
			"InvalidInput: Duplicate tag keys found. Please note that Tag keys are case insensitive."},
		{"too many tags", func(in *iamapi.CreateRoleInput) { in.Tags = tags("a", "1", "b", "2") },
			"LimitExceeded: Cannot exceed quota for TagsPerRole: 1"},
		{"boundary that does not exist", func(in *iamapi.CreateRoleInput) {
			in.PermissionsBoundary = new("arn:aws:iam::" + account + ":policy/none")
		}, "NoSuchEntity: Scope ARN: arn:aws:iam::" + account + ":policy/none does not exist or is not attachable."},
		{"boundary that is no policy", func(in *iamapi.CreateRoleInput) {
			in.PermissionsBoundary = new("arn:aws:iam::" + account + ":role/none")
		},
			"InvalidInput: ARN arn:aws:iam::" + account + ":role/none is not valid."},
		{"session too long", func(in *iamapi.CreateRoleInput) { in.MaxSessionDuration = new(int32(43201)) },
			"ValidationError: 1 validation error detected: Value '43201' at 'maxSessionDuration' failed to satisfy constraint: Member must have value less than or equal to 43200"},
		{"session too short", func(in *iamapi.CreateRoleInput) { in.MaxSessionDuration = new(int32(3599)) },
			"ValidationError: 1 validation error detected: Value '3599' at 'maxSessionDuration' failed to satisfy constraint: Member must have value greater than or equal to 3600"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := &iamapi.CreateRoleInput{RoleName: "two", AssumeRolePolicyDocument: ownTrust}
			tc.set(in)
			h.refused(t, tc.want, iamapi.OpCreateRole, in)
		})
	}
	h.createRole(t, "two")
	h.refused(t, "LimitExceeded: Cannot exceed quota for RolesPerAccount: 2", iamapi.OpCreateRole,
		&iamapi.CreateRoleInput{RoleName: "three", AssumeRolePolicyDocument: ownTrust})
	// Another account's names are its own.
	h.run(t, iamapi.OpCreateRole, &iamapi.CreateRoleInput{RoleName: "One", AssumeRolePolicyDocument: ownTrust}, otherRoot())
}

func TestTrustPolicy(t *testing.T) {
	h := newHouse(t)
	user, role := h.createUser(t, "ann", func(in *iamapi.CreateUserInput) { in.Path = new("/p/") }), h.createRole(t, "app")
	session := "arn:aws:sts::" + account + ":assumed-role/app/s1"
	provider := "arn:aws:iam::" + account + ":oidc-provider/issuer.example/x"
	for _, tc := range []struct {
		name, doc, shown, stored, refused string
	}{
		{name: "root", doc: ownTrust},
		{name: "account id", doc: trust(`{"AWS":"` + otherAccount + `"}`), shown: trust(`{"AWS":"arn:aws:iam::` + otherAccount + `:root"}`)},
		{name: "user", doc: trust(`{"AWS": "` + user.Arn + `"}`), stored: trust(`{"AWS": "` + user.UserId + `"}`)},
		{name: "role", doc: trust(`{"AWS":["` + role.Arn + `"]}`), stored: trust(`{"AWS":["` + role.RoleId + `"]}`)},
		{name: "session", doc: trust(`{"AWS":"` + session + `"}`), stored: trust(`{"AWS":"` + role.RoleId + `:s1"}`)},
		{name: "all of it", doc: trust("{ \"AWS\":[\"" + user.Arn + "\",\n\"" + role.Arn + "\"],\"Service\":\"lambda.amazonaws.com\"}"),
			stored: trust("{ \"AWS\":[\"" + user.UserId + "\",\n\"" + role.RoleId + "\"],\"Service\":\"lambda.amazonaws.com\"}")},
		{name: "service", doc: trust(`{"Service":["lambda.amazonaws.com","secretsmanager.amazonaws.com"]}`)},
		{name: "everybody", doc: trust(`"*"`)},
		{name: "provider, which need not exist", doc: strings.Replace(trust(`{"Federated":"`+provider+`"}`), "AssumeRole", "AssumeRoleWithWebIdentity", 1)},
		{name: "provider whose URL ends in a slash", doc: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Federated":"arn:aws:iam::` + account +
			`:oidc-provider/tenant.issuer.example/"},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"StringEquals":{"tenant.issuer.example/:aud":"me"}}}]}`},
		{name: "provider with a port and claims", doc: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Federated":"arn:aws:iam::` + account +
			`:oidc-provider/127.0.0.1:8443"},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"StringEquals":{"127.0.0.1:8443:sub":"me"}}}]}`},
		{name: "unknown account", doc: trust(`{"AWS":"111111111111"}`), refused: `Invalid principal in policy: "AWS":"111111111111"`},
		{name: "unknown user", doc: trust(`{"AWS":"arn:aws:iam::` + account + `:user/bob"}`), refused: `Invalid principal in policy: "AWS":"arn:aws:iam::` + account + `:user/bob"`},
		{name: "user without its path", doc: trust(`{"AWS":"arn:aws:iam::` + account + `:user/ann"}`), refused: `Invalid principal in policy: "AWS":"arn:aws:iam::` + account + `:user/ann"`},
		{name: "role in another case", doc: trust(`{"AWS":"arn:aws:iam::` + account + `:role/App"}`), refused: `Invalid principal in policy: "AWS":"arn:aws:iam::` + account + `:role/App"`},
		{name: "session of an unknown role", doc: trust(`{"AWS":"arn:aws:sts::` + account + `:assumed-role/gone/s"}`), refused: `Invalid principal in policy: "AWS":"arn:aws:sts::` + account + `:assumed-role/gone/s"`},
		{name: "session with a name that none has", doc: trust(`{"AWS":"arn:aws:sts::` + account + `:assumed-role/app/s"}`), refused: `Invalid principal in policy: "AWS":"arn:aws:sts::` + account + `:assumed-role/app/s"`},
		{name: "stored form of a session", doc: trust(`{"AWS":"` + role.RoleId + `:s1"}`), refused: `Invalid principal in policy: "AWS":"` + role.RoleId + `:s1"`},
		{name: "good and bad", doc: trust(`{"AWS":["` + user.Arn + `","arn:aws:iam::` + account + `:role/gone"]}`), refused: `Invalid principal in policy: "AWS":"arn:aws:iam::` + account + `:role/gone"`},
		{name: "other action", doc: strings.Replace(ownTrust, "sts:AssumeRole", "s3:GetObject", 1), refused: "AssumeRole policy may only specify STS AssumeRole actions."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := h.getRole(t, "app").AssumeRolePolicyDocument
			in := &iamapi.UpdateAssumeRolePolicyInput{RoleName: "app", PolicyDocument: tc.doc}
			if tc.refused != "" {
				h.refused(t, "MalformedPolicyDocument: "+tc.refused, iamapi.OpUpdateAssumeRolePolicy, in)
				if after := h.getRole(t, "app").AssumeRolePolicyDocument; *after != *before {
					t.Errorf("a refused policy was stored: %s", *after)
				}
				return
			}
			h.run(t, iamapi.OpUpdateAssumeRolePolicy, in)
			shown, stored := tc.doc, tc.doc
			if tc.shown != "" {
				shown, stored = tc.shown, tc.shown
			}
			if tc.stored != "" {
				stored = tc.stored
			}
			if got := unescaped(t, *h.getRole(t, "app").AssumeRolePolicyDocument); got != shown {
				t.Errorf("shown as\n %s, want\n %s", got, shown)
			}
			h.view(t, func(v *store.Snap) {
				got := h.svc.Role(v, account, "app").Trust
				if got != stored {
					t.Errorf("stored as\n %s, want\n %s", got, stored)
				}
				if _, err := policy.ParseTrustPolicy(got); err != nil {
					t.Errorf("the stored form does not parse: %v", err)
				}
			})
		})
	}
	h.refused(t, "LimitExceeded: Cannot exceed quota for ACLSizePerRole: 2048", iamapi.OpUpdateAssumeRolePolicy,
		&iamapi.UpdateAssumeRolePolicyInput{RoleName: "app", PolicyDocument: trust(`{"AWS":"` + strings.Repeat("x", 2048) + `"}`)})
}

// Who is named by a trust policy stays the one that was named. A namesake made later
// is somebody else, and the policy shows that.
func TestTrustedRoleMadeAnew(t *testing.T) {
	h := newHouse(t)
	old := h.createRole(t, "caller")
	user := h.createUser(t, "ann")
	doc := trust(`{"AWS":["` + old.Arn + `","` + user.Arn + `","arn:aws:sts::` + account + `:assumed-role/caller/s1"]}`)
	h.createRole(t, "target", func(in *iamapi.CreateRoleInput) { in.AssumeRolePolicyDocument = doc })
	shown := func() string { return unescaped(t, *h.getRole(t, "target").AssumeRolePolicyDocument) }
	if got := shown(); got != doc {
		t.Errorf("at first\n %s, want\n %s", got, doc)
	}
	h.run(t, iamapi.OpUpdateUser, &iamapi.UpdateUserInput{UserName: "ann", NewUserName: new("beth")})
	doc = strings.Replace(doc, "user/ann", "user/beth", 1)
	if got := shown(); got != doc {
		t.Errorf("with the user renamed\n %s, want\n %s", got, doc)
	}

	h.run(t, iamapi.OpDeleteRole, &iamapi.DeleteRoleInput{RoleName: "caller"})
	again := h.createRole(t, "caller")
	if again.RoleId == old.RoleId || again.Arn != old.Arn {
		t.Fatalf("made anew: %s %s, was %s %s", again.RoleId, again.Arn, old.RoleId, old.Arn)
	}
	want := trust(`{"AWS":["` + old.RoleId + `","arn:aws:iam::` + account + `:user/beth","` + old.RoleId + `:s1"]}`)
	if got := shown(); got != want {
		t.Errorf("with the role made anew\n %s, want\n %s", got, want)
	}
	// Named again, it is the new one.
	h.run(t, iamapi.OpUpdateAssumeRolePolicy, &iamapi.UpdateAssumeRolePolicyInput{RoleName: "target", PolicyDocument: trust(`{"AWS":"` + again.Arn + `"}`)})
	h.view(t, func(v *store.Snap) {
		if got, want := h.svc.Role(v, account, "target").Trust, trust(`{"AWS":"`+again.RoleId+`"}`); got != want {
			t.Errorf("stored as %s, want %s", got, want)
		}
	})
}

func TestListRoles(t *testing.T) {
	h := newHouse(t)
	for i, name := range []string{"b", "A", "c", "D", "e"} {
		h.createRole(t, name, func(in *iamapi.CreateRoleInput) {
			in.Path, in.Tags = new([]string{"/", "/x/"}[i%2]), tags("k", "v")
		})
	}
	h.run(t, iamapi.OpCreateRole, &iamapi.CreateRoleInput{RoleName: "foreign", AssumeRolePolicyDocument: ownTrust}, otherRoot())
	list := func(in iamapi.ListRolesInput) (names []string, pages int) {
		t.Helper()
		for {
			out := must[iamapi.ListRolesOutput](t, h, iamapi.OpListRoles, &in)
			pages++
			for _, r := range out.Roles {
				names = append(names, r.RoleName)
				if r.Tags != nil || r.RoleLastUsed != nil || *r.MaxSessionDuration != 3600 || unescaped(t, *r.AssumeRolePolicyDocument) != ownTrust {
					t.Errorf("entry %+v", r)
				}
			}
			if !*out.IsTruncated {
				return names, pages
			}
			in.Marker = out.Marker
		}
	}
	if got, pages := list(iamapi.ListRolesInput{}); !slices.Equal(got, []string{"A", "b", "c", "D", "e"}) || pages != 1 {
		t.Errorf("%d pages of %q", pages, got)
	}
	if got, pages := list(iamapi.ListRolesInput{MaxItems: new(int32(2))}); !slices.Equal(got, []string{"A", "b", "c", "D", "e"}) || pages != 3 {
		t.Errorf("%d pages of %q", pages, got)
	}
	if got, pages := list(iamapi.ListRolesInput{PathPrefix: new("/x"), MaxItems: new(int32(1))}); !slices.Equal(got, []string{"A", "D"}) || pages != 2 {
		t.Errorf("%d pages of %q", pages, got)
	}
	h.refused(t, "ValidationError: The Marker value is invalid.", iamapi.OpListRoles, &iamapi.ListRolesInput{Marker: new("nonsense")})
}

func TestRolePolicies(t *testing.T) {
	h := newHouse(t, func(q *iam.Quotas) { q.Attached = 2 })
	own := h.createPolicy(t, "own")
	h.createRole(t, "app")
	for _, name := range []string{"b", "a", "c"} {
		h.run(t, iamapi.OpPutRolePolicy, &iamapi.PutRolePolicyInput{RoleName: "app", PolicyName: name, PolicyDocument: simplePolicy})
	}
	other := strings.Replace(simplePolicy, "Allow", "Deny", 1)
	h.run(t, iamapi.OpPutRolePolicy, &iamapi.PutRolePolicyInput{RoleName: "app", PolicyName: "b", PolicyDocument: other})
	got := must[iamapi.GetRolePolicyOutput](t, h, iamapi.OpGetRolePolicy, &iamapi.GetRolePolicyInput{RoleName: "APP", PolicyName: "b"})
	if got.RoleName != "app" || unescaped(t, got.PolicyDocument) != other {
		t.Errorf("GetRolePolicy = %+v", got)
	}
	listed := must[iamapi.ListRolePoliciesOutput](t, h, iamapi.OpListRolePolicies, &iamapi.ListRolePoliciesInput{RoleName: "app", MaxItems: new(int32(2))})
	rest := must[iamapi.ListRolePoliciesOutput](t, h, iamapi.OpListRolePolicies, &iamapi.ListRolePoliciesInput{RoleName: "app", MaxItems: new(int32(2)), Marker: listed.Marker})
	if names := append(listed.PolicyNames, rest.PolicyNames...); !slices.Equal(names, []string{"a", "b", "c"}) || *rest.IsTruncated {
		t.Errorf("names = %q", names)
	}
	h.run(t, iamapi.OpDeleteRolePolicy, &iamapi.DeleteRolePolicyInput{RoleName: "app", PolicyName: "b"})
	noPolicy := "NoSuchEntity: The role policy with name b cannot be found."
	h.refused(t, noPolicy, iamapi.OpGetRolePolicy, &iamapi.GetRolePolicyInput{RoleName: "app", PolicyName: "b"})
	h.refused(t, noPolicy, iamapi.OpDeleteRolePolicy, &iamapi.DeleteRolePolicyInput{RoleName: "app", PolicyName: "b"})
	h.refused(t, "MalformedPolicyDocument: Policy document should not specify a principal.", iamapi.OpPutRolePolicy,
		&iamapi.PutRolePolicyInput{RoleName: "app", PolicyName: "b", PolicyDocument: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}`})
	large := strings.Replace(simplePolicy, "Get", strings.Repeat("x", 200), 1)
	h.refused(t, "LimitExceeded: Maximum policy size of 10240 bytes exceeded for role app", iamapi.OpPutRolePolicy,
		&iamapi.PutRolePolicyInput{RoleName: "app", PolicyName: "b", PolicyDocument: manyStatements(large, 40)})

	attach := func(arn string) *iamapi.AttachRolePolicyInput {
		return &iamapi.AttachRolePolicyInput{RoleName: "app", PolicyArn: arn}
	}
	h.run(t, iamapi.OpAttachRolePolicy, attach(own))
	h.run(t, iamapi.OpAttachRolePolicy, attach(own))
	h.run(t, iamapi.OpAttachRolePolicy, attach("arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"))
	h.refused(t, "LimitExceeded: Cannot exceed quota for PoliciesPerRole: 2", iamapi.OpAttachRolePolicy, attach(adminARN))
	h.refused(t, "NoSuchEntity: Policy arn:aws:iam::aws:policy/None does not exist or is not attachable.", iamapi.OpAttachRolePolicy, attach("arn:aws:iam::aws:policy/None"))
	h.refused(t, "InvalidInput: ARN arn:aws:iam::aws:role/AdministratorAccess is not valid.", iamapi.OpAttachRolePolicy, attach("arn:aws:iam::aws:role/AdministratorAccess"))
	attached := must[iamapi.ListAttachedRolePoliciesOutput](t, h, iamapi.OpListAttachedRolePolicies, &iamapi.ListAttachedRolePoliciesInput{RoleName: "app"})
	if len(attached.AttachedPolicies) != 2 || *attached.AttachedPolicies[0].PolicyArn != own || *attached.AttachedPolicies[1].PolicyName != "AWSLambdaBasicExecutionRole" {
		t.Errorf("attached = %+v", attached.AttachedPolicies)
	}
	attached = must[iamapi.ListAttachedRolePoliciesOutput](t, h, iamapi.OpListAttachedRolePolicies, &iamapi.ListAttachedRolePoliciesInput{RoleName: "app", PathPrefix: new("/service-role/")})
	if len(attached.AttachedPolicies) != 1 {
		t.Errorf("attached below a path = %+v", attached.AttachedPolicies)
	}
	h.run(t, iamapi.OpDetachRolePolicy, &iamapi.DetachRolePolicyInput{RoleName: "app", PolicyArn: own})
	h.refused(t, "NoSuchEntity: Policy "+own+" was not found.", iamapi.OpDetachRolePolicy, &iamapi.DetachRolePolicyInput{RoleName: "app", PolicyArn: own})
	h.refused(t, "InvalidInput: ARN arn:aws:iam::"+account+":user/x is not valid.", iamapi.OpDetachRolePolicy, &iamapi.DetachRolePolicyInput{RoleName: "app", PolicyArn: "arn:aws:iam::" + account + ":user/x"})
	h.refused(t, "InvalidInput: ARN arn:aws:iam::"+account+":user/x is not valid.", iamapi.OpPutRolePermissionsBoundary,
		&iamapi.PutRolePermissionsBoundaryInput{RoleName: "app", PermissionsBoundary: "arn:aws:iam::" + account + ":user/x"})

	// Policies of another account cannot be attached.
	h.run(t, iamapi.OpCreateRole, &iamapi.CreateRoleInput{RoleName: "app", AssumeRolePolicyDocument: ownTrust}, otherRoot())
	h.refused(t, "NoSuchEntity: Policy "+own+" does not exist or is not attachable.", iamapi.OpAttachRolePolicy, attach(own), otherRoot())
	h.refused(t, "NoSuchEntity: Scope ARN: "+own+" does not exist or is not attachable.", iamapi.OpPutRolePermissionsBoundary,
		&iamapi.PutRolePermissionsBoundaryInput{RoleName: "app", PermissionsBoundary: own}, otherRoot())
}

// manyStatements is a policy with n statements like the one of doc.
func manyStatements(doc string, n int) string {
	from, to := strings.Index(doc, "[{")+1, strings.LastIndex(doc, "]}")
	statement := doc[from:to]
	return doc[:from] + strings.Repeat(statement+",", n-1) + statement + doc[to:]
}

func TestRoleTags(t *testing.T) {
	h := newHouse(t, func(q *iam.Quotas) { q.Tags = 3 })
	h.createRole(t, "app", func(in *iamapi.CreateRoleInput) { in.Tags = tags("a", "1", "b", "2") })
	h.run(t, iamapi.OpTagRole, &iamapi.TagRoleInput{RoleName: "app", Tags: tags("A", "3", "c", "4")})
	first := must[iamapi.ListRoleTagsOutput](t, h, iamapi.OpListRoleTags, &iamapi.ListRoleTagsInput{RoleName: "app", MaxItems: new(int32(2))})
	rest := must[iamapi.ListRoleTagsOutput](t, h, iamapi.OpListRoleTags, &iamapi.ListRoleTagsInput{RoleName: "app", MaxItems: new(int32(2)), Marker: first.Marker})
	if diff := cmp.Diff(tags("A", "3", "b", "2", "c", "4"), append(first.Tags, rest.Tags...)); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	h.refused(t, "LimitExceeded: Cannot exceed quota for TagsPerRole: 3", iamapi.OpTagRole, &iamapi.TagRoleInput{RoleName: "app", Tags: tags("d", "5")})
	h.refused(t, "InvalidInput: Tag keys that begin with aws: are reserved for system use.", iamapi.OpTagRole, &iamapi.TagRoleInput{RoleName: "app", Tags: tags("AWS:x", "5")})
	h.run(t, iamapi.OpUntagRole, &iamapi.UntagRoleInput{RoleName: "app", TagKeys: []string{"a", "B", "c", "z"}})
	if got := must[iamapi.ListRoleTagsOutput](t, h, iamapi.OpListRoleTags, &iamapi.ListRoleTagsInput{RoleName: "app"}); got.Tags == nil || len(got.Tags) != 0 {
		t.Errorf("tags = %#v, want an empty list", got.Tags)
	}
}

func TestListInstanceProfilesForRole(t *testing.T) {
	h := newHouse(t)
	h.createRole(t, "app")
	out := must[iamapi.ListInstanceProfilesForRoleOutput](t, h, iamapi.OpListInstanceProfilesForRole, &iamapi.ListInstanceProfilesForRoleInput{RoleName: "app"})
	if out.InstanceProfiles == nil || len(out.InstanceProfiles) != 0 || *out.IsTruncated {
		t.Errorf("answer %+v", out)
	}
}

// What the decision about a role may depend on.
func TestRoleQuestions(t *testing.T) {
	h := newHouse(t)
	boundary := h.createPolicy(t, "most")
	roleARN := "arn:aws:iam::" + account + ":role/ci/app"
	asked := func(want string) {
		t.Helper()
		var got []string
		for _, ck := range h.questions() {
			var keys []string
			for _, k := range ck.Keys {
				keys = append(keys, k.Name+"="+strings.Join(k.Values, "+"))
			}
			got = append(got, fmt.Sprintf("%s %s %s", ck.Action, ck.Resource, strings.Join(keys, " ")))
		}
		if g := strings.TrimSpace(strings.Join(got, "\n")); g != want {
			t.Errorf("asked\n%s\nwant\n%s", g, want)
		}
	}
	h.questions()
	h.createRole(t, "app", func(in *iamapi.CreateRoleInput) {
		in.Path, in.PermissionsBoundary, in.Tags = new("/ci/"), &boundary, tags("team", "blue")
	})
	asked("iam:CreateRole " + roleARN + " aws:RequestTag/team=blue aws:TagKeys=team iam:PermissionsBoundary=" + boundary + "\n" +
		"iam:TagRole " + roleARN + " aws:RequestTag/team=blue aws:TagKeys=team")
	h.run(t, iamapi.OpAttachRolePolicy, &iamapi.AttachRolePolicyInput{RoleName: "app", PolicyArn: adminARN})
	asked("iam:AttachRolePolicy " + roleARN + " iam:PolicyARN=" + adminARN + " aws:ResourceTag/team=blue iam:ResourceTag/team=blue iam:PermissionsBoundary=" + boundary)
	h.run(t, iamapi.OpPutRolePermissionsBoundary, &iamapi.PutRolePermissionsBoundaryInput{RoleName: "app", PermissionsBoundary: adminARN})
	asked("iam:PutRolePermissionsBoundary " + roleARN + " iam:PermissionsBoundary=" + adminARN + " aws:ResourceTag/team=blue iam:ResourceTag/team=blue")
	h.run(t, iamapi.OpUntagRole, &iamapi.UntagRoleInput{RoleName: "app", TagKeys: []string{"x", "y"}})
	asked("iam:UntagRole " + roleARN + " aws:TagKeys=x+y aws:ResourceTag/team=blue iam:ResourceTag/team=blue")
	h.run(t, iamapi.OpListRoles, &iamapi.ListRolesInput{PathPrefix: new("/ci/")})
	asked("iam:ListRoles arn:aws:iam::" + account + ":role/ci/")

	// A right on the role alone does not let its holder tag while creating.
	h.refuse(func(ck *call.Check) bool { return ck.Action == "iam:TagRole" })
	h.refused(t, "AccessDenied: User: arn:aws:iam::"+account+":root is not authorized to perform: iam:TagRole on resource: arn:aws:iam::"+account+":role/two", iamapi.OpCreateRole,
		&iamapi.CreateRoleInput{RoleName: "two", AssumeRolePolicyDocument: ownTrust, Tags: tags("a", "b")})
	h.refuse(nil)
	h.refused(t, "NoSuchEntity: The role with name two cannot be found.", iamapi.OpGetRole, &iamapi.GetRoleInput{RoleName: "two"})
}
