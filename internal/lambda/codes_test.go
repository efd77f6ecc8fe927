package lambda_test

import (
	"strings"
	"testing"

	"arca/internal/api"
	"arca/internal/api/lambdaapi"
	"arca/internal/codetest"
)

// codes are those that operations answered with in this run.
var codes codetest.Codes

// unprovoked says why nothing in this package answers an operation with a code that its
// description lists; empty if a test must provoke it.
func unprovoked(op, code string) string {
	switch code {
	case lambdaapi.InvalidCodeSignatureException.Name, lambdaapi.CodeVerificationFailedException.Name, lambdaapi.CodeSigningConfigNotFoundException.Name:
		return "there is no code signing"
	case lambdaapi.FunctionVersionsPerCapacityProviderLimitExceededException.Name:
		return "there are no capacity providers"
	}
	for _, other := range []string{"EC2", "EFS", "ENI", "S3Files", "SnapStart", "CodeArtifact", "Durable", "KMS", "InvalidSubnet", "InvalidSecurityGroup", "SubnetIP"} {
		if strings.HasPrefix(code, other) {
			return "functions use nothing of the kind"
		}
	}
	if op == "Invoke" {
		switch code {
		case lambdaapi.RequestTooLargeException.Name, lambdaapi.SerializedRequestEntityTooLargeException.Name:
			return "the edge refuses bodies that are too large"
		case lambdaapi.NoPublishedVersionException.Name, lambdaapi.ModeNotSupportedException.Name, lambdaapi.RecursiveInvocationException.Name, lambdaapi.ResourceNotReadyException.Name,
			lambdaapi.ServiceQuotaExceededException.Name, lambdaapi.UnsupportedMediaTypeException.Name:
			return "nothing of the kind can happen to a function that is stored here"
		}
	}
	const (
		noLimit   = "the dispatcher refuses callers that send too much, before the operation"
		anyTime   = "a function can be changed at any time"
		byPattern = "what parameters can be wrong is in the published constraints, which package wire checks"
		noMissing = "no operation but the one that makes a function makes one"
	)
	if code == lambdaapi.TooManyRequestsException.Name && op != "Invoke" && op != "CreateFunction" {
		return noLimit
	}
	return map[string]string{
		"CreateFunction ResourceNotFoundException":                    noMissing,
		"GetFunctionCodeSigningConfig InvalidParameterValueException": byPattern,
		"DeleteFunction ResourceConflictException":                    anyTime,
		"TagResource ResourceConflictException":                       anyTime,
		"UntagResource ResourceConflictException":                     anyTime,
		"UpdateFunctionConfiguration ResourceConflictException":       anyTime,
		"UpdateFunctionCode ResourceConflictException":                "two updates must meet: see TestUpdatesMeet",
	}[op+" "+code]
}

func TestMain(m *testing.M) {
	codes.Main(m, func() []*api.Operation { return lambdaapi.Service.Operations }, unprovoked)
}
