package lambda

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"arca/internal/call"
	"arca/internal/store"
)

// code is an archive on its way into the store.
type code struct {
	archive []byte // nil for none
	sum     [32]byte
	// pkg is the package that holds it, once it is staged.
	pkg *Package
}

func newCode(archive []byte) *code { return &code{archive: archive, sum: sha256.Sum256(archive)} }

// stage stores an archive in a package that no function has yet. It takes one
// transaction for each chunk, none of them part of an audited change: until a function
// has the package nobody can see it, and a crash leaves it to Sweep.
func (s *Service) stage(ctx context.Context, c *call.Call, f *Function, code *code) error {
	if len(code.archive) == 0 {
		return nil
	}
	pkg := &Package{
		ID: newID(), Account: f.Account, Region: f.Region, SHA256: code.sum, Size: int64(len(code.archive)),
		Chunks: (len(code.archive) + chunkBytes - 1) / chunkBytes, Created: c.Now.UnixMilli(),
	}
	_, err := s.store.Update(ctx, func(tx *store.Tx) error {
		s.packages.Put(tx, pkg.key(), pkg)
		return nil
	})
	for i := 0; i < pkg.Chunks && err == nil; i++ {
		piece := code.archive[i*chunkBytes : min((i+1)*chunkBytes, len(code.archive))]
		_, err = s.store.Update(ctx, func(tx *store.Tx) error {
			s.packages.Guard(tx, pkg.key())
			s.chunks.Put(tx, pkg.chunkKey(i), &Chunk{Bytes: piece})
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("store code: %w", err)
	}
	code.pkg = pkg
	return nil
}

func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(b[:])
}

// errSwept: the package was removed before a function had it, because staging it took
// longer than Sweep waits.
var errSwept = errors.New("code was removed before its function was stored")

// give makes a function, which is put in the same transaction, the owner of staged code,
// and removes the code it had.
func (s *Service) give(tx *store.Tx, f *Function, code *code) error {
	s.dropCode(tx, f)
	f.SHA256, f.Size, f.Package = code.sum, int64(len(code.archive)), ""
	if code.pkg == nil {
		return nil
	}
	have, ok := s.packages.Get(tx.Snap, code.pkg.key())
	if !ok {
		return errSwept
	}
	owned := *have
	owned.Function = f.UID
	s.packages.Put(tx, owned.key(), &owned)
	f.Package = owned.ID
	return nil
}

// dropCode removes the code of a function, which is put or deleted in the same
// transaction.
func (s *Service) dropCode(tx *store.Tx, f *Function) {
	if f.Package == "" {
		return
	}
	s.deletePackage(tx, packageKey(f.Account, f.Region, f.Package))
}

func (s *Service) deletePackage(tx *store.Tx, k store.Key) {
	s.chunks.DeleteChildren(tx, k.Scope, k.Parent)
	s.packages.Delete(tx, k)
}

// Code reads the archive of a function; it is empty for one that has none. What it
// returns has the hash that f says; a function that has other code by now, or is gone, is
// an *api.Error.
func (s *Service) Code(ctx context.Context, f *Function) (archive []byte, err error) {
	err = s.store.View(ctx, func(v *store.Snap) error {
		now, err := s.current(v, f)
		if err != nil {
			return err
		}
		if now.SHA256 != f.SHA256 {
			return errMeanwhile()
		}
		archive, err = s.readCode(ctx, v, now)
		return err
	})
	return archive, err
}

func (s *Service) readCode(ctx context.Context, v *store.Snap, f *Function) ([]byte, error) {
	if f.Package == "" {
		return nil, nil
	}
	pkg, ok := s.packages.Get(v, packageKey(f.Account, f.Region, f.Package))
	if !ok {
		return nil, fmt.Errorf("package %s of function %s is missing", f.Package, f.ARN())
	}
	archive := make([]byte, 0, pkg.Size)
	for i := range pkg.Chunks {
		chunk, err := s.chunks.Load(ctx, v, pkg.chunkKey(i))
		if err != nil {
			return nil, fmt.Errorf("read piece %d of package %s: %w", i, pkg.ID, err)
		}
		archive = append(archive, chunk.Bytes...)
	}
	if sha256.Sum256(archive) != f.SHA256 {
		return nil, fmt.Errorf("package %s of function %s has another hash", f.Package, f.ARN())
	}
	return archive, nil
}

const (
	// stagedFor is how long a package may wait for its function: well past the time of a
	// call.
	stagedFor = time.Hour
	// sweepBatch bounds one Step.
	sweepBatch = 20
)

// Sweep removes packages that no function has got: what is left of calls that failed or
// were cut off. One run removes a bounded number. It is a Step for the elected node.
func (s *Service) Sweep(ctx context.Context, now time.Time) error {
	var old []*Package
	err := s.store.View(ctx, func(v *store.Snap) error {
		old = old[:0]
		s.packages.Ascend(v, byStaged, "", func(_ string, p *Package) bool {
			if p.Created > now.Add(-stagedFor).UnixMilli() {
				return false
			}
			old = append(old, p)
			return len(old) < sweepBatch
		})
		return nil
	})
	if err != nil {
		return fmt.Errorf("look for unused code: %w", err)
	}
	for _, p := range old {
		_, err := s.store.Update(ctx, func(tx *store.Tx) error {
			if have, ok := s.packages.Get(tx.Snap, p.key()); ok && have.staged() {
				s.deletePackage(tx, p.key())
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("remove unused code: %w", err)
		}
	}
	return nil
}
