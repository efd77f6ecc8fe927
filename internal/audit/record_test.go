package audit_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"arca/internal/audit"
)

// record is a GetSecretValue of ordinary size.
func record(id string) *audit.Record {
	return &audit.Record{
		EventID:     id,
		EventTime:   time.Date(2026, 3, 4, 5, 6, 7, 890, time.FixedZone("", 3600)),
		EventType:   "AwsApiCall",
		EventSource: "secretsmanager.amazonaws.com",
		EventName:   "GetSecretValue",
		ReadOnly:    true,
		Region:      "eu-central-1",
		SourceIP:    "192.0.2.7",
		UserAgent:   "Boto3/1.40.1 md/Botocore#1.40.1 ua/2.1 os/linux#6.1 lang/python#3.13",
		Identity: audit.Identity{
			Type: "IAMUser", PrincipalID: "AIDAEXAMPLE", ARN: "arn:aws:iam::123456789012:user/ada",
			AccountID: "123456789012", AccessKeyID: "AKIAEXAMPLE", UserName: "ada",
		},
		RequestID:          "5f0e3d3a-7a52-4f0a-9a55-d3f5b1a0c001",
		RequestParameters:  []byte(`{"secretId":"prod/db","versionStage":"AWSCURRENT"}`),
		RecipientAccountID: "123456789012",
		TLS:                &audit.TLSDetails{Version: "TLSv1.3", CipherSuite: "TLS_AES_128_GCM_SHA256", ClientProvidedHostHeader: "arca.example:4566"},
	}
}

func TestAppendLine(t *testing.T) {
	const (
		identity = `"userIdentity":{"type":"IAMUser","principalId":"AIDAEXAMPLE","arn":"arn:aws:iam::123456789012:user/ada","accountId":"123456789012","accessKeyId":"AKIAEXAMPLE","userName":"ada"}`
		agent    = `"sourceIPAddress":"192.0.2.7","userAgent":"Boto3/1.40.1 md/Botocore#1.40.1 ua/2.1 os/linux#6.1 lang/python#3.13"`
		tls      = `"tlsDetails":{"tlsVersion":"TLSv1.3","cipherSuite":"TLS_AES_128_GCM_SHA256","clientProvidedHostHeader":"arca.example:4566"}`
	)
	tests := []struct {
		name string
		rec  func(r *audit.Record)
		want string
	}{
		{"read", func(r *audit.Record) {},
			`{"eventVersion":"1.11",` + identity + `,"eventTime":"2026-03-04T04:06:07Z","eventSource":"secretsmanager.amazonaws.com","eventName":"GetSecretValue","awsRegion":"eu-central-1",` + agent +
				`,"requestParameters":{"secretId":"prod/db","versionStage":"AWSCURRENT"},"responseElements":null,"requestID":"5f0e3d3a-7a52-4f0a-9a55-d3f5b1a0c001","eventID":"id-1","readOnly":true,` +
				`"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"123456789012","eventCategory":"Management",` + tls + `,"arca":{"node":"n1"}}`},
		{"denied, without TLS", func(r *audit.Record) {
			r.TLS = nil
			r.ErrorCode, r.ErrorMessage = "AccessDenied", "User: x is not authorized"
		},
			`{"eventVersion":"1.11",` + identity + `,"eventTime":"2026-03-04T04:06:07Z","eventSource":"secretsmanager.amazonaws.com","eventName":"GetSecretValue","awsRegion":"eu-central-1",` + agent +
				`,"errorCode":"AccessDenied","errorMessage":"User: x is not authorized","requestParameters":{"secretId":"prod/db","versionStage":"AWSCURRENT"},"responseElements":null,"requestID":"5f0e3d3a-7a52-4f0a-9a55-d3f5b1a0c001","eventID":"id-1","readOnly":true,` +
				`"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"123456789012","eventCategory":"Management","arca":{"node":"n1"}}`},
		{"denied session of a role", func(r *audit.Record) {
			r.TLS = nil
			r.ErrorCode, r.ErrorMessage = "AccessDeniedException", "User: x is not authorized"
			r.Identity = audit.Identity{
				Type: "AssumedRole", PrincipalID: "AROAEXAMPLE:ci", ARN: "arn:aws:sts::123456789012:assumed-role/deploy/ci",
				AccountID: "123456789012", AccessKeyID: "ASIAEXAMPLE",
				Session: &audit.SessionContext{
					IssuerType: "Role", IssuerID: "AROAEXAMPLE", IssuerARN: "arn:aws:iam::123456789012:role/deploy",
					IssuerAccount: "123456789012", IssuerName: "deploy", Created: r.EventTime, SourceIdentity: "ada",
					Provider: "arn:aws:iam::123456789012:oidc-provider/issuer.example",
				},
			}
			r.Denial = &audit.Denial{
				Action: "secretsmanager:GetSecretValue", Resource: "arn:x", Reason: "with an explicit deny in an identity-based policy",
				Policy: "inline policy p of role deploy", Statement: "NoSecrets",
			}
		},
			`{"eventVersion":"1.11","userIdentity":{"type":"AssumedRole","principalId":"AROAEXAMPLE:ci","arn":"arn:aws:sts::123456789012:assumed-role/deploy/ci","accountId":"123456789012","accessKeyId":"ASIAEXAMPLE",` +
				`"sessionContext":{"sessionIssuer":{"type":"Role","principalId":"AROAEXAMPLE","arn":"arn:aws:iam::123456789012:role/deploy","accountId":"123456789012","userName":"deploy"},` +
				`"webIdFederationData":{"federatedProvider":"arn:aws:iam::123456789012:oidc-provider/issuer.example","attributes":{}},` +
				`"attributes":{"creationDate":"2026-03-04T04:06:07Z","mfaAuthenticated":"false"},"sourceIdentity":"ada"}},` +
				`"eventTime":"2026-03-04T04:06:07Z","eventSource":"secretsmanager.amazonaws.com","eventName":"GetSecretValue","awsRegion":"eu-central-1",` + agent +
				`,"errorCode":"AccessDeniedException","errorMessage":"User: x is not authorized","requestParameters":{"secretId":"prod/db","versionStage":"AWSCURRENT"},"responseElements":null,"requestID":"5f0e3d3a-7a52-4f0a-9a55-d3f5b1a0c001","eventID":"id-1","readOnly":true,` +
				`"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"123456789012","eventCategory":"Management",` +
				`"arca":{"node":"n1","denied":{"action":"secretsmanager:GetSecretValue","resource":"arn:x","reason":"with an explicit deny in an identity-based policy","policy":"inline policy p of role deploy","statement":"NoSecrets"}}}`},
		{"session without a role", func(r *audit.Record) {
			r.TLS, r.RequestParameters = nil, nil
			r.Identity.Session = &audit.SessionContext{Created: r.EventTime}
		},
			`{"eventVersion":"1.11",` + strings.TrimSuffix(identity, "}") + `,"sessionContext":{"attributes":{"creationDate":"2026-03-04T04:06:07Z","mfaAuthenticated":"false"}}},` +
				`"eventTime":"2026-03-04T04:06:07Z","eventSource":"secretsmanager.amazonaws.com","eventName":"GetSecretValue","awsRegion":"eu-central-1",` + agent +
				`,"requestParameters":null,"responseElements":null,"requestID":"5f0e3d3a-7a52-4f0a-9a55-d3f5b1a0c001","eventID":"id-1","readOnly":true,` +
				`"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"123456789012","eventCategory":"Management","arca":{"node":"n1"}}`},
		{"change", func(r *audit.Record) {
			r.TLS = nil
			r.EventName, r.ReadOnly = "CreateSecret", false
			r.RequestParameters = []byte("{\n \"name\": \"a b\"\n}")
			r.ResponseElements = []byte(`{"arn":"arn:x"}`)
			r.Resources = []audit.Resource{{AccountID: "123456789012", Type: "AWS::SecretsManager::Secret", ARN: "arn:x"}, {ARN: "arn:y"}}
			r.Changes = []audit.Change{
				{Table: "secrets", Key: []byte{0xab, 0x01}, Sequence: 7, SHA256: [32]byte{1, 2, 31: 0xff}},
				{Table: "payloads", Key: []byte{0x02}, Sequence: 1<<64 - 1, Deleted: true},
			}
		},
			`{"eventVersion":"1.11",` + identity + `,"eventTime":"2026-03-04T04:06:07Z","eventSource":"secretsmanager.amazonaws.com","eventName":"CreateSecret","awsRegion":"eu-central-1",` + agent +
				`,"requestParameters":{"name":"a b"},"responseElements":{"arn":"arn:x"},"requestID":"5f0e3d3a-7a52-4f0a-9a55-d3f5b1a0c001","eventID":"id-1","readOnly":false,` +
				`"resources":[{"accountId":"123456789012","type":"AWS::SecretsManager::Secret","ARN":"arn:x"},{"ARN":"arn:y"}],` +
				`"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"123456789012","eventCategory":"Management","arca":{"node":"n1","changes":[` +
				`{"table":"secrets","key":"ab01","sequence":7,"sha256":"01020000000000000000000000000000000000000000000000000000000000ff"},` +
				`{"table":"payloads","key":"02","sequence":18446744073709551615,"deleted":true}]}}`},
		{"service event", func(r *audit.Record) {
			*r = audit.Record{
				EventID: "id-1", EventTime: r.EventTime, EventType: "AwsServiceEvent", EventSource: r.EventSource, EventName: "RotationStarted",
				Region: "us-east-1", SourceIP: r.EventSource, UserAgent: r.EventSource, RequestID: "Rotation-arn-uuid",
				Identity:            audit.Identity{AccountID: "123456789012", InvokedBy: r.EventSource},
				AdditionalEventData: []byte(`{"SecretId":"arn:x"}`), RecipientAccountID: "123456789012",
			}
		},
			`{"eventVersion":"1.11","userIdentity":{"accountId":"123456789012","invokedBy":"secretsmanager.amazonaws.com"},"eventTime":"2026-03-04T04:06:07Z",` +
				`"eventSource":"secretsmanager.amazonaws.com","eventName":"RotationStarted","awsRegion":"us-east-1","sourceIPAddress":"secretsmanager.amazonaws.com","userAgent":"secretsmanager.amazonaws.com",` +
				`"requestParameters":null,"responseElements":null,"additionalEventData":{"SecretId":"arn:x"},"requestID":"Rotation-arn-uuid","eventID":"id-1","readOnly":false,` +
				`"eventType":"AwsServiceEvent","managementEvent":true,"recipientAccountId":"123456789012","eventCategory":"Management","arca":{"node":"n1"}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := record("id-1")
			tt.rec(r)
			got := string(r.AppendLine([]byte("kept "), "n1"))
			if diff := cmp.Diff("kept "+tt.want, got); diff != "" {
				t.Errorf("AppendLine (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAppendLineBounds(t *testing.T) {
	type part struct {
		UserAgent           string
		RequestParameters   json.RawMessage
		ResponseElements    json.RawMessage
		AdditionalEventData json.RawMessage
		ServiceEventDetails json.RawMessage
	}
	omitted := func(size int, reason string) json.RawMessage {
		return fmt.Appendf(nil, `{"omitted":true,"originalSize":%d,"reason":%q}`, size, reason)
	}
	object := func(size int) []byte { return []byte(`{"a":"` + strings.Repeat("x", size-8) + `"}`) }
	tests := []struct {
		name string
		rec  audit.Record
		want part
	}{
		{"long user agent", audit.Record{UserAgent: strings.Repeat("ab", 600)}, part{UserAgent: strings.Repeat("ab", 512)}},
		{"long user agent, cut between characters", audit.Record{UserAgent: "a" + strings.Repeat("é", 600)}, part{UserAgent: "a" + strings.Repeat("é", 511)}},
		{"bytes that are no characters", audit.Record{UserAgent: "a\xff\xfeb\xe2\x80"}, part{UserAgent: "a\ufffd\ufffdb\ufffd\ufffd"}},
		{"long run of continuation bytes", audit.Record{UserAgent: strings.Repeat("\x80", 2000)}, part{UserAgent: strings.Repeat("\ufffd", 1024)}},
		{"largest parameters", audit.Record{RequestParameters: object(100 << 10)}, part{RequestParameters: object(100 << 10)}},
		{"parameters too large", audit.Record{RequestParameters: object(100<<10 + 1)}, part{RequestParameters: omitted(100<<10+1, "requestParameters too large")}},
		{"response too large", audit.Record{ResponseElements: object(200 << 10)}, part{ResponseElements: omitted(200<<10, "responseElements too large")}},
		{"details too large", audit.Record{EventDetails: object(4<<10 + 1)}, part{ServiceEventDetails: omitted(4<<10+1, "serviceEventDetails too large")}},
		{"additional data too large", audit.Record{AdditionalEventData: object(28<<10 + 1)}, part{AdditionalEventData: omitted(28<<10+1, "additionalEventData too large")}},
		{"parameters not JSON", audit.Record{RequestParameters: []byte(`{"a":}`)}, part{RequestParameters: omitted(6, "requestParameters not a JSON object")}},
		{"parameters not an object", audit.Record{RequestParameters: []byte(`[]`)}, part{RequestParameters: omitted(2, "requestParameters not a JSON object")}},
		{"parameters empty", audit.Record{RequestParameters: []byte{}}, part{RequestParameters: json.RawMessage("null")}},
		{"parameters not UTF-8", audit.Record{RequestParameters: []byte("{\"a\":\"\xff\"}")}, part{RequestParameters: omitted(9, "requestParameters not a JSON object")}},
		{"characters that hide or end lines", audit.Record{RequestParameters: []byte("{\"a\u009b\":\"\u0085b\u202e\u061cé\x7f\u2028\"}")},
			part{RequestParameters: json.RawMessage(`{"a\u009b":"\u0085b\u202e\u061cé\u007f\u2028"}`)}},
		{"too large when escaped", audit.Record{RequestParameters: []byte(`{"a":"` + strings.Repeat("\x7f", 20<<10) + `"}`)},
			part{RequestParameters: omitted(20<<10+8, "requestParameters too large")}},
		{"two objects", audit.Record{RequestParameters: []byte(`{},"eventID":{}`)}, part{RequestParameters: omitted(15, "requestParameters not a JSON object")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := tt.want
			for _, m := range []*json.RawMessage{&want.RequestParameters, &want.ResponseElements} {
				if *m == nil {
					*m = json.RawMessage("null")
				}
			}
			var got part
			if err := json.Unmarshal(tt.rec.AppendLine(nil, "n1"), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("AppendLine (-want +got):\n%s", diff)
			}
		})
	}
}

// The worst that every member can hold still makes a line that Append takes.
func TestAppendLineLongest(t *testing.T) {
	bad := strings.Repeat("\x00", 1<<20)
	r := &audit.Record{
		EventID: bad, EventType: bad, EventSource: bad, EventName: bad, Region: bad, SourceIP: bad, UserAgent: bad, RequestID: bad,
		ErrorCode: bad, ErrorMessage: bad, RecipientAccountID: bad,
		Identity: audit.Identity{
			Type: bad, PrincipalID: bad, ARN: bad, AccountID: bad, AccessKeyID: bad, UserName: bad, InvokedBy: bad, IdentityProvider: bad,
			Session: &audit.SessionContext{IssuerType: bad, IssuerID: bad, IssuerARN: bad, IssuerAccount: bad, IssuerName: bad, SourceIdentity: bad, Provider: bad},
		},
		Denial:              &audit.Denial{Action: bad, Resource: bad, Reason: bad, Policy: bad, Statement: bad},
		TLS:                 &audit.TLSDetails{Version: bad, CipherSuite: bad, ClientProvidedHostHeader: bad},
		RequestParameters:   []byte(`{"a":"` + strings.Repeat("x", 100<<10-8) + `"}`),
		ResponseElements:    []byte(`{"a":"` + strings.Repeat("x", 100<<10-8) + `"}`),
		AdditionalEventData: []byte(`{"a":"` + strings.Repeat("x", 28<<10-8) + `"}`),
	}
	for range 100 {
		r.Resources = append(r.Resources, audit.Resource{AccountID: bad, Type: bad, ARN: bad})
	}
	for range 128 { // as many as a transaction holds
		r.Changes = append(r.Changes, audit.Change{Table: "version-payloads", Key: make([]byte, 160), Sequence: 1<<64 - 1})
	}
	if got := len(r.AppendLine(nil, "n1")); got > audit.MaxLineBytes {
		t.Errorf("longest line is %d bytes, want at most %d", got, audit.MaxLineBytes)
	}
	escapes := func(size int) []byte { return []byte(`{"a":"` + strings.Repeat("\x7f", size-8) + `"}`) }
	r.RequestParameters, r.ResponseElements, r.AdditionalEventData = escapes(100<<10), escapes(100<<10), escapes(28<<10)
	if got := len(r.AppendLine(nil, "n1")); got > audit.MaxLineBytes {
		t.Errorf("longest line with escapes is %d bytes, want at most %d", got, audit.MaxLineBytes)
	}
}

func FuzzAppendLine(f *testing.F) {
	f.Add("Boto3/1.40", "AccessDenied", "not authorized", "ada", []byte(`{"secretId":"x"}`))
	f.Add("a\r\nb\x00\x1b[2J\u2028\u2029\u0085\u202e\ufeff", `x"}],"eventID":"forged`, `\`, "\xff\xc3", []byte("{\n\"a\" : 1 }"))
	f.Add(strings.Repeat("é", 600), "\ud7ff\ue000\U0001f600", "\u200b\u2066", "\x7f\u009b", []byte(`{"eventID":"forged"}`))
	f.Add("", "", "", "", []byte("{\"a\u009b2J\":\"\u0085\u2028\u202e\u061c\x7f\"}"))
	f.Fuzz(func(t *testing.T, agent, code, message, user string, params []byte) {
		r := record("right")
		r.UserAgent, r.ErrorCode, r.ErrorMessage, r.Identity.UserName, r.RequestParameters = agent, code, message, user, params
		line := r.AppendLine(nil, "n1")
		if !json.Valid(line) || !utf8.Valid(line) {
			t.Fatalf("not valid: %q", line)
		}
		if len(line) > audit.MaxLineBytes {
			t.Fatalf("%d bytes", len(line))
		}
		// Nothing may end a line or hide from a reader.
		for _, c := range string(line) {
			if unicode.IsControl(c) || c == '\u2028' || c == '\u2029' || c >= 0x2000 && c <= 0x206f && unicode.Is(unicode.Cf, c) {
				t.Fatalf("raw %U in %q", c, line)
			}
		}
		var got struct {
			UserAgent    string
			ErrorCode    string
			ErrorMessage string
			EventID      string
			UserIdentity struct{ UserName string }
		}
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatal(err)
		}
		if got.EventID != "right" {
			t.Fatalf("event id %q", got.EventID)
		}
		for _, m := range []struct{ name, in, out string }{
			{"userAgent", agent, got.UserAgent}, {"errorCode", code, got.ErrorCode},
			{"errorMessage", message, got.ErrorMessage}, {"userName", user, got.UserIdentity.UserName},
		} {
			// Cutting counts bytes as they came; one that is no character becomes three.
			if want := strings.ToValidUTF8(perByte(m.in), "\ufffd"); len(m.in) <= 1024 && m.out != want || !strings.HasPrefix(want, m.out) {
				t.Fatalf("%s: got %q, want %q", m.name, m.out, want)
			}
		}
	})
}

// perByte replaces each invalid byte by itself; ToValidUTF8 would merge runs.
func perByte(s string) string { return string([]rune(s)) }

func TestAppendLineAllocations(t *testing.T) {
	r := record("5f0e3d3a-7a52-4f0a-9a55-d3f5b1a0c002")
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { r.AppendLine(buf, "n1") }); n != 0 {
		t.Errorf("AppendLine allocates %v times, want 0", n)
	}
}

func BenchmarkAppendLine(b *testing.B) {
	r := record("5f0e3d3a-7a52-4f0a-9a55-d3f5b1a0c002")
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		r.AppendLine(buf, "n1")
	}
}
