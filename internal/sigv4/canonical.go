package sigv4

import (
	"slices"
	"strconv"
	"strings"
)

// appendCanonical appends the canonical request. ok is false for a request that no
// signer can have signed: a signed header that did not arrive, a broken escape.
func (s *Signed) appendCanonical(b, bodyHex []byte) (out []byte, ok bool) {
	b = append(b, s.req.Method...)
	b = append(b, '\n')
	b = appendPath(b, s.req.Path)
	b = append(b, '\n')
	if b, ok = s.appendQuery(b); !ok {
		return nil, false
	}
	b = append(b, '\n')
	for _, name := range s.headers() {
		if b, ok = s.req.appendHeader(b, name); !ok {
			return nil, false
		}
	}
	b = append(b, '\n')
	for i, name := range s.headers() {
		if i > 0 {
			b = append(b, ';')
		}
		b = append(b, name...)
	}
	b = append(b, '\n')
	return append(b, bodyHex...), true
}

// appendHeader appends "name:value\n", the values joined by commas.
func (r *Request) appendHeader(b []byte, name string) (out []byte, ok bool) {
	b = append(b, name...)
	b = append(b, ':')
	values := r.values(name)
	switch {
	case name == "host":
		b = appendFolded(b, r.Host)
	case len(values) > 0:
		for i, v := range values {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendFolded(b, v)
		}
	case name == "content-length" && r.ContentLength >= 0:
		b = strconv.AppendInt(b, r.ContentLength, 10)
	default:
		return nil, false
	}
	return append(b, '\n'), true
}

// values looks a header up by its lower-case name.
func (r *Request) values(name string) []string {
	var space [64]byte
	key := space[:0]
	up := true
	for i := range len(name) {
		c := name[i]
		if up && c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		key = append(key, c)
		up = c == '-'
	}
	return r.Header[string(key)]
}

// appendFolded appends a header value without space around it and with each run of
// spaces inside it made one. Tabs inside are kept: AWS's page speaks of spaces.
func appendFolded(b []byte, v string) []byte {
	v = strings.Trim(v, " \t")
	if !strings.Contains(v, "  ") {
		return append(b, v...)
	}
	for i := range len(v) {
		if v[i] != ' ' || v[i-1] != ' ' { // v[0] is no space
			b = append(b, v[i])
		}
	}
	return b
}

// appendPath appends the canonical path: dot segments and empty ones resolved, then
// every byte but the unreserved ones and slashes escaped. The path arrives escaped,
// so that escapes are escaped again, as AWS asks of all services but S3.
func appendPath(b []byte, path string) []byte {
	if path == "" || path == "/" {
		return append(b, '/')
	}
	if strings.Contains(path, "//") || strings.Contains(path, "/.") {
		path = normalise(path)
	}
	return appendEscaped(b, path, true)
}

// normalise resolves ".", ".." and empty segments as RFC 3986 does, keeping a
// trailing slash.
func normalise(path string) string {
	var kept []string
	for seg := range strings.SplitSeq(path, "/") {
		switch seg {
		case "", ".":
		case "..":
			if len(kept) > 0 {
				kept = kept[:len(kept)-1]
			}
		default:
			kept = append(kept, seg)
		}
	}
	if len(kept) == 0 {
		return "/"
	}
	out := "/" + strings.Join(kept, "/")
	if strings.HasSuffix(path, "/") {
		out += "/"
	}
	return out
}

const upperHex = "0123456789ABCDEF"

// appendEscaped appends s with every byte outside RFC 3986's unreserved set escaped.
func appendEscaped(b []byte, s string, keepSlash bool) []byte {
	for i := range len(s) {
		c := s[i]
		if unreserved(c) || keepSlash && c == '/' {
			b = append(b, c)
		} else {
			b = append(b, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return b
}

func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

// maxParams bounds the work that a stranger makes us do: a header of 64 KiB has room
// for 20,000 parameters, which take 30 ms to sort. No request of any SDK has more.
const maxParams = 1000

// param is one query parameter, decoded.
type param struct{ name, value string }

// parseQuery splits and decodes a query. It decodes as a form is decoded, where a
// plus is a space, because that is what the services behind will read; the canonical
// form is then made from what was read and not from how it was written; SDKs write
// %20 and %2B, which mean the same to everybody. ok is false when an escape is
// broken, or when there are too many parameters.
func parseQuery(raw string) (params []param, ok bool) {
	for raw != "" {
		var part string
		part, raw, _ = strings.Cut(raw, "&")
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		if name, ok = unescape(name); !ok {
			return nil, false
		}
		if value, ok = unescape(value); !ok {
			return nil, false
		}
		if len(params) == maxParams {
			return nil, false
		}
		params = append(params, param{name, value})
	}
	return params, true
}

func unescape(s string) (string, bool) {
	if !strings.ContainsAny(s, "%+") {
		return s, true
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '+':
			out = append(out, ' ')
		case '%':
			if i+2 >= len(s) {
				return "", false
			}
			hi, ok1 := unhex(s[i+1])
			lo, ok2 := unhex(s[i+2])
			if !ok1 || !ok2 {
				return "", false
			}
			out = append(out, hi<<4|lo)
			i += 2
		default:
			out = append(out, c)
		}
	}
	return string(out), true
}

func unhex(c byte) (byte, bool) {
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

// appendQuery appends the canonical query: all parameters but the signature,
// escaped, then sorted. Sorting comes after escaping, which orders differently.
func (s *Signed) appendQuery(b []byte) (out []byte, ok bool) {
	if s.req.RawQuery == "" {
		return b, true
	}
	params := s.query
	if !s.Presigned {
		if params, ok = parseQuery(s.req.RawQuery); !ok {
			return nil, false
		}
	}
	escaped := make([]param, 0, len(params))
	for _, p := range params {
		if s.Presigned && p.name == "X-Amz-Signature" {
			continue
		}
		escaped = append(escaped, param{
			string(appendEscaped(nil, p.name, false)),
			string(appendEscaped(nil, p.value, false)),
		})
	}
	slices.SortFunc(escaped, func(x, y param) int {
		if c := strings.Compare(x.name, y.name); c != 0 {
			return c
		}
		return strings.Compare(x.value, y.value)
	})
	for i, p := range escaped {
		if i > 0 {
			b = append(b, '&')
		}
		b = append(b, p.name...)
		b = append(b, '=')
		b = append(b, p.value...)
	}
	return b, true
}
