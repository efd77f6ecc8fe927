package secrets_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api"
	"arca/internal/api/iamapi"
	"arca/internal/api/smapi"
	"arca/internal/secrets"
	"arca/internal/store"
)

// Operations under the decisions of the server itself, with principals whose policies
// say different things.

func get(id string) *smapi.GetSecretValueInput { return &smapi.GetSecretValueInput{SecretId: id} }

// code is the code of a call's error, "" for none.
func (b *bed) code(t testing.TB, op *api.Operation, in any, options ...callOption) string {
	t.Helper()
	_, err := b.call(op, in, options...)
	if err == nil {
		return ""
	}
	aerr, ok := errors.AsType[*api.Error](err)
	if !ok {
		t.Fatalf("%s: %v", op.Name, err)
	}
	return aerr.Code.Name
}

func (b *bed) putPolicy(t testing.TB, id, text string, options ...callOption) {
	t.Helper()
	must[smapi.PutResourcePolicyOutput](t, b, smapi.OpPutResourcePolicy, &smapi.PutResourcePolicyInput{SecretId: id, ResourcePolicy: text}, options...)
}

// A user learns of the secrets he may read, and of no others whether they are there.
func TestUserReadsWhatHeMay(t *testing.T) {
	b := newHouse(t)
	mine, other := b.create(t, "MyApp/db"), b.create(t, "Other/db")
	app := b.user(t, bedAccount, "app", allow(`"Action":"secretsmanager:GetSecretValue","Resource":"arn:aws:secretsmanager:*:*:secret:MyApp/*"`))
	rest := b.user(t, bedAccount, "rest", allow(`"Action":"secretsmanager:GetSecretValue","Resource":"`+*other.ARN+`"`))
	why := " is not authorized to perform: secretsmanager:GetSecretValue on resource: %s because no identity-based policy allows the secretsmanager:GetSecretValue action"
	denied := func(user, shown string) string {
		return "AccessDeniedException: User: arn:aws:iam::" + bedAccount + ":user/" + user + fmt.Sprintf(why, shown)
	}
	for _, id := range []string{"MyApp/db", *mine.ARN, strings.TrimSuffix(*mine.ARN, (*mine.ARN)[len(*mine.ARN)-7:])} {
		must[smapi.GetSecretValueOutput](t, b, smapi.OpGetSecretValue, get(id), app)
		refused(t, b, smapi.OpGetSecretValue, get(id), denied("rest", *mine.ARN), rest)
	}
	must[smapi.GetSecretValueOutput](t, b, smapi.OpGetSecretValue, get("Other/db"), rest)
	refused(t, b, smapi.OpGetSecretValue, get("Other/db"), denied("app", *other.ARN), app)
	refused(t, b, smapi.OpGetSecretValue, get("MyApp/none"), noSecret, app)
	refused(t, b, smapi.OpGetSecretValue, get("Other/none"), denied("app", "Other/none"), app)
	refused(t, b, smapi.OpGetSecretValue, get("MyApp/none"), denied("rest", "MyApp/none"), rest)

	batch := must[smapi.BatchGetSecretValueOutput]
	in := &smapi.BatchGetSecretValueInput{SecretIdList: []string{"MyApp/db", "Other/db"}}
	if got := b.code(t, smapi.OpBatchGetSecretValue, in, app); got != "AccessDeniedException" {
		t.Errorf("BatchGetSecretValue without its permission: code %q", got)
	}
	b.setPolicy(t, bedAccount, "app", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"secretsmanager:BatchGetSecretValue","Resource":"*"},
		{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"arn:aws:secretsmanager:*:*:secret:MyApp/*"}]}`)
	out := batch(t, b, smapi.OpBatchGetSecretValue, in, app)
	if len(out.SecretValues) != 1 || *out.SecretValues[0].Name != "MyApp/db" || len(out.Errors) != 1 || *out.Errors[0].ErrorCode != "AccessDeniedException" || *out.Errors[0].SecretId != "Other/db" {
		t.Errorf("BatchGetSecretValue = %+v, want one value and one denial", out)
	}
	b.now = b.now.Add(oneDay)
	if got := b.denials(t); !slices.Contains(got, "GetSecretValue AccessDenied: secretsmanager:GetSecretValue because no identity-based policy allows the secretsmanager:GetSecretValue action") &&
		!slices.Contains(got, "GetSecretValue AccessDeniedException: secretsmanager:GetSecretValue because no identity-based policy allows the secretsmanager:GetSecretValue action") {
		t.Errorf("audit records say %q", got)
	}
}

// The condition keys of requests decide, and denials name what AWS names.
func TestConditionKeys(t *testing.T) {
	b := newHouse(t)
	made := b.create(t, "s", func(in *smapi.CreateSecretInput) { in.Tags = tags("team", "blue") })
	b.put(t, "s", 2)
	u := b.user(t, bedAccount, "u", "")
	arnOf := func(name string) string {
		return "arn:aws:secretsmanager:" + bedRegion + ":" + bedAccount + ":secret:" + name
	}
	for _, tc := range []struct {
		name, action, condition string
		op                      *api.Operation
		yes, no                 any
	}{
		{"stage", "GetSecretValue", `{"ForAnyValue:StringEquals":{"secretsmanager:VersionStage":"AWSPREVIOUS"}}`, smapi.OpGetSecretValue,
			&smapi.GetSecretValueInput{SecretId: "s", VersionStage: new("AWSPREVIOUS")}, get("s")},
		{"version", "GetSecretValue", `{"StringEquals":{"secretsmanager:VersionId":"` + *token(1) + `"}}`, smapi.OpGetSecretValue,
			&smapi.GetSecretValueInput{SecretId: "s", VersionId: token(1)}, &smapi.GetSecretValueInput{SecretId: "s", VersionId: token(2)}},
		{"id as sent", "DescribeSecret", `{"ArnEquals":{"secretsmanager:SecretId":"` + *made.ARN + `"}}`, smapi.OpDescribeSecret,
			&smapi.DescribeSecretInput{SecretId: *made.ARN}, &smapi.DescribeSecretInput{SecretId: "s"}},
		{"resource tag", "DescribeSecret", `{"StringEquals":{"aws:ResourceTag/team":"blue","secretsmanager:ResourceTag/team":"blue"}}`, smapi.OpDescribeSecret,
			&smapi.DescribeSecretInput{SecretId: "s"}, &smapi.DescribeSecretInput{SecretId: "none"}},
		{"primary region", "DescribeSecret", `{"StringEquals":{"secretsmanager:SecretPrimaryRegion":"` + bedRegion + `"}}`, smapi.OpDescribeSecret,
			&smapi.DescribeSecretInput{SecretId: "s"}, &smapi.DescribeSecretInput{SecretId: "none"}},
		{"moved stage", "UpdateSecretVersionStage", `{"ForAllValues:StringEquals":{"secretsmanager:VersionStage":"MINE"},"Null":{"secretsmanager:VersionStage":"false"}}`, smapi.OpUpdateSecretVersionStage,
			&smapi.UpdateSecretVersionStageInput{SecretId: "s", VersionStage: "MINE", MoveToVersionId: token(1)},
			&smapi.UpdateSecretVersionStageInput{SecretId: "s", VersionStage: "YOURS", MoveToVersionId: token(1)}},
		{"description", "UpdateSecret", `{"StringLike":{"secretsmanager:Description":"ok*"}}`, smapi.OpUpdateSecret,
			&smapi.UpdateSecretInput{SecretId: "s", Description: new("ok?")}, &smapi.UpdateSecretInput{SecretId: "s", Description: new("no")}},
		{"public policies", "PutResourcePolicy", `{"Bool":{"secretsmanager:BlockPublicPolicy":"true"}}`, smapi.OpPutResourcePolicy,
			&smapi.PutResourcePolicyInput{SecretId: "s", ResourcePolicy: ownerPolicy, BlockPublicPolicy: new(true)},
			&smapi.PutResourcePolicyInput{SecretId: "s", ResourcePolicy: ownerPolicy}},
		{"request tags", "TagResource", `{"StringEquals":{"aws:RequestTag/team":"blue"},"ForAllValues:StringEquals":{"aws:TagKeys":["team","unit"]}}`, smapi.OpTagResource,
			&smapi.TagResourceInput{SecretId: "s", Tags: tags("team", "blue", "unit", "x")}, &smapi.TagResourceInput{SecretId: "s", Tags: tags("team", "blue", "other", "x")}},
		{"tag keys", "UntagResource", `{"ForAllValues:StringEquals":{"aws:TagKeys":"unit"}}`, smapi.OpUntagResource,
			&smapi.UntagResourceInput{SecretId: "s", TagKeys: []string{"unit"}}, &smapi.UntagResourceInput{SecretId: "s", TagKeys: []string{"team"}}},
		{"recovery window", "DeleteSecret", `{"NumericGreaterThanEquals":{"secretsmanager:RecoveryWindowInDays":"10"}}`, smapi.OpDeleteSecret,
			&smapi.DeleteSecretInput{SecretId: "s", RecoveryWindowInDays: new(int64(10))}, &smapi.DeleteSecretInput{SecretId: "s", RecoveryWindowInDays: new(int64(9))}},
		{"no force", "DeleteSecret", `{"BoolIfExists":{"secretsmanager:ForceDeleteWithoutRecovery":"false"}}`, smapi.OpDeleteSecret,
			&smapi.DeleteSecretInput{SecretId: "s"}, &smapi.DeleteSecretInput{SecretId: "s", ForceDeleteWithoutRecovery: new(true)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b.setPolicy(t, bedAccount, "u", allow(`"Action":"secretsmanager:`+tc.action+`","Resource":"`+arnOf("*")+`","Condition":`+tc.condition))
			if got := b.code(t, tc.op, tc.no, u); got != "AccessDeniedException" {
				t.Errorf("%+v: code %q, want AccessDeniedException", tc.no, got)
			}
			if got := b.code(t, tc.op, tc.yes, u); got != "" {
				t.Errorf("%+v: code %q, want success", tc.yes, got)
			}
		})
		if tc.op == smapi.OpDeleteSecret {
			must[smapi.RestoreSecretOutput](t, b, smapi.OpRestoreSecret, &smapi.RestoreSecretInput{SecretId: "s"})
		}
	}

	t.Run("CreateSecret", func(t *testing.T) {
		b.setPolicy(t, bedAccount, "u", allow(`"Action":["secretsmanager:CreateSecret"],"Resource":"`+arnOf("u/*")+`",
			"Condition":{"StringEquals":{"aws:ResourceTag/team":"blue"}}`))
		u1 := "User: arn:aws:iam::" + bedAccount + ":user/u is not authorized to perform: secretsmanager:"
		create := func(name string, tags []smapi.Tag) *smapi.CreateSecretInput {
			return &smapi.CreateSecretInput{Name: name, ClientRequestToken: token(1), Tags: tags}
		}
		because := func(action string) string {
			return " because no identity-based policy allows the secretsmanager:" + action + " action"
		}
		for _, name := range []string{"u/a", "s"} { // one that exists shows in nothing
			refused(t, b, smapi.OpCreateSecret, create(name, nil), "AccessDeniedException: "+u1+"CreateSecret on resource: "+name+because("CreateSecret"), u)
		}
		_, err := b.call(smapi.OpCreateSecret, create("u/a", tags("team", "blue")), u)
		if want := u1 + "TagResource on resource: " + arnOf("u/a-"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
		if got := b.code(t, smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: "u/a"}); got != "ResourceNotFoundException" {
			t.Errorf("a refused call made a secret: %s", got)
		}
		b.setPolicy(t, bedAccount, "u", allow(`"Action":["secretsmanager:CreateSecret","secretsmanager:TagResource"],"Resource":"`+arnOf("u/*")+`",
			"Condition":{"StringEquals":{"aws:ResourceTag/team":"blue","aws:RequestTag/team":"blue"}}`))
		must[smapi.CreateSecretOutput](t, b, smapi.OpCreateSecret, create("u/a", tags("team", "blue")), u)
	})
}

// Principals are kept by unique id: one who is made later under the same name is
// another.
func TestResourcePolicyPrincipals(t *testing.T) {
	b := newHouse(t)
	b.create(t, "s")
	const everything = `"Action":"secretsmanager:*","Resource":"*"`
	ann := b.user(t, otherAccount, "ann", allow(everything))
	bob := b.user(t, otherAccount, "bob", allow(everything))
	_, app := b.role(t, otherAccount, "app", allow(everything))
	describe := func(who callOption) string {
		t.Helper()
		return b.code(t, smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: b.arn(t, "s")}, who)
	}
	const pattern = ` {"Version": "2012-10-17",	"Statement": [{"Effect": "Allow", "Principal": {"AWS": [%s]},
		"Action": "secretsmanager:DescribeSecret", "Resource": "*"}] } `
	iamARN := "arn:aws:iam::" + otherAccount + ":"
	sent := fmt.Sprintf(pattern, `"`+iamARN+`user/ann", "`+iamARN+`role/app", "arn:aws:sts::`+otherAccount+`:assumed-role/app/other"`)
	b.putPolicy(t, "s", sent)
	if got := b.policyOf(t, "s"); got != sent {
		t.Errorf("policy = %s, want it letter for letter %s", got, sent)
	}
	for _, tc := range []struct {
		who  string
		as   callOption
		want string
	}{{"ann", ann, ""}, {"bob", bob, "AccessDeniedException"}, {"app", app, ""}, {"the other root", root(otherAccount), "AccessDeniedException"}} {
		if got := describe(tc.as); got != tc.want {
			t.Errorf("%s: code %q, want %q", tc.who, got, tc.want)
		}
	}

	// An account is shown by the ARN of its root, as AWS does.
	b.putPolicy(t, "s", fmt.Sprintf(pattern, `"`+otherAccount+`"`))
	if got, want := b.policyOf(t, "s"), fmt.Sprintf(pattern, `"`+iamARN+`root"`); got != want {
		t.Errorf("policy = %s, want %s", got, want)
	}
	if got := describe(bob); got != "" {
		t.Errorf("bob of the account: code %q, want success", got)
	}

	b.putPolicy(t, "s", sent)
	user := must[iamapi.GetUserOutput](t, b, iamapi.OpGetUser, &iamapi.GetUserInput{UserName: new("ann")}, root(otherAccount))
	b.dropUser(t, otherAccount, "ann")
	gone := strings.Replace(sent, iamARN+"user/ann", user.User.UserId, 1)
	if got := b.policyOf(t, "s"); got != gone {
		t.Errorf("policy without its user = %s, want %s", got, gone)
	}
	namesake := b.user(t, otherAccount, "ann", allow(everything))
	if got := b.policyOf(t, "s"); got != gone {
		t.Errorf("policy with a namesake of its user = %s, want %s", got, gone)
	}
	if got := describe(namesake); got != "AccessDeniedException" {
		t.Errorf("namesake: code %q, want AccessDeniedException", got)
	}
	if got := describe(app); got != "" {
		t.Errorf("app: code %q, want success", got)
	}
	b.putPolicy(t, "s", gone) // what was shown can be sent back

	for name, principal := range map[string]string{
		"user": iamARN + "user/nobody", "role": iamARN + "role/nobody", "path": iamARN + "user/x/bob", "account": "arn:aws:iam::000000000001:root",
		"bare account": "000000000001", "session": "arn:aws:sts::" + otherAccount + ":assumed-role/nobody/s", "stored form": "AROAAAAAAAAAAAAAAAAAA:s1",
	} {
		refused(t, b, smapi.OpPutResourcePolicy, &smapi.PutResourcePolicyInput{SecretId: "s", ResourcePolicy: fmt.Sprintf(pattern, `"`+principal+`"`)},
			"MalformedPolicyDocumentException: This resource policy contains an unsupported principal.")
		if got := b.policyOf(t, "s"); got != gone {
			t.Errorf("%s: the refused call left policy %s", name, got)
		}
	}
}

// Policies that were stored with ARNs go on to work; one that cannot be read denies
// even the root, who can take it off no more than anybody else.
func TestStoredPolicies(t *testing.T) {
	b := newHouse(t)
	decide := b.decide
	b.create(t, "s")
	id := b.arn(t, "s")
	ann := b.user(t, otherAccount, "ann", allow(`"Action":"secretsmanager:*","Resource":"*"`))
	keep := func(text string) {
		t.Helper()
		err := b.svc.Spoil(t.Context(), bedAccount+"/"+bedRegion, "s", func(tx *store.Tx, w secrets.Writer, sec *secrets.Secret) {
			sec.ResourcePolicy = text
			w.Secret(tx, sec)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	old := statement(`"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + otherAccount + `:user/ann"}`)
	keep(strings.Replace(old, "GetSecretValue", "DescribeSecret", 1))
	must[smapi.DescribeSecretOutput](t, b, smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: id}, ann)
	if got, want := b.policyOf(t, "s"), strings.Replace(old, "GetSecretValue", "DescribeSecret", 1); got != want {
		t.Errorf("policy = %s, want %s", got, want)
	}
	b.decide = nil
	keep("{")
	if got := b.policyOf(t, "s"); got != "{" {
		t.Errorf("policy that cannot be read = %s", got)
	}
	b.decide = decide
	for who, as := range map[string]callOption{"ann": ann, "the root": root(bedAccount)} {
		if got := b.code(t, smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: id}, as); got != "AccessDeniedException" {
			t.Errorf("%s under a policy that cannot be read: code %q", who, got)
		}
	}
	keep("") // for the check of the whole store
}

// arn is the ARN of a secret of bedAccount.
func (b *bed) arn(t testing.TB, name string) string { t.Helper(); return *b.describe(t, name).ARN }

// A secret is shared by its policy and one of the other account; its value is not,
// since the default key serves its own account only.
func TestSharing(t *testing.T) {
	b := newHouse(t)
	b.create(t, "s")
	id := b.arn(t, "s")
	const everything = `"Action":"secretsmanager:*","Resource":"*"`
	ann := b.user(t, otherAccount, "ann", allow(everything))
	poor := b.user(t, otherAccount, "poor", allow(`"Action":"s3:*","Resource":"*"`))
	all := strings.Replace(ownerPolicy, `"secretsmanager:GetSecretValue"`, `"secretsmanager:*"`, 1)

	if got := b.code(t, smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: id}, ann); got != "AccessDeniedException" {
		t.Errorf("before it is shared: code %q", got)
	}
	b.putPolicy(t, "s", all)
	if got := b.code(t, smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: id}, poor); got != "AccessDeniedException" {
		t.Errorf("without a policy of the other account: code %q", got)
	}
	if got := b.code(t, smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: "s"}, ann); got != "ResourceNotFoundException" {
		t.Errorf("by name: code %q, want one of ann's own account", got)
	}
	if got := b.code(t, smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: strings.Replace(id, ":s-", ":none-", 1)}, ann); got != "AccessDeniedException" {
		t.Errorf("one that does not exist: code %q", got)
	}

	const foreign = "InvalidRequestException: You can't access a secret from a different AWS account if you encrypt the secret with the default KMS service key."
	for _, who := range []callOption{ann, root(otherAccount)} {
		must[smapi.DescribeSecretOutput](t, b, smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: id}, who)
		must[smapi.DescribeSecretOutput](t, b, smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: id[:len(id)-7]}, who)
		must[smapi.ListSecretVersionIdsOutput](t, b, smapi.OpListSecretVersionIds, &smapi.ListSecretVersionIdsInput{SecretId: id}, who)
		must[smapi.TagResourceOutput](t, b, smapi.OpTagResource, &smapi.TagResourceInput{SecretId: id, Tags: tags("k", "v")}, who)
		must[smapi.UntagResourceOutput](t, b, smapi.OpUntagResource, &smapi.UntagResourceInput{SecretId: id, TagKeys: []string{"k"}}, who)
		must[smapi.PutResourcePolicyOutput](t, b, smapi.OpPutResourcePolicy, &smapi.PutResourcePolicyInput{SecretId: id, ResourcePolicy: all}, who)
		must[smapi.GetResourcePolicyOutput](t, b, smapi.OpGetResourcePolicy, &smapi.GetResourcePolicyInput{SecretId: id}, who)
		must[smapi.ValidateResourcePolicyOutput](t, b, smapi.OpValidateResourcePolicy, &smapi.ValidateResourcePolicyInput{SecretId: &id, ResourcePolicy: all}, who)
		must[smapi.DeleteSecretOutput](t, b, smapi.OpDeleteSecret, &smapi.DeleteSecretInput{SecretId: id}, who)
		must[smapi.RestoreSecretOutput](t, b, smapi.OpRestoreSecret, &smapi.RestoreSecretInput{SecretId: id}, who)
		must[smapi.UpdateSecretOutput](t, b, smapi.OpUpdateSecret, &smapi.UpdateSecretInput{SecretId: id, Description: new("shared")}, who)
		must[smapi.UpdateSecretVersionStageOutput](t, b, smapi.OpUpdateSecretVersionStage, &smapi.UpdateSecretVersionStageInput{SecretId: id, VersionStage: "THEIRS", MoveToVersionId: token(1)}, who)
		refused(t, b, smapi.OpGetSecretValue, get(id), foreign, who)
		refused(t, b, smapi.OpPutSecretValue, putInput(id, 2), foreign, who)
		refused(t, b, smapi.OpPutSecretValue, putInput(id, 1), foreign, who) // nor does a repeat tell the value
		refused(t, b, smapi.OpUpdateSecret, &smapi.UpdateSecretInput{SecretId: id, ClientRequestToken: token(2), SecretString: sensitive("v")}, foreign, who)

		batch := must[smapi.BatchGetSecretValueOutput](t, b, smapi.OpBatchGetSecretValue, &smapi.BatchGetSecretValueInput{SecretIdList: []string{id}}, who)
		if len(batch.SecretValues) != 0 || len(batch.Errors) != 1 || *batch.Errors[0].ErrorCode != "InvalidRequestException" {
			t.Errorf("BatchGetSecretValue = %+v", batch)
		}
		if list := must[smapi.ListSecretsOutput](t, b, smapi.OpListSecrets, &smapi.ListSecretsInput{}, who); len(list.SecretList) != 0 {
			t.Errorf("ListSecrets shows %d secrets of another account", len(list.SecretList))
		}
	}
	// A name in one account says nothing about that name in another.
	must[smapi.CreateSecretOutput](t, b, smapi.OpCreateSecret, &smapi.CreateSecretInput{Name: "s", ClientRequestToken: token(1), SecretString: sensitive("theirs")}, ann)
	if got := b.read(t, "s"); got != "value of s" {
		t.Errorf("value = %q", got)
	}
	must[smapi.DeleteSecretOutput](t, b, smapi.OpDeleteSecret, &smapi.DeleteSecretInput{SecretId: id, ForceDeleteWithoutRecovery: new(true)}, ann)
	if got := b.code(t, smapi.OpDeleteSecret, &smapi.DeleteSecretInput{SecretId: id, ForceDeleteWithoutRecovery: new(true)}, ann); got != "AccessDeniedException" {
		t.Errorf("forced deletion of another account's secret that is gone: code %q", got)
	}
	b.check(t)
}

// Nobody attaches a policy under which he could not attach another.
func TestPolicyLockOut(t *testing.T) {
	b := newHouse(t)
	b.create(t, "s")
	id := b.arn(t, "s")
	const lockOut = "MalformedPolicyDocumentException: Your requested changes will not allow you to manage this secret in the future."
	ops := b.user(t, bedAccount, "ops", allow(`"Action":"secretsmanager:*","Resource":"*"`))
	guest := b.user(t, otherAccount, "guest", allow(`"Action":"secretsmanager:*","Resource":"*"`))
	iamARN := "arn:aws:iam::" + bedAccount + ":"
	doc := func(statements ...string) string {
		return `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
	}
	effect := func(effect, principal, action, condition string) string {
		return `{"Effect":"` + effect + `",` + principal + `,"Action":"secretsmanager:` + action + `","Resource":"*","Condition":{` + condition + `}}`
	}
	everybody, theOps := `"Principal":"*"`, `"Principal":{"AWS":"`+iamARN+`user/ops"}`
	theGuest := `"Principal":{"AWS":"arn:aws:iam::` + otherAccount + `:user/guest"}`
	own := effect("Allow", theGuest, "*", "")
	for _, tc := range []struct {
		name   string
		who    callOption
		policy string
		locked bool
	}{
		{"everybody, by the root", root(bedAccount), doc(effect("Deny", everybody, "*", "")), true},
		{"everybody but the root, by the root", root(bedAccount), doc(effect("Deny", everybody, "*", `"ArnNotEquals":{"aws:PrincipalArn":"`+iamARN+`root"}`)), false},
		{"all users, by the root", root(bedAccount), doc(effect("Deny", everybody, "PutResourcePolicy", `"StringLike":{"aws:username":"*"}`)), false},
		{"all users, by a user", ops, doc(effect("Deny", everybody, "PutResourcePolicy", `"StringLike":{"aws:username":"*"}`)), true},
		{"himself", ops, doc(effect("Deny", theOps, "Put*", "")), true},
		{"himself, other actions", ops, doc(effect("Deny", theOps, "GetSecretValue", "")), false},
		{"without blocking public policies", ops, doc(effect("Deny", everybody, "PutResourcePolicy", `"Bool":{"secretsmanager:BlockPublicPolicy":"false"}`)), false},
		{"a guest who keeps his way in", guest, doc(own), false},
		{"a guest who loses it", guest, doc(effect("Allow", theGuest, "Get*", "")), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b.putPolicy(t, "s", doc(own), root(bedAccount))
			in := &smapi.PutResourcePolicyInput{SecretId: id, ResourcePolicy: tc.policy}
			check := must[smapi.ValidateResourcePolicyOutput](t, b, smapi.OpValidateResourcePolicy, &smapi.ValidateResourcePolicyInput{SecretId: &id, ResourcePolicy: tc.policy}, tc.who)
			found := slices.ContainsFunc(check.ValidationErrors, func(e smapi.ValidationErrorsEntry) bool { return *e.CheckName == "LOCK_OUT" })
			if found != tc.locked || *check.PolicyValidationPassed != (len(check.ValidationErrors) == 0) {
				t.Errorf("ValidateResourcePolicy = %+v, finds a lock-out: %v, want %v", check, found, tc.locked)
			}
			if tc.locked {
				refused(t, b, smapi.OpPutResourcePolicy, in, lockOut, tc.who)
				if got := b.policyOf(t, "s"); got != doc(own) {
					t.Errorf("the refused call left policy %s", got)
				}
				return
			}
			must[smapi.PutResourcePolicyOutput](t, b, smapi.OpPutResourcePolicy, in, tc.who)
		})
		must[smapi.DeleteResourcePolicyOutput](t, b, smapi.OpDeleteResourcePolicy, &smapi.DeleteResourcePolicyInput{SecretId: "s"})
	}
	if got := b.denials(t); len(got) != 0 {
		t.Errorf("what was only asked for stands in the audit records as denied: %q", got)
	}
}

// All that speaks against a policy is found at once.
func TestValidationFindings(t *testing.T) {
	b := newHouse(t)
	b.create(t, "s")
	bad := `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":{"AWS":["*","arn:aws:iam::` + bedAccount + `:user/nobody"]},"Action":"secretsmanager:GetSecretValue","Resource":"*"},
		{"Effect":"Deny","Principal":"*","Action":"secretsmanager:PutResourcePolicy","Resource":"*"}]}`
	for _, tc := range []struct {
		id   *string
		want []string
	}{{nil, []string{"UNSUPPORTED_PRINCIPAL", "BROAD_ACCESS"}}, {new("s"), []string{"UNSUPPORTED_PRINCIPAL", "BROAD_ACCESS", "LOCK_OUT"}}} {
		out := must[smapi.ValidateResourcePolicyOutput](t, b, smapi.OpValidateResourcePolicy, &smapi.ValidateResourcePolicyInput{SecretId: tc.id, ResourcePolicy: bad})
		var got []string
		for _, e := range out.ValidationErrors {
			got = append(got, *e.CheckName)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" || *out.PolicyValidationPassed {
			t.Errorf("findings (-want +got):\n%s", diff)
		}
	}
}

// Broad access is a matter of the whole policy.
func TestBlockPublicPolicy(t *testing.T) {
	b := newHouse(t)
	b.create(t, "s")
	for _, tc := range []struct {
		name, policy string
		want         string
	}{
		{"everybody", publicPolicy, "PublicPolicyException"},
		{"one organization", statement(`"Effect":"Allow","Principal":"*","Condition":{"StringEquals":{"aws:PrincipalOrgID":"o-a1b2c3d4e5"}}`), ""},
		{"all but one organization denied", `{"Version":"2012-10-17","Statement":[
			{"Effect":"Allow","Principal":"*","Action":"secretsmanager:GetSecretValue","Resource":"*"},
			{"Effect":"Deny","Principal":"*","Action":"secretsmanager:GetSecretValue","Resource":"*","Condition":{"StringNotEquals":{"aws:PrincipalOrgID":"o-a1b2c3d4e5"}}}]}`, ""},
		{"another secret", strings.Replace(publicPolicy, `"Resource":"*"`, `"Resource":"arn:aws:secretsmanager:*:*:secret:other-*"`, 1), ""},
		{"this secret", strings.Replace(publicPolicy, `"Resource":"*"`, `"Resource":"arn:aws:secretsmanager:*:*:secret:s-*"`, 1), "PublicPolicyException"},
	} {
		in := &smapi.PutResourcePolicyInput{SecretId: "s", ResourcePolicy: tc.policy, BlockPublicPolicy: new(true)}
		if got := b.code(t, smapi.OpPutResourcePolicy, in); got != tc.want {
			t.Errorf("%s: code %q, want %q", tc.name, got, tc.want)
		}
	}
}

// Whoever is let in by a tag cannot take it away, on either side.
func TestTagLockOut(t *testing.T) {
	b := newHouse(t)
	b.create(t, "s", func(in *smapi.CreateSecretInput) { in.Tags = tags("team", "blue", "other", "x") })
	id := b.arn(t, "s")
	byTag := `"Action":"secretsmanager:*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/team":"blue"}}`
	blue := b.user(t, bedAccount, "blue", allow(byTag))
	guest := b.user(t, otherAccount, "guest", allow(`"Action":"secretsmanager:*","Resource":"*"`))
	b.putPolicy(t, "s", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"`+otherAccount+`"},`+byTag+`}}`)
	for who, as := range map[string]callOption{"user": blue, "guest": guest} {
		for _, change := range []struct {
			op *api.Operation
			in any
		}{
			{smapi.OpTagResource, &smapi.TagResourceInput{SecretId: id, Tags: tags("team", "red")}},
			{smapi.OpTagResource, &smapi.TagResourceInput{SecretId: id, Tags: tags("new", "x", "team", "")}},
			{smapi.OpUntagResource, &smapi.UntagResourceInput{SecretId: id, TagKeys: []string{"team"}}},
			{smapi.OpUntagResource, &smapi.UntagResourceInput{SecretId: id, TagKeys: []string{"other", "team"}}},
		} {
			if got := b.code(t, change.op, change.in, as); got != "AccessDeniedException" {
				t.Errorf("%s: %s %+v: code %q, want AccessDeniedException", who, change.op.Name, change.in, got)
			}
		}
		must[smapi.TagResourceOutput](t, b, smapi.OpTagResource, &smapi.TagResourceInput{SecretId: id, Tags: tags("other", who, "team", "blue")}, as)
		if diff := cmp.Diff(tags("team", "blue", "other", who), b.describe(t, "s").Tags); diff != "" {
			t.Errorf("%s: tags (-want +got):\n%s", who, diff)
		}
	}
	must[smapi.UntagResourceOutput](t, b, smapi.OpUntagResource, &smapi.UntagResourceInput{SecretId: id, TagKeys: []string{"other"}}, blue)
	must[smapi.UntagResourceOutput](t, b, smapi.OpUntagResource, &smapi.UntagResourceInput{SecretId: id, TagKeys: []string{"team"}})
	if got := b.code(t, smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: id}, blue); got != "AccessDeniedException" {
		t.Errorf("after the root took the tag away: code %q", got)
	}
}

// With the setting, lists show what the caller may describe; without it, as on AWS, all.
func TestListOnlyDescribable(t *testing.T) {
	lists := `{"Effect":"Allow","Action":["secretsmanager:ListSecrets","secretsmanager:BatchGetSecretValue"],"Resource":"*"}`
	policy := func(more string) string { return `{"Version":"2012-10-17","Statement":[` + lists + more + `]}` }
	for _, only := range []bool{false, true} {
		t.Run(fmt.Sprint(only), func(t *testing.T) {
			b := newHouse(t, func(c *secrets.Config) { c.ListOnlyDescribable = only })
			var names, blues []string
			for n := range 9 {
				name := fmt.Sprintf("app/%d", n)
				names = append(names, name)
				b.create(t, name, func(in *smapi.CreateSecretInput) {
					if n%3 == 1 {
						in.Tags = tags("team", "blue")
						blues = append(blues, name)
					}
				})
			}
			nobody := b.user(t, bedAccount, "nobody", policy(""))
			blue := b.user(t, bedAccount, "blue", policy(`,{"Effect":"Allow","Action":["secretsmanager:DescribeSecret","secretsmanager:GetSecretValue"],"Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/team":"blue"}}}`))
			some := b.user(t, bedAccount, "some", policy(`,{"Effect":"Allow","Action":["secretsmanager:Describe*","secretsmanager:Get*"],"Resource":"arn:aws:secretsmanager:*:*:secret:app/?-??????"},
				{"Effect":"Deny","Action":"secretsmanager:DescribeSecret","Resource":"arn:aws:secretsmanager:*:*:secret:app/3-*"}`))
			three := slices.DeleteFunc(slices.Clone(names), func(s string) bool { return s == "app/3" })
			for _, who := range []struct {
				name string
				as   callOption
				want []string
			}{{"nobody", nobody, nil}, {"blue", blue, blues}, {"some", some, three}, {"root", root(bedAccount), names}} {
				want := who.want
				if !only {
					want = names
				}
				for _, filters := range [][]smapi.Filter{nil, {{Key: new("name"), Values: []string{"app"}}}, {{Key: new("all"), Values: []string{"app"}}}} {
					for _, size := range []*int32{nil, new(int32(1)), new(int32(2))} {
						var got []string
						for next := (*string)(nil); ; {
							page := must[smapi.ListSecretsOutput](t, b, smapi.OpListSecrets, &smapi.ListSecretsInput{Filters: filters, MaxResults: size, NextToken: next}, who.as)
							for _, s := range page.SecretList {
								got = append(got, *s.Name)
							}
							if size != nil && len(page.SecretList) > int(*size) {
								t.Errorf("%d secrets on a page of %d", len(page.SecretList), *size)
							}
							if next = page.NextToken; next == nil {
								break
							}
						}
						if diff := cmp.Diff(want, got); diff != "" {
							t.Errorf("%s, filters %v, page size %v (-want +got):\n%s", who.name, filters, size, diff)
						}
					}
				}
				batch := must[smapi.BatchGetSecretValueOutput](t, b, smapi.OpBatchGetSecretValue, &smapi.BatchGetSecretValueInput{Filters: []smapi.Filter{{Key: new("name"), Values: []string{"app"}}}}, who.as)
				if got := len(batch.SecretValues) + len(batch.Errors); got != len(want) {
					t.Errorf("%s: a batch is about %d secrets, want %d", who.name, got, len(want))
				}
			}
			for _, d := range b.denials(t) {
				if strings.Contains(d, "DescribeSecret") {
					t.Errorf("what a list leaves out is on record as denied: %s", d)
				}
			}
		})
	}
}
