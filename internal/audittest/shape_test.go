package audittest_test

import (
	"strings"
	"testing"

	"arca/internal/api/kmsapi"
	"arca/internal/api/smapi"
	"arca/internal/audittest"
)

// good is a record as the operations write it.
const good = `{"eventVersion":"1.11","userIdentity":{"type":"IAMUser","principalId":"AIDAX","arn":"arn:aws:iam::123456789012:user/u","accountId":"123456789012","accessKeyId":"AKIAX","userName":"u"},` +
	`"eventTime":"2026-05-04T03:02:01Z","eventSource":"secretsmanager.amazonaws.com","eventName":"DeleteSecret","awsRegion":"eu-west-1","sourceIPAddress":"192.0.2.1","userAgent":"",` +
	`"requestParameters":{"secretId":"s","recoveryWindowInDays":7},"responseElements":{"arn":"arn:aws:s","name":"s","deletionDate":"May 3, 2018 5:51:02 PM"},` +
	`"requestID":"r","eventID":"11111111-2222-4333-8444-555555555555","readOnly":false,"resources":[{"accountId":"123456789012","type":"AWS::KMS::Key","ARN":"arn:aws:kms:x"}],` +
	`"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"123456789012","eventCategory":"Management",` +
	`"tlsDetails":{"tlsVersion":"TLSv1.3","cipherSuite":"c","clientProvidedHostHeader":"h"},"arca":{"node":"n"}}`

const event = `{"eventVersion":"1.11","userIdentity":{"accountId":"123456789012","invokedBy":"secretsmanager.amazonaws.com"},` +
	`"eventTime":"2026-05-04T03:02:01Z","eventSource":"secretsmanager.amazonaws.com","eventName":"RotationFailed","awsRegion":"eu-west-1",` +
	`"sourceIPAddress":"secretsmanager.amazonaws.com","userAgent":"secretsmanager.amazonaws.com","errorMessage":"no","requestParameters":null,"responseElements":null,` +
	`"additionalEventData":{"SecretId":"arn:aws:s"},"requestID":"Rotation-arn:aws:s-11111111-2222-4333-8444-555555555555","eventID":"11111111-2222-4333-8444-555555555555",` +
	`"readOnly":false,"eventType":"AwsServiceEvent","managementEvent":true,"recipientAccountId":"123456789012","eventCategory":"Management","arca":{"node":"n"}}`

// The check finds what is wrong with a record, and nothing in one that is right.
func TestShape(t *testing.T) {
	for _, tc := range []struct {
		name, base, old, new, want string
	}{
		{"right", good, "", "", ""},
		{"right event", event, "", "", ""},
		{"refused", good, `"userAgent":"",`, `"userAgent":"","errorCode":"AccessDeniedException","errorMessage":"no",`, "responseElements of a call that failed"},
		{"text without a code", good, `"userAgent":"",`, `"userAgent":"","errorMessage":"no",`, "errorCode"},
		{"value shown", good, `"secretId":"s"`, `"secretId":"s","secretString":"v"`, "member secretString"},
		{"sensitive member", strings.Replace(good, "DeleteSecret", "PutSecretValue", 1), `"secretId":"s","recoveryWindowInDays":7`, `"secretId":"s","secretString":"v"`, "sensitive"},
		{"old name of the ARN", good, `"arn":"arn:aws:s"`, `"aRN":"arn:aws:s"`, "member aRN"},
		{"time of another form", good, "May 3, 2018 5:51:02 PM", "2018-05-03", "deletionDate"},
		{"answer of a read", good, "DeleteSecret", "DescribeSecret", "readOnly"},
		{"no such operation", good, "DeleteSecret", "EatSecret", "no operation"},
		{"order", good, `"readOnly":false,`, ``, "readOnly is missing"},
		{"unknown member", good, `"requestID":"r",`, `"requestID":"r","more":1,`, "members are"},
		{"member twice", good, `"requestID":"r",`, `"requestID":"r","requestID":"r",`, "twice"},
		{"user without a name", good, `,"userName":"u"`, ``, "no userName"},
		{"root with a name", good, `"IAMUser"`, `"Root"`, "userIdentity of a Root"},
		{"kind of caller", good, `"IAMUser"`, `"Somebody"`, "type"},
		{"account", good, `"recipientAccountId":"123456789012"`, `"recipientAccountId":""`, "recipientAccountId"},
		{"TLS half told", good, `"tlsVersion":"TLSv1.3",`, ``, "tlsDetails"},
		{"id", good, "11111111-2222", "1-2222", "eventID"},
		{"resource", good, `"type":"AWS::KMS::Key"`, `"type":"Key"`, "resources"},
		{"member of ours", good, `{"node":"n"}`, `{"node":"n","x":1}`, "arca has"},
		{"failed event without a text", event, `"errorMessage":"no",`, ``, "errorMessage"},
		{"event of another name", event, "RotationFailed", "RotationBroke", "service event"},
		{"request id of a rotation", event, "Rotation-arn", "arn", "requestID"},
		{"event from an address", event, `"sourceIPAddress":"secretsmanager.amazonaws.com"`, `"sourceIPAddress":"192.0.2.1"`, "sourceIPAddress"},
		{"event with a request", event, `"requestParameters":null`, `"requestParameters":{}`, "members of a call"},
		{"no JSON", good, `{"eventVersion"`, `"eventVersion"`, "not a JSON object"},
	} {
		if !strings.Contains(tc.base, tc.old) {
			t.Fatalf("%s: the text is not there", tc.name)
		}
		got := strings.Join(audittest.Shape([]byte(strings.Replace(tc.base, tc.old, tc.new, 1)), smapi.Service, kmsapi.Service), "; ")
		if tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
			t.Errorf("%s: Shape = %q, want %q", tc.name, got, tc.want)
		}
	}
}
