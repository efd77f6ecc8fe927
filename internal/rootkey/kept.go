package rootkey

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"arca/internal/envelope"
)

// maxKeptBytes is well above the 111 bytes of a root key's line and above every
// passphrase that somebody could type.
const maxKeptBytes = 4 << 10

// kept is a file with key material outside the data: readable by its owner only, no
// link that leads elsewhere, never in the data directory, and never replaced or
// removed before its successor is on disk.
type kept struct {
	noun    string // what an error calls it
	path    string
	dataDir string // "" if the store has none here
}

// next is where the successor waits until the store is sealed under it.
func (k kept) next() kept {
	k.path += ".next"
	return k
}

// former is where a key is kept that was set aside.
func (k kept) former(id envelope.KeyID) kept {
	k.path += "." + id.String()[:8] + ".former"
	return k
}

// checkPlace refuses a path inside the data directory, as written or after following
// symbolic links.
func (k kept) checkPlace() error {
	if k.path == "" {
		return fmt.Errorf("%s: no path given", k.noun)
	}
	if k.dataDir == "" {
		return nil
	}
	for _, form := range []func(string) (string, error){filepath.Abs, resolve} {
		path, err := form(k.path)
		if err != nil {
			return fmt.Errorf("%s %s: %w", k.noun, k.path, err)
		}
		dir, err := form(k.dataDir)
		if err != nil {
			return fmt.Errorf("data directory %s: %w", k.dataDir, err)
		}
		if inside(path, dir) {
			return fmt.Errorf("%s %s is inside the data directory %s: keep it elsewhere, so that a copy of the data is not a copy of the key", k.noun, k.path, k.dataDir)
		}
	}
	return nil
}

// resolve follows the symbolic links in the part of a path that exists.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	rest := ""
	for {
		real, err := filepath.EvalSymlinks(path)
		if err == nil {
			return filepath.Join(real, rest), nil
		}
		parent := filepath.Dir(path)
		if !errors.Is(err, fs.ErrNotExist) || parent == path {
			return "", err
		}
		rest = filepath.Join(filepath.Base(path), rest)
		path = parent
	}
}

// inside reports whether path is dir or below it. Both are absolute and clean.
func inside(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// read returns what is in the file, which the caller clears. The error wraps
// fs.ErrNotExist when there is no file.
func (k kept) read() ([]byte, error) {
	path, err := k.realPath()
	if err != nil {
		return nil, err
	}
	// O_NONBLOCK: a pipe in place of the file is refused below, not waited for. The
	// checks are made on what was opened, so that nothing can be put in its place
	// between check and use. O_NOFOLLOW: nor can a link, after realPath has looked.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", k.noun, err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", k.noun, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s %s is not a regular file", k.noun, k.path)
	}
	if err := checkAccess(info); err != nil {
		return nil, fmt.Errorf("%s %s %w", k.noun, k.path, err)
	}
	// One buffer for all of it: a buffer that grew would leave copies behind.
	buf := make([]byte, maxKeptBytes+1)
	n, err := io.ReadFull(file, buf)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		clear(buf)
		return nil, fmt.Errorf("read %s: %w", k.noun, err)
	}
	if n > maxKeptBytes {
		clear(buf)
		return nil, fmt.Errorf("%s %s has more than %d bytes", k.noun, k.path, maxKeptBytes)
	}
	return buf[:n], nil
}

// line reads a file of one line, without the line end. wipe overwrites what was read.
func (k kept) line() (line []byte, wipe func(), err error) {
	text, err := k.read()
	if err != nil {
		return nil, nil, err
	}
	line = bytes.TrimRight(text, "\r\n")
	if len(line) == 0 {
		return nil, nil, fmt.Errorf("%s %s is empty", k.noun, k.path)
	}
	return line, func() { clear(text) }, nil
}

// realPath is the path to open. It accepts a symbolic link only if it leads to a
// place below its own directory, as in a volume that Kubernetes mounts for a Secret.
// Any other link is easily overlooked when permissions are granted or backups are made.
func (k kept) realPath() (string, error) {
	info, err := os.Lstat(k.path)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", k.noun, err)
	}
	if info.Mode()&fs.ModeSymlink == 0 {
		return k.path, nil
	}
	target, err := filepath.EvalSymlinks(k.path)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", k.noun, err)
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(k.path))
	if err != nil {
		return "", fmt.Errorf("open %s: %w", k.noun, err)
	}
	if target, err = filepath.Abs(target); err != nil {
		return "", fmt.Errorf("open %s: %w", k.noun, err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", fmt.Errorf("open %s: %w", k.noun, err)
	}
	if !inside(target, dir) {
		return "", fmt.Errorf("%s %s is a symbolic link to %s, outside its directory: give the real path", k.noun, k.path, target)
	}
	return target, nil
}

// write makes the file and fails with fs.ErrExist if there is one. The whole file
// appears under its name at once: after a crash there is all of it or nothing, and at
// worst a temporary file beside it. The name is durable only after sync.
func (k kept) write(content []byte) error {
	dir, base := filepath.Split(k.path)
	if dir == "" {
		dir = "." // CreateTemp would take "" for the system's temporary directory
	}
	temp, err := os.CreateTemp(dir, tempPrefix(base)) // mode 0600, O_EXCL
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	defer temp.Close()
	if _, err := temp.Write(content); err != nil {
		return err
	}
	if err := temp.Sync(); err != nil {
		return err
	}
	// Link, unlike Rename, never replaces a file.
	return os.Link(temp.Name(), k.path)
}

func tempPrefix(base string) string { return "." + base + ".new-" }

// temps are the files that calls of write left which were cut off: some hold all of it.
func (k kept) temps() (left []kept, err error) {
	dir, base := filepath.Split(k.path)
	if dir == "" {
		dir = "."
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for copies of %s: %w", k.noun, err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix(base)) {
			k.path = filepath.Join(dir, e.Name())
			left = append(left, k)
		}
	}
	return left, nil
}

// exists reports whether something of that name may be there.
func (k kept) exists() bool {
	_, err := os.Lstat(k.path)
	return !errors.Is(err, fs.ErrNotExist)
}

// sync makes the names in the file's directory durable.
func (k kept) sync() error {
	d, err := os.Open(filepath.Dir(k.path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// checkOwnName refuses a file whose name is a link: something else puts the file
// there, and would not find what took the link's place.
func (k kept) checkOwnName() error {
	info, err := os.Lstat(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", k.noun, err)
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return fmt.Errorf("%s %s is a symbolic link, and what made it would not know of a new key: use arca root-key migrate with another path", k.noun, k.path)
	}
	return nil
}

// replaceBy puts successor in the place of k and keeps what was there as former. In
// between, what was there has two names: no moment is without a file at k.
func (k kept) replaceBy(successor, former kept) error {
	if err := k.checkOwnName(); err != nil {
		return err
	}
	err := os.Link(k.path, former.path)
	switch {
	case errors.Is(err, fs.ErrNotExist): // nothing to keep
	case errors.Is(err, fs.ErrExist):
		// A call that was cut off, or a copy that the operator made.
		if err := k.checkSameAs(former); err != nil {
			return err
		}
	case err != nil:
		return fmt.Errorf("set %s aside: %w", k.noun, err)
	}
	// The former name is durable before the only other one is given away.
	if err := k.sync(); err != nil {
		return fmt.Errorf("set %s aside: %w", k.noun, err)
	}
	if err := os.Rename(successor.path, k.path); err != nil {
		return fmt.Errorf("put new %s in place: %w", k.noun, err)
	}
	if err := k.sync(); err != nil {
		return fmt.Errorf("put new %s in place: %w", k.noun, err)
	}
	return nil
}

func (k kept) checkSameAs(other kept) error {
	a, err := k.read()
	if err != nil {
		return err
	}
	defer clear(a)
	b, err := other.read()
	if err != nil {
		return err
	}
	defer clear(b)
	if !bytes.Equal(bytes.TrimSpace(a), bytes.TrimSpace(b)) {
		return fmt.Errorf("set %s %s aside: %s is in the way and is another one; move it elsewhere", k.noun, k.path, other.path)
	}
	return nil
}

// destroy overwrites the file and removes it. What the file system or the disk keeps
// of the old blocks (snapshots, copy on write, wear levelling) is beyond its reach.
func (k kept) destroy() error {
	file, err := os.OpenFile(k.path, os.O_WRONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrPermission) {
		// A file that its owner may only read. Removing needs no more than the directory.
		if err := os.Chmod(k.path, 0o600); err != nil {
			return fmt.Errorf("overwrite %s: %w", k.noun, err)
		}
		file, err = os.OpenFile(k.path, os.O_WRONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	}
	if err != nil {
		return fmt.Errorf("overwrite %s: %w", k.noun, err)
	}
	defer file.Close()
	if _, err := file.Write(make([]byte, maxKeptBytes)); err != nil {
		return fmt.Errorf("overwrite %s: %w", k.noun, err)
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("overwrite %s: %w", k.noun, err)
	}
	if err := os.Remove(k.path); err != nil {
		return fmt.Errorf("remove %s: %w", k.noun, err)
	}
	if err := k.sync(); err != nil {
		return fmt.Errorf("remove %s: %w", k.noun, err)
	}
	return nil
}
