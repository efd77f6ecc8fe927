package audit

import (
	"fmt"

	"arca/internal/merkle"
)

// maxTileFindings bounds the differences from tiles that are remembered.
const maxTileFindings = 1000

// tileLog gathers where tiles are not those of the lines.
type tileLog struct {
	differ []uint64 // lines whose hash tile has another hash
	gone   uint64   // lines without a hash tile
	nodes  []badNode
	tile   [8]cachedTile // the last one read of each level
}

// badNode is a hash in a tile of a higher level that is not the one over its lines.
type badNode struct{ from, to uint64 }

type cachedTile struct {
	n      uint64
	hashes []merkle.Hash
	read   bool
}

func (v *verification) addDiffer(h hashed) {
	v.gone += h.gone
	if len(v.differ) < maxTileFindings {
		v.differ = append(v.differ, h.differ...)
	}
}

// compareNode compares a subtree that was just completed with what its tile says.
func (v *verification) compareNode(level int, h merkle.Hash) {
	if level%maxPieceLevel != 0 {
		return
	}
	tileLevel := level / maxPieceLevel
	index := v.edge.size>>level - 1
	if (index+1)<<level > v.tiled() || tileLevel >= len(v.tile) {
		return
	}
	c := &v.tile[tileLevel]
	if n := index >> maxPieceLevel; !c.read || c.n != n {
		width := min(1<<maxPieceLevel, v.tiled()>>level-n<<maxPieceLevel)
		hashes, err := v.tiles.Read(tileLevel, n, int(width))
		if err != nil {
			hashes = nil
		}
		*c = cachedTile{n, hashes, true}
	}
	k := int(index & (1<<maxPieceLevel - 1))
	if k < len(c.hashes) && c.hashes[k] != h && len(v.nodes) < maxTileFindings {
		v.nodes = append(v.nodes, badNode{index << level, (index+1)<<level - 1})
	}
}

// explainTiles reports tiles that differ from lines which are proven to be right. Of
// lines that are not, explain has told what the tiles tell.
func (v *verification) explainTiles() {
	var found []Range
	for _, n := range v.differ {
		if v.right(n, n) {
			found = addToRanges(found, n)
		}
	}
	for _, r := range found {
		v.problem(BadTile, r.From, r.To-1, "the hash tile over %s is wrong: the lines are those of the checkpoint, the tile was changed", plainRange(r.From, r.To-1))
	}
	for _, b := range v.nodes {
		if v.right(b.from, b.to) {
			v.problem(BadTile, b.from, b.to, "a hash tile of a higher level, over %s, is wrong: the lines are those of the checkpoint, the tile was changed", plainRange(b.from, b.to))
		}
	}
	switch {
	case v.gone == 0:
	case v.gone >= min(v.tiled(), v.pos)-min(v.tiled(), v.firstLine()):
		v.warn("there are no hash tiles here: had a line been changed, it could not have been told which")
	default:
		v.warn("hash tiles over %d lines are missing or torn; the log makes them again from the lines", v.gone)
	}
}

func (v *verification) firstLine() uint64 {
	if len(v.segs) == 0 {
		return 0
	}
	return v.segs[0].First
}

// right reports whether lines were found to match a checkpoint.
func (v *verification) right(from, to uint64) bool {
	if to >= v.good {
		return false
	}
	for _, r := range v.suspects {
		if r.From <= to && from < r.To {
			return false
		}
	}
	return true
}

func plainRange(from, to uint64) string {
	if from == to {
		return fmt.Sprintf("line %d", from)
	}
	return fmt.Sprintf("lines %d to %d", from, to)
}
