package runner

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"arca/internal/lambda"
)

// Limits of an archive. Lambda's own for the sum; the others keep the file system of
// this machine usable.
const (
	maxUnzipped  = 250 << 20
	maxEntries   = 20_000
	maxNameBytes = 1024
	// maxCodes and maxCodeBytes bound what stays unpacked.
	maxCodes     = 64
	maxCodeBytes = 2 << 30
)

// codeCache keeps archives unpacked by their hash, in folders that nobody but the
// server writes to. Each belongs to a group of its own: those who run it may read it.
type codeCache struct {
	dir string
	// own gives a folder to the group of its readers. It returns the group's id.
	own func(path string) (gid int, err error)
	// disown ends the group.
	disown func(gid int)

	mu   sync.Mutex // also held while unpacking: one archive at a time is enough work
	have map[[sha256.Size]byte]*codeDir
}

// codeDir is one unpacked archive.
type codeDir struct {
	path string // the folder with the files
	base string // the folder around it, which only the group may enter
	gid  int
	size int64
	// uses counts the processes that run it; used is when that last changed. Both are
	// guarded by codeCache.mu.
	uses int
	used time.Time
}

// open returns the unpacked archive of a function, which stays until it is released.
func (c *codeCache) open(ctx context.Context, inv *lambda.Invocation) (*codeDir, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := inv.Function.SHA256
	d := c.have[key]
	if d == nil {
		archive, err := inv.Code(ctx)
		if err != nil {
			return nil, fmt.Errorf("read code: %w", err)
		}
		if sha256.Sum256(archive) != key {
			return nil, fmt.Errorf("read code: it is not that of revision %s; the function was changed meanwhile", inv.Function.Revision)
		}
		if d, err = c.unpack(archive); err != nil {
			return nil, err
		}
		if c.have == nil {
			c.have = make(map[[sha256.Size]byte]*codeDir)
		}
		c.have[key] = d
	}
	d.uses++
	d.used = time.Now()
	c.evictLocked()
	return d, nil
}

func (c *codeCache) release(d *codeDir) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d.uses--
	d.used = time.Now()
}

// evictLocked removes what was not used for longest, while there is too much.
func (c *codeCache) evictLocked() {
	for {
		var size int64
		var oldest [sha256.Size]byte
		var found *codeDir
		for key, d := range c.have {
			size += d.size
			if d.uses == 0 && (found == nil || d.used.Before(found.used)) {
				oldest, found = key, d
			}
		}
		if found == nil || len(c.have) <= maxCodes && size <= maxCodeBytes {
			return
		}
		delete(c.have, oldest)
		_ = os.RemoveAll(found.base) // what stays is removed by the next start
		c.disown(found.gid)
	}
}

func (c *codeCache) unpack(archive []byte) (_ *codeDir, err error) {
	var name [16]byte
	_, _ = rand.Read(name[:]) // never fails: crypto/rand ends the program instead
	base := filepath.Join(c.dir, hex.EncodeToString(name[:]))
	d := &codeDir{base: base, path: filepath.Join(base, "task"), gid: -1}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(base))
			c.disown(d.gid)
		}
	}()
	if err := os.Mkdir(base, 0o700); err != nil {
		return nil, fmt.Errorf("make folder for code: %w", err)
	}
	if d.size, err = unpack(archive, d.path, maxUnzipped); err != nil {
		return nil, err
	}
	// From here on the group may enter, and nobody may write.
	if d.gid, err = c.own(base); err != nil {
		return nil, fmt.Errorf("give code to its group: %w", err)
	}
	return d, nil
}

// unpack puts the files of an archive below dir, which must not exist. Folders get mode
// 0755, files 0644 or 0755. It returns the bytes they have, at most most.
func unpack(archive []byte, dir string, most int64) (size int64, err error) {
	r, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		return 0, fmt.Errorf("%w: %w", lambda.ErrCode, err)
	}
	if len(r.File) > maxEntries {
		return 0, fmt.Errorf("%w: the archive has more than %d entries", lambda.ErrCode, maxEntries)
	}
	if err := makeDir(dir); err != nil {
		return 0, err
	}
	// Names are resolved below dir by the kernel, too.
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	for _, f := range r.File {
		name := strings.TrimSuffix(f.Name, "/")
		if !plainName(name) {
			return 0, fmt.Errorf("%w: the archive has an entry %q, which is not a path below it", lambda.ErrCode, clip(f.Name))
		}
		mode := f.Mode()
		switch {
		case f.Flags&1 != 0:
			return 0, fmt.Errorf("%w: %q is encrypted", lambda.ErrCode, clip(name))
		case mode.IsDir() != strings.HasSuffix(f.Name, "/"), mode.Type()&^fs.ModeDir != 0:
			return 0, fmt.Errorf("%w: %q is neither a file nor a folder", lambda.ErrCode, clip(name))
		case mode.IsDir():
			err = makeDirs(root, name)
		default:
			if err = makeDirs(root, path.Dir(name)); err == nil {
				var n int64
				n, err = unpackFile(root, f, name, most-size)
				size += n
			}
		}
		if err != nil {
			return 0, err
		}
	}
	return size, nil
}

func unpackFile(root *os.Root, f *zip.File, name string, room int64) (n int64, err error) {
	perm := fs.FileMode(0o644)
	if f.Mode().Perm()&0o111 != 0 {
		perm = 0o755
	}
	in, err := f.Open()
	if err != nil {
		return 0, fmt.Errorf("%w: %q: %w", lambda.ErrCode, clip(name), err)
	}
	defer in.Close()
	out, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if errors.Is(err, fs.ErrExist) {
		return 0, fmt.Errorf("%w: the archive has two entries %q", lambda.ErrCode, clip(name))
	}
	if err != nil {
		return 0, fmt.Errorf("unpack code: %w", err)
	}
	defer func() { err = errors.Join(err, out.Chmod(perm), out.Close()) }()
	n, err = io.Copy(out, io.LimitReader(in, room+1))
	if n > room {
		return n, fmt.Errorf("%w: %q is too much: the files are larger than %d bytes together", lambda.ErrCode, clip(name), maxUnzipped)
	}
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return n, fmt.Errorf("unpack code: %w", err) // our disk, not their archive
	} else if err != nil {
		return n, fmt.Errorf("%w: %q: %w", lambda.ErrCode, clip(name), err)
	}
	return n, nil
}

func makeDir(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("unpack code: %w", err)
	}
	return os.Chmod(dir, 0o755)
}

// makeDirs makes a folder and those above it, all with mode 0755 whatever the umask.
func makeDirs(root *os.Root, name string) error {
	if name == "." {
		return nil
	}
	switch info, err := root.Lstat(name); {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return fmt.Errorf("%w: %q is both a file and a folder", lambda.ErrCode, clip(name))
	}
	if err := makeDirs(root, path.Dir(name)); err != nil {
		return err
	}
	if err := root.Mkdir(name, 0o755); err != nil {
		return fmt.Errorf("unpack code: %w", err)
	}
	return root.Chmod(name, 0o755)
}

// plainName reports whether an entry's name says, in the same way to everybody, where
// below a folder it goes.
func plainName(name string) bool {
	if name == "" || name == "." || len(name) > maxNameBytes || !utf8.ValidString(name) || strings.ContainsAny(name, "\\\x00") {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if len(part) > 255 {
			return false
		}
	}
	return path.Clean(name) == name && filepath.IsLocal(name)
}

func clip(s string) string {
	const most = 100
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
