package trail_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"arca/internal/trail"
)

func encoded(t testing.TB, lines int) []byte {
	t.Helper()
	b := trail.NewBuilder()
	for i := range lines {
		b.Add(event(i).AppendLine(nil, "n1"))
	}
	var out bytes.Buffer
	if err := b.Encode(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// FuzzIndex: a file in the place of an index costs neither memory nor the process. The
// checksums are made to fit, so that what is behind them is reached.
func FuzzIndex(f *testing.F) {
	f.Add(encoded(f, 0))
	f.Add(encoded(f, 1))
	f.Add(encoded(f, 200))
	f.Fuzz(func(t *testing.T, raw []byte) {
		_ = trail.LoadIndex(bytes.NewReader(raw), int64(len(raw)))
		raw = bytes.Clone(raw)
		table := crc32.MakeTable(crc32.Castagnoli)
		for n := 0; (n+1)*4096 <= len(raw); n++ {
			page := raw[n*4096:][:4096]
			var number [8]byte
			binary.LittleEndian.PutUint64(number[:], uint64(n))
			binary.LittleEndian.PutUint32(page[4092:], crc32.Update(crc32.Checksum(number[:], table), table, page[:4092]))
		}
		_ = trail.LoadIndex(bytes.NewReader(raw), int64(len(raw)))
	})
}

func BenchmarkIndexLine(b *testing.B) {
	var lines [][]byte
	for i := range 1000 {
		lines = append(lines, event(i).AppendLine(nil, "n1"))
	}
	b.SetBytes(int64(len(lines[0])))
	x := trail.NewBuilder()
	n := 0
	for b.Loop() {
		if n%200_000 == 0 {
			x = trail.NewBuilder()
		}
		x.Add(lines[n%1000])
		n++
	}
}

func BenchmarkParse(b *testing.B) {
	line := event(1).AppendLine(nil, "n1")
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := trail.Parse(line); err != nil {
			b.Fatal(err)
		}
	}
}
