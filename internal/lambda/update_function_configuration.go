package lambda

import (
	"context"

	"arca/internal/api/lambdaapi"
	"arca/internal/call"
	"arca/internal/store"
)

// UpdateFunctionConfiguration changes everything of a function but its code. Members
// that are absent stay; an environment is replaced as a whole.
func (s *Service) UpdateFunctionConfiguration(ctx context.Context, c *call.Call, in *lambdaapi.UpdateFunctionConfigurationInput) (*lambdaapi.FunctionConfiguration, error) {
	n, err := named(c, in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	o := options{
		vpc: in.VpcConfig, deadLetter: in.DeadLetterConfig, kmsKey: in.KMSKeyArn, tracing: in.TracingConfig, layers: in.Layers,
		fileSystems: in.FileSystemConfigs, image: in.ImageConfig, ephemeral: in.EphemeralStorage, snapStart: in.SnapStart,
		logging: in.LoggingConfig, capacity: in.CapacityProviderConfig, durable: in.DurableConfig,
	}
	if err := o.refuse(); err != nil {
		return nil, err
	}
	if in.Runtime != nil {
		if err := checkRuntime(*in.Runtime); err != nil {
			return nil, err
		}
	}
	if err := checkLimits(in.Timeout, in.MemorySize); err != nil {
		return nil, err
	}
	given, err := variables(in.Environment)
	if err != nil {
		return nil, err
	}
	var f *Function
	vars := given
	err = c.Update(ctx, s.store, func(tx *store.Tx) error {
		old, err := s.load(ctx, c, tx.Snap, n, "UpdateFunctionConfiguration")
		if err != nil {
			return err
		}
		if err := checkRevision(in.RevisionId, old.Revision, "GetFunction/GetAlias"); err != nil {
			return err
		}
		f = old.clone()
		if in.Role != nil {
			role, err := s.passRole(ctx, c, tx.Snap, f, *in.Role)
			if err != nil {
				return err
			}
			f.Role, f.RoleUID = *in.Role, role.UID
		}
		f.configure(in)
		if vars = given; in.Environment == nil || in.Environment.Variables == nil {
			if vars, err = s.environment(ctx, tx.Snap, old); err != nil {
				return err
			}
		} else {
			s.putEnvironment(tx, f, vars)
		}
		// Whether there are files in code that is there was seen when it was uploaded, if
		// the function was of code then; if not, the runner says so.
		if err := s.checkKind(f, vars, f.Package != ""); err != nil {
			return err
		}
		f.touch(c)
		s.functions.Put(tx, f.key(), f)
		return nil
	})
	return shownOr(f, vars, err)
}

// configure takes over the plain members of a request.
func (f *Function) configure(in *lambdaapi.UpdateFunctionConfigurationInput) {
	if in.Handler != nil {
		f.Handler = *in.Handler
	}
	if in.Description != nil {
		f.Description = *in.Description
	}
	if in.Timeout != nil {
		f.Timeout = *in.Timeout
	}
	if in.MemorySize != nil {
		f.Memory = *in.MemorySize
	}
	if in.Runtime != nil {
		f.Runtime = *in.Runtime
	}
}
