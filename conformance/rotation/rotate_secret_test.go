package rotation_test

import (
	"errors"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"arca/conformance/identity"
)

const generic = "SecretsManagerGenericRotation"

// genericFunction is a secret with a function that rotates it and may do nothing else.
func (k *kit) genericFunction() (secret, function string) {
	k.T.Helper()
	_, secret = k.Secret(k.Caller, "app", genericValue)
	return secret, k.function("generic", k.rotatorRole("generic", []string{secret}), builtIn(generic))
}

// wantError is an error as the client should read it; an empty text is not compared.
func wantError(t *testing.T, what string, err error, code, text string) {
	t.Helper()
	e, ok := errors.AsType[smithy.APIError](err)
	if !ok || e.ErrorCode() != code || text != "" && e.ErrorMessage() != text {
		t.Errorf("%s: error %v, want %s: %s", what, err, code, text)
	}
}

// TestRotateSecret: what the answers and descriptions show, from before the first rotation
// to the end of rotation.
func TestRotateSecret(t *testing.T) {
	k := newKit(t)
	secret, function := k.genericFunction()
	before := k.describe(secret)
	if before.RotationEnabled != nil || before.RotationRules != nil || before.RotationLambdaARN != nil || before.LastRotatedDate != nil || before.NextRotationDate != nil {
		t.Errorf("before: %+v", before)
	}
	first := aws.ToString(before.Name)
	out, err := k.SM.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{
		SecretId: &first, RotationLambdaARN: &function, RotationRules: &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(30)},
		ClientRequestToken: aws.String("11111111-2222-4333-8444-555555555555"),
	})
	if err != nil {
		t.Fatal(err)
	}
	version := aws.ToString(out.VersionId)
	if aws.ToString(out.ARN) != secret || aws.ToString(out.Name) != first || version != "11111111-2222-4333-8444-555555555555" {
		t.Errorf("RotateSecret = %+v", out)
	}
	k.rotated(secret, version)
	d := k.describe(secret)
	var current, previous int
	for id, stages := range d.VersionIdsToStages {
		if slices.Contains(stages, "AWSCURRENT") && id == version {
			current++
		}
		if slices.Equal(stages, []string{"AWSPREVIOUS"}) && id != version {
			previous++
		}
	}
	if !aws.ToBool(d.RotationEnabled) || aws.ToString(d.RotationLambdaARN) != function || aws.ToInt64(d.RotationRules.AutomaticallyAfterDays) != 30 ||
		d.RotationRules.ScheduleExpression != nil || d.RotationRules.Duration != nil || current != 1 || previous != 1 || len(d.VersionIdsToStages) != 2 {
		t.Errorf("DescribeSecret = %+v, rules %+v", d, d.RotationRules)
	}
	if last := aws.ToTime(d.LastRotatedDate); time.Since(last).Abs() > time.Hour && k.server == nil {
		t.Errorf("LastRotatedDate = %v", last)
	}
	wait := aws.ToTime(d.NextRotationDate).Sub(aws.ToTime(d.LastRotatedDate))
	if wait < 30*24*time.Hour || wait > 31*24*time.Hour {
		t.Errorf("NextRotationDate is %v after the rotation", wait)
	}
	list, err := k.SM.ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{Filters: []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{first}}}})
	if err != nil || len(list.SecretList) != 1 {
		t.Fatalf("ListSecrets: %v, %d secrets", err, len(list.SecretList))
	}
	e := list.SecretList[0]
	if !aws.ToBool(e.RotationEnabled) || aws.ToString(e.RotationLambdaARN) != function || aws.ToInt64(e.RotationRules.AutomaticallyAfterDays) != 30 ||
		!aws.ToTime(e.LastRotatedDate).Equal(aws.ToTime(d.LastRotatedDate)) || !aws.ToTime(e.NextRotationDate).Equal(aws.ToTime(d.NextRotationDate)) {
		t.Errorf("ListSecrets = %+v", e)
	}
	// The same token again changes nothing; no parameters re-use what is kept.
	again, err := k.SM.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: &secret, ClientRequestToken: &version})
	if err != nil || aws.ToString(again.VersionId) != version {
		t.Errorf("the same call again: %+v, %v", again, err)
	}
	k.rotated(secret, k.rotate(secret))
	cancelled, err := k.SM.CancelRotateSecret(t.Context(), &secretsmanager.CancelRotateSecretInput{SecretId: &secret})
	if err != nil || aws.ToString(cancelled.ARN) != secret || aws.ToString(cancelled.Name) != first || cancelled.VersionId != nil {
		t.Errorf("CancelRotateSecret = %+v, %v", cancelled, err)
	}
	d = k.describe(secret)
	if d.RotationEnabled == nil || *d.RotationEnabled || aws.ToString(d.RotationLambdaARN) != function || d.RotationRules == nil || d.LastRotatedDate != nil || d.NextRotationDate != nil {
		t.Errorf("DescribeSecret after CancelRotateSecret = %+v", d)
	}
	k.rotated(secret, k.rotate(secret))
}

// TestRotateSecretRefusals: AWS's texts, and nothing is kept.
func TestRotateSecretRefusals(t *testing.T) {
	k := newKit(t)
	secret, function := k.genericFunction()
	role := k.rotatorRole("closed", []string{secret})
	closed := k.function("closed", role, builtIn(generic))
	k.Must(k.lambda.RemovePermission(t.Context(), &lambda.RemovePermissionInput{FunctionName: &closed, StatementId: aws.String("rotation-" + k.ID)}))
	elsewhere := k.function("elsewhere", role, builtIn(generic))
	k.Must(k.lambda.RemovePermission(t.Context(), &lambda.RemovePermissionInput{FunctionName: &elsewhere, StatementId: aws.String("rotation-" + k.ID)}))
	k.permit(elsewhere, "999999999999")
	const cannot = "Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants access to the principal secretsmanager.amazonaws.com."
	days := &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(30)}
	user := k.User("user", identity.Allow("secretsmanager:RotateSecret", secret))
	for _, tc := range []struct {
		name       string
		by         *secretsmanager.Client
		in         secretsmanager.RotateSecretInput
		code, text string
	}{
		{"no function", nil, secretsmanager.RotateSecretInput{RotationRules: days}, "InvalidRequestException", "No Lambda rotation function ARN is associated with this secret."},
		{"no such function", nil, secretsmanager.RotateSecretInput{RotationLambdaARN: aws.String(function + "x"), RotationRules: days}, "AccessDeniedException", cannot},
		{"a function without permission", nil, secretsmanager.RotateSecretInput{RotationLambdaARN: &closed, RotationRules: days}, "AccessDeniedException", cannot},
		{"a function for secrets of another account", nil, secretsmanager.RotateSecretInput{RotationLambdaARN: &elsewhere, RotationRules: days}, "AccessDeniedException", cannot},
		{"days and expression", nil, secretsmanager.RotateSecretInput{RotationLambdaARN: &function, RotationRules: &types.RotationRulesType{
			AutomaticallyAfterDays: aws.Int64(30), ScheduleExpression: aws.String("rate(10 days)"),
		}}, "InvalidParameterException", "You cannot specify both rotation frequency and schedule expression together."},
		{"a caller who may not invoke the function", user.SM, secretsmanager.RotateSecretInput{RotationLambdaARN: &function, RotationRules: days}, "AccessDeniedException",
			"User: " + user.ARN + " is not authorized to perform: lambda:InvokeFunction on resource: " + function + " because no identity-based policy allows the lambda:InvokeFunction action"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sm := k.SM
			if tc.by != nil {
				sm = tc.by
			}
			tc.in.SecretId = &secret
			_, err := sm.RotateSecret(t.Context(), &tc.in)
			wantError(t, "RotateSecret", err, tc.code, tc.text)
			if d := k.describe(secret); d.RotationEnabled != nil || d.RotationLambdaARN != nil || d.RotationRules != nil || len(d.VersionIdsToStages) != 1 {
				t.Errorf("something was kept: %+v", d)
			}
		})
	}
	_, err := k.SM.CancelRotateSecret(t.Context(), &secretsmanager.CancelRotateSecretInput{SecretId: &secret})
	wantError(t, "CancelRotateSecret of a secret without rotation", err, "InvalidRequestException", "")
}

// TestEvents: what the audit log has of rotations, which nobody calls for.
func TestEvents(t *testing.T) {
	k := newKit(t)
	secret, function := k.genericFunction()
	k.OwnServer()
	k.rotated(secret, k.rotate(secret, by(function)))
	k.Must(k.SM.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: &secret, RotateImmediately: aws.Bool(false)}))
	k.soon("the end of the test", func() bool { return slices.Contains(names(k.events(secret)), "TestRotationSucceeded") })
	// A failure: the role may not store values any more.
	k.Must(k.SM.PutResourcePolicy(t.Context(), &secretsmanager.PutResourcePolicyInput{
		SecretId: &secret, ResourcePolicy: aws.String(identity.Policy(identity.Statement{
			Effect: "Deny", Principal: "*", Action: "secretsmanager:PutSecretValue", Resource: "*",
			Condition: identity.If("ArnLike", "aws:PrincipalArn", "arn:aws:iam::"+k.ID+":role/"+k.Prefix+"generic"),
		})),
	}))
	k.rotate(secret)
	k.soon("a failure", func() bool { return slices.Contains(names(k.events(secret)), "RotationFailed") }, func() string { return k.timeline(secret) })
	k.Must(k.SM.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: &secret, SecretString: aws.String(genericValue)}))
	k.soon("the rotation is abandoned", func() bool { return slices.Contains(names(k.events(secret)), "RotationAbandoned") })
	events := k.events(secret)
	want := []string{
		"RotationStarted", "RotationSucceeded", "TestRotationStarted", "TestRotationSucceeded", "RotationStarted", "RotationFailed", "RotationAbandoned",
	}
	if diff := cmp.Diff(want, names(events)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	id := regexp.MustCompile(`^Rotation-` + regexp.QuoteMeta(secret) + `-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	for _, e := range events {
		if !id.MatchString(e.RequestID) || e.EventSource != rotatorService || e.UserAgent != rotatorService || e.SourceIPAddress != rotatorService ||
			e.UserIdentity["accountId"] != k.ID || e.UserIdentity["invokedBy"] != rotatorService || e.RequestParameters != nil || e.ResponseElements != nil ||
			e.ReadOnly || e.AdditionalEventData["SecretId"] != secret || len(e.AdditionalEventData) != 1 {
			t.Errorf("event = %+v", e)
		}
		wantText := ""
		if e.EventName == "RotationFailed" {
			wantText = "Error when executing lambda " + function + " during createSecret step"
		}
		if e.ErrorMessage != wantText {
			t.Errorf("%s: errorMessage = %q, want %q", e.EventName, e.ErrorMessage, wantText)
		}
	}
	if events[0].RequestID != events[1].RequestID || events[4].RequestID != events[6].RequestID || events[0].RequestID == events[4].RequestID {
		t.Error("the events of a rotation do not have one id of their own")
	}
}

// TestTestRotation: RotateImmediately false tests the function and changes nothing.
func TestTestRotation(t *testing.T) {
	k := newKit(t)
	secret, function := k.genericFunction()
	version := k.rotate(secret, by(function), func(in *secretsmanager.RotateSecretInput) { in.RotateImmediately = aws.Bool(false) })
	k.soon("the test ends", func() bool { return len(k.describe(secret).VersionIdsToStages[version]) == 0 })
	d := k.describe(secret)
	if !aws.ToBool(d.RotationEnabled) || d.LastRotatedDate != nil || d.NextRotationDate == nil || len(d.VersionIdsToStages) != 1 {
		t.Errorf("DescribeSecret = %+v", d)
	}
	if got := k.value(secret, "AWSCURRENT"); got != genericValue {
		t.Errorf("value = %q", got)
	}
}

// TestOtherAccount: a function of another account rotates a secret that is shared with
// its role, under a key that is, too.
func TestOtherAccount(t *testing.T) {
	k := newKit(t)
	other := k.Other()
	trust := identity.Policy(identity.Statement{Effect: "Allow", Principal: map[string]any{"Service": "lambda.amazonaws.com"}, Action: "sts:AssumeRole"})
	role := other.Role("rotator", trust, identity.Allow([]string{"secretsmanager:*", "kms:Decrypt", "kms:GenerateDataKey"}, "*"))
	actions := []string{
		"secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage",
	}
	key, err := kms.NewFromConfig(k.Config).CreateKey(t.Context(), &kms.CreateKeyInput{Policy: aws.String(identity.Policy(
		identity.Statement{Effect: "Allow", Principal: identity.Principals(k.Root()), Action: "kms:*", Resource: "*"},
		identity.Statement{Effect: "Allow", Principal: identity.Principals(role.ARN), Action: []string{"kms:Decrypt", "kms:GenerateDataKey"}, Resource: "*"},
	))})
	if err != nil {
		t.Fatal(err)
	}
	name := k.Prefix + "shared"
	made, err := k.SM.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: &name, SecretString: aws.String(genericValue), KmsKeyId: key.KeyMetadata.Arn})
	if err != nil {
		t.Fatal(err)
	}
	secret := aws.ToString(made.ARN)
	k.Must(k.SM.PutResourcePolicy(t.Context(), &secretsmanager.PutResourcePolicyInput{SecretId: &secret, ResourcePolicy: aws.String(identity.Share(actions, role.ARN))}))
	theirs := &kit{Kit: k.Kit, lambda: lambda.NewFromConfig(other.Config), server: k.server}
	function := theirs.function("theirs", role, builtIn(generic)) // permits k.ID
	// The caller, too, has to be let in from outside.
	in := &secretsmanager.RotateSecretInput{SecretId: &secret, RotationLambdaARN: &function}
	_, err = k.SM.RotateSecret(t.Context(), in)
	wantError(t, "RotateSecret by somebody who may not invoke the function", err, "AccessDeniedException", "")
	if _, err = theirs.lambda.AddPermission(t.Context(), &lambda.AddPermissionInput{
		FunctionName: &function, StatementId: aws.String("callers"), Action: aws.String("lambda:InvokeFunction"), Principal: &k.ID,
	}); err != nil {
		t.Fatal(err)
	}
	k.rotated(secret, k.rotate(secret, by(function)))
	if got := k.value(secret, "AWSCURRENT"); got == genericValue {
		t.Error("the value is the same")
	}
}

// TestCustomerKey: the function's role needs the secret's key; with it a rotation that
// failed goes on.
func TestCustomerKey(t *testing.T) {
	k := newKit(t)
	key, err := kms.NewFromConfig(k.Config).CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	keyARN := aws.ToString(key.KeyMetadata.Arn)
	name := k.Prefix + "keyed"
	made, err := k.SM.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: &name, SecretString: aws.String(genericValue), KmsKeyId: &keyARN})
	if err != nil {
		t.Fatal(err)
	}
	secret := aws.ToString(made.ARN)
	server := k.OwnServer()
	role := k.rotatorRole("keyed", []string{secret})
	function := k.function("keyed", role, builtIn(generic))
	version := k.rotate(secret, by(function))
	k.soon("a failure", func() bool { return slices.Contains(names(k.events(secret)), "RotationFailed") })
	if text := k.timeline(secret); !strings.Contains(text, "kms:Decrypt") && !strings.Contains(text, "Access to KMS is not allowed") {
		t.Errorf("the timeline does not say what is missing:\n%s", text)
	}
	role.Allow(identity.Allow([]string{"kms:Decrypt", "kms:GenerateDataKey"}, keyARN))
	if _, err := server.Arca(t.Context(), "rotation", "retry", secret); err != nil {
		t.Fatal(err)
	}
	k.rotated(secret, version)
	if out, err := k.SM.ListSecretVersionIds(t.Context(), &secretsmanager.ListSecretVersionIdsInput{SecretId: &secret}); err != nil || len(out.Versions) != 2 ||
		!slices.Equal(out.Versions[0].KmsKeyIds, out.Versions[1].KmsKeyIds) {
		t.Errorf("ListSecretVersionIds = %+v, %v", out, err)
	}
}

// TestTerraform: the calls of aws_secretsmanager_secret_rotation, in the provider's order.
func TestTerraform(t *testing.T) {
	k := newKit(t)
	secret, function := k.genericFunction()
	// Apply.
	created, err := k.SM.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{
		SecretId: &secret, ClientRequestToken: aws.String("terraform-20260101000000000000000001"), RotateImmediately: aws.Bool(true),
		RotationLambdaARN: &function, RotationRules: &types.RotationRulesType{ScheduleExpression: aws.String("rate(10 days)"), Duration: aws.String("3h")},
	})
	if err != nil {
		t.Fatal(err)
	}
	read := func() {
		t.Helper()
		d := k.describe(secret)
		if !aws.ToBool(d.RotationEnabled) || aws.ToString(d.RotationLambdaARN) != function ||
			aws.ToString(d.RotationRules.ScheduleExpression) != "rate(10 days)" || aws.ToString(d.RotationRules.Duration) != "3h" {
			t.Errorf("DescribeSecret = %+v, rules %+v", d, d.RotationRules)
		}
	}
	read()
	k.rotated(secret, aws.ToString(created.VersionId))
	read()
	// Change: a function of another name, not at once.
	second := k.function("second", k.rotatorRole("second", []string{secret}), builtIn(generic))
	changed, err := k.SM.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{
		SecretId: &secret, ClientRequestToken: aws.String("terraform-20260101000000000000000002"), RotateImmediately: aws.Bool(false),
		RotationLambdaARN: &second, RotationRules: &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(7)},
	})
	if err != nil {
		t.Fatal(err)
	}
	k.soon("the test ends", func() bool { return len(k.describe(secret).VersionIdsToStages[aws.ToString(changed.VersionId)]) == 0 })
	if d := k.describe(secret); aws.ToString(d.RotationLambdaARN) != second || aws.ToInt64(d.RotationRules.AutomaticallyAfterDays) != 7 || d.RotationRules.ScheduleExpression != nil {
		t.Errorf("DescribeSecret after the change = %+v, rules %+v", d, d.RotationRules)
	}
	// Destroy.
	k.Must(k.SM.CancelRotateSecret(t.Context(), &secretsmanager.CancelRotateSecretInput{SecretId: &secret}))
	if d := k.describe(secret); d.RotationEnabled == nil || *d.RotationEnabled {
		t.Errorf("DescribeSecret after destroy = %+v", d)
	}
}

// TestSchedule: when its time comes a secret is rotated by itself.
func TestSchedule(t *testing.T) {
	k := ownKit(t)
	secret, function := k.genericFunction()
	k.rotated(secret, k.rotate(secret, by(function)))
	before := k.describe(secret)
	last := aws.ToTime(before.LastRotatedDate)
	cmd := exec.Command(k.server.Binary, "dev", "clock", "advance", "32d", "--endpoint", k.server.URL)
	cmd.Env = []string{"HOME=" + t.TempDir()}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("arca dev clock advance: %v\n%s", err, out)
	}
	k.soon("a rotation by schedule", func() bool { return aws.ToTime(k.describe(secret).LastRotatedDate).After(last) }, func() string { return k.timeline(secret) })
	d := k.describe(secret)
	if !aws.ToTime(d.NextRotationDate).After(aws.ToTime(before.NextRotationDate)) || len(d.VersionIdsToStages) != 3 && len(d.VersionIdsToStages) != 2 {
		t.Errorf("DescribeSecret = %+v", d)
	}
}

// A function that is gone is told like one that may not be invoked.
func TestFunctionGone(t *testing.T) {
	k := newKit(t)
	secret, function := k.genericFunction()
	k.rotated(secret, k.rotate(secret, by(function)))
	k.Must(k.lambda.DeleteFunction(t.Context(), &lambda.DeleteFunctionInput{FunctionName: &function}))
	_, err := k.SM.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: &secret})
	wantError(t, "RotateSecret", err, "AccessDeniedException", "")
	if d := k.describe(secret); !aws.ToBool(d.RotationEnabled) || aws.ToString(d.RotationLambdaARN) != function {
		t.Errorf("DescribeSecret = %+v", d)
	}
}
