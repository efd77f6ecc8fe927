package secrets_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"arca/internal/access"
	"arca/internal/api/iamapi"
	"arca/internal/audit"
	"arca/internal/call"
	"arca/internal/iam"
	"arca/internal/secrets"
)

// newHouse is a bed that decides as the server does, for tests with principals.
func newHouse(t testing.TB, set ...func(*secrets.Config)) *bed {
	b := newBed(t, set...)
	b.decide = access.New(access.Config{Store: b.store, IAM: b.iam, OrganizationID: "o-test"})
	return b
}

// as makes somebody the caller.
func as(p call.Principal) callOption { return func(c *call.Call) { c.Caller = p } }

func root(account string) callOption { return as(iam.RootPrincipal(account, "ROOT"+account)) }

// allow is an identity policy with one statement; elements are its further members.
func allow(elements string) string {
	return `{"Version":"2012-10-17","Statement":{"Effect":"Allow",` + elements + `}}`
}

// user makes a user of an account with one policy, and returns what makes him the
// caller.
func (b *bed) user(t testing.TB, account, name, policy string) callOption {
	t.Helper()
	by := root(account)
	must[iamapi.CreateUserOutput](t, b, iamapi.OpCreateUser, &iamapi.CreateUserInput{UserName: name}, by)
	b.setPolicy(t, account, name, policy)
	key := must[iamapi.CreateAccessKeyOutput](t, b, iamapi.OpCreateAccessKey, &iamapi.CreateAccessKeyInput{UserName: &name}, by)
	cred, err := b.iam.Lookup(context.Background(), key.AccessKey.AccessKeyId, "")
	if err != nil {
		t.Fatal(err)
	}
	return as(cred.Principal)
}

// setPolicy gives a user another policy; "" takes it away.
func (b *bed) setPolicy(t testing.TB, account, name, policy string) {
	t.Helper()
	if policy != "" {
		must[iamapi.PutUserPolicyOutput](t, b, iamapi.OpPutUserPolicy, &iamapi.PutUserPolicyInput{UserName: name, PolicyName: "p", PolicyDocument: policy}, root(account))
	}
}

// dropUser deletes a user of this file's making.
func (b *bed) dropUser(t testing.TB, account, name string) {
	t.Helper()
	by := root(account)
	keys := must[iamapi.ListAccessKeysOutput](t, b, iamapi.OpListAccessKeys, &iamapi.ListAccessKeysInput{UserName: &name}, by)
	for _, k := range keys.AccessKeyMetadata {
		must[iamapi.DeleteAccessKeyOutput](t, b, iamapi.OpDeleteAccessKey, &iamapi.DeleteAccessKeyInput{UserName: &name, AccessKeyId: *k.AccessKeyId}, by)
	}
	policies := must[iamapi.ListUserPoliciesOutput](t, b, iamapi.OpListUserPolicies, &iamapi.ListUserPoliciesInput{UserName: name}, by)
	for _, p := range policies.PolicyNames {
		must[iamapi.DeleteUserPolicyOutput](t, b, iamapi.OpDeleteUserPolicy, &iamapi.DeleteUserPolicyInput{UserName: name, PolicyName: p}, by)
	}
	must[iamapi.DeleteUserOutput](t, b, iamapi.OpDeleteUser, &iamapi.DeleteUserInput{UserName: name}, by)
}

// role makes a role with one policy, and returns its unique id and what makes a session
// of it the caller.
func (b *bed) role(t testing.TB, account, name, policy string) (uid string, session callOption) {
	t.Helper()
	trust := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + account + `"},"Action":"sts:AssumeRole"}}`
	made := must[iamapi.CreateRoleOutput](t, b, iamapi.OpCreateRole, &iamapi.CreateRoleInput{RoleName: name, AssumeRolePolicyDocument: trust}, root(account))
	must[iamapi.PutRolePolicyOutput](t, b, iamapi.OpPutRolePolicy, &iamapi.PutRolePolicyInput{RoleName: name, PolicyName: "p", PolicyDocument: policy}, root(account))
	s := &iam.Session{Account: account, Issuer: made.Role.RoleId, Name: "session"}
	token, err := b.iam.NewSession(s, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	cred, err := b.iam.Lookup(context.Background(), s.KeyID, token)
	if err != nil {
		t.Fatal(err)
	}
	return made.Role.RoleId, as(cred.Principal)
}

// denials are the reasons in the audit records, each with its event and code.
func (b *bed) denials(t testing.TB) (list []string) {
	t.Helper()
	err := audit.Scan(context.Background(), b.logDir, 0, func(_ uint64, line []byte) error {
		var r struct {
			EventName, ErrorCode string
			Arca                 struct {
				Denied *struct{ Action, Reason string }
			}
		}
		if err := json.Unmarshal(line, &r); err != nil {
			return err
		}
		if d := r.Arca.Denied; d != nil {
			list = append(list, r.EventName+" "+r.ErrorCode+": "+d.Action+" "+d.Reason)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}
