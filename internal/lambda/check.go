package lambda

import (
	"context"
	"fmt"

	"arca/internal/policy"
	"arca/internal/store"
)

// Check reports functions whose code or environment is not what their record says or
// whose policy cannot be read, packages of functions that do not have them, and pieces
// that are missing. Packages that wait for their function are no problem: Sweep sees to
// them.
func (s *Service) Check(ctx context.Context, v *store.Snap, report func(problem string)) {
	err := s.functions.Walk(ctx, v, func(f *Function) error {
		if _, err := s.readCode(ctx, v, f); err != nil {
			report(err.Error())
		}
		if _, err := s.environment(ctx, v, f); err != nil {
			report(fmt.Sprintf("environment of function %s: %v", f.ARN(), err))
		}
		if f.Policy != "" {
			if _, err := policy.ParseResourcePolicy(f.Policy); err != nil {
				report(fmt.Sprintf("policy of function %s cannot be read: %v", f.ARN(), err))
			}
		}
		return nil
	})
	if err != nil {
		report("functions cannot be read: " + err.Error())
	}
	owners := make(map[string][16]byte)
	_ = s.functions.Walk(ctx, v, func(f *Function) error { // it was read above
		if f.Package != "" {
			owners[f.Package] = f.UID
		}
		return nil
	})
	chunks := 0
	err = s.packages.Walk(ctx, v, func(p *Package) error {
		if !p.staged() && owners[p.ID] != p.Function {
			report("package " + p.ID + " belongs to a function that does not have it")
		}
		for i := range p.Chunks {
			if _, err := s.chunks.Load(ctx, v, p.chunkKey(i)); err == nil {
				chunks++
			}
		}
		return nil
	})
	if err != nil {
		report("packages of code cannot be read: " + err.Error())
	}
	all := 0
	if err := s.chunks.Walk(ctx, v, func(*Chunk) error { all++; return nil }); err != nil {
		report("code cannot be read: " + err.Error())
	}
	if all != chunks {
		report(fmt.Sprintf("%d pieces of code belong to no package", all-chunks))
	}
}
