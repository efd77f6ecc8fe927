package secrets

import (
	"context"

	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/paging"
	"arca/internal/store"
)

// batchPageSize is the page of a filtered batch whose caller named none: the most
// that one call may ask for.
const batchPageSize = 20

// BatchGetSecretValue reads the current values of up to 20 secrets. Each is read as
// by a GetSecretValue call of its own, with its own decision and audit record; one
// that cannot be read becomes an entry in Errors and does not fail the others.
func (s *Service) BatchGetSecretValue(ctx context.Context, c *call.Call, in *smapi.BatchGetSecretValueInput) (*smapi.BatchGetSecretValueOutput, error) {
	if err := c.Authorize(ctx, &call.Check{Action: "secretsmanager:BatchGetSecretValue", Resource: "*"}); err != nil {
		return nil, err
	}
	filtered := len(in.Filters) > 0
	switch {
	case filtered == (len(in.SecretIdList) > 0):
		return nil, smapi.InvalidParameterException.Errorf("Either 'SecretIdList' or 'Filters' must be provided, but not both.")
	case !filtered && in.MaxResults != nil:
		return nil, smapi.InvalidParameterException.Errorf("'Filters' not specified. 'Filters' must also be specified when 'MaxResults' is provided.")
	case !filtered && in.NextToken != nil:
		return nil, errPageToken() // only filtered batches have pages
	}
	ids, next := in.SecretIdList, (*string)(nil)
	if filtered {
		var err error
		if ids, next, err = s.batchPage(ctx, c, in); err != nil {
			return nil, err
		}
	}
	out := &smapi.BatchGetSecretValueOutput{
		SecretValues: make([]smapi.SecretValueEntry, 0, len(ids)),
		Errors:       []smapi.APIErrorType{},
		NextToken:    next,
	}
	for i := range ids {
		one := &smapi.GetSecretValueInput{SecretId: ids[i]}
		sub := c.SubCall(smapi.OpGetSecretValue, one)
		got, err := s.GetSecretValue(ctx, sub, one)
		if aerr := sub.Done(got, err); aerr != nil {
			out.Errors = append(out.Errors, smapi.APIErrorType{SecretId: &ids[i], ErrorCode: &aerr.Code.Name, Message: &aerr.Message})
			continue
		}
		out.SecretValues = append(out.SecretValues, smapi.SecretValueEntry(*got))
	}
	return out, nil
}

// batchPage names the secrets of one page of a filtered batch. Which ones match is
// what ListSecrets tells, hence its permission.
func (s *Service) batchPage(ctx context.Context, c *call.Call, in *smapi.BatchGetSecretValueInput) (arns []string, next *string, err error) {
	if err := c.Authorize(ctx, &call.Check{Action: "secretsmanager:ListSecrets", Resource: "*"}); err != nil {
		return nil, nil, err
	}
	q, err := newSecretQuery(scopeOf(c.Caller.Account, c.Region), in.Filters)
	if err != nil {
		return nil, nil, err
	}
	question := paging.QuestionOf(appendFilterParts([]string{"BatchGetSecretValue", q.scope}, in.Filters)...)
	after, err := openPageToken(s.store, question, in.NextToken)
	if err != nil {
		return nil, nil, err
	}
	var page secretPage
	err = s.store.View(ctx, func(v *store.Snap) error {
		q.see, q.err = s.describable(ctx, c, v), nil
		page = s.page(v, &q, after, pageSize(in.MaxResults, batchPageSize))
		return q.err
	})
	if err != nil {
		return nil, nil, err
	}
	for _, sec := range page.secrets {
		arns = append(arns, sec.ARN())
	}
	next, err = sealPageToken(s.store, question, page.next)
	return arns, next, err
}
