package runner

import (
	"bufio"
	"net/netip"
	"strings"
)

// Unpack, FindSocket and AsJSON are what reads outside bytes.
var (
	Unpack = unpack
	AsJSON = asJSON
)

func FindSocket(table string, local, remote netip.AddrPort) (uid int, inode uint64, ok bool) {
	p, ok := findSocket(bufio.NewScanner(strings.NewReader(table)), local, remote)
	return p.uid, p.inode, ok
}
