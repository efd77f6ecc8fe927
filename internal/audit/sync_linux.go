package audit

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncFile makes the file's contents and length durable. Times are left out: they
// would cost a second journal write per batch.
func syncFile(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

// reserve makes sure that the file can grow by size bytes from offset on, without
// changing its length. File systems that cannot promise that say nothing.
func reserve(f *os.File, offset, size int64) error {
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, offset, size)
	if err == unix.EOPNOTSUPP || err == unix.ENOSYS {
		return nil
	}
	return os.NewSyscallError("fallocate", err)
}
