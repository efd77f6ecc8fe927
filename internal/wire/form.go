package wire

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"arca/internal/api"
)

// Parameters of the Query protocol that select the operation.
const (
	paramAction  = "Action"
	paramVersion = "Version"
)

// contentTypeForm is the content type of Query requests.
const contentTypeForm = "application/x-www-form-urlencoded"

// param is one parameter of a form. In its name the dots are replaced by NUL, which
// sorts before everything else: sorted parameters then have all that belongs to one
// member side by side, whatever other names begin like it.
type param struct{ name, value string }

const separator = 0

// maxParams bounds the parameters of a request. What AWS's clients send stays far
// below it: the longest list that a description bounds has 256 elements.
const maxParams = 10_000

func malformedQuery(text string) *api.Error { return api.MalformedQueryString.Errorf("%s", text) }

// eachParam calls yield with the name and the value, still escaped, of every
// parameter in text, and reports whether all names could be read and none of the
// calls returned false.
func eachParam(text []byte, yield func(name, value []byte) bool) bool {
	for part := range bytes.SplitSeq(text, []byte("&")) {
		if len(part) == 0 {
			continue
		}
		name, value, _ := bytes.Cut(part, []byte("="))
		name, ok := unescapeForm(name)
		if !ok || !yield(name, value) {
			return false
		}
	}
	return true
}

// parseForm reads parameters in the order they stand in. Names that hold a NUL are
// left out: no member has one.
func parseForm(text []byte) ([]param, *api.Error) {
	var params []param
	var refusal *api.Error
	n := 0
	ok := eachParam(text, func(name, value []byte) bool {
		if n++; n > maxParams {
			refusal = malformedQuery("The request has too many parameters.")
			return false
		}
		value, ok := unescapeForm(value)
		if !ok || !utf8.Valid(value) || !utf8.Valid(name) {
			return false
		}
		if bytes.IndexByte(name, separator) < 0 {
			params = append(params, param{strings.ReplaceAll(string(name), ".", "\x00"), string(value)})
		}
		return true
	})
	if refusal == nil && !ok {
		refusal = malformedQuery("The query string contains a syntax error.")
	}
	return params, refusal
}

// unescapeForm undoes the escapes of a form. Without any it returns raw itself.
// Package sigv4 reads the parameters of URLs in the same way: what a signature
// covers is what is read here.
func unescapeForm(raw []byte) ([]byte, bool) {
	if bytes.IndexByte(raw, '%') < 0 && bytes.IndexByte(raw, '+') < 0 {
		return raw, true
	}
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; c {
		case '+':
			out = append(out, ' ')
		case '%':
			if i+2 >= len(raw) {
				return nil, false
			}
			hi, ok1 := hexDigit(raw[i+1])
			lo, ok2 := hexDigit(raw[i+2])
			if !ok1 || !ok2 {
				return nil, false
			}
			out = append(out, hi<<4|lo)
			i += 2
		default:
			out = append(out, c)
		}
	}
	return out, true
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
