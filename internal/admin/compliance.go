package admin

import (
	"cmp"
	"context"
	"errors"

	"arca/internal/api/arcaapi"
	"arca/internal/call"
	"arca/internal/compliance"
	"arca/internal/store"
)

// resultsPerPage is how many results DescribeCompliance returns unless told otherwise.
const resultsPerPage = 100

// DescribeCompliance says of every secret which of AWS Config's rules it keeps. The sums
// on the first page are of the last look that the engine took at each secret.
func (s *Service) DescribeCompliance(ctx context.Context, c *call.Call, in *arcaapi.DescribeComplianceInput) (*arcaapi.DescribeComplianceOutput, error) {
	if err := c.Authorize(ctx, &call.Check{Action: "arca:DescribeCompliance", Resource: "*"}); err != nil {
		return nil, err
	}
	q, err := s.complianceQuery(ctx, in)
	if err != nil {
		return nil, err
	}
	asked := question("DescribeCompliance", q.Account, q.Region, string(q.Rule), q.State.String())
	if q.After, err = s.openPage(in.NextToken, asked); err != nil {
		return nil, err
	}
	var page compliance.Page
	err = s.store.View(ctx, func(v *store.Snap) error {
		page, err = s.compliance.Results(v, c.Now, q)
		return err
	})
	if errors.Is(err, compliance.ErrPlace) {
		return nil, arcaapi.InvalidParameterException.Errorf("The NextToken value is invalid.")
	}
	if err != nil {
		return nil, err
	}
	out := &arcaapi.DescribeComplianceOutput{Results: make([]arcaapi.ComplianceResult, 0, len(page.Results))}
	for i := range page.Results {
		r := &page.Results[i]
		out.Results = append(out.Results, arcaapi.ComplianceResult{
			RuleName: new(string(r.Rule)), ResourceType: new(compliance.ResourceType), ResourceId: &r.SecretARN, ResourceName: &r.SecretName,
			AccountId: &r.Account, Region: &r.Region, ComplianceType: new(r.State.String()), Annotation: &r.Annotation,
		})
	}
	if in.NextToken == nil {
		out.Rules, out.CountsComplete = s.complianceRules(q.Account, q.Rule)
	}
	out.NextToken, err = s.sealPage(page.Next, asked)
	return out, err
}

func (s *Service) complianceQuery(ctx context.Context, in *arcaapi.DescribeComplianceInput) (q compliance.Query, err error) {
	q.Max = resultsPerPage
	if in.MaxResults != nil {
		q.Max = int(*in.MaxResults)
	}
	if in.Account != nil {
		if q.Account, err = s.accountID(ctx, *in.Account); err != nil {
			return q, err
		}
	}
	if in.Region != nil {
		q.Region = *in.Region
	}
	if in.RuleName != nil {
		if q.Rule, err = compliance.ParseRule(*in.RuleName); err != nil {
			return q, arcaapi.NotFoundException.Errorf("There is no rule %s.", *in.RuleName)
		}
	}
	if in.ComplianceType != nil {
		if q.State, err = compliance.ParseState(*in.ComplianceType); err != nil {
			return q, arcaapi.InvalidParameterException.Errorf("ComplianceType is COMPLIANT, NON_COMPLIANT or NOT_APPLICABLE.")
		}
	}
	return q, nil
}

// complianceRules are the rules that were asked about, with their parameters and sums, and
// whether the sums take in every secret.
func (s *Service) complianceRules(account string, only compliance.Rule) ([]arcaapi.ComplianceRule, *bool) {
	counts, whole := s.compliance.Counts(account)
	parameters := s.compliance.Parameters()
	rules := []arcaapi.ComplianceRule{}
	for _, r := range compliance.Rules() {
		if cmp.Or(only, r) != r {
			continue
		}
		of := func(state compliance.State) *int64 { return new(int64(counts.Of(r, state))) }
		rules = append(rules, arcaapi.ComplianceRule{
			RuleName: new(string(r)), InputParameters: parameters.Of(r),
			Compliant: of(compliance.Compliant), NonCompliant: of(compliance.NonCompliant), NotApplicable: of(compliance.NotApplicable),
		})
	}
	return rules, &whole
}
