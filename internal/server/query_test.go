package server_test

import (
	"context"
	"encoding/xml"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awscreds "github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"arca/internal/api"
	"arca/internal/api/iamapi"
	"arca/internal/api/smapi"
	"arca/internal/api/stsapi"
	"arca/internal/call"
	"arca/internal/server"
	"arca/internal/wire"
)

const (
	form    = "application/x-www-form-urlencoded"
	whoami  = "Action=GetCallerIdentity&Version=2011-06-15"
	getUser = "Action=GetUser&Version=2010-05-08&UserName="
	federal = "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleSessionName=ci&WebIdentityToken=eyJh" +
		"&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fci"
)

// newQueryEdge is an edge that serves IAM and STS, too. Its operations answer with
// what the edge told them.
func newQueryEdge(t testing.TB, change ...func(*edge, *server.Config)) *edge {
	t.Helper()
	router, err := wire.NewRouter(smapi.Service, iamapi.Service, stsapi.Service)
	if err != nil {
		t.Fatal(err)
	}
	var e *edge
	e = newEdge(t, func(c *server.Config) {
		c.Router = router
		c.Do = func(ctx context.Context, c *call.Call, in any) (any, error) {
			switch in := in.(type) {
			case *stsapi.GetCallerIdentityInput:
				e.mu.Lock()
				e.calls = append(e.calls, c)
				e.mu.Unlock()
				return &stsapi.GetCallerIdentityOutput{Account: &c.Caller.Account, Arn: &c.Region}, nil
			case *stsapi.AssumeRoleWithWebIdentityInput:
				e.mu.Lock()
				e.calls = append(e.calls, c)
				e.mu.Unlock()
				kind := string(c.Caller.Type)
				return &stsapi.AssumeRoleWithWebIdentityOutput{Audience: &kind, Provider: &c.Region}, nil
			case *iamapi.GetUserInput:
				switch *in.UserName {
				case "missing":
					return nil, iamapi.NoSuchEntity.Errorf("The user with name %s cannot be found.", *in.UserName)
				case "bug":
					return nil, errors.New("holding a value")
				}
				return &iamapi.GetUserOutput{User: &iamapi.User{UserName: *in.UserName, CreateDate: &time.Time{}}}, nil
			case *iamapi.DeleteUserInput:
				return &iamapi.DeleteUserOutput{}, nil
			}
			return e.do(ctx, c, in)
		}
	})
	cfg := e.cfg
	for _, f := range change {
		f(e, &cfg)
	}
	if e.Server, err = server.New(cfg); err != nil {
		t.Fatal(err)
	}
	return e
}

// formRequest is a Query request, unsigned.
func formRequest(t testing.TB, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequest("POST", here+"/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", form)
	return r
}

func signedForm(t testing.TB, body, service, region string, when time.Time) *http.Request {
	t.Helper()
	r := formRequest(t, body)
	sign(t, r, body, credentials(), service, region, when)
	return r
}

// failure is an error answer of the Query protocol.
type failure struct {
	XMLName xml.Name
	Error   struct{ Type, Code, Message string }
	ID      string `xml:"RequestId"`
}

func TestQueryAnswers(t *testing.T) {
	e := newQueryEdge(t)
	const (
		ofSTS = "https://sts.amazonaws.com/doc/2011-06-15/"
		ofIAM = "https://iam.amazonaws.com/doc/2010-05-08/"
		none  = "http://webservices.amazon.com/AWSFault/2005-15-09"
	)
	now := time.Now()
	tests := []struct {
		name, namespace string
		request         *http.Request
		status          int
		code, message   string // or, for 200, what the answer holds
	}{
		{"output", ofSTS, signedForm(t, whoami, "sts", region, now), 200, "<GetCallerIdentityResult><Account>123456789012</Account><Arn>us-east-1</Arn></GetCallerIdentityResult>", ""},
		{"output of IAM", ofIAM, signedForm(t, getUser+"a%26b", "iam", region, now), 400, "ValidationError",
			"1 validation error detected: Value 'a&b' at 'userName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]+"},
		{"no result", ofIAM, signedForm(t, "Action=DeleteUser&Version=2010-05-08&UserName=a", "iam", region, now), 200, `/"><ResponseMetadata>`, ""},
		{"error of the operation", ofIAM, signedForm(t, getUser+"missing", "iam", region, now), 404, "NoSuchEntity", "The user with name missing cannot be found."},
		{"error without a code", ofIAM, signedForm(t, getUser+"bug", "iam", region, now), 500, "ServiceFailure", "An error occurred on the server side."},
		{"required parameter", ofIAM, signedForm(t, "Action=DeleteUser&Version=2010-05-08", "iam", region, now), 400, "ValidationError",
			"1 validation error detected: Value null at 'userName' failed to satisfy constraint: Member must not be null"},
		{"unknown action", none, signedForm(t, "Action=GetMe&Version=2011-06-15", "sts", region, now), 400, "InvalidAction", "Could not find operation GetMe for version 2011-06-15"},
		{"no action", none, signedForm(t, "a=b", "sts", region, now), 400, "MissingAction", "The request is missing an action or a required parameter."},
		{"no signature", ofSTS, formRequest(t, whoami), 403, "MissingAuthenticationToken", "Request is missing Authentication Token"},
		{"scope of another service", ofSTS, signedForm(t, whoami, "iam", region, now), 403, "SignatureDoesNotMatch", "Credential should be scoped to correct service: 'sts'. "},
		{"scope of a JSON service", ofIAM, signedForm(t, getUser+"a", "secretsmanager", region, now), 403, "SignatureDoesNotMatch", "Credential should be scoped to correct service: 'iam'. "},
		{"region that is not served", ofSTS, signedForm(t, whoami, "sts", "eu-west-1", now), 403, "SignatureDoesNotMatch", "Credential should be scoped to a valid region, not 'eu-west-1'. "},
		{"14 minutes old", ofSTS, signedForm(t, whoami, "sts", region, now.Add(-14*time.Minute)), 200, "123456789012", ""},
		{"14 minutes early", ofSTS, signedForm(t, whoami, "sts", region, now.Add(14*time.Minute)), 200, "123456789012", ""},
		{"16 minutes old", ofSTS, signedForm(t, whoami, "sts", region, now.Add(-16*time.Minute)), 403, "SignatureDoesNotMatch", "- 15 min.)"},
		{"unknown key", ofSTS, func() *http.Request {
			r := formRequest(t, whoami)
			sign(t, r, whoami, aws.Credentials{AccessKeyID: "AKIDOTHER", SecretAccessKey: "x"}, "sts", region, now)
			return r
		}(), 403, "InvalidClientTokenId", "The security token included in the request is invalid."},
		{"expired token", ofSTS, func() *http.Request {
			r := formRequest(t, whoami)
			sign(t, r, whoami, aws.Credentials{AccessKeyID: "ASIAEXPIRED", SecretAccessKey: "x", SessionToken: "x"}, "sts", region, now)
			return r
		}(), 403, "ExpiredToken", "The security token included in the request is expired"},
		{"token added after signing", ofSTS, func() *http.Request {
			r := signedForm(t, whoami, "sts", region, now)
			r.Header.Set("X-Amz-Security-Token", "x")
			return r
		}(), 403, "SignatureDoesNotMatch", "'X-Amz-Security-Token' must be a 'SignedHeader' in the AWS Authorization."},
		{"incomplete signature", ofSTS, func() *http.Request {
			r := formRequest(t, whoami)
			r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Signature=0")
			return r
		}(), 400, "IncompleteSignature", "Authorization header requires 'Credential' parameter."},
		{"parameters in two places", none, func() *http.Request {
			r := formRequest(t, whoami)
			r.URL.RawQuery = "Action=GetSessionToken"
			sign(t, r, whoami, credentials(), "sts", region, now)
			return r
		}(), 404, "MalformedQueryString", "Parameters must be given in the body or in the URL, not in both."},
		{"target beside the action", none, func() *http.Request {
			r := formRequest(t, whoami)
			r.Header.Set("X-Amz-Target", target)
			sign(t, r, whoami, credentials(), "sts", region, now)
			return r
		}(), 400, "UnknownOperationException", ""},
		{"host that is not ours", none, func() *http.Request {
			r := signedForm(t, whoami, "sts", region, now)
			r.Host, r.URL.Host = "sts.example.com", "sts.example.com"
			return r
		}(), 421, "MisdirectedRequestException", "add the name to its list of hosts."},
		{"list with a gap", ofIAM, signedForm(t, "Action=UntagUser&Version=2010-05-08&UserName=a&TagKeys.member.2=b", "iam", region, now), 400,
			"MalformedInput", "Elements of tagKeys must be numbered without gaps"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res := direct(e, tt.request)
			ids := requestIDs(res)
			got := read(t, res)
			if got.status != tt.status || got.contentType != "text/xml" || len(ids) != 1 || !strings.Contains(got.body, "<RequestId>"+ids[0]+"</RequestId>") {
				t.Fatalf("answer = %+v (id %v), want %d", got, ids, tt.status)
			}
			if tt.status == 200 {
				if !strings.Contains(got.body, tt.code) || !strings.Contains(got.body, `xmlns="`+tt.namespace+`"`) {
					t.Errorf("answer = %+v, want %s", got, tt.code)
				}
				return
			}
			var f failure
			if err := xml.Unmarshal([]byte(got.body), &f); err != nil {
				t.Fatal(err)
			}
			fault := "Sender"
			if tt.status >= 500 {
				fault = "Receiver"
			}
			if f.XMLName.Local != "ErrorResponse" || f.XMLName.Space != tt.namespace || f.Error.Type != fault ||
				f.Error.Code != tt.code || !strings.Contains(f.Error.Message, tt.message) {
				t.Errorf("answer = %+v, want %s %s", f, tt.code, tt.message)
			}
		})
	}
}

// TestPresignedGet runs what other systems prove their identity with: a presigned
// GetCallerIdentity that somebody else sends.
func TestPresignedGet(t *testing.T) {
	e := newQueryEdge(t)
	client := sts.NewPresignClient(sts.New(sts.Options{
		Region: region, BaseEndpoint: aws.String(here), Credentials: awscreds.NewStaticCredentialsProvider(keyID, secret, ""),
	}))
	p, err := client.PresignGetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil {
		t.Fatal(err)
	}
	send := func(change func(*http.Request)) answer {
		t.Helper()
		r, err := http.NewRequest(p.Method, p.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, values := range p.SignedHeader {
			if name != "Host" {
				r.Header[name] = values
			}
		}
		change(r)
		return read(t, direct(e, r))
	}
	if got := send(func(*http.Request) {}); got.status != 200 || !strings.Contains(got.body, "<Account>123456789012</Account>") {
		t.Errorf("answer = %+v", got)
	}
	for name, change := range map[string]func(*http.Request){
		"another action": func(r *http.Request) {
			r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "GetCallerIdentity", "GetSessionToken", 1)
		},
		"another parameter": func(r *http.Request) { r.URL.RawQuery += "&DurationSeconds=900" },
		"another method":    func(r *http.Request) { r.Method = "POST" },
		"a body": func(r *http.Request) {
			r.Method, r.Body, r.ContentLength = "POST", http.NoBody, 0
			r.Header.Set("Content-Type", form)
		},
	} {
		e.calls = nil
		if got := send(change); got.status != 403 || !strings.Contains(got.body, "<Code>SignatureDoesNotMatch</Code>") || len(e.calls) > 0 {
			t.Errorf("%s: answer = %+v", name, got)
		}
	}
}

// TestUnsigned calls what anybody may call. Who shows a signature must show a good
// one.
func TestUnsigned(t *testing.T) {
	e := newQueryEdge(t)
	trusting := newQueryEdge(t, func(_ *edge, c *server.Config) {
		c.Verify = server.AnyCredentials(account, []string{"eu-west-1", region})
	})
	now := time.Now()
	for _, tt := range []struct {
		name    string
		edge    *edge
		request func() *http.Request
		status  int
		want    string
	}{
		{"no signature", e, func() *http.Request { return formRequest(t, federal) }, 200, "<Provider>us-east-1</Provider><Audience>Anonymous</Audience>"},
		{"no signature in the URL", e, func() *http.Request {
			r := formRequest(t, "")
			r.URL.RawQuery = federal
			return r
		}, 200, "<Audience>Anonymous</Audience>"},
		{"good signature", e, func() *http.Request { return signedForm(t, federal, "sts", region, now) }, 200, "<Audience>Root</Audience>"},
		{"signature for another service", e, func() *http.Request { return signedForm(t, federal, "iam", region, now) }, 403, "correct service"},
		{"bad signature", e, func() *http.Request {
			r := signedForm(t, federal, "sts", region, now)
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "Signature=", "Signature=0", 1))
			return r
		}, 403, "SignatureDoesNotMatch"},
		{"old signature", e, func() *http.Request { return signedForm(t, federal, "sts", region, now.Add(-time.Hour)) }, 403, "Signature expired"},
		{"other scheme", e, func() *http.Request {
			r := formRequest(t, federal)
			r.Header.Set("Authorization", "Bearer x")
			return r
		}, 400, "IncompleteSignature"},
		{"part of a presigned query", e, func() *http.Request {
			r := formRequest(t, federal)
			r.URL.RawQuery = "X-Amz-Signature=0"
			return r
		}, 400, "IncompleteSignature"},
		{"input that breaks a constraint", e, func() *http.Request { return formRequest(t, federal+"&DurationSeconds=1") }, 400, "ValidationError"},
		{"operation that needs one", e, func() *http.Request { return formRequest(t, "Action=GetSessionToken&Version=2011-06-15") }, 403, "MissingAuthenticationToken"},
		{"any credentials, none", trusting, func() *http.Request { return formRequest(t, federal) }, 200, "<Audience>Anonymous</Audience>"},
		{"any credentials, some", trusting, func() *http.Request { return signedForm(t, federal, "sts", "eu-west-1", now) }, 200,
			"<Provider>eu-west-1</Provider><Audience>Root</Audience>"},
		{"any credentials, other operation", trusting, func() *http.Request { return formRequest(t, whoami) }, 200, "<Account>123456789012</Account>"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.edge.calls = nil
			got := read(t, direct(tt.edge, tt.request()))
			if got.status != tt.status || !strings.Contains(got.body, tt.want) {
				t.Errorf("answer = %+v, want %d %s", got, tt.status, tt.want)
			}
			if tt.status != 200 && len(tt.edge.calls) > 0 {
				t.Errorf("the operation ran for %+v", tt.edge.calls[0].Caller)
			}
			if tt.status == 200 && tt.edge.calls[0].Caller.Type == call.Anonymous && tt.edge.calls[0].Caller != (call.Principal{Type: call.Anonymous}) {
				t.Errorf("nobody is %+v", tt.edge.calls[0].Caller)
			}
		})
	}
}

// TestRefusedAnonymous makes sure that a refused input of nobody's is told to be so.
func TestRefusedAnonymous(t *testing.T) {
	var got *call.Call
	e := newQueryEdge(t, func(_ *edge, c *server.Config) {
		c.Refused = func(_ context.Context, c *call.Call, _ *api.Error) error { got = c; return nil }
	})
	read(t, direct(e, formRequest(t, "Action=AssumeRoleWithWebIdentity&Version=2011-06-15")))
	if got == nil || got.Caller.Type != call.Anonymous || got.Region != region || got.Partition != "aws" {
		t.Errorf("refused call = %+v", got)
	}
}

// TestGlobalRegion signs for the one region in which AWS has IAM although another
// one is served.
func TestGlobalRegion(t *testing.T) {
	for _, tt := range []struct{ served, scope, service, want string }{
		{"eu-west-1", "us-east-1", "iam", ""},
		{"eu-west-1", "us-east-1", "sts", "<Arn>us-east-1</Arn>"},
		{"eu-west-1", "eu-west-1", "sts", "<Arn>eu-west-1</Arn>"},
		{"eu-west-1", "us-west-2", "iam", "valid region"},
		{"eu-west-1", "cn-north-1", "iam", "valid region"},
		{"cn-northwest-1", "cn-north-1", "iam", ""},
		{"cn-northwest-1", "us-east-1", "sts", "valid region"},
		{"us-gov-east-1", "us-gov-west-1", "sts", "<Arn>us-gov-west-1</Arn>"},
		{"eu-west-1", "us-east-1", "secretsmanager", "valid region"},
		{"mars-1", "us-east-1", "iam", ""},
	} {
		t.Run(tt.service+" of "+tt.scope+" where there is "+tt.served, func(t *testing.T) {
			e := newQueryEdge(t, func(e *edge, c *server.Config) {
				c.Verify = server.NewSignatures(e.lookup, []string{tt.served}, time.Now)
			})
			var r *http.Request
			switch tt.service {
			case "iam":
				r = signedForm(t, getUser+"a", "iam", tt.scope, time.Now())
			case "sts":
				r = signedForm(t, whoami, "sts", tt.scope, time.Now())
			default:
				r = request(t, here, body)
				sign(t, r, body, credentials(), tt.service, tt.scope, time.Now())
			}
			got := read(t, direct(e, r))
			if (got.status == 200) == (tt.want == "valid region") || !strings.Contains(got.body, tt.want) {
				t.Errorf("answer = %+v, want %s", got, tt.want)
			}
			if got.status == 200 && tt.service == "sts" {
				if c := e.calls[0]; c.Region != tt.scope || c.Partition == "" {
					t.Errorf("call in %s of %q", c.Region, c.Partition)
				}
			}
		})
	}
}

// TestQueryClients drives the edge with the published clients over a socket.
func TestQueryClients(t *testing.T) {
	e := newQueryEdge(t)
	srv := httptest.NewServer(e)
	defer srv.Close()
	creds := awscreds.NewStaticCredentialsProvider(keyID, secret, "")
	user, err := iam.New(iam.Options{Region: region, BaseEndpoint: &srv.URL, Credentials: creds}).
		GetUser(t.Context(), &iam.GetUserInput{UserName: aws.String("ann@x")})
	if err != nil || *user.User.UserName != "ann@x" {
		t.Errorf("GetUser() = %+v, %v", user, err)
	}
	_, err = iam.New(iam.Options{Region: region, BaseEndpoint: &srv.URL, Credentials: creds}).
		GetUser(t.Context(), &iam.GetUserInput{UserName: aws.String("missing")})
	if e, ok := errors.AsType[smithy.APIError](err); !ok || e.ErrorCode() != "NoSuchEntity" || e.ErrorMessage() != "The user with name missing cannot be found." {
		t.Errorf("GetUser() error = %v", err)
	}
	out, err := sts.New(sts.Options{Region: region, BaseEndpoint: &srv.URL, Credentials: aws.AnonymousCredentials{}}).
		AssumeRoleWithWebIdentity(t.Context(), &sts.AssumeRoleWithWebIdentityInput{
			RoleArn: aws.String("arn:aws:iam::123456789012:role/ci"), RoleSessionName: aws.String("ci"), WebIdentityToken: aws.String("eyJh"),
		})
	if err != nil || aws.ToString(out.Audience) != "Anonymous" {
		t.Errorf("AssumeRoleWithWebIdentity() = %+v, %v", out, err)
	}
}

// TestFormsAreBounded sends a form at the limits of its size.
func TestFormsAreBounded(t *testing.T) {
	e := newQueryEdge(t)
	large := getUser + url.QueryEscape(strings.Repeat("é", 100_000))
	if got := read(t, direct(e, signedForm(t, large, "iam", region, time.Now()))); got.status != 400 || len(got.body) > 32<<10 {
		t.Errorf("answer to a value of %d bytes = %d with %d bytes", len(large), got.status, len(got.body))
	}
	tooLarge := getUser + strings.Repeat("a", 2<<20)
	got := read(t, direct(e, signedForm(t, tooLarge, "iam", region, time.Now())))
	if got.status != 413 || got.contentType != "text/xml" {
		t.Errorf("answer to a body of %d bytes = %+v", len(tooLarge), got)
	}
}
