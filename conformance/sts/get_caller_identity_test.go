package sts_test

import (
	"encoding/xml"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"arca/conformance/identity"
)

// who is what GetCallerIdentity says.
type who struct{ account, arn, id string }

func ask(k *identity.Kit, c *identity.Caller) who {
	k.T.Helper()
	out, err := c.STS.GetCallerIdentity(k.Ctx(), &sts.GetCallerIdentityInput{})
	if err != nil {
		k.T.Fatal(err)
	}
	return who{aws.ToString(out.Account), aws.ToString(out.Arn), aws.ToString(out.UserId)}
}

func TestGetCallerIdentity(t *testing.T) {
	k := identity.New(t, shared)
	if !shared.AWS {
		if got, want := ask(k, k.Caller), (who{k.ID, k.Root(), k.ID}); got != want {
			t.Errorf("root = %+v, want %+v", got, want)
		}
	}
	user := k.User("user", identity.Allow(actAssume, "*"))
	if got, want := ask(k, user.Caller), (who{k.ID, "arn:aws:iam::" + k.ID + ":user/" + user.Name, user.ID}); got != want {
		t.Errorf("user = %+v, want %+v", got, want)
	}
	if !regexp.MustCompile(`^AIDA[A-Z2-7]{17}$`).MatchString(user.ID) {
		t.Errorf("user id %s", user.ID)
	}
	role := k.Role("role", identity.Trust(k.Root()))
	session := k.Assume(user.Caller, role, "my.session@example-1")
	if got, want := ask(k, session), (who{k.ID, role.SessionARN("my.session@example-1"), role.ID + ":my.session@example-1"}); got != want {
		t.Errorf("session = %+v, want %+v", got, want)
	}
	out, err := user.STS.GetSessionToken(k.Ctx(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := ask(k, as(user.Caller, &user.ARN, out.Credentials)), (who{k.ID, user.ARN, user.ID}); got != want {
		t.Errorf("session of the user = %+v, want %+v", got, want)
	}
	// The path belongs to the ARN of a user and not to that of a role's session.
	path := "/team/x/"
	name, inPath := k.Prefix+"pathed", k.Prefix+"pathed-role"
	made, err := k.IAM.CreateUser(k.Ctx(), &iam.CreateUserInput{UserName: &name, Path: &path})
	if err != nil {
		t.Fatal(err)
	}
	k.Cleanup(func(ctx ctx) { _, _ = k.IAM.DeleteUser(ctx, &iam.DeleteUserInput{UserName: &name}) })
	if got := aws.ToString(made.User.Arn); got != "arn:aws:iam::"+k.ID+":user/team/x/"+name {
		t.Errorf("ARN of a user with a path: %s", got)
	}
	r, err := k.IAM.CreateRole(k.Ctx(), &iam.CreateRoleInput{RoleName: &inPath, Path: &path, AssumeRolePolicyDocument: aws.String(identity.Trust(k.Root()))})
	if err != nil {
		t.Fatal(err)
	}
	k.Cleanup(func(ctx ctx) { _, _ = k.IAM.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: &inPath}) })
	k.Settle()
	got, err := assume(k, user.Caller, aws.ToString(r.Role.Arn))
	if err != nil {
		t.Fatal(err)
	}
	if want := "arn:aws:sts::" + k.ID + ":assumed-role/" + inPath + "/session"; aws.ToString(got.AssumedRoleUser.Arn) != want {
		t.Errorf("ARN of a session of a role with a path: %s, want %s", *got.AssumedRoleUser.Arn, want)
	}
}

// No policy can deny it.
func TestGetCallerIdentityUndeniable(t *testing.T) {
	k := identity.New(t, shared)
	user := k.User("user", identity.Deny("*", "*"))
	if got := ask(k, user.Caller); got.arn != user.ARN {
		t.Errorf("user = %+v", got)
	}
}

// A presigned GetCallerIdentity is a URL that tells others who one is.
func TestGetCallerIdentityPresigned(t *testing.T) {
	k := identity.New(t, shared)
	user := k.User("user", identity.Allow(actAssume, "*"))
	role := k.Role("role", identity.Trust(k.Root()))
	for name, caller := range map[string]*identity.Caller{"user": user.Caller, "session": k.Assume(user.Caller, role, "session")} {
		signed, err := sts.NewPresignClient(caller.STS).PresignGetCallerIdentity(k.Ctx(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if signed.Method != http.MethodGet {
			t.Fatalf("method %s", signed.Method)
		}
		status, body := fetch(t, signed.URL, nil)
		var answer struct {
			Result struct{ Arn, UserId, Account string } `xml:"GetCallerIdentityResult"`
			ID     string                                `xml:"ResponseMetadata>RequestId"`
		}
		if err := xml.Unmarshal(body, &answer); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, body)
		}
		if status != http.StatusOK || answer.Result.Arn != caller.ARN || answer.Result.Account != k.ID || answer.ID == "" {
			t.Errorf("%s: answer %d %s", name, status, body)
		}
		for change, from := range map[string][2]string{
			"another action":    {"Action=GetCallerIdentity", "Action=GetSessionToken"},
			"another signature": {"X-Amz-Signature=", "X-Amz-Signature=0"},
			"another life":      {"X-Amz-SignedHeaders=", "X-Amz-Expires=900&X-Amz-SignedHeaders="},
			"another version":   {"Version=2011-06-15", "Version=2010-05-08"},
		} {
			altered := strings.Replace(signed.URL, from[0], from[1], 1)
			if altered == signed.URL {
				t.Fatalf("URL %s has no %s", signed.URL, from[0])
			}
			if status, body := fetch(t, altered, nil); status != http.StatusForbidden && status != http.StatusBadRequest {
				t.Errorf("%s: answer %d %s, want a refusal", change, status, body)
			}
		}
	}
}

// Clusters let people log in by such a URL. It is bound to one cluster by a header
// that is signed as well.
func TestGetCallerIdentityForCluster(t *testing.T) {
	k := identity.New(t, shared)
	user := k.User("user")
	const header = "x-k8s-aws-id"
	signed, err := sts.NewPresignClient(user.STS).PresignGetCallerIdentity(k.Ctx(), nil, func(o *sts.PresignOptions) {
		o.ClientOptions = append(o.ClientOptions, func(o *sts.Options) {
			o.APIOptions = append(o.APIOptions, smithyhttp.AddHeaderValue(header, "cluster"), smithyhttp.AddHeaderValue("X-Amz-Expires", "60"))
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(signed.URL, header) {
		t.Fatalf("the header is not signed: %s", signed.URL)
	}
	status, body := fetch(t, signed.URL, http.Header{header: {"cluster"}})
	if status != http.StatusOK || !strings.Contains(string(body), user.ARN) {
		t.Errorf("answer %d %s", status, body)
	}
	for name, headers := range map[string]http.Header{"without": nil, "other cluster": {header: {"other"}}} {
		if status, body := fetch(t, signed.URL, headers); status != http.StatusForbidden {
			t.Errorf("%s: answer %d %s, want a refusal", name, status, body)
		}
	}
}

// fetch asks for a URL as anybody can.
func fetch(t *testing.T, url string, headers http.Header) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range headers {
		req.Header.Set(name, values[0])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}
