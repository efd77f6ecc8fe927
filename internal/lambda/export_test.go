package lambda

import "arca/internal/store"

// Shrink makes quotas smaller before a service is used.
func (s *Service) Shrink(functions int, codeBytes int64) {
	s.quotas.functions, s.quotas.codeBytes = functions, codeBytes
}

// Tables for tests that damage them.
func (s *Service) Tables() (*store.Table[Function], *store.Table[Package], *store.Table[Chunk]) {
	return s.functions, s.packages, s.chunks
}

// PackageKey and ChunkKey are where code lives.
func PackageKey(f *Function) store.Key { return packageKey(f.Account, f.Region, f.Package) }

func ChunkKey(f *Function, i int) store.Key {
	return (&Package{Account: f.Account, Region: f.Region, ID: f.Package}).chunkKey(i)
}

// Key is where a function lives.
func Key(f *Function) store.Key { return f.key() }

// The limits that requests are held to.
const (
	MaxZipBytes = maxZipBytes
	ChunkBytes  = chunkBytes
	StagedFor   = stagedFor
)

// CheckArchive looks at the directory of an archive.
func CheckArchive(archive []byte) error { return checkArchive(archive) }

// HasFiles reports whether an archive has a file.
func HasFiles(archive []byte) bool { return hasFiles(archive) }

// Name is what parseName reads.
type Name struct{ Partition, Region, Account, Function, Qualifier string }

// ParseName reads the name of a function.
func ParseName(text string) (Name, bool) {
	n, ok := parseName(text)
	return Name{n.partition, n.region, n.account, n.function, n.qualifier}, ok
}

// CheckRuntime refuses runtimes that no runner has.
func CheckRuntime(runtime string) error { return checkRuntime(runtime) }
