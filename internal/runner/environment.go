package runner

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"arca/internal/lambda"
)

// Endpoint is how functions reach this server.
type Endpoint struct {
	URL string
	// CA holds the certificates by which functions verify the server, in PEM; nil for
	// those that their clients know anyway.
	CA []byte
}

// environment is all that a process finds in its environment: Lambda's variables, the
// credentials of its role, the function's own variables, which cannot replace those
// before, and nothing of the server's.
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
func environment(inv *lambda.Invocation, rt *program, creds *lambda.Credentials, url, caFile, api, task, tmp, stream string) []string {
	fn := inv.Function
	env := maps.Clone(inv.Environment)
	if env == nil {
		env = make(map[string]string)
	}
	weak := map[string]string{ // what a function may have its own ideas of
		"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "en_US.UTF-8", "TZ": ":UTC",
		"HOME": tmp, "TMPDIR": tmp,
		"AWS_ENDPOINT_URL": url,
		// What AWS's rotation templates read.
		"SECRETS_MANAGER_ENDPOINT": url,
	}
	if caFile != "" {
		// The first is for the AWS SDKs of Python and Go, the other for Node's.
		weak["AWS_CA_BUNDLE"], weak["NODE_EXTRA_CA_CERTS"] = caFile, caFile
	}
	maps.Copy(weak, rt.env)
	for name, value := range weak {
		if _, own := env[name]; !own {
			env[name] = value
		}
	}
	maps.Copy(env, map[string]string{
		"_HANDLER":                        fn.Handler,
		"LAMBDA_TASK_ROOT":                task,
		"LAMBDA_RUNTIME_DIR":              rt.dir,
		"AWS_REGION":                      fn.Region,
		"AWS_DEFAULT_REGION":              fn.Region,
		"AWS_EXECUTION_ENV":               "AWS_Lambda_" + fn.Runtime,
		"AWS_LAMBDA_FUNCTION_NAME":        fn.Name,
		"AWS_LAMBDA_FUNCTION_VERSION":     version,
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": strconv.Itoa(int(fn.Memory)),
		"AWS_LAMBDA_INITIALIZATION_TYPE":  "on-demand",
		"AWS_LAMBDA_LOG_GROUP_NAME":       "/aws/lambda/" + fn.Name,
		"AWS_LAMBDA_LOG_STREAM_NAME":      stream,
		"AWS_LAMBDA_RUNTIME_API":          api,
		"AWS_ACCESS_KEY_ID":               creds.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY":           string(creds.SecretAccessKey),
		"AWS_SESSION_TOKEN":               string(creds.SessionToken),
	})
	var out []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		// What would be another variable, or none, is left out; package lambda refuses it.
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.Contains(env[name], "\x00") {
			continue
		}
		out = append(out, fmt.Sprintf("%s=%s", name, env[name]))
	}
	return out
}
