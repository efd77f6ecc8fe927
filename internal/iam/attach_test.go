package iam_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api"
	"arca/internal/api/iamapi"
	"arca/internal/iam"
)

// bearer is a user or a group, whose operations on policies are alike.
type bearer struct {
	kind                     string // "user"
	inline                   int    // quota
	put, get, delete, list   *api.Operation
	attach, detach, attached *api.Operation
	putIn                    func(name, policy, text string) any
	nameIn                   func(op *api.Operation, name, policyOrARN string) any
	document                 func(out any) string
	names                    func(out any) ([]string, *string)
	policies                 func(out any) ([]iamapi.AttachedPolicy, *string)
	listIn                   func(name string, marker *string, size int32) any
	attachedIn               func(name string, prefix, marker *string, size int32) any
}

func bearers() []bearer {
	return []bearer{{
		kind: "user", inline: 2048,
		put: iamapi.OpPutUserPolicy, get: iamapi.OpGetUserPolicy, delete: iamapi.OpDeleteUserPolicy, list: iamapi.OpListUserPolicies,
		attach: iamapi.OpAttachUserPolicy, detach: iamapi.OpDetachUserPolicy, attached: iamapi.OpListAttachedUserPolicies,
		putIn: func(name, policy, text string) any {
			return &iamapi.PutUserPolicyInput{UserName: name, PolicyName: policy, PolicyDocument: text}
		},
		nameIn: func(op *api.Operation, name, p string) any {
			switch op {
			case iamapi.OpGetUserPolicy:
				return &iamapi.GetUserPolicyInput{UserName: name, PolicyName: p}
			case iamapi.OpDeleteUserPolicy:
				return &iamapi.DeleteUserPolicyInput{UserName: name, PolicyName: p}
			case iamapi.OpAttachUserPolicy:
				return &iamapi.AttachUserPolicyInput{UserName: name, PolicyArn: p}
			}
			return &iamapi.DetachUserPolicyInput{UserName: name, PolicyArn: p}
		},
		document: func(out any) string { return out.(*iamapi.GetUserPolicyOutput).PolicyDocument },
		names: func(out any) ([]string, *string) {
			o := out.(*iamapi.ListUserPoliciesOutput)
			return o.PolicyNames, o.Marker
		},
		policies: func(out any) ([]iamapi.AttachedPolicy, *string) {
			o := out.(*iamapi.ListAttachedUserPoliciesOutput)
			return o.AttachedPolicies, o.Marker
		},
		listIn: func(name string, marker *string, size int32) any {
			return &iamapi.ListUserPoliciesInput{UserName: name, Marker: marker, MaxItems: &size}
		},
		attachedIn: func(name string, prefix, marker *string, size int32) any {
			return &iamapi.ListAttachedUserPoliciesInput{UserName: name, PathPrefix: prefix, Marker: marker, MaxItems: &size}
		},
	}, {
		kind: "group", inline: 5120,
		put: iamapi.OpPutGroupPolicy, get: iamapi.OpGetGroupPolicy, delete: iamapi.OpDeleteGroupPolicy, list: iamapi.OpListGroupPolicies,
		attach: iamapi.OpAttachGroupPolicy, detach: iamapi.OpDetachGroupPolicy, attached: iamapi.OpListAttachedGroupPolicies,
		putIn: func(name, policy, text string) any {
			return &iamapi.PutGroupPolicyInput{GroupName: name, PolicyName: policy, PolicyDocument: text}
		},
		nameIn: func(op *api.Operation, name, p string) any {
			switch op {
			case iamapi.OpGetGroupPolicy:
				return &iamapi.GetGroupPolicyInput{GroupName: name, PolicyName: p}
			case iamapi.OpDeleteGroupPolicy:
				return &iamapi.DeleteGroupPolicyInput{GroupName: name, PolicyName: p}
			case iamapi.OpAttachGroupPolicy:
				return &iamapi.AttachGroupPolicyInput{GroupName: name, PolicyArn: p}
			}
			return &iamapi.DetachGroupPolicyInput{GroupName: name, PolicyArn: p}
		},
		document: func(out any) string { return out.(*iamapi.GetGroupPolicyOutput).PolicyDocument },
		names: func(out any) ([]string, *string) {
			o := out.(*iamapi.ListGroupPoliciesOutput)
			return o.PolicyNames, o.Marker
		},
		policies: func(out any) ([]iamapi.AttachedPolicy, *string) {
			o := out.(*iamapi.ListAttachedGroupPoliciesOutput)
			return o.AttachedPolicies, o.Marker
		},
		listIn: func(name string, marker *string, size int32) any {
			return &iamapi.ListGroupPoliciesInput{GroupName: name, Marker: marker, MaxItems: &size}
		},
		attachedIn: func(name string, prefix, marker *string, size int32) any {
			return &iamapi.ListAttachedGroupPoliciesInput{GroupName: name, PathPrefix: prefix, Marker: marker, MaxItems: &size}
		},
	}}
}

// make creates the bearer called x.
func (b bearer) make(t *testing.T, h *house) {
	if b.kind == "user" {
		h.createUser(t, "x")
	} else {
		h.createGroup(t, "x")
	}
}

func (h *house) answer(t testing.TB, op *api.Operation, in any) any {
	t.Helper()
	out, err := h.call(op, in)
	if err != nil {
		t.Fatalf("%s: %v", op.Name, err)
	}
	return out
}

func TestInlinePolicies(t *testing.T) {
	for _, b := range bearers() {
		t.Run(b.kind, func(t *testing.T) {
			h := newHouse(t)
			b.make(t, h)
			names := func(size int32) (all []string) {
				t.Helper()
				var marker *string
				for {
					page, next := b.names(h.answer(t, b.list, b.listIn("x", marker, size)))
					if page == nil {
						t.Fatal("no list")
					}
					all = append(all, page...)
					if marker = next; marker == nil {
						return all
					}
				}
			}
			if got := names(9); len(got) != 0 {
				t.Errorf("names %q before any", got)
			}
			// Texts come back letter for letter, white space and all.
			odd := strings.Replace(simplePolicy, `"Resource"`, "\n\t \"Sid\":\"Aß\", \"Resource\"", 1)
			odd = strings.Replace(odd, "Aß", "A1", 1)
			h.run(t, b.put, b.putIn("x", "b", simplePolicy))
			h.run(t, b.put, b.putIn("x", "B", odd))
			h.run(t, b.put, b.putIn("x", "a", simplePolicy))
			h.run(t, b.put, b.putIn("x", "a", odd))
			for size := range int32(4) {
				if got := fmt.Sprint(names(size + 1)); got != "[B a b]" {
					t.Errorf("names in pages of %d: %s", size+1, got)
				}
			}
			encoded := b.document(h.answer(t, b.get, b.nameIn(b.get, "x", "a")))
			if got := unescaped(t, encoded); got != odd {
				t.Errorf("text %q, want %q", got, odd)
			}
			if strings.Trim(encoded, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%") != "" {
				t.Errorf("%q is not encoded as RFC 3986 says", encoded)
			}
			h.run(t, b.delete, b.nameIn(b.delete, "x", "B"))
			missing := "NoSuchEntity: The " + b.kind + " policy with name B cannot be found."
			h.refused(t, missing, b.delete, b.nameIn(b.delete, "x", "B"))
			h.refused(t, missing, b.get, b.nameIn(b.get, "x", "B"))

			for _, tc := range []struct{ name, text, want string }{
				{"no JSON", "{", "MalformedPolicyDocument: This policy contains invalid Json"},
				{"grammar", `{"Version":"2012-10-17"}`, "MalformedPolicyDocument: Syntax errors in policy."},
				{"principal", strings.Replace(simplePolicy, `"Action"`, `"Principal":"*","Action"`, 1), "MalformedPolicyDocument: Policy document should not specify a principal."},
			} {
				t.Run(tc.name, func(t *testing.T) { h.refused(t, tc.want, b.put, b.putIn("x", "c", tc.text)) })
			}
			if got := fmt.Sprint(names(9)); got != "[a b]" {
				t.Errorf("names %s after what was refused", got)
			}

			// White space does not count, and all policies count together.
			fill := func(n int) string {
				base := strings.Replace(simplePolicy, `"Effect"`, `"Sid":"","Effect"`, 1)
				return strings.Replace(base, `"Sid":""`, `"Sid":"`+strings.Repeat("s", n-len(base))+`"`, 1)
			}
			left := b.inline - 2*len(simplePolicy) - len(`"Sid":"A1",`)
			h.run(t, b.put, b.putIn("x", "fill", strings.Repeat(" ", 1000)+fill(left)))
			over := fmt.Sprintf("LimitExceeded: Maximum policy size of %d bytes exceeded for %s x", b.inline, b.kind)
			h.refused(t, over, b.put, b.putIn("x", "fill", fill(left+1)))
			h.refused(t, over, b.put, b.putIn("x", "more", simplePolicy))

			none := "NoSuchEntity: The " + b.kind + " with name y cannot be found."
			h.refused(t, none, b.put, b.putIn("y", "p", simplePolicy))
			h.refused(t, none, b.get, b.nameIn(b.get, "y", "p"))
			h.refused(t, none, b.delete, b.nameIn(b.delete, "y", "p"))
			h.refused(t, none, b.list, b.listIn("y", nil, 9))
		})
	}
}

func TestAttachedPolicies(t *testing.T) {
	for _, b := range bearers() {
		t.Run(b.kind, func(t *testing.T) {
			h := newHouse(t, func(q *iam.Quotas) { q.Attached = 3 })
			b.make(t, h)
			own := h.createPolicy(t, "own")
			deep := *must[iamapi.CreatePolicyOutput](t, h, iamapi.OpCreatePolicy, &iamapi.CreatePolicyInput{PolicyName: "deep", Path: new("/a/b/"), PolicyDocument: simplePolicy}).Policy.Arn
			count := func() int32 {
				t.Helper()
				return *must[iamapi.GetPolicyOutput](t, h, iamapi.OpGetPolicy, &iamapi.GetPolicyInput{PolicyArn: own}).Policy.AttachmentCount
			}
			list := func(prefix *string, size int32) (names []string) {
				t.Helper()
				var marker *string
				for {
					page, next := b.policies(h.answer(t, b.attached, b.attachedIn("x", prefix, marker, size)))
					if page == nil {
						t.Fatal("no list")
					}
					for _, p := range page {
						names = append(names, *p.PolicyName)
					}
					if marker = next; marker == nil {
						return names
					}
				}
			}
			h.questions()
			h.run(t, b.attach, b.nameIn(b.attach, "x", own))
			if asked := h.questions(); len(asked) != 1 || asked[0].Resource != "arn:aws:iam::123456789012:"+b.kind+"/x" ||
				len(asked[0].Keys) != 1 || asked[0].Keys[0].Name != "iam:PolicyARN" || asked[0].Keys[0].Values[0] != own {
				t.Errorf("asked %+v", asked)
			}
			h.run(t, b.attach, b.nameIn(b.attach, "x", own))
			h.run(t, b.attach, b.nameIn(b.attach, "x", adminARN))
			h.run(t, b.attach, b.nameIn(b.attach, "x", deep))
			if n := count(); n != 1 {
				t.Errorf("%d attachments are counted", n)
			}
			for size := range int32(4) {
				if got := fmt.Sprint(list(nil, size+1)); got != "[own AdministratorAccess deep]" {
					t.Errorf("attached, in pages of %d: %s", size+1, got)
				}
			}
			if got := fmt.Sprint(list(new("/a/"), 9), list(new("/"), 9), list(new("/a/b/c/"), 9)); got != "[deep] [own AdministratorAccess deep] []" {
				t.Errorf("attached below paths: %s", got)
			}
			page, _ := b.policies(h.answer(t, b.attached, b.attachedIn("x", new("/a/"), nil, 9)))
			if diff := cmp.Diff([]iamapi.AttachedPolicy{{PolicyName: new("deep"), PolicyArn: &deep}}, page); diff != "" {
				t.Errorf("attached policy (-want +got):\n%s", diff)
			}
			quota := map[string]string{"user": "PoliciesPerUser", "group": "PoliciesPerGroup"}[b.kind]
			h.refused(t, "LimitExceeded: Cannot exceed quota for "+quota+": 3", b.attach, b.nameIn(b.attach, "x", "arn:aws:iam::aws:policy/PowerUserAccess"))
			h.refused(t, "DeleteConflict: Cannot delete a policy attached to entities.", iamapi.OpDeletePolicy, &iamapi.DeletePolicyInput{PolicyArn: own})

			h.run(t, b.detach, b.nameIn(b.detach, "x", own))
			h.run(t, b.detach, b.nameIn(b.detach, "x", adminARN))
			if n := count(); n != 0 {
				t.Errorf("%d attachments are counted after the only one is gone", n)
			}
			h.refused(t, "NoSuchEntity: Policy "+own+" was not found.", b.detach, b.nameIn(b.detach, "x", own))
			h.run(t, iamapi.OpDeletePolicy, &iamapi.DeletePolicyInput{PolicyArn: own})
			h.refused(t, "NoSuchEntity: Policy "+own+" does not exist or is not attachable.", b.attach, b.nameIn(b.attach, "x", own))

			for _, tc := range []struct{ name, arn, want string }{
				{"no ARN", "no ARN but twenty letters", "ValidationError: Invalid ARN:  Could not be parsed!"},
				{"not of a policy", "arn:aws:iam::123456789012:role/own", "InvalidInput: ARN arn:aws:iam::123456789012:role/own is not valid."},
				{"another partition", "arn:aws-cn:iam::123456789012:policy/own", "InvalidInput: ARN arn:aws-cn:iam::123456789012:policy/own is not valid."},
				{"another account's", "arn:aws:iam::999999999999:policy/own", "NoSuchEntity: Policy arn:aws:iam::999999999999:policy/own does not exist or is not attachable."},
			} {
				t.Run(tc.name, func(t *testing.T) { h.refused(t, tc.want, b.attach, b.nameIn(b.attach, "x", tc.arn)) })
			}
			h.refused(t, "InvalidInput: ARN arn:aws:iam::123456789012:role/own is not valid.", b.detach, b.nameIn(b.detach, "x", "arn:aws:iam::123456789012:role/own"))
			none := "NoSuchEntity: The " + b.kind + " with name y cannot be found."
			h.refused(t, none, b.attach, b.nameIn(b.attach, "y", adminARN))
			h.refused(t, none, b.detach, b.nameIn(b.detach, "y", adminARN))
			h.refused(t, none, b.attached, b.attachedIn("y", nil, nil, 9))
		})
	}
}

// What is attached while it is deleted is either there or not attached.
func TestAttachWhileDeleted(t *testing.T) {
	h := newHouse(t)
	h.createUser(t, "x")
	for i := range 5 {
		arn := h.createPolicy(t, fmt.Sprintf("p%d", i))
		errs := make(chan error, 2)
		go func() {
			_, err := h.call(iamapi.OpAttachUserPolicy, &iamapi.AttachUserPolicyInput{UserName: "x", PolicyArn: arn})
			errs <- err
		}()
		go func() {
			_, err := h.call(iamapi.OpDeletePolicy, &iamapi.DeletePolicyInput{PolicyArn: arn})
			errs <- err
		}()
		a, b := <-errs, <-errs
		if (a == nil) == (b == nil) || settled(a, iamapi.NoSuchEntity, iamapi.DeleteConflict) != nil || settled(b, iamapi.NoSuchEntity, iamapi.DeleteConflict) != nil {
			t.Errorf("errors %v, %v: want one that lost", a, b)
		}
	}
}

// Whatever is sent for the ARN of a policy, it is refused or is the ARN of something
// that exists.
func FuzzPolicyARN(f *testing.F) {
	h := newHouse(f)
	h.createUser(f, "x")
	for _, seed := range []string{adminARN, adminARN + " ", "arn:aws:iam::aws:policy/", "arn:aws:iam::aws:policy//AdministratorAccess", "arn:aws:iam::123456789012:policy/x", "arn:aws:iam::aws:policy/AdministratorAccess/", "arn:::::::::::::::::::", "arn:aws:iam::aws:policy/\x00aaaaaaaaaaaaaaa"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, arn string) {
		_, err := h.call(iamapi.OpAttachUserPolicy, &iamapi.AttachUserPolicyInput{UserName: "x", PolicyArn: arn})
		if err == nil && !slices.ContainsFunc(iam.BuiltinPolicies(), func(p iam.BuiltinPolicy) bool { return p.ARN == arn }) {
			t.Fatalf("%q is attached", arn)
		}
		if err != nil && strings.HasPrefix(shownError(err), "ServiceFailure") {
			t.Fatalf("%q: %v", arn, err)
		}
	})
}
