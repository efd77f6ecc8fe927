package wire

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"arca/internal/api"
)

// AWS repeats the offending value in the error text without bound. Ours repeats
// enough to recognise it, so that a request cannot make an answer many times its size.
const (
	maxEchoChars = 4096
	maxEchoParts = 50
)

// Validate checks in, a pointer to the operation's input struct, against the
// constraints of its description, for inputs that did not come through DecodeInput.
// A required member that is a plain Go value counts as given.
//
// Lengths of strings are counted in code points, as the Smithy specification says.
func Validate(op *api.Operation, in any) *api.Error {
	return validate(op, reflect.ValueOf(in).Elem(), nil)
}

func validate(op *api.Operation, rv reflect.Value, missing map[string]bool) *api.Error {
	var steps [4]step // as deep as most inputs are
	v := validator{path: steps[:0], missing: missing}
	v.structure(op.Input, rv)
	if v.count == 0 {
		return nil
	}
	noun := "error"
	if v.count > 1 {
		noun = "errors"
	}
	return op.Service.Invalid.Errorf("%d validation %s detected: %s", v.count, noun, strings.Join(v.parts, "; "))
}

// validator collects violations in the order of the model.
type validator struct {
	path    path
	missing map[string]bool // by path; see decoder
	count   int
	parts   []string // at most maxEchoParts
}

// fail notes one violation; shown is the value with its quotes, or nothing.
func (v *validator) fail(shown func() string, rule string) {
	v.count++
	if len(v.parts) == maxEchoParts {
		return
	}
	s := shown()
	if s != "" {
		s += " "
	}
	v.parts = append(v.parts, fmt.Sprintf("Value %sat '%s' failed to satisfy constraint: Member must %s", s, v.path, rule))
}

func null() string { return "null" }

func (v *validator) structure(sh *api.Shape, rv reflect.Value) {
	for i := range sh.Fields {
		f := &sh.Fields[i]
		v.path = append(v.path, step{name: f.Name})
		v.member(f, rv.Field(f.Index))
		v.path = v.path[:len(v.path)-1]
	}
}

func (v *validator) member(f *api.Field, rv reflect.Value) {
	absent := false
	switch rv.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		absent = rv.IsNil()
	default:
		absent = v.isMissing()
	}
	if absent {
		if f.Required {
			v.fail(null, "not be null")
		}
		return
	}
	if rv.Kind() == reflect.Pointer {
		rv = rv.Elem()
	}
	v.value(f.Shape, rv)
}

func (v *validator) isMissing() bool {
	return len(v.missing) > 0 && v.missing[v.path.String()]
}

func (v *validator) value(sh *api.Shape, rv reflect.Value) {
	if sh.Kind == api.Structure {
		v.structure(sh, rv)
		return
	}
	for _, rule := range broken(sh, rv) {
		v.fail(func() string { return quoted(sh, rv) }, rule)
	}
	switch sh.Kind {
	case api.List:
		v.list(sh, rv)
	case api.Map:
		v.mapping(sh, rv)
	}
}

// list checks the elements. Structures are named one by one. Scalars are not: when
// any of them is bad, AWS answers with one violation of the list that tells all rules
// of its elements.
func (v *validator) list(sh *api.Shape, rv reflect.Value) {
	scalar := sh.Elem.Kind != api.Structure && sh.Elem.Kind != api.List && sh.Elem.Kind != api.Map
	bad, nulls := false, false
	for i := range rv.Len() {
		v.path = append(v.path, step{index: i + 1})
		switch absent := v.isMissing(); {
		case absent && scalar:
			nulls = true
		case absent:
			v.fail(null, "not be null")
		case scalar:
			bad = bad || len(broken(sh.Elem, rv.Index(i))) > 0
		default:
			v.value(sh.Elem, rv.Index(i))
		}
		v.path = v.path[:len(v.path)-1]
	}
	if bad || nulls {
		all := rules(sh.Elem)
		if nulls {
			all = append(all, "not be null")
		}
		v.fail(func() string { return quoted(sh, rv) }, "satisfy constraint: [Member must "+strings.Join(all, ", Member must ")+"]")
	}
}

// mapping checks keys and values, in the order of the keys.
func (v *validator) mapping(sh *api.Shape, rv reflect.Value) {
	keys := rv.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	for _, k := range keys {
		if len(broken(sh.Key, k)) > 0 {
			v.fail(func() string { return quoted(sh, rv) },
				"satisfy constraint: [Member must "+strings.Join(rules(sh.Key), ", Member must ")+"]")
		}
		v.path = append(v.path, step{name: k.String(), key: true})
		if v.isMissing() {
			v.fail(null, "not be null")
		} else {
			v.value(sh.Elem, rv.MapIndex(k))
		}
		v.path = v.path[:len(v.path)-1]
	}
}

// broken returns the rules of sh itself that rv breaks.
func broken(sh *api.Shape, rv reflect.Value) []string {
	var out []string
	switch sh.Kind {
	case api.String:
		s := rv.String()
		// Counting is only needed near a bound: the characters are no more than the
		// bytes, and at least a quarter of them.
		if sh.HasMin && int64(len(s)) < 4*sh.Min || sh.HasMax && int64(len(s)) > sh.Max {
			out = appendBounds(out, sh, int64(utf8.RuneCountInString(s)), "length")
		}
		if sh.Pattern != nil && !sh.Pattern.MatchString(s) {
			out = append(out, patternRule(sh))
		}
		if len(sh.Enum) > 0 && !slices.Contains(sh.Enum, s) {
			out = append(out, enumRule(sh))
		}
	case api.Blob, api.List, api.Map:
		out = appendBounds(out, sh, int64(rv.Len()), "length")
	case api.Integer, api.Long:
		out = appendBounds(out, sh, rv.Int(), "value")
	}
	return out
}

func appendBounds(out []string, sh *api.Shape, n int64, what string) []string {
	if sh.HasMax && n > sh.Max {
		out = append(out, maxRule(sh, what))
	}
	if sh.HasMin && n < sh.Min {
		out = append(out, minRule(sh, what))
	}
	return out
}

func maxRule(sh *api.Shape, what string) string {
	return "have " + what + " less than or equal to " + strconv.FormatInt(sh.Max, 10)
}

func minRule(sh *api.Shape, what string) string {
	return "have " + what + " greater than or equal to " + strconv.FormatInt(sh.Min, 10)
}

func patternRule(sh *api.Shape) string {
	return "satisfy regular expression pattern: " + sh.PatternAs
}

func enumRule(sh *api.Shape) string {
	return "satisfy enum value set: [" + strings.Join(sh.Enum, ", ") + "]"
}

// rules returns every rule of sh itself.
func rules(sh *api.Shape) []string {
	var out []string
	what := "length"
	if sh.Kind == api.Integer || sh.Kind == api.Long {
		what = "value"
	}
	if sh.HasMax {
		out = append(out, maxRule(sh, what))
	}
	if sh.HasMin {
		out = append(out, minRule(sh, what))
	}
	if sh.Pattern != nil {
		out = append(out, patternRule(sh))
	}
	if len(sh.Enum) > 0 {
		out = append(out, enumRule(sh))
	}
	return out
}

// quoted shows a value in quotes, or nothing if it is sensitive, a blob, or one that
// AWS does not repeat.
func quoted(sh *api.Shape, rv reflect.Value) string {
	if !showable(sh) {
		return ""
	}
	e := echo{left: maxEchoChars}
	e.value(sh, rv)
	return "'" + e.b.String() + "'"
}

// showable reports whether a value of sh may stand in an error text. One sensitive
// part hides the whole.
func showable(sh *api.Shape) bool {
	if sh.Sensitive || sh.Quiet || sh.Kind == api.Blob {
		return false
	}
	if sh.Key != nil && !showable(sh.Key) || sh.Elem != nil && !showable(sh.Elem) {
		return false
	}
	for i := range sh.Fields {
		if !showable(sh.Fields[i].Shape) {
			return false
		}
	}
	return true
}

// echo writes values as AWS prints them, the way Java does: [a, b], {k=v},
// Name(member=value). It ends with ... when the value is longer than allowed.
type echo struct {
	b    strings.Builder
	left int
}

func (e *echo) text(s string) {
	if e.left < 0 {
		return
	}
	for i := range s {
		if e.left == 0 {
			e.b.WriteString(s[:i])
			e.b.WriteString("...")
			e.left = -1
			return
		}
		e.left--
	}
	e.b.WriteString(s)
}

func (e *echo) value(sh *api.Shape, rv reflect.Value) {
	if e.left < 0 {
		return
	}
	if rv.Kind() == reflect.Pointer {
		if rv.IsNil() {
			e.text("null")
			return
		}
		rv = rv.Elem()
	}
	switch sh.Kind {
	case api.String:
		e.text(rv.String())
	case api.Boolean:
		e.text(strconv.FormatBool(rv.Bool()))
	case api.Integer, api.Long:
		e.text(strconv.FormatInt(rv.Int(), 10))
	case api.Timestamp:
		e.text(string(appendTimestamp(nil, timeOf(rv))))
	case api.List:
		e.text("[")
		for i := range rv.Len() {
			if i > 0 {
				e.text(", ")
			}
			e.value(sh.Elem, rv.Index(i))
			if e.left < 0 {
				return
			}
		}
		e.text("]")
	case api.Map:
		keys := rv.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		e.text("{")
		for i, k := range keys {
			if i > 0 {
				e.text(", ")
			}
			e.text(k.String() + "=")
			e.value(sh.Elem, rv.MapIndex(k))
		}
		e.text("}")
	case api.Structure:
		e.text(sh.Name + "(")
		for i := range sh.Fields {
			f := &sh.Fields[i]
			if i > 0 {
				e.text(", ")
			}
			e.text(strings.ToLower(f.Name[:1]) + f.Name[1:] + "=")
			fv := rv.Field(f.Index)
			if (fv.Kind() == reflect.Slice || fv.Kind() == reflect.Map) && fv.IsNil() {
				e.text("null")
				continue
			}
			e.value(f.Shape, fv)
		}
		e.text(")")
	}
}
