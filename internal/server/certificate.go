package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// certificateInterval is how often the files are looked at.
const certificateInterval = 2 * time.Second

// Certificate is a TLS certificate that follows its files: when they are replaced,
// new connections get the new one. A pair is taken only when key and certificate
// belong together and neither file has changed between two looks, so that files that
// are being written are never used half; until then, and when the new pair is no
// good, the old one stays.
type Certificate struct {
	certFile, keyFile string
	log               *slog.Logger
	current           atomic.Pointer[tls.Certificate]

	// Used by Step alone.
	loaded  marks // of the files current was read from
	seen    marks // of the last look
	refused marks // of files that were no good and have been complained about
}

// marks tell whether a pair of files has been replaced.
type marks struct{ cert, key os.FileInfo }

func (m marks) equal(o marks) bool { return sameFile(m.cert, o.cert) && sameFile(m.key, o.key) }

func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// OpenCertificate reads a certificate chain and its key from PEM files.
func OpenCertificate(certFile, keyFile string, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, log: log}
	m, err := c.look()
	if err != nil {
		return nil, err
	}
	pair, err := c.read()
	if err != nil {
		return nil, err
	}
	c.current.Store(pair)
	c.loaded, c.seen = m, m
	return c, nil
}

// Run follows the files until ctx ends.
func (c *Certificate) Run(ctx context.Context) error {
	tick := time.NewTicker(certificateInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			c.Step()
		}
	}
}

// Step looks at the files once. A new pair is taken at the second look that finds
// it unchanged.
func (c *Certificate) Step() {
	m, err := c.look()
	before := c.seen
	c.seen = m
	if err != nil {
		// Files are missing for a moment while they are replaced.
		if before.cert != nil || before.key != nil {
			c.log.Warn("certificate files cannot be looked at; the old certificate stays", "error", err.Error())
		}
		c.seen = marks{}
		return
	}
	if m.equal(c.loaded) || m.equal(c.refused) || !m.equal(before) {
		return
	}
	pair, err := c.read()
	if after, lookErr := c.look(); lookErr != nil || !after.equal(m) {
		return // replaced while we read: the next look decides
	}
	if err != nil {
		c.refused = m
		c.log.Error("certificate files were replaced but cannot be used; the old certificate stays", "error", err.Error())
		return
	}
	c.current.Store(pair)
	c.loaded, c.refused = m, marks{}
	c.log.Info("certificate reloaded", "file", c.certFile, "expires", pair.Leaf.NotAfter)
}

func (c *Certificate) look() (marks, error) {
	cert, err1 := os.Stat(c.certFile)
	key, err2 := os.Stat(c.keyFile)
	if err := errors.Join(err1, err2); err != nil {
		return marks{}, fmt.Errorf("look at certificate files: %w", err)
	}
	return marks{cert, key}, nil
}

func (c *Certificate) read() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return nil, fmt.Errorf("read certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	return &pair, nil
}

// NotAfter is when the certificate that is served ends.
func (c *Certificate) NotAfter() time.Time { return c.current.Load().Leaf.NotAfter }
