package cloudtrail_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"

	"arca/conformance/identity"
)

// What one user did with one secret, found by each attribute.
func TestAttributes(t *testing.T) {
	k := identity.New(t, shared)
	a := account(k)
	user := a.User("reader", identity.Policy(identity.Statement{Effect: "Allow", Action: "secretsmanager:*", Resource: "*"}))
	name, arn := k.Secret(user.Caller, "db/password", "s3cret-value")
	if _, err := user.SM.GetSecretValue(k.Ctx(), &secretsmanager.GetSecretValueInput{SecretId: &arn}); err != nil {
		t.Fatal(err)
	}
	_, err := user.SM.GetSecretValue(k.Ctx(), &secretsmanager.GetSecretValueInput{SecretId: aws.String(name + "-missing")})
	if err == nil {
		t.Fatal("GetSecretValue of a secret that is not there succeeded")
	}
	c := client(a.Caller)
	events := lookup(t, c, by(types.LookupAttributeKeyUsername, user.Name), 3)
	var names []string
	for _, e := range events {
		names = append(names, aws.ToString(e.EventName))
	}
	if !slices.Equal(names, []string{"GetSecretValue", "GetSecretValue", "CreateSecret"}) {
		t.Fatalf("events of the user, newest first: %v", names)
	}
	read := events[1]
	if aws.ToString(read.EventSource) != "secretsmanager.amazonaws.com" || aws.ToString(read.ReadOnly) != "true" ||
		aws.ToString(read.AccessKeyId) != user.Key || aws.ToString(read.Username) != user.Name {
		t.Errorf("entry = %+v", read)
	}
	if since := time.Since(aws.ToTime(read.EventTime)); since < -time.Minute || since > time.Hour {
		t.Errorf("EventTime was %v ago", since)
	}
	r := record(t, read)
	if r["eventID"] != aws.ToString(read.EventId) || r["recipientAccountId"] != a.ID || r["awsRegion"] != a.Config.Region ||
		r["eventType"] != "AwsApiCall" || r["eventCategory"] != "Management" || r["managementEvent"] != true {
		t.Errorf("CloudTrailEvent = %s", aws.ToString(read.CloudTrailEvent))
	}
	for _, strange := range []string{"s3cret-value", `"arca"`} {
		if strings.Contains(aws.ToString(read.CloudTrailEvent), strange) {
			t.Errorf("CloudTrailEvent has %s: %s", strange, aws.ToString(read.CloudTrailEvent))
		}
	}
	if failed := record(t, events[0]); failed["errorCode"] != "ResourceNotFoundException" {
		t.Errorf("record of the failed call: %v", failed)
	}
	if made := events[2]; aws.ToString(made.ReadOnly) != "false" {
		t.Errorf("entry of CreateSecret = %+v", made)
	}
	holds := func(what string, in *cloudtrail.LookupEventsInput, id *string) {
		t.Helper()
		for _, e := range lookup(t, c, in, 1) {
			if aws.ToString(e.EventId) == aws.ToString(id) {
				return
			}
		}
		t.Errorf("the event is not found by %s", what)
	}
	holds("event id", by(types.LookupAttributeKeyEventId, aws.ToString(read.EventId)), read.EventId)
	holds("access key", by(types.LookupAttributeKeyAccessKeyId, user.Key), read.EventId)
	holds("resource name", by(types.LookupAttributeKeyResourceName, arn), read.EventId)
	if !shared.AWS { // where others write, too
		holds("event name", by(types.LookupAttributeKeyEventName, "GetSecretValue"), read.EventId)
		holds("event source", by(types.LookupAttributeKeyEventSource, "secretsmanager.amazonaws.com"), read.EventId)
		holds("reading", by(types.LookupAttributeKeyReadOnly, "true"), read.EventId)
		holds("writing", by(types.LookupAttributeKeyReadOnly, "false"), events[2].EventId)
		holds("resource type", by(types.LookupAttributeKeyResourceType, "AWS::SecretsManager::Secret"), read.EventId)
		holds("nothing", &cloudtrail.LookupEventsInput{}, read.EventId)
	}
	if got := lookup(t, c, by(types.LookupAttributeKeyUsername, user.Name+"-2"), 0); len(got) != 0 {
		t.Errorf("%d events of a user who is not there", len(got))
	}
}

func TestKeysAndSessions(t *testing.T) {
	k := identity.New(t, shared)
	a := account(k)
	role := a.Role("app", identity.Trust(a.Root()), identity.Policy(identity.Statement{Effect: "Allow", Action: "kms:*", Resource: "*"}))
	by1 := a.User("caller", identity.Policy(identity.Statement{Effect: "Allow", Action: "sts:AssumeRole", Resource: "*"}))
	session := k.Assume(by1.Caller, role, "i-"+k.Prefix+"1")
	key, err := kms.NewFromConfig(session.Config).CreateKey(k.Ctx(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	c := client(a.Caller)
	events := lookup(t, c, by(types.LookupAttributeKeyUsername, "i-"+k.Prefix+"1"), 1)
	if len(events) != 1 || aws.ToString(events[0].EventName) != "CreateKey" {
		t.Fatalf("events of the session: %+v", events)
	}
	want := types.Resource{ResourceType: aws.String("AWS::KMS::Key"), ResourceName: key.KeyMetadata.Arn}
	if !slices.ContainsFunc(events[0].Resources, func(r types.Resource) bool {
		return aws.ToString(r.ResourceType) == *want.ResourceType && aws.ToString(r.ResourceName) == *want.ResourceName
	}) {
		t.Errorf("resources = %+v, want the key", events[0].Resources)
	}
	if got := lookup(t, c, by(types.LookupAttributeKeyResourceName, *key.KeyMetadata.Arn), 1); len(got) != 1 {
		t.Errorf("%d events of the key, want 1", len(got))
	}
}

func TestPages(t *testing.T) {
	k := identity.New(t, shared)
	a := account(k)
	user := a.User("reader", identity.Policy(identity.Statement{Effect: "Allow", Action: "secretsmanager:*", Resource: "*"}))
	const reads = 11
	for range reads {
		if _, err := user.SM.ListSecrets(k.Ctx(), nil); err != nil {
			t.Fatal(err)
		}
	}
	c := client(a.Caller)
	in := by(types.LookupAttributeKeyUsername, user.Name)
	lookup(t, c, in, reads)
	in.MaxResults = aws.Int32(4)
	seen := map[string]bool{}
	pages := 0
	for p := cloudtrail.NewLookupEventsPaginator(c, in); p.HasMorePages(); pages++ {
		page, err := p.NextPage(k.Ctx())
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Events) > 4 {
			t.Errorf("page of %d events", len(page.Events))
		}
		for _, e := range page.Events {
			seen[aws.ToString(e.EventId)] = true
		}
	}
	if len(seen) != reads || pages < 3 {
		t.Errorf("%d events on %d pages, want %d on 3", len(seen), pages, reads)
	}
	first, err := c.LookupEvents(k.Ctx(), in)
	if err != nil || first.NextToken == nil {
		t.Fatalf("first page: %v, token %v", err, first.NextToken)
	}
	other := by(types.LookupAttributeKeyUsername, "somebody")
	other.NextToken = first.NextToken
	_, err = c.LookupEvents(k.Ctx(), other)
	wantCode(t, "token of another lookup", err, "InvalidNextTokenException")
	other.NextToken = aws.String("bm90IGEgdG9rZW4=")
	_, err = c.LookupEvents(k.Ctx(), other)
	wantCode(t, "a token that is none", err, "InvalidNextTokenException")
}

func TestTimes(t *testing.T) {
	k := identity.New(t, shared)
	a := account(k)
	user := a.User("reader", identity.Policy(identity.Statement{Effect: "Allow", Action: "secretsmanager:*", Resource: "*"}))
	k.Must(user.SM.ListSecrets(k.Ctx(), nil))
	c := client(a.Caller)
	at := aws.ToTime(lookup(t, c, by(types.LookupAttributeKeyUsername, user.Name), 1)[0].EventTime)
	for _, test := range []struct {
		name       string
		start, end time.Time
		want       int
	}{
		{"its second", at, at, 1},
		{"before", at.Add(-time.Hour), at.Add(-time.Second), 0},
		{"after", at.Add(time.Second), at.Add(time.Hour), 0},
		{"from long ago", at.Add(-80 * 24 * time.Hour), at.Add(time.Hour), 1},
	} {
		in := by(types.LookupAttributeKeyUsername, user.Name)
		in.StartTime, in.EndTime = &test.start, &test.end
		if got := lookup(t, c, in, 0); len(got) != test.want {
			t.Errorf("%s: %d events, want %d", test.name, len(got), test.want)
		}
	}
	in := by(types.LookupAttributeKeyUsername, user.Name)
	in.StartTime, in.EndTime = aws.Time(at.Add(time.Second)), &at
	_, err := c.LookupEvents(k.Ctx(), in)
	wantCode(t, "start after end", err, "InvalidTimeRangeException")
}

func TestRefusals(t *testing.T) {
	k := identity.New(t, shared)
	c := client(account(k).Caller)
	two := by(types.LookupAttributeKeyUsername, "a")
	two.LookupAttributes = append(two.LookupAttributes, by(types.LookupAttributeKeyEventName, "b").LookupAttributes...)
	_, err := c.LookupEvents(k.Ctx(), two)
	wantCode(t, "two attributes", err, "InvalidLookupAttributesException")
	_, err = c.LookupEvents(k.Ctx(), &cloudtrail.LookupEventsInput{MaxResults: aws.Int32(51)})
	wantCode(t, "too many results", err, "InvalidMaxResultsException")
	out, err := c.LookupEvents(k.Ctx(), &cloudtrail.LookupEventsInput{EventCategory: types.EventCategoryInsight})
	if err != nil || len(out.Events) != 0 {
		t.Errorf("Insights events = %v, %v, want none", out, err)
	}
}

func TestPermission(t *testing.T) {
	k := identity.New(t, shared)
	a := account(k)
	user := a.User("auditor")
	_, err := client(user.Caller).LookupEvents(k.Ctx(), &cloudtrail.LookupEventsInput{})
	wantCode(t, "lookup without permission", err, "AccessDeniedException")
	user.Allow(identity.Policy(identity.Statement{Effect: "Allow", Action: "cloudtrail:LookupEvents", Resource: "*"}))
	k.Settle()
	if _, err := client(user.Caller).LookupEvents(k.Ctx(), &cloudtrail.LookupEventsInput{}); err != nil {
		t.Errorf("lookup with permission: %v", err)
	}
}

// An account sees what is its own, and a region what happened there.
func TestBorders(t *testing.T) {
	k := identity.New(t, shared)
	k.Ours("it takes a second account")
	one, two := k.Other(), k.Other()
	k.Must(one.SM.ListSecrets(k.Ctx(), nil))
	mine := by(types.LookupAttributeKeyEventName, "ListSecrets")
	if got := lookup(t, client(one.Caller), mine, 1); len(got) != 1 {
		t.Errorf("%d events in the account, want 1", len(got))
	}
	if got := lookup(t, client(two.Caller), mine, 0); len(got) != 0 {
		t.Errorf("%d events in another account, want none", len(got))
	}
	elsewhere := client(one.Caller, func(o *cloudtrail.Options) { o.Region = "eu-central-1" })
	if got := lookup(t, elsewhere, mine, 0); len(got) != 0 {
		t.Errorf("%d events in another region, want none", len(got))
	}
	k.Must(one.IAM.ListUsers(k.Ctx(), nil))
	global := client(one.Caller, func(o *cloudtrail.Options) { o.Region = "us-east-1" })
	if got := lookup(t, global, by(types.LookupAttributeKeyEventSource, "iam.amazonaws.com"), 1); len(got) != 1 {
		t.Errorf("%d events of IAM in us-east-1, want 1", len(got))
	}
}

// Reading another account's secret shows in both histories.
func TestCrossAccount(t *testing.T) {
	k := identity.New(t, shared)
	k.Ours("it takes a second account")
	owner, reader := k.Other(), k.Other()
	key, err := kms.NewFromConfig(owner.Config).CreateKey(k.Ctx(), &kms.CreateKeyInput{
		Policy: aws.String(identity.Policy(identity.Statement{Effect: "Allow", Principal: identity.Principals(owner.Root(), reader.Root()), Action: "kms:*", Resource: "*"})),
	})
	if err != nil {
		t.Fatal(err)
	}
	made, err := owner.SM.CreateSecret(k.Ctx(), &secretsmanager.CreateSecretInput{
		Name: aws.String(k.Prefix + "shared"), SecretString: aws.String("v"), KmsKeyId: key.KeyMetadata.Arn,
	})
	if err != nil {
		t.Fatal(err)
	}
	policy := identity.Share("secretsmanager:GetSecretValue", reader.Root())
	k.Must(owner.SM.PutResourcePolicy(k.Ctx(), &secretsmanager.PutResourcePolicyInput{SecretId: made.ARN, ResourcePolicy: &policy}))
	k.Must(reader.SM.GetSecretValue(k.Ctx(), &secretsmanager.GetSecretValueInput{SecretId: made.ARN}))
	in := by(types.LookupAttributeKeyEventName, "GetSecretValue")
	theirs, ours := lookup(t, client(owner.Caller), in, 1), lookup(t, client(reader.Caller), in, 1)
	if len(theirs) != 1 || len(ours) != 1 {
		t.Fatalf("%d events for the owner, %d for the reader, want one each", len(theirs), len(ours))
	}
	if a, b := record(t, theirs[0]), record(t, ours[0]); a["sharedEventID"] == nil || a["sharedEventID"] != b["sharedEventID"] ||
		a["recipientAccountId"] != owner.ID || b["recipientAccountId"] != reader.ID {
		t.Errorf("owner's record %v, reader's %v", a, b)
	}
}

// Two lookups a second, for each account and region.
func TestThrottling(t *testing.T) {
	k := identity.New(t, shared)
	k.Ours("the other tests look up, too")
	a := k.Other()
	c := client(a.Caller, func(o *cloudtrail.Options) { o.Retryer = aws.NopRetryer{} })
	throttled := 0
	for range 6 {
		_, err := c.LookupEvents(k.Ctx(), &cloudtrail.LookupEventsInput{})
		if err == nil {
			continue
		}
		wantCode(t, "lookup", err, "ThrottlingException")
		throttled++
	}
	if throttled == 0 {
		t.Error("six lookups at once were all answered")
	}
}

func wantCode(t *testing.T, what string, err error, code string) {
	t.Helper()
	if e, ok := errors.AsType[smithy.APIError](err); !ok || e.ErrorCode() != code {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}
