package lane

import (
	"net/http"
	"net/url"
)

// Bounds of what is served here.
const (
	maxHeaderBytes = 8 << 10
	maxFields      = 64
	// maxBodyBytes is also as much as net/http reads of a body that its handler left.
	maxBodyBytes = 256 << 10
)

// verdict is what the beginning of a request is.
type verdict int

const (
	more  verdict = iota // plain so far, and not over
	plain                // a whole header, to be served
	other                // something for net/http
)

// requestLine is how every request begins that is served here.
const requestLine = "POST / HTTP/1.1\r\n"

// span is a part of the buffer, which has no more than maxHeaderBytes.
type span struct{ from, to uint16 }

// head is a header that was recognised: where its parts are.
type head struct {
	size   int // of the header with its empty line
	length int // of the body
	host   int // index in fields
	n      int
	fields [maxFields]struct{ name, value span }
}

// recognise looks at the beginning of a request. It changes nothing in b, and is called
// again with more bytes as long as it says more.
func (h *head) recognise(b []byte) verdict {
	if n := min(len(b), len(requestLine)); string(b[:n]) != requestLine[:n] {
		return other
	}
	if len(b) < len(requestLine) {
		return more
	}
	h.n, h.host, h.length = 0, -1, -1
	at := len(requestLine)
	for {
		switch rest := b[at:]; {
		case len(rest) == 0, len(rest) == 1 && rest[0] == '\r':
			return room(b)
		case rest[0] == '\r':
			if rest[1] != '\n' || h.host < 0 || h.length < 0 || at+2 > maxHeaderBytes {
				return other
			}
			h.size = at + 2
			return plain
		}
		if h.n == maxFields {
			return other
		}
		next, v := h.field(b, at)
		if v != plain {
			if v == more {
				return room(b)
			}
			return other
		}
		at = next
	}
}

// room tells a header that may still end within the bound from one that cannot.
func room(b []byte) verdict {
	if len(b) >= maxHeaderBytes {
		return other
	}
	return more
}

// field recognises the line that begins at from, and returns where the next one does.
func (h *head) field(b []byte, from int) (next int, v verdict) {
	at := from
	for at < len(b) && token(b[at]) {
		at++
	}
	if at == len(b) {
		return 0, more
	}
	if at == from || b[at] != ':' {
		return 0, other
	}
	f := &h.fields[h.n]
	f.name = span{uint16(from), uint16(at)}
	at++
	for at < len(b) && (b[at] == ' ' || b[at] == '\t') {
		at++
	}
	value := at
	for at < len(b) && (b[at] >= ' ' && b[at] <= '~' || b[at] == '\t') {
		at++
	}
	if at == len(b) || b[at] == '\r' && at+1 == len(b) {
		return 0, more
	}
	if b[at] != '\r' || b[at+1] != '\n' {
		return 0, other
	}
	next = at + 2
	for at > value && (b[at-1] == ' ' || b[at-1] == '\t') {
		at--
	}
	f.value = span{uint16(value), uint16(at)}
	if !h.framing(b[f.name.from:f.name.to], b[value:at]) {
		return 0, other
	}
	h.n++
	return next, plain
}

// framing looks at the fields that say where a message ends, whom it is for and how it
// is to be answered. It reports false for what is net/http's.
func (h *head) framing(name, value []byte) bool {
	const longest = len("transfer-encoding")
	if len(name) > longest {
		return true
	}
	var space [longest]byte
	lower := space[:len(name)]
	for i, c := range name {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	switch string(lower) {
	case "host":
		if h.host >= 0 || !hostname(value) {
			return false
		}
		h.host = h.n
	case "content-length":
		if h.length >= 0 {
			return false
		}
		h.length = decimal(value)
		return h.length >= 0 && h.length <= maxBodyBytes
	case "connection":
		return keepAlive(value)
	case "transfer-encoding", "expect", "upgrade", "trailer", "te", "pragma", "http2-settings", "keep-alive", "proxy-connection":
		return false
	}
	return true
}

// hostname is narrower than what a Host may be: names, addresses and ports.
func hostname(b []byte) bool {
	for _, c := range b {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
			c == '.' || c == '-' || c == '_' || c == ':' || c == '[' || c == ']') {
			return false
		}
	}
	return len(b) > 0
}

// decimal reads a number as everybody writes it, -1 if it is written otherwise.
func decimal(b []byte) int {
	if len(b) == 0 || len(b) > 7 || b[0] == '0' && len(b) > 1 {
		return -1
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return -1
		}
		n = 10*n + int(c-'0')
	}
	return n
}

func keepAlive(value []byte) bool {
	switch string(value) {
	case "keep-alive", "Keep-Alive":
		return true
	}
	return false
}

// token reports whether c may stand in a field's name.
func token(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	}
	switch c {
	case '!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~':
		return true
	}
	return false
}

// received is the request of a connection, used again for each.
type received struct {
	request http.Request
	url     url.URL
	header  http.Header
	values  [maxFields]string
}

// fill makes a request of the header in b, and canonical names of those in b. All
// strings of the request are parts of one copy.
func (r *received) fill(h *head, b []byte) {
	for i := range h.fields[:h.n] {
		canonical(b[h.fields[i].name.from:h.fields[i].name.to])
	}
	text := string(b[:h.size])
	clear(r.header)
	for i := range h.fields[:h.n] {
		f := &h.fields[i]
		r.values[i] = text[f.value.from:f.value.to]
		if i == h.host {
			continue
		}
		name := text[f.name.from:f.name.to]
		if before, ok := r.header[name]; ok {
			r.header[name] = append(before, r.values[i])
			continue
		}
		// Of this capacity, so that appending to it leaves the next one alone.
		r.header[name] = r.values[i : i+1 : i+1]
	}
	r.url = url.URL{Path: "/"}
	r.request.Method = http.MethodPost
	r.request.URL = &r.url
	r.request.Proto, r.request.ProtoMajor, r.request.ProtoMinor = "HTTP/1.1", 1, 1
	r.request.Header = r.header
	r.request.ContentLength = int64(h.length)
	r.request.Host = r.values[h.host]
	r.request.RequestURI = "/"
}

// canonical writes a field's name the way net/http keeps it.
func canonical(name []byte) {
	up := true
	for i, c := range name {
		switch {
		case up && c >= 'a' && c <= 'z':
			name[i] = c - ('a' - 'A')
		case !up && c >= 'A' && c <= 'Z':
			name[i] = c + ('a' - 'A')
		}
		up = c == '-'
	}
}
