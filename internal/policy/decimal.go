package policy

import "strings"

// decimal is a number as it is written, which is enough to compare two of them.
type decimal struct {
	negative bool
	whole    string // without zeros in front
	fraction string // without zeros at the end
}

// maxDigits bounds the length of a number.
const maxDigits = 64

// parseDecimal reads an integer or decimal number. Exponents are bounded by refusing
// them: a few digits would stand for gigabytes of them.
func parseDecimal(s string) (decimal, bool) {
	if s == "" || len(s) > maxDigits {
		return decimal{}, false
	}
	var d decimal
	if s[0] == '-' || s[0] == '+' {
		d.negative = s[0] == '-'
		s = s[1:]
	}
	d.whole, d.fraction, _ = strings.Cut(s, ".")
	if d.whole == "" && d.fraction == "" || !digits(d.whole) || !digits(d.fraction) {
		return decimal{}, false
	}
	d.whole, d.fraction = strings.TrimLeft(d.whole, "0"), strings.TrimRight(d.fraction, "0")
	if d.whole == "" && d.fraction == "" {
		d.negative = false
	}
	return d, true
}

// digits reports whether s holds nothing but digits.
func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// compare returns -1, 0 or 1 as d is less than, equal to or greater than o.
func (d decimal) compare(o decimal) int {
	if d.negative != o.negative {
		if d.negative {
			return -1
		}
		return 1
	}
	c := len(d.whole) - len(o.whole)
	if c == 0 {
		c = strings.Compare(d.whole, o.whole)
	}
	if c == 0 {
		c = strings.Compare(d.fraction, o.fraction)
	}
	if d.negative {
		c = -c
	}
	return min(max(c, -1), 1)
}
