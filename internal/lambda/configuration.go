package lambda

import (
	"crypto/rand"
	"encoding/hex"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"arca/internal/api"
	"arca/internal/api/lambdaapi"
	"arca/internal/call"
)

// newRevision draws a random UUID.
func newRevision() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// touch notes that a function changes now.
func (f *Function) touch(c *call.Call) { f.Modified, f.Revision = c.Now.UnixMilli(), newRevision() }

// checkRuntime refuses runtimes that no runner has.
func checkRuntime(runtime string) error {
	switch {
	case runtime == lambdaapi.RuntimeProvidedAl2023:
		return nil
	case atLeast(runtime, "python3.", "", 9), atLeast(runtime, "nodejs", ".x", 20):
		return nil
	}
	return lambdaapi.InvalidParameterValueException.Errorf("The runtime parameter of %s is not supported for creating or updating functions on this server. Use python3.9 or later, nodejs20.x or later, or provided.al2023.", runtime)
}

// atLeast reports whether a runtime is prefix, a number from least on, and suffix.
func atLeast(runtime, prefix, suffix string, least int) bool {
	number, ok := strings.CutPrefix(runtime, prefix)
	if !ok {
		return false
	}
	if number, ok = strings.CutSuffix(number, suffix); !ok {
		return false
	}
	n, err := strconv.Atoi(number)
	return err == nil && n >= least
}

// checkLimits holds timeout and memory to the limits of AWS that no model states.
func checkLimits(timeout, memory *int32) error {
	if timeout != nil && *timeout > maxTimeout {
		return invalidMember(strconv.Itoa(int(*timeout)), "timeout", "have value less than or equal to "+strconv.Itoa(maxTimeout))
	}
	if memory != nil && *memory > maxMemory {
		return lambdaapi.InvalidParameterValueException.Errorf("'MemorySize' value failed to satisfy constraint: Member must have value less than or equal to %d", maxMemory)
	}
	return nil
}

// reservedVariables are those that Lambda sets itself.
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
func reservedVariables() []string {
	return []string{
		"AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_DEFAULT_REGION", "AWS_EXECUTION_ENV", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
		"AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_GROUP_NAME",
		"AWS_LAMBDA_LOG_STREAM_NAME", "AWS_LAMBDA_RUNTIME_API", "AWS_REGION", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
		"LAMBDA_RUNTIME_DIR", "LAMBDA_TASK_ROOT", "_HANDLER", "_X_AMZN_TRACE_ID",
	}
}

// variables reads the environment of a request. Values are not repeated in any error.
func variables(in *lambdaapi.Environment) (map[string]string, error) {
	if in == nil || len(in.Variables) == 0 {
		return nil, nil
	}
	vars := make(map[string]string, len(in.Variables))
	size := 0
	var reserved []string
	for name, value := range in.Variables {
		if slices.Contains(reservedVariables(), name) {
			reserved = append(reserved, name)
		}
		if strings.ContainsRune(string(value), 0) {
			return nil, lambdaapi.InvalidParameterValueException.Errorf("The value of the environment variable %s holds a character that no environment can.", name)
		}
		size += len(name) + len(value)
		vars[name] = string(value)
	}
	if len(reserved) > 0 {
		slices.Sort(reserved)
		return nil, lambdaapi.InvalidParameterValueException.Errorf("Lambda was unable to configure your environment variables because the environment variables you have provided contains reserved keys that are currently not supported for modification. Reserved keys used in this request: %s", strings.Join(reserved, ", "))
	}
	if size > maxEnvBytes {
		return nil, lambdaapi.InvalidParameterValueException.Errorf("Lambda was unable to configure your environment variables because the environment variables you have provided exceeded the 4KB limit.")
	}
	return vars, nil
}

// checkKind holds what stands for something else than code to its rules. code says
// whether the function has any.
func (s *Service) checkKind(f *Function, vars map[string]string, code bool) error {
	kind := f.Kind()
	if kind == Process {
		if !code {
			return lambdaapi.InvalidParameterValueException.Errorf("Uploaded file must be a non-empty zip")
		}
		return nil
	}
	if f.Runtime != lambdaapi.RuntimeProvidedAl2023 {
		return lambdaapi.InvalidParameterValueException.Errorf("Functions with the handler %s need the runtime %s.", f.Handler, lambdaapi.RuntimeProvidedAl2023)
	}
	if kind == BuiltIn {
		if s.cfg.BuiltIn == nil || !s.cfg.BuiltIn(f.BuiltInName()) {
			return lambdaapi.InvalidParameterValueException.Errorf("There is no built-in function %s.", f.BuiltInName())
		}
		return nil
	}
	u, err := url.Parse(vars[WebhookURL])
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
		return lambdaapi.InvalidParameterValueException.Errorf("A function with the handler %s needs the environment variable %s with an https URL that has a host, and neither a user nor a fragment.", webhookHandler, WebhookURL)
	}
	if len(vars[WebhookSecret]) < MinWebhookSecret {
		return lambdaapi.InvalidParameterValueException.Errorf("A function with the handler %s needs the environment variable %s of at least %d characters: its requests are signed with it.", webhookHandler, WebhookSecret, MinWebhookSecret)
	}
	return nil
}

// options are the members that the requests of CreateFunction and of
// UpdateFunctionConfiguration share and that other uses of Lambda need.
type options struct {
	vpc         *lambdaapi.VpcConfig
	deadLetter  *lambdaapi.DeadLetterConfig
	kmsKey      *string
	tracing     *lambdaapi.TracingConfig
	layers      []string
	fileSystems []lambdaapi.FileSystemConfig
	image       *lambdaapi.ImageConfig
	ephemeral   *lambdaapi.EphemeralStorage
	snapStart   *lambdaapi.SnapStart
	logging     *lambdaapi.LoggingConfig
	capacity    *lambdaapi.CapacityProviderConfig
	durable     *lambdaapi.DurableConfig
	signing     *string
	tenancy     *lambdaapi.TenancyConfig
	publish     *bool
	publishTo   *string
}

// refuse refuses, by name, what cannot be honoured. Values that ask for nothing but what
// is done anyway pass.
func (o *options) refuse() error {
	for _, u := range []struct {
		name string
		used bool
	}{
		{"VpcConfig", o.vpc != nil && (len(o.vpc.SubnetIds) > 0 || len(o.vpc.SecurityGroupIds) > 0 || isTrue(o.vpc.Ipv6AllowedForDualStack))},
		{"DeadLetterConfig", o.deadLetter != nil && text(o.deadLetter.TargetArn) != ""},
		{"KMSKeyArn", text(o.kmsKey) != ""},
		{"TracingConfig with the mode Active", o.tracing != nil && text(o.tracing.Mode) == lambdaapi.TracingModeActive},
		{"Layers", len(o.layers) > 0},
		{"FileSystemConfigs", len(o.fileSystems) > 0},
		{"ImageConfig", o.image != nil && (len(o.image.Command) > 0 || len(o.image.EntryPoint) > 0 || text(o.image.WorkingDirectory) != "")},
		{"EphemeralStorage of another size than 512", o.ephemeral != nil && o.ephemeral.Size != ephemeralMiB},
		{"SnapStart", o.snapStart != nil && text(o.snapStart.ApplyOn) == lambdaapi.SnapStartApplyOnPublishedVersions},
		{"LoggingConfig with another format than Text", o.logging != nil && text(o.logging.LogFormat) == lambdaapi.LogFormatJSON},
		{"LoggingConfig with a log group or levels", o.logging != nil && (o.logging.LogGroup != nil || o.logging.ApplicationLogLevel != nil || o.logging.SystemLogLevel != nil)},
		{"CapacityProviderConfig", o.capacity != nil},
		{"DurableConfig", o.durable != nil},
		{"CodeSigningConfigArn", text(o.signing) != ""},
		{"TenancyConfig", o.tenancy != nil},
		{"Publish", isTrue(o.publish)},
		{"PublishTo", text(o.publishTo) != ""},
	} {
		if u.used {
			return lambdaapi.InvalidParameterValueException.Errorf("%s is not supported by this server.", u.name)
		}
	}
	return nil
}

const ephemeralMiB = 512

// lastModified is how Lambda writes the time of a change.
const lastModified = "2006-01-02T15:04:05.000-0700"

// shown is a function as answers show it: ready, since nothing about it takes time.
func (f *Function) shown(vars map[string]string) *lambdaapi.FunctionConfiguration {
	out := &lambdaapi.FunctionConfiguration{
		FunctionName: &f.Name, FunctionArn: new(f.ARN()), Runtime: &f.Runtime, Role: &f.Role, Handler: &f.Handler,
		CodeSize: &f.Size, CodeSha256: new(f.CodeSHA256()), Description: &f.Description, Timeout: &f.Timeout, MemorySize: &f.Memory,
		LastModified: new(time.UnixMilli(f.Modified).UTC().Format(lastModified)), Version: new(latest), RevisionId: &f.Revision,
		State: new(lambdaapi.StateActive), LastUpdateStatus: new(lambdaapi.LastUpdateStatusSuccessful),
		PackageType: new(lambdaapi.PackageTypeZip), Architectures: []string{f.Architecture},
		TracingConfig:    &lambdaapi.TracingConfigResponse{Mode: new(lambdaapi.TracingModePassThrough)},
		EphemeralStorage: &lambdaapi.EphemeralStorage{Size: ephemeralMiB},
		SnapStart: &lambdaapi.SnapStartResponse{
			ApplyOn: new(lambdaapi.SnapStartApplyOnNone), OptimizationStatus: new(lambdaapi.SnapStartOptimizationStatusOff),
		},
		LoggingConfig: &lambdaapi.LoggingConfig{LogFormat: new(lambdaapi.LogFormatText), LogGroup: new("/aws/lambda/" + f.Name)},
	}
	if len(vars) > 0 {
		out.Environment = &lambdaapi.EnvironmentResponse{Variables: make(map[string]api.SensitiveString, len(vars))}
		for name, value := range vars {
			out.Environment.Variables[name] = api.SensitiveString(value)
		}
	}
	return out
}
