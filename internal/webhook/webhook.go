// Package webhook sends signed messages over HTTPS to receivers that the operator of
// this server chose.
//
// It promises that a message goes to the configured URL and nowhere else (no
// redirects, no proxy of the environment), over TLS unless the receiver is this very
// machine; that every message carries an id that stays the same when it is sent
// again, and a signature by Standard Webhooks (webhook-id, webhook-timestamp,
// webhook-signature), by which the receiver knows who sent it and what it has seen
// already; and that an error says whether sending the same again can help.
//
// It trusts the operator's URL: receivers may well stand in the private network, so
// addresses are not restricted as they are for URLs that tenants chose (package
// egress). It trusts nothing that a receiver answers: answers are bounded in time and
// size, and only their status and Retry-After are looked at. URLs often hold a token;
// neither they nor bodies appear in errors.
package webhook

import (
	"bytes"
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
	"strconv"
	"strings"
	"time"
)

const (
	defaultTimeout = 15 * time.Second
	maxTimeout     = 2 * time.Minute
	dialTimeout    = 5 * time.Second
	idleTimeout    = 90 * time.Second

	maxURLBytes    = 2048
	maxHeaderBytes = 32 << 10
	// maxAnswerBytes of an answer are read, so that its connection can be used again.
	maxAnswerBytes = 16 << 10
	maxIDBytes     = 200
	maxSecrets     = 4
	// maxRetryAfter bounds what a receiver can ask for.
	maxRetryAfter = time.Hour
)

// ErrURL: the URL is not one that messages can be sent to.
var ErrURL = errors.New("not a URL of the form https://host/path")

// Config says who receives and how messages are signed.
type Config struct {
	// URL of the receiver: https, or http if the host is the loopback interface.
	URL string
	// Secrets sign each message, every one of them: while a secret is replaced there
	// are two, and the receiver takes either. At least one is needed.
	Secrets []Secret
	// RootCAs verify the receiver; nil means those of the system.
	RootCAs *x509.CertPool
	// Timeout is for one attempt, from the connection to the end of the answer; 0
	// means 15 seconds.
	Timeout time.Duration
	// UserAgent of the requests; empty means "arca".
	UserAgent string
	// Connections bounds the connections to the receiver; 0 means 4. A Send that
	// finds none free waits.
	Connections int
	// Now is the clock of the timestamps; nil means the system's.
	Now func() time.Time
}

// Message is what one Send delivers.
type Message struct {
	// ID names the message. It must be the same each time the same message is sent,
	// and consist of letters, digits, "_" and "-".
	ID string
	// Type is the body's content type; empty means application/json.
	Type string
	// Encoding is the body's content encoding, such as gzip; usually empty. The
	// signature covers the body as it is sent, that is after encoding.
	Encoding string
	Body     []byte
}

// StatusError is an answer with a status other than 2xx.
type StatusError struct {
	Code int
	// RetryAfter is how long the receiver asked to be left alone, at most an hour; 0
	// when it did not.
	RetryAfter time.Duration
}

// Error names the status.
func (e *StatusError) Error() string { return fmt.Sprintf("receiver answered with status %d", e.Code) }

// Permanent reports whether the receiver has looked at this message and will never
// take it. Everything else, a receiver that is missing, forbids or redirects
// included, is a state of the receiver that somebody may mend.
func Permanent(err error) bool {
	s, ok := errors.AsType[*StatusError](err)
	if !ok {
		return false
	}
	switch s.Code {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
		http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// RetryAfter is how long the receiver asked to be left alone, or 0.
func RetryAfter(err error) time.Duration {
	if s, ok := errors.AsType[*StatusError](err); ok {
		return s.RetryAfter
	}
	return 0
}

// Client sends messages to one receiver. It is safe for concurrent use.
type Client struct {
	cfg  Config
	url  *url.URL
	http *http.Client
}

// New checks the configuration. It does not touch the network.
func New(cfg Config) (*Client, error) {
	u, err := parseURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	switch {
	case len(cfg.Secrets) == 0:
		return nil, errors.New("webhook without a secret to sign with")
	case len(cfg.Secrets) > maxSecrets:
		return nil, fmt.Errorf("webhook with %d secrets, the limit is %d", len(cfg.Secrets), maxSecrets)
	case cfg.Timeout < 0 || cfg.Timeout > maxTimeout:
		return nil, fmt.Errorf("webhook timeout of %v, want up to %v", cfg.Timeout, maxTimeout)
	case cfg.Connections < 0 || cfg.Connections > 256:
		return nil, fmt.Errorf("webhook with %d connections, want 1 to 256", cfg.Connections)
	}
	for _, s := range cfg.Secrets {
		if len(s.key) < minSecretBytes {
			return nil, errors.New("webhook secret is empty")
		}
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = "arca"
	}
	if cfg.Connections == 0 {
		cfg.Connections = 4
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	t := &http.Transport{
		Proxy:                  nil,
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: cfg.RootCAs, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    dialTimeout,
		MaxConnsPerHost:        cfg.Connections,
		MaxIdleConnsPerHost:    cfg.Connections,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
	}
	return &Client{cfg: cfg, url: u, http: &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func parseURL(text string) (*url.URL, error) {
	if len(text) > maxURLBytes {
		return nil, fmt.Errorf("URL of %d bytes, the limit is %d: %w", len(text), maxURLBytes, ErrURL)
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, ErrURL // the parser's error repeats the URL
	}
	switch {
	case u.Host == "" || u.Hostname() == "" || u.Opaque != "" || u.Fragment != "":
		return nil, ErrURL
	case u.User != nil:
		return nil, fmt.Errorf("a user name or password in it: %w", ErrURL)
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, fmt.Errorf("http is only for this machine itself: %w", ErrURL)
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, ErrURL
	}
	return u, nil
}

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// Host is the receiver's scheme, host and port: as much of the URL as may be logged.
func (c *Client) Host() string { return c.url.Scheme + "://" + c.url.Host }

// Send delivers m once and returns nil when the receiver answered with 2xx. After any
// error the receiver may have taken the message nevertheless.
func (c *Client) Send(ctx context.Context, m Message) error {
	if !validID(m.ID) {
		return fmt.Errorf("send webhook: id %q is not 1 to %d letters, digits, _ and -", m.ID, maxIDBytes)
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url.String(), bytes.NewReader(m.Body))
	if err != nil {
		return fmt.Errorf("send webhook: %w", withoutURL(err))
	}
	c.sign(req.Header, m)
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("send webhook to %s: %w", c.Host(), withoutURL(err))
	}
	// What cannot be read is of no interest: the status has been received.
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswerBytes)
	_ = resp.Body.Close()
	if resp.StatusCode/100 == 2 {
		return nil
	}
	return fmt.Errorf("send webhook to %s: %w", c.Host(),
		&StatusError{Code: resp.StatusCode, RetryAfter: retryAfter(resp.Header.Get("Retry-After"), c.cfg.Now())})
}

func (c *Client) sign(h http.Header, m Message) {
	now := c.cfg.Now()
	signatures := make([]string, len(c.cfg.Secrets))
	for i, s := range c.cfg.Secrets {
		signatures[i] = s.Sign(m.ID, now, m.Body)
	}
	if m.Type == "" {
		m.Type = "application/json"
	}
	h.Set("Content-Type", m.Type)
	if m.Encoding != "" {
		h.Set("Content-Encoding", m.Encoding)
	}
	h.Set("User-Agent", c.cfg.UserAgent)
	h.Set("Webhook-Id", m.ID)
	h.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	h.Set("Webhook-Signature", strings.Join(signatures, " "))
}

// Close ends connections that are kept for the next message.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// withoutURL takes off the wrapping in which net/http repeats the whole URL.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

func validID(id string) bool {
	if id == "" || len(id) > maxIDBytes {
		return false
	}
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// retryAfter reads a Retry-After header, seconds or a date.
func retryAfter(text string, now time.Time) time.Duration {
	var d time.Duration
	if at, err := http.ParseTime(text); err == nil {
		d = at.Sub(now)
	} else if s, err := strconv.ParseUint(text, 10, 32); err == nil {
		d = time.Duration(s) * time.Second
	}
	return max(0, min(d, maxRetryAfter))
}
