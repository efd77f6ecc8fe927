package server

import "crypto/tls"

// Current is the certificate that the next connection gets.
func Current(c *Certificate) (*tls.Certificate, error) { return c.config().GetCertificate(nil) }

// NewSampler gives the take of a fresh sampler.
func NewSampler() func(source string) (skipped int, ok bool) { return new(sampler).take }

// Held is what requests in progress hold of the server's memory.
func Held(s *Server) int64 { return s.memory.held.Load() }
