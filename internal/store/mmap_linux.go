package store

import "golang.org/x/sys/unix"

// mmapFlags has the kernel read a mapped file ahead, in its order.
const mmapFlags = unix.MAP_POPULATE
