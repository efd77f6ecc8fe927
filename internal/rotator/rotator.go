// Package rotator holds the rotation functions that Arca brings along, under the names
// of AWS's templates: for users of PostgreSQL, MySQL, MariaDB and Redis or Valkey, and
// one that only makes new values.
//
// It promises that a step may be run again after it was cut off anywhere, and at the
// same time as itself; that a password is set only after the user's own login proved
// the secret to be his, and counts as set only after a login with it; that a superuser's
// password goes to the server that the superuser's own secret names, and nowhere else;
// that connections go where the operator's egress rules allow, over TLS that is verified
// unless the secret itself says "ssl": false; and that no error and no line of output
// holds a password. What it cannot promise is said in docs/design/rotators.md.
//
// Secrets are read and written by Calls, as the function's role: a rotator has no rights
// of its own. It trusts nothing in a secret's value, and nothing a database server says.
package rotator

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"arca/internal/api"
	"arca/internal/egress"
)

// Config is what one rotation runs with.
type Config struct {
	// Egress connects to servers; its rules say to which.
	Egress *egress.Client
	// Environment is that of the function: EXCLUDE_CHARACTERS and the other variables
	// that AWS's templates know, and SECRET_FIELD.
	Environment map[string]string
	// Log takes what the function has to say, as lines without secrets. Required.
	Log func(format string, args ...any)
}

// Event is what Secrets Manager passes to a rotation function.
type Event struct {
	Step               string
	SecretID           string
	ClientRequestToken string
	RotationToken      string
}

// maxEventBytes bounds an event; Secrets Manager's own are far smaller.
const maxEventBytes = 16 << 10

// ParseEvent reads the event from the payload of an invocation.
func ParseEvent(payload []byte) (Event, error) {
	var e Event
	if len(payload) > maxEventBytes {
		return e, errorf(InvalidEvent, "the event is longer than %d bytes", maxEventBytes)
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(payload, &members) != nil || members == nil {
		return e, errorf(InvalidEvent, "the event is not a JSON object")
	}
	for name, to := range map[string]*string{
		"Step": &e.Step, "SecretId": &e.SecretID, "ClientRequestToken": &e.ClientRequestToken, "RotationToken": &e.RotationToken,
	} {
		raw, ok := members[name]
		if !ok && name == "RotationToken" {
			continue
		}
		if !ok || json.Unmarshal(raw, to) != nil || *to == "" {
			return Event{}, errorf(InvalidEvent, "the event has no %s", name)
		}
	}
	return e, nil
}

// Calls makes one call to Secrets Manager as the function's role. The operation is one
// of package smapi, in and the answer are its input and output. It may be used by one
// goroutine at a time.
type Calls func(ctx context.Context, op *api.Operation, in any) (any, error)

// The kinds of rotators, by the names of AWS's templates. AWS has no template for users
// of Redis; those names are ours.
const (
	PostgreSQLSingleUser = "SecretsManagerRDSPostgreSQLRotationSingleUser"
	PostgreSQLMultiUser  = "SecretsManagerRDSPostgreSQLRotationMultiUser"
	MySQLSingleUser      = "SecretsManagerRDSMySQLRotationSingleUser"
	MySQLMultiUser       = "SecretsManagerRDSMySQLRotationMultiUser"
	MariaDBSingleUser    = "SecretsManagerRDSMariaDBRotationSingleUser"
	MariaDBMultiUser     = "SecretsManagerRDSMariaDBRotationMultiUser"
	RedisSingleUser      = "SecretsManagerRedisRotationSingleUser"
	RedisMultiUser       = "SecretsManagerRedisRotationMultiUser"
	Generic              = "SecretsManagerGenericRotation"
)

// Kinds lists the names that Rotate knows.
func Kinds() []string {
	return []string{
		PostgreSQLSingleUser, PostgreSQLMultiUser, MySQLSingleUser, MySQLMultiUser, MariaDBSingleUser, MariaDBMultiUser,
		RedisSingleUser, RedisMultiUser, Generic,
	}
}

// Known reports whether there is a rotator of that name.
func Known(kind string) bool { return slices.Contains(Kinds(), kind) }

// Rotate runs one step of a rotation. Its errors are of type *Error. It may run any
// number of times for one event, also at the same time. It returns when ctx ends.
func Rotate(ctx context.Context, cfg Config, kind string, calls Calls, ev Event) error {
	r := &rotation{cfg: cfg, calls: calls, ev: ev}
	err := r.run(ctx, kind)
	if err == nil {
		return nil
	}
	failed := r.failure(err)
	cfg.Log("%s: %s", ev.Step, failed.Message)
	return failed
}

// rotation is one step of one rotation.
type rotation struct {
	cfg   Config
	calls Calls
	ev    Event
	// hidden are passwords that texts must not hold.
	hidden []string
}

// run looks whether the secret is in a state to rotate and runs the step.
func (r *rotation) run(ctx context.Context, kind string) error {
	steps, ok := stepsOf(r, kind)
	if !ok {
		return errorf(InvalidEvent, "there is no rotation function called %q", kind)
	}
	step, ok := map[string]func(context.Context) error{
		"createSecret": steps.create, "setSecret": steps.set, "testSecret": steps.test, "finishSecret": steps.finish,
	}[r.ev.Step]
	if !ok {
		return errorf(InvalidEvent, "Invalid step parameter %q", r.ev.Step)
	}
	labels, err := r.labels(ctx)
	if err != nil {
		return err
	}
	if labels.current == r.ev.ClientRequestToken {
		r.cfg.Log("%s: version %s is AWSCURRENT already", r.ev.Step, r.ev.ClientRequestToken)
		if r.ev.Step != "finishSecret" || len(labels.pending) > 0 && !slices.Contains(labels.pending, labels.current) {
			return nil
		}
		return steps.tidy(ctx)
	}
	if err := r.checkPending(labels); err != nil {
		return err
	}
	return step(ctx)
}

// stepper is how one kind of rotator does the steps.
type stepper interface {
	create(context.Context) error
	set(context.Context) error
	test(context.Context) error
	finish(context.Context) error
	// tidy takes away what is of no use when the new version is the current one.
	tidy(context.Context) error
}

// stepsOf finds the rotator of that name.
func stepsOf(r *rotation, kind string) (stepper, bool) {
	switch kind {
	case PostgreSQLSingleUser:
		return &singleUser{users{r, postgres}}, true
	case PostgreSQLMultiUser:
		return &alternatingUsers{users{r, postgres}}, true
	case MySQLSingleUser:
		return &singleUser{users{r, mySQL}}, true
	case MySQLMultiUser:
		return &alternatingUsers{users{r, mySQL}}, true
	case MariaDBSingleUser:
		return &singleUser{users{r, mariaDB}}, true
	case MariaDBMultiUser:
		return &alternatingUsers{users{r, mariaDB}}, true
	case RedisSingleUser:
		return &singleUser{users{r, redis}}, true
	case RedisMultiUser:
		return &alternatingUsers{users{r, redis}}, true
	case Generic:
		return &generic{r}, true
	}
	return nil, false
}

// hide keeps a password out of every text.
func (r *rotation) hide(password string) {
	if password != "" && !slices.Contains(r.hidden, password) {
		r.hidden = append(r.hidden, password)
	}
}

// recheck looks again, right before something is changed that cannot be taken back:
// whoever was held up for long may find that others went on without him.
func (r *rotation) recheck(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("stopped before the change: %w", err)
	}
	labels, err := r.labels(ctx)
	if err != nil {
		return err
	}
	return r.checkPending(labels)
}
