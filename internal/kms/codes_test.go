package kms_test

import (
	"testing"

	"arca/internal/api"
	"arca/internal/api/kmsapi"
	"arca/internal/codetest"
)

// codes are those that operations answered with in this run.
var codes codetest.Codes

// unprovoked says why nothing in this package answers an operation with a code that its
// description lists; empty if a test must provoke it.
func unprovoked(op, code string) string {
	switch code {
	case kmsapi.DependencyTimeoutException.Name, kmsapi.KeyUnavailableException.Name:
		return "no operation waits for another system"
	case kmsapi.CloudHsmClusterInvalidConfigurationException.Name, kmsapi.CustomKeyStoreInvalidStateException.Name,
		kmsapi.XksKeyAlreadyInUseException.Name, kmsapi.XksKeyInvalidConfigurationException.Name, kmsapi.XksKeyNotFoundException.Name:
		return "there are no custom key stores"
	case kmsapi.ConflictException.Name:
		return "transactions that meet run again, and do not tell their callers"
	}
	const (
		anyState     = "works in every state of a key"
		byPattern    = "what parameters can be wrong is in the published constraints, which package wire checks"
		policyDenies = "the policy of an AWS managed key denies it first"
		oneKind      = "all keys are of one kind"
	)
	return map[string]string{
		"CreateKey InvalidArnException":                            byPattern,
		"DeleteAlias KMSInvalidStateException":                     anyState,
		"DisableKeyRotation UnsupportedOperationException":         oneKind,
		"EnableKey LimitExceededException":                         "there is no quota of enabled keys",
		"EnableKeyRotation UnsupportedOperationException":          oneKind,
		"GenerateDataKey InvalidKeyUsageException":                 oneKind,
		"GenerateDataKeyWithoutPlaintext InvalidKeyUsageException": oneKind,
		"GetKeyPolicy KMSInvalidStateException":                    anyState,
		"GetKeyRotationStatus KMSInvalidStateException":            anyState,
		"GetKeyRotationStatus UnsupportedOperationException":       oneKind,
		"ListGrants KMSInvalidStateException":                      anyState,
		"ListKeyPolicies KMSInvalidStateException":                 anyState,
		"ListKeyRotations KMSInvalidStateException":                anyState,
		"ListKeyRotations UnsupportedOperationException":           oneKind,
		"ListRetirableGrants NotFoundException":                    "a principal without grants has an empty list",
		"PutKeyPolicy KMSInvalidStateException":                    anyState,
		"PutKeyPolicy UnsupportedOperationException":               policyDenies,
		"RetireGrant KMSInvalidStateException":                     anyState,
		"RevokeGrant KMSInvalidStateException":                     anyState,
		"RotateKeyOnDemand UnsupportedOperationException":          oneKind,
		"TagResource LimitExceededException":                       "too many tags are a TagException",
	}[op+" "+code]
}

func TestMain(m *testing.M) {
	codes.Main(m, func() []*api.Operation { return kmsapi.Service.Operations }, unprovoked)
}
