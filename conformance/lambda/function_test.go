package lambda_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"arca/conformance/identity"
)

// The life of a function: made, read, changed and removed.
func TestFunction(t *testing.T) {
	k := newKit(t)
	code := archive(t, source)
	sum := sha256.Sum256(code)
	made := k.function("life", func(in *lambda.CreateFunctionInput) {
		in.Code.ZipFile = code
		in.Description, in.Timeout, in.MemorySize = aws.String("rotates"), aws.Int32(30), aws.Int32(256)
		in.Environment = &types.Environment{Variables: map[string]string{"SECRETS_MANAGER_ENDPOINT": "https://x"}}
		in.Tags = map[string]string{"team": "platform"}
	})
	name := aws.ToString(made.FunctionName)
	if name != k.Prefix+"life" || aws.ToString(made.FunctionArn) != k.arn(name) || aws.ToString(made.Version) != "$LATEST" ||
		aws.ToString(made.CodeSha256) != base64.StdEncoding.EncodeToString(sum[:]) || made.CodeSize != int64(len(code)) ||
		aws.ToString(made.Role) != k.role.ARN || made.PackageType != types.PackageTypeZip || made.Runtime != types.RuntimePython312 ||
		!slices.Equal(made.Architectures, []types.Architecture{types.ArchitectureX8664}) {
		t.Errorf("CreateFunction = %+v", made)
	}
	err := lambda.NewFunctionActiveV2Waiter(k.Client).Wait(k.Ctx(), &lambda.GetFunctionInput{FunctionName: &name}, time.Minute)
	if err != nil {
		t.Fatalf("function is not active: %v", err)
	}
	got, err := k.GetFunction(k.Ctx(), &lambda.GetFunctionInput{FunctionName: aws.String(k.arn(name))})
	if err != nil {
		t.Fatal(err)
	}
	c := got.Configuration
	if aws.ToInt32(c.Timeout) != 30 || aws.ToInt32(c.MemorySize) != 256 || aws.ToString(c.Description) != "rotates" ||
		c.Environment.Variables["SECRETS_MANAGER_ENDPOINT"] != "https://x" || got.Tags["team"] != "platform" ||
		c.State != types.StateActive || c.LastUpdateStatus != types.LastUpdateStatusSuccessful {
		t.Errorf("GetFunction = %+v", got)
	}
	if !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000$`).MatchString(aws.ToString(c.LastModified)) {
		t.Errorf("LastModified = %s", aws.ToString(c.LastModified))
	}

	other := archive(t, source+"# changed\n")
	updated, err := k.UpdateFunctionCode(k.Ctx(), &lambda.UpdateFunctionCodeInput{FunctionName: &name, ZipFile: other})
	if err != nil {
		t.Fatal(err)
	}
	if aws.ToString(updated.CodeSha256) == aws.ToString(made.CodeSha256) || aws.ToString(updated.RevisionId) == aws.ToString(c.RevisionId) {
		t.Errorf("UpdateFunctionCode = %+v", updated)
	}
	err = lambda.NewFunctionUpdatedV2Waiter(k.Client).Wait(k.Ctx(), &lambda.GetFunctionInput{FunctionName: &name}, time.Minute)
	if err != nil {
		t.Fatalf("function is not updated: %v", err)
	}
	changed, err := k.UpdateFunctionConfiguration(k.Ctx(), &lambda.UpdateFunctionConfigurationInput{
		FunctionName: &name, Timeout: aws.Int32(60), Environment: &types.Environment{Variables: map[string]string{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if aws.ToInt32(changed.Timeout) != 60 || aws.ToInt32(changed.MemorySize) != 256 || changed.Environment != nil {
		t.Errorf("UpdateFunctionConfiguration = %+v", changed)
	}
	_, err = k.UpdateFunctionConfiguration(k.Ctx(), &lambda.UpdateFunctionConfigurationInput{FunctionName: &name, RevisionId: updated.RevisionId})
	want(t, "old revision", err, 412, "PreconditionFailedException", "The Revision Id provided does not match the latest Revision Id.")

	versions, err := k.ListVersionsByFunction(k.Ctx(), &lambda.ListVersionsByFunctionInput{FunctionName: &name})
	if err != nil || len(versions.Versions) != 1 || aws.ToString(versions.Versions[0].Version) != "$LATEST" {
		t.Errorf("ListVersionsByFunction = %+v, %v", versions, err)
	}
	_, err = k.CreateFunction(k.Ctx(), k.input("life"))
	want(t, "second one of the name", err, conflict, "ResourceConflictException", "Function already exist: "+name)

	k.Must(k.DeleteFunction(k.Ctx(), &lambda.DeleteFunctionInput{FunctionName: &name}))
	_, err = k.GetFunctionConfiguration(k.Ctx(), &lambda.GetFunctionConfigurationInput{FunctionName: &name})
	want(t, "deleted", err, notFound, "ResourceNotFoundException", "Function not found: "+k.arn(name))
	_, err = k.DeleteFunction(k.Ctx(), &lambda.DeleteFunctionInput{FunctionName: &name})
	want(t, "deleted twice", err, notFound, "ResourceNotFoundException", "Function not found: "+k.arn(name))
}

// A megabyte or two of code arrives whole: it takes several records.
func TestLargeCode(t *testing.T) {
	k := newKit(t)
	// Bytes that do not compress.
	noise := make([]byte, 2<<20)
	x := uint32(1)
	for i := range noise {
		x = x*1664525 + 1013904223
		noise[i] = byte(x >> 24)
	}
	code := archive(t, string(noise))
	sum := sha256.Sum256(code)
	made := k.function("large", func(in *lambda.CreateFunctionInput) { in.Code.ZipFile = code })
	if made.CodeSize != int64(len(code)) || aws.ToString(made.CodeSha256) != base64.StdEncoding.EncodeToString(sum[:]) {
		t.Errorf("CreateFunction = %+v", made)
	}
}

// The forms in which a function can be named.
func TestNames(t *testing.T) {
	k := newKit(t)
	name := aws.ToString(k.function("names").FunctionName)
	for _, form := range []string{name, k.arn(name), k.arn(name) + ":$LATEST", k.ID + ":function:" + name, "function:" + name, name + ":$LATEST"} {
		got, err := k.GetFunctionConfiguration(k.Ctx(), &lambda.GetFunctionConfigurationInput{FunctionName: &form})
		if err != nil || aws.ToString(got.FunctionName) != name {
			t.Errorf("%s: %v", form, err)
		}
	}
	elsewhere := strings.Replace(k.arn(name), k.Config.Region, "ap-south-2", 1)
	_, err := k.GetFunctionConfiguration(k.Ctx(), &lambda.GetFunctionConfigurationInput{FunctionName: &elsewhere})
	want(t, "other region", err, notFound, "ResourceNotFoundException", "Functions from 'ap-south-2' are not reachable in this region ('"+k.Config.Region+"')")
	_, err = k.GetFunctionConfiguration(k.Ctx(), &lambda.GetFunctionConfigurationInput{FunctionName: &name, Qualifier: aws.String("7")})
	want(t, "other version", err, notFound, "ResourceNotFoundException", "Function not found: "+k.arn(name)+":7")
	_, err = k.GetFunctionConfiguration(k.Ctx(), &lambda.GetFunctionConfigurationInput{FunctionName: aws.String(name + ":1"), Qualifier: aws.String("2")})
	want(t, "two versions", err, badRequest, "InvalidParameterValueException", "The derived qualifier from the function name does not match the specified qualifier.")
	_, err = k.GetFunctionConfiguration(k.Ctx(), &lambda.GetFunctionConfigurationInput{FunctionName: aws.String("a b")})
	want(t, "no name", err, badRequest, "ValidationException", "1 validation error detected: Value 'a b' at 'functionName' failed to satisfy constraint: Member must satisfy regular expression pattern: ")
}

// Lists come in pages.
func TestListFunctions(t *testing.T) {
	k := newKit(t)
	var made []string
	for _, n := range []string{"a", "b", "c"} {
		made = append(made, aws.ToString(k.function(n).FunctionName))
	}
	var found []string
	for p := lambda.NewListFunctionsPaginator(k.Client, &lambda.ListFunctionsInput{MaxItems: aws.Int32(2)}); p.HasMorePages(); {
		page, err := p.NextPage(k.Ctx())
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Functions) > 2 {
			t.Errorf("a page has %d functions", len(page.Functions))
		}
		for _, f := range page.Functions {
			if strings.HasPrefix(aws.ToString(f.FunctionName), k.Prefix) {
				found = append(found, aws.ToString(f.FunctionName))
			}
		}
	}
	slices.Sort(found)
	if !slices.Equal(found, made) {
		t.Errorf("listed %v, want %v", found, made)
	}
}

// What CreateFunction refuses.
func TestCreateFunctionRefuses(t *testing.T) {
	k := newKit(t)
	stranger := k.Role("stranger", identity.Trust(k.Root()))
	var empty bytes.Buffer
	empty.WriteString("PK\x05\x06" + strings.Repeat("\x00", 18))
	for _, tt := range []struct {
		name       string
		change     func(in *lambda.CreateFunctionInput)
		code, text string
	}{
		{"role that does not trust Lambda", func(in *lambda.CreateFunctionInput) { in.Role = &stranger.ARN },
			"InvalidParameterValueException", "The role defined for the function cannot be assumed by Lambda."},
		{"role that does not exist", func(in *lambda.CreateFunctionInput) { in.Role = aws.String(k.role.ARN + "x") },
			"InvalidParameterValueException", "The role defined for the function cannot be assumed by Lambda."},
		{"no zip", func(in *lambda.CreateFunctionInput) { in.Code.ZipFile = []byte("hello") },
			"InvalidParameterValueException", "Could not unzip uploaded file. Please check your file, then try to upload again."},
		{"empty zip", func(in *lambda.CreateFunctionInput) { in.Code.ZipFile = empty.Bytes() },
			"InvalidParameterValueException", "Uploaded file must be a non-empty zip"},
		{"no code", func(in *lambda.CreateFunctionInput) { in.Code = &types.FunctionCode{} },
			"InvalidParameterValueException", "Please provide a source for function code."},
		{"no handler", func(in *lambda.CreateFunctionInput) { in.Handler = nil },
			"InvalidParameterValueException", "Runtime and Handler are mandatory parameters for functions created with deployment packages."},
		{"reserved variable", func(in *lambda.CreateFunctionInput) {
			in.Environment = &types.Environment{Variables: map[string]string{"AWS_REGION": "x"}}
		}, "InvalidParameterValueException", "Lambda was unable to configure your environment variables because the environment variables you have provided contains reserved keys that are currently not supported for modification. Reserved keys used in this request: AWS_REGION"},
		{"environment too large", func(in *lambda.CreateFunctionInput) {
			in.Environment = &types.Environment{Variables: map[string]string{"LONG": strings.Repeat("x", 4096)}}
		}, "InvalidParameterValueException", "Lambda was unable to configure your environment variables because the environment variables you have provided exceeded the 4KB limit."},
		{"name too long", func(in *lambda.CreateFunctionInput) { in.FunctionName = aws.String(strings.Repeat("n", 65)) }, "ValidationException", ""},
		{"memory too small", func(in *lambda.CreateFunctionInput) { in.MemorySize = aws.Int32(64) },
			"ValidationException", "1 validation error detected: Value '64' at 'memorySize' failed to satisfy constraint: Member must have value greater than or equal to 128"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := k.input("refused")
			tt.change(in)
			_, err := k.CreateFunction(k.Ctx(), in)
			want(t, tt.name, err, badRequest, tt.code, tt.text)
		})
	}
}

// To give a function a role, one must be allowed to pass it.
func TestPassRole(t *testing.T) {
	k := newKit(t)
	author := k.User("author", identity.Allow("lambda:*", "*"))
	in := k.input("passed")
	_, err := client(author.Caller).CreateFunction(k.Ctx(), in)
	want(t, "without iam:PassRole", err, forbidden, "AccessDeniedException",
		"User: "+author.ARN+" is not authorized to perform: iam:PassRole on resource: "+k.role.ARN+" because no identity-based policy allows the iam:PassRole action")
	wrong := author.Allow(identity.Allow("iam:PassRole", k.role.ARN, identity.If("StringEquals", "iam:PassedToService", "ec2.amazonaws.com")))
	k.Settle()
	_, err = client(author.Caller).CreateFunction(k.Ctx(), in)
	want(t, "for another service", err, forbidden, "AccessDeniedException", "")
	k.Must(k.IAM.DeleteUserPolicy(k.Ctx(), &iam.DeleteUserPolicyInput{UserName: &author.Name, PolicyName: &wrong}))
	author.Allow(identity.Allow("iam:PassRole", k.role.ARN, identity.If("StringEquals", "iam:PassedToService", "lambda.amazonaws.com")))
	k.Settle()
	k.Must(client(author.Caller).CreateFunction(k.Ctx(), in))
}

// Tags, as Terraform sets and reads them.
func TestTags(t *testing.T) {
	k := newKit(t)
	made := k.function("tags", func(in *lambda.CreateFunctionInput) { in.Tags = map[string]string{"a": "1"} })
	k.Must(k.TagResource(k.Ctx(), &lambda.TagResourceInput{Resource: made.FunctionArn, Tags: map[string]string{"b": "2", "c": "3"}}))
	k.Must(k.UntagResource(k.Ctx(), &lambda.UntagResourceInput{Resource: made.FunctionArn, TagKeys: []string{"a", "b"}}))
	got, err := k.ListTags(k.Ctx(), &lambda.ListTagsInput{Resource: made.FunctionArn})
	if err != nil || len(got.Tags) != 1 || got.Tags["c"] != "3" {
		t.Errorf("ListTags = %v, %v", got, err)
	}
}

// An operation that is not served is refused by its name, as an error the client reads.
func TestNotServed(t *testing.T) {
	k := newKit(t)
	k.Ours("AWS serves it")
	_, err := k.GetAccountSettings(k.Ctx(), &lambda.GetAccountSettingsInput{})
	want(t, "GetAccountSettings", err, notFound, "UnknownOperationException", "")
}
