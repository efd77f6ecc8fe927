package policy

import (
	"fmt"
	"strings"
)

// ErrorKind sorts the reasons for refusing a policy as far as clients are told them
// apart.
type ErrorKind int

// The kinds of errors.
const (
	NotJSON           ErrorKind = iota // not a JSON text
	BadGrammar                         // JSON, but not a policy
	BadPrincipal                       // a principal that cannot be named in a policy
	BadServiceName                     // a service principal that does not have the form of one
	UnwantedPrincipal                  // an identity policy with a principal
)

// SyntaxError tells what is wrong with a policy text and where.
type SyntaxError struct {
	Kind     ErrorKind
	Position Position
	Reason   string // our own words
	// Text is the sentence of IAM's own MalformedPolicyDocument for this case, as far as
	// it is known.
	Text string
}

// Error gives place and reason. The reason may quote a few words of the policy.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Position.Line, e.Position.Column, e.Reason)
}

const (
	textNotJSON = "This policy contains invalid Json"
	textSyntax  = "Syntax errors in policy."
)

func bad(at Position, format string, args ...any) *SyntaxError {
	return &SyntaxError{Kind: BadGrammar, Position: at, Reason: fmt.Sprintf(format, args...), Text: textSyntax}
}

// withText sets the sentence of IAM.
func (e *SyntaxError) withText(format string, args ...any) *SyntaxError {
	e.Text = fmt.Sprintf(format, args...)
	return e
}

func (e *SyntaxError) withKind(k ErrorKind) *SyntaxError {
	e.Kind = k
	return e
}

// quote puts a piece of a policy into an error.
func quote(s string) string { return fmt.Sprintf("%q", clip(s)) }

// clip shortens a piece of a policy for an error.
func clip(s string) string {
	const most = 64
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
