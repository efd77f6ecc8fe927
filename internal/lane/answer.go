package lane

import (
	"bytes"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// answerBytes is how much of an answer is gathered before it is sent.
const answerBytes = 4 << 10

// answer is the http.ResponseWriter of the request in progress. What it writes, and in
// which order, is what net/http writes; the tests compare them.
type answer struct {
	c      *conn
	header http.Header
	out    []byte

	status  int     // 0 until WriteHeader
	set     []field // the header at that time
	length  int     // declared by the handler, -1 if not
	written int     // of the body
	sent    bool    // the header is in out, or further
	close   bool    // after this answer
	err     error
}

// field is one field of a header.
type field struct {
	name   string
	values []string
}

// begin makes the answer ready for the next request.
func (a *answer) begin() {
	if a.out == nil {
		a.out = make([]byte, 0, answerBytes)
		a.header = make(http.Header, 8)
	}
	clear(a.header)
	a.set = a.set[:0]
	a.status, a.length, a.written, a.sent, a.close, a.err = 0, -1, 0, false, false, nil
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter. It sends no informational answers.
func (a *answer) WriteHeader(status int) {
	if a.status != 0 || status < 200 || status > 999 {
		return
	}
	a.status = status
	for name, values := range a.header {
		if name == "Content-Length" && len(values) > 0 {
			n, err := strconv.Atoi(values[0])
			if err != nil || n < 0 {
				continue
			}
			a.length = n
		}
		a.set = append(a.set, field{name, values})
	}
	slices.SortFunc(a.set, func(x, y field) int { return strings.Compare(x.name, y.name) })
}

// get is the first value of a field of the answer, and whether there is the field.
func (a *answer) get(name string) (string, bool) {
	for _, f := range a.set {
		if f.name == name && len(f.values) > 0 {
			return f.values[0], true
		}
	}
	return "", false
}

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	switch {
	case len(b) == 0:
		return 0, nil
	case bodiless(a.status):
		return 0, http.ErrBodyNotAllowed
	case a.length >= 0 && a.written+len(b) > a.length:
		a.written += len(b) // so that the connection is not used again
		return 0, http.ErrContentLength
	}
	a.written += len(b)
	if a.length < 0 {
		// The header needs the length, and so comes later.
		a.out = appendWiping(a.out, b)
		return len(b), nil
	}
	a.start(b)
	if len(a.out)+len(b) <= cap(a.out) {
		a.out = append(a.out, b...)
		return len(b), a.err
	}
	a.flush()
	if a.err == nil {
		_, a.err = a.c.rwc.Write(b)
	}
	return len(b), a.err
}

// SetReadDeadline is for http.ResponseController.
func (a *answer) SetReadDeadline(t time.Time) error { return a.c.rwc.SetReadDeadline(t) }

// SetWriteDeadline is for http.ResponseController.
func (a *answer) SetWriteDeadline(t time.Time) error { return a.c.rwc.SetWriteDeadline(t) }

// end sends what has not been sent. It reports whether the connection can be used for
// another request.
func (a *answer) end() bool {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	if !a.sent {
		body := a.out
		if a.length < 0 && a.written > 0 {
			a.out = make([]byte, 0, len(body)+1<<10)
		} else {
			body = nil
		}
		a.start(body)
		a.out = append(a.out, body...)
		clear(body)
	}
	a.flush()
	if cap(a.out) > answerBytes {
		a.out = nil
	}
	short := a.length >= 0 && a.length != a.written && !bodiless(a.status)
	return !a.close && !short && a.err == nil
}

func (a *answer) flush() {
	if a.err == nil && len(a.out) > 0 {
		_, a.err = a.c.rwc.Write(a.out)
	}
	clear(a.out)
	a.out = a.out[:0]
}

// start writes the header, unless it is written. b is how the body begins, all of it if
// its length was not declared.
func (a *answer) start(b []byte) {
	if a.sent {
		return
	}
	a.sent = true
	closing := a.c.s.closing.Load()
	said, _ := a.get("Connection")
	a.close = closing || said == "close"
	if !a.close && !a.c.body.drain() {
		a.close = true
	}

	a.out = append(a.out, "HTTP/1.1 "...)
	a.out = strconv.AppendInt(a.out, int64(a.status), 10)
	a.out = append(a.out, ' ')
	if text := http.StatusText(a.status); text != "" {
		a.out = append(a.out, text...)
	} else {
		a.out = append(a.out, "status code "...)
		a.out = strconv.AppendInt(a.out, int64(a.status), 10)
	}
	a.out = append(a.out, "\r\n"...)
	add := a.close && (closing || said != "close")
	a.fields(add)
	if _, ok := a.get("Date"); !ok {
		a.out = append(a.out, "Date: "...)
		a.out = time.Now().UTC().AppendFormat(a.out, http.TimeFormat)
		a.out = append(a.out, "\r\n"...)
	}
	if !bodiless(a.status) {
		if a.length < 0 {
			a.out = append(a.out, "Content-Length: "...)
			a.out = strconv.AppendInt(a.out, int64(len(b)), 10)
			a.out = append(a.out, "\r\n"...)
		}
		encoding, _ := a.get("Content-Encoding")
		if _, ok := a.get("Content-Type"); !ok && encoding == "" && len(b) > 0 {
			a.out = append(a.out, "Content-Type: "...)
			a.out = append(a.out, http.DetectContentType(b)...)
			a.out = append(a.out, "\r\n"...)
		}
	}
	if add {
		a.out = append(a.out, "Connection: close\r\n"...)
	}
	a.out = append(a.out, "\r\n"...)
}

// fields writes the handler's fields in the order of their names, without those that
// are ours to decide.
func (a *answer) fields(withoutConnection bool) {
	for _, f := range a.set {
		switch f.name {
		case "Transfer-Encoding": // never: the length is always known
			continue
		case "Connection":
			if withoutConnection {
				continue
			}
		case "Content-Type":
			if a.status == http.StatusNotModified {
				continue
			}
		case "Content-Length":
			if bodiless(a.status) {
				continue
			}
		}
		if !f.plain() {
			var b bytes.Buffer
			_ = http.Header{f.name: f.values}.Write(&b) // a buffer takes everything
			a.out = append(a.out, b.Bytes()...)
			continue
		}
		for _, value := range f.values {
			a.out = append(a.out, f.name...)
			a.out = append(a.out, ": "...)
			a.out = append(a.out, value...)
			a.out = append(a.out, "\r\n"...)
		}
	}
}

// plain reports whether the field can be written as it is. What needs care is left to
// net/http.
func (f *field) plain() bool {
	for i := range len(f.name) {
		if !token(f.name[i]) {
			return false
		}
	}
	for _, value := range f.values {
		for i := range len(value) {
			if value[i] < ' ' {
				return false
			}
		}
		if value != "" && (value[0] == ' ' || value[len(value)-1] == ' ') {
			return false
		}
	}
	return f.name != ""
}

// bodiless reports whether answers of the status have no body.
func bodiless(status int) bool {
	return status == http.StatusNoContent || status == http.StatusNotModified
}

// appendWiping is append that leaves no copy of what dst held.
func appendWiping(dst, b []byte) []byte {
	if len(dst)+len(b) <= cap(dst) {
		return append(dst, b...)
	}
	bigger := make([]byte, len(dst), 2*(len(dst)+len(b)))
	copy(bigger, dst)
	clear(dst)
	return append(bigger, b...)
}
