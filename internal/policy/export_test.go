package policy

import "encoding/json"

// ReadJSON reads a text into what encoding/json makes of it with UseNumber.
func ReadJSON(text string) (any, *SyntaxError) {
	n, err := readJSON(text)
	if err != nil {
		return nil, err
	}
	return n.plain(), nil
}

func (n node) plain() any {
	switch n.kind {
	case boolNode:
		return n.text == "true"
	case numberNode:
		return json.Number(n.text)
	case stringNode:
		return n.text
	case listNode:
		list := []any{}
		for _, item := range n.items {
			list = append(list, item.plain())
		}
		return list
	case objectNode:
		object := map[string]any{}
		for _, m := range n.members {
			object[m.name] = m.value.plain()
		}
		return object
	}
	return nil
}

// Match reports whether s matches a pattern in which * and ? are wildcards. With asARN,
// both are taken for ARNs.
func Match(pattern, s string, asARN bool) bool {
	p, err := parsePattern(pattern, Position{}, patternSyntax{wildcards: true})
	if err != nil {
		panic(err)
	}
	if asARN {
		g := compileARN(p)
		return matchARN(g.tail, s)
	}
	g := compilePattern(p)
	if g.match(s) != g.matchBytes([]byte(s)) {
		panic("a match depends on where the text is held")
	}
	return g.match(s)
}

// CompareNumbers compares two numbers as decimals.
func CompareNumbers(a, b string) (int, bool) {
	x, ok := parseDecimal(a)
	y, ok2 := parseDecimal(b)
	return x.compare(y), ok && ok2
}

// NewCache returns a Cache with small bounds.
func NewCache(maxEntries, maxBytes int) *Cache {
	return &Cache{maxEntries: maxEntries, maxBytes: maxBytes}
}

// Size returns how many texts the cache holds and about how many bytes of memory.
func (c *Cache) Size() (entries, bytes int) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	sum := 0
	for _, e := range c.ring {
		sum += e.weight
	}
	if sum != c.bytes || len(c.ring) != len(c.entries) {
		panic("the cache has lost count")
	}
	return len(c.ring), c.bytes
}

// Size is how much an index remembers.
func (x *Index) Size() (actions, bytes int) {
	k := x.known.Load()
	return len(k.candidates), k.bytes
}
