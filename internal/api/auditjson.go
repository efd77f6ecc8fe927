package api

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// auditTime is how CloudTrail writes times inside parameters; it is always UTC.
const auditTime = "Jan 2, 2006 3:04:05 PM"

// AppendAuditParameters appends the request parameters (or response elements) of an
// audit record: the members of value, a pointer to the generated struct of sh, under
// the names CloudTrail gives them. Sensitive members are left out, and absent ones
// unless they are plain. It appends nothing when no member is left, which CloudTrail
// shows as null.
func AppendAuditParameters(dst []byte, sh *Shape, value any) []byte {
	rv := reflect.ValueOf(value)
	if rv.Kind() != reflect.Pointer || rv.IsNil() {
		return dst
	}
	start := len(dst)
	dst = appendAuditStructure(dst, sh, rv.Elem())
	if string(dst[start:]) == "{}" {
		return dst[:start]
	}
	return dst
}

func appendAuditStructure(dst []byte, sh *Shape, rv reflect.Value) []byte {
	dst = append(dst, '{')
	first := true
	for i := range sh.Fields {
		f := &sh.Fields[i]
		fv := rv.Field(f.Index)
		if hidden(f.Shape) {
			continue
		}
		switch fv.Kind() {
		case reflect.Pointer:
			if fv.IsNil() && !f.Plain {
				continue
			}
			if fv.IsNil() {
				fv = reflect.Zero(fv.Type().Elem())
			} else {
				fv = fv.Elem()
			}
		case reflect.Slice, reflect.Map:
			if fv.IsNil() {
				continue
			}
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(dst, '"')
		dst = appendAuditName(dst, f.Name)
		dst = append(dst, '"', ':')
		dst = appendAuditValue(dst, f.Shape, fv)
	}
	return append(dst, '}')
}

// hidden reports whether values of sh are kept out of the audit log altogether. A
// collection is hidden with its parts; the members of a structure hide one by one.
func hidden(sh *Shape) bool {
	return sh.Sensitive || sh.Key != nil && hidden(sh.Key) || sh.Elem != nil && hidden(sh.Elem)
}

func appendAuditValue(dst []byte, sh *Shape, v reflect.Value) []byte {
	switch sh.Kind {
	case String:
		return AppendJSONString(dst, v.String())
	case Blob:
		return AppendJSONBlob(dst, v.Bytes())
	case Boolean:
		return strconv.AppendBool(dst, v.Bool())
	case Integer, Long:
		return strconv.AppendInt(dst, v.Int(), 10)
	case Timestamp:
		dst = append(dst, '"')
		dst = v.Interface().(time.Time).UTC().AppendFormat(dst, auditTime)
		return append(dst, '"')
	case List:
		dst = append(dst, '[')
		for i := range v.Len() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendAuditValue(dst, sh.Elem, v.Index(i))
		}
		return append(dst, ']')
	case Map:
		if m, ok := v.Interface().(map[string]string); ok {
			return appendAuditTexts(dst, m)
		}
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		dst = append(dst, '{')
		for i, k := range keys {
			if i > 0 {
				dst = append(dst, ',')
			}
			// Keys are data, not names of members: they stay as they are.
			dst = AppendJSONString(dst, k.String())
			dst = append(dst, ':')
			dst = appendAuditValue(dst, sh.Elem, v.MapIndex(k))
		}
		return append(dst, '}')
	case Structure:
		return appendAuditStructure(dst, sh, v)
	}
	panic("api: shape " + sh.Name + " has no kind")
}

// appendAuditTexts is appendAuditValue of the usual map, without an allocation: an
// encryption context has few keys.
func appendAuditTexts(dst []byte, m map[string]string) []byte {
	var few [8]string
	keys := few[:0]
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	dst = append(dst, '{')
	for i, k := range keys {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendJSONString(dst, k)
		dst = append(dst, ':')
		dst = AppendJSONString(dst, m[k])
	}
	return append(dst, '}')
}

// appendAuditName appends a member's name in CloudTrail: its first letter lowered. ARN
// became aRN that way until 2024 and is arn since.
func appendAuditName(dst []byte, name string) []byte {
	if name == "ARN" {
		return append(dst, "arn"...)
	}
	c := name[0]
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return append(append(dst, c), name[1:]...)
}
