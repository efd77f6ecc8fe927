package admin_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api"
	"arca/internal/api/arcaapi"
	"arca/internal/api/iamapi"
	"arca/internal/call"
	"arca/internal/iam"
	"arca/internal/store"
	"arca/internal/storetest"
)

// secretOf opens the stored secret of an access key that may sign.
func (b *bed) secretOf(t *testing.T, accessKeyID string) (secret string, p call.Principal) {
	t.Helper()
	cred, err := b.iam.Lookup(t.Context(), accessKeyID, "")
	if err != nil {
		t.Fatalf("look up %s: %v", accessKeyID, err)
	}
	plain, err := cred.Secret()
	if err != nil {
		t.Fatal(err)
	}
	return string(plain.Bytes()), cred.Principal
}

func TestCreateAccount(t *testing.T) {
	b := newBed(t, false)
	out := must[arcaapi.CreateAccountOutput](t, b, arcaapi.OpCreateAccount, &arcaapi.CreateAccountInput{Name: "Payments"}, root)
	secret, p := b.secretOf(t, *out.AccessKeyId)
	if secret != string(*out.SecretAccessKey) || len(secret) != 40 {
		t.Errorf("the secret that was stored is not the one that was shown")
	}
	if diff := cmp.Diff(iam.RootPrincipal(*out.AccountId, *out.AccessKeyId), p); diff != "" {
		t.Errorf("the key speaks for (-want +got):\n%s", diff)
	}
	// Its root has all of its own account and nothing of the server.
	must[iamapi.ListUsersOutput](t, b, iamapi.OpListUsers, &iamapi.ListUsersInput{}, p)
	const only = "AccessDeniedException: User: arn:aws:iam::ACCOUNT:root is not authorized to perform: arca:CreateAccount because only the root of the management account may"
	if got := b.refused(t, arcaapi.OpCreateAccount, &arcaapi.CreateAccountInput{Name: "x"}, p); got != strings.Replace(only, "ACCOUNT", p.Account, 1) {
		t.Errorf("another root: %s", got)
	}

	for name, want := range map[string]string{
		"payments":     "AlreadyExistsException: There is an account named payments already.",
		"123456789013": "InvalidParameterException: The account name",
		" x":           "InvalidParameterException: The account name",
		"x ":           "InvalidParameterException: The account name",
		"a/b":          "InvalidParameterException: The account name",
		"a\nb":         "InvalidParameterException: The account name",
		"ä":            "InvalidParameterException: The account name",
	} {
		if got := b.refused(t, arcaapi.OpCreateAccount, &arcaapi.CreateAccountInput{Name: name}, root); !strings.HasPrefix(got, want) {
			t.Errorf("CreateAccount %q: %s, want %s", name, got, want)
		}
	}
	// The audit log tells that it was made, and not with which secret.
	log := readAll(t, b.logDir())
	if !strings.Contains(log, *out.AccessKeyId) || strings.Contains(log, secret) {
		t.Errorf("the log has the key id: %v, the secret: %v", strings.Contains(log, *out.AccessKeyId), strings.Contains(log, secret))
	}
}

func readAll(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	segments, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range segments {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(raw)
	}
	return all.String()
}

// Of several that want a name at once, one gets it.
func TestCreateAccountAtOnce(t *testing.T) {
	b := newBed(t, false)
	var wg sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for _, name := range []string{"ops", "Ops", "OPS", "oPs"} {
		wg.Go(func() {
			if _, err := b.call(arcaapi.OpCreateAccount, &arcaapi.CreateAccountInput{Name: name}, root); err == nil {
				mu.Lock()
				made++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if made != 1 {
		t.Errorf("%d accounts were made", made)
	}
}

func TestListAccounts(t *testing.T) {
	b := newBed(t, false)
	want := map[string]string{management: ""}
	for _, name := range []string{"a", "b", "c", "d"} {
		want[b.account(t, name).Account] = name
	}
	b.guard(t, "b", everything)
	got := map[string]string{}
	in := &arcaapi.ListAccountsInput{MaxResults: new(int32(2))}
	pages, last := 0, ""
	for {
		out := must[arcaapi.ListAccountsOutput](t, b, arcaapi.OpListAccounts, in, root)
		pages++
		for _, a := range out.Accounts {
			if *a.AccountId <= last {
				t.Errorf("%s comes after %s", *a.AccountId, last)
			}
			last = *a.AccountId
			got[last] = *a.Name
			if *a.Management != (last == management) || *a.HasGuardrail != (*a.Name == "b") {
				t.Errorf("account %s: management %v, guardrail %v", *a.Name, *a.Management, *a.HasGuardrail)
			}
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			break
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || pages != 3 {
		t.Errorf("on %d pages (-want +got):\n%s", pages, diff)
	}
	for _, token := range []string{"x", "AAAA", "!"} {
		in := &arcaapi.ListAccountsInput{NextToken: &token}
		if got := b.refused(t, arcaapi.OpListAccounts, in, root); got != "InvalidParameterException: The NextToken value is invalid." {
			t.Errorf("token %q: %s", token, got)
		}
	}
}

// guard sets the guardrail of an account.
func (b *bed) guard(t *testing.T, account, text string) {
	t.Helper()
	in := &arcaapi.PutAccountGuardrailInput{Account: account, PolicyDocument: text}
	must[arcaapi.PutAccountGuardrailOutput](t, b, arcaapi.OpPutAccountGuardrail, in, root)
}

func TestGuardrail(t *testing.T) {
	b := newBed(t, false)
	tenant := b.account(t, "tenant")
	admin := b.user(t, tenant, "admin", everything)
	list := func(p call.Principal) string {
		if _, err := b.call(iamapi.OpListUsers, &iamapi.ListUsersInput{}, p); err != nil {
			return err.Error()
		}
		return "allowed"
	}
	both := func(want string) {
		t.Helper()
		for _, p := range []call.Principal{tenant, admin} {
			if got := list(p); !strings.HasSuffix(got, want) {
				t.Errorf("%s: %s, want %s", p.ARN, got, want)
			}
		}
	}
	both("allowed")
	// It limits the root as it does everybody, from the next call on.
	b.guard(t, "Tenant", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"iam:List*","Resource":"*"}]}`)
	both("with an explicit deny in a service control policy")
	b.guard(t, tenant.Account, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"secretsmanager:*","Resource":"*"}}`)
	both("because no service control policy allows the iam:ListUsers action")
	if list(root) != "allowed" {
		t.Error("it limits another account")
	}
	shown := must[arcaapi.GetAccountGuardrailOutput](t, b, arcaapi.OpGetAccountGuardrail, &arcaapi.GetAccountGuardrailInput{Account: "tenant"}, root)
	if *shown.AccountId != tenant.Account || !strings.Contains(*shown.PolicyDocument, "secretsmanager") {
		t.Errorf("shown: %s of %s", *shown.PolicyDocument, *shown.AccountId)
	}
	for range 2 {
		must[arcaapi.DeleteAccountGuardrailOutput](t, b, arcaapi.OpDeleteAccountGuardrail, &arcaapi.DeleteAccountGuardrailInput{Account: "tenant"}, root)
		both("allowed")
	}

	for name, tt := range map[string]struct{ text, want string }{
		"not JSON":    {"x", "MalformedPolicyDocumentException: The policy cannot be a guardrail: it is not a policy: line 1"},
		"principal":   {`{"Statement":{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}}`, "MalformedPolicyDocumentException: "},
		"denies only": {`{"Statement":{"Effect":"Deny","Action":"iam:*","Resource":"*"}}`, "MalformedPolicyDocumentException: The policy cannot be a guardrail: it allows nothing"},
		"too long":    {`{"Statement":{"Sid":"` + strings.Repeat("x", 11000) + `"}}`, "MalformedPolicyDocumentException: The policy cannot be a guardrail: it has 1"},
	} {
		in := &arcaapi.PutAccountGuardrailInput{Account: "tenant", PolicyDocument: tt.text}
		if got := b.refused(t, arcaapi.OpPutAccountGuardrail, in, root); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
	both("allowed")
	if got := b.refused(t, arcaapi.OpGetAccountGuardrail, &arcaapi.GetAccountGuardrailInput{Account: "tenant"}, root); got != "NotFoundException: Account "+tenant.Account+" has no guardrail." {
		t.Errorf("get: %s", got)
	}
}

// A guardrail on the management account limits its root too, but for mending it.
func TestGuardrailOfManagement(t *testing.T) {
	b := newBed(t, false)
	b.guard(t, management, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"x:*","Resource":"*"},{"Effect":"Deny","Action":"*","Resource":"*"}]}`)
	if got := b.refused(t, iamapi.OpListUsers, &iamapi.ListUsersInput{}, root); !strings.HasSuffix(got, "with an explicit deny in a service control policy") {
		t.Errorf("ListUsers: %s", got)
	}
	must[arcaapi.DeleteAccountGuardrailOutput](t, b, arcaapi.OpDeleteAccountGuardrail, &arcaapi.DeleteAccountGuardrailInput{Account: management}, root)
	must[iamapi.ListUsersOutput](t, b, iamapi.OpListUsers, &iamapi.ListUsersInput{}, root)
}

func TestCreateRootAccessKey(t *testing.T) {
	b := newBed(t, false)
	tenant := b.account(t, "tenant")
	add := func(replace *bool) (string, error) {
		out, err := b.call(arcaapi.OpCreateRootAccessKey, &arcaapi.CreateRootAccessKeyInput{Account: "TENANT", ReplaceExisting: replace}, root)
		if err != nil {
			return "", err
		}
		return *out.(*arcaapi.CreateRootAccessKeyOutput).AccessKeyId, nil
	}
	second, err := add(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{tenant.AccessKeyID, second} {
		if _, p := b.secretOf(t, id); p.Account != tenant.Account || p.Type != call.Root {
			t.Errorf("key %s speaks for %s", id, p.ARN)
		}
	}
	if _, err := add(new(false)); err == nil || !strings.Contains(err.Error(), "LimitExceeded") && !strings.Contains(err.Error(), "2 access keys, which is the most") {
		t.Errorf("a third key: %v", err)
	}
	third, err := add(new(true))
	if err != nil {
		t.Fatal(err)
	}
	b.secretOf(t, third)
	for _, id := range []string{tenant.AccessKeyID, second} {
		if _, err := b.iam.Lookup(t.Context(), id, ""); err == nil {
			t.Errorf("key %s still signs", id)
		}
	}
}

// Whatever policies say, nobody but the root of the management account may.
func TestManagementOnly(t *testing.T) {
	b := newBed(t, true)
	tenant := b.account(t, "tenant")
	ops := []struct {
		op *api.Operation
		in any
	}{
		{arcaapi.OpAdvanceClock, &arcaapi.AdvanceClockInput{Duration: "1h"}},
		{arcaapi.OpCreateAccount, &arcaapi.CreateAccountInput{Name: "mine"}},
		{arcaapi.OpCreateRootAccessKey, &arcaapi.CreateRootAccessKeyInput{Account: management, ReplaceExisting: new(true)}},
		{arcaapi.OpListAccounts, &arcaapi.ListAccountsInput{}},
		{arcaapi.OpGetAccountGuardrail, &arcaapi.GetAccountGuardrailInput{Account: "tenant"}},
		{arcaapi.OpPutAccountGuardrail, &arcaapi.PutAccountGuardrailInput{Account: "tenant", PolicyDocument: everything}},
		{arcaapi.OpDeleteAccountGuardrail, &arcaapi.DeleteAccountGuardrailInput{Account: "tenant"}},
		{arcaapi.OpBeginBackup, &arcaapi.BeginBackupInput{}},
		{arcaapi.OpReadBackup, &arcaapi.ReadBackupInput{}},
		{arcaapi.OpDescribeKeyring, &arcaapi.DescribeKeyringInput{}},
		{arcaapi.OpRotateKeyring, &arcaapi.RotateKeyringInput{}},
		{arcaapi.OpRotateRootKey, &arcaapi.RotateRootKeyInput{}},
		{arcaapi.OpDescribeErase, &arcaapi.DescribeEraseInput{}},
		{arcaapi.OpStartErase, &arcaapi.StartEraseInput{DeploymentId: b.store.DeploymentID()}},
	}
	admins := []call.Principal{b.user(t, root, "admin", everything), b.user(t, tenant, "admin", everything), tenant}
	for _, p := range admins {
		for _, o := range ops {
			want := "AccessDeniedException: User: " + p.ARN + " is not authorized to perform: arca:" + o.op.Name + " because only the root of the management account may"
			if got := b.refused(t, o.op, o.in, p); got != want {
				t.Errorf("%s by %s: %s", o.op.Name, p.ARN, got)
			}
		}
	}
	if got := b.offset(t); got != "0s" {
		t.Errorf("the clock was moved by %s", got)
	}
	// Looking at the clock is any root's.
	must[arcaapi.GetClockOutput](t, b, arcaapi.OpGetClock, &arcaapi.GetClockInput{}, tenant)
	if got := b.refused(t, arcaapi.OpGetClock, &arcaapi.GetClockInput{}, admins[0]); !strings.HasSuffix(got, "because only the root of an account may") {
		t.Errorf("GetClock by a user: %s", got)
	}
}

func TestUnknownAccount(t *testing.T) {
	b := newBed(t, false)
	for _, o := range []struct {
		op *api.Operation
		in func(ref string) any
	}{
		{arcaapi.OpCreateRootAccessKey, func(r string) any { return &arcaapi.CreateRootAccessKeyInput{Account: r} }},
		{arcaapi.OpGetAccountGuardrail, func(r string) any { return &arcaapi.GetAccountGuardrailInput{Account: r} }},
		{arcaapi.OpPutAccountGuardrail, func(r string) any {
			return &arcaapi.PutAccountGuardrailInput{Account: r, PolicyDocument: everything}
		}},
		{arcaapi.OpDeleteAccountGuardrail, func(r string) any { return &arcaapi.DeleteAccountGuardrailInput{Account: r} }},
	} {
		for _, ref := range []string{"nobody", "999999999999", "\x00"} {
			if got := b.refused(t, o.op, o.in(ref), root); got != "NotFoundException: There is no account "+ref+"." {
				t.Errorf("%s %q: %s", o.op.Name, ref, got)
			}
		}
	}
}

func accountScenario(do func(t *testing.T, b *bed) error, verify func(t *testing.T, b *bed)) storetest.Scenario[*bed] {
	return storetest.Scenario[*bed]{
		Attach: func(s *store.Store) *bed { b := &bed{}; b.attach(s, false); return b },
		Setup: func(t *testing.T, b *bed) {
			b.serve(t)
			b.account(t, "tenant")
		},
		Do:     do,
		Verify: verify,
		Check:  func(b *bed, v *store.Snap, report func(string)) { b.check(v, report) },
	}
}

// A creation whose outcome nobody told is either there, without anybody knowing its
// secret, or not. Either way the account can be had.
func TestCreateAccountEveryCommit(t *testing.T) {
	var key string
	storetest.EveryCommit(t, accountScenario(func(t *testing.T, b *bed) error {
		out, err := b.call(arcaapi.OpCreateAccount, &arcaapi.CreateAccountInput{Name: "new"}, root)
		if err == nil {
			key = *out.(*arcaapi.CreateAccountOutput).AccessKeyId
			return nil
		}
		if !strings.Contains(err.Error(), "already") {
			return err
		}
		out, err = b.call(arcaapi.OpCreateRootAccessKey, &arcaapi.CreateRootAccessKeyInput{Account: "new", ReplaceExisting: new(true)}, root)
		if err == nil {
			key = *out.(*arcaapi.CreateRootAccessKeyOutput).AccessKeyId
		}
		return err
	}, func(t *testing.T, b *bed) { b.secretOf(t, key) }))
}

func TestRootKeyEveryCommit(t *testing.T) {
	var key string
	storetest.EveryCommit(t, accountScenario(func(t *testing.T, b *bed) error {
		out, err := b.call(arcaapi.OpCreateRootAccessKey, &arcaapi.CreateRootAccessKeyInput{Account: "tenant", ReplaceExisting: new(true)}, root)
		if err == nil {
			key = *out.(*arcaapi.CreateRootAccessKeyOutput).AccessKeyId
		}
		return err
	}, func(t *testing.T, b *bed) { b.secretOf(t, key) }))
}

func TestGuardrailEveryCommit(t *testing.T) {
	storetest.EveryCommit(t, accountScenario(func(t *testing.T, b *bed) error {
		_, err := b.call(arcaapi.OpPutAccountGuardrail, &arcaapi.PutAccountGuardrailInput{Account: "tenant", PolicyDocument: everything}, root)
		return err
	}, func(t *testing.T, b *bed) {
		out := must[arcaapi.GetAccountGuardrailOutput](t, b, arcaapi.OpGetAccountGuardrail, &arcaapi.GetAccountGuardrailInput{Account: "tenant"}, root)
		if *out.PolicyDocument != everything {
			t.Errorf("guardrail %s", *out.PolicyDocument)
		}
	}))
}

func TestGuardrailDeletionEveryCommit(t *testing.T) {
	sc := accountScenario(func(t *testing.T, b *bed) error {
		_, err := b.call(arcaapi.OpDeleteAccountGuardrail, &arcaapi.DeleteAccountGuardrailInput{Account: "tenant"}, root)
		return err
	}, func(t *testing.T, b *bed) {
		if got := b.refused(t, arcaapi.OpGetAccountGuardrail, &arcaapi.GetAccountGuardrailInput{Account: "tenant"}, root); !strings.Contains(got, "has no guardrail") {
			t.Errorf("after the deletion: %s", got)
		}
	})
	setup := sc.Setup
	sc.Setup = func(t *testing.T, b *bed) {
		setup(t, b)
		b.guard(t, "tenant", everything)
	}
	storetest.EveryCommit(t, sc)
}
