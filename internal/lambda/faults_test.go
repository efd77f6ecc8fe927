package lambda_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"arca/internal/api"
	"arca/internal/api/lambdaapi"
	"arca/internal/lambda"
	"arca/internal/store"
	"arca/internal/storetest"
)

// settled is nil for errors that only say that the first try went through.
func settled(err error, codes ...*api.Code) error {
	if aerr, ok := errors.AsType[*api.Error](err); ok && slices.Contains(codes, aerr.Code) {
		return nil
	}
	return err
}

// Every change happens wholly or not at all, whatever becomes of its commits, and can be
// repeated. Code that no function got is gone after the sweep.
func TestEveryCommit(t *testing.T) {
	setup := func(t *testing.T, h *house) {
		h.function(t, "f")
		h.run(t, lambdaapi.OpAddPermission, &lambdaapi.AddPermissionInput{FunctionName: "f", StatementId: "old", Action: "lambda:InvokeFunction", Principal: account})
	}
	two := strings.Repeat("x", lambda.ChunkBytes)
	for _, tt := range []struct {
		name   string
		op     *api.Operation
		in     func(t *testing.T) any
		done   []*api.Code // codes of a repeat
		verify func(t *testing.T, h *house)
	}{
		{"CreateFunction", lambdaapi.OpCreateFunction, func(t *testing.T) any {
			in := input(t, "g")
			in.Code.ZipFile = archive(t, file{"a", two})
			in.Environment = &lambdaapi.Environment{Variables: map[string]api.SensitiveString{"A1": "b"}}
			return in
		}, []*api.Code{lambdaapi.ResourceConflictException}, func(t *testing.T, h *house) {
			if f := h.record(t, "g"); !f.HasEnv {
				t.Error("no environment")
			}
		}},
		{"UpdateFunctionCode", lambdaapi.OpUpdateFunctionCode, func(t *testing.T) any {
			return &lambdaapi.UpdateFunctionCodeInput{FunctionName: "f", ZipFile: archive(t, file{"a", two})}
		}, nil, func(t *testing.T, h *house) {
			if f := h.record(t, "f"); f.Size < lambda.ChunkBytes {
				t.Error("old code")
			}
		}},
		{"UpdateFunctionConfiguration", lambdaapi.OpUpdateFunctionConfiguration, func(*testing.T) any {
			return &lambdaapi.UpdateFunctionConfigurationInput{FunctionName: "f", Timeout: new(int32(9)), Environment: &lambdaapi.Environment{Variables: map[string]api.SensitiveString{"A1": "b"}}}
		}, nil, func(t *testing.T, h *house) {
			if f := h.record(t, "f"); f.Timeout != 9 || !f.HasEnv {
				t.Errorf("function %+v", f)
			}
		}},
		{"DeleteFunction", lambdaapi.OpDeleteFunction, func(*testing.T) any { return &lambdaapi.DeleteFunctionInput{FunctionName: "f"} },
			[]*api.Code{lambdaapi.ResourceNotFoundException}, nil},
		{"AddPermission", lambdaapi.OpAddPermission, func(*testing.T) any {
			return &lambdaapi.AddPermissionInput{FunctionName: "f", StatementId: "new", Action: "lambda:InvokeFunction", Principal: account}
		}, []*api.Code{lambdaapi.ResourceConflictException}, func(t *testing.T, h *house) {
			if p := h.record(t, "f").Policy; strings.Count(p, `"Sid"`) != 2 {
				t.Errorf("policy %s", p)
			}
		}},
		{"RemovePermission", lambdaapi.OpRemovePermission, func(*testing.T) any {
			return &lambdaapi.RemovePermissionInput{FunctionName: "f", StatementId: "old"}
		}, []*api.Code{lambdaapi.ResourceNotFoundException}, func(t *testing.T, h *house) {
			if p := h.record(t, "f").Policy; p != "" {
				t.Errorf("policy %s", p)
			}
		}},
		{"TagResource", lambdaapi.OpTagResource, func(*testing.T) any {
			return &lambdaapi.TagResourceInput{Resource: functionARN("f"), Tags: map[string]string{"a": "b"}}
		}, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			everyCommit(t, setup, func(t *testing.T, h *house) error {
				_, err := h.call(tt.op, tt.in(t))
				return settled(err, tt.done...)
			}, func(t *testing.T, h *house) {
				if tt.verify != nil {
					tt.verify(t, h)
				}
				if err := h.svc.Sweep(context.Background(), h.now.Add(2*lambda.StagedFor)); err != nil {
					t.Fatal(err)
				}
				if _, staged := h.packages(t); staged != 0 {
					t.Errorf("%d packages belong to nobody", staged)
				}
			})
		})
	}
}

// A sweep happens wholly or not at all.
func TestSweepEveryCommit(t *testing.T) {
	everyCommit(t, func(t *testing.T, h *house) {
		h.function(t, "f")
		stageAlone(t, h)
	}, func(_ *testing.T, h *house) error {
		return h.svc.Sweep(context.Background(), h.now.Add(2*lambda.StagedFor))
	}, func(t *testing.T, h *house) {
		if all, staged := h.packages(t); all != 1 || staged != 0 {
			t.Errorf("%d packages, %d staged", all, staged)
		}
	})
}

// stageAlone leaves behind what a call does that is cut off.
func stageAlone(t *testing.T, h *house) {
	t.Helper()
	_, packages, chunks := h.svc.Tables()
	pkg := &lambda.Package{ID: "0123456789abcdef0123456789abcdef", Account: account, Region: region, Size: 3, Chunks: 1, Created: h.now.UnixMilli()}
	f := &lambda.Function{Account: account, Region: region, Package: pkg.ID}
	_, err := h.store.Update(t.Context(), func(tx *store.Tx) error {
		packages.Put(tx, lambda.PackageKey(f), pkg)
		chunks.Put(tx, lambda.ChunkKey(f, 0), &lambda.Chunk{Bytes: []byte("abc")})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// newUncheckedStore is a store for tests that damage it.
func newUncheckedStore(t *testing.T, h *house) *store.Store {
	t.Helper()
	return storetest.New(t, h.attach)
}

// problems is what Check reports.
func (h *house) problems(t *testing.T) (all []string) {
	t.Helper()
	err := h.store.View(context.Background(), func(v *store.Snap) error {
		all = nil
		h.svc.Check(context.Background(), v, func(p string) { all = append(all, p) })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Damage is found, and damaged code is not run.
func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(h *house, tx *store.Tx, f lambda.Function)
		want   string
	}{
		{"changed piece", func(h *house, tx *store.Tx, f lambda.Function) {
			functions, _, chunks := h.svc.Tables()
			functions.Guard(tx, lambda.Key(&f))
			_, packages, _ := h.svc.Tables()
			packages.Guard(tx, lambda.PackageKey(&f))
			chunks.Put(tx, lambda.ChunkKey(&f, 0), &lambda.Chunk{Bytes: []byte("other")})
		}, "has another hash"},
		{"missing piece", func(h *house, tx *store.Tx, f lambda.Function) {
			_, packages, chunks := h.svc.Tables()
			packages.Guard(tx, lambda.PackageKey(&f))
			chunks.Delete(tx, lambda.ChunkKey(&f, 0))
		}, "read piece 0"},
		{"missing package", func(h *house, tx *store.Tx, f lambda.Function) {
			_, packages, _ := h.svc.Tables()
			packages.Delete(tx, lambda.PackageKey(&f))
		}, "is missing"},
		{"missing environment", func(h *house, tx *store.Tx, f lambda.Function) {
			functions, _, _ := h.svc.Tables()
			f.HasEnv = true
			functions.Put(tx, lambda.Key(&f), &f)
		}, "environment of function"},
		{"missing function", func(h *house, tx *store.Tx, f lambda.Function) {
			functions, _, _ := h.svc.Tables()
			functions.Delete(tx, lambda.Key(&f))
		}, "belongs to a function that does not have it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := &house{now: start, logDir: t.TempDir()}
			h.store = newUncheckedStore(t, h)
			h.open(t)
			h.function(t, "f")
			f := *h.record(t, "f")
			if problems := h.problems(t); len(problems) != 0 {
				t.Fatalf("before: %q", problems)
			}
			_, err := h.store.Update(t.Context(), func(tx *store.Tx) error { tt.damage(h, tx, f); return nil })
			if err != nil {
				t.Fatal(err)
			}
			problems := h.problems(t)
			if len(problems) == 0 || !strings.Contains(strings.Join(problems, "\n"), tt.want) {
				t.Errorf("Check reports %q, want %q", problems, tt.want)
			}
			if strings.Contains(tt.name, "piece") || tt.name == "missing package" {
				if _, err := h.svc.Code(t.Context(), &f); err == nil {
					t.Error("damaged code is read")
				}
			}
		})
	}
}

// Of two updates that meet, one wins wholly.
func TestUpdatesMeet(t *testing.T) {
	h := newHouse(t)
	h.function(t, "f")
	errs := make(chan error, 4)
	for i := range 4 {
		code := archive(t, file{"a", strings.Repeat(string(rune('a'+i)), 1000)})
		go func() {
			_, err := h.call(lambdaapi.OpUpdateFunctionCode, &lambdaapi.UpdateFunctionCodeInput{FunctionName: "f", ZipFile: code})
			errs <- settled(err, lambdaapi.ResourceConflictException)
		}()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if all, staged := h.packages(t); all-staged != 1 {
		t.Errorf("%d packages, %d staged", all, staged)
	}
}

// A store that does not answer is Lambda's internal failure.
func TestStoreGone(t *testing.T) {
	h := newHouse(t)
	h.function(t, "f")
	if err := h.store.Close(); err != nil {
		t.Fatal(err)
	}
	for op, in := range map[*api.Operation]any{
		lambdaapi.OpAddPermission:                &lambdaapi.AddPermissionInput{FunctionName: "f", StatementId: "s", Action: "lambda:InvokeFunction", Principal: account},
		lambdaapi.OpCreateFunction:               input(t, "g"),
		lambdaapi.OpDeleteFunction:               &lambdaapi.DeleteFunctionInput{FunctionName: "f"},
		lambdaapi.OpGetFunction:                  &lambdaapi.GetFunctionInput{FunctionName: "f"},
		lambdaapi.OpGetFunctionCodeSigningConfig: &lambdaapi.GetFunctionCodeSigningConfigInput{FunctionName: "f"},
		lambdaapi.OpGetFunctionConfiguration:     &lambdaapi.GetFunctionConfigurationInput{FunctionName: "f"},
		lambdaapi.OpGetPolicy:                    &lambdaapi.GetPolicyInput{FunctionName: "f"},
		lambdaapi.OpInvoke:                       &lambdaapi.InvokeInput{FunctionName: "f"},
		lambdaapi.OpListFunctions:                &lambdaapi.ListFunctionsInput{},
		lambdaapi.OpListTags:                     &lambdaapi.ListTagsInput{Resource: functionARN("f")},
		lambdaapi.OpListVersionsByFunction:       &lambdaapi.ListVersionsByFunctionInput{FunctionName: "f"},
		lambdaapi.OpRemovePermission:             &lambdaapi.RemovePermissionInput{FunctionName: "f", StatementId: "s"},
		lambdaapi.OpTagResource:                  &lambdaapi.TagResourceInput{Resource: functionARN("f"), Tags: map[string]string{"a": "b"}},
		lambdaapi.OpUntagResource:                &lambdaapi.UntagResourceInput{Resource: functionARN("f"), TagKeys: []string{"a"}},
		lambdaapi.OpUpdateFunctionCode:           &lambdaapi.UpdateFunctionCodeInput{FunctionName: "f", ZipFile: handler(t)},
		lambdaapi.OpUpdateFunctionConfiguration:  &lambdaapi.UpdateFunctionConfigurationInput{FunctionName: "f"},
	} {
		_, err := h.call(op, in)
		if got := shown(err); got != "ServiceException: An error occurred on the server side." {
			t.Errorf("%s: %s", op.Name, got)
		}
	}
}

// Markers lead on where a page ended, and functions of other regions are not listed.
func TestPages(t *testing.T) {
	h := newHouse(t)
	for _, n := range []string{"c", "a", "b"} {
		h.function(t, n)
	}
	var names []string
	var marker *string
	for {
		out := must[lambdaapi.ListFunctionsOutput](t, h, lambdaapi.OpListFunctions, &lambdaapi.ListFunctionsInput{MaxItems: new(int32(2)), Marker: marker, MasterRegion: new("ALL")})
		for _, f := range out.Functions {
			names = append(names, *f.FunctionName)
		}
		if marker = out.NextMarker; marker == nil {
			break
		}
	}
	if !slices.Equal(names, []string{"a", "b", "c"}) {
		t.Errorf("listed %v", names)
	}
	out := must[lambdaapi.ListFunctionsOutput](t, h, lambdaapi.OpListFunctions, &lambdaapi.ListFunctionsInput{MasterRegion: new("us-east-1")})
	if len(out.Functions) != 0 {
		t.Error("functions of a master in another region")
	}
	if out := must[lambdaapi.ListFunctionsOutput](t, h, lambdaapi.OpListFunctions, &lambdaapi.ListFunctionsInput{}, otherRoot()); len(out.Functions) != 0 {
		t.Error("functions of another account")
	}
}

// Without a configuration nothing is run and nothing is built in.
func TestZeroConfig(t *testing.T) {
	h := &house{now: start, logDir: t.TempDir()}
	h.store = storetest.New(t, func(st *store.Store) {
		h.attachIAM(st)
		h.svc = lambda.New(lambda.Config{Store: st, IAM: h.iam, Logger: slog.New(slog.DiscardHandler)})
	})
	h.open(t)
	h.function(t, "f")
	_, err := h.call(lambdaapi.OpInvoke, &lambdaapi.InvokeInput{FunctionName: "f"})
	refused(t, "Invoke", err, lambdaapi.ResourceConflictException, "The function cannot be invoked: running functions is switched off on this server.")
	in := input(t, "g")
	in.Runtime, in.Handler = new("provided.al2023"), new("arca.builtin/SecretsManagerGenericRotation")
	_, err = h.call(lambdaapi.OpCreateFunction, in)
	refused(t, "built-in", err, lambdaapi.InvalidParameterValueException, "There is no built-in function SecretsManagerGenericRotation.")
}
