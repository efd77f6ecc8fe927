package server

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strconv"

	"arca/internal/api"
	"arca/internal/wire"
)

// newRequestID draws a random (version 4) UUID.
func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	var s [36]byte
	hex.Encode(s[:8], b[:4])
	hex.Encode(s[9:13], b[4:6])
	hex.Encode(s[14:18], b[6:8])
	hex.Encode(s[19:23], b[8:10])
	hex.Encode(s[24:], b[10:])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:])
}

// answer sends an operation's output.
func (x *exchange) answer(op *api.Operation, out any) {
	buf := x.s.buffers.get()
	r := x.reply(op)
	buf.b = r.AppendOutput(buf.b, out)
	status := r.Head(out, x.w.Header().Set)
	if err := x.send(status, r.ContentType(), buf.b); err != nil {
		// A client that has gone cannot be told so. HTTP/2 may still be reading from the
		// buffer when it says that the stream has ended; used again, the buffer could
		// send one caller's secret to another.
		return
	}
	x.s.buffers.put(buf)
}

// refuse answers a request that has no verified principal, and counts it.
func (x *exchange) refuse(reason string, op *api.Operation, err *api.Error) {
	x.count(reason, err)
	x.answerError(op, err, true)
}

// count counts a request that nobody vouches for, and logs a sample.
func (x *exchange) count(reason string, err *api.Error) {
	x.s.metrics.refused(reason)
	if n, ok := x.s.sample.take(x.source); ok {
		x.s.cfg.Logger.Warn("request refused", "reason", reason, "code", err.Code.Name, "source", x.source,
			"request", x.id, "not_logged_before", n)
	}
}

// logFault logs an error of ours. Every request can meet the same one, those of
// strangers, too, so it is a sample.
func (x *exchange) logFault(msg string, err error) {
	if n, ok := x.s.faults.take(msg); ok {
		x.s.cfg.Logger.Error(msg, "operation", x.op.Name, "request", x.id, "error", err.Error(), "not_logged_before", n)
	}
}

// fail answers what went wrong on our side before an operation could run.
func (x *exchange) fail(err *api.Error) { x.answerError(x.op, err, false) }

// reply is how this request is answered; op is nil while it is not known.
func (x *exchange) reply(op *api.Operation) wire.Reply {
	r := wire.Reply{Op: op, RequestID: x.id}
	if op == nil {
		r.Protocol = wire.ProtocolOf(x.r)
	}
	return r
}

func (x *exchange) answerError(op *api.Operation, err *api.Error, frontEnd bool) {
	r := x.reply(op)
	if kind := r.ErrorType(err); kind != "" {
		x.w.Header().Set(wire.HeaderErrorType, kind)
	}
	status, contentType, body := r.RenderError(err, frontEnd)
	_ = x.send(status, contentType, body) // as in answer
}

func (x *exchange) send(status int, contentType string, body []byte) error {
	h := x.w.Header()
	// Written past Set so that the names go out as AWS spells them.
	values := [...]string{x.id, contentType, ""}
	h[wire.HeaderRequestID] = values[0:1:1]
	h["Content-Type"] = values[1:2:2]
	if status == http.StatusNoContent { // which has no length either
		x.w.WriteHeader(status)
		return nil
	}
	values[2] = strconv.Itoa(len(body))
	h["Content-Length"] = values[2:]
	x.w.WriteHeader(status)
	_, err := x.w.Write(body)
	return err
}

// answerText is for endpoints that people and probes read.
func answerText(w http.ResponseWriter, r *http.Request, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte(text))
	}
}
