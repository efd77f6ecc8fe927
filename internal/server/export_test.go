package server

import "crypto/tls"

// Current is the certificate that the next connection gets.
func Current(c *Certificate) (*tls.Certificate, error) { return c.config().GetCertificate(nil) }
