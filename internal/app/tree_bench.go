//go:build bench_notree

package app

import "arca/internal/audit"

// treeSigner leaves the tree out. `make bench` alone builds with this tag; the binary is
// measured and never served.
func treeSigner(*audit.NodeKey) *audit.NodeKey { return nil }
