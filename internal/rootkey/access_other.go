//go:build !unix

package rootkey

import "io/fs"

// checkAccess relies on the access control lists of the directory where there are no
// permission bits.
func checkAccess(fs.FileInfo) error { return nil }
