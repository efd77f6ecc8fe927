package wire

import (
	"strconv"
	"strings"
)

// step is one part of the way from the input down to a value: a member, or an
// element of a list (counted from 1), or an entry of a map.
type step struct {
	name  string
	index int
	key   bool
}

// path is where a value stands, as error texts name it: filters.1.member.key.
type path []step

func (p path) String() string {
	var b strings.Builder
	for i, s := range p {
		if i > 0 {
			b.WriteByte('.')
		}
		switch {
		case s.key:
			b.WriteString(s.name)
			b.WriteString(".member")
		case s.index > 0:
			b.WriteString(strconv.Itoa(s.index))
			b.WriteString(".member")
		default:
			b.WriteString(strings.ToLower(s.name[:1]))
			b.WriteString(s.name[1:])
		}
	}
	return b.String()
}
