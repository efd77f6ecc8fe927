package secrets_test

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"arca/internal/api"
	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/codetest"
	"arca/internal/secrets"
)

// codes are those that operations answered with in this run.
var codes codetest.Codes

// unprovoked says why nothing in this package answers an operation with a code that
// its description lists; empty if a test must provoke it.
func unprovoked(op, code string) string {
	const (
		byWire    = "what parameters can be wrong is in the published constraints, which package wire checks"
		perSecret = "told per secret, in the answer's Errors"
		noPolicy  = "the request holds no policy"
		managed   = "stands for managed secrets and for conditions of requests, and there are none of either"
		anyState  = "a secret in any state can be asked this"
		noStore   = "needs nothing that could fail"
	)
	return map[string]string{
		"BatchGetSecretValue DecryptionFailure":                  perSecret,
		"BatchGetSecretValue InvalidRequestException":            perSecret,
		"BatchGetSecretValue ResourceNotFoundException":          perSecret,
		"CancelRotateSecret InvalidParameterException":           byWire,
		"CreateSecret MalformedPolicyDocumentException":          noPolicy,
		"CreateSecret PreconditionNotMetException":               managed,
		"CreateSecret ResourceNotFoundException":                 "nothing needs to exist",
		"DeleteResourcePolicy InvalidParameterException":         byWire,
		"DescribeRotation InvalidParameterException":             byWire,
		"DescribeSecret InvalidParameterException":               byWire,
		"DropRotation InvalidParameterException":                 byWire,
		"GetRandomPassword InternalServiceError":                 noStore,
		"GetRandomPassword InvalidRequestException":              "all that can be wrong are parameters",
		"GetResourcePolicy InvalidParameterException":            byWire,
		"GetSecretValue InvalidParameterException":               byWire,
		"ListSecretVersionIds InvalidParameterException":         byWire,
		"ListSecrets InvalidRequestException":                    anyState,
		"PutResourcePolicy InvalidParameterException":            byWire,
		"RemoveRegionsFromReplication InvalidParameterException": byWire,
		"ReplicateSecretToRegions InvalidParameterException":     byWire,
		"RestoreSecret InvalidParameterException":                byWire,
		"RestoreSecret InvalidRequestException":                  anyState,
		"RetryRotation InvalidParameterException":                byWire,
		"RollBackRotation InvalidParameterException":             byWire,
		"StopReplicationToReplica InvalidParameterException":     byWire,
		"UpdateSecret MalformedPolicyDocumentException":          noPolicy,
		"UpdateSecret PreconditionNotMetException":               managed,
		"ValidateResourcePolicy InvalidParameterException":       byWire,
	}[op+" "+code]
}

func TestMain(m *testing.M) {
	codes.Main(m, func() []*api.Operation {
		return slices.AppendSeq(slices.Clone(smapi.Service.Operations), maps.Keys(rotationOperations()))
	}, unprovoked)
}

// inputs is a request of every operation about the secret s.
func inputs() map[*api.Operation]any {
	const policy = `{"Version":"2012-10-17","Statement":[]}`
	regions := []smapi.ReplicaRegionType{{Region: new("us-east-1")}}
	return map[*api.Operation]any{
		smapi.OpBatchGetSecretValue:          &smapi.BatchGetSecretValueInput{Filters: []smapi.Filter{{Key: new("name"), Values: []string{"s"}}}},
		smapi.OpCancelRotateSecret:           &smapi.CancelRotateSecretInput{SecretId: "s"},
		smapi.OpCreateSecret:                 &smapi.CreateSecretInput{Name: "s", ClientRequestToken: token(2)},
		smapi.OpDeleteResourcePolicy:         &smapi.DeleteResourcePolicyInput{SecretId: "s"},
		smapi.OpDeleteSecret:                 &smapi.DeleteSecretInput{SecretId: "s"},
		smapi.OpDescribeSecret:               &smapi.DescribeSecretInput{SecretId: "s"},
		smapi.OpGetResourcePolicy:            &smapi.GetResourcePolicyInput{SecretId: "s"},
		smapi.OpGetSecretValue:               &smapi.GetSecretValueInput{SecretId: "s"},
		smapi.OpListSecretVersionIds:         &smapi.ListSecretVersionIdsInput{SecretId: "s"},
		smapi.OpListSecrets:                  &smapi.ListSecretsInput{},
		smapi.OpPutResourcePolicy:            &smapi.PutResourcePolicyInput{SecretId: "s", ResourcePolicy: policy},
		smapi.OpPutSecretValue:               putInput("s", 2),
		smapi.OpRemoveRegionsFromReplication: &smapi.RemoveRegionsFromReplicationInput{SecretId: "s", RemoveReplicaRegions: []string{"us-east-1"}},
		smapi.OpReplicateSecretToRegions:     &smapi.ReplicateSecretToRegionsInput{SecretId: "s", AddReplicaRegions: regions},
		smapi.OpRestoreSecret:                &smapi.RestoreSecretInput{SecretId: "s"},
		smapi.OpRotateSecret:                 &smapi.RotateSecretInput{SecretId: "s", ClientRequestToken: token(2)},
		smapi.OpStopReplicationToReplica:     &smapi.StopReplicationToReplicaInput{SecretId: "s"},
		smapi.OpTagResource:                  &smapi.TagResourceInput{SecretId: "s", Tags: tags("k", "v")},
		smapi.OpUntagResource:                &smapi.UntagResourceInput{SecretId: "s", TagKeys: []string{"k"}},
		smapi.OpUpdateSecret:                 &smapi.UpdateSecretInput{SecretId: "s", Description: new("d")},
		smapi.OpUpdateSecretVersionStage:     &smapi.UpdateSecretVersionStageInput{SecretId: "s", VersionStage: "X", MoveToVersionId: token(1)},
		smapi.OpValidateResourcePolicy:       &smapi.ValidateResourcePolicyInput{SecretId: new("s"), ResourcePolicy: policy},
	}
}

// A store that does not answer is an internal error, of which the client learns
// nothing else.
func TestStoreGone(t *testing.T) {
	h := newHome(t, secrets.Quotas{})
	h.create(t, "s")
	if err := h.store.Close(); err != nil {
		t.Fatal(err)
	}
	for op, in := range inputs() {
		t.Run(op.Name, func(t *testing.T) {
			refused(t, h.bed, op, in, "InternalServiceError: An error occurred on the server side.")
		})
	}
}

// Every operation with a secret asks before it tells whether the secret is there, and
// no operation is answered without having asked.
func TestEveryOperationAsks(t *testing.T) {
	b := newBed(t)
	for _, exists := range []bool{false, true} {
		if exists {
			b.create(t, "s")
		}
		b.refuse(func(*call.Check) bool { return true })
		for op, in := range inputs() {
			b.questions()
			_, err := b.call(op, in)
			if aerr, ok := errors.AsType[*api.Error](err); !ok || aerr.Code.Name != "AccessDeniedException" {
				t.Errorf("%s, secret there %v: error %v, want AccessDeniedException", op.Name, exists, err)
			}
			if asked := b.questions(); len(asked) != 1 || asked[0].Action != "secretsmanager:"+op.Name {
				t.Errorf("%s, secret there %v: asked %+v, want one question about the operation", op.Name, exists, asked)
			}
		}
		b.refuse(nil)
	}
}
