package space

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Mark is an amount of free space: bytes, or a share of the file system. The zero
// Mark stands for a default.
type Mark struct {
	Bytes   int64
	Percent float64
}

// ParseMark reads "256MiB", "1.5GB", "1048576" or "5%". The empty string is the zero
// Mark.
func ParseMark(s string) (Mark, error) {
	if s == "" {
		return Mark{}, nil
	}
	m := Mark{}
	if digits, ok := strings.CutSuffix(s, "%"); ok {
		v, err := parseNumber(digits)
		if err != nil {
			return Mark{}, fmt.Errorf("parse space mark %q: %w", s, err)
		}
		m.Percent = v
	} else {
		digits := strings.TrimRight(s, "BiKMGTkb")
		unit, err := unitBytes(s[len(digits):])
		if err != nil {
			return Mark{}, fmt.Errorf("parse space mark %q: %w", s, err)
		}
		v, err := parseNumber(digits)
		if err == nil && v*unit >= math.MaxInt64 {
			err = errors.New("too large")
		}
		if err != nil {
			return Mark{}, fmt.Errorf("parse space mark %q: %w", s, err)
		}
		m.Bytes = int64(v * unit)
	}
	err := m.validate()
	if err == nil && m == (Mark{}) {
		err = errors.New("zero") // would read as the default
	}
	if err != nil {
		return Mark{}, fmt.Errorf("parse space mark %q: %w", s, err)
	}
	return m, nil
}

// parseNumber takes plain decimals only: no sign, exponent, hexadecimal or infinity.
func parseNumber(s string) (float64, error) {
	if s == "" || strings.Trim(s, "0123456789.") != "" {
		return 0, errors.New("not a number")
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0, errors.New("not a number")
	}
	return v, nil
}

func unitBytes(unit string) (float64, error) {
	switch unit {
	case "", "B":
		return 1, nil
	case "KiB":
		return 1 << 10, nil
	case "MiB":
		return 1 << 20, nil
	case "GiB":
		return 1 << 30, nil
	case "TiB":
		return 1 << 40, nil
	case "kB", "KB":
		return 1e3, nil
	case "MB":
		return 1e6, nil
	case "GB":
		return 1e9, nil
	case "TB":
		return 1e12, nil
	}
	return 0, fmt.Errorf("unknown unit %q; use MiB, GiB, MB, GB or %%", unit)
}

func (m Mark) validate() error {
	switch {
	case m.Bytes != 0 && m.Percent != 0:
		return errors.New("both bytes and percent")
	case m.Bytes < 0 || m.Percent < 0 || math.IsNaN(m.Percent):
		return errors.New("negative")
	case m.Percent >= 100:
		return errors.New("100 % or more")
	}
	return nil
}

// bytes is the mark on a file system of the given size.
func (m Mark) bytes(total, defaultBytes int64, defaultPercent float64) int64 {
	switch {
	case m.Bytes > 0:
		return m.Bytes
	case m.Percent > 0:
		return int64(float64(total) * m.Percent / 100)
	}
	return min(defaultBytes, int64(float64(total)*defaultPercent/100))
}

// String is a form that ParseMark reads.
func (m Mark) String() string {
	if m.Percent != 0 {
		return strconv.FormatFloat(m.Percent, 'f', -1, 64) + "%"
	}
	if m.Bytes == 0 {
		return ""
	}
	return strconv.FormatInt(m.Bytes, 10)
}

// Bytes prints as people read amounts: "63.5 MiB".
type Bytes int64

func (b Bytes) String() string {
	units := [...]string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	v, i := float64(b), 0
	for ; math.Abs(v) >= 1024 && i < len(units)-1; i++ {
		v /= 1024
	}
	if i == 0 {
		return fmt.Sprintf("%d B", int64(b))
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}
