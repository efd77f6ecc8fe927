package lambda

import (
	"context"
	"crypto/rand"

	"arca/internal/api/lambdaapi"
	"arca/internal/call"
	"arca/internal/policy"
	"arca/internal/store"
)

// CreateFunction stores a function. Its code comes with the request; its role must be
// one that the caller may pass and that Lambda may assume.
func (s *Service) CreateFunction(ctx context.Context, c *call.Call, in *lambdaapi.CreateFunctionInput) (*lambdaapi.FunctionConfiguration, error) {
	f, vars, err := s.wanted(c, in)
	if err != nil {
		return nil, err
	}
	code := newCode(in.Code.ZipFile)
	// Asked before the code is stored, and again when the function is.
	err = s.store.View(ctx, func(v *store.Snap) error { return s.mayCreate(ctx, c, v, f, code) })
	if err != nil {
		return nil, err
	}
	if err := s.stage(ctx, c, f, code); err != nil {
		return nil, err
	}
	err = c.Update(ctx, s.store, func(tx *store.Tx) error {
		if err := s.mayCreate(ctx, c, tx.Snap, f, code); err != nil {
			return err
		}
		if err := s.give(tx, f, code); err != nil {
			return err
		}
		s.putEnvironment(tx, f, vars)
		s.functions.Put(tx, f.key(), f)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return f.shown(vars), nil
}

// wanted is the function of a request, as far as the request tells it, with the
// variables of its environment.
func (s *Service) wanted(c *call.Call, in *lambdaapi.CreateFunctionInput) (*Function, map[string]string, error) {
	n, err := named(c, in.FunctionName, nil)
	switch {
	case err != nil:
		return nil, nil, err
	case n.account != c.Caller.Account || n.qualifier != "":
		return nil, nil, lambdaapi.InvalidParameterValueException.Errorf("A function is created under a name of the own account, without a qualifier.")
	}
	o := options{
		vpc: in.VpcConfig, deadLetter: in.DeadLetterConfig, kmsKey: in.KMSKeyArn, tracing: in.TracingConfig, layers: in.Layers,
		fileSystems: in.FileSystemConfigs, image: in.ImageConfig, ephemeral: in.EphemeralStorage, snapStart: in.SnapStart,
		logging: in.LoggingConfig, capacity: in.CapacityProviderConfig, durable: in.DurableConfig, signing: in.CodeSigningConfigArn,
		tenancy: in.TenancyConfig, publish: in.Publish, publishTo: in.PublishTo,
	}
	if err := o.refuse(); err != nil {
		return nil, nil, err
	}
	if text(in.PackageType) == lambdaapi.PackageTypeImage || in.Code.ImageUri != nil {
		return nil, nil, errImage()
	}
	if in.Code.S3Bucket != nil || in.Code.S3Key != nil || in.Code.S3ObjectVersion != nil || in.Code.S3ObjectStorageMode != nil {
		return nil, nil, errS3()
	}
	if text(in.Code.SourceKMSKeyArn) != "" {
		return nil, nil, lambdaapi.InvalidParameterValueException.Errorf("SourceKMSKeyArn is not supported by this server.")
	}
	if text(in.Runtime) == "" || text(in.Handler) == "" {
		return nil, nil, lambdaapi.InvalidParameterValueException.Errorf("Runtime and Handler are mandatory parameters for functions created with deployment packages.")
	}
	if err := checkRuntime(*in.Runtime); err != nil {
		return nil, nil, err
	}
	if err := checkLimits(in.Timeout, in.MemorySize); err != nil {
		return nil, nil, err
	}
	f := &Function{
		Account: n.account, Region: n.region, Name: n.function, Runtime: *in.Runtime, Handler: *in.Handler, Role: in.Role,
		Description: text(in.Description), Timeout: defaultTimeout, Memory: defaultMemory, Architecture: lambdaapi.ArchitectureX8664,
		Created: c.Now.UnixMilli(),
	}
	_, _ = rand.Read(f.UID[:]) // never fails: crypto/rand ends the program instead
	if in.Timeout != nil {
		f.Timeout = *in.Timeout
	}
	if in.MemorySize != nil {
		f.Memory = *in.MemorySize
	}
	if len(in.Architectures) > 0 {
		f.Architecture = in.Architectures[0]
	}
	if f.Tags, err = s.setTags(nil, in.Tags); err != nil {
		return nil, nil, err
	}
	vars, err := variables(in.Environment)
	if err != nil {
		return nil, nil, err
	}
	if err := checkUpload(in.Code.ZipFile, f.Kind()); err != nil {
		return nil, nil, err
	}
	f.touch(c)
	return f, vars, s.checkKind(f, vars, hasFiles(in.Code.ZipFile))
}

func errImage() error {
	return lambdaapi.InvalidParameterValueException.Errorf("Container images are not supported by this server: code must be a zip archive.")
}

func errS3() error {
	return lambdaapi.InvalidParameterValueException.Errorf("Code in S3 is not supported by this server: send the archive as ZipFile.")
}

// checkUpload looks at the archive of a request, which only code must have.
func checkUpload(archive []byte, kind Kind) error {
	if archive == nil {
		if kind == Process {
			return lambdaapi.InvalidParameterValueException.Errorf("Please provide a source for function code.")
		}
		return nil
	}
	return checkArchive(archive)
}

// mayCreate asks for all that a new function needs, and gives it the role.
func (s *Service) mayCreate(ctx context.Context, c *call.Call, v *store.Snap, f *Function, code *code) error {
	requested := requestTags(f.Tags)
	if err := c.Authorize(ctx, checkNew(v, "CreateFunction", f, requested)); err != nil {
		return err
	}
	if len(f.Tags) > 0 {
		if err := c.Authorize(ctx, checkNew(v, "TagResource", f, requested)); err != nil {
			return err
		}
	}
	role, err := s.passRole(ctx, c, v, f, f.Role)
	if err != nil {
		return err
	}
	f.RoleUID = role.UID
	if _, exists := s.functions.Get(v, f.key()); exists {
		return lambdaapi.ResourceConflictException.Errorf("Function already exist: %s", f.Name)
	}
	c.NoteResource(f.Account, functionType, f.ARN())
	return s.checkRoom(v, f, int64(len(code.archive)))
}

// checkNew is the question about a function that does not exist yet.
func checkNew(v *store.Snap, action string, f *Function, keys []policy.ContextKey) *call.Check {
	return &call.Check{Action: "lambda:" + action, Resource: f.ARN(), Account: f.Account, Keys: keys, Snap: v}
}

// checkRoom refuses more functions or more code than an account may have in a region. f
// may be one of them already; size is what its code will take.
func (s *Service) checkRoom(v *store.Snap, f *Function, size int64) error {
	n, total := 0, size
	s.Functions(v, f.Account, f.Region, "", func(o *Function) bool {
		if o.Name != f.Name {
			n++
			total += o.Size
		}
		return true
	})
	if total > s.quotas.codeBytes {
		return lambdaapi.CodeStorageExceededException.Errorf("Code storage limit exceeded.")
	}
	if n >= s.quotas.functions {
		return lambdaapi.TooManyRequestsException.Errorf("You can't have more than %d functions in a region.", s.quotas.functions)
	}
	return nil
}

// putEnvironment stores the variables of a function that is put afterwards, in the same
// transaction.
func (s *Service) putEnvironment(tx *store.Tx, f *Function, vars map[string]string) {
	if f.HasEnv = len(vars) > 0; f.HasEnv {
		s.envs.Put(tx, f.envKey(), &Environment{Variables: vars})
	} else {
		s.envs.Delete(tx, f.envKey())
	}
}
