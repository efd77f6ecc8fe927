package kms_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api"
	"arca/internal/api/iamapi"
	"arca/internal/api/kmsapi"
	"arca/internal/call"
	"arca/internal/iam"
)

// grant makes a grant and returns its id and token.
func (h *house) grant(t testing.TB, in *kmsapi.CreateGrantInput, options ...callOption) (id string, token api.SensitiveString) {
	t.Helper()
	out := must[kmsapi.CreateGrantOutput](t, h, kmsapi.OpCreateGrant, in, options...)
	return *out.GrantId, *out.GrantToken
}

func (h *house) may(t testing.TB, p call.Principal, keyID string, encCtx map[string]string) bool {
	t.Helper()
	_, err := h.call(kmsapi.OpEncrypt, &kmsapi.EncryptInput{KeyId: keyID, Plaintext: []byte("x"), EncryptionContext: encCtx}, as(p))
	if err != nil && !strings.HasPrefix(shown(err), "AccessDeniedException: ") {
		t.Fatal(err)
	}
	return err == nil
}

// A grant allows its grantee its operations, and nobody else, and nothing else.
func TestGrant(t *testing.T) {
	h := newHouse(t)
	id, arn := h.key(t)
	alice, bob := h.user(t, account, "alice", ""), h.user(t, account, "bob", "")
	role := h.session(t, account, "app", "")
	roleARN := "arn:aws:iam::123456789012:role/app"
	theirs := h.user(t, otherAccount, "carol", allow("*", "kms:Encrypt"))
	theirsNot := h.user(t, otherAccount, "dave", "")
	everybody := map[string]call.Principal{"alice": alice, "bob": bob, "role": role, "carol": theirs, "dave": theirsNot}
	for _, tt := range []struct{ name, grantee, may string }{
		{"a user", alice.ARN, "alice"},
		{"a role", roleARN, "role"},
		{"a session", role.ARN, "role"},
		{"an account, whose own policies then decide", "arn:aws:iam::123456789012:root", ""},
		{"another account", "arn:aws:iam::999999999999:root", "carol"},
		{"a user of another account, who may", theirs.ARN, "carol"},
		{"a user of another account, who may not", theirsNot.ARN, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			grantID, token := h.grant(t, &kmsapi.CreateGrantInput{KeyId: id, GranteePrincipal: &tt.grantee, Operations: []string{"Encrypt", "DescribeKey"}})
			for name, p := range everybody {
				if want := name == tt.may; h.may(t, p, arn, nil) != want {
					t.Errorf("%s may encrypt: %v", name, !want)
				}
				if _, err := h.call(kmsapi.OpGenerateDataKey, &kmsapi.GenerateDataKeyInput{KeyId: arn, KeySpec: new("AES_256")}, as(p)); err == nil {
					t.Errorf("%s may do what the grant is not for", name)
				}
			}
			// A token is accepted, and is no permission.
			with := &kmsapi.EncryptInput{KeyId: arn, Plaintext: []byte("x"), GrantTokens: []api.SensitiveString{token}}
			if _, err := h.call(kmsapi.OpEncrypt, with, as(theirsNot)); err == nil {
				t.Error("the token alone allows")
			}
			h.run(t, kmsapi.OpEncrypt, with)
			if strings.Contains(h.audited(t), string(token)) {
				t.Error("the token is in the audit log")
			}
			h.run(t, kmsapi.OpRevokeGrant, &kmsapi.RevokeGrantInput{KeyId: id, GrantId: grantID})
			for name, p := range everybody {
				if h.may(t, p, arn, nil) {
					t.Errorf("%s may encrypt after the grant was revoked", name)
				}
			}
		})
	}
	// A Deny weighs more than a grant.
	h.grant(t, &kmsapi.CreateGrantInput{KeyId: id, GranteePrincipal: &alice.ARN, Operations: []string{"Encrypt"}})
	h.run(t, iamapi.OpPutUserPolicy, &iamapi.PutUserPolicyInput{UserName: "alice", PolicyName: "no", PolicyDocument: deny("*", "kms:Encrypt")})
	if h.may(t, alice, arn, nil) {
		t.Error("a grant outweighs a Deny")
	}
}

// A grant for a role does not reach beyond its boundary or the policy of a session.
func TestGrantAndBoundary(t *testing.T) {
	h := newHouse(t)
	id, _ := h.key(t)
	role := h.session(t, account, "app", "")
	h.grant(t, &kmsapi.CreateGrantInput{KeyId: id, GranteePrincipal: new("arn:aws:iam::123456789012:role/app"), Operations: []string{"Encrypt"}})
	if !h.may(t, role, id, nil) {
		t.Fatal("the role may not encrypt")
	}
	narrowed := role
	session := *role.Session
	session.Policies = []string{allow("*", "s3:GetObject")}
	narrowed.Session = &session
	if h.may(t, narrowed, id, nil) {
		t.Error("a session may do what its policy does not allow")
	}
	out := must[iamapi.CreatePolicyOutput](t, h, iamapi.OpCreatePolicy, &iamapi.CreatePolicyInput{PolicyName: "b", PolicyDocument: allow("*", "s3:*")})
	h.run(t, iamapi.OpPutRolePermissionsBoundary, &iamapi.PutRolePermissionsBoundaryInput{RoleName: "app", PermissionsBoundary: *out.Policy.Arn})
	if h.may(t, role, id, nil) {
		t.Error("a role may do what its boundary does not allow")
	}
}

func TestGrantConstraints(t *testing.T) {
	h := newHouse(t)
	id, _ := h.key(t)
	alice := h.user(t, account, "alice", "")
	m := func(pairs ...string) map[string]string {
		out := make(map[string]string)
		for i := 0; i < len(pairs); i += 2 {
			out[pairs[i]] = pairs[i+1]
		}
		return out
	}
	for _, tt := range []struct {
		name string
		in   *kmsapi.GrantConstraints
		ctx  map[string]string
		ok   bool
	}{
		{"equal", &kmsapi.GrantConstraints{EncryptionContextEquals: m("a", "1")}, m("a", "1"), true},
		{"equal and more", &kmsapi.GrantConstraints{EncryptionContextEquals: m("a", "1")}, m("a", "1", "b", "2"), false},
		{"equal, none", &kmsapi.GrantConstraints{EncryptionContextEquals: m("a", "1")}, nil, false},
		{"equal, case", &kmsapi.GrantConstraints{EncryptionContextEquals: m("a", "1")}, m("A", "1"), false},
		{"subset", &kmsapi.GrantConstraints{EncryptionContextSubset: m("a", "1")}, m("a", "1", "b", "2"), true},
		{"subset, other value", &kmsapi.GrantConstraints{EncryptionContextSubset: m("a", "1")}, m("a", "2"), false},
		{"subset, none", &kmsapi.GrantConstraints{EncryptionContextSubset: m("a", "1")}, nil, false},
		{"both", &kmsapi.GrantConstraints{EncryptionContextSubset: m("a", "1"), EncryptionContextEquals: m("a", "1", "b", "2")}, m("a", "1", "b", "2"), true},
		{"both at odds", &kmsapi.GrantConstraints{EncryptionContextSubset: m("a", "1"), EncryptionContextEquals: m("b", "2")}, m("b", "2"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			grantID, _ := h.grant(t, &kmsapi.CreateGrantInput{KeyId: id, GranteePrincipal: &alice.ARN, Operations: []string{"Encrypt", "DescribeKey"}, Constraints: tt.in})
			if got := h.may(t, alice, id, tt.ctx); got != tt.ok {
				t.Errorf("with %v may encrypt: %v", tt.ctx, got)
			}
			if _, err := h.call(kmsapi.OpDescribeKey, &kmsapi.DescribeKeyInput{KeyId: id}, as(alice)); err != nil {
				t.Errorf("an operation without a context: %v", err)
			}
			h.run(t, kmsapi.OpRevokeGrant, &kmsapi.RevokeGrantInput{KeyId: id, GrantId: grantID})
		})
	}
}

// Whoever may make grants through a grant hands on no more than he has.
func TestGrantOfGrant(t *testing.T) {
	h := newHouse(t)
	id, _ := h.key(t)
	alice, bob := h.user(t, account, "alice", ""), h.user(t, account, "bob", "")
	limit := map[string]string{"a": "1"}
	h.grant(t, &kmsapi.CreateGrantInput{
		KeyId: id, GranteePrincipal: &alice.ARN, Operations: []string{"Encrypt", "CreateGrant"},
		Constraints: &kmsapi.GrantConstraints{EncryptionContextSubset: limit},
	})
	for _, tt := range []struct {
		name string
		in   kmsapi.CreateGrantInput
		ok   bool
	}{
		{"the same", kmsapi.CreateGrantInput{Operations: []string{"Encrypt"}, Constraints: &kmsapi.GrantConstraints{EncryptionContextSubset: limit}}, true},
		{"narrower", kmsapi.CreateGrantInput{Operations: []string{"Encrypt"}, Constraints: &kmsapi.GrantConstraints{EncryptionContextSubset: map[string]string{"a": "1", "b": "2"}}}, true},
		{"exact", kmsapi.CreateGrantInput{Operations: []string{"Encrypt"}, Constraints: &kmsapi.GrantConstraints{EncryptionContextEquals: map[string]string{"a": "1", "b": "2"}}}, true},
		{"another operation", kmsapi.CreateGrantInput{Operations: []string{"Decrypt"}, Constraints: &kmsapi.GrantConstraints{EncryptionContextSubset: limit}}, false},
		{"no constraint", kmsapi.CreateGrantInput{Operations: []string{"Encrypt"}}, false},
		{"another constraint", kmsapi.CreateGrantInput{Operations: []string{"Encrypt"}, Constraints: &kmsapi.GrantConstraints{EncryptionContextSubset: map[string]string{"b": "1"}}}, false},
		{"another exact one", kmsapi.CreateGrantInput{Operations: []string{"Encrypt"}, Constraints: &kmsapi.GrantConstraints{EncryptionContextEquals: map[string]string{"b": "1"}}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.in.KeyId, tt.in.GranteePrincipal = id, &bob.ARN
			_, err := h.call(kmsapi.OpCreateGrant, &tt.in, as(alice))
			if err == nil != tt.ok {
				t.Errorf("%s, want allowed: %v", shown(err), tt.ok)
			}
		})
	}
	if h.may(t, bob, id, nil) || !h.may(t, bob, id, limit) {
		t.Error("the grant that was handed on is another one")
	}
}

func TestRetireGrant(t *testing.T) {
	h := newHouse(t)
	id, arn := h.key(t)
	alice, bob, carol := h.user(t, account, "alice", ""), h.user(t, account, "bob", ""), h.user(t, account, "carol", "")
	theirs := h.user(t, otherAccount, "dave", allow("*", "kms:RetireGrant"))
	make := func() (string, api.SensitiveString) {
		return h.grant(t, &kmsapi.CreateGrantInput{
			KeyId: id, GranteePrincipal: &alice.ARN, RetiringPrincipal: &bob.ARN, Operations: []string{"Encrypt", "RetireGrant"},
		})
	}
	for _, p := range []call.Principal{alice, bob, iam.RootPrincipal(account, "AKIA"+account)} {
		grantID, token := make()
		h.run(t, kmsapi.OpRetireGrant, &kmsapi.RetireGrantInput{GrantToken: &token}, as(p))
		h.refused(t, "NotFoundException: Grant ID "+grantID+" not found for key "+arn, kmsapi.OpRetireGrant, &kmsapi.RetireGrantInput{KeyId: &arn, GrantId: &grantID})
		grantID, _ = make()
		h.run(t, kmsapi.OpRetireGrant, &kmsapi.RetireGrantInput{KeyId: &arn, GrantId: &grantID}, as(p))
	}
	grantID, token := make()
	for _, p := range []call.Principal{carol, theirs} {
		if _, err := h.call(kmsapi.OpRetireGrant, &kmsapi.RetireGrantInput{GrantToken: &token}, as(p)); !strings.HasPrefix(shown(err), "AccessDeniedException: ") {
			t.Errorf("%s retires a grant that is none of his business: %s", p.ARN, shown(err))
		}
	}
	for _, tt := range []struct {
		name string
		in   kmsapi.RetireGrantInput
		want string
	}{
		{"nothing", kmsapi.RetireGrantInput{}, "ValidationException: Specify either the grant token, or the key ID and the grant ID."},
		{"both", kmsapi.RetireGrantInput{GrantToken: &token, KeyId: &arn, GrantId: &grantID}, "ValidationException: Specify either the grant token, or the key ID and the grant ID."},
		{"half", kmsapi.RetireGrantInput{KeyId: &arn}, "ValidationException: Specify either the grant token, or the key ID and the grant ID."},
		{"no token", kmsapi.RetireGrantInput{GrantToken: new(api.SensitiveString("x"))}, "InvalidGrantTokenException: The grant token is not valid."},
		{"no id", kmsapi.RetireGrantInput{KeyId: &arn, GrantId: new("x")}, "InvalidGrantIdException: Invalid grant ID: x"},
		{"alias", kmsapi.RetireGrantInput{KeyId: new(keyARNs + "alias/a"), GrantId: &grantID}, "InvalidArnException: Key Aliases are not supported for this operation"},
		{"malformed key", kmsapi.RetireGrantInput{KeyId: new("x"), GrantId: &grantID}, "NotFoundException: Invalid keyId 'x'"},
		{"dry run", kmsapi.RetireGrantInput{KeyId: &arn, GrantId: &grantID, DryRun: new(true)}, "DryRunOperationException: The request would have succeeded, but the DryRun option is set."},
	} {
		t.Run(tt.name, func(t *testing.T) { h.refused(t, tt.want, kmsapi.OpRetireGrant, &tt.in) })
	}
	h.refused(t, "InvalidGrantIdException: Invalid grant ID: x", kmsapi.OpRevokeGrant, &kmsapi.RevokeGrantInput{KeyId: id, GrantId: "x"})
	h.refused(t, "DryRunOperationException: The request would have succeeded, but the DryRun option is set.", kmsapi.OpRevokeGrant, &kmsapi.RevokeGrantInput{KeyId: id, GrantId: grantID, DryRun: new(true)})
	h.run(t, kmsapi.OpRevokeGrant, &kmsapi.RevokeGrantInput{KeyId: id, GrantId: grantID})
	h.refused(t, "NotFoundException: Grant ID "+grantID+" not found for key "+arn, kmsapi.OpRevokeGrant, &kmsapi.RevokeGrantInput{KeyId: id, GrantId: grantID})
	if strings.Contains(h.audited(t), string(token)) {
		t.Error("a grant token is in the audit log")
	}
}

func TestCreateGrantRefused(t *testing.T) {
	h := newHouse(t)
	id, _ := h.key(t)
	alice := h.user(t, account, "alice", "")
	some := []string{"Encrypt"}
	for _, tt := range []struct {
		name string
		in   kmsapi.CreateGrantInput
		want string
	}{
		{"nobody", kmsapi.CreateGrantInput{Operations: some}, "ValidationException: GranteePrincipal is required."},
		{"nothing", kmsapi.CreateGrantInput{GranteePrincipal: &alice.ARN, Operations: []string{}}, "ValidationException: A grant must be for at least one operation."},
		{"signatures", kmsapi.CreateGrantInput{GranteePrincipal: &alice.ARN, Operations: []string{"Sign"}}, "ValidationException: Grant operation Sign is not supported for a key with key spec SYMMETRIC_DEFAULT."},
		{"who is not there", kmsapi.CreateGrantInput{GranteePrincipal: new("arn:aws:iam::123456789012:user/bob"), Operations: some}, "InvalidArnException: ARN does not refer to a valid principal: arn:aws:iam::123456789012:user/bob"},
		{"who is no principal", kmsapi.CreateGrantInput{GranteePrincipal: new("x"), Operations: some}, "InvalidArnException: ARN does not refer to a valid principal: x"},
		{"retired by nobody", kmsapi.CreateGrantInput{GranteePrincipal: &alice.ARN, RetiringPrincipal: new("x"), Operations: some}, "InvalidArnException: ARN does not refer to a valid principal: x"},
		{"service", kmsapi.CreateGrantInput{GranteeServicePrincipal: new("lambda.amazonaws.com"), Operations: some}, "ValidationException: GranteeServicePrincipal is not supported: name the role that the service acts under."},
		{"retiring service", kmsapi.CreateGrantInput{GranteePrincipal: &alice.ARN, RetiringServicePrincipal: new("lambda.amazonaws.com"), Operations: some}, "ValidationException: RetiringServicePrincipal is not supported."},
		{"source", kmsapi.CreateGrantInput{GranteePrincipal: &alice.ARN, Operations: some, Constraints: &kmsapi.GrantConstraints{SourceArn: new("arn:aws:s3:eu-west-1:123456789012:x")}}, "ValidationException: SourceArn is not supported."},
		{"empty constraint", kmsapi.CreateGrantInput{GranteePrincipal: &alice.ARN, Operations: some, Constraints: &kmsapi.GrantConstraints{EncryptionContextEquals: map[string]string{}}}, "ValidationException: A grant constraint has 1 to 8 encryption context pairs."},
		{"long constraint", kmsapi.CreateGrantInput{GranteePrincipal: &alice.ARN, Operations: some, Constraints: &kmsapi.GrantConstraints{EncryptionContextEquals: map[string]string{"a": strings.Repeat("x", 385)}}}, "ValidationException: A value in a grant constraint has at most 384 characters."},
		{"token", kmsapi.CreateGrantInput{GranteePrincipal: &alice.ARN, Operations: some, GrantTokens: []api.SensitiveString{"x"}}, "InvalidGrantTokenException: The grant token is not valid."},
		{"dry run", kmsapi.CreateGrantInput{GranteePrincipal: &alice.ARN, Operations: some, DryRun: new(true)}, "DryRunOperationException: The request would have succeeded, but the DryRun option is set."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.in.KeyId = id
			h.refused(t, tt.want, kmsapi.OpCreateGrant, &tt.in)
		})
	}
	if got := must[kmsapi.ListGrantsOutput](t, h, kmsapi.OpListGrants, &kmsapi.ListGrantsInput{KeyId: id}).Grants; len(got) != 0 {
		t.Errorf("grants were made: %v", got)
	}
}

func TestListGrants(t *testing.T) {
	h := newHouse(t)
	id, arn := h.key(t)
	alice, bob := h.user(t, account, "alice", ""), h.user(t, account, "bob", "")
	carol := h.user(t, otherAccount, "carol", "")
	limit := map[string]string{"a": "1"}
	in := &kmsapi.CreateGrantInput{
		KeyId: id, GranteePrincipal: &alice.ARN, RetiringPrincipal: &bob.ARN, Operations: []string{"Encrypt", "Decrypt"}, Name: new("first"),
		Constraints: &kmsapi.GrantConstraints{EncryptionContextSubset: limit},
	}
	first, _ := h.grant(t, in)
	if again, _ := h.grant(t, in); again != first {
		t.Error("a repeated call made a second grant of the same name")
	}
	in.Operations = []string{"Encrypt"}
	if other, _ := h.grant(t, in); other == first {
		t.Error("another grant of the same name was not made")
	}
	third, _ := h.grant(t, &kmsapi.CreateGrantInput{KeyId: id, GranteePrincipal: &bob.ARN, Operations: []string{"DescribeKey"}})
	foreign, _ := h.grant(t, &kmsapi.CreateGrantInput{KeyId: id, GranteePrincipal: &bob.ARN, RetiringPrincipal: &carol.ARN, Operations: []string{"DescribeKey"}})

	list := func(in *kmsapi.ListGrantsInput) []kmsapi.GrantListEntry {
		in.KeyId = id
		return must[kmsapi.ListGrantsOutput](t, h, kmsapi.OpListGrants, in).Grants
	}
	if got := list(&kmsapi.ListGrantsInput{}); len(got) != 4 {
		t.Errorf("%d grants, want 4", len(got))
	}
	want := []kmsapi.GrantListEntry{{
		KeyId: &arn, GrantId: &first, Name: new("first"), CreationDate: &start, GranteePrincipal: &alice.ARN, RetiringPrincipal: &bob.ARN,
		IssuingAccount: new("arn:aws:iam::123456789012:root"), Operations: []string{"Decrypt", "Encrypt"},
		Constraints: &kmsapi.GrantConstraints{EncryptionContextSubset: limit},
	}}
	if diff := cmp.Diff(want, list(&kmsapi.ListGrantsInput{GrantId: &first})); diff != "" {
		t.Errorf("ListGrants of one (-want +got):\n%s", diff)
	}
	if got := list(&kmsapi.ListGrantsInput{GranteePrincipal: &bob.ARN}); len(got) != 2 {
		t.Errorf("%d grants to bob, want 2", len(got))
	}
	if got := list(&kmsapi.ListGrantsInput{GranteeServicePrincipal: new("lambda.amazonaws.com")}); len(got) != 0 {
		t.Errorf("grants to a service: %v", got)
	}
	h.refused(t, "InvalidGrantIdException: Invalid grant ID: x", kmsapi.OpListGrants, &kmsapi.ListGrantsInput{KeyId: id, GrantId: new("x")})
	h.refused(t, "InvalidArnException: ARN does not refer to a valid principal: x", kmsapi.OpListGrants, &kmsapi.ListGrantsInput{KeyId: id, GranteePrincipal: new("x")})

	retirable := must[kmsapi.ListRetirableGrantsOutput](t, h, kmsapi.OpListRetirableGrants, &kmsapi.ListRetirableGrantsInput{RetiringPrincipal: &bob.ARN}).Grants
	if len(retirable) != 2 {
		t.Errorf("bob may retire %d grants, want 2", len(retirable))
	}
	theirs := must[kmsapi.ListRetirableGrantsOutput](t, h, kmsapi.OpListRetirableGrants, &kmsapi.ListRetirableGrantsInput{RetiringPrincipal: &carol.ARN}, otherRoot()).Grants
	if len(theirs) != 1 || *theirs[0].GrantId != foreign || *theirs[0].KeyId != arn {
		t.Errorf("carol may retire %v", theirs)
	}
	h.refused(t, "InvalidArnException: ARN does not refer to a valid principal: "+carol.ARN, kmsapi.OpListRetirableGrants, &kmsapi.ListRetirableGrantsInput{RetiringPrincipal: &carol.ARN})

	none := must[kmsapi.ListRetirableGrantsOutput](t, h, kmsapi.OpListRetirableGrants, &kmsapi.ListRetirableGrantsInput{RetiringServicePrincipal: new("lambda.amazonaws.com")}).Grants
	if len(none) != 0 {
		t.Errorf("a service may retire %v", none)
	}
	h.refused(t, "ValidationException: Specify either RetiringPrincipal or RetiringServicePrincipal.", kmsapi.OpListRetirableGrants, &kmsapi.ListRetirableGrantsInput{})

	// Who is gone is shown by his id, and nobody takes his place.
	h.run(t, iamapi.OpDeleteUser, &iamapi.DeleteUserInput{UserName: "bob"})
	again := h.user(t, account, "bob", "")
	if _, err := h.call(kmsapi.OpDescribeKey, &kmsapi.DescribeKeyInput{KeyId: id}, as(again)); err == nil {
		t.Error("a later bob has the first one's grant")
	}
	if got := list(&kmsapi.ListGrantsInput{GrantId: &third}); *got[0].GranteePrincipal != bob.UniqueID {
		t.Errorf("the grantee who is gone is shown as %s", *got[0].GranteePrincipal)
	}
}
