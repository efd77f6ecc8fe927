package ship

import (
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

	"arca/internal/merkle"
)

// copySmall copies what lies beside the segments. head is the newest checkpoint, and
// the copy has the lines it covers.
func (c *copier) copySmall(ctx context.Context, head []byte) error {
	for _, folder := range []string{checkpointsName, prunedName} {
		entries, err := os.ReadDir(filepath.Join(c.dir, folder))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			name := path.Join(folder, e.Name())
			if c.small[name] || strings.HasSuffix(name, ".tmp") {
				continue
			}
			text, err := readSmall(filepath.Join(c.dir, folder, e.Name()))
			if err != nil {
				return err
			}
			if folder == checkpointsName {
				if cp, err := merkle.UnverifiedCheckpoint(text); err == nil && cp.Size > c.next {
					continue // made since the lines were copied
				}
			}
			if len(text) == 0 {
				continue
			}
			if err := c.place.put(ctx, path.Join(c.folder, name), text); err != nil {
				return err
			}
			c.small[name] = true
		}
	}
	key, err := readSmall(filepath.Join(c.dir, keyName))
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		text []byte
	}{{keyName, key}, {checkpointName, head}} {
		if len(f.text) == 0 || c.last[f.name] == string(f.text) {
			continue
		}
		if err := c.place.put(ctx, path.Join(c.folder, f.name), f.text); err != nil {
			return err
		}
		c.last[f.name] = string(f.text)
	}
	return nil
}

// evidence are parts of the names of files that the log has put aside, for somebody to
// look at.
var evidence = [...]string{".jsonl.cut-", ".jsonl.replaced-", "journal.aside-"}

// copyLost copies what does not change any more: the folders of former generations of
// the log, and what it has put aside.
func (c *copier) copyLost(ctx context.Context, files map[string]int64) error {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		aside := slices.ContainsFunc(evidence[:], func(part string) bool { return strings.Contains(e.Name(), part) })
		switch {
		case e.IsDir() && strings.HasPrefix(e.Name(), lostPrefix):
			err = c.copyTree(ctx, e.Name())
		case aside && e.Type().IsRegular():
			err = c.copyOnce(ctx, e, e.Name(), files)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// copyTree copies a folder and those of its folders that are worth keeping.
func (c *copier) copyTree(ctx context.Context, folder string) error {
	entries, err := os.ReadDir(filepath.Join(c.dir, filepath.FromSlash(folder)))
	if err != nil {
		return err
	}
	there, _, err := c.place.list(ctx, path.Join(c.folder, folder))
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(folder, e.Name())
		if e.IsDir() && (e.Name() == checkpointsName || e.Name() == prunedName) {
			if err := c.copyTree(ctx, name); err != nil {
				return err
			}
		}
		if e.Type().IsRegular() {
			if err := c.copyOnce(ctx, e, name, there); err != nil {
				return err
			}
		}
	}
	return nil
}

// copyOnce copies a file that is not among those that are there.
func (c *copier) copyOnce(ctx context.Context, e fs.DirEntry, name string, there map[string]int64) error {
	f, err := os.Open(filepath.Join(c.dir, filepath.FromSlash(name)))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // read only
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if size, ok := there[e.Name()]; ok && size == info.Size() {
		return nil
	}
	return c.place.putFile(ctx, path.Join(c.folder, name), f, info.Size())
}

// readSmall reads a checkpoint or a note. One that is not there is empty.
func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read only
	text, err := io.ReadAll(io.LimitReader(f, maxSmallBytes+1))
	if err == nil && len(text) > maxSmallBytes {
		err = fmt.Errorf("%s is longer than %d bytes", path, maxSmallBytes)
	}
	return text, err
}
