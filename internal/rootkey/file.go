package rootkey

import (
	"bytes"
	"context"
	"encoding/json"
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

// File keeps the root key in a file. It may be used concurrently.
type File struct {
	path    string
	dataDir string
}

// NewFile returns the root key in the file at path. dataDir is the data directory of
// the store, "" if it has none here: a path inside it is refused, because whoever
// copies the data would copy the key along.
func NewFile(path, dataDir string) *File {
	return &File{path: path, dataDir: dataDir}
}

type fileParams struct {
	Format int    `json:"format"`
	ID     textID `json:"id"`
}

// Kind returns "file".
func (f *File) Kind() string { return "file" }

// Wipe does nothing: a File holds no secret between calls.
func (f *File) Wipe() {}

// Create makes the file, readable by this user only. When Create returns without an
// error, the file is on disk under its name and whole. A file that is already there
// is checked and used: it was put there for this purpose, or an earlier start made
// it and was interrupted before the store existed.
func (f *File) Create(ctx context.Context) (key *envelope.Key, params []byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	if err := f.checkPlace(); err != nil {
		return nil, nil, err
	}
	key, err = f.read()
	if errors.Is(err, fs.ErrNotExist) {
		key, err = f.write()
	}
	if errors.Is(err, fs.ErrExist) { // another process was faster
		key, err = f.read()
	}
	if err != nil {
		return nil, nil, err
	}
	// Only when the directory is synced does the name survive a power loss, and only
	// then may anything be sealed under the key. A file that was found may come from a
	// start that did not get this far.
	if err := syncDir(filepath.Dir(f.path)); err != nil {
		key.Wipe()
		return nil, nil, fmt.Errorf("create root key file: %w", err)
	}
	params, err = json.Marshal(fileParams{Format: paramsFormat, ID: textID(key.ID())})
	if err != nil {
		key.Wipe()
		return nil, nil, fmt.Errorf("encode root key parameters: %w", err)
	}
	return key, params, nil
}

// Open reads the file. The error wraps ErrMissing when there is none, and
// ErrMismatch when it holds the root key of another store.
func (f *File) Open(ctx context.Context, params []byte) (*envelope.Key, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var p fileParams
	if err := decodeParams(params, &p); err != nil {
		return nil, err
	}
	if err := checkParamsFormat(p.Format); err != nil {
		return nil, err
	}
	if err := f.checkPlace(); err != nil {
		return nil, err
	}
	want := envelope.KeyID(p.ID)
	key, err := f.read()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: no file at %s; the data of this store is sealed under root key %s and cannot be read without it: restore the file from its backup", ErrMissing, f.path, want)
	}
	if err != nil {
		return nil, err
	}
	if key.ID() != want {
		got := key.ID()
		key.Wipe()
		return nil, fmt.Errorf("%w: this root key file (%s, id %s) is not the one this store was sealed with (id %s)", ErrMismatch, f.path, got, want)
	}
	return key, nil
}

// checkPlace refuses a path inside the data directory, as written or after following
// symbolic links.
func (f *File) checkPlace() error {
	if f.path == "" {
		return errors.New("root key file: no path given")
	}
	if f.dataDir == "" {
		return nil
	}
	for _, form := range []func(string) (string, error){filepath.Abs, resolve} {
		path, err := form(f.path)
		if err != nil {
			return fmt.Errorf("root key file %s: %w", f.path, err)
		}
		dir, err := form(f.dataDir)
		if err != nil {
			return fmt.Errorf("data directory %s: %w", f.dataDir, err)
		}
		if inside(path, dir) {
			return fmt.Errorf("root key file %s is inside the data directory %s: keep it elsewhere, so that a copy of the data is not a copy of the key", f.path, f.dataDir)
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

// write makes the file and fails with fs.ErrExist if there is one. The whole file
// appears under its name at once: after a crash there is the key or nothing, and at
// worst a temporary file whose key was never used.
func (f *File) write() (*envelope.Key, error) {
	key := envelope.GenerateKey(envelope.NewKeyID(), rootVersion)
	if err := f.writeKey(key); err != nil {
		key.Wipe()
		return nil, fmt.Errorf("create root key file: %w", err)
	}
	return key, nil
}

func (f *File) writeKey(key *envelope.Key) error {
	dir, base := filepath.Split(f.path)
	if dir == "" {
		dir = "." // CreateTemp would take "" for the system's temporary directory
	}
	temp, err := os.CreateTemp(dir, "."+base+".new-") // mode 0600, O_EXCL
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	defer temp.Close()

	text := encodeFile(key)
	defer clear(text)
	if _, err := temp.Write(text); err != nil {
		return err
	}
	if err := temp.Sync(); err != nil {
		return err
	}
	// Link, unlike Rename, never replaces a file.
	return os.Link(temp.Name(), f.path)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// read reads and checks the file.
func (f *File) read() (*envelope.Key, error) {
	path, err := f.realPath()
	if err != nil {
		return nil, err
	}
	// O_NONBLOCK: a pipe in place of the file is refused below, not waited for. The
	// checks are made on what was opened, so that nothing can be put in its place
	// between check and use. O_NOFOLLOW: nor can a link, after realPath has looked.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("open root key file: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("open root key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("root key file %s is not a regular file", f.path)
	}
	if err := checkAccess(info); err != nil {
		return nil, fmt.Errorf("root key file %s %w", f.path, err)
	}
	buf := make([]byte, maxFileBytes+1)
	defer clear(buf)
	n, err := io.ReadFull(file, buf)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return nil, fmt.Errorf("read root key file: %w", err)
	}
	if n > maxFileBytes {
		return nil, fmt.Errorf("root key file %s: %w", f.path, errNotKeyFile)
	}
	key, err := decodeFile(bytes.TrimSpace(buf[:n]))
	if err != nil {
		return nil, fmt.Errorf("root key file %s: %w", f.path, err)
	}
	return key, nil
}

// realPath is the path to open. It accepts a symbolic link only if it leads to a
// place below its own directory, as in a volume that Kubernetes mounts for a Secret.
// Any other link is easily overlooked when permissions are granted or backups are made.
func (f *File) realPath() (string, error) {
	info, err := os.Lstat(f.path)
	if err != nil {
		return "", fmt.Errorf("open root key file: %w", err)
	}
	if info.Mode()&fs.ModeSymlink == 0 {
		return f.path, nil
	}
	target, err := filepath.EvalSymlinks(f.path)
	if err != nil {
		return "", fmt.Errorf("open root key file: %w", err)
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(f.path))
	if err != nil {
		return "", fmt.Errorf("open root key file: %w", err)
	}
	if target, err = filepath.Abs(target); err != nil {
		return "", fmt.Errorf("open root key file: %w", err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", fmt.Errorf("open root key file: %w", err)
	}
	if !inside(target, dir) {
		return "", fmt.Errorf("root key file %s is a symbolic link to %s, outside its directory: give the real path", f.path, target)
	}
	return target, nil
}
