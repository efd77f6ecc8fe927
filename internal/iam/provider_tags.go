package iam

import (
	"context"

	"arca/internal/api/iamapi"
	"arca/internal/call"
	"arca/internal/store"
)

// TagOpenIDConnectProvider adds tags or gives them new values.
func (s *Service) TagOpenIDConnectProvider(ctx context.Context, c *call.Call, in *iamapi.TagOpenIDConnectProviderInput) (*iamapi.TagOpenIDConnectProviderOutput, error) {
	err := s.changeProvider(ctx, c, "TagOpenIDConnectProvider", in.OpenIDConnectProviderArn, func(p *Provider) (err error) {
		p.Tags, err = s.setTags(p.Tags, in.Tags, quotaProviderTags)
		return err
	}, requestTags(in.Tags)...)
	if err != nil {
		return nil, err
	}
	return &iamapi.TagOpenIDConnectProviderOutput{}, nil
}

// UntagOpenIDConnectProvider removes tags.
func (s *Service) UntagOpenIDConnectProvider(ctx context.Context, c *call.Call, in *iamapi.UntagOpenIDConnectProviderInput) (*iamapi.UntagOpenIDConnectProviderOutput, error) {
	err := s.changeProvider(ctx, c, "UntagOpenIDConnectProvider", in.OpenIDConnectProviderArn, func(p *Provider) error {
		p.Tags = unsetTags(p.Tags, in.TagKeys)
		return nil
	}, tagKeys(in.TagKeys)...)
	if err != nil {
		return nil, err
	}
	return &iamapi.UntagOpenIDConnectProviderOutput{}, nil
}

// ListOpenIDConnectProviderTags lists the tags of a provider.
func (s *Service) ListOpenIDConnectProviderTags(ctx context.Context, c *call.Call, in *iamapi.ListOpenIDConnectProviderTagsInput) (*iamapi.ListOpenIDConnectProviderTagsOutput, error) {
	out := &iamapi.ListOpenIDConnectProviderTagsOutput{}
	err := s.store.View(ctx, func(v *store.Snap) error {
		p, err := s.findProvider(ctx, c, v, "ListOpenIDConnectProviderTags", in.OpenIDConnectProviderArn)
		if err != nil {
			return err
		}
		if p == nil {
			return errNoProvider(in.OpenIDConnectProviderArn)
		}
		pg, err := s.newPager(c, in.Marker, in.MaxItems, p.ARN())
		if err != nil {
			return err
		}
		out.Tags = pageOfTags(pg, p.Tags)
		out.IsTruncated, out.Marker, err = pg.End()
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
