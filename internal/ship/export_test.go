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
