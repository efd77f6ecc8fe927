package admin

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// searchBlock is how much of a file is looked at at once.
const searchBlock = 1 << 20

// search looks for byte strings in every file below a folder and returns the files that
// hold one, relative to it. Whatever is sealed begins with the id and version of its key
// in the clear, so what is not found is not there. Files may be written and removed meanwhile;
// one that is gone holds nothing.
func search(ctx context.Context, dir string, what [][]byte, report func(done, total int64)) (found []string, err error) {
	type file struct {
		path string
		size int64
	}
	var files []file
	var done, total int64
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		files = append(files, file{path, info.Size()})
		total += info.Size()
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		holds, err := fileHolds(ctx, f.path, what)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if holds {
			name, err := filepath.Rel(dir, f.path)
			if err != nil {
				name = f.path
			}
			found = append(found, name)
		}
		done += f.size
		report(done, total)
	}
	return found, nil
}

func fileHolds(ctx context.Context, path string, what [][]byte) (bool, error) {
	longest := 0
	for _, w := range what {
		longest = max(longest, len(w))
	}
	if longest == 0 {
		return false, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	// The end of a block is looked at again with the next one, for what lies across.
	buf := make([]byte, longest-1+searchBlock)
	kept := 0
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n, err := io.ReadFull(f, buf[kept:])
		have := buf[:kept+n]
		for _, w := range what {
			if bytes.Contains(have, w) {
				return true, nil
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		kept = copy(buf, have[max(0, len(have)-longest+1):])
	}
}
