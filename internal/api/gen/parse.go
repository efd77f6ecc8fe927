package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// A description is lines; # begins a comment. A line that starts in the first
// column opens a declaration, an indented one continues it:
//
//	service NAME            then key-value lines: package, target (JSON 1.1) or
//	                        namespace (Query), version, protocol, events (CloudTrail's
//	                        eventSource), internal (the code of an unexpected failure),
//	                        errortext (the member of a JSON error with its text, if not
//	                        Message),
//	                        common (codes of package api that the service answers with
//	                        although its model does not list them)
//	error NAME STATUS
//	type NAME TYPE
//	struct NAME             then lines of members
//	op NAME [readonly] [unsigned] [recorded]
//	                        then the sections in, out (members) and err (code names);
//	                        unsigned: anybody may call it; recorded: audit records show
//	                        the answer although it is readonly. A Query operation without
//	                        the section out has no result element in its answers
//
// Members are NAME TYPE, or NAME! TYPE when required, parted by | or by the line's
// end. A TYPE is string, blob, bool, integer, long, time, list<TYPE>,
// map<TYPE, TYPE> or a declared name, then in any order
//
//	MIN..MAX   length, or value of a number; either side may be empty
//	sensitive  never shown, logged or audited
//	quiet      error texts do not repeat the value
//	token      the client library fills it with a fresh UUID when absent
//	plain      AWS cannot tell absent from zero: audit records always show it
//	pattern `RE`   as AWS publishes it: Java's, of which \uXXXX is translated
//	enum A B C (last)

// service is a parsed description.
type service struct {
	name, pkg, target, namespace, version, protocol, events, internal, errorText string

	common []string
	errors []errorCode
	types  []*typ // named types, in order of declaration
	ops    []*operation
	byName map[string]*typ
}

type errorCode struct {
	name   string
	status int
}

type operation struct {
	name     string
	readOnly bool
	unsigned bool
	recorded bool
	result   bool // has the section out
	in, out  *typ
	errors   []string
}

// typ is one type expression. A reference to a declared type has only ref set
// until resolve replaces it.
type typ struct {
	name           string // declared or derived; "" for a plain scalar
	kind           string // string blob bool integer long time list map struct
	ref            string
	elem, key      *typ
	min, max       int64
	hasMin, hasMax bool
	pattern        string
	enum           []string
	sensitive      bool
	quiet          bool
	// Marks of the member written together with the type; members takes them over.
	token, plain bool
	fields       []field
	doc          string
	line         int
}

type field struct {
	name     string
	typ      *typ
	required bool
	token    bool
	plain    bool
}

type parser struct {
	file    string
	line    int
	svc     *service
	section func(toks []string) error // reads an indented line
}

// parse reads one description. file is used in error texts only.
func parse(file, text string) (*service, error) {
	p := &parser{file: file, svc: &service{byName: map[string]*typ{}}}
	for i, line := range strings.Split(text, "\n") {
		p.line = i + 1
		toks, err := tokens(line)
		if err != nil {
			return nil, p.errorf("%v", err)
		}
		if len(toks) == 0 {
			continue
		}
		if line[0] == ' ' || line[0] == '\t' {
			if p.section == nil {
				return nil, p.errorf("indented line outside a declaration")
			}
			err = p.section(toks)
		} else {
			p.section = nil
			err = p.declaration(toks)
		}
		if err != nil {
			return nil, p.errorf("%v", err)
		}
	}
	if err := p.svc.resolve(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return p.svc, nil
}

func (p *parser) errorf(format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", p.file, p.line, fmt.Sprintf(format, args...))
}

// tokens splits a line into words, the punctuation | < > , and `quoted` patterns,
// which keep their first quote as a mark.
func tokens(line string) ([]string, error) {
	var out []string
	for line != "" {
		switch c := line[0]; {
		case c == ' ' || c == '\t':
			line = line[1:]
		case c == '#':
			return out, nil
		case strings.IndexByte("|<>,", c) >= 0:
			out = append(out, line[:1])
			line = line[1:]
		case c == '`':
			end := strings.IndexByte(line[1:], '`')
			if end < 0 {
				return nil, fmt.Errorf("pattern without its closing quote")
			}
			out = append(out, line[:end+1])
			line = line[end+2:]
		default:
			end := strings.IndexAny(line, " \t|<>,`#")
			if end < 0 {
				end = len(line)
			}
			out = append(out, line[:end])
			line = line[end:]
		}
	}
	return out, nil
}

func (p *parser) declaration(toks []string) error {
	if len(toks) < 2 {
		return fmt.Errorf("%s needs a name", toks[0])
	}
	word, name, rest := toks[0], toks[1], toks[2:]
	switch word {
	case "service":
		p.svc.name = name
		p.section = p.serviceLine
	case "error":
		if len(rest) != 1 {
			return fmt.Errorf("error %s needs its status", name)
		}
		status, err := strconv.Atoi(rest[0])
		if err != nil || status < 400 || status > 599 {
			return fmt.Errorf("error %s: bad status %q", name, rest[0])
		}
		p.svc.errors = append(p.svc.errors, errorCode{name, status})
	case "type":
		t, rest, err := p.typeExpr(rest)
		if err != nil {
			return err
		}
		if len(rest) > 0 {
			return fmt.Errorf("unexpected %q", rest[0])
		}
		t.name = name
		return p.svc.declare(t)
	case "struct":
		t := &typ{name: name, kind: "struct", line: p.line}
		p.section = func(toks []string) error { return p.members(t, toks) }
		return p.svc.declare(t)
	case "op":
		op := &operation{name: name}
		op.in = &typ{name: name + "Input", kind: "struct", doc: "is the input of " + name}
		op.out = &typ{name: name + "Output", kind: "struct", doc: "is the output of " + name}
		for _, w := range rest {
			switch w {
			case "readonly":
				op.readOnly = true
			case "unsigned":
				op.unsigned = true
			case "recorded":
				op.recorded = true
			default:
				return fmt.Errorf("unexpected %q", w)
			}
		}
		p.svc.ops = append(p.svc.ops, op)
		p.section = p.operationLines(op)
	default:
		return fmt.Errorf("unknown declaration %q", word)
	}
	return nil
}

func (p *parser) serviceLine(toks []string) error {
	if toks[0] == "common" {
		p.svc.common = toks[1:]
		return nil
	}
	dst, ok := map[string]*string{
		"package": &p.svc.pkg, "target": &p.svc.target, "namespace": &p.svc.namespace,
		"version": &p.svc.version, "protocol": &p.svc.protocol, "events": &p.svc.events,
		"internal": &p.svc.internal, "errortext": &p.svc.errorText,
	}[toks[0]]
	if !ok || len(toks) != 2 {
		return fmt.Errorf("bad service line %q", strings.Join(toks, " "))
	}
	*dst = toks[1]
	return nil
}

// operationLines returns the reader of an operation's sections. A line that does
// not begin with a section's word continues the one before.
func (p *parser) operationLines(op *operation) func([]string) error {
	section := ""
	return func(toks []string) error {
		switch toks[0] {
		case "in", "out", "err":
			section, toks = toks[0], toks[1:]
		}
		switch section {
		case "in":
			return p.members(op.in, toks)
		case "out":
			op.result = true
			return p.members(op.out, toks)
		case "err":
			op.errors = append(op.errors, toks...)
			return nil
		}
		return fmt.Errorf("%q before in, out or err", toks[0])
	}
}

func (p *parser) members(t *typ, toks []string) error {
	for len(toks) > 0 {
		if toks[0] == "|" {
			toks = toks[1:]
			continue
		}
		if len(toks) < 2 {
			return fmt.Errorf("member %s has no type", toks[0])
		}
		name, required := strings.CutSuffix(toks[0], "!")
		ft, rest, err := p.typeExpr(toks[1:])
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if len(rest) > 0 && rest[0] != "|" {
			return fmt.Errorf("%s: unexpected %q", name, rest[0])
		}
		toks = rest
		for _, f := range t.fields {
			if f.name == name {
				return fmt.Errorf("member %s is described twice", name)
			}
		}
		t.fields = append(t.fields, field{name: name, typ: ft, required: required, token: ft.token, plain: ft.plain})
	}
	return nil
}

var rangeRE = regexp.MustCompile(`^(-?[0-9]*)\.\.(-?[0-9]*)$`)

// typeExpr reads a type from the front of toks and returns what follows it.
func (p *parser) typeExpr(toks []string) (*typ, []string, error) {
	if len(toks) == 0 {
		return nil, nil, fmt.Errorf("type expected")
	}
	t := &typ{line: p.line}
	word := toks[0]
	toks = toks[1:]
	var err error
	switch word {
	case "string", "blob", "bool", "integer", "long", "time":
		t.kind = word
	case "list":
		t.kind = word
		if toks, err = expect(toks, "<"); err != nil {
			return nil, nil, err
		}
		if t.elem, toks, err = p.typeExpr(toks); err != nil {
			return nil, nil, err
		}
		if toks, err = expect(toks, ">"); err != nil {
			return nil, nil, err
		}
	case "map":
		t.kind = word
		if toks, err = expect(toks, "<"); err != nil {
			return nil, nil, err
		}
		if t.key, toks, err = p.typeExpr(toks); err != nil {
			return nil, nil, err
		}
		if toks, err = expect(toks, ","); err != nil {
			return nil, nil, err
		}
		if t.elem, toks, err = p.typeExpr(toks); err != nil {
			return nil, nil, err
		}
		if toks, err = expect(toks, ">"); err != nil {
			return nil, nil, err
		}
	default:
		t.ref = word
	}
	for len(toks) > 0 {
		switch w := toks[0]; {
		case w == "token":
			t.token = true
		case w == "plain" && (t.kind == "bool" || t.kind == "integer" || t.kind == "long"):
			t.plain = true
		case w == "sensitive" && t.ref == "":
			t.sensitive = true
		case w == "quiet" && t.ref == "":
			t.quiet = true
		case w == "pattern" && t.kind == "string" && len(toks) > 1 && toks[1][0] == '`':
			toks = toks[1:]
			t.pattern = toks[0][1:]
			if _, err := regexp.Compile(goPattern(t.pattern)); err != nil {
				return nil, nil, err
			}
		case w == "enum" && t.kind == "string":
			for len(toks) > 1 && toks[1] != "|" && toks[1] != ">" && toks[1] != "," {
				toks = toks[1:]
				t.enum = append(t.enum, toks[0])
			}
		case rangeRE.MatchString(w) && t.ref == "":
			m := rangeRE.FindStringSubmatch(w)
			if t.min, t.hasMin, err = bound(m[1]); err != nil {
				return nil, nil, err
			}
			if t.max, t.hasMax, err = bound(m[2]); err != nil {
				return nil, nil, err
			}
		default:
			return t, toks, nil
		}
		toks = toks[1:]
	}
	return t, toks, nil
}

var codeUnit = regexp.MustCompile(`\\u([0-9A-Fa-f]{4,6})`)

// goPattern writes a published pattern in Go's syntax. Five and six digits are what
// the publishers mean where they wrote them, although Java would read four.
func goPattern(p string) string { return codeUnit.ReplaceAllString(p, `\x{$1}`) }

func expect(toks []string, want string) ([]string, error) {
	if len(toks) == 0 || toks[0] != want {
		return nil, fmt.Errorf("%q expected", want)
	}
	return toks[1:], nil
}

func bound(s string) (int64, bool, error) {
	if s == "" {
		return 0, false, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil, err
}
