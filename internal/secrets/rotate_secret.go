package secrets

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/schedule"
	"arca/internal/store"
)

// FunctionCheck finds out whether a rotation function exists, whether its policy lets
// Secrets Manager invoke it for the secret, and whether the caller of c may invoke it. It
// decides on the state v. An error that wraps ErrFunction says that the service cannot
// invoke it; any other is the answer.
type FunctionCheck func(ctx context.Context, c *call.Call, v *store.Snap, functionARN, secretARN string) error

// ErrFunction means that there is no such rotation function, or that its policy does not
// let Secrets Manager invoke it. Callers of RotateSecret are told so and nothing is kept.
var ErrFunction = errors.New("rotation function cannot be invoked")

func errFunction() error {
	return smapi.AccessDeniedException.Errorf("Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants access to the principal secretsmanager.amazonaws.com.")
}

func errUnfinished() error {
	return smapi.InvalidRequestException.Errorf("A previous rotation isn't complete. That rotation will be reattempted.")
}

// RotateSecret keeps how a secret is rotated and begins a rotation, or tests the function
// when it is told not to rotate at once. A repeat with the same token changes nothing.
func (s *Service) RotateSecret(ctx context.Context, c *call.Call, in *smapi.RotateSecretInput) (*smapi.RotateSecretOutput, error) {
	job := newJobID()
	var out *smapi.RotateSecretOutput
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		sec, err := s.loadUsable(ctx, c, tx.Snap, "RotateSecret", in.SecretId, rotateConditions(in)...)
		if err != nil {
			return err
		}
		token, err := checkRotate(in)
		if err != nil {
			return err
		}
		out = &smapi.RotateSecretOutput{ARN: new(sec.ARN()), Name: &sec.Name, VersionId: &token}
		before := sec
		sec = sec.clone()
		if err := sec.configure(c, in, token); err != nil {
			return err
		}
		if err := s.checkFunction(ctx, c, tx.Snap, sec); err != nil {
			return err
		}
		if before.Rotation != nil && before.Rotation.Token == token {
			return nil
		}
		if sec.version(token) != nil {
			// The code is among those of the operation; the text is that of the others.
			return smapi.InvalidRequestException.Errorf("You can't use ClientRequestToken %s because that value is already in use for a version of secret %s.", token, sec.ARN())
		}
		j, running := s.jobs.Get(tx.Snap, jobKey(sec))
		if running && (sec.pending(j.VersionID) || j.Claim != nil) || sec.unfinished() != nil {
			return errUnfinished()
		}
		if running {
			// It has lost its version, and the engine has not come to it yet.
			if err := s.settle(ctx, tx, sec, j, c.Now, c.ServiceEvent); err != nil {
				return err
			}
		}
		kind := Rotate
		if in.RotateImmediately != nil && !*in.RotateImmediately {
			kind = TestRotation
		}
		if err := s.addPending(ctx, tx, c, sec, token, kind); err != nil {
			return err
		}
		_, event := s.startJob(tx, sec, kind, sec.version(token), job, c.Caller.ARN, c.Now)
		c.ServiceEvent(event)
		sec.Changed = InstantOf(c.Now)
		s.put(tx, sec)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// newJobID draws the id of a job.
func newJobID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(id[:])
}

// rotateConditions are the condition keys of the request.
func rotateConditions(in *smapi.RotateSecretInput) (keys conditions) {
	keys.text("secretsmanager:RotationLambdaARN", in.RotationLambdaARN)
	keys.flag("secretsmanager:RotateImmediately", in.RotateImmediately)
	if in.RotationRules != nil {
		keys.flag("secretsmanager:ModifyRotationRules", new(true))
	}
	keys.text("secretsmanager:ExternalSecretRotationRoleArn", in.ExternalSecretRotationRoleArn)
	return keys
}

// checkRotate looks at the request by itself and returns its token.
func checkRotate(in *smapi.RotateSecretInput) (token string, err error) {
	if in.ClientRequestToken == nil {
		// The same text as elsewhere, but AWS gives it another code here.
		return "", smapi.InvalidParameterException.Errorf("You must provide a ClientRequestToken value. We recommend a UUID-type value.")
	}
	switch {
	case in.ExternalSecretRotationMetadata != nil:
		return "", errUnsupported("ExternalSecretRotationMetadata")
	case in.ExternalSecretRotationRoleArn != nil:
		return "", errUnsupported("ExternalSecretRotationRoleArn")
	}
	return *in.ClientRequestToken, nil
}

// configure takes over what the request says about the rotation of a secret, which is a
// clone, and plans it. What the request does not name stays.
func (s *Secret) configure(c *call.Call, in *smapi.RotateSecretInput, token string) error {
	r := Rotation{}
	if s.Rotation != nil {
		r = *s.Rotation
	}
	fresh := !r.Enabled
	r.Enabled, r.Token = true, token
	if a := text(in.RotationLambdaARN); a != "" {
		r.LambdaARN = a
	}
	if r.LambdaARN == "" {
		return smapi.InvalidRequestException.Errorf("No Lambda rotation function ARN is associated with this secret.")
	}
	if rules := in.RotationRules; rules != nil {
		next := RotationRules{Expression: text(rules.ScheduleExpression), Duration: text(rules.Duration)}
		if rules.AutomaticallyAfterDays != nil {
			next.AfterDays = *rules.AutomaticallyAfterDays
		}
		fresh = fresh || next != r.Rules
		r.Rules = next
	}
	if fresh {
		r.Missed = 0 // of another schedule
		if err := r.plan(s.UID, c.Now); err != nil {
			if refused, ok := errors.AsType[*schedule.Error](err); ok {
				return smapi.InvalidParameterException.Errorf("%s", refused.Message)
			}
			return err
		}
	}
	s.Rotation = &r
	return nil
}

// checkFunction asks about the function of a secret.
func (s *Service) checkFunction(ctx context.Context, c *call.Call, v *store.Snap, sec *Secret) error {
	err := s.function(ctx, c, v, sec.Rotation.LambdaARN, sec.ARN())
	if errors.Is(err, ErrFunction) {
		return errFunction()
	}
	return err
}

// addPending adds the version that a job is about to sec, a clone: an empty one that the
// function will fill, or for a test a copy of the current value.
func (s *Service) addPending(ctx context.Context, tx *store.Tx, c *call.Call, sec *Secret, id string, kind RotationKind) error {
	if kind != TestRotation {
		labels := countLabels(sec.Versions)
		if err := s.makeRoom(tx, c, sec); err != nil {
			return err
		}
		sec.Versions = append(sec.Versions, Version{ID: id, Created: InstantOf(c.Now)})
		attach(sec.Versions, &sec.Versions[len(sec.Versions)-1], stagePending)
		return s.checkLabelQuota(sec, labels)
	}
	current := sec.holder(stageCurrent)
	if current == nil {
		return smapi.InvalidRequestException.Errorf("You can't test the rotation of a secret that has no value.")
	}
	if err := checkOwnAccount(c, sec, sec.KMSKeyID); err != nil {
		return err
	}
	plain, err := s.open(ctx, c, tx.Snap, sec, sec.ARN(), current)
	if err != nil {
		return err
	}
	val := value{kind: current.Kind, bytes: plain}
	defer val.wipe()
	key, keyName, err := s.newVersionKey(tx, c, sec)
	if err != nil {
		return err
	}
	return s.addVersion(ctx, tx, c, sec, id, val, []string{stagePending}, key, keyName)
}

// wireRules is how RotationRules show. AWS computes AutomaticallyAfterDays from the
// schedule after each rotation and shows it beside the expression.
func (r *Rotation) wireRules() *smapi.RotationRulesType {
	if r.Rules == (RotationRules{}) {
		return nil
	}
	out := &smapi.RotationRulesType{ScheduleExpression: nonEmpty(r.Rules.Expression), Duration: nonEmpty(r.Rules.Duration)}
	if r.Rules.AfterDays != 0 {
		out.AutomaticallyAfterDays = &r.Rules.AfterDays
	} else if sch, err := schedule.Parse(r.Rules.schedule()); err == nil && r.Last != 0 {
		out.AutomaticallyAfterDays = new(sch.AfterDays(r.Last.Time()))
	}
	return out
}

// dates are when the secret was and will be rotated. AWS shows neither while rotation is
// off.
func (r *Rotation) dates() (last, next *time.Time) {
	if !r.Enabled {
		return nil, nil
	}
	return r.Last.pointer(), r.Next.pointer()
}

// CancelRotateSecret switches the rotation of a secret off. What its function is doing is
// not undone, and a version that it was to fill keeps AWSPENDING.
func (s *Service) CancelRotateSecret(ctx context.Context, c *call.Call, in *smapi.CancelRotateSecretInput) (*smapi.CancelRotateSecretOutput, error) {
	var out *smapi.CancelRotateSecretOutput
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		sec, err := s.loadUsable(ctx, c, tx.Snap, "CancelRotateSecret", in.SecretId)
		if err != nil {
			return err
		}
		if sec.Rotation == nil {
			return smapi.InvalidRequestException.Errorf("You can't cancel the rotation of a secret for which rotation was never configured.")
		}
		out = &smapi.CancelRotateSecretOutput{ARN: new(sec.ARN()), Name: &sec.Name}
		if v := sec.unfinished(); v != nil {
			out.VersionId = &v.ID
		}
		if !sec.Rotation.Enabled {
			return nil
		}
		sec = sec.clone()
		r := *sec.Rotation
		r.Enabled, r.Start, r.Next, r.Missed, r.Token = false, 0, 0, 0, ""
		sec.Rotation, sec.Changed = &r, InstantOf(c.Now)
		s.put(tx, sec)
		if j, ok := s.jobs.Get(tx.Snap, jobKey(sec)); ok {
			h, err := s.history(ctx, tx.Snap, sec)
			if err != nil {
				return err
			}
			s.histories.Put(tx, historyKey(sec), remember(h, j.past(Dropped, InstantOf(c.Now))))
			s.jobs.Delete(tx, jobKey(sec))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// history reads what became of the rotations of a secret, oldest first.
func (s *Service) history(ctx context.Context, v *store.Snap, sec *Secret) ([]PastRotation, error) {
	h, err := s.histories.Load(ctx, v, historyKey(sec))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return slices.Clip(h.Rotations), nil
}
