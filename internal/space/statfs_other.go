//go:build !linux

package space

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func statfs(dir string) (usage, error) {
	var st unix.Stat_t
	var sf unix.Statfs_t
	if err := unix.Stat(dir, &st); err != nil {
		return usage{}, fmt.Errorf("stat: %w", err)
	}
	if err := unix.Statfs(dir, &sf); err != nil {
		return usage{}, fmt.Errorf("statfs: %w", err)
	}
	unit := int64(sf.Bsize)
	return usage{free: int64(sf.Bavail) * unit, total: int64(sf.Blocks) * unit, device: uint64(st.Dev)}, nil
}

// allocate is for Linux only: elsewhere there is no ballast, and the marks alone.
func allocate(*os.File, int64) error { return errNoAllocation }
