package rotator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"arca/internal/api"
)

// The types of errors, as the caller of a function sees them.
const (
	InvalidEvent  = "InvalidEvent"  // the event, or the function's environment, asks for what there is not
	InvalidSecret = "InvalidSecret" // the secret's value or labels are not fit for the rotation
	LoginRefused  = "LoginRefused"  // the database server refuses the name or the password
	Unreachable   = "Unreachable"   // no connection, or none that can be trusted
	DatabaseError = "DatabaseError" // the database server refuses a statement
	ServiceError  = "ServiceError"  // Secrets Manager refuses a call
	TimedOut      = "TimedOut"      // the step ran out of time, or was stopped
)

// Error is why a step failed. Its text never holds a password.
type Error struct {
	Type    string
	Message string
	cause   error // only what holds no text of a foreign server
}

// Error gives type and message.
func (e *Error) Error() string { return e.Type + ": " + e.Message }

// Unwrap returns the end of the context or the error of a call to Secrets Manager, if
// that was the cause.
func (e *Error) Unwrap() error { return e.cause }

func errorf(kind, format string, args ...any) *Error {
	return &Error{Type: kind, Message: fmt.Sprintf(format, args...)}
}

// maxMessage bounds what is repeated of a foreign server's text.
const maxMessage = 500

// failure makes the error that leaves the package. Server texts may repeat what they
// were sent: passwords are taken out, and so is whatever a terminal might obey.
func (r *rotation) failure(err error) *Error {
	failed, ok := errors.AsType[*Error](err)
	if !ok {
		failed = &Error{Type: DatabaseError, Message: err.Error()}
	}
	out := &Error{Type: failed.Type, Message: r.clean(failed.Message)}
	if called, ok := errors.AsType[*api.Error](err); ok {
		out.cause = called
	}
	for _, end := range []error{context.DeadlineExceeded, context.Canceled} {
		if errors.Is(err, end) {
			out.Type, out.cause = TimedOut, end
		}
	}
	return out
}

// clean makes a text fit to be shown.
func (r *rotation) clean(text string) string {
	for _, password := range r.hidden {
		text = strings.ReplaceAll(text, password, "REDACTED")
	}
	text = strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(text, " "))
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + "…"
	}
	return text
}
