package lambda

import (
	"context"
	"errors"

	"arca/internal/api/lambdaapi"
	"arca/internal/call"
	"arca/internal/paging"
	"arca/internal/store"
)

// pageLimit is the largest page, whatever number is asked for, and the usual one.
const pageLimit = 50

// ListFunctions lists the functions of the account in the region, by name.
func (s *Service) ListFunctions(ctx context.Context, c *call.Call, in *lambdaapi.ListFunctionsInput) (*lambdaapi.ListFunctionsOutput, error) {
	p, err := s.newPager(c, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	list := []lambdaapi.FunctionConfiguration{}
	err = s.store.View(ctx, func(v *store.Snap) error {
		p.Begin()
		list = list[:0]
		if err := c.Authorize(ctx, &call.Check{Action: "lambda:ListFunctions", Resource: "*", Snap: v}); err != nil {
			return err
		}
		// Nothing is replicated to the edge, so nothing has a master elsewhere.
		if in.MasterRegion != nil && *in.MasterRegion != "ALL" && *in.MasterRegion != c.Region {
			return nil
		}
		var failed error
		s.Functions(v, c.Caller.Account, c.Region, p.After(), func(f *Function) bool {
			take, more := p.Offer(f.Name)
			if take {
				vars, err := s.environment(ctx, v, f)
				if err != nil {
					failed = err
					return false
				}
				list = append(list, *f.shown(vars))
			}
			return more
		})
		return failed
	})
	if err != nil {
		return nil, err
	}
	out := &lambdaapi.ListFunctionsOutput{Functions: list}
	_, out.NextMarker, err = p.End()
	return out, err
}

// ListVersionsByFunction lists the versions of a function: $LATEST.
func (s *Service) ListVersionsByFunction(ctx context.Context, c *call.Call, in *lambdaapi.ListVersionsByFunctionInput) (*lambdaapi.ListVersionsByFunctionOutput, error) {
	if _, err := s.newPager(c, in.Marker, in.MaxItems, in.FunctionName); err != nil {
		return nil, err
	}
	f, vars, err := s.show(ctx, c, in.FunctionName, nil, "ListVersionsByFunction")
	if err != nil {
		return nil, err
	}
	shown := f.shown(vars)
	shown.FunctionArn = new(f.ARN() + ":" + latest)
	return &lambdaapi.ListVersionsByFunctionOutput{Versions: []lambdaapi.FunctionConfiguration{*shown}}, nil
}

// newPager opens the marker of a request. parts are the members that narrow the list.
func (s *Service) newPager(c *call.Call, marker *string, limit *int32, parts ...string) (*paging.Pager, error) {
	n := pageLimit
	if limit != nil {
		n = min(int(*limit), pageLimit)
	}
	question := paging.QuestionOf(append([]string{c.Op.Service.Name, c.Op.Name, c.Caller.Account, c.Region}, parts...)...)
	p, err := paging.New(s.store, question, marker, n)
	if errors.Is(err, paging.ErrToken) {
		// The text is ours: AWS's is not known.
		return nil, lambdaapi.InvalidParameterValueException.Errorf("The Marker value is invalid.")
	}
	return p, err
}
