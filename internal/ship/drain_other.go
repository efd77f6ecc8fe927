//go:build !linux

package ship

import "net"

// unacknowledged cannot be found out here: what was written counts as received, and
// is sent again only for as long as it is in doubt.
func unacknowledged(*net.TCPConn) (int, error) { return 0, nil }
