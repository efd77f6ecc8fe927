//go:build !linux

package audit

import (
	"errors"
	"os"
)

func syncFile(f *os.File) error { return f.Sync() }

// journals: whether there are files whose writes are durable when they return.
const journals = false

// openDurable is for Linux: elsewhere each batch is synced in its segment.
func openDurable(string) (*os.File, error) { return nil, errors.ErrUnsupported }

func roomFor(string, uint64) bool { return false }

func reserve(*os.File, int64, int64) error { return nil }
