package wire

import (
	"reflect"
	"slices"
	"strconv"
	"time"

	"arca/internal/api"
)

// AppendOutput appends the body of a successful answer; in REST-JSON, Head is the rest
// of it. out is a pointer to the
// operation's output structure, or nil for an operation without one. Members that are
// nil are left out; the others follow the order of the model.
func (r Reply) AppendOutput(dst []byte, out any) []byte {
	switch {
	case r.Op.Service.Protocol == api.Query:
		return appendResponse(dst, r.Op, r.RequestID, out)
	case r.Op.Service.Protocol == api.RESTJSON:
		return appendRESTOutput(dst, r.Op, out)
	case r.Op.Output == nil || out == nil:
		return append(dst, "{}"...)
	}
	return AppendJSON(dst, r.Op.Output, out)
}

// AppendJSON appends a structure in the JSON form that Decode reads. value is a
// pointer to the generated struct of the shape.
func AppendJSON(dst []byte, sh *api.Shape, value any) []byte {
	rv := structOf(sh, value)
	if !rv.IsValid() {
		return append(dst, "{}"...)
	}
	return appendStructure(dst, sh, rv)
}

// structOf is what value, a pointer to the generated struct of sh or nil, points to.
func structOf(sh *api.Shape, value any) reflect.Value {
	if value == nil {
		return reflect.Value{}
	}
	rv := reflect.ValueOf(value)
	if rv.Kind() != reflect.Pointer || rv.Type().Elem() != sh.Type {
		// Generated code and handlers are typed; reaching this is a mistake in Arca.
		panic("wire: " + rv.Type().String() + " given where *" + sh.Name + " belongs")
	}
	return rv.Elem()
}

func appendStructure(dst []byte, sh *api.Shape, rv reflect.Value) []byte {
	dst = append(dst, '{')
	first := true
	for i := range sh.Fields {
		f := &sh.Fields[i]
		if f.Place != api.InBody {
			continue
		}
		fv := rv.Field(f.Index)
		switch fv.Kind() {
		case reflect.Pointer:
			if fv.IsNil() {
				continue
			}
			fv = fv.Elem()
		case reflect.Slice, reflect.Map:
			if fv.IsNil() {
				continue
			}
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		// Member names come from descriptions and need no escapes.
		dst = append(dst, '"')
		dst = append(dst, f.Name...)
		dst = append(dst, '"', ':')
		dst = appendValue(dst, f.Shape, fv)
	}
	return append(dst, '}')
}

func appendValue(dst []byte, sh *api.Shape, v reflect.Value) []byte {
	switch sh.Kind {
	case api.String:
		return api.AppendJSONString(dst, v.String())
	case api.Blob:
		return api.AppendJSONBlob(dst, v.Bytes())
	case api.Boolean:
		return strconv.AppendBool(dst, v.Bool())
	case api.Integer, api.Long:
		return strconv.AppendInt(dst, v.Int(), 10)
	case api.Timestamp:
		return appendTimestamp(dst, timeOf(v))
	case api.List:
		dst = append(dst, '[')
		for i := range v.Len() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendValue(dst, sh.Elem, v.Index(i))
		}
		return append(dst, ']')
	case api.Map:
		// Sorted, so that equal answers are equal bytes.
		keys := make([]string, 0, v.Len())
		for it := v.MapRange(); it.Next(); {
			keys = append(keys, it.Key().String())
		}
		slices.Sort(keys)
		dst = append(dst, '{')
		for i, k := range keys {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = api.AppendJSONString(dst, k)
			dst = append(dst, ':')
			dst = appendValue(dst, sh.Elem, v.MapIndex(reflect.ValueOf(k)))
		}
		return append(dst, '}')
	case api.Structure:
		return appendStructure(dst, sh, v)
	}
	panic("wire: shape " + sh.Name + " has no kind")
}

// timeOf reads a time.Time without the copy to the heap that Interface makes.
func timeOf(v reflect.Value) time.Time {
	if v.CanAddr() {
		if t, ok := v.Addr().Interface().(*time.Time); ok {
			return *t
		}
	}
	return v.Interface().(time.Time)
}

// appendTimestamp writes seconds since 1970 with at most three decimals, cutting off
// what is finer, and no decimals that are zero.
func appendTimestamp(dst []byte, t time.Time) []byte {
	ms := t.UnixMilli()
	if ms < 0 {
		dst = append(dst, '-')
		ms = -ms
	}
	dst = strconv.AppendInt(dst, ms/1000, 10)
	frac := ms % 1000
	if frac == 0 {
		return dst
	}
	dst = append(dst, '.', byte('0'+frac/100), byte('0'+frac/10%10), byte('0'+frac%10))
	for dst[len(dst)-1] == '0' {
		dst = dst[:len(dst)-1]
	}
	return dst
}
