// Package secretsmanager_test says what Secrets Manager answers, with clients that
// AWS publishes. Texts and fields are AWS's, letter for letter, wherever they are
// known; a case whose text is Arca's own checks the code only.
//
// Every test works on names of its own, so all of them run in parallel against one
// server, and against AWS (-target aws) beside whatever the account holds.
package secretsmanager_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"arca/conformance/target"
)

// shared is set once, before the tests.
var shared *target.Target

func TestMain(m *testing.M) {
	os.Exit(target.Main(m, func(t *target.Target) { shared = t }))
}

// Texts that several operations answer.
const (
	textNoSecret  = "Secrets Manager can't find the specified secret."
	textScheduled = "You can't perform this operation on the secret because it was marked for deletion."
	textBadName   = "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!"
	textNoToken   = "You must provide a ClientRequestToken value. We recommend a UUID-type value."
	textNoValue   = "You must provide either SecretString or SecretBinary."
)

// kit is what a test works with.
type kit struct {
	*secretsmanager.Client
	t *testing.T
	// prefix begins all names of the test and no others.
	prefix string
}

// newKit starts a parallel test.
func newKit(t *testing.T) *kit {
	t.Helper()
	t.Parallel()
	return &kit{Client: shared.Client(), t: t, prefix: "conformance/" + randomHex(6) + "/"}
}

// ours skips a test that AWS cannot run, or not at a price that is right.
func ours(t *testing.T, why string) {
	t.Helper()
	if shared.AWS {
		t.Skipf("not against AWS: %s", why)
	}
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails: it ends the program instead
	return hex.EncodeToString(b)
}

// token returns a ClientRequestToken that nobody used.
func token() string { return randomHex(16) }

func (k *kit) ctx() context.Context { return k.t.Context() }

// create makes a secret that is removed when the test ends.
func (k *kit) create(in *secretsmanager.CreateSecretInput) *secretsmanager.CreateSecretOutput {
	k.t.Helper()
	out, err := k.CreateSecret(k.ctx(), in)
	if err != nil {
		k.t.Fatalf("CreateSecret(%s): %v", aws.ToString(in.Name), err)
	}
	k.remove(aws.ToString(out.ARN))
	return out
}

// remove deletes a secret when the test ends, on targets that outlive it.
func (k *kit) remove(id string) {
	if shared.Server != nil {
		return
	}
	k.t.Cleanup(func() {
		_, _ = k.DeleteSecret(context.Background(), &secretsmanager.DeleteSecretInput{SecretId: &id, ForceDeleteWithoutRecovery: aws.Bool(true)})
	})
}

// secret makes a secret with a string value and returns its name and ARN.
func (k *kit) secret(name, value string) (fullName, arn string) {
	k.t.Helper()
	fullName = k.prefix + name
	out := k.create(&secretsmanager.CreateSecretInput{Name: &fullName, SecretString: &value})
	return fullName, aws.ToString(out.ARN)
}

// empty makes a secret without a value and returns its name.
func (k *kit) empty(name string) string {
	k.t.Helper()
	full := k.prefix + name
	k.create(&secretsmanager.CreateSecretInput{Name: &full})
	return full
}

// scheduled makes a secret that is scheduled for deletion and returns its name.
func (k *kit) scheduled(name string) string {
	k.t.Helper()
	full, _ := k.secret(name, "v")
	k.must(k.DeleteSecret(k.ctx(), &secretsmanager.DeleteSecretInput{SecretId: &full}))
	return full
}

// put adds a version and returns its id.
func (k *kit) put(id, value string, stages ...string) string {
	k.t.Helper()
	out, err := k.PutSecretValue(k.ctx(), &secretsmanager.PutSecretValueInput{SecretId: &id, SecretString: &value, VersionStages: stages})
	if err != nil {
		k.t.Fatalf("PutSecretValue(%s, %v): %v", id, stages, err)
	}
	return aws.ToString(out.VersionId)
}

// must ends the test when a call that has to succeed did not.
func (k *kit) must(_ any, err error) {
	k.t.Helper()
	if err != nil {
		k.t.Fatal(err)
	}
}

// labels returns the labels of every version that DescribeSecret shows, sorted,
// with the names that ids gives to version ids.
func (k *kit) labels(id string, ids map[string]string) map[string][]string {
	k.t.Helper()
	out, err := k.DescribeSecret(k.ctx(), &secretsmanager.DescribeSecretInput{SecretId: &id})
	if err != nil {
		k.t.Fatal(err)
	}
	got := map[string][]string{}
	for version, stages := range out.VersionIdsToStages {
		name := version
		if n, ok := ids[version]; ok {
			name = n
		}
		got[name] = slices.Sorted(slices.Values(stages))
	}
	return got
}

// wantLabels compares the labels of a secret. want lists them by version name.
func (k *kit) wantLabels(id string, ids map[string]string, want map[string][]string) {
	k.t.Helper()
	if diff := cmp.Diff(want, k.labels(id, ids)); diff != "" {
		k.t.Errorf("labels (-want +got):\n%s", diff)
	}
}

// value reads a value by label, or the current one for "".
func (k *kit) value(id, stage string) string {
	k.t.Helper()
	in := &secretsmanager.GetSecretValueInput{SecretId: &id}
	if stage != "" {
		in.VersionStage = &stage
	}
	out, err := k.GetSecretValue(k.ctx(), in)
	if err != nil {
		k.t.Fatalf("GetSecretValue(%s, %q): %v", id, stage, err)
	}
	return aws.ToString(out.SecretString)
}

// modelled is an error type of the service model.
type modelled interface {
	error
	ErrorCode() string
	ErrorMessage() string
}

// wantError checks that err is of the SDK's type E and has the text, unless that is
// empty: then it is not known which one AWS has.
func wantError[E modelled](t *testing.T, err error, text string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want %T: %s", *new(E), text)
		return
	}
	e, ok := errors.AsType[E](err)
	if !ok {
		t.Errorf("error = %v, want a %T: %s", err, *new(E), text)
		return
	}
	if got := e.ErrorMessage(); text != "" && got != text {
		t.Errorf("%s says\n\t%s\nwant\n\t%s", e.ErrorCode(), got, text)
	}
}

// wantCode is wantError for codes that no service model lists.
func wantCode(t *testing.T, err error, code, text string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want %s: %s", code, text)
		return
	}
	e, ok := errors.AsType[smithy.APIError](err)
	if !ok || e.ErrorCode() != code {
		t.Errorf("error = %v, want %s: %s", err, code, text)
		return
	}
	if got := e.ErrorMessage(); text != "" && got != text {
		t.Errorf("%s says\n\t%s\nwant\n\t%s", code, got, text)
	}
}

// wantInvalid checks for a broken constraint of the model.
func wantInvalid(t *testing.T, err error, text string) {
	t.Helper()
	wantCode(t, err, "ValidationException", "1 validation error detected: "+text)
}

// wantMembers checks which members a JSON object has.
func wantMembers(t *testing.T, object map[string]any, want ...string) {
	t.Helper()
	slices.Sort(want)
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(object))); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
}

// suffixOf returns what an ARN adds to the name: six characters after a hyphen.
func suffixOf(t *testing.T, arn, name string) string {
	t.Helper()
	_, suffix, ok := strings.Cut(arn, ":secret:"+name+"-")
	if !ok || len(suffix) != 6 {
		t.Fatalf("ARN %s does not end in the name %s, a hyphen and six characters", arn, name)
	}
	return suffix
}
