package lambda

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"arca/internal/api"
	"arca/internal/api/lambdaapi"
	"arca/internal/arn"
	"arca/internal/call"
	"arca/internal/iam"
	"arca/internal/policy"
	"arca/internal/store"
)

// facts are condition keys of a request that a service makes.
type facts []policy.ContextKey

// Lookup implements policy.Context.
func (f facts) Lookup(dst []string, key string) ([]string, bool) {
	found := false
	for i := range f {
		if strings.EqualFold(f[i].Name, key) {
			dst, found = append(dst, f[i].Values...), true
		}
	}
	return dst, found
}

// serviceFacts are the condition keys of a request by a service on behalf of something
// that belongs to an account.
func serviceFacts(service, account, source, region string, now time.Time) facts {
	return facts{
		contextKey("aws:SourceAccount", account),
		contextKey("aws:SourceArn", source),
		contextKey("aws:PrincipalServiceName", service),
		contextKey("aws:PrincipalServiceNamesList", service),
		contextKey("aws:PrincipalIsAWSService", "true"),
		contextKey("aws:ViaAWSService", "false"),
		contextKey("aws:SecureTransport", "true"),
		contextKey("aws:RequestedRegion", region),
		contextKey("aws:CurrentTime", now.UTC().Format("2006-01-02T15:04:05Z")),
		contextKey("aws:EpochTime", strconv.FormatInt(now.Unix(), 10)),
	}
}

// passRole asks whether the caller may give a function the role of that ARN, and whether
// the role lets Lambda act as it.
func (s *Service) passRole(ctx context.Context, c *call.Call, v *store.Snap, f *Function, roleARN string) (*iam.Role, error) {
	a, err := arn.Parse(roleARN)
	if err != nil {
		return nil, errRole()
	}
	if a.Account != c.Caller.Account || a.Account != f.Account {
		c.NoteDenial(call.Denial{Action: "iam:PassRole", Resource: roleARN, Reason: "because the role belongs to another account"})
		return nil, c.Op.Service.AccessDenied.Errorf("Cross-account pass role is not allowed.")
	}
	err = c.Authorize(ctx, &call.Check{
		Action: "iam:PassRole", Resource: roleARN, Snap: v,
		Keys: []policy.ContextKey{contextKey("iam:PassedToService", Principal), contextKey("iam:AssociatedResourceArn", f.ARN())},
	})
	if err != nil {
		return nil, err
	}
	name := a.Resource[strings.LastIndexByte(a.Resource, '/')+1:]
	role := s.iam.Role(v, a.Account, name)
	if role == nil || role.ARN() != roleARN || !s.trusts(role, f, c.Now) {
		return nil, errRole()
	}
	return role, nil
}

func errRole() error {
	return lambdaapi.InvalidParameterValueException.Errorf("The role defined for the function cannot be assumed by Lambda.")
}

// trusts reports whether the trust policy of a role lets Lambda act as it for a function.
// One that cannot be read lets nobody.
func (s *Service) trusts(role *iam.Role, f *Function, now time.Time) bool {
	trust, err := s.policies.Trust(role.Trust)
	if err != nil {
		return false
	}
	return policy.Evaluate(&policy.Request{
		Action: "sts:AssumeRole", Resource: role.ARN(), Account: role.Account, ResourceDecides: true,
		Caller:  policy.Caller{Kind: policy.ServiceCaller, Service: Principal},
		Context: serviceFacts(Principal, f.Account, f.ARN(), f.Region, now),
	}, &policy.Policies{Resource: policy.Source{Policy: trust, Name: "trust policy"}}).Allowed
}

// Credentials are temporary ones of a function's role.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey api.SensitiveString
	SessionToken    api.SensitiveString
	Expires         time.Time
}

// RoleError says why a function cannot act as its role now. Its text is for people.
type RoleError struct{ Text string }

// Error returns the text.
func (e *RoleError) Error() string { return e.Text }

// RoleSession opens a session of the function's role, for whoever runs it. now is when
// policies are asked; the session lives by the real clock. A role that is gone, that was
// made anew, or that no longer trusts Lambda is a *RoleError.
func (s *Service) RoleSession(ctx context.Context, f *Function, sessionName string, lifetime time.Duration, now time.Time) (*Credentials, error) {
	var refusal *RoleError
	err := s.store.View(ctx, func(v *store.Snap) error {
		refusal = s.roleRefusal(v, f, now)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look up role of function %s: %w", f.Name, err)
	}
	if refusal != nil {
		return nil, refusal
	}
	session := &iam.Session{Account: f.Account, Issuer: f.RoleUID, Name: sessionName}
	token, err := s.iam.NewSession(session, lifetime)
	if err != nil {
		return nil, fmt.Errorf("open session for function %s: %w", f.Name, err)
	}
	return &Credentials{
		AccessKeyID: session.KeyID, SecretAccessKey: api.SensitiveString(session.Secret),
		SessionToken: api.SensitiveString(token), Expires: time.UnixMilli(session.Expires).UTC(),
	}, nil
}

func (s *Service) roleRefusal(v *store.Snap, f *Function, now time.Time) *RoleError {
	role := s.iam.RoleByID(v, f.RoleUID)
	switch {
	case role == nil:
		return &RoleError{"The role " + f.Role + " of the function does not exist, or was made anew after it was given to the function. Give the function a role with UpdateFunctionConfiguration."}
	case !s.trusts(role, f, now):
		return &RoleError{"The role defined for the function cannot be assumed by Lambda."}
	}
	return nil
}
