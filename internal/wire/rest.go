package wire

import (
	"bytes"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"arca/internal/api"
)

// REST-JSON names an operation by method and path. Members of the input stand in the
// path, in parameters of the URL, in headers and in a JSON body, or one of them is the
// body itself.

const (
	contentTypeREST = "application/json"
	// HeaderErrorType names the code of an error in REST-JSON.
	HeaderErrorType = "X-Amzn-Errortype"
)

// unknownRoute is what a request by path is answered with that no operation here has.
var unknownRoute = &api.Code{Name: "UnknownOperationException", Status: http.StatusNotFound}

// restRoute is the path of an operation: literal parts, and those in braces that stand
// for members.
type restRoute struct {
	op    *api.Operation
	parts []string
}

func newRESTRoute(op *api.Operation) restRoute {
	return restRoute{op, strings.Split(strings.TrimPrefix(op.Path, "/"), "/")}
}

func isMember(part string) bool { return strings.HasPrefix(part, "{") }

// matches reports whether the parts of a request's path are those of the route.
func (r restRoute) matches(parts []string) bool {
	if len(parts) != len(r.parts) {
		return false
	}
	for i, p := range r.parts {
		if !isMember(p) && p != parts[i] {
			return false
		}
	}
	return true
}

// overlaps reports whether some path is that of both routes.
func (r restRoute) overlaps(o restRoute) bool {
	if r.op.Method != o.op.Method || len(r.parts) != len(o.parts) {
		return false
	}
	for i, p := range r.parts {
		if !isMember(p) && !isMember(o.parts[i]) && p != o.parts[i] {
			return false
		}
	}
	return true
}

// pathParts splits an escaped path, which may end with a slash. Empty parts and dots
// are refused: signatures are made for the path without them, and would hold for
// another operation than the one that runs.
func pathParts(escaped string) (parts []string, ok bool) {
	rest, ok := strings.CutPrefix(escaped, "/")
	if !ok {
		return nil, false
	}
	rest = strings.TrimSuffix(rest, "/")
	parts = strings.Split(rest, "/")
	for _, p := range parts {
		if p == "" || p == "." || p == ".." {
			return nil, false
		}
	}
	return parts, true
}

// isRESTPath reports whether a path begins with the version of an API, as all of
// REST-JSON do: /2015-03-31/…
func isRESTPath(path string) bool {
	const form = "/dddd-dd-dd/"
	if len(path) < len(form) {
		return false
	}
	for i := range len(form) {
		digit := path[i] >= '0' && path[i] <= '9'
		if form[i] == 'd' && !digit || form[i] != 'd' && path[i] != form[i] {
			return false
		}
	}
	return true
}

// ByPath returns the operation that method and path alone name, as in REST-JSON; nil
// when they name none. Whether the request may be meant for another is Route's to say:
// this is for what has to be known before the body is read.
func (r *Router) ByPath(req *http.Request) *api.Operation {
	if !isRESTPath(req.URL.Path) {
		return nil
	}
	parts, ok := pathParts(req.URL.EscapedPath())
	if !ok {
		return nil
	}
	for _, route := range r.routes {
		if route.op.Method == req.Method && route.matches(parts) {
			return route.op
		}
	}
	return nil
}

// byPath is Route for requests whose path is not /. selected says that the request
// names an operation in another way as well.
func (r *Router) byPath(req *http.Request, selected bool) (*api.Operation, *api.Error) {
	if selected || !isRESTPath(req.URL.Path) {
		return nil, wrongContentType.Errorf("")
	}
	op := r.ByPath(req)
	if op == nil {
		return nil, unknownRoute.Errorf("This server has no operation %s %s.", quotable(req.Method), quotable(req.URL.Path))
	}
	return op, nil
}

// DecodeRequest is DecodeInput for a request that Route has found the operation of;
// input is what Route returned. In REST-JSON, what stands in one place is never taken
// from another: a member of the path is ignored in the body. A member that is given
// twice is refused.
func DecodeRequest(op *api.Operation, req *http.Request, input []byte) (any, *api.Error) {
	if op.Service.Protocol != api.RESTJSON {
		return DecodeInput(op, input)
	}
	in := reflect.New(op.Input.Type)
	missing, err := decodeREST(op, req, input, in.Elem())
	if err != nil {
		return nil, err
	}
	if err := validate(op, in.Elem(), missing); err != nil {
		return nil, err
	}
	return in.Interface(), nil
}

// outside fills the members of an input that stand outside the JSON body.
type outside struct {
	sh    *api.Shape
	dst   reflect.Value
	given uint64 // a bit for each of Fields
}

func decodeREST(op *api.Operation, req *http.Request, body []byte, dst reflect.Value) (map[string]bool, *api.Error) {
	o := outside{sh: op.Input, dst: dst}
	if err := o.path(op, req); err != nil {
		return nil, err
	}
	if err := o.query(req.URL.RawQuery); err != nil {
		return nil, err
	}
	inBody := false
	for i := range op.Input.Fields {
		f := &op.Input.Fields[i]
		switch f.Place {
		case api.InBody:
			inBody = true
		case api.InHeader:
			values := req.Header.Values(f.WireName)
			if len(values) > 1 {
				return nil, givenTwice(f)
			}
			if len(values) == 1 {
				if err := o.set(i, values[0]); err != nil {
					return nil, err
				}
			}
		case api.AsBody:
			if len(body) > 0 {
				dst.Field(f.Index).SetBytes(bytes.Clone(body))
				o.given |= 1 << i
			}
		}
	}
	d := decoder{scanner: scanner{data: body}}
	if !inBody || len(body) == 0 {
		d.noteRequired(op.Input, o.given)
		return d.missing, nil
	}
	if err := d.structure(op.Input, dst, o.given); err != nil {
		return nil, err
	}
	if d.peek() != 0 || d.pos != len(d.data) {
		return nil, syntaxError()
	}
	return d.missing, nil
}

func givenTwice(f *api.Field) *api.Error {
	return api.SerializationException.Errorf("Member %s is given more than once", f.Name)
}

// path fills the members of the path, of which Route has found as many as op has.
func (o *outside) path(op *api.Operation, req *http.Request) *api.Error {
	parts, _ := pathParts(req.URL.EscapedPath())
	for i, p := range newRESTRoute(op).parts {
		if !isMember(p) || i >= len(parts) {
			continue
		}
		value, err := url.PathUnescape(parts[i])
		if err != nil {
			return api.SerializationException.Errorf("The path cannot be read")
		}
		if err := o.set(fieldIndex(o.sh, []byte(strings.Trim(p, "{}"))), value); err != nil {
			return err
		}
	}
	return nil
}

// query fills the members that are parameters of the URL. Others are ignored; those of
// a signature are among them.
func (o *outside) query(text string) (refusal *api.Error) {
	n := 0
	read := eachParam([]byte(text), func(name, value []byte) bool {
		if n++; n > maxParams {
			refusal = api.SerializationException.Errorf("The request has too many parameters")
			return false
		}
		name, ok := unescapeForm(name)
		if !ok {
			return false
		}
		i := o.parameter(string(name))
		if i < 0 {
			return true
		}
		if value, ok = unescapeForm(value); !ok {
			return false
		}
		refusal = o.set(i, string(value))
		return refusal == nil
	})
	if refusal == nil && !read {
		refusal = api.SerializationException.Errorf("The query string cannot be read")
	}
	return refusal
}

// parameter is the position of the member that a parameter of the URL names, or -1.
func (o *outside) parameter(name string) int {
	for i := range o.sh.Fields {
		if f := &o.sh.Fields[i]; f.Place == api.InQuery && f.WireName == name {
			return i
		}
	}
	return -1
}

// set gives a member its value, or a list one more element.
func (o *outside) set(i int, text string) *api.Error {
	f := &o.sh.Fields[i]
	if !utf8.ValidString(text) {
		return api.SerializationException.Errorf("Member %s is not UTF-8", f.Name)
	}
	dst := o.dst.Field(f.Index)
	if f.Shape.Kind == api.List {
		dst.Set(reflect.Append(dst, reflect.ValueOf(text).Convert(dst.Type().Elem())))
		o.given |= 1 << i
		return nil
	}
	if o.given&(1<<i) != 0 {
		return givenTwice(f)
	}
	o.given |= 1 << i
	if dst.Kind() == reflect.Pointer {
		dst.Set(reflect.New(dst.Type().Elem()))
		dst = dst.Elem()
	}
	if f.Shape.Kind == api.Integer {
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return api.SerializationException.Errorf("STRING_VALUE can not be converted to an Integer")
		}
		dst.SetInt(n)
		return nil
	}
	dst.SetString(text)
	return nil
}

// Head returns the status of a successful answer, and calls header for every header
// that its output has.
func (r Reply) Head(out any, header func(name, value string)) (status int) {
	if r.protocol() != api.RESTJSON {
		return http.StatusOK
	}
	status = r.Op.Status
	rv := structOf(r.Op.Output, out)
	if !rv.IsValid() {
		return status
	}
	for i := range r.Op.Output.Fields {
		f := &r.Op.Output.Fields[i]
		fv := rv.Field(f.Index)
		if fv.Kind() == reflect.Pointer {
			if fv.IsNil() {
				continue
			}
			fv = fv.Elem()
		}
		switch f.Place {
		case api.InHeader:
			header(f.WireName, fv.String())
		case api.AsStatus:
			status = int(fv.Int())
		}
	}
	return status
}

// appendRESTOutput appends the body of a successful answer, which may have none.
func appendRESTOutput(dst []byte, op *api.Operation, out any) []byte {
	rv := structOf(op.Output, out)
	inBody := false
	for i := range op.Output.Fields {
		f := &op.Output.Fields[i]
		if f.Place == api.AsBody && rv.IsValid() {
			return append(dst, rv.Field(f.Index).Bytes()...)
		}
		inBody = inBody || f.Place == api.InBody
	}
	switch {
	case !inBody:
		return dst
	case !rv.IsValid():
		return append(dst, "{}"...)
	}
	return appendStructure(dst, op.Output, rv)
}

// appendRESTError appends the body of an error whose text goes into member. Errors of
// the service say whose fault they are; what the front end refuses does not.
func appendRESTError(dst []byte, err *api.Error, member string, frontEnd bool) []byte {
	dst = append(dst, '{')
	switch {
	case frontEnd:
	case err.Code.Status < http.StatusInternalServerError:
		dst = append(dst, `"Type":"User",`...)
	default:
		dst = append(dst, `"Type":"Service",`...)
	}
	dst = append(append(append(dst, '"'), member...), `":`...)
	dst = api.AppendJSONString(dst, err.Message)
	return append(dst, '}')
}
