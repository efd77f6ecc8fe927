// Package egress fetches URLs that tenants chose, such as those of OpenID Connect
// issuers, without letting them reach the server's neighbours. For protocols of
// databases it makes connections by the same rules.
//
// It promises that a request leaves over https only, that it is sent to one server
// and to nobody whom that server names (no redirects, no proxy of the environment),
// and that the address which is dialled is the one that was checked: the check runs
// on every address after resolution, when the socket exists and is not connected yet,
// so a name that resolves differently the second time gains nothing. Answers are
// bounded in time and size.
//
// It trusts the operator's list of addresses, the certificates it was given, and
// nothing that a server answers.
package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"
)

// Config says where requests may go. Its zero value allows the public Internet.
type Config struct {
	// Allow are networks of the operator's own that may be reached although they are
	// not public, e.g. 10.0.0.0/8. A prefix opens a range that is refused otherwise only
	// if it lies within that range: 0.0.0.0/0 opens nothing.
	Allow []netip.Prefix
	// AllowLoopback lets requests reach this very machine, for development servers.
	AllowLoopback bool
	// RootCAs verify servers; nil means those of the system.
	RootCAs *x509.CertPool
	// Now is the clock by which certificates are verified; nil means the system's.
	Now func() time.Time
}

// Errors that callers tell apart. All others mean that the server could not be
// reached or did not finish its answer, which may be different the next time.
var (
	// ErrURL: the URL is not one that can be fetched.
	ErrURL = errors.New("not a URL of the form https://host/path")
	// ErrRefused: the address is not one that requests may go to.
	ErrRefused = errors.New("address refused")
	// ErrRedirect: the server wants the request to go elsewhere.
	ErrRedirect = errors.New("redirects are not followed")
	// ErrTooLarge: the answer is longer than the caller reads.
	ErrTooLarge = errors.New("answer is too large")
	// ErrCertificate: the server's certificate is not to be trusted.
	ErrCertificate = errors.New("server certificate not trusted")
)

// StatusError is an answer with another status than 200.
type StatusError struct{ Code int }

// Error names the status.
func (e *StatusError) Error() string { return fmt.Sprintf("server answered with status %d", e.Code) }

const (
	// maxURLBytes bounds URLs before they are parsed.
	maxURLBytes = 2048
	// maxHeaderBytes bounds the header of an answer.
	maxHeaderBytes = 32 << 10
	// maxChain bounds the certificates of a server that are looked at.
	maxChain = 10
	// dialTimeout is for one address; a name may have several.
	dialTimeout = 3 * time.Second
	// maxTime is the longest that a request may take, whatever the caller asks for.
	maxTime = 60 * time.Second
)

// Client makes HTTP clients and fetches with them. It is safe for concurrent use.
type Client struct{ cfg Config }

// New returns a Client.
func New(cfg Config) *Client {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Client{cfg: cfg}
}

// Options say how to make one client.
type Options struct {
	// Timeout is the longest that a request may take, its answer included; zero means
	// 60 seconds, which is also the most.
	Timeout time.Duration
	// Thumbprints are SHA-1 hashes of certificates, as AWS knows them. A server whose
	// chain ends in no known authority is accepted if its chain is whole up to one of
	// these certificates. Names and dates are checked all the same.
	Thumbprints []Thumbprint
}

// HTTP returns a client that keeps the promises of the package. Its connections are
// not reused. The caller bounds what he reads of an answer, e.g. with ReadAll.
func (c *Client) HTTP(o Options) *http.Client {
	if o.Timeout <= 0 || o.Timeout > maxTime {
		o.Timeout = maxTime
	}
	return &http.Client{
		Timeout: o.Timeout,
		Transport: httpsOnly{&http.Transport{
			Proxy: nil, // a proxy would be the one that resolves and dials
			DialTLSContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				ctx, cancel := context.WithTimeout(ctx, o.Timeout)
				defer cancel()
				return c.dial(ctx, network, addr, o.Thumbprints)
			},
			ResponseHeaderTimeout:  o.Timeout,
			MaxResponseHeaderBytes: maxHeaderBytes,
			DisableKeepAlives:      true,
			DisableCompression:     true, // what is small on the wire stays small
			TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{},
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return ErrRedirect },
	}
}

// Get fetches a URL and returns its answer of at most maxBytes, which must have the
// status 200.
func (c *Client) Get(ctx context.Context, rawURL string, maxBytes int64, o Options) ([]byte, http.Header, error) {
	if err := CheckURL(rawURL); err != nil {
		return nil, nil, fmt.Errorf("get %q: %w", clip(rawURL), err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, rawURL, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("get %q: %w", clip(rawURL), ErrURL)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "arca")
	resp, err := c.HTTP(o).Do(req)
	if err != nil {
		return nil, nil, err // names the URL already
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("get %q: %w", rawURL, &StatusError{resp.StatusCode})
	}
	body, err := ReadAll(resp.Body, maxBytes)
	if err != nil {
		return nil, nil, fmt.Errorf("get %q: %w", rawURL, err)
	}
	return body, resp.Header, nil
}

// ReadAll reads to the end, or fails with ErrTooLarge.
func ReadAll(r io.Reader, maxBytes int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err != nil {
		return nil, err
	}
	if int64(len(body)) > maxBytes {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, maxBytes)
	}
	return body, nil
}

// CheckURL reports whether a URL has the form that can be fetched: https, a host, no
// user, no fragment. The host may still be refused when it is dialled.
func CheckURL(rawURL string) error {
	if len(rawURL) > maxURLBytes {
		return fmt.Errorf("%w: longer than %d bytes", ErrURL, maxURLBytes)
	}
	u, err := url.Parse(rawURL)
	switch {
	case err != nil, u.Scheme != "https", u.Hostname() == "", u.User != nil, u.Opaque != "", u.Fragment != "":
		return ErrURL
	}
	return nil
}

// httpsOnly refuses every other scheme, also to callers that build their own request.
type httpsOnly struct{ next *http.Transport }

func (t httpsOnly) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" {
		return nil, ErrURL
	}
	return t.next.RoundTrip(req)
}

// dial connects to a server and verifies it.
func (c *Client) dial(ctx context.Context, network, addr string, thumbprints []Thumbprint) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrURL, err)
	}
	dialer := &net.Dialer{Timeout: dialTimeout, ControlContext: c.control}
	conn, err := dialer.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	secured := tls.Client(conn, c.tlsConfig(host, thumbprints))
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("connect to %s: %w", addr, err)
	}
	return secured, nil
}

// control runs after resolution, once for each address that is tried, before it is
// connected to.
func (c *Client) control(_ context.Context, network, address string, _ syscall.RawConn) error {
	switch network {
	case "tcp4", "tcp6":
	default:
		return fmt.Errorf("%w: network %s", ErrRefused, network)
	}
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %q is no address", ErrRefused, address)
	}
	return c.CheckAddr(ap.Addr())
}

func clip(s string) string {
	const most = 200
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
