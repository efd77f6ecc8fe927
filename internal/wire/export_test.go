package wire

import (
	"net/http"
	"reflect"

	"arca/internal/api"
)

// MaxDepth is the deepest nesting that is read.
const MaxDepth = maxDepth

// Decode reads a structure without checking its constraints.
func Decode(sh *api.Shape, body []byte) (any, *api.Error) {
	v := reflect.New(sh.Type)
	if _, err := decode(sh, body, v.Elem()); err != nil {
		return nil, err
	}
	return v.Interface(), nil
}

// DecodeREST is Decode for requests in REST-JSON.
func DecodeREST(op *api.Operation, req *http.Request, body []byte) (any, *api.Error) {
	v := reflect.New(op.Input.Type)
	if _, err := decodeREST(op, req, body, v.Elem()); err != nil {
		return nil, err
	}
	return v.Interface(), nil
}

// DecodeForm is Decode for forms.
func DecodeForm(sh *api.Shape, text []byte) (any, *api.Error) {
	v := reflect.New(sh.Type)
	if _, err := decodeForm(sh, text, v.Elem()); err != nil {
		return nil, err
	}
	return v.Interface(), nil
}

// ValidJSON reports whether the scanner accepts data as one JSON value.
func ValidJSON(data []byte) bool {
	s := scanner{data: data}
	return s.skip() && s.peek() == 0 && s.pos == len(data)
}
