package wire_test

import (
	"encoding/base64"
	"encoding/xml"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"arca/internal/api"
	"arca/internal/api/iamapi"
	"arca/internal/api/smapi"
	"arca/internal/api/stsapi"
	"arca/internal/wire"
)

func encode64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func TestQueryOutput(t *testing.T) {
	const (
		iamHead = ` xmlns="https://iam.amazonaws.com/doc/2010-05-08/">`
		stsHead = ` xmlns="https://sts.amazonaws.com/doc/2011-06-15/">`
		tail    = `<ResponseMetadata><RequestId>id</RequestId></ResponseMetadata>`
	)
	at := time.Date(2026, 5, 3, 19, 51, 2, 999e6, time.FixedZone("", 2*3600))
	secret := api.SensitiveString("s<&>")
	for _, tt := range []struct {
		name string
		op   *api.Operation
		out  any
		want string
	}{
		{"members in order", stsapi.OpGetCallerIdentity, &stsapi.GetCallerIdentityOutput{Arn: ptr("arn:aws:iam::1:root"), UserId: ptr("1"), Account: ptr("1")},
			"<GetCallerIdentityResponse" + stsHead + "<GetCallerIdentityResult><UserId>1</UserId><Account>1</Account><Arn>arn:aws:iam::1:root</Arn></GetCallerIdentityResult>" +
				tail + "</GetCallerIdentityResponse>"},
		{"absent members", stsapi.OpGetCallerIdentity, &stsapi.GetCallerIdentityOutput{},
			"<GetCallerIdentityResponse" + stsHead + "<GetCallerIdentityResult></GetCallerIdentityResult>" + tail + "</GetCallerIdentityResponse>"},
		{"no result", iamapi.OpDeleteUser, &iamapi.DeleteUserOutput{}, "<DeleteUserResponse" + iamHead + tail + "</DeleteUserResponse>"},
		{"no output", iamapi.OpDeleteUser, nil, "<DeleteUserResponse" + iamHead + tail + "</DeleteUserResponse>"},
		{"empty result", iamapi.OpUpdateRole, (*iamapi.UpdateRoleOutput)(nil), "<UpdateRoleResponse" + iamHead + "<UpdateRoleResult></UpdateRoleResult>" + tail + "</UpdateRoleResponse>"},
		{"times in whole seconds of UTC, secrets", stsapi.OpGetSessionToken, &stsapi.GetSessionTokenOutput{Credentials: &stsapi.Credentials{
			AccessKeyId: "ASIA", SecretAccessKey: secret, SessionToken: "t", Expiration: &at}},
			"<GetSessionTokenResponse" + stsHead + "<GetSessionTokenResult><Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s&lt;&amp;&gt;</SecretAccessKey>" +
				"<SessionToken>t</SessionToken><Expiration>2026-05-03T17:51:02Z</Expiration></Credentials></GetSessionTokenResult>" + tail + "</GetSessionTokenResponse>"},
		{"required list and plain boolean that are absent", iamapi.OpListUserPolicies, &iamapi.ListUserPoliciesOutput{},
			"<ListUserPoliciesResponse" + iamHead + "<ListUserPoliciesResult><PolicyNames/><IsTruncated>false</IsTruncated></ListUserPoliciesResult>" + tail + "</ListUserPoliciesResponse>"},
		{"optional list", iamapi.OpListPolicies, &iamapi.ListPoliciesOutput{Policies: []iamapi.Policy{}, IsTruncated: ptr(true)},
			"<ListPoliciesResponse" + iamHead + "<ListPoliciesResult><Policies/><IsTruncated>true</IsTruncated></ListPoliciesResult>" + tail + "</ListPoliciesResponse>"},
		{"lists", iamapi.OpListUserTags, &iamapi.ListUserTagsOutput{Tags: []iamapi.Tag{{Key: "a", Value: "1"}, {Key: "b"}}, IsTruncated: ptr(false)},
			"<ListUserTagsResponse" + iamHead + "<ListUserTagsResult><Tags><member><Key>a</Key><Value>1</Value></member><member><Key>b</Key><Value></Value></member></Tags>" +
				"<IsTruncated>false</IsTruncated></ListUserTagsResult>" + tail + "</ListUserTagsResponse>"},
		{"map in order, plain numbers", iamapi.OpSimulateCustomPolicy, &iamapi.SimulateCustomPolicyOutput{EvaluationResults: []iamapi.EvaluationResult{{
			EvalActionName: "a:b", EvalDecision: "allowed", MatchedStatements: []iamapi.Statement{{StartPosition: &iamapi.Position{Line: ptr[int32](3)}}},
			EvalDecisionDetails: map[string]string{"b": "allowed", "a": "explicitDeny"},
		}}},
			"<SimulateCustomPolicyResponse" + iamHead + "<SimulateCustomPolicyResult><EvaluationResults><member><EvalActionName>a:b</EvalActionName><EvalDecision>allowed</EvalDecision>" +
				"<MatchedStatements><member><StartPosition><Line>3</Line><Column>0</Column></StartPosition></member></MatchedStatements>" +
				"<EvalDecisionDetails><entry><key>a</key><value>explicitDeny</value></entry><entry><key>b</key><value>allowed</value></entry></EvalDecisionDetails>" +
				"</member></EvaluationResults><IsTruncated>false</IsTruncated></SimulateCustomPolicyResult>" + tail + "</SimulateCustomPolicyResponse>"},
		{"text", iamapi.OpGetUser, &iamapi.GetUserOutput{User: &iamapi.User{UserName: "<a & \"b\">\r\n\t'\x00\x1b\uffff\xffé🔑"}},
			"<GetUserResponse" + iamHead + "<GetUserResult><User><Path></Path><UserName>&lt;a &amp; &quot;b&quot;&gt;&#xD;\n\t'\ufffd\ufffd\ufffd\ufffdé🔑</UserName>" +
				"<UserId></UserId><Arn></Arn></User></GetUserResult>" + tail + "</GetUserResponse>"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reply := wire.Reply{Op: tt.op, RequestID: "id"}
			if got := string(reply.AppendOutput([]byte("x"), tt.out)); got != "x"+tt.want {
				t.Errorf("AppendOutput() =\n%s\nwant\n%s", got[1:], tt.want)
			}
			if got := reply.ContentType(); got != "text/xml" {
				t.Errorf("ContentType() = %s", got)
			}
		})
	}
}

func TestQueryError(t *testing.T) {
	for _, tt := range []struct {
		name   string
		reply  wire.Reply
		err    *api.Error
		status int
		want   string
	}{
		{"client's fault", wire.Reply{Op: iamapi.OpGetUser, RequestID: "id"}, iamapi.NoSuchEntity.Errorf("The user with name <a> cannot be found."), 404,
			`<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>Sender</Type><Code>NoSuchEntity</Code>` +
				`<Message>The user with name &lt;a&gt; cannot be found.</Message></Error><RequestId>id</RequestId></ErrorResponse>`},
		{"our fault", wire.Reply{Op: stsapi.OpAssumeRole, RequestID: "id"}, stsapi.InternalFailure.Wrap(io.EOF, "An error occurred on the server side."), 500,
			`<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Receiver</Type><Code>InternalFailure</Code>` +
				`<Message>An error occurred on the server side.</Message></Error><RequestId>id</RequestId></ErrorResponse>`},
		{"no operation", wire.Reply{Protocol: api.Query, RequestID: "id"}, api.MissingAction.Errorf("x"), 400,
			`<ErrorResponse xmlns="http://webservices.amazon.com/AWSFault/2005-15-09"><Error><Type>Sender</Type><Code>MissingAction</Code>` +
				`<Message>x</Message></Error><RequestId>id</RequestId></ErrorResponse>`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, frontEnd := range []bool{false, true} {
				status, contentType, got := tt.reply.RenderError(tt.err, frontEnd)
				if status != tt.status || contentType != "text/xml" || string(got) != tt.want {
					t.Errorf("RenderError() = %d %s\n%s\nwant %d\n%s", status, contentType, got, tt.status, tt.want)
				}
			}
		})
	}
}

func TestQueryOutputOfAnotherOperation(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("an output of the wrong type was encoded")
		}
	}()
	wire.Reply{Op: stsapi.OpGetCallerIdentity}.AppendOutput(nil, &smapi.DeleteSecretOutput{})
}

// TestOutputsAreXML encodes random outputs of every Query operation, names and texts
// of all kinds among them.
func TestOutputsAreXML(t *testing.T) {
	ops := append([]*api.Operation{formKinds}, iamapi.Service.Operations...)
	ops = append(ops, stsapi.Service.Operations...)
	rapid.Check(t, func(t *rapid.T) {
		op := rapid.SampledFrom(ops).Draw(t, "op")
		out := reflect.New(op.Output.Type)
		fill(t, op.Output, out.Elem())
		text := wire.Reply{Op: op, RequestID: "id"}.AppendOutput(nil, out.Interface())
		if err := wellFormed(string(text)); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	})
}

// wellFormed reads a document with package xml.
func wellFormed(text string) error {
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		switch _, err := d.Token(); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// FuzzXML checks for any bytes that answers holding them are XML and give them back,
// but for what XML cannot hold.
func FuzzXML(f *testing.F) {
	for _, s := range []string{"", "a", "<a>&amp;</a>", "]]>", "\r\n\t \x00\x1f\x7f", "\xff\xed\xa0\x80", "\ufffe\uffff\u0085é🔑", "<!-- -->", "\"'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out := &iamapi.GetUserOutput{User: &iamapi.User{UserName: s}}
		text := wire.Reply{Op: iamapi.OpGetUser, RequestID: s}.AppendOutput(nil, out)
		var got struct {
			Result struct {
				User struct{ UserName string }
			} `xml:"GetUserResult"`
			Metadata struct {
				RequestID string `xml:"RequestId"`
			} `xml:"ResponseMetadata"`
		}
		if err := xml.Unmarshal(text, &got); err != nil {
			t.Fatalf("%q is answered as %q: %v", s, text, err)
		}
		want := strings.Map(func(r rune) rune {
			if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF || r == utf8.RuneError {
				return 0xFFFD
			}
			return r
		}, s)
		if got.Result.User.UserName != want || got.Metadata.RequestID != want {
			t.Fatalf("%q is read back as %q and %q", s, got.Result.User.UserName, got.Metadata.RequestID)
		}
		if _, _, text := (wire.Reply{Protocol: api.Query, RequestID: s}).RenderError(api.InvalidAction.Errorf("%s", s), true); wellFormed(string(text)) != nil {
			t.Fatalf("%q: the error is %q", s, text)
		}
	})
}
