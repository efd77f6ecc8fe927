package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"arca/internal/trail"
)

// lostPrefix begins the names of the folders in which a node keeps the files of a log
// that it had to leave behind.
const lostPrefix = "lost-"

// logDirs are the folders with segments at from, which is one itself or an audit_dir with
// the folders of nodes; logs that were left behind come with the node they are of.
func logDirs(from string) ([]string, error) {
	dirs, err := trail.Dirs(from)
	if err != nil {
		return nil, err
	}
	if len(dirs) == 0 {
		return nil, fmt.Errorf("%s holds no audit log: neither segments nor folders of nodes with segments", from)
	}
	return dirs, nil
}

// isLost reports whether a folder is of a log that was left behind.
func isLost(dir string) bool { return strings.HasPrefix(filepath.Base(dir), lostPrefix) }
