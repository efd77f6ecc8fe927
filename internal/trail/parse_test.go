package trail_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"arca/internal/audit"
	"arca/internal/trail"
)

// reference reads a line with encoding/json. It is what Parse must agree with.
func reference(line []byte) (trail.Event, bool) {
	var members map[string]json.RawMessage
	if json.Unmarshal(line, &members) != nil || members == nil {
		return trail.Event{}, false
	}
	object := func(raw json.RawMessage) map[string]json.RawMessage {
		var m map[string]json.RawMessage
		_ = json.Unmarshal(raw, &m)
		return m
	}
	text := func(m map[string]json.RawMessage, name string) string {
		var s string
		_ = json.Unmarshal(m[name], &s)
		return s
	}
	at, err := time.Parse(time.RFC3339, text(members, "eventTime"))
	e := trail.Event{
		ID: text(members, "eventID"), Name: text(members, "eventName"), Source: text(members, "eventSource"),
		Region: text(members, "awsRegion"), Account: text(members, "recipientAccountId"),
		ErrorCode: text(members, "errorCode"), SourceIP: text(members, "sourceIPAddress"),
		ReadOnly: string(members["readOnly"]) == "true", Time: at.Truncate(time.Second).UTC(),
	}
	if err != nil || at.Unix() < 0 || e.ID == "" || e.Name == "" {
		return trail.Event{}, false
	}
	id := object(members["userIdentity"])
	e.Principal, e.AccessKeyID, e.UserName = text(id, "arn"), text(id, "accessKeyId"), text(id, "userName")
	if kind := text(id, "type"); kind == "AssumedRole" && strings.Contains(e.Principal, "/") {
		e.UserName = e.Principal[strings.LastIndex(e.Principal, "/")+1:]
	} else if kind == "Root" && e.UserName == "" {
		e.UserName = "root"
	}
	var listed []json.RawMessage
	_ = json.Unmarshal(members["resources"], &listed)
	for _, raw := range listed {
		if m := object(raw); text(m, "ARN") != "" {
			e.Resources = append(e.Resources, trail.Resource{Type: text(m, "type"), Name: text(m, "ARN")})
		}
	}
	add := func(kind, name string) {
		for _, r := range e.Resources {
			if r.Name == name {
				return
			}
		}
		if name != "" {
			e.Resources = append(e.Resources, trail.Resource{Type: kind, Name: name})
		}
	}
	in := object(members["requestParameters"])
	switch e.Source {
	case "secretsmanager.amazonaws.com":
		add("AWS::SecretsManager::Secret", text(in, "secretId"))
		if e.Name == "CreateSecret" {
			add("AWS::SecretsManager::Secret", text(in, "name"))
		}
		add("AWS::SecretsManager::Secret", text(object(members["responseElements"]), "arn"))
		add("AWS::SecretsManager::Secret", text(object(members["additionalEventData"]), "SecretId"))
	case "iam.amazonaws.com":
		add("AWS::IAM::User", text(in, "userName"))
		add("AWS::IAM::Role", text(in, "roleName"))
		add("AWS::IAM::Group", text(in, "groupName"))
		add("AWS::IAM::Policy", text(in, "policyArn"))
		add("AWS::IAM::Policy", text(in, "policyName"))
		add("AWS::IAM::AccessKey", text(in, "accessKeyId"))
	}
	return e, true
}

func compare(t interface {
	Helper()
	Fatalf(string, ...any)
}, line []byte) {
	t.Helper()
	got, err := trail.Parse(line)
	if !json.Valid(line) || !utf8.Valid(line) {
		return
	}
	want, ok := reference(line)
	if ok != (err == nil) {
		t.Fatalf("Parse(%q) = %v, want a record: %v", line, err, ok)
	}
	got.Raw = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("Parse(%q) (-want +got):\n%s", line, diff)
	}
}

var lines = []string{
	`{"eventTime":"2026-11-01T12:00:00Z","eventID":"1","eventName":"A"}`,
	`{"eventTime":"2026-02-29T12:00:00Z","eventID":"1","eventName":"A"}`,
	`{"eventTime":"2024-02-29T23:59:59Z","eventID":"1","eventName":"A"}`,
	`{"eventTime":"2026-11-01T12:00:00.5+01:00","eventID":"1","eventName":"A"}`,
	`{"eventTime":"2026-11-31T12:00:00Z","eventID":"1","eventName":"A"}`,
	` { "eventTime" : "2026-11-01T12:00:00Z" , "eventID" : "1" , "eventName" : "A" , "readOnly" : true } `,
	`{"eventTime":"2026-11-01T12:00:00Z","eventID":"1","eventName":"A","eventName":"B","resources":[1,{"ARN":"x"},{"type":"T","ARN":"y\u0041\""},{}]}`,
	`{"eventTime":"2026-11-01T12:00:00Z","eventID":"1","eventName":"A","eventSource":"iam.amazonaws.com","requestParameters":{"userName":"u","userName":5,"policyArn":"p","n":{"roleName":"x"}}}`,
	`{"eventTime":"2026-11-01T12:00:00Z","eventID":"1","eventName":"A","userIdentity":{"type":"AssumedRole","arn":"arn:aws:sts::1:assumed-role/r/s"},"userIdentity":null}`,
	`{"eventTime":"2026-11-01T12:00:00Z","eventID":"1","eventName":"\ud83d\ude00\\","userIdentity":{"type":"Root"}}`,
	`{"eventTime":"2026-11-01T12:00:00Z","eventID":"1","event\u004eame":"escaped"}`,
	`{"eventTime":"2026-11-01T12:00:00Z","eventID":"1","eventName":"A"} {}`,
	`{"eventTime":"2026-11-01T12:00:00Z","eventID":"1","eventName":{"a":"}"},"eventName":"A"}`,
	`[]`, `{}`, `"`, `{"a`, `{"a":`, `{"a":"\`, `{,}`, `{"a":]`, "{\"eventID\":\x00", `null`, ``,
}

func TestParse(t *testing.T) {
	for _, line := range lines {
		compare(t, []byte(line))
	}
	compare(t, event(5).AppendLine(nil, "n1"))
}

func FuzzParse(f *testing.F) {
	for _, line := range lines {
		f.Add([]byte(line))
	}
	f.Add(event(5).AppendLine(nil, "n1"))
	f.Fuzz(func(t *testing.T, line []byte) {
		compare(t, line)
		stripped := trail.WithoutOwn(line)
		if !json.Valid(line) {
			return
		}
		if !json.Valid(stripped) {
			t.Fatalf("WithoutOwn(%q) = %q is not JSON", line, stripped)
		}
		var before, after map[string]json.RawMessage
		if json.Unmarshal(line, &before) != nil {
			return
		}
		_ = json.Unmarshal(stripped, &after)
		delete(before, "arca")
		if len(before) != len(after) {
			t.Fatalf("WithoutOwn(%q) = %q", line, stripped)
		}
		for name, v := range before {
			if !bytes.Equal(v, after[name]) {
				t.Fatalf("WithoutOwn(%q) = %q", line, stripped)
			}
		}
	})
}

// TestParseOwnLines: of everything that package audit writes, whatever strangers sent.
func TestParseOwnLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := func(name string) string { return rapid.String().Draw(t, name) }
		one := func(name string, of ...string) string { return rapid.SampledFrom(of).Draw(t, name) }
		object := func(name string) []byte {
			m := rapid.MapOfN(rapid.SampledFrom([]string{"secretId", "name", "userName", "roleName", "policyArn", "arn", "SecretId", "x"}),
				rapid.String(), 0, 4).Draw(t, name)
			if len(m) == 0 {
				return nil
			}
			raw, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			return raw
		}
		r := audit.Record{
			EventID: text("id"), EventTime: time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "time"), 0), EventType: "AwsApiCall",
			EventSource: one("source", "secretsmanager.amazonaws.com", "iam.amazonaws.com", "kms.amazonaws.com"),
			EventName:   one("name", "CreateSecret", "GetSecretValue", ""),
			ReadOnly:    rapid.Bool().Draw(t, "read"), Region: text("region"), SourceIP: text("ip"), UserAgent: text("agent"),
			ErrorCode: text("code"), ErrorMessage: text("message"), RequestParameters: object("in"), ResponseElements: object("out"),
			AdditionalEventData: object("more"), RecipientAccountID: text("account"),
			Identity: audit.Identity{
				Type: one("type", "Root", "IAMUser", "AssumedRole", "AWSService"), ARN: text("arn"), UserName: text("user"), AccessKeyID: text("key"),
			},
		}
		for i := range rapid.IntRange(0, 3).Draw(t, "resources") {
			r.Resources = append(r.Resources, audit.Resource{Type: text(fmt.Sprint("kind", i)), ARN: text(fmt.Sprint("arn", i))})
		}
		compare(t, r.AppendLine(nil, "n1"))
	})
}

func TestWithoutOwn(t *testing.T) {
	for in, want := range map[string]string{
		`{"a":1,"arca":{"node":"n"}}`:          `{"a":1}`,
		`{"arca":{"node":"n"},"a":1}`:          `{"a":1}`,
		`{"arca":1,"arca":2,"a":1,"arca":3}`:   `{"a":1}`,
		`{"arca":1}`:                           `{}`,
		`{"a":{"arca":1},"b":"arca","c":[1]}`:  `{"a":{"arca":1},"b":"arca","c":[1]}`,
		`{"a":1,"arca":{"x":"}\""},"b":[2,3]}`: `{"a":1,"b":[2,3]}`,
		`not json`:                             `not json`,
	} {
		if got := string(trail.WithoutOwn([]byte(in))); got != want {
			t.Errorf("WithoutOwn(%s) = %s, want %s", in, got, want)
		}
	}
}
