package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A description is lines; # begins a comment. A line that starts in the first
// column opens a declaration, an indented one continues it:
//
//	service NAME            then key-value lines: package, target (JSON 1.1),
//	                        namespace (of Query's answers; in JSON 1.1 what some clients
//	                        put before target), version, protocol, events (CloudTrail's
//	                        eventSource), internal (the code of an unexpected failure),
//	                        errortext (the member of a JSON error with its text, if not
//	                        Message),
//	                        throttled (the code for a caller that sends too much, if not
//	                        the protocol's),
//	                        common (codes of package api that the service answers with
//	                        although its model does not list them)
//	error NAME STATUS [MEMBER]
//	                        MEMBER carries the text, if not errortext
//	type NAME TYPE
//	struct NAME             then lines of members
//	op NAME [readonly] [unsigned] [recorded] [slow]
//	                        then the sections in, out (members) and err (code names);
//	                        unsigned: anybody may call it; recorded: audit records show
//	                        the answer although it is readonly; slow: it may take minutes,
//	                        by waiting for somebody's program. A Query operation without
//	                        the section out has no result element in its answers. The
//	                        section "out = NAME" has that structure for the output, and
//	                        "event NAME" is CloudTrail's eventName, if not the op's NAME.
//	                        A restjson operation begins with the section
//	                        http METHOD PATH STATUS [BYTES]
//	                        where PATH has {MEMBER} for members marked uri, and BYTES is
//	                        how large its body may be, if not the server's usual limit
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
//	uri, query NAME, header NAME, payload, status
//	           restjson: the member stands in the path, in the URL or in a header under
//	           NAME, is the body, or is the status of the answer
//	pattern `RE`   as AWS publishes it: Java's, of which \uXXXX is translated
//	enum A B C (last)

// service is a parsed description.
type service struct {
	name, pkg, target, namespace, version, protocol, events, internal, errorText, throttled string

	common []string
	errors []errorCode
	types  []*typ // named types, in order of declaration
	ops    []*operation
	byName map[string]*typ
}

type errorCode struct {
	name   string
	status int
	member string
}

type operation struct {
	name     string
	readOnly bool
	unsigned bool
	recorded bool
	slow     bool
	result   bool // has the section out
	in, out  *typ
	same     string // name of the structure that is the output
	errors   []string
	event    string
	http     route
}

// route is how restjson names an operation.
type route struct {
	method, path  string
	status, limit int
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
	place        place
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
	place    place
}

// place is where restjson puts a member; the zero value is the JSON body.
type place struct{ word, name string }

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
		if len(rest) != 1 && len(rest) != 2 {
			return fmt.Errorf("error %s needs its status", name)
		}
		status, err := strconv.Atoi(rest[0])
		if err != nil || status < 400 || status > 599 {
			return fmt.Errorf("error %s: bad status %q", name, rest[0])
		}
		code := errorCode{name: name, status: status}
		if len(rest) == 2 {
			code.member = rest[1]
		}
		p.svc.errors = append(p.svc.errors, code)
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
			case "slow":
				op.slow = true
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
		"internal": &p.svc.internal, "errortext": &p.svc.errorText, "throttled": &p.svc.throttled,
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
		case "in", "err":
			section, toks = toks[0], toks[1:]
		case "out":
			section, toks = toks[0], toks[1:]
			if len(toks) == 2 && toks[0] == "=" {
				section, op.result, op.same = "", true, toks[1]
				return nil
			}
		case "event":
			if len(toks) != 2 {
				return fmt.Errorf("event needs one name")
			}
			section, op.event = "", toks[1]
			return nil
		case "http":
			section = ""
			return op.http.parse(toks[1:])
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

var methods = []string{"GET", "PUT", "POST", "DELETE"}

func (r *route) parse(toks []string) (err error) {
	if r.method != "" {
		return fmt.Errorf("http is given twice")
	}
	if len(toks) != 3 && len(toks) != 4 || !slices.Contains(methods, toks[0]) || toks[1][0] != '/' {
		return fmt.Errorf("bad http line %q", strings.Join(toks, " "))
	}
	r.method, r.path = toks[0], toks[1]
	if r.status, err = strconv.Atoi(toks[2]); err != nil || r.status < 200 || r.status > 299 {
		return fmt.Errorf("bad status %q", toks[2])
	}
	if len(toks) == 4 {
		if r.limit, err = strconv.Atoi(toks[3]); err != nil || r.limit < 1 {
			return fmt.Errorf("bad size %q", toks[3])
		}
	}
	return nil
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
		t.fields = append(t.fields, field{name: name, typ: ft, required: required, token: ft.token, plain: ft.plain, place: ft.place})
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
		case w == "uri" || w == "payload" || w == "status":
			t.place = place{word: w}
		case (w == "query" || w == "header") && len(toks) > 1:
			toks = toks[1:]
			t.place = place{w, toks[0]}
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
