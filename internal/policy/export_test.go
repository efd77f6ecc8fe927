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
