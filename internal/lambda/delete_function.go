package lambda

import (
	"context"
	"net/http"

	"arca/internal/api/lambdaapi"
	"arca/internal/call"
	"arca/internal/store"
)

// DeleteFunction removes a function with its code, environment and policy. A secret that
// it rotates keeps its name, and learns at the next rotation that it is gone.
func (s *Service) DeleteFunction(ctx context.Context, c *call.Call, in *lambdaapi.DeleteFunctionInput) (*lambdaapi.DeleteFunctionOutput, error) {
	n, err := named(c, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	err = c.Update(ctx, s.store, func(tx *store.Tx) error {
		f, err := s.load(ctx, c, tx.Snap, n, "DeleteFunction")
		if err != nil {
			return err
		}
		if n.qualifier == latest {
			return lambdaapi.InvalidParameterValueException.Errorf("$LATEST version cannot be deleted without deleting the function.")
		}
		s.dropCode(tx, f)
		if f.HasEnv {
			s.envs.Delete(tx, f.envKey())
		}
		s.functions.Delete(tx, f.key())
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &lambdaapi.DeleteFunctionOutput{StatusCode: new(int32(http.StatusNoContent))}, nil
}
