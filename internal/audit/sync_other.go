//go:build !linux

package audit

import "os"

func syncFile(f *os.File) error { return f.Sync() }

func reserve(*os.File, int64, int64) error { return nil }
