package wire

import (
	"encoding/base64"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"arca/internal/api"
)

// contentTypeXML is the content type of Query answers.
const contentTypeXML = "text/xml"

// faultNamespace is that of errors which belong to no service, such as the answer to
// an unknown action.
const faultNamespace = "http://webservices.amazon.com/AWSFault/2005-15-09"

// appendResponse appends the answer of a Query operation.
func appendResponse(dst []byte, op *api.Operation, requestID string, out any) []byte {
	dst = append(dst, '<')
	dst = append(dst, op.Name...)
	dst = append(dst, `Response xmlns="`...)
	dst = append(dst, op.Service.Namespace...)
	dst = append(dst, `">`...)
	if !op.NoResult {
		dst = append(dst, '<')
		dst = append(dst, op.Name...)
		dst = append(dst, `Result>`...)
		rv := structOf(op.Output, out)
		if rv.IsValid() {
			dst = appendMembers(dst, op.Output, rv)
		}
		dst = append(dst, `</`...)
		dst = append(dst, op.Name...)
		dst = append(dst, `Result>`...)
	}
	dst = append(dst, `<ResponseMetadata><RequestId>`...)
	dst = appendText(dst, requestID)
	dst = append(dst, `</RequestId></ResponseMetadata></`...)
	dst = append(dst, op.Name...)
	return append(dst, `Response>`...)
}

// appendErrorResponse appends the answer to a Query request that failed.
func appendErrorResponse(dst []byte, namespace, requestID string, err *api.Error) []byte {
	fault := "Sender"
	if err.Code.Status >= 500 {
		fault = "Receiver"
	}
	dst = append(dst, `<ErrorResponse xmlns="`...)
	dst = append(dst, namespace...)
	dst = append(dst, `"><Error><Type>`...)
	dst = append(dst, fault...)
	dst = append(dst, `</Type><Code>`...)
	dst = appendText(dst, err.Code.Name)
	dst = append(dst, `</Code><Message>`...)
	dst = appendText(dst, err.Message)
	dst = append(dst, `</Message></Error><RequestId>`...)
	dst = appendText(dst, requestID)
	return append(dst, `</RequestId></ErrorResponse>`...)
}

// appendMembers appends the members of a structure, those that are nil left out.
// Three kinds are not left out, because AWS always sends them and clients look for
// them without asking: required lists and maps, and plain booleans and numbers.
func appendMembers(dst []byte, sh *api.Shape, rv reflect.Value) []byte {
	for i := range sh.Fields {
		f := &sh.Fields[i]
		fv := rv.Field(f.Index)
		switch fv.Kind() {
		case reflect.Pointer:
			switch {
			case !fv.IsNil():
				fv = fv.Elem()
			case f.Plain:
				fv = reflect.Zero(fv.Type().Elem())
			default:
				continue
			}
		case reflect.Slice, reflect.Map:
			if fv.IsNil() && !f.Required {
				continue
			}
		}
		dst = appendElement(dst, f.Name, f.Shape, fv)
	}
	return dst
}

// appendElement appends a value that is present. Names come from descriptions and
// need no escapes.
func appendElement(dst []byte, name string, sh *api.Shape, v reflect.Value) []byte {
	if (sh.Kind == api.List || sh.Kind == api.Map) && v.Len() == 0 {
		dst = append(dst, '<')
		dst = append(dst, name...)
		return append(dst, `/>`...)
	}
	dst = append(dst, '<')
	dst = append(dst, name...)
	dst = append(dst, '>')
	switch sh.Kind {
	case api.Structure:
		dst = appendMembers(dst, sh, v)
	case api.List:
		for i := range v.Len() {
			dst = appendElement(dst, "member", sh.Elem, v.Index(i))
		}
	case api.Map:
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, k := range keys {
			dst = append(dst, `<entry>`...)
			dst = appendElement(dst, "key", sh.Key, k)
			dst = appendElement(dst, "value", sh.Elem, v.MapIndex(k))
			dst = append(dst, `</entry>`...)
		}
	case api.String:
		dst = appendText(dst, v.String())
	case api.Blob:
		dst = base64.StdEncoding.AppendEncode(dst, v.Bytes())
	case api.Boolean:
		dst = strconv.AppendBool(dst, v.Bool())
	case api.Integer, api.Long:
		dst = strconv.AppendInt(dst, v.Int(), 10)
	case api.Timestamp:
		// IAM and STS write whole seconds. Cut off, not rounded: a session must not seem
		// to live longer than it does.
		dst = timeOf(v).UTC().AppendFormat(dst, time.RFC3339)
	default:
		panic("wire: shape " + sh.Name + " has no kind")
	}
	dst = append(dst, `</`...)
	dst = append(dst, name...)
	return append(dst, '>')
}

// appendText appends character data. A carriage return is escaped because parsers
// turn a bare one into a line feed. What XML cannot hold in any spelling, such as
// most control characters, becomes U+FFFD.
func appendText(dst []byte, s string) []byte {
	start := 0
	for i := 0; i < len(s); {
		r, size := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(s[i:])
		}
		var esc string
		switch {
		case r == '&':
			esc = "&amp;"
		case r == '<':
			esc = "&lt;"
		case r == '>':
			esc = "&gt;"
		case r == '"':
			esc = "&quot;"
		case r == '\r':
			esc = "&#xD;"
		case r < ' ' && r != '\t' && r != '\n', r == utf8.RuneError, r == 0xFFFE, r == 0xFFFF:
			esc = "\uFFFD"
		default:
			i += size
			continue
		}
		dst = append(dst, s[start:i]...)
		dst = append(dst, esc...)
		i += size
		start = i
	}
	return append(dst, s[start:]...)
}
