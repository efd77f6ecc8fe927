package trail_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"syscall"
	"testing"

	"arca/internal/audit"
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

// reads are the lines of reads of secrets under a customer key, two each, as the edge of
// a server writes them.
func reads(users, secrets, count int) (lines [][]byte) {
	const agent = "aws-sdk-go-v2/1.41.0 ua/2.1 os/linux lang/go#1.26 md/GOOS#linux md/GOARCH#amd64 api/secretsmanager#1.40.1"
	for i := range count {
		user, secret := i%users, i*7919%secrets
		r := event(i)
		r.EventID = fmt.Sprintf("%08x-52a1-4c3f-9d3e-%012x", uint32(i)*2654435761, i)
		r.RequestID, r.UserAgent = fmt.Sprintf("%08x-1111-4222-8333-%012x", uint32(i)*40503, i), agent
		r.Identity.ARN = fmt.Sprintf("arn:aws:iam::111122223333:user/application-%d", user)
		r.Identity.UserName = fmt.Sprintf("application-%d", user)
		r.Identity.AccessKeyID = fmt.Sprintf("AKIAEXAMPLE%09d", user)
		r.RequestParameters = fmt.Appendf(nil, `{"secretId":"prod/application-%d/database"}`, secret)
		r.TLS = &audit.TLSDetails{Version: "TLSv1.3", CipherSuite: "TLS_AES_128_GCM_SHA256", ClientProvidedHostHeader: "secretsmanager.example.com"}
		lines = append(lines, r.AppendLine(nil, "n1"))
		const service = "secretsmanager.amazonaws.com"
		r.EventID = fmt.Sprintf("%08x-52a1-4c3f-9d3e-%012x", uint32(i)*2654435761+7, i)
		r.EventSource, r.EventName, r.TLS, r.UserAgent, r.SourceIP = "kms.amazonaws.com", "Decrypt", nil, service, service
		r.Identity.InvokedBy = service
		r.RequestParameters = fmt.Appendf(nil, `{"encryptionContext":{"SecretARN":"arn:aws:secretsmanager:eu-central-1:111122223333:secret:prod/application-%d/database-AbCdEf",`+
			`"SecretVersionId":"EXAMPLE1-90ab-cdef-fedc-%012x"},"encryptionAlgorithm":"SYMMETRIC_DEFAULT"}`, secret, secret)
		r.Resources = []audit.Resource{{AccountID: "111122223333", Type: "AWS::KMS::Key", ARN: "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"}}
		lines = append(lines, r.AppendLine(nil, "n1"))
	}
	return lines
}

// BenchmarkIndexReads is what the index costs a server that is busy with reads.
func BenchmarkIndexReads(b *testing.B) {
	for _, tt := range []struct{ users, secrets int }{{1, 1000}, {1000, 20_000}} {
		b.Run(fmt.Sprintf("%d users, %d secrets", tt.users, tt.secrets), func(b *testing.B) {
			lines := reads(tt.users, tt.secrets, 20_000)
			b.ReportAllocs()
			x := trail.NewBuilder()
			n := 0
			before := processTime(b)
			for b.Loop() {
				if n%120_000 == 0 {
					x = trail.NewBuilder()
				}
				x.Add(lines[n%len(lines)])
				n++
			}
			b.ReportMetric(float64(processTime(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// BenchmarkSaveIndex writes the index of a whole segment.
func BenchmarkSaveIndex(b *testing.B) {
	x := trail.NewBuilder()
	for _, line := range reads(10, 1000, 60_000) {
		x.Add(line)
	}
	for b.Loop() {
		if err := x.Encode(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

// processTime is what the process has used of the processors.
func processTime(tb testing.TB) int64 {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
