package lambda_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"arca/internal/api/iamapi"
	"arca/internal/api/lambdaapi"
	"arca/internal/call"
	"arca/internal/lambda"
	"arca/internal/store"
)

const secretARN = "arn:aws:secretsmanager:" + region + ":" + account + ":secret:db-AbCdEf"

// mayInvoke asks whether Secrets Manager may invoke f for a secret.
func (h *house) mayInvoke(t testing.TB, service, sourceAccount, source string) bool {
	t.Helper()
	return h.svc.ServiceMayInvoke(h.record(t, "f"), service, sourceAccount, source, h.now)
}

// The function's own policy says which service may invoke it, and for whom.
func TestServiceMayInvoke(t *testing.T) {
	const service = "secretsmanager.amazonaws.com"
	for _, tt := range []struct {
		name                           string
		in                             *lambdaapi.AddPermissionInput
		service, sourceAccount, source string
		want                           bool
	}{
		{"no policy", nil, service, account, secretARN, false},
		{"any source", &lambdaapi.AddPermissionInput{Principal: service}, service, account, secretARN, true},
		{"other service", &lambdaapi.AddPermissionInput{Principal: "s3.amazonaws.com"}, service, account, secretARN, false},
		{"other action", &lambdaapi.AddPermissionInput{Principal: service, Action: "lambda:GetFunction"}, service, account, secretARN, false},
		{"every action", &lambdaapi.AddPermissionInput{Principal: service, Action: "lambda:*"}, service, account, secretARN, true},
		{"own account", &lambdaapi.AddPermissionInput{Principal: service, SourceAccount: new(account)}, service, account, secretARN, true},
		{"secret of another account", &lambdaapi.AddPermissionInput{Principal: service, SourceAccount: new(account)}, service, otherAccount, strings.Replace(secretARN, account, otherAccount, 1), false},
		{"this secret", &lambdaapi.AddPermissionInput{Principal: service, SourceArn: new(secretARN)}, service, account, secretARN, true},
		{"secrets of that name", &lambdaapi.AddPermissionInput{Principal: service, SourceArn: new("arn:aws:secretsmanager:" + region + ":" + account + ":secret:db-*")}, service, account, secretARN, true},
		{"another secret", &lambdaapi.AddPermissionInput{Principal: service, SourceArn: new(strings.Replace(secretARN, "db", "web", 1))}, service, account, secretARN, false},
		{"the account itself", &lambdaapi.AddPermissionInput{Principal: account}, service, account, secretARN, false},
		{"an organization", &lambdaapi.AddPermissionInput{Principal: "*", PrincipalOrgID: new("o-a1b2c3d4e5")}, service, account, secretARN, false},
		{"event source token", &lambdaapi.AddPermissionInput{Principal: service, EventSourceToken: new("t")}, service, account, secretARN, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t)
			h.function(t, "f")
			if tt.in != nil {
				tt.in.FunctionName, tt.in.StatementId = "f", "s"
				if tt.in.Action == "" {
					tt.in.Action = "lambda:InvokeFunction"
				}
				h.run(t, lambdaapi.OpAddPermission, tt.in)
			}
			if got := h.mayInvoke(t, tt.service, tt.sourceAccount, tt.source); got != tt.want {
				t.Errorf("may invoke = %v, want %v", got, tt.want)
			}
		})
	}
}

// A policy that cannot be read lets nobody in.
func TestUnreadablePolicy(t *testing.T) {
	h := &house{now: start, logDir: t.TempDir()}
	h.store = newUncheckedStore(t, h)
	h.open(t)
	h.function(t, "f")
	functions, _, _ := h.svc.Tables()
	f := *h.record(t, "f")
	f.Policy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*","Surprise":1}]}`
	if _, err := h.store.Update(t.Context(), func(tx *store.Tx) error { functions.Put(tx, lambda.Key(&f), &f); return nil }); err != nil {
		t.Fatal(err)
	}
	if h.mayInvoke(t, "secretsmanager.amazonaws.com", account, secretARN) {
		t.Error("a policy that cannot be read lets Secrets Manager in")
	}
	if problems := h.problems(t); len(problems) != 1 || !strings.Contains(problems[0], "policy of function") {
		t.Errorf("Check reports %q", problems)
	}
}

// Users in a policy are told by who they are.
func TestPrincipals(t *testing.T) {
	h := newHouse(t)
	h.function(t, "f")
	add := func(sid, principal string) error {
		_, err := h.call(lambdaapi.OpAddPermission, &lambdaapi.AddPermissionInput{FunctionName: "f", StatementId: sid, Action: "lambda:InvokeFunction", Principal: principal})
		return err
	}
	first := h.user(t, "ann", "")
	arn := "arn:aws:iam::" + account + ":user/ann"
	if err := add("ann", arn); err != nil {
		t.Fatal(err)
	}
	dryRun := &lambdaapi.InvokeInput{FunctionName: "f", InvocationType: new("DryRun")}
	if _, err := h.call(lambdaapi.OpInvoke, dryRun, as(first)); err != nil {
		t.Errorf("ann: %v", err)
	}
	h.run(t, iamapi.OpDeleteUser, &iamapi.DeleteUserInput{UserName: "ann"})
	second := h.user(t, "ann", "")
	_, err := h.call(lambdaapi.OpInvoke, dryRun, as(second))
	refused(t, "another ann", err, lambdaapi.RESTAccessDenied, "User: ")
	// Who is gone is shown by unique id, and the policy can still be added to.
	if err := add("account", account); err != nil {
		t.Fatal(err)
	}
	got := must[lambdaapi.GetPolicyOutput](t, h, lambdaapi.OpGetPolicy, &lambdaapi.GetPolicyInput{FunctionName: "f"})
	if !strings.Contains(*got.Policy, first.UniqueID) || !strings.Contains(*got.Policy, "arn:aws:iam::"+account+":root") {
		t.Errorf("policy %s", *got.Policy)
	}
	for _, principal := range []string{"nobody", arn + "/missing", "arn:aws:iam::111111111111:root", "AIDAAAAAAAAAAAAAAAAAA:x", "arn:aws:s3:::b", `a"b.c`} {
		refused(t, principal, add("x", principal), lambdaapi.InvalidParameterValueException, "The provided principal was invalid.")
	}
	h.run(t, lambdaapi.OpRemovePermission, &lambdaapi.RemovePermissionInput{FunctionName: "f", StatementId: "ann"})
	h.run(t, lambdaapi.OpRemovePermission, &lambdaapi.RemovePermissionInput{FunctionName: "f", StatementId: "account"})
	if f := h.record(t, "f"); f.Policy != "" || f.PolicyRevision != "" {
		t.Errorf("policy %q of revision %q is left", f.Policy, f.PolicyRevision)
	}
}

func TestAddPermissionRefuses(t *testing.T) {
	h := newHouse(t)
	h.function(t, "f")
	add := func(change func(in *lambdaapi.AddPermissionInput)) error {
		in := &lambdaapi.AddPermissionInput{FunctionName: "f", StatementId: "s", Action: "lambda:InvokeFunction", Principal: account}
		change(in)
		_, err := h.call(lambdaapi.OpAddPermission, in)
		return err
	}
	refused(t, "latest", add(func(in *lambdaapi.AddPermissionInput) { in.Qualifier = new("$LATEST") }),
		lambdaapi.InvalidParameterValueException, "We currently do not support adding policies for $LATEST.")
	refused(t, "two qualifiers", add(func(in *lambdaapi.AddPermissionInput) { in.FunctionName, in.Qualifier = "f:1", new("2") }),
		lambdaapi.InvalidParameterValueException, "The derived qualifier")
	refused(t, "function URL", add(func(in *lambdaapi.AddPermissionInput) { in.FunctionUrlAuthType = new("NONE") }),
		lambdaapi.InvalidParameterValueException, "Function URLs are not supported by this server.")
	refused(t, "organization of a service", add(func(in *lambdaapi.AddPermissionInput) {
		in.Principal, in.PrincipalOrgID = "s3.amazonaws.com", new("o-a1b2c3d4e5")
	}), lambdaapi.InvalidParameterValueException, "The principal must be *")
	refused(t, "old revision", add(func(in *lambdaapi.AddPermissionInput) { in.RevisionId = new("x") }), lambdaapi.PreconditionFailedException, "The Revision Id")
	var err error
	for i := 0; err == nil && i < 200; i++ {
		err = add(func(in *lambdaapi.AddPermissionInput) {
			in.StatementId = strings.Repeat("s", i%100) + string(rune('a'+i/100))
		})
	}
	refused(t, "full policy", err, lambdaapi.PolicyLengthExceededException, "The final policy size (")
	refused(t, "the same id", add(func(in *lambdaapi.AddPermissionInput) { in.StatementId = "a" }), lambdaapi.ResourceConflictException, "The statement id (a) provided already exists.")
	_, err = h.call(lambdaapi.OpRemovePermission, &lambdaapi.RemovePermissionInput{FunctionName: "f", StatementId: "a", RevisionId: new("x")})
	refused(t, "old revision", err, lambdaapi.PreconditionFailedException, "The Revision Id")
	got := must[lambdaapi.GetPolicyOutput](t, h, lambdaapi.OpGetPolicy, &lambdaapi.GetPolicyInput{FunctionName: "f"})
	if !json.Valid([]byte(*got.Policy)) {
		t.Error("the policy is not JSON")
	}
}

// Conditions on who is let in, and on tags, are met by what the requests say.
func TestConditionKeys(t *testing.T) {
	h := newHouse(t)
	h.function(t, "f", func(in *lambdaapi.CreateFunctionInput) { in.Tags = map[string]string{"team": "a"} })
	policy := func(action, condition string) string {
		return `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"` + action + `","Resource":"*","Condition":` + condition + `}}`
	}
	add := &lambdaapi.AddPermissionInput{FunctionName: "f", StatementId: "s", Action: "lambda:InvokeFunction", Principal: "secretsmanager.amazonaws.com"}
	for _, tt := range []struct {
		name, policy string
		ok           bool
	}{
		{"right-principal", policy("lambda:AddPermission", `{"StringEquals":{"lambda:Principal":"secretsmanager.amazonaws.com"}}`), true},
		{"wrong-principal", policy("lambda:AddPermission", `{"StringEquals":{"lambda:Principal":"s3.amazonaws.com"}}`), false},
		{"right-team", policy("lambda:*", `{"StringEquals":{"aws:ResourceTag/team":"a"}}`), true},
		{"wrong-team", policy("lambda:*", `{"StringEquals":{"aws:ResourceTag/team":"b"}}`), false},
	} {
		add.StatementId = tt.name
		_, err := h.call(lambdaapi.OpAddPermission, add, as(h.user(t, tt.name, tt.policy)))
		if tt.ok != (err == nil) {
			t.Errorf("%s: %s", tt.name, shown(err))
		}
	}
	// Tags given at the beginning need the permission to tag.
	in := input(t, "g")
	in.Tags = map[string]string{"team": "a"}
	author := h.user(t, "author", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["lambda:CreateFunction","iam:PassRole"],"Resource":"*"}]}`)
	_, err := h.call(lambdaapi.OpCreateFunction, in, as(author))
	refused(t, "tags", err, lambdaapi.RESTAccessDenied, "User: "+author.ARN+" is not authorized to perform: lambda:TagResource on resource: "+functionARN("g"))
}

// Questions about access find functions.
func TestResource(t *testing.T) {
	h := newHouse(t)
	h.function(t, "f", func(in *lambdaapi.CreateFunctionInput) { in.Tags = map[string]string{"team": "a"} })
	err := h.store.View(context.Background(), func(v *store.Snap) error {
		ck, found := h.svc.Resource(v, &call.Call{}, functionARN("f"))
		if !found || ck.Account != account || ck.Resource != functionARN("f") || len(ck.Keys) != 1 || ck.Action != "" {
			t.Errorf("Resource = %+v, %v", ck, found)
		}
		for _, other := range []string{"f", functionARN("g"), secretARN, functionARN("f") + ":1", "arn:aws:lambda:f", ""} {
			if _, found := h.svc.Resource(v, &call.Call{}, other); found {
				t.Errorf("Resource(%q) is found", other)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
