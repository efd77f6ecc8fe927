package egress_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"arca/internal/egress"
)

func TestDial(t *testing.T) {
	server := httptest.NewTLSServer(nil)
	t.Cleanup(server.Close)
	address := server.Listener.Addr().String()
	roots := server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}

	closed := egress.New(egress.Config{})
	for _, a := range []string{address, "localhost:" + port, "[::ffff:127.0.0.1]:" + port, "0.0.0.0:" + port} {
		if conn, err := closed.Dial(t.Context(), a); !errors.Is(err, egress.ErrRefused) {
			t.Errorf("Dial(%s) = %v, %v, want ErrRefused", a, conn, err)
		}
	}
	for _, a := range []string{"", "localhost", "/run/socket", strings.Repeat("x", 3000)} {
		if _, err := egress.New(egress.Config{AllowLoopback: true}).Dial(t.Context(), a); err == nil || len(err.Error()) > 400 {
			t.Errorf("Dial(%.20q) = %v", a, err)
		}
	}

	for _, tc := range []struct {
		name, host string
		roots      *x509.CertPool
		err        error
	}{
		{"a known authority", "127.0.0.1", roots, nil},
		{"another host", "db.example", roots, egress.ErrCertificate},
		{"an unknown authority", "127.0.0.1", x509.NewCertPool(), egress.ErrCertificate},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := egress.New(egress.Config{AllowLoopback: true, RootCAs: tc.roots})
			conn, err := c.Dial(t.Context(), address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := tls.Client(conn, c.TLS(tc.host)).HandshakeContext(t.Context()); !errors.Is(err, tc.err) {
				t.Errorf("handshake: %v, want %v", err, tc.err)
			}
		})
	}
}
