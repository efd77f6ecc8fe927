package policy

// Rewrite replaces principals in a policy text and leaves every other byte as it is.
// It calls change for each principal of type AWS, wherever a statement names one, in
// the order of the text; change returns what to write in its place, or false to leave
// it. Services use it to store principals by unique id and to show them as ARNs again.
//
// The text must be as the parsers accept it, as far as Rewrite reads; the error is a
// *SyntaxError.
func Rewrite(text string, change func(Principal) (string, bool)) (string, error) {
	n, err := readJSON(text)
	if err != nil {
		return "", err
	}
	w := rewriter{text: text, change: change}
	if err := w.document(n); err != nil {
		return "", err
	}
	w.out.WriteString(text[w.done:])
	return w.out.String(), nil
}

type rewriter struct {
	text   string
	change func(Principal) (string, bool)
	out    printer
	done   int // how much of text is in out
}

func (w *rewriter) document(n node) *SyntaxError {
	if n.kind != objectNode {
		return bad(n.at, "the policy is %s, not an object", n.kind)
	}
	for _, m := range n.members {
		if m.name != "Statement" {
			continue
		}
		list := m.value.items
		if m.value.kind == objectNode {
			list = []node{m.value}
		}
		for _, s := range list {
			if err := w.statement(s); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *rewriter) statement(n node) *SyntaxError {
	for _, block := range n.members {
		if block.name != "Principal" && block.name != "NotPrincipal" {
			continue
		}
		for _, m := range block.value.members {
			if m.name != "AWS" {
				continue
			}
			values, err := stringList(m.value, "principal")
			if err != nil {
				return err
			}
			for _, v := range values {
				if err := w.principal(v); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (w *rewriter) principal(n node) *SyntaxError {
	p, err := parseAWSPrincipal(n)
	if err != nil {
		return err
	}
	p.Position, p.Value = n.at, n.text
	if with, ok := w.change(p); ok {
		w.out.WriteString(w.text[w.done:n.start])
		w.out.str(with)
		w.done = n.end
	}
	return nil
}

// Size counts the characters of a policy as IAM does for its quotas: white space does
// not count, as far as it is between the values of JSON. Inside of them it is part of
// a pattern or name, and costs what other characters cost.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
func Size(text string) int {
	n := 0
	quoted, escaped := false, false
	for _, c := range text {
		switch {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		}
		if quoted || c != ' ' && c != '\t' && c != '\n' && c != '\r' {
			n++
		}
	}
	return n
}

// Within reports whether a policy has at most as many characters as a quota says, and
// not too much white space beside: it is stored and shown like everything else.
func Within(text string, most int) bool { return len(text) <= 8*most && Size(text) <= most }
