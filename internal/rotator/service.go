package rotator

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"arca/internal/api"
	"arca/internal/api/smapi"
)

const (
	awsCurrent  = "AWSCURRENT"
	awsPending  = "AWSPENDING"
	awsPrevious = "AWSPREVIOUS"
)

// call makes one call to Secrets Manager.
func call[Out any](ctx context.Context, r *rotation, op *api.Operation, in any) (*Out, error) {
	out, err := r.calls(ctx, op, in)
	if err != nil {
		return nil, &Error{Type: ServiceError, Message: op.Name + ": " + err.Error(), cause: err}
	}
	answer, ok := out.(*Out)
	if !ok {
		return nil, errorf(ServiceError, "%s: answer of type %T", op.Name, out)
	}
	return answer, nil
}

// labels is where the labels of the secret are.
type labels struct {
	enabled bool
	known   bool // the version that is to become current exists
	current string
	pending []string
}

func (r *rotation) labels(ctx context.Context) (labels, error) {
	out, err := call[smapi.DescribeSecretOutput](ctx, r, smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: r.ev.SecretID})
	if err != nil {
		return labels{}, err
	}
	l := labels{enabled: out.RotationEnabled != nil && *out.RotationEnabled}
	for id, stages := range out.VersionIdsToStages {
		l.known = l.known || id == r.ev.ClientRequestToken
		if slices.Contains(stages, awsCurrent) {
			l.current = id
		}
		if slices.Contains(stages, awsPending) {
			l.pending = append(l.pending, id)
		}
	}
	return l, nil
}

// checkPending refuses to work on a secret that nobody rotates, or on a version that is
// not, or no longer, the one it is rotated to. The texts are those of AWS's templates.
func (r *rotation) checkPending(l labels) error {
	switch token := r.ev.ClientRequestToken; {
	case !l.enabled:
		return errorf(InvalidSecret, "Secret %s is not enabled for rotation", r.ev.SecretID)
	case !l.known:
		return errorf(InvalidSecret, "Secret version %s has no stage for rotation of secret %s.", token, r.ev.SecretID)
	case !slices.Contains(l.pending, token):
		return errorf(InvalidSecret, "Secret version %s not set as AWSPENDING for rotation of secret %s.", token, r.ev.SecretID)
	}
	return nil
}

// errNoValue: the version does not exist or has no value yet.
var errNoValue = errors.New("no such value")

// value reads a version of a secret: by its id, by its label, or by both.
func (r *rotation) value(ctx context.Context, secretID, id, label string) (string, error) {
	in := &smapi.GetSecretValueInput{SecretId: secretID}
	if id != "" {
		in.VersionId = &id
	}
	if label != "" {
		in.VersionStage = &label
	}
	out, err := call[smapi.GetSecretValueOutput](ctx, r, smapi.OpGetSecretValue, in)
	if refused, ok := errors.AsType[*api.Error](err); ok && refused.Code == smapi.ResourceNotFoundException {
		return "", fmt.Errorf("%w: %w", errNoValue, err)
	}
	if err != nil {
		return "", err
	}
	if out.SecretString == nil {
		return "", errorf(InvalidSecret, "secret %s has no SecretString", secretID)
	}
	return string(*out.SecretString), nil
}

// pendingValue reads what the secret is rotated to.
func (r *rotation) pendingValue(ctx context.Context) (string, error) {
	return r.value(ctx, r.ev.SecretID, r.ev.ClientRequestToken, awsPending)
}

// put stores what the secret is rotated to. When two do so at once, the first one's
// value stays, and the other one takes it: the caller reads it again.
func (r *rotation) put(ctx context.Context, value string) error {
	secret := api.SensitiveString(value)
	in := &smapi.PutSecretValueInput{
		SecretId: r.ev.SecretID, ClientRequestToken: &r.ev.ClientRequestToken,
		SecretString: &secret, VersionStages: []string{awsPending},
	}
	if r.ev.RotationToken != "" {
		token := api.SensitiveString(r.ev.RotationToken)
		in.RotationToken = &token
	}
	_, err := call[smapi.PutSecretValueOutput](ctx, r, smapi.OpPutSecretValue, in)
	if refused, ok := errors.AsType[*api.Error](err); ok && refused.Code == smapi.ResourceExistsException {
		return nil
	}
	return err
}

// moveCurrent makes the pending version the current one. It fails when AWSCURRENT is
// no longer where it was looked for.
func (r *rotation) moveCurrent(ctx context.Context) error {
	l, err := r.labels(ctx)
	if err != nil {
		return err
	}
	if l.current == r.ev.ClientRequestToken {
		return nil
	}
	if err := r.checkPending(l); err != nil {
		return err
	}
	in := &smapi.UpdateSecretVersionStageInput{SecretId: r.ev.SecretID, VersionStage: awsCurrent, MoveToVersionId: &r.ev.ClientRequestToken}
	if l.current != "" {
		in.RemoveFromVersionId = &l.current
	}
	if _, err := call[smapi.UpdateSecretVersionStageOutput](ctx, r, smapi.OpUpdateSecretVersionStage, in); err != nil {
		return err
	}
	r.cfg.Log("finishSecret: AWSCURRENT is on version %s of secret %s", r.ev.ClientRequestToken, r.ev.SecretID)
	return nil
}
