package egress

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
)

// Dial connects to host:port for protocols other than HTTP, such as those of
// databases. Addresses are checked as for requests. What comes back is not secured:
// the caller does that, with TLS, when the protocol is ready for it. The caller bounds
// the time by ctx and by the connection's deadlines.
func (c *Client) Dial(ctx context.Context, address string) (net.Conn, error) {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return nil, fmt.Errorf("connect to %q: not an address of the form host:port", clip(address))
	}
	dialer := &net.Dialer{Timeout: dialTimeout, ControlContext: c.control}
	return dialer.DialContext(ctx, "tcp", address)
}

// TLS says how a connection to host is secured: with TLS 1.2 or later, and a
// certificate for that host from a known authority. The caller may change nothing but
// client certificates in it.
func (c *Client) TLS(host string) *tls.Config { return c.tlsConfig(host, nil) }
