package admin_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"arca/internal/api"
	"arca/internal/api/arcaapi"
	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/merkle"
)

func newSecret(name string) *smapi.CreateSecretInput {
	return &smapi.CreateSecretInput{
		Name: name, SecretString: new(api.SensitiveString("x")), ClientRequestToken: new(strings.Repeat("0", 31) + name),
	}
}

// events are the names of the events that a search has found.
func events(t *testing.T, found []arcaapi.AuditEvent) string {
	t.Helper()
	var names []string
	for _, e := range found {
		var r struct{ EventName string }
		if err := json.Unmarshal([]byte(*e.Record), &r); err != nil {
			t.Fatal(err)
		}
		names = append(names, r.EventName)
	}
	return strings.Join(names, " ")
}

func (b *bed) search(t *testing.T, in arcaapi.SearchAuditLogInput) *arcaapi.SearchAuditLogOutput {
	t.Helper()
	return must[arcaapi.SearchAuditLogOutput](t, b, arcaapi.OpSearchAuditLog, &in, root)
}

// Everything about the log of all accounts is the management root's, whatever policies
// and guardrails say.
func TestAuditIsManagement(t *testing.T) {
	b := newBed(t, false)
	other := b.account(t, "other")
	powerful := b.user(t, root, "powerful", everything)
	for name, do := range map[string]func(p call.Principal) (any, error){
		"AcknowledgeAuditBreak": func(p call.Principal) (any, error) {
			return b.call(arcaapi.OpAcknowledgeAuditBreak, &arcaapi.AcknowledgeAuditBreakInput{Node: b.store.NodeID()}, p)
		},
		"DescribeAuditLog": func(p call.Principal) (any, error) {
			return b.call(arcaapi.OpDescribeAuditLog, &arcaapi.DescribeAuditLogInput{}, p)
		},
		"DescribeCompliance": func(p call.Principal) (any, error) {
			return b.call(arcaapi.OpDescribeCompliance, &arcaapi.DescribeComplianceInput{}, p)
		},
		"ProveAuditEvent": func(p call.Principal) (any, error) {
			return b.call(arcaapi.OpProveAuditEvent, &arcaapi.ProveAuditEventInput{EventId: "none"}, p)
		},
		"SearchAuditLog": func(p call.Principal) (any, error) {
			return b.call(arcaapi.OpSearchAuditLog, &arcaapi.SearchAuditLogInput{}, p)
		},
	} {
		for who, p := range map[string]call.Principal{"root of another account": other, "user with all rights": powerful} {
			if _, err := do(p); err == nil || !strings.Contains(err.Error(), "only the root of the management account may") {
				t.Errorf("%s by the %s = %v, want a refusal", name, who, err)
			}
		}
	}
}

func TestSearchAuditLog(t *testing.T) {
	b := newBed(t, false)
	other := b.account(t, "other")
	for _, name := range []string{"a", "b", "c"} {
		must[smapi.CreateSecretOutput](t, b, smapi.OpCreateSecret, newSecret(name), other)
	}
	got := b.search(t, arcaapi.SearchAuditLogInput{EventName: new("CreateSecret"), Resource: new("b")})
	if events(t, got.Events) != "CreateSecret" || !strings.Contains(*got.Events[0].Record, `"name":"b"`) || got.NextToken != nil {
		t.Errorf("search for b = %+v", got)
	}
	if e := got.Events[0]; *e.Node != b.store.NodeID() || *e.Line <= 0 {
		t.Errorf("it is line %d of node %s", *e.Line, *e.Node)
	}

	// Page by page it is the same as at once, and only the first page is recorded.
	all := b.search(t, arcaapi.SearchAuditLogInput{EventSource: new("secretsmanager.amazonaws.com")})
	before := strings.Count(readAll(t, b.logDir()), `"eventName":"SearchAuditLog"`)
	in := arcaapi.SearchAuditLogInput{EventSource: new("secretsmanager.amazonaws.com"), MaxResults: new(int32(1))}
	var found []arcaapi.AuditEvent
	for pages := 0; ; pages++ {
		out := b.search(t, in)
		found = append(found, out.Events...)
		if in.NextToken = out.NextToken; in.NextToken == nil {
			break
		}
		if pages > 10 {
			t.Fatal("the search does not end")
		}
	}
	if events(t, found) != events(t, all.Events) || events(t, found) != "CreateSecret CreateSecret CreateSecret" {
		t.Errorf("pages have %s, one page has %s", events(t, found), events(t, all.Events))
	}
	if n := strings.Count(readAll(t, b.logDir()), `"eventName":"SearchAuditLog"`); n != before+1 {
		t.Errorf("%d pages were recorded, want the first", n-before)
	}
	if oldest := b.search(t, arcaapi.SearchAuditLogInput{Resource: new("a"), OldestFirst: new(true)}); events(t, oldest.Events) != "CreateSecret" {
		t.Errorf("the oldest first: %s", events(t, oldest.Events))
	}
	// A boundary in time is exact.
	at := time.Now().Add(time.Hour).Truncate(time.Second)
	if out := b.search(t, arcaapi.SearchAuditLogInput{StartTime: &at}); len(out.Events) != 0 {
		t.Errorf("from in an hour on there is %s", events(t, out.Events))
	}

	for name, c := range map[string]struct {
		in   arcaapi.SearchAuditLogInput
		want string
	}{
		"invented token": {arcaapi.SearchAuditLogInput{NextToken: new("abc")}, "InvalidParameterException: The NextToken value is invalid."},
		"no network":     {arcaapi.SearchAuditLogInput{SourceIpAddress: new("10.0.0.0/99")}, `InvalidParameterException: The network "10.0.0.0/99" is not of the form 10.0.0.0/8.`},
		"both orders": {
			arcaapi.SearchAuditLogInput{Follow: new(true), OldestFirst: new(true)},
			"InvalidParameterException: Follow and OldestFirst cannot be used together.",
		},
	} {
		if got := b.refused(t, arcaapi.OpSearchAuditLog, &c.in, root); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// A token goes on with the search that it is of, and no other.
func TestSearchTokenIsBound(t *testing.T) {
	b := newBed(t, false)
	b.account(t, "other")
	b.account(t, "third")
	out := b.search(t, arcaapi.SearchAuditLogInput{EventName: new("CreateAccount"), MaxResults: new(int32(1))})
	if out.NextToken == nil {
		t.Fatal("there is no second page")
	}
	got := b.refused(t, arcaapi.OpSearchAuditLog, &arcaapi.SearchAuditLogInput{NextToken: out.NextToken}, root)
	if got != "InvalidParameterException: The NextToken value is invalid." {
		t.Errorf("with a wider search: %s", got)
	}
}

// Following shows the newest events, then each that comes, once and in order, and does not
// answer itself.
func TestFollowAuditLog(t *testing.T) {
	b := newBed(t, false)
	b.account(t, "one")
	b.account(t, "two")
	in := arcaapi.SearchAuditLogInput{Follow: new(true), EventName: new("CreateAccount"), MaxResults: new(int32(1))}
	out := b.search(t, in)
	if len(out.Events) != 1 || !strings.Contains(*out.Events[0].Record, `"two"`) || out.NextToken == nil {
		t.Fatalf("the newest event = %+v", out)
	}
	for range 3 {
		in.NextToken = out.NextToken
		if out = b.search(t, in); len(out.Events) != 0 || out.NextToken == nil {
			t.Fatalf("nothing happened, and yet %+v", out)
		}
	}
	b.account(t, "three")
	b.account(t, "four")
	for _, want := range []string{"three", "four", ""} {
		in.NextToken = out.NextToken
		out = b.search(t, in)
		if want == "" && len(out.Events) == 0 {
			continue
		}
		if len(out.Events) != 1 || !strings.Contains(*out.Events[0].Record, `"`+want+`"`) {
			t.Fatalf("the next event = %s, want the account %s", events(t, out.Events), want)
		}
	}
	// All of it has left one line, for the first call.
	if n := strings.Count(readAll(t, b.logDir()), `"eventName":"SearchAuditLog"`); n != 1 {
		t.Errorf("following has left %d lines, want 1", n)
	}
}

// Of a search that goes on for hours there is a line an hour.
func TestLongSearchIsRecordedAgain(t *testing.T) {
	b := newBed(t, true)
	in := arcaapi.SearchAuditLogInput{Follow: new(true)}
	for range 3 {
		in.NextToken = b.search(t, in).NextToken
	}
	if err := b.advance("61m"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		in.NextToken = b.search(t, in).NextToken
	}
	if n := strings.Count(readAll(t, b.logDir()), `"eventName":"SearchAuditLog"`); n != 2 {
		t.Errorf("%d lines, want 2", n)
	}
}

// The checkpoint that is given away is signed by the key that is, and kept in the database.
func TestDescribeAuditLog(t *testing.T) {
	b := newBed(t, false)
	b.account(t, "other")
	var out *arcaapi.DescribeAuditLogOutput
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		out = must[arcaapi.DescribeAuditLogOutput](t, b, arcaapi.OpDescribeAuditLog, &arcaapi.DescribeAuditLogInput{}, root)
		if *out.Checkpoint != "" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("there is no checkpoint")
		}
	}
	key, err := note.NewVerifier(*out.VerifierKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := merkle.OpenCheckpoint([]byte(*out.Checkpoint), key)
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Heads) != 1 {
		t.Fatalf("heads of %d nodes", len(out.Heads))
	}
	h := out.Heads[0]
	if c.Origin != *h.Origin || int64(c.Size) != *h.Size || string(c.Root[:]) != string(h.RootHash) || *h.Node != b.store.NodeID() || *out.Node != *h.Node {
		t.Errorf("checkpoint %+v, head %+v", c, h)
	}
	if *out.Directory != b.logDir() || *out.Size < *h.Size || len(h.Former) != 0 {
		t.Errorf("%+v", out)
	}
}

func TestAcknowledgeAuditBreak(t *testing.T) {
	b := newBed(t, false)
	in := &arcaapi.AcknowledgeAuditBreakInput{Node: b.store.NodeID(), Reason: new("looked into")}
	out := must[arcaapi.AcknowledgeAuditBreakOutput](t, b, arcaapi.OpAcknowledgeAuditBreak, in, root)
	if *out.Acknowledged != 0 {
		t.Errorf("%d acknowledged, and there was nothing", *out.Acknowledged)
	}
	if log := readAll(t, b.logDir()); !strings.Contains(log, `"reason":"looked into"`) {
		t.Error("the reason is not in the log")
	}
	got := b.refused(t, arcaapi.OpAcknowledgeAuditBreak, &arcaapi.AcknowledgeAuditBreakInput{Node: "none"}, root)
	if got != "NotFoundException: There is no node none." {
		t.Error(got)
	}
}

func TestDescribeCompliance(t *testing.T) {
	b := newBed(t, false)
	other := b.account(t, "other")
	for _, name := range []string{"a", "b"} {
		must[smapi.CreateSecretOutput](t, b, smapi.OpCreateSecret, newSecret(name), other)
	}
	ask := func(in arcaapi.DescribeComplianceInput) *arcaapi.DescribeComplianceOutput {
		t.Helper()
		return must[arcaapi.DescribeComplianceOutput](t, b, arcaapi.OpDescribeCompliance, &in, root)
	}
	out := ask(arcaapi.DescribeComplianceInput{RuleName: new("secretsmanager-rotation-enabled-check")})
	if len(out.Results) != 2 || len(out.Rules) != 1 || out.NextToken != nil {
		t.Fatalf("%+v", out)
	}
	r := out.Results[0]
	if *r.ComplianceType != "NON_COMPLIANT" || *r.ResourceName != "a" || *r.AccountId != other.Account ||
		*r.ResourceType != "AWS::SecretsManager::Secret" || !strings.HasPrefix(*r.ResourceId, "arn:aws:secretsmanager:us-east-1:"+other.Account+":secret:a-") {
		t.Errorf("%+v", r)
	}
	all := ask(arcaapi.DescribeComplianceInput{})
	if len(all.Results) != 10 || len(all.Rules) != 5 {
		t.Errorf("%d results of %d rules, want those of two secrets and five rules", len(all.Results), len(all.Rules))
	}
	// Page by page it is the same.
	in := arcaapi.DescribeComplianceInput{MaxResults: new(int32(3))}
	n := 0
	for {
		page := ask(in)
		n += len(page.Results)
		if in.NextToken = page.NextToken; in.NextToken == nil {
			break
		}
		if len(page.Results) == 0 || n > 10 {
			t.Fatal("the pages do not end")
		}
	}
	if n != 10 {
		t.Errorf("%d results page by page", n)
	}
	if bad := ask(arcaapi.DescribeComplianceInput{Account: new("other"), ComplianceType: new("NON_COMPLIANT")}); len(bad.Results) == 0 || len(bad.Results) == 10 {
		t.Errorf("%d results do not comply", len(bad.Results))
	}
	for name, c := range map[string]struct {
		in   arcaapi.DescribeComplianceInput
		want string
	}{
		"rule":    {arcaapi.DescribeComplianceInput{RuleName: new("none")}, "NotFoundException: There is no rule none."},
		"account": {arcaapi.DescribeComplianceInput{Account: new("none")}, "NotFoundException: There is no account none."},
		"state":   {arcaapi.DescribeComplianceInput{ComplianceType: new("FINE")}, "InvalidParameterException: ComplianceType is COMPLIANT, NON_COMPLIANT or NOT_APPLICABLE."},
		"token":   {arcaapi.DescribeComplianceInput{NextToken: new("abc")}, "InvalidParameterException: The NextToken value is invalid."},
	} {
		if got := b.refused(t, arcaapi.OpDescribeCompliance, &c.in, root); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
