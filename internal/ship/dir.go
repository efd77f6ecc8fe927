package ship

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"arca/internal/audit"
)

const (
	fileMode = 0o600
	dirMode  = 0o700
	// compareBytes at the end of a tail are compared with the log.
	compareBytes = 64 << 10
	tmpSuffix    = ".tmp"
)

// dirPlace keeps copies in a directory. The tail of a segment is the file with the
// segment's name, to which lines are appended.
type dirPlace struct {
	root string
	log  string // the directory that is copied
	// How long the tail is that was last looked at or extended.
	tailFirst, tailNext uint64
	tailSize            int64
}

func (d *dirPlace) path(name string) string { return filepath.Join(d.root, filepath.FromSlash(name)) }

// open opens a folder, which is made if it is to be. Nothing below the root may be a
// link: whoever can write there would choose what we write to, and could choose the
// log itself. The root may be one.
func (d *dirPlace) open(folder string, create bool) (*os.Root, error) {
	dir, err := os.OpenRoot(d.root)
	if err != nil {
		return nil, err
	}
	own, err := os.Stat(d.log)
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	for name := range strings.SplitSeq(path.Clean(folder), "/") {
		next, err := openFolder(dir, name, own, create)
		if err := errors.Join(err, dir.Close()); err != nil {
			return nil, err
		}
		dir = next
	}
	return dir, nil
}

// openFolder opens a folder in dir, unless it is own under another name. A new one is
// there after a crash, too.
func openFolder(dir *os.Root, name string, own fs.FileInfo, create bool) (*os.Root, error) {
	path := filepath.Join(dir.Name(), name)
	named, err := dir.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) && create {
		if err := dir.Mkdir(name, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		if err := syncRoot(dir); err != nil {
			return nil, err
		}
		named, err = dir.Lstat(name)
	}
	switch {
	case err != nil:
		return nil, err
	case !named.IsDir():
		return nil, fmt.Errorf("%s is not a directory", path)
	case os.SameFile(named, own):
		return nil, fmt.Errorf("%s is the log itself", path)
	}
	next, err := dir.OpenRoot(name) // follows a link that was put there since
	if err != nil {
		return nil, err
	}
	opened, err := next.Stat(".")
	if err == nil && !os.SameFile(named, opened) {
		err = fmt.Errorf("%s was replaced while it was opened", path)
	}
	if err != nil {
		return nil, errors.Join(err, next.Close())
	}
	return next, nil
}

// openFile opens a regular file in dir: what has the name itself, and not what a link
// of that name leads to. With O_CREATE it is made if it is not there.
func openFile(dir *os.Root, name string, flag int) (*os.File, error) {
	path := filepath.Join(dir.Name(), name)
	named, err := dir.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) && flag&os.O_CREATE != 0 {
		return dir.OpenFile(name, flag|os.O_EXCL, fileMode)
	} else if err != nil {
		return nil, err
	}
	if !named.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	// Should it have become a pipe by now, opening it does not wait for a reader.
	f, err := dir.OpenFile(name, flag&^os.O_CREATE|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	opened, err := f.Stat()
	if err == nil && !os.SameFile(named, opened) {
		err = fmt.Errorf("%s was replaced while it was opened", path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (d *dirPlace) list(_ context.Context, folder string) (files map[string]int64, folders []string, err error) {
	// The root is never made: it may be where a disk is to be mounted.
	if info, err := os.Stat(d.root); err != nil {
		return nil, nil, err
	} else if !info.IsDir() {
		return nil, nil, fmt.Errorf("%s is not a directory", d.root)
	}
	dir, err := d.open(folder, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	} else if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	f, err := dir.Open(".")
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, nil, err
	}
	files = make(map[string]int64)
	for _, e := range entries {
		info, err := dir.Lstat(e.Name())
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, nil, err
		case info.IsDir():
			folders = append(folders, e.Name())
		case info.Mode().IsRegular() && !strings.HasSuffix(e.Name(), tmpSuffix):
			files[e.Name()] = info.Size()
		}
	}
	slices.Sort(folders)
	return files, folders, nil
}

func (d *dirPlace) read(_ context.Context, name string) (content []byte, err error) {
	dir, err := d.open(path.Dir(name), false)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	f, err := openFile(dir, path.Base(name), os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read only
	return io.ReadAll(io.LimitReader(f, maxSmallBytes))
}

func (d *dirPlace) put(ctx context.Context, name string, content []byte) error {
	return d.replace(ctx, name, bytes.NewReader(content))
}

func (d *dirPlace) putFile(ctx context.Context, name string, f *os.File, size int64) error {
	return d.replace(ctx, name, io.NewSectionReader(f, 0, size))
}

// replace writes a file beside the one of that name and puts it in its place once it
// is on disk. A crash leaves the old one, or the new one, and maybe a rest that the
// next attempt removes.
func (d *dirPlace) replace(ctx context.Context, name string, r io.Reader) (err error) {
	dir, err := d.open(path.Dir(name), true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	base := path.Base(name)
	tmp := base + tmpSuffix
	// Removed and made anew, never cut: it may be a link, or another name of a file.
	if err := dir.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := dir.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(f, &interruptible{ctx, r}, make([]byte, 256<<10))
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, dir.Remove(tmp))
	}
	if err := dir.Rename(tmp, base); err != nil {
		return err
	}
	return syncRoot(dir)
}

// interruptible stops reading when its context ends.
type interruptible struct {
	ctx context.Context
	r   io.Reader
}

func (i *interruptible) Read(p []byte) (int, error) {
	if i.ctx.Err() != nil {
		return 0, context.Cause(i.ctx)
	}
	return i.r.Read(p)
}

// syncRoot makes durable what names a folder has.
func syncRoot(dir *os.Root) error {
	f, err := dir.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (d *dirPlace) remove(_ context.Context, name string) error {
	dir, err := d.open(path.Dir(name), false)
	if err != nil {
		return err
	}
	return errors.Join(dir.Remove(path.Base(name)), dir.Close())
}

func (d *dirPlace) tail(ctx context.Context, folder string, seg audit.Segment) (next uint64, err error) {
	d.tailFirst, d.tailNext, d.tailSize = seg.First, seg.First, 0
	dir, err := d.open(folder, false)
	if errors.Is(err, fs.ErrNotExist) {
		return seg.First, nil
	} else if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	f, err := openFile(dir, audit.SegmentName(seg.First, false), os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		return seg.First, nil
	} else if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	// Whole lines count. What follows the last of them is a write that was cut short.
	buf := make([]byte, 256<<10)
	for offset := int64(0); ; {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		n, err := f.ReadAt(buf, offset)
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			d.tailNext += uint64(bytes.Count(buf[:n], []byte{'\n'}))
			d.tailSize = offset + int64(i) + 1
		}
		offset += int64(n)
		if err == io.EOF {
			break
		} else if err != nil {
			return 0, err
		}
	}
	end := make([]byte, min(d.tailSize, compareBytes))
	if _, err := f.ReadAt(end, d.tailSize-int64(len(end))); err != nil {
		return 0, err
	}
	r, err := seg.Open()
	if err != nil {
		return 0, err
	}
	defer func() { _ = r.Close() }() // read only
	if ok, err := same(r, d.tailSize-int64(len(end)), end); err != nil {
		return 0, err
	} else if !ok {
		return 0, fmt.Errorf("%s differs from the log's: %w", filepath.Base(f.Name()), errOther)
	}
	if info, err := f.Stat(); err != nil {
		return 0, err
	} else if info.Size() > d.tailSize {
		if err := errors.Join(f.Truncate(d.tailSize), f.Sync()); err != nil {
			return 0, err
		}
	}
	return d.tailNext, nil
}

func (d *dirPlace) extend(_ context.Context, folder string, first, next uint64, lines []byte) (err error) {
	if first != d.tailFirst {
		if err := d.check(folder); err != nil {
			return err
		}
		d.tailFirst, d.tailNext, d.tailSize = first, first, 0
	}
	if next != d.tailNext {
		return fmt.Errorf("extend the copy of segment %d with line %d, it has those before %d", first, next, d.tailNext)
	}
	dir, err := d.open(folder, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	f, err := openFile(dir, audit.SegmentName(first, false), os.O_WRONLY|os.O_CREATE)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() < d.tailSize {
		return fmt.Errorf("%s was cut", f.Name())
	}
	// What is there beyond is an attempt of ours that failed.
	if info.Size() > d.tailSize {
		if err := f.Truncate(d.tailSize); err != nil {
			return err
		}
	}
	if _, err := f.WriteAt(lines, d.tailSize); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if d.tailSize == 0 {
		if err := syncRoot(dir); err != nil {
			return err
		}
	}
	d.tailSize += int64(len(lines))
	d.tailNext += uint64(bytes.Count(lines, []byte{'\n'}))
	return nil
}

func (d *dirPlace) check(folder string) error {
	if d.tailSize == 0 {
		return nil
	}
	path := filepath.Join(d.path(folder), audit.SegmentName(d.tailFirst, false))
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file", path)
	case info.Size() != d.tailSize:
		return fmt.Errorf("%s has %d bytes, not %d", path, info.Size(), d.tailSize)
	}
	return nil
}

// dropTail removes the plain file of a segment that is there compressed.
func (d *dirPlace) dropTail(ctx context.Context, folder string, first uint64) error {
	if first == d.tailFirst {
		d.tailSize = 0
	}
	err := d.remove(ctx, folder+"/"+audit.SegmentName(first, false))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// wantsWhole: a tail with all lines is the segment.
func (d *dirPlace) wantsWhole() bool { return false }
func (d *dirPlace) vanished() bool   { return true }
func (d *dirPlace) String() string   { return "directory " + d.root }
