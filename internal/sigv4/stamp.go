package sigv4

import "time"

// Stamps, "20150830T123600Z", are read for every request. Their form is fixed, so it
// is taken apart by position; going through time's layouts cost about 1 µs of a
// request, by profile.

// appendStamp appends t in the form of dateFormat, as UTC. Years have four digits.
func appendStamp(b []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	b = appendDigits(b, year, 4)
	b = appendDigits(b, int(month), 2)
	b = appendDigits(b, day, 2)
	b = append(b, 'T')
	hour, minute, second := t.Clock()
	b = appendDigits(b, hour, 2)
	b = appendDigits(b, minute, 2)
	b = appendDigits(b, second, 2)
	return append(b, 'Z')
}

func appendDigits(b []byte, n, width int) []byte {
	var d [4]byte
	for i := width - 1; i >= 0; i-- {
		d[i] = byte('0' + n%10)
		n /= 10
	}
	return append(b, d[:width]...)
}

// parseStamp reads exactly the form of dateFormat, and only dates that exist.
func parseStamp(s string) (time.Time, bool) {
	if len(s) != len(dateFormat) || s[8] != 'T' || s[15] != 'Z' {
		return time.Time{}, false
	}
	var field [6]int
	at := 0
	for i, width := range [...]int{4, 2, 2, 2, 2, 2} {
		if i == 3 {
			at++ // the T
		}
		for range width {
			c := s[at]
			if c < '0' || c > '9' {
				return time.Time{}, false
			}
			field[i] = field[i]*10 + int(c-'0')
			at++
		}
	}
	if field[3] > 23 || field[4] > 59 || field[5] > 59 {
		return time.Time{}, false
	}
	t := time.Date(field[0], time.Month(field[1]), field[2], field[3], field[4], field[5], 0, time.UTC)
	// time.Date carries what is too large over: a 31st of June becomes a 1st of July.
	year, month, day := t.Date()
	return t, year == field[0] && int(month) == field[1] && day == field[2]
}
