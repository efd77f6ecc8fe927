package event_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"arca/internal/audit"
	"arca/internal/event"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// record is a denied read by a principal.
func record(id, principal string, at time.Time) *audit.Record {
	return &audit.Record{
		EventID: id, EventTime: at, EventType: "AwsApiCall", EventSource: "secretsmanager.amazonaws.com", EventName: "GetSecretValue",
		ReadOnly: true, Region: "eu-central-1", SourceIP: "192.0.2.7", UserAgent: "aws-cli", RequestID: "r-" + id,
		Identity:  audit.Identity{Type: "IAMUser", ARN: "arn:aws:iam::111111111111:user/" + principal, AccountID: "111111111111", UserName: principal},
		ErrorCode: "AccessDeniedException", ErrorMessage: "no",
		RequestParameters: []byte(`{"secretId":"prod/db"}`), RecipientAccountID: "111111111111",
	}
}

func line(id, principal string, at time.Time) []byte {
	return record(id, principal, at).AppendLine(nil, "n1")
}

func reads(count int, period time.Duration, change func(*event.Alarm)) event.Alarm {
	a := event.Alarm{Name: "a", Pattern: `{"detail":{"eventName":["GetSecretValue"]}}`, Count: count, Period: period, Targets: []string{"t"}}
	if change != nil {
		change(&a)
	}
	return a
}

// steps is a script: what happens at which second after noon, and what is told.
type step struct {
	at   float64
	do   string // line ID[@SECONDS] [PRINCIPAL], tick, caught-up, bad, raise, clear, restart
	want string // "ALARM group: ids", "OK group", several with "; "
}

func TestAlarms(t *testing.T) {
	byUser := func(a *event.Alarm) { a.GroupBy = "detail.userIdentity.userName" }
	cond, _ := event.Ready("disk-low")
	tests := []struct {
		name  string
		alarm event.Alarm
		steps []step
	}{
		{"third within a minute", reads(3, time.Minute, nil), []step{
			{0, "caught-up", ""}, {1, "line a", ""}, {20, "line b", ""}, {40, "line c", "ALARM : a b c"}, {41, "line d", ""},
			{100, "tick", ""}, {101, "tick", "OK : a b c d"}, {102, "tick", ""}}},
		{"too slow", reads(3, time.Minute, nil), []step{
			{0, "caught-up", ""}, {1, "line a", ""}, {40, "line b", ""}, {61, "line c", ""}, {99, "line d", "ALARM : a b c d"}}},
		{"ends only when the window is empty", reads(2, time.Minute, nil), []step{
			{0, "caught-up", ""}, {1, "line a", ""}, {2, "line b", "ALARM : a b"}, {50, "line c", ""}, {100, "tick", ""}, {110, "tick", "OK : a b c"}}},
		{"a late event ends it first", reads(1, time.Minute, nil), []step{
			{0, "caught-up", ""}, {1, "line a", "ALARM : a"}, {100, "line b", "OK : a; ALARM : b"}}},
		{"the same event twice counts once", reads(2, time.Minute, nil), []step{
			{0, "caught-up", ""}, {1, "line a", ""}, {2, "line a", ""}, {3, "line b", "ALARM : a b"}}},
		{"groups count by themselves", reads(2, time.Minute, byUser), []step{
			{0, "caught-up", ""}, {1, "line a alice", ""}, {2, "line b bob", ""}, {3, "line c alice", "ALARM alice: a c"},
			{4, "line d bob", "ALARM bob: b d"}, {63, "tick", "OK alice: a c"}, {64, "tick", "OK bob: b d"}}},
		{"out of order, within the slack", reads(2, time.Minute, nil), []step{
			{0, "caught-up", ""}, {100, "line a", ""}, {100, "line b@50", "ALARM : b a"}}},
		{"out of order, counted at their own time", reads(2, time.Minute, nil), []step{
			{0, "caught-up", ""}, {100, "line a", ""}, {100, "line b@30", ""}}},
		{"very late counts when it comes", reads(1, time.Minute, nil), []step{
			{0, "caught-up", ""}, {10000, "line a", "ALARM : a"}, {10061, "tick", "OK : a"}, {10070, "line b@5", "ALARM : b"}}},
		{"clock set back: what comes then still counts", reads(2, time.Minute, nil), []step{
			{0, "caught-up", ""}, {5000, "line a", ""}, {5001, "line b@1000", "ALARM : a b"}}},
		{"clock set back: time goes on", reads(2, time.Minute, nil), []step{
			{0, "caught-up", ""}, {5000, "line a", ""}, {5070, "tick", ""}, {5071, "line b@1000", ""}, {5072, "line c@1001", "ALARM : b c"}}},
		{"clock set forward ends, and raises nothing", reads(2, time.Minute, nil), []step{
			{0, "caught-up", ""}, {1, "line a", ""}, {2, "line b", "ALARM : a b"}, {3, "line c@9000", "OK : a b"}, {4, "tick", ""}, {5, "line d", "ALARM : c d"}}},
		{"a log that is read late counts as it would have", reads(2, time.Minute, nil), []step{
			{90000, "line a@1", ""}, {90000, "line b@100", ""}, {90000, "tick", ""}, {90000, "line c@200", ""}, {90000, "line d@210", "ALARM : c d"},
			{90001, "tick", ""}, {90001, "caught-up", "OK : c d"}}},
		{"what is no record is passed over", reads(1, time.Minute, nil), []step{{0, "caught-up", ""}, {1, "bad", ""}, {2, "line a", "ALARM : a"}}},
		{"repeats", reads(1, time.Minute, func(a *event.Alarm) { a.Repeat = 5 * time.Minute }), []step{
			{0, "caught-up", ""}, {0, "line a", "ALARM : a"}, {50, "line b", ""}, {100, "line c", ""}, {150, "line d", ""}, {200, "line e", ""}, {250, "line f", ""},
			{301, "tick", "ALARM : a b c d e f"}, {305, "tick", ""}, {370, "tick", "OK : a b c d e f"}}},
		{"conditions last until they are cleared", cond, []step{
			{0, "caught-up", ""}, {1, "raise", "ALARM : e1"}, {2, "raise", ""}, {90000, "tick", ""}, {90001, "clear", "OK : e1 e2"}, {90002, "clear", ""}}},
		{"survives a restart", reads(3, time.Minute, byUser), []step{
			{0, "caught-up", ""}, {1, "line a alice", ""}, {2, "line b alice", ""}, {2, "restart", ""}, {3, "line c alice", "ALARM alice: a b c"}, {4, "restart", ""},
			{5, "line d alice", ""}, {6, "caught-up", ""}, {66, "tick", "OK alice: a b c d"}}},
		{"an event of today moves nothing while old lines are read", reads(2, time.Minute, nil), []step{
			{90000, "line a@1", ""}, {90000, "raise", ""}, {90000, "line b@100", ""}, {90000, "line c@110", "ALARM : b c"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "alarms.json")
			c, err := event.NewCounting(path, 0, tt.alarm)
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for i, s := range tt.steps {
				now := noon.Add(time.Duration(s.at * float64(time.Second)))
				var got []event.Notice
				words := append(strings.Fields(s.do), "nobody", "nobody")
				switch words[0] {
				case "line":
					id, other, found := strings.Cut(words[1], "@")
					at := now
					if found {
						var secs int
						if _, err := fmt.Sscan(other, &secs); err != nil {
							t.Fatal(err)
						}
						at = noon.Add(time.Duration(secs) * time.Second)
					}
					got = c.Line(line(id, words[2], at), now)
				case "bad":
					got = c.Line([]byte(`{"x":`), now)
				case "tick":
					got = c.Tick(now, false)
				case "caught-up":
					got = c.Tick(now, true)
				case "raise", "clear":
					n++
					typ := map[string]string{"raise": "Disk Space Low", "clear": "Disk Space Recovered"}[words[0]]
					got = c.Event(event.Event{ID: fmt.Sprint("e", n), Source: "arca", DetailType: typ, Time: now}, now)
				case "restart":
					if err := c.Save(); err != nil {
						t.Fatal(err)
					}
					if c, err = event.NewCounting(path, 1000, tt.alarm); err != nil {
						t.Fatal(err)
					}
				}
				var text []string
				for _, n := range got {
					text = append(text, fmt.Sprintf("%s %s: %s", n.State, n.Group, strings.Join(n.IDs, " ")))
				}
				if got := strings.Join(text, "; "); got != s.want {
					t.Errorf("step %d, %s at %v: %q, want %q", i, s.do, s.at, got, s.want)
				}
			}
		})
	}
}

func TestNotification(t *testing.T) {
	a, _ := event.Ready("denied-reads")
	a.Count = 2
	c, err := event.NewCounting(filepath.Join(t.TempDir(), "a"), 0, a)
	if err != nil {
		t.Fatal(err)
	}
	c.Line(line("a", "eve", noon), noon)
	got := c.Line(line("b", "eve", noon.Add(time.Second)), noon)
	if len(got) != 1 {
		t.Fatalf("%d notices", len(got))
	}
	text, err := json.Marshal(got[0].Event)
	if err != nil {
		t.Fatal(err)
	}
	event1 := func(id, sec string) string {
		return `{"eventID":"` + id + `","eventTime":"2026-03-01T12:00:0` + sec + `Z","eventName":"GetSecretValue","principal":"arn:aws:iam::111111111111:user/eve",` +
			`"sourceIPAddress":"192.0.2.7","errorCode":"AccessDeniedException","resource":"prod/db"}`
	}
	want := `{"version":"0","id":"` + got[0].Event.ID + `","detail-type":"CloudWatch Alarm State Change","source":"aws.cloudwatch","account":"111111111111",` +
		`"time":"2026-03-01T12:00:01Z","region":"eu-central-1","resources":["arn:aws:cloudwatch:eu-central-1:111111111111:alarm:denied-reads"],` +
		`"detail":{"alarmName":"denied-reads","state":{"value":"ALARM","reason":"2 matched within 5m0s","timestamp":"2026-03-01T12:00:01Z"},` +
		`"previousState":{"value":"OK","timestamp":"2026-03-01T12:00:00Z"},` +
		`"configuration":{"description":"One principal was denied several reads of secrets within five minutes.","count":2,"periodSeconds":300,"groupBy":"detail.userIdentity.arn"},` +
		`"group":"arn:aws:iam::111111111111:user/eve","notification":1,"events":[` + event1("a", "0") + `,` + event1("b", "1") + `]}}`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("notification (-want +got):\n%s", diff)
	}
}

// TestSameChangeSameID: what is found again after a crash is the same notification.
func TestSameChangeSameID(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	run := func() []string {
		c, err := event.NewCounting(path, 0, reads(1, time.Minute, nil))
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, n := range append(c.Line(line("a", "x", noon), noon), c.Line(line("b", "x", noon.Add(time.Hour)), noon)...) {
			ids = append(ids, n.State+n.Event.ID)
		}
		return ids // without having saved anything
	}
	first, second := run(), run()
	if len(first) != 3 || first[0] == first[2] || first[0][5:] == first[1][2:] {
		t.Errorf("ids %q", first)
	}
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("ids after a crash (-first +second):\n%s", diff)
	}
}

// TestBounded: strangers that use ever new names do not make the counts grow.
func TestBounded(t *testing.T) {
	a := reads(50, 24*time.Hour, func(a *event.Alarm) { a.GroupBy = "detail.userIdentity.userName" })
	path := filepath.Join(t.TempDir(), "alarms.json")
	c, err := event.NewCounting(path, 0, a)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * event.MaxGroups {
		c.Line(line(fmt.Sprint(i), fmt.Sprint("user", i), noon.Add(time.Duration(i)*time.Millisecond)), noon)
	}
	if groups, matches := c.Kept(); groups != event.MaxGroups || matches != event.MaxGroups {
		t.Errorf("%d groups and %d matches, want %d", groups, matches, event.MaxGroups)
	}
	for i := range 2 * event.MaxMatches {
		c.Line(line(fmt.Sprint("x", i), fmt.Sprint("user", i%500), noon), noon)
	}
	if groups, matches := c.Kept(); matches > event.MaxMatches || groups == 0 {
		t.Errorf("%d groups and %d matches, want up to %d", groups, matches, event.MaxMatches)
	}
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	_, before := c.Kept()
	again, err := event.NewCounting(path, 0, a)
	if err != nil {
		t.Fatal(err)
	}
	if _, after := again.Kept(); after != before {
		t.Errorf("%d matches before a restart, %d after it", before, after)
	}
}

func TestBadAlarms(t *testing.T) {
	ok := reads(1, time.Minute, nil)
	for name, change := range map[string]func(*event.Alarm){
		"no name":       func(a *event.Alarm) { a.Name = "" },
		"name":          func(a *event.Alarm) { a.Name = "a/b" },
		"no pattern":    func(a *event.Alarm) { a.Pattern = "" },
		"count":         func(a *event.Alarm) { a.Count = 0 },
		"count, high":   func(a *event.Alarm) { a.Count = 1001 },
		"period":        func(a *event.Alarm) { a.Period = 0 },
		"period, long":  func(a *event.Alarm) { a.Period = 25 * time.Hour },
		"clear":         func(a *event.Alarm) { a.Clear = "{}" },
		"group":         func(a *event.Alarm) { a.GroupBy = "a..b" },
		"repeat":        func(a *event.Alarm) { a.Repeat = time.Second },
		"group, length": func(a *event.Alarm) { a.GroupBy = strings.Repeat("a", 600) },
	} {
		a := ok
		change(&a)
		if _, err := event.NewCounting(filepath.Join(t.TempDir(), "alarms.json"), 0, a); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestReadyAlarms: each takes the events that it is for, and leaves their neighbours.
func TestReadyAlarms(t *testing.T) {
	ev := func(change func(*audit.Record)) event.Event {
		r := record("a", "eve", noon)
		r.ErrorCode, r.ErrorMessage = "", ""
		change(r)
		text, err := event.FromLine(r.AppendLine(nil, "n1"))
		if err != nil {
			t.Fatal(err)
		}
		var env struct {
			DetailType string `json:"detail-type"`
			Source     string
			Detail     json.RawMessage
		}
		if err := json.Unmarshal(text, &env); err != nil {
			t.Fatal(err)
		}
		return event.Event{ID: "x", Time: noon, Source: env.Source, DetailType: env.DetailType, Detail: env.Detail}
	}
	arca := func(typ string) event.Event {
		return event.Event{ID: "x", Time: noon, Source: "arca", DetailType: typ}
	}
	rotation := func(name string) event.Event {
		return ev(func(r *audit.Record) {
			r.EventName, r.EventType, r.ReadOnly = name, "AwsServiceEvent", false
			r.AdditionalEventData = []byte(`{"SecretId":"arn:s"}`)
		})
	}
	config := func(state string) event.Event {
		return event.Event{ID: "x", Time: noon, Source: "aws.config", DetailType: "Config Rules Compliance Change",
			Detail: json.RawMessage(`{"configRuleName":"secretsmanager-scheduled-rotation-success-check","resourceId":"arn:s","newEvaluationResult":{"complianceType":"` + state + `"}}`)}
	}
	failed := func(code, text string) event.Event {
		return ev(func(r *audit.Record) { r.ErrorCode, r.ErrorMessage = code, text })
	}
	named := func(source, name string, readOnly bool, code string) event.Event {
		return ev(func(r *audit.Record) {
			r.EventSource, r.EventName, r.ReadOnly, r.ErrorCode = source+".amazonaws.com", name, readOnly, code
		})
	}
	all := map[string]event.Event{
		"denied":       failed("AccessDeniedException", "no"),
		"denied batch": named("secretsmanager", "BatchGetSecretValue", true, "AccessDenied"),
		"denied, owner's line": ev(func(r *audit.Record) {
			r.ErrorCode, r.Identity = "AccessDeniedException", audit.Identity{Type: "AWSAccount", AccountID: "222222222222", PrincipalID: "p"}
		}),
		"decoy, owner's line": ev(func(r *audit.Record) { r.Decoy, r.Identity.Type = true, "AWSAccount" }),
		"denied write":        named("secretsmanager", "PutSecretValue", false, "AccessDeniedException"),
		"read":                failed("", ""),
		"deleted":             failed("InvalidRequestException", "You can't perform this operation on the secret because it was marked for deletion."),
		"invalid":             failed("InvalidRequestException", "something else"),
		"undecryptable":       failed("DecryptionFailure", "x"),
		"root":                ev(func(r *audit.Record) { r.Identity.Type = "Root" }),
		"for root":            ev(func(r *audit.Record) { r.Identity.Type = "Root"; r.Identity.InvokedBy = "secretsmanager.amazonaws.com" }),
		"decoy":               ev(func(r *audit.Record) { r.Decoy = true }),
		"key disabled":        named("kms", "DisableKey", false, ""),
		"key listed":          named("kms", "ListKeys", true, ""),
		"key deleted":         named("kms", "ScheduleKeyDeletion", false, ""),
		"key, denied":         named("kms", "ScheduleKeyDeletion", false, "AccessDeniedException"),
		"policy put":          named("secretsmanager", "PutResourcePolicy", false, ""),
		"policy read":         named("secretsmanager", "GetResourcePolicy", true, ""),
		"policy denied":       named("iam", "PutUserPolicy", false, "AccessDenied"),
		"role policy":         named("iam", "AttachRolePolicy", false, ""),
		"trust":               named("iam", "UpdateAssumeRolePolicy", false, ""),
		"rot failed":          rotation("RotationFailed"), "rot ok": rotation("RotationSucceeded"),
		"overdue": config("NON_COMPLIANT"), "in time": config("COMPLIANT"),
		"failing": arca("Audit Log Failing"), "recovered": arca("Audit Log Recovered"),
		"lag": arca("Audit Lag"), "no lag": arca("Audit Lag Recovered"), "damaged": arca("Audit Log Damaged"),
		"disk": arca("Disk Space Low"), "no disk": arca("Disk Space Recovered"),
		"cert": arca("Certificate Expiring"), "new cert": arca("Certificate Renewed"),
	}
	raises := map[string]string{
		"denied-reads": "denied, denied batch", "read-of-deleted-secret": "deleted", "root-used": "root", "decoy-read": "decoy",
		"key-unusable-read": "undecryptable", "key-endangered": "key deleted, key disabled", "policy-changed": "policy put, role policy, trust",
		"rotation-failed": "rot failed", "rotation-overdue": "overdue", "audit-failing": "failing", "audit-lag": "lag", "audit-damaged": "damaged",
		"disk-low": "disk", "certificate-expiring": "cert",
	}
	clears := map[string]string{"rotation-failed": "rot ok", "rotation-overdue": "in time", "audit-failing": "recovered", "audit-lag": "no lag",
		"disk-low": "no disk", "certificate-expiring": "new cert"}
	for _, name := range event.ReadyNames() {
		a, ok := event.Ready(name)
		if !ok || a.Description == "" {
			t.Errorf("%s: no such alarm, or nothing to say", name)
		}
		for _, end := range []bool{false, true} {
			pattern, want := a.Pattern, raises[name]
			if end {
				pattern, want = a.Clear, clears[name]
			}
			if pattern == "" {
				if want != "" {
					t.Errorf("%s cannot be cleared", name)
				}
				continue
			}
			p, err := event.ParsePattern(pattern)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for what, e := range all {
				text, err := json.Marshal(e)
				if err != nil {
					t.Fatal(err)
				}
				if got, want := p.Match(text), strings.Contains(", "+want+",", ", "+what+","); got != want {
					t.Errorf("%s (end: %v) on %s = %v, want %v", name, end, what, got, want)
				}
			}
		}
		if _, err := event.NewCounting(filepath.Join(t.TempDir(), "alarms.json"), 0, a); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, ok := event.Ready("nonsense"); ok {
		t.Error("Ready(nonsense)")
	}
}

// TestWindowProperty: with events in order, an alarm is raised exactly when the last
// Count of them lie within Period and it was not raised before.
func TestWindowProperty(t *testing.T) {
	dir := t.TempDir()
	var n atomic.Int64
	rapid.Check(t, func(t *rapid.T) {
		count := rapid.IntRange(1, 6).Draw(t, "count")
		c, err := event.NewCounting(filepath.Join(dir, fmt.Sprint(n.Add(1))), 0, reads(count, time.Minute, nil))
		if err != nil {
			t.Fatal(err)
		}
		c.Tick(noon, true)
		at := noon
		var times []time.Time
		raised := false
		for i, gap := range rapid.SliceOfN(rapid.IntRange(0, 90), 1, 60).Draw(t, "gaps") {
			at = at.Add(time.Duration(gap) * time.Second)
			if raised && len(times) > 0 && at.Sub(times[len(times)-1]) >= time.Minute {
				raised = false
			}
			if len(times) > 0 && at.Sub(times[len(times)-1]) >= time.Minute {
				times = nil
			}
			times = append(times, at)
			want := !raised && len(times) >= count && at.Sub(times[len(times)-count]) < time.Minute
			raised = raised || want
			got := false
			for _, n := range c.Line(line(fmt.Sprint(i), "x", at), at) {
				got = got || n.State == "ALARM"
			}
			if got != want {
				t.Fatalf("event %d at %v: raised %v, want %v", i, at.Sub(noon), got, want)
			}
		}
	})
}
