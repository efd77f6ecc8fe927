//go:build unix

package rootkey

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// checkAccess refuses a file that anybody but its owner could read or change, or
// whose owner is neither this user nor root. One exception: a file of root that this
// user may read only through its group is what systemd credentials and Kubernetes
// volumes look like; there the administrator chose the readers.
func checkAccess(info fs.FileInfo) error {
	return checkModeOwner(info.Mode(), info.Sys().(*syscall.Stat_t).Uid, uint32(os.Geteuid()))
}

func checkModeOwner(mode fs.FileMode, owner, self uint32) error {
	perm := mode.Perm()
	if owner != self && owner != 0 {
		return fmt.Errorf("belongs to user id %d, not to this process (user id %d) or root", owner, self)
	}
	refused := fs.FileMode(0o077)
	if owner == 0 && self != 0 {
		refused = 0o037
	}
	if perm&refused != 0 {
		return fmt.Errorf("has mode %04o, which lets others than its owner use it: make it 0600", perm)
	}
	return nil
}
