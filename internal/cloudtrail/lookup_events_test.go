package cloudtrail_test

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api"
	"arca/internal/api/cloudtrailapi"
	"arca/internal/audit"
	"arca/internal/call"
	"arca/internal/iam"
)

func by(key, value string) cloudtrailapi.LookupEventsInput {
	return cloudtrailapi.LookupEventsInput{LookupAttributes: []cloudtrailapi.LookupAttribute{{AttributeKey: key, AttributeValue: value}}}
}

func TestAttributes(t *testing.T) {
	h := newHouse(t, -1)
	plain := h.write(t, nil)
	bob := h.write(t, func(r *audit.Record) { r.Identity.UserName, r.Identity.AccessKeyID = "bob", "AKIABOB" })
	key := "arn:aws:kms:eu-west-1:123456789012:key/k"
	kms := h.write(t, func(r *audit.Record) {
		r.EventSource, r.EventName, r.ReadOnly = "kms.amazonaws.com", "DisableKey", false
		r.Resources = []audit.Resource{{AccountID: account, Type: "AWS::KMS::Key", ARN: key}}
	})
	session := h.write(t, func(r *audit.Record) {
		r.Identity = audit.Identity{Type: "AssumedRole", ARN: "arn:aws:sts::123456789012:assumed-role/app/i-0abc", AccountID: account, AccessKeyID: "ASIA"}
	})
	service := h.write(t, func(r *audit.Record) {
		r.EventType, r.EventName, r.ReadOnly = "AwsServiceEvent", "RotationStarted", false
		r.Identity = audit.Identity{AccountID: account, InvokedBy: "secretsmanager.amazonaws.com"}
		r.RequestParameters, r.AdditionalEventData = nil, []byte(`{"SecretId":"arn:aws:secretsmanager:eu-west-1:123456789012:secret:a-AbCdEf"}`)
	})
	h.write(t, func(r *audit.Record) { r.RecipientAccountID = otherAccount })
	h.write(t, func(r *audit.Record) { r.Region = "us-east-1" })
	for _, test := range []struct {
		key, value string
		want       []string
	}{
		{"EventId", bob, []string{bob}},
		{"EventName", "GetSecretValue", []string{session, bob, plain}},
		{"EventName", "getsecretvalue", nil},
		{"ReadOnly", "true", []string{session, bob, plain}},
		{"ReadOnly", "false", []string{service, kms}},
		{"Username", "bob", []string{bob}},
		{"Username", "i-0abc", []string{session}},
		{"ResourceType", "AWS::KMS::Key", []string{kms}},
		{"ResourceType", "AWS::SecretsManager::Secret", []string{service, session, bob, plain}},
		{"ResourceName", key, []string{kms}},
		{"ResourceName", "db/password", []string{session, bob, plain}},
		{"EventSource", "kms.amazonaws.com", []string{kms}},
		{"AccessKeyId", "AKIABOB", []string{bob}},
		{"AccessKeyId", "AKIANOBODY", nil},
	} {
		want := append([]string{}, test.want...)
		if diff := cmp.Diff(want, h.ids(t, by(test.key, test.value))); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", test.key, test.value, diff)
		}
	}
	if diff := cmp.Diff([]string{service, session, kms, bob, plain}, h.ids(t, cloudtrailapi.LookupEventsInput{})); diff != "" {
		t.Errorf("without attribute (-want +got):\n%s", diff)
	}
	if got := h.ids(t, cloudtrailapi.LookupEventsInput{}, in("us-east-1")); len(got) != 1 {
		t.Errorf("in another region: %d events, want 1", len(got))
	}
	other := as(iam.RootPrincipal(otherAccount, "AKIA"+otherAccount))
	if got := h.ids(t, cloudtrailapi.LookupEventsInput{}, other); len(got) != 1 {
		t.Errorf("of another account: %d events, want 1", len(got))
	}
}

func TestEntry(t *testing.T) {
	h := newHouse(t, -1)
	id := h.write(t, func(r *audit.Record) {
		r.Changes = []audit.Change{{Table: "secret", Key: []byte("k"), Sequence: 1}}
	})
	input := by("EventId", id)
	out, err := h.lookup(&input)
	if err != nil || len(out.Events) != 1 {
		t.Fatalf("lookup = %v, %v, want one event", out, err)
	}
	got := out.Events[0]
	var record map[string]any
	if err := json.Unmarshal([]byte(*got.CloudTrailEvent), &record); err != nil {
		t.Fatal(err)
	}
	if record["arca"] != nil || record["eventID"] != id || record["eventVersion"] == nil {
		t.Errorf("CloudTrailEvent = %s, want the record without the member arca", *got.CloudTrailEvent)
	}
	got.CloudTrailEvent = nil
	want := cloudtrailapi.Event{
		EventId: &id, EventName: new("GetSecretValue"), ReadOnly: new("true"), AccessKeyId: new("AKIAALICE"),
		EventTime: new(start.Add(-time.Hour)), EventSource: new("secretsmanager.amazonaws.com"), Username: new("alice"),
		Resources: []cloudtrailapi.Resource{{ResourceType: new("AWS::SecretsManager::Secret"), ResourceName: new("db/password")}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entry (-want +got):\n%s", diff)
	}

	id = h.write(t, func(r *audit.Record) { r.RequestParameters = nil; r.Identity = audit.Identity{InvokedBy: "x"} })
	input = by("EventId", id)
	if out, err = h.lookup(&input); err != nil {
		t.Fatal(err)
	}
	if e := out.Events[0]; e.Resources == nil || len(e.Resources) != 0 || e.Username != nil || e.AccessKeyId != nil {
		t.Errorf("entry without user and resources = %+v, want an empty list and absent members", e)
	}
}

func TestPages(t *testing.T) {
	h := newHouse(t, -1)
	var want []string
	for range 120 {
		want = append(want, h.write(t, nil))
	}
	slices.Reverse(want)
	for _, size := range []int32{1, 7, 50} {
		in := by("Username", "alice")
		in.MaxResults = &size
		if diff := cmp.Diff(want, h.ids(t, in)); diff != "" {
			t.Errorf("pages of %d (-want +got):\n%s", size, diff)
		}
	}
	in := by("Username", "alice")
	out, err := h.lookup(&in)
	if err != nil || len(out.Events) != 50 || out.NextToken == nil {
		t.Fatalf("first page = %d events, %v, want 50 and a token", len(out.Events), err)
	}
	token := out.NextToken
	// A page of another size may follow, nothing else may differ.
	in.NextToken, in.MaxResults = token, new(int32(3))
	if out, err = h.lookup(&in); err != nil || len(out.Events) != 3 || *out.Events[0].EventId != want[50] {
		t.Errorf("second page = %v, %v, want three events", out, err)
	}
	for name, change := range map[string]func(in *cloudtrailapi.LookupEventsInput){
		"attribute":    func(in *cloudtrailapi.LookupEventsInput) { in.LookupAttributes[0].AttributeValue = "bob" },
		"no attribute": func(in *cloudtrailapi.LookupEventsInput) { in.LookupAttributes = nil },
		"start":        func(in *cloudtrailapi.LookupEventsInput) { in.StartTime = new(start.Add(-time.Minute)) },
		"end":          func(in *cloudtrailapi.LookupEventsInput) { in.EndTime = &start },
		"category":     func(in *cloudtrailapi.LookupEventsInput) { in.EventCategory = new("insight") },
		"garbage":      func(in *cloudtrailapi.LookupEventsInput) { in.NextToken = new("xyz") },
		"empty":        func(in *cloudtrailapi.LookupEventsInput) { in.NextToken = new("") },
		"long":         func(in *cloudtrailapi.LookupEventsInput) { in.NextToken = new(strings.Repeat("A", 64<<10)) },
	} {
		in := by("Username", "alice")
		in.NextToken = token
		change(&in)
		_, err := h.lookup(&in)
		refused(t, "token with another "+name, err, cloudtrailapi.InvalidNextTokenException)
	}
	in = by("Username", "alice")
	in.NextToken = token
	_, err = h.lookup(&in, as(iam.RootPrincipal(otherAccount, "AKIA"+otherAccount)))
	refused(t, "token of another account", err, cloudtrailapi.InvalidNextTokenException)
}

func TestTimes(t *testing.T) {
	h := newHouse(t, -1)
	day := 24 * time.Hour
	at := func(ago time.Duration) string {
		return h.write(t, func(r *audit.Record) { r.EventTime = start.Add(-ago) })
	}
	at(91 * day)
	old := at(89 * day)
	hour := at(time.Hour)
	now := at(0)
	for _, test := range []struct {
		name       string
		start, end *time.Time
		want       []string
	}{
		{"ninety days", nil, nil, []string{now, hour, old}},
		{"from before", new(start.Add(-200 * day)), nil, []string{now, hour, old}},
		{"both included", new(start.Add(-time.Hour)), new(start), []string{now, hour}},
		{"one moment", new(start.Add(-time.Hour)), new(start.Add(-time.Hour)), []string{hour}},
		{"until", nil, new(start.Add(-time.Minute)), []string{hour, old}},
		{"to come", new(start.Add(time.Hour)), nil, []string{}},
	} {
		in := by("Username", "alice")
		in.StartTime, in.EndTime = test.start, test.end
		if diff := cmp.Diff(test.want, h.ids(t, in)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestRefusals(t *testing.T) {
	h := newHouse(t, -1)
	for _, test := range []struct {
		name string
		in   cloudtrailapi.LookupEventsInput
		code *api.Code
	}{
		{"no results", cloudtrailapi.LookupEventsInput{MaxResults: new(int32(0))}, cloudtrailapi.InvalidMaxResultsException},
		{"too many results", cloudtrailapi.LookupEventsInput{MaxResults: new(int32(51))}, cloudtrailapi.InvalidMaxResultsException},
		{"another attribute", by("SourceIp", "1"), cloudtrailapi.ValidationException},
		{"empty value", by("Username", ""), cloudtrailapi.InvalidLookupAttributesException},
		{"long value", by("Username", strings.Repeat("x", 2001)), cloudtrailapi.InvalidLookupAttributesException},
		{"maybe read-only", by("ReadOnly", "maybe"), cloudtrailapi.InvalidLookupAttributesException},
		{"two attributes", cloudtrailapi.LookupEventsInput{LookupAttributes: append(by("Username", "a").LookupAttributes, by("EventName", "b").LookupAttributes...)},
			cloudtrailapi.InvalidLookupAttributesException},
		{"category", cloudtrailapi.LookupEventsInput{EventCategory: new("data")}, cloudtrailapi.ValidationException},
		{"start after end", cloudtrailapi.LookupEventsInput{StartTime: new(start), EndTime: new(start.Add(-1))}, cloudtrailapi.InvalidTimeRangeException},
		{"long ago", cloudtrailapi.LookupEventsInput{EndTime: new(start.Add(-100 * 24 * time.Hour))}, cloudtrailapi.InvalidTimeRangeException},
	} {
		_, err := h.lookup(&test.in)
		refused(t, test.name, err, test.code)
	}
	out, err := h.lookup(&cloudtrailapi.LookupEventsInput{EventCategory: new("insight")})
	if err != nil || out.Events == nil || len(out.Events) != 0 {
		t.Errorf("insight events = %v, %v, want none", out, err)
	}
}

// TestPermission: who may not look events up learns nothing, not even that his
// request is wrong.
func TestPermission(t *testing.T) {
	h := newHouse(t, -1)
	h.write(t, nil)
	user := call.Principal{
		Type: call.IAMUser, Account: account, ID: "AIDAX", UniqueID: "AIDAX", ARN: "arn:aws:iam::" + account + ":user/carol", UserName: "carol",
	}
	for _, in := range []cloudtrailapi.LookupEventsInput{{}, {MaxResults: new(int32(51))}} {
		_, err := h.lookup(&in, as(user))
		if aerr, ok := errors.AsType[*api.Error](err); !ok || aerr.Code != api.AccessDeniedException {
			t.Errorf("lookup without permission = %v, want AccessDeniedException", err)
		}
	}
}

func TestThrottling(t *testing.T) {
	h := newHouse(t, 0)
	throttled := 0
	for range 5 {
		_, err := h.lookup(&cloudtrailapi.LookupEventsInput{})
		if aerr, ok := errors.AsType[*api.Error](err); ok && aerr.Code == api.ThrottlingException {
			throttled++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if throttled < 2 {
		t.Errorf("%d of five lookups at once were throttled, want three or, on a slow machine, two", throttled)
	}
	if _, err := h.lookup(&cloudtrailapi.LookupEventsInput{}, in("us-east-1")); err != nil {
		t.Errorf("lookup in another region = %v, want no error", err)
	}
	if _, err := h.lookup(&cloudtrailapi.LookupEventsInput{}, as(iam.RootPrincipal(otherAccount, "AKIA"+otherAccount))); err != nil {
		t.Errorf("lookup in another account = %v, want no error", err)
	}
}

// TestUnreadable: a log that cannot be read is the server's failure, and its text is not
// for clients.
func TestUnreadable(t *testing.T) {
	h := newHouse(t, -1)
	h.write(t, nil)
	if err := os.Rename(h.dir, h.dir+".away"); err != nil {
		t.Fatal(err)
	}
	_, err := h.lookup(&cloudtrailapi.LookupEventsInput{})
	refused(t, "lookup without log", err, cloudtrailapi.InternalFailure)
}

// TestAtOnce: many lookups at a time are all served, each in its turn.
func TestAtOnce(t *testing.T) {
	h := newHouse(t, -1)
	h.write(t, nil)
	var running sync.WaitGroup
	for range 40 {
		running.Go(func() {
			if out, err := h.lookup(new(by("Username", "alice"))); err != nil || len(out.Events) != 1 {
				t.Errorf("lookup: %v, %v", out, err)
			}
		})
	}
	running.Wait()
}
