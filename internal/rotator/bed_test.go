package rotator_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
	"github.com/jackc/pgx/v5"

	"arca/internal/api"
	"arca/internal/api/smapi"
	"arca/internal/apptest"
	"arca/internal/dbtest"
	"arca/internal/egress"
	"arca/internal/rotator"
)

// steps are those of a rotation, in their order.
var steps = []string{"createSecret", "setSecret", "testSecret", "finishSecret"}

// bed is a real Secrets Manager with a rotator at work. What a rotation does before its
// first step, to turn rotation on and to attach AWSPENDING, the bed adds to the answers
// of DescribeSecret: it is not the rotator's business.
type bed struct {
	client *secretsmanager.Client
	db     *dbtest.Server
	env    map[string]string
	egress *egress.Client

	mu       sync.Mutex
	disabled bool                          // the secret is not enabled for rotation
	attached string                        // the version that a rotation attached AWSPENDING to
	hook     func(op string, in any) error // guarded by mu; runs before a call
	output   strings.Builder               // guarded by mu; what rotators said
	errors   []error                       // guarded by mu; what they failed with
}

func newBed(t testing.TB, db *dbtest.Server) *bed {
	t.Helper()
	cfg := egress.Config{AllowLoopback: true}
	if db != nil {
		cfg.RootCAs = db.Roots
	}
	b := newBedWith(t, cfg)
	b.db = db
	return b
}

func newBedWith(t testing.TB, cfg egress.Config) *bed {
	t.Helper()
	return &bed{client: apptest.New(t).Client(), egress: egress.New(cfg)}
}

// create makes a secret and returns its ARN.
func (b *bed) create(t testing.TB, name, value string) string {
	t.Helper()
	out, err := b.client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: &name, SecretString: &value})
	if err != nil {
		t.Fatal(err)
	}
	return *out.ARN
}

// value reads a version by its label, empty if there is none.
func (b *bed) value(t testing.TB, secret, label string) string {
	t.Helper()
	out, err := b.client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &secret, VersionStage: &label})
	if _, ok := errors.AsType[*types.ResourceNotFoundException](err); ok {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return *out.SecretString
}

func newToken() string { return strings.ToLower(rand.Text() + rand.Text())[:32] }

// step runs one step.
func (b *bed) step(ctx context.Context, kind, step, secret, token string) error {
	if step == "createSecret" {
		b.attach(token)
	}
	err := rotator.Rotate(ctx, rotator.Config{Egress: b.egress, Environment: b.env, Log: b.log}, kind, b.call,
		rotator.Event{Step: step, SecretID: secret, ClientRequestToken: token})
	if err != nil {
		b.mu.Lock()
		b.errors = append(b.errors, err)
		b.mu.Unlock()
	}
	return err
}

// attach makes a version that has no value yet look like one with AWSPENDING.
func (b *bed) attach(token string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.attached = token
}

// rotate runs all steps.
func (b *bed) rotate(ctx context.Context, kind, secret string) error {
	token := newToken()
	for _, s := range steps {
		if err := b.step(ctx, kind, s, secret, token); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

func (b *bed) log(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fmt.Fprintf(&b.output, format+"\n", args...)
}

// said is everything that rotators told anybody.
func (b *bed) said() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	text := b.output.String()
	for _, err := range b.errors {
		text += err.Error() + "\n"
		for ; err != nil; err = errors.Unwrap(err) {
			text += fmt.Sprintf("%v %+v %#v\n", err, err, err)
		}
	}
	return text
}

// call makes a rotator's call with a real client.
func (b *bed) call(ctx context.Context, op *api.Operation, in any) (any, error) {
	b.mu.Lock()
	hook, attached, disabled := b.hook, b.attached, b.disabled
	b.mu.Unlock()
	if hook != nil {
		if err := hook(op.Name, in); err != nil {
			return nil, err
		}
	}
	out, err := b.send(ctx, in)
	if refused, ok := errors.AsType[smithy.APIError](err); ok {
		for _, code := range append(slices.Clone(op.Errors), op.Service.Invalid) {
			if code.Name == refused.ErrorCode() {
				return nil, code.Errorf("%s", refused.ErrorMessage())
			}
		}
	}
	if err != nil {
		return nil, err
	}
	if _, ok := out.(*smapi.PutSecretValueOutput); ok {
		b.attach("") // from now on it is what it is
	}
	if d, ok := out.(*smapi.DescribeSecretOutput); ok {
		d.RotationEnabled = aws.Bool(!disabled)
		if _, ok := d.VersionIdsToStages[attached]; !ok && attached != "" {
			d.VersionIdsToStages[attached] = []string{"AWSPENDING"}
		}
	}
	return out, nil
}

func (b *bed) send(ctx context.Context, in any) (any, error) {
	switch in := in.(type) {
	case *smapi.DescribeSecretInput:
		out, err := b.client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &in.SecretId})
		if err != nil {
			return nil, err
		}
		return &smapi.DescribeSecretOutput{ARN: out.ARN, VersionIdsToStages: out.VersionIdsToStages}, nil
	case *smapi.GetSecretValueInput:
		out, err := b.client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &in.SecretId, VersionId: in.VersionId, VersionStage: in.VersionStage})
		if err != nil {
			return nil, err
		}
		return &smapi.GetSecretValueOutput{SecretString: (*api.SensitiveString)(out.SecretString), SecretBinary: out.SecretBinary}, nil
	case *smapi.GetRandomPasswordInput:
		out, err := b.client.GetRandomPassword(ctx, &secretsmanager.GetRandomPasswordInput{
			PasswordLength: in.PasswordLength, ExcludeCharacters: in.ExcludeCharacters, ExcludeNumbers: in.ExcludeNumbers, ExcludePunctuation: in.ExcludePunctuation,
			ExcludeUppercase: in.ExcludeUppercase, ExcludeLowercase: in.ExcludeLowercase, RequireEachIncludedType: in.RequireEachIncludedType,
		})
		if err != nil {
			return nil, err
		}
		return &smapi.GetRandomPasswordOutput{RandomPassword: (*api.SensitiveString)(out.RandomPassword)}, nil
	case *smapi.PutSecretValueInput:
		_, err := b.client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
			SecretId: &in.SecretId, ClientRequestToken: in.ClientRequestToken, SecretString: (*string)(in.SecretString), VersionStages: in.VersionStages,
		})
		return &smapi.PutSecretValueOutput{}, err
	case *smapi.UpdateSecretVersionStageInput:
		_, err := b.client.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
			SecretId: &in.SecretId, VersionStage: &in.VersionStage, MoveToVersionId: in.MoveToVersionId, RemoveFromVersionId: in.RemoveFromVersionId,
		})
		return &smapi.UpdateSecretVersionStageOutput{}, err
	}
	return nil, fmt.Errorf("no such call: %T", in)
}

// login logs in with a secret's value, by other code than the rotator's.
func login(ctx context.Context, db *dbtest.Server, value string) error {
	var v struct{ Username, Password, Dbname string }
	if err := json.Unmarshal([]byte(value), &v); err != nil {
		return err
	}
	switch db.Engine {
	case "postgres":
		cfg, err := pgx.ParseConfig("sslmode=verify-full sslrootcert=" + db.CAFile + " host=" + db.Host)
		if err != nil {
			return err
		}
		cfg.Port, cfg.User, cfg.Password, cfg.Database = uint16(db.Port), v.Username, v.Password, "postgres"
		conn, err := pgx.ConnectConfig(ctx, cfg)
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	case "mariadb":
		conn, err := db.MariaDBAs(v.Username, v.Password, v.Dbname)
		if err != nil {
			return err
		}
		defer conn.Close()
		return conn.PingContext(ctx)
	default:
		conn := db.RedisAs(v.Username, v.Password)
		defer conn.Close()
		return conn.Ping(ctx).Err()
	}
}

// password is the one in a secret's value.
func password(t testing.TB, value string) string {
	t.Helper()
	var v struct{ Password string }
	if err := json.Unmarshal([]byte(value), &v); err != nil {
		t.Fatal(err)
	}
	return v.Password
}

// member is a text in a secret's value.
func member(t testing.TB, value, name string) string {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(value), &v); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(v[name])
}

func errorType(err error) string {
	if e, ok := errors.AsType[*rotator.Error](err); ok {
		return e.Type
	}
	return fmt.Sprintf("%T", err)
}

func wantError(t testing.TB, err error, kind, contains string) {
	t.Helper()
	if errorType(err) != kind || !strings.Contains(err.Error(), contains) {
		t.Errorf("error %v, want %s with %q", err, kind, contains)
	}
}

func port(n int) string { return fmt.Sprintf(`"port":%d`, n) }
