package sts

import (
	"context"
	"time"

	"arca/internal/api/stsapi"
	"arca/internal/call"
	"arca/internal/iam"
)

const (
	usualUserSession = 12 * time.Hour
	// mostRootSession is what a root gets at most. AWS does not refuse more but gives less.
	mostRootSession = time.Hour
)

// GetSessionToken gives a user or root temporary credentials of its own. Policies have
// no say in it, as at AWS: the credentials can do nothing that the caller cannot.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_GetSessionToken.html
func (s *Service) GetSessionToken(_ context.Context, c *call.Call, in *stsapi.GetSessionTokenInput) (*stsapi.GetSessionTokenOutput, error) {
	if err := refuseSession(c); err != nil {
		return nil, err
	}
	if err := refuseDevice(c, in.SerialNumber, in.TokenCode); err != nil {
		return nil, err
	}
	lifetime := seconds(in.DurationSeconds, usualUserSession)
	if c.Caller.Type == call.Root {
		lifetime = min(lifetime, mostRootSession)
	}
	c.NoDecision("the credentials can do nothing that the caller cannot")
	credentials, err := s.issue(&iam.Session{Account: c.Caller.Account, Issuer: c.Caller.UniqueID}, lifetime)
	if err != nil {
		return nil, err
	}
	return &stsapi.GetSessionTokenOutput{Credentials: credentials}, nil
}

// refuseSession answers callers with temporary credentials.
func refuseSession(c *call.Call) error {
	if c.Caller.Session == nil && (c.Caller.Type == call.Root || c.Caller.Type == call.IAMUser) {
		return nil
	}
	c.NoteDenial(call.Denial{Action: "sts:" + c.Op.Name, Resource: "*", Reason: "because temporary credentials may not"})
	return stsapi.AccessDenied.Errorf("Cannot call %s with session credentials", c.Op.Name)
}
