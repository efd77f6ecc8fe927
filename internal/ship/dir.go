package ship

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

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

func (d *dirPlace) list(_ context.Context, folder string) (files map[string]int64, folders []string, err error) {
	// The root is never made: it may be where a disk is to be mounted.
	if info, err := os.Stat(d.root); err != nil {
		return nil, nil, err
	} else if !info.IsDir() {
		return nil, nil, fmt.Errorf("%s is not a directory", d.root)
	}
	if there, err := os.Stat(d.path(folder)); err == nil {
		if own, err := os.Stat(d.log); err == nil && os.SameFile(there, own) {
			return nil, nil, fmt.Errorf("%s is the log itself", d.path(folder))
		}
	}
	entries, err := os.ReadDir(d.path(folder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	} else if err != nil {
		return nil, nil, err
	}
	files = make(map[string]int64)
	for _, e := range entries {
		if e.IsDir() {
			folders = append(folders, e.Name())
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() || strings.HasSuffix(e.Name(), tmpSuffix) {
			continue
		} else if err != nil {
			return nil, nil, err
		}
		files[e.Name()] = info.Size()
	}
	return files, folders, nil
}

func (d *dirPlace) read(_ context.Context, name string) ([]byte, error) {
	f, err := os.Open(d.path(name))
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
// next attempt overwrites.
func (d *dirPlace) replace(ctx context.Context, name string, r io.Reader) (err error) {
	path := d.path(name)
	if err := d.makeDir(filepath.Dir(path)); err != nil {
		return err
	}
	tmp := path + tmpSuffix
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(f, &interruptible{ctx, r}, make([]byte, 256<<10))
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
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

// makeDir makes a folder below root, and makes sure that a crash does not unmake it.
func (d *dirPlace) makeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil || dir == d.root {
		return err
	}
	if err := d.makeDir(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (d *dirPlace) remove(_ context.Context, name string) error { return os.Remove(d.path(name)) }

func (d *dirPlace) tail(ctx context.Context, folder string, seg audit.Segment) (next uint64, err error) {
	d.tailFirst, d.tailNext, d.tailSize = seg.First, seg.First, 0
	f, err := os.OpenFile(filepath.Join(d.path(folder), audit.SegmentName(seg.First, false)), os.O_RDWR, 0)
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
	dir := d.path(folder)
	if err := d.makeDir(dir); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, audit.SegmentName(first, false)), os.O_WRONLY|os.O_CREATE, fileMode)
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
		if err := syncDir(dir); err != nil {
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
	info, err := os.Stat(path)
	if err == nil && info.Size() != d.tailSize {
		err = fmt.Errorf("%s has %d bytes, not %d", path, info.Size(), d.tailSize)
	}
	return err
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
