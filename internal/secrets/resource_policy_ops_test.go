package secrets_test

import (
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api"
	"arca/internal/api/smapi"
)

var (
	ownerPolicy  = statement(`"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::999999999999:root"}`)
	publicPolicy = statement(`"Effect":"Allow","Principal":"*"`)
)

func statement(elements string) string {
	return `{"Version":"2012-10-17","Statement":[{"Action":"secretsmanager:GetSecretValue","Resource":"*",` + elements + `}]}`
}

const (
	policySyntax = "MalformedPolicyDocumentException: This resource policy contains a syntax error."
	policyPublic = "PublicPolicyException: You can't attach a resource-based policy that allows broad access to the secret."
)

func (b *bed) policyOf(t testing.TB, secretID string) string {
	t.Helper()
	out := must[smapi.GetResourcePolicyOutput](t, b, smapi.OpGetResourcePolicy, &smapi.GetResourcePolicyInput{SecretId: secretID})
	if out.ResourcePolicy == nil {
		return ""
	}
	return *out.ResourcePolicy
}

func TestResourcePolicyLife(t *testing.T) {
	b := newBed(t)
	made := b.create(t, "s")
	get := func() *smapi.GetResourcePolicyOutput {
		return must[smapi.GetResourcePolicyOutput](t, b, smapi.OpGetResourcePolicy, &smapi.GetResourcePolicyInput{SecretId: "s"})
	}
	if diff := cmp.Diff(&smapi.GetResourcePolicyOutput{ARN: made.ARN, Name: new("s")}, get()); diff != "" {
		t.Errorf("without policy (-want +got):\n%s", diff)
	}
	changed := func() time.Time {
		return *must[smapi.DescribeSecretOutput](t, b, smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: "s"}).LastChangedDate
	}
	for _, text := range []string{ownerPolicy, publicPolicy, " \n" + strings.ReplaceAll(ownerPolicy, ",", " ,\t")} {
		b.now = b.now.Add(time.Minute)
		out := must[smapi.PutResourcePolicyOutput](t, b, smapi.OpPutResourcePolicy, &smapi.PutResourcePolicyInput{SecretId: *made.ARN, ResourcePolicy: text})
		if diff := cmp.Diff(&smapi.PutResourcePolicyOutput{ARN: made.ARN, Name: new("s")}, out); diff != "" {
			t.Errorf("PutResourcePolicy (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(&smapi.GetResourcePolicyOutput{ARN: made.ARN, Name: new("s"), ResourcePolicy: &text}, get()); diff != "" {
			t.Errorf("with policy (-want +got):\n%s", diff)
		}
		if !changed().Equal(b.now) {
			t.Errorf("LastChangedDate = %v, want %v", changed(), b.now)
		}
	}
	for range 2 {
		out := must[smapi.DeleteResourcePolicyOutput](t, b, smapi.OpDeleteResourcePolicy, &smapi.DeleteResourcePolicyInput{SecretId: "s"})
		if diff := cmp.Diff(&smapi.DeleteResourcePolicyOutput{ARN: made.ARN, Name: new("s")}, out); diff != "" {
			t.Errorf("DeleteResourcePolicy (-want +got):\n%s", diff)
		}
		if got := b.policyOf(t, "s"); got != "" {
			t.Errorf("policy after deletion = %q", got)
		}
	}
}

// The authorizer is shown the policy that is attached; then, asked the same again, the
// one that comes, under which the caller must keep this right.
func TestResourcePolicyQuestions(t *testing.T) {
	b := newBed(t)
	made := b.create(t, "s")
	put := func(text string, block *bool) {
		must[smapi.PutResourcePolicyOutput](t, b, smapi.OpPutResourcePolicy, &smapi.PutResourcePolicyInput{SecretId: "s", ResourcePolicy: text, BlockPublicPolicy: block})
	}
	put(ownerPolicy, nil)
	b.questions()
	coming := statement(`"Effect":"Deny","Principal":"*"`)
	put(coming, new(true))
	asked := b.questions()
	if len(asked) != 2 || asked[0].Action != "secretsmanager:PutResourcePolicy" || asked[0].Resource != *made.ARN || asked[0].ResourcePolicy != ownerPolicy {
		t.Errorf("asked %+v, want PutResourcePolicy on %s under the old policy", asked, *made.ARN)
	}
	again := asked[1]
	again.ResourcePolicy = asked[0].ResourcePolicy
	if asked[1].ResourcePolicy != coming || again.Action != asked[0].Action || again.Resource != asked[0].Resource || !reflect.DeepEqual(again.Keys, asked[0].Keys) {
		t.Errorf("then asked %+v, want the same under %s", asked[1], coming)
	}
	want := map[string]string{"secretsmanager:SecretId": "s", "secretsmanager:BlockPublicPolicy": "true", "secretsmanager:SecretPrimaryRegion": bedRegion}
	got := map[string]string{}
	for _, k := range asked[0].Keys {
		got[k.Name] = strings.Join(k.Values, " ")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("condition keys (-want +got):\n%s", diff)
	}

	must[smapi.ValidateResourcePolicyOutput](t, b, smapi.OpValidateResourcePolicy, &smapi.ValidateResourcePolicyInput{SecretId: new("s"), ResourcePolicy: ownerPolicy})
	must[smapi.ValidateResourcePolicyOutput](t, b, smapi.OpValidateResourcePolicy, &smapi.ValidateResourcePolicyInput{ResourcePolicy: ownerPolicy})
	var questions []string
	for _, ck := range b.questions() {
		questions = append(questions, ck.Action+" "+ck.Resource)
	}
	wantQuestions := []string{
		"secretsmanager:ValidateResourcePolicy " + *made.ARN, "secretsmanager:PutResourcePolicy " + *made.ARN,
		"secretsmanager:PutResourcePolicy " + *made.ARN, // under the policy that was sent
		"secretsmanager:ValidateResourcePolicy *", "secretsmanager:PutResourcePolicy *",
	}
	if diff := cmp.Diff(wantQuestions, questions); diff != "" {
		t.Errorf("questions of ValidateResourcePolicy (-want +got):\n%s", diff)
	}
}

func TestPutResourcePolicyErrors(t *testing.T) {
	b := newBed(t)
	b.create(t, "s")
	b.create(t, "scheduled")
	must[smapi.DeleteSecretOutput](t, b, smapi.OpDeleteSecret, &smapi.DeleteSecretInput{SecretId: "scheduled"})
	must[smapi.PutResourcePolicyOutput](t, b, smapi.OpPutResourcePolicy, &smapi.PutResourcePolicyInput{SecretId: "s", ResourcePolicy: ownerPolicy})
	long := strings.Replace(ownerPolicy, `"Resource"`, `"Sid":"`+strings.Repeat("x", 20_480)+`","Resource"`, 1)
	for _, tc := range []struct {
		name string
		in   smapi.PutResourcePolicyInput
		want string
	}{
		{"no secret", smapi.PutResourcePolicyInput{SecretId: "none", ResourcePolicy: ownerPolicy}, noSecret},
		{"bad name", smapi.PutResourcePolicyInput{SecretId: "a b", ResourcePolicy: ownerPolicy}, badName},
		{"scheduled", smapi.PutResourcePolicyInput{SecretId: "scheduled", ResourcePolicy: ownerPolicy}, wasScheduled},
		{"not JSON", smapi.PutResourcePolicyInput{SecretId: "s", ResourcePolicy: "{"}, policySyntax},
		{"no principal", smapi.PutResourcePolicyInput{SecretId: "s", ResourcePolicy: statement(`"Effect":"Allow"`)}, policySyntax},
		{"bad effect", smapi.PutResourcePolicyInput{SecretId: "s", ResourcePolicy: statement(`"Effect":"Maybe","Principal":"*"`)}, policySyntax},
		{"malformed principal", smapi.PutResourcePolicyInput{SecretId: "s", ResourcePolicy: statement(`"Effect":"Allow","Principal":{"AWS":"me"}`)},
			"MalformedPolicyDocumentException: This resource policy contains an unsupported principal."},
		{"malformed service", smapi.PutResourcePolicyInput{SecretId: "s", ResourcePolicy: statement(`"Effect":"Allow","Principal":{"Service":"me"}`)},
			"MalformedPolicyDocumentException: This resource policy contains an unsupported service principal."},
		{"public", smapi.PutResourcePolicyInput{SecretId: "s", ResourcePolicy: publicPolicy, BlockPublicPolicy: new(true)}, policyPublic},
		{"too long", smapi.PutResourcePolicyInput{SecretId: "s", ResourcePolicy: long},
			"ValidationException: 1 validation error detected: Value at 'resourcePolicy' failed to satisfy constraint: Member must have length less than or equal to 20480"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			refused(t, b, smapi.OpPutResourcePolicy, &tc.in, tc.want)
			if got := b.policyOf(t, "s"); got != ownerPolicy {
				t.Errorf("the refused call left policy %q", got)
			}
		})
	}
	t.Run("denied", func(t *testing.T) {
		b.denies(t, "PutResourcePolicy")
		for _, id := range []string{"s", "none", "scheduled"} {
			refused(t, b, smapi.OpPutResourcePolicy, &smapi.PutResourcePolicyInput{SecretId: id, ResourcePolicy: "{"}, denial("PutResourcePolicy"))
		}
	})
	t.Run("public is allowed unless blocked", func(t *testing.T) {
		for _, block := range []*bool{nil, new(false)} {
			must[smapi.PutResourcePolicyOutput](t, b, smapi.OpPutResourcePolicy, &smapi.PutResourcePolicyInput{SecretId: "s", ResourcePolicy: publicPolicy, BlockPublicPolicy: block})
		}
	})
}

func TestGetAndDeleteResourcePolicyErrors(t *testing.T) {
	b := newBed(t)
	b.create(t, "s")
	must[smapi.DeleteSecretOutput](t, b, smapi.OpDeleteSecret, &smapi.DeleteSecretInput{SecretId: "s"})
	for id, want := range map[string]string{"none": noSecret, "a b": badName, "s": wasScheduled} {
		refused(t, b, smapi.OpGetResourcePolicy, &smapi.GetResourcePolicyInput{SecretId: id}, want)
		refused(t, b, smapi.OpDeleteResourcePolicy, &smapi.DeleteResourcePolicyInput{SecretId: id}, want)
	}
	b.denies(t, "GetResourcePolicy", "DeleteResourcePolicy")
	for _, id := range []string{"none", "s"} {
		refused(t, b, smapi.OpGetResourcePolicy, &smapi.GetResourcePolicyInput{SecretId: id}, denial("GetResourcePolicy"))
		refused(t, b, smapi.OpDeleteResourcePolicy, &smapi.DeleteResourcePolicyInput{SecretId: id}, denial("DeleteResourcePolicy"))
	}
}

func TestValidateResourcePolicy(t *testing.T) {
	b := newBed(t)
	b.create(t, "s")
	b.create(t, "scheduled")
	must[smapi.DeleteSecretOutput](t, b, smapi.OpDeleteSecret, &smapi.DeleteSecretInput{SecretId: "scheduled"})
	passed := &smapi.ValidateResourcePolicyOutput{PolicyValidationPassed: new(true), ValidationErrors: []smapi.ValidationErrorsEntry{}}
	failed := &smapi.ValidateResourcePolicyOutput{PolicyValidationPassed: new(false), ValidationErrors: []smapi.ValidationErrorsEntry{{
		CheckName: new("BROAD_ACCESS"), ErrorMessage: new("You can't attach a resource-based policy that allows broad access to the secret."),
	}}}
	for _, secretID := range []*string{nil, new("s")} {
		for text, want := range map[string]*smapi.ValidateResourcePolicyOutput{ownerPolicy: passed, publicPolicy: failed} {
			got := must[smapi.ValidateResourcePolicyOutput](t, b, smapi.OpValidateResourcePolicy, &smapi.ValidateResourcePolicyInput{SecretId: secretID, ResourcePolicy: text})
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", text, diff)
			}
		}
		refused(t, b, smapi.OpValidateResourcePolicy, &smapi.ValidateResourcePolicyInput{SecretId: secretID, ResourcePolicy: "[]"}, policySyntax)
	}
	for id, want := range map[string]string{"none": noSecret, "a b": badName, "scheduled": wasScheduled} {
		refused(t, b, smapi.OpValidateResourcePolicy, &smapi.ValidateResourcePolicyInput{SecretId: &id, ResourcePolicy: ownerPolicy}, want)
	}
	if got := b.policyOf(t, "s"); got != "" {
		t.Errorf("validation attached %q", got)
	}
	for _, action := range []string{"ValidateResourcePolicy", "PutResourcePolicy"} {
		t.Run(action+" denied", func(t *testing.T) {
			b.denies(t, action)
			for _, id := range []*string{nil, new("s"), new("none")} {
				refused(t, b, smapi.OpValidateResourcePolicy, &smapi.ValidateResourcePolicyInput{SecretId: id, ResourcePolicy: "{"}, denial(action))
			}
		})
	}
}

func TestResourcePolicyEveryCommit(t *testing.T) {
	setup := func(t *testing.T, b *bed) {
		b.create(t, "s")
		must[smapi.PutResourcePolicyOutput](t, b, smapi.OpPutResourcePolicy, &smapi.PutResourcePolicyInput{SecretId: "s", ResourcePolicy: publicPolicy})
	}
	for _, tc := range []struct {
		name string
		op   *api.Operation
		in   any
		want string
	}{
		{"put", smapi.OpPutResourcePolicy, &smapi.PutResourcePolicyInput{SecretId: "s", ResourcePolicy: ownerPolicy}, ownerPolicy},
		{"delete", smapi.OpDeleteResourcePolicy, &smapi.DeleteResourcePolicyInput{SecretId: "s"}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			everyCommit(t, setup, func(_ *testing.T, b *bed) error {
				_, err := b.call(tc.op, tc.in)
				return err
			}, func(t *testing.T, b *bed) {
				if got := b.policyOf(t, "s"); got != tc.want {
					t.Errorf("policy = %q, want %q", got, tc.want)
				}
				// The change is in the log, whoever heard of its success.
				if events := b.auditEvents(t); !slices.Contains(events, tc.op.Name+" s") {
					t.Errorf("audit records %q hold no success of %s", events, tc.op.Name)
				}
			})
		})
	}
}

// Changes to one secret at the same time all last: each is made on the record that
// the others left.
func TestResourcePolicyConcurrently(t *testing.T) {
	b := newBed(t)
	b.create(t, "s")
	const writers = 8
	var wg sync.WaitGroup
	for n := range writers {
		wg.Go(func() {
			if _, err := b.call(smapi.OpPutResourcePolicy, &smapi.PutResourcePolicyInput{SecretId: "s", ResourcePolicy: ownerPolicy}); err != nil {
				t.Errorf("PutResourcePolicy: %v", err)
			}
		})
		wg.Go(func() {
			tags := []smapi.Tag{{Key: new("k" + itoa(n)), Value: new("")}}
			if _, err := b.call(smapi.OpTagResource, &smapi.TagResourceInput{SecretId: "s", Tags: tags}); err != nil {
				t.Errorf("TagResource: %v", err)
			}
		})
	}
	wg.Wait()
	if got := b.policyOf(t, "s"); got != ownerPolicy {
		t.Errorf("policy = %q", got)
	}
	if got := len(b.describe(t, "s").Tags); got != writers {
		t.Errorf("%d tags, want %d", got, writers)
	}
}
