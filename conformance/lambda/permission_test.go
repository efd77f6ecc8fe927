package lambda_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"arca/conformance/identity"
)

// The policy of a function, statement by statement.
func TestPermissions(t *testing.T) {
	k := newKit(t)
	name := aws.ToString(k.function("policy").FunctionName)
	_, err := k.GetPolicy(k.Ctx(), &lambda.GetPolicyInput{FunctionName: &name})
	want(t, "no policy", err, notFound, "ResourceNotFoundException", "The resource you requested does not exist.")

	added, err := k.AddPermission(k.Ctx(), &lambda.AddPermissionInput{
		FunctionName: &name, StatementId: aws.String("SecretsManagerAccess"), Action: aws.String("lambda:InvokeFunction"),
		Principal: aws.String("secretsmanager.amazonaws.com"), SourceAccount: &k.ID,
		SourceArn: aws.String("arn:aws:secretsmanager:" + k.Config.Region + ":" + k.ID + ":secret:db-*"),
	})
	if err != nil {
		t.Fatal(err)
	}
	const form = `{"Sid":"SecretsManagerAccess","Effect":"Allow","Principal":{"Service":"secretsmanager.amazonaws.com"},"Action":"lambda:InvokeFunction","Resource":"%F","Condition":{"StringEquals":{"AWS:SourceAccount":"%A"},"ArnLike":{"AWS:SourceArn":"arn:aws:secretsmanager:%R:%A:secret:db-*"}}}`
	statement := k.fill(form, name)
	identity.SameJSON(t, aws.ToString(added.Statement), statement)
	got, err := k.GetPolicy(k.Ctx(), &lambda.GetPolicyInput{FunctionName: &name})
	if err != nil {
		t.Fatal(err)
	}
	identity.SameJSON(t, aws.ToString(got.Policy), `{"Version":"2012-10-17","Id":"default","Statement":[`+statement+`]}`)

	_, err = k.AddPermission(k.Ctx(), &lambda.AddPermissionInput{
		FunctionName: &name, StatementId: aws.String("SecretsManagerAccess"), Action: aws.String("lambda:GetFunction"), Principal: &k.ID,
	})
	want(t, "statement of the same id", err, conflict, "ResourceConflictException", "The statement id (SecretsManagerAccess) provided already exists. Please provide a new statement id, or remove the existing statement.")
	_, err = k.AddPermission(k.Ctx(), &lambda.AddPermissionInput{
		FunctionName: &name, StatementId: aws.String("nobody"), Action: aws.String("lambda:InvokeFunction"), Principal: aws.String("arn:aws:iam::" + k.ID + ":user/" + k.Prefix + "nobody"),
	})
	want(t, "principal that does not exist", err, badRequest, "InvalidParameterValueException", "The provided principal was invalid. Please check the principal and try again.")
	_, err = k.AddPermission(k.Ctx(), &lambda.AddPermissionInput{
		FunctionName: &name, StatementId: aws.String("old"), Action: aws.String("lambda:InvokeFunction"), Principal: &k.ID, RevisionId: aws.String("x"),
	})
	want(t, "old revision", err, 412, "PreconditionFailedException", "The Revision Id provided does not match the latest Revision Id. Call the GetPolicy API to retrieve the latest Revision Id")
	_, err = k.RemovePermission(k.Ctx(), &lambda.RemovePermissionInput{FunctionName: &name, StatementId: aws.String("none")})
	want(t, "no such statement", err, notFound, "ResourceNotFoundException", "Statement none is not found in resource policy.")

	k.Must(k.RemovePermission(k.Ctx(), &lambda.RemovePermissionInput{FunctionName: &name, StatementId: aws.String("SecretsManagerAccess"), RevisionId: got.RevisionId}))
	_, err = k.GetPolicy(k.Ctx(), &lambda.GetPolicyInput{FunctionName: &name})
	want(t, "no policy again", err, notFound, "ResourceNotFoundException", "The resource you requested does not exist.")
}

// A function can be shared with another account, which needs permission of its own.
func TestOtherAccount(t *testing.T) {
	k := newKit(t)
	name := aws.ToString(k.function("shared").FunctionName)
	other := k.Other()
	get := func() error {
		_, err := client(other.Caller).GetFunctionConfiguration(k.Ctx(), &lambda.GetFunctionConfigurationInput{FunctionName: aws.String(k.arn(name))})
		return err
	}
	denied := "User: " + other.Root() + " is not authorized to perform: lambda:GetFunctionConfiguration on resource: " + k.arn(name) +
		" because no resource-based policy allows the lambda:GetFunctionConfiguration action"
	want(t, "not shared", get(), forbidden, "AccessDeniedException", denied)
	k.Must(k.AddPermission(k.Ctx(), &lambda.AddPermissionInput{
		FunctionName: &name, StatementId: aws.String("other"), Action: aws.String("lambda:GetFunctionConfiguration"), Principal: &other.ID,
	}))
	if err := get(); err != nil {
		t.Errorf("shared: %v", err)
	}
}

// Who may not invoke is told so; who may can ask without doing it.
func TestInvoke(t *testing.T) {
	k := newKit(t)
	name := aws.ToString(k.function("invoked").FunctionName)
	nobody := k.User("nobody")
	_, err := client(nobody.Caller).Invoke(k.Ctx(), &lambda.InvokeInput{FunctionName: &name})
	want(t, "without permission", err, forbidden, "AccessDeniedException",
		"User: "+nobody.ARN+" is not authorized to perform: lambda:InvokeFunction on resource: "+k.arn(name)+" because no identity-based policy allows the lambda:InvokeFunction action")
	out, err := k.Client.Invoke(k.Ctx(), &lambda.InvokeInput{FunctionName: &name, InvocationType: types.InvocationTypeDryRun})
	if err != nil || out.StatusCode != 204 {
		t.Errorf("DryRun = %+v, %v", out, err)
	}
	_, err = k.Client.Invoke(k.Ctx(), &lambda.InvokeInput{FunctionName: &name, Payload: []byte("{")})
	want(t, "no JSON", err, badRequest, "InvalidRequestContentException", "Could not parse request body into json")
}
