package trail

import (
	"errors"
	"net/url"
	"strconv"
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
