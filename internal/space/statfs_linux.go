package space

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func statfs(dir string) (usage, error) {
	var st unix.Stat_t
	var sf unix.Statfs_t
	if err := retry(func() error { return unix.Stat(dir, &st) }); err != nil {
		return usage{}, fmt.Errorf("stat: %w", err)
	}
	if err := retry(func() error { return unix.Statfs(dir, &sf) }); err != nil {
		return usage{}, fmt.Errorf("statfs: %w", err)
	}
	unit := sf.Frsize
	if unit == 0 {
		unit = sf.Bsize
	}
	return usage{free: int64(sf.Bavail) * unit, total: int64(sf.Blocks) * unit, device: st.Dev}, nil
}

// allocate reserves blocks for the first size bytes of f.
func allocate(f *os.File, size int64) error {
	err := retry(func() error { return unix.Fallocate(int(f.Fd()), 0, 0, size) })
	if err == unix.EOPNOTSUPP || err == unix.ENOSYS {
		return errNoAllocation
	}
	return os.NewSyscallError("fallocate", err)
}

func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
