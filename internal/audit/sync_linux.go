package audit

import (
	"errors"
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

// journals: whether there are files whose writes are durable when they return.
const journals = true

// openDurable opens a file for writes that are on disk when they return. They, and reads,
// have to be of whole blocks: they pass by the page cache where the file system lets them.
func openDurable(path string) (*os.File, error) {
	const flags = os.O_RDWR | unix.O_DSYNC | unix.O_NOFOLLOW
	f, err := os.OpenFile(path, flags|unix.O_DIRECT, 0)
	if errors.Is(err, unix.EINVAL) {
		f, err = os.OpenFile(path, flags, 0)
	}
	return f, err
}

// roomFor reports whether the file system of a directory has that many bytes free for us.
func roomFor(dir string, bytes uint64) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && st.Bavail*uint64(st.Bsize) >= bytes
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
