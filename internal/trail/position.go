package trail

import (
	"errors"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Position is a place between events from where a search goes on: for each node's
// directory the number of the line it stands before. "" is the beginning of the search.
// It is text that is safe in files and addresses. It tells how many lines there are;
// whoever should not know that gets it sealed.
type Position string

// ErrPosition is the error for a position that no search has returned.
var ErrPosition = errors.New("not a position in the audit log")

// maxPositionBytes bounds what is parsed: some hundred directories.
const maxPositionBytes = 16 << 10

func (p Position) parse() (map[string]uint64, error) {
	if len(p) > maxPositionBytes {
		return nil, ErrPosition
	}
	values, err := url.ParseQuery(string(p))
	if err != nil {
		return nil, ErrPosition
	}
	lines := make(map[string]uint64, len(values))
	for name, v := range values {
		n, err := strconv.ParseUint(v[0], 10, 64)
		if err != nil || len(v) != 1 {
			return nil, ErrPosition
		}
		lines[name] = n
	}
	return lines, nil
}

func makePosition(lines map[string]uint64) Position {
	values := make(url.Values, len(lines))
	for name, n := range lines {
		values.Set(name, strconv.FormatUint(n, 10))
	}
	return Position(values.Encode())
}

// generations makes a position of before a break one of now. The lines that it counted
// have been moved to a directory that it does not know, the oldest of these if there were
// several breaks since; in later ones, and in the new log, no line had been written yet.
func (t *Trail) generations(at map[string]uint64) map[string]uint64 {
	since := make(map[string][]string)
	for _, f := range t.folders {
		node, _, former := strings.Cut(f.name, "/"+lostPrefix)
		if !former {
			continue
		}
		_, known := at[f.name]
		if _, ok := at[node]; ok && !known {
			since[node] = append(since[node], f.name)
		}
	}
	if len(since) == 0 {
		return at
	}
	at = maps.Clone(at)
	for node, names := range since {
		slices.Sort(names) // by time
		for _, name := range names {
			at[name], at[node] = at[node], 0
		}
	}
	return at
}
