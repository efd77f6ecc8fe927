package lambda

import (
	"context"

	"arca/internal/api/lambdaapi"
	"arca/internal/call"
	"arca/internal/store"
)

// UpdateFunctionCode gives a function other code. With DryRun it only says what the
// function would then be.
func (s *Service) UpdateFunctionCode(ctx context.Context, c *call.Call, in *lambdaapi.UpdateFunctionCodeInput) (*lambdaapi.FunctionConfiguration, error) {
	n, err := named(c, in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	o := options{publish: in.Publish, publishTo: in.PublishTo}
	if err := o.refuse(); err != nil {
		return nil, err
	}
	switch {
	case in.ImageUri != nil:
		return nil, errImage()
	case in.S3Bucket != nil || in.S3Key != nil || in.S3ObjectVersion != nil || in.S3ObjectStorageMode != nil:
		return nil, errS3()
	case text(in.SourceKMSKeyArn) != "":
		return nil, lambdaapi.InvalidParameterValueException.Errorf("SourceKMSKeyArn is not supported by this server.")
	}
	if err := checkUpload(in.ZipFile, Process); err != nil {
		return nil, err
	}
	code := newCode(in.ZipFile)
	var f *Function
	var vars map[string]string
	err = s.store.View(ctx, func(v *store.Snap) error {
		f, vars, err = s.withCode(ctx, c, v, n, in, code)
		return err
	})
	if err != nil || isTrue(in.DryRun) {
		return shownOr(f, vars, err)
	}
	old := f
	if f.SHA256 != code.sum || f.Package == "" {
		if err := s.stage(ctx, c, f, code); err != nil {
			return nil, err
		}
	}
	err = c.Update(ctx, s.store, func(tx *store.Tx) error {
		if f, vars, err = s.withCode(ctx, c, tx.Snap, n, in, code); err != nil {
			return err
		}
		if code.pkg != nil {
			if err := s.give(tx, f, code); err != nil {
				return err
			}
		} else if f.UID != old.UID || f.Package != old.Package {
			return errMeanwhile() // the code that was the same is gone
		}
		s.functions.Put(tx, f.key(), f)
		return nil
	})
	return shownOr(f, vars, err)
}

func errMeanwhile() error {
	return lambdaapi.ResourceConflictException.Errorf("The function was changed while this request was carried out. Try again.")
}

func shownOr(f *Function, vars map[string]string, err error) (*lambdaapi.FunctionConfiguration, error) {
	if err != nil {
		return nil, err
	}
	return f.shown(vars), nil
}

// withCode decides, and returns the function as it is to become but for its package.
func (s *Service) withCode(ctx context.Context, c *call.Call, v *store.Snap, n name, in *lambdaapi.UpdateFunctionCodeInput, code *code) (*Function, map[string]string, error) {
	old, err := s.load(ctx, c, v, n, "UpdateFunctionCode")
	if err != nil {
		return nil, nil, err
	}
	if err := checkRevision(in.RevisionId, old.Revision, "GetFunction/GetAlias"); err != nil {
		return nil, nil, err
	}
	vars, err := s.environment(ctx, v, old)
	if err != nil {
		return nil, nil, err
	}
	f := old.clone()
	if len(in.Architectures) > 0 {
		f.Architecture = in.Architectures[0]
	}
	if err := s.checkKind(f, vars, hasFiles(code.archive)); err != nil {
		return nil, nil, err
	}
	if err := s.checkRoom(v, f, int64(len(code.archive))); err != nil {
		return nil, nil, err
	}
	f.touch(c)
	if isTrue(in.DryRun) {
		f.SHA256, f.Size = code.sum, int64(len(code.archive))
	}
	return f, vars, nil
}
