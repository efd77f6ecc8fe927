package lambda

import (
	"context"
	"strings"

	"arca/internal/api/lambdaapi"
	"arca/internal/arn"
	"arca/internal/call"
	"arca/internal/policy"
	"arca/internal/store"
)

// Records that finders return are shared and must not be modified.

// Find returns the function that an ARN names, with $LATEST for a qualifier or none. It
// decides nothing.
func (s *Service) Find(v *store.Snap, functionARN string) (*Function, bool) {
	if !arn.IsARN(functionARN) {
		return nil, false
	}
	n, ok := parseName(functionARN)
	if !ok || n.arn() != strings.TrimSuffix(functionARN, ":"+latest) || n.qualifier != "" && n.qualifier != latest {
		return nil, false
	}
	return s.get(v, n)
}

// current is the record of f in another snapshot.
func (s *Service) current(v *store.Snap, f *Function) (*Function, error) {
	now, ok := s.functions.Get(v, f.key())
	if !ok || now.UID != f.UID {
		return nil, lambdaapi.ResourceNotFoundException.Errorf("Function not found: %s", f.ARN())
	}
	return now, nil
}

func (s *Service) get(v *store.Snap, n name) (*Function, bool) {
	return s.functions.Get(v, store.Key{Scope: scopeOf(n.account, n.region), Parent: n.function})
}

// Functions visits the functions of an account in a region in the order of their names,
// after a name, while fn returns true.
func (s *Service) Functions(v *store.Snap, account, region, after string, fn func(f *Function) bool) {
	prefix := namePrefix(account, region)
	s.functions.Ascend(v, byName, prefix+after, func(k string, f *Function) bool {
		rest, ok := strings.CutPrefix(k, prefix)
		return ok && (rest == after || fn(f))
	})
}

// Resource looks up a function that somebody asks about by its ARN, in whichever region
// it is. ck is the question that an operation on the function asks, without an action. It
// decides nothing: who may know is the caller's to ask.
func (s *Service) Resource(v *store.Snap, _ *call.Call, resource string) (ck call.Check, found bool) {
	f, ok := s.Find(v, resource)
	if !ok {
		return call.Check{}, false
	}
	return *check(v, "", f), true
}

// check is the question whether the caller may do something with a function.
func check(v *store.Snap, action string, f *Function, keys ...policy.ContextKey) *call.Check {
	for _, t := range f.Tags {
		keys = append(keys, contextKey("aws:ResourceTag/"+t.Key, t.Value))
	}
	ck := &call.Check{Resource: f.ARN(), Account: f.Account, ResourcePolicy: f.Policy, Keys: keys, Snap: v}
	if action != "" {
		ck.Action = "lambda:" + action
	}
	return ck
}

func contextKey(name string, values ...string) policy.ContextKey {
	return policy.ContextKey{Name: name, Values: values}
}

// functionType is CloudTrail's name for functions among the resources of a record.
const functionType = "AWS::Lambda::Function"

// load finds the function of a request and asks whether the caller may do action with
// it. Whether a function exists shows only to those who may; of functions of other
// accounts that let nobody in, it does not show at all.
func (s *Service) load(ctx context.Context, c *call.Call, v *store.Snap, n name, action string, keys ...policy.ContextKey) (*Function, error) {
	f, ok := s.get(v, n)
	if !ok {
		f = &Function{Account: n.account, Region: n.region, Name: n.function}
	} else {
		c.NoteOwned(f.Account, functionType, f.ARN())
	}
	if err := c.Authorize(ctx, check(v, action, f, keys...)); err != nil {
		return nil, err
	}
	if !ok || n.qualifier != "" && n.qualifier != latest {
		return nil, lambdaapi.ResourceNotFoundException.Errorf("Function not found: %s", n.qualified())
	}
	c.NoteResource(f.Account, functionType, f.ARN())
	return f, nil
}

// checkRevision refuses a change of something that is not as its author saw it.
func checkRevision(wanted *string, have, look string) error {
	if wanted == nil || *wanted == have {
		return nil
	}
	return lambdaapi.PreconditionFailedException.Errorf("The Revision Id provided does not match the latest Revision Id. Call the %s API to retrieve the latest Revision Id", look)
}

// environment reads the variables of a function.
func (s *Service) environment(ctx context.Context, v *store.Snap, f *Function) (map[string]string, error) {
	if !f.HasEnv {
		return nil, nil
	}
	env, err := s.envs.Load(ctx, v, f.envKey())
	if err != nil {
		return nil, err
	}
	return env.Variables, nil
}

// text is a string that may be absent.
func text[S ~string](s *S) string {
	if s == nil {
		return ""
	}
	return string(*s)
}

func isTrue(b *bool) bool { return b != nil && *b }
