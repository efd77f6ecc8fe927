package ship

import (
	"net"

	"golang.org/x/sys/unix"
)

// unacknowledged is how many bytes of a connection the other machine has not
// acknowledged.
func unacknowledged(c *net.TCPConn) (n int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var ierr error
	if err := raw.Control(func(fd uintptr) { n, ierr = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }); err != nil {
		return 0, err
	}
	return n, ierr
}
