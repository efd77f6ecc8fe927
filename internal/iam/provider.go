package iam

import (
	"context"
	"slices"
	"strings"

	"arca/internal/api/iamapi"
	"arca/internal/arn"
	"arca/internal/call"
	"arca/internal/policy"
	"arca/internal/store"
)

func (s *Service) registerProviders(d *call.Dispatcher) {
	call.Register(d, iamapi.OpCreateOpenIDConnectProvider, s.CreateOpenIDConnectProvider)
	call.Register(d, iamapi.OpGetOpenIDConnectProvider, s.GetOpenIDConnectProvider)
	call.Register(d, iamapi.OpListOpenIDConnectProviders, s.ListOpenIDConnectProviders)
	call.Register(d, iamapi.OpDeleteOpenIDConnectProvider, s.DeleteOpenIDConnectProvider)
	call.Register(d, iamapi.OpUpdateOpenIDConnectProviderThumbprint, s.UpdateOpenIDConnectProviderThumbprint)
	call.Register(d, iamapi.OpAddClientIDToOpenIDConnectProvider, s.AddClientIDToOpenIDConnectProvider)
	call.Register(d, iamapi.OpRemoveClientIDFromOpenIDConnectProvider, s.RemoveClientIDFromOpenIDConnectProvider)
	call.Register(d, iamapi.OpTagOpenIDConnectProvider, s.TagOpenIDConnectProvider)
	call.Register(d, iamapi.OpUntagOpenIDConnectProvider, s.UntagOpenIDConnectProvider)
	call.Register(d, iamapi.OpListOpenIDConnectProviderTags, s.ListOpenIDConnectProviderTags)
}

// kindProvider is how ARNs call OpenID Connect providers.
const kindProvider = "oidc-provider"

// putProvider writes a provider, which must not be a shared record.
func (s *Service) putProvider(tx *store.Tx, p *Provider) {
	s.providers.Put(tx, providerKey(p.Account, p.URL), p)
}

// Providers visits the OpenID Connect providers of an account in the order of their
// URLs while fn returns true.
func (s *Service) Providers(v *store.Snap, account string, fn func(p *Provider) bool) {
	each(s.providers, v, byName, account+"\x00", fn)
}

// findProvider finds a provider of the caller's account by its ARN after asking for
// the action, nil when it is gone.
func (s *Service) findProvider(ctx context.Context, c *call.Call, v *store.Snap, action, providerARN string, keys ...policy.ContextKey) (*Provider, error) {
	owner, err := providerAccount(providerARN)
	if err != nil {
		return nil, err
	}
	e := entity{arn: providerARN, account: owner, snap: v}
	var p *Provider
	// Nothing is found in another account, whoever may reach it.
	if owner == c.Caller.Account {
		if p = s.ProviderByARN(v, providerARN); p != nil {
			e.tags = p.Tags
		}
	}
	if err := authorize(ctx, c, action, e, keys...); err != nil {
		return nil, err
	}
	return p, nil
}

// providerAccount holds the ARN of a provider to its form and returns its account.
func providerAccount(providerARN string) (string, error) {
	a, err := arn.Parse(providerARN)
	if err != nil {
		return "", iamapi.ValidationError.Wrap(err, "Invalid ARN:  Could not be parsed!")
	}
	if a.Partition != "aws" || a.Service != "iam" || a.Region != "" || !arn.ValidAccount(a.Account) || !strings.HasPrefix(a.Resource, kindProvider+"/") {
		return "", iamapi.InvalidInput.Errorf("ARN %s is not valid.", providerARN)
	}
	return a.Account, nil
}

// errNoProvider has AWS's text.
func errNoProvider(providerARN string) error {
	return iamapi.NoSuchEntity.Errorf("OpenIDConnect Provider not found for arn %s", providerARN)
}

// changeProvider is an operation that changes a provider: after the decision, change
// gets a copy whose slices are still those of the shared record, and what it returns
// an error for is not written.
func (s *Service) changeProvider(ctx context.Context, c *call.Call, action, providerARN string, change func(p *Provider) error, keys ...policy.ContextKey) error {
	return c.Update(ctx, s.store, func(tx *store.Tx) error {
		old, err := s.findProvider(ctx, c, tx.Snap, action, providerARN, keys...)
		if err != nil {
			return err
		}
		if old == nil {
			return errNoProvider(providerARN)
		}
		p := *old
		if err := change(&p); err != nil {
			return err
		}
		s.putProvider(tx, &p)
		return nil
	})
}

// CreateOpenIDConnectProvider makes the caller's account accept the tokens of an
// issuer, in roles that trust it. The issuer is not asked: an operation never waits
// for another system.
func (s *Service) CreateOpenIDConnectProvider(ctx context.Context, c *call.Call, in *iamapi.CreateOpenIDConnectProviderInput) (*iamapi.CreateOpenIDConnectProviderOutput, error) {
	account := c.Caller.Account
	out := &iamapi.CreateOpenIDConnectProviderOutput{}
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		url, err := issuerURL(in.Url)
		if err != nil {
			return err
		}
		p := Provider{Account: account, URL: url, Created: c.Now.UnixMilli()}
		itself := entity{arn: p.ARN(), snap: tx.Snap}
		if err := authorize(ctx, c, "CreateOpenIDConnectProvider", itself, requestTags(in.Tags)...); err != nil {
			return err
		}
		if len(in.Tags) > 0 {
			if err := authorize(ctx, c, "TagOpenIDConnectProvider", itself, requestTags(in.Tags)...); err != nil {
				return err
			}
		}
		if p.ClientIDs, err = s.clientIDs(in.ClientIDList); err != nil {
			return err
		}
		if p.Thumbprints, err = thumbprints(in.ThumbprintList); err != nil {
			return err
		}
		if p.Tags, err = s.setTags(nil, in.Tags, quotaProviderTags); err != nil {
			return err
		}
		// Two that are created at once meet at the record itself, which lives under its URL.
		if _, exists := s.providers.Get(tx.Snap, providerKey(account, url)); exists {
			return iamapi.EntityAlreadyExists.Errorf("Provider with url https://%s already exists.", url)
		}
		if s.providers.Count(account) >= s.quotas.providers {
			return errQuota("OpenIdConnectProvidersPerAccount", s.quotas.providers)
		}
		s.putProvider(tx, &p)
		out.OpenIDConnectProviderArn, out.Tags = new(p.ARN()), wireTags(p.Tags)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// GetOpenIDConnectProvider shows a provider.
func (s *Service) GetOpenIDConnectProvider(ctx context.Context, c *call.Call, in *iamapi.GetOpenIDConnectProviderInput) (*iamapi.GetOpenIDConnectProviderOutput, error) {
	out := &iamapi.GetOpenIDConnectProviderOutput{}
	err := s.store.View(ctx, func(v *store.Snap) error {
		p, err := s.findProvider(ctx, c, v, "GetOpenIDConnectProvider", in.OpenIDConnectProviderArn)
		if err != nil {
			return err
		}
		if p == nil {
			return errNoProvider(in.OpenIDConnectProviderArn)
		}
		*out = iamapi.GetOpenIDConnectProviderOutput{
			Url: &p.URL, CreateDate: moment(p.Created), Tags: wireTags(p.Tags),
			ClientIDList: append([]string{}, p.ClientIDs...), ThumbprintList: append([]string{}, p.Thumbprints...),
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ListOpenIDConnectProviders lists all providers of the caller's account.
func (s *Service) ListOpenIDConnectProviders(ctx context.Context, c *call.Call, _ *iamapi.ListOpenIDConnectProvidersInput) (*iamapi.ListOpenIDConnectProvidersOutput, error) {
	account := c.Caller.Account
	if err := authorize(ctx, c, "ListOpenIDConnectProviders", entity{arn: arnPrefix + account + ":" + kindProvider + "/*"}); err != nil {
		return nil, err
	}
	out := &iamapi.ListOpenIDConnectProvidersOutput{}
	err := s.store.View(ctx, func(v *store.Snap) error {
		out.OpenIDConnectProviderList = []iamapi.OpenIDConnectProviderListEntry{}
		s.Providers(v, account, func(p *Provider) bool {
			out.OpenIDConnectProviderList = append(out.OpenIDConnectProviderList, iamapi.OpenIDConnectProviderListEntry{Arn: new(p.ARN())})
			return true
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DeleteOpenIDConnectProvider makes the account accept an issuer's tokens no longer.
// Roles that trust it stay as they are, and the sessions it opened end by their time.
// As AWS documents it, to delete what is not there is no mistake.
func (s *Service) DeleteOpenIDConnectProvider(ctx context.Context, c *call.Call, in *iamapi.DeleteOpenIDConnectProviderInput) (*iamapi.DeleteOpenIDConnectProviderOutput, error) {
	err := c.Update(ctx, s.store, func(tx *store.Tx) error {
		p, err := s.findProvider(ctx, c, tx.Snap, "DeleteOpenIDConnectProvider", in.OpenIDConnectProviderArn)
		if err != nil || p == nil {
			return err
		}
		s.providers.Delete(tx, providerKey(p.Account, p.URL))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.DeleteOpenIDConnectProviderOutput{}, nil
}

// UpdateOpenIDConnectProviderThumbprint replaces the thumbprints of a provider.
func (s *Service) UpdateOpenIDConnectProviderThumbprint(ctx context.Context, c *call.Call, in *iamapi.UpdateOpenIDConnectProviderThumbprintInput) (*iamapi.UpdateOpenIDConnectProviderThumbprintOutput, error) {
	err := s.changeProvider(ctx, c, "UpdateOpenIDConnectProviderThumbprint", in.OpenIDConnectProviderArn, func(p *Provider) (err error) {
		p.Thumbprints, err = thumbprints(in.ThumbprintList)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.UpdateOpenIDConnectProviderThumbprintOutput{}, nil
}

// AddClientIDToOpenIDConnectProvider adds an audience. To add it again is no mistake.
func (s *Service) AddClientIDToOpenIDConnectProvider(ctx context.Context, c *call.Call, in *iamapi.AddClientIDToOpenIDConnectProviderInput) (*iamapi.AddClientIDToOpenIDConnectProviderOutput, error) {
	err := s.changeProvider(ctx, c, "AddClientIDToOpenIDConnectProvider", in.OpenIDConnectProviderArn, func(p *Provider) (err error) {
		p.ClientIDs, err = s.clientIDs(append(slices.Clone(p.ClientIDs), in.ClientID))
		return err
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.AddClientIDToOpenIDConnectProviderOutput{}, nil
}

// RemoveClientIDFromOpenIDConnectProvider removes an audience. To remove what is not
// there is no mistake.
func (s *Service) RemoveClientIDFromOpenIDConnectProvider(ctx context.Context, c *call.Call, in *iamapi.RemoveClientIDFromOpenIDConnectProviderInput) (*iamapi.RemoveClientIDFromOpenIDConnectProviderOutput, error) {
	err := s.changeProvider(ctx, c, "RemoveClientIDFromOpenIDConnectProvider", in.OpenIDConnectProviderArn, func(p *Provider) error {
		p.ClientIDs = slices.DeleteFunc(slices.Clone(p.ClientIDs), func(id string) bool { return id == in.ClientID })
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.RemoveClientIDFromOpenIDConnectProviderOutput{}, nil
}
