package egress

import (
	"crypto/sha1" // not for its strength: AWS's thumbprints are SHA-1
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strings"
)

// Thumbprint is the SHA-1 hash of a certificate. Whoever could make a second
// certificate with the same hash would need a second preimage, which SHA-1 still
// resists; collisions do not help him.
type Thumbprint [sha1.Size]byte

// ParseThumbprint reads 40 hexadecimal digits of either case.
func ParseThumbprint(s string) (t Thumbprint, ok bool) {
	if len(s) != 2*len(t) {
		return t, false
	}
	_, err := hex.Decode(t[:], []byte(strings.ToLower(s)))
	return t, err == nil
}

// ThumbprintOf returns the thumbprint of a certificate in DER.
func ThumbprintOf(der []byte) Thumbprint { return sha1.Sum(der) }

func (t Thumbprint) equal(u Thumbprint) bool { return subtle.ConstantTimeCompare(t[:], u[:]) == 1 }

// tlsConfig verifies the server of one host by the known authorities or, failing
// that, by thumbprints. crypto/tls knows no second opinion, so its own verification is
// off and VerifyConnection does all of it. The host is not taken from the connection's
// state, which does not have it when it is an address.
func (c *Client) tlsConfig(host string, thumbprints []Thumbprint) *tls.Config {
	return &tls.Config{
		ServerName:         host,
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // see VerifyConnection
		VerifyConnection: func(cs tls.ConnectionState) error {
			return c.verifyChain(cs.PeerCertificates, host, thumbprints)
		},
	}
}

// verifyChain checks that the first certificate is valid now, for this host, and that
// a known authority stands behind it or, as a second chance, a presented certificate
// with one of the thumbprints.
func (c *Client) verifyChain(chain []*x509.Certificate, host string, thumbprints []Thumbprint) error {
	if len(chain) == 0 || len(chain) > maxChain {
		return fmt.Errorf("%w: chain of %d certificates", ErrCertificate, len(chain))
	}
	if host == "" {
		return fmt.Errorf("%w: no host name to verify", ErrCertificate)
	}
	intermediates := x509.NewCertPool()
	for _, cert := range chain[1:] {
		intermediates.AddCert(cert)
	}
	verify := func(roots *x509.CertPool) error {
		_, err := chain[0].Verify(x509.VerifyOptions{
			DNSName: host, Intermediates: intermediates, Roots: roots, CurrentTime: c.cfg.Now(),
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		})
		return err
	}
	err := verify(c.cfg.RootCAs)
	if err == nil {
		return nil
	}
	for i, cert := range chain {
		// Only who signed others can be meant, or a server that signed itself.
		if !matches(cert, thumbprints) || !cert.IsCA && !(i == 0 && len(chain) == 1) {
			continue
		}
		anchor := x509.NewCertPool()
		anchor.AddCert(cert)
		if verify(anchor) == nil {
			return nil
		}
	}
	return fmt.Errorf("%w: %w", ErrCertificate, err)
}

func matches(cert *x509.Certificate, thumbprints []Thumbprint) bool {
	got := ThumbprintOf(cert.Raw)
	for _, t := range thumbprints {
		if t.equal(got) {
			return true
		}
	}
	return false
}
