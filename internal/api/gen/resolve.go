package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

func (s *service) declare(t *typ) error {
	if s.byName[t.name] != nil {
		return fmt.Errorf("%s is declared twice", t.name)
	}
	s.byName[t.name] = t
	s.types = append(s.types, t)
	return nil
}

// resolve replaces references by the types they name, gives undeclared types
// names, and refuses what does not fit together.
func (s *service) resolve() error {
	for word, v := range map[string]string{
		"service": s.name, "package": s.pkg, "version": s.version, "events": s.events, "internal": s.internal,
	} {
		if v == "" {
			return fmt.Errorf("the service has no %s", word)
		}
	}
	if _, ok := protocols[s.protocol]; !ok {
		return fmt.Errorf("unknown protocol %q", s.protocol)
	}
	if (s.protocol == "json1.1") != (s.target != "") {
		return fmt.Errorf("a target belongs to json1.1 and to nothing else")
	}
	if s.protocol == "query" && s.namespace == "" || s.protocol == "restjson" && s.namespace != "" {
		return fmt.Errorf("a namespace belongs to query, which needs it, and to json1.1")
	}
	if s.throttled != "" && !s.hasCode(s.throttled) {
		return fmt.Errorf("error %s is not declared", s.throttled)
	}
	// Declared types first, so that inline ones find their names taken.
	for _, t := range slices.Clone(s.types) {
		if t.ref != "" {
			return fmt.Errorf("line %d: %s only renames %s", t.line, t.name, t.ref)
		}
		if err := s.resolveParts(t); err != nil {
			return err
		}
	}
	for _, op := range s.ops {
		declare := []*typ{op.in, op.out}
		if op.same != "" {
			if op.out = s.byName[op.same]; op.out == nil || op.out.kind != "struct" {
				return fmt.Errorf("op %s: structure %s is not declared", op.name, op.same)
			}
			declare = declare[:1]
		}
		for _, t := range declare {
			if err := s.resolveParts(t); err != nil {
				return fmt.Errorf("op %s: %w", op.name, err)
			}
			if err := s.declare(t); err != nil {
				return err
			}
		}
		if err := s.checkPlaces(op); err != nil {
			return fmt.Errorf("op %s: %w", op.name, err)
		}
		for _, e := range op.errors {
			if !s.hasCode(e) {
				return fmt.Errorf("op %s: error %s is not declared", op.name, e)
			}
		}
	}
	if !s.hasCode(s.internal) {
		return fmt.Errorf("error %s is not declared", s.internal)
	}
	slices.SortFunc(s.ops, func(a, b *operation) int { return strings.Compare(a.name, b.name) })
	return nil
}

var pathMember = regexp.MustCompile(`\{([^{}/]*)\}`)

// checkPlaces holds an operation to what the codec for restjson can read and write.
func (s *service) checkPlaces(op *operation) error {
	rest := s.protocol == "restjson"
	if rest != (op.http.method != "") {
		return fmt.Errorf("the section http belongs to restjson and to nothing else")
	}
	var inPath []string
	for _, m := range pathMember.FindAllStringSubmatch(op.http.path, -1) {
		inPath = append(inPath, m[1])
	}
	var marked []string
	for _, f := range op.in.fields {
		ok := rest
		switch f.place.word {
		case "":
			ok = true
		case "uri":
			marked = append(marked, f.name)
			ok = ok && f.typ.kind == "string" && f.required
		case "query":
			list := f.typ.kind == "list" && f.typ.elem.kind == "string"
			ok = ok && (list || f.typ.kind == "string" || f.typ.kind == "integer")
		case "header":
			ok = ok && f.typ.kind == "string" && !f.required
		case "payload":
			ok = ok && f.typ.kind == "blob"
		default:
			ok = false
		}
		if !ok {
			return fmt.Errorf("member %s cannot stand in the input as %s", f.name, f.place.word)
		}
	}
	for _, f := range op.out.fields {
		ok := rest && !f.required
		switch f.place.word {
		case "":
			ok = true
		case "header":
			ok = ok && f.typ.kind == "string"
		case "payload":
			ok = ok && f.typ.kind == "blob"
		case "status":
			ok = ok && f.typ.kind == "integer"
		default:
			ok = false
		}
		if !ok {
			return fmt.Errorf("member %s cannot stand in the output as %s", f.name, f.place.word)
		}
	}
	if slices.Sort(marked); !slices.Equal(slices.Sorted(slices.Values(inPath)), marked) {
		return fmt.Errorf("the path has the members %v, but %v are marked uri", inPath, marked)
	}
	return nil
}

func (s *service) hasCode(name string) bool {
	return slices.Contains(s.common, name) ||
		slices.ContainsFunc(s.errors, func(e errorCode) bool { return e.name == name })
}

func (s *service) resolveParts(t *typ) error {
	var err error
	if t.elem != nil {
		if t.elem, err = s.resolveRef(t.elem, t.name+"Item"); err != nil {
			return err
		}
	}
	if t.key != nil {
		if t.key, err = s.resolveRef(t.key, t.name+"Key"); err != nil {
			return err
		}
		if t.key.kind != "string" {
			return fmt.Errorf("map %s: keys must be strings", t.name)
		}
	}
	// The decoder keeps a bit for each.
	if len(t.fields) > 64 {
		return fmt.Errorf("%s has more than 64 members", t.name)
	}
	for i := range t.fields {
		f := &t.fields[i]
		if f.typ, err = s.resolveRef(f.typ, t.name+f.name); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}

// resolveRef returns the declared type behind t. A type written in place is
// declared: plain scalars under the name of their kind, the others as fallback.
func (s *service) resolveRef(t *typ, fallback string) (*typ, error) {
	if t.ref != "" {
		d := s.byName[t.ref]
		if d == nil {
			return nil, fmt.Errorf("type %s is not declared", t.ref)
		}
		return d, nil
	}
	t.name = fallback
	switch {
	case t.elem != nil && t.key == nil && t.elem.ref != "" && !t.hasMin && !t.hasMax && !t.sensitive:
		t.name = t.elem.ref + "List"
	case t.unconstrained():
		t.name = plainNames[t.kind]
	}
	if d := s.byName[t.name]; d != nil {
		if d.kind == t.kind && (t.unconstrained() || t.elem != nil && d.elem != nil && d.elem.name == t.elem.ref) {
			return d, nil
		}
		return nil, fmt.Errorf("the name %s is taken", t.name)
	}
	if err := s.resolveParts(t); err != nil {
		return nil, err
	}
	return t, s.declare(t)
}

// unconstrained reports whether t is a scalar without any constraint.
func (t *typ) unconstrained() bool {
	return plainNames[t.kind] != "" && !t.hasMin && !t.hasMax && t.pattern == "" && t.enum == nil && !t.sensitive && !t.quiet
}

var plainNames = map[string]string{
	"string": "String", "blob": "Blob", "bool": "Boolean", "integer": "Integer", "long": "Long", "time": "Timestamp",
}

var protocols = map[string]string{"json1.1": "JSON11", "query": "Query", "restjson": "RESTJSON"}
