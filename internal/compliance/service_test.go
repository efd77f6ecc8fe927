package compliance_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api"
	"arca/internal/api/kmsapi"
	"arca/internal/api/smapi"
	"arca/internal/audit"
	"arca/internal/audittest"
	"arca/internal/call"
	"arca/internal/compliance"
	"arca/internal/iam"
	"arca/internal/kms"
	"arca/internal/secrets"
	"arca/internal/store"
	"arca/internal/storetest"
)

const (
	account = "123456789012"
	other   = "210987654321"
	region  = "eu-west-1"
)

// bed is a server without its edge whose clock the test moves.
type bed struct {
	store      *store.Store
	secrets    *secrets.Service
	survey     *secrets.Survey
	rotations  *secrets.Rotations
	dispatcher *call.Dispatcher
	cfg        compliance.Config
	svc        *compliance.Service
	now        time.Time
	told       []string // changes since the test last looked
}

func newBed(t testing.TB) *bed {
	b := &bed{now: created}
	log := slog.New(slog.DiscardHandler)
	var keys *kms.Service
	b.store = storetest.New(t, func(st *store.Store) {
		principals := iam.New(st, time.Now)
		keys = kms.New(kms.Config{Store: st, IAM: principals, Logger: log})
		b.secrets = secrets.New(secrets.Config{
			Store: st, KMS: keys, IAM: principals, Logger: log,
			Function: func(context.Context, *call.Call, *store.Snap, string, string) error { return nil },
		})
		b.survey = secrets.NewSurvey(b.secrets)
	})
	lines := audittest.Open(t, audit.Config{Dir: filepath.Join(t.TempDir(), "audit"), Node: b.store.NodeID()})
	b.dispatcher = call.New(call.Config{
		Store: b.store, Log: lines, Logger: log,
		Authorize: func(context.Context, *call.Call, *call.Check) error { return nil },
	})
	b.secrets.Register(b.dispatcher)
	keys.Register(b.dispatcher)
	b.rotations = secrets.NewRotations(b.secrets, b.dispatcher)
	b.cfg = compliance.Config{
		Store: b.store, Survey: b.survey, Logger: log, File: filepath.Join(t.TempDir(), "folder", "states"),
		Changed: func(_ context.Context, c compliance.Change) error {
			b.told = append(b.told, fmt.Sprintf("%s: %s %v to %v", c.SecretName, strings.TrimPrefix(string(c.Rule), "secretsmanager-"), c.Old, c.New))
			return nil
		},
	}
	b.restart(t)
	return b
}

// restart is the life of a new process.
func (b *bed) restart(t testing.TB) {
	if b.svc != nil {
		if err := b.svc.Close(); err != nil {
			t.Fatal(err)
		}
	}
	b.svc = compliance.New(b.cfg)
	t.Cleanup(func() { _ = b.svc.Close() })
}

func do[Out any](t testing.TB, b *bed, op *api.Operation, in any, in2 ...string) *Out {
	t.Helper()
	as := account
	if len(in2) > 0 {
		as = in2[0]
	}
	c := &call.Call{
		Op: op, Now: b.now, Partition: "aws", Region: region, RequestID: "11111111-2222-3333-4444-555555555555",
		Caller: call.Principal{Type: call.Root, Account: as, ID: as, ARN: "arn:aws:iam::" + as + ":root"},
	}
	out, err := b.dispatcher.Do(t.Context(), c, in)
	if err != nil {
		t.Fatalf("%s: %v", op.Name, err)
	}
	typed, _ := out.(*Out)
	return typed
}

func token() *string { return new(rand.Text() + rand.Text()) }

func (b *bed) create(t testing.TB, name string, set ...func(*smapi.CreateSecretInput)) {
	t.Helper()
	value := api.SensitiveString("value")
	in := &smapi.CreateSecretInput{Name: name, ClientRequestToken: token(), SecretString: &value}
	for _, s := range set {
		s(in)
	}
	do[smapi.CreateSecretOutput](t, b, smapi.OpCreateSecret, in)
}

func (b *bed) rotate(t testing.TB, name string, days int64) {
	t.Helper()
	do[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, &smapi.RotateSecretInput{
		SecretId: name, ClientRequestToken: token(), RotationLambdaARN: new("arn:aws:lambda:eu-west-1:123456789012:function:f"),
		RotationRules: &smapi.RotationRulesType{AutomaticallyAfterDays: &days},
	})
}

func (b *bed) delete(t testing.TB, name string, force bool) {
	t.Helper()
	do[smapi.DeleteSecretOutput](t, b, smapi.OpDeleteSecret, &smapi.DeleteSecretInput{SecretId: name, ForceDeleteWithoutRecovery: &force})
}

func (b *bed) read(t testing.TB, name string) {
	t.Helper()
	do[smapi.GetSecretValueOutput](t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: name})
	if err := b.secrets.FlushAccess(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// steps takes as many steps as a walk over few secrets and what follows it need.
func (b *bed) steps(t testing.TB) {
	t.Helper()
	for range 2 {
		if err := b.svc.Step(t.Context(), b.now); err != nil {
			t.Fatal(err)
		}
	}
}

// expect takes steps and compares what they told.
func (b *bed) expect(t testing.TB, when string, want ...string) {
	t.Helper()
	b.steps(t)
	slices.Sort(want)
	slices.Sort(b.told)
	if diff := cmp.Diff(want, b.told); diff != "" {
		t.Errorf("%s: told (-want +got):\n%s", when, diff)
	}
	b.told = nil
}

// state is what the running service has counted, in the order of the rules, and what
// Results says of the only secret of the account.
func (b *bed) counts(t testing.TB, account string) (out []string) {
	t.Helper()
	counts, whole := b.svc.Counts(account)
	if !whole {
		t.Error("not every secret was looked at")
	}
	for _, r := range compliance.Rules() {
		out = append(out, fmt.Sprintf("%d %d %d", counts.Of(r, yes), counts.Of(r, no), counts.Of(r, neither)))
	}
	return out
}

func TestChanges(t *testing.T) {
	b := newBed(t)
	b.create(t, "old")
	b.expect(t, "the first pass tells nothing")

	b.create(t, "new")
	b.expect(t, "a new secret",
		"new: rotation-enabled-check UNKNOWN to NON_COMPLIANT", "new: secret-periodic-rotation UNKNOWN to COMPLIANT",
		"new: secret-unused UNKNOWN to COMPLIANT", "new: using-cmk UNKNOWN to NON_COMPLIANT")
	b.expect(t, "nothing happens")

	b.rotate(t, "old", 30)
	b.expect(t, "rotation is switched on",
		"old: rotation-enabled-check NON_COMPLIANT to COMPLIANT", "old: scheduled-rotation-success-check NOT_APPLICABLE to COMPLIANT")

	key := do[kmsapi.CreateKeyOutput](t, b, kmsapi.OpCreateKey, &kmsapi.CreateKeyInput{})
	do[struct{}](t, b, kmsapi.OpCreateAlias, &kmsapi.CreateAliasInput{AliasName: "alias/own", TargetKeyId: key.KeyMetadata.KeyId})
	do[smapi.UpdateSecretOutput](t, b, smapi.OpUpdateSecret, &smapi.UpdateSecretInput{SecretId: "old", KmsKeyId: new("alias/own")})
	b.expect(t, "a key of its own", "old: using-cmk NON_COMPLIANT to COMPLIANT")

	b.now = created.Add(35 * day)
	b.expect(t, "the window has passed", "old: scheduled-rotation-success-check COMPLIANT to NON_COMPLIANT")

	b.now = created.Add(80 * day)
	b.read(t, "new")
	b.expect(t, "read")
	b.now = created.Add(100 * day)
	b.expect(t, "only the time has passed",
		"old: secret-periodic-rotation COMPLIANT to NON_COMPLIANT", "new: secret-periodic-rotation COMPLIANT to NON_COMPLIANT",
		"old: secret-unused COMPLIANT to NON_COMPLIANT")
	b.read(t, "old")
	b.expect(t, "read at last", "old: secret-unused NON_COMPLIANT to COMPLIANT")

	if diff := cmp.Diff([]string{"1 1 0", "0 1 1", "0 2 0", "2 0 0", "1 1 0"}, b.counts(t, "")); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	b.delete(t, "old", false)
	b.expect(t, "scheduled for deletion",
		"old: rotation-enabled-check COMPLIANT to NOT_APPLICABLE", "old: scheduled-rotation-success-check NON_COMPLIANT to NOT_APPLICABLE",
		"old: secret-periodic-rotation NON_COMPLIANT to NOT_APPLICABLE", "old: secret-unused COMPLIANT to NOT_APPLICABLE",
		"old: using-cmk COMPLIANT to NOT_APPLICABLE")
	b.delete(t, "old", true)
	b.delete(t, "new", true)
	b.expect(t, "deleted")
	if diff := cmp.Diff([]string{"0 0 0", "0 0 0", "0 0 0", "0 0 0", "0 0 0"}, b.counts(t, "")); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	if n := b.svc.Due(); n != 0 {
		t.Errorf("%d secrets wait that are not there", n)
	}
}

// TestScheduledRotation: a rotation that the schedule began and that does not succeed is
// missed when its window ends, however often it is tried again, until a value is made.
func TestScheduledRotation(t *testing.T) {
	b := newBed(t)
	b.create(t, "s")
	b.rotate(t, "s", 10)
	// Nobody runs the function, so the first rotation is dropped and set up again.
	do[smapi.CancelRotateSecretOutput](t, b, smapi.OpCancelRotateSecret, &smapi.CancelRotateSecretInput{SecretId: "s"})
	d := do[smapi.DescribeSecretOutput](t, b, smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: "s"})
	for id, stages := range d.VersionIdsToStages {
		if slices.Contains(stages, "AWSPENDING") {
			do[smapi.UpdateSecretVersionStageOutput](t, b, smapi.OpUpdateSecretVersionStage, &smapi.UpdateSecretVersionStageInput{
				SecretId: "s", VersionStage: "AWSPENDING", RemoveFromVersionId: &id,
			})
		}
	}
	do[smapi.RotateSecretOutput](t, b, smapi.OpRotateSecret, &smapi.RotateSecretInput{SecretId: "s", ClientRequestToken: token(), RotateImmediately: new(false)})
	b.expect(t, "set up")
	next := do[smapi.DescribeSecretOutput](t, b, smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: "s"}).NextRotationDate

	b.now = next.Add(-time.Hour)
	if n, err := b.rotations.Begin(t.Context(), b.now, 10); n != 1 || err != nil {
		t.Fatalf("Begin = %d, %v", n, err)
	}
	b.expect(t, "begun within its window")
	b.now = next.Add(time.Second)
	b.expect(t, "its window has ended", "s: scheduled-rotation-success-check COMPLIANT to NON_COMPLIANT")
	b.now = next.Add(9*day + 23*time.Hour)
	if n, err := b.rotations.Begin(t.Context(), b.now, 10); n != 1 || err != nil {
		t.Fatalf("Begin = %d, %v", n, err)
	}
	b.expect(t, "begun once more")
	value := api.SensitiveString("by hand")
	do[smapi.PutSecretValueOutput](t, b, smapi.OpPutSecretValue, &smapi.PutSecretValueInput{SecretId: "s", ClientRequestToken: token(), SecretString: &value})
	b.expect(t, "a value by hand", "s: scheduled-rotation-success-check NON_COMPLIANT to COMPLIANT")
}

func TestRestart(t *testing.T) {
	b := newBed(t)
	b.create(t, "a")
	b.create(t, "b")
	b.expect(t, "the first pass")
	b.restart(t)
	b.expect(t, "a restart without a change")

	b.restart(t)
	b.now = b.now.Add(200 * day)
	b.create(t, "c")
	b.delete(t, "b", true)
	b.expect(t, "what has changed meanwhile",
		"a: secret-periodic-rotation COMPLIANT to NON_COMPLIANT", "a: secret-unused COMPLIANT to NON_COMPLIANT",
		"c: rotation-enabled-check UNKNOWN to NON_COMPLIANT", "c: secret-periodic-rotation UNKNOWN to COMPLIANT",
		"c: secret-unused UNKNOWN to COMPLIANT", "c: using-cmk UNKNOWN to NON_COMPLIANT")

	b.restart(t)
	b.cfg.Parameters.UnusedForDays = 300
	b.restart(t)
	b.expect(t, "another parameter", "a: secret-unused NON_COMPLIANT to COMPLIANT")

	raw, err := os.ReadFile(b.cfg.File)
	if err != nil {
		t.Fatal(err)
	}
	if told, whole, err := compliance.ReadTold(strings.NewReader(string(raw))); len(told) != 2 || !whole || err != nil {
		t.Errorf("the file holds %d secrets, whole %v, error %v", len(told), whole, err)
	}
	for name, content := range map[string][]byte{"torn": raw[:len(raw)-3], "another file": []byte("what is this"), "gone": nil} {
		if err := os.WriteFile(b.cfg.File, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if content == nil {
			if err := os.Remove(b.cfg.File); err != nil {
				t.Fatal(err)
			}
		}
		b.restart(t)
		b.steps(t)
		if name != "torn" && len(b.told) > 0 {
			t.Errorf("%s: a first look told %q", name, b.told)
		}
		b.told = nil
		b.restart(t)
		b.expect(t, "a restart after "+name)
	}
}

// TestFileFails: what cannot be put down is put down later, and nothing is told twice by
// the same process.
func TestFileFails(t *testing.T) {
	b := newBed(t)
	blocked := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b.cfg.File = filepath.Join(blocked, "states")
	b.restart(t)
	b.create(t, "a")
	if err := b.svc.Step(t.Context(), b.now); err == nil {
		t.Error("Step could write below a file")
	}
	b.rotate(t, "a", 30)
	for range 3 { // not tried again at once
		if err := b.svc.Step(t.Context(), b.now); err != nil {
			t.Errorf("Step = %v", err)
		}
	}
	if len(b.told) != 2 {
		t.Errorf("told %q, want the two changes of switching rotation on", b.told)
	}
	b.told = nil
	if err := os.Remove(blocked); err != nil {
		t.Fatal(err)
	}
	b.now = b.now.Add(2 * time.Minute)
	b.create(t, "b")
	b.steps(t)
	b.told = nil
	b.restart(t)
	b.expect(t, "all was put down at last")
}

// TestNobodyListens: a change that could not be told is told later, by the same process
// or the next one.
func TestNobodyListens(t *testing.T) {
	b := newBed(t)
	b.create(t, "a")
	b.expect(t, "the first pass")
	tell := b.cfg.Changed
	deaf := errors.New("nobody listens")
	var refuse bool
	b.cfg.Changed = func(ctx context.Context, c compliance.Change) error {
		if refuse {
			return deaf
		}
		return tell(ctx, c)
	}
	want := []string{"a: rotation-enabled-check NON_COMPLIANT to COMPLIANT", "a: scheduled-rotation-success-check NOT_APPLICABLE to COMPLIANT"}
	b.restart(t)
	b.expect(t, "a restart")
	refuse = true
	b.rotate(t, "a", 30)
	for range 2 {
		if err := b.svc.Step(t.Context(), b.now); !errors.Is(err, deaf) {
			t.Errorf("Step = %v, want %v", err, deaf)
		}
	}
	b.restart(t) // which no longer knows what it could not tell
	if err := b.svc.Step(t.Context(), b.now); !errors.Is(err, deaf) {
		t.Errorf("Step of the next process = %v, want %v", err, deaf)
	}
	refuse = false
	b.expect(t, "somebody listens again", want...)
	b.restart(t)
	b.expect(t, "another restart")
}

// TestClockBack: what the time has changed changes back with it.
func TestClockBack(t *testing.T) {
	b := newBed(t)
	b.create(t, "a")
	b.expect(t, "the first pass")
	b.now = created.Add(91 * day)
	b.expect(t, "later", "a: secret-periodic-rotation COMPLIANT to NON_COMPLIANT", "a: secret-unused COMPLIANT to NON_COMPLIANT")
	b.now = created
	b.expect(t, "earlier", "a: secret-periodic-rotation NON_COMPLIANT to COMPLIANT", "a: secret-unused NON_COMPLIANT to COMPLIANT")
}

func (b *bed) results(t testing.TB, q compliance.Query) (page compliance.Page, err error) {
	t.Helper()
	verr := b.store.View(t.Context(), func(v *store.Snap) error {
		page, err = b.svc.Results(v, b.now, q)
		return nil
	})
	if verr != nil {
		t.Fatal(verr)
	}
	return page, err
}

func TestResults(t *testing.T) {
	b := newBed(t)
	for _, name := range []string{"b", "a", "c/d"} {
		b.create(t, name)
	}
	value := api.SensitiveString("value")
	do[smapi.CreateSecretOutput](t, b, smapi.OpCreateSecret, &smapi.CreateSecretInput{Name: "x", ClientRequestToken: token(), SecretString: &value}, other)

	all := func(q compliance.Query) (out []string) {
		for {
			page, err := b.results(t, q)
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Results) > max(q.Max, 100) {
				t.Fatalf("a page of %d results", len(page.Results))
			}
			for _, r := range page.Results {
				out = append(out, r.SecretName+" "+strings.TrimPrefix(string(r.Rule), "secretsmanager-")+" "+r.State.String())
			}
			if q.After = page.Next; q.After == "" {
				return out
			}
		}
	}
	of := func(name string) []string {
		return []string{
			name + " rotation-enabled-check NON_COMPLIANT", name + " scheduled-rotation-success-check NOT_APPLICABLE",
			name + " secret-periodic-rotation COMPLIANT", name + " secret-unused COMPLIANT", name + " using-cmk NON_COMPLIANT",
		}
	}
	everything := slices.Concat(of("a"), of("b"), of("c/d"), of("x"))
	for n := 1; n <= 21; n++ {
		if diff := cmp.Diff(everything, all(compliance.Query{Max: n})); diff != "" {
			t.Errorf("pages of %d (-want +got):\n%s", n, diff)
		}
	}
	for _, tc := range []struct {
		name string
		q    compliance.Query
		want []string
	}{
		{"account", compliance.Query{Account: other}, of("x")},
		{"account and region", compliance.Query{Account: account, Region: region, Max: 4}, everything[:15]},
		{"no such account", compliance.Query{Account: "111111111111"}, nil},
		{"no such region", compliance.Query{Region: "eu-west-2"}, nil},
		{"rule and state", compliance.Query{Rule: compliance.UsingCMK, State: no, Max: 1},
			[]string{"a using-cmk NON_COMPLIANT", "b using-cmk NON_COMPLIANT", "c/d using-cmk NON_COMPLIANT", "x using-cmk NON_COMPLIANT"}},
		{"rule in the other state", compliance.Query{Rule: compliance.UsingCMK, State: yes}, nil},
	} {
		if diff := cmp.Diff(tc.want, all(tc.q)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}

	first, err := b.results(t, compliance.Query{Account: account, Max: 7})
	if err != nil || len(first.Results) != 7 || first.Next == "" {
		t.Fatalf("first page: %d results, next %q, %v", len(first.Results), first.Next, err)
	}
	if r := first.Results[0]; r.SecretARN == "" || r.Account != account || r.Region != region || r.Annotation != "Rotation is not enabled." {
		t.Errorf("result %+v", r)
	}
	b.delete(t, "b", true) // in whose middle the page ended
	second, err := b.results(t, compliance.Query{Account: account, After: first.Next})
	if err != nil || len(second.Results) != 5 || second.Results[0].SecretName != "c/d" {
		t.Errorf("the page after a secret that is gone: %+v, %v", second, err)
	}
	for _, bad := range []string{"x", "-1 x", "5 x", "9999999999999999999 x", "1"} {
		if _, err := b.results(t, compliance.Query{After: bad}); !errors.Is(err, compliance.ErrPlace) {
			t.Errorf("Results after %q: %v, want ErrPlace", bad, err)
		}
	}
}

func TestDetail(t *testing.T) {
	c := compliance.Change{
		Time: created, Rule: compliance.UsingCMK, Old: no, New: yes, Annotation: "why",
		SecretARN: "arn:aws:secretsmanager:eu-west-1:123456789012:secret:a-AbCdEf", SecretName: "a", Account: account, Region: region,
	}
	raw, err := c.Detail()
	if err != nil {
		t.Fatal(err)
	}
	const subject = `{"configRuleName":"secretsmanager-using-cmk","resourceType":"AWS::SecretsManager::Secret","resourceId":"arn:aws:secretsmanager:eu-west-1:123456789012:secret:a-AbCdEf"}`
	want := `{"resourceId":"arn:aws:secretsmanager:eu-west-1:123456789012:secret:a-AbCdEf","awsRegion":"eu-west-1","awsAccountId":"123456789012",` +
		`"configRuleName":"secretsmanager-using-cmk","recordVersion":"1.0","configRuleARN":"arn:aws:config:eu-west-1:123456789012:config-rule/config-rule-ID",` +
		`"messageType":"ComplianceChangeNotification","newEvaluationResult":{"evaluationResultIdentifier":{"evaluationResultQualifier":` + subject +
		`,"orderingTimestamp":"2026-03-01T15:04:05.000Z"},"complianceType":"COMPLIANT","resultRecordedTime":"2026-03-01T15:04:05.000Z",` +
		`"configRuleInvokedTime":"2026-03-01T15:04:05.000Z","annotation":"why"},"oldEvaluationResult":{"evaluationResultIdentifier":{"evaluationResultQualifier":` + subject +
		`},"complianceType":"NON_COMPLIANT"},"notificationCreationTime":"2026-03-01T15:04:05.000Z","resourceType":"AWS::SecretsManager::Secret"}`
	var got map[string]any
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	arn := got["configRuleARN"].(string)
	if len(arn) != len("arn:aws:config:eu-west-1:123456789012:config-rule/config-rule-abcdef") {
		t.Errorf("configRuleARN = %q", arn)
	}
	if diff := cmp.Diff(strings.Replace(want, "config-rule-ID", arn[strings.LastIndex(arn, "/")+1:], 1), string(raw)); diff != "" {
		t.Errorf("detail (-want +got):\n%s", diff)
	}
	c.Old = 0
	if raw, err = c.Detail(); err != nil || strings.Contains(string(raw), "oldEvaluationResult") {
		t.Errorf("detail of a new secret: %s, %v", raw, err)
	}
}
