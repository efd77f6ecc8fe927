// Package arn holds Amazon Resource Names, the account ids and regions they are
// made of, and which partition a region belongs to.
//
// It is pure: it parses and prints. It promises that whatever Parse accepts,
// String gives back byte for byte, and that a parsed field never holds a byte
// that could break a log line. It does not know what any service puts into the
// resource part; that belongs to the service.
package arn

import (
	"errors"
	"fmt"
	"strings"
)

// maxBytes is the longest ARN that Parse accepts, the limit that IAM states.
const maxBytes = 2048

// ErrSyntax is what every refusal of Parse wraps. The caller should answer it as
// a bad parameter; the text says which part is wrong and never holds the input.
var ErrSyntax = errors.New("not an ARN")

// ARN is one Amazon Resource Name, split at its first five colons. Region and
// Account may be empty, as in IAM's and S3's names.
type ARN struct {
	Partition string
	Service   string
	Region    string
	Account   string // 12 digits, "" or, for what AWS itself owns, "aws"
	Resource  string // may hold colons and slashes
}

// Parse splits an ARN and checks the form of each part.
func Parse(s string) (ARN, error) {
	if len(s) > maxBytes {
		return ARN{}, fmt.Errorf("%w: longer than %d bytes", ErrSyntax, maxBytes)
	}
	rest, ok := strings.CutPrefix(s, "arn:")
	if !ok {
		return ARN{}, fmt.Errorf("%w: does not begin with \"arn:\"", ErrSyntax)
	}
	var a ARN
	for _, field := range []*string{&a.Partition, &a.Service, &a.Region, &a.Account} {
		if *field, rest, ok = strings.Cut(rest, ":"); !ok {
			return ARN{}, fmt.Errorf("%w: fewer than six parts", ErrSyntax)
		}
	}
	a.Resource = rest
	switch {
	case !label(a.Partition):
		return ARN{}, fmt.Errorf("%w: bad partition", ErrSyntax)
	case !label(a.Service):
		return ARN{}, fmt.Errorf("%w: bad service", ErrSyntax)
	case a.Region != "" && !label(a.Region):
		return ARN{}, fmt.Errorf("%w: bad region", ErrSyntax)
	case a.Account != "" && a.Account != "aws" && !ValidAccount(a.Account):
		return ARN{}, fmt.Errorf("%w: bad account", ErrSyntax)
	case !printable(a.Resource):
		return ARN{}, fmt.Errorf("%w: bad resource", ErrSyntax)
	}
	return a, nil
}

// String gives the ARN in its usual form.
func (a ARN) String() string {
	var b strings.Builder
	b.Grow(len("arn:::::") + len(a.Partition) + len(a.Service) + len(a.Region) + len(a.Account) + len(a.Resource))
	b.WriteString("arn:")
	for _, s := range [...]string{a.Partition, a.Service, a.Region, a.Account} {
		b.WriteString(s)
		b.WriteByte(':')
	}
	b.WriteString(a.Resource)
	return b.String()
}

// IsARN reports whether s claims to be an ARN, well-formed or not. Operations that
// take a name or an ARN choose by this, as AWS does.
func IsARN(s string) bool { return strings.HasPrefix(s, "arn:") }

// ValidAccount reports whether s is an account id: twelve digits.
func ValidAccount(s string) bool {
	if len(s) != 12 {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// label reports whether s is a non-empty word of lower-case letters, digits and
// hyphens, the alphabet of partitions, services and regions.
func label(s string) bool {
	if s == "" || len(s) > 63 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}

// printable reports whether s is non-empty ASCII without controls. Resource names
// that AWS gives out are ASCII; a policy's wildcards are, too.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}
