package conformance_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// event is a line of the audit log as far as a reader of CloudTrail looks at it.
type event struct {
	EventVersion        string
	UserIdentity        map[string]any
	EventTime           time.Time
	EventSource         string
	EventName           string
	AwsRegion           string
	SourceIPAddress     string
	UserAgent           string
	ErrorCode           string
	ErrorMessage        string
	RequestParameters   map[string]any
	ResponseElements    map[string]any
	AdditionalEventData map[string]any
	RequestID           string
	EventID             string
	ReadOnly            bool
	EventType           string
	ManagementEvent     bool
	RecipientAccountID  string
	EventCategory       string
}

// auditLog reads all lines below a server's data folder.
func auditLog(t *testing.T, home string) []event {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(home, "data", "audit", "*", "*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no audit log below %s: %v", home, err)
	}
	var events []event
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		lines := bufio.NewReader(f)
		for {
			line, err := lines.ReadBytes('\n')
			if err == io.EOF {
				break // what has no end yet is not acknowledged either
			}
			if err != nil {
				t.Fatal(err)
			}
			var e event
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatalf("line %q: %v", line, err)
			}
			events = append(events, e)
		}
	}
	return events
}

// Every call leaves a record of CloudTrail's form, whether it was done or refused,
// and the record is there when the answer is.
func TestAuditLog(t *testing.T) {
	if shared.Server == nil {
		t.Skip("needs a server whose files it can read")
	}
	t.Parallel()
	server := shared.Server.Start(t)
	var requestIDs []string
	client := secretsmanager.New(server.Client().Options(), func(o *secretsmanager.Options) {
		o.RetryMaxAttempts = 1
		o.HTTPClient = headerReader{func(h http.Header) { requestIDs = append(requestIDs, h.Get("x-amzn-RequestId")) }}
		o.APIOptions = append(o.APIOptions, middleware.AddUserAgentKey("conformance"))
	})
	ctx := t.Context()
	name := aws.String("audited")
	type members = map[string]any
	token := strings.Repeat("t", 32)
	created, err := client.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: name, SecretString: aws.String("v"), ClientRequestToken: &token, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}})
	if err != nil {
		t.Fatal(err)
	}
	arn := aws.ToString(created.ARN)

	// What the answer to a change was, in part: which members AWS keeps is not known.
	for _, call := range []struct {
		name   string
		do     func() error
		params members
		code   string
		reads  bool
		more   []string // further records of the call, in any order
	}{
		{"GetSecretValue", func() error {
			_, err := client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: name, VersionStage: aws.String("AWSCURRENT")})
			return err
		}, members{"secretId": "audited", "versionStage": "AWSCURRENT"}, "", true, nil},
		{"GetSecretValue", func() error {
			_, err := client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String("none")})
			return err
		}, members{"secretId": "none"}, "ResourceNotFoundException", true, nil},
		{"PutSecretValue", func() error {
			_, err := client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: &arn, SecretBinary: []byte("w"), ClientRequestToken: aws.String(token + "2")})
			return err
		}, members{"secretId": arn, "clientRequestToken": token + "2"}, "", false, nil},
		{"PutSecretValue", func() error {
			_, err := client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: name, SecretString: aws.String("x"), ClientRequestToken: &token})
			return err
		}, members{"secretId": "audited", "clientRequestToken": token}, "ResourceExistsException", false, nil},
		{"TagResource", func() error {
			_, err := client.TagResource(ctx, &secretsmanager.TagResourceInput{SecretId: name, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}})
			return err
		}, members{"secretId": "audited", "tags": []any{members{"key": "a", "value": "b"}}}, "", false, nil},
		{"ListSecrets", func() error {
			_, err := client.ListSecrets(ctx, &secretsmanager.ListSecretsInput{Filters: []types.Filter{{Key: "name", Values: []string{"a"}}}})
			return err
		}, members{"filters": []any{members{"key": "name", "values": []any{"a"}}}}, "", true, nil},
		{"ListSecrets", func() error {
			_, err := client.ListSecrets(ctx, &secretsmanager.ListSecretsInput{})
			return err
		}, nil, "", true, nil},
		{"GetRandomPassword", func() error {
			_, err := client.GetRandomPassword(ctx, &secretsmanager.GetRandomPasswordInput{PasswordLength: aws.Int64(20)})
			return err
		}, members{"passwordLength": 20.0}, "", true, nil},
		{"BatchGetSecretValue", func() error {
			_, err := client.BatchGetSecretValue(ctx, &secretsmanager.BatchGetSecretValueInput{SecretIdList: []string{"audited", "none"}})
			return err
		}, members{"secretIdList": []any{"audited", "none"}}, "", true, []string{"GetSecretValue", "GetSecretValue"}},
		{"DeleteSecret", func() error {
			_, err := client.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: name, RecoveryWindowInDays: aws.Int64(7)})
			return err
		}, members{"secretId": "audited", "recoveryWindowInDays": 7.0}, "", false, []string{"StartSecretVersionDelete", "StartSecretVersionDelete"}},
		{"RestoreSecret", func() error {
			_, err := client.RestoreSecret(ctx, &secretsmanager.RestoreSecretInput{SecretId: name})
			return err
		}, members{"secretId": "audited"}, "", false, []string{"CancelSecretVersionDelete", "CancelSecretVersionDelete"}},
	} {
		before := len(auditLog(t, server.Home))
		if err := call.do(); (err != nil) != (call.code != "") {
			t.Fatalf("%s: %v", call.name, err)
		}
		events := auditLog(t, server.Home)[before:]
		var own []event
		var more []string
		for _, e := range events {
			if e.EventName == call.name && len(own) == 0 && e.RequestID == requestIDs[len(requestIDs)-1] {
				own = append(own, e)
				continue
			}
			more = append(more, e.EventName)
			if e.EventType == "AwsServiceEvent" {
				checkServiceEvent(t, e, arn)
			}
		}
		slices.Sort(more)
		if diff := cmp.Diff(call.more, more, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: further records (-want +got):\n%s", call.name, diff)
		}
		if len(own) != 1 {
			t.Errorf("%s: no record with the request id of the answer among %d", call.name, len(events))
			continue
		}
		e := own[0]
		checkCommon(t, e)
		if diff := cmp.Diff(call.params, e.RequestParameters); diff != "" {
			t.Errorf("%s: requestParameters (-want +got):\n%s", call.name, diff)
		}
		if e.ErrorCode != call.code || (e.ErrorMessage != "") != (call.code != "") || e.ReadOnly != call.reads {
			t.Errorf("%s: errorCode = %q, errorMessage = %q, readOnly = %v", call.name, e.ErrorCode, e.ErrorMessage, e.ReadOnly)
		}
		switch answered := e.ResponseElements; {
		case (call.reads || call.code != "" || call.name == "TagResource") && answered != nil:
			t.Errorf("%s: responseElements = %v, want null", call.name, answered)
		case !call.reads && call.code == "" && call.name != "TagResource" && answered["arn"] != arn:
			t.Errorf("%s: responseElements = %v, want the ARN in it", call.name, answered)
		}
	}

	ids := map[string]bool{}
	for _, e := range auditLog(t, server.Home) {
		if ids[e.EventID] {
			t.Errorf("event id %s comes twice", e.EventID)
		}
		ids[e.EventID] = true
	}
}

var uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// checkCommon checks the members that say who, when, whence and what.
func checkCommon(t *testing.T, e event) {
	t.Helper()
	got := event{
		EventSource: e.EventSource, AwsRegion: e.AwsRegion, SourceIPAddress: e.SourceIPAddress, EventType: e.EventType,
		ManagementEvent: e.ManagementEvent, RecipientAccountID: e.RecipientAccountID, EventCategory: e.EventCategory,
		UserIdentity: e.UserIdentity,
	}
	want := event{
		EventSource: "secretsmanager.amazonaws.com", AwsRegion: "us-east-1", SourceIPAddress: "127.0.0.1", EventType: "AwsApiCall",
		ManagementEvent: true, RecipientAccountID: "000000000000", EventCategory: "Management",
		UserIdentity: map[string]any{
			"type": "Root", "principalId": "000000000000", "arn": "arn:aws:iam::000000000000:root", "accountId": "000000000000", "accessKeyId": "test",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", e.EventName, diff)
	}
	if !strings.HasPrefix(e.EventVersion, "1.") || !uuid.MatchString(e.EventID) || !strings.Contains(e.UserAgent, "conformance") {
		t.Errorf("%s: eventVersion = %q, eventID = %q, userAgent = %q", e.EventName, e.EventVersion, e.EventID, e.UserAgent)
	}
	if age := time.Since(e.EventTime); age < -time.Minute || age > 5*time.Minute {
		t.Errorf("%s: eventTime = %v", e.EventName, e.EventTime)
	}
}

// checkServiceEvent checks a record of what nobody called for.
func checkServiceEvent(t *testing.T, e event, arn string) {
	t.Helper()
	if e.UserIdentity["invokedBy"] != "secretsmanager.amazonaws.com" || e.SourceIPAddress != "secretsmanager.amazonaws.com" ||
		e.UserAgent != "secretsmanager.amazonaws.com" || e.RequestParameters != nil || e.ResponseElements != nil || e.ReadOnly ||
		e.AdditionalEventData["SecretId"] != arn {
		t.Errorf("service event %+v", e)
	}
}

// headerReader is an HTTP client that shows the headers of answers.
type headerReader struct{ seen func(http.Header) }

func (c headerReader) Do(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultClient.Do(r)
	if err == nil {
		c.seen(resp.Header)
	}
	return resp, err
}
