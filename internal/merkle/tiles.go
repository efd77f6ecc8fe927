package merkle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/mod/sumdb/tlog"
	"golang.org/x/sys/unix"
)

const dirMode = 0o700

// Tiles are the hash tiles in the directory "tile" of a log's directory. They are
// always made from lines and can be made again. Its methods may be called concurrently,
// also by several processes.
type Tiles struct {
	dir string

	mu sync.Mutex
	// pinned are the partial tiles that were synced, one of each level at most: a wider
	// one may be lost as long as it is not synced itself. Guarded by mu.
	pinned [levels]partial
}

// partial names a partial tile of a level.
type partial struct {
	n     uint64
	width int // 0 for none
}

// NewTiles are the tiles of the log in dir. Nothing need be there yet.
func NewTiles(dir string) *Tiles { return &Tiles{dir: filepath.Join(dir, "tile")} }

// path is where C2SP's tlog-tiles has a tile.
func (t *Tiles) path(level int, n uint64, width int) string {
	name := fmt.Sprintf("%03d", n%1000)
	for n >= 1000 {
		n /= 1000
		name = fmt.Sprintf("x%03d/%s", n%1000, name)
	}
	path := filepath.Join(t.dir, strconv.Itoa(level), filepath.FromSlash(name))
	if width < tileWidth {
		path = filepath.Join(path+".p", strconv.Itoa(width))
	}
	return path
}

// Read returns the first width hashes of tile n of a level, from whatever tile of at
// least that width is there. The error wraps ErrTiles when there is none that is whole.
// What is returned proves nothing; Reader does.
func (t *Tiles) Read(level int, n uint64, width int) ([]Hash, error) {
	data, err := t.read(level, n, width)
	if err != nil {
		return nil, err
	}
	hashes := make([]Hash, width)
	for i := range hashes {
		copy(hashes[i][:], data[i*HashSize:])
	}
	return hashes, nil
}

func (t *Tiles) read(level int, n uint64, width int) ([]byte, error) {
	if width < 1 || width > tileWidth {
		return nil, fmt.Errorf("read tile: width %d", width)
	}
	data, err := readTile(t.path(level, n, tileWidth), width)
	if err == nil || width == tileWidth {
		return data, err
	}
	if data, err = readTile(t.path(level, n, width), width); err == nil {
		return data, nil
	}
	for _, w := range t.partials(level, n) {
		if w > width {
			if data, werr := readTile(t.path(level, n, w), width); werr == nil {
				return data, nil
			}
		}
	}
	return nil, err
}

// partials are the widths of the partial tiles that are there, ascending.
func (t *Tiles) partials(level int, n uint64) (widths []int) {
	entries, err := os.ReadDir(t.path(level, n, tileWidth) + ".p")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if w, err := strconv.Atoi(e.Name()); err == nil && w > 0 && w < tileWidth && strconv.Itoa(w) == e.Name() {
			widths = append(widths, w)
		}
	}
	slices.Sort(widths)
	return widths
}

// readTile reads the first width hashes of a file. What a lost block leaves is zeros,
// and no hash of anything anyone has is zero.
func readTile(path string, width int) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("read tile: %w: %w", ErrTiles, err)
	}
	defer func() { _ = f.Close() }() // nothing was written through it
	data := make([]byte, width*HashSize)
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, fmt.Errorf("read tile %s: %w: %w", filepath.Base(path), ErrTiles, err)
	}
	var zero Hash
	for i := range width {
		if Hash(data[i*HashSize:][:HashSize]) == zero {
			return nil, fmt.Errorf("read tile %s: %w: hash %d is missing", filepath.Base(path), ErrTiles, i)
		}
	}
	return data, nil
}

// write puts a tile in place, whole or not at all as long as the machine keeps running.
func (t *Tiles) write(level int, n uint64, hashes []Hash) error {
	path := t.path(level, n, len(hashes))
	data := make([]byte, 0, tileBytes)
	for i := range hashes {
		data = append(data, hashes[i][:]...)
	}
	// What is made again is mostly there already, and perhaps synced.
	if old, err := readTile(path, len(hashes)); err == nil && bytes.Equal(old, data) {
		return nil
	}
	if err := replace(path, data); err != nil {
		return fmt.Errorf("write tile: %w", err)
	}
	return nil
}

// remove removes a partial tile that a wider one has made superfluous, unless it is all
// that is durable. One that stays does no harm.
func (t *Tiles) remove(level int, n uint64, width int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if width > 0 && t.pinned[level] != (partial{n, width}) {
		_ = os.Remove(t.path(level, n, width))
	}
}

// removeEmpty removes the directory of the partial tiles of a full one, if none is left.
func (t *Tiles) removeEmpty(level int, n uint64) { _ = os.Remove(t.path(level, n, tileWidth) + ".p") }

// replace writes a file under another name first. It is not synced.
func replace(path string, data []byte) error {
	dir, name := filepath.Split(path)
	f, err := os.CreateTemp(dir, name+".new-*") // made with mode 0600
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, dirMode); err != nil {
			return err
		}
		f, err = os.CreateTemp(dir, name+".new-*")
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// Sync makes the tiles that cover the leaves from one number up to another durable, for
// a tree of size to. The error wraps ErrTiles if one is not there. Once the lines are
// gone, tiles cannot be made again.
func (t *Tiles) Sync(from, to uint64) error {
	dirs := make(map[string]bool)
	for level := range levels {
		count := to >> (tileHeight * level) // hashes of this level
		for n := from >> (tileHeight * (level + 1)); n*tileWidth < count; n++ {
			path, err := t.syncTile(level, n, int(min(tileWidth, count-n*tileWidth)))
			if err != nil {
				return err
			}
			for dir := filepath.Dir(path); len(dir) >= len(t.dir) && !dirs[dir]; dir = filepath.Dir(dir) {
				dirs[dir] = true
			}
		}
	}
	for dir := range dirs {
		if err := syncPath(dir); err != nil {
			return fmt.Errorf("sync tiles: %w", err)
		}
	}
	return nil
}

// syncTile syncs a file that has a tile's first hashes, and sees to it that it stays
// until a full one is durable.
func (t *Tiles) syncTile(level int, n uint64, width int) (path string, err error) {
	for _, w := range append([]int{tileWidth, width}, t.partials(level, n)...) {
		if w < width {
			continue
		}
		path = t.path(level, n, w)
		t.pin(level, partial{n, w})
		if _, err := readTile(path, width); err != nil {
			continue
		}
		if err := syncPath(path); err != nil {
			return "", fmt.Errorf("sync tile: %w", err)
		}
		if w == tileWidth {
			if err := os.RemoveAll(path + ".p"); err != nil {
				return "", fmt.Errorf("remove partial tiles: %w", err)
			}
		}
		return path, nil
	}
	return "", fmt.Errorf("sync tile %d of level %d: %w", n, level, ErrTiles)
}

// pin keeps a partial tile from being removed. A full one needs no keeping.
func (t *Tiles) pin(level int, p partial) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pinned[level] = p
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Reader reads hashes of the tree of a size and root, and proves each of them to
// belong to it before returning it. Errors that wrap ErrTiles say that tiles are
// missing or were changed.
func (t *Tiles) Reader(size uint64, root Hash) tlog.HashReader {
	if size == 0 || size > MaxSize {
		return tlog.HashReaderFunc(func(indexes []int64) ([]Hash, error) {
			if len(indexes) == 0 {
				return nil, nil
			}
			return nil, fmt.Errorf("read hashes of a tree of %d leaves", size)
		})
	}
	r := tlog.TileHashReader(tlog.Tree{N: int64(size), Hash: root}, tileReader{t})
	return tlog.HashReaderFunc(func(indexes []int64) ([]Hash, error) {
		hashes, err := r.ReadHashes(indexes)
		if err != nil && !errors.Is(err, ErrTiles) {
			err = fmt.Errorf("%w: %w", ErrTiles, err)
		}
		return hashes, err
	})
}

// RootAt is the root that the tree of a size and root had when it was smaller.
func (t *Tiles) RootAt(at, size uint64, root Hash) (Hash, error) {
	switch {
	case at > size || size > MaxSize:
		return Hash{}, fmt.Errorf("root at %d of a tree of %d leaves", at, size)
	case at == size:
		return root, nil
	case at == 0:
		return EmptyRoot(), nil
	}
	h, err := tlog.TreeHash(int64(at), t.Reader(size, root))
	if err != nil {
		return Hash{}, fmt.Errorf("root at %d of a tree of %d leaves: %w", at, size, err)
	}
	return h, nil
}

// tileReader is a tlog.TileReader.
type tileReader struct{ t *Tiles }

func (r tileReader) Height() int { return tileHeight }

func (r tileReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(tiles))
	for i, tile := range tiles {
		var err error
		if data[i], err = r.t.read(tile.L, uint64(tile.N), tile.W); err != nil {
			return nil, err
		}
	}
	return data, nil
}

func (r tileReader) SaveTiles([]tlog.Tile, [][]byte) {}
