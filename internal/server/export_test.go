package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"arca/internal/sigv4"
)

// Current is the certificate that the next connection gets.
func Current(c *Certificate) (*tls.Certificate, error) { return c.config().GetCertificate(nil) }

// NewSampler gives the take of a fresh sampler.
func NewSampler() func(source string) (skipped int, ok bool) { return new(sampler).take }

// Held is what requests in progress hold of the server's memory.
func Held(s *Server) int64 { return s.memory.held.Load() }

// DeriveMany fills a fresh cache of signing keys with those of n access keys and
// tells how many it keeps.
func DeriveMany(n int) (kept int, err error) {
	c := &keyCache{}
	for i := range n {
		signed := sigv4.Scope{AccessKeyID: fmt.Sprintf("ASIA%d", i), Day: "20260101", Region: "us-east-1", Service: "sts"}
		_, err := c.get(signed, &Credential{
			Fingerprint: []byte{1},
			Secret:      func(use func([]byte)) error { use([]byte("secret")); return nil },
		})
		if err != nil {
			return 0, err
		}
		kept = max(kept, len(c.keys))
	}
	return kept, nil
}

// Sources is how many sources of refused requests are told apart at the moment.
func Sources(s *Server) int {
	s.sample.mu.Lock()
	defer s.sample.mu.Unlock()
	return len(s.sample.sources)
}

// WithPatience is withPatience in the form of context.WithTimeout.
func WithPatience(parent context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	p := withPatience(parent, d)
	return p, p.end
}
