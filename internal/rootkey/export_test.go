package rootkey

import "io/fs"

// CheckModeOwner is checkAccess for users and groups that a test cannot become.
func CheckModeOwner(mode fs.FileMode, owner, self uint32) error {
	return checkModeOwner(mode, owner, self)
}

// DecodeFile is the parser of root key files.
var DecodeFile = decodeFile
