package api

import "fmt"

// Code is an error code a client can receive, with its HTTP status.
type Code struct {
	Name   string
	Status int
	// Member is the member that carries the text of an error in JSON; "" is that of the
	// service.
	Member string
}

// Errorf makes an error of this code. The text is what the client sees, so it
// must never hold a secret value.
func (c *Code) Errorf(format string, args ...any) *Error {
	return &Error{Code: c, Message: fmt.Sprintf(format, args...)}
}

// Wrap makes an error of this code that keeps its cause for errors.Is and for
// the log. The client sees only the code and message.
func (c *Code) Wrap(cause error, message string) *Error {
	return &Error{Code: c, Message: message, cause: cause}
}

// Error is what an operation returns when the client is to be told why.
type Error struct {
	Code    *Code
	Message string
	cause   error
}

// Error gives code, message and cause, for the log.
func (e *Error) Error() string {
	s := e.Code.Name
	if e.Message != "" {
		s += ": " + e.Message
	}
	if e.cause != nil {
		s += " (" + e.cause.Error() + ")"
	}
	return s
}

// Unwrap returns the cause, which may be nil.
func (e *Error) Unwrap() error { return e.cause }
