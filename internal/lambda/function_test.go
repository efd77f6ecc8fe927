package lambda_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api"
	"arca/internal/api/iamapi"
	"arca/internal/api/lambdaapi"
	"arca/internal/lambda"
	"arca/internal/store"
)

// Whatever becomes of the code of a function, it is read back as it was sent.
func TestCode(t *testing.T) {
	h := newHouse(t)
	small := handler(t)
	exact := archive(t, file{"a", strings.Repeat("x", 2*lambda.ChunkBytes-len(archive(t, file{"a", ""})))})
	large := archive(t, file{"a", strings.Repeat("y", 2*lambda.ChunkBytes+17)})
	h.function(t, "f")
	for _, tt := range []struct {
		name string
		code []byte
	}{{"exactly two pieces", exact}, {"three pieces", large}, {"one", small}, {"the same again", small}} {
		out := must[lambdaapi.FunctionConfiguration](t, h, lambdaapi.OpUpdateFunctionCode, &lambdaapi.UpdateFunctionCodeInput{FunctionName: "f", ZipFile: tt.code})
		if *out.CodeSize != int64(len(tt.code)) {
			t.Errorf("%s: size %d, want %d", tt.name, *out.CodeSize, len(tt.code))
		}
		f := h.record(t, "f")
		if f.SHA256 != sha256.Sum256(tt.code) {
			t.Errorf("%s: another hash", tt.name)
		}
		got, err := h.svc.Code(t.Context(), f)
		if err != nil || !bytes.Equal(got, tt.code) {
			t.Errorf("%s: %d bytes, %v; want %d", tt.name, len(got), err, len(tt.code))
		}
		if all, staged := h.packages(t); all != 1 || staged != 0 {
			t.Errorf("%s: %d packages, %d of them staged", tt.name, all, staged)
		}
	}
	if len(exact) != 2*lambda.ChunkBytes {
		t.Errorf("%d bytes are not two pieces", len(exact))
	}
	stale := h.record(t, "f")
	h.run(t, lambdaapi.OpDeleteFunction, &lambdaapi.DeleteFunctionInput{FunctionName: "f"})
	if _, err := h.svc.Code(t.Context(), stale); err == nil {
		t.Error("code of a deleted function is read")
	}
	if all, _ := h.packages(t); all != 0 {
		t.Errorf("%d packages are left", all)
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	h := newHouse(t)
	before := h.function(t, "f")
	out := must[lambdaapi.FunctionConfiguration](t, h, lambdaapi.OpUpdateFunctionCode, &lambdaapi.UpdateFunctionCodeInput{
		FunctionName: "f", ZipFile: archive(t, file{"other", "x"}), DryRun: new(true),
	})
	if *out.CodeSha256 == *before.CodeSha256 {
		t.Error("the answer has the old hash")
	}
	after := must[lambdaapi.FunctionConfiguration](t, h, lambdaapi.OpGetFunctionConfiguration, &lambdaapi.GetFunctionConfigurationInput{FunctionName: "f"})
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("changed (-before +after):\n%s", diff)
	}
	if all, _ := h.packages(t); all != 1 {
		t.Errorf("%d packages", all)
	}
}

// A change can be tied to what its author has seen.
func TestRevisions(t *testing.T) {
	h := newHouse(t)
	first := h.function(t, "f").RevisionId
	second := must[lambdaapi.FunctionConfiguration](t, h, lambdaapi.OpUpdateFunctionConfiguration, &lambdaapi.UpdateFunctionConfigurationInput{FunctionName: "f", RevisionId: first}).RevisionId
	_, err := h.call(lambdaapi.OpUpdateFunctionConfiguration, &lambdaapi.UpdateFunctionConfigurationInput{FunctionName: "f", RevisionId: first})
	refused(t, "configuration", err, lambdaapi.PreconditionFailedException, "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API")
	_, err = h.call(lambdaapi.OpUpdateFunctionCode, &lambdaapi.UpdateFunctionCodeInput{FunctionName: "f", ZipFile: handler(t), RevisionId: first})
	refused(t, "code", err, lambdaapi.PreconditionFailedException, "The Revision Id")
	h.run(t, lambdaapi.OpUpdateFunctionCode, &lambdaapi.UpdateFunctionCodeInput{FunctionName: "f", ZipFile: handler(t), RevisionId: second})
	if all, staged := h.packages(t); all != 1 || staged != 0 {
		t.Errorf("%d packages, %d staged", all, staged)
	}
}

// The environment stands in no record that is listed, in no error and in no audit line.
func TestEnvironment(t *testing.T) {
	h := newHouse(t)
	const password = "pa55word-of-the-environment"
	h.function(t, "f", func(in *lambdaapi.CreateFunctionInput) {
		in.Environment = &lambdaapi.Environment{Variables: map[string]api.SensitiveString{"PASSWORD": password}}
	})
	list := must[lambdaapi.ListFunctionsOutput](t, h, lambdaapi.OpListFunctions, &lambdaapi.ListFunctionsInput{})
	if len(list.Functions) != 1 || list.Functions[0].Environment.Variables["PASSWORD"] != password {
		t.Error("ListFunctions does not show the environment")
	}
	// Other members leave it alone.
	h.run(t, lambdaapi.OpUpdateFunctionConfiguration, &lambdaapi.UpdateFunctionConfigurationInput{
		FunctionName: "f", Description: new("d"), Timeout: new(int32(7)), MemorySize: new(int32(512)), Handler: new("a.b"), Runtime: new("nodejs22.x"),
	})
	got := must[lambdaapi.GetFunctionOutput](t, h, lambdaapi.OpGetFunction, &lambdaapi.GetFunctionInput{FunctionName: "f"}).Configuration
	if got.Environment.Variables["PASSWORD"] != password || *got.Description != "d" || *got.Timeout != 7 || *got.MemorySize != 512 || *got.Handler != "a.b" || *got.Runtime != "nodejs22.x" {
		t.Errorf("GetFunction = %+v", got)
	}
	_, err := h.call(lambdaapi.OpUpdateFunctionConfiguration, &lambdaapi.UpdateFunctionConfigurationInput{
		FunctionName: "f", Environment: &lambdaapi.Environment{Variables: map[string]api.SensitiveString{"PASSWORD": password + "\x00"}},
	})
	refused(t, "NUL", err, lambdaapi.InvalidParameterValueException, "The value of the environment variable PASSWORD holds a character that no environment can.")
	if strings.Contains(shown(err), password) || strings.Contains(h.audited(t), password) {
		t.Error("the password is written down")
	}
	h.run(t, lambdaapi.OpUpdateFunctionConfiguration, &lambdaapi.UpdateFunctionConfigurationInput{
		FunctionName: "f", Environment: &lambdaapi.Environment{Variables: map[string]api.SensitiveString{}},
	})
	if f := h.record(t, "f"); f.HasEnv {
		t.Error("the environment is still there")
	}
}

// What needs other parts of AWS is refused by its name.
func TestRefusedByName(t *testing.T) {
	h := newHouse(t)
	h.function(t, "f")
	for _, tt := range []struct {
		name   string
		change func(in *lambdaapi.CreateFunctionInput)
		text   string
	}{
		{"vpc", func(in *lambdaapi.CreateFunctionInput) {
			in.VpcConfig = &lambdaapi.VpcConfig{SubnetIds: []string{"subnet-1"}}
		}, "VpcConfig is not supported by this server."},
		{"dead letters", func(in *lambdaapi.CreateFunctionInput) {
			in.DeadLetterConfig = &lambdaapi.DeadLetterConfig{TargetArn: new("arn:aws:sqs:eu-west-1:123456789012:q")}
		}, "DeadLetterConfig is"},
		{"layers", func(in *lambdaapi.CreateFunctionInput) {
			in.Layers = []string{"arn:aws:lambda:eu-west-1:123456789012:layer:x:1"}
		}, "Layers is"},
		{"publish", func(in *lambdaapi.CreateFunctionInput) { in.Publish = new(true) }, "Publish is"},
		{"key", func(in *lambdaapi.CreateFunctionInput) {
			in.KMSKeyArn = new("arn:aws:kms:eu-west-1:123456789012:key/x")
		}, "KMSKeyArn is"},
		{"tracing", func(in *lambdaapi.CreateFunctionInput) {
			in.TracingConfig = &lambdaapi.TracingConfig{Mode: new("Active")}
		}, "TracingConfig with the mode Active is"},
		{"disk", func(in *lambdaapi.CreateFunctionInput) { in.EphemeralStorage = &lambdaapi.EphemeralStorage{Size: 1024} }, "EphemeralStorage of"},
		{"snap", func(in *lambdaapi.CreateFunctionInput) {
			in.SnapStart = &lambdaapi.SnapStart{ApplyOn: new("PublishedVersions")}
		}, "SnapStart is"},
		{"image", func(in *lambdaapi.CreateFunctionInput) { in.PackageType = new("Image") }, "Container images are"},
		{"image of code", func(in *lambdaapi.CreateFunctionInput) { in.Code = &lambdaapi.FunctionCode{ImageUri: new("x")} }, "Container images are"},
		{"bucket", func(in *lambdaapi.CreateFunctionInput) {
			in.Code = &lambdaapi.FunctionCode{S3Bucket: new("bucket"), S3Key: new("k")}
		}, "Code in S3 is"},
		{"runtime", func(in *lambdaapi.CreateFunctionInput) { in.Runtime = new("java21") }, "The runtime parameter of java21 is not supported"},
		{"timeout", func(in *lambdaapi.CreateFunctionInput) { in.Timeout = new(int32(901)) }, ""},
		{"memory", func(in *lambdaapi.CreateFunctionInput) { in.MemorySize = new(int32(10241)) }, "'MemorySize' value failed to satisfy constraint: Member must have value less than or equal to 10240"},
		{"qualifier", func(in *lambdaapi.CreateFunctionInput) { in.FunctionName = "g:1" }, "A function is created under a name of the own account"},
		{"account", func(in *lambdaapi.CreateFunctionInput) { in.FunctionName = otherAccount + ":function:g" }, "A function is created under a name of the own account"},
		{"too many tags", func(in *lambdaapi.CreateFunctionInput) {
			in.Tags = map[string]string{}
			for i := range 51 {
				in.Tags[strings.Repeat("t", i+1)] = ""
			}
		}, "You can't have more than 50 tags on a function."},
		{"reserved tag", func(in *lambdaapi.CreateFunctionInput) { in.Tags = map[string]string{"AWS:x": ""} }, "Tags beginning with aws: are reserved."},
		{"long tag", func(in *lambdaapi.CreateFunctionInput) { in.Tags = map[string]string{"x": strings.Repeat("v", 257)} }, "Keys of tags have"},
	} {
		in := input(t, "g")
		tt.change(in)
		_, err := h.call(lambdaapi.OpCreateFunction, in)
		code := lambdaapi.InvalidParameterValueException
		if tt.name == "timeout" {
			code, tt.text = lambdaapi.ValidationException, "1 validation error detected: Value '901' at 'timeout' failed to satisfy constraint: Member must have value less than or equal to 900"
		}
		refused(t, tt.name, err, code, tt.text)
	}
	for _, tt := range []struct {
		name string
		in   *lambdaapi.UpdateFunctionCodeInput
		text string
	}{
		{"nothing", &lambdaapi.UpdateFunctionCodeInput{}, "Please provide a source for function code."},
		{"bucket", &lambdaapi.UpdateFunctionCodeInput{S3Bucket: new("bucket"), S3Key: new("k")}, "Code in S3 is"},
		{"image", &lambdaapi.UpdateFunctionCodeInput{ImageUri: new("x")}, "Container images are"},
		{"publish", &lambdaapi.UpdateFunctionCodeInput{ZipFile: handler(t), Publish: new(true)}, "Publish is"},
		{"no files", &lambdaapi.UpdateFunctionCodeInput{ZipFile: archive(t)}, "Uploaded file must be a non-empty zip"},
		{"key", &lambdaapi.UpdateFunctionCodeInput{ZipFile: handler(t), SourceKMSKeyArn: new("arn:aws:kms:eu-west-1:123456789012:key/x")}, "SourceKMSKeyArn is"},
	} {
		tt.in.FunctionName = "f"
		_, err := h.call(lambdaapi.OpUpdateFunctionCode, tt.in)
		refused(t, tt.name, err, lambdaapi.InvalidParameterValueException, tt.text)
	}
	_, err := h.call(lambdaapi.OpUpdateFunctionConfiguration, &lambdaapi.UpdateFunctionConfigurationInput{FunctionName: "f", Runtime: new("go1.x")})
	refused(t, "runtime", err, lambdaapi.InvalidParameterValueException, "The runtime parameter of go1.x")
	_, err = h.call(lambdaapi.OpDeleteFunction, &lambdaapi.DeleteFunctionInput{FunctionName: "f", Qualifier: new("$LATEST")})
	refused(t, "version", err, lambdaapi.InvalidParameterValueException, "$LATEST version cannot be deleted without deleting the function.")
	// Asking for what is done anyway is no mistake.
	h.function(t, "g", func(in *lambdaapi.CreateFunctionInput) {
		in.VpcConfig, in.DeadLetterConfig = &lambdaapi.VpcConfig{SubnetIds: []string{}}, &lambdaapi.DeadLetterConfig{}
		in.TracingConfig, in.KMSKeyArn = &lambdaapi.TracingConfig{Mode: new("PassThrough")}, new("")
		in.EphemeralStorage, in.SnapStart = &lambdaapi.EphemeralStorage{Size: 512}, &lambdaapi.SnapStart{ApplyOn: new("None")}
		in.LoggingConfig, in.PackageType, in.Publish = &lambdaapi.LoggingConfig{LogFormat: new("Text")}, new("Zip"), new(false)
		in.Architectures = []string{"arm64"}
	})
	if f := h.record(t, "g"); f.Architecture != "arm64" {
		t.Errorf("architecture %s", f.Architecture)
	}
}

func TestRuntimes(t *testing.T) {
	for _, tt := range []struct {
		runtime string
		ok      bool
	}{
		{"python3.9", true}, {"python3.14", true}, {"python3.8", false}, {"python2.7", false},
		{"nodejs20.x", true}, {"nodejs26.x", true}, {"nodejs18.x", false}, {"nodejs4.3-edge", false}, {"nodejs", false},
		{"provided.al2023", true}, {"provided.al2", false}, {"go1.x", false}, {"", false},
	} {
		if err := lambda.CheckRuntime(tt.runtime); (err == nil) != tt.ok {
			t.Errorf("CheckRuntime(%q) = %v", tt.runtime, err)
		}
	}
}

// Handlers that stand for something else than code.
func TestKinds(t *testing.T) {
	h := newHouse(t)
	h.role(t, roleName, trustLambda)
	kind := func(name, handler string, vars map[string]api.SensitiveString) *lambdaapi.CreateFunctionInput {
		in := input(t, name)
		in.Runtime, in.Handler, in.Code = new("provided.al2023"), &handler, &lambdaapi.FunctionCode{}
		if vars != nil {
			in.Environment = &lambdaapi.Environment{Variables: vars}
		}
		return in
	}
	url := func(s string) map[string]api.SensitiveString {
		return map[string]api.SensitiveString{"URL": api.SensitiveString(s), "ARCA_WEBHOOK_SECRET": "0123456789abcdef"}
	}
	h.run(t, lambdaapi.OpCreateFunction, kind("built-in", "arca.builtin/SecretsManagerGenericRotation", nil))
	h.run(t, lambdaapi.OpCreateFunction, kind("webhook", "arca.webhook", url("https://hooks.example.com/rotate?x=1")))
	withZip := kind("empty-zip", "arca.builtin/SecretsManagerGenericRotation", nil)
	withZip.Code.ZipFile = archive(t)
	h.run(t, lambdaapi.OpCreateFunction, withZip)
	for name, want := range map[string]lambda.Kind{"built-in": lambda.BuiltIn, "webhook": lambda.Webhook, "empty-zip": lambda.BuiltIn} {
		f := h.record(t, name)
		if f.Kind() != want || want == lambda.BuiltIn && f.BuiltInName() != "SecretsManagerGenericRotation" {
			t.Errorf("%s: kind %s, name %s", name, f.Kind(), f.BuiltInName())
		}
	}
	wrongRuntime := kind("x", "arca.webhook", url("https://a.example"))
	wrongRuntime.Runtime = new("python3.12")
	for what, in := range map[string]*lambdaapi.CreateFunctionInput{
		"unknown name":   kind("x", "arca.builtin/Nothing", nil),
		"no URL":         kind("x", "arca.webhook", nil),
		"plain http":     kind("x", "arca.webhook", url("http://hooks.example.com")),
		"user in URL":    kind("x", "arca.webhook", url("https://u:p@hooks.example.com")),
		"no host":        kind("x", "arca.webhook", url("https:///path")),
		"no key":         kind("x", "arca.webhook", map[string]api.SensitiveString{"URL": "https://a.example"}),
		"short key":      kind("x", "arca.webhook", map[string]api.SensitiveString{"URL": "https://a.example", "ARCA_WEBHOOK_SECRET": "0123456789abcde"}),
		"fragment":       kind("x", "arca.webhook", url("https://a.example/#f")),
		"other runtime":  wrongRuntime,
		"code is needed": kind("x", "bootstrap", nil),
	} {
		_, err := h.call(lambdaapi.OpCreateFunction, in)
		refused(t, what, err, lambdaapi.InvalidParameterValueException, "")
	}
	_, err := h.call(lambdaapi.OpUpdateFunctionConfiguration, &lambdaapi.UpdateFunctionConfigurationInput{FunctionName: "built-in", Handler: new("bootstrap")})
	refused(t, "handler of code that is not there", err, lambdaapi.InvalidParameterValueException, "Uploaded file must be a non-empty zip")
	_, err = h.call(lambdaapi.OpUpdateFunctionConfiguration, &lambdaapi.UpdateFunctionConfigurationInput{
		FunctionName: "webhook", Environment: &lambdaapi.Environment{Variables: map[string]api.SensitiveString{}},
	})
	refused(t, "webhook without its URL", err, lambdaapi.InvalidParameterValueException, "")
}

func TestQuotas(t *testing.T) {
	h := newHouse(t)
	h.svc.Shrink(2, 10_000)
	h.function(t, "a")
	h.function(t, "b")
	_, err := h.call(lambdaapi.OpCreateFunction, input(t, "c"))
	refused(t, "third function", err, lambdaapi.TooManyRequestsException, "You can't have more than 2 functions in a region.")
	large := archive(t, file{"a", strings.Repeat("x", 10_000)})
	in := input(t, "c")
	in.Code.ZipFile = large
	_, err = h.call(lambdaapi.OpCreateFunction, in)
	refused(t, "large code", err, lambdaapi.CodeStorageExceededException, "Code storage limit exceeded.")
	_, err = h.call(lambdaapi.OpUpdateFunctionCode, &lambdaapi.UpdateFunctionCodeInput{FunctionName: "a", ZipFile: large})
	refused(t, "large new code", err, lambdaapi.CodeStorageExceededException, "Code storage limit exceeded.")
	if all, staged := h.packages(t); all != 2 || staged != 0 {
		t.Errorf("%d packages, %d staged", all, staged)
	}
}

// Names that do not lead to a function, and markers of other lists.
func TestWrongNames(t *testing.T) {
	h := newHouse(t)
	h.function(t, "f")
	for _, op := range []struct {
		op *api.Operation
		in func(name string) any
	}{
		{lambdaapi.OpAddPermission, func(n string) any {
			return &lambdaapi.AddPermissionInput{FunctionName: n, StatementId: "s", Action: "lambda:InvokeFunction", Principal: account}
		}},
		{lambdaapi.OpDeleteFunction, func(n string) any { return &lambdaapi.DeleteFunctionInput{FunctionName: n} }},
		{lambdaapi.OpGetFunction, func(n string) any { return &lambdaapi.GetFunctionInput{FunctionName: n} }},
		{lambdaapi.OpGetFunctionCodeSigningConfig, func(n string) any { return &lambdaapi.GetFunctionCodeSigningConfigInput{FunctionName: n} }},
		{lambdaapi.OpGetFunctionConfiguration, func(n string) any { return &lambdaapi.GetFunctionConfigurationInput{FunctionName: n} }},
		{lambdaapi.OpGetPolicy, func(n string) any { return &lambdaapi.GetPolicyInput{FunctionName: n} }},
		{lambdaapi.OpInvoke, func(n string) any { return &lambdaapi.InvokeInput{FunctionName: n} }},
		{lambdaapi.OpListTags, func(n string) any { return &lambdaapi.ListTagsInput{Resource: functionARN(n)} }},
		{lambdaapi.OpListVersionsByFunction, func(n string) any { return &lambdaapi.ListVersionsByFunctionInput{FunctionName: n} }},
		{lambdaapi.OpRemovePermission, func(n string) any { return &lambdaapi.RemovePermissionInput{FunctionName: n, StatementId: "s"} }},
		{lambdaapi.OpTagResource, func(n string) any {
			return &lambdaapi.TagResourceInput{Resource: functionARN(n), Tags: map[string]string{"a": "b"}}
		}},
		{lambdaapi.OpUntagResource, func(n string) any {
			return &lambdaapi.UntagResourceInput{Resource: functionARN(n), TagKeys: []string{"a"}}
		}},
		{lambdaapi.OpUpdateFunctionCode, func(n string) any { return &lambdaapi.UpdateFunctionCodeInput{FunctionName: n, ZipFile: handler(t)} }},
		{lambdaapi.OpUpdateFunctionConfiguration, func(n string) any { return &lambdaapi.UpdateFunctionConfigurationInput{FunctionName: n} }},
	} {
		_, err := h.call(op.op, op.in("missing"))
		refused(t, op.op.Name, err, lambdaapi.ResourceNotFoundException, "Function not found: "+functionARN("missing"))
		// Whoever may not know is told the same of functions that are there.
		nobody := as(h.user(t, "nobody-"+op.op.Name, ""))
		_, there := h.call(op.op, op.in("f"), nobody)
		_, missing := h.call(op.op, op.in("missing"), nobody)
		refused(t, op.op.Name, there, lambdaapi.RESTAccessDenied, "User: ")
		if got := strings.ReplaceAll(shown(missing), "missing", "f"); got != shown(there) {
			t.Errorf("%s: %s, but of a function that is there %s", op.op.Name, got, shown(there))
		}
		_, there = h.call(op.op, op.in(account+":function:f"), otherRoot())
		if op.op != lambdaapi.OpListTags && op.op != lambdaapi.OpTagResource && op.op != lambdaapi.OpUntagResource {
			refused(t, op.op.Name+" by another account", there, lambdaapi.RESTAccessDenied, "User: ")
		}
		if op.op != lambdaapi.OpListTags && op.op != lambdaapi.OpTagResource && op.op != lambdaapi.OpUntagResource {
			_, err = h.call(op.op, op.in(strings.Repeat("x", 65)))
			refused(t, op.op.Name+" of a long name", err, lambdaapi.ValidationException, "1 validation error detected: Value '"+strings.Repeat("x", 65)+"' at 'functionName' failed to satisfy constraint: Member must have length less than or equal to 64")
		}
		_, err = h.call(op.op, op.in("a:b:c:d"))
		if err == nil {
			t.Errorf("%s: a name of four parts is accepted", op.op.Name)
		}
	}
	for _, op := range []*api.Operation{lambdaapi.OpListTags, lambdaapi.OpTagResource, lambdaapi.OpUntagResource} {
		var in any = &lambdaapi.ListTagsInput{Resource: functionARN("f") + ":1"}
		switch op {
		case lambdaapi.OpTagResource:
			in = &lambdaapi.TagResourceInput{Resource: functionARN("f") + ":1", Tags: map[string]string{}}
		case lambdaapi.OpUntagResource:
			in = &lambdaapi.UntagResourceInput{Resource: functionARN("f") + ":1", TagKeys: []string{}}
		}
		_, err := h.call(op, in)
		refused(t, op.Name, err, lambdaapi.InvalidParameterValueException, "Tags on function aliases and versions are not supported.")
	}
	for _, op := range []*api.Operation{lambdaapi.OpListFunctions, lambdaapi.OpListVersionsByFunction} {
		var in any = &lambdaapi.ListFunctionsInput{Marker: new("AAAA")}
		if op == lambdaapi.OpListVersionsByFunction {
			in = &lambdaapi.ListVersionsByFunctionInput{FunctionName: "f", Marker: new("AAAA")}
		}
		_, err := h.call(op, in)
		refused(t, op.Name, err, lambdaapi.InvalidParameterValueException, "The Marker value is invalid.")
	}
	// The two qualifiers of one request must be one.
	for _, op := range []*api.Operation{lambdaapi.OpGetFunction, lambdaapi.OpGetFunctionConfiguration, lambdaapi.OpGetPolicy, lambdaapi.OpRemovePermission, lambdaapi.OpDeleteFunction} {
		name, q := "f:1", new("2")
		in := map[*api.Operation]any{
			lambdaapi.OpGetFunction:              &lambdaapi.GetFunctionInput{FunctionName: name, Qualifier: q},
			lambdaapi.OpGetFunctionConfiguration: &lambdaapi.GetFunctionConfigurationInput{FunctionName: name, Qualifier: q},
			lambdaapi.OpGetPolicy:                &lambdaapi.GetPolicyInput{FunctionName: name, Qualifier: q},
			lambdaapi.OpRemovePermission:         &lambdaapi.RemovePermissionInput{FunctionName: name, Qualifier: q, StatementId: "s"},
			lambdaapi.OpDeleteFunction:           &lambdaapi.DeleteFunctionInput{FunctionName: name, Qualifier: q},
		}[op]
		_, err := h.call(op, in)
		refused(t, op.Name, err, lambdaapi.InvalidParameterValueException, "The derived qualifier from the function name does not match the specified qualifier.")
	}
}

// A function and its role are told by who they are, not by their names.
func TestRoleMadeAnew(t *testing.T) {
	h := newHouse(t)
	h.function(t, "f")
	session := func() error {
		_, err := h.svc.RoleSession(t.Context(), h.record(t, "f"), "f", 900e9, h.now)
		return err
	}
	if err := session(); err != nil {
		t.Fatal(err)
	}
	h.run(t, iamapi.OpUpdateAssumeRolePolicy, &iamapi.UpdateAssumeRolePolicyInput{
		RoleName: roleName, PolicyDocument: strings.Replace(trustLambda, "lambda.amazonaws.com", "ec2.amazonaws.com", 1),
	})
	if err := session(); err == nil {
		t.Error("a role that trusts Lambda no longer is assumed")
	}
	h.run(t, iamapi.OpDeleteRole, &iamapi.DeleteRoleInput{RoleName: roleName})
	h.role(t, roleName, trustLambda)
	if err := session(); err == nil {
		t.Error("another role of the same name is assumed")
	}
	h.run(t, lambdaapi.OpUpdateFunctionConfiguration, &lambdaapi.UpdateFunctionConfigurationInput{FunctionName: "f", Role: new(roleARN(roleName))})
	if err := session(); err != nil {
		t.Errorf("passed anew: %v", err)
	}
	_, err := h.call(lambdaapi.OpUpdateFunctionConfiguration, &lambdaapi.UpdateFunctionConfigurationInput{
		FunctionName: "f", Role: new("arn:aws:iam::" + otherAccount + ":role/" + roleName),
	})
	refused(t, "role of another account", err, lambdaapi.RESTAccessDenied, "Cross-account pass role is not allowed.")
}

// The trust policy of a role is asked with what Lambda tells about itself.
func TestTrustConditions(t *testing.T) {
	h := newHouse(t)
	with := func(condition string) string {
		return strings.Replace(trustLambda, `"Action"`, condition+`,"Action"`, 1)
	}
	for _, tt := range []struct {
		name, trust string
		ok          bool
	}{
		{"own account", with(`"Condition":{"StringEquals":{"aws:SourceAccount":"` + account + `"}}`), true},
		{"own function", with(`"Condition":{"ArnLike":{"aws:SourceArn":"` + functionARN("*") + `"}}`), true},
		{"other account", with(`"Condition":{"StringEquals":{"aws:SourceAccount":"` + otherAccount + `"}}`), false},
		{"over", with(`"Condition":{"DateLessThan":{"aws:CurrentTime":"2020-01-01T00:00:00Z"}}`), false},
		{"denied", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"},{"Effect":"Deny","Principal":"*","Action":"sts:*"}]}`, false},
	} {
		name := strings.ReplaceAll(tt.name, " ", "-")
		h.role(t, name, tt.trust)
		in := input(t, name)
		in.Role = roleARN(name)
		_, err := h.call(lambdaapi.OpCreateFunction, in)
		if tt.ok != (err == nil) {
			t.Errorf("%s: %s", tt.name, shown(err))
		}
		if !tt.ok {
			refused(t, tt.name, err, lambdaapi.InvalidParameterValueException, "The role defined for the function cannot be assumed by Lambda.")
		}
	}
}

// Code that no function has goes after a while, and only then.
func TestSweep(t *testing.T) {
	h := newHouse(t)
	h.function(t, "f")
	stageAlone(t, h)
	for _, tt := range []struct {
		after time.Duration
		want  int
	}{{lambda.StagedFor - time.Second, 2}, {lambda.StagedFor + time.Second, 1}, {1000 * time.Hour, 1}} {
		if err := h.svc.Sweep(t.Context(), h.now.Add(tt.after)); err != nil {
			t.Fatal(err)
		}
		if all, _ := h.packages(t); all != tt.want {
			t.Errorf("after %v: %d packages, want %d", tt.after, all, tt.want)
		}
	}
	_, _, chunks := h.svc.Tables()
	n := 0
	err := h.store.View(t.Context(), func(v *store.Snap) error {
		n = 0
		return chunks.Walk(context.Background(), v, func(*lambda.Chunk) error { n++; return nil })
	})
	if err != nil || n != 1 {
		t.Errorf("%d pieces, %v", n, err)
	}
}
