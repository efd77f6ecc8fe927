package iam

import (
	"context"
	"slices"
	"strconv"

	"arca/internal/api/iamapi"
	"arca/internal/call"
	"arca/internal/paging"
	"arca/internal/store"
)

// versionID is the id of the n-th version of a policy.
func versionID(n int) string { return "v" + strconv.Itoa(n) }

// errNoVersion has AWS's text.
func errNoVersion(policyARN, id string) error {
	return iamapi.NoSuchEntity.Errorf("Policy %s version %s does not exist or is not attachable.", policyARN, id)
}

// wireVersion is the form of a version in answers that do not show its text.
func wireVersion(m *ManagedPolicy, ver *PolicyVersion) iamapi.PolicyVersion {
	return iamapi.PolicyVersion{
		VersionId: &ver.ID, IsDefaultVersion: new(ver.ID == m.Default), CreateDate: moment(ver.Created),
	}
}

// CreatePolicyVersion gives a managed policy a further text, in force at once if it is
// to be the default.
func (s *Service) CreatePolicyVersion(ctx context.Context, c *call.Call, in *iamapi.CreatePolicyVersionInput) (*iamapi.CreatePolicyVersionOutput, error) {
	out := &iamapi.CreatePolicyVersionOutput{}
	err := s.changePolicy(ctx, c, "CreatePolicyVersion", in.PolicyArn, nil, func(m *ManagedPolicy) error {
		if err := s.checkManaged(in.PolicyDocument); err != nil {
			return err
		}
		if len(m.Versions) >= s.quotas.versions {
			return iamapi.LimitExceeded.Errorf("A managed policy can have up to %d versions. Before you create a new version, you must delete an existing version.", s.quotas.versions)
		}
		ver := PolicyVersion{ID: versionID(m.Next), Text: in.PolicyDocument, Created: c.Now.UnixMilli()}
		m.Versions = append(slices.Clone(m.Versions), ver)
		m.Next++
		m.Updated = ver.Created
		if in.SetAsDefault != nil && *in.SetAsDefault {
			m.Default = ver.ID
		}
		out.PolicyVersion = new(wireVersion(m, &ver))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// GetPolicyVersion shows a version of a managed policy with its text.
func (s *Service) GetPolicyVersion(ctx context.Context, c *call.Call, in *iamapi.GetPolicyVersionInput) (*iamapi.GetPolicyVersionOutput, error) {
	out := &iamapi.GetPolicyVersionOutput{}
	err := s.viewPolicy(ctx, c, "GetPolicyVersion", in.PolicyArn, func(_ *store.Snap, m *ManagedPolicy) error {
		ver := m.Version(in.VersionId)
		if ver == nil {
			return errNoVersion(in.PolicyArn, in.VersionId)
		}
		shown := wireVersion(m, ver)
		shown.Document = new(encodedPolicy(ver.Text))
		out.PolicyVersion = &shown
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DeletePolicyVersion removes a version that is not the default one.
func (s *Service) DeletePolicyVersion(ctx context.Context, c *call.Call, in *iamapi.DeletePolicyVersionInput) (*iamapi.DeletePolicyVersionOutput, error) {
	err := s.changePolicy(ctx, c, "DeletePolicyVersion", in.PolicyArn, nil, func(m *ManagedPolicy) error {
		if m.Version(in.VersionId) == nil {
			return errNoVersion(in.PolicyArn, in.VersionId)
		}
		if in.VersionId == m.Default {
			return iamapi.DeleteConflict.Errorf("Cannot delete the default version of a policy.")
		}
		m.Versions = slices.DeleteFunc(slices.Clone(m.Versions), func(v PolicyVersion) bool { return v.ID == in.VersionId })
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.DeletePolicyVersionOutput{}, nil
}

// ListPolicyVersions lists the versions of a managed policy, the newest first.
func (s *Service) ListPolicyVersions(ctx context.Context, c *call.Call, in *iamapi.ListPolicyVersionsInput) (*iamapi.ListPolicyVersionsOutput, error) {
	out := &iamapi.ListPolicyVersionsOutput{}
	err := s.viewPolicy(ctx, c, "ListPolicyVersions", in.PolicyArn, func(_ *store.Snap, m *ManagedPolicy) error {
		pg, err := s.newPager(c, in.Marker, in.MaxItems, m.UID)
		if err != nil {
			return err
		}
		all := make([]iamapi.PolicyVersion, 0, len(m.Versions))
		for i := len(m.Versions) - 1; i >= 0; i-- {
			all = append(all, wireVersion(m, &m.Versions[i]))
		}
		out.Versions = paging.Page(pg, all)
		out.IsTruncated, out.Marker, err = pg.End()
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// SetDefaultPolicyVersion puts another version of a managed policy in force.
func (s *Service) SetDefaultPolicyVersion(ctx context.Context, c *call.Call, in *iamapi.SetDefaultPolicyVersionInput) (*iamapi.SetDefaultPolicyVersionOutput, error) {
	err := s.changePolicy(ctx, c, "SetDefaultPolicyVersion", in.PolicyArn, nil, func(m *ManagedPolicy) error {
		if m.Version(in.VersionId) == nil {
			return errNoVersion(in.PolicyArn, in.VersionId)
		}
		m.Default = in.VersionId
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.SetDefaultPolicyVersionOutput{}, nil
}

// TagPolicy adds tags or gives them new values.
func (s *Service) TagPolicy(ctx context.Context, c *call.Call, in *iamapi.TagPolicyInput) (*iamapi.TagPolicyOutput, error) {
	err := s.changePolicy(ctx, c, "TagPolicy", in.PolicyArn, requestTags(in.Tags), func(m *ManagedPolicy) (err error) {
		m.Tags, err = s.setTags(m.Tags, in.Tags, quotaPolicyTags)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.TagPolicyOutput{}, nil
}

// UntagPolicy removes tags.
func (s *Service) UntagPolicy(ctx context.Context, c *call.Call, in *iamapi.UntagPolicyInput) (*iamapi.UntagPolicyOutput, error) {
	err := s.changePolicy(ctx, c, "UntagPolicy", in.PolicyArn, tagKeys(in.TagKeys), func(m *ManagedPolicy) error {
		m.Tags = unsetTags(m.Tags, in.TagKeys)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.UntagPolicyOutput{}, nil
}

// ListPolicyTags lists the tags of a managed policy.
func (s *Service) ListPolicyTags(ctx context.Context, c *call.Call, in *iamapi.ListPolicyTagsInput) (*iamapi.ListPolicyTagsOutput, error) {
	out := &iamapi.ListPolicyTagsOutput{}
	err := s.viewPolicy(ctx, c, "ListPolicyTags", in.PolicyArn, func(_ *store.Snap, m *ManagedPolicy) error {
		pg, err := s.newPager(c, in.Marker, in.MaxItems, m.UID)
		if err != nil {
			return err
		}
		out.Tags = pageOfTags(pg, m.Tags)
		out.IsTruncated, out.Marker, err = pg.End()
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
