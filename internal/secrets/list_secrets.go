package secrets

import (
	"context"
	"strconv"

	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/paging"
	"arca/internal/store"
)

// listPageSize is the page of a list whose caller named none; AWS's is not known.
const listPageSize = 100

// ListSecrets lists the secrets of the caller's account, never those that others
// shared with it. Who may list sees all of them, as on AWS, unless the server is set to
// show only those that the caller may describe.
func (s *Service) ListSecrets(ctx context.Context, c *call.Call, in *smapi.ListSecretsInput) (*smapi.ListSecretsOutput, error) {
	if err := c.Authorize(ctx, &call.Check{Action: "secretsmanager:ListSecrets", Resource: "*"}); err != nil {
		return nil, err
	}
	q, err := newSecretQuery(scopeOf(c.Caller.Account, c.Region), in.Filters)
	if err != nil {
		return nil, err
	}
	if in.SortBy != nil {
		q.sortBy = *in.SortBy
	}
	q.descending = in.SortOrder != nil && *in.SortOrder == "desc"
	q.planned = isTrue(in.IncludePlannedDeletion)
	question := paging.QuestionOf(appendFilterParts(
		[]string{"ListSecrets", q.scope, q.sortBy, strconv.FormatBool(q.descending), strconv.FormatBool(q.planned)}, in.Filters)...)
	after, err := openPageToken(s.store, question, in.NextToken)
	if err != nil {
		return nil, err
	}

	var page secretPage
	out := &smapi.ListSecretsOutput{}
	err = s.store.View(ctx, func(v *store.Snap) error {
		q.see, q.err = s.describable(ctx, c, v), nil
		page = s.page(v, &q, after, pageSize(in.MaxResults, listPageSize))
		if q.err != nil {
			return q.err
		}
		out.SecretList = make([]smapi.SecretListEntry, 0, len(page.secrets))
		for i, sec := range page.secrets {
			out.SecretList = append(out.SecretList, s.listEntry(v, sec, page.days[i]))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out.NextToken, err = sealPageToken(s.store, question, page.next)
	return out, err
}

// describable says of each secret whether the caller may describe it; nil when lists
// show all secrets. Nobody has asked for those that are left out, so that they are is no
// denial.
func (s *Service) describable(ctx context.Context, c *call.Call, v *store.Snap) func(sec *Secret) (bool, error) {
	if !s.listOnlyDescribable {
		return nil
	}
	return func(sec *Secret) (bool, error) {
		id := identifier{raw: sec.ARN(), account: sec.Account}
		return c.Allowed(ctx, check(v, "DescribeSecret", &id, sec))
	}
}

func pageSize(asked *int32, initial int) int {
	if asked == nil {
		return initial
	}
	return int(*asked)
}
