package app

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	// ownCertificateLife is what common clients still accept of a server certificate.
	ownCertificateLife = 397 * 24 * time.Hour
	// ownCertificateRenewal is how long before its end an own certificate is replaced.
	ownCertificateRenewal = 30 * 24 * time.Hour
	// ownCertificateLook is how often a running server looks whether that time has come.
	ownCertificateLook = 12 * time.Hour
)

// ensureOwnCertificate returns the certificate and key files of a self-signed
// certificate for the configured hosts. It makes them when they are missing, near
// their end, or for other names. Clients trust the certificate file itself
// (AWS_CA_BUNDLE). TLS is on real time, whatever the development clock says.
func (c *Config) ensureOwnCertificate(now time.Time) (certFile, keyFile, fingerprint string, err error) {
	certFile = filepath.Join(c.keysDir(), "tls.crt")
	keyFile = filepath.Join(c.keysDir(), "tls.key")
	names := c.certificateNames()
	if leaf, err := loadLeaf(certFile, keyFile); err == nil &&
		now.Add(ownCertificateRenewal).Before(leaf.NotAfter) && coversAll(leaf, names) {
		return certFile, keyFile, fingerprintOf(leaf.Raw), nil
	} else if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", "", "", fmt.Errorf("read own certificate %s: %w", certFile, err)
	}
	der, keyDER, err := makeCertificate(names, now)
	if err != nil {
		return "", "", "", fmt.Errorf("make own certificate: %w", err)
	}
	// The key is replaced first. A crash in between leaves a pair that does not fit,
	// which the next start finds and replaces.
	if err := replaceFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})); err != nil {
		return "", "", "", fmt.Errorf("write key of own certificate: %w", err)
	}
	if err := replaceFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})); err != nil {
		return "", "", "", fmt.Errorf("write own certificate: %w", err)
	}
	return certFile, keyFile, fingerprintOf(der), nil
}

// certificateNames are the configured hosts, the listening address and loopback.
func (c *Config) certificateNames() []string {
	names := append([]string{"localhost", "127.0.0.1", "::1"}, c.Hosts...)
	if host, _, err := net.SplitHostPort(c.Listen); err == nil && host != "" {
		if ip := net.ParseIP(host); ip == nil || !ip.IsUnspecified() {
			names = append(names, host)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// errPair: certificate and key do not belong together. It counts as missing.
var errPair = fmt.Errorf("certificate and key do not fit: %w", os.ErrNotExist)

func loadLeaf(certFile, keyFile string) (*x509.Certificate, error) {
	if _, err := os.Stat(certFile); err != nil {
		return nil, err
	}
	if _, err := os.Stat(keyFile); err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, errPair
	}
	return pair.Leaf, nil
}

func coversAll(leaf *x509.Certificate, names []string) bool {
	for _, n := range names {
		if leaf.VerifyHostname(n) != nil {
			return false
		}
	}
	return true
}

func makeCertificate(names []string, now time.Time) (der, keyDER []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	t := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "Arca own certificate"},
		NotBefore:             now.Add(-time.Hour), // clients whose clock is behind
		NotAfter:              now.Add(ownCertificateLife),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true, // so that a client can name the file as its CA bundle
		MaxPathLenZero:        true,
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	if der, err = x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key); err != nil {
		return nil, nil, err
	}
	keyDER, err = x509.MarshalPKCS8PrivateKey(key)
	return der, keyDER, err
}

func fingerprintOf(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}
