package secrets_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"arca/internal/api"
	"arca/internal/api/smapi"
	"arca/internal/secrets"
)

// Callers, the expiry engine and the storing of access days work on the same two
// names at once. Every answer is one that some order of the calls explains, and the
// store is consistent in the end.
func TestEverythingAtOnce(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	for _, name := range []string{"a", "b"} {
		b.create(t, name)
	}
	keys := []string{"", b.key(t, "").arn, b.key(t, "").arn}
	later := b.now.Add(31 * oneDay)
	expected := []string{
		"ResourceNotFoundException", "ResourceExistsException", "InvalidRequestException", "InvalidParameterException", "LimitExceededException",
	}
	var tokens atomic.Int64
	tokens.Store(100)
	var succeeded sync.Map // by operation
	try := func(op *api.Operation, in any) any {
		out, err := b.call(op, in)
		if err == nil {
			succeeded.Store(op.Name, true)
			return out
		}
		if aerr, ok := errors.AsType[*api.Error](err); !ok || !slices.Contains(expected, aerr.Code.Name) {
			t.Errorf("%s: %v", op.Name, err)
		}
		return nil
	}
	// Every value begins with the id of its version; some are too large for the mirror.
	fresh := func() (id *string, val *api.SensitiveString) {
		id = token(int(tokens.Add(1)))
		return id, sensitive(*id + strings.Repeat("x", rand.IntN(2)*4000))
	}
	step := func(name string) {
		switch rand.IntN(15) {
		case 0, 1:
			id, val := fresh()
			try(smapi.OpCreateSecret, &smapi.CreateSecretInput{Name: name, ClientRequestToken: id, SecretString: val})
		case 2, 3:
			id, val := fresh()
			try(smapi.OpPutSecretValue, &smapi.PutSecretValueInput{SecretId: name, ClientRequestToken: id, SecretString: val})
		case 4:
			id, val := fresh()
			try(smapi.OpUpdateSecret, &smapi.UpdateSecretInput{SecretId: name, ClientRequestToken: id, SecretString: val, Description: id})
		case 5:
			try(smapi.OpDeleteSecret, &smapi.DeleteSecretInput{SecretId: name, ForceDeleteWithoutRecovery: new(true)})
		case 6:
			try(smapi.OpDeleteSecret, &smapi.DeleteSecretInput{SecretId: name})
		case 7, 8:
			try(smapi.OpRestoreSecret, &smapi.RestoreSecretInput{SecretId: name})
		case 9:
			try(smapi.OpTagResource, &smapi.TagResourceInput{SecretId: name, Tags: tags("k", "v")})
		case 10, 11:
			try(smapi.OpUpdateSecret, rekey(name, keys[rand.IntN(len(keys))]))
		case 12:
			out, ok := try(smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: name}).(*smapi.DescribeSecretOutput)
			if !ok {
				return
			}
			held := make(map[string]string)
			for id, stages := range out.VersionIdsToStages {
				for _, stage := range stages {
					if held[stage] != "" {
						t.Errorf("label %s is on two versions", stage)
					}
					held[stage] = id
				}
			}
			if held["AWSCURRENT"] == "" {
				t.Errorf("no version of %s is current", *out.ARN)
			}
			if previous, current := held["AWSPREVIOUS"], held["AWSCURRENT"]; previous != "" {
				try(smapi.OpUpdateSecretVersionStage, &smapi.UpdateSecretVersionStageInput{
					SecretId: *out.ARN, VersionStage: "AWSCURRENT", RemoveFromVersionId: &current, MoveToVersionId: &previous,
				})
			}
		default:
			out, ok := try(smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: name}).(*smapi.GetSecretValueOutput)
			if ok && *out.VersionId != *token(1) && !strings.HasPrefix(string(*out.SecretString), *out.VersionId) {
				t.Errorf("version %s shows the value of another", *out.VersionId)
			}
		}
	}
	var callers, engines sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	for range 6 {
		callers.Go(func() {
			for range 150 {
				step([]string{"a", "b"}[rand.IntN(2)])
			}
		})
	}
	engines.Go(func() {
		for ctx.Err() == nil {
			if err := secrets.NewExpiry(b.svc, b.dispatcher).Step(context.Background(), later); err != nil {
				t.Errorf("Step: %v", err)
			}
			b.flush(t)
		}
	})
	callers.Wait()
	stop()
	engines.Wait()
	b.flush(t)
	for _, op := range []*api.Operation{
		smapi.OpCreateSecret, smapi.OpPutSecretValue, smapi.OpDeleteSecret, smapi.OpRestoreSecret, smapi.OpGetSecretValue, smapi.OpDescribeSecret, smapi.OpUpdateSecret,
	} {
		if _, ok := succeeded.Load(op.Name); !ok {
			t.Errorf("%s never succeeded", op.Name)
		}
	}
}
