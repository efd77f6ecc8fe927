package merkle

import "os"

// TilePath is where a tile is, for tests of the layout.
func TilePath(t *Tiles, level int, n uint64, width int) string { return t.path(level, n, width) }

// OverwriteTile puts any bytes in a tile's place.
func OverwriteTile(t *Tiles, level int, n uint64, width int, data []byte) error {
	return os.WriteFile(t.path(level, n, width), data, 0o600)
}
