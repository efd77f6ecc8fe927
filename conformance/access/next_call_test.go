package access_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"arca/conformance/identity"
)

// A change that has been answered is in force on the next call, however often rights
// come and go while others are at work.
func TestNextCall(t *testing.T) {
	k := identity.New(t, shared)
	k.Ours("changes that are in force at once")
	_, arn := k.Secret(k.Caller, "s", "v")
	var wg sync.WaitGroup
	for i := range 4 {
		user := k.User(fmt.Sprint("user-", i))
		name := aws.String("read")
		wg.Go(func() {
			for round := range 15 {
				if _, err := k.IAM.PutUserPolicy(k.Ctx(), &iam.PutUserPolicyInput{UserName: &user.Name, PolicyName: name, PolicyDocument: aws.String(identity.Allow(actGet, arn))}); err != nil {
					t.Error(err)
					return
				}
				if _, err := read(k.Ctx(), user.Caller, arn); err != nil {
					t.Errorf("round %d: right given, and %v", round, err)
				}
				if _, err := k.IAM.DeleteUserPolicy(k.Ctx(), &iam.DeleteUserPolicyInput{UserName: &user.Name, PolicyName: name}); err != nil {
					t.Error(err)
					return
				}
				_, err := read(k.Ctx(), user.Caller, arn)
				identity.WantDenied(t, err, user.ARN, actGet, arn, identity.NoIdentity)
			}
		})
	}
	wg.Wait()
}

// What is explained is what happens.
func TestExplainAgrees(t *testing.T) {
	k := identity.New(t, shared)
	server := k.OwnServer()
	name, arn := k.Secret(k.Caller, "MyApp/db", "v", "team", "red")
	able := k.User("able", identity.Allow(actGet, secretsIn(k, k.ID, "MyApp/*"), identity.If("StringEquals", "aws:ResourceTag/team", "red")))
	unable := k.User("unable", identity.Allow(actGet, secretsIn(k, k.ID, "Other/*")))
	barred := k.User("barred", identity.Allow(actGet, "*"), identity.Policy(identity.Statement{Sid: "Never", Effect: "Deny", Action: actGet, Resource: "*"}))
	named := k.User("named")
	k.Must(nil, putPolicy(k.Ctx(), k.Caller, arn, identity.Share(actGet, named.ARN)))
	for _, who := range []*identity.User{able, unable, barred, named} {
		_, err := read(k.Ctx(), who.Caller, arn)
		for _, resource := range []string{name, arn} {
			out, failed := server.Arca(k.Ctx(), "iam", "explain", "--principal", who.ARN, "--action", actGet, "--resource", resource, "--output", "json")
			if failed != nil {
				t.Fatal(failed)
			}
			var told struct{ Decision string }
			if failed := json.Unmarshal(out, &told); failed != nil {
				t.Fatalf("explain wrote %s: %v", out, failed)
			}
			if (told.Decision == "allowed") != (err == nil) {
				t.Errorf("%s: explained as %q, and the call answers %v", who.Name, told.Decision, err)
			}
		}
	}
	text, err := server.Arca(k.Ctx(), "iam", "explain", "--principal", "user/"+barred.Name, "--action", actGet, "--resource", name)
	if err != nil || !strings.Contains(string(text), "Never") {
		t.Errorf("explain wrote %s, %v", text, err)
	}
	list, err := server.Arca(k.Ctx(), "iam", "who-can", actGet, name)
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range []*identity.User{able, named} {
		if !strings.Contains(string(list), who.Name) {
			t.Errorf("who-can leaves %s out:\n%s", who.Name, list)
		}
	}
	for _, who := range []*identity.User{unable, barred} {
		if strings.Contains(string(list), who.Name) {
			t.Errorf("who-can tells of %s:\n%s", who.Name, list)
		}
	}
}
