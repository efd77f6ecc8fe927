package sts

import (
	"context"
	"errors"

	"arca/internal/api/stsapi"
	"arca/internal/call"
	"arca/internal/iam"
	"arca/internal/oidc"
	"arca/internal/policy"
	"arca/internal/store"
)

// AssumeRoleWithWebIdentity opens a session of a role for the bearer of a token of an
// OpenID Connect issuer, which the role's account must have registered. The request
// carries no signature: until the token has held, its sender is nobody and is told
// nothing about roles.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
func (s *Service) AssumeRoleWithWebIdentity(ctx context.Context, c *call.Call, in *stsapi.AssumeRoleWithWebIdentityInput) (*stsapi.AssumeRoleWithWebIdentityOutput, error) {
	role, err := parseRole(in.RoleArn)
	if err != nil {
		return nil, err
	}
	if in.ProviderId != nil {
		return nil, stsapi.ValidationError.Errorf("ProviderId is only for OAuth 2.0 access tokens, which are not supported: leave it out.")
	}
	w := &wish{role: role, session: in.RoleSessionName, lifetime: seconds(in.DurationSeconds, usualRoleSession)}
	if err := w.setPolicies(in.Policy, in.PolicyArns); err != nil {
		return nil, err
	}
	token, provider, err := s.verify(ctx, role.account, string(in.WebIdentityToken))
	if err != nil {
		return nil, err
	}
	// From here on the sender is somebody, and the call stands in the account's log.
	c.Caller = call.Principal{
		Type: call.WebIdentityUser, Account: role.account, UserName: token.Subject, Provider: provider.ARN(),
		ID: provider.ARN() + ":" + token.Audience + ":" + token.Subject,
	}
	if err := w.setToken(provider, token); err != nil {
		return nil, err
	}
	packed, err := w.packed()
	if err != nil {
		return nil, err
	}
	var r *iam.Role
	err = s.store.View(ctx, func(v *store.Snap) error {
		// The issuer may have taken its time, and the account may have thought better of it.
		if s.iam.ProviderByARN(v, provider.ARN()) == nil {
			return errNoProvider(token.Issuer)
		}
		r = s.role(v, role)
		for _, ck := range w.checks(v, r, "sts:AssumeRoleWithWebIdentity") {
			if err := c.Authorize(ctx, ck); err != nil {
				return err
			}
		}
		if r == nil {
			c.NoteDenial(call.Denial{Action: "sts:AssumeRoleWithWebIdentity", Resource: role.arn, Reason: "because there is no such role"})
			return stsapi.AccessDenied.Errorf("Not authorized to perform sts:AssumeRoleWithWebIdentity")
		}
		return s.fit(v, w, r)
	})
	if err != nil {
		return nil, err
	}
	credentials, user, err := s.assume(c, w, r)
	if err != nil {
		return nil, err
	}
	out := &stsapi.AssumeRoleWithWebIdentityOutput{
		Credentials: credentials, AssumedRoleUser: user, PackedPolicySize: packed,
		SubjectFromWebIdentityToken: &token.Subject, Audience: &token.Audience, Provider: new(provider.ARN()),
	}
	if w.sourceIdentity != "" {
		out.SourceIdentity = &w.sourceIdentity
	}
	return out, nil
}

// verify finds the provider that an account has registered for the token's issuer and
// has the token verified. It may wait for the issuer, so no snapshot is held meanwhile.
func (s *Service) verify(ctx context.Context, account, text string) (*oidc.Token, *iam.Provider, error) {
	unverified, err := oidc.Parse(text)
	if err != nil {
		return nil, nil, tokenError(err)
	}
	registered, ok := oidc.Registered(unverified.Issuer())
	if !ok {
		return nil, nil, errNoProvider(unverified.Issuer())
	}
	var provider *iam.Provider
	err = s.store.View(ctx, func(v *store.Snap) error {
		provider = s.iam.ProviderByARN(v, (&iam.Provider{Account: account, URL: registered}).ARN())
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	if provider == nil {
		return nil, nil, errNoProvider(unverified.Issuer())
	}
	token, err := s.oidc.Verify(ctx, unverified, oidc.Provider{
		Account: account, Issuer: oidc.IssuerURL(provider.URL), ClientIDs: provider.ClientIDs, Thumbprints: provider.Thumbprints,
	})
	if err != nil {
		return nil, nil, tokenError(err)
	}
	return token, provider, nil
}

// setToken takes what the token says: the claims as condition keys, and the session's
// tags and source identity.
func (w *wish) setToken(provider *iam.Provider, token *oidc.Token) error {
	w.keys = append(w.keys, policy.ContextKey{Name: "aws:FederatedProvider", Values: []string{provider.ARN()}})
	w.federation = &iam.Federation{Provider: provider.ARN()}
	for _, claim := range token.Claims() {
		key := provider.URL + ":" + claim.Name
		w.keys = append(w.keys, policy.ContextKey{Name: key, Values: claim.Values})
		if oidc.Lasting(claim.Name) {
			w.federation.Claims = append(w.federation.Claims, iam.Claim{Key: key, Values: claim.Values})
		}
	}
	return w.setTokenTags(token)
}

func errNoProvider(issuer string) error {
	return stsapi.InvalidIdentityToken.Errorf("No OpenIDConnect provider found in your account for %s", issuer)
}

// tokenError is what the client is told of a token that does not hold. The texts are
// AWS's as far as they are known. The cause goes no further: strangers can send such
// tokens at will, and what an issuer did wrong is in the log already.
func tokenError(err error) error {
	bad, ok := errors.AsType[*oidc.Error](err)
	if !ok {
		return err
	}
	switch bad.Kind {
	case oidc.MissingClaim:
		return stsapi.InvalidIdentityToken.Errorf("Missing a required claim: %s", bad.Claim)
	case oidc.BadClaim:
		return stsapi.InvalidIdentityToken.Errorf("Invalid claim: %s", bad.Claim)
	case oidc.Expired:
		return stsapi.ExpiredTokenException.Errorf(
			"Token expired: current date/time %d must be before the expiration date/time %d", bad.Now.Unix(), bad.Expires.Unix())
	case oidc.NotYetValid:
		return stsapi.InvalidIdentityToken.Errorf("Token is not valid yet: %s lies in the future", bad.Claim)
	case oidc.WrongAudience:
		return stsapi.InvalidIdentityToken.Errorf("Incorrect token audience")
	case oidc.BadSignature:
		return stsapi.InvalidIdentityToken.Errorf("Token signature is invalid")
	case oidc.NoKey:
		// The two blanks are AWS's.
		return stsapi.InvalidIdentityToken.Errorf("Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements")
	case oidc.BadServer:
		return stsapi.InvalidIdentityToken.Errorf("OpenIDConnect provider's HTTPS certificate doesn't match configured thumbprint")
	case oidc.Unreachable:
		return stsapi.IDPCommunicationError.Errorf("The identity provider that was asked to verify the token could not be reached. Try again.")
	}
	return stsapi.InvalidIdentityToken.Errorf("The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)")
}
