package store

import "golang.org/x/sys/unix"

// mmapFlags has the kernel read a mapped file ahead, in its order.
const mmapFlags = unix.MAP_POPULATE

// adviseHuge asks for large pages, which take less time to come by.
func adviseHuge(b []byte) {
	_ = unix.Madvise(b, unix.MADV_HUGEPAGE) // or small ones
}
