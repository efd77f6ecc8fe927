package sigv4_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"arca/internal/sigv4"
)

// TestStamp compares with the layouts of package time, over dates that exist and
// strings that are almost dates.
func TestStamp(t *testing.T) {
	const layout = "20060102T150405Z"
	for range 20_000 {
		want := time.Unix(rand.Int64N(253_402_300_800), 0).UTC() // up to the year 9999
		text := want.Format(layout)
		if got := string(sigv4.AppendStamp(nil, want)); got != text {
			t.Fatalf("AppendStamp(%v) = %s, want %s", want, got, text)
		}
		if got, ok := sigv4.ParseStamp(text); !ok || !got.Equal(want) {
			t.Fatalf("ParseStamp(%s) = %v, %v", text, got, ok)
		}
		b := []byte(text)
		b[rand.IntN(len(b))] = "0123456789TZ .-"[rand.IntN(15)]
		wantTime, err := time.Parse(layout, string(b))
		got, ok := sigv4.ParseStamp(string(b))
		// time.Parse takes the seconds' fraction as an extra; a stamp has none.
		if ok != (err == nil) || ok && !got.Equal(wantTime) {
			t.Fatalf("ParseStamp(%s) = %v, %v; time.Parse says %v, %v", b, got, ok, wantTime, err)
		}
	}
}
