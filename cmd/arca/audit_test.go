package main

import (
	"strings"
	"testing"
	"time"
)

func TestPointInTime(t *testing.T) {
	now := time.Date(2026, 3, 8, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"":                     {},
		"7d":                   now.AddDate(0, 0, -7),
		"1d12h":                now.Add(-36 * time.Hour),
		"90m":                  now.Add(-90 * time.Minute),
		"2026-03-01":           time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC),
		"2026-03-01T12:30:00Z": time.Date(2026, 3, 1, 12, 30, 0, 0, time.UTC),
	} {
		if got, err := pointInTime(text, now); err != nil || !got.Equal(want) {
			t.Errorf("pointInTime(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"yesterday", "-1h", "7", "2026-13-01", "2026-03-01 12:30"} {
		if got, err := pointInTime(text, now); err == nil {
			t.Errorf("pointInTime(%q) = %v, want an error", text, got)
		}
	}
}

func TestLineRange(t *testing.T) {
	for text, want := range map[string][2]uint64{"": {}, "0-0": {0, 1}, "5-9": {5, 10}, "7-": {7, 0}} {
		if from, to, err := lineRange(text); err != nil || from != want[0] || to != want[1] {
			t.Errorf("lineRange(%q) = %d, %d, %v, want %v", text, from, to, err, want)
		}
	}
	for _, text := range []string{"5", "-5", "9-5", "a-b", "1-2-3", "99999999999999999999-"} {
		if from, to, err := lineRange(text); err == nil {
			t.Errorf("lineRange(%q) = %d, %d, want an error", text, from, to)
		}
	}
}

// A row says who did what to what, whichever service the record is of; and nothing in a
// record steers the terminal.
func TestRecordColumns(t *testing.T) {
	for name, c := range map[string]struct{ record, want string }{
		"user": {
			`{"eventTime":"T","eventSource":"secretsmanager.amazonaws.com","eventName":"GetSecretValue","eventID":"1","sourceIPAddress":"10.0.0.1",
			  "userIdentity":{"type":"IAMUser","arn":"arn:aws:iam::123456789012:user/alice"},"requestParameters":{"secretId":"a"}}`,
			"T|123456789012:user/alice|secretsmanager:GetSecretValue|a|ok|10.0.0.1|1",
		},
		"role, by ARN of the resource": {
			`{"eventTime":"T","eventSource":"kms.amazonaws.com","eventName":"Decrypt","eventID":"1","errorCode":"AccessDenied","sourceIPAddress":"x",
			  "userIdentity":{"arn":"arn:aws:sts::123456789012:assumed-role/web/s1"},"requestParameters":{"keyId":"z"},
			  "resources":[{"ARN":"arn:aws:kms:us-east-1:123456789012:key/k1"}]}`,
			"T|123456789012:assumed-role/web/s1|kms:Decrypt|key/k1|AccessDenied|x|1",
		},
		"service": {
			`{"eventTime":"T","eventSource":"secretsmanager.amazonaws.com","eventName":"RotationFailed","eventID":"1","errorMessage":"no",
			  "sourceIPAddress":"secretsmanager.amazonaws.com","userIdentity":{"accountId":"1","invokedBy":"secretsmanager.amazonaws.com"},
			  "requestParameters":null,"additionalEventData":{"SecretId":"arn:aws:secretsmanager:us-east-1:1:secret:a-b"}}`,
			"T|secretsmanager.amazonaws.com|secretsmanager:RotationFailed|secret:a-b|failed|secretsmanager.amazonaws.com|1",
		},
		"nothing": {`{}`, "-|-|:|-|ok|-|-"},
		"hostile": {
			`{"eventTime":"T","eventSource":"s","eventName":"n\u001b[2J","eventID":"1\t2","userIdentity":{"arn":"a\u202eb"},"requestParameters":{"name":"x\ny"}}`,
			"T|a?b|s:n?[2J|x?y|ok|-|1 2",
		},
	} {
		r, err := parseRecord(&auditEvent{Record: c.record})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := strings.Join(r.columns(), "|"); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	if _, err := parseRecord(&auditEvent{Record: "{"}); err == nil {
		t.Error("half a record is one")
	}
}

// No name of a secret becomes a formula in a spreadsheet.
func TestInert(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "a/b": "a/b", "-1": "-1", "=1+1": "'=1+1", "+x": "'+x", "@x": "'@x", "-x": "'-x", "\tx": "'\tx",
	} {
		if got := inert(in); got != want {
			t.Errorf("inert(%q) = %q, want %q", in, got, want)
		}
	}
}

// The time of day at which an export begins does not decide what it writes.
func TestWholeDays(t *testing.T) {
	now := time.Date(2026, 3, 8, 1, 30, 0, 0, time.FixedZone("", 2*3600)) // the seventh in UTC
	for _, c := range [][2]string{
		{"7d", "2026-02-28"}, {"1h", "2026-03-07"}, {"2026-03-01T12:30:00Z", "2026-03-01T12:30:00Z"}, {"", ""}, {"x", "x"},
	} {
		f := auditFilter{since: c[0], until: c[0]}
		if got := f.wholeDays(now); got.since != c[1] || got.until != c[1] || f.since != c[0] {
			t.Errorf("wholeDays(%q) = %q, %q, want %q", c[0], got.since, got.until, c[1])
		}
	}
}
