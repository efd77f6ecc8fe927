package lambda

import (
	"context"

	"arca/internal/api/lambdaapi"
	"arca/internal/call"
	"arca/internal/store"
)

// GetFunction shows a function with its tags. Lambda would also say where its code can be
// fetched; here there is no such place.
func (s *Service) GetFunction(ctx context.Context, c *call.Call, in *lambdaapi.GetFunctionInput) (*lambdaapi.GetFunctionOutput, error) {
	f, vars, err := s.show(ctx, c, in.FunctionName, in.Qualifier, "GetFunction")
	if err != nil {
		return nil, err
	}
	out := &lambdaapi.GetFunctionOutput{Configuration: f.shown(vars), Code: &lambdaapi.FunctionCodeLocation{}}
	if len(f.Tags) > 0 {
		out.Tags = shownTags(f.Tags)
	}
	return out, nil
}

// GetFunctionConfiguration shows a function without its tags.
func (s *Service) GetFunctionConfiguration(ctx context.Context, c *call.Call, in *lambdaapi.GetFunctionConfigurationInput) (*lambdaapi.FunctionConfiguration, error) {
	f, vars, err := s.show(ctx, c, in.FunctionName, in.Qualifier, "GetFunctionConfiguration")
	return shownOr(f, vars, err)
}

// GetFunctionCodeSigningConfig answers what Terraform asks of every function: it has no
// configuration for code signing.
func (s *Service) GetFunctionCodeSigningConfig(ctx context.Context, c *call.Call, in *lambdaapi.GetFunctionCodeSigningConfigInput) (*lambdaapi.GetFunctionCodeSigningConfigOutput, error) {
	f, _, err := s.show(ctx, c, in.FunctionName, nil, "GetFunctionCodeSigningConfig")
	if err != nil {
		return nil, err
	}
	return &lambdaapi.GetFunctionCodeSigningConfigOutput{FunctionName: f.Name}, nil
}

func (s *Service) show(ctx context.Context, c *call.Call, functionName string, qualifier *string, action string) (f *Function, vars map[string]string, err error) {
	n, err := named(c, functionName, qualifier)
	if err != nil {
		return nil, nil, err
	}
	err = s.store.View(ctx, func(v *store.Snap) error {
		if f, err = s.load(ctx, c, v, n, action); err != nil {
			return err
		}
		vars, err = s.environment(ctx, v, f)
		return err
	})
	return f, vars, err
}
