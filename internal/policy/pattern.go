package policy

import "strings"

// PartKind is a kind of Part.
type PartKind int

// The kinds of parts of a pattern.
const (
	Literal  PartKind = iota // Text, byte for byte
	AnyRun                   // *: any characters, or none
	AnyOne                   // ?: any one character
	Variable                 // ${Text}: the value of that condition key, or Default
)

// Part is one part of a pattern.
type Part struct {
	Kind PartKind
	Text string // of a Literal; the key of a Variable
	// Default stands in for a variable that the request has no value for. It is literal.
	Default    string
	HasDefault bool
}

// Pattern is a string of a policy in which wildcards, variables or both may stand.
type Pattern struct {
	Text  string // as written
	Parts []Part // no two literals stand side by side
}

// patternSyntax says what has a meaning in a pattern.
type patternSyntax struct {
	wildcards bool
	variables bool // never in documents of Version2008
}

// parsePattern takes a string of a policy apart.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
func parsePattern(text string, at Position, syntax patternSyntax) (Pattern, *SyntaxError) {
	p := Pattern{Text: text}
	var literal strings.Builder
	flush := func() {
		if literal.Len() > 0 {
			p.Parts = append(p.Parts, Part{Kind: Literal, Text: literal.String()})
			literal.Reset()
		}
	}
	special := ""
	if syntax.wildcards {
		special += "*?"
	}
	if syntax.variables {
		special += "$"
	}
	for rest := text; rest != ""; {
		i := strings.IndexAny(rest, special)
		if special == "" || i < 0 {
			literal.WriteString(rest)
			break
		}
		literal.WriteString(rest[:i])
		c := rest[i]
		rest = rest[i+1:]
		switch {
		case c == '*':
			flush()
			p.Parts = append(p.Parts, Part{Kind: AnyRun})
		case c == '?':
			flush()
			p.Parts = append(p.Parts, Part{Kind: AnyOne})
		case !strings.HasPrefix(rest, "{"):
			literal.WriteByte('$')
		default:
			body, after, err := variableBody(rest[1:], at)
			if err != nil {
				return Pattern{}, err
			}
			rest = after
			if body == "*" || body == "?" || body == "$" {
				literal.WriteString(body)
				continue
			}
			v, err := parseVariable(body, at)
			if err != nil {
				return Pattern{}, err
			}
			flush()
			p.Parts = append(p.Parts, v)
		}
	}
	flush()
	return p, nil
}

// variableBody splits what stands between ${ and } from what follows. A brace inside
// the quotation marks of a default ends nothing.
func variableBody(s string, at Position) (body, after string, err *SyntaxError) {
	quoted := false
	for i := range len(s) {
		switch {
		case s[i] == '\'':
			quoted = !quoted
		case s[i] == '}' && !quoted:
			return s[:i], s[i+1:], nil
		}
	}
	if quoted {
		return "", "", bad(at, "a policy variable lacks a quotation mark: ${%s", clip(s))
	}
	return "", "", bad(at, "a policy variable lacks its closing brace: ${%s", clip(s))
}

// parseVariable reads key or key, 'default'.
func parseVariable(body string, at Position) (Part, *SyntaxError) {
	if body == "" {
		return Part{}, bad(at, "a policy variable is empty")
	}
	key, value, hasDefault := strings.Cut(body, ",")
	v := Part{Kind: Variable, Text: key, HasDefault: hasDefault}
	if hasDefault {
		value = strings.TrimLeft(value, " ")
		if len(value) < 2 || value[0] != '\'' || strings.IndexByte(value[1:], '\'') != len(value)-2 {
			return Part{}, bad(at, "the default of policy variable %s is not between single quotation marks", quote(key))
		}
		v.Default = value[1 : len(value)-1]
	}
	if key != strings.TrimSpace(key) {
		return Part{}, bad(at, "policy variable %s has a space at its edge", quote(key))
	}
	if !validKey(key) {
		return Part{}, bad(at, "policy variable %s is not a condition key", quote(key))
	}
	return v, nil
}

// validKey reports whether s has the form of a condition key: a prefix, a colon, a
// name. The name may hold a tag key, and tag keys may hold nearly anything; the
// characters that carry meaning in a variable are left to defaults.
func validKey(s string) bool {
	prefix, name, ok := strings.Cut(s, ":")
	if !ok || prefix == "" || name == "" || len(s) > maxKeyBytes {
		return false
	}
	for _, c := range s {
		if c < ' ' || c == 0x7f || strings.ContainsRune("{}'\"$", c) {
			return false
		}
	}
	return !strings.ContainsAny(prefix, " *?,")
}

// maxKeyBytes bounds condition keys. The longest of AWS hold a tag key of 128
// characters.
const maxKeyBytes = 1024
