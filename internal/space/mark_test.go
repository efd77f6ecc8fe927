package space_test

import (
	"testing"

	"arca/internal/space"
)

func TestParseMark(t *testing.T) {
	tests := []struct {
		in   string
		want space.Mark
		bad  bool
	}{
		{in: ""},
		{in: "1048576", want: space.Mark{Bytes: 1 << 20}},
		{in: "256MiB", want: space.Mark{Bytes: 256 << 20}},
		{in: "1.5GiB", want: space.Mark{Bytes: 3 << 29}},
		{in: "2TB", want: space.Mark{Bytes: 2e12}},
		{in: "10kB", want: space.Mark{Bytes: 1e4}},
		{in: "7B", want: space.Mark{Bytes: 7}},
		{in: "5%", want: space.Mark{Percent: 5}},
		{in: "0.5%", want: space.Mark{Percent: 0.5}},
		{in: "0", bad: true},
		{in: "0%", bad: true},
		{in: "100%", bad: true},
		{in: "-1", bad: true},
		{in: "1e3", bad: true},
		{in: "0x10", bad: true},
		{in: "Inf", bad: true},
		{in: "NaN%", bad: true},
		{in: "5 MiB", bad: true},
		{in: "5 %", bad: true},
		{in: "5mib", bad: true},
		{in: "5kMB", bad: true},
		{in: "%", bad: true},
		{in: "MiB", bad: true},
		{in: "1.2.3", bad: true},
		{in: "9223372036854775808", bad: true},
		{in: "99999999TiB", bad: true},
	}
	for _, tt := range tests {
		got, err := space.ParseMark(tt.in)
		if got != tt.want || (err != nil) != tt.bad {
			t.Errorf("ParseMark(%q) = %+v, %v, want %+v, error %v", tt.in, got, err, tt.want, tt.bad)
		}
	}
}

func FuzzParseMark(f *testing.F) {
	for _, s := range []string{"", "256MiB", "5%", "1.5GB", "0", "1e3", "-1%", "9223372036854775807"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := space.ParseMark(s)
		if err != nil {
			return
		}
		if m.Bytes < 0 || m.Percent < 0 || m.Percent >= 100 {
			t.Fatalf("ParseMark(%q) = %+v", s, m)
		}
		if again, err := space.ParseMark(m.String()); err != nil || again != m {
			t.Fatalf("ParseMark(%q) = %+v, printed as %q, read back as %+v, %v", s, m, m, again, err)
		}
	})
}

func TestBytes(t *testing.T) {
	for in, want := range map[space.Bytes]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 63*1024*1024 + 512*1024: "63.5 MiB", -2048: "-2.0 KiB", 1 << 62: "4096.0 PiB"} {
		if got := in.String(); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", int64(in), got, want)
		}
	}
}
