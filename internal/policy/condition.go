package policy

import (
	"encoding/base64"
	"math/big"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Family is the type of the values that an operator compares.
type Family int

// The families of condition operators.
const (
	StringFamily Family = iota
	NumericFamily
	DateFamily
	BoolFamily
	BinaryFamily
	IPFamily
	ARNFamily
	NullFamily
)

// Quantifier says how a condition key with several values in the request is compared.
type Quantifier string

// The quantifiers.
const (
	OneValue     Quantifier = "" // the key is expected to have one value
	ForAllValues Quantifier = "ForAllValues"
	ForAnyValue  Quantifier = "ForAnyValue"
)

// Operator is a condition operator taken apart.
type Operator struct {
	Quantifier Quantifier
	Name       string // without quantifier and IfExists, e.g. "StringNotLike"
	Family     Family
	Negated    bool // StringNot…, NotIpAddress and so on
	IfExists   bool
}

// String returns the operator as it stands in a policy.
func (o Operator) String() string {
	s := o.Name
	if o.Quantifier != OneValue {
		s = string(o.Quantifier) + ":" + s
	}
	if o.IfExists {
		s += "IfExists"
	}
	return s
}

// operatorFamily returns what the plain operator of this name compares. Names are
// compared with case, as IAM does.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
func operatorFamily(name string) (family Family, negated, ok bool) {
	switch name {
	case "StringEquals", "StringEqualsIgnoreCase", "StringLike":
		return StringFamily, false, true
	case "StringNotEquals", "StringNotEqualsIgnoreCase", "StringNotLike":
		return StringFamily, true, true
	case "NumericEquals", "NumericLessThan", "NumericLessThanEquals", "NumericGreaterThan", "NumericGreaterThanEquals":
		return NumericFamily, false, true
	case "NumericNotEquals":
		return NumericFamily, true, true
	case "DateEquals", "DateLessThan", "DateLessThanEquals", "DateGreaterThan", "DateGreaterThanEquals":
		return DateFamily, false, true
	case "DateNotEquals":
		return DateFamily, true, true
	case "Bool":
		return BoolFamily, false, true
	case "BinaryEquals":
		return BinaryFamily, false, true
	case "IpAddress":
		return IPFamily, false, true
	case "NotIpAddress":
		return IPFamily, true, true
	case "ArnEquals", "ArnLike":
		return ARNFamily, false, true
	case "ArnNotEquals", "ArnNotLike":
		return ARNFamily, true, true
	case "Null":
		return NullFamily, false, true
	}
	return 0, false, false
}

func parseOperator(text string, at Position) (Operator, *SyntaxError) {
	op := Operator{Name: text}
	for _, q := range []Quantifier{ForAllValues, ForAnyValue} {
		if rest, ok := strings.CutPrefix(text, string(q)+":"); ok {
			op.Quantifier, op.Name = q, rest
		}
	}
	op.Name, op.IfExists = strings.CutSuffix(op.Name, "IfExists")
	var ok bool
	op.Family, op.Negated, ok = operatorFamily(op.Name)
	if !ok || op.Family == NullFamily && op.IfExists {
		return Operator{}, bad(at, "there is no condition operator %s", quote(text)).
			withText("Invalid Condition type : %s", clip(text))
	}
	return op, nil
}

// Value is one value of a condition, of the type of its operator's family.
type Value struct {
	Position Position
	Text     string // as written; numbers and Booleans need no quotation marks

	Pattern Pattern      // StringFamily, ARNFamily
	Number  *big.Rat     // NumericFamily
	Time    time.Time    // DateFamily, in UTC
	Bool    bool         // BoolFamily, NullFamily
	Bytes   []byte       // BinaryFamily
	Prefix  netip.Prefix // IPFamily; masked
}

func (p *parser) value(n node, op Operator) (Value, *SyntaxError) {
	switch n.kind {
	case stringNode, numberNode, boolNode:
	default:
		return Value{}, bad(n.at, "the value of a condition is %s, not a string, number or Boolean", n.kind)
	}
	v := Value{Position: n.at, Text: n.text}
	var ok bool
	want := ""
	switch op.Family {
	case StringFamily:
		syntax := patternSyntax{
			wildcards: strings.HasSuffix(op.Name, "Like"),
			variables: p.variables,
		}
		var err *SyntaxError
		v.Pattern, err = parsePattern(n.text, n.at, syntax)
		return v, err
	case ARNFamily:
		var err *SyntaxError
		v.Pattern, err = parsePattern(n.text, n.at, patternSyntax{wildcards: true, variables: p.variables})
		if err != nil {
			return Value{}, err
		}
		ok, want = arnPattern(v.Pattern), "an ARN"
	case NumericFamily:
		v.Number, ok = parseNumber(n.text)
		want = "a number"
	case DateFamily:
		v.Time, ok = parseDate(n.text)
		want = "a date"
	case BoolFamily, NullFamily:
		v.Bool = strings.EqualFold(n.text, "true")
		ok = v.Bool || strings.EqualFold(n.text, "false")
		want = "true or false"
	case BinaryFamily:
		var err error
		v.Bytes, err = base64.StdEncoding.Strict().DecodeString(n.text)
		ok, want = err == nil, "base64"
	case IPFamily:
		v.Prefix, ok = parsePrefix(n.text)
		want = "an IP address or a range in CIDR notation"
	}
	if !ok {
		return Value{}, bad(n.at, "%s needs %s, not %s", op.Name, want, quote(n.text)).
			withText("The policy failed legacy parsing")
	}
	return v, nil
}

// arnPattern reports whether p can match an ARN: its six parts are there, or it is
// all wildcard. What a variable stands for may hold any number of parts.
func arnPattern(p Pattern) bool {
	colons := 0
	for _, part := range p.Parts {
		switch part.Kind {
		case Variable:
			return true
		case Literal:
			colons += strings.Count(part.Text, ":")
		}
	}
	first := Part{}
	if len(p.Parts) > 0 {
		first = p.Parts[0]
	}
	switch first.Kind {
	case AnyRun:
		return len(p.Parts) == 1 || colons >= 5
	case AnyOne:
		return colons >= 5
	}
	return colons >= 5 && first.Text != "" && (strings.HasPrefix(first.Text, "arn:") || !strings.Contains(first.Text, ":"))
}

// parseNumber reads what parseDecimal does.
func parseNumber(s string) (*big.Rat, bool) {
	if _, ok := parseDecimal(s); !ok {
		return nil, false
	}
	return new(big.Rat).SetString(s)
}

// parseDate reads the forms of ISO 8601 in the W3C's note on dates and times, or
// seconds since 1970. A date without a time is its first moment in UTC.
// https://www.w3.org/TR/NOTE-datetime
func parseDate(s string) (time.Time, bool) {
	// A year has four digits; anything else made of digits is a time of Unix.
	if len(s) != 4 && digits(strings.TrimLeft(s, "+-")) {
		seconds, err := strconv.ParseInt(s, 10, 48)
		return time.Unix(seconds, 0).UTC(), err == nil
	}
	layout := ""
	switch {
	case len(s) == len("2006"):
		layout = "2006"
	case len(s) == len("2006-01"):
		layout = "2006-01"
	case len(s) == len("2006-01-02"):
		layout = "2006-01-02"
	// Parse would also take an hour of one digit, and a comma before a fraction.
	case len(s) < len("2006-01-02T15:04Z") || s[13] != ':' || strings.Contains(s, ","):
		return time.Time{}, false
	case s[16] != ':':
		layout = "2006-01-02T15:04Z07:00"
	default:
		layout = "2006-01-02T15:04:05Z07:00" // also reads a fraction of a second
	}
	t, err := time.Parse(layout, s)
	return t.UTC(), err == nil
}

// parsePrefix reads an address or a range. Bits behind the prefix mean nothing.
func parsePrefix(s string) (netip.Prefix, bool) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, false
		}
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	return p.Masked(), true
}
