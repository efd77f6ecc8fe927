// Package sts gives out temporary credentials.
//
// It promises that a session never outranks whoever opened it may give: a role's
// session is made only when the role's own trust policy, and whatever else package
// access asks, allows it to this caller, with these tags and this source identity; and
// that strangers learn nothing of roles before they have shown a token that holds.
// Nothing is stored. That a session ends, and dies with its role or user, is package
// iam's promise.
//
// It trusts package oidc for what a token says, and package access for decisions.
package sts

import (
	"context"
	"strings"
	"time"

	"arca/internal/api"
	"arca/internal/api/stsapi"
	"arca/internal/arn"
	"arca/internal/call"
	"arca/internal/iam"
	"arca/internal/oidc"
	"arca/internal/store"
)

// Config is what a Service needs. All fields are required.
type Config struct {
	Store *store.Store
	IAM   *iam.Service
	OIDC  *oidc.Verifier
}

// Service serves the operations of STS.
type Service struct {
	store *store.Store
	iam   *iam.Service
	oidc  *oidc.Verifier
}

// New returns a Service.
func New(cfg Config) *Service { return &Service{store: cfg.Store, iam: cfg.IAM, oidc: cfg.OIDC} }

// Register makes the dispatcher serve the operations.
func (s *Service) Register(d *call.Dispatcher) {
	call.Register(d, stsapi.OpAssumeRole, s.AssumeRole)
	call.Register(d, stsapi.OpAssumeRoleWithWebIdentity, s.AssumeRoleWithWebIdentity)
	call.Register(d, stsapi.OpGetAccessKeyInfo, s.GetAccessKeyInfo)
	call.Register(d, stsapi.OpGetCallerIdentity, s.GetCallerIdentity)
	call.Register(d, stsapi.OpGetSessionToken, s.GetSessionToken)
}

// roleName is a role as a request names it.
type roleName struct {
	arn     string
	account string
	name    string
}

func parseRole(text string) (roleName, error) {
	a, err := arn.Parse(text)
	rest, isRole := strings.CutPrefix(a.Resource, "role/")
	name := rest[strings.LastIndexByte(rest, '/')+1:]
	if err != nil || a.Partition != "aws" || a.Service != "iam" || a.Region != "" ||
		!arn.ValidAccount(a.Account) || !isRole || name == "" {
		return roleName{}, stsapi.ValidationError.Errorf("%s is invalid", text)
	}
	return roleName{arn: text, account: a.Account, name: name}, nil
}

// role returns the role of exactly this ARN, nil when there is none.
func (s *Service) role(v *store.Snap, name roleName) *iam.Role {
	r := s.iam.Role(v, name.account, name.name)
	if r == nil || r.ARN() != name.arn {
		return nil
	}
	return r
}

// refuseDevice answers whoever sends the code of a device for multi-factor
// authentication. There are none here, so no code is right.
func refuseDevice(c *call.Call, serialNumber *string, code *api.SensitiveString) error {
	if serialNumber == nil && code == nil {
		return nil
	}
	c.NoteDenial(call.Denial{Action: "sts:" + c.Op.Name, Resource: "*", Reason: "because there are no devices for multi-factor authentication"})
	return stsapi.AccessDenied.Errorf("MultiFactorAuthentication failed, unable to validate MFA code.  Please verify your MFA serial number is valid and associated with this user.")
}

// issue makes the session's token and the answer's credentials.
func (s *Service) issue(session *iam.Session, lifetime time.Duration) (*stsapi.Credentials, error) {
	token, err := s.iam.NewSession(session, lifetime)
	if err != nil {
		return nil, err
	}
	// The wire shows whole seconds: rounded down, so that no client trusts in the rest.
	expires := time.UnixMilli(session.Expires).UTC().Truncate(time.Second)
	return &stsapi.Credentials{
		AccessKeyId:     session.KeyID,
		SecretAccessKey: api.SensitiveString(session.Secret),
		SessionToken:    api.SensitiveString(token),
		Expiration:      &expires,
	}, nil
}

// seconds is the lifetime asked for, or the usual one.
func seconds(asked *int32, usual time.Duration) time.Duration {
	if asked == nil {
		return usual
	}
	return time.Duration(*asked) * time.Second
}

// GetCallerIdentity says who calls. No policy can forbid it.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
func (s *Service) GetCallerIdentity(_ context.Context, c *call.Call, _ *stsapi.GetCallerIdentityInput) (*stsapi.GetCallerIdentityOutput, error) {
	c.NoDecision("everybody may ask who he is")
	return &stsapi.GetCallerIdentityOutput{UserId: &c.Caller.ID, Account: &c.Caller.Account, Arn: &c.Caller.ARN}, nil
}
