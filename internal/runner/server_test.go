package runner_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	awslambda "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"arca/internal/app"
	"arca/internal/apptest"
)

// whole is a whole server that runs functions, with a role for them.
type whole struct {
	*apptest.Server
	t       *testing.T
	lambda  *awslambda.Client
	secrets *secretsmanager.Client
	role    string
}

// newWhole starts a server. The role may do what policy says.
func newWhole(t *testing.T, run bool, policy string) *whole {
	t.Helper()
	srv := apptest.New(t, func(dc *app.DevConfig) { dc.RunFunctions = run })
	w := &whole{Server: srv, t: t, lambda: awslambda.NewFromConfig(srv.Config()), secrets: srv.Client()}
	ids := iam.NewFromConfig(srv.Config())
	role, err := ids.CreateRole(t.Context(), &iam.CreateRoleInput{
		RoleName:                 aws.String("rotation"),
		AssumeRolePolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.role = *role.Role.Arn
	_, err = ids.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{
		RoleName: aws.String("rotation"), PolicyName: aws.String("secrets"), PolicyDocument: &policy,
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

const mayRotate = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Resource":"*","Action":["secretsmanager:GetSecretValue",
	"secretsmanager:DescribeSecret","secretsmanager:PutSecretValue","secretsmanager:UpdateSecretVersionStage","secretsmanager:GetRandomPassword"]}]}`

// create makes a function that Secrets Manager may invoke.
func (w *whole) create(name string, runtime types.Runtime, handler string, code files, env map[string]string) string {
	w.t.Helper()
	in := &awslambda.CreateFunctionInput{
		FunctionName: &name, Runtime: runtime, Handler: &handler, Role: &w.role, Timeout: aws.Int32(60), MemorySize: aws.Int32(256),
		Code: &types.FunctionCode{}, Environment: &types.Environment{Variables: env},
	}
	if code != nil {
		in.Code.ZipFile = zipped(w.t, code)
	}
	made, err := w.lambda.CreateFunction(w.t.Context(), in)
	if err != nil {
		w.t.Fatal(err)
	}
	_, err = w.lambda.AddPermission(w.t.Context(), &awslambda.AddPermissionInput{
		FunctionName: &name, StatementId: aws.String("rotation"), Action: aws.String("lambda:InvokeFunction"), Principal: aws.String("secretsmanager.amazonaws.com"),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return *made.FunctionArn
}

// call invokes a function as the account's root.
func (w *whole) call(name, payload string) *awslambda.InvokeOutput {
	w.t.Helper()
	out, err := w.lambda.Invoke(w.t.Context(), &awslambda.InvokeInput{FunctionName: &name, Payload: []byte(payload), LogType: types.LogTypeTail})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// TestBoto3: an unmodified function reads a secret with the credentials it finds, and
// nothing that its role may not.
func TestBoto3(t *testing.T) {
	if exec.Command("/usr/bin/python3", "-c", "import boto3").Run() != nil {
		t.Skip("there is no boto3; scripts/test-deps.sh installs it")
	}
	t.Parallel()
	w := newWhole(t, true, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Resource":"*","Action":["secretsmanager:GetSecretValue","sts:GetCallerIdentity"]},
		{"Effect":"Deny","Resource":"arn:aws:secretsmanager:*:*:secret:private-*","Action":"*"}]}`)
	for _, name := range []string{"open", "private"} {
		_, err := w.secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String(name), SecretString: aws.String("value of " + name)})
		if err != nil {
			t.Fatal(err)
		}
	}
	w.create("reader", types.RuntimePython312, "lambda_function.lambda_handler", files{"lambda_function.py": `
import boto3
client = boto3.client("secretsmanager")
def lambda_handler(event, context):
    try:
        return client.get_secret_value(SecretId=event["id"])["SecretString"] + " for " + boto3.client("sts").get_caller_identity()["Arn"]
    except client.exceptions.ClientError as error:
        return error.response["Error"]["Code"]
`}, nil)
	for id, want := range map[string]string{
		"open": `"value of open for arn:aws:sts::000000000000:assumed-role/rotation/reader"`, "private": `"AccessDeniedException"`,
	} {
		out := w.call("reader", `{"id":"`+id+`"}`)
		if string(out.Payload) != want || out.FunctionError != nil {
			t.Errorf("answer = %s, want %s", out.Payload, want)
		}
	}
}

// TestOff: without the setting no code runs, and whoever asks is told why.
func TestOff(t *testing.T) {
	t.Parallel()
	w := newWhole(t, false, mayRotate)
	w.create("code", types.RuntimePython312, "x.y", files{"x.py": ""}, nil)
	_, err := w.lambda.Invoke(t.Context(), &awslambda.InvokeInput{FunctionName: aws.String("code")})
	if err == nil || !strings.Contains(err.Error(), "functions.run") {
		t.Errorf("Invoke = %v, want the setting's name", err)
	}
}

// TestRotations: RotateSecret with each kind of function.
func TestRotations(t *testing.T) {
	t.Parallel()
	w := newWhole(t, true, mayRotate)
	secretARN := func(name string) string {
		out, err := w.secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: &name, SecretString: aws.String(`{"password":"first"}`)})
		if err != nil {
			t.Fatal(err)
		}
		return *out.ARN
	}
	rotated := func(t *testing.T, id, function string) string {
		t.Helper()
		_, err := w.secrets.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{
			SecretId: &id, RotationLambdaARN: &function, RotationRules: &smtypes.RotationRulesType{AutomaticallyAfterDays: aws.Int64(30)},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for {
			out, err := w.secrets.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &id})
			if err != nil {
				t.Fatal(err)
			}
			if out.LastRotatedDate != nil {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		out, err := w.secrets.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &id})
		if err != nil {
			t.Fatal(err)
		}
		return *out.SecretString
	}
	t.Run("built-in", func(t *testing.T) {
		function := w.create("generic", types.RuntimeProvidedal2023, "arca.builtin/SecretsManagerGenericRotation", nil, nil)
		var got map[string]string
		if err := json.Unmarshal([]byte(rotated(t, secretARN("generic"), function)), &got); err != nil || len(got["password"]) < 16 {
			t.Errorf("value = %v, %v, want a new password", got, err)
		}
	})
	t.Run("process", func(t *testing.T) {
		if exec.Command("/usr/bin/python3", "-c", "import boto3").Run() != nil {
			t.Skip("there is no boto3; scripts/test-deps.sh installs it")
		}
		function := w.create("python", types.RuntimePython312, "lambda_function.lambda_handler", files{"lambda_function.py": `
import boto3, os
client = boto3.client("secretsmanager", endpoint_url=os.environ["SECRETS_MANAGER_ENDPOINT"])
def lambda_handler(event, context):
    arn, token, step = event["SecretId"], event["ClientRequestToken"], event["Step"]
    described = client.describe_secret(SecretId=arn)
    if not described["RotationEnabled"]:
        raise ValueError("not enabled")
    if step == "createSecret":
        client.put_secret_value(SecretId=arn, ClientRequestToken=token, SecretString="second", VersionStages=["AWSPENDING"])
    if step == "finishSecret":
        current = [v for v, stages in described["VersionIdsToStages"].items() if "AWSCURRENT" in stages][0]
        client.update_secret_version_stage(SecretId=arn, VersionStage="AWSCURRENT", MoveToVersionId=token, RemoveFromVersionId=current)
`}, nil)
		if got := rotated(t, secretARN("python"), function); got != "second" {
			t.Errorf("value = %s, want second", got)
		}
	})
}

// TestWholeWebhook: what is not https, or has no secret, cannot be made; loopback can be
// reached from a development server only over TLS that it trusts.
func TestWholeWebhook(t *testing.T) {
	t.Parallel()
	w := newWhole(t, false, mayRotate)
	var called atomic.Int64
	srv := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called.Add(1) }))
	defer srv.Close()
	w.create("hook", types.RuntimeProvidedal2023, "arca.webhook", nil, map[string]string{"URL": srv.URL, "ARCA_WEBHOOK_SECRET": webhookSecret})
	out := w.call("hook", `{"Step":"createSecret"}`)
	if out.FunctionError == nil || !strings.Contains(string(out.Payload), "certificate") || called.Load() != 0 {
		t.Errorf("answer = %s, want a refusal of the certificate", out.Payload)
	}
}
