package ship

import (
	"context"
	"time"

	"arca/internal/audit"
)

// SyslogMessage is a line as a message.
func SyslogMessage(facility int, hostname string, limit int, line []byte) []byte {
	return newSyslogFormat(facility, hostname, limit).appendMessage(nil, line)
}

// SyslogFrame is a line as a message with its length.
func SyslogFrame(facility int, hostname string, limit int, line []byte) []byte {
	return newSyslogFormat(facility, hostname, limit).appendFrame([]byte("kept"), line)[4:]
}

// SyslogDoubt is how long deliveries are in doubt.
const SyslogDoubt = syslogDoubt

// Wants reports whether a sink sends a line.
func Wants(c SinkConfig, line []byte) bool {
	return filter{sources: c.Sources, writesOnly: c.WritesOnly}.wants(line)
}

// ReadCredentials reads a file of credentials as a copy does.
func ReadCredentials(ctx context.Context, file, profile string) (id string, err error) {
	c, err := (&credentials{file: file, profile: profile}).Retrieve(ctx)
	return c.AccessKeyID, err
}

// CopyNow makes one round of the first copy. Run must not run.
func (s *Shipper) CopyNow(ctx context.Context) error { return s.copies[0].round(ctx) }

// LookAgain makes the next round look at the copy as after a start.
func (s *Shipper) LookAgain() { s.copies[0].forget() }

// LineOffset is where a line is in a segment.
func LineOffset(r *audit.SegmentReader, skip uint64) (int64, error) { return lineOffset(r, skip) }

// Settling is how long it takes at most until the place of a sink without doubts is
// kept.
const Settling = settleEvery + 500*time.Millisecond

// GrowBytes is the length of a piece from which on another one is begun.
const GrowBytes = growBytes

// LimitKeys bounds what the first copy, in a bucket, keeps of a listing.
func (s *Shipper) LimitKeys(n int) { s.copies[0].place.(*bucketPlace).keys = n }

// FileOutput is what a sink of the kind file writes to.
type FileOutput struct{ o fileOutput }

// NewFileOutput returns an output to the file of that path.
func NewFileOutput(path string) *FileOutput { return &FileOutput{fileOutput{path: path}} }

// Send writes a line.
func (f *FileOutput) Send(n uint64, line []byte) error {
	var b batch
	b.reset(n)
	b.add(n, line)
	return f.o.send(context.Background(), &b)
}

// Settle settles what was sent.
func (f *FileOutput) Settle() error { return f.o.settle(context.Background()) }

// Break makes everything that is done with the open file fail.
func (f *FileOutput) Break() error { return f.o.f.Close() }

// Close closes the output.
func (f *FileOutput) Close() { f.o.close() }

// BeforeExtend makes the first copy call f, and nothing else any
// more, before it adds lines to a tail.
func (s *Shipper) BeforeExtend(f func()) {
	p := s.copies[0].place
	if e, ok := p.(extending); ok {
		p = e.place
	}
	s.copies[0].place = extending{p, f}
}

type extending struct {
	place
	before func()
}

func (e extending) extend(ctx context.Context, folder string, first, next uint64, lines []byte) error {
	e.before()
	return e.place.extend(ctx, folder, first, next, lines)
}
