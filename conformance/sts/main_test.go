// Package sts_test says what STS answers, with the client that AWS publishes. Texts
// are AWS's, letter for letter, wherever they are known; a case whose text is Arca's
// own checks code and status only.
package sts_test

import (
	"os"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"arca/conformance/identity"
	"arca/conformance/target"
)

// shared is set once, before the tests.
var shared *target.Target

func TestMain(m *testing.M) {
	os.Exit(target.Main(m, func(t *target.Target) { shared = t }))
}

const (
	actAssume = "sts:AssumeRole"
	actTag    = "sts:TagSession"
	actName   = "sts:SetSourceIdentity"
)

// assume tries to open a session of a role. change may alter the request.
func assume(k *identity.Kit, as *identity.Caller, role string, change ...func(*sts.AssumeRoleInput)) (*sts.AssumeRoleOutput, error) {
	in := &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("session")}
	for _, c := range change {
		c(in)
	}
	return as.STS.AssumeRole(k.Ctx(), in)
}

func externalID(id string) func(*sts.AssumeRoleInput) {
	return func(in *sts.AssumeRoleInput) { in.ExternalId = &id }
}

func duration(seconds int32) func(*sts.AssumeRoleInput) {
	return func(in *sts.AssumeRoleInput) { in.DurationSeconds = &seconds }
}

func sessionPolicy(text string) func(*sts.AssumeRoleInput) {
	return func(in *sts.AssumeRoleInput) { in.Policy = &text }
}

func named(session string) func(*sts.AssumeRoleInput) {
	return func(in *sts.AssumeRoleInput) { in.RoleSessionName = &session }
}

func sourceIdentity(id string) func(*sts.AssumeRoleInput) {
	return func(in *sts.AssumeRoleInput) { in.SourceIdentity = &id }
}

func tags(pairs ...string) func(*sts.AssumeRoleInput) {
	return func(in *sts.AssumeRoleInput) {
		for i := 0; i+1 < len(pairs); i += 2 {
			in.Tags = append(in.Tags, types.Tag{Key: &pairs[i], Value: &pairs[i+1]})
		}
	}
}

func transitive(keys ...string) func(*sts.AssumeRoleInput) {
	return func(in *sts.AssumeRoleInput) { in.TransitiveTagKeys = keys }
}

// as is whom credentials speak for.
func as(by *identity.Caller, arn *string, c *types.Credentials) *identity.Caller {
	return by.As(arn, *c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken)
}
