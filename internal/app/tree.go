//go:build !bench_notree

package app

import "arca/internal/audit"

// treeSigner is the signer that the audit log is given: with one it keeps its Merkle tree
// and signs checkpoints, and every server does. It is a function because the benchmarks
// build a binary of their own without the tree, to tell what the tree costs.
func treeSigner(s *audit.NodeKey) *audit.NodeKey { return s }
